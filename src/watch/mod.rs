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
    units::Moment,
};

mod act;
mod clock;
mod driver;
mod execute;
mod follow;
mod hear;
mod probe;
pub mod remote;
mod route;
pub mod setup;
mod wait;

pub use clock::Clock;
pub use driver::{Driver, Goal, Outcome, Parts};
pub use execute::STARTS_AT_ONCE;

/// What tasks report to the loop.
#[derive(Debug)]
enum Message {
    /// For one service's machine.
    To(String, Box<Event>),
    /// The engine answers (again).
    Engine(Result<EngineInfo, EngineError>),
    /// Every container of the project.
    Listed {
        taken: Moment,
        result: Result<Vec<Replica>, EngineError>,
    },
    /// One container.
    Inspected {
        taken: Moment,
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
    /// Hooks that failed while a replica was stopped.
    Troubles {
        service: String,
        troubles: Vec<String>,
    },
    /// The making of this container, by name, is over.
    OursDone(String),
    /// The compose file was read again.
    Reloaded(Box<Result<Loaded, LoadError>>),
}
