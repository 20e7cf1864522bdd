//! A simulated host: containers, an Engine, an nginx and their load, in virtual time. The real driver runs
//! on it, so that a policy can be tried before it is trusted.

mod books;
mod clock;
mod daemon;
mod engine;
mod growth;
mod judge;
mod learn;
mod machines;
mod profile;
mod proxy;
mod queue;
mod run;
mod scenario;
mod shape;
mod trace;
mod trial;
mod world;

pub use books::{Histogram, Record, Totals};
pub use daemon::{Daemon, Fault};
pub use engine::{Host, Pace, SimEngine};
pub use growth::{Grown, Growth, at_once, counts_in_replicas};
pub use judge::Broken;
pub use learn::Learnt;
pub use machines::{Bound, Fit, Kind, Need};
pub use profile::{Profile, Spread};
pub use proxy::SimProxy;
pub use queue::{Pick, Step};
pub use run::{Setting, Simulation, Watch, in_virtual_time};
pub use scenario::{Line, Report, Scenario, ScenarioError, State};
pub use shape::{Named, Shape};
pub use trace::{Trace, TraceError, Unit};
pub use trial::{Change, Found, Goal, Measures, Outcome, Search, Trial};
pub use world::{App, Fate, Heard, Machine, World};

/// The scenario that shows what the tool does.
pub const DEMO: &str = include_str!("demo.txt");

#[cfg(test)]
mod tests;
