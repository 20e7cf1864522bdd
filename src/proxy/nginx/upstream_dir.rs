//! The directory that nginx includes, as files on this host.
//!
//! Two hidden files beside ours make a change survive the end of this program at any point:
//! `.compose-scale-PROJECT.undo` holds the last good text of every file that is being changed, from
//! before the first write until nginx has accepted the new ones. Then it is renamed to `.pending`,
//! which stays until the workers are seen to run the new configuration. So files that are right
//! already need no reload when this program starts, unless one of the two is there.
//!
//! Others may be able to write there: from inside nginx's container, where the directory is mounted
//! writable. So everything that is read back is looked at first. Only files that have a name of ours
//! and begin with our header for this project are replaced or removed, and the undo file is used only
//! where each of its texts can be ours.

use std::{collections::BTreeMap, io, path::PathBuf};

use crate::{
    files::{Directory, PUBLIC},
    proxy::{
        ProxyError,
        read_back::{Foreign, read_back},
        render,
    },
};

/// Text by file name; `None` for a file that is not there.
pub(super) type Texts = BTreeMap<String, Option<String>>;

/// The undo file is never longer, although it has the texts of several.
const LARGEST_UNDO: u64 = 16 << 20;

/// What is in the directory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Contents {
    /// The files of this project as they are.
    pub ours: BTreeMap<String, String>,
    /// The same as nginx has accepted them last.
    pub good: BTreeMap<String, String>,
    /// Files with a name that ours could have, and why they are left alone.
    pub foreign: BTreeMap<String, Foreign>,
    /// Whether nginx may run something else than what is in the files.
    pub unfinished: bool,
    /// Whether what is in the files was never accepted by nginx.
    pub untested: bool,
    /// Why the undo file is ignored, where it is.
    pub distrusted: Option<String>,
}

/// The directory.
#[derive(Debug, Clone)]
pub(super) struct Shelf {
    directory: PathBuf,
    project: String,
    /// The log that nginx is asked to write.
    log: Option<String>,
}

impl Shelf {
    pub(super) fn new(directory: PathBuf, project: String, log: Option<String>) -> Self {
        Self {
            directory,
            project,
            log,
        }
    }

    pub(super) fn read(&self) -> Result<Contents, ProxyError> {
        let directory = self.open()?;
        let mut contents = Contents::default();
        for name in directory.names().map_err(|e| self.error("", &e))? {
            if !render::is_our_name(&name) {
                continue;
            }
            match read_back(&directory, &name, &self.project) {
                Ok(None) => {}
                Ok(Some(text)) => {
                    contents.ours.insert(name, text);
                }
                Err(foreign) => {
                    contents.foreign.insert(name, foreign);
                }
            }
        }
        contents.good = contents.ours.clone();
        let undo = self.hidden(&directory, &self.undo())?;
        contents.untested = undo.is_some();
        contents.unfinished =
            contents.untested || self.hidden(&directory, &self.pending())?.is_some();
        match undo.map(|bytes| self.trusted(&bytes)) {
            None => {}
            Some(Err(why)) => contents.distrusted = Some(why),
            Some(Ok(texts)) => {
                for (name, text) in texts {
                    match text {
                        Some(text) if !contents.foreign.contains_key(&name) => {
                            contents.good.insert(name, text);
                        }
                        _ => {
                            contents.good.remove(&name);
                        }
                    }
                }
            }
        }
        Ok(contents)
    }

    /// The bytes of one of the two hidden files.
    fn hidden(&self, directory: &Directory, name: &str) -> Result<Option<Vec<u8>>, ProxyError> {
        match directory.read(name, LARGEST_UNDO) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.error(name, &error)),
        }
    }

    /// The texts of the undo file, if all of them can be ours.
    fn trusted(&self, undo: &[u8]) -> Result<Texts, String> {
        let texts: Texts = serde_json::from_slice(undo).map_err(|error| error.to_string())?;
        let log = self.log.as_deref();
        for (name, text) in &texts {
            if !render::is_our_name(name) {
                return Err(format!("{name:?} is not the name of a file of ours"));
            }
            let is_ours = |text: &String| render::is_our_text(&self.project, name, text, log);
            if !text.as_ref().is_none_or(is_ours) {
                return Err(format!("its text for {name} is not one of ours"));
            }
        }
        Ok(texts)
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
        let (directory, name) = (self.open()?, self.undo());
        let noted = directory.replace(&name, &json, PUBLIC);
        noted.map_err(|e| self.error(&name, &e))?;
        self.put(&directory, texts).inspect_err(|_| {
            // The first error is the one to tell.
            let _ = self
                .put(&directory, &undo)
                .map(|()| self.forget_undo(&directory));
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
        let directory = self.open()?;
        self.put(&directory, &back)?;
        self.forget_undo(&directory);
        Ok(())
    }

    /// nginx has accepted what is in the files.
    pub(super) fn accepted(&self) -> Result<(), ProxyError> {
        let renamed = self.open()?.rename(self.undo(), self.pending());
        renamed.map_err(|e| self.error(&self.pending(), &e))
    }

    /// nginx runs what is in the files.
    pub(super) fn in_effect(&self) -> Result<(), ProxyError> {
        let removed = self.open()?.remove(self.pending());
        removed
            .map(drop)
            .map_err(|e| self.error(&self.pending(), &e))
    }

    fn put(&self, directory: &Directory, texts: &Texts) -> Result<(), ProxyError> {
        for (name, text) in texts {
            // It may be another file by now than the one that was read.
            if let Err(foreign) = read_back(directory, name, &self.project) {
                return Err(ProxyError::Unwritable {
                    path: self.path(name),
                    why: foreign.why(),
                });
            }
            let done = match text {
                Some(text) => directory.replace(name, text.as_bytes(), PUBLIC),
                None => directory.remove(name),
            };
            done.map_err(|error| self.error(name, &error))?;
        }
        Ok(())
    }

    fn forget_undo(&self, directory: &Directory) {
        let _ = directory.remove(self.undo());
    }

    fn open(&self) -> Result<Directory, ProxyError> {
        Directory::at(&self.directory).map_err(|e| self.error("", &e))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The name of the undo file.
    pub(super) fn undo(&self) -> String {
        format!(".compose-scale-{}.undo", self.project)
    }

    fn pending(&self) -> String {
        format!(".compose-scale-{}.pending", self.project)
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
