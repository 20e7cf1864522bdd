//! Reading custom metrics: beside the counters, one reading of a value at a time, and none of them
//! holds a decision up for longer than it is worth.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{
    sync::{Semaphore, oneshot, watch},
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};

use super::{
    address::{self, Addresses},
    nginx_target::NginxLocation,
};
use crate::{
    compose::Loaded,
    engine::{Engine, EngineError, Exec},
    policy::{self, CustomSource, CustomTarget, Metric, Policy, ReplicaReach},
    project::{ContainerId, ContainerState, Replica},
    reconcile::Values,
    sources::{self, SourceError, command},
    telemetry::plain,
    units::Span,
};

/// So many values of one service are read at once.
const AT_ONCE: usize = 8;
/// A value that is read late may be used for so many intervals.
const LASTS: u32 = 3;
/// The Engine cannot end a command inside a container. So long its end is waited for before the next
/// one is begun: else those that hang would gather there.
const LINGER: Duration = Duration::from_secs(600);

/// Where things are in the project, for sources that name a service or are read for each replica.
#[derive(Debug, Clone, Default)]
pub struct SourceContext {
    /// Where commands on this host are run.
    directory: PathBuf,
    services: BTreeSet<String>,
    /// The first running replica of each service.
    first: BTreeMap<String, Replica>,
    pub(super) nginx: NginxLocation,
    reach: ReplicaReach,
}

impl SourceContext {
    /// From the files and from what is there.
    pub fn new(loaded: &Loaded, nginx: NginxLocation, containers: &[Replica]) -> Self {
        let mut around = Self {
            directory: loaded.project.working_dir.clone(),
            services: loaded.project.services.keys().cloned().collect(),
            first: BTreeMap::new(),
            nginx,
            reach: loaded.settings.nginx.reach,
        };
        around.see(containers);
        around
    }

    /// The same after the files were read again.
    pub(super) fn reload(&mut self, loaded: &Loaded) {
        let first = std::mem::take(&mut self.first);
        *self = Self::new(loaded, NginxLocation::Unknown, &[]);
        self.first = first;
    }

    /// From a listing of the project's containers, which is in the order of their numbers.
    pub(super) fn see(&mut self, containers: &[Replica]) {
        self.first.clear();
        for one in containers
            .iter()
            .filter(|one| one.is_replica() && one.state == ContainerState::Running)
        {
            let first = self.first.entry(one.service.clone());
            first.or_insert_with(|| one.clone());
        }
    }

    fn first(&self, service: &str) -> Result<&Replica, SourceError> {
        let first = self.first.get(service);
        first.ok_or_else(|| SourceError::NotRunning {
            service: service.to_owned(),
        })
    }

    fn address(&self, replica: &Replica, port: u16) -> Result<std::net::SocketAddr, SourceError> {
        let of = Addresses {
            own: &replica.addresses,
            published: &replica.published,
        };
        let way = address::for_a_look(&self.nginx, self.reach, of, port);
        way.map(|way| way.address)
            .ok_or_else(|| SourceError::NoAddress {
                replica: replica.name.clone(),
            })
    }

    /// The replica's own address, for `{replica}`.
    fn own_address(&self, replica: &Replica) -> Option<IpAddr> {
        // Port 0 is published by nobody.
        let way = self.address(replica, 0).ok();
        way.map(|way| way.ip())
            .or_else(|| replica.addresses.values().next().copied())
    }
}

/// One value and the way to it.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceReading(SourceAccess);

#[derive(Debug, Clone, PartialEq)]
enum SourceAccess {
    Here {
        source: CustomSource,
        directory: PathBuf,
        address: Option<std::net::SocketAddr>,
    },
    Inside {
        replica: ContainerId,
        command: policy::CommandSource,
    },
    None(SourceError),
}

impl SourceReading {
    /// The way to a value of a service, or of one of its replicas.
    pub fn new(source: &CustomSource, of: Option<&Replica>, around: &SourceContext) -> Self {
        Self(Self::way(source, of, around).unwrap_or_else(SourceAccess::None))
    }

    fn way(
        source: &CustomSource,
        of: Option<&Replica>,
        around: &SourceContext,
    ) -> Result<SourceAccess, SourceError> {
        // Asked of the service itself, each replica is asked about itself.
        let of_service = |service: &str| match of {
            Some(replica) if replica.service == service => Ok(replica),
            _ => around.first(service),
        };
        let url = match source {
            CustomSource::Command(_) => None,
            CustomSource::Http(one) => Some(&one.url),
            CustomSource::Prometheus(one) => Some(&one.url),
        };
        let mut address = None;
        if let Some((host, port)) = url.and_then(|url| host_of(url)) {
            address = match of {
                Some(replica) if host == "{replica}" => Some(around.address(replica, port)?),
                _ if around.services.contains(&host) => {
                    Some(around.address(of_service(&host)?, port)?)
                }
                _ => None,
            };
        }
        let source = match of {
            Some(replica) => {
                let own = around.own_address(replica).map(|ip| ip.to_string());
                let own = own.unwrap_or_else(|| replica.name.clone());
                sources::for_replica(source, &replica.name, &own)
            }
            None => source.clone(),
        };
        match source {
            CustomSource::Command(command) if command.service.is_some() => {
                let service = command.service.as_deref().unwrap_or_default();
                Ok(SourceAccess::Inside {
                    replica: of_service(service)?.id.clone(),
                    command,
                })
            }
            source => Ok(SourceAccess::Here {
                source,
                directory: around.directory.clone(),
                address,
            }),
        }
    }

    /// Reads it once.
    pub async fn once<E: Engine>(&self, engine: &E) -> Result<f64, SourceError> {
        let (tell, told) = oneshot::channel();
        let reading = async {
            self.run(engine, |answer| {
                let _ = tell.send(answer);
            })
            .await;
            // The answer is told already.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            answer = told => answer.unwrap_or(Err(SourceError::Engine("not read".into()))),
            () = reading => Err(SourceError::Engine("not read".into())),
        }
    }

    /// Reads it, tells the answer in time, and returns when nothing of it is under way any more.
    async fn run<E: Engine>(&self, engine: &E, tell: impl FnOnce(Result<f64, SourceError>)) {
        match &self.0 {
            SourceAccess::None(why) => tell(Err(why.clone())),
            SourceAccess::Here {
                source,
                directory,
                address,
            } => tell(sources::read(source, directory, *address).await),
            SourceAccess::Inside { replica, command } => {
                let after = command.timeout;
                let exec = Exec {
                    argv: command.argv.clone(),
                    deadline: Some(LINGER.max(after.0)),
                    keep: Some(command::OUTPUT + 1),
                    ..Exec::default()
                };
                let mut run = std::pin::pin!(engine.exec(replica, &exec));
                match timeout(after.0, &mut run).await {
                    Ok(Ok(output)) => {
                        let printed = command::Printed {
                            code: output.code,
                            stdout: output.stdout,
                            stderr: output.stderr,
                        };
                        tell(command::judge(command, &printed));
                    }
                    Ok(Err(error)) => tell(Err(not_run(command, &error))),
                    Err(_) => {
                        tell(Err(SourceError::TimedOut { after }));
                        let _ = run.await;
                    }
                }
            }
        }
    }
}

/// The host of a URL that may have `{replica}` in its place, and the port.
fn host_of(url: &str) -> Option<(String, u16)> {
    let (host, port) = sources::endpoint(&url.replacen("//{replica}", "//replica.invalid", 1))?;
    let host = if host == "replica.invalid" {
        "{replica}".into()
    } else {
        host
    };
    Some((host, port))
}

/// Why the Engine did not run a command. Newer ones refuse one that is not there.
fn not_run(command: &policy::CommandSource, error: &EngineError) -> SourceError {
    let text = error.to_string();
    let missing = text.contains("executable file not found") || text.contains("no such file");
    if missing {
        return SourceError::NotFound {
            program: command.argv.first().cloned().unwrap_or_default(),
            inside: command.service.clone(),
        };
    }
    SourceError::Engine(text.lines().next().unwrap_or_default().to_owned())
}

/// Which value: of a metric, of the service or of one replica.
type ValueKey = (String, Option<ContainerId>);

/// The values of one service's custom metrics, as far as they are known.
#[derive(Debug)]
pub(super) struct MetricCache {
    permits: Arc<Semaphore>,
    kept: BTreeMap<ValueKey, CachedValue>,
}

#[derive(Debug)]
struct CachedValue {
    reading: SourceReading,
    state: Arc<watch::Sender<ValueState>>,
}

/// What is known of a value.
#[derive(Debug, Clone, Default)]
struct ValueState {
    /// A reading is under way: it has not come to its end, or has not even told its answer.
    under_way: bool,
    untold: bool,
    answer: Option<(Instant, Result<f64, String>)>,
}

/// Which readings are begun and how long they are waited for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Patience {
    /// The next decision is an interval away.
    Interval(Duration),
    /// Somebody waits for this one: each value is read once, to its end.
    Once,
}

impl Default for MetricCache {
    fn default() -> Self {
        Self {
            permits: Arc::new(Semaphore::new(AT_ONCE)),
            kept: BTreeMap::new(),
        }
    }
}

impl MetricCache {
    /// Begins the readings of a policy's custom metrics, but for those that are still under way, and
    /// returns what to wait for.
    pub(super) fn begin<E: Engine>(
        &mut self,
        policy: Option<&Policy>,
        replicas: &[Replica],
        around: &SourceContext,
        patience: Patience,
        (engine, tasks): (&Arc<E>, &mut JoinSet<()>),
    ) -> Awaited {
        let mut wanted = BTreeMap::new();
        for metric in policy.into_iter().flat_map(|policy| &policy.metrics) {
            let Metric::Custom(custom) = metric else {
                continue;
            };
            let Some(source) = &custom.source else {
                continue;
            };
            if let CustomTarget::PerReplica(_) = custom.target {
                for replica in replicas {
                    let key = (custom.name.clone(), Some(replica.id.clone()));
                    wanted.insert(key, SourceReading::new(source, Some(replica), around));
                }
            } else {
                let key = (custom.name.clone(), None);
                wanted.insert(key, SourceReading::new(source, None, around));
            }
        }
        // What was read in another way is no value of this one.
        self.kept
            .retain(|key, kept| wanted.get(key) == Some(&kept.reading));
        let mut awaited = Vec::new();
        for (key, reading) in wanted {
            let kept = self.kept.entry(key.clone()).or_insert_with(|| CachedValue {
                reading,
                state: Arc::default(),
            });
            let known = kept.state.borrow().clone();
            let enough = match patience {
                Patience::Interval(_) => false,
                Patience::Once => known.answer.is_some(),
            };
            let begun = !known.under_way && !enough;
            if begun {
                kept.begin(engine, &self.permits, tasks);
            }
            awaited.push((key, begun, kept.state.subscribe()));
        }
        Awaited {
            begun: Instant::now(),
            patience,
            values: awaited,
        }
    }
}

impl CachedValue {
    fn begin<E: Engine>(&self, engine: &Arc<E>, permits: &Arc<Semaphore>, tasks: &mut JoinSet<()>) {
        self.state.send_modify(|known| {
            known.under_way = true;
            known.untold = true;
        });
        let engine = Arc::clone(engine);
        let permits = Arc::clone(permits);
        let state = Arc::clone(&self.state);
        let ended = Arc::clone(&self.state);
        let reading = self.reading.clone();
        tasks.spawn(async move {
            let permit = permits.acquire().await;
            let tell = move |answer: Result<f64, SourceError>| {
                let answer = answer.map_err(|error| plain(&error.to_string()).into_owned());
                state.send_modify(|known| {
                    known.answer = Some((Instant::now(), answer));
                    known.untold = false;
                });
                drop(permit);
            };
            reading.run(&*engine, tell).await;
            ended.send_modify(|known| known.under_way = false);
        });
    }
}

/// Readings that have been begun, or were before.
#[derive(Debug)]
pub(super) struct Awaited {
    begun: Instant,
    patience: Patience,
    values: Vec<(ValueKey, bool, watch::Receiver<ValueState>)>,
}

impl Awaited {
    /// Waits for those that have just been begun, but not into the next interval, and takes what
    /// there is of the others.
    pub(super) async fn values(self) -> Values {
        let Self {
            begun,
            patience,
            values,
        } = self;
        let again = !values.is_empty() && values.iter().all(|(_, new, _)| !new);
        let each = values.into_iter().map(|(key, new, mut state)| async move {
            match patience {
                Patience::Interval(interval) if new => {
                    let told = state.wait_for(|known| !known.untold);
                    let _ = timeout_at(begun + interval * 3 / 4, told).await.map(drop);
                }
                Patience::Interval(_) => {}
                Patience::Once => drop(state.wait_for(|known| !known.untold).await),
            }
            let known = state.borrow().clone();
            (key, known.value(patience))
        });
        let mut all = Values {
            again: again && matches!(patience, Patience::Once),
            ..Values::default()
        };
        for ((name, replica), value) in join_all(each).await {
            match replica {
                None => {
                    all.service.insert(name, value);
                }
                Some(id) => {
                    all.replicas.entry(name).or_default().insert(id, value);
                }
            }
        }
        all
    }
}

impl ValueState {
    /// The last answer, for as long as it lasts.
    fn value(self, patience: Patience) -> Result<f64, String> {
        let Some((at, answer)) = self.answer else {
            return Err(Values::NOT_YET.into());
        };
        if let (Patience::Interval(interval), true, Ok(_)) = (patience, self.untold, &answer) {
            let age = at.elapsed();
            if age >= interval * LASTS {
                let age = Span(Duration::from_secs(age.as_secs()));
                return Err(format!("no answer for {age}"));
            }
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncReadExt as _, net::TcpListener};

    use super::*;
    use crate::{
        engine::docker::Docker,
        plan::tests::replica,
        policy::{CommandSource, CustomMetric, HttpSource, ValueSelector},
    };

    fn policy(source: CustomSource, target: CustomTarget) -> Policy {
        let custom = CustomMetric {
            name: "jobs".into(),
            source: Some(source),
            target,
            fallback: None,
            failures: 3,
        };
        Policy {
            metrics: vec![Metric::Custom(custom)],
            ..Policy::default()
        }
    }

    fn command(argv: &[&str]) -> CommandSource {
        CommandSource {
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            service: None,
            pointer: None,
            timeout: Span::seconds(5),
        }
    }

    fn http(url: &str) -> CustomSource {
        CustomSource::Http(HttpSource {
            url: url.to_owned(),
            pick: ValueSelector::Pointer {
                pointer: String::new(),
            },
            timeout: Span::seconds(60),
        })
    }

    /// No reading of these tests asks it for anything.
    fn no_engine() -> Arc<Docker> {
        Arc::new(Docker::connect(Some("tcp://127.0.0.1:1")).unwrap())
    }

    fn around() -> SourceContext {
        SourceContext {
            directory: "/".into(),
            services: ["web", "redis"].map(str::to_owned).into(),
            ..SourceContext::default()
        }
    }

    #[tokio::test]
    async fn one_reading_is_under_way_at_a_time_and_its_last_value_counts_for_three_intervals() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let policy = policy(http(&url), CustomTarget::Average(1.0));
        let (engine, mut tasks) = (no_engine(), JoinSet::new());
        let mut shelf = MetricCache::default();
        let interval = Duration::from_millis(200);
        let mut begin = |shelf: &mut MetricCache| {
            let patience = Patience::Interval(interval);
            let to = (&engine, &mut tasks);
            shelf.begin(Some(&policy), &[], &around(), patience, to)
        };
        let jobs = |values: &Values| values.service["jobs"].clone();

        // The first answer comes at once.
        let first = begin(&mut shelf);
        let (values, ()) = tokio::join!(first.values(), async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 1024]).await.unwrap();
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n4";
            tokio::io::AsyncWriteExt::write_all(&mut stream, answer)
                .await
                .unwrap();
        });
        assert_eq!(jobs(&values), Ok(4.0));
        let answered = Instant::now();

        // The second one never: the last counts, and is not waited for into the next interval.
        let asked = Instant::now();
        assert_eq!(jobs(&begin(&mut shelf).values().await), Ok(4.0));
        assert!(asked.elapsed() < interval, "{:?}", asked.elapsed());
        let _hanging = listener.accept().await.unwrap();
        let stale = loop {
            // One that is under way is not waited for again.
            let value = jobs(&begin(&mut shelf).values().await);
            if value != Ok(4.0) {
                break value;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert_eq!(stale, Err("no answer for 0s".to_owned()));
        assert!(answered.elapsed() >= interval * LASTS);
        let another = timeout(Duration::ZERO, listener.accept()).await;
        assert!(another.is_err(), "a second reading was begun");
    }

    #[tokio::test]
    async fn who_waits_for_an_answer_gets_each_value_once_and_of_each_replica() {
        let source =
            CustomSource::Command(command(&["sh", "-c", "echo $0 | tr -dc 0-9", "{name}"]));
        let policy = policy(source, CustomTarget::PerReplica(1.0));
        let (engine, mut tasks) = (no_engine(), JoinSet::new());
        let mut shelf = MetricCache::default();
        let replicas = [replica(3), replica(4)];
        for _ in 0..2 {
            let to = (&engine, &mut tasks);
            let patience = Patience::Once;
            let awaited = shelf.begin(Some(&policy), &replicas, &around(), patience, to);
            let values = awaited.values().await;
            assert_eq!(values.replicas["jobs"][&replicas[0].id], Ok(3.0));
            assert_eq!(values.replicas["jobs"][&replicas[1].id], Ok(4.0));
        }
        assert_eq!(tasks.len(), 2, "each was read once");
    }

    #[test]
    fn a_host_that_is_a_service_is_its_first_running_replica_or_the_replica_itself() {
        let at = |number: u32, service: &str| {
            let mut one = replica(number);
            service.clone_into(&mut one.service);
            one.addresses = [("net".to_owned(), IpAddr::from([10, 0, 0, number as u8]))].into();
            one
        };
        let mut stopped = at(1, "redis");
        stopped.state = ContainerState::Exited;
        let mut around = around();
        around.see(&[
            at(1, "web"),
            at(2, "web"),
            stopped,
            at(5, "redis"),
            at(6, "redis"),
        ]);
        let address =
            |url: &str, of: Option<&Replica>| match SourceReading::new(&http(url), of, &around) {
                SourceReading(SourceAccess::Here { address, .. }) => {
                    address.map(|address| address.to_string())
                }
                other => panic!("{other:?}"),
            };
        let web = at(2, "web");
        let to = |text: &str| Some(text.to_owned());
        assert_eq!(address("http://redis:8000/", None), to("10.0.0.5:8000"));
        assert_eq!(address("http://redis/", Some(&web)), to("10.0.0.5:80"));
        assert_eq!(address("http://web:81/", None), to("10.0.0.1:81"));
        assert_eq!(address("http://web:81/", Some(&web)), to("10.0.0.2:81"));
        let filled = "http://{replica}:82/x?n={name}";
        assert_eq!(address(filled, Some(&web)), to("10.0.0.2:82"));
        assert_eq!(address("http://localhost/", None), None);

        let mut inside = command(&["redis-cli", "llen", "jobs"]);
        inside.service = Some("redis".into());
        let way = |command: &CommandSource| {
            SourceReading::new(&CustomSource::Command(command.clone()), None, &around)
        };
        let expected = SourceReading(SourceAccess::Inside {
            replica: at(5, "redis").id,
            command: inside.clone(),
        });
        assert_eq!(way(&inside), expected);
        inside.service = Some("queue".into());
        let expected = SourceReading(SourceAccess::None(SourceError::NotRunning {
            service: "queue".into(),
        }));
        assert_eq!(way(&inside), expected);
    }
}
