//! Who is told of what happens.

use std::collections::BTreeMap;

use super::{
    cursor::{AllowedKeys, Cursor, Entries, nearest},
    value::{argv, count, span_above_zero, text},
};
use crate::{
    policy::{
        Notify,
        notify::{
            EVENTS, EventFilter, GROUPS, Headers, NotifyCommand, NotifyTarget, SecretUrl, Webhook,
            hidden,
        },
    },
    units::Span,
};

const LIST: &str = r#"a list like [{webhook: "https://hooks.example.com/T0/B1"}]"#;
const URL: &str = "a URL like https://hooks.example.com/T0/B1";
const COMMAND: &str =
    r#"a list like ["/usr/local/bin/page-me", "--now"]; it is run without a shell"#;

/// Headers that say how the body is sent, which is not up to the user.
const OURS: [&str; 5] = [
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
];

pub(super) fn notify(at: &Cursor<'_>) -> Option<Vec<Notify>> {
    if !at.value().is_array() {
        return unseen(at, LIST);
    }
    let all: Vec<_> = at.list(LIST)?.iter().map(one).collect();
    all.into_iter().collect()
}

fn one(at: &Cursor<'_>) -> Option<Notify> {
    if at.value().is_string() {
        return Some(Notify {
            target: NotifyTarget::Webhook(Webhook {
                url: url(at)?,
                headers: Headers::default(),
                timeout: Webhook::TIMEOUT,
                retry: Webhook::RETRY,
            }),
            events: EventFilter::default(),
            services: Vec::new(),
        });
    }
    let keys = [
        "webhook", "command", "events", "services", "headers", "timeout", "retry",
    ];
    let map = at.map(
        &AllowedKeys::only(&keys),
        "{webhook: \"https://hooks.example.com/T0/B1\"}",
    )?;
    let targets = map.present(&["webhook", "command"]);
    match targets.as_slice() {
        [_] => {}
        [] => at.problem("says not how, expected `webhook` with a URL or `command` with a list"),
        _ => at.problem("found webhook and command, expected only one of them"),
    }
    let target = match map.get("command") {
        Some(at) => command(&at, &map).map(NotifyTarget::Command),
        None => webhook(&map).map(NotifyTarget::Webhook),
    };
    let events = map.or("events", EventFilter::default(), events);
    let services = map.or("services", Vec::new(), services);
    Some(Notify {
        target: target?,
        events: events?,
        services: services?,
    })
}

fn webhook(map: &Entries<'_>) -> Option<Webhook> {
    let url = map.get("webhook").and_then(|at| url(&at));
    let headers = map.or("headers", Headers::default(), headers);
    let timeout = timeout(map, Webhook::TIMEOUT);
    let retry = map.or("retry", Webhook::RETRY, |at| count(at, 0, 20));
    Some(Webhook {
        url: url?,
        headers: headers?,
        timeout: timeout?,
        retry: retry?,
    })
}

fn command(at: &Cursor<'_>, map: &Entries<'_>) -> Option<NotifyCommand> {
    for key in map.present(&["headers", "retry"]) {
        if let Some(at) = map.get(key) {
            at.problem("is only for a webhook");
        }
    }
    let argv = if at.value().is_array() {
        argv(at, COMMAND)
    } else {
        unseen(at, COMMAND)
    };
    let timeout = timeout(map, NotifyCommand::TIMEOUT);
    Some(NotifyCommand {
        argv: argv?,
        timeout: timeout?,
    })
}

fn timeout(map: &Entries<'_>, usual: Span) -> Option<Span> {
    map.or("timeout", usual, |at| {
        Some(span_above_zero(at)?)
            .filter(|span| span.0.as_secs() <= 60)
            .or_else(|| at.expected_text("a duration of at most 1m"))
    })
}

/// What is found is shown without its path, which is as good as a password.
fn url(at: &Cursor<'_>) -> Option<SecretUrl> {
    let Some(url) = at.value().as_str() else {
        return at.expected(URL);
    };
    let wrong = |why: &str| {
        let found: String = hidden(url)
            .chars()
            .filter(|c| !c.is_control())
            .take(60)
            .collect();
        at.problem(format!("found `{found}`, expected {URL}{why}"));
        None
    };
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    let Some(rest) = rest else {
        return wrong("");
    };
    let of_a_url = |c: char| c.is_ascii_graphic() && !"#\"<>`^\\".contains(c);
    if !url.chars().all(of_a_url) {
        return wrong(
            ", without spaces, quotes, `#` and letters beyond ASCII (write those as %XX)",
        );
    }
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if authority.contains('@') {
        return wrong("; a user and a password go into `headers`, as Authorization");
    }
    let (host, port) = match authority
        .strip_prefix('[')
        .and_then(|v6| v6.split_once(']'))
    {
        Some((v6, "")) => (v6, None),
        Some((v6, after)) => (v6, Some(after.strip_prefix(':').unwrap_or("?"))),
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let in_brackets = authority.starts_with('[');
    let of_a_host = |c: char| {
        c.is_ascii_alphanumeric()
            || if in_brackets {
                c == ':' || c == '.'
            } else {
                "-._".contains(c)
            }
    };
    if host.is_empty() || !host.chars().all(of_a_host) {
        return wrong(": a host is a name or an address");
    }
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    if port.is_some_and(|port| !is_port(port)) {
        return wrong(": a port is a number from 1 to 65535");
    }
    Some(SecretUrl::new(url))
}

fn headers(at: &Cursor<'_>) -> Option<Headers> {
    let expected = r#"a map of headers, like {Authorization: "Bearer …"}"#;
    let Some(names) = at.value().as_object() else {
        return unseen(at, expected);
    };
    let names: Vec<_> = names.keys().map(String::as_str).collect();
    let map = at.map(&AllowedKeys::only(&names), expected)?;
    let mut headers = BTreeMap::new();
    for name in names {
        let Some(at) = map.get(name) else {
            continue;
        };
        let of_a_name = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty() || !name.chars().all(of_a_name) {
            at.problem("is not the name of a header, which has no spaces");
        } else if OURS.contains(&name.to_ascii_lowercase().as_str()) {
            at.problem("is set by compose-scale");
        } else if let Some(text) = at.value().as_str()
            && text.chars().all(|c| c == ' ' || c.is_ascii_graphic())
        {
            headers.insert(name.to_owned(), text.to_owned());
        } else {
            // What was found may be half of a password.
            at.problem("is not what was expected: a text of ASCII letters on one line");
        }
    }
    Some(Headers(headers))
}

/// Notes that something else was expected, without a text that was found: it may be secret.
fn unseen<T>(at: &Cursor<'_>, expected: &str) -> Option<T> {
    if at.value().is_string() {
        at.problem(format!("found a text, expected {expected}"));
        return None;
    }
    at.expected(expected)
}

fn events(at: &Cursor<'_>) -> Option<EventFilter> {
    let expected = "all or a list like [scale, died, nothing_serves]";
    match at.value().as_str() {
        Some("all") => return Some(EventFilter::All),
        Some(_) => return at.expected_text(expected),
        None => {}
    }
    let names = at.list(expected)?;
    if names.is_empty() {
        at.problem(format!("found an empty list, expected {expected}"));
        return None;
    }
    let known: Vec<_> = GROUPS.into_iter().chain(EVENTS).collect();
    let name = |at: &Cursor<'_>| match at.value().as_str() {
        Some(name) if known.contains(&name) => Some(name.to_owned()),
        Some(name) => {
            let meant = nearest(name, &known);
            let meant = meant.map(|near| format!("; did you mean `{near}`?"));
            at.expected_text(format_args!(
                "the name of an event: {}{}",
                known.join(", "),
                meant.unwrap_or_default()
            ))
        }
        None => at.expected("the name of an event"),
    };
    let names: Vec<_> = names.iter().map(name).collect();
    Some(EventFilter::Some(names.into_iter().collect::<Option<_>>()?))
}

fn services(at: &Cursor<'_>) -> Option<Vec<String>> {
    let expected = "a list of services, like [web]; leave it out for all";
    let names = at.list(expected)?;
    if names.is_empty() {
        at.problem(format!("found an empty list, expected {expected}"));
        return None;
    }
    let names: Vec<_> = names
        .iter()
        .map(|at| text(at, "the name of a service"))
        .collect();
    names.into_iter().collect()
}
