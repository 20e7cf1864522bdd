//! After each event: files that follow what the machines want and what runs, and what to say of drift.

use std::{collections::BTreeMap, path::Path};

use tracing::{info, warn};

use super::{
    super::{
        Message, bootstrap, drift,
        goal::RunGoal,
        scale_file::{self, Written},
        warn_once::Topic,
    },
    Driver,
};
use crate::{engine::Engine, proxy::Proxy};

impl<E: Engine, P: Proxy> Driver<E, P> {
    /// Writes the counts that are wanted now, where they are others than before.
    pub(super) fn keep_counts(&mut self) {
        let acts = matches!(
            self.goal,
            RunGoal::Watch | RunGoal::Once | RunGoal::Scale { .. }
        );
        if self.passive() || !acts || self.files.are_being_read() {
            return;
        }
        let Some(path) = scale_file::file(&self.loaded).map(Path::to_owned) else {
            return;
        };
        let wanted: BTreeMap<String, u32> = self
            .machines
            .iter()
            .filter(|(name, _)| self.loaded.policies.contains_key(*name))
            .filter(|(_, machine)| machine.idle_reason().is_none())
            .filter_map(|(name, machine)| Some((name, machine.desired()?)))
            .filter(|(name, count)| *count > 0 && self.counts.lacks(name, *count))
            .map(|(name, count)| (name.clone(), count))
            .collect();
        if wanted.is_empty() {
            return;
        }
        // Somebody else has changed it: it is read first, and then it is ours again.
        if !self.files.is_as_read(&path) {
            return;
        }
        let result = self.counts.write(&mut self.loaded, &path, &wanted);
        if matches!(result, Ok(Written::Changed)) {
            return;
        }
        self.files.wrote(&path);
        // What failed is tried again at the next tick.
        self.counts.keep(wanted);
        match result {
            Ok(_) => {
                if self.complaints.settle(Topic::Counts) {
                    info!("{} is updated again", path.display());
                }
            }
            Err(error) => {
                let why = error.to_string();
                if self.complaints.raise(Topic::Counts, &why) {
                    warn!(
                        error = why,
                        "cannot write the count to {}; scaling continues, but `docker compose up -d` would reset the count for a moment",
                        path.display()
                    );
                }
            }
        }
    }

    /// What to do so that compose leaves the count alone, for whoever has just made it fewer.
    pub(super) fn tell_how_to_keep_the_count(&mut self) {
        for (service, machine) in &mut self.machines {
            let Some((left, wanted)) = machine.cut_back() else {
                continue;
            };
            let how = match scale_file::file(&self.loaded) {
                Some(path) => format!("give compose {} as well", path.display()),
                None => "`compose-scale init` (or a compose.scale.yaml) avoids that".into(),
            };
            info!(
                service = %service,
                "{left} of {wanted} replicas are left, as a plain `docker compose up -d` does: restoring {wanted}; {how}"
            );
        }
    }

    /// Remembers a replica of each service, when another one stands for it than before.
    pub(super) fn remember_replicas(&mut self) {
        for (service, id, state) in self.persistence.begin_to_remember(&self.machines) {
            self.operations.begin_step();
            let engine = self.engine.engine();
            self.tasks.report(async move {
                let result = bootstrap::remember(&*engine, &state, &service, &id).await;
                Message::Remembered { service, result }
            });
        }
    }

    /// Asks again how compose would make the replicas, where that is due, and says what has come of it.
    pub(super) fn update_drift(&mut self) {
        if !self.drift.asks() || self.engine.is_away() || self.stopping {
            return;
        }
        let Some(source) = self.files.source() else {
            return;
        };
        if self.drift.see(&self.machines) {
            let engine = self.engine.engine();
            let (source, loaded) = (source.clone(), self.loaded.clone());
            self.tasks.report(async move {
                Message::Current(drift::currents(&*engine, &source, &loaded, "watch").await)
            });
        }
        self.drift.tell(&self.loaded, &self.machines);
    }
}
