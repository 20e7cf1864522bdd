//! The load that is played, and the app that it is played to.

use std::{path::Path, time::Duration};

use jiff::Timestamp;
use tracing::warn;

use super::{
    super::{Failure, explain},
    SimulateArgs,
};
use crate::{
    compose::Loaded,
    decide::Input,
    sim::{Calibration, LoadShape, Profile, Trace, TraceUnit},
    units::Span,
};

/// The longest time that is simulated: a year has seasons enough.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);
/// When the load does not say when it begins: on a Monday.
const MONDAY: i64 = 1_767_571_200;

/// What is played, and how to call it.
pub(super) struct SimulatedLoad {
    pub(super) shape: LoadShape,
    pub(super) span: Duration,
    pub(super) begins: Timestamp,
    pub(super) name: String,
    /// Whether it was measured in cores.
    pub(super) in_cores: bool,
    pub(super) learnt: Option<Calibration>,
}

pub(super) fn recorded(
    path: &Path,
    service: Option<&str>,
) -> Result<(String, Vec<Input>), Failure> {
    let (name, text) = explain::file(path)?;
    let mut inputs = explain::inputs(&name, &text)?;
    let services: std::collections::BTreeSet<_> = inputs
        .iter()
        .filter_map(|input| input.service.clone())
        .collect();
    match service {
        Some(service) if services.contains(service) => {
            inputs.retain(|input| input.service.as_deref() == Some(service));
        }
        Some(service) if !services.is_empty() => {
            let names: Vec<_> = services.into_iter().collect();
            return Err(Failure::Work(vec![format!(
                "{name}: no decision of {service} in it; it has decisions of {}",
                names.join(", ")
            )]));
        }
        None if services.len() > 1 => {
            let names: Vec<_> = services.into_iter().collect();
            return Err(Failure::Usage(format!(
                "{name} has decisions of {}; select one with --service",
                names.join(", ")
            )));
        }
        _ => {}
    }
    Ok((name, inputs))
}

pub(super) fn learn(name: &str, inputs: &[Input]) -> Result<Calibration, Failure> {
    let learnt =
        Calibration::from(inputs).map_err(|why| Failure::Work(vec![format!("{name}: {why}")]))?;
    for doubt in &learnt.doubts {
        warn!("{name}: {doubt}");
    }
    Ok(learnt)
}

pub(super) fn profile(
    args: &SimulateArgs,
    loaded: Option<&Loaded>,
    service: Option<&str>,
    learnt: Option<&Calibration>,
) -> Profile {
    let usual = Profile {
        spread: args.spread,
        concurrency: args.concurrency,
        memory: args.memory.unwrap_or(Profile::default().memory),
        timeout: args.timeout.0,
        ..Profile::default()
    };
    let mut profile = learnt.map_or_else(|| usual.clone(), |learnt| learnt.profile(&usual));
    let of_it = service.and_then(|name| loaded?.project.services.get(name));
    if let Some(limits) = of_it.map(|service| service.limits) {
        profile.cores = limits.cpus.unwrap_or(profile.cores);
        profile.memory_limit = limits.memory;
    }
    if let Some(time) = args.service_time {
        profile.service_time = time.0;
    }
    if let Some(time) = args.start_time {
        profile.start_time = time.0;
    }
    profile
}

pub(super) fn load(
    args: &SimulateArgs,
    profile: &Profile,
    learnt: Option<Calibration>,
) -> Result<SimulatedLoad, Failure> {
    if profile.service_time.is_zero() {
        return Err(Failure::Usage("--service-time is 0s, expected more".into()));
    }
    let monday = Timestamp::from_second(MONDAY).unwrap_or_default();
    let per_core = profile.rate_of_cores(1.0);
    let mut load = if let Some(learnt) = learnt {
        let name = args
            .recording
            .as_ref()
            .map(|path| path.display().to_string());
        // A recording counts in shares of what a replica may use.
        let per_replica = profile.rate_of_cores(profile.cores);
        SimulatedLoad {
            shape: learnt.trace.shape(per_replica),
            // The last decision is made at the end.
            span: learnt.trace.span() + learnt.interval / 2,
            begins: learnt.begins.0,
            name: name.unwrap_or_default(),
            in_cores: learnt.trace.unit == TraceUnit::Cores,
            learnt: Some(learnt),
        }
    } else if let Some(path) = &args.trace {
        let (name, text) = explain::file(path)?;
        let trace = Trace::parse(&text).map_err(|error| {
            Failure::Config(match error.line {
                Some(line) => format!("{name}:{line}: {}", error.what),
                None => format!("{name}: {}", error.what),
            })
        })?;
        SimulatedLoad {
            shape: trace.shape(per_core),
            span: trace.span(),
            begins: trace.begins.unwrap_or(monday),
            name,
            in_cores: trace.unit == TraceUnit::Cores,
            learnt: None,
        }
    } else if let Some(named) = &args.load {
        SimulatedLoad {
            shape: named.shape(Duration::ZERO, args.seed),
            span: named.span(),
            begins: monday,
            name: named.to_string(),
            in_cores: false,
            learnt: None,
        }
    } else {
        return Err(Failure::Usage(
            "no load: expected --load SHAPE (like daily:5..100), --trace FILE or --recording FILE"
                .into(),
        ));
    };
    if let Some(span) = args.span {
        if args.load.is_some() && span.0 < load.span {
            warn!(
                "only the first {span} of {} are simulated; it lasts {}",
                load.name,
                Span(load.span)
            );
        }
        load.span = span.0;
    }
    if load.span.is_zero() || load.span > LONGEST {
        return Err(Failure::Usage(format!(
            "cannot simulate {}, expected more than zero and at most a year",
            Span::measured(load.span)
        )));
    }
    Ok(load)
}
