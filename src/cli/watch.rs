//! `compose-scale watch`

use clap::Args;
use tokio::{sync::mpsc, task::JoinSet};
use tracing::{info, warn};

use super::{
    Failure, ProjectArgs, failure, progress,
    run::{self, Signals, Wish},
    state_dir,
};
use crate::{control, watch::Goal};

#[derive(Debug, Args)]
pub(super) struct WatchArgs {
    /// One evaluation and its action, then exit (for cron; history is kept between runs)
    #[arg(long)]
    once: bool,
    /// Decide and report, touch nothing
    #[arg(long)]
    dry_run: bool,
    /// Plain log lines, also on a terminal
    #[arg(long)]
    plain: bool,
}

pub(super) async fn run(project: &ProjectArgs, args: WatchArgs) -> Result<(), Failure> {
    let (request, loaded) = project.load(&[])?;
    if loaded.policies.is_empty() {
        return Err(Failure::Config(no_policy(&loaded)));
    }
    if crate::watch::setup::nginx_place(&loaded).is_none() {
        warn!(
            "this project has no nginx service: replicas come and go, but no traffic is moved; name it with x-autoscale.nginx.service"
        );
    }
    let mut signals = Signals::listen()?;
    let state = state_dir(&loaded);
    // A dry run touches nothing, so it may run beside a real one.
    let _lock = if args.dry_run {
        None
    } else {
        Some(run::lock(&loaded)?)
    };
    let mut tasks = JoinSet::new();
    let mut calls = None;
    if !args.once && !args.dry_run {
        let (sender, receiver) = mpsc::channel(16);
        let socket = state.socket();
        tasks.spawn(async move {
            if let Err(error) = control::serve(&socket, sender).await {
                warn!(%error, "no control socket at {}: `scale` cannot reach this watch", socket.display());
            }
        });
        calls = Some(receiver);
    }
    info!(
        project = loaded.project.name,
        services = loaded
            .policies
            .keys()
            .cloned()
            .collect::<Vec<_>>()
            .join(","),
        plain = args.plain,
        "watching every {}",
        loaded.settings.interval
    );
    let (mut driver, mut notes) = run::driver(Wish {
        loaded,
        source: (!args.once).then_some(request),
        extra: Vec::new(),
        dry_run: args.dry_run,
        keeps_state: !args.dry_run,
        calls,
        reload: Some(std::mem::replace(&mut signals.hangups, mpsc::channel(1).1)),
        goal: if args.once { Goal::Once } else { Goal::Watch },
    })
    .await?;
    tasks.spawn(async move {
        while let Some(note) = notes.recv().await {
            progress::log(&note);
        }
    });
    let outcome = driver
        .run(signals.stop.clone(), signals.abort.clone())
        .await;
    if args.once {
        for service in driver.snapshot().services {
            if let Some(decision) = service.decision {
                info!(
                    service = service.service,
                    reason = decision.reason,
                    "{}",
                    decision.message
                );
            }
        }
    }
    drop(driver);
    if !args.dry_run && !args.once {
        let _ = std::fs::remove_file(state.socket());
    }
    failure::outcome(outcome)
}

/// What a newcomer needs to hear.
pub(super) fn no_policy(loaded: &crate::compose::Loaded) -> String {
    let example = loaded
        .project
        .services
        .keys()
        .next()
        .map_or("web", String::as_str);
    format!(
        "no service of project {} has an `x-autoscale` section, so there is nothing to watch; add one, for example:\n  services:\n    {example}:\n      x-autoscale: {{min: 1, max: 4, metrics: [{{cpu: 60%}}]}}",
        loaded.project.name
    )
}
