//! What nginx's processes tell about a reload. Pure.
//!
//! After a hangup the master starts new workers, lets both generations accept for 100 ms, and then
//! tells the old ones to leave. Those change their title, finish what they have, and end.

use std::collections::BTreeSet;

use super::NginxProcess;

pub(super) const MASTER: &str = "nginx: master process";
const WORKER: &str = "nginx: worker process";
const LEAVING: &str = "nginx: worker process is shutting down";

/// The workers at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Workers {
    /// Those that take new requests.
    pub active: BTreeSet<u32>,
    /// Those that only finish what they have.
    pub leaving: BTreeSet<u32>,
    /// Whether the one master there is has no parent among these processes: it is the first one of
    /// its container, so a signal to the container reaches it.
    pub master_is_first: bool,
}

impl Workers {
    pub(super) fn of(processes: &[NginxProcess]) -> Self {
        let mut workers = Self::default();
        let mut masters = Vec::new();
        for process in processes {
            if process.args.starts_with(LEAVING) {
                workers.leaving.insert(process.pid);
            } else if process.args.starts_with(WORKER) {
                workers.active.insert(process.pid);
            } else if process.args.starts_with(MASTER) {
                masters.push(process);
            }
        }
        workers.master_is_first = match masters.as_slice() {
            [master] => !processes.iter().any(|other| other.pid == master.ppid),
            _ => false,
        };
        workers
    }

    /// Every worker there is.
    pub(super) fn all(&self) -> BTreeSet<u32> {
        self.active.union(&self.leaving).copied().collect()
    }

    /// Whether a worker of the new configuration is there and none of the old ones takes requests.
    pub(super) fn have_taken_over_from(&self, old: &BTreeSet<u32>) -> bool {
        !self.active.is_empty() && self.active.is_disjoint(old)
    }

    /// Those of `old` that have not ended. A process that merely got the id of one is not leaving.
    pub(super) fn left_of(&self, old: &[u32]) -> usize {
        old.iter().filter(|pid| self.leaving.contains(pid)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn processes(rows: &[(u32, u32, &str)]) -> Vec<NginxProcess> {
        rows.iter()
            .map(|&(pid, ppid, args)| NginxProcess {
                pid,
                ppid,
                args: args.into(),
            })
            .collect()
    }

    const FIRST: (u32, u32, &str) = (10, 9, "nginx: master process nginx -g daemon off;");

    #[test]
    fn a_new_worker_alone_does_not_mean_that_the_old_ones_left() {
        let old = BTreeSet::from([11, 12]);
        let at = |rows: &[_]| {
            let rows = [&[FIRST], rows].concat();
            Workers::of(&processes(&rows)).have_taken_over_from(&old)
        };
        assert!(!at(&[(11, 10, WORKER), (12, 10, WORKER)]));
        assert!(!at(&[(11, 10, WORKER), (12, 10, WORKER), (13, 10, WORKER)]));
        assert!(!at(&[
            (11, 10, WORKER),
            (12, 10, LEAVING),
            (13, 10, WORKER)
        ]));
        assert!(at(&[(11, 10, LEAVING), (13, 10, WORKER)]));
        assert!(at(&[(13, 10, WORKER)]));
        assert!(!at(&[]));
        assert!(!at(&[(11, 10, LEAVING), (12, 10, LEAVING)]));
    }

    #[test]
    fn the_signal_goes_to_the_container_only_when_its_first_process_is_the_master() {
        let first = |rows: &[_]| Workers::of(&processes(rows)).master_is_first;
        assert!(first(&[FIRST, (11, 10, WORKER)]));
        assert!(!first(&[(9, 1, "tini -- nginx"), FIRST, (11, 10, WORKER)]));
        assert!(!first(&[(9, 1, "sh /start.sh"), (11, 9, WORKER)]));
        // A binary upgrade has two masters.
        assert!(!first(&[FIRST, (20, 10, "nginx: master process nginx")]));
    }

    #[test]
    fn a_reused_process_id_is_not_waited_for() {
        let workers = Workers::of(&processes(&[
            FIRST,
            (11, 10, WORKER),
            (12, 10, LEAVING),
            (14, 10, "nginx: cache manager process"),
        ]));
        assert_eq!(workers.left_of(&[11, 12, 14]), 1);
        assert_eq!(workers.all(), BTreeSet::from([11, 12]));
    }
}
