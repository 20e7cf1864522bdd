//! `compose-scale pause SERVICE…` and `compose-scale resume SERVICE…`

use std::time::Duration;

use clap::Args;

use super::{
    Failure, ProjectArgs,
    driver_setup::{self, Actor},
    failure, output, state_dir,
};
use crate::{
    compose::Loaded,
    control::{Client, ControlRequest, Reply},
    reconcile::{EventKind, Initiator, Pause, Paused, PersistedState, ScalingEvent},
    state::{Lock, StateError},
    telemetry::plain,
    units::{Span, Timestamp},
    watch::{RunClock, pause},
};

/// A running `watch` that has not answered by then is stuck.
const ANSWER: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(super) struct PauseArgs {
    /// Services with a policy
    #[arg(required = true, value_name = "SERVICE")]
    services: Vec<String>,
    /// Pause scaling up only
    #[arg(long)]
    up: bool,
    /// Pause scaling down only
    #[arg(long)]
    down: bool,
    /// Resume automatically after this time, for example 2h
    #[arg(long = "for", value_name = "SPAN", value_parser = span)]
    span: Option<Span>,
}

#[derive(Debug, Args)]
pub(super) struct ResumeArgs {
    /// Services with a policy
    #[arg(required = true, value_name = "SERVICE")]
    services: Vec<String>,
}

fn span(text: &str) -> Result<Span, String> {
    match text.parse::<Span>() {
        Ok(span) if span.0.is_zero() => Err("expected a duration greater than zero".into()),
        Ok(span) => Ok(span),
        Err(error) => Err(format!("expected {error}")),
    }
}

pub(super) async fn run(project: &ProjectArgs, args: PauseArgs) -> Result<(), Failure> {
    let directions = match (args.up, args.down) {
        (true, false) => Pause::Up,
        (false, true) => Pause::Down,
        (true, true) | (false, false) => Pause::Both,
    };
    let services = once_each(args.services);
    let ask = ControlRequest::Pause {
        services: services.clone(),
        directions,
        span: args.span,
    };
    let Some((loaded, locks)) = through_watch(project, &services, &ask).await? else {
        return Ok(());
    };
    let _held = (
        locks,
        driver_setup::claim_where_it_answers(&loaded.project.name).await?,
    );
    change(&loaded, &services, |service, memory, now, notes| {
        let until = args.span.map(|span| now + span.0);
        let paused = Paused { directions, until };
        memory.paused = Some(paused);
        notes.push(EventKind::Paused {
            directions,
            until,
            by: Initiator::Hand,
        });
        pause::paused(service, paused)
    })
}

pub(super) async fn resume(project: &ProjectArgs, args: ResumeArgs) -> Result<(), Failure> {
    let services = once_each(args.services);
    let ask = ControlRequest::Resume {
        services: services.clone(),
    };
    let Some((loaded, locks)) = through_watch(project, &services, &ask).await? else {
        return Ok(());
    };
    let _held = (
        locks,
        driver_setup::claim_where_it_answers(&loaded.project.name).await?,
    );
    change(&loaded, &services, |service, memory, now, notes| {
        let before = memory.paused.take();
        let in_force = before.filter(|paused| !paused.is_over(now));
        if before.is_some() {
            let by = in_force.map_or(Initiator::Clock, |_| Initiator::Hand);
            notes.push(EventKind::Resumed { by });
        }
        pause::resumed(service, in_force)
    })
}

fn once_each(services: Vec<String>) -> Vec<String> {
    indexmap::IndexSet::<String>::from_iter(services)
        .into_iter()
        .collect()
}

/// Asks the running `watch`; the project and the right to act where there is none.
async fn through_watch(
    project: &ProjectArgs,
    services: &[String],
    ask: &ControlRequest,
) -> Result<Option<(Loaded, Vec<Lock>)>, Failure> {
    let loaded = match project.load(services).await {
        Ok((_, loaded)) => loaded,
        Err(failure) => {
            if let Some(client) = project.ask_despite(&failure, ask).await {
                return answer(client).await.map(|()| None);
            }
            return Err(failure);
        }
    };
    if let Some(why) = pause::refusal(&loaded, services) {
        return Err(Failure::Usage(why));
    }
    match driver_setup::actor(&loaded, ask).await? {
        Actor::Watch(client) => answer(client).await.map(|()| None),
        Actor::This(locks) => Ok(Some((loaded, locks))),
    }
}

async fn answer(mut client: Client) -> Result<(), Failure> {
    let reply = client.next_within(ANSWER).await;
    match reply.map_err(|error| failure::unheard(&error))? {
        Some(Reply::Done { ok: true, message }) => output::line(&message),
        Some(Reply::Done { ok: false, message }) => Err(Failure::Work(vec![message])),
        Some(Reply::Note(_) | Reply::Status(_)) | None => Err(Failure::Work(vec![
            "the running `watch` did not answer".into(),
        ])),
    }
}

/// Writes into what the next `watch` remembers; the caller holds the locks. What `say` returns
/// is printed once it is kept.
fn change(
    loaded: &Loaded,
    services: &[String],
    say: impl Fn(&str, &mut PersistedState, Timestamp, &mut Vec<EventKind>) -> String,
) -> Result<(), Failure> {
    let mut state = state_dir(loaded);
    let mut remembered = state.load(true);
    for warning in &remembered.warnings {
        tracing::warn!("{}", plain(warning));
    }
    if !state.keeps() {
        return Err(Failure::Work(vec![
            "nothing was changed; use the newer compose-scale".into(),
        ]));
    }
    let now = RunClock::start().now();
    let (mut lines, mut history) = (Vec::new(), Vec::new());
    for service in services {
        let memory = remembered.services.entry(service.clone()).or_default();
        let mut notes = Vec::new();
        lines.push(say(service, memory, now, &mut notes));
        history.extend(notes.into_iter().map(|what| ScalingEvent {
            at: now,
            service: service.clone(),
            what,
        }));
    }
    state.save(remembered.services)?;
    for note in &history {
        match state.record(note) {
            Ok(()) => {}
            Err(error @ StateError::Unrotated { .. }) => {
                tracing::warn!(%error, "scaling.log is not rotated and grows");
            }
            Err(error) => tracing::warn!(%error, "events are not recorded"),
        }
    }
    output::line(&lines.join("\n"))
}
