//! The project's own settings.

use std::{path::PathBuf, time::Duration};

use super::{
    SERVICE_KEYS,
    cursor::{AllowedKeys, Cursor},
    custom::url,
    notify::notify,
    value::{argv, span, text},
};
use crate::{
    policy::{HostReserve, Logs, NginxPlacement, NginxPolicy, ReplicaReach, Reserve, Settings},
    units::{Percent, Span},
};

pub(super) fn settings(at: &Cursor<'_>) -> Settings {
    let mut settings = Settings::default();
    let defaults = SERVICE_KEYS.iter().copied().filter(|key| *key != "port");
    let allowed: Vec<&str> = ["interval", "nginx", "host", "notify"]
        .into_iter()
        .chain(defaults)
        .collect();
    let keys = AllowedKeys {
        allowed: &allowed,
        unavailable: &[("port", "belongs to a service: each has its own")],
    };
    let Some(map) = at.map(&keys, "{interval: 5s}") else {
        return settings;
    };
    map.read("interval", &mut settings.interval, interval);
    map.read("nginx", &mut settings.nginx, nginx);
    map.read("host", &mut settings.host, host);
    map.read("notify", &mut settings.notify, notify);
    settings
}

fn host(at: &Cursor<'_>) -> Option<HostReserve> {
    let keys = AllowedKeys::only(&["reserve_memory", "reserve_cpu"]);
    let map = at.map(&keys, "{reserve_memory: 10%, reserve_cpu: 5%}")?;
    let mut host = HostReserve::default();
    map.read("reserve_memory", &mut host.reserve_memory, |at| {
        let expected = "none, a percentage below 100% or a size like 512m";
        match at.value().as_str() {
            Some("none") => Some(None),
            Some(text) if text.ends_with('%') => {
                let share = part(text).or_else(|| at.expected_text(expected))?;
                Some(Some(Reserve::Share(share)))
            }
            Some(text) => match text.parse() {
                Ok(bytes) => Some(Some(Reserve::Bytes(bytes))),
                Err(_) => at.expected_text(expected),
            },
            None => at.expected(expected),
        }
    });
    map.read("reserve_cpu", &mut host.reserve_cpu, |at| {
        let expected = "none or a percentage below 100%";
        match at.value().as_str() {
            Some("none") => Some(None),
            Some(text) => {
                part(text).map_or_else(|| at.expected_text(expected), |share| Some(Some(share)))
            }
            None => at.expected(expected),
        }
    });
    Some(host)
}

/// A percentage below 100%.
fn part(text: &str) -> Option<Percent> {
    text.parse()
        .ok()
        .filter(|share: &Percent| share.get() < 100.0)
}

fn interval(at: &Cursor<'_>) -> Option<Span> {
    Some(span(at)?)
        .filter(|span| span.0 >= Duration::from_secs(1))
        .or_else(|| at.expected_text("a duration of at least 1s"))
}

fn nginx(at: &Cursor<'_>) -> Option<NginxPolicy> {
    let keys = AllowedKeys {
        allowed: &[
            "service",
            "container",
            "host",
            "upstreams",
            "logs",
            "reload",
            "test",
            "pid",
            "reach",
        ],
        unavailable: &[],
    };
    let map = at.map(&keys, "{service: nginx, upstreams: ./nginx/upstreams}")?;
    let mut nginx = NginxPolicy::default();
    map.read("service", &mut nginx.place, |at| {
        Some(Some(NginxPlacement::Service(text(
            at,
            "the name of a service",
        )?)))
    });
    map.read("container", &mut nginx.place, |at| {
        Some(Some(NginxPlacement::Container(text(
            at,
            "the name of a container",
        )?)))
    });
    map.read("host", &mut nginx.place, |at| match at.value().as_bool() {
        Some(true) => Some(Some(NginxPlacement::Host(true))),
        Some(false) => at.expected_text("true; leave it out where nginx runs in a container"),
        None => at.expected_text("true"),
    });
    let places = map.present(&["service", "container", "host"]);
    if places.len() > 1 {
        at.problem(format!(
            "found {}, expected only one of them",
            places.join(" and ")
        ));
    }
    for key in map.present(&["pid", "reach"]) {
        if !matches!(nginx.place, Some(NginxPlacement::Host(_)))
            && let Some(at) = map.get(key)
        {
            at.problem("is only for nginx on this host; add `host: true`");
        }
    }
    map.read("pid", &mut nginx.pid, |at| {
        let path = text(at, "the path of a file, like /run/nginx.pid")?;
        Some(Some(PathBuf::from(path)))
    });
    map.read("reach", &mut nginx.reach, |at| match at.value().as_str() {
        Some("auto") => Some(ReplicaReach::Auto),
        Some("container") => Some(ReplicaReach::Container),
        Some("published") => Some(ReplicaReach::Published),
        _ => at.expected_text("auto, container or published"),
    });
    map.read("upstreams", &mut nginx.upstreams, |at| {
        let path = text(at, "the path of a directory, like ./nginx/upstreams")?;
        Some(Some(PathBuf::from(path)))
    });
    if let Some(at) = map.get("logs") {
        nginx.logs = logs(&at, matches!(nginx.place, Some(NginxPlacement::Host(_))));
    }
    if let Some(at) = map.get("reload") {
        nginx.reload = command(&at, r#"["systemctl", "reload", "nginx"]"#);
    }
    if let Some(at) = map.get("test") {
        nginx.test = command(&at, r#"["nginx", "-t"]"#);
    }
    Some(nginx)
}

fn logs(at: &Cursor<'_>, on_host: bool) -> Option<Logs> {
    let keys = AllowedKeys::only(&["dir", "inside", "stub_status"]);
    let example = "{dir: ./nginx/logs, inside: /var/log/compose-scale}";
    let map = at.map(&keys, example)?;
    let dir = map.require("dir", "the path of a directory, like ./nginx/logs", |at| {
        text(at, "the path of a directory, like ./nginx/logs").map(PathBuf::from)
    });
    let path = "an absolute path of letters, digits and `/._-`, like /var/log/compose-scale";
    let inside = if on_host {
        if let Some(at) = map.get("inside") {
            at.problem(
                "is for nginx in a container; on this host nginx sees the directory as it is",
            );
        }
        None
    } else {
        Some(map.require(
            "inside",
            format_args!("{path}: where nginx's container has that directory"),
            |at| {
                let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
                let text = text(at, path)?;
                if !text.starts_with('/') || !text.chars().all(plain) {
                    return at.expected_text(path);
                }
                Some(PathBuf::from(text))
            },
        )?)
    };
    let status = map.or("stub_status", None, |at| url(at).map(Some));
    Some(Logs {
        dir: dir?,
        inside,
        stub_status: status?,
    })
}

/// A command in the words it is run with; `None` is the one that is built in.
fn command(at: &Cursor<'_>, example: &str) -> Option<Vec<String>> {
    let expected = format!("builtin or a list like {example}; it is run without a shell");
    match at.value().as_str() {
        Some("builtin") => None,
        Some(_) => {
            at.problem(format!("found a text, expected {expected}"));
            None
        }
        None => argv(at, &expected),
    }
}
