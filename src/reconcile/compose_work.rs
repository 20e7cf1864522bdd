//! Somebody else, as a rule compose, at work on the project: nothing is added or taken away until it
//! is quiet. While a replica is recreated there are for seconds two containers with one number, one of
//! them under a name that begins with twelve digits of an id.

use std::{collections::BTreeMap, time::Duration};

use super::{Effect, EventKind, Initiator, ServiceMachine, managed_replica::Phase};
use crate::{plan, project::ContainerId, units::Timestamp};

/// How long the project must be quiet after compose was at work on it.
pub const QUIET: Duration = Duration::from_secs(3);
/// Holding still ends after this long, whatever goes on.
const LONGEST_BUSY: Duration = Duration::from_secs(120);
/// A recreate that nobody has been seen at work on for this long is taken to be abandoned.
const ABANDONED: Duration = Duration::from_secs(60);

/// The work of somebody else on the project.
#[derive(Debug, Default)]
pub(super) struct ComposeWork {
    busy_until: Option<Timestamp>,
    /// Since when it is waited for.
    since: Option<Timestamp>,
    /// The first and the last event of work that was never quiet in between.
    spell: Option<(Timestamp, Timestamp)>,
    /// Containers in the middle of a recreate.
    recreating: BTreeMap<ContainerId, Recreating>,
    /// Somebody else has removed a replica since it was quiet last.
    removed: bool,
    /// How many were left then, and how many there should be, until it is said.
    cut_back: Option<(u32, u32)>,
}

/// A container that compose is replacing, or by which it is replacing another.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Recreating {
    /// Since when nobody was seen at work.
    since: Timestamp,
    said: bool,
}

impl ComposeWork {
    /// Takes note of work. Returns until when to hold still; `None` when it has gone on for too long:
    /// something that comes and goes all the time (a job) must not stop us for ever.
    fn goes_on(&mut self, now: Timestamp) -> Option<Timestamp> {
        for recreating in self.recreating.values_mut() {
            recreating.since = now;
        }
        let begun = match self.spell {
            Some((begun, last)) if now.since(last) < QUIET => begun,
            _ => now,
        };
        self.spell = Some((begun, now));
        if now.since(begun) >= LONGEST_BUSY {
            return None;
        }
        self.since.get_or_insert(now);
        Some(self.hold_still(now))
    }

    fn hold_still(&mut self, now: Timestamp) -> Timestamp {
        *self.busy_until.insert(now + QUIET)
    }

    /// Forgets that anybody is at work.
    pub(super) fn reset(&mut self) {
        self.busy_until = None;
        self.since = None;
        self.spell = None;
    }

    pub(super) fn is_going_on(&self, now: Timestamp) -> bool {
        self.busy_until.is_some_and(|until| until > now)
    }

    /// Whether it is waited for, or what it has left is not looked at yet.
    pub(super) fn is_awaited(&self) -> bool {
        self.since.is_some()
    }

    /// It is quiet.
    pub(super) fn mark_quiet(&mut self) {
        self.since = None;
    }

    /// Whether work has ended since this was asked last.
    pub(super) fn take_ended(&mut self) -> bool {
        self.busy_until.take().is_some()
    }

    /// Somebody else has removed a replica.
    pub(super) fn mark_removed(&mut self) {
        self.removed = true;
    }

    /// The count is as it should be, so nothing is said of replicas that were removed.
    pub(super) fn forget_removals(&mut self) {
        self.removed = false;
    }
}

impl ServiceMachine {
    pub(super) fn on_busy(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        out.extend(self.compose_work.goes_on(now).map(Effect::WakeAt));
    }

    pub(super) fn wait_until_quiet(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        out.push(Effect::WakeAt(self.compose_work.hold_still(now)));
    }

    /// compose was at work and is done: more replicas than wanted are its wish, fewer are the
    /// file's count, which `up -d` resets to.
    pub(super) fn after_compose(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        self.expire_hold(now);
        let live = self.live();
        if let Some(desired) = self.desired.filter(|desired| live > *desired)
            && self.hold.is_none()
        {
            out.push(self.note(
                EventKind::Scale {
                    from: desired,
                    to: live,
                    reason: "compose".into(),
                    message: "as compose left it".into(),
                    metrics: BTreeMap::new(),
                    by: Initiator::Compose,
                    input: None,
                },
                now,
            ));
            self.desired = Some(live);
        }
    }

    /// Somebody else has removed replicas that are wanted, as compose does to get to the file's count.
    pub(super) fn notice_cut_back(&mut self, desired: u32) {
        // Stopped ones may be started again; those that are missing here are gone.
        let left = u32::try_from(self.members.len()).unwrap_or(u32::MAX);
        let removed = std::mem::take(&mut self.compose_work.removed);
        if removed && (1..desired).contains(&left) && self.pending.is_empty() {
            self.compose_work.cut_back = Some((left, desired));
        }
    }

    /// Whether somebody else has just removed replicas that were wanted: how many are left, and how
    /// many there should be.
    pub fn cut_back(&mut self) -> Option<(u32, u32)> {
        self.compose_work.cut_back.take()
    }

    /// Whether a replica is in the middle of being made anew: then nothing is added or taken away.
    /// A recreate that was abandoned is said once, with what to do, and no longer waited for.
    pub(super) fn waits_for_a_recreate(&mut self, now: Timestamp, out: &mut Vec<Effect>) -> bool {
        let members = &self.members;
        self.compose_work.recreating.retain(|id, _| {
            members
                .get(id)
                .is_some_and(|m| m.replica.is_being_recreated())
        });
        for member in members.values().filter(|m| m.replica.is_being_recreated()) {
            self.compose_work
                .recreating
                .entry(member.replica.id.clone())
                .or_insert(Recreating {
                    since: now,
                    said: false,
                });
        }
        let mut waits = false;
        let mut left = Vec::new();
        for (id, recreating) in &mut self.compose_work.recreating {
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
