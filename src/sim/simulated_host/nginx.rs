//! nginx: which replicas its files name, and which it sends requests to.

use std::{collections::BTreeMap, time::Duration};

use super::World;

impl World {
    /// What nginx reads when it reloads or starts.
    pub(in crate::sim) fn write(&mut self, service: &str, servers: BTreeMap<String, u32>) {
        if let Some(service) = self.services.get_mut(service) {
            service.written = servers;
        }
    }

    /// nginx sends to what is written from now on, and to nothing else.
    pub(in crate::sim) fn reload(&mut self) {
        self.catch_up();
        let services: Vec<_> = self.services.keys().cloned().collect();
        for name in services {
            let written = self.services[&name].written.clone();
            self.judge_route(&name, &written);
            if let Some(service) = self.services.get_mut(&name) {
                service.routed = written;
            }
        }
        self.update_nginx();
    }

    /// Whether nginx runs.
    pub(in crate::sim) fn nginx_runs(&self) -> bool {
        let mut all = self.containers.values();
        all.any(|one| one.service() == "nginx" && one.runs())
    }

    /// Without nginx nobody gets through; one that starts reads what is written.
    pub(super) fn update_nginx(&mut self) {
        let runs = self.nginx_runs();
        if runs && !self.nginx_ran {
            for service in self.services.values_mut() {
                service.routed.clone_from(&service.written);
            }
        }
        self.nginx_ran = runs;
        for service in self.services.values_mut() {
            service.direct(runs);
        }
    }

    /// How long until nothing is under way of what is so now.
    pub(in crate::sim) fn drained_in(&mut self) -> Duration {
        self.catch_up();
        let all = self.services.values().map(|one| one.queue.drained_in());
        all.max().unwrap_or_default()
    }
}
