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

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    io,
    path::PathBuf,
    str::FromStr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use indexmap::IndexMap;
use jiff::SignedDuration;
use tokio::time::{Instant, sleep_until};

use super::{
    clock,
    engine::SimulatedHost,
    invariants::{ServiceBounds, Violation},
    load_shape::LoadShape,
    profile::{Profile, Spread},
    run::{Setting, Simulation, Watch, in_virtual_time},
    simulated_host::{App, ReplicaFault},
    stats::Totals,
};
use crate::{
    compose,
    control::{Call, ControlRequest, Reply},
    decide::Pause,
    project::labels,
    reconcile::{EventKind, EventLevel, Initiator, ScalingEvent},
    units::{Short, Span, Timestamp},
};

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

/// Something that is to be seen in a scenario.
#[derive(Debug, Clone, PartialEq)]
pub enum Expectation {
    /// What the scenario does.
    Deed(String),
    /// What the scenario says.
    Said(String),
    /// What the tool tells people.
    Note {
        /// The note.
        note: Box<ScalingEvent>,
        /// Whether there are several services.
        several: bool,
    },
    /// What the tool logs besides.
    Log(String),
    /// How a service is.
    State(ServiceCondition),
}

/// How a service is, and has been over the last while.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceCondition {
    /// Its name.
    pub service: String,
    /// The numbers of the replicas that nginx sends to and that can serve.
    pub serving: Vec<u32>,
    /// Containers that run.
    pub running: u32,
    /// Requests per second.
    pub rate: f64,
    /// Requests under way at once.
    pub in_flight: f64,
    /// How busy those that serve were, in percent.
    pub busy: f64,
    /// The time within which 95% of the requests were answered, in milliseconds.
    pub p95: Option<f64>,
    /// Requests without an answer.
    pub failed: f64,
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deed(text) => write!(f, "* {text}"),
            Self::Said(text) => write!(f, "> {text}"),
            Self::Note {
                note,
                several: true,
            } => write!(f, "{}: {}", note.service, note.what),
            Self::Note { note, .. } => note.what.fmt(f),
            Self::Log(text) => f.write_str(text),
            Self::State(state) => {
                let numbers: Vec<_> = state.serving.iter().map(u32::to_string).collect();
                write!(
                    f,
                    "= {}: {} run, nginx sends to [{}]; {}/s, {} in flight",
                    state.service,
                    state.running,
                    numbers.join(" "),
                    Short(state.rate),
                    Short(state.in_flight)
                )?;
                if let Some(p95) = state.p95 {
                    write!(f, ", p95 {p95:.0}ms")?;
                }
                if state.failed > 0.0 {
                    write!(f, ", {:.0} failed", state.failed)?;
                }
                Ok(())
            }
        }
    }
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

/// What came out of one.
#[derive(Debug, Clone, PartialEq)]
pub struct ScenarioReport {
    /// All of it, for people.
    pub text: String,
    /// The rules that were broken.
    pub broken: Vec<Violation>,
    /// How often a count went back within a short time.
    pub flaps: u32,
    /// All of each service.
    pub totals: BTreeMap<String, Totals>,
}

/// The words of a line, and what is expected of them.
struct WordReader<'a> {
    words: std::str::SplitWhitespace<'a>,
}

impl<'a> WordReader<'a> {
    fn of(text: &'a str) -> Self {
        Self {
            words: text.split_whitespace(),
        }
    }

    fn word(&mut self, what: &str) -> Result<&'a str, String> {
        self.words.next().ok_or_else(|| format!("expected {what}"))
    }

    fn take<T: FromStr>(&mut self, what: &str) -> Result<T, String> {
        let word = self.word(what)?;
        parse(word, what)
    }

    fn span(&mut self) -> Result<Duration, String> {
        Ok(self.take::<Span>("a duration like 30s")?.0)
    }

    fn end(mut self) -> Result<(), String> {
        match self.words.next() {
            Some(word) => Err(format!("found `{word}`, expected nothing more")),
            None => Ok(()),
        }
    }
}

fn parse<T: FromStr>(word: &str, what: &str) -> Result<T, String> {
    word.parse()
        .map_err(|_| format!("found `{word}`, expected {what}"))
}

impl FromStr for Scenario {
    type Err = ScenarioError;

    fn from_str(text: &str) -> Result<Self, ScenarioError> {
        let mut reader = ScenarioReader::default();
        let mut last = 0;
        for (line, number) in text.lines().zip(1..) {
            last = number;
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |what| ScenarioError { line: number, what };
            reader.line(line).map_err(wrong)?;
        }
        reader
            .finish()
            .map_err(|what| ScenarioError { line: last, what })
    }
}

#[derive(Default)]
struct ScenarioReader {
    setting: Setting,
    policies: IndexMap<String, String>,
    settings: Option<String>,
    deeds: Vec<(Duration, String, ScenarioAction)>,
    show: Option<Duration>,
    run: Option<Duration>,
    flaps: u32,
}

impl ScenarioReader {
    fn line(&mut self, line: &str) -> Result<(), String> {
        let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
        let mut words = WordReader::of(rest);
        match first {
            "host" => {
                for (key, value) in pairs(words)? {
                    match key {
                        "cores" => self.setting.machine.cores = parse(value, "a number of cores")?,
                        "memory" => self.setting.machine.memory = parse(value, "a size like 8GiB")?,
                        _ => return Err(format!("found `{key}`, expected cores or memory")),
                    }
                }
                Ok(())
            }
            "seed" => {
                self.setting.seed = words.take("a whole number")?;
                words.end()
            }
            "begins" => {
                let what = "a time like 2026-01-01T08:00:00Z";
                self.setting.begins = words.take::<jiff::Timestamp>(what)?;
                words.end()
            }
            "settings" => {
                self.settings = Some(rest.to_owned());
                Ok(())
            }
            "service" => self.service(words),
            "policy" => {
                let name = words.word("a service")?;
                let text = rest.trim_start().strip_prefix(name).unwrap_or_default();
                self.policies
                    .insert(self.known(name)?, text.trim().to_owned());
                Ok(())
            }
            "show" => {
                self.show = Some(words.span()?);
                words.end()
            }
            "flaps" => {
                self.flaps = words.take("a whole number")?;
                words.end()
            }
            "run" => {
                self.run = Some(words.span()?);
                words.end()
            }
            "at" => {
                let at = words.span()?;
                let text = words.words.clone().collect::<Vec<_>>().join(" ");
                let deed = self.deed(words)?;
                self.deeds.push((at, text, deed));
                Ok(())
            }
            other => Err(format!(
                "found `{other}`, expected host, seed, begins, settings, service, policy, at, show, flaps or run"
            )),
        }
    }

    fn known(&self, name: &str) -> Result<String, String> {
        let mut apps = self.setting.apps.iter();
        apps.find(|(app, _)| app.service == name)
            .map(|(app, _)| app.service.clone())
            .ok_or_else(|| format!("no `service {name}` above"))
    }

    fn service(&mut self, mut words: WordReader<'_>) -> Result<(), String> {
        let name = words.word("a name")?;
        let mut app = App::named(name);
        for (key, value) in pairs(words)? {
            match key {
                "replicas" => app.replicas = parse(value, "a whole number")?,
                "load" => app.load = LoadShape::steady(parse(value, "requests per second")?),
                _ => set(&mut app.profile, key, value)?,
            }
        }
        self.setting.apps.push((app, None));
        Ok(())
    }

    fn deed(&self, mut words: WordReader<'_>) -> Result<ScenarioAction, String> {
        let deed = match words.word("what happens")? {
            "load" => {
                let service = self.known(words.word("a service")?)?;
                let rate = words.take("requests per second")?;
                let over = match words.words.next() {
                    None => Duration::ZERO,
                    Some("over") => words.span()?,
                    Some(other) => return Err(format!("found `{other}`, expected over")),
                };
                ScenarioAction::Load(service, rate, over)
            }
            "daily" => {
                let service = self.known(words.word("a service")?)?;
                let what = "requests per second";
                ScenarioAction::Daily(service, words.take(what)?, words.take(what)?)
            }
            "noise" => {
                let service = self.known(words.word("a service")?)?;
                ScenarioAction::Noise(service, words.take("a share like 0.2")?)
            }
            "crash" => ScenarioAction::End(words.word("a replica")?.to_owned(), 1, false),
            "oom" => ScenarioAction::End(words.word("a replica")?.to_owned(), 137, true),
            "compose" => {
                let service = self.known(words.word("a service")?)?;
                ScenarioAction::Compose(service, words.take("a whole number")?)
            }
            "engine" => match words.word("down, up or hangs-up")? {
                "down" => ScenarioAction::EngineDown,
                "up" => ScenarioAction::EngineUp,
                "hangs-up" => ScenarioAction::HangUp,
                other => return Err(format!("found `{other}`, expected down, up or hangs-up")),
            },
            "nginx" => match words.word("refuses, accepts, stops or starts")? {
                "refuses" => ScenarioAction::NginxRefuses,
                "accepts" => ScenarioAction::NginxAccepts,
                "stops" => ScenarioAction::NginxStops,
                "starts" => ScenarioAction::NginxStarts,
                other => {
                    return Err(format!(
                        "found `{other}`, expected refuses, accepts, stops or starts"
                    ));
                }
            },
            "replicas-of" => {
                let service = self.known(words.word("a service")?)?;
                let fate = match words.word("what becomes of them")? {
                    "are-fine" => ReplicaFault::Fine,
                    "never-become-ready" => ReplicaFault::NeverReady,
                    "die-at-once" => ReplicaFault::DiesAtOnce,
                    "cannot-start" => ReplicaFault::CannotStart,
                    other => {
                        return Err(format!(
                            "found `{other}`, expected are-fine, never-become-ready, die-at-once or cannot-start"
                        ));
                    }
                };
                ScenarioAction::Befall(service, fate)
            }
            "app" => {
                let service = self.known(words.word("a service")?)?;
                let pairs = pairs(WordReader {
                    words: std::mem::replace(&mut words.words, "".split_whitespace()),
                })?;
                let mut trial = Profile::default();
                for (key, value) in &pairs {
                    set(&mut trial, key, value)?;
                }
                let owned = pairs.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned()));
                ScenarioAction::Change(service, owned.collect())
            }
            "clock" => ScenarioAction::Clock(words.take("a span like 1h or -1h")?),
            "watch" => match words.word("restarts or is-killed")? {
                "restarts" => ScenarioAction::Restart,
                "is-killed" => ScenarioAction::Kill,
                other => return Err(format!("found `{other}`, expected restarts or is-killed")),
            },
            "scale" => {
                let service = self.known(words.word("a service")?)?;
                let count = words.take("a whole number")?;
                ScenarioAction::Scale(service, count, words.span()?)
            }
            "pause" => {
                let service = self.known(words.word("a service")?)?;
                let directions = match words.words.next() {
                    None => Pause::Both,
                    Some("up") => Pause::Up,
                    Some("down") => Pause::Down,
                    Some(other) => return Err(format!("found `{other}`, expected up or down")),
                };
                ScenarioAction::Suspend(service, directions)
            }
            "resume" => ScenarioAction::Resume(self.known(words.word("a service")?)?),
            "a-stranger-comes" => ScenarioAction::ForeignContainer,
            "say" => {
                let words: Vec<_> = words.words.collect();
                return Ok(ScenarioAction::Say(words.join(" ")));
            }
            other => {
                return Err(format!(
                    "found `{other}`, expected load, daily, noise, crash, oom, compose, engine, nginx, replicas-of, app, clock, watch, scale, pause, resume, say or a-stranger-comes"
                ));
            }
        };
        words.end()?;
        Ok(deed)
    }

    /// Policies and settings are read as those of a compose file are.
    fn finish(mut self) -> Result<Scenario, String> {
        let run = self.run.ok_or("expected `run` with a duration")?;
        let mut yaml = format!("name: {PROJECT}\nservices:\n");
        for (app, _) in &self.setting.apps {
            let name = &app.service;
            let _ = writeln!(yaml, "  {name}:\n    image: app:1\n    expose: ['80']");
            if let Some(limit) = app.profile.memory_limit {
                let _ = writeln!(yaml, "    mem_limit: {}", limit.0);
            }
            if let Some(policy) = self.policies.get(name) {
                let _ = writeln!(yaml, "    x-autoscale: {policy}");
            }
        }
        // Whoever reads load from nginx has to say where; here it is told anyhow.
        let logs = "nginx: {logs: {dir: ./logs, inside: /logs}}";
        let settings = self.settings.as_deref().unwrap_or("{}").trim();
        let settings = settings
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'));
        let settings = settings.ok_or("expected settings in braces, like {interval: 15s}")?;
        let _ = writeln!(yaml, "x-autoscale: {{{logs}, {settings}}}");
        let request = compose::LoadRequest {
            files: vec![PathBuf::from("-")],
            cwd: PathBuf::from("/"),
            stdin: Some(yaml),
            ..compose::LoadRequest::default()
        };
        let loaded = compose::load(&request).map_err(|error| error.to_string())?;
        self.setting.settings = loaded.settings;
        PROJECT.clone_into(&mut self.setting.project);
        for (app, policy) in &mut self.setting.apps {
            *policy = loaded.policies.get(&app.service).cloned();
            app.pick = Setting::pick(policy.as_ref());
        }
        self.deeds.sort_by_key(|(at, ..)| *at);
        Ok(Scenario {
            setting: self.setting,
            deeds: self.deeds,
            show: self.show,
            run,
            flaps: self.flaps,
        })
    }
}

fn pairs(words: WordReader<'_>) -> Result<Vec<(&str, &str)>, String> {
    words
        .words
        .map(|word| {
            word.split_once('=')
                .ok_or_else(|| format!("found `{word}`, expected KEY=VALUE"))
        })
        .collect()
}

/// Sets one property of an app.
fn set(profile: &mut Profile, key: &str, value: &str) -> Result<(), String> {
    let span = |what| parse::<Span>(value, what).map(|span| span.0);
    match key {
        "time" => profile.service_time = span("a duration like 100ms")?,
        "start" => profile.start_time = span("a duration like 3s")?,
        "timeout" => profile.timeout = span("a duration like 60s")?,
        "concurrency" => profile.concurrency = parse(value, "a whole number")?,
        "backlog" => profile.backlog = parse(value, "a whole number")?,
        "cores" => profile.cores = parse(value, "a number of cores")?,
        "boot" => profile.boot_cores = parse(value, "a number of cores")?,
        "crashes" => profile.crashes = parse(value, "crashes per hour")?,
        "memory" => profile.memory = parse(value, "a size like 128MiB")?,
        "limit" => profile.memory_limit = Some(parse(value, "a size like 128MiB")?),
        "spread" => {
            profile.spread = match value {
                "fixed" => Spread::Fixed,
                "exponential" => Spread::Exponential,
                ratio => Spread::LogNormal(parse(ratio, "fixed, exponential or a ratio like 1.5")?),
            }
        }
        _ => {
            return Err(format!(
                "found `{key}`, expected time, spread, concurrency, backlog, timeout, cores, boot, start, memory, limit or crashes"
            ));
        }
    }
    Ok(())
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
                    let state = state(&host, &app.service, self.show.unwrap_or(LOOK));
                    lines.say(at, Expectation::State(state));
                }
            }
            host.world().judge_quiet();
        }
        if let Some(watch) = watch {
            watch.stop().await;
        }
        Self::report(&host, &lines)
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

    async fn carry_out(
        &self,
        deed: &ScenarioAction,
        simulation: &mut Simulation,
        watch: Option<Watch>,
        lines: &ExpectationLog,
    ) -> Option<Watch> {
        let host = simulation.host.clone();
        let at = host.world().elapsed();
        let ask = async |watch: &Option<Watch>, request| {
            let Some(watch) = watch else { return };
            if let Some(Reply::Done { ok: false, message }) = watch.ask(request).await {
                lines.say(host.world().elapsed(), Expectation::Log(message));
            }
        };
        match deed {
            ScenarioAction::Load(service, rate, over) => {
                host.world()
                    .change(service, |one| one.load.go(at, *rate, *over));
            }
            ScenarioAction::Daily(service, low, high) => {
                let of_day = self.setting.begins.as_second().rem_euclid(86_400);
                let begins = Duration::from_secs(of_day.unsigned_abs());
                host.world().change(service, |one| {
                    one.load = LoadShape::daily(*low, *high, begins);
                });
            }
            ScenarioAction::Noise(service, share) => {
                let seed = self.setting.seed;
                host.world().change(service, |one| {
                    one.load = one.load.clone().with_noise(*share, seed);
                });
            }
            ScenarioAction::End(name, code, oom) => {
                let mut world = host.world();
                let id = world.find(name).map(|one| one.id.clone());
                match id {
                    Some(id) => world.end(&id, *code, *oom),
                    None => lines.say(at, Expectation::Log(format!("there is no {name}"))),
                }
            }
            ScenarioAction::Compose(service, count) => host.world().compose_up(service, *count),
            ScenarioAction::EngineDown => {
                let mut world = host.world();
                world.judge.forces(None, at);
                world.engine_down = Some("connection refused".into());
                world.hang_up();
            }
            ScenarioAction::EngineUp => {
                let mut world = host.world();
                world.judge.forces(None, at);
                world.engine_down = None;
            }
            ScenarioAction::HangUp => host.world().hang_up(),
            ScenarioAction::NginxRefuses => {
                host.world().nginx_refuses =
                    Some("unknown directive \"sevrer\" in /etc/nginx/conf.d/site.conf:3".into());
            }
            ScenarioAction::NginxAccepts => host.world().nginx_refuses = None,
            ScenarioAction::NginxStops | ScenarioAction::NginxStarts => {
                let mut world = host.world();
                let id = world
                    .find(&world.name_of("nginx", 1))
                    .map(|one| one.id.clone());
                world.judge.forces(None, at);
                match (id, deed) {
                    (Some(id), ScenarioAction::NginxStops) => world.stop(&id),
                    (Some(id), _) => drop(world.start(&id)),
                    (None, _) => {}
                }
            }
            ScenarioAction::Befall(service, fate) => {
                host.world().change(service, |one| one.fate = *fate);
            }
            ScenarioAction::Change(service, pairs) => host.world().change(service, |one| {
                for (key, value) in pairs {
                    // It was tried when it was read.
                    let _ = set(&mut one.profile, key, value);
                }
            }),
            ScenarioAction::Clock(span) => clock::set_by(*span),
            ScenarioAction::Restart => {
                if let Some((_, memory)) = watch?.stop().await {
                    simulation.remember(memory);
                }
                return Some(self.start(simulation, lines));
            }
            ScenarioAction::Kill => {
                if let Some((_, memory)) = watch?.kill().await {
                    simulation.remember(memory);
                }
                return Some(self.start(simulation, lines));
            }
            ScenarioAction::Scale(service, count, hold) => {
                let services = IndexMap::from([(service.clone(), *count)]);
                let hold = Span(*hold);
                let wait = None;
                ask(
                    &watch,
                    ControlRequest::Scale {
                        services,
                        hold,
                        wait,
                    },
                )
                .await;
            }
            ScenarioAction::Suspend(service, directions) => {
                let request = ControlRequest::Pause {
                    services: vec![service.clone()],
                    directions: *directions,
                    span: None,
                };
                ask(&watch, request).await;
            }
            ScenarioAction::Resume(service) => {
                let services = vec![service.clone()];
                ask(&watch, ControlRequest::Resume { services }).await;
            }
            ScenarioAction::Say(text) => lines.say(at, Expectation::Said(text.clone())),
            ScenarioAction::ForeignContainer => {
                let mut world = host.world();
                let of = |project, oneoff, number| {
                    [
                        (labels::PROJECT, project),
                        (labels::SERVICE, "web"),
                        (labels::CONFIG_HASH, "0"),
                        (labels::ONEOFF, oneoff),
                        (labels::NUMBER, number),
                    ]
                };
                world.add_foreign("other-web-1", &of("other", "False", "1"));
                world.add_foreign("shop-web-run-1", &of(PROJECT, "True", "1"));
            }
        }
        watch
    }

    fn report(host: &SimulatedHost, lines: &ExpectationLog) -> ScenarioReport {
        let mut world = host.world();
        world.catch_up();
        let mut text = String::new();
        for (at, line) in lock(&lines.all).iter() {
            if matches!(line, Expectation::Deed(text) if text.starts_with("say ")) {
                continue;
            }
            let seconds = at.as_secs();
            let tenths = at.subsec_millis() / 100;
            let _ = writeln!(
                text,
                "{:>4}:{:02}.{tenths}  {line}",
                seconds / 60,
                seconds % 60
            );
        }
        text.push('\n');
        for (name, service) in &world.services {
            let totals = &service.totals;
            let took = |share| totals.took.percentile(share).map_or(f64::NAN, |ms| ms);
            let _ = writeln!(
                text,
                "{name}: {:.0} requests, {:.0} failed ({:.0} timed out, {:.0} refused, {:.0} broken), p50 {:.0}ms, p95 {:.0}ms, {:.2} replica-hours",
                totals.came,
                totals.failed(),
                totals.timed_out,
                totals.refused,
                totals.broken,
                took(0.5),
                took(0.95),
                totals.replica_seconds / 3600.0
            );
        }
        let broken = world.broken().to_vec();
        let _ = writeln!(text, "flaps: {}", world.judge.flaps);
        if broken.is_empty() {
            text.push_str("rules: kept\n");
        }
        for one in &broken {
            let _ = writeln!(text, "rule broken: {one}");
        }
        ScenarioReport {
            text,
            broken,
            flaps: world.judge.flaps,
            totals: world
                .services
                .iter()
                .map(|(name, one)| (name.clone(), one.totals.clone()))
                .collect(),
        }
    }
}

/// How a service is, over the last while.
fn state(host: &SimulatedHost, service: &str, over: Duration) -> ServiceCondition {
    let mut world = host.world();
    let load = world.load(service, over).unwrap_or_default();
    let ready = world.ready_replicas(service);
    let of_it = &world.services[service];
    let routed = of_it.routed.keys().filter(|name| ready.contains(*name));
    let mut serving: Vec<u32> = routed
        .filter_map(|name| name.rsplit('-').next()?.parse().ok())
        .collect();
    serving.sort_unstable();
    let all = world.containers.values();
    let running = all.filter(|one| one.runs() && world.is_replica(one, service));
    let seconds = load.seconds.max(1e-9);
    // By Little's law, as far as they are not kept waiting.
    let works = f64::from(of_it.profile.concurrency) * serving.len() as f64;
    ServiceCondition {
        service: service.to_owned(),
        running: running.count() as u32,
        rate: load.came / seconds,
        in_flight: load.in_flight,
        busy: (load.in_flight / works.max(1.0) * 100.0).min(100.0),
        p95: load.percentile(0.95),
        failed: load.failed(),
        serving,
    }
}
