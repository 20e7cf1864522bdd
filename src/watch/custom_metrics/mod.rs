//! Reading custom metrics: beside the counters, one reading of a value at a time, and none of them
//! holds a decision up for longer than it is worth.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{Instant, timeout_at},
};

use super::nginx_target::NginxLocation;
use crate::{
    compose::Loaded,
    engine::Engine,
    policy::{CustomTarget, Metric, Policy},
    project::{ContainerId, Replica},
    reconcile::Values,
    sources::SourceError,
    telemetry::plain,
    units::Span,
};

mod source_reading;

pub use source_reading::{SourceContext, SourceReading};

/// So many values of one service are read at once.
const AT_ONCE: usize = 8;
/// A value that is read late may be used for so many intervals.
const LASTS: u32 = 3;

/// Which value: of a metric, of the service or of one replica.
type ValueKey = (String, Option<ContainerId>);

/// The values of one service's custom metrics, as far as they are known.
#[derive(Debug)]
struct MetricCache {
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
    fn begin<E: Engine>(
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

/// The custom metrics of all services.
#[derive(Debug)]
pub(super) struct CustomMetrics {
    caches: BTreeMap<String, MetricCache>,
    context: SourceContext,
}

impl CustomMetrics {
    pub(super) fn new(loaded: &Loaded) -> Self {
        Self {
            caches: BTreeMap::new(),
            context: SourceContext::new(loaded, NginxLocation::Unknown, &[]),
        }
    }

    /// The files were read again.
    pub(super) fn reload(&mut self, loaded: &Loaded) {
        self.context.reload(loaded);
    }

    /// Takes a listing of the project's containers.
    pub(super) fn see(&mut self, containers: &[Replica]) {
        self.context.see(containers);
    }

    /// A service is not managed any more.
    pub(super) fn forget(&mut self, service: &str) {
        self.caches.remove(service);
    }

    /// Begins to read a service's values: none without a policy.
    pub(super) fn begin<E: Engine>(
        &mut self,
        service: &str,
        policy: Option<&Policy>,
        replicas: &[Replica],
        nginx: &NginxLocation,
        patience: Patience,
        to: (&Arc<E>, &mut JoinSet<()>),
    ) -> Awaited {
        self.context.nginx_is(nginx);
        let cache = self.caches.entry(service.to_owned()).or_default();
        cache.begin(policy, replicas, &self.context, patience, to)
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
    use tokio::{io::AsyncReadExt as _, net::TcpListener, time::timeout};

    use super::{
        source_reading::tests::{around, command, http},
        *,
    };
    use crate::{
        engine::docker::Docker,
        plan::tests::replica,
        policy::{CustomMetric, CustomSource},
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

    /// No reading of these tests asks it for anything.
    fn no_engine() -> Arc<Docker> {
        Arc::new(Docker::connect(Some("tcp://127.0.0.1:1")).unwrap())
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
}
