//! What can be wrong with a compose file, each mistake with its place.

use std::{fmt, io, path::PathBuf};

use super::tree::{KeyPath, SourceLocation, Sources};

/// One mistake in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file as it is shown; empty when the mistake is in no file.
    pub file: String,
    /// Counted from 1; 0 when it is not known.
    pub line: usize,
    /// Keys from the root of the file, like `services.web.ports[0]`; may be empty.
    pub path: String,
    /// What was found and what is allowed, as a fragment.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.is_empty() {
            f.write_str(&self.file)?;
            if self.line > 0 {
                write!(f, ":{}", self.line)?;
            }
            f.write_str(": ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// Why a project could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// No compose file was named and none was found.
    #[error(
        "no compose file found: looked for {} in {} and its parent directories",
        names.join(", "),
        directory.display()
    )]
    NotFound {
        /// The names that were looked for.
        names: Vec<&'static str>,
        /// Where the search began.
        directory: PathBuf,
    },
    /// A file that was asked for cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A value from the command line or the environment is wrong.
    #[error("{0}")]
    Setting(String),
    /// The files have mistakes: all that were found, in the order of files and lines.
    #[error("{}", lines(.0))]
    Mistakes(Vec<Mistake>),
}

impl LoadError {
    /// Whether it is the plain case of a directory without a compose file.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// The mistakes, when the files were read.
    pub fn mistakes(&self) -> &[Mistake] {
        match self {
            Self::Mistakes(mistakes) => mistakes,
            Self::NotFound { .. } | Self::Unreadable { .. } | Self::Setting(_) => &[],
        }
    }
}

impl Sources {
    /// What is said of a place.
    pub(crate) fn mistake(&self, at: SourceLocation, path: String, message: String) -> Mistake {
        Mistake {
            file: self.shown(at).to_owned(),
            line: at.line,
            path,
            message,
        }
    }
}

fn lines(mistakes: &[Mistake]) -> String {
    let lines: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// A key that is not in the specification, or that looks like one of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnknownKey {
    /// Where it is written.
    pub(crate) at: SourceLocation,
    /// The keys that lead to it, its own included.
    pub(crate) path: KeyPath,
    /// What it may be instead, as a fragment.
    pub(crate) message: String,
}

/// Nobody reads more mistakes at once.
const MOST: usize = 200;

/// Collects mistakes while reading goes on, so that all are reported at once.
#[derive(Debug, Default)]
pub(crate) struct Mistakes(Vec<(SourceLocation, String, String)>);

impl Mistakes {
    /// Notes a mistake at a place. The same one twice (a value that several services share) is noted
    /// once, and so is what follows from one that is known: a second mistake on the way to it or
    /// below it, in the same line.
    pub(crate) fn add(&mut self, at: SourceLocation, path: &KeyPath, message: impl Into<String>) {
        if self.0.len() >= MOST {
            return;
        }
        let (path, message) = (path.to_string(), message.into());
        let known = |(spot, other, said): &(SourceLocation, String, String)| {
            *spot == at
                && at.line > 0
                && (*said == message || leads_to(other, &path) || leads_to(&path, other))
        };
        if !self.0.iter().any(known) {
            self.0.push((at, path, message));
        }
    }

    /// Adds the keys that nobody knows, where something else is wrong: one of them may be why.
    pub(crate) fn explain(&mut self, unknown: Vec<UnknownKey>) {
        for key in unknown {
            self.add(key.at, &key.path, key.message);
        }
    }

    /// Adds those of another collection.
    pub(crate) fn append(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Whether there is none so far.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, in the order of files and lines.
    pub(crate) fn finish(mut self, sources: &Sources) -> LoadError {
        self.0.sort_by_key(|(at, ..)| *at);
        let mistakes = self.0.into_iter();
        let mistakes = mistakes.map(|(at, path, message)| sources.mistake(at, path, message));
        LoadError::Mistakes(mistakes.collect())
    }
}

/// Whether one path is another one or on the way to it.
fn leads_to(path: &str, below: &str) -> bool {
    below
        .strip_prefix(path)
        .is_some_and(|rest| rest.is_empty() || path.is_empty() || rest.starts_with(['.', '[']))
}
