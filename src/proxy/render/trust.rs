//! Whether a name and a text that were read from a directory can be ours: in some setups others write
//! there too.
//!
//! The text of another release of this program differs from today's, so a text is not compared with
//! one that would be written now. It is held against a grammar that is wide enough for every release
//! and too narrow to do harm: comments, and statements of a short list, one on a line.

use super::{HTTP, log_line, owner, service_name};

/// The statements of an upstream.
const UPSTREAM: &[&str] = &[
    "zone",
    "least_conn",
    "ip_hash",
    "hash",
    "random",
    "sticky",
    "server",
    "keepalive",
    "keepalive_time",
    "keepalive_timeout",
    "keepalive_requests",
];
/// The statements for a location.
const LOCATION: &[&str] = &[
    "proxy_http_version",
    "proxy_set_header",
    "proxy_connect_timeout",
    "proxy_next_upstream",
    "proxy_next_upstream_tries",
    "proxy_next_upstream_timeout",
];
/// The statements at http level.
const AT_HTTP_LEVEL: &[&str] = &["log_format", "access_log", "keepalive_min_timeout"];

/// Whether a file of ours can have this name.
pub(in crate::proxy) fn is_our_name(name: &str) -> bool {
    name == HTTP || stem(name).is_some_and(|service| service_name(service).is_ok())
}

fn stem(name: &str) -> Option<&str> {
    let (stem, kind) = name.rsplit_once('.')?;
    matches!(kind, "conf" | "location").then_some(stem)
}

/// Whether this program, in any release, can have written this text into the project's file of that
/// name. `log` is the log that nginx is asked to write.
pub(in crate::proxy) fn is_our_text(
    project: &str,
    name: &str,
    text: &str,
    log: Option<&str>,
) -> bool {
    let control = |c: char| c.is_control() && c != '\n';
    if owner(text) != Some(project) || !is_our_name(name) || text.contains(control) {
        return false;
    }
    let lines: Option<Vec<_>> = text.lines().map(words).collect();
    let Some(mut lines) = lines else {
        return false;
    };
    lines.retain(|line| !line.is_empty());
    let (inside, allowed) = match name.strip_suffix(".conf") {
        None => (&lines[..], LOCATION),
        Some(_) if name == HTTP => (&lines[..], AT_HTTP_LEVEL),
        Some(service) => match lines.as_slice() {
            [first, inside @ .., last]
                if *first == ["upstream", service, "{"] && *last == ["}"] =>
            {
                (inside, UPSTREAM)
            }
            _ => return false,
        },
    };
    let log = log.and_then(|path| log_line(project, path).ok());
    let log = log.as_deref().and_then(words);
    inside.iter().all(|line| match line.as_slice() {
        ["access_log", path, .., ";"] => log.as_ref().is_some_and(|log| log.get(1) == Some(path)),
        // A socket leads to programs that no replica is.
        ["server", address, .., ";"] if address.contains("unix:") => false,
        [statement, .., ";"] => allowed.contains(statement),
        _ => false,
    })
}

/// The words of a line as nginx reads them, without its comment; a `;`, `{` or `}` may only be the
/// last one. `None` where it is written in a way that we never use.
fn words(line: &str) -> Option<Vec<&str>> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() && !rest.starts_with('#') {
        if matches!(words.last(), Some(&(";" | "{" | "}"))) {
            return None;
        }
        let end = match rest.as_bytes()[0] {
            b';' | b'{' | b'}' => 1,
            b'"' => end_of_quote(rest)?,
            _ => rest.find([' ', ';']).unwrap_or(rest.len()),
        };
        let (word, more) = rest.split_at(end);
        let is_plain = !word.contains(['"', '\'', '{', '}', '\\', ';']);
        if !is_plain && end > 1 && !word.starts_with('"') {
            return None;
        }
        if word.starts_with('"') && !more.starts_with([' ', ';']) {
            return None;
        }
        words.push(word);
        rest = more.trim_start();
    }
    Some(words)
}

fn end_of_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        policy::Balance,
        proxy::{
            Features, NginxVersion, Upstream, UpstreamServer,
            render::{self, HttpLevelLog},
        },
    };

    const PATH: &str = "/var/log/compose scale/shop.log";

    /// Every kind of text that is written.
    fn all() -> Vec<(String, String)> {
        let new = Features::of(NginxVersion::new(1, 30, 6));
        let server = |number: u32| UpstreamServer {
            number,
            name: format!("shop-web-{number}"),
            address: ([10, 0, 0, 1], 80).into(),
            weight: Balance::FULL - number as u8,
        };
        let balances = [
            Balance::RoundRobin,
            Balance::LeastConn,
            Balance::IpHash,
            Balance::Hash("${request_uri} \"x\"; } \\ #".into()),
            Balance::StickyCookie("route".into()),
        ];
        let mut texts = Vec::new();
        for (number, balance) in (0..).zip(balances) {
            for features in [new, Features::default()] {
                let upstream = Upstream {
                    service: "web.one".into(),
                    balance: balance.clone(),
                    servers: (0..number).map(server).collect(),
                };
                let log = HttpLevelLog::To(PATH);
                if let Ok((files, _)) = render::files("shop", &[upstream], &features, log) {
                    texts.extend(files);
                }
            }
        }
        let bare = render::http_without_directives("shop", HttpLevelLog::Format).unwrap();
        texts.push((HTTP.to_owned(), bare));
        texts
    }

    #[test]
    fn what_is_written_can_be_ours_in_this_project_and_under_this_name_only() {
        let all = all();
        assert!(all.len() > 20);
        for (name, text) in &all {
            let is_ours = |project, name, log| is_our_text(project, name, text, log);
            assert!(is_ours("shop", name, Some(PATH)), "{name}\n{text}");
            assert!(!is_ours("blog", name, Some(PATH)));
            assert!(!is_ours("shop", "api.conf", Some(PATH)));
            assert!(!is_our_text(
                "shop",
                &format!("../{name}"),
                text,
                Some(PATH)
            ));
            let logs = text.contains("access_log ");
            assert_eq!(is_ours("shop", name, None), !logs, "{text}");
            assert_eq!(is_ours("shop", name, Some("/etc/cron.d/x")), !logs);
        }
    }

    #[test]
    fn a_line_more_is_not_ours() {
        let all: BTreeMap<_, _> = all().into_iter().collect();
        for (name, text) in &all {
            for more in [
                "include /etc/passwd;",
                "access_log /etc/cron.d/x combined;",
                "error_log /etc/cron.d/x;",
                "server unix:/var/run/docker.sock;",
                "server \"unix:/var/run/docker.sock\";",
                "server 10.0.0.1:80; server unix:/var/run/docker.sock;",
                "keepalive 1; } server { listen 81; location / { root /; } }",
                "}\nserver { listen 81; }",
                "server { listen 81; }",
                "\"server\" 10.0.0.1:80;",
                "zone a\"b;",
                "proxy_set_header Host \"a\"b;",
                "zone \"a;",
                "zone a",
                "zone a;\rinclude /etc/passwd;",
            ] {
                let at = text.rfind("}\n").unwrap_or(text.len());
                let (before, after) = text.split_at(at);
                let hostile = format!("{before}{more}\n{after}");
                assert!(
                    !is_our_text("shop", name, &hostile, Some(PATH)),
                    "{hostile}"
                );
            }
        }
    }

    #[test]
    fn names_of_ours() {
        for name in ["web.conf", "web.location", "web.one-2_b.conf", HTTP] {
            assert!(is_our_name(name), "{name:?}");
        }
        for name in [
            "00-compose-scale.location",
            "/tmp/keep.conf",
            "../keep.conf",
            "we b.conf",
            "web\n.conf",
            ".conf",
            ".web.conf",
            ".web.conf.tmp",
            "web.txt",
            "web",
            "",
        ] {
            assert!(!is_our_name(name), "{name:?}");
        }
    }
}
