//! Reading the load from nginx's log, when the counters are read.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, TryLockError},
    time::{Duration, Instant, UNIX_EPOCH},
};

use tokio::{task::spawn_blocking, time::timeout};
use tracing::{debug, warn};

use super::{
    Driver, RunGoal,
    address::{self, Addresses},
    nginx_preflight::PreflightFindings,
    service_setup,
};
use crate::{
    engine::Engine,
    policy::{Metric, Percentile, Policy, TrafficTarget as Target},
    project::{ContainerId, Replica},
    proxy::{
        Proxy,
        log_tail::{LogError, LogTail},
    },
    reconcile::Values,
    sources,
    traffic::{LAG, RoutedReplica, ServiceTraffic, Status, Statuses, TrafficLoad},
    units::{Bytes, Size, Span},
};

/// Less of a window than this tells nothing.
const LEAST: Duration = Duration::from_secs(5);
/// No request for longer than nginx waits for an answer, and this, may be no traffic: by then it has given
/// up one that nobody answers, and written that down.
const SILENCE: Duration = Duration::from_secs(15);
/// nginx's configuration is looked at so often: it could hide requests by now.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// nginx is told to open its logs again at most so often.
const REOPEN: Duration = Duration::from_secs(30);
/// Silence that lasts no longer is nothing to be told.
const AWHILE: Duration = Duration::from_secs(150);
/// The log is read within this time, or not at all.
const READ: Duration = Duration::from_secs(10);
/// How often it is tried to get at it, while it is read for another service.
const TRY: Duration = Duration::from_millis(5);
/// The longest wait for `stub_status`.
const STATUS: Span = Span(Duration::from_secs(2));
/// nginx's clock may be ahead by so much, in milliseconds.
const AHEAD: u64 = 5000;
/// The longest wait for that.
const OPENED: Duration = Duration::from_secs(5);
/// Over so long the load of each replica is shown.
const SHOWN: Duration = Duration::from_secs(Target::WINDOW);

/// Tells the load of services, where nobody writes a log of it: a simulated nginx.
pub trait Loads: Send + Sync + std::fmt::Debug {
    /// Of a service, over so long; `None` where nothing is known of it.
    fn of_service(&self, service: &str, window: Duration) -> Option<TrafficLoad>;
}

/// nginx's log and what it has told so far.
#[derive(Debug)]
pub(super) struct Monitor {
    path: PathBuf,
    reach: Duration,
    reader: Arc<Mutex<LogReader>>,
    /// Why nginx does not write it.
    pub(super) refused: Option<String>,
    configured: Option<Configured>,
    /// When the last look at nginx's configuration began, in milliseconds since 1970.
    pub(super) looked: Option<u64>,
}

/// A configuration of nginx that was found more than once, from a look that began then to the last one,
/// in milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
struct Configured {
    configuration: u64,
    since: u64,
    until: u64,
    /// The longest that nginx waits for an answer by it.
    patience: Duration,
}

#[derive(Debug)]
struct LogReader {
    log: LogTail,
    traffic: ServiceTraffic,
    /// From here on nothing is missing, in milliseconds since 1970.
    since: Option<u64>,
    /// Until then lines may have been lost.
    gap: u64,
    reopened: Option<Instant>,
    /// Whether nginx was not told the last time.
    reopen_again: bool,
    /// Whether it was said that the log grows.
    grows: bool,
    statuses: Statuses,
    /// Which file is read, and since when, in milliseconds since 1970; zero for the first one.
    file: Option<((u64, u64), u64)>,
}

/// Which number of a load.
#[derive(Debug, Clone, Copy)]
enum LoadField {
    Requests,
    InFlight,
    Errors,
    Latency(Percentile),
}

/// What is shown of each replica.
const OF_EACH: [(&str, LoadField); 4] = [
    ("requests", LoadField::Requests),
    ("in_flight", LoadField::InFlight),
    ("p95", LoadField::Latency(Percentile::P95)),
    ("errors", LoadField::Errors),
];

impl LoadField {
    /// What a policy asks for, in its own words and windows; a metric of how well requests are served
    /// is judged by how many there are.
    fn of(policy: &Policy) -> Vec<(String, Duration, Self)> {
        let mut all: Vec<(String, Duration, Self)> = Vec::new();
        let mut also = None;
        for metric in &policy.metrics {
            let (window, pick) = match metric {
                Metric::Requests(traffic) => (traffic.window, Self::Requests),
                Metric::InFlight(traffic) => (traffic.window, Self::InFlight),
                Metric::Latency(latency) => (latency.window, Self::Latency(latency.percentile)),
                Metric::Errors(errors) => (errors.window, Self::Errors),
                Metric::Cpu(_) | Metric::Memory(_) | Metric::Custom(_) => continue,
            };
            if metric.is_of_service_quality() {
                also = also.max(Some(window.0));
            }
            all.push((metric.name().to_owned(), window.0, pick));
        }
        for (name, pick) in [("requests", Self::Requests), ("in_flight", Self::InFlight)] {
            if let Some(window) = also
                && all.iter().all(|(there, ..)| there != name)
            {
                all.push((name.to_owned(), window, pick));
            }
        }
        all
    }

    fn value(self, load: &TrafficLoad) -> Option<f64> {
        match self {
            Self::Requests => Some(load.requests),
            Self::InFlight => Some(load.in_flight),
            Self::Errors => Some(load.errors * 100.0),
            Self::Latency(percentile) => load.latency(percentile.share()),
        }
    }
}

/// What is asked of the log for one service.
#[derive(Debug)]
pub(super) struct LoadQuery {
    reader: Arc<Mutex<LogReader>>,
    service: String,
    /// The metrics of its policy that are read from the log, with their windows.
    metrics: Vec<(String, Duration, LoadField)>,
    replicas: Vec<(ContainerId, String)>,
    routes: Arc<RequestRoutes>,
    /// What keeps lines of the service from the log, unless they come all the same.
    doubt: Option<String>,
    /// Whether nothing can be read at all.
    trouble: Option<String>,
    configured: Option<Configured>,
    /// The URL of nginx's `stub_status`, where all it counts is this service's.
    status: Option<String>,
    /// Whether nginx may be told to open its logs again.
    acts: bool,
    now: Instant,
    /// The clock that nginx goes by, in milliseconds since 1970.
    wall: u64,
}

/// Where requests go, for all services whose counters are read together.
#[derive(Debug, Default)]
pub(super) struct RequestRoutes {
    services: Vec<String>,
    servers: Vec<RoutedReplica>,
}

/// What the log says.
#[derive(Debug, Default)]
struct LogReading {
    values: Values,
    /// nginx has to open its logs again.
    reopen: bool,
    /// And when it does not, the log has to be moved back.
    rotated: bool,
    /// Why it grows and grows, where that is to be said.
    grows: Option<String>,
}

impl Monitor {
    fn new(path: PathBuf, reach: Duration) -> Self {
        let reader = LogReader {
            log: LogTail::new(&path),
            traffic: ServiceTraffic::new(reach),
            since: None,
            gap: 0,
            reopened: None,
            reopen_again: false,
            grows: false,
            statuses: Statuses::default(),
            file: None,
        };
        Self {
            path,
            reach,
            reader: Arc::new(Mutex::new(reader)),
            refused: None,
            configured: None,
            looked: None,
        }
    }

    /// What a look has found of nginx's configuration.
    pub(super) fn configured(&mut self, found: PreflightFindings) {
        let before = self
            .configured
            .filter(|one| one.configuration == found.configuration);
        self.configured = Some(Configured {
            configuration: found.configuration,
            since: before.map_or(found.begun, |one| one.since),
            until: found.begun,
            patience: found.patience,
        });
    }

    /// Whether nginx's configuration should be looked at: it may hide the log by now.
    pub(super) fn asks_for_a_look(&self, wall: u64) -> bool {
        let again = LOOK_AGAIN.as_millis() as u64;
        self.looked.is_none_or(|at| at > wall || wall - at > again)
    }
}

/// Asks nginx what it counts.
pub async fn ask_status(url: &str) -> Result<Status, String> {
    let text = sources::text(url, STATUS)
        .await
        .map_err(|error| error.to_string())?;
    Status::parse(&text).ok_or_else(|| "the answer is not from stub_status".to_owned())
}

impl LoadQuery {
    /// The service's numbers and those of its replicas.
    pub(super) async fn values<P: Proxy>(self, proxy: Option<Arc<P>>) -> Values {
        let reader = Arc::clone(&self.reader);
        if let Some(url) = &self.status {
            // Without it the log has to do.
            match ask_status(url).await {
                Ok(status) => {
                    // Whoever reads the log at this moment may take long.
                    if let Ok(mut reader) = reader.try_lock() {
                        reader.statuses.push(self.wall, status);
                    }
                }
                Err(error) => debug!(url, %error, "no stub_status"),
            }
        }
        let late = self.unread("it takes longer than 10s to read it");
        let answer = spawn_blocking(move || {
            // Where another one hangs in it, this one does not wait behind it for ever.
            let mut tries = READ.as_millis() / TRY.as_millis();
            let mut reader = loop {
                match self.reader.try_lock() {
                    Ok(reader) => break reader,
                    Err(TryLockError::Poisoned(reader)) => break reader.into_inner(),
                    Err(TryLockError::WouldBlock) if tries == 0 => return None,
                    Err(TryLockError::WouldBlock) => std::thread::sleep(TRY),
                }
                tries -= 1;
            };
            Some(reader.answer(&self))
        });
        let Ok(Ok(Some(answer))) = timeout(READ, answer).await else {
            return late;
        };
        if let Some(why) = &answer.grows {
            warn!("{why}");
        }
        let nginx = proxy.as_ref().and_then(|proxy| proxy.nginx());
        if let Some(nginx) = nginx.filter(|_| answer.reopen) {
            let told = timeout(OPENED, nginx.reopen_logs()).await;
            if !matches!(told, Ok(Ok(()))) {
                debug!(?told, "nginx was not told to open its logs again");
                let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
                if answer.rotated {
                    reader.unrotate();
                } else {
                    reader.reopen_again = true;
                }
            }
        }
        answer.values
    }
}

impl LogReader {
    fn answer(&mut self, question: &LoadQuery) -> LogReading {
        let (now, wall) = (question.now, question.wall);
        let RequestRoutes { services, servers } = &*question.routes;
        let services = services.iter().map(String::as_str);
        self.traffic.route(services, servers, wall + AHEAD);
        let mut answer = LogReading::default();
        let traffic = &mut self.traffic;
        let read = self.log.read(now, |line| traffic.hear(line));
        let long_ago = self
            .reopened
            .is_none_or(|at| now.duration_since(at) > REOPEN);
        let wanted = match &read {
            Ok(found) => found.reopen,
            // It was deleted, perhaps, and nginx writes into what is left of it.
            Err(LogError::Missing { .. }) => long_ago,
            Err(_) => false,
        };
        let wanted = wanted || self.reopen_again && long_ago;
        if question.acts && wanted && question.trouble.is_none() {
            answer.reopen = true;
        } else {
            self.reopen_again |= wanted;
        }
        if let Some(identity) = self.log.identity()
            && self.file.is_none_or(|(file, _)| file != identity)
        {
            let since = self.file.map_or(0, |_| wall);
            self.file = Some((identity, since));
        }
        // A log that fills its file system is begun anew too, or it would stay full.
        let rotates = matches!(read, Ok(_) | Err(LogError::Full { .. }))
            && question.acts
            && question.trouble.is_none()
            && self.log.is_due();
        if rotates {
            match self.log.rotate(now) {
                Ok(()) => {
                    answer.reopen = true;
                    answer.rotated = true;
                }
                Err(error) => answer.grows = self.grows(&error),
            }
        }
        let failed = read.err().map(|error| error.to_string());
        if failed.is_some() {
            self.gap = wall;
        }
        if let Some(why) = question.trouble.as_ref().or(failed.as_ref()) {
            self.since = None;
            if why != Values::NOT_YET {
                self.gap = wall;
            }
            answer.values = question.unread(why);
        } else {
            if self.since.is_none() {
                self.since = Some(self.complete_since(wall));
            }
            answer.values = self.values(question, wall);
        }
        answer.values.unserved = self.traffic.take_unserved(&question.service);
        if answer.reopen {
            self.reopened = Some(now);
            self.reopen_again = false;
        }
        answer
    }

    /// From when on the log tells of every request.
    fn complete_since(&self, wall: u64) -> u64 {
        let begun = match self.log.since() {
            Some(made) => made.duration_since(UNIX_EPOCH).ok(),
            None => self.traffic.first().map(Duration::from_millis),
        };
        let begun = begun.and_then(|begun| u64::try_from(begun.as_millis()).ok());
        // A log of the time to come was made before the clock was set back.
        begun.unwrap_or(wall).max(self.gap).min(wall)
    }

    fn values(&self, question: &LoadQuery, wall: u64) -> Values {
        let end = wall.saturating_sub(LAG.as_millis() as u64);
        let known = Duration::from_millis(end.saturating_sub(self.since.unwrap_or(end)));
        let service = &question.service;
        let mut values = Values::default();
        if known < LEAST {
            return question.unread(Values::NOT_YET);
        }
        let of_service = |window: Duration| {
            let window = window.min(known);
            self.traffic.of_service(service, wall, window)
        };
        if let Some(why) = &question.doubt {
            return question.unread(why);
        }
        let shown_idle = self.is_idle(question, wall);
        // nginx's own count has a websocket too, for as long as it is there.
        let counts = !self.traffic.is_upgraded(service);
        for (metric, window, pick) in &question.metrics {
            let load = of_service(*window).filter(|load| load.count > 0);
            let under_way = self.statuses.in_flight(wall, *window);
            let under_way = under_way.filter(|_| counts).unwrap_or(0.0);
            // That nobody comes cannot be told from a log that is not written, unless it is shown.
            let silent = || {
                let text = format!("no request in its log for {}", Span(*window));
                // That is no failure before it lasts.
                let last = self.traffic.last(service).unwrap_or(0);
                if wall.saturating_sub(last) < AWHILE.as_millis() as u64 {
                    format!("{text}: {}", Values::NOT_YET)
                } else {
                    text
                }
            };
            let value = match load {
                Some(load) => {
                    let value = pick.value(&load).unwrap_or_default();
                    match pick {
                        LoadField::InFlight if counts => {
                            Ok(self.statuses.corrected(value, wall, *window))
                        }
                        _ => Ok(value),
                    }
                }
                None if matches!(pick, LoadField::InFlight) && under_way >= 1.0 => Ok(under_way),
                // What has not ended by now is under way still.
                None if shown_idle && under_way < 1.0 => Ok(0.0),
                None => Err(silent()),
            };
            values.service.insert(metric.clone(), value);
        }
        for (id, name) in &question.replicas {
            let window = SHOWN.min(known);
            let load = self.traffic.of_replica(service, name, wall, window);
            let Some(load) = load else {
                continue;
            };
            for (metric, pick) in OF_EACH {
                if let Some(value) = pick.value(&load) {
                    let of_each = values.replicas.entry(metric.to_owned()).or_default();
                    of_each.insert(id.clone(), Ok(value));
                }
            }
        }
        values
    }

    /// Whether nobody asks for the service, although its requests would be in the log: one was, under the
    /// configuration that nginx still had after that and a short while ago, and in the same file.
    fn is_idle(&self, question: &LoadQuery, wall: u64) -> bool {
        let millis = |span: Duration| span.as_millis() as u64;
        let (Some(last), Some(configured)) =
            (self.traffic.last(&question.service), question.configured)
        else {
            return false;
        };
        let (_, begun) = self.file.unwrap_or_default();
        let silent = wall >= last.saturating_add(millis(configured.patience + SILENCE));
        let of_it = last >= configured.since.max(begun);
        let seen = configured.until > last + millis(LAG);
        // A look takes a moment.
        let lately = wall <= configured.until + millis(LOOK_AGAIN + LEAST * 3);
        silent && of_it && seen && lately
    }

    /// That the log cannot be begun anew, once.
    fn grows(&mut self, error: &std::io::Error) -> Option<String> {
        if std::mem::replace(&mut self.grows, true) {
            return None;
        }
        let (size, path) = (Size(Bytes(self.log.size())), self.log.path().display());
        Some(format!(
            "{path} has {size} and cannot be rotated ({error}): it will grow; give this user write access to its directory"
        ))
    }

    fn unrotate(&mut self) {
        if let Err(error) = self.log.unrotate() {
            debug!(%error, "the log could not be moved back");
        }
    }
}

impl LoadQuery {
    /// No number, and why.
    fn unread(&self, why: &str) -> Values {
        let metrics = self.metrics.iter();
        Values {
            service: metrics
                .map(|(metric, ..)| (metric.clone(), Err(why.to_owned())))
                .collect(),
            ..Values::default()
        }
    }
}

impl<E: Engine, P: Proxy> Driver<E, P> {
    /// Follows the log that the settings name; another one is read anew.
    pub(super) fn check_log(&mut self) {
        // The machines hear of another policy later.
        let policies = self.loaded.policies.values();
        let windows = policies
            .flat_map(|policy| &policy.metrics)
            .filter_map(Metric::traffic_window);
        let reach = windows.map(|window| window.0).max().unwrap_or(SHOWN);
        let reach = reach.max(SHOWN);
        let path = service_setup::log(&self.loaded).map(|(path, _)| path);
        let path = path.filter(|_| self.loads.is_none());
        let same = |one: &Monitor| Some(&one.path) == path.as_ref() && one.reach == reach;
        if self.monitor.as_ref().is_none_or(|one| !same(one)) {
            self.monitor = path.map(|path| Monitor::new(path, reach));
        }
    }

    /// Where requests go now; `None` where no log is read.
    pub(super) fn routes(&self) -> Option<Arc<RequestRoutes>> {
        self.monitor.as_ref()?;
        let nginx = self.nginx.borrow();
        let reach = self.loaded.settings.nginx.reach;
        let mut all = RequestRoutes::default();
        let routed = self.machines.values().filter(|m| m.setup().routed);
        for machine in routed {
            all.services.push(machine.service().to_owned());
            let Some(port) = machine.setup().port else {
                continue;
            };
            for replica in machine.running() {
                let of = Addresses {
                    own: &replica.addresses,
                    published: &replica.published,
                };
                if let Some(way) = address::for_nginx(&nginx, reach, of, port) {
                    all.servers.push(RoutedReplica {
                        address: way.address,
                        service: machine.service().to_owned(),
                        replica: replica.name.clone(),
                    });
                }
            }
        }
        Some(Arc::new(all))
    }

    /// The numbers of a service from whoever tells them.
    pub(super) fn told_values(&self, of: &str) -> Values {
        let mut values = Values::default();
        let (Some(loads), Some(machine)) = (&self.loads, self.machines.get(of)) else {
            return values;
        };
        for (metric, window, pick) in LoadField::of(&machine.setup().policy) {
            let load = loads.of_service(of, window);
            let value = load.and_then(|load| pick.value(&load).or(Some(0.0)));
            let value = value.ok_or_else(|| Values::NOT_YET.to_owned());
            values.service.insert(metric, value);
        }
        values
    }

    /// What is to be asked of the log for a service; `None` where there is none.
    pub(super) fn ask_the_log(
        &self,
        of: &str,
        replicas: &[Replica],
        routes: &Arc<RequestRoutes>,
    ) -> Option<LoadQuery> {
        let monitor = self.monitor.as_ref()?;
        let machine = self.machines.get(of)?;
        if !machine.setup().routed {
            return None;
        }
        let nginx = self.nginx.borrow();
        // Silence is no load only where nothing hides the log.
        let looks = !self.passive() && !self.way_is_known;
        let trouble = match (&monitor.refused, nginx.names()) {
            (Some(why), _) => Some(format!(
                "nginx does not write its log: {why}; when that is fixed, restart `watch`"
            )),
            (None, None) => Some("nginx is not running".to_owned()),
            (None, Some(_)) => looks.then(|| Values::NOT_YET.to_owned()),
        };
        Some(LoadQuery {
            reader: Arc::clone(&monitor.reader),
            service: of.to_owned(),
            metrics: LoadField::of(&machine.setup().policy),
            replicas: replicas
                .iter()
                .map(|replica| (replica.id.clone(), replica.name.clone()))
                .collect(),
            routes: Arc::clone(routes),
            doubt: self.unlogged.get(of).cloned(),
            trouble,
            // It counts for nginx as a whole.
            status: self
                .loaded
                .settings
                .nginx
                .logs
                .as_ref()
                .and_then(|logs| logs.stub_status.clone())
                .filter(|_| routes.services.len() == 1 && nginx.is_one()),
            configured: monitor.configured,
            acts: !self.passive() && matches!(self.goal, RunGoal::Watch | RunGoal::Once),
            now: tokio::time::Instant::now().into_std(),
            wall: self.clock.wall_millis(),
        })
    }
}

/// What both have read.
pub(super) fn both(mut one: Values, other: Values) -> Values {
    one.service.extend(other.service);
    one.replicas.extend(other.replicas);
    one.unserved += other.unserved;
    one
}

/// What hides the log from a service, by service.
pub(super) type UnloggedByService = BTreeMap<String, String>;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// A log and who reads it, by a clock that begins now.
    struct LogReaderBench {
        dir: tempfile::TempDir,
        monitor: Monitor,
        begin: u64,
    }

    impl LogReaderBench {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let monitor = Monitor::new(dir.path().join("shop.log"), SHOWN);
            let mut bench = Self {
                dir,
                monitor,
                begin: 0,
            };
            bench.log("");
            let made = std::fs::metadata(bench.dir.path().join("shop.log")).unwrap();
            let made = made.modified().unwrap().duration_since(UNIX_EPOCH);
            bench.begin = made.unwrap().as_millis() as u64;
            bench
        }

        fn log(&self, text: &str) {
            let mut options = std::fs::File::options();
            let log = options.create(true).append(true);
            let mut log = log.open(self.dir.path().join("shop.log")).unwrap();
            log.write_all(text.as_bytes()).unwrap();
        }

        fn request(&self, second: u64) {
            let at = self.begin + second * 1000;
            let (whole, rest) = (at / 1000, at % 1000);
            self.log(&format!(
                "compose-scale/1\t{whole}.{rest:03}\t200\t0.100\t10.0.0.1:80\t0.100\t0.000\tweb\n"
            ));
        }

        fn looked_at(&mut self, configuration: u64, second: u64) {
            let begun = self.begin + second * 1000;
            self.monitor.configured(PreflightFindings {
                configuration,
                begun,
                patience: Duration::from_secs(60),
            });
            self.monitor.looked = Some(begun);
        }

        fn asks_for_a_look(&self, second: u64) -> bool {
            self.monitor.asks_for_a_look(self.begin + second * 1000)
        }

        fn requests(&self, second: u64) -> Result<f64, String> {
            let question = LoadQuery {
                reader: Arc::clone(&self.monitor.reader),
                service: "web".into(),
                metrics: vec![(
                    "requests".into(),
                    Duration::from_secs(15),
                    LoadField::Requests,
                )],
                replicas: Vec::new(),
                routes: Arc::new(RequestRoutes {
                    services: vec!["web".into()],
                    servers: Vec::new(),
                }),
                doubt: None,
                trouble: None,
                status: None,
                configured: self.monitor.configured,
                acts: true,
                now: tokio::time::Instant::now().into_std() + Duration::from_secs(second),
                wall: self.begin + second * 1000,
            };
            let mut reader = self.monitor.reader.lock().unwrap();
            let values = reader.answer(&question).values;
            values.service["requests"].clone()
        }
    }

    #[test]
    fn silence_is_no_traffic_where_a_request_would_have_been_written_down() {
        let mut bench = LogReaderBench::new();
        let silent = || Err("no request in its log for 15s: no answer yet".to_owned());
        bench.looked_at(1, 1);
        bench.request(5);
        assert_eq!(bench.requests(10), Ok(1.0 / 8.0));
        assert_eq!(bench.requests(40), silent(), "nginx may write nothing");
        bench.looked_at(1, 62);
        assert_eq!(
            bench.requests(79),
            silent(),
            "somebody may still be waiting"
        );
        assert_eq!(bench.requests(80), Ok(0.0));
        assert!(!bench.asks_for_a_look(122));
        // Somebody may have hidden the log since.
        assert!(bench.asks_for_a_look(123));
        assert_eq!(bench.requests(137), Ok(0.0), "a look takes a moment");
        assert_eq!(bench.requests(138), silent());
        bench.looked_at(1, 139);
        assert_eq!(bench.requests(140), Ok(0.0));
        bench.looked_at(2, 141);
        assert_eq!(bench.requests(142), silent());
        let lasts = || Err("no request in its log for 15s".to_owned());
        assert_eq!(bench.requests(160), lasts(), "now it is to be told");
        bench.request(231);
        bench.looked_at(2, 290);
        assert_eq!(bench.requests(310), Ok(0.0));
    }

    #[test]
    fn silence_in_another_file_shows_nothing() {
        let mut bench = LogReaderBench::new();
        bench.looked_at(1, 1);
        bench.request(5);
        assert!(bench.requests(10).is_ok());
        std::fs::rename(
            bench.dir.path().join("shop.log"),
            bench.dir.path().join("old"),
        )
        .unwrap();
        bench.log("");
        assert!(bench.requests(85).is_err());
        bench.looked_at(1, 86);
        assert!(bench.requests(90).is_err());
    }

    #[test]
    fn how_well_requests_are_served_is_judged_by_how_many_there_are() {
        let policy = |metrics: serde_json::Value| {
            let value = serde_json::json!({"max": 3, "metrics": metrics});
            crate::policy::policy(&value).unwrap()
        };
        let names = |metrics| -> Vec<(String, u64)> {
            let picked = LoadField::of(&policy(metrics));
            picked
                .into_iter()
                .map(|(name, window, _)| (name, window.as_secs()))
                .collect()
        };
        assert_eq!(
            names(serde_json::json!([{"latency": {"p95": "1s"}}, {"in_flight": 8}])),
            [
                ("latency".into(), 30),
                ("in_flight".into(), 15),
                ("requests".into(), 30)
            ]
        );
        assert_eq!(names(serde_json::json!([{"cpu": "60%"}])), []);
    }
}
