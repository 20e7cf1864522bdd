//! Files and directories that are not used.

use std::{ffi::OsString, io};

use rustix::fs::FileType;

/// Why a file or directory is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileRefusal {
    /// Something else than a regular file.
    #[error("it is {found} instead of a regular file, and was left alone; move it away")]
    NotAFile {
        /// With its article.
        found: &'static str,
    },
    /// Something else than a regular file, which the user has named.
    #[error("it is {found} instead of a regular file")]
    NamedNoFile {
        /// With its article.
        found: &'static str,
    },
    /// Something else than a directory.
    #[error("it is {found} instead of a directory, and was left alone; move it away")]
    NotADirectory {
        /// With its article.
        found: &'static str,
    },
    /// The file belongs to a user who has no say here.
    #[error(
        "it belongs to uid {owner}, not to uid {user} who runs this, to root, or to the owner of its \
         directory, and was left alone; move it away, or give it to one of them with `chown`"
    )]
    Owner {
        /// Whose it is.
        owner: u32,
        /// Who asks.
        user: u32,
    },
    /// The file has another name somewhere, and a write would change that one too.
    #[error("it is a hard link to another file, and was left alone; move it away")]
    HardLink,
    /// The file is longer than any that this program writes.
    #[error("it is larger than {} KiB, and was left alone; move it away", limit / 1024)]
    TooLarge {
        /// Bytes.
        limit: u64,
    },
    /// The name has a path in it, or is none.
    #[error("{name:?} is not the name of a file")]
    Name {
        /// What was asked for.
        name: OsString,
    },
}

impl FileRefusal {
    /// Whether an error is one.
    pub fn is(error: &io::Error) -> bool {
        error
            .get_ref()
            .is_some_and(|inner| inner.downcast_ref::<Self>().is_some())
    }
}

impl From<FileRefusal> for io::Error {
    fn from(refusal: FileRefusal) -> Self {
        Self::other(refusal)
    }
}

/// What something is.
pub(super) struct EntryType(pub(super) FileType);

impl EntryType {
    pub(super) fn is_file(&self) -> io::Result<()> {
        match self.0 {
            FileType::RegularFile => Ok(()),
            other => Err(FileRefusal::NotAFile {
                found: in_words(other),
            }
            .into()),
        }
    }

    /// The same for a file that the user has named, and knows better what to do about.
    pub(super) fn is_named_file(&self) -> io::Result<()> {
        self.is_file().map_err(|_| {
            let found = in_words(self.0);
            FileRefusal::NamedNoFile { found }.into()
        })
    }

    pub(super) fn is_directory(&self) -> io::Result<()> {
        match self.0 {
            FileType::Directory => Ok(()),
            other => Err(FileRefusal::NotADirectory {
                found: in_words(other),
            }
            .into()),
        }
    }
}

fn in_words(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a regular file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Unknown => "something unknown",
    }
}
