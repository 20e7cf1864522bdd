//! Files: opening those of ours by handle, and replacing one so that a reader sees the old bytes or
//! the new ones, never half of them, and finds one of the two after a power cut as well.
//!
//! Two kinds of file are told apart. **Ours** are in a place of our own and have names of our own:
//! never through a link, of a known owner ([`Directory`]). **The user's own** are named by the user
//! (a compose file, `.env`, `--record`): a link to one is followed, and its owner and mode stay
//! (`…_content`).

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::fs::{MetadataExt, chown},
    path::{Component, Path, PathBuf},
};

mod directory;
mod refusal;

pub use directory::{Directory, OpenMode, append_content, read_content, read_content_text};
pub use refusal::FileRefusal;

/// What everybody may read and only the owner write: nginx's workers run as another user.
pub const PUBLIC: u32 = 0o644;
/// What only the owner may read.
pub const PRIVATE: u32 = 0o600;

/// Puts `bytes` into a file of ours in one step. Returns whether anything changed: a file that has
/// these bytes already is left alone, so that its times tell when it was last different.
///
/// The bytes are written beside it first, as `.NAME.tmp`: in the same directory because a rename is
/// atomic only within a file system and because the file then has the directory's security label;
/// hidden and not ending in what it ends in so that no `include *.conf` reads it. Anything of its name
/// but a regular file is a [`FileRefusal`].
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let (directory, name) = Directory::of(path)?;
    directory.replace_if(name, bytes, PUBLIC, true, || true)
}

/// The same for what only the owner may read.
pub fn replace_private(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let (directory, name) = Directory::of(path)?;
    directory.replace_if(name, bytes, PRIVATE, true, || true)
}

/// The same for a file of the user's own: its mode and its owner stay, and a link to it is followed.
pub fn replace_content(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    replace_content_if(path, bytes, |_| true)
}

/// The same, if it still is what was looked at: that is asked when all but the last step is done. Nothing
/// has changed where it is not.
pub fn replace_content_if(
    path: &Path,
    bytes: &[u8],
    is_as_looked_at: impl FnOnce(&Path) -> bool,
) -> io::Result<bool> {
    let path = match fs::canonicalize(path) {
        Ok(real) => real,
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error),
    };
    let before = fs::metadata(&path).ok();
    let mode = before.as_ref().map_or(PUBLIC, |meta| meta.mode() & 0o7777);
    let (directory, name) = Directory::of(&path)?;
    let changed = directory.replace_if(name, bytes, mode, false, || is_as_looked_at(&path))?;
    if let Some(before) = before.filter(|_| changed) {
        let now = fs::metadata(&path)?;
        if (now.uid(), now.gid()) != (before.uid(), before.gid()) {
            // Who may not give files away has one of their own now, with the same text.
            let _ = chown(&path, Some(before.uid()), Some(before.gid()));
        }
    }
    Ok(changed)
}

/// Removes a file for good. Returns whether it was there.
pub fn remove(path: &Path) -> io::Result<bool> {
    in_its_directory(path, |directory, name| directory.remove(name))
}

/// Removes what a write of this file left beside it when it was broken off.
pub fn remove_leftover(path: &Path) -> io::Result<bool> {
    let real = fs::canonicalize(path);
    let path = real.as_deref().unwrap_or(path);
    in_its_directory(path, |directory, name| directory.remove_leftover(name))
}

/// Does nothing where there is no such directory.
fn in_its_directory(
    path: &Path,
    work: impl FnOnce(&Directory, &OsStr) -> io::Result<bool>,
) -> io::Result<bool> {
    match if_there(Directory::of(path))? {
        Some((directory, name)) => work(&directory, name),
        None => Ok(false),
    }
}

/// `None` is a file that is not there.
pub fn if_there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(it) => Ok(Some(it)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// An absolute path without `.` and `..`; links are not followed, as in compose.
pub fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}

#[cfg(test)]
mod tests;
