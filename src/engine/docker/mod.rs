//! The Docker Engine, over its API. The only part that names bollard.
//!
//! Every call has a deadline of its own, because bollard knows one timeout for all, and that would
//! cut a `stop` short of the container's grace period.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use bollard::{
    API_DEFAULT_VERSION,
    errors::Error,
    query_parameters::{KillContainerOptionsBuilder, StartContainerOptions, StopContainerOptions},
};
use futures_util::{Stream, StreamExt, future, stream};

use crate::{
    engine::{
        ContainerProcess, Engine, EngineError, EngineEvent, EngineInfo, Exec, ExecOutput,
        NewReplica,
    },
    project::{ContainerId, Replica, container_spec::ContainerSpec, remembered_replica::Template},
    usage::CounterReading,
};

use clock::{EngineClock, wall_clock};
use engine_info::{InfoResponse, VersionResponse};
use host::EngineAddress;

mod clock;
mod clone;
mod counters;
mod create_from_compose;
mod create_request;
mod engine_info;
mod error;
mod events;
mod exec;
mod host;
mod inspect;
mod observe;
mod remove;
mod template;
mod upload;

/// Longest wait for an answer that changes nothing.
const READ: Duration = Duration::from_secs(10);
/// Longest wait for a container to be made.
const CREATE: Duration = Duration::from_secs(60);
/// Longest wait for a container to start.
const START: Duration = Duration::from_secs(60);
/// Longest wait for a container to be removed.
const REMOVE: Duration = Duration::from_secs(60);
/// bollard's own timeout in seconds: out of the way of every deadline above and of any `stop`.
const NEVER: u64 = 7 * 24 * 60 * 60;
const ABOUT_ITSELF: &str = "asking the Docker Engine about itself";
/// What was asked once; whoever wants it meanwhile waits for the same answer.
type SharedAnswer<T> = tokio::sync::Mutex<Option<Arc<T>>>;

/// A Docker Engine.
pub struct Docker {
    client: bollard::Docker,
    host: EngineAddress,
    facts: SharedAnswer<VersionResponse>,
    machine: SharedAnswer<InfoResponse>,
    clock: EngineClock,
    /// Containers whose description made no sense, so that each is told of once.
    strange: Mutex<BTreeSet<String>>,
    /// The names of containers that were looked at, by id.
    names: Mutex<BTreeMap<String, String>>,
}

impl fmt::Debug for Docker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Docker")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

impl Docker {
    /// Prepares to talk to the Engine at `docker_host` (the value of `DOCKER_HOST`; the default
    /// socket when `None`). Nothing is sent yet: [`Engine::info`] tells whether it answers.
    pub fn connect(docker_host: Option<&str>) -> Result<Self, EngineError> {
        let host = EngineAddress::parse(docker_host)?;
        let client = match &host {
            EngineAddress::Unix(path) => {
                let path = path.to_str().ok_or_else(|| EngineError::Unreachable {
                    address: host.to_string(),
                    why: "the path is not UTF-8".into(),
                })?;
                // `connect_with_unix` takes a socket it may not look at for a missing one.
                std::fs::metadata(path)
                    .map_err(|error| host.failure(error.kind(), error.to_string()))?;
                bollard::Docker::connect_with_unix(path, NEVER, API_DEFAULT_VERSION)
            }
            EngineAddress::Tcp(address) => {
                bollard::Docker::connect_with_http(address, NEVER, API_DEFAULT_VERSION)
            }
        }
        .map_err(|error| error::map(&host, "connecting", error::ENGINE, error))?;
        Ok(Self {
            client,
            host,
            facts: SharedAnswer::default(),
            machine: SharedAnswer::default(),
            clock: EngineClock::start(),
            strange: Mutex::default(),
            names: Mutex::default(),
        })
    }

    /// Runs a call under a deadline and says what its failure means.
    async fn within<T>(
        &self,
        after: Duration,
        doing: &str,
        what: &str,
        call: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, EngineError> {
        match tokio::time::timeout(after, call).await {
            Ok(result) => result.map_err(|error| error::map(&self.host, doing, what, error)),
            Err(_) => Err(EngineError::TimedOut {
                doing: doing.into(),
                after,
            }),
        }
    }

    async fn ask_for_facts(&self) -> Result<Arc<VersionResponse>, EngineError> {
        let version = self
            .within(READ, ABOUT_ITSELF, error::ENGINE, self.client.version())
            .await?;
        Ok(Arc::new(VersionResponse::new(&self.host, version)?))
    }

    async fn ask_for_machine(&self) -> Result<Arc<InfoResponse>, EngineError> {
        let info = self
            .within(READ, ABOUT_ITSELF, error::ENGINE, self.client.info())
            .await?;
        let is_directory = std::path::Path::is_dir;
        Ok(Arc::new(InfoResponse::new(
            &self.host,
            &info,
            is_directory,
        )?))
    }

    /// The facts, asked for once; [`Engine::info`] asks again.
    async fn facts(&self) -> Result<Arc<VersionResponse>, EngineError> {
        let mut known = self.facts.lock().await;
        if let Some(facts) = &*known {
            return Ok(Arc::clone(facts));
        }
        let facts = self.ask_for_facts().await?;
        *known = Some(Arc::clone(&facts));
        Ok(facts)
    }

    /// The same for the machine.
    async fn machine(&self) -> Result<Arc<InfoResponse>, EngineError> {
        let mut known = self.machine.lock().await;
        if let Some(machine) = &*known {
            return Ok(Arc::clone(machine));
        }
        let machine = self.ask_for_machine().await?;
        *known = Some(Arc::clone(&machine));
        Ok(machine)
    }
}

impl Engine for Docker {
    async fn ping(&self) -> Result<(), EngineError> {
        self.facts().await.map(drop)
    }

    async fn info(&self) -> Result<EngineInfo, EngineError> {
        let (facts, machine) = tokio::try_join!(self.ask_for_facts(), self.ask_for_machine())?;
        let info = machine.of(&facts);
        *self.facts.lock().await = Some(facts);
        *self.machine.lock().await = Some(machine);
        Ok(info)
    }

    async fn list(&self, project: &str) -> Result<Vec<Replica>, EngineError> {
        // What the Engine speaks is needed last. Of two failures the same one is told every time.
        let (replicas, facts) = tokio::join!(self.look_at_all(project), self.facts());
        let mut replicas = replicas?;
        facts?;
        replicas
            .sort_by(|a, b| (&a.service, a.number, &a.name).cmp(&(&b.service, b.number, &b.name)));
        Ok(replicas)
    }

    async fn inspect(&self, id: &str) -> Result<Replica, EngineError> {
        let inspect = self.look_again(id).await?;
        observe::replica(inspect, self.facts().await?.api)
    }

    async fn image_id(&self, reference: &str) -> Result<Option<String>, EngineError> {
        Ok(self.image(reference).await?.and_then(|image| image.id))
    }

    async fn image_is_checked(&self, reference: &str) -> Result<Option<bool>, EngineError> {
        let image = self.image(reference).await?;
        Ok(image.map(|image| {
            let test = image
                .config
                .and_then(|config| config.healthcheck)
                .and_then(|check| check.test)
                .unwrap_or_default();
            test.first().is_some_and(|first| first != "NONE")
        }))
    }

    async fn clone_replica(
        &self,
        source: &ContainerId,
        new: &NewReplica,
    ) -> Result<ContainerId, EngineError> {
        Box::pin(self.clone_container(source, new)).await
    }

    async fn remember(
        &self,
        id: &ContainerId,
        before: Option<&Template>,
    ) -> Result<Template, EngineError> {
        self.remember_container(id, before).await
    }

    async fn make_remembered(
        &self,
        template: &Template,
        new: &NewReplica,
        environment: &BTreeMap<String, Option<String>>,
    ) -> Result<ContainerId, EngineError> {
        Box::pin(self.make_from_template(template, new, environment)).await
    }

    async fn make_from_file(
        &self,
        recipe: &ContainerSpec,
        new: &NewReplica,
    ) -> Result<ContainerId, EngineError> {
        Box::pin(self.make_from_recipe(recipe, new)).await
    }

    async fn start(&self, id: &ContainerId) -> Result<(), EngineError> {
        self.within(
            START,
            // Without its id: the next attempt, at another container, fails in the same words.
            "starting it",
            &format!("container {}", self.name_of(&id.0)),
            self.client
                .start_container(&id.0, None::<StartContainerOptions>),
        )
        .await
    }

    async fn stop(&self, id: &ContainerId, deadline: Duration) -> Result<(), EngineError> {
        let name = self.name_of(&id.0);
        let (doing, what) = (format!("stopping {name}"), format!("container {name}"));
        // No `t`: the container's own signal and grace period apply.
        let stop = || {
            let call = self
                .client
                .stop_container(&id.0, None::<StopContainerOptions>);
            self.within(deadline, &doing, &what, call)
        };
        let mut stopped = stop().await;
        // What is not stopped is killed when it is removed.
        if matches!(stopped, Err(EngineError::NotFound { .. }))
            && self.look_again(&id.0).await.is_ok()
        {
            stopped = stop().await;
        }
        or_gone(stopped)
    }

    async fn remove(&self, id: &ContainerId) -> Result<(), EngineError> {
        self.remove_container(id).await
    }

    async fn logs(&self, id: &ContainerId, lines: u32) -> Result<Vec<String>, EngineError> {
        self.last_lines(id, lines).await
    }

    async fn exec(&self, id: &ContainerId, exec: &Exec) -> Result<ExecOutput, EngineError> {
        let mut kept = Vec::new();
        let most = exec.keep.unwrap_or(exec::OUTPUT);
        let mut keep = |piece: &[u8]| exec::keep_beginning(&mut kept, piece, most);
        let mut output = self.run_inside(id, exec, &mut keep).await?;
        output.stdout = String::from_utf8_lossy(&kept).into_owned();
        Ok(output)
    }

    async fn exec_streamed(
        &self,
        id: &ContainerId,
        exec: &Exec,
        stdout: &mut (dyn FnMut(&[u8]) + Send),
    ) -> Result<ExecOutput, EngineError> {
        self.run_inside(id, exec, stdout).await
    }

    async fn signal(&self, id: &ContainerId, signal: &str) -> Result<(), EngineError> {
        let options = KillContainerOptionsBuilder::default()
            .signal(signal)
            .build();
        self.within(
            READ,
            &format!("sending {signal} to {}", self.name_of(&id.0)),
            &format!("container {}", self.name_of(&id.0)),
            self.client.kill_container(&id.0, Some(options)),
        )
        .await
    }

    async fn processes(&self, id: &ContainerId) -> Result<Vec<ContainerProcess>, EngineError> {
        self.running_inside(id).await
    }

    async fn usage(&self, replica: &Replica) -> Result<CounterReading, EngineError> {
        self.read_counters(replica).await
    }

    fn events(
        &self,
        project: &str,
    ) -> impl Stream<Item = Result<EngineEvent, EngineError>> + Send + 'static {
        let project = project.to_owned();
        let host = self.host.clone();
        let ended = EngineError::Unreachable {
            address: host.to_string(),
            why: "the Engine closed its stream of events".into(),
        };
        let mut failed = false;
        self.client
            .events(Some(events::options(wall_clock())))
            .filter_map(move |message| {
                future::ready(match message {
                    Ok(message) => events::event(&project, message).map(Ok),
                    Err(error) => Some(Err(error::map(
                        &host,
                        "following events",
                        error::ENGINE,
                        error,
                    ))),
                })
            })
            .chain(stream::once(future::ready(Err(ended))))
            .take_while(move |event| future::ready(!std::mem::replace(&mut failed, event.is_err())))
    }
}

/// What is gone need not be stopped or removed any more.
fn or_gone(result: Result<(), EngineError>) -> Result<(), EngineError> {
    match result {
        Err(EngineError::NotFound { .. }) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
#[path = "outage_tests.rs"]
mod tests;
