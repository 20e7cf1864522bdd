//! Compose at work on a replica: for seconds there are two containers with one number, one of them
//! under a name that begins with twelve digits of an id.

use std::time::Duration;

use super::{Effect, EventKind, Recreating, ServiceMachine, managed_replica::Phase};
use crate::{plan, units::Timestamp};

/// A recreate that nobody has been seen at work on for this long is taken to be abandoned.
const ABANDONED: Duration = Duration::from_secs(60);

impl ServiceMachine {
    /// Somebody is at work on the project.
    pub(super) fn work_goes_on(&mut self, now: Timestamp) {
        for recreating in self.recreating.values_mut() {
            recreating.since = now;
        }
    }

    /// Whether a replica is in the middle of being made anew: then nothing is added or taken away.
    /// A recreate that was abandoned is said once, with what to do, and no longer waited for.
    pub(super) fn waits_for_a_recreate(&mut self, now: Timestamp, out: &mut Vec<Effect>) -> bool {
        let members = &self.members;
        self.recreating.retain(|id, _| {
            members
                .get(id)
                .is_some_and(|m| m.replica.is_being_recreated())
        });
        for member in members.values().filter(|m| m.replica.is_being_recreated()) {
            self.recreating
                .entry(member.replica.id.clone())
                .or_insert(Recreating {
                    since: now,
                    said: false,
                });
        }
        let mut waits = false;
        let mut left = Vec::new();
        for (id, recreating) in &mut self.recreating {
            if recreating.said {
                continue;
            }
            let until = recreating.since + ABANDONED;
            if now < until {
                out.push(Effect::WakeAt(until));
                waits = true;
            } else {
                recreating.said = true;
                left.push(id.clone());
            }
        }
        let service = self.setup.service.clone();
        for id in left {
            let Some(member) = self.members.get_mut(&id) else {
                continue;
            };
            // Whoever wanted it anew wanted it to run.
            if let Phase::Idle { on_purpose, .. } = &mut member.phase {
                *on_purpose = false;
            }
            let container = member.replica.name.clone();
            let up = plan::anew(&service, self.desired.unwrap_or(1));
            let fix = format!("run `docker rm -f {container}`, then `{up}`");
            out.push(self.note(EventKind::Unfinished { container, fix }, now));
        }
        waits
    }
}
