//! A simulated host: containers, an Engine, an nginx and their load, in virtual time. The real driver runs
//! on it, so that a policy can be tried before it is trusted.

mod calibrate;
mod capacity;
mod clock;
mod engine;
mod experiment;
mod extrapolate;
mod fake_engine_server;
mod load_shape;
mod policy_search;
mod profile;
mod proxy;
mod queue;
mod run;
mod scenario;
mod simulated_host;
mod stats;
mod trace;

pub use calibrate::Calibration;
pub use capacity::{Bound, Fit, MachineKind, MachineResources};
pub use engine::{Pace, SimEngine, SimulatedHost};
pub use experiment::{CountChange, Experiment, ExperimentOutcome, Measures};
pub use extrapolate::{Grown, Growth, at_once, counts_in_replicas};
pub use fake_engine_server::{Daemon, ResponseFault};
pub use load_shape::{LoadShape, Named};
pub use policy_search::{PolicyGoal, Search, SearchResult};
pub use profile::{Profile, Spread};
pub use proxy::SimProxy;
pub use queue::{BalanceMethod, QueueStep};
pub use run::{Setting, Simulation, Watch, in_virtual_time};
pub use scenario::{Expectation, Scenario, ScenarioError, ScenarioReport, ServiceCondition};
pub use simulated_host::{App, MachineSpec, RecordedReadings, ReplicaFault, Violation, World};
pub use stats::{Histogram, StepRecord, Totals};
pub use trace::{Trace, TraceError, TraceUnit};

/// The scenario that shows what the tool does.
pub const DEMO: &str = include_str!("demo.txt");

#[cfg(test)]
mod tests;
