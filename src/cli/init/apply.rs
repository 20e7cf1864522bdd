//! Changing several files, all of them or none.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    cli::Failure,
    files::{self, Directory, PUBLIC, if_there},
    init::{DIRECTORY, RECORD, manifest::Manifest, relative},
};

/// One file, before and after; `None` is no file.
pub(super) struct FileChange {
    /// Below the project's directory.
    pub(super) shown: String,
    pub(super) before: Option<Vec<u8>>,
    pub(super) after: Option<Vec<u8>>,
}

/// No file of ours is longer.
const LARGEST: u64 = 16 << 20;

/// What has been done, as long as it may have to be taken back.
pub(super) struct Applied<'a> {
    root: &'a Path,
    done: Vec<&'a FileChange>,
    /// Directories that were made, the outermost first.
    made: Vec<PathBuf>,
}

/// The directory and the name of a file of ours, which is never reached through a link: a project may
/// come from someone else, links included. `None` for a file of the user's own.
fn ours<'a>(root: &Path, shown: &'a str) -> io::Result<Option<(Directory, &'a OsStr)>> {
    let path = Path::new(shown);
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(None);
    };
    if !above.starts_with(DIRECTORY) {
        return Ok(None);
    }
    let mut directory = Directory::at(root)?;
    for part in above {
        directory = directory.inner(part)?;
    }
    Ok(Some((directory, name)))
}

/// The bytes of a file below the project's directory.
pub(super) fn read(root: &Path, shown: &str) -> Result<Option<Vec<u8>>, Failure> {
    let read = ours(root, shown).and_then(|ours| match ours {
        Some((directory, name)) => directory.read(name, LARGEST),
        None => files::read_content(&root.join(shown)),
    });
    if_there(read).map_err(|error| {
        let path = root.join(shown);
        Failure::Work(vec![format!("cannot read {}: {error}", path.display())])
    })
}

/// Changes files in this order. When one cannot be changed, or is no longer as it was looked at, those
/// before it are as they were.
pub(super) fn apply<'a>(root: &'a Path, changes: &'a [FileChange]) -> Result<Applied<'a>, Failure> {
    let mut applied = Applied {
        root,
        done: Vec::new(),
        made: Vec::new(),
    };
    for change in changes {
        if let Err(why) = applied.change(change) {
            applied.take_back();
            return Err(Failure::Work(vec![format!(
                "{why}; nothing was changed; run `init` again"
            )]));
        }
        applied.done.push(change);
    }
    Ok(applied)
}

/// The directories that are missing for these changes, the outermost first.
pub(super) fn missing(root: &Path, changes: &[FileChange]) -> Vec<String> {
    let mut all = Vec::new();
    for change in changes.iter().filter(|change| change.after.is_some()) {
        for path in missing_above(&root.join(&change.shown)) {
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

fn put(root: &Path, shown: &str, bytes: Option<&[u8]>) -> io::Result<()> {
    let path = root.join(shown);
    let done = match (ours(root, shown), bytes) {
        (Ok(Some((directory, name))), Some(bytes)) => directory.replace(name, bytes, PUBLIC),
        (Ok(Some((directory, name))), None) => directory.remove(name),
        (Ok(None), Some(bytes)) => files::replace_content(&path, bytes),
        (Ok(None), None) => files::remove(&path),
        (Err(error), None) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        (Err(error), _) => Err(error),
    };
    done.map(drop)
}

/// Removes what a write of this file left beside it when it was broken off.
pub(super) fn remove_leftover(root: &Path, shown: &str) -> io::Result<bool> {
    match ours(root, shown)? {
        Some((directory, name)) => directory.remove_leftover(name),
        None => files::remove_leftover(&root.join(shown)),
    }
}

impl Applied<'_> {
    fn change(&mut self, change: &FileChange) -> Result<(), String> {
        let path = self.root.join(&change.shown);
        let shown = path.display();
        let now = read(self.root, &change.shown).map_err(|failure| failure.to_string())?;
        if now != change.before {
            return Err(format!("{shown} was changed in the meantime"));
        }
        let made = match change.after {
            Some(_) => self.make_above(&path),
            None => Ok(()),
        };
        made.and_then(|()| put(self.root, &change.shown, change.after.as_deref()))
            .map_err(|error| format!("cannot write {shown}: {error}"))
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
            if let Err(error) = put(self.root, &change.shown, change.before.as_deref()) {
                tracing::error!(
                    "{} could not be restored: {error}",
                    self.root.join(&change.shown).display()
                );
            }
        }
        for path in self.made.iter().rev() {
            let _ = fs::remove_dir(path);
        }
    }
}

/// Writes the record, or removes it.
pub(super) fn record(root: &Path, record: Option<&Manifest>) -> Result<(), Failure> {
    let text = record.map(Manifest::text);
    put(root, RECORD, text.as_deref().map(str::as_bytes)).map_err(|error| {
        let path = root.join(RECORD);
        Failure::Work(vec![format!("cannot write {}: {error}", path.display())])
    })
}

/// Removes directories that have nothing in them any more.
pub(super) fn remove_empty(root: &Path, directories: &[String]) {
    for directory in directories.iter().rev() {
        let _ = fs::remove_dir(root.join(directory));
    }
}
