//! `compose-scale demo`

use std::{fmt::Write as _, io::Write as _, time::Duration};

use clap::Args;
use owo_colors::OwoColorize;

use super::{Failure, output};
use crate::{
    reconcile::Level,
    sim::{DEMO, Line, Scenario, State, Totals},
    telemetry::plain,
    units::Short,
};

/// Replicas that are drawn; beyond that a number has to do.
const DRAWN: usize = 20;

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// How many times as fast as it would be
    #[arg(long, value_name = "N", default_value_t = 10.0, value_parser = speed)]
    speed: f64,
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if (0.1..=100_000.0).contains(&speed) => Ok(speed),
        _ => Err("expected a number from 0.1 to 100000".into()),
    }
}

pub(super) fn run(args: &DemoArgs) -> Result<(), Failure> {
    let scenario: Scenario = DEMO
        .parse()
        .map_err(|error| Failure::Work(vec![format!("the built-in scenario: {error}")]))?;
    output::text(&format!(
        "This is `compose-scale watch` at work on a simulated server, {} times as fast as time. Nothing of \
         yours is touched, and no Docker is needed.\nEach ● is a replica that nginx sends requests to, each ○ \
         one that starts or finishes its requests.\n",
        Short(args.speed)
    ))?;
    let report = scenario.perform(
        args.speed,
        Box::new(|at, line| {
            let Some(line) = shown(at, line) else {
                return true;
            };
            let mut stdout = anstream::stdout().lock();
            // A reader who has gone away has seen enough.
            let written = stdout.write_all(line.as_bytes());
            written.and_then(|()| stdout.flush()).is_ok()
        }),
    )?;
    output::text(&end(&report.totals))
}

/// A line for people; `None` for what only a test wants to see.
fn shown(at: Duration, line: &Line) -> Option<String> {
    let clock = format!("{:>2}:{:02}", at.as_secs() / 60, at.as_secs() % 60);
    let text = match line {
        Line::Deed(_) => return None,
        Line::Said(text) => format!("\n{}\n", plain(text).bold()),
        Line::Log(text) => format!("{clock}  {}\n", plain(text).yellow()),
        Line::Note { note, .. } => {
            let what = note.what.to_string();
            let what = plain(&what);
            let what = match note.what.level() {
                Level::Error => what.red().to_string(),
                Level::Warn => what.yellow().to_string(),
                Level::Info | Level::Debug => what.to_string(),
            };
            format!("{clock}  {:<4} {what}\n", note.service)
        }
        Line::State(state) => format!("{clock}  {:<4} {}\n", state.service, bar(state).dimmed()),
    };
    Some(text)
}

fn bar(state: &State) -> String {
    let serving = state.serving.len();
    let others = (state.running as usize).saturating_sub(serving);
    let drawn = "●".repeat(serving.min(DRAWN)) + &"○".repeat(others.min(DRAWN));
    let mut text = format!(
        "{drawn:<9}{:>4}/s, {:.0}% busy",
        format!("{:.0}", state.rate),
        state.busy
    );
    if let Some(p95) = state.p95 {
        let _ = write!(text, ", p95 {p95:.0}ms");
    }
    if state.failed >= 1.0 {
        let _ = write!(text, ", {:.0} failed", state.failed);
    }
    text
}

fn end(totals: &std::collections::BTreeMap<String, Totals>) -> String {
    let mut text = String::from("\nThat was all of it:\n");
    for (service, totals) in totals {
        let p95 = totals.took.percentile(0.95).unwrap_or_default();
        let _ = writeln!(
            text,
            "  {service:<4} {:.0} requests, {:.0} failed, 95% within {p95:.0}ms; {} replicas on average",
            totals.came,
            totals.failed(),
            Short(totals.replica_seconds / totals.seconds.max(1.0))
        );
    }
    text.push_str(
        "\nFor a project of your own: add `x-autoscale: {min: 1, max: 4, metrics: [{cpu: 60%}]}` to a service, then\n  \
         compose-scale check       says what would keep it from working\n  \
         compose-scale simulate    tries the policy on a load of your choice\n  \
         compose-scale watch       does it\n",
    );
    text
}
