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
    proxy::{ProxyError, Published},
    reconcile::Event,
    state::{ProjectId, ProjectLock, StateError},
    units::Moment,
};

mod act;
pub mod address;
mod clock;
mod complain;
pub mod count;
pub mod drift;
mod driver;
mod execute;
mod follow;
pub mod found;
mod hear;
pub mod pause;
mod probe;
mod record;
pub mod remote;
mod room;
mod route;
pub mod setup;
pub mod sources;
mod supervisor;
pub mod traffic;
mod wait;
pub mod way;

pub use clock::Clock;
pub use driver::{Claim, Driver, Goal, Outcome, Parts};
pub use execute::STARTS_AT_ONCE;

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
        taken: Moment,
        /// The connection it was asked through.
        connection: u32,
        result: Result<Vec<Replica>, EngineError>,
        /// The nginx that is a container outside of the project, by its name.
        nginx: Option<(ContainerId, Result<Box<Replica>, EngineError>)>,
    },
    /// One container.
    Inspected {
        taken: Moment,
        connection: u32,
        id: ContainerId,
        result: Result<Box<Replica>, EngineError>,
    },
    /// The proxy has been told, or not.
    Published {
        seqs: BTreeMap<String, u64>,
        result: Result<Published, ProxyError>,
    },
    /// The proxy's old workers are gone.
    Drained { seqs: BTreeMap<String, u64> },
    /// What keeps nginx from ever reading our files, by service.
    Way(way::Seen),
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
        stamps: follow::Stamps,
        result: Box<Result<Loaded, LoadError>>,
    },
}
