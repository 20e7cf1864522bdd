//! `compose-scale simulate`

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use clap::Args;
use indexmap::IndexMap;
use tracing::warn;

use super::{
    Failure, ProjectArgs,
    output::{self, OutputFormat},
};
use crate::{
    compose::{self, LoadError, Loaded},
    files,
    policy::{Metric, Policy, Settings},
    sim::{
        Experiment, ExperimentOutcome, MachineKind, MachineSpec, Named, PolicyGoal, Profile,
        Search, SearchResult, Spread,
    },
    units::{Bytes, Span},
    watch::STARTS_AT_ONCE,
};

mod format;
mod html;
mod load;
mod progress;
mod report;
mod sizing;
mod sizing_report;

use load::{SimulatedLoad, learn, load, profile, recorded};
use progress::PlayProgress;

/// So busy are the replicas that are there at the beginning.
const AT_FIRST: f64 = 0.6;

#[derive(Debug, Args)]
pub(super) struct SimulateArgs {
    /// Service whose policy is tested [default: the only one with a policy]
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// File with another policy to compare (the content of x-autoscale); may be repeated
    #[arg(long = "policy", value_name = "FILE")]
    policies: Vec<PathBuf>,
    /// Load from a table, CSV or JSON lines
    ///
    /// Columns: `time` (seconds, or like 2026-01-01T12:00:00Z) and `requests_per_second` or `cpu_cores`.
    /// Give one of --trace, --recording and --load.
    #[arg(long, value_name = "FILE", group = "source")]
    trace: Option<PathBuf>,
    /// Load, service times and policy from a recording of `watch --record`
    #[arg(long, value_name = "FILE", group = "source")]
    recording: Option<PathBuf>,
    /// Load as a shape in requests per second: steady:50, steps:0..80, ramp:, spikes:, daily:5..100, week:
    #[arg(long, value_name = "SHAPE:LOW..HIGH", group = "source")]
    load: Option<Named>,
    /// Length of the simulated time [default: the whole load]
    #[arg(long = "for", value_name = "TIME")]
    span: Option<Span>,
    /// Time of a request without waiting [default: 100ms, or from the recording]
    #[arg(long, value_name = "TIME")]
    service_time: Option<Span>,
    /// Spread of the service time: fixed, exponential, or standard deviation divided by mean
    #[arg(long, value_name = "SPREAD", default_value = "exponential", value_parser = spread)]
    spread: Spread,
    /// Time until a new replica is ready [default: 3s, or from the recording]
    #[arg(long, value_name = "TIME")]
    start_time: Option<Span>,
    /// Concurrent requests that a replica handles
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    concurrency: u32,
    /// Memory per replica [default: 128MiB]
    #[arg(long, value_name = "SIZE")]
    memory: Option<Bytes>,
    /// Time after which nginx gives up on a request
    #[arg(long, value_name = "TIME", default_value = "60s")]
    timeout: Span,
    /// CPU cores of the machine
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1024))]
    host_cores: u32,
    /// Memory of the machine
    #[arg(long, value_name = "SIZE", default_value = "8GiB")]
    host_memory: Bytes,
    /// Goal of the policy: p50, p95 or p99, for example p95=300ms, or utilisation=80%
    #[arg(long, value_name = "GOAL")]
    goal: Option<PolicyGoal>,
    /// Search for the cheapest policy that meets the goal (target, window, minimum)
    #[arg(long, requires = "goal")]
    suggest: bool,
    /// Machine size, for example small=2cpu,4GiB; may be repeated
    ///
    /// Prints how many machines of this size the service needs, now and at 10, 100 and 1,000 times the
    /// load, and how long one machine is enough.
    #[arg(long = "size", value_name = "NAME=CPU,MEMORY")]
    sizes: Vec<MachineKind>,
    /// Seed of the random numbers
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Write charts to this HTML file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Output format
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    format: OutputFormat,
}

fn spread(text: &str) -> Result<Spread, String> {
    match text {
        "fixed" => Ok(Spread::Fixed),
        "exponential" => Ok(Spread::Exponential),
        ratio => match ratio.parse::<f64>() {
            Ok(ratio) if (0.0..=20.0).contains(&ratio) => Ok(Spread::LogNormal(ratio)),
            _ => Err("expected fixed, exponential, or a ratio from 0 to 20".into()),
        },
    }
}

/// A policy that was tried.
struct Tried {
    name: String,
    trial: Experiment,
    outcome: ExperimentOutcome,
}

/// All there is to report.
struct Results {
    load: String,
    app: String,
    goal: Option<PolicyGoal>,
    tried: Vec<Tried>,
    found: Option<(SearchResult, Option<Tried>)>,
    sizing: Option<sizing::Sizing>,
}

pub(super) fn run(project: &ProjectArgs, args: &SimulateArgs) -> Result<(), Failure> {
    let loaded = load_project(project, args)?;
    let service = args
        .service
        .clone()
        .or_else(|| only_policy(loaded.as_ref()));
    let inputs = args
        .recording
        .as_ref()
        .map(|path| recorded(path, service.as_deref()));
    let inputs = inputs.transpose()?;
    let learnt = inputs
        .map(|(name, inputs)| learn(&name, &inputs))
        .transpose()?;
    let profile = profile(args, loaded.as_ref(), service.as_deref(), learnt.as_ref());
    let load = load(args, &profile, learnt)?;
    let policies = policies(project, args, loaded.as_ref(), service.as_deref(), &load)?;
    let settings = loaded.as_ref().map(|loaded| loaded.settings.clone());
    let mut settings = settings.unwrap_or_default();
    if let Some(learnt) = &load.learnt {
        settings.interval = Span(learnt.interval);
    }
    let mut trials = IndexMap::new();
    for (name, policy) in policies {
        let policy = simulated(&name, policy)?;
        let trial = trial(args, &profile, &load, &settings, policy, service.as_deref());
        trials.insert(name, trial);
    }
    let limits = service
        .as_ref()
        .and_then(|name| loaded.as_ref()?.project.services.get(name))
        .map(|service| service.limits);
    let host = settings.host;
    let question =
        sizing::SizingQuestion::of(args, host, &profile, limits, &load, service.as_deref())?;
    let mut results = play(args, trials, load.name, describe(&profile))?;
    if let Some(question) = question {
        let suggested = results.found.iter().filter_map(|(_, best)| best.as_ref());
        let all: Vec<_> = results.tried.iter().chain(suggested).collect();
        results.sizing = Some(question.answer(&all)?);
    }
    if let Some(path) = &args.html {
        let page = html::page(&results);
        // A pipe or a device is not to be replaced.
        if path.exists() && !path.is_file() {
            return Err(Failure::Work(vec![format!(
                "cannot write {}: it exists and is not a regular file",
                path.display()
            )]));
        }
        files::replace_content(path, page.as_bytes()).map_err(|error| {
            Failure::Work(vec![format!("cannot write {}: {error}", path.display())])
        })?;
    }
    match args.format {
        OutputFormat::Json => output::json(&report::json(&results))?,
        OutputFormat::Text => output::text(&report::text(&results))?,
    }
    if let Some(path) = &args.html {
        tracing::info!("the charts are in {}", path.display());
    }
    let first_misses = |goal: PolicyGoal| {
        let first = results.tried.first();
        first.is_some_and(|one| !goal.is_kept(&one.outcome.measures))
    };
    let missed = match &results.found {
        Some((found, _)) => found.best.is_none(),
        None => results.goal.is_some_and(first_misses),
    };
    if missed { Err(Failure::Said) } else { Ok(()) }
}

/// The compose file, where there is one: policies may come from elsewhere.
fn load_project(project: &ProjectArgs, args: &SimulateArgs) -> Result<Option<Loaded>, Failure> {
    let request = project.request(&[])?;
    match compose::load(&request) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                warn!("{}", crate::telemetry::plain(warning));
            }
            Ok(Some(loaded))
        }
        Err(error) if error.is_not_found() && has_policy(args) => Ok(None),
        Err(error) => Err(explained(error)),
    }
}

fn has_policy(args: &SimulateArgs) -> bool {
    !args.policies.is_empty() || args.recording.is_some()
}

fn explained(error: LoadError) -> Failure {
    if error.is_not_found() {
        return Failure::Usage(format!(
            "{error}; without a compose file, name a policy with --policy FILE or a --recording"
        ));
    }
    error.into()
}

fn only_policy(loaded: Option<&Loaded>) -> Option<String> {
    let policies = &loaded?.policies;
    match policies.len() {
        1 => policies.keys().next().cloned(),
        _ => None,
    }
}

/// Which policies are tried, by name: the compose file's, and those in files. The recorded one where there is
/// no other.
fn policies(
    project: &ProjectArgs,
    args: &SimulateArgs,
    loaded: Option<&Loaded>,
    service: Option<&str>,
    load: &SimulatedLoad,
) -> Result<Vec<(String, Policy)>, Failure> {
    let mut policies = Vec::new();
    if let Some(loaded) = loaded {
        let own = service.and_then(|name| loaded.policies.get(name));
        match (own, service) {
            (Some(policy), _) => policies.push(("compose file".to_owned(), policy.clone())),
            (None, _) if has_policy(args) => {}
            (None, Some(name)) if loaded.project.services.contains_key(name) => {
                return Err(Failure::Config(format!(
                    "service {name} has no `x-autoscale` section; name a policy with --policy FILE"
                )));
            }
            (None, Some(name)) => {
                return Err(Failure::Usage(
                    crate::watch::service_setup::no_such_service(loaded, name),
                ));
            }
            (None, None) if loaded.policies.is_empty() => {
                return Err(Failure::Config(super::watch::no_policy(loaded)));
            }
            (None, None) => {
                let names: Vec<_> = loaded.policies.keys().map(String::as_str).collect();
                return Err(Failure::Usage(format!(
                    "several services have a policy ({}); select one with --service",
                    names.join(", ")
                )));
            }
        }
    }
    let request = project.request(&[])?;
    for path in &args.policies {
        let policy = compose::policy(&request, path)?;
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let mut name = name.unwrap_or_else(|| path.display().to_string());
        if policies.iter().any(|(there, _)| *there == name) {
            name = path.display().to_string();
        }
        policies.push((name, policy));
    }
    if policies.is_empty()
        && let Some(learnt) = &load.learnt
    {
        policies.push(("recorded".to_owned(), learnt.policy.clone()));
    }
    Ok(policies)
}

/// A policy without what a simulation has no value for.
fn simulated(name: &str, mut policy: Policy) -> Result<Policy, Failure> {
    let custom = |metric: &Metric| metric.custom().is_some();
    let left_out: Vec<_> = policy.metrics.iter().filter(|one| custom(one)).collect();
    if left_out.len() == policy.metrics.len() && !left_out.is_empty() {
        return Err(Failure::Config(format!(
            "{name}: its only metrics are custom ones, which have no value in a simulation"
        )));
    }
    for metric in left_out {
        warn!(
            "{name}: the custom metric {} has no value in a simulation and is ignored",
            metric.name()
        );
    }
    policy.metrics.retain(|metric| !custom(metric));
    Ok(policy)
}

fn trial(
    args: &SimulateArgs,
    profile: &Profile,
    load: &SimulatedLoad,
    settings: &Settings,
    policy: Policy,
    service: Option<&str>,
) -> Experiment {
    // As if the policy had been in force before: a cold start would hide what comes after it.
    let needed = load.shape.rate(Duration::ZERO) / profile.capacity() / AT_FIRST;
    let at_first = load.learnt.as_ref().map(|learnt| learnt.replicas);
    let at_first = at_first.unwrap_or(needed.ceil() as u32);
    Experiment {
        service: service.unwrap_or("app").to_owned(),
        replicas: at_first.clamp(policy.min.max(1).min(policy.max), policy.max),
        policy,
        settings: settings.clone(),
        heard: load
            .learnt
            .as_ref()
            .map(|learnt| learnt.heard.clone())
            .unwrap_or_default(),
        load: load.shape.clone(),
        span: load.span,
        profile: profile.clone(),
        machine: MachineSpec {
            cores: args.host_cores,
            memory: args.host_memory,
        },
        starts_at_once: STARTS_AT_ONCE,
        begins: load.begins,
        seed: args.seed,
    }
}

/// Plays all of it; on a terminal one sees how far it is.
fn play(
    args: &SimulateArgs,
    trials: IndexMap<String, Experiment>,
    load: String,
    app: String,
) -> Result<Results, Failure> {
    let search = args.goal.filter(|_| args.suggest).and_then(|goal| {
        let like = trials.values().next()?.clone();
        Some(Search { like, goal })
    });
    let of_search = search
        .as_ref()
        .map_or(0, |search| search.trials() as u64 + 1);
    let span = trials
        .values()
        .next()
        .map_or(0, |trial| trial.span.as_secs());
    let total = (trials.len() as u64 + of_search) * span;
    let done = Arc::new(AtomicU64::new(0));
    let progress = PlayProgress::begin(total, &done);
    let mut tried = Vec::new();
    for (name, trial) in trials {
        let outcome = trial.play(&done)?;
        tried.push(Tried {
            name,
            trial,
            outcome,
        });
    }
    let mut found = None;
    if let Some(search) = search {
        let result = search.run(&done, &Arc::new(AtomicU64::new(0)))?;
        let best = match &result.best {
            Some((policy, _)) => {
                let mut trial = search.like.clone();
                trial.policy = policy.clone();
                trial.replicas = trial.replicas.max(policy.min);
                let outcome = trial.play(&done)?;
                Some(Tried {
                    name: "suggested".into(),
                    trial,
                    outcome,
                })
            }
            None => None,
        };
        found = Some((result, best));
    }
    drop(progress);
    Ok(Results {
        load,
        app,
        goal: args.goal,
        tried,
        found,
        sizing: None,
    })
}

fn describe(profile: &Profile) -> String {
    format!(
        "{} a request, {} at once ({} a second), {} to start",
        Span::measured(profile.service_time),
        profile.concurrency,
        crate::units::Short(profile.capacity()),
        Span::measured(profile.start_time)
    )
}
