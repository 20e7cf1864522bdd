//! Starting over: the engine was away, or the clock was set.

use super::{Effect, ServiceMachine, SyncState};
use crate::units::{SignedDuration, Timestamp};

impl ServiceMachine {
    /// Nothing that was known of the replicas holds any more.
    pub(super) fn on_engine_lost(&mut self) {
        self.leaving = self
            .members
            .values()
            .filter(|m| m.is_on_its_way_out())
            .map(|m| m.replica.id.clone())
            .collect();
        self.sync = SyncState::Blind;
        self.members.clear();
        self.gone.clear();
        self.windows.clear();
        self.pending.clear();
        self.bootstrap.reset();
        self.moving = None;
        self.backoff.try_now();
    }

    /// The same, and every time that is kept moves along.
    pub(super) fn on_clock_jumped(
        &mut self,
        set_by: SignedDuration,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        self.on_engine_lost();
        self.decisions.shift(set_by);
        self.memory_demand.shift(set_by);
        if let Some(hold) = &mut self.hold {
            hold.shift(set_by);
            out.extend(hold.until.map(Effect::WakeAt));
        }
        if let Some(paused) = &mut self.paused {
            paused.shift(set_by);
            out.extend(paused.until.map(Effect::WakeAt));
        }
        self.routing.shift(set_by, now);
        self.compose_work.reset();
    }
}
