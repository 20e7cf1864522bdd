//! The count survives compose: where a `compose.scale.yaml` is among the project's files, it always
//! says how many replicas are wanted, so that whatever compose does leaves them alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use tracing::{debug, warn};

use super::file_stamps::stamp;
use crate::{
    compose::{Loaded, edit_count},
    files,
    project::CountKeys,
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

/// How a write of the counts ended.
pub(super) enum Written {
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

    /// Whether the file has another count of a service, as far as it is known.
    pub(super) fn lacks(&self, service: &str, count: u32) -> bool {
        self.counts.get(service) != Some(&count)
    }

    /// The file has these counts, or cannot have them: what failed is tried again when it is read again.
    pub(super) fn keep(&mut self, counts: BTreeMap<String, u32>) {
        self.counts.extend(counts);
    }

    /// Writes the counts that are wanted into the file, and into the project as it is loaded.
    pub(super) fn write(
        &mut self,
        loaded: &mut Loaded,
        path: &Path,
        wanted: &BTreeMap<String, u32>,
    ) -> io::Result<Written> {
        let looked_at = stamp(path);
        let mut text = files::read_content_text(path)?;
        for (service, count) in wanted {
            let Some(model) = loaded.project.services.get_mut(service) else {
                continue;
            };
            match edit_count::with_count(&text, service, model.count_keys, *count) {
                Ok(new) => {
                    text = new;
                    model.scale = Some(*count);
                    if !model.count_keys.replicas {
                        model.count_keys.scale = true;
                    }
                    self.said.remove(service);
                }
                Err(why) => {
                    if self.said.insert(service.clone()) {
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
            is_ours = stamp(path) == looked_at;
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
