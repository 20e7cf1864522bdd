//! What a machine hears and what it asks for.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use super::scaling_event::{Initiator, ScalingEvent};
use crate::{
    decide::{Decision, Input, Pause},
    plan::Blocker,
    policy::Policy,
    project::{ContainerId, Replica},
    units::{SignedDuration, Timestamp},
    usage::CounterReading,
};

/// What a machine is told about its service before anything happens, and again when the compose
/// file changes.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceSetup {
    /// The service's name.
    pub service: String,
    /// What to type so that compose makes or starts its containers.
    pub up: String,
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
    pub refusals: Vec<Blocker>,
    /// Why nginx can never send requests to it, and what to do about it.
    pub unroutable: Option<String>,
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
        taken: Timestamp,
    },
    /// A fresh look at one replica.
    Observed {
        /// The replica.
        replica: Box<Replica>,
        /// When it was asked for.
        taken: Timestamp,
    },
    /// Its process ended.
    Died {
        /// The container.
        id: ContainerId,
        /// Its exit code.
        exit_code: Option<i64>,
        /// Whether somebody had asked it to stop.
        asked: bool,
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
    /// The clock was set by so much, or time passed while nobody ran: what was measured and what was
    /// begun is as uncertain as after an outage, and what was noted before moves along.
    ClockJumped {
        /// By this much the clock was set.
        set_by: SignedDuration,
    },
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
    /// The first replica of a service that had none is made and started, or why not.
    Founded {
        /// How it went.
        result: Result<BootstrappedReplica, BootstrapError>,
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
        started: Option<Timestamp>,
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
    /// This run ends: replicas that are getting their share of the requests get all of it now.
    Parting,
    /// nginx is about to be another one; what was asked for is asked for again in a moment.
    RouteLater,
    /// nginx was looked at: whether something keeps it from ever sending to a new replica.
    Way {
        /// What does, and what to do about it.
        barred: Option<String>,
        /// Which nginx; `None` where there is none to be looked at.
        nginx: Option<String>,
    },
    /// nginx sends nothing more to replicas that were taken out up to this number, although it
    /// refused the rest of that request.
    TakenOut {
        /// The number of the request.
        seq: u64,
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
    /// Counters of the running replicas, and values of custom metrics.
    Sampled {
        /// By container; one that could not be read is missing.
        readings: BTreeMap<ContainerId, CounterReading>,
        /// What their sources gave.
        values: Values,
    },
    /// A count that was asked for by hand was not reached, and is not wanted any more.
    Withdraw {
        /// The count.
        count: u32,
    },
    /// Somebody asks for a count.
    Scale {
        /// How many.
        replicas: u32,
        /// How long load may not change it.
        hold: Option<Duration>,
        /// Who asks.
        by: Initiator,
    },
    /// Load shall not change the count, in these directions.
    Suspend {
        /// The directions.
        directions: Pause,
        /// For how long; until [`Event::Resume`] without.
        span: Option<Duration>,
        /// Who asks.
        by: Initiator,
    },
    /// Load decides again.
    Resume {
        /// Who asks.
        by: Initiator,
    },
    /// The compose file changed.
    Setup(Box<ServiceSetup>),
    /// A moment that was asked for has come.
    Wake,
}

/// What the sources of custom metrics gave, by metric: a number, or why there is none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Values {
    /// Of the service as a whole.
    pub service: BTreeMap<String, Result<f64, String>>,
    /// Of each replica.
    pub replicas: BTreeMap<String, BTreeMap<ContainerId, Result<f64, String>>>,
    /// Whether they are those of the decision before: nothing was read anew.
    pub again: bool,
    /// Requests for which nginx had no server, since the values before these.
    pub unserved: u64,
}

impl Values {
    /// Why there is no number of a source that has not been heard of since the start: no failure,
    /// but no value either.
    pub const NOT_YET: &str = "no answer yet";
}

impl Event {
    /// Counters alone.
    pub fn sampled(readings: BTreeMap<ContainerId, CounterReading>) -> Self {
        let values = Values::default();
        Self::Sampled { readings, values }
    }
}

/// A replica that was made like no other.
#[derive(Debug, Clone, PartialEq)]
pub struct BootstrappedReplica {
    /// The replica as it is now.
    pub replica: Box<Replica>,
    /// How it was made.
    pub how: String,
    /// What should be known of it and stops nothing.
    pub troubles: Vec<String>,
}

/// Why a first replica was not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BootstrapError {
    /// There is no way to make one.
    NoWay(String),
    /// It did not work this time.
    Failed(String),
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
    /// Make the first replica of a service that has none, and start it; answered by
    /// [`Event::Founded`].
    Found {
        /// Its number, where compose does not choose one.
        number: u32,
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
        gate: ReadinessCheck,
        /// How long it must stay ready.
        min_ready: Duration,
        /// When to give up; `None` looks on.
        deadline: Option<Timestamp>,
    },
    /// Send traffic to exactly these; answered by `Routed` and then `Drained`.
    Route {
        /// Counts the requests of this service.
        seq: u64,
        /// The replicas.
        servers: Vec<RouteServer>,
        /// Whether one leaves, or no other is on its way: then it waits for nobody.
        urgent: bool,
    },
    /// Run its `pre_stop` hooks, stop and remove it; answered by [`Event::Retired`].
    Retire {
        /// The replica.
        replica: Box<Replica>,
    },
    /// Read the last lines of the log of a replica that has ended; answered by
    /// [`Event::GateFailed`] with this reason.
    CollectLogs {
        /// The container.
        id: ContainerId,
        /// Why it failed.
        why: String,
    },
    /// Call again at this moment with [`Event::Wake`].
    WakeAt(Timestamp),
    /// Keep what a decision was made from, where decisions are recorded.
    Decided {
        /// What it was made from.
        input: Box<Input>,
        /// The decision, which the input alone leads to.
        decision: Box<Decision>,
    },
    /// Tell people.
    Note(ScalingEvent),
}

impl Effect {
    /// What it is, in a word: the whole of it names labels, which are nobody's business in a log.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Start { .. } => "start",
            Self::Probe { .. } => "probe",
            Self::Route { .. } => "route",
            Self::Retire { .. } => "retire",
            Self::WakeAt(_) => "wake",
            Self::Note(_) => "note",
            Self::Decided { .. } => "decided",
            Self::Found { .. } => "found",
            Self::CollectLogs { .. } => "last log lines",
        }
    }
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
    /// Where its ports are published on this host.
    pub published: BTreeMap<u16, SocketAddr>,
    /// Its share of the requests, in parts of [`Balance::FULL`](crate::policy::Balance::FULL).
    pub weight: u8,
}

/// What a replica must pass to get traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadinessCheck {
    /// Its healthcheck.
    Healthcheck,
    /// That it runs.
    Running,
    /// A TCP connection.
    Tcp(u16),
    /// A GET with an answer below 400.
    Http(u16, String),
}
