//! What the tool asks of a container engine. `docker` answers over the Engine API.

use std::{collections::BTreeMap, fmt, future::Future, time::Duration};

use futures_util::Stream;

use crate::{
    project::{
        ContainerId, Health, Replica, container_spec::ContainerSpec, remembered_replica::Template,
    },
    units::Timestamp,
    usage::CounterReading,
};

pub mod docker;

/// A container engine. Every call has a deadline of its own; none retries.
pub trait Engine: Send + Sync + 'static {
    /// Whether it answers, and in words that are spoken here. Whoever has asked need not ask again.
    fn ping(&self) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// The engine's version and the machine it runs on, as they are now.
    fn info(&self) -> impl Future<Output = Result<EngineInfo, EngineError>> + Send;

    /// Every container with the project's label, replicas or not (see [`Replica::is_replica`]), in
    /// the order of their numbers.
    fn list(&self, project: &str)
    -> impl Future<Output = Result<Vec<Replica>, EngineError>> + Send;

    /// One container by id or name.
    fn inspect(&self, id: &str) -> impl Future<Output = Result<Replica, EngineError>> + Send;

    /// The id of the image that has this name now; nothing where none has it.
    fn image_id(
        &self,
        reference: &str,
    ) -> impl Future<Output = Result<Option<String>, EngineError>> + Send;

    /// Whether the image that has this name brings a healthcheck; nothing where none has the name.
    fn image_is_checked(
        &self,
        reference: &str,
    ) -> impl Future<Output = Result<Option<bool>, EngineError>> + Send;

    /// Makes a container like `source`, as compose would have made it with that name and number,
    /// connected to its networks, with its uploaded files; does not start it. Removes what it made
    /// when a step fails.
    fn clone_replica(
        &self,
        source: &ContainerId,
        new: &NewReplica,
    ) -> impl Future<Output = Result<ContainerId, EngineError>> + Send;

    /// What is to be remembered of a container, to make another one like it when none is left. An
    /// unchanged container gives what was remembered `before`.
    fn remember(
        &self,
        id: &ContainerId,
        before: Option<&Template>,
    ) -> impl Future<Output = Result<Template, EngineError>> + Send;

    /// Makes a container of what is remembered, with the compose file's values for its environment;
    /// does not start it. Fails with [`EngineError::Outdated`] when something that it was made of is
    /// gone or another one by now.
    fn make_remembered(
        &self,
        template: &Template,
        new: &NewReplica,
        environment: &BTreeMap<String, Option<String>>,
    ) -> impl Future<Output = Result<ContainerId, EngineError>> + Send;

    /// Makes a container as the compose file describes it, and the networks and volumes of the project
    /// that are not there yet; does not start it. Removes the container when a step fails.
    fn make_from_file(
        &self,
        recipe: &ContainerSpec,
        new: &NewReplica,
    ) -> impl Future<Output = Result<ContainerId, EngineError>> + Send;

    /// Starts a container; starting a running one is no error.
    fn start(&self, id: &ContainerId) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Sends the container's own stop signal and waits for its own grace period, bounded by
    /// `deadline`. Stopping a stopped or a vanished one is no error.
    fn stop(
        &self,
        id: &ContainerId,
        deadline: Duration,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Removes a container, running or not, with its anonymous volumes, those too that compose made
    /// it inherit by name. Removing a vanished one is no error.
    fn remove(&self, id: &ContainerId) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// The last lines it logged, without trailing newlines; empty when its log driver cannot be read.
    fn logs(
        &self,
        id: &ContainerId,
        lines: u32,
    ) -> impl Future<Output = Result<Vec<String>, EngineError>> + Send;

    /// Runs a command inside and waits for it.
    fn exec(
        &self,
        id: &ContainerId,
        exec: &Exec,
    ) -> impl Future<Output = Result<ExecOutput, EngineError>> + Send;

    /// The same, but hands over its standard output piece by piece as it comes: it may be of any length.
    fn exec_streamed(
        &self,
        id: &ContainerId,
        exec: &Exec,
        stdout: &mut (dyn FnMut(&[u8]) + Send),
    ) -> impl Future<Output = Result<ExecOutput, EngineError>> + Send {
        async move {
            let mut output = self.exec(id, exec).await?;
            stdout(std::mem::take(&mut output.stdout).as_bytes());
            Ok(output)
        }
    }

    /// Sends a signal (`HUP`, `USR1`) to its first process.
    fn signal(
        &self,
        id: &ContainerId,
        signal: &str,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Its processes, as the host sees them.
    fn processes(
        &self,
        id: &ContainerId,
    ) -> impl Future<Output = Result<Vec<ContainerProcess>, EngineError>> + Send;

    /// Its counters: from cgroup files where they can be read, else from the engine.
    fn usage(
        &self,
        replica: &Replica,
    ) -> impl Future<Output = Result<CounterReading, EngineError>> + Send;

    /// What happens to the project's containers from now on. Ends with an error when the connection
    /// is lost.
    fn events(
        &self,
        project: &str,
    ) -> impl Stream<Item = Result<EngineEvent, EngineError>> + Send + 'static;
}

/// The engine and its machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineInfo {
    /// `20.10.24`.
    pub version: String,
    /// `1.41`.
    pub api_version: String,
    /// Cores of the machine.
    pub cpus: u32,
    /// Memory of the machine in bytes.
    pub memory: u64,
    /// Whether counters come from cgroup files.
    pub cgroup_files: bool,
    /// Version of the machine's control groups, as the Engine names it; empty where it does not.
    pub cgroup_version: String,
    /// What its clock said.
    pub time: Option<Timestamp>,
    /// Where it keeps images and containers, when it is on this machine.
    pub root: Option<std::path::PathBuf>,
    /// Its own id; its address where it has none.
    pub id: String,
    /// The socket that leads to it, where it is one.
    pub socket: Option<std::path::PathBuf>,
}

/// What distinguishes a new replica from the one it is cloned from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewReplica {
    /// Its name.
    pub name: String,
    /// Its number.
    pub number: u32,
    /// Files that compose uploads (configs and secrets with inline content), to be copied over.
    pub uploads: Vec<String>,
}

/// A command to run inside a container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exec {
    /// The command and its arguments.
    pub argv: Vec<String>,
    /// User to run as; the container's when `None`.
    pub user: Option<String>,
    /// Extra environment, `KEY=value`.
    pub env: Vec<String>,
    /// Working directory.
    pub working_dir: Option<String>,
    /// Whether it runs privileged.
    pub privileged: bool,
    /// Longest time it may take; a default when `None`.
    pub deadline: Option<Duration>,
    /// What is kept of each of its streams, in bytes; a default when `None`.
    pub keep: Option<usize>,
}

/// What a command printed and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutput {
    /// Exit code.
    pub code: i64,
    /// Standard output, bounded.
    pub stdout: String,
    /// Standard error, bounded.
    pub stderr: String,
}

/// A process of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerProcess {
    /// Process id on the host.
    pub pid: u32,
    /// Its parent.
    pub ppid: u32,
    /// Its title.
    pub args: String,
}

/// Something that happened to a container of the project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineEvent {
    /// When, by the engine's clock.
    pub at: Timestamp,
    /// Which container.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// Its service, where the event carries the label.
    pub service: Option<String>,
    /// What.
    pub action: ContainerAction,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerAction {
    /// Made.
    Create,
    /// Started.
    Start,
    /// Its process ended with this code.
    Die(Option<i64>),
    /// Stopped by request.
    Stop,
    /// Removed.
    Destroy,
    /// Renamed.
    Rename,
    /// Its healthcheck changed its mind.
    Health(Health),
    /// Frozen.
    Pause,
    /// Thawed.
    Unpause,
    /// A process of it was ended for lack of memory.
    Oom,
    /// Was sent this signal, by number or by name.
    Kill(String),
    /// Its limits changed.
    Update,
    /// Connected to or disconnected from a network.
    Network,
}

impl fmt::Display for ContainerAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Start => "start",
            Self::Die(_) => "die",
            Self::Stop => "stop",
            Self::Destroy => "destroy",
            Self::Rename => "rename",
            Self::Health(_) => "health_status",
            Self::Pause => "pause",
            Self::Unpause => "unpause",
            Self::Oom => "oom",
            Self::Kill(_) => "kill",
            Self::Update => "update",
            Self::Network => "network",
        })
    }
}

/// Why the engine did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// No daemon answers.
    #[error("cannot reach the Docker Engine at {address}: {why}")]
    Unreachable {
        /// The socket or address that was tried.
        address: String,
        /// What the attempt said.
        why: String,
    },
    /// The socket is there, but not for this user.
    #[error("not permitted to use the Docker Engine at {address}")]
    Forbidden {
        /// The socket.
        address: String,
        /// The group that owns it, when it could be found out.
        group: Option<String>,
    },
    /// The container (or image, or network) does not exist.
    #[error("{what} is gone")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// A name is taken, or the state forbids it.
    #[error("{message}")]
    Conflict {
        /// The engine's words.
        message: String,
    },
    /// The image's name means another image now.
    #[error(
        "the image {image} has moved on since the replicas were made, and the old one is gone; run `docker compose up -d --no-deps --scale SERVICE=N SERVICE` with the number that there is"
    )]
    ImageMoved {
        /// The image's name.
        image: String,
    },
    /// What is remembered of a replica does not hold any more.
    #[error("the remembered configuration of its replicas cannot be used: {why}")]
    Outdated {
        /// What has changed.
        why: String,
    },
    /// Something that a container is made of is not there.
    #[error("{what}; {fix}")]
    Missing {
        /// What there is not.
        what: String,
        /// What to do about it.
        fix: String,
    },
    /// A resource of the machine has run out.
    #[error("{what}; {fix}")]
    Exhausted {
        /// What there is no more of.
        what: String,
        /// What to do about it.
        fix: String,
    },
    /// The engine refused.
    #[error("{doing}: {message} (HTTP {status})")]
    Refused {
        /// What was being done.
        doing: String,
        /// The engine's words.
        message: String,
        /// The HTTP status.
        status: u16,
    },
    /// It did not answer in time.
    #[error("{doing}: no answer from the Docker Engine within {after:?}")]
    TimedOut {
        /// What was being done.
        doing: String,
        /// The deadline.
        after: Duration,
    },
    /// It answered something that makes no sense.
    #[error("{doing}: {why}")]
    UnexpectedResponse {
        /// What was being done.
        doing: String,
        /// What was wrong with the answer.
        why: String,
    },
}

impl EngineError {
    /// Whether the engine itself is away, so that every other call would fail too.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Forbidden { .. })
    }

    /// Whether it may have done what it was asked all the same: only its answer is missing.
    pub fn is_doubtful(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::UnexpectedResponse { .. }
        )
    }

    /// Whether it takes requests and does not answer them.
    pub fn is_silence(&self) -> bool {
        matches!(self, Self::TimedOut { .. })
    }
}
