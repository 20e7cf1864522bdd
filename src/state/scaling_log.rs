//! `scaling.log` as it is written: a line at a time, rotated by size, and no line lost or damaged by
//! what becomes of the process, the disk or the power in between.

use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use crate::files::{Directory, OpenMode};

/// The name of the log that is written to.
const NAME: &str = "scaling.log";
/// It is rotated at this size.
const LIMIT: u64 = 10 * 1024 * 1024;
/// Older logs that are kept: `scaling.log.1` is the youngest.
pub(super) const KEPT: u32 = 3;

/// Why a line was not added as it should be.
#[derive(Debug)]
pub(super) enum LogProblem {
    /// It was not added.
    Lost(io::Error),
    /// It was added, to a log that should have been rotated before.
    Unrotated(io::Error),
}

/// The log of a directory. It has one writer at a time, who holds the project's lock, and any number
/// of readers, who hold nothing.
#[derive(Debug)]
pub(super) struct ScalingLog<'a> {
    directory: &'a Path,
    limit: u64,
}

/// The name of a log: the one that is written to for 0, else the older one of that number.
pub(super) fn name(number: u32) -> String {
    match number {
        0 => NAME.to_owned(),
        number => format!("{NAME}.{number}"),
    }
}

/// Where it is.
pub(super) fn path(directory: &Path, number: u32) -> PathBuf {
    directory.join(name(number))
}

impl<'a> ScalingLog<'a> {
    pub(super) fn of(directory: &'a Path) -> Self {
        Self::with_limit(directory, LIMIT)
    }

    pub(super) fn with_limit(directory: &'a Path, limit: u64) -> Self {
        Self { directory, limit }
    }

    /// Adds a line, which has no line end of its own. It is opened for every line: a log that was
    /// moved away or removed is made again.
    pub(super) fn append(&self, mut line: Vec<u8>) -> Result<(), LogProblem> {
        line.push(b'\n');
        let mut unrotated = None;
        let directory = Directory::at(self.directory).map_err(LogProblem::Lost)?;
        let (mut file, mut length) = open(&directory).map_err(LogProblem::Lost)?;
        if length >= self.limit {
            match rotate(&directory, &mut file, length) {
                Ok(()) => (file, length) = open(&directory).map_err(LogProblem::Lost)?,
                // A log that is too long is better than one with a line missing.
                Err(error) => unrotated = Some(error),
            }
        }
        if is_torn(&file, length) {
            line.insert(0, b'\n');
        }
        // One write per line, so that a reader never sees two lines mixed.
        file.write_all(&line).map_err(|error| {
            // Half a line, on a disk that is full, is taken back; where that fails too, the next
            // line ends it first.
            let _ = file.set_len(length);
            LogProblem::Lost(error)
        })?;
        unrotated.map_or(Ok(()), |error| Err(LogProblem::Unrotated(error)))
    }
}

fn open(directory: &Directory) -> io::Result<(File, u64)> {
    let file = directory.open(NAME, OpenMode::Append)?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

/// Makes room for a new log. Only those in front of the first gap move: a crash between two
/// renames leaves a gap, and to move the ones behind it would push the oldest log out while a
/// place is free. The order of the renames is made to last as well, or a power cut could leave
/// the second one done and the first one not.
fn rotate(directory: &Directory, file: &mut File, length: u64) -> io::Result<()> {
    if is_torn(file, length) {
        file.write_all(b"\n")?;
    }
    // Not every file system can do that; the rename is done all the same.
    let _ = file.sync_data();
    let free = (1..KEPT).find(|number| !directory.has(&name(*number)));
    for number in (1..=free.unwrap_or(KEPT)).rev() {
        directory.rename(name(number - 1), name(number))?;
        let _ = directory.sync();
    }
    Ok(())
}

/// Whether the last line has no end: the power went, or the disk was full, while it was written.
fn is_torn(file: &File, length: u64) -> bool {
    let mut last = [0];
    length > 0 && file.read_exact_at(&mut last, length - 1).is_ok() && last[0] != b'\n'
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// What is in each log, from the one that is written to on; `-` is one that is not there.
    fn contents(directory: &Path) -> Vec<String> {
        (0..=KEPT + 1)
            .map(|n| fs::read_to_string(path(directory, n)).unwrap_or("-".into()))
            .collect()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "makes the state that a crash leaves"
    )]
    fn put(directory: &Path, number: u32, text: &str) {
        fs::write(path(directory, number), text).unwrap();
    }

    /// A log that is rotated before every line but the first one.
    fn append(directory: &Path, line: &str) -> Result<(), LogProblem> {
        ScalingLog::with_limit(directory, 1).append(line.into())
    }

    #[test]
    fn three_older_logs_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        for line in ["a", "b", "c", "d", "e"] {
            append(dir.path(), line).unwrap();
        }
        assert_eq!(contents(dir.path()), ["e\n", "d\n", "c\n", "b\n", "-"]);
    }

    #[test]
    fn a_crash_between_two_renames_costs_no_line() {
        // What is there after each rename of a rotation with four logs, and with the log that is
        // made by the next line: nothing but the oldest one, `z`, is ever gone.
        for (left, then) in [
            // Before the first.
            (["c", "b", "a", "z"], ["d\n", "c", "b", "a", "-"]),
            // 2 became 3.
            (["c", "b", "-", "a"], ["d\n", "c", "b", "a", "-"]),
            // 1 became 2.
            (["c", "-", "b", "a"], ["d\n", "c", "b", "a", "-"]),
            // The log became 1, and the new one was not made yet.
            (["-", "c", "b", "a"], ["d\n", "c", "b", "a", "-"]),
        ] {
            let dir = tempfile::tempdir().unwrap();
            for (number, text) in left.iter().enumerate().filter(|(_, text)| **text != "-") {
                put(dir.path(), number as u32, &format!("{text}\n"));
            }
            append(dir.path(), "d").unwrap();
            let found = contents(dir.path()).join("|").replace("\n|", "|");
            assert_eq!(found, then.join("|").replace("\n|", "|"), "{left:?}");
        }
    }

    #[test]
    fn a_torn_last_line_does_not_damage_the_next_one() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), 0, "whole\nto");
        let log = ScalingLog::of(dir.path());
        log.append("next".into()).unwrap();
        log.append("over".into()).unwrap();
        assert_eq!(contents(dir.path())[0], "whole\nto\nnext\nover\n");
        // A power cut may leave zeros too.
        put(dir.path(), 0, "whole\n\0\0");
        log.append("next".into()).unwrap();
        assert_eq!(contents(dir.path())[0], "whole\n\0\0\nnext\n");
    }

    #[test]
    fn a_torn_line_is_ended_before_its_log_is_put_away() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), 0, "whole\nto");
        append(dir.path(), "next").unwrap();
        assert_eq!(contents(dir.path())[..2], ["next\n", "whole\nto\n"]);
    }

    #[test]
    fn a_log_that_cannot_be_rotated_grows_rather_than_lose_a_line() {
        let dir = tempfile::tempdir().unwrap();
        // Directories are in the way.
        for number in 1..=KEPT {
            fs::create_dir(path(dir.path(), number)).unwrap();
        }
        append(dir.path(), "a").unwrap();
        assert!(matches!(
            append(dir.path(), "b"),
            Err(LogProblem::Unrotated(_))
        ));
        assert_eq!(fs::read_to_string(path(dir.path(), 0)).unwrap(), "a\nb\n");
        for number in 1..=KEPT {
            fs::remove_dir(path(dir.path(), number)).unwrap();
        }
        append(dir.path(), "c").unwrap();
        assert_eq!(contents(dir.path())[0], "c\n");
    }
}
