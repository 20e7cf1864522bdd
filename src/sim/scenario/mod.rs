//! Scenarios: a project, what happens to it, and what is to be shown, as a text.
//!
//! ```text
//! # What is to be seen here.
//! host cores=4 memory=8GiB
//! service web replicas=1 time=100ms concurrency=4 start=3s load=10
//! policy web {min: 1, max: 8, metrics: [{cpu: 60%}]}
//! at 30s load web 100
//! at 2m crash shop-web-1
//! show 1m
//! run 10m
//! ```

mod actions;
mod parser;
mod report;

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::SignedDuration;
use tokio::time::{Instant, sleep_until};

use super::{
    clock,
    run::{Setting, Simulation, Watch, in_virtual_time},
    simulated_host::{ReplicaFault, ServiceBounds},
};
use crate::{
    control::Call,
    decide::Pause,
    reconcile::{EventKind, EventLevel, Initiator},
    units::Timestamp,
};

pub use report::{Expectation, ScenarioReport, ServiceCondition};

/// The project of every scenario.
const PROJECT: &str = "shop";
/// How often it is looked at whether everything is in step.
const LOOK: Duration = Duration::from_secs(1);
/// Who looks on sees time pass in steps of this.
const PACE: Duration = Duration::from_millis(100);

/// A line that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ScenarioError {
    /// Which line, from one.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

/// What happens to the project.
#[derive(Debug, Clone, PartialEq)]
enum ScenarioAction {
    Load(String, f64, Duration),
    Daily(String, f64, f64),
    Noise(String, f64),
    End(String, i64, bool),
    Compose(String, u32),
    EngineDown,
    EngineUp,
    HangUp,
    NginxRefuses,
    NginxAccepts,
    NginxStops,
    NginxStarts,
    Befall(String, ReplicaFault),
    Change(String, Vec<(String, String)>),
    Clock(SignedDuration),
    Restart,
    Kill,
    Scale(String, u32, Duration),
    Suspend(String, Pause),
    Resume(String),
    ForeignContainer,
    Say(String),
}

/// A scenario.
#[derive(Debug, Clone)]
pub struct Scenario {
    setting: Setting,
    deeds: Vec<(Duration, String, ScenarioAction)>,
    show: Option<Duration>,
    run: Duration,
    flaps: u32,
}

/// Who looks on while it is played, and says whether it stays.
type ScenarioObserver = Box<dyn FnMut(Duration, &Expectation) -> bool + Send>;

/// Whoever wants to ask what is played, gets the way to do so when it begins.
type ScenarioAccess = Box<dyn FnOnce(tokio::sync::mpsc::Sender<Call>) + Send>;

/// What was to be seen, and when.
#[derive(Clone, Default)]
struct ExpectationLog {
    all: Arc<Mutex<Vec<(Duration, Expectation)>>>,
    audience: Arc<Mutex<Option<ScenarioObserver>>>,
    /// Who wants to ask the `watch` that is played.
    asks: Arc<Mutex<Option<ScenarioAccess>>>,
    /// Whether nobody looks on any more.
    over: Arc<AtomicBool>,
}

impl io::Write for ExpectationLog {
    /// A line of the log, in one piece.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(bytes);
        self.say(clock::elapsed(), Expectation::Log(line.trim().to_owned()));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ExpectationLog {
    fn say(&self, at: Duration, line: Expectation) {
        if let Some(audience) = &mut *lock(&self.audience) {
            let stays = audience(at, &line);
            self.over.fetch_or(!stays, Ordering::Relaxed);
        }
        lock(&self.all).push((at, line));
    }
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Scenario {
    /// How often a count may go back within a short time.
    pub fn allowed_flaps(&self) -> u32 {
        self.flaps
    }

    /// Plays it as fast as it goes.
    pub fn play(&self) -> io::Result<ScenarioReport> {
        self.before(ExpectationLog::default(), None)
    }

    /// The time of the wall clock at the beginning.
    pub fn begins(&self) -> Timestamp {
        Timestamp(self.setting.begins)
    }

    /// Plays it so many times as fast as it would be, before somebody who looks on, and may ask.
    pub fn perform(
        &self,
        speed: f64,
        audience: ScenarioObserver,
        asks: Option<ScenarioAccess>,
    ) -> io::Result<ScenarioReport> {
        let lines = ExpectationLog::default();
        *lock(&lines.audience) = Some(audience);
        *lock(&lines.asks) = asks;
        let speed = if speed.is_finite() && speed > 0.0 {
            speed
        } else {
            1.0
        };
        self.before(lines, Some(PACE.div_f64(speed)))
    }

    fn before(&self, lines: ExpectationLog, pace: Option<Duration>) -> io::Result<ScenarioReport> {
        let into = lines.clone();
        let log = tracing_subscriber::fmt()
            .with_writer(move || into.clone())
            .with_ansi(false)
            .with_target(false)
            .without_time()
            .finish();
        tracing::subscriber::with_default(log, || in_virtual_time(self.go_through(lines, pace)))
    }

    async fn go_through(&self, lines: ExpectationLog, pace: Option<Duration>) -> ScenarioReport {
        let began = Instant::now();
        let mut simulation = Simulation::begin(&self.setting);
        let host = simulation.host.clone();
        host.world().judge_by(self.bounds());
        if let Some(pace) = pace {
            simulation.beside(async move {
                loop {
                    tokio::time::sleep(PACE).await;
                    // The clock of the simulation waits for the one on the wall.
                    std::thread::sleep(pace);
                }
            });
        }
        let mut watch = Some(self.start(&mut simulation, &lines));
        let mut deeds = self.deeds.iter().peekable();
        let mut shown = Duration::ZERO;
        let mut at = Duration::ZERO;
        while at < self.run && !lines.over.load(Ordering::Relaxed) {
            let next_deed = deeds.peek().map(|(at, ..)| *at);
            let next_show = self.show.map(|show| shown + show);
            let steps = [Some(at + LOOK), next_deed, next_show, Some(self.run)];
            at = steps.into_iter().flatten().min().unwrap_or(self.run);
            sleep_until(began + at).await;
            while let Some((_, text, deed)) = deeds.next_if(|(due, ..)| *due <= at) {
                lines.say(at, Expectation::Deed(text.clone()));
                watch = self.carry_out(deed, &mut simulation, watch, &lines).await;
            }
            if next_show == Some(at) {
                shown = at;
                for (app, _) in &self.setting.apps {
                    let state = report::state(&host, &app.service, self.show.unwrap_or(LOOK));
                    lines.say(at, Expectation::State(state));
                }
            }
            host.world().judge_quiet();
        }
        if let Some(watch) = watch {
            watch.stop().await;
        }
        report::report(&host, &lines)
    }

    fn bounds(&self) -> BTreeMap<String, ServiceBounds> {
        let apps = self.setting.apps.iter();
        apps.filter_map(|(app, policy)| {
            let policy = policy.as_ref()?;
            let bounds = ServiceBounds {
                min: policy.min,
                drain: policy.drain.timeout.0,
            };
            Some((app.service.clone(), bounds))
        })
        .collect()
    }

    fn start(&self, simulation: &mut Simulation, lines: &ExpectationLog) -> Watch {
        let mut watch = simulation.watch();
        if let Some(asks) = lock(&lines.asks).take() {
            asks(watch.calls());
        }
        let mut notes = watch.take_notes();
        let (lines, host) = (lines.clone(), simulation.host.clone());
        let several = self.setting.apps.len() > 1;
        simulation.beside(async move {
            while let Some(note) = notes.recv().await {
                let mut world = host.world();
                let at = world.elapsed();
                if let EventKind::Scale {
                    from,
                    to,
                    by: Initiator::Policy,
                    ..
                } = &note.what
                {
                    world.judge.scales(&note.service, to > from, at);
                }
                drop(world);
                if note.what.level() != EventLevel::Debug {
                    let note = Box::new(note);
                    lines.say(at, Expectation::Note { note, several });
                }
            }
        });
        watch
    }
}
