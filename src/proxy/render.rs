//! The text of the files that nginx includes. Pure: values in, text out.
//!
//! Names and values come from compose files and from the Engine. Each is either proven harmless or
//! quoted, and what can be neither is [`ProxyError::Unusable`]: nothing that a user writes into a
//! compose file becomes a directive.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    net::{IpAddr, SocketAddr},
};

use crate::{policy::Balance, traffic};

use super::{Features, ProxyError, Upstream, UpstreamServer};

mod trust;

pub(super) use trust::{is_our_name, is_our_text};

/// The file for what belongs at http level. It sorts before every other.
pub const HTTP: &str = "00-compose-scale.conf";

/// A longer service has no file: 255 bytes hold its name, `.location`, and what a file is called while it is
/// written.
const LONGEST_NAME: usize = 255 - ".location".len() - ".".len() - ".tmp".len();

/// How the first line of each of our files begins; the project's name follows.
const HEADER: &str = "# generated, do not edit: made by compose-scale for project ";

/// A line that keeps an upstream valid that has no server, and answers every request at once.
const NO_SERVER: &str = "    server 127.0.0.1:9 down;\n";

/// What is remarked in [`HTTP`] when the directive is the user's own already.
const SET_ELSEWHERE: &str = "# keepalive_min_timeout is set elsewhere in this configuration.\n\
                             # To have it set here again, remove it there and delete this file.\n";

/// What is at http level of the log that load is read from.
#[derive(Debug, Clone, Copy)]
pub enum HttpLevelLog<'a> {
    /// Nothing.
    None,
    /// Its format only.
    Format,
    /// It is written there, as nginx sees it.
    To(&'a str),
}

/// The name of the file that holds a service's upstream.
pub fn upstream_name(service: &str) -> String {
    format!("{service}.conf")
}

/// The name of the file that holds the settings to include in a service's location.
pub fn location_name(service: &str) -> String {
    format!("{service}.location")
}

/// Whether the file of settings has this directive, and nginx takes only one of it on a level.
pub fn is_set_once(name: &str) -> bool {
    ONCE.contains(&name)
}

/// What of [`location`] may not be written beside its include again: not `proxy_set_header`, nor
/// `proxy_next_upstream`, whose words add up.
const ONCE: [&str; 3] = [
    "proxy_http_version",
    "proxy_connect_timeout",
    "proxy_next_upstream_tries",
];

/// Every file of these upstreams, by name, without the services that nginx cannot have an upstream for.
pub fn files(
    project: &str,
    upstreams: &[Upstream],
    features: &Features,
    log: HttpLevelLog<'_>,
) -> Result<(BTreeMap<String, String>, Vec<ProxyError>), ProxyError> {
    let mut files = BTreeMap::from([(HTTP.to_owned(), http(project, features, log)?)]);
    let mut unusable = unusable_names(upstreams.iter().map(|one| one.service.as_str()));
    let mut refused = Vec::new();
    for upstream in upstreams {
        let service = upstream.service.as_str();
        let made = match unusable.remove(service) {
            Some(error) => Err(error),
            None => self::upstream(project, upstream, features)
                .and_then(|text| Ok((text, location(project, service)?))),
        };
        match made {
            Ok((upstream, location)) => {
                files.insert(upstream_name(service), upstream);
                files.insert(location_name(service), location);
            }
            Err(error) => refused.push(error),
        }
    }
    Ok((files, refused))
}

/// Which of these services nginx cannot have an upstream for, because of their names. Of two that it
/// cannot tell apart the one with fewer capitals keeps its name.
pub fn unusable_names<'a>(
    services: impl IntoIterator<Item = &'a str>,
) -> BTreeMap<&'a str, ProxyError> {
    let all: BTreeSet<&str> = services.into_iter().collect();
    let capitals = |name: &str| name.bytes().filter(u8::is_ascii_uppercase).count();
    // Capitals come before small letters.
    let rank = |name: &'a str| (capitals(name), std::cmp::Reverse(name));
    let clash = |service: &'a str| {
        let fail = |why: String| Some(unusable(&format!("the service name {service:?}"), &why));
        let mut others = all.iter().copied().filter(|other| *other != service);
        let same = others
            .clone()
            .find(|other| other.eq_ignore_ascii_case(service) && rank(other) < rank(service));
        if let Some(other) = same {
            return fail(format!(
                "nginx takes capitals in it for small letters, and cannot tell it from {other}"
            ));
        }
        let reads_it = |other: &&str| service.starts_with(&location_name(other));
        let other = others.find(reads_it)?;
        fail(format!(
            "`include {}*` in the location of {other} would read its files too",
            location_name(other)
        ))
    };
    let each = all.iter().copied();
    each.filter_map(|service| {
        let error = service_name(service).err().or_else(|| clash(service))?;
        Some((service, error))
    })
    .collect()
}

/// What belongs at http level.
pub fn http(
    project: &str,
    features: &Features,
    log: HttpLevelLog<'_>,
) -> Result<String, ProxyError> {
    let mut text = header(project)? + &log_lines(project, log)?;
    if features.keepalive_min_timeout {
        text += "# A reload closes the connections of clients that are idle. A request already on its\n\
                 # way over one of them would be lost; this long they are still answered.\n\
                 keepalive_min_timeout 1s;\n";
    } else {
        let since = Features::KEEPALIVE_MIN_TIMEOUT;
        let this = features
            .version
            .map_or_else(|| "an unknown version".into(), |v| v.to_string());
        let _ = write!(
            text,
            "# This nginx is {this}. Since {since} a reload can keep the connections of idle clients\n\
             # open a little longer (keepalive_min_timeout); before, a request that is on its way over\n\
             # one of them at that moment is lost, unless the client repeats it.\n",
        );
    }
    Ok(text)
}

/// [`http`] for a configuration that sets the directive somewhere else.
pub(super) fn http_without_directives(
    project: &str,
    log: HttpLevelLog<'_>,
) -> Result<String, ProxyError> {
    Ok(header(project)? + &log_lines(project, log)? + SET_ELSEWHERE)
}

/// The line that makes nginx write the log, for a place where another `access_log` hides ours.
pub fn log_line(project: &str, path: &str) -> Result<String, ProxyError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let path = if path.chars().all(plain) {
        path.to_owned()
    } else if path.contains('$') || path.chars().any(char::is_control) {
        let what = format!("the log's path {path:?}");
        return Err(unusable(
            &what,
            "nginx would take a `$` in it for a variable",
        ));
    } else {
        format!("\"{}\"", path.replace('\\', "\\\\").replace('"', "\\\""))
    };
    // A request that nginx answers by itself is no load of a service.
    Ok(format!(
        "access_log {path} compose_scale_{project} buffer=32k flush=1s if=$upstream_addr;"
    ))
}

fn log_lines(project: &str, log: HttpLevelLog<'_>) -> Result<String, ProxyError> {
    let line = match log {
        HttpLevelLog::None => return Ok(String::new()),
        HttpLevelLog::Format => String::new(),
        HttpLevelLog::To(path) => log_line(project, path)? + "\n",
    };
    Ok(format!(
        "# What the load is read from. An `access_log` inside of a server or a location takes the place of\n\
         # this one there: write the second line beside it as well.\n\
         {FORMAT}{project} \"{}\";\n\
         {line}\n",
        traffic::FIELDS.join("\\t"),
    ))
}

const FORMAT: &str = "log_format compose_scale_";

/// Whether a text of [`http`] defines the format of the log.
pub(super) fn has_log_format(text: &str) -> bool {
    text.contains(FORMAT)
}

/// Whether this is the text of [`http_without_directives`].
pub(super) fn is_without_directives(text: &str) -> bool {
    text.ends_with(SET_ELSEWHERE)
}

/// One service's upstream block.
pub fn upstream(
    project: &str,
    upstream: &Upstream,
    features: &Features,
) -> Result<String, ProxyError> {
    let service = service_name(&upstream.service)?;
    let balance = balance(&upstream.balance, features)?;
    let mut servers: Vec<&UpstreamServer> = upstream.servers.iter().collect();
    servers.sort();
    let mut text = header(project)?;
    let _ = writeln!(text, "upstream {service} {{");
    let _ = writeln!(
        text,
        "    zone compose_scale_{service} {}k;",
        zone(servers.len())
    );
    text += &balance;
    // nginx counts no failures: it would take a replica out for each request that the app itself fails, and
    // all of them for one such request and its repetitions. `watch` knows which of them are dead.
    let even = servers.iter().all(|server| server.weight == Balance::FULL);
    for server in &servers {
        let name = container_name(&server.name)?;
        let weight = if even {
            String::new()
        } else {
            format!(" weight={}", server.weight)
        };
        let _ = writeln!(
            text,
            "    server {}{weight} max_fails=0; # {name}",
            server.address
        );
    }
    if servers.is_empty() {
        text += NO_SERVER;
    }
    // After the balancing directive, which keepalive wraps. Idle connections per worker: two for
    // each server, so that a large upstream does not open a new one for every other request.
    let _ = writeln!(text, "    keepalive {};", 32.max(2 * servers.len()));
    text += "}\n";
    Ok(text)
}

/// The settings to include where a service is proxied to.
///
/// `Connection ""` is the only header in it. A header that is set on a level replaces all those
/// inherited from outside it, so each further one here would be sent beside the user's own (two
/// `Host` headers are an error to most servers), while an empty one is not sent at all, and adding
/// `Connection $connection_upgrade` next to it works.
pub fn location(project: &str, service: &str) -> Result<String, ProxyError> {
    let service = service_name(service)?;
    let mut text = header(project)?;
    let _ = write!(
        text,
        "# For the location with `proxy_pass http://{service};`.\n\
         #\n\
         # nginx takes over proxy_set_header from an outer level only where a level has none itself,\n\
         # and this file has one. Write yours in the same place as the include, for example:\n\
         #     proxy_set_header Host $host;\n\
         #     proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n\
         #     proxy_set_header X-Forwarded-Proto $scheme;\n\
         # and for WebSockets, with a map from $http_upgrade to $connection_upgrade:\n\
         #     proxy_set_header Upgrade $http_upgrade;\n\
         #     proxy_set_header Connection $connection_upgrade;\n\
         # An empty header is not sent, so the line below does not contradict the last one.\n\
         \n\
         # Connections to replicas are kept open and used again.\n\
         proxy_http_version 1.1;\n\
         proxy_set_header Connection \"\";\n\
         \n\
         # A replica whose queue of connections is full answers when the kernel asks again, after 1 s and\n\
         # after 3 s. What may have had an effect already (a POST that was sent) is never repeated.\n\
         proxy_connect_timeout 4s;\n\
         proxy_next_upstream error timeout;\n\
         proxy_next_upstream_tries 3;\n",
    );
    Ok(text)
}

/// The project whose file this is, by its first line; `None` when it is not one of ours.
pub fn owner(text: &str) -> Option<&str> {
    text.lines().next()?.strip_prefix(HEADER)
}

/// An upstream file with no server but these: what a change comes down to that only takes out.
pub(super) fn reduced(text: &str, wanted: &BTreeSet<SocketAddr>) -> String {
    let mut kept = 0;
    let mut last = None;
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if words.next() != Some("server") {
            lines.push(line);
            continue;
        }
        last.get_or_insert(lines.len());
        let address = words.next().and_then(|word| word.parse().ok());
        if address.is_some_and(|address| wanted.contains(&address)) {
            kept += 1;
            lines.push(line);
        }
    }
    if let (0, Some(place)) = (kept, last) {
        lines.insert(place, NO_SERVER.trim_end());
    }
    lines.into_iter().flat_map(|line| [line, "\n"]).collect()
}

/// Memory that the workers share about the servers, in KiB. Measured: 64k hold 63 servers, 128k
/// hold 143, and one more than fits is a reload refused.
fn zone(servers: usize) -> usize {
    (64 + servers).next_multiple_of(64)
}

fn balance(balance: &Balance, features: &Features) -> Result<String, ProxyError> {
    Ok(match balance {
        Balance::RoundRobin => String::new(),
        Balance::LeastConn => "    least_conn;\n".into(),
        Balance::IpHash => "    ip_hash;\n".into(),
        // Consistent: a replica more or less moves few of the keys to another replica.
        Balance::Hash(key) => format!("    hash {} consistent;\n", quoted(key)?),
        Balance::StickyCookie(name) => {
            let what = "balance sticky_cookie";
            if !features.sticky {
                let this = features
                    .version
                    .map_or_else(|| "of an unknown version".into(), |v| v.to_string());
                let why = format!(
                    "it needs nginx {} or later, and this one is {this}",
                    Features::STICKY
                );
                return Err(unusable(what, &why));
            }
            let token = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
            if name.is_empty() || !name.bytes().all(token) {
                let what = format!("the cookie name {name:?}");
                return Err(unusable(
                    &what,
                    "only letters, digits, `_` and `-` are allowed",
                ));
            }
            // Without a path the cookie would hold for the directory of the first request only.
            format!("    least_conn;\n    sticky cookie {name} path=/ httponly;\n")
        }
    })
}

/// A text in quotes as nginx reads them: variables keep their meaning, nothing else has one.
fn quoted(text: &str) -> Result<String, ProxyError> {
    let fail = |why| Err(unusable(&format!("the hash key {text:?}"), why));
    if text.is_empty() {
        return fail("it is empty");
    }
    if text.chars().any(char::is_control) {
        return fail("it has a control character");
    }
    for rest in text.split('$').skip(1) {
        let name = rest.strip_prefix('{').unwrap_or(rest);
        let end = name
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(name.len());
        let closed = name.len() == rest.len() || name[end..].starts_with('}');
        if end == 0 || !closed {
            return fail("a `$` must begin the name of a variable");
        }
    }
    Ok(format!(
        "\"{}\"",
        text.replace('\\', "\\\\").replace('"', "\\\"")
    ))
}

/// The first line of each of our files.
pub fn header(project: &str) -> Result<String, ProxyError> {
    let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if project.is_empty() || !project.bytes().all(word) {
        let what = format!("the project name {project:?}");
        return Err(unusable(
            &what,
            "only letters, digits, `.`, `_` and `-` are allowed",
        ));
    }
    Ok(format!("{HEADER}{project}\n"))
}

fn service_name(service: &str) -> Result<&str, ProxyError> {
    let fail = |why| Err(unusable(&format!("the service name {service:?}"), why));
    let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if service.is_empty() || !service.bytes().all(word) {
        return fail("only letters, digits, `.`, `_` and `-` are allowed");
    }
    if service.starts_with('.') {
        return fail("nginx does not include files whose name begins with a dot");
    }
    if upstream_name(service) == HTTP {
        return fail("its file is the one for the http level");
    }
    if service == "localhost" || service.parse::<IpAddr>().is_ok() {
        return fail("elsewhere in nginx's configuration it means an address");
    }
    if service.len() > LONGEST_NAME {
        return fail("it is too long for the name of a file");
    }
    Ok(service)
}

fn container_name(name: &str) -> Result<&str, ProxyError> {
    let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if name.is_empty() || !name.bytes().all(word) {
        let what = format!("the container name {name:?}");
        return Err(unusable(
            &what,
            "only letters, digits, `.`, `_` and `-` are allowed",
        ));
    }
    Ok(name)
}

fn unusable(what: &str, why: &str) -> ProxyError {
    ProxyError::Unusable {
        what: what.to_owned(),
        why: why.to_owned(),
    }
}

#[cfg(test)]
mod tests;
