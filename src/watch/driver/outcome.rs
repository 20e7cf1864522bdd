//! Whether the run is over.

use tokio::time::Instant;

use super::{
    super::{
        goal::{RunGoal, RunOutcome},
        warn_once::Topic,
    },
    Driver, SYNC,
};
use crate::{engine::Engine, proxy::Proxy, reconcile::ServiceMachine};

impl<E: Engine, P: Proxy> Driver<E, P> {
    /// Whether the run is over.
    pub(super) fn arrived(&mut self, parting: Option<Instant>) -> Option<RunOutcome> {
        let now = self.clock.now();
        if let Some(error) = self.persistence.take_ousted() {
            return Some(RunOutcome::Ousted(error));
        }
        if let Some(until) = parting {
            let idle = self.operations.is_idle() && !self.router.is_busy();
            return (idle || Instant::now() >= until).then_some(match self.goal {
                RunGoal::Watch => RunOutcome::Done,
                _ => RunOutcome::Interrupted,
            });
        }
        let seen = self.machines.values().all(|m| m.desired().is_some());
        match &self.goal {
            RunGoal::Watch => None,
            // Who waits for an answer gets the one there is.
            _ if !seen && self.complaints.about(Topic::Listing).is_some() => {
                let why = self.complaints.about(Topic::Listing)?;
                Some(RunOutcome::Failed(vec![why.to_owned()]))
            }
            RunGoal::Scale { .. } => self.finished_scale(),
            _ if self.engine.is_away() => {
                Some(RunOutcome::EngineAway(self.engine.away()?.to_owned()))
            }
            RunGoal::Sync => {
                if !seen || self.router.is_busy() || self.preflight.is_running() {
                    return None;
                }
                if let Some(why) = self.nginx.trouble() {
                    return Some(RunOutcome::Failed(vec![why.clone()]));
                }
                let without = self.without_upstream(|_| true);
                if !without.is_empty() {
                    return Some(RunOutcome::Failed(without));
                }
                if self.machines.values().all(ServiceMachine::is_routed) {
                    return Some(RunOutcome::Done);
                }
                // A replica may be a moment from ready, or never become so.
                (self.sync_by.is_some_and(|by| now >= by)).then(|| {
                    let why = self.machines.values().filter_map(|m| m.trouble(now, false));
                    let waited = format!("nginx is not in step after {}s", SYNC.as_secs());
                    RunOutcome::Failed(std::iter::once(waited).chain(why).collect())
                })
            }
            RunGoal::Look => {
                let looked = self.looked_twice() && self.sampling.due().is_none();
                (seen && looked).then_some(RunOutcome::Done)
            }
            RunGoal::Once => {
                let decided = self
                    .machines
                    .values()
                    .all(|m| !m.setup().autoscaled || m.idle_reason().is_some() || m.has_decided());
                (seen
                    && decided
                    && self.is_idle()
                    && !self.router.is_busy()
                    && (self.dry_run
                        || self
                            .machines
                            .values()
                            .all(|m| m.is_settled() || m.trouble(now, false).is_some())))
                .then(|| {
                    let failures: Vec<_> = self
                        .machines
                        .values()
                        .filter_map(|m| m.trouble(now, false))
                        .collect();
                    if failures.is_empty() {
                        RunOutcome::Done
                    } else {
                        RunOutcome::Failed(failures)
                    }
                })
            }
        }
    }

    fn finished_scale(&mut self) -> Option<RunOutcome> {
        // What was begun in vain is taken away before the end.
        let tidy = !self.requests.has_failed()
            || !self.machines.values().any(ServiceMachine::is_tidying_up);
        if self.requests.is_empty() && self.is_idle() && tidy {
            return Some(match self.requests.take_failed() {
                None => RunOutcome::Done,
                Some(why) => RunOutcome::Failed(why.lines().map(ToOwned::to_owned).collect()),
            });
        }
        None
    }

    fn looked_twice(&self) -> bool {
        self.machines.values().all(|machine| {
            machine.running().is_empty() || self.sampling.is_twice(machine.service())
        })
    }

    /// Whether nginx serves what every machine wants.
    pub(super) fn in_step(&self) -> bool {
        !self.router.is_busy() && self.machines.values().all(ServiceMachine::is_routed)
    }

    /// Whether a listing would show nothing new: the events told of nothing since the last one, and
    /// nothing is under way.
    pub(super) fn is_up_to_date(&self) -> bool {
        let now = self.clock.now();
        self.goal == RunGoal::Watch
            && self.is_idle()
            && self.in_step()
            && self.machines.values().all(ServiceMachine::is_settled)
            && self.engine.is_up_to_date(now)
    }

    /// Whether no step is in progress, or waits for the disk.
    pub(super) fn is_idle(&self) -> bool {
        self.operations.is_idle() && self.deferred.is_idle()
    }
}
