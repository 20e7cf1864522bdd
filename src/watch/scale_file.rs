//! The count survives compose: where a `compose.scale.yaml` is among the project's files, it always
//! says how many replicas are wanted, so that whatever compose does leaves them alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use tracing::{debug, info, warn};

use super::{Driver, RunGoal, config_reload, warn_once::Topic};
use crate::{
    compose::{Loaded, edit_count},
    engine::Engine,
    files,
    project::CountKeys,
    proxy::Proxy,
};

/// How the file is called that is kept.
const NAMES: [&str; 2] = ["compose.scale.yaml", "compose.scale.yml"];

/// What is known of the file.
#[derive(Debug, Default)]
pub(super) struct ScaleFileState {
    /// The counts that it has, or cannot have, by service.
    counts: BTreeMap<String, u32>,
    /// Services that it has no place for, which was said.
    said: BTreeSet<String>,
}

/// The file of the project that counts are kept in: the last one, which compose goes by.
pub fn file(loaded: &Loaded) -> Option<&Path> {
    let is_it = |path: &&PathBuf| NAMES.iter().any(|name| path.ends_with(name));
    let files = &loaded.project.config_files;
    files.iter().rfind(is_it).map(PathBuf::as_path)
}

/// Whether two readings of the project differ in nothing but counts, which no policy depends on.
pub(super) fn differ_in_counts_only(one: &Loaded, other: &Loaded) -> bool {
    let without = |loaded: &Loaded| {
        let mut loaded = loaded.clone();
        for service in loaded.project.services.values_mut() {
            service.scale = None;
            service.count_keys = CountKeys::default();
        }
        loaded
    };
    without(one) == without(other)
}

/// What became of a write.
enum Written {
    /// The file has the counts.
    Kept,
    /// Somebody else has changed it while it was being written: it is read first.
    Changed,
}

impl ScaleFileState {
    /// The file may be another one now.
    pub(super) fn read_again(&mut self) {
        self.counts.clear();
    }
}

impl<E: Engine, P: Proxy> Driver<E, P> {
    /// Writes the counts that are wanted now, where they are others than before.
    pub(super) fn keep_counts(&mut self) {
        let acts = matches!(
            self.goal,
            RunGoal::Watch | RunGoal::Once | RunGoal::Scale { .. }
        );
        if self.passive() || !acts || self.reading {
            return;
        }
        let Some(path) = file(&self.loaded).map(Path::to_owned) else {
            return;
        };
        let wanted: BTreeMap<String, u32> = self
            .machines
            .iter()
            .filter(|(name, _)| self.loaded.policies.contains_key(*name))
            .filter(|(_, machine)| machine.idle_reason().is_none())
            .filter_map(|(name, machine)| Some((name, machine.desired()?)))
            .filter(|(name, count)| *count > 0 && self.kept.counts.get(*name) != Some(count))
            .map(|(name, count)| (name.clone(), count))
            .collect();
        if wanted.is_empty() {
            return;
        }
        // Somebody else has changed it: it is read first, and then it is ours again.
        let follows = self.source.is_some();
        if follows && self.stamps.get(&path) != Some(&config_reload::stamp(&path)) {
            return;
        }
        let result = self.write_counts(&path, &wanted);
        if matches!(result, Ok(Written::Changed)) {
            return;
        }
        if follows {
            self.stamps
                .insert(path.clone(), config_reload::stamp(&path));
        }
        // What failed is tried again at the next tick.
        self.kept.counts.extend(wanted);
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

    fn write_counts(&mut self, path: &Path, wanted: &BTreeMap<String, u32>) -> io::Result<Written> {
        let looked_at = config_reload::stamp(path);
        let mut text = files::read_content_text(path)?;
        for (service, count) in wanted {
            let Some(model) = self.loaded.project.services.get_mut(service) else {
                continue;
            };
            match edit_count::with_count(&text, service, model.count_keys, *count) {
                Ok(new) => {
                    text = new;
                    model.scale = Some(*count);
                    if !model.count_keys.replicas {
                        model.count_keys.scale = true;
                    }
                    self.kept.said.remove(service);
                }
                Err(why) => {
                    if self.kept.said.insert(service.clone()) {
                        warn!(
                            service,
                            "its count cannot be written to {}: {why}; add there\n{}",
                            path.display(),
                            block(service, model.count_keys, *count)
                        );
                    }
                }
            }
        }
        // Whoever is writing there at this moment goes first.
        let mut is_ours = true;
        let changed = files::replace_content_if(path, text.as_bytes(), |path| {
            is_ours = config_reload::stamp(path) == looked_at;
            is_ours
        })?;
        if changed {
            debug!(?wanted, "the counts are kept in {}", path.display());
        }
        Ok(if is_ours {
            Written::Kept
        } else {
            Written::Changed
        })
    }

    /// What to do so that compose leaves the count alone, for whoever has just made it fewer.
    pub(super) fn tell_how_to_keep_the_count(&mut self) {
        for (service, machine) in &mut self.machines {
            let Some((left, wanted)) = machine.cut_back() else {
                continue;
            };
            let how = match file(&self.loaded) {
                Some(path) => format!("give compose {} as well", path.display()),
                None => "`compose-scale init` (or a compose.scale.yaml) avoids that".into(),
            };
            info!(
                service = %service,
                "{left} of {wanted} replicas are left, as a plain `docker compose up -d` does: restoring {wanted}; {how}"
            );
        }
    }
}

/// What the file should have of a service.
fn block(service: &str, keys: CountKeys, count: u32) -> String {
    let line = if keys.replicas && !keys.scale {
        format!("    deploy:\n      replicas: {count}")
    } else {
        format!("    scale: {count}")
    };
    format!("services:\n  {service}:\n{line}")
}
