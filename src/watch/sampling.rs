//! Readings of counters and metrics: those under way, and those that wait until all decide together.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{project::ContainerId, reconcile::Values, units::Timestamp, usage::CounterReading};

/// Services whose counters come within so long of each other decide together: only then it is seen
/// that two want the same memory.
const TOGETHER: Duration = Duration::from_millis(50);

/// The readings of one service.
pub(super) type ServiceSample = (BTreeMap<ContainerId, CounterReading>, Values);

/// The readings of all services.
#[derive(Debug, Default)]
pub(super) struct Sampling {
    /// Services whose readings are under way.
    under_way: BTreeSet<String>,
    /// Services whose readings are on their way and from before the clock jumped.
    stale: BTreeSet<String>,
    /// How often each service was read.
    counts: BTreeMap<String, u32>,
    /// Readings that wait until all decide together.
    gathered: BTreeMap<String, ServiceSample>,
    due: Option<Timestamp>,
    /// Whether all are to be read after the events that wait.
    requested: bool,
}

impl Sampling {
    /// Reads all services after the events that wait.
    pub(super) fn request(&mut self) {
        self.requested = true;
    }

    pub(super) fn take_request(&mut self) -> bool {
        std::mem::take(&mut self.requested)
    }

    pub(super) fn begin(&mut self, service: &str) {
        self.under_way.insert(service.to_owned());
    }

    pub(super) fn is_under_way(&self, service: &str) -> bool {
        self.under_way.contains(service)
    }

    /// A reading has come. Says whether it is of the time before the clock jumped.
    pub(super) fn end(&mut self, service: &str) -> bool {
        self.under_way.remove(service);
        *self.counts.entry(service.to_owned()).or_default() += 1;
        self.stale.remove(service)
    }

    /// Whether a service was read at least twice.
    pub(super) fn is_twice(&self, service: &str) -> bool {
        self.counts.get(service).is_some_and(|times| *times >= 2)
    }

    /// Keeps a reading until those that were asked for at the same time are there too, or have been
    /// waited for.
    pub(super) fn gather(&mut self, service: String, sample: ServiceSample, now: Timestamp) {
        self.gathered.insert(service, sample);
        self.due.get_or_insert(now + TOGETHER);
    }

    /// When those that are there decide at the latest.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.due
    }

    /// Whether it is time to decide.
    pub(super) fn is_complete(&self, now: Timestamp) -> bool {
        self.due
            .is_some_and(|due| self.under_way.is_empty() || now >= due)
    }

    /// Waits a little longer.
    pub(super) fn put_off(&mut self, now: Timestamp) {
        self.due = Some(now + TOGETHER);
    }

    /// The readings to decide by.
    pub(super) fn take(&mut self) -> BTreeMap<String, ServiceSample> {
        self.due = None;
        std::mem::take(&mut self.gathered)
    }

    /// Readings that are under way are of another time.
    pub(super) fn clock_jumped(&mut self) {
        self.stale = self.under_way.clone();
    }
}
