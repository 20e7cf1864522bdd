//! Changing several files, all of them or none.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    cli::Failure,
    files,
    init::{RECORD, record::Record},
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
    root: &'a Path,
    done: Vec<&'a Change>,
    /// Directories that were made, the outermost first.
    made: Vec<PathBuf>,
}

pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::Work(vec![format!(
            "cannot read {}: {error}",
            path.display()
        )])),
    }
}

/// Changes files in this order. When one cannot be changed, those before it are as they were.
pub(super) fn apply<'a>(root: &'a Path, changes: &'a [Change]) -> Result<Applied<'a>, Failure> {
    let mut applied = Applied {
        root,
        done: Vec::new(),
        made: Vec::new(),
    };
    for change in changes {
        let parent = change.path.parent().unwrap_or(root);
        let made = match change.after {
            Some(_) => applied.make(parent),
            None => Ok(()),
        };
        if let Err(error) = made.and_then(|()| put(&change.path, change.after.as_deref())) {
            applied.take_back();
            return Err(Failure::Work(vec![format!(
                "cannot write {}: {error}; nothing was changed",
                change.path.display()
            )]));
        }
        applied.done.push(change);
    }
    Ok(applied)
}

fn put(path: &Path, bytes: Option<&[u8]>) -> io::Result<()> {
    match bytes {
        Some(bytes) => files::replace_content(path, bytes).map(drop),
        None => files::remove(path).map(drop),
    }
}

impl Applied<'_> {
    fn make(&mut self, directory: &Path) -> io::Result<()> {
        let missing: Vec<_> = directory
            .ancestors()
            .take_while(|path| !path.is_dir())
            .map(Path::to_owned)
            .collect();
        for path in missing.into_iter().rev() {
            fs::create_dir(&path)?;
            self.made.push(path);
        }
        Ok(())
    }

    /// The directories that were made, below the project's.
    pub(super) fn directories(&self) -> impl Iterator<Item = String> + '_ {
        self.made.iter().map(|path| {
            let inside = path.strip_prefix(self.root).unwrap_or(path);
            inside.display().to_string()
        })
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
