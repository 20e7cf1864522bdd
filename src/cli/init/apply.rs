//! Changing several files, all of them or none.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    cli::Failure,
    files::{self, if_there},
    init::{RECORD, record::Record, relative},
};

/// One file, before and after; `None` is no file.
pub(super) struct Change {
    pub(super) path: PathBuf,
    /// For people: below the project's directory.
    pub(super) shown: String,
    pub(super) before: Option<Vec<u8>>,
    pub(super) after: Option<Vec<u8>>,
}

/// What has been done, as long as it may have to be taken back.
pub(super) struct Applied<'a> {
    done: Vec<&'a Change>,
    /// Directories that were made, the outermost first.
    made: Vec<PathBuf>,
}

pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    let read = if_there(files::read_content(path));
    read.map_err(|error| Failure::Work(vec![format!("cannot read {}: {error}", path.display())]))
}

/// Changes files in this order. When one cannot be changed, or is no longer as it was looked at, those
/// before it are as they were.
pub(super) fn apply(changes: &[Change]) -> Result<Applied<'_>, Failure> {
    let mut applied = Applied {
        done: Vec::new(),
        made: Vec::new(),
    };
    for change in changes {
        if let Err(why) = applied.change(change) {
            applied.take_back();
            return Err(Failure::Work(vec![format!(
                "{why}; nothing was changed, and another run looks again"
            )]));
        }
        applied.done.push(change);
    }
    Ok(applied)
}

/// The directories that are missing for these changes, the outermost first.
pub(super) fn missing(root: &Path, changes: &[Change]) -> Vec<String> {
    let mut all = Vec::new();
    for change in changes.iter().filter(|change| change.after.is_some()) {
        for path in missing_above(&change.path) {
            let inside = relative(root, &path);
            if !all.contains(&inside) {
                all.push(inside);
            }
        }
    }
    all
}

fn missing_above(path: &Path) -> Vec<PathBuf> {
    let above = path.ancestors().skip(1);
    let mut missing: Vec<_> = above
        .take_while(|path| !path.is_dir())
        .map(Path::to_owned)
        .collect();
    missing.reverse();
    missing
}

fn put(path: &Path, bytes: Option<&[u8]>) -> io::Result<()> {
    match bytes {
        Some(bytes) => files::replace_content(path, bytes).map(drop),
        None => files::remove(path).map(drop),
    }
}

impl Applied<'_> {
    fn change(&mut self, change: &Change) -> Result<(), String> {
        let path = change.path.display();
        let now = read(&change.path).map_err(|failure| failure.to_string())?;
        if now != change.before {
            return Err(format!("{path} was changed in the meantime"));
        }
        let made = match change.after {
            Some(_) => self.make_above(&change.path),
            None => Ok(()),
        };
        made.and_then(|()| put(&change.path, change.after.as_deref()))
            .map_err(|error| format!("cannot write {path}: {error}"))
    }

    fn make_above(&mut self, path: &Path) -> io::Result<()> {
        for path in missing_above(path) {
            fs::create_dir(&path)?;
            self.made.push(path);
        }
        Ok(())
    }

    /// Makes everything as it was, as far as that can be.
    pub(super) fn take_back(self) {
        for change in self.done.iter().rev() {
            if let Err(error) = put(&change.path, change.before.as_deref()) {
                tracing::error!(
                    "{} could not be made as it was: {error}",
                    change.path.display()
                );
            }
        }
        for path in self.made.iter().rev() {
            let _ = fs::remove_dir(path);
        }
    }
}

/// Writes the record, or removes it.
pub(super) fn record(root: &Path, record: Option<&Record>) -> Result<(), Failure> {
    let path = root.join(RECORD);
    let text = record.map(Record::text);
    put(&path, text.as_deref().map(str::as_bytes))
        .map_err(|error| Failure::Work(vec![format!("cannot write {}: {error}", path.display())]))
}

/// Removes directories that have nothing in them any more.
pub(super) fn remove_empty(root: &Path, directories: &[String]) {
    for directory in directories.iter().rev() {
        let _ = fs::remove_dir(root.join(directory));
    }
}
