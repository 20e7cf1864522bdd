//! A file of JSON lines that somebody asked for, which is only ever added to.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::files;

/// A file that values are added to, one line for each. It is opened for every line: a file that was
/// moved away or removed is made again, and one on a disk that was full goes on when there is room.
#[derive(Debug, Clone)]
pub struct Recording {
    path: PathBuf,
}

impl Recording {
    /// Makes the file, for its owner alone, or finds that it can be added to.
    pub fn start(path: &Path) -> io::Result<Self> {
        let recording = Self {
            path: std::path::absolute(path)?,
        };
        files::append_content(&recording.path)?;
        Ok(recording)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a line, in one write; whole or not at all, as far as that can be had.
    pub fn append<T: Serialize>(&self, value: &T) -> io::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        let mut file = files::append_content(&self.path)?;
        let before = file.metadata()?.len();
        file.write_all(&line).inspect_err(|_| {
            // Half a line would make the next one unreadable too.
            let _ = file.set_len(before);
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn lines_are_added_for_the_owner_alone_and_a_file_that_went_is_made_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sub/run.jsonl");
        assert!(Recording::start(&path).is_err(), "no directory");
        fs::create_dir(directory.path().join("sub")).unwrap();
        let recording = Recording::start(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        recording.append(&[1, 2]).unwrap();
        Recording::start(&path).unwrap().append(&[3]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "[1,2]\n[3]\n");

        fs::remove_dir_all(path.parent().unwrap()).unwrap();
        assert!(recording.append(&[4]).is_err());
        fs::create_dir(path.parent().unwrap()).unwrap();
        recording.append(&[5]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "[5]\n");
    }

    #[test]
    fn what_is_no_regular_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let error = Recording::start(directory.path()).unwrap_err();
        assert!(error.to_string().starts_with("it is a directory instead"));
        // A disk without room.
        let error = Recording::start(Path::new("/dev/full")).unwrap_err();
        assert!(error.to_string().starts_with("it is a device instead"));
    }
}
