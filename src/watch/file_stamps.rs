//! Which version of a file was read.

use std::{
    collections::BTreeMap,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Tells one version of a file from another: when it was changed, its length, its inode.
pub(super) type FileStamp = (SystemTime, u64, u64);
/// The stamps of the compose files; nothing for one that is not there.
pub(super) type FileStamps = BTreeMap<PathBuf, Option<FileStamp>>;

pub(super) fn stamp(path: &Path) -> Option<FileStamp> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len(), meta.ino()))
}

pub(super) fn stamps(paths: &[PathBuf]) -> FileStamps {
    let stamps = paths.iter().map(|path| (path.clone(), stamp(path)));
    stamps.collect()
}
