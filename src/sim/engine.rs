//! The simulated host as an [`Engine`], without a socket in between.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{Stream, stream};
use tokio::time::sleep;

use super::simulated_host::{Container, World};
use crate::{
    engine::{
        ContainerProcess, Engine, EngineError, EngineEvent, EngineInfo, Exec, ExecOutput,
        NewReplica,
    },
    project::{
        ContainerId, Replica,
        container_spec::ContainerSpec,
        labels,
        remembered_replica::{Sealed, Template},
    },
    usage::CounterReading,
};

/// Where nobody will find it.
const ADDRESS: &str = "unix:///simulated/docker.sock";

/// How long the Engine takes for what costs it work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// To make a container.
    pub create: Duration,
    /// To start one.
    pub start: Duration,
    /// To stop one that ends when it is told to.
    pub stop: Duration,
    /// To remove one.
    pub remove: Duration,
}

impl Default for Pace {
    /// As an Engine takes on a small server.
    fn default() -> Self {
        let millis = Duration::from_millis;
        Self {
            create: millis(60),
            start: millis(250),
            stop: millis(150),
            remove: millis(50),
        }
    }
}

/// A simulated host, shared by all who act on it.
#[derive(Debug, Clone)]
pub struct SimulatedHost {
    world: Arc<Mutex<World>>,
}

impl SimulatedHost {
    /// Shares it.
    pub fn new(world: World) -> Self {
        let world = Arc::new(Mutex::new(world));
        Self { world }
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets happen what happens by itself, for as long as this is polled.
    pub(super) async fn live(self) {
        /// Where nothing is on the agenda.
        const IDLE: Duration = Duration::from_secs(3600);
        let news = Arc::clone(&self.world().news);
        loop {
            let next = {
                let world = self.world();
                let wait = world.next().map(|at| at.saturating_sub(world.elapsed()));
                wait.unwrap_or(IDLE)
            };
            // A timer is due at whole milliseconds.
            let due = sleep(next.max(Duration::from_millis(1)));
            tokio::select! {
                biased;
                () = due => self.world().catch_up(),
                () = news.notified() => {}
            }
        }
    }
}

/// The Engine of a simulated host.
#[derive(Debug, Clone)]
pub struct SimEngine {
    host: SimulatedHost,
    pace: Pace,
}

impl SimEngine {
    /// Of this host.
    pub fn new(host: SimulatedHost, pace: Pace) -> Self {
        Self { host, pace }
    }

    fn world(&self) -> Result<MutexGuard<'_, World>, EngineError> {
        let mut world = self.host.world();
        if let Some(why) = &world.engine_down {
            return Err(EngineError::Unreachable {
                address: ADDRESS.into(),
                why: why.clone(),
            });
        }
        world.catch_up();
        Ok(world)
    }
}

fn gone(id: &str) -> EngineError {
    EngineError::NotFound {
        what: format!("container {id}"),
    }
}

impl Engine for SimEngine {
    async fn ping(&self) -> Result<(), EngineError> {
        self.world().map(drop)
    }

    async fn info(&self) -> Result<EngineInfo, EngineError> {
        let machine = self.world()?.machine;
        Ok(EngineInfo {
            version: "28.0.0".into(),
            api_version: "1.48".into(),
            cpus: machine.cores,
            memory: machine.memory.0,
            cgroup_files: true,
            cgroup_version: "2".into(),
            time: None,
            root: None,
            id: "simulated".into(),
            socket: None,
        })
    }

    async fn list(&self, project: &str) -> Result<Vec<Replica>, EngineError> {
        let world = self.world()?;
        let of_it = |one: &&Container| {
            let label = one.labels.get(labels::PROJECT);
            label.is_some_and(|label| label == project)
        };
        let all = world.containers.values().filter(of_it);
        let mut all: Vec<_> = all.map(World::replica).collect();
        all.sort_by(|a, b| (a.number, &a.name).cmp(&(b.number, &b.name)));
        Ok(all)
    }

    async fn inspect(&self, id: &str) -> Result<Replica, EngineError> {
        let world = self.world()?;
        let found = world.find(id).ok_or_else(|| gone(id))?;
        Ok(World::replica(found))
    }

    async fn image_id(&self, _reference: &str) -> Result<Option<String>, EngineError> {
        self.world().map(|_| None)
    }

    async fn image_is_checked(&self, _reference: &str) -> Result<Option<bool>, EngineError> {
        self.world().map(|_| None)
    }

    async fn clone_replica(
        &self,
        source: &ContainerId,
        new: &NewReplica,
    ) -> Result<ContainerId, EngineError> {
        drop(self.world()?);
        sleep(self.pace.create).await;
        let mut world = self.world()?;
        if world.find(&new.name).is_some() {
            return Err(EngineError::Conflict {
                message: format!("the container name {} is in use", new.name),
            });
        }
        let copied = world.copy(source, &new.name, new.number);
        copied.ok_or_else(|| gone(source.short()))
    }

    async fn remember(
        &self,
        id: &ContainerId,
        _before: Option<&Template>,
    ) -> Result<Template, EngineError> {
        let world = self.world()?;
        let found = world.find(&id.0).ok_or_else(|| gone(id.short()))?;
        let replica = World::replica(found);
        Ok(Template {
            service: replica.service,
            name: replica.name,
            number: replica.number,
            config_hash: replica.config_hash,
            image: replica.image,
            image_id: replica.image_id,
            environment: Sealed::seal(&[], String::new()),
            description: serde_json::to_value(&replica.labels).unwrap_or_default(),
        })
    }

    async fn make_remembered(
        &self,
        template: &Template,
        new: &NewReplica,
        _environment: &BTreeMap<String, Option<String>>,
    ) -> Result<ContainerId, EngineError> {
        drop(self.world()?);
        sleep(self.pace.create).await;
        let mut world = self.world()?;
        let mut of_it: BTreeMap<String, String> =
            serde_json::from_value(template.description.clone()).unwrap_or_default();
        of_it.insert(labels::NUMBER.to_owned(), new.number.to_string());
        let id = world.add(new.name.clone(), of_it, &template.image);
        world.is_made(&id);
        Ok(id)
    }

    async fn make_from_file(
        &self,
        recipe: &ContainerSpec,
        new: &NewReplica,
    ) -> Result<ContainerId, EngineError> {
        drop(self.world()?);
        sleep(self.pace.create).await;
        let mut world = self.world()?;
        let mut of_it = recipe.labels.clone();
        of_it.insert(labels::NUMBER.to_owned(), new.number.to_string());
        let id = world.add(new.name.clone(), of_it, &recipe.image);
        world.is_made(&id);
        Ok(id)
    }

    async fn start(&self, id: &ContainerId) -> Result<(), EngineError> {
        drop(self.world()?);
        sleep(self.pace.start).await;
        let mut world = self.world()?;
        if world.find(&id.0).is_none() {
            return Err(gone(id.short()));
        }
        world.start(id).map_err(|message| EngineError::Refused {
            doing: "starting it".into(),
            message,
            status: 500,
        })
    }

    async fn stop(&self, id: &ContainerId, _deadline: Duration) -> Result<(), EngineError> {
        self.world()?.judge_stop(id);
        sleep(self.pace.stop).await;
        self.world()?.stop(id);
        Ok(())
    }

    async fn remove(&self, id: &ContainerId) -> Result<(), EngineError> {
        self.world()?.judge_stop(id);
        sleep(self.pace.remove).await;
        self.world()?.remove(id);
        Ok(())
    }

    async fn logs(&self, id: &ContainerId, _lines: u32) -> Result<Vec<String>, EngineError> {
        let world = self.world()?;
        let found = world.find(&id.0).ok_or_else(|| gone(id.short()))?;
        let line = match found.exit_code {
            Some(code) => format!("simulated: exit with code {code}"),
            None => "simulated: starting".to_owned(),
        };
        Ok(vec![line])
    }

    async fn exec(&self, _id: &ContainerId, _exec: &Exec) -> Result<ExecOutput, EngineError> {
        drop(self.world()?);
        Ok(ExecOutput {
            code: 0,
            stdout: String::new(),
            stderr: String::new(),
        })
    }

    async fn signal(&self, _id: &ContainerId, _signal: &str) -> Result<(), EngineError> {
        self.world().map(drop)
    }

    async fn processes(&self, _id: &ContainerId) -> Result<Vec<ContainerProcess>, EngineError> {
        drop(self.world()?);
        Ok(Vec::new())
    }

    async fn usage(&self, replica: &Replica) -> Result<CounterReading, EngineError> {
        let reading = self.world()?.reading(&replica.id);
        reading.ok_or_else(|| gone(replica.id.short()))
    }

    fn events(
        &self,
        _project: &str,
    ) -> impl Stream<Item = Result<EngineEvent, EngineError>> + Send + 'static {
        let begun = self.world().map(|mut world| world.listen());
        stream::unfold(Some(begun), |state| async {
            let mut events = match state? {
                Ok(events) => events,
                Err(error) => return Some((Err(error), None)),
            };
            if let Some(event) = events.recv().await {
                return Some((Ok(event), Some(Ok(events))));
            }
            let lost = EngineError::Unreachable {
                address: ADDRESS.into(),
                why: "the connection was closed".into(),
            };
            Some((Err(lost), None))
        })
    }
}
