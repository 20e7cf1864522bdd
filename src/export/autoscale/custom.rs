//! Custom metrics as triggers of KEDA.

use std::fmt::Write;

use indexmap::IndexMap;

use crate::{
    policy::{
        CustomMetric, CustomSource, CustomTarget, HttpSource, PrometheusSource, ValueSelector,
    },
    units::Span,
};

use super::{
    AutoscaleSubject, address, gjson_path,
    notes::Notes,
    replicas,
    trigger::{MetricType, Trigger, is_thousandths},
};

/// KEDA waits so long for an answer, as long as nobody says otherwise.
const KEDA_TIMEOUT: Span = Span::seconds(3);

pub(super) fn trigger(
    subject: &AutoscaleSubject<'_>,
    custom: &CustomMetric,
    place: &str,
    notes: &mut Notes,
) -> Option<Trigger> {
    match &custom.source {
        Some(CustomSource::Prometheus(source)) => prometheus(subject, custom, source, place, notes),
        Some(CustomSource::Http(source)) => http(subject, custom, source, place, notes),
        Some(CustomSource::Command(source)) => {
            notes.lost(
                place,
                format!(
                    "{} comes from a command ({}), and nothing runs one in a cluster; left out",
                    custom.name,
                    source.argv.first().map_or("", String::as_str)
                ),
                "use the scaler that KEDA has for it (redis, rabbitmq, postgresql, kafka and many more), or answer the \
                 number over HTTP and use `http`",
            );
            None
        }
        None => {
            notes.lost(
                place,
                format!("{} has no source; left out", custom.name),
                "say where it comes from: http or prometheus",
            );
            None
        }
    }
}

/// How its number becomes a count, and what it is held against. The mean of the replicas is a ratio, too.
fn target(custom: &CustomMetric) -> (MetricType, f64) {
    match custom.target {
        CustomTarget::Average(target) => (MetricType::AverageValue, target),
        CustomTarget::Service(target) | CustomTarget::PerReplica(target) => {
            (MetricType::Value, target)
        }
    }
}

fn prometheus(
    subject: &AutoscaleSubject<'_>,
    custom: &CustomMetric,
    source: &PrometheusSource,
    place: &str,
    notes: &mut Notes,
) -> Option<Trigger> {
    let (metric_type, target) = target(custom);
    let mut query = one_series(source);
    if matches!(custom.target, CustomTarget::PerReplica(_)) {
        let mean = replicas::mean(&query, subject.name).filter(|_| !source.url.contains('{'));
        let Some(mean) = mean else {
            notes.lost(
                place,
                "a replica is named elsewhere than in a matcher of a label of the query, and KEDA asks one query for \
                 all of them; left out",
                "write {replica} or {name} as the value of a label: sessions{instance=\"{replica}:9100\"}",
            );
            return None;
        };
        notes.chosen(
            place,
            format!("is asked once for all replicas, as their mean: {mean}"),
            format!(
                "see that it finds the pods of this service only, with namespace=\"{}\" and pod=~\"{}-.+\" where your \
                 scrape has these labels",
                subject.namespace, subject.name
            ),
        );
        query = mean;
    }
    let server = address::in_cluster(subject, &source.url, Some(subject.prometheus), place, notes);
    let mut trigger = Trigger::prometheus(&custom.name, metric_type, &server, &query, target);
    let timeout = source.timeout.0.as_millis().max(1).to_string();
    trigger.metadata.insert("timeout", timeout);
    Some(trigger)
}

/// The query, with the labels that pick one of its series.
fn one_series(source: &PrometheusSource) -> String {
    if source.labels.is_empty() {
        return source.query.clone();
    }
    let names: Vec<&str> = source.labels.keys().map(String::as_str).collect();
    let picked = source
        .labels
        .iter()
        .fold("vector(1)".to_owned(), |vector, (name, value)| {
            let value = quoted(&value.replace('$', "$$"));
            format!("label_replace({vector}, \"{name}\", {value}, \"\", \"\")")
        });
    format!("({}) and on ({}) {picked}", source.query, names.join(", "))
}

fn http(
    subject: &AutoscaleSubject<'_>,
    custom: &CustomMetric,
    source: &HttpSource,
    place: &str,
    notes: &mut Notes,
) -> Option<Trigger> {
    let (metric_type, target) = target(custom);
    let (format, location) = match &source.pick {
        ValueSelector::Pointer { pointer } => {
            let Some(path) = gjson_path::gjson(pointer) else {
                notes.lost(
                    place,
                    format!(
                        "the pointer {pointer} has an empty key, which KEDA cannot name; left out"
                    ),
                    "answer the number at another place of the JSON",
                );
                return None;
            };
            ("json", path)
        }
        ValueSelector::Sample { metric, labels } => ("prometheus", selector(metric, labels)),
    };
    let mut metadata = IndexMap::from([("format", format.to_owned()), ("valueLocation", location)]);
    let url = if matches!(custom.target, CustomTarget::PerReplica(_)) {
        metadata.insert("aggregateFromKubeServiceEndpoints", "true".to_owned());
        metadata.insert("aggregationType", "average".to_owned());
        of_every_pod(subject, source, place, notes)?
    } else {
        address::in_cluster(subject, &source.url, None, place, notes)
    };
    metadata.shift_insert(0, "url", url);
    metadata.shift_insert(3, "targetValue", target.to_string());
    if !is_thousandths(target) {
        notes.lost(
            place,
            format!("KEDA takes the target {target} to three digits behind the point"),
            "answer the number in a smaller unit",
        );
    }
    if source.timeout > KEDA_TIMEOUT {
        let what = format!(
            "KEDA waits {KEDA_TIMEOUT} for an answer, not {}",
            source.timeout
        );
        let fix = "set KEDA_HTTP_DEFAULT_TIMEOUT (in milliseconds) of KEDA's operator";
        // What nobody wrote is nobody's loss.
        if source.timeout == CustomSource::TIMEOUT {
            notes.chosen(place, what, fix);
        } else {
            notes.lost(place, what, fix);
        }
    }
    Some(Trigger {
        kind: "metrics-api",
        name: custom.name.clone(),
        metric_type: Some(metric_type),
        metadata,
    })
}

/// The URL of the service whose pods are asked one by one.
fn of_every_pod(
    subject: &AutoscaleSubject<'_>,
    source: &HttpSource,
    place: &str,
    notes: &mut Notes,
) -> Option<String> {
    let url = address::UrlParts::parse(&source.url).filter(|url| {
        (url.host == "{replica}" || url.host == subject.service) && !url.rest.contains(['{', '?'])
    });
    let Some(url) = url else {
        notes.lost(
            place,
            format!(
                "KEDA asks the pods of a Service for a path each, without a query, and {} is something else; left out",
                address::shown(&source.url)
            ),
            "use http://{replica}:PORT/PATH, or let Prometheus scrape the pods and use `prometheus`",
        );
        return None;
    };
    let url = url.at_service(subject.name, subject.namespace);
    notes.chosen(
        place,
        format!("every pod behind {} is asked, for the mean; this needs KEDA 2.20", address::shown(&url)),
        "have that port in the Service; with an older KEDA let Prometheus scrape the pods and use `prometheus`",
    );
    Some(url)
}

/// A sample as Prometheus selects it.
fn selector(metric: &str, labels: &std::collections::BTreeMap<String, String>) -> String {
    let mut selector = metric.to_owned();
    for (index, (name, value)) in labels.iter().enumerate() {
        let before = if index == 0 { '{' } else { ',' };
        let _ = write!(selector, "{before}{name}={}", quoted(value));
    }
    if !labels.is_empty() {
        selector.push('}');
    }
    selector
}

/// A text as `PromQL` writes it.
fn quoted(text: &str) -> String {
    let text = text
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    format!("\"{text}\"")
}
