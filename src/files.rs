//! Replacing a file so that whoever reads it sees the old bytes or the new ones, never half of them,
//! and finds one of the two after a power cut as well.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown},
    path::{Component, Path, PathBuf},
};

/// What everybody may read and only the owner write: nginx's workers run as another user.
const MODE: u32 = 0o644;
/// What only the owner may read.
const PRIVATE: u32 = 0o600;

/// Puts `bytes` into `path` in one step. Returns whether anything changed: a file that has these
/// bytes already is left alone, so that its times tell when it was last different.
///
/// The bytes are written beside it first, as `.NAME.tmp`: in the same directory because a rename is
/// atomic only within a file system and because the file then has the directory's security label;
/// hidden and not ending in what it ends in so that no `include *.conf` reads it. A symbolic link
/// is replaced, not followed.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    replace_with(path, bytes, MODE)
}

/// The same for what only the owner may read.
pub fn replace_private(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    replace_with(path, bytes, PRIVATE)
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
    let mode = before.as_ref().map_or(MODE, |meta| meta.mode() & 0o7777);
    let changed = replace_with_if(&path, bytes, mode, is_as_looked_at)?;
    if let Some(before) = before.filter(|_| changed) {
        let now = fs::metadata(&path)?;
        if (now.uid(), now.gid()) != (before.uid(), before.gid()) {
            // Who may not give files away has one of their own now, with the same text.
            let _ = chown(&path, Some(before.uid()), Some(before.gid()));
        }
    }
    Ok(changed)
}

fn replace_with(path: &Path, bytes: &[u8], mode: u32) -> io::Result<bool> {
    replace_with_if(path, bytes, mode, |_| true)
}

fn replace_with_if(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    go_on: impl FnOnce(&Path) -> bool,
) -> io::Result<bool> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        // The text may have been copied with a mode of its own.
        let others = fs::metadata(path)?.mode() & 0o077;
        if mode == PRIVATE && others != 0 {
            fs::set_permissions(path, Permissions::from_mode(PRIVATE))?;
        }
        return Ok(false);
    }
    let beside = beside(path)?;
    let written = write(&beside, bytes, mode).and_then(|()| {
        if go_on(path) {
            fs::rename(&beside, path).map(|()| true)
        } else {
            fs::remove_file(&beside).map(|()| false)
        }
    });
    let changed = match written {
        Ok(changed) => changed,
        Err(error) => {
            // The error that matters is the first; a leftover is replaced by the next attempt.
            let _ = fs::remove_file(&beside);
            return Err(error);
        }
    };
    sync_directory(path)?;
    Ok(changed)
}

/// Removes a file for good. Returns whether it was there.
pub fn remove(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => sync_directory(path).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes what a write of this file left beside it when it was broken off.
pub fn remove_leftover(path: &Path) -> io::Result<bool> {
    let real = fs::canonicalize(path);
    remove(&beside(real.as_deref().unwrap_or(path))?)
}

fn write(beside: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    // A leftover of a crash is in the way of `create_new`, which is wanted because it never
    // writes through a link that somebody else put there.
    match fs::remove_file(beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(beside)?;
    // The umask may have taken away what the workers need.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn beside(path: &Path) -> io::Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not the path of a file"))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".tmp");
    Ok(path.with_file_name(hidden))
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory)?.sync_all()
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
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_new_file_is_readable_by_everyone_and_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.conf");
        assert!(replace(&path, b"one").unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"one");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
        assert_eq!(names(dir.path()), ["web.conf"]);
    }

    #[test]
    fn equal_bytes_leave_the_file_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.conf");
        replace(&path, b"one").unwrap();
        let inode = fs::metadata(&path).unwrap().ino();
        assert!(!replace(&path, b"one").unwrap());
        assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
        assert!(replace(&path, b"two").unwrap());
        assert_ne!(fs::metadata(&path).unwrap().ino(), inode);
    }

    #[test]
    fn the_leftover_of_a_crash_is_no_obstacle_and_a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let other = dir.path().join("other");
        replace(&other, b"untouched").unwrap();
        std::os::unix::fs::symlink(&other, dir.path().join(".web.conf.tmp")).unwrap();
        assert!(replace(&dir.path().join("web.conf"), b"one").unwrap());
        assert_eq!(fs::read(&other).unwrap(), b"untouched");
        assert_eq!(names(dir.path()), ["other", "web.conf"]);
    }

    #[test]
    fn a_private_file_is_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.json");
        replace_private(&path, b"one").unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_file_of_the_users_own_keeps_its_mode_and_its_link() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("secret"), dir.path().join(".env"));
        replace_private(&file, b"one").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(replace_content(&link, b"two").unwrap());
        assert_eq!(fs::read(&file).unwrap(), b"two");
        assert_eq!(fs::read_link(&link).unwrap(), file);
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(replace_content(&dir.path().join("new"), b"one").unwrap());
    }

    #[test]
    fn what_was_changed_since_it_was_looked_at_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("compose.scale.yaml");
        replace(&path, b"one").unwrap();
        let edited = |path: &Path| {
            fs::read(dir.path().join(".compose.scale.yaml.tmp")).unwrap();
            replace(&dir.path().join("edit"), b"mine").unwrap();
            fs::rename(dir.path().join("edit"), path).unwrap();
            false
        };
        assert!(!replace_content_if(&path, b"two", edited).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        assert_eq!(names(dir.path()), ["compose.scale.yaml"]);
        assert!(replace_content_if(&path, b"two", |_| true).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"two");
    }

    #[test]
    fn the_leftover_of_a_link_is_beside_its_file() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("below")).unwrap();
        let (file, link) = (dir.path().join("below/secret"), dir.path().join(".env"));
        replace(&file, b"one").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        replace(&dir.path().join("below/.secret.tmp"), b"two").unwrap();
        assert!(remove_leftover(&link).unwrap());
        assert!(!remove_leftover(&link).unwrap());
        assert_eq!(names(&dir.path().join("below")), ["secret"]);
        assert!(!remove_leftover(&dir.path().join("nothing")).unwrap());
    }

    #[test]
    fn a_missing_directory_is_an_error_and_is_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let error = replace(&dir.path().join("gone/web.conf"), b"one").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(names(dir.path()).is_empty());
    }

    #[test]
    fn removing_says_whether_it_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.conf");
        replace(&path, b"one").unwrap();
        assert!(remove(&path).unwrap());
        assert!(!remove(&path).unwrap());
    }
}
