//! Giving up a count that was asked for by hand.

use std::collections::BTreeMap;

use super::{Effect, EventKind, Initiator, ServiceMachine, managed_replica::Phase};
use crate::units::Timestamp;

impl ServiceMachine {
    /// Gives up a count that was asked for by hand and not reached: whoever asked was told that it failed, so
    /// nothing more is done for it. What it has not brought up goes, what serves stays, and what was leaving
    /// stays too. From then on load decides again.
    pub(super) fn on_withdraw(&mut self, count: u32, now: Timestamp, out: &mut Vec<Effect>) {
        if self.desired != Some(count) {
            return;
        }
        self.hold = None;
        if !self.setup.autoscaled {
            self.bootstrap.wanted = false;
        }
        let there = |m: &&super::ManagedReplica| m.fresh.is_none() && m.counts() || m.is_draining();
        let kept = self.members.values().filter(there).count();
        if kept > 0 {
            let begun = self.members.values_mut();
            for member in begun.filter(|m| m.fresh.is_some() && !m.is_on_its_way_out()) {
                member.phase = Phase::Leaving {
                    since: now,
                    retry: Some(now),
                };
            }
        }
        let kept = u32::try_from(kept).unwrap_or(u32::MAX).max(1);
        if kept != count {
            out.push(self.note(
                EventKind::Scale {
                    from: count,
                    to: kept,
                    reason: "withdrawn".into(),
                    message: "because the count that was asked for was not reached".into(),
                    metrics: BTreeMap::new(),
                    by: Initiator::Hand,
                    input: None,
                },
                now,
            ));
            self.want(kept, now);
        }
        self.moving = None;
    }
}
