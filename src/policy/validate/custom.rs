//! Metrics from a command, a URL or a Prometheus server.

use std::collections::BTreeMap;

use super::{
    Form,
    cursor::{AllowedKeys, Cursor, Entries},
    value::{above_zero, argv, count, span_above_zero, text},
};
use crate::policy::{
    CommandSource, CustomMetric, CustomSource, CustomTarget, Fallback, HttpSource,
    PrometheusSource, ValueSelector,
};

const SOURCES: [&str; 3] = ["command", "http", "prometheus"];
const TARGETS: [&str; 3] = ["average_target", "service_target", "per_replica_target"];
/// Names of metrics that are something else already.
const TAKEN: [&str; 7] = [
    "cpu",
    "memory",
    "requests",
    "in_flight",
    "latency",
    "errors",
    "p95",
];

pub(super) fn custom(at: &Cursor<'_>, form: Form) -> Option<CustomMetric> {
    let [command_key, http_key, prometheus_key] = SOURCES;
    let [average, service, per_replica] = TARGETS;
    let keys = [
        "name",
        command_key,
        http_key,
        prometheus_key,
        average,
        service,
        per_replica,
        "fallback",
        "failures",
    ];
    let keys = AllowedKeys::only(&keys);
    let example = r#"{name: jobs, command: ["redis-cli", "llen", "jobs"], average_target: 100}"#;
    let map = at.map(&keys, example)?;
    let name = map.require("name", "the name of the metric", name);
    let target = target(at, &map);
    let each = matches!(target, Some(CustomTarget::PerReplica(_)));
    let mut source = None;
    map.read(command_key, &mut source, |at| {
        Some(Some(CustomSource::Command(command(at)?)))
    });
    map.read(http_key, &mut source, |at| {
        Some(Some(CustomSource::Http(http(at)?)))
    });
    map.read(prometheus_key, &mut source, |at| {
        Some(Some(CustomSource::Prometheus(prometheus(at)?)))
    });
    match map.present(&SOURCES).as_slice() {
        [] if form == Form::Decision => {}
        [] => at.problem("its source is missing, expected command, http or prometheus"),
        [_] => {}
        several => at.problem(format!(
            "found {}, expected only one of command, http or prometheus",
            several.join(" and ")
        )),
    }
    if let (Some(source), Some(_)) = (&source, target)
        && !each
        && names_a_replica(source)
    {
        at.problem("`{replica}` and `{name}` are only for per_replica_target, which is read for each replica");
    }
    let fallback = map.or("fallback", None, |at| fallback(at).map(Some));
    let failures = map.or("failures", CustomMetric::FAILURES, |at| count(at, 1, 1000));
    Some(CustomMetric {
        name: name?,
        source,
        target: target?,
        fallback: fallback?,
        failures: failures?,
    })
}

fn name(at: &Cursor<'_>) -> Option<String> {
    let name = text(at, "the name of the metric")?;
    if TAKEN.contains(&name.as_str()) {
        return at.expected_text("another name; this one is a metric of its own");
    }
    Some(name)
}

fn target(at: &Cursor<'_>, map: &Entries<'_>) -> Option<CustomTarget> {
    let mut target = None;
    for key in TARGETS {
        map.read(key, &mut target, |at| {
            let number = above_zero(at)?;
            Some(Some(match key {
                "average_target" => CustomTarget::Average(number),
                "service_target" => CustomTarget::Service(number),
                _ => CustomTarget::PerReplica(number),
            }))
        });
    }
    let one = "average_target, service_target or per_replica_target";
    match map.present(&TARGETS).as_slice() {
        [_] => {}
        [] => at.problem(format!("the target is missing, expected {one}")),
        several => at.problem(format!(
            "found {}, expected only one of {one}",
            several.join(" and ")
        )),
    }
    target
}

fn fallback(at: &Cursor<'_>) -> Option<Fallback> {
    let map = at.map(&AllowedKeys::only(&["replicas"]), "{replicas: 4}")?;
    let what = "a whole number from 1 to 1000";
    let replicas = map.require("replicas", what, |at| count(at, 1, 1000))?;
    Some(Fallback { replicas })
}

fn command(at: &Cursor<'_>) -> Option<CommandSource> {
    let example = r#"["redis-cli", "llen", "jobs"]"#;
    let expected = format!("a list like {example}; it is run without a shell");
    if at.value().is_array() {
        return Some(CommandSource {
            argv: argv(at, &expected)?,
            service: None,
            pointer: None,
            timeout: CustomSource::TIMEOUT,
        });
    }
    if !at.value().is_object() {
        return at.expected(format!(
            "{expected}, or a map like {{argv: {example}, service: redis}}"
        ));
    }
    let keys = AllowedKeys::only(&["argv", "service", "pointer", "timeout"]);
    let map = at.map(
        &keys,
        r#"{argv: ["redis-cli", "llen", "jobs"], service: redis}"#,
    )?;
    let argv = map.require("argv", &expected, |at| argv(at, &expected));
    let service = map.or("service", None, |at| {
        text(at, "the name of a service").map(Some)
    });
    let pointer = map.or("pointer", None, |at| pointer(at).map(Some));
    let timeout = timeout(&map);
    Some(CommandSource {
        argv: argv?,
        service: service?,
        pointer: pointer?,
        timeout: timeout?,
    })
}

fn http(at: &Cursor<'_>) -> Option<HttpSource> {
    let keys = AllowedKeys::only(&["url", "pointer", "metric", "labels", "timeout"]);
    let example = r#"{url: "http://127.0.0.1:8000/stats", pointer: /queue/depth}"#;
    let map = at.map(&keys, example)?;
    let url = map.require("url", "a URL like http://127.0.0.1:8000/stats", url);
    let at_pointer = map.or("pointer", None, |at| pointer(at).map(Some));
    let sample = map.or("metric", None, |at| {
        text(at, "the name of a Prometheus metric").map(Some)
    });
    let labels = map.or("labels", BTreeMap::new(), labels);
    let timeout = timeout(&map);
    match map.present(&["pointer", "metric"]).len() {
        1 => {}
        0 => at.problem("says not where the number is, expected `pointer` for JSON or `metric` for the text format of Prometheus"),
        _ => at.problem("found pointer and metric, expected only one of them"),
    }
    if map.get("metric").is_none()
        && let Some(at) = map.get("labels")
    {
        at.problem("is for `metric`, which is missing");
    }
    let pick = match (at_pointer?, sample?) {
        (Some(pointer), _) => ValueSelector::Pointer { pointer },
        (None, metric) => ValueSelector::Sample {
            metric: metric?,
            labels: labels?,
        },
    };
    Some(HttpSource {
        url: url?,
        pick,
        timeout: timeout?,
    })
}

fn prometheus(at: &Cursor<'_>) -> Option<PrometheusSource> {
    let keys = AllowedKeys::only(&["url", "query", "labels", "timeout"]);
    let example = r#"{url: "http://127.0.0.1:9090", query: "sum(rate(http_requests_total[1m]))"}"#;
    let map = at.map(&keys, example)?;
    let url = map.require("url", "a URL like http://127.0.0.1:9090", url);
    let what = "a PromQL query";
    let query = map.require("query", what, |at| {
        at.value()
            .as_str()
            .filter(|query| !query.trim().is_empty())
            .map(str::to_owned)
            .or_else(|| at.expected_text(what))
    });
    let labels = map.or("labels", BTreeMap::new(), labels);
    let timeout = timeout(&map);
    Some(PrometheusSource {
        url: url?,
        query: query?,
        labels: labels?,
        timeout: timeout?,
    })
}

fn timeout(map: &Entries<'_>) -> Option<crate::units::Span> {
    map.or("timeout", CustomSource::TIMEOUT, |at| {
        Some(span_above_zero(at)?)
            .filter(|span| span.0.as_secs() <= 60)
            .or_else(|| at.expected_text("a duration of at most 1m"))
    })
}

/// TLS is left to a command: `curl` knows the certificates of the machine.
pub(super) fn url(at: &Cursor<'_>) -> Option<String> {
    let url = text(at, "a URL like http://127.0.0.1:8000/stats")?;
    if url.starts_with("https://") {
        at.problem(format!(
            "found `{url}`; https is not spoken here, use `command: [\"curl\", \"-fsS\", \"{url}\"]`"
        ));
        return None;
    }
    let rest = url.strip_prefix("http://").unwrap_or_default();
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.contains('@') {
        // It may hold a password, which is for nobody's log.
        at.problem("a user and a password do not belong into a URL here; use a `command`, like curl with a file for them");
        return None;
    }
    if host.is_empty() || url.chars().any(char::is_whitespace) {
        return at.expected_text("a URL like http://127.0.0.1:8000/stats, without spaces");
    }
    Some(url)
}

/// RFC 6901: empty for the whole document, else each step begins with a slash.
fn pointer(at: &Cursor<'_>) -> Option<String> {
    at.value()
        .as_str()
        .filter(|pointer| pointer.is_empty() || pointer.starts_with('/'))
        .map(str::to_owned)
        .or_else(|| at.expected_text("a JSON pointer like /queue/depth"))
}

fn labels(at: &Cursor<'_>) -> Option<BTreeMap<String, String>> {
    let expected = "a map of labels, like {queue: mail}";
    let Some(map) = at.value().as_object() else {
        return at.expected(expected);
    };
    let mut labels = BTreeMap::new();
    for (key, value) in map {
        match value.as_str() {
            Some(text) => {
                labels.insert(key.clone(), text.to_owned());
            }
            None => at.problem(format!(
                "the value of `{key}` is not a text, expected {expected}"
            )),
        }
    }
    Some(labels)
}

fn names_a_replica(source: &CustomSource) -> bool {
    let named = |text: &String| text.contains("{replica}") || text.contains("{name}");
    match source {
        CustomSource::Command(command) => command.argv.iter().any(named),
        CustomSource::Http(http) => named(&http.url),
        CustomSource::Prometheus(prometheus) => named(&prometheus.url) || named(&prometheus.query),
    }
}
