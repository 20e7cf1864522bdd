//! The project's own settings.

use std::{path::PathBuf, time::Duration};

use super::{
    SERVICE_KEYS, UNAVAILABLE,
    at::{At, Keys},
    value::{span, text},
};
use crate::{
    policy::{Nginx, Place, Settings},
    units::Span,
};

pub(super) fn settings(at: &At<'_>) -> Settings {
    let mut settings = Settings::default();
    let defaults = SERVICE_KEYS.iter().copied().filter(|key| *key != "port");
    let allowed: Vec<&str> = ["interval", "nginx"].into_iter().chain(defaults).collect();
    let keys = Keys {
        allowed: &allowed,
        unavailable: &[
            (
                "host",
                "is not available in this version; bound the replicas with `max`",
            ),
            ("port", "belongs to a service: each has its own"),
            ("schedule", UNAVAILABLE),
        ],
    };
    let Some(map) = at.map(&keys, "{interval: 5s}") else {
        return settings;
    };
    map.read("interval", &mut settings.interval, interval);
    map.read("nginx", &mut settings.nginx, nginx);
    settings
}

fn interval(at: &At<'_>) -> Option<Span> {
    Some(span(at)?)
        .filter(|span| span.0 >= Duration::from_secs(1))
        .or_else(|| at.expected_text("a duration of at least 1s"))
}

fn nginx(at: &At<'_>) -> Option<Nginx> {
    let keys = Keys {
        allowed: &["service", "container", "upstreams", "reload", "test"],
        unavailable: &[
            (
                "host",
                "is not available in this version; run nginx in a container and name it with \
                 `service` or `container`",
            ),
            (
                "logs",
                "is not available in this version; use cpu or memory as metrics, which need no log",
            ),
        ],
    };
    let map = at.map(&keys, "{service: nginx, upstreams: ./nginx/upstreams}")?;
    let mut nginx = Nginx::default();
    map.read("service", &mut nginx.place, |at| {
        Some(Some(Place::Service(text(at, "the name of a service")?)))
    });
    map.read("container", &mut nginx.place, |at| {
        Some(Some(Place::Container(text(at, "the name of a container")?)))
    });
    if map.present(&["service", "container"]).len() > 1 {
        at.problem("found service and container, expected only one of them");
    }
    map.read("upstreams", &mut nginx.upstreams, |at| {
        let path = text(at, "the path of a directory, like ./nginx/upstreams")?;
        Some(Some(PathBuf::from(path)))
    });
    if let Some(at) = map.get("reload") {
        nginx.reload = command(&at, r#"["systemctl", "reload", "nginx"]"#);
    }
    if let Some(at) = map.get("test") {
        nginx.test = command(&at, r#"["nginx", "-t"]"#);
    }
    Some(nginx)
}

/// A command in the words it is run with; `None` is the one that is built in.
fn command(at: &At<'_>, example: &str) -> Option<Vec<String>> {
    let expected = format!("builtin or a list like {example}; it is run without a shell");
    let words = match at.value().as_str() {
        Some("builtin") => return None,
        Some(_) => {
            at.problem(format!("found a text, expected {expected}"));
            return None;
        }
        None => at.list(&expected)?,
    };
    if words.is_empty() {
        at.problem(format!("found an empty list, expected {expected}"));
    }
    let read = |(position, word): (usize, &At<'_>)| match word.value().as_str() {
        Some("") if position == 0 => word.expected("the name of a program"),
        Some(text) => Some(text.to_owned()),
        None => word.expected("a text; put it in quotes"),
    };
    Some(words.iter().enumerate().filter_map(read).collect())
}
