//! The driver: it owns every machine, runs the one event loop, and carries out what they ask for.
//!
//! ```text
//!  engine events ─┐                        ┌─▶ engine: create, start, stop, remove
//!  listings ──────┤   ┌────────────────┐   │
//!  samples ───────┼──▶│ one Machine per│───┼─▶ probes
//!  probes ────────┤   │ service        │   │
//!  control socket ┘   └────────────────┘   └─▶ router ─▶ proxy: write, test, reload, drain
//! ```

use std::collections::BTreeMap;

use crate::{
    compose::{LoadError, Loaded},
    engine::{EngineError, EngineInfo},
    project::{ContainerId, Replica},
    proxy::{ProxyError, PublishResult},
    reconcile::Event,
    state::{ProjectId, ProjectLock, StateError},
    units::Timestamp,
};

pub mod access_log_metrics;
pub mod address;
pub mod bootstrap;
mod clock;
mod compose_files;
mod container_refs;
pub mod custom_metrics;
pub mod drift;
mod driver;
mod engine_link;
mod file_stamps;
mod goal;
mod host_capacity;
pub mod nginx_preflight;
mod nginx_state;
pub mod nginx_target;
mod operations;
pub mod pause;
mod pending_requests;
mod persistence;
mod preflight;
mod probe;
mod publish_scheduler;
mod replica_ops;
mod sampling;
pub mod scale_file;
pub mod service_setup;
mod systemd;
mod tasks;
mod warn_once;

pub use clock::RunClock;
pub use driver::{Driver, DriverDeps};
pub use goal::{RunGoal, RunOutcome};
pub use persistence::Claim;
pub use replica_ops::STARTS_AT_ONCE;

/// Which project of which Engine, for the lock that every run finds.
pub fn project_id(info: &EngineInfo, project: &str) -> ProjectId {
    ProjectId {
        engine: info.id.clone(),
        project: project.to_owned(),
        socket: info.socket.clone(),
    }
}

/// What tasks report to the loop.
#[derive(Debug)]
enum Message {
    /// For one service's machine.
    To(String, Box<Event>),
    /// The engine answers (again).
    Engine(Result<EngineInfo, EngineError>),
    /// The right to act on the project was taken, or is somebody else's.
    Claimed(Result<Option<ProjectLock>, StateError>),
    /// Which machine the engine is on; nothing if it did not answer.
    Machine(Option<EngineInfo>),
    /// Every container of the project.
    Listed {
        taken: Timestamp,
        /// The connection it was asked through.
        connection: u32,
        result: Result<Vec<Replica>, EngineError>,
        /// The nginx that is a container outside of the project, by its name.
        nginx: Option<(ContainerId, Result<Box<Replica>, EngineError>)>,
    },
    /// One container.
    Inspected {
        taken: Timestamp,
        connection: u32,
        id: ContainerId,
        result: Result<Box<Replica>, EngineError>,
    },
    /// The proxy has been told, or not.
    Published {
        seqs: BTreeMap<String, u64>,
        result: Result<PublishResult, ProxyError>,
    },
    /// The proxy's old workers are gone.
    Drained { seqs: BTreeMap<String, u64> },
    /// What keeps nginx from ever reading our files, by service.
    Way(preflight::PreflightResult),
    /// Hooks that failed while a replica was stopped.
    Troubles {
        service: String,
        troubles: Vec<String>,
    },
    /// The making of this container, by name, is over.
    OursDone(String),
    /// A replica was remembered, or why not.
    Remembered {
        service: String,
        result: Result<(), String>,
    },
    /// What compose would make of each service now.
    Current(drift::Currents),
    /// The compose file was read again.
    Reloaded {
        /// The files as they were read.
        stamps: file_stamps::FileStamps,
        result: Box<Result<Loaded, LoadError>>,
    },
}
