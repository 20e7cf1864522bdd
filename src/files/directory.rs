//! A directory that is opened once, and files in it that are opened by their names alone.
//!
//! Others may write into some directories that hold files of this program: nginx's container into a
//! writable mount, nginx's user into its logs. They must not choose which file this program, often as
//! root, reads, truncates, replaces, or deletes. So a name has no path in it, links are never followed,
//! and type and owner are looked at before a file is used. What fails that look stays as it is, and
//! the error is a [`FileRefusal`].

use std::{
    ffi::{OsStr, OsString},
    fs::{File, Metadata, Permissions},
    io::{self, Read, Write},
    os::{
        fd::OwnedFd,
        unix::{
            ffi::OsStringExt,
            fs::{MetadataExt, PermissionsExt},
        },
    },
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{
        AtFlags, CWD, Dir, FileType, Mode, OFlags, linkat, mkdirat, openat, renameat, statat,
        unlinkat,
    },
    process::geteuid,
};

use super::{
    PRIVATE,
    refusal::{EntryType, FileRefusal},
};

/// How every file is opened: no terminal becomes ours, no child inherits it, no FIFO makes us wait.
const ALWAYS: OFlags = OFlags::CLOEXEC
    .union(OFlags::NOCTTY)
    .union(OFlags::NONBLOCK);
/// How every file of ours is opened.
const OURS: OFlags = ALWAYS.union(OFlags::NOFOLLOW);

/// Bytes of a file of the user's own. Far from what anyone writes.
const LARGEST_CONTENT: u64 = 16 << 20;

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// To read it.
    Read,
    /// To read a file that another program writes as a user of its own.
    ReadOthers,
    /// To lock it, and to write who holds the lock once it is held. Made where it is missing.
    Lock,
    /// To read it and to add to its end. Made where it is missing.
    Append,
}

/// An open directory. The path is for people and for the system calls that take no handle.
#[derive(Debug)]
pub struct Directory {
    handle: File,
    path: PathBuf,
    /// Users whose files are used: root, the user of this process, and the owner of the outermost
    /// directory, who could put any file there anyway.
    trusted: [u32; 3],
}

impl Directory {
    /// Opens a directory that the user has named. Links on the way are the user's, and are followed
    /// this once.
    pub fn at(path: &Path) -> io::Result<Self> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = File::from(openat(CWD, path, flags, Mode::empty())?);
        let owner = handle.metadata()?.uid();
        Ok(Self {
            handle,
            path: path.to_owned(),
            trusted: [0, geteuid().as_raw(), owner],
        })
    }

    /// Opens the directory that a file is in; with the file's name.
    pub fn of(file: &Path) -> io::Result<(Self, &OsStr)> {
        let name = file.file_name().ok_or_else(|| {
            io::Error::from(FileRefusal::Name {
                name: file.as_os_str().to_owned(),
            })
        })?;
        Ok((Self::at(file.parent().unwrap_or(Path::new("")))?, name))
    }

    /// Opens a directory of ours in this one, never through a link.
    pub fn inner(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        let name = checked(name.as_ref())?;
        self.kind(name)?.is_directory()?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let handle = File::from(openat(&self.handle, name, flags, Mode::empty())?);
        self.check_owner(&handle.metadata()?)?;
        Ok(Self {
            handle,
            path: self.path.join(name),
            trusted: self.trusted,
        })
    }

    /// The same, and makes it where it is missing. It has this mode afterwards.
    pub fn make_inner(&self, name: &str, mode: u32) -> io::Result<Self> {
        match mkdirat(&self.handle, checked(name)?, Mode::from_raw_mode(mode)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let inner = self.inner(name)?;
        if inner.metadata()?.mode() & 0o7777 != mode {
            inner.handle.set_permissions(Permissions::from_mode(mode))?;
        }
        Ok(inner)
    }

    /// The same directory, with files of these users.
    #[cfg(test)]
    pub(super) fn trusting(mut self, users: [u32; 3]) -> Self {
        self.trusted = users;
        self
    }

    /// Whose files are used.
    #[cfg(test)]
    pub(super) fn users(&self) -> [u32; 3] {
        self.trusted
    }

    /// Where it was when it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Of the directory itself.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.handle.metadata()
    }

    /// Device and inode of what has this name, whatever it is.
    pub fn identity(&self, name: impl AsRef<OsStr>) -> io::Result<(u64, u64)> {
        let there = statat(
            &self.handle,
            checked(name.as_ref())?,
            AtFlags::SYMLINK_NOFOLLOW,
        )?;
        Ok((there.st_dev, there.st_ino))
    }

    /// The same of a regular file; anything else is a [`FileRefusal`].
    pub fn file_identity(&self, name: impl AsRef<OsStr>) -> io::Result<(u64, u64)> {
        let there = statat(
            &self.handle,
            checked(name.as_ref())?,
            AtFlags::SYMLINK_NOFOLLOW,
        )?;
        EntryType(FileType::from_raw_mode(there.st_mode)).is_file()?;
        Ok((there.st_dev, there.st_ino))
    }

    /// Whether there is anything of that name, a link that leads nowhere included.
    pub fn has(&self, name: &str) -> bool {
        self.identity(name).is_ok()
    }

    /// The names in it that are text.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.handle)? {
            let name = OsString::from_vec(entry?.file_name().to_bytes().to_vec());
            names.extend(name.into_string().ok().filter(|n| n != "." && n != ".."));
        }
        Ok(names)
    }

    /// Opens a regular file of ours.
    pub fn open(&self, name: impl AsRef<OsStr>, access: OpenMode) -> io::Result<File> {
        let name = checked(name.as_ref())?;
        // A device or a FIFO can notice that it is opened, so the type is looked at first.
        match self.kind(name) {
            Ok(kind) => kind.is_file()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let how = match access {
            OpenMode::Read | OpenMode::ReadOthers => OFlags::RDONLY,
            OpenMode::Lock => OFlags::RDWR | OFlags::CREATE,
            OpenMode::Append => OFlags::RDWR | OFlags::CREATE | OFlags::APPEND,
        };
        let mode = Mode::from_raw_mode(PRIVATE);
        let file = File::from(openat(&self.handle, name, how | OURS, mode)?);
        // What is open now may be another file than the one that was looked at.
        let there = file.metadata()?;
        EntryType(FileType::from_raw_mode(there.mode())).is_file()?;
        if access != OpenMode::ReadOthers {
            self.check_owner(&there)?;
        }
        if matches!(access, OpenMode::Lock | OpenMode::Append) && there.nlink() > 1 {
            return Err(FileRefusal::HardLink.into());
        }
        Ok(file)
    }

    /// The bytes of a file of ours, which may not be longer than this.
    pub fn read(&self, name: impl AsRef<OsStr>, limit: u64) -> io::Result<Vec<u8>> {
        read_within(self.open(name, OpenMode::Read)?, limit)
    }

    /// Puts `bytes` into a file of ours in one step, as [`replace`](super::replace) does.
    pub fn replace(&self, name: impl AsRef<OsStr>, bytes: &[u8], mode: u32) -> io::Result<bool> {
        self.replace_if(checked(name.as_ref())?, bytes, mode, true, || true)
    }

    pub(super) fn replace_if(
        &self,
        name: &OsStr,
        bytes: &[u8],
        mode: u32,
        is_ours: bool,
        go_on: impl FnOnce() -> bool,
    ) -> io::Result<bool> {
        let access = if is_ours {
            OpenMode::Read
        } else {
            OpenMode::ReadOthers
        };
        match self.open(name, access) {
            Ok(file) => {
                let there = file.metadata()?;
                let is_same = there.len() == bytes.len() as u64
                    && read_within(&file, there.len()).is_ok_and(|old| old == bytes);
                if is_same {
                    // The text may have been copied with a mode of its own.
                    if mode == PRIVATE && there.mode() & 0o077 != 0 {
                        file.set_permissions(Permissions::from_mode(PRIVATE))?;
                    }
                    return Ok(false);
                }
            }
            // A file that cannot be read can be replaced all the same.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
                ) => {}
            Err(error) => return Err(error),
        }
        let beside = beside(name);
        let written = self.write_beside(&beside, bytes, mode).and_then(|()| {
            if go_on() {
                renameat(&self.handle, &beside, &self.handle, name)?;
                Ok(true)
            } else {
                unlinkat(&self.handle, &beside, AtFlags::empty())?;
                Ok(false)
            }
        });
        let changed = written.inspect_err(|_| {
            // The error that matters is the first; a leftover is replaced by the next attempt.
            let _ = unlinkat(&self.handle, &beside, AtFlags::empty());
        })?;
        self.sync()?;
        Ok(changed)
    }

    fn write_beside(&self, beside: &OsStr, bytes: &[u8], mode: u32) -> io::Result<()> {
        // A leftover of a crash is in the way of `EXCL`, which is wanted because it never writes
        // through a link that someone else put there.
        match unlinkat(&self.handle, beside, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => {
                let why = format!(
                    "{} is in the way: {error}",
                    self.path.join(beside).display()
                );
                return Err(io::Error::new(io::Error::from(error).kind(), why));
            }
        }
        let how = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OURS;
        let created: OwnedFd = openat(&self.handle, beside, how, Mode::from_raw_mode(mode))?;
        let mut file = File::from(created);
        // The umask may have taken away what the workers need.
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    /// Gives a file another name in this directory, in place of a regular file of ours that has it.
    pub fn rename(&self, from: impl AsRef<OsStr>, to: impl AsRef<OsStr>) -> io::Result<()> {
        let (from, to) = (checked(from.as_ref())?, checked(to.as_ref())?);
        match self.kind(to) {
            Ok(kind) => kind.is_file()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        self.kind(from)?.is_file()?;
        Ok(renameat(&self.handle, from, &self.handle, to)?)
    }

    /// The same where no file has that name; one that has it stays, and that is an error.
    pub fn rename_back(&self, from: impl AsRef<OsStr>, to: impl AsRef<OsStr>) -> io::Result<()> {
        let (from, to) = (checked(from.as_ref())?, checked(to.as_ref())?);
        self.kind(from)?.is_file()?;
        linkat(&self.handle, from, &self.handle, to, AtFlags::empty())?;
        Ok(unlinkat(&self.handle, from, AtFlags::empty())?)
    }

    /// Removes a regular file for good. Returns whether it was there.
    pub fn remove(&self, name: impl AsRef<OsStr>) -> io::Result<bool> {
        let name = checked(name.as_ref())?;
        match self.kind(name) {
            Ok(kind) => kind.is_file()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        }
        match unlinkat(&self.handle, name, AtFlags::empty()) {
            Ok(()) => self.sync().map(|()| true),
            Err(rustix::io::Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes what a write of this file left beside it when it was broken off.
    pub fn remove_leftover(&self, name: impl AsRef<OsStr>) -> io::Result<bool> {
        match unlinkat(
            &self.handle,
            beside(checked(name.as_ref())?),
            AtFlags::empty(),
        ) {
            Ok(()) => self.sync().map(|()| true),
            Err(rustix::io::Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes the names in it last.
    pub fn sync(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    fn kind(&self, name: &OsStr) -> io::Result<EntryType> {
        let there = statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(EntryType(FileType::from_raw_mode(there.st_mode)))
    }

    fn check_owner(&self, there: &Metadata) -> io::Result<()> {
        let owner = there.uid();
        if self.trusted.contains(&owner) {
            return Ok(());
        }
        let user = geteuid().as_raw();
        Err(FileRefusal::Owner { owner, user }.into())
    }
}

/// A name that leads to this directory and nowhere else.
fn checked<N: AsRef<OsStr> + ?Sized>(name: &N) -> io::Result<&OsStr> {
    let name = name.as_ref();
    let mut parts = Path::new(name).components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(part)), None) if part == name => Ok(name),
        _ => Err(FileRefusal::Name {
            name: name.to_owned(),
        }
        .into()),
    }
}

fn beside(name: &OsStr) -> OsString {
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(".tmp");
    hidden
}

/// Reads a file of the user's own, by a path that may lead through links: never a FIFO, which nobody
/// may ever write to, and never without end.
pub fn read_content(path: &Path) -> io::Result<Vec<u8>> {
    // Opened without waiting, a FIFO would be read as empty.
    EntryType(FileType::from_raw_mode(std::fs::metadata(path)?.mode())).is_named_file()?;
    let file = File::from(openat(CWD, path, OFlags::RDONLY | ALWAYS, Mode::empty())?);
    EntryType(FileType::from_raw_mode(file.metadata()?.mode())).is_named_file()?;
    read_within(file, LARGEST_CONTENT)
}

/// The same as text.
pub fn read_content_text(path: &Path) -> io::Result<String> {
    String::from_utf8(read_content(path)?)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()))
}

/// Opens a file of the user's own to add to its end, by a path that may lead through links. It is
/// made where it is missing, for its owner alone.
pub fn append_content(path: &Path) -> io::Result<File> {
    match std::fs::metadata(path) {
        Ok(there) => EntryType(FileType::from_raw_mode(there.mode())).is_named_file()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let how = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | ALWAYS;
    let file = File::from(openat(CWD, path, how, Mode::from_raw_mode(PRIVATE))?);
    EntryType(FileType::from_raw_mode(file.metadata()?.mode())).is_named_file()?;
    Ok(file)
}

fn read_within(file: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(FileRefusal::TooLarge { limit }.into());
    }
    Ok(bytes)
}
