//! Reading the log that nginx writes: what is new in it, again and again, through rotations, a file that
//! is cut or deleted, and lines of any length.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, ErrorKind, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use crate::files::{Directory, OpenMode, if_there};

/// No line of ours is longer.
const LONGEST: usize = 8 * 1024;
/// A run that begins reads so much of what is there already.
const BEGIN: u64 = 4 * 1024 * 1024;
/// A look reads no more than this. The rest comes with the next one: a sparse file can pretend any size.
const MOST: u64 = 256 * 1024 * 1024;
/// The log is begun anew at this size.
pub const LIMIT: u64 = 16 * 1024 * 1024;
/// After a log was begun anew, workers of nginx may write into the old one for so long.
const LINGER: Duration = Duration::from_secs(5);
/// … and as long as they do, up to this.
const LONGEST_LINGER: Duration = Duration::from_secs(300);

/// What a look at the log came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TailResult {
    /// Whether nginx may be writing into another file than the one that is there, and must be told to
    /// open its logs again.
    pub reopen: bool,
}

/// Why the log cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// There is none.
    #[error("{} is not there; nginx writes it once it has read `00-compose-scale.conf`", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// Lines may be lost.
    #[error("no space is left in {}, so nginx cannot write its log", directory.display())]
    Full {
        /// Where.
        directory: PathBuf,
    },
    /// Anything else.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A log that is followed.
#[derive(Debug)]
pub struct LogTail {
    path: PathBuf,
    current: Option<Followed>,
    /// The one before, into which nginx may still write.
    old: Option<RotatedLog>,
    /// Whether it has been looked for before.
    begun: bool,
    /// The one that was moved aside last, and when.
    rotated: Option<((u64, u64), Instant)>,
    limit: u64,
}

#[derive(Debug)]
struct RotatedLog {
    followed: Followed,
    since: Instant,
    /// When something new was in it.
    last: Instant,
    /// Whether it was moved aside by us, and nobody else wants it.
    ours: bool,
}

#[derive(Debug)]
struct Followed {
    file: File,
    /// Device and inode.
    identity: (u64, u64),
    offset: u64,
    rest: Vec<u8>,
    /// When it was made, where it was read from its begin.
    since: Option<SystemTime>,
    /// Whether the beginning of the line is lost, or was too long.
    skips: bool,
}

impl LogTail {
    /// Follows the log at this path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            current: None,
            old: None,
            begun: false,
            rotated: None,
            limit: LIMIT,
        }
    }

    /// Since when it has been there, where it was read from its begin; `None` where only the end of it
    /// was, and where that is not known.
    pub fn since(&self) -> Option<SystemTime> {
        self.current.as_ref()?.since
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A value that is another one for another file.
    pub fn identity(&self) -> Option<(u64, u64)> {
        self.current.as_ref().map(|one| one.identity)
    }

    /// Hands over every whole line that is new.
    pub fn read(
        &mut self,
        now: Instant,
        mut line: impl FnMut(&[u8]),
    ) -> Result<TailResult, LogError> {
        let io = |source| LogError::Io {
            path: self.path.clone(),
            source,
        };
        let directory = if_there(self.directory()).map_err(io)?;
        let there = directory.as_ref().map(|one| one.file_identity(self.name()));
        let there = there.map(if_there).transpose().map_err(io)?.flatten();
        let mut reopen = false;
        if there != self.current.as_ref().map(|one| one.identity) {
            let before = self.current.take();
            let moved = before.as_ref().zip(self.rotated);
            let ours = moved.is_some_and(|(one, moved)| one.identity == moved.0);
            // Whoever else put it there, nginx may not write into it yet.
            reopen = !self.begun || before.is_some() && !ours;
            if let Some(followed) = before {
                let since = now;
                self.old = Some(RotatedLog {
                    followed,
                    since,
                    last: now,
                    ours,
                });
            }
            // It was put back.
            let same = |old: &mut RotatedLog| Some(old.followed.identity) == there;
            if let Some(old) = self.old.take_if(same) {
                self.current = Some(old.followed);
            }
            if let Some(directory) = directory.filter(|_| there.is_some() && self.current.is_none())
            {
                let begin = if self.begun { None } else { Some(BEGIN) };
                // nginx's master makes it, and gives it to the user of its workers.
                let file = directory
                    .open(self.name(), OpenMode::ReadOthers)
                    .map_err(io)?;
                self.current = Some(Followed::of(file, begin).map_err(io)?);
            }
        } else if !self.begun {
            reopen = true;
        }
        self.begun = true;
        if let Some(old) = &mut self.old {
            let before = old.followed.offset;
            old.followed.read(&mut line).map_err(io)?;
            if old.followed.offset != before {
                old.last = now;
            }
            // A worker that cannot open the new one goes on with it.
            let done = now.duration_since(old.last) > LINGER;
            if done || now.duration_since(old.since) > LONGEST_LINGER {
                if old.ours {
                    let _ = self.directory().and_then(|one| one.remove(self.aside()));
                }
                self.old = None;
            }
        }
        if let Some(current) = &mut self.current {
            current.read(&mut line).map_err(io)?;
        } else if !reopen
            && self
                .rotated
                .is_none_or(|(_, at)| now.duration_since(at) > LINGER)
        {
            return Err(LogError::Missing {
                path: self.path.clone(),
            });
        }
        if self.is_full() {
            let directory = self.path.parent().unwrap_or(Path::new("/")).to_owned();
            return Err(LogError::Full { directory });
        }
        Ok(TailResult { reopen })
    }

    /// Whether it is so large that it should be begun anew: for itself, or for a small file system.
    pub fn is_due(&self) -> bool {
        let known = self.file_system().filter(|(size, _)| *size > 0);
        let part = known.map_or(u64::MAX, |(size, _)| size / 4);
        let limit = self.limit.min(part);
        self.old.is_none() && self.size() >= limit
    }

    /// What has been read of it, in bytes.
    pub fn size(&self) -> u64 {
        self.current.as_ref().map_or(0, |one| one.offset)
    }

    /// Moves the log aside. nginx goes on writing into it until it is told to open its logs again.
    pub fn rotate(&mut self, now: Instant) -> io::Result<()> {
        self.directory()?.rename(self.name(), self.aside())?;
        let moved = self.current.as_ref().map(|one| one.identity);
        self.rotated = moved.map(|identity| (identity, now));
        Ok(())
    }

    /// Moves it back, where nginx could not be told.
    pub fn unrotate(&mut self) -> io::Result<()> {
        self.rotated = None;
        // Where nginx has opened a new one all the same, that one stays.
        self.directory()?.rename_back(self.aside(), self.name())
    }

    /// The directory that it is in, which nginx writes to as well.
    fn directory(&self) -> io::Result<Directory> {
        Ok(Directory::of(&self.path)?.0)
    }

    fn name(&self) -> &OsStr {
        self.path.file_name().unwrap_or_default()
    }

    fn aside(&self) -> OsString {
        let mut name = self.name().to_owned();
        name.push(".1");
        name
    }

    fn is_full(&self) -> bool {
        self.file_system()
            .is_some_and(|(size, free)| size > 0 && free == 0)
    }

    /// Size and free space of the file system, in bytes.
    fn file_system(&self) -> Option<(u64, u64)> {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        let there = rustix::fs::statvfs(directory).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(there.f_frsize);
        Some((bytes(there.f_blocks), bytes(there.f_bavail)))
    }
}

impl Followed {
    /// From its begin, or the last so many bytes of it.
    fn of(file: File, last: Option<u64>) -> io::Result<Self> {
        let there = file.metadata()?;
        let offset = last.map_or(0, |last| there.len().saturating_sub(last));
        Ok(Self {
            file,
            identity: (there.dev(), there.ino()),
            offset,
            rest: Vec::new(),
            // Not every file system knows.
            since: there.created().ok().filter(|_| offset == 0),
            skips: offset > 0,
        })
    }

    fn read(&mut self, line: &mut impl FnMut(&[u8])) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        if length < self.offset {
            // Somebody has cut it.
            self.offset = 0;
            self.rest.clear();
            self.skips = false;
        }
        if length == self.offset {
            return Ok(());
        }
        self.file.seek(SeekFrom::Start(self.offset))?;
        let mut chunk = vec![0; 64 * 1024];
        let end = self.offset + MOST;
        while self.offset < end {
            let read = match self.file.read(&mut chunk) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.take(&chunk[..read], line);
            self.offset += read as u64;
        }
        Ok(())
    }

    fn take(&mut self, chunk: &[u8], line: &mut impl FnMut(&[u8])) {
        let mut chunk = chunk;
        while let Some(end) = chunk.iter().position(|byte| *byte == b'\n') {
            let (whole, more) = (&chunk[..end], &chunk[end + 1..]);
            if std::mem::take(&mut self.skips) {
                self.rest.clear();
            } else if self.rest.is_empty() {
                line(whole);
            } else {
                self.rest.extend_from_slice(whole);
                line(&self.rest);
                self.rest.clear();
            }
            chunk = more;
        }
        if self.skips {
            return;
        }
        self.rest.extend_from_slice(chunk);
        if self.rest.len() > LONGEST {
            self.rest.clear();
            self.skips = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use super::*;

    struct LogTailBench {
        dir: tempfile::TempDir,
        log: LogTail,
        now: Instant,
    }

    impl LogTailBench {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let log = LogTail::new(dir.path().join("shop.log"));
            let now = tokio::time::Instant::now().into_std();
            Self { dir, log, now }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        /// As nginx does: appends to a file it has open.
        fn open(&self, name: &str) -> File {
            let mut options = File::options();
            options.create(true).append(true);
            options.open(self.path(name)).unwrap()
        }

        fn read(&mut self, after: u64) -> (Vec<String>, Result<TailResult, String>) {
            self.now += Duration::from_secs(after);
            let mut lines = Vec::new();
            let found = self.log.read(self.now, |line| {
                lines.push(String::from_utf8_lossy(line).into_owned());
            });
            (lines, found.map_err(|error| error.to_string()))
        }

        fn lines(&mut self, after: u64) -> Vec<String> {
            let (lines, found) = self.read(after);
            found.unwrap();
            lines
        }
    }

    #[test]
    fn whole_lines_come_once_however_they_are_written() {
        let mut bench = LogTailBench::new();
        let mut nginx = bench.open("shop.log");
        nginx.write_all(b"one\ntwo\nthr").unwrap();
        assert_eq!(bench.lines(0), ["one", "two"]);
        assert_eq!(bench.lines(5), [""; 0]);
        nginx.write_all(b"ee\n\nfour").unwrap();
        assert_eq!(bench.lines(5), ["three", ""]);
        nginx.write_all(b"\n").unwrap();
        assert_eq!(bench.lines(5), ["four"]);
    }

    #[test]
    fn a_line_without_an_end_takes_no_memory_and_harms_none_after_it() {
        let mut bench = LogTailBench::new();
        let mut nginx = bench.open("shop.log");
        for _ in 0..100 {
            nginx.write_all(&vec![b'x'; 100_000]).unwrap();
            assert_eq!(bench.lines(1), [""; 0]);
            let current = bench.log.current.as_ref().unwrap();
            assert!(current.rest.len() <= LONGEST);
        }
        nginx.write_all(b"\nnext\n").unwrap();
        assert_eq!(bench.lines(1), ["next"]);
    }

    #[test]
    fn a_log_that_is_begun_anew_loses_no_line() {
        let mut bench = LogTailBench::new();
        bench.log.limit = 8;
        let mut nginx = bench.open("shop.log");
        nginx.write_all(b"one\ntwo\n").unwrap();
        assert_eq!(bench.lines(0), ["one", "two"]);
        assert!(bench.log.is_due());
        bench.log.rotate(bench.now).unwrap();
        // Until it has opened it again nginx goes on with the old one.
        nginx.write_all(b"three\n").unwrap();
        assert_eq!(bench.lines(0), ["three"]);
        let mut opened = bench.open("shop.log");
        opened.write_all(b"five\n").unwrap();
        nginx.write_all(b"four\n").unwrap();
        assert_eq!(bench.lines(1), ["four", "five"]);
        assert!(!bench.log.is_due(), "the old one is not done with");
        assert_eq!(bench.lines(6), [""; 0]);
        assert!(!bench.path("shop.log.1").exists());
    }

    #[test]
    fn where_nginx_cannot_be_told_the_log_is_put_back() {
        let mut bench = LogTailBench::new();
        let mut nginx = bench.open("shop.log");
        nginx.write_all(b"one\n").unwrap();
        bench.lines(0);
        bench.log.rotate(bench.now).unwrap();
        bench.log.unrotate().unwrap();
        nginx.write_all(b"two\n").unwrap();
        assert_eq!(bench.lines(0), ["two"]);
    }

    #[test]
    fn a_log_that_is_deleted_is_to_be_opened_again_and_missing_after_that() {
        let mut bench = LogTailBench::new();
        let mut nginx = bench.open("shop.log");
        nginx.write_all(b"one\n").unwrap();
        let (_, first) = bench.read(0);
        assert!(first.unwrap().reopen, "nginx may have been started before");
        assert!(!bench.read(5).1.unwrap().reopen);
        fs::remove_file(bench.path("shop.log")).unwrap();
        nginx.write_all(b"two\n").unwrap();
        let (lines, found) = bench.read(5);
        assert_eq!((lines, found.unwrap().reopen), (vec!["two".into()], true));
        let why = format!(
            "{} is not there; nginx writes it once it has read `00-compose-scale.conf`",
            bench.path("shop.log").display()
        );
        assert_eq!(bench.read(5).1, Err(why));
        bench.open("shop.log").write_all(b"three\n").unwrap();
        assert_eq!(bench.lines(5), ["three"]);
    }

    #[test]
    fn what_stands_in_the_place_of_a_log_is_told_and_left_alone() {
        for what in ["a symbolic link", "a FIFO", "a directory"] {
            for name in ["shop.log", "shop.log.1"] {
                let mut bench = LogTailBench::new();
                let mut nginx = bench.open("shop.log");
                nginx.write_all(b"one\n").unwrap();
                if name == "shop.log.1" {
                    bench.lines(0);
                } else {
                    fs::remove_file(bench.path(name)).unwrap();
                }
                let (path, target) = (bench.path(name), bench.path("target"));
                bench.open("target").write_all(b"precious\n").unwrap();
                match what {
                    "a FIFO" => {
                        let made = std::process::Command::new("mkfifo").arg(&path).status();
                        assert!(made.unwrap().success());
                    }
                    "a directory" => fs::create_dir(&path).unwrap(),
                    _ => std::os::unix::fs::symlink(&target, &path).unwrap(),
                }
                let before = fs::symlink_metadata(&path).unwrap().ino();
                let refused = format!("it is {what} instead of a regular file");
                let said = if name == "shop.log" {
                    let (lines, found) = bench.read(5);
                    assert_eq!(lines, [""; 0], "{what}");
                    found.unwrap_err()
                } else {
                    bench.log.rotate(bench.now).unwrap_err().to_string()
                };
                assert!(said.contains(&refused), "{said}");
                assert_eq!(fs::symlink_metadata(&path).unwrap().ino(), before);
                assert_eq!(fs::read(&target).unwrap(), b"precious\n");
            }
        }
    }

    #[test]
    fn a_file_that_pretends_to_be_endless_is_not_read_to_its_end_at_once() {
        let mut bench = LogTailBench::new();
        bench.lines(0);
        let file = bench.open("shop.log");
        file.set_len(u64::from(u32::MAX) << 10).unwrap();
        let (lines, found) = bench.read(1);
        found.unwrap();
        assert_eq!(lines, [""; 0]);
        assert_eq!(bench.log.size(), MOST);
    }

    #[test]
    fn a_log_that_is_cut_is_read_from_its_begin() {
        let mut bench = LogTailBench::new();
        let mut nginx = bench.open("shop.log");
        nginx.write_all(b"one\ntwo\nthr").unwrap();
        bench.lines(0);
        nginx.set_len(0).unwrap();
        nginx.write_all(b"new\n").unwrap();
        assert_eq!(bench.lines(5), ["new"]);
    }

    #[test]
    fn of_a_large_log_the_end_is_read() {
        let mut bench = LogTailBench::new();
        let mut nginx = bench.open("shop.log");
        let line = [&[b'x'; 999][..], b"\n"].concat();
        for _ in 0..5000 {
            nginx.write_all(&line).unwrap();
        }
        let lines = bench.lines(0);
        assert!((4100..4300).contains(&lines.len()), "{}", lines.len());
        assert!(lines.iter().all(|line| line.len() == 999));
    }
}
