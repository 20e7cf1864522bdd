//! `scaling.log` as it is read: from the oldest log that is kept to what is being written now, each
//! line once, also while logs are rotated. Readers hold no lock and change nothing.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::{File, Metadata},
    io::{self, BufRead, BufReader, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer};

use super::{
    StateDir, StateError, io_error,
    scaling_log::{self, KEPT},
};
use crate::{
    files::{Directory, OpenMode, if_there},
    reconcile::{EventLevel, ScalingEvent},
    units::Timestamp,
};

/// How much is read at once.
const CHUNK: usize = 256 * 1024;

/// A line of `scaling.log`, with its fields by their names there. The input of a decision, which is most
/// of a line, is left out.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct HistoryEntry {
    /// When it happened.
    pub time: Timestamp,
    /// The service it happened to.
    pub service: String,
    /// What happened, in a word.
    pub event: String,
    /// From this many replicas.
    pub from: Option<u32>,
    /// To this many.
    pub to: Option<u32>,
    /// The reason's label.
    pub reason: Option<String>,
    /// Who wanted it.
    pub by: Option<String>,
    /// Values of the metrics that were decided on.
    #[serde(default, deserialize_with = "numbers")]
    pub metrics: BTreeMap<String, f64>,
    /// How long it took.
    pub seconds: Option<f64>,
    /// The reason in words, or what happened in a sentence.
    #[serde(default)]
    pub message: String,
    /// How much attention it wants; not in the log.
    #[serde(skip, default = "info")]
    pub level: EventLevel,
}

/// One that was no number is written as null, and is no reason to lose the line.
fn numbers<'de, D: Deserializer<'de>>(source: D) -> Result<BTreeMap<String, f64>, D::Error> {
    let values = BTreeMap::<String, Option<f64>>::deserialize(source)?;
    let numbers = values.into_iter();
    Ok(numbers
        .filter_map(|(name, value)| Some((name, value?)))
        .collect())
}

fn info() -> EventLevel {
    EventLevel::Info
}

/// What sort of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryKind {
    /// A count was changed.
    Change,
    /// A count that was changed is reached and served.
    Served,
    /// Something went wrong.
    Trouble,
    /// Something else that people want to know of.
    Remark,
    /// A step on the way.
    Step,
}

impl HistoryEntry {
    /// Reads a line. An event that a newer program wrote is understood as far as its fields have
    /// names that are known.
    fn read(line: &[u8]) -> Option<Self> {
        let mut entry: Self = serde_json::from_slice(line).ok()?;
        if !matches!(entry.kind(), HistoryKind::Change | HistoryKind::Step)
            && let Ok(note) = serde_json::from_slice::<ScalingEvent>(line)
        {
            entry.level = note.what.level();
            if entry.message.is_empty() {
                entry.message = note.what.to_string();
            }
        }
        Some(entry)
    }

    /// What sort of thing happened.
    pub fn kind(&self) -> HistoryKind {
        match self.event.as_str() {
            "scale" => HistoryKind::Change,
            "scaled" => HistoryKind::Served,
            "creating" | "starting" | "ready" | "routed" | "draining" | "removed" | "kept" => {
                HistoryKind::Step
            }
            _ => match self.level {
                EventLevel::Warn | EventLevel::Error => HistoryKind::Trouble,
                EventLevel::Info | EventLevel::Debug => HistoryKind::Remark,
            },
        }
    }
}

/// What a reader comes upon.
#[derive(Debug, PartialEq)]
pub enum LogPiece {
    /// A line.
    Entry(Box<HistoryEntry>),
    /// A line that is none: torn by a power cut, or damaged.
    Damaged {
        /// The log it is in.
        file: PathBuf,
        /// Its number there, from 1.
        line: u64,
    },
    /// Logs were put away faster than they were read, and some lines are gone.
    Gap,
}

/// A log that is open. It stays the same file whatever it is called by now.
#[derive(Debug)]
struct OpenLog {
    reader: BufReader<File>,
    id: (u64, u64),
    /// Its name when it was opened.
    path: PathBuf,
    /// The end of the last line that was read.
    offset: u64,
    /// How many were read.
    lines: u64,
}

/// A reader of all logs of a project, which can be asked again and again for what has come.
#[derive(Debug)]
pub struct LogHistory {
    directory: PathBuf,
    /// Those that were read to their end, the youngest last. They stay open, because the number of a
    /// file that is gone may be given to the next one.
    done: VecDeque<OpenLog>,
    current: Option<OpenLog>,
    /// Those that come after it, the oldest first.
    next: VecDeque<OpenLog>,
}

impl StateDir {
    /// What is recorded here, from the beginning.
    pub fn history(&self) -> Result<LogHistory, StateError> {
        LogHistory::of(&self.path)
    }
}

impl LogHistory {
    fn of(directory: &Path) -> Result<Self, StateError> {
        Ok(Self {
            directory: directory.to_owned(),
            done: VecDeque::new(),
            current: None,
            next: logs(directory)?,
        })
    }

    /// Whether nothing was ever recorded, as far as is known.
    pub fn is_empty(&self) -> bool {
        self.current.is_none() && self.next.is_empty()
    }

    /// Reads all whole lines that have come since the last time. A last line without an end may be one
    /// that is being written, and is left for the next time.
    pub fn read(&mut self, mut each: impl FnMut(LogPiece)) -> Result<(), StateError> {
        loop {
            if let Some(log) = &mut self.current {
                log.read(&mut each, false)?;
            }
            if !self.turn_over(&mut each)? {
                return Ok(());
            }
        }
    }

    /// Reads the same, and a last line without an end too: nobody waits for the rest of it.
    pub fn read_to_end(&mut self, mut each: impl FnMut(LogPiece)) -> Result<(), StateError> {
        self.read(&mut each)?;
        match &mut self.current {
            Some(log) => log.read(&mut each, true),
            None => Ok(()),
        }
    }

    /// Goes on to the log after the current one, if there is one: only then has the current one its
    /// last line.
    fn turn_over(&mut self, each: &mut impl FnMut(LogPiece)) -> Result<bool, StateError> {
        if self.next.is_empty() {
            let identity = Directory::at(&self.directory)
                .and_then(|directory| directory.identity(scaling_log::name(0)));
            let identity = if_there(identity)
                .map_err(|error| io_error(&scaling_log::path(&self.directory, 0), error))?;
            let Some(identity) = identity else {
                // Between the last rename of a rotation and the next line.
                return Ok(false);
            };
            if let Some(log) = &mut self.current
                && log.id == identity
            {
                return log.check_emptied().map(|()| false);
            }
            let mut next = logs(&self.directory)?;
            let mut read = self.done.iter().chain(&self.current).peekable();
            if read.peek().is_some() {
                let ids: Vec<_> = read.map(|log| log.id).collect();
                match next.iter().rposition(|log| ids.contains(&log.id)) {
                    Some(at) => drop(next.drain(..=at)),
                    // All of them were pushed out, and nobody knows what else was. Where there is
                    // room for more logs, somebody removed them.
                    None if next.len() >= KEPT as usize => each(LogPiece::Gap),
                    None => {}
                }
            }
            self.next = next;
        }
        let Some(next) = self.next.pop_front() else {
            return Ok(false);
        };
        if let Some(mut log) = self.current.replace(next) {
            log.read(each, true)?;
            self.done.push_back(log);
            if self.done.len() > KEPT as usize {
                self.done.pop_front();
            }
        }
        Ok(true)
    }
}

/// The logs that are there, the oldest first. Their names say their order only when all of them were
/// there at one instant: after a rotation meanwhile they are looked for again.
fn logs(path: &Path) -> Result<VecDeque<OpenLog>, StateError> {
    let directory = if_there(Directory::at(path)).map_err(|error| io_error(path, error))?;
    let Some(directory) = directory else {
        return Ok(VecDeque::new());
    };
    loop {
        let mut logs = VecDeque::new();
        for number in 0..=KEPT {
            let log = if_there(OpenLog::open(&directory, number));
            let log = log.map_err(|error| io_error(&scaling_log::path(path, number), error))?;
            logs.push_front(log);
        }
        // No log ever comes back to a name that it had: what is the same before and after was so
        // all the while.
        let same = (0..=KEPT).rev().zip(&logs).all(|(number, log)| {
            let there = directory.identity(scaling_log::name(number));
            log.as_ref().map(|log| log.id) == there.ok()
        });
        if same {
            return Ok(logs.into_iter().flatten().collect());
        }
    }
}

fn id(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

impl OpenLog {
    fn open(directory: &Directory, number: u32) -> io::Result<Self> {
        let file = directory.open(scaling_log::name(number), OpenMode::Read)?;
        let id = id(&file.metadata()?);
        Ok(Self {
            reader: BufReader::with_capacity(CHUNK, file),
            id,
            path: scaling_log::path(directory.path(), number),
            offset: 0,
            lines: 0,
        })
    }

    /// Reads what has come, and with `is_last` also a line without an end.
    fn read(&mut self, each: &mut impl FnMut(LogPiece), is_last: bool) -> Result<(), StateError> {
        self.read_lines(each, is_last)
            .map_err(|error| io_error(&self.path, error))
    }

    fn read_lines(&mut self, each: &mut impl FnMut(LogPiece), is_last: bool) -> io::Result<()> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let length = self.reader.read_until(b'\n', &mut line)?;
            if line.last() != Some(&b'\n') && !(is_last && length > 0) {
                if length > 0 {
                    // The writer may take it back, so it is read anew as a whole.
                    self.reader.seek(SeekFrom::Start(self.offset))?;
                }
                return Ok(());
            }
            self.offset += length as u64;
            self.lines += 1;
            let text = line.trim_ascii();
            if !text.is_empty() {
                each(HistoryEntry::read(text).map_or_else(
                    || LogPiece::Damaged {
                        file: self.path.clone(),
                        line: self.lines,
                    },
                    |entry| LogPiece::Entry(Box::new(entry)),
                ));
            }
        }
    }

    /// Begins anew where somebody has emptied the file under its name.
    fn check_emptied(&mut self) -> Result<(), StateError> {
        let begin_anew = |reader: &mut BufReader<File>| -> io::Result<bool> {
            let is_emptied = reader.get_ref().metadata()?.len() < self.offset;
            if is_emptied {
                reader.seek(SeekFrom::Start(0))?;
            }
            Ok(is_emptied)
        };
        if begin_anew(&mut self.reader).map_err(|error| io_error(&self.path, error))? {
            (self.offset, self.lines) = (0, 0);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
