//! The short form of a port: `[[IP:]HOST:]CONTAINER[/PROTOCOL]`, where both ports may be ranges.

use std::net::IpAddr;

use crate::project::Port;

/// Reads a short form. Two ranges of one length pair up; a range on the host for one container port
/// stays a range, from which the Engine takes a free one.
pub(crate) fn parse(text: &str) -> Result<Vec<Port>, String> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol {
        "" => "tcp".to_owned(),
        protocol => protocol.to_ascii_lowercase(),
    };
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return Err(format!(
            "found the protocol {protocol:?}, expected tcp, udp or sctp"
        ));
    }
    let (host, container) = ports.rsplit_once(':').unwrap_or(("", ports));
    let (ip, host) = match host.rsplit_once(':') {
        Some((ip, host)) => (ip, host),
        // `[::1]` cannot stand alone: the last colon is one of the address.
        None => ("", host),
    };
    let ip = ip
        .strip_prefix('[')
        .and_then(|ip| ip.strip_suffix(']'))
        .unwrap_or(ip);
    if !ip.is_empty() && ip.parse::<IpAddr>().is_err() {
        return Err(format!(
            "found the host address {ip:?}, expected an IP address"
        ));
    }
    if container.is_empty() {
        return Err(format!(
            "found {text:?}, expected a container port after the colon"
        ));
    }
    let (first, last) = range(container)?;
    if first == 0 {
        return Err(format!(
            "found {text:?}, expected a container port from 1 on"
        ));
    }
    let published = if host.is_empty() {
        None
    } else {
        Some(range(host)?)
    };
    let mut all = Vec::new();
    for (step, target) in (first..=last).enumerate() {
        let published = match published {
            None => None,
            Some((low, high)) if low == high && first == last => Some(low.to_string()),
            Some((low, high)) if first == last => Some(format!("{low}-{high}")),
            Some((low, high)) if high - low == last - first => {
                Some((usize::from(low) + step).to_string())
            }
            Some(_) => {
                return Err(format!(
                    "found {host} for {container}, expected as many host ports as container ports"
                ));
            }
        };
        all.push(Port {
            target,
            published,
            host_ip: (!ip.is_empty()).then(|| ip.to_owned()),
            protocol: protocol.clone(),
            ..Port::tcp(target)
        });
    }
    Ok(all)
}

/// Reads `80` or `8000-8010`.
pub(crate) fn range(text: &str) -> Result<(u16, u16), String> {
    let wrong = || format!("found {text:?}, expected a port or a range like 8000-8010");
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    if text.contains('+') {
        return Err(wrong());
    }
    let low: u16 = low.parse().map_err(|_| wrong())?;
    let high: u16 = high.parse().map_err(|_| wrong())?;
    if low > high {
        Err(wrong())
    } else {
        Ok((low, high))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match parse(text) {
            Ok(ports) => ports
                .iter()
                .map(|port| {
                    let ip = port.host_ip.as_deref().unwrap_or("*");
                    let published = port.published.as_deref().unwrap_or("any");
                    format!("{ip}:{published}:{}/{}", port.target, port.protocol)
                })
                .collect::<Vec<_>>()
                .join(" "),
            Err(error) => error,
        }
    }

    #[test]
    fn every_short_form_is_read() {
        for (text, expected) in [
            ("80", "*:any:80/tcp"),
            ("8080:80", "*:8080:80/tcp"),
            ("127.0.0.1:8080:80", "127.0.0.1:8080:80/tcp"),
            ("127.0.0.1::80", "127.0.0.1:any:80/tcp"),
            ("6060:6060/udp", "*:6060:6060/udp"),
            ("[::1]:8080:80", "::1:8080:80/tcp"),
            ("::80", "*:any:80/tcp"),
            ("8000-8010:80", "*:8000-8010:80/tcp"),
            ("8000-8001:80-81", "*:8000:80/tcp *:8001:81/tcp"),
            ("80-81", "*:any:80/tcp *:any:81/tcp"),
            ("080/", "*:any:80/tcp"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_port_says_what_is_expected() {
        insta::assert_snapshot!(shown("abc:80"), @r#"found "abc", expected a port or a range like 8000-8010"#);
        insta::assert_snapshot!(shown("70000:80"), @r#"found "70000", expected a port or a range like 8000-8010"#);
        insta::assert_snapshot!(shown("foo:80:80"), @r#"found the host address "foo", expected an IP address"#);
        insta::assert_snapshot!(shown("80:"), @r#"found "80:", expected a container port after the colon"#);
        insta::assert_snapshot!(shown("3000-3005:4000-4001"), @"found 3000-3005 for 4000-4001, expected as many host ports as container ports");
        insta::assert_snapshot!(shown("0"), @r#"found "0", expected a container port from 1 on"#);
        insta::assert_snapshot!(shown("+80"), @r#"found "+80", expected a port or a range like 8000-8010"#);
        insta::assert_snapshot!(shown("80/quic"), @r#"found the protocol "quic", expected tcp, udp or sctp"#);
    }
}
