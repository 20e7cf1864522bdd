//! What the verbs that act have in common: the runtime, the signals, and putting a driver together.

use std::{
    future::Future,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{Failure, engine, failure, state_dir};
use crate::{
    compose::{self, LoadError, Loaded, from_labels},
    control::{Client, ControlRequest},
    engine::{Engine, docker::Docker},
    host,
    metrics::{Metered, Meters},
    proxy::nginx::{HostNginx, NginxProxy},
    reconcile::ScalingEvent,
    state::{Lock, ProjectLock, Recording, StateDir, StateError},
    telemetry::plain,
    watch::{
        Claim, Driver, DriverDeps, RunClock, RunGoal, STARTS_AT_ONCE,
        nginx_target::{NginxFleet, NginxLocation},
        project_id, service_setup,
    },
};

/// The proxy that the driver of the real program has.
pub(super) type DriverProxy = NginxProxy<NginxFleet<Metered<Docker>>>;

/// A `watch` goes on after this long without the Engine's answer, and takes requests meanwhile.
const ENGINE: std::time::Duration = std::time::Duration::from_secs(2);
/// A `watch` that has taken the lock listens on its socket within this time.
const SETTLED: std::time::Duration = std::time::Duration::from_secs(5);
/// Between two looks for its socket.
const LOOK: std::time::Duration = std::time::Duration::from_millis(20);

/// What cannot be called off gets this long at the end.
const LOOKED_UP: std::time::Duration = std::time::Duration::from_secs(1);

/// Runs a verb on the runtime.
pub(super) fn block_on<T>(verb: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(verb);
    // A name that is being looked up is waited for by nobody.
    runtime.shutdown_timeout(LOOKED_UP);
    outcome
}

/// Completes a request that found no compose file by what the labels of its project's containers say.
/// Without a name there is no project to ask for, and `not_found` is the answer.
pub(super) async fn ask_containers(
    request: &mut compose::LoadRequest,
    not_found: LoadError,
) -> Result<(), Failure> {
    let from_environment = request.env.get("COMPOSE_PROJECT_NAME");
    let name = request.project_name.as_ref().or(from_environment);
    let Some(name) = name.filter(|name| !name.is_empty()).cloned() else {
        return Err(not_found.into());
    };
    let containers = engine()?.list(&name).await?;
    if let Some(warning) = from_labels::complete(request, &name, &containers)? {
        tracing::warn!("{}", plain(&warning));
    }
    let files: Vec<_> = request
        .files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    tracing::info!(
        "no compose file here; using {}, from which the containers of {name} were created",
        files.join(", ")
    );
    Ok(())
}

/// Signals of this process: the first SIGINT or SIGTERM asks to stop, the second ends at once.
pub(super) struct Signals {
    pub(super) stop: CancellationToken,
    pub(super) abort: CancellationToken,
    pub(super) hangups: mpsc::Receiver<()>,
    _listener: JoinSet<()>,
}

impl Signals {
    pub(super) fn listen() -> Result<Self, Failure> {
        let (stop, abort) = (CancellationToken::new(), CancellationToken::new());
        let (hung_up, hangups) = mpsc::channel(1);
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let mut listener = JoinSet::new();
        let (first, second) = (stop.clone(), abort.clone());
        listener.spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {
                        let _ = hung_up.try_send(());
                        continue;
                    }
                }
                if first.is_cancelled() {
                    second.cancel();
                }
                first.cancel();
            }
        });
        Ok(Self {
            stop,
            abort,
            hangups,
            _listener: listener,
        })
    }
}

/// What a verb wants of its driver.
pub(super) struct DriverOptions {
    pub(super) loaded: Loaded,
    pub(super) source: Option<compose::LoadRequest>,
    pub(super) extra: Vec<String>,
    pub(super) dry_run: bool,
    /// Where it is kept what is known; the usual place without.
    pub(super) state: Option<StateDir>,
    /// Whether memory is kept; `locks` are held then.
    pub(super) keeps_state: bool,
    pub(super) locks: Vec<Lock>,
    pub(super) calls: Option<mpsc::Receiver<crate::control::Call>>,
    pub(super) reload: Option<mpsc::Receiver<()>>,
    pub(super) recording: Option<Recording>,
    pub(super) goal: RunGoal,
}

/// Puts a driver together; its notes come out of the channel.
pub(super) async fn driver(
    wish: DriverOptions,
) -> Result<
    (
        Driver<Metered<Docker>, DriverProxy>,
        mpsc::UnboundedReceiver<ScalingEvent>,
    ),
    Failure,
> {
    let meters = Arc::new(Meters::new(&wish.loaded.project.name));
    let engine = Arc::new(Metered::new(engine()?, Arc::clone(&meters)));
    let project = &wish.loaded.project.name;
    let needed = !wish.locks.is_empty();
    let claimed = Box::pin(claim(&*engine, project, needed));
    // A watch waits for an Engine that does not answer; everything else needs it now.
    let claim = if wish.goal == RunGoal::Watch {
        let due = |why: String| Claim::Due {
            project: project.clone(),
            why,
        };
        match tokio::time::timeout(ENGINE, claimed).await {
            _ if !needed => Claim::NotNeeded,
            Ok(Err(Failure::Engine(error))) => due(error.to_string()),
            Ok(other) => other?,
            Err(_) => due("it takes connections and says nothing".into()),
        }
    } else {
        claimed.await?
    };
    let (nginx, target) = tokio::sync::watch::channel(NginxLocation::Unknown);
    let proxy = service_setup::nginx_place(&wish.loaded).map(|_| {
        let host = host_nginx(&wish.loaded);
        let fleet = NginxFleet::new(Arc::clone(&engine), host, target);
        NginxProxy::new(fleet, proxy_setup(&wish.loaded))
    });
    let mut state = wish.state.unwrap_or_else(|| state_dir(&wish.loaded));
    let remembered = state.load(wish.keeps_state);
    for warning in &remembered.warnings {
        tracing::warn!("{}", plain(warning));
    }
    let (notes, told) = mpsc::unbounded_channel();
    let parts = DriverDeps {
        clock: RunClock::start(),
        engine,
        proxy,
        loaded: wish.loaded,
        source: wish.source,
        extra: wish.extra,
        state: wish.keeps_state.then_some(state),
        memory: remembered.services,
        locks: wish.locks,
        claim,
        calls: wish.calls,
        notes,
        nginx,
        dry_run: wish.dry_run,
        starts_at_once: starts_at_once()?,
        recording: wish.recording,
        reload: wish.reload,
        host: host::Watcher::default(),
        loads: None,
        asks_compose: true,
        meters,
    };
    Ok((Driver::new(parts, wish.goal), told))
}

/// Who does what is asked.
pub(super) enum Actor {
    /// The running `watch`, which has been asked.
    Watch(Client),
    /// This process, with the right to act.
    This(Vec<Lock>),
}

/// Asks the running `watch`, else takes the right to act. A `watch` that has just started holds the lock
/// for a moment before it answers.
pub(super) async fn actor(loaded: &Loaded, ask: &ControlRequest) -> Result<Actor, Failure> {
    let socket = state_dir(loaded).socket();
    let deadline = tokio::time::Instant::now() + SETTLED;
    loop {
        let client = Client::ask(&socket, ask).await;
        if let Some(client) = client.map_err(|error| failure::unheard(&error))? {
            return Ok(Actor::Watch(client));
        }
        match lock(loaded) {
            Err(Failure::State(StateError::Held {
                elsewhere: false, ..
            })) if tokio::time::Instant::now() < deadline => tokio::time::sleep(LOOK).await,
            other => return other.map(Actor::This),
        }
    }
}

/// Asks whether the Engine is there, and takes the right to act on the project where that is `needed`.
async fn claim(engine: &impl Engine, project: &str, needed: bool) -> Result<Claim, Failure> {
    if !needed {
        engine.ping().await?;
        return Ok(Claim::NotNeeded);
    }
    let info = match engine.info().await {
        Ok(info) => info,
        Err(error) if error.is_outage() || error.is_silence() => return Err(error.into()),
        // It answers, and keeps to itself which one it is.
        Err(error) => {
            engine.ping().await?;
            tracing::warn!(%error, "the Engine does not say which one it is; a run with another state directory would not be noticed");
            return Ok(Claim::Held(None));
        }
    };
    Ok(Claim::Held(
        ProjectLock::take(&project_id(&info, project)).await?,
    ))
}

/// The same for what is done without the Engine: where that does not answer there is nobody to ask.
pub(super) async fn claim_where_it_answers(project: &str) -> Result<Claim, Failure> {
    let Ok(engine) = engine() else {
        return Ok(Claim::NotNeeded);
    };
    let claimed = Box::pin(claim(&engine, project, true));
    match tokio::time::timeout(ENGINE, claimed).await {
        Ok(Err(Failure::Engine(_))) | Err(_) => Ok(Claim::NotNeeded),
        Ok(other) => other,
    }
}

/// The right to act on the project: in its state directory, and, because two users or two homes have
/// two of those, beside nginx's files, which there is one of.
pub(super) fn lock(loaded: &Loaded) -> Result<Vec<Lock>, Failure> {
    let mut locks = vec![state_dir(loaded).lock()?];
    let directory = service_setup::upstreams(loaded);
    if service_setup::nginx_place(loaded).is_some() && directory.is_dir() {
        let beside = Lock::take(&writers_lock(loaded, &directory));
        locks.push(beside.map_err(|error| match error {
            StateError::Held { holder, .. } => StateError::Held {
                holder,
                elsewhere: true,
            },
            other => other,
        })?);
    }
    Ok(locks)
}

/// The lock beside nginx's files.
pub(super) fn writers_lock(loaded: &Loaded, directory: &Path) -> PathBuf {
    directory.join(format!(".compose-scale-{}.lock", loaded.project.name))
}

/// `COMPOSE_SCALE_STARTS`, else what measured fastest.
fn starts_at_once() -> Result<u32, Failure> {
    match std::env::var("COMPOSE_SCALE_STARTS") {
        Ok(text) if !text.is_empty() => text
            .parse()
            .ok()
            .filter(|count| (1..=100).contains(count))
            .ok_or_else(|| {
                Failure::Usage(format!(
                    "COMPOSE_SCALE_STARTS is `{text}`, expected a whole number from 1 to 100"
                ))
            }),
        _ => Ok(STARTS_AT_ONCE),
    }
}

/// What the nginx adapter is told.
fn proxy_setup(loaded: &Loaded) -> crate::proxy::nginx::NginxSetup {
    let mut setup = crate::proxy::nginx::NginxSetup::new(
        &loaded.project.name,
        service_setup::upstreams(loaded),
    );
    setup.working_dir.clone_from(&loaded.project.working_dir);
    setup.test.clone_from(&loaded.settings.nginx.test);
    setup.reload.clone_from(&loaded.settings.nginx.reload);
    setup.log = service_setup::log(loaded).map(|(_, inside)| inside);
    if let Some(place) = service_setup::nginx_place(loaded) {
        setup.refresh = place.refresh();
    }
    setup
}

/// The nginx of this host, should it be the one that is kept in step.
pub(super) fn host_nginx(loaded: &Loaded) -> HostNginx {
    let nginx = &loaded.settings.nginx;
    HostNginx::new(
        nginx.pid.as_ref().map(|file| loaded.project.resolve(file)),
        nginx.test.is_some() && nginx.reload.is_some(),
        loaded.project.working_dir.clone(),
    )
}
