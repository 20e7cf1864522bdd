//! Autoscaling that somebody has suspended, in one direction or in both.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    decide::Pause,
    units::{SignedDuration, Timestamp},
};

/// Autoscaling that is suspended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// In which directions.
    pub directions: Pause,
    /// Until then; until somebody resumes it without.
    pub until: Option<Timestamp>,
}

impl Paused {
    /// Whether its time has run out.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    pub(super) fn shift(&mut self, set_by: SignedDuration) {
        self.until = self.until.map(|until| until.shifted(set_by));
    }
}

impl fmt::Display for Paused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.directions {
            Pause::Both => "scaling is paused",
            Pause::Up => "scaling up is paused",
            Pause::Down => "scaling down is paused",
        })?;
        match self.until {
            Some(until) => write!(f, " until {}", until.date_and_clock()),
            None => Ok(()),
        }
    }
}
