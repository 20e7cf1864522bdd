//! The compose files: how they were loaded, which version of them was read, and reading them again.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Message,
    file_stamps::{FileStamps, stamp, stamps},
    tasks::Tasks,
};
use crate::compose::{self, LoadRequest};

/// A file that is being saved is not read before it has been the same for so long.
const SAVED: Duration = Duration::from_millis(250);
/// One that never is the same gets read after so many looks all the same.
const LOOKS: usize = 40;

/// The compose files as this run has read them.
#[derive(Debug)]
pub(super) struct ComposeFiles {
    /// How the project was loaded; `None` where it is not followed.
    source: Option<LoadRequest>,
    /// Services without a policy that are managed in this run all the same.
    extra: Vec<String>,
    stamps: FileStamps,
    reading: bool,
}

impl ComposeFiles {
    pub(super) fn new(
        source: Option<LoadRequest>,
        extra: Vec<String>,
        watched: &[PathBuf],
    ) -> Self {
        let mut files = Self {
            source,
            extra,
            stamps: FileStamps::new(),
            reading: false,
        };
        files.stamps = files.look(watched);
        files
    }

    pub(super) fn source(&self) -> Option<&LoadRequest> {
        self.source.as_ref()
    }

    /// Whether a service is managed although it has no policy.
    pub(super) fn manages(&self, service: &str) -> bool {
        self.extra.iter().any(|name| name == service)
    }

    /// Manages a service from now on.
    pub(super) fn manage(&mut self, service: &str) {
        self.extra.push(service.to_owned());
    }

    fn look(&self, watched: &[PathBuf]) -> FileStamps {
        match self.source {
            Some(_) => stamps(watched),
            None => FileStamps::new(),
        }
    }

    /// Whether any of them is not the version that was read.
    pub(super) fn are_changed(&self, watched: &[PathBuf]) -> bool {
        self.look(watched) != self.stamps
    }

    /// Whether this one is the version that was read, or is not followed.
    pub(super) fn is_as_read(&self, path: &Path) -> bool {
        self.source.is_none() || self.stamps.get(path) == Some(&stamp(path))
    }

    /// This one was written by this run, and need not be read.
    pub(super) fn wrote(&mut self, path: &Path) {
        if self.source.is_some() {
            self.stamps.insert(path.to_owned(), stamp(path));
        }
    }

    /// Whether they are being read.
    pub(super) fn are_being_read(&self) -> bool {
        self.reading
    }

    /// Reads them again, beside the loop, once nobody is in the middle of saving them: half a file may
    /// well make sense, with half of the services.
    pub(super) fn read_again(&mut self, watched: &[PathBuf], tasks: &mut Tasks) {
        let Some(source) = self.source.clone() else {
            return;
        };
        if std::mem::replace(&mut self.reading, true) {
            return;
        }
        let watched = watched.to_vec();
        let report = tasks.reporter();
        tasks.spawn(async move {
            let mut seen = stamps(&watched);
            for _ in 0..LOOKS {
                tokio::time::sleep(SAVED).await;
                let before = std::mem::replace(&mut seen, stamps(&watched));
                if before == seen {
                    break;
                }
            }
            if let Ok(result) = tokio::task::spawn_blocking(move || compose::load(&source)).await {
                let result = Box::new(result);
                let stamps = seen;
                let _ = report.send(Message::Reloaded { stamps, result }).await;
            }
        });
    }

    /// They were read, in these versions.
    pub(super) fn were_read(&mut self, stamps: FileStamps) {
        self.reading = false;
        // Whatever was changed since then is read at the next tick.
        self.stamps.extend(stamps);
    }

    /// Follows these files from now on: those that were read, and others as they are now.
    pub(super) fn follow(&mut self, watched: &[PathBuf]) {
        let read = std::mem::take(&mut self.stamps);
        self.stamps = self
            .look(watched)
            .into_iter()
            .map(|(path, now)| {
                let stamp = read.get(&path).copied().unwrap_or(now);
                (path, stamp)
            })
            .collect();
    }
}
