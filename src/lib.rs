//! Autoscaling for plain `docker compose` on one server: the architecture.
//!
//! # Layers
//!
//! Lower never imports higher; `tests/layers.rs` holds the table and enforces it.
//!
//! ```text
//! 6 edge       cli
//! 5 shell      watch (the driver)   control   telemetry
//! 4 adapters   compose   engine   proxy   state        never each other
//! 3 flow       reconcile
//! 2 judgement  decide   plan
//! 1 facts      project   policy   usage
//! 0 words      units   files
//! ```
//!
//! Layers 1 to 3 are pure: no runtime, no clock, no log, no I/O. `now` is an argument, and what is to
//! be done comes back as a value.
//!
//! # The life of a decision
//!
//! [`watch`] reads counters through [`engine`]; [`usage`] makes shares of them; [`decide::decide`] turns
//! an [`decide::Input`] into a [`decide::Decision`] with its reason; [`plan::plan`] turns the wanted
//! count into steps. A plan is data: `--dry-run` prints it.
//!
//! # The life of a replica
//!
//! One [`reconcile::Machine`] per service hears events (a listing, a death, a passed gate, a confirmed
//! reload) and asks for effects (create, probe, route, retire). It never waits and never fails: what
//! goes wrong is an event like any other. The driver carries effects out in tasks of their own, so a
//! service that is stuck delays no other.
//!
//! A replica is stopped only after its route request is drained: the [`proxy`] has written the files,
//! `nginx -t` has passed, new workers are seen, and the old ones are gone.
//!
//! # What is kept
//!
//! The containers and their labels are the truth. [`state`] holds history, holds and drains, so that
//! a run that was killed is continued by the next one.

pub mod files;
pub mod units;

pub mod policy;
pub mod project;
pub mod usage;

pub mod decide;
pub mod plan;

pub mod reconcile;

pub mod compose;
pub mod engine;
pub mod proxy;
pub mod state;

pub mod control;
pub mod telemetry;
pub mod watch;

pub mod cli;
