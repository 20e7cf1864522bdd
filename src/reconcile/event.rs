//! What a machine hears and what it asks for.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use super::note::{By, Note};
use crate::{
    plan::Refusal,
    policy::Policy,
    project::{ContainerId, Replica},
    units::Moment,
    usage::Reading,
};

/// What a machine is told about its service before anything happens, and again when the compose
/// file changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Setup {
    /// The service's name.
    pub service: String,
    /// Its policy; the built-in one when it has none.
    pub policy: Policy,
    /// Whether the service has a policy of its own: only then load decides on its count.
    pub autoscaled: bool,
    /// The container port that traffic goes to.
    pub port: Option<u16>,
    /// Whether nginx sends traffic to it.
    pub routed: bool,
    /// How often its load is read.
    pub interval: Duration,
    /// What forbids a second replica according to the compose file.
    pub refusals: Vec<Refusal>,
}

/// Something a machine must know.
#[derive(Debug, Clone)]
pub enum Event {
    /// A full listing of the service's replicas.
    Seen {
        /// The replicas.
        replicas: Vec<Replica>,
        /// Those that another container lives inside of.
        needed: BTreeSet<ContainerId>,
        /// When the listing was asked for: what is known from later stays.
        taken: Moment,
    },
    /// A fresh look at one replica.
    Observed {
        /// The replica.
        replica: Box<Replica>,
        /// When it was asked for.
        taken: Moment,
    },
    /// Its process ended.
    Died {
        /// The container.
        id: ContainerId,
        /// Its exit code.
        exit_code: Option<i64>,
    },
    /// A process of it was ended by the kernel for lack of memory.
    Oom {
        /// The container.
        id: ContainerId,
    },
    /// Somebody stopped it through the Engine.
    Stopped {
        /// The container.
        id: ContainerId,
    },
    /// Frozen.
    Paused {
        /// The container.
        id: ContainerId,
    },
    /// Its healthcheck gave it up.
    Unhealthy {
        /// The container.
        id: ContainerId,
    },
    /// Removed.
    Gone {
        /// The container.
        id: ContainerId,
    },
    /// Somebody else is at work on the project: hold still until it is quiet.
    Busy,
    /// The engine is away; nothing that was known holds any more.
    EngineLost,
    /// A replica that was made and started, or why not.
    Made {
        /// Its number.
        number: u32,
        /// The replica as it is now.
        result: Result<Box<Replica>, String>,
    },
    /// Somebody else took the name of a replica that was to be made.
    NameTaken {
        /// Its number.
        number: u32,
    },
    /// A replica was started again, or why not.
    Restarted {
        /// The container.
        id: ContainerId,
        /// The replica as it is now.
        result: Result<Box<Replica>, String>,
    },
    /// It passed its gate.
    Ready {
        /// The container.
        id: ContainerId,
        /// The start that it was probed for.
        started: Option<Moment>,
    },
    /// The first look found it not ready; it is looked at further.
    NotYet {
        /// The container.
        id: ContainerId,
        /// What it is waiting for.
        why: String,
    },
    /// It did not become ready in time.
    GateFailed {
        /// The container.
        id: ContainerId,
        /// What it was waiting for.
        why: String,
        /// Its last log lines.
        log: Vec<String>,
    },
    /// nginx serves what was asked for up to this number, or why not.
    Routed {
        /// The number of the request.
        seq: u64,
        /// How it went.
        result: Result<(), String>,
    },
    /// No request is left from before this number.
    Drained {
        /// The number of the request.
        seq: u64,
    },
    /// A replica is stopped and removed, or why not.
    Retired {
        /// The container.
        id: ContainerId,
        /// How it went.
        result: Result<(), String>,
    },
    /// Counters of the running replicas.
    Sampled {
        /// By container; one that could not be read is missing.
        readings: BTreeMap<ContainerId, Reading>,
    },
    /// Somebody asks for a count.
    Scale {
        /// How many.
        replicas: u32,
        /// How long load may not change it.
        hold: Option<Duration>,
        /// Who asks.
        by: By,
    },
    /// The compose file changed.
    Setup(Box<Setup>),
    /// A moment that was asked for has come.
    Wake,
}

/// Something a machine wants done. The driver does it and answers with an event.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Make a replica and start it; answered by [`Event::Made`].
    Create {
        /// Its number.
        number: u32,
        /// Its name.
        name: String,
        /// The one it is made like.
        like: ContainerId,
        /// Whether it must start when no other one does: published port ranges race.
        alone: bool,
    },
    /// Start a stopped replica; answered by [`Event::Restarted`].
    Start {
        /// The container.
        id: ContainerId,
    },
    /// Look at it until it passes its gate; answered by `Ready`, `NotYet`, `GateFailed`.
    Probe {
        /// The replica.
        replica: Box<Replica>,
        /// What it must pass.
        gate: Gate,
        /// How long it must stay ready.
        min_ready: Duration,
        /// When to give up; `None` looks on.
        deadline: Option<Moment>,
    },
    /// Send traffic to exactly these; answered by `Routed` and then `Drained`.
    Route {
        /// Counts the requests of this service.
        seq: u64,
        /// The replicas.
        servers: Vec<RouteServer>,
        /// Whether one leaves: then it cannot wait for others to join.
        urgent: bool,
    },
    /// Run its `pre_stop` hooks, stop and remove it; answered by [`Event::Retired`].
    Retire {
        /// The replica.
        replica: Box<Replica>,
    },
    /// Call again at this moment with [`Event::Wake`].
    WakeAt(Moment),
    /// Tell people.
    Note(Note),
}

/// A replica that gets traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteServer {
    /// Its container.
    pub id: ContainerId,
    /// Its number.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// Its addresses by network; the driver knows which one nginx can reach.
    pub addresses: BTreeMap<String, IpAddr>,
}

/// What a replica must pass to get traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// Its healthcheck.
    Healthcheck,
    /// That it runs.
    Running,
    /// A TCP connection.
    Tcp(u16),
    /// A GET with an answer below 400.
    Http(u16, String),
}
