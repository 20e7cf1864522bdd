//! One trigger of a `ScaledObject`: a number that KEDA reads, and its target.

use indexmap::IndexMap;
use serde::Serialize;

/// Something that KEDA scales by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Trigger {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) name: String,
    /// What its number is held against; `None` for a kind that has only one way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) metric_type: Option<MetricType>,
    pub(super) metadata: IndexMap<&'static str, String>,
}

/// How a number becomes a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum MetricType {
    /// Shared over the replicas.
    AverageValue,
    /// Its ratio to the target, times the replicas that are ready.
    Value,
    /// A share of what the pods request.
    Utilization,
}

impl Trigger {
    /// The answer to a query. Nothing found is no reading, not none.
    pub(super) fn prometheus(
        name: &str,
        metric_type: MetricType,
        server: &str,
        query: &str,
        target: f64,
    ) -> Self {
        let (query, target) = in_thousandths(query, target);
        Self {
            kind: "prometheus",
            name: name.to_owned(),
            metric_type: Some(metric_type),
            metadata: IndexMap::from([
                ("serverAddress", server.trim_end_matches('/').to_owned()),
                ("query", query),
                ("threshold", target.to_string()),
                ("ignoreNullValues", "false".to_owned()),
            ]),
        }
    }

    pub(super) fn share(resource: &'static str, percent: i32) -> Self {
        Self {
            kind: resource,
            name: resource.to_owned(),
            metric_type: Some(MetricType::Utilization),
            metadata: IndexMap::from([("value", percent.to_string())]),
        }
    }

    /// Whether it can tell that there is work while no pod runs.
    pub(super) fn wakes(&self) -> bool {
        !matches!(self.kind, "cpu" | "memory")
    }
}

/// A query and its target, made so much larger that the target is a whole number of thousandths, and of enough of
/// them to tell what is near it.
fn in_thousandths(query: &str, target: f64) -> (String, f64) {
    let mut factor = 1.0;
    while target * factor < 0.1 || !is_thousandths(target * factor) && target * factor < 1000.0 {
        factor *= 10.0;
    }
    if factor > 1.0 {
        (format!("{factor} * ({query})"), target * factor)
    } else {
        (query.to_owned(), target)
    }
}

/// Whether KEDA can say it.
pub(super) fn is_thousandths(number: f64) -> bool {
    let thousandths = number * 1000.0;
    (thousandths - thousandths.round()).abs() <= 1e-9 * thousandths && thousandths >= 0.5
}
