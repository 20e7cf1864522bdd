//! A simulation for a terminal, and for programs.

use std::fmt::Write;

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use serde_json::{Map, Value, json};

use super::{
    Results, Tried,
    format::{grouped, hours, millis, share},
    sizing_report,
};
use crate::{
    compose::render,
    policy::{Behavior, Policy},
    sim::{Measures, PolicyGoal},
    units::{Short, Span},
};

const HEADINGS: [&str; 11] = [
    "POLICY",
    "REPLICA-HOURS",
    "REPLICAS",
    "BUSY",
    "OVER TARGET",
    "P50",
    "P95",
    "P99",
    "FAILED",
    "CHANGES",
    "SHORT OF",
];

/// For people.
pub(super) fn text(results: &Results) -> String {
    let mut text = String::new();
    let first = results.tried.first();
    let (span, requests) = first.map_or((Span::default(), 0.0), |one| {
        (Span(one.trial.span), one.outcome.measures.requests)
    });
    let _ = writeln!(
        text,
        "load  {} over {span}, {} requests",
        results.load,
        grouped(requests)
    );
    let _ = writeln!(text, "app   {}\n", results.app);
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(HEADINGS);
    let suggested = results.found.iter().filter_map(|(_, best)| best.as_ref());
    for tried in results.tried.iter().chain(suggested) {
        table.add_row(row(tried));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for line in table.lines() {
        let _ = writeln!(text, "{}", line.trim_end());
    }
    for tried in &results.tried {
        if let Some(goal) = results.goal {
            let _ = writeln!(
                text,
                "\n{}: {}",
                tried.name,
                verdict(goal, &tried.outcome.measures)
            );
        }
        for line in remarks(tried) {
            let _ = writeln!(text, "{}: {line}", tried.name);
        }
    }
    if let Some((found, best)) = &results.found {
        let goal = results.goal.map_or(String::new(), |goal| goal.to_string());
        match best {
            Some(best) => {
                let cost = hours(best.outcome.measures.replica_hours);
                let _ = write!(
                    text,
                    "\nThe cheapest of {} policies that meets {goal}: {} replica-hours",
                    found.tried, cost
                );
                if let Some(one) = first {
                    let _ = write!(
                        text,
                        ", where {} takes {}",
                        one.name,
                        hours(one.outcome.measures.replica_hours)
                    );
                }
                let _ = writeln!(
                    text,
                    ". To paste into the service:\n\n{}",
                    snippet(&best.trial.policy)
                );
            }
            None => {
                let _ = writeln!(
                    text,
                    "\nNone of {} policies meets {goal}. {}",
                    found.tried,
                    advice(first)
                );
            }
        }
    }
    if let Some(sizing) = &results.sizing {
        text.push_str(&sizing_report::text(sizing));
    }
    text
}

fn row(tried: &Tried) -> Vec<Cell> {
    let measures = &tried.outcome.measures;
    let ms = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), millis);
    let flaps = match measures.flaps {
        0 => String::new(),
        flaps => format!(" ({flaps} back)"),
    };
    [
        tried.name.clone(),
        hours(measures.replica_hours),
        format!("{}-{}", measures.fewest, measures.most),
        format!("{:.0}%", measures.utilisation),
        share(measures.over_target),
        ms(measures.p50_ms),
        ms(measures.p95_ms),
        ms(measures.p99_ms),
        share(measures.failed()),
        format!("{}{flaps}", measures.scale_events),
        measures.largest_shortage.to_string(),
    ]
    .map(Cell::new)
    .into()
}

/// Whether a goal was kept, and by how much not.
pub(super) fn verdict(goal: PolicyGoal, measures: &Measures) -> String {
    if goal.is_kept(measures) {
        return format!("meets {goal}");
    }
    if measures.failed() > PolicyGoal::FAILED {
        return format!(
            "misses {goal}: {} of the requests failed",
            share(measures.failed())
        );
    }
    match goal {
        PolicyGoal::Latency(..) => format!("misses {goal}: requests took longer"),
        PolicyGoal::Utilisation(percent) => format!(
            "misses {goal}: replicas were busier for {} of the time",
            share(measures.busier_than(percent))
        ),
    }
}

/// What somebody should know who reads the numbers.
fn remarks(tried: &Tried) -> Vec<String> {
    let measures = &tried.outcome.measures;
    let mut remarks = Vec::new();
    let most = f64::from(tried.trial.policy.max) * tried.trial.profile.capacity();
    if measures.peak > most {
        remarks.push(format!(
            "the load of up to {}/s is more than its maximum of {} replicas can handle",
            Short(measures.peak),
            tried.trial.policy.max
        ));
    } else if measures.largest_shortage > 0 {
        remarks.push(format!(
            "it was short of {} for a while: load rose faster than it added replicas",
            measures.largest_shortage
        ));
    }
    if measures.starved >= 0.005 {
        remarks.push(format!(
            "the host's cores were not enough for {} of the time, and everything took longer; set the real number with --host-cores",
            share(measures.starved)
        ));
    }
    let said = |part: &str| {
        let mut told = tried.outcome.told.iter();
        told.any(|(_, what)| what.contains(part))
    };
    for (part, what) in [
        (
            "the host has memory",
            "the host's memory was full and no more were added; set the real size with --host-memory",
        ),
        (
            "the host's cores are",
            "the host's cores were full and no more were added; set the real number with --host-cores",
        ),
    ] {
        if said(part) {
            remarks.push(what.to_owned());
        }
    }
    if measures.broken > 0.0 {
        remarks.push(format!(
            "{} requests ended with their replica",
            grouped(measures.broken)
        ));
    }
    remarks
}

fn advice(first: Option<&Tried>) -> String {
    let Some(one) = first else {
        return String::new();
    };
    let profile = &one.trial.profile;
    let ms = profile.service_time.as_secs_f64() * 1000.0;
    format!(
        "A request takes {} without waiting, up to {} replicas are allowed and one needs {} to start: allow more replicas, start them faster, or relax the goal.",
        millis(ms),
        one.trial.policy.max,
        Span::measured(profile.start_time)
    )
}

/// A policy as one writes it, without what is usual.
pub(super) fn snippet(policy: &Policy) -> String {
    let plain = |value: serde_json::Result<Value>| value.unwrap_or_default();
    let own = plain(serde_json::to_value(policy));
    let usual = plain(serde_json::to_value(Policy::default()));
    let usual_behavior = plain(serde_json::to_value(Behavior::default()));
    let mut kept = Map::new();
    for (key, value) in own.as_object().into_iter().flatten() {
        let always = matches!(key.as_str(), "min" | "max" | "metrics");
        if key == "behavior" {
            let value = differences(value, &usual_behavior);
            if value.as_object().is_some_and(|map| !map.is_empty()) {
                kept.insert(key.clone(), value);
            }
        } else if always || usual.get(key) != Some(value) {
            kept.insert(key.clone(), value.clone());
        }
    }
    render::yaml(&json!({ "x-autoscale": kept }))
}

/// What of it is not the same as usual.
fn differences(own: &Value, usual: &Value) -> Value {
    match (own, usual) {
        (Value::Object(own), Value::Object(usual)) => {
            let mut kept = Map::new();
            for (key, value) in own {
                match usual.get(key) {
                    Some(same) if same == value => {}
                    Some(other) => {
                        kept.insert(key.clone(), differences(value, other));
                    }
                    None => {
                        kept.insert(key.clone(), value.clone());
                    }
                }
            }
            Value::Object(kept)
        }
        _ => own.clone(),
    }
}

/// For programs.
pub(super) fn json(results: &Results) -> Value {
    let one = |tried: &Tried| {
        let mut value = serde_json::to_value(&tried.outcome.measures).unwrap_or_default();
        value["name"] = tried.name.clone().into();
        value["failed"] = tried.outcome.measures.failed().into();
        if let Some(goal) = results.goal {
            value["keeps_to_goal"] = goal.is_kept(&tried.outcome.measures).into();
        }
        value["policy"] = serde_json::to_value(&tried.trial.policy).unwrap_or_default();
        value["changes"] = serde_json::to_value(&tried.outcome.changes).unwrap_or_default();
        if let Some(sizing) = &results.sizing {
            let of_it = sizing.policies.iter().find(|one| one.name == tried.name);
            value["sizing"] = of_it.map_or(Value::Null, |one| sizing_report::json_of(sizing, one));
        }
        value
    };
    let first = results.tried.first();
    let mut document = json!({
        "version": 1,
        "load": results.load,
        "seconds": first.map(|one| one.trial.span.as_secs_f64()),
        "seed": first.map(|one| one.trial.seed),
        "goal": results.goal.map(|goal| goal.to_string()),
        "policies": results.tried.iter().map(one).collect::<Vec<_>>(),
    });
    if let Some(sizing) = &results.sizing {
        document["sizing"] = sizing_report::json(sizing);
    }
    if let Some((found, best)) = &results.found {
        document["suggestion"] = json!({
            "tried": found.tried,
            "best": best.as_ref().map(one),
        });
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_written_without_what_is_usual_and_can_be_read_again() {
        let value = json!({
            "min": 2, "max": 8, "metrics": [{"cpu": "65%"}, {"requests": 20}],
            "behavior": {"scale_down": {"stabilization_window": "1m"}},
        });
        let policy = crate::policy::policy(&value).unwrap();
        let text = snippet(&policy);
        insta::assert_snapshot!(text, @r"
        x-autoscale:
          min: 2
          max: 8
          metrics:
          - cpu: 65%
          - requests: 20.0
          behavior:
            scale_down:
              stabilization_window: 1m
        ");
    }
}
