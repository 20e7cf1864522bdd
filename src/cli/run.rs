//! What the verbs that act have in common: the runtime, the signals, and putting a driver together.

use std::{future::Future, path::PathBuf, sync::Arc};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{Failure, engine, state_dir};
use crate::{
    compose::{self, Loaded},
    engine::{Engine, docker::Docker},
    proxy::nginx::Nginx,
    reconcile::Note,
    state::Lock,
    watch::{Driver, Goal, Parts, STARTS_AT_ONCE, remote::ContainerNginx, setup},
};

/// The proxy that the driver of the real program has.
pub(super) type Proxy = Nginx<ContainerNginx<Docker>>;

/// The directory of our files when the compose file names none.
const UPSTREAMS: &str = "nginx/upstreams";

/// Runs a verb on the runtime.
pub(super) fn block_on<T>(verb: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(verb)
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
pub(super) struct Wish {
    pub(super) loaded: Loaded,
    pub(super) source: Option<compose::Request>,
    pub(super) extra: Vec<String>,
    pub(super) dry_run: bool,
    /// Whether memory is kept; the caller holds the lock then.
    pub(super) keeps_state: bool,
    pub(super) calls: Option<mpsc::Receiver<crate::control::Call>>,
    pub(super) reload: Option<mpsc::Receiver<()>>,
    pub(super) goal: Goal,
}

/// Puts a driver together; its notes come out of the channel.
pub(super) async fn driver(
    wish: Wish,
) -> Result<(Driver<Docker, Proxy>, mpsc::UnboundedReceiver<Note>), Failure> {
    let engine = Arc::new(engine()?);
    // A watch outlives an Engine that is away; everything else needs it now.
    if wish.goal != Goal::Watch {
        engine.info().await?;
    }
    let (nginx, target) = tokio::sync::watch::channel(None);
    let proxy = setup::nginx_place(&wish.loaded).map(|_| {
        let remote = ContainerNginx::new(Arc::clone(&engine), target);
        Nginx::new(remote, proxy_setup(&wish.loaded))
    });
    let state = state_dir(&wish.loaded);
    let (memory, warning) = state.load()?;
    if let Some(warning) = warning {
        tracing::warn!("{warning}");
    }
    let (notes, told) = mpsc::unbounded_channel();
    let parts = Parts {
        engine,
        proxy,
        loaded: wish.loaded,
        source: wish.source,
        extra: wish.extra,
        state: wish.keeps_state.then_some(state),
        memory,
        calls: wish.calls,
        notes,
        nginx,
        dry_run: wish.dry_run,
        starts_at_once: starts_at_once()?,
        reload: wish.reload,
    };
    Ok((Driver::new(parts, wish.goal), told))
}

/// The right to act on the project: in its state directory, and, because two users or two homes have
/// two of those, beside nginx's files, which there is one of.
pub(super) fn lock(loaded: &Loaded) -> Result<[Option<Lock>; 2], Failure> {
    let own = state_dir(loaded).lock()?;
    let directory = upstreams(loaded);
    let shared = if setup::nginx_place(loaded).is_some() && directory.is_dir() {
        let name = format!(".compose-scale-{}.lock", loaded.project.name);
        Some(Lock::take(&directory.join(name))?)
    } else {
        None
    };
    Ok([Some(own), shared])
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

/// The directory of our files on this host.
pub(super) fn upstreams(loaded: &Loaded) -> PathBuf {
    let written = loaded.settings.nginx.upstreams.clone();
    loaded
        .project
        .resolve(&written.unwrap_or_else(|| PathBuf::from(UPSTREAMS)))
}

/// What the nginx adapter is told.
fn proxy_setup(loaded: &Loaded) -> crate::proxy::nginx::Setup {
    let mut setup = crate::proxy::nginx::Setup::new(&loaded.project.name, upstreams(loaded));
    setup.working_dir.clone_from(&loaded.project.working_dir);
    setup.test.clone_from(&loaded.settings.nginx.test);
    setup.reload.clone_from(&loaded.settings.nginx.reload);
    setup
}
