//! `compose-scale sync`

use clap::Args;

use super::{
    Failure, ProjectArgs,
    driver_setup::{self, Actor, DriverOptions, Signals},
    failure, output, progress,
};
use crate::{
    compose::Loaded,
    control::{Client, ControlRequest, Reply},
    proxy,
    watch::{
        RunGoal,
        service_setup::{self, ManagedNginx},
    },
};

/// A running `watch` answers before that, with success or without.
const ANSWER: std::time::Duration = std::time::Duration::from_secs(90);

#[derive(Debug, Args)]
pub(super) struct SyncArgs {
    /// Before the Engine starts: take all addresses out of nginx's files, as they may be those of other
    /// containers afterwards; nginx answers 502 until `watch` or `sync` has looked at the replicas
    #[arg(long)]
    before_engine: bool,
}

/// Where nginx is, or what to write so that it can be told.
pub(super) fn nginx_place(loaded: &Loaded) -> Result<ManagedNginx, Failure> {
    service_setup::nginx_place(loaded).ok_or_else(|| {
        Failure::Config(
            "nginx was not found; name it with x-autoscale.nginx (service, container or host)"
                .into(),
        )
    })
}

pub(super) async fn run(project: &ProjectArgs, args: SyncArgs) -> Result<(), Failure> {
    let (_, loaded) = project.load(&[]).await?;
    if loaded.policies.is_empty() {
        return Err(Failure::Config(super::watch::no_policy(&loaded)));
    }
    nginx_place(&loaded)?;
    if args.before_engine {
        return close(&loaded);
    }
    let locks = match driver_setup::actor(&loaded, &ControlRequest::Sync).await? {
        Actor::Watch(client) => return follow(client).await,
        Actor::This(locks) => locks,
    };
    let signals = Signals::listen()?;
    let (mut driver, mut notes) = driver_setup::driver(DriverOptions {
        loaded,
        source: None,
        extra: Vec::new(),
        dry_run: false,
        state: None,
        keeps_state: true,
        locks,
        calls: None,
        reload: None,
        recording: None,
        goal: RunGoal::Sync,
    })
    .await?;
    let outcome = driver
        .run(signals.stop.clone(), signals.abort.clone())
        .await;
    while let Ok(note) = notes.try_recv() {
        if note.what.level() != crate::reconcile::EventLevel::Info {
            progress::log(&note);
        }
    }
    failure::outcome(outcome)?;
    let changed: Vec<_> = driver.changed().iter().cloned().collect();
    if changed.is_empty() {
        output::line("nginx is in step; nothing to do")
    } else {
        output::line(&format!(
            "nginx is in step; rewritten: {}",
            changed.join(", ")
        ))
    }
}

/// Asks nobody: the Engine's socket may be what starts the Engine. No lock is taken either, because a
/// `watch` that waits for the Engine writes everything anew when that is back.
fn close(loaded: &Loaded) -> Result<(), Failure> {
    let closed = proxy::close(&service_setup::upstreams(loaded), &loaded.project.name);
    let closed = closed.map_err(|error| Failure::Work(vec![error.to_string()]))?;
    if closed.is_empty() {
        return output::line("nginx's files have no addresses");
    }
    output::line(&format!(
        "no addresses any more: {}; `compose-scale watch` or `compose-scale sync` writes them when the Engine runs",
        closed.join(", ")
    ))
}

/// The answer of the running `watch`.
async fn follow(mut client: Client) -> Result<(), Failure> {
    while let Some(reply) = client
        .next_within(ANSWER)
        .await
        .map_err(|error| failure::unheard(&error))?
    {
        if let Reply::Done { ok, message } = reply {
            return if ok {
                output::line("nginx is in step")
            } else {
                Err(Failure::Work(vec![message]))
            };
        }
    }
    Err(Failure::Work(vec![
        "the running `watch` gave no answer".into(),
    ]))
}
