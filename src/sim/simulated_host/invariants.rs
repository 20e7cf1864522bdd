//! An independent look at what the tool does on a simulated host: rules that hold whatever is decided and
//! whatever goes wrong. It knows nothing of how the tool works, only what it is asked to do to the host.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use super::{ReplicaFault, World};
use crate::{
    project::{ContainerId, ContainerState, Health, labels},
    units::Span,
};

/// So soon after something went wrong the tool cannot have acted on it.
const GRACE: Duration = Duration::from_secs(1);
/// After so long without a change everything has to be in step.
const QUIET: Duration = Duration::from_secs(45);
/// A change in the other direction within this time is a flap.
const FLAP: Duration = Duration::from_secs(180);

/// What a rule needs to know of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sim) struct ServiceBounds {
    pub(in crate::sim) min: u32,
    pub(in crate::sim) drain: Duration,
}

/// A rule that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// When, since the beginning.
    pub at: Duration,
    /// What was done.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", Span::measured(self.at), self.what)
    }
}

/// A change of a count that load asked for.
#[derive(Debug, Clone, Copy)]
struct LoadChange {
    at: Duration,
    up: bool,
}

/// Keeps the books.
#[derive(Debug, Default)]
pub(in crate::sim) struct InvariantChecker {
    bounds: BTreeMap<String, ServiceBounds>,
    pub(in crate::sim) broken: Vec<Violation>,
    /// When the world did something to a service that the tool could not help.
    forced: BTreeMap<String, Duration>,
    /// When nginx stopped sending to a replica.
    unrouted: BTreeMap<String, Duration>,
    /// Replicas that are being made, by service.
    making: BTreeMap<String, u32>,
    /// When anything changed last.
    changed: Duration,
    last: BTreeMap<String, LoadChange>,
    /// How often a count went back within a short time.
    pub(in crate::sim) flaps: u32,
}

impl InvariantChecker {
    pub(in crate::sim) fn new(bounds: BTreeMap<String, ServiceBounds>) -> Self {
        Self {
            bounds,
            ..Self::default()
        }
    }

    fn breaks(&mut self, at: Duration, what: String) {
        self.broken.push(Violation { at, what });
    }

    /// The world did something to a service, or to all of them.
    pub(in crate::sim) fn forces(&mut self, service: Option<&str>, at: Duration) {
        self.changed = at;
        let all: Vec<_> = self.bounds.keys().cloned().collect();
        for name in all
            .into_iter()
            .filter(|name| service.is_none_or(|s| s == name))
        {
            self.forced.insert(name, at);
        }
    }

    /// The tool begins to make a replica.
    pub(in crate::sim) fn makes(&mut self, service: &str, at: Duration) {
        self.changed = at;
        *self.making.entry(service.to_owned()).or_default() += 1;
    }

    /// A replica that it made is ready, or given up.
    pub(in crate::sim) fn made(&mut self, service: &str, at: Duration) {
        self.changed = at;
        let making = self.making.entry(service.to_owned()).or_default();
        *making = making.saturating_sub(1);
    }

    /// Something changed.
    pub(in crate::sim) fn changes(&mut self, at: Duration) {
        self.changed = at;
    }

    /// Load has changed a count.
    pub(in crate::sim) fn scales(&mut self, service: &str, up: bool, at: Duration) {
        let last = self.last.insert(service.to_owned(), LoadChange { at, up });
        if last.is_some_and(|last| last.up != up && at.saturating_sub(last.at) < FLAP) {
            self.flaps += 1;
        }
    }
}

impl World {
    /// Whether the tool may stop it at all.
    fn judge_whose(&mut self, id: &ContainerId) {
        let at = self.elapsed();
        let Some(container) = self.containers.get(id) else {
            return;
        };
        let ours = container.labels.get(labels::PROJECT) == Some(&self.project);
        let one_off = container
            .labels
            .get(labels::ONEOFF)
            .is_none_or(|v| v != "False");
        let managed = self.judge.bounds.contains_key(container.service());
        if !ours || one_off || !managed {
            let what = format!("stopped {}, which is none of its replicas", container.name);
            self.judge.breaks(at, what);
        }
    }

    /// The tool stops a container, or removes a running one.
    pub(in crate::sim) fn judge_stop(&mut self, id: &ContainerId) {
        self.judge_whose(id);
        let at = self.elapsed();
        self.judge.changed = at;
        let Some(container) = self.containers.get(id).filter(|one| one.runs()) else {
            return;
        };
        let (name, service) = (container.name.clone(), container.service().to_owned());
        let healthy = container.health == Health::Healthy;
        let Some(bounds) = self.judge.bounds.get(&service).copied() else {
            return;
        };
        let Some(load) = self.services.get(&service) else {
            return;
        };
        if load.routed.contains_key(&name) {
            let what = format!("stopped {name}, which nginx sends requests to");
            self.judge.breaks(at, what);
        }
        let open = load.open(&name);
        let unrouted = self.judge.unrouted.get(&name).copied().unwrap_or_default();
        if open > 0 && at.saturating_sub(unrouted) < bounds.drain {
            let what = format!("stopped {name} with {open} requests in flight");
            self.judge.breaks(at, what);
        }
        if !healthy {
            return;
        }
        let left = self.ready_replicas(&service).len().saturating_sub(1);
        if left < bounds.min as usize {
            let what = format!(
                "stopped {name}: {left} are left, and {} is the least",
                bounds.min
            );
            self.judge.breaks(at, what);
        }
        if self
            .judge
            .making
            .get(&service)
            .is_some_and(|making| *making > 0)
        {
            let what = format!("stopped {name} while another replica of {service} was made");
            self.judge.breaks(at, what);
        }
    }

    /// nginx is told to send to these.
    pub(in crate::sim) fn judge_route(&mut self, service: &str, servers: &BTreeMap<String, u32>) {
        let at = self.elapsed();
        self.judge.changed = at;
        let before = self.services.get(service).map(|one| one.routed.clone());
        for name in before.unwrap_or_default().into_keys() {
            if !servers.contains_key(&name) {
                self.judge.unrouted.insert(name, at);
            }
        }
        let ready = self.ready_replicas(service);
        // What went down while nginx was told could not be known.
        let excused = self
            .judge
            .forced
            .get(service)
            .is_some_and(|forced| at.saturating_sub(*forced) < GRACE);
        for name in servers.keys().filter(|name| !ready.contains(*name)) {
            if !excused {
                let what = format!("sent requests to {name}, which is not ready");
                self.judge.breaks(at, what);
            }
        }
    }

    /// Whether everything is in step, once it had the time to be.
    pub(in crate::sim) fn judge_quiet(&mut self) {
        let at = self.elapsed();
        let away = self.engine_down.is_some() || self.nginx_refuses.is_some();
        if away || !self.nginx_runs() {
            self.judge.changed = at;
        }
        if at.saturating_sub(self.judge.changed) < QUIET {
            return;
        }
        let services: Vec<_> = self.judge.bounds.keys().cloned().collect();
        for service in services {
            let ready = self.ready_replicas(&service);
            let routed = self.services.get(&service).map(|one| one.routed.clone());
            let routed: BTreeSet<_> = routed.unwrap_or_default().into_keys().collect();
            if ready != routed {
                let names = |of: &BTreeSet<String>| {
                    let names: Vec<_> = of.iter().map(String::as_str).collect();
                    if names.is_empty() {
                        "none".to_owned()
                    } else {
                        names.join(", ")
                    }
                };
                let what = format!(
                    "nginx sends to {} long after {} were the ones that can serve",
                    names(&routed),
                    names(&ready)
                );
                self.judge.breaks(at, what);
                self.judge.changed = at;
            }
            let least = self.judge.bounds[&service].min as usize;
            let fine = self.services[&service].fate == ReplicaFault::Fine;
            if ready.len() < least && fine && !self.judge_is_held(&service) {
                let what = format!(
                    "{service} has {} replicas, and {least} is the least",
                    ready.len()
                );
                self.judge.breaks(at, what);
                self.judge.changed = at;
            }
        }
    }

    /// Whether one of its replicas is on its way.
    fn judge_is_held(&self, service: &str) -> bool {
        let mut all = self.containers.values();
        all.any(|one| one.service() == service && one.runs() && one.health == Health::Starting)
    }

    /// The replicas of a service that can serve.
    pub(in crate::sim) fn ready_replicas(&self, service: &str) -> BTreeSet<String> {
        let all = self.containers.values();
        all.filter(|one| {
            self.is_replica(one, service)
                && one.state == ContainerState::Running
                && one.health == Health::Healthy
        })
        .map(|one| one.name.clone())
        .collect()
    }
}
