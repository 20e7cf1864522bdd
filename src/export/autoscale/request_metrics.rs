//! Metrics of the requests that a service answers, from the ingress controller's own metrics.

use std::fmt::Write;

use crate::{
    policy::{ErrorTarget, LatencyTarget, Metric, Policy, TrafficTarget},
    units::{Short, Span},
};

use super::{
    AutoscaleSubject, Controller,
    notes::Notes,
    promql::SeriesSelector,
    trigger::{MetricType, Trigger},
};

/// A rate needs two samples; with four scrapes in its window a lost one does no harm. Prometheus is usually told
/// to scrape every 15 s to 30 s.
const SHORTEST: Span = Span::seconds(60);

pub(super) fn trigger(
    subject: &AutoscaleSubject<'_>,
    policy: &Policy,
    metric: &Metric,
    place: &str,
    notes: &mut Notes,
) -> Option<Trigger> {
    let Some(controller) = subject.ingress else {
        notes.lost(
            place,
            "no ingress sends requests to this service, so nothing counts them there; left out",
            "scale by cpu, or let the application count its requests and use custom with prometheus",
        );
        return None;
    };
    let asked = metric.traffic_window()?;
    let window = window(asked);
    let Some(series) = SeriesSelector::new(controller, subject, window.to_string()) else {
        notes.lost(
            place,
            format!(
                "{} names a service by its port, and this one has none; left out",
                controller.name()
            ),
            "set `port` in x-autoscale, or expose the one port",
        );
        return None;
    };
    note_source(subject, controller, asked, place, notes);
    let (metric_type, query, target) = match metric {
        Metric::Requests(traffic) => (MetricType::AverageValue, series.requests(), traffic.target),
        Metric::InFlight(traffic) => {
            notes.lost(
                place,
                "a request counts when it ends, with all that it took: one that takes longer than the window counts \
                 for more than one",
                "use `requests` where requests are that long",
            );
            (MetricType::AverageValue, series.in_flight(), traffic.target)
        }
        Metric::Latency(latency) => {
            note_latency(controller, latency, place, notes);
            let query = series.latency(latency.percentile.share());
            (MetricType::Value, query, milliseconds(latency.target))
        }
        Metric::Errors(errors) => {
            let up = policy.tolerance.up;
            note_errors(errors, up, place, notes);
            let (query, target) = one_more(&series.errors(), errors.above.get(), up);
            (MetricType::Value, query, target)
        }
        Metric::Cpu(_) | Metric::Memory(_) | Metric::Custom(_) => return None,
    };
    Some(Trigger::prometheus(
        metric.name(),
        metric_type,
        subject.prometheus,
        &query,
        target,
    ))
}

fn window(asked: Span) -> Span {
    let seconds = asked.0.as_secs() + u64::from(asked.0.subsec_nanos() > 0);
    Span::seconds(seconds).max(SHORTEST)
}

fn note_source(
    subject: &AutoscaleSubject<'_>,
    controller: Controller,
    asked: Span,
    place: &str,
    notes: &mut Notes,
) {
    let mut what = format!(
        "is what {} counts, read from the Prometheus at {}",
        controller.name(),
        subject.prometheus
    );
    let window = window(asked);
    let fix = format!(
        "let that Prometheus scrape {} every 15s, or make the window in the query four times as long as its interval",
        controller.name()
    );
    if window != asked {
        let _ = write!(
            what,
            ", over {window} and not {asked}: a rate needs four scrapes of 15s"
        );
    }
    // What nobody wrote is nobody's loss.
    let usual = [TrafficTarget::WINDOW, LatencyTarget::WINDOW].map(Span::seconds);
    if window == asked || usual.contains(&asked) {
        notes.chosen(place, what, fix);
    } else {
        notes.lost(place, what, fix);
    }
}

fn note_latency(controller: Controller, latency: &LatencyTarget, place: &str, notes: &mut Notes) {
    let name = controller.name();
    let seconds = milliseconds(latency.target) / 1000.0;
    let buckets = controller.buckets();
    let last = buckets.last().copied().unwrap_or_default();
    if seconds >= last {
        notes.lost(
            place,
            format!(
                "{name} does not tell what takes longer than {last}s, so {} is never exceeded",
                latency.target
            ),
            format!("give it buckets beyond that: {}", controller.set_buckets()),
        );
    } else if !buckets.contains(&seconds) {
        let around: Vec<String> = buckets.iter().map(ToString::to_string).collect();
        notes.chosen(
            place,
            format!(
                "{name} counts in buckets up to {} seconds, and what is between them is a guess",
                around.join(", ")
            ),
            format!(
                "give it one that ends at {seconds}: {}",
                controller.set_buckets()
            ),
        );
    }
    notes.lost(
        place,
        "the count follows the ratio to the target, up and down, also where more replicas do not help: a slow database \
         takes it to max",
        "keep max low, and cpu or in_flight beside it",
    );
}

fn note_errors(errors: &ErrorTarget, up: f64, place: &str, notes: &mut Notes) {
    // ceil(n × 1.01 × (1 + up)) is n + 1 up to here.
    let most = (1.0 / (BEYOND * (1.0 + up) - 1.0)).floor();
    let mut what = format!(
        "above {} more are asked for again and again, whether that helps or not: one up to {most} replicas, {}% with more",
        errors.above,
        Short((BEYOND * (1.0 + up) - 1.0) * 100.0),
    );
    if errors.step > 1 {
        let _ = write!(what, "; a step of {} has no word there", errors.step);
    }
    notes.lost(
        place,
        what,
        "keep max low: failures that are not for lack of replicas take the count there",
    );
}

/// So little beyond the end of the tolerance that one more is asked for.
const BEYOND: f64 = 1.01;

/// A percentage and the target for it, so that above `above` a little more than what there is is asked for, however
/// large it is.
fn one_more(share: &str, above: f64, up: f64) -> (String, f64) {
    let (target, most) = (four_digits(above / (1.0 + up)), four_digits(above * BEYOND));
    (format!("clamp_max({share}, {most})"), target)
}

/// Rounded up to four digits that say something.
fn four_digits(number: f64) -> f64 {
    let factor = 10f64.powf(3.0 - number.log10().floor());
    // What binary fractions add to a number is none of it.
    (number * factor * (1.0 - 1e-12)).ceil() / factor
}

fn milliseconds(span: Span) -> f64 {
    span.0.as_secs_f64() * 1000.0
}
