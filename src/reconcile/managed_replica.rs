//! One replica and how far it is on its way in or out.

use crate::{project::Replica, units::Timestamp};

/// How far a replica is.
///
/// ```text
///        start            gate passed
///  Idle ───────▶ Probing ─────────────▶ Serving
///   ▲  ◀──────────┘ died                  │
///   └─────────────────────────────────────┤ died, paused
///                 Probing ◀───────────────┤ unhealthy, restarted
///                                         ▼ not wanted any more
///                          Leaving ◀── Draining ──▶ Serving (wanted again)
/// ```
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Phase {
    /// Its process does not run.
    Idle {
        /// Since when.
        since: Timestamp,
        /// Whether somebody stopped it on purpose, as far as is known.
        on_purpose: bool,
    },
    /// It is being started by this tool.
    Starting,
    /// It runs and has not passed its gate.
    Probing {
        /// Since when.
        since: Timestamp,
        /// Whether the first look has been answered.
        looked: bool,
    },
    /// It may get traffic.
    Serving,
    /// It gets no new requests and finishes those it has.
    Draining {
        /// Since when.
        since: Timestamp,
        /// Why it leaves.
        because: String,
        /// The route request that takes it out; `None` until there is one.
        seq: Option<u64>,
        /// When nginx stopped sending to it.
        out: Option<Timestamp>,
    },
    /// It is being stopped and removed.
    Leaving {
        /// Since when it was on its way out.
        since: Timestamp,
        /// When to try again, after a failure.
        retry: Option<Timestamp>,
    },
}

/// One replica of a service.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ManagedReplica {
    /// The last observation.
    pub(crate) replica: Replica,
    /// When it was made; older listings say nothing about it.
    pub(crate) taken: Timestamp,
    /// How far it is.
    pub(crate) phase: Phase,
    /// When it passed its gate last.
    pub(crate) served: Option<Timestamp>,
    /// Asked for by this tool at this moment, and never ready since.
    pub(crate) fresh: Option<Timestamp>,
    /// When somebody stopped it: it may be a restart.
    pub(crate) stopped: Option<Timestamp>,
    /// Somebody has stopped it, or has taken its network away: it is theirs until they undo that.
    pub(crate) left_alone: bool,
    /// A look has found that it ended, then, and no event has told how.
    pub(crate) unexplained: Option<Timestamp>,
}

impl ManagedReplica {
    pub(crate) fn serves(&self) -> bool {
        self.phase == Phase::Serving
    }

    pub(crate) fn is_draining(&self) -> bool {
        matches!(self.phase, Phase::Draining { .. })
    }

    pub(crate) fn is_on_its_way_out(&self) -> bool {
        matches!(self.phase, Phase::Draining { .. } | Phase::Leaving { .. })
    }

    /// Whether this tool has started it, and it has not been ready yet.
    pub(crate) fn is_coming_up(&self) -> bool {
        self.fresh.is_some() && matches!(self.phase, Phase::Starting | Phase::Probing { .. })
    }

    /// Somebody else has stopped it before it was ready, which says nothing of its app. Returns its name.
    pub(crate) fn stopped_while_it_came_up(&mut self, now: Timestamp) -> String {
        self.fresh = None;
        self.crashed(now);
        self.replica.name.clone()
    }

    /// Its process does not run, and nobody is known to have wanted that.
    pub(crate) fn crashed(&mut self, now: Timestamp) {
        self.phase = Phase::Idle {
            since: now,
            on_purpose: false,
        };
    }

    /// Whether it is one of the replicas that the service has.
    pub(crate) fn counts(&self) -> bool {
        match self.phase {
            _ if self.left_alone => false,
            // Of two containers that are one replica one counts.
            _ if self.replica.is_being_recreated() => false,
            Phase::Draining { .. } | Phase::Leaving { .. } => false,
            Phase::Starting => true,
            // Should it be dead, its last words are awaited.
            Phase::Probing { .. } if self.fresh.is_some() => true,
            Phase::Idle { .. } | Phase::Probing { .. } | Phase::Serving => {
                self.replica.state.counts()
            }
        }
    }

    /// The word that `ps` shows.
    pub(crate) fn word(&self) -> &'static str {
        match self.phase {
            Phase::Idle { .. } => "down",
            Phase::Starting | Phase::Probing { .. } => "starting",
            Phase::Serving => "serving",
            Phase::Draining { .. } => "draining",
            Phase::Leaving { .. } => "stopping",
        }
    }
}
