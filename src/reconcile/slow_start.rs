//! New servers get their share of the requests over time: nginx's own `slow_start` is for those who buy
//! it.

use std::{collections::BTreeMap, time::Duration};

use super::{Effect, RouteServer};
use crate::{
    project::ContainerId,
    units::{SignedDuration, Timestamp},
};

/// The weights of a new server, one after the other, each for the same part of `slow_start`; then it is
/// the full one. Measured beside two others of full weight: 1 gets 4.5% of the requests, 5 gets 19%.
const RAMP: [u8; 3] = [1, 4, 7];

/// Servers that do not have their full weight yet.
#[derive(Debug, Default)]
pub(super) struct SlowStart {
    /// Whether there are such at all.
    pub(super) enabled: bool,
    /// Since when each is listed.
    since: BTreeMap<ContainerId, Timestamp>,
}

impl SlowStart {
    /// Gives new servers a part of their weight at first. Where all are new none is.
    pub(super) fn weigh(
        &mut self,
        servers: &mut [RouteServer],
        before: Option<&[RouteServer]>,
        over: Duration,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        if over.is_zero() || !self.enabled {
            self.end();
            return;
        }
        let there = |id: &ContainerId, all: &[RouteServer]| all.iter().any(|one| one.id == *id);
        self.since
            .retain(|id, since| now < *since + over && there(id, servers));
        if let Some(before) = before.filter(|before| !before.is_empty()) {
            let new = servers.iter().filter(|one| !there(&one.id, before));
            let new = new.map(|one| (one.id.clone(), now));
            self.since.extend(new.collect::<Vec<_>>());
        }
        if servers.iter().all(|one| self.since.contains_key(&one.id)) {
            self.end();
        }
        for server in servers {
            let Some(since) = self.since.get(&server.id) else {
                continue;
            };
            let gone = now.since(*since);
            let steps = RAMP.len() as u32;
            let step = (0..steps).rev().find(|step| gone >= over * *step / steps);
            let step = step.unwrap_or_default();
            server.weight = RAMP[step as usize];
            out.push(Effect::WakeAt(*since + over * (step + 1) / steps));
        }
    }

    /// All get their full share now.
    pub(super) fn end(&mut self) {
        self.since.clear();
    }

    pub(super) fn shift(&mut self, set_by: SignedDuration) {
        for since in self.since.values_mut() {
            *since = since.shifted(set_by);
        }
    }
}
