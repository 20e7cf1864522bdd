//! `compose-scale demo`

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use clap::{Args, ValueEnum};
use owo_colors::OwoColorize;
use tokio_util::sync::CancellationToken;

use super::{Failure, driver_setup::block_on};
use crate::{
    reconcile::{EventLevel, ScalingEvent},
    screen::{self, Screen, ScreenMessage},
    sim::{DEMO, Expectation, Scenario, ScenarioReport, ServiceCondition, Totals},
    telemetry::plain,
    units::Short,
};

mod docker;
mod load_generator;

/// Replicas that are drawn; beyond that a number has to do.
const DRAWN: usize = 20;

/// What to do next.
const NEXT: &str = "\nFor a project of your own: add `x-autoscale: {min: 1, max: 4, metrics: [{cpu: 60%}]}` to a service, then\n  \
     compose-scale check       finds problems, each with the fix\n  \
     compose-scale simulate    tests the policy on a simulated load\n  \
     compose-scale watch       scales it\n";

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Run on a simulated server, or on this machine's Engine in a project that is removed at the end
    #[arg(long, value_enum, default_value_t = DemoEngine::Simulated)]
    engine: DemoEngine,
    /// Print lines, also on a terminal (simulated only)
    #[arg(long)]
    plain: bool,
    /// Speed, in times real time (simulated only)
    #[arg(long, value_name = "N", default_value_t = 10.0, value_parser = speed)]
    speed: f64,
    /// nginx image (docker only)
    #[arg(long, value_name = "IMAGE", default_value = "nginx:1.30")]
    image: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DemoEngine {
    Simulated,
    Docker,
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if (0.1..=100_000.0).contains(&speed) => Ok(speed),
        _ => Err("expected a number from 0.1 to 100000".into()),
    }
}

pub(super) fn run(args: &DemoArgs) -> Result<(), Failure> {
    match args.engine {
        DemoEngine::Simulated => simulated(args),
        DemoEngine::Docker => block_on(docker::run(&args.image)),
    }
}

fn simulated(args: &DemoArgs) -> Result<(), Failure> {
    let scenario: Scenario = DEMO
        .parse()
        .map_err(|error| Failure::Work(vec![format!("the built-in scenario: {error}")]))?;
    let report = if args.plain || !screen::is_possible() {
        put(&format!(
            "This is `compose-scale watch` at work on a simulated server, {} times as fast as time. Nothing of \
             yours is touched, and no Docker is needed.\nEach ● is a replica that nginx sends requests to, each ○ \
             one that starts or finishes its requests.\n",
            Short(args.speed)
        ))?;
        let audience = |at, line: &Expectation| {
            let Some(line) = shown(at, line) else {
                return true;
            };
            // A reader who has gone away has seen enough.
            put(&line).is_ok()
        };
        scenario.perform(args.speed, Box::new(audience), None)?
    } else {
        on_screen(&scenario, args.speed)?
    };
    put(&end(&report.totals))
}

/// The same on the live screen of `watch`.
fn on_screen(scenario: &Scenario, speed: f64) -> Result<ScenarioReport, Failure> {
    let (stop, abort) = (CancellationToken::new(), CancellationToken::new());
    let screen: Arc<Mutex<Option<io::Result<Screen>>>> = Arc::default();
    let (begun, over) = (Arc::clone(&screen), stop.clone());
    let asks = move |calls| {
        *lock(&begun) = Some(Screen::begin(calls, stop, abort));
    };
    let (shown, begins) = (Arc::clone(&screen), scenario.begins());
    let audience = move |at: Duration, line: &Expectation| {
        let told = match line {
            Expectation::Note { note, .. } => Some(ScreenMessage::Note(note.clone())),
            Expectation::Said(text) => Some(ScreenMessage::Said(begins + at, text.clone())),
            Expectation::Log(text) => Some(ScreenMessage::Log(
                begins + at,
                EventLevel::Warn,
                text.clone(),
            )),
            Expectation::Deed(_) | Expectation::State(_) => None,
        };
        if let (Some(Ok(screen)), Some(told)) = (&*lock(&shown), told) {
            screen.news()(told);
        }
        !over.is_cancelled()
    };
    let report = scenario.perform(speed, Box::new(audience), Some(Box::new(asks)))?;
    // Cleared before anything is written.
    if let Some(begun) = lock(&screen).take() {
        drop(begun?);
    }
    Ok(report)
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes text that is coloured on a terminal.
fn put(text: &str) -> Result<(), Failure> {
    let mut stdout = anstream::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

/// A line for people; `None` for what only a test wants to see.
fn shown(at: Duration, line: &Expectation) -> Option<String> {
    let clock = clock(at);
    let text = match line {
        Expectation::Deed(_) => return None,
        Expectation::Said(text) => said(text),
        Expectation::Log(text) => format!("{clock}  {}\n", plain(text).yellow()),
        Expectation::Note { note, .. } => format!("{clock}  {}\n", told(note)),
        Expectation::State(state) => {
            format!("{clock}  {:<4} {}\n", state.service, bar(state).dimmed())
        }
    };
    Some(text)
}

fn clock(at: Duration) -> String {
    format!("{:>2}:{:02}", at.as_secs() / 60, at.as_secs() % 60)
}

fn said(text: &str) -> String {
    format!("\n{}\n", plain(text).bold())
}

fn told(note: &ScalingEvent) -> String {
    let what = note.what.to_string();
    let what = plain(&what);
    let what = match note.what.level() {
        EventLevel::Error => what.red().to_string(),
        EventLevel::Warn => what.yellow().to_string(),
        EventLevel::Info | EventLevel::Debug => what.to_string(),
    };
    format!("{:<4} {what}", note.service)
}

/// A dot for each replica: one that serves, or another one.
fn dots(serving: usize, others: usize) -> String {
    let drawn = "●".repeat(serving.min(DRAWN)) + &"○".repeat(others.min(DRAWN));
    format!("{drawn:<9}")
}

fn bar(state: &ServiceCondition) -> String {
    let serving = state.serving.len();
    let others = (state.running as usize).saturating_sub(serving);
    let mut text = format!(
        "{}{:>4}/s, {:.0}% busy",
        dots(serving, others),
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
    let mut text = String::from("\nSummary:\n");
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
    text.push_str(NEXT);
    text
}
