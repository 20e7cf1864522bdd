//! Reading the load from nginx's log, when the counters are read.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, UNIX_EPOCH},
};

use tokio::{task::spawn_blocking, time::timeout};
use tracing::debug;

use super::{
    Driver, Goal,
    address::{self, Addresses},
    setup,
};
use crate::{
    engine::Engine,
    policy::{Metric, Traffic as Target},
    project::{ContainerId, Replica},
    proxy::{
        Proxy,
        log::{Log, LogError},
    },
    reconcile::Values,
    traffic::{LAG, Load, Server, Traffic},
    units::Span,
};

/// Less of a window than this tells nothing.
const LEAST: Duration = Duration::from_secs(5);
/// nginx is told to open its logs again at most so often.
const REOPEN: Duration = Duration::from_secs(30);
/// nginx's clock may be ahead by so much, in milliseconds.
const AHEAD: u64 = 5000;
/// The longest wait for that.
const OPENED: Duration = Duration::from_secs(5);
/// Over so long the load of each replica is shown.
const SHOWN: Duration = Duration::from_secs(Target::WINDOW);

/// nginx's log and what it has told so far.
#[derive(Debug)]
pub(super) struct Monitor {
    path: PathBuf,
    reach: Duration,
    reader: Arc<Mutex<Reader>>,
    /// Why nginx does not write it.
    pub(super) refused: Option<String>,
}

#[derive(Debug)]
struct Reader {
    log: Log,
    traffic: Traffic,
    /// From here on nothing is missing, in milliseconds since 1970.
    since: Option<u64>,
    /// Until then lines may have been lost.
    gap: u64,
    reopened: Option<Instant>,
}

/// What is asked of the log for one service.
#[derive(Debug)]
pub(super) struct Question {
    reader: Arc<Mutex<Reader>>,
    service: String,
    /// The metrics of its policy that are read from the log, with their windows.
    metrics: Vec<(String, Duration)>,
    replicas: Vec<(ContainerId, String)>,
    routes: Arc<Routes>,
    /// What keeps lines of the service from the log, unless they come all the same.
    doubt: Option<String>,
    /// Whether nothing can be read at all.
    trouble: Option<String>,
    /// Whether nginx may be told to open its logs again.
    acts: bool,
    now: Instant,
    /// The clock that nginx goes by, in milliseconds since 1970.
    wall: u64,
}

/// Where requests go, for all services whose counters are read together.
#[derive(Debug, Default)]
pub(super) struct Routes {
    services: Vec<String>,
    servers: Vec<Server>,
}

/// What the log says.
#[derive(Debug, Default)]
struct Answer {
    values: Values,
    /// nginx has to open its logs again.
    reopen: bool,
    /// And when it does not, the log has to be moved back.
    rotated: bool,
}

impl Monitor {
    fn new(path: PathBuf, reach: Duration) -> Self {
        let reader = Reader {
            log: Log::new(&path),
            traffic: Traffic::new(reach),
            since: None,
            gap: 0,
            reopened: None,
        };
        Self {
            path,
            reach,
            reader: Arc::new(Mutex::new(reader)),
            refused: None,
        }
    }
}

impl Question {
    /// The service's numbers and those of its replicas.
    pub(super) async fn values<P: Proxy>(self, proxy: Option<Arc<P>>) -> Values {
        let reader = Arc::clone(&self.reader);
        let answer = spawn_blocking(move || {
            let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
            reader.answer(&self)
        });
        let answer = answer.await.unwrap_or_default();
        if let Some(proxy) = proxy.filter(|_| answer.reopen) {
            let told = timeout(OPENED, proxy.reopen_logs()).await;
            if !matches!(told, Ok(Ok(()))) {
                debug!(?told, "nginx was not told to open its logs again");
                if answer.rotated {
                    let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
                    reader.unrotate();
                }
            }
        }
        answer.values
    }
}

impl Reader {
    fn answer(&mut self, question: &Question) -> Answer {
        let (now, wall) = (question.now, question.wall);
        let Routes { services, servers } = &*question.routes;
        let services = services.iter().map(String::as_str);
        self.traffic.route(services, servers, wall + AHEAD);
        let mut answer = Answer::default();
        let traffic = &mut self.traffic;
        let read = self.log.read(now, |line| traffic.hear(line));
        let wanted = match &read {
            Ok(found) => found.reopen,
            // It was deleted, perhaps, and nginx writes into what is left of it.
            Err(LogError::Missing { .. }) => self
                .reopened
                .is_none_or(|at| now.duration_since(at) > REOPEN),
            Err(_) => false,
        };
        if question.acts && wanted && question.trouble.is_none() {
            answer.reopen = true;
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
            if question.acts && self.log.is_due() && self.log.rotate(now).is_ok() {
                answer.reopen = true;
                answer.rotated = true;
            }
        }
        if answer.reopen {
            self.reopened = Some(now);
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
        begun.unwrap_or(wall).max(self.gap)
    }

    fn values(&self, question: &Question, wall: u64) -> Values {
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
        for (metric, window) in &question.metrics {
            let load = of_service(*window).filter(|load| load.count > 0);
            // That nobody comes cannot be told from a log that is not written.
            let silent = || format!("no request in its log for {}", Span(*window));
            let value = load
                .map(|load| value(metric, &load).unwrap_or_default())
                .ok_or_else(silent);
            values.service.insert(metric.clone(), value);
        }
        for (id, name) in &question.replicas {
            let window = SHOWN.min(known);
            let load = self.traffic.of_replica(service, name, wall, window);
            let Some(load) = load else {
                continue;
            };
            for metric in ["requests", "in_flight", "p95", "errors"] {
                if let Some(value) = value(metric, &load) {
                    let of_each = values.replicas.entry(metric.to_owned()).or_default();
                    of_each.insert(id.clone(), Ok(value));
                }
            }
        }
        values
    }

    fn unrotate(&mut self) {
        if let Err(error) = self.log.unrotate() {
            debug!(%error, "the log could not be moved back");
        }
    }
}

impl Question {
    /// No number, and why.
    fn unread(&self, why: &str) -> Values {
        let metrics = self.metrics.iter();
        Values {
            service: metrics
                .map(|(metric, _)| (metric.clone(), Err(why.to_owned())))
                .collect(),
            ..Values::default()
        }
    }
}

fn value(metric: &str, load: &Load) -> Option<f64> {
    match metric {
        "requests" => Some(load.requests),
        "in_flight" => Some(load.in_flight),
        "errors" => Some(load.errors * 100.0),
        "p95" => load.latency(0.95),
        _ => None,
    }
}

impl<E: Engine, P: Proxy> Driver<E, P> {
    /// Follows the log that the settings name; another one is read anew.
    pub(super) fn mind_the_log(&mut self) {
        let policies = self.machines.values().map(|m| &m.setup().policy);
        let windows = policies
            .flat_map(|policy| &policy.metrics)
            .filter_map(Metric::traffic_window);
        let reach = windows.map(|window| window.0).max().unwrap_or(SHOWN);
        let reach = reach.max(SHOWN);
        let path = setup::log(&self.loaded).map(|(path, _)| path);
        let same = |one: &Monitor| Some(&one.path) == path.as_ref() && one.reach == reach;
        if self.monitor.as_ref().is_none_or(|one| !same(one)) {
            self.monitor = path.map(|path| Monitor::new(path, reach));
        }
    }

    /// Where requests go now; `None` where no log is read.
    pub(super) fn routes(&self) -> Option<Arc<Routes>> {
        self.monitor.as_ref()?;
        let nginx = self.nginx.borrow();
        let reach = self.loaded.settings.nginx.reach;
        let mut all = Routes::default();
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
                    all.servers.push(Server {
                        address: way.address,
                        service: machine.service().to_owned(),
                        replica: replica.name.clone(),
                    });
                }
            }
        }
        Some(Arc::new(all))
    }

    /// What is to be asked of the log for a service; `None` where there is none.
    pub(super) fn ask_the_log(
        &self,
        of: &str,
        replicas: &[Replica],
        routes: &Arc<Routes>,
    ) -> Option<Question> {
        let monitor = self.monitor.as_ref()?;
        let machine = self.machines.get(of)?;
        if !machine.setup().routed {
            return None;
        }
        let nginx = self.nginx.borrow();
        let read = machine.setup().policy.metrics.iter();
        // Silence is no load only where nothing hides the log.
        let looks = !self.passive() && !self.way_is_known;
        let trouble = match (&monitor.refused, nginx.names()) {
            (Some(why), _) => Some(format!(
                "nginx does not write its log: {why}; when that is mended, start `watch` again"
            )),
            (None, None) => Some("nginx is not running".to_owned()),
            (None, Some(_)) => looks.then(|| Values::NOT_YET.to_owned()),
        };
        Some(Question {
            reader: Arc::clone(&monitor.reader),
            service: of.to_owned(),
            metrics: read
                .filter_map(|one| Some((one.name().to_owned(), one.traffic_window()?.0)))
                .collect(),
            replicas: replicas
                .iter()
                .map(|replica| (replica.id.clone(), replica.name.clone()))
                .collect(),
            routes: Arc::clone(routes),
            doubt: self.unlogged.get(of).cloned(),
            trouble,
            acts: !self.passive() && matches!(self.goal, Goal::Watch | Goal::Once),
            now: tokio::time::Instant::now().into_std(),
            wall: u64::try_from(self.clock.wall().as_millisecond()).unwrap_or(0),
        })
    }
}

/// What both have read.
pub(super) fn both(mut one: Values, other: Values) -> Values {
    one.service.extend(other.service);
    one.replicas.extend(other.replicas);
    one
}

/// What hides the log from a service, by service.
pub(super) type Unlogged = BTreeMap<String, String>;
