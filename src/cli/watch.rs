//! `compose-scale watch`

use std::{
    io::{self, IsTerminal},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::Args;
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};
use tracing::{error, info, warn};

use super::{
    Failure, ProjectArgs,
    driver_setup::{self, DriverOptions, Signals},
    failure, progress, state_dir,
};
use crate::{
    compose::Loaded,
    control::{self, Call, Snapshot},
    metrics::{self, Meters},
    notify::{self, Notifier},
    reconcile::{EventKind, ScalingEvent},
    screen::{self, Screen, ScreenMessage},
    state::{Recording, StateDir},
    telemetry::AsyncStderr,
    watch::{RunGoal, RunOutcome, service_setup},
};

#[derive(Debug, Args)]
pub(super) struct WatchArgs {
    /// Evaluate once, act, and exit (for cron); the state is kept between runs
    #[arg(long)]
    once: bool,
    /// Decide and report, change nothing
    #[arg(long)]
    dry_run: bool,
    /// Append the input of every decision to this file, for `explain` and `simulate`
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Print log lines, also on a terminal
    #[arg(long)]
    plain: bool,
    /// Serve /metrics, /healthz and /readyz for Prometheus at this address, for example localhost:9917
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = address, conflicts_with = "once")]
    metrics: Option<SocketAddr>,
    /// Allow an address for --metrics that other machines can reach
    #[arg(long, requires = "metrics")]
    metrics_public: bool,
}

pub(super) async fn run(project: &ProjectArgs, args: WatchArgs) -> Result<(), Failure> {
    let (request, loaded) = project.load(&[]).await?;
    if loaded.policies.is_empty() {
        return Err(Failure::Config(no_policy(&loaded)));
    }
    warn_of_problems(&loaded);
    let mut signals = Signals::listen()?;
    let state = state_dir(&loaded);
    // A dry run touches nothing, so it may run beside a real one.
    let locks = if args.dry_run {
        Vec::new()
    } else {
        driver_setup::lock(&loaded)?
    };
    // Before anything that takes time: whoever finds the lock taken looks for the socket.
    let listens = !args.once && !args.dry_run;
    let socket = listens.then(|| control::Socket::open(&state.socket()));
    let listener = match args.metrics {
        Some(address) => Some(listen(address, args.metrics_public).await?),
        None => None,
    };
    let recording = args.record.as_deref().map(recording).transpose()?;
    let mut tasks = JoinSet::new();
    let (asks, calls) = mpsc::channel(16);
    if let Some(socket) = socket {
        serve_commands(socket, &state, &asks, &mut tasks);
    }
    info!(
        project = loaded.project.name,
        services = loaded
            .policies
            .keys()
            .cloned()
            .collect::<Vec<_>>()
            .join(","),
        "watching every {}",
        loaded.settings.interval
    );
    let (name, directory) = (
        loaded.project.name.clone(),
        loaded.project.working_dir.clone(),
    );
    let (mut driver, notes) = driver_setup::driver(DriverOptions {
        loaded,
        source: (!args.once).then_some(request),
        extra: Vec::new(),
        dry_run: args.dry_run,
        state: None,
        keeps_state: !args.dry_run,
        locks,
        calls: Some(calls),
        recording,
        reload: Some(std::mem::replace(&mut signals.hangups, mpsc::channel(1).1)),
        goal: if args.once {
            RunGoal::Once
        } else {
            RunGoal::Watch
        },
    })
    .await?;
    // From here on nobody waits for whoever reads the log.
    let _beside = AsyncStderr::begin()?;
    let screen = begin_screen(&args, &asks, &signals);
    // Whoever keeps the log in a file gets it beside the screen.
    let logged = screen.is_none() || !io::stderr().is_terminal();
    let _divert = screen.as_ref().filter(|_| !logged).map(Screen::divert);
    let news = screen.as_ref().map(Screen::news);
    let notifier = (!args.dry_run).then(|| Notifier::new(&name, directory, driver.notify()));
    if let Some(listener) = listener {
        let latest = metrics::Latest::new(asks);
        let tally = notifier.as_ref().map(Notifier::tally);
        let bring_in = move |meters: &Meters| notified(tally.as_ref(), meters);
        tasks.spawn(metrics::serve(listener, driver.meters(), latest, bring_in));
    }
    let mut telling = JoinSet::new();
    telling.spawn(tell(
        notes,
        news,
        notifier,
        Told {
            once: args.once,
            logged,
        },
    ));
    let outcome = driver
        .run(signals.stop.clone(), signals.abort.clone())
        .await;
    if let Some(screen) = screen {
        drop(screen);
        info!("ended; replicas keep running");
    }
    if args.once {
        log_decisions(driver.snapshot());
    }
    // While the lock is held: afterwards the socket may be somebody else's.
    if listens && !matches!(outcome, RunOutcome::Ousted(_)) {
        let _ = std::fs::remove_file(state.socket());
    }
    drop(driver);
    tokio::select! {
        _ = telling.join_next() => {}
        () = signals.abort.cancelled() => {}
    }
    failure::outcome(outcome)
}

/// Warns of problems in the compose file that keep services from being scaled as they should.
fn warn_of_problems(loaded: &Loaded) {
    if service_setup::nginx_place(loaded).is_none() {
        warn!(
            "nginx was not found: replicas are added and removed, but no upstream is written; name it with x-autoscale.nginx (service, container or host)"
        );
    }
    for (name, policy) in &loaded.policies {
        let refusals = loaded
            .project
            .services
            .get(name)
            .map(|s| service_setup::refusals(loaded, s));
        for refusal in refusals
            .unwrap_or_default()
            .iter()
            .filter(|_| policy.max > 1)
        {
            warn!("{refusal}; until then it is not scaled");
        }
        let service = loaded.project.services.get(name);
        if let Some(refusal) = service.and_then(|s| service_setup::unmeasured(s, policy)) {
            error!("{refusal}; until then its memory metric is ignored");
        }
    }
}

/// Serves the control socket, where it could be opened.
fn serve_commands(
    socket: io::Result<control::Socket>,
    state: &StateDir,
    asks: &mpsc::Sender<Call>,
    tasks: &mut JoinSet<()>,
) {
    match socket {
        Ok(socket) => {
            tasks.spawn(control::serve(socket, asks.clone()));
        }
        Err(error) => {
            warn!(%error, "no control socket at {}: `scale` cannot reach this watch", state.socket().display());
        }
    }
}

/// The screen, where it is wanted and possible.
fn begin_screen(args: &WatchArgs, asks: &mpsc::Sender<Call>, signals: &Signals) -> Option<Screen> {
    if args.plain || args.once || args.dry_run || !screen::is_possible() {
        return None;
    }
    let (stop, abort) = (signals.stop.clone(), signals.abort.clone());
    let begun = Screen::begin(asks.clone(), stop, abort);
    begun
        .inspect_err(|error| {
            warn!("cannot draw on this terminal ({error}): printing log lines");
        })
        .ok()
}

/// How events are shown.
#[derive(Debug, Clone, Copy)]
struct Told {
    /// Of a single evaluation, whose decisions are said at its end.
    once: bool,
    /// In the log in any case.
    logged: bool,
}

/// Shows events on the screen or in the log, and notifies, until there are no more.
async fn tell(
    mut notes: mpsc::UnboundedReceiver<ScalingEvent>,
    news: Option<impl Fn(ScreenMessage) -> bool>,
    mut notifier: Option<Notifier>,
    Told { once, logged }: Told,
) {
    while let Some(note) = notes.recv().await {
        let shown = news
            .as_ref()
            .is_some_and(|news| news(ScreenMessage::Note(Box::new(note.clone()))));
        let wanted = !once || !matches!(note.what, EventKind::NotScaling { .. });
        if wanted && (logged || !shown) {
            progress::log(&note);
        }
        if let Some(notifier) = &mut notifier {
            notifier.send(&note);
        }
    }
    if let Some(notifier) = notifier {
        let longest = once.then(|| notifier.longest());
        notifier.close(longest.unwrap_or(notify::PARTING)).await;
    }
}

/// Logs the last decision on each service.
fn log_decisions(snapshot: Snapshot) {
    for service in snapshot.services {
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

/// An address and its port. `localhost` is the one that everything on this machine tries.
fn address(text: &str) -> Result<SocketAddr, String> {
    let text = match text.strip_prefix("localhost:") {
        Some(port) => &format!("127.0.0.1:{port}"),
        None => text,
    };
    text.parse()
        .map_err(|_| "expected an address and a port, like 127.0.0.1:9917 or localhost:9917".into())
}

async fn listen(address: SocketAddr, public: bool) -> Result<TcpListener, Failure> {
    let bound = metrics::bind(address, public).await;
    bound.map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied if !public => {
            Failure::Usage(format!("--metrics {address}: {error}"))
        }
        _ => Failure::Work(vec![format!(
            "cannot listen at {address} for --metrics: {error}"
        )]),
    })
}

/// What became of notifications, by kind of target.
fn notified(tally: Option<&notify::DeliveryStats>, meters: &Meters) {
    let counts = tally.map(notify::DeliveryStats::counts).unwrap_or_default();
    for kind in ["webhook", "command"] {
        let of: Vec<_> = counts.iter().filter(|one| one.kind == kind).collect();
        if !of.is_empty() {
            meters.notified(kind, "sent", of.iter().map(|one| one.sent).sum());
            meters.notified(kind, "failed", of.iter().map(|one| one.failed).sum());
            meters.notified(kind, "dropped", of.iter().map(|one| one.dropped).sum());
        }
    }
}

fn recording(path: &Path) -> Result<Recording, Failure> {
    Recording::start(path).map_err(|error| {
        Failure::Work(vec![format!(
            "cannot record decisions in {}: {error}",
            path.display()
        )])
    })
}

/// What a newcomer needs to hear.
pub(super) fn no_policy(loaded: &Loaded) -> String {
    // Neither a proxy nor a database.
    let mut services = loaded.project.services.values();
    let example = services
        .find(|service| service.known_image().is_none())
        .map_or("web", |service| service.name.as_str());
    format!(
        "no service of project {} has an `x-autoscale` section, so there is nothing to watch; add one, for example:\n  services:\n    {example}:\n      x-autoscale: {{min: 1, max: 4, metrics: [{{cpu: 60%}}]}}\nor let `compose-scale init` do it",
        loaded.project.name
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_a_policy_is_for_an_app() {
        use crate::compose;
        let request = compose::LoadRequest {
            files: vec!["-".into()],
            cwd: "/nowhere".into(),
            project_name: Some("shop".into()),
            stdin: Some(
                "services: {edge: {image: nginx}, db: {image: postgres}, app: {image: shop}}"
                    .into(),
            ),
            ..compose::LoadRequest::default()
        };
        let loaded = compose::load(&request).unwrap();
        assert!(no_policy(&loaded).contains("\n    app:\n"));
    }

    #[test]
    fn localhost_is_an_address_of_metrics() {
        for (text, meant) in [
            ("localhost:9917", "127.0.0.1:9917"),
            ("100.64.0.7:9917", "100.64.0.7:9917"),
            ("[::1]:9917", "[::1]:9917"),
        ] {
            assert_eq!(address(text).unwrap().to_string(), meant);
        }
        for wrong in ["localhost", "localhost:x", "example.com:9917", "9917"] {
            assert!(
                address(wrong).unwrap_err().contains("localhost:9917"),
                "{wrong}"
            );
        }
    }
}
