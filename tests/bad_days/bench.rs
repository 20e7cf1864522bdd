//! The driver with its real adapters before an Engine in memory, at a clock that a test moves.

use std::{
    cell::Cell,
    collections::BTreeMap,
    fs,
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use compose_scale::{
    compose::{self, Loaded},
    control::{Call, ControlRequest, Reply},
    engine::docker::Docker,
    host,
    proxy::nginx::{HostNginx, NginxProxy, NginxSetup},
    reconcile::{EventLevel, ScalingEvent},
    state::StateDir,
    units::Span,
    watch::{
        Driver, DriverDeps, RunClock, RunGoal, RunOutcome,
        nginx_target::{NginxFleet, NginxLocation},
    },
};
use indexmap::IndexMap;
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::subscriber::DefaultGuard;

use crate::engine::FakeEngine;

pub(crate) const YAML: &str = "\
name: shop
x-autoscale: {interval: 10s, nginx: {service: nginx, upstreams: ./upstreams}}
services:
  web:
    image: web
    expose: [\"80\"]
    networks: [front, back]
    x-autoscale: {min: 1, max: 8, metrics: [], ready: running}
  nginx: {image: \"nginx:1.30\", networks: [front, back]}
networks: {front: {}, back: {}}
";

thread_local! {
    /// The wall clock of this test, from when it began to run.
    static BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
    static SET_BY: Cell<SignedDuration> = const { Cell::new(SignedDuration::ZERO) };
}

fn wall() -> Timestamp {
    let began = BEGAN.get().unwrap_or_else(Instant::now);
    BEGAN.set(Some(began));
    let ran = SignedDuration::try_from(began.elapsed()).unwrap();
    Timestamp::from_second(1_800_000_000).unwrap() + ran + SET_BY.get()
}

/// Sets the wall clock.
pub(crate) fn set_clock_by(span: SignedDuration) {
    SET_BY.set(SET_BY.get() + span);
}

/// What is logged on this thread.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A project on an Engine in memory.
pub(crate) struct Bench {
    pub(crate) engine: FakeEngine,
    directory: TempDir,
    lines: Lines,
    _log: DefaultGuard,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("upstreams")).unwrap();
        let lines = Lines::default();
        let into = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || into.clone())
            .with_ansi(false)
            .with_target(false)
            .without_time()
            .finish();
        BEGAN.set(None);
        SET_BY.set(SignedDuration::ZERO);
        let bench = Self {
            engine: FakeEngine::start(&directory.path().join("upstreams")),
            directory,
            lines,
            _log: tracing::subscriber::set_default(subscriber),
        };
        bench.write(YAML);
        bench
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes the compose file as an editor does that opens it and fills it.
    pub(crate) fn write(&self, yaml: &str) {
        let path = self.path().join("compose.yaml");
        let mut file = fs::File::create(path).unwrap();
        file.write_all(yaml.as_bytes()).unwrap();
    }

    /// What the log says, without places of this test's own.
    pub(crate) fn said(&self) -> Vec<String> {
        let lines = self.lines.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&lines);
        text.lines().map(|line| self.shown(line)).collect()
    }

    /// A text without places and ids of this test's own.
    pub(crate) fn shown(&self, text: &str) -> String {
        let place = self.path().to_string_lossy();
        let socket = self.engine.host().replace("unix://", "");
        let text = text.replace(&*place, "DIR").replace(&socket, "SOCKET");
        let mut shown = String::new();
        for word in text.split_inclusive([' ', ',', ':', ';', '"']) {
            let id = word.trim_end_matches([' ', ',', ':', ';', '"']);
            if id.len() == 12 && id.starts_with("0000") {
                shown.push_str("ID");
                shown.push_str(&word[id.len()..]);
            } else if let Some(number) = id.strip_prefix("shop-web-") {
                // Which of two that are made at once is first is not told.
                assert!(number.parse::<u32>().is_ok(), "{id}");
                shown.push_str("shop-web-N");
                shown.push_str(&word[id.len()..]);
            } else {
                shown.push_str(word);
            }
        }
        shown.trim().to_owned()
    }

    fn request(&self) -> compose::LoadRequest {
        compose::LoadRequest {
            cwd: self.path().to_owned(),
            ..compose::LoadRequest::default()
        }
    }

    fn driver(
        &self,
        goal: RunGoal,
        calls: Option<mpsc::Receiver<Call>>,
    ) -> (
        Driver<Docker, NginxProxy<NginxFleet<Docker>>>,
        mpsc::UnboundedReceiver<ScalingEvent>,
    ) {
        let request = self.request();
        let loaded: Loaded = compose::load(&request).unwrap();
        let engine = Arc::new(Docker::connect(Some(&self.engine.host())).unwrap());
        let (nginx, target) = tokio::sync::watch::channel(NginxLocation::Unknown);
        let host = HostNginx::new(None, false, self.path().to_owned());
        let fleet = NginxFleet::new(Arc::clone(&engine), host, target);
        let upstreams = self.path().join("upstreams");
        let place = self.path().join("state").to_string_lossy().into_owned();
        let mut state = StateDir::locate(
            &BTreeMap::from([("COMPOSE_SCALE_STATE".to_owned(), place)]),
            "shop",
        );
        let remembered = state.load(true);
        let (notes, told) = mpsc::unbounded_channel();
        let parts = DriverDeps {
            clock: RunClock::read_by(wall),
            engine,
            proxy: Some(NginxProxy::new(fleet, NginxSetup::new("shop", upstreams))),
            loaded,
            source: Some(request),
            extra: Vec::new(),
            state: Some(state),
            memory: remembered.services,
            locks: Vec::new(),
            claim: compose_scale::watch::Claim::NotNeeded,
            calls,
            notes,
            nginx,
            dry_run: false,
            starts_at_once: 2,
            recording: None,
            reload: None,
            host: host::Watcher::default(),
            loads: None,
            asks_compose: false,
            meters: Arc::new(compose_scale::metrics::Meters::new("shop")),
        };
        (Driver::new(parts, goal), told)
    }

    /// Starts `watch`; it ends with the value.
    pub(crate) fn watch(&self) -> Watch {
        let (calls, receiver) = mpsc::channel(16);
        let (mut driver, notes) = self.driver(RunGoal::Watch, Some(receiver));
        let mut task = JoinSet::new();
        let (stop, abort) = (CancellationToken::new(), CancellationToken::new());
        task.spawn(async move { drop(driver.run(stop, abort).await) });
        Watch {
            calls,
            notes,
            seen: Vec::new(),
            _task: task,
        }
    }

    /// Runs `scale web=COUNT`: how it ended and what it showed.
    pub(crate) async fn scale(&self, count: u32) -> (RunOutcome, Vec<ScalingEvent>) {
        let goal = RunGoal::Scale {
            services: IndexMap::from([("web".to_owned(), count)]),
            hold: Duration::from_secs(600),
            timeout: Duration::from_secs(300),
        };
        let (mut driver, mut told) = self.driver(goal, None);
        let (stop, abort) = (CancellationToken::new(), CancellationToken::new());
        let outcome = driver.run(stop, abort).await;
        let mut notes = Vec::new();
        while let Ok(note) = told.try_recv() {
            notes.push(note);
        }
        (outcome, notes)
    }

    /// Asks until it is true; panics when it is not within this much of the clock of the test.
    pub(crate) async fn until(
        &self,
        what: &str,
        limit: Duration,
        mut ask: impl FnMut(&Self) -> bool,
    ) {
        let began = Instant::now();
        while !ask(self) {
            assert!(
                began.elapsed() < limit,
                "not within {limit:?}: {what}; there are {:?}, served {:?}\n{}",
                self.engine.replicas(),
                self.engine.served(),
                self.said().join("\n")
            );
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Whether so many replicas run, and nginx sends to exactly these, and nothing else is there.
    pub(crate) fn is_at(&self, count: usize) -> bool {
        let replicas = self.engine.replicas();
        let names: Vec<_> = replicas.iter().map(|(name, _)| name.clone()).collect();
        replicas.len() == count
            && replicas.iter().all(|(_, state)| *state == "running")
            && self.engine.served() == names
    }
}

/// A running `watch`.
pub(crate) struct Watch {
    calls: mpsc::Sender<Call>,
    notes: mpsc::UnboundedReceiver<ScalingEvent>,
    seen: Vec<ScalingEvent>,
    _task: JoinSet<()>,
}

impl Watch {
    /// Asks for a count without waiting for it.
    pub(crate) async fn scale(&self, count: u32) {
        let (replies, mut answers) = mpsc::channel(64);
        let request = ControlRequest::Scale {
            services: IndexMap::from([("web".to_owned(), count)]),
            hold: Span::seconds(3600),
            wait: None,
        };
        self.calls.send(Call { request, replies }).await.unwrap();
        while let Some(reply) = answers.recv().await {
            if let Reply::Done { ok, message } = reply {
                assert!(ok, "{message}");
                return;
            }
        }
    }

    /// Asks for a count that is held for so long, and waits for it: what was answered where it does not
    /// come.
    pub(crate) async fn scale_and_wait(&self, count: u32, hold: u64) -> Option<String> {
        let (replies, mut answers) = mpsc::channel(64);
        let request = ControlRequest::Scale {
            services: IndexMap::from([("web".to_owned(), count)]),
            hold: Span::seconds(hold),
            wait: Some(Span::seconds(300)),
        };
        self.calls.send(Call { request, replies }).await.unwrap();
        while let Some(reply) = answers.recv().await {
            if let Reply::Done { ok, message } = reply {
                return (!ok).then_some(message);
            }
        }
        None
    }

    /// What it has told people.
    pub(crate) fn notes(&mut self) -> &[ScalingEvent] {
        while let Ok(note) = self.notes.try_recv() {
            self.seen.push(note);
        }
        &self.seen
    }
}

/// Those that want attention, in words.
pub(crate) fn complaints(notes: &[ScalingEvent]) -> Vec<String> {
    let bad =
        |note: &&ScalingEvent| matches!(note.what.level(), EventLevel::Warn | EventLevel::Error);
    let found = notes.iter().filter(bad);
    found
        .map(|n| format!("{}: {}", n.service, n.what))
        .collect()
}
