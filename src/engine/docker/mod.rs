//! The Docker Engine, over its API. The only part that names bollard.
//!
//! Every call has a deadline of its own, because bollard knows one timeout for all, and that would
//! cut a `stop` short of the container's grace period.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use bollard::{
    API_DEFAULT_VERSION,
    errors::Error,
    models::ContainerInspectResponse,
    query_parameters::{
        InspectContainerOptions, KillContainerOptionsBuilder, ListContainersOptionsBuilder,
        StartContainerOptions, StopContainerOptions,
    },
};
use futures_util::{Stream, StreamExt, TryStreamExt, future, stream};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::{
    engine::{Engine, EngineError, EngineEvent, EngineInfo, Exec, ExecOutput, NewReplica, Process},
    project::{ContainerId, Replica, labels},
    units::Moment,
    usage::Reading,
};

use facts::Facts;
use host::Host;

mod body;
mod clone;
mod counters;
mod error;
mod events;
mod facts;
mod host;
mod inside;
mod observe;
mod remove;
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
/// Containers inspected at the same time.
const INSPECTIONS: usize = 16;

/// A Docker Engine.
pub struct Docker {
    client: bollard::Docker,
    host: Host,
    facts: RwLock<Option<Arc<Facts>>>,
    clock: Clock,
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
        let host = Host::parse(docker_host)?;
        let client = match &host {
            Host::Unix(path) => {
                let path = path.to_str().ok_or_else(|| EngineError::Unreachable {
                    address: host.to_string(),
                    why: "the path is not UTF-8".into(),
                })?;
                // `connect_with_unix` takes a socket it may not look at for a missing one.
                std::fs::metadata(path)
                    .map_err(|error| host.failure(error.kind(), error.to_string()))?;
                bollard::Docker::connect_with_unix(path, NEVER, API_DEFAULT_VERSION)
            }
            Host::Tcp(address) => {
                bollard::Docker::connect_with_http(address, NEVER, API_DEFAULT_VERSION)
            }
        }
        .map_err(|error| error::map(&host, "connecting", "the Engine", error))?;
        Ok(Self {
            client,
            host,
            facts: RwLock::default(),
            clock: Clock::start(),
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

    async fn ask_for_facts(&self) -> Result<Arc<Facts>, EngineError> {
        let version = self.within(
            READ,
            "asking for its version",
            "the Engine",
            self.client.version(),
        );
        let info = self.within(
            READ,
            "asking for its machine",
            "the Engine",
            self.client.info(),
        );
        let (version, info) = tokio::try_join!(version, info)?;
        let facts = Arc::new(Facts::new(
            &self.host,
            version,
            &info,
            std::path::Path::is_dir,
        )?);
        *self.facts.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&facts));
        Ok(facts)
    }

    /// The facts, asked for once; [`Engine::info`] asks again.
    async fn facts(&self) -> Result<Arc<Facts>, EngineError> {
        let known = self
            .facts
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match known {
            Some(facts) => Ok(facts),
            None => self.ask_for_facts().await,
        }
    }

    async fn inspect_raw(&self, id: &str) -> Result<ContainerInspectResponse, EngineError> {
        let short = short(id);
        self.within(
            READ,
            &format!("inspecting {short}"),
            &format!("container {short}"),
            self.client
                .inspect_container(id, None::<InspectContainerOptions>),
        )
        .await
    }
}

impl Engine for Docker {
    async fn info(&self) -> Result<EngineInfo, EngineError> {
        Ok(self.ask_for_facts().await?.info.clone())
    }

    async fn list(&self, project: &str) -> Result<Vec<Replica>, EngineError> {
        let filter = format!("{}={project}", labels::PROJECT);
        let options = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&[("label".to_owned(), vec![filter])].into())
            .build();
        let found = self
            .within(
                READ,
                "listing the project's containers",
                "the project",
                self.client.list_containers(Some(options)),
            )
            .await?;
        let mut replicas: Vec<Replica> = stream::iter(found.into_iter().filter_map(|c| c.id))
            .map(|id| async move {
                match self.inspect(&id).await {
                    // It went away since the list was made.
                    Err(EngineError::Gone { .. }) => Ok(None),
                    other => other.map(Some),
                }
            })
            .buffer_unordered(INSPECTIONS)
            .try_filter_map(future::ok)
            .try_collect()
            .await?;
        replicas
            .sort_by(|a, b| (&a.service, a.number, &a.name).cmp(&(&b.service, b.number, &b.name)));
        Ok(replicas)
    }

    async fn inspect(&self, id: &str) -> Result<Replica, EngineError> {
        let api = self.facts().await?.api;
        observe::replica(self.inspect_raw(id).await?, api)
    }

    async fn clone_replica(
        &self,
        source: &ContainerId,
        new: &NewReplica,
    ) -> Result<ContainerId, EngineError> {
        self.clone_container(source, new).await
    }

    async fn start(&self, id: &ContainerId) -> Result<(), EngineError> {
        self.within(
            START,
            &format!("starting {id}"),
            &format!("container {id}"),
            self.client
                .start_container(&id.0, None::<StartContainerOptions>),
        )
        .await
    }

    async fn stop(&self, id: &ContainerId, deadline: Duration) -> Result<(), EngineError> {
        let stopped = self
            .within(
                deadline,
                &format!("stopping {id}"),
                &format!("container {id}"),
                // No `t`: the container's own signal and grace period apply.
                self.client
                    .stop_container(&id.0, None::<StopContainerOptions>),
            )
            .await;
        or_gone(stopped)
    }

    async fn remove(&self, id: &ContainerId) -> Result<(), EngineError> {
        self.remove_container(id).await
    }

    async fn logs(&self, id: &ContainerId, lines: u32) -> Result<Vec<String>, EngineError> {
        self.last_lines(id, lines).await
    }

    async fn exec(&self, id: &ContainerId, exec: &Exec) -> Result<ExecOutput, EngineError> {
        self.run_inside(id, exec).await
    }

    async fn signal(&self, id: &ContainerId, signal: &str) -> Result<(), EngineError> {
        let options = KillContainerOptionsBuilder::default()
            .signal(signal)
            .build();
        self.within(
            READ,
            &format!("sending {signal} to {id}"),
            &format!("container {id}"),
            self.client.kill_container(&id.0, Some(options)),
        )
        .await
    }

    async fn processes(&self, id: &ContainerId) -> Result<Vec<Process>, EngineError> {
        self.running_inside(id).await
    }

    async fn usage(&self, replica: &Replica) -> Result<Reading, EngineError> {
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
                        "the Engine",
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
        Err(EngineError::Gone { .. }) => Ok(()),
        other => other,
    }
}

/// Ids are shown as docker shows them; names are left whole.
fn short(id: &str) -> &str {
    if body::is_anonymous(id) {
        &id[..12]
    } else {
        id
    }
}

/// Moments of one run that never go backwards: one reading of the wall clock, then a monotonic one.
struct Clock {
    wall: Moment,
    started: Instant,
}

impl Clock {
    fn start() -> Self {
        Self {
            wall: Moment(wall_clock()),
            started: Instant::now(),
        }
    }

    fn now(&self) -> Moment {
        self.wall + self.started.elapsed()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "counters need the time at which they were read, and an event stream the time at which it was asked for"
)]
fn wall_clock() -> Timestamp {
    Timestamp::now()
}

#[cfg(test)]
#[path = "outage_tests.rs"]
mod tests;
