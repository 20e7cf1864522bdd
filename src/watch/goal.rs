//! The goal of a run, and how it ended.

use std::time::Duration;

use indexmap::IndexMap;

use crate::state::StateError;

/// The goal of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum RunGoal {
    /// Keep every service at its size, until told to stop.
    Watch,
    /// One decision and its action.
    Once,
    /// These counts, then stop.
    Scale {
        /// The counts.
        services: IndexMap<String, u32>,
        /// How long a later `watch` leaves them alone.
        hold: Duration,
        /// The longest wait.
        timeout: Duration,
    },
    /// nginx in step with what runs.
    Sync,
    /// Look, measure, report; touch nothing.
    Look,
}

/// How a run ended.
#[derive(Debug)]
pub enum RunOutcome {
    /// As it should.
    Done,
    /// The work failed; the sentences say why.
    Failed(Vec<String>),
    /// The engine does not answer (only where a run cannot wait for it).
    EngineAway(String),
    /// Another process has taken the project over.
    Ousted(StateError),
    /// Interrupted by a signal.
    Interrupted,
}
