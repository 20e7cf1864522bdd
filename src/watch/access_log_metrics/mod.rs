//! Reading the load from nginx's log, when the counters are read.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, TryLockError},
    time::Duration,
};

use tokio::{task::spawn_blocking, time::timeout};
use tracing::{debug, warn};

use super::preflight::{PreflightFindings, UnloggedByService};
use crate::{
    policy::{Metric, Policy, TrafficTarget as Target},
    project::Replica,
    proxy::Proxy,
    reconcile::Values,
    sources,
    traffic::{Status, TrafficLoad},
    units::Span,
};

mod load_query;
mod log_reader;

use load_query::{Configured, LoadField};
pub(super) use load_query::{LoadQuery, RequestRoutes};
use log_reader::LogReader;

/// nginx's configuration is looked at so often: it could hide requests by now.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// The log is read within this time, or not at all.
const READ: Duration = Duration::from_secs(10);
/// How often it is tried to get at it, while it is read for another service.
const TRY: Duration = Duration::from_millis(5);
/// The longest wait for `stub_status`.
const STATUS: Span = Span(Duration::from_secs(2));
/// The longest wait for nginx to open its logs again.
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
struct Monitor {
    path: PathBuf,
    reach: Duration,
    reader: Arc<Mutex<LogReader>>,
    /// Why nginx does not write it.
    refused: Option<String>,
    configured: Option<Configured>,
    /// When the last look at nginx's configuration began, in milliseconds since 1970.
    looked: Option<u64>,
}

/// The reader of a log, for one question.
#[derive(Debug)]
pub(super) struct SharedLogReader(Arc<Mutex<LogReader>>);

impl Monitor {
    fn new(path: PathBuf, reach: Duration) -> Self {
        let reader = LogReader::new(&path, reach);
        Self {
            path,
            reach,
            reader: Arc::new(Mutex::new(reader)),
            refused: None,
            configured: None,
            looked: None,
        }
    }

    /// Takes the findings of a look at nginx's configuration.
    fn configured(&mut self, found: PreflightFindings) {
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
    fn asks_for_a_look(&self, wall: u64) -> bool {
        let again = LOOK_AGAIN.as_millis() as u64;
        self.looked.is_none_or(|at| at > wall || wall - at > again)
    }
}

/// The load of services: from nginx's log, or from whoever tells it instead.
#[derive(Debug)]
pub(super) struct LoadMetrics {
    monitor: Option<Monitor>,
    loads: Option<Arc<dyn Loads>>,
    /// What hides the log from services.
    unlogged: UnloggedByService,
}

impl LoadMetrics {
    pub(super) fn new(loads: Option<Arc<dyn Loads>>) -> Self {
        Self {
            monitor: None,
            loads,
            unlogged: UnloggedByService::new(),
        }
    }

    /// Follows the log that the settings name, as far back as policies need it; another one is read anew.
    pub(super) fn follow<'a>(
        &mut self,
        log: Option<PathBuf>,
        policies: impl Iterator<Item = &'a Policy>,
    ) {
        let windows = policies
            .flat_map(|policy| &policy.metrics)
            .filter_map(Metric::traffic_window);
        let reach = windows.map(|window| window.0).max().unwrap_or(SHOWN);
        let reach = reach.max(SHOWN);
        let path = log.filter(|_| self.loads.is_none());
        let same = |one: &Monitor| Some(&one.path) == path.as_ref() && one.reach == reach;
        if self.monitor.as_ref().is_none_or(|one| !same(one)) {
            self.monitor = path.map(|path| Monitor::new(path, reach));
        }
    }

    /// Begins anew: the clock was set, and the log is by the clock of before.
    pub(super) fn forget_log(&mut self) {
        self.monitor = None;
    }

    /// Whether a log is read.
    pub(super) fn reads_a_log(&self) -> bool {
        self.monitor.is_some()
    }

    /// Whether nginx's configuration should be looked at: it may hide the log by now.
    pub(super) fn asks_for_a_look(&self, wall: u64) -> bool {
        self.monitor
            .as_ref()
            .is_some_and(|one| one.asks_for_a_look(wall))
    }

    /// A look at nginx's configuration begins.
    pub(super) fn look_begins(&mut self, wall: u64) {
        if let Some(monitor) = &mut self.monitor {
            monitor.looked = Some(wall);
        }
    }

    /// Takes the findings of that look, where it saw all of nginx, and what hides the log.
    pub(super) fn looked(
        &mut self,
        findings: Option<PreflightFindings>,
        unlogged: &UnloggedByService,
    ) {
        if findings.is_some() {
            self.unlogged.clone_from(unlogged);
        } else {
            // Of what could not be looked at as a whole, what was known stays.
            self.unlogged.extend(unlogged.clone());
        }
        if let (Some(monitor), Some(findings)) = (&mut self.monitor, findings) {
            monitor.configured(findings);
        }
    }

    /// Whether the log is hidden from any service.
    pub(super) fn is_hidden(&self) -> bool {
        !self.unlogged.is_empty()
    }

    /// Why nginx refuses to write the log, as a publish has shown it.
    pub(super) fn refused(&mut self, why: Option<String>) {
        if let Some(monitor) = &mut self.monitor {
            monitor.refused = why;
        }
    }

    /// The numbers of a service from whoever tells them.
    pub(super) fn told(&self, service: &str, policy: &Policy) -> Values {
        let mut values = Values::default();
        let Some(loads) = &self.loads else {
            return values;
        };
        for (metric, window, pick) in LoadField::of(policy) {
            let load = loads.of_service(service, window);
            let value = load.and_then(|load| pick.value(&load).or(Some(0.0)));
            let value = value.ok_or_else(|| Values::NOT_YET.to_owned());
            values.service.insert(metric, value);
        }
        values
    }

    /// A question to the log; `None` where none is read.
    pub(super) fn query(
        &self,
        (service, policy): (&str, &Policy),
        replicas: &[Replica],
        routes: &Arc<RequestRoutes>,
        context: QueryContext,
    ) -> Option<(SharedLogReader, LoadQuery)> {
        let monitor = self.monitor.as_ref()?;
        let trouble = match (&monitor.refused, context.runs) {
            (Some(why), _) => Some(format!(
                "nginx does not write its log: {why}; when that is fixed, restart `watch`"
            )),
            (None, false) => Some("nginx is not running".to_owned()),
            (None, true) => context.unseen.then(|| Values::NOT_YET.to_owned()),
        };
        let query = LoadQuery {
            service: service.to_owned(),
            metrics: LoadField::of(policy),
            replicas: replicas
                .iter()
                .map(|replica| (replica.id.clone(), replica.name.clone()))
                .collect(),
            routes: Arc::clone(routes),
            doubt: self.unlogged.get(service).cloned(),
            trouble,
            // It counts for nginx as a whole.
            status: context.status.filter(|_| routes.services.len() == 1),
            configured: monitor.configured,
            acts: context.acts,
            now: tokio::time::Instant::now().into_std(),
            wall: context.wall,
        };
        Some((SharedLogReader(Arc::clone(&monitor.reader)), query))
    }
}

/// The circumstances of a question to the log.
#[derive(Debug)]
pub(super) struct QueryContext {
    /// Whether any nginx runs.
    pub(super) runs: bool,
    /// Whether its configuration may hide the log, because nobody has looked at it: silence is no load
    /// only where nothing hides the log.
    pub(super) unseen: bool,
    /// The URL of `stub_status`, where one nginx has it.
    pub(super) status: Option<String>,
    /// Whether nginx may be told to open its logs again.
    pub(super) acts: bool,
    /// The clock that nginx goes by, in milliseconds since 1970.
    pub(super) wall: u64,
}

/// Asks nginx what it counts.
pub async fn ask_status(url: &str) -> Result<Status, String> {
    let text = sources::text(url, STATUS)
        .await
        .map_err(|error| error.to_string())?;
    Status::parse(&text).ok_or_else(|| "the answer is not from stub_status".to_owned())
}

impl SharedLogReader {
    /// The service's numbers and those of its replicas.
    pub(super) async fn values<P: Proxy>(self, query: LoadQuery, proxy: Option<Arc<P>>) -> Values {
        let reader = Arc::clone(&self.0);
        if let Some(url) = &query.status {
            // Without it the log has to do.
            match ask_status(url).await {
                Ok(status) => {
                    // Whoever reads the log at this moment may take long.
                    if let Ok(mut reader) = reader.try_lock() {
                        reader.push_status(query.wall, status);
                    }
                }
                Err(error) => debug!(url, %error, "no stub_status"),
            }
        }
        let late = query.unread("it takes longer than 10s to read it");
        let answer = spawn_blocking(move || {
            // Where another one hangs in it, this one does not wait behind it for ever.
            let mut tries = READ.as_millis() / TRY.as_millis();
            let mut reader = loop {
                match self.0.try_lock() {
                    Ok(reader) => break reader,
                    Err(TryLockError::Poisoned(reader)) => break reader.into_inner(),
                    Err(TryLockError::WouldBlock) if tries == 0 => return None,
                    Err(TryLockError::WouldBlock) => std::thread::sleep(TRY),
                }
                tries -= 1;
            };
            Some(reader.answer(&query))
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
                // Another reading may have it for long.
                let rotated = answer.rotated;
                let noted = spawn_blocking(move || {
                    let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
                    reader.not_reopened(rotated);
                });
                let _ = timeout(READ, noted).await;
            }
        }
        answer.values
    }
}

/// Adds the readings of another source.
pub(super) fn both(mut one: Values, other: Values) -> Values {
    one.service.extend(other.service);
    one.replicas.extend(other.replicas);
    one.unserved += other.unserved;
    one
}

#[cfg(test)]
mod tests {
    use std::{io::Write, time::UNIX_EPOCH};

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
