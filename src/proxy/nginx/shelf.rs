//! The directory that nginx includes, as files on this host.
//!
//! Two hidden files beside ours make a change survive the end of this program at any point:
//! `.compose-scale-PROJECT.undo` holds the last good text of every file that is being changed, from
//! before the first write until nginx has accepted the new ones. Then it is renamed to `.pending`,
//! which stays until the workers are seen to run the new configuration. So files that are right
//! already need no reload when this program starts, unless one of the two is there.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use crate::{files, proxy::ProxyError, proxy::render};

/// Text by file name; `None` for a file that is not there.
pub(super) type Texts = BTreeMap<String, Option<String>>;

/// What is in the directory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Contents {
    /// The files of this project as they are.
    pub ours: BTreeMap<String, String>,
    /// The same as nginx has accepted them last.
    pub good: BTreeMap<String, String>,
    /// Files that are not ours, and whose they are.
    pub foreign: BTreeMap<String, Option<String>>,
    /// Whether nginx may run something else than what is in the files.
    pub unfinished: bool,
    /// Whether what is in the files was never accepted by nginx.
    pub untested: bool,
}

/// The directory.
#[derive(Debug, Clone)]
pub(super) struct Shelf {
    directory: PathBuf,
    project: String,
}

impl Shelf {
    pub(super) fn new(directory: PathBuf, project: String) -> Self {
        Self { directory, project }
    }

    pub(super) fn read(&self) -> Result<Contents, ProxyError> {
        let mut contents = Contents::default();
        let entries = fs::read_dir(&self.directory).map_err(|e| self.error("", &e))?;
        for entry in entries {
            let name = entry.map_err(|e| self.error("", &e))?.file_name();
            let Some(name) = name.to_str().filter(|name| is_included(name)) else {
                continue;
            };
            let text = match fs::read(self.path(name)) {
                Ok(bytes) => String::from_utf8(bytes).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(self.error(name, &error)),
            };
            match render::owner(&text) {
                Some(owner) if owner == self.project => {
                    contents.ours.insert(name.to_owned(), text);
                }
                owner => {
                    let owner = owner.map(str::to_owned);
                    contents.foreign.insert(name.to_owned(), owner);
                }
            }
        }
        contents.good = contents.ours.clone();
        let undo = fs::read(self.undo()).ok();
        contents.untested = undo.is_some();
        contents.unfinished = contents.untested || self.pending().exists();
        // A file of ours that does not parse was never complete: nothing was changed after it.
        let undo: Texts = undo
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        for (name, text) in undo {
            match text {
                Some(text) if is_included(&name) => contents.good.insert(name, text),
                _ => contents.good.remove(&name),
            };
        }
        Ok(contents)
    }

    /// Makes the files have these texts, remembering the good ones. Puts everything back when one
    /// of them cannot be written.
    pub(super) fn write(
        &self,
        texts: &Texts,
        good: &BTreeMap<String, String>,
    ) -> Result<(), ProxyError> {
        let undo: Texts = texts
            .keys()
            .map(|name| (name.clone(), good.get(name).cloned()))
            .collect();
        let json = serde_json::to_vec(&undo).unwrap_or_default();
        files::replace(&self.undo(), &json).map_err(|e| self.error("", &e))?;
        self.put(texts).inspect_err(|_| {
            // The first error is the one to tell.
            let _ = self.put(&undo).map(|()| self.forget_undo());
        })
    }

    /// Puts the good files back.
    pub(super) fn roll_back(
        &self,
        texts: &Texts,
        good: &BTreeMap<String, String>,
    ) -> Result<(), ProxyError> {
        let back: Texts = texts
            .keys()
            .map(|name| (name.clone(), good.get(name).cloned()))
            .collect();
        self.put(&back)?;
        self.forget_undo();
        Ok(())
    }

    /// nginx has accepted what is in the files.
    pub(super) fn accepted(&self) -> Result<(), ProxyError> {
        fs::rename(self.undo(), self.pending()).map_err(|e| self.error("", &e))
    }

    /// nginx runs what is in the files.
    pub(super) fn in_effect(&self) -> Result<(), ProxyError> {
        fs::remove_file(self.pending()).map_err(|e| self.error("", &e))
    }

    fn put(&self, texts: &Texts) -> Result<(), ProxyError> {
        for (name, text) in texts {
            let path = self.path(name);
            let done = match text {
                Some(text) => files::replace(&path, text.as_bytes()),
                None => files::remove(&path),
            };
            done.map_err(|error| self.error(name, &error))?;
        }
        Ok(())
    }

    fn forget_undo(&self) {
        let _ = fs::remove_file(self.undo());
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn undo(&self) -> PathBuf {
        self.path(&format!(".compose-scale-{}.undo", self.project))
    }

    fn pending(&self) -> PathBuf {
        self.path(&format!(".compose-scale-{}.pending", self.project))
    }

    pub(super) fn error(&self, name: &str, error: &io::Error) -> ProxyError {
        ProxyError::Unwritable {
            path: match name {
                "" => self.directory.clone(),
                name => self.path(name),
            },
            why: self.in_words(error),
        }
    }

    /// The system's words, or better ones with what to do.
    fn in_words(&self, error: &io::Error) -> String {
        let directory = self.directory.display();
        match error.kind() {
            io::ErrorKind::NotFound => format!(
                "there is no directory {directory}; make it with `mkdir -p {directory}` and mount it \
                 into nginx"
            ),
            io::ErrorKind::PermissionDenied => {
                format!("permission denied; `sudo chown $USER {directory}` makes it yours")
            }
            io::ErrorKind::ReadOnlyFilesystem => {
                "the file system is mounted read-only; only nginx should see it like that".into()
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "no space left on the disk; nginx goes on with the files of before".into()
            }
            _ => error.to_string(),
        }
    }
}

/// Whether it is one of the two kinds of file that nginx reads.
fn is_included(name: &str) -> bool {
    let kind = Path::new(name).extension();
    !name.starts_with('.') && kind.is_some_and(|kind| kind == "conf" || kind == "location")
}
