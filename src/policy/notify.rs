//! Who is told of what happens, and of what.

use std::{collections::BTreeMap, fmt};

use serde::{Serialize, Serializer};

use crate::units::Span;

/// Somebody who is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notify {
    /// How.
    #[serde(flatten)]
    pub target: NotifyTarget,
    /// Of what.
    pub events: EventFilter,
    /// Of which services; empty is all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
}

/// How somebody is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum NotifyTarget {
    /// By a POST.
    Webhook(Webhook),
    /// By a command on this host.
    Command(NotifyCommand),
}

impl NotifyTarget {
    /// What one attempt takes at most.
    pub fn timeout(&self) -> Span {
        match self {
            Self::Webhook(webhook) => webhook.timeout,
            Self::Command(hook) => hook.timeout,
        }
    }

    /// What it is, as its key says.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Webhook(_) => "webhook",
            Self::Command(_) => "command",
        }
    }
}

/// What it is called in messages, without anything that may be secret.
impl fmt::Display for NotifyTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Webhook(webhook) => webhook.url.fmt(f),
            Self::Command(hook) => f.write_str(hook.argv.first().map_or("", String::as_str)),
        }
    }
}

/// A URL that gets a JSON document for each event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Webhook {
    /// Where.
    #[serde(rename = "webhook")]
    pub url: SecretUrl,
    /// What is sent along.
    #[serde(skip_serializing_if = "Headers::is_empty")]
    pub headers: Headers,
    /// What one attempt takes at most.
    pub timeout: Span,
    /// Attempts after the first one.
    pub retry: u32,
}

impl Webhook {
    /// The `timeout` of one that names none.
    pub const TIMEOUT: Span = Span::seconds(10);
    /// The `retry` of one that names none.
    pub const RETRY: u32 = 5;
}

/// A command that gets a JSON document on its standard input for each event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotifyCommand {
    /// The program and its arguments; no shell.
    #[serde(rename = "command", serialize_with = "first_word")]
    pub argv: Vec<String>,
    /// What it takes at most.
    pub timeout: Span,
}

impl NotifyCommand {
    /// The `timeout` of one that names none.
    pub const TIMEOUT: Span = Span::seconds(30);
}

/// A URL whose path and query are as good as a password: it is shown without them, also by `{:?}`.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// One that [`validate`](super::validate) has looked at, or a test made up.
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// All of it.
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// Its host, without brackets and port.
    pub fn host(&self) -> &str {
        let authority = authority(&self.0);
        match authority.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => authority.split(':').next().unwrap_or_default(),
        }
    }

    /// Its port, or that of its scheme.
    pub fn port(&self) -> u16 {
        let after_host = authority(&self.0).rsplit(']').next().unwrap_or_default();
        let port = after_host.split(':').nth(1);
        let usual = if self.is_encrypted() { 443 } else { 80 };
        port.and_then(|port| port.parse().ok()).unwrap_or(usual)
    }

    /// Whether it is `https`.
    pub fn is_encrypted(&self) -> bool {
        self.0.starts_with("https://")
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hidden(&self.0))
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for SecretUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What may be shown of something that is, or was meant to be, a URL: where it leads, and `…` for
/// the rest. A user and a password before the host are left out.
pub fn hidden(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), url),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let more = if rest.len() > authority.len() {
        "/…"
    } else {
        ""
    };
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}{host}{more}")
}

fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

/// Header lines, which are shown by their names.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Headers(pub BTreeMap<String, String>);

impl Headers {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Serialize for Headers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.keys().map(|name| (name, "…")))
    }
}

/// Of a command the first word: the others may be secret.
fn first_word<S: Serializer>(argv: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    let rest = (argv.len() > 1).then_some("…");
    let words = argv.first().map(String::as_str).into_iter().chain(rest);
    serializer.collect_seq(words)
}

/// Of which events somebody is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventFilter {
    /// Of all that is written into `scaling.log`.
    All,
    /// Of these: names of events, or of [`GROUPS`].
    Some(Vec<String>),
}

impl Serialize for EventFilter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => serializer.serialize_str("all"),
            Self::Some(names) => serializer.collect_seq(names),
        }
    }
}

impl Default for EventFilter {
    fn default() -> Self {
        Self::Some(vec!["scale".into(), TROUBLE.into()])
    }
}

/// The group of all events that are warnings or errors.
pub const TROUBLE: &str = "trouble";

/// Names for several events at once.
pub const GROUPS: [&str; 1] = [TROUBLE];

/// The names of all events, as in `scaling.log`.
pub const EVENTS: [&str; 31] = [
    "scale",
    "scaled",
    "not_scaling",
    "creating",
    "founding",
    "founded",
    "starting",
    "ready",
    "routed",
    "draining",
    "kept",
    "drain_timed_out",
    "removed",
    "failed",
    "failing",
    "recovered",
    "died",
    "lost",
    "nothing_serves",
    "unserved",
    "served_again",
    "route_failed",
    "unread",
    "read_again",
    "held",
    "paused",
    "resumed",
    "unfinished",
    "standstill",
    "refused",
    "step_failed",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_url_only_where_it_leads_is_shown() {
        for (url, shown) in [
            (
                "https://hooks.example.com/T0/B1",
                "https://hooks.example.com/…",
            ),
            ("http://127.0.0.1:8080/x?key=1", "http://127.0.0.1:8080/…"),
            ("https://example.com?key=1", "https://example.com/…"),
            ("https://example.com", "https://example.com"),
            ("https://me:secret@example.com/", "https://example.com/…"),
            ("hooks.example.com/T0/B1", "hooks.example.com/…"),
        ] {
            let url = SecretUrl::new(url);
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), shown);
            assert_eq!(serde_json::to_value(&url).unwrap(), shown);
        }
    }

    #[test]
    fn a_url_has_a_host_and_a_port() {
        let parts = |url| {
            let url = SecretUrl::new(url);
            (url.host().to_owned(), url.port(), url.is_encrypted())
        };
        assert_eq!(
            parts("https://a.example/x:1"),
            ("a.example".into(), 443, true)
        );
        assert_eq!(
            parts("http://a.example:81?x"),
            ("a.example".into(), 81, false)
        );
        assert_eq!(parts("http://[::1]:8080/"), ("::1".into(), 8080, false));
        assert_eq!(parts("http://[::1]"), ("::1".into(), 80, false));
    }

    #[test]
    fn headers_and_arguments_are_nobodys_business() {
        let notify = Notify {
            target: NotifyTarget::Webhook(Webhook {
                url: SecretUrl::new("https://a.example/secret"),
                headers: Headers(BTreeMap::from([(
                    "Authorization".into(),
                    "Bearer secret".into(),
                )])),
                timeout: Webhook::TIMEOUT,
                retry: 5,
            }),
            events: EventFilter::default(),
            services: Vec::new(),
        };
        let hook = NotifyTarget::Command(NotifyCommand {
            argv: vec!["/bin/page".into(), "secret".into()],
            timeout: NotifyCommand::TIMEOUT,
        });
        let shown = [
            format!("{notify:?} {} {hook}", notify.target),
            serde_json::to_string(&notify).unwrap() + &serde_json::to_string(&hook).unwrap(),
        ];
        for shown in shown {
            assert!(
                !shown.contains("secret") && shown.contains("a.example"),
                "{shown}"
            );
        }
    }
}
