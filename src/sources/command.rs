//! A command on this host, and what a command printed anywhere.

use std::{
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, ChildStderr, ChildStdin, ChildStdout},
    signal::unix::{SignalKind, signal},
    time::timeout,
};

use super::{SourceError, excerpt, in_words, number};
use crate::policy::Command;

/// What a command may print at most.
pub const OUTPUT: usize = 64 * 1024;
const TOO_LONG: SourceError = SourceError::TooLong {
    what: "the output",
    most: "64 KiB",
};

/// What a command printed and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Printed {
    /// Its exit code.
    pub code: i64,
    /// Standard output, of which a byte more than [`OUTPUT`] is enough.
    pub stdout: String,
    /// The beginning of standard error.
    pub stderr: String,
}

/// The number that a command printed.
pub fn judge(command: &Command, printed: &Printed) -> Result<f64, SourceError> {
    let program = || command.argv.first().cloned().unwrap_or_default();
    if printed.code != 0 {
        let lines = [&printed.stderr, &printed.stdout];
        let said = lines.into_iter().map(|text| excerpt(text));
        let said = said.into_iter().find(|line| !line.is_empty());
        let said = said.unwrap_or_default();
        // What the Engine's runtime says when there is no such program.
        let missing = matches!(printed.code, 126 | 127)
            && said.contains("exec failed")
            && (said.contains("not found") || said.contains("no such file"));
        if missing {
            return Err(SourceError::NotFound {
                program: program(),
                inside: command.service.clone(),
            });
        }
        return Err(SourceError::Exit {
            code: printed.code,
            said,
        });
    }
    if printed.stdout.len() > OUTPUT {
        return Err(TOO_LONG);
    }
    let value = match &command.pointer {
        Some(pointer) => number::at_pointer(&printed.stdout, pointer),
        None => number::plain(&printed.stdout),
    }?;
    super::plausible(value)
}

/// Runs a command on this host, without a shell, in a process group of its own that ends with the
/// deadline.
pub(super) async fn run(command: &Command, directory: &Path) -> Result<Printed, SourceError> {
    let mut group = start(&command.argv, directory, |_| {})?;
    let (Some(stdout), Some(stderr)) = (group.0.stdout.take(), group.0.stderr.take()) else {
        return Err(SourceError::Broken {
            why: "its output cannot be read".into(),
        });
    };
    let work = async {
        let (stdout, stderr) = tokio::try_join!(whole(stdout), beginning(stderr))?;
        let status = group.0.wait().await.map_err(|error| SourceError::Broken {
            why: format!("its end cannot be waited for: {error}"),
        })?;
        if let Some(signal) = status.signal() {
            return Err(SourceError::Signal { signal });
        }
        let code = status.code().unwrap_or(-1).into();
        let stdout = match String::from_utf8(stdout) {
            Ok(text) => text,
            // A failure has its code and its errors to tell.
            Err(_) if code != 0 => String::new(),
            Err(_) => return Err(SourceError::NoText { what: "the output" }),
        };
        Ok(Printed {
            code,
            stdout,
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        })
    };
    let after = command.timeout;
    match timeout(after.0, work).await {
        Ok(printed) => printed,
        Err(_) => Err(SourceError::TimedOut { after }),
    }
}

/// Starts a command on this host, without a shell, in a process group of its own that ends with the
/// value. What it reads is empty unless `more` says otherwise.
pub fn start(
    argv: &[String],
    directory: &Path,
    more: impl FnOnce(&mut tokio::process::Command),
) -> Result<Group, SourceError> {
    let program = argv.first().cloned().unwrap_or_default();
    let mut command = tokio::process::Command::new(path_of(&program, directory));
    command
        .args(argv.iter().skip(1))
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    more(&mut command);
    command.spawn().map(Group).map_err(|error| {
        if error.kind() == std::io::ErrorKind::NotFound && directory.is_dir() {
            SourceError::NotFound {
                program,
                inside: None,
            }
        } else {
            let why = in_words(&error);
            SourceError::NotRun { program, why }
        }
    })
}

/// Where a program is: a path is one of the project's directory, as in a compose file; a name is
/// looked up by the system.
pub fn path_of(program: &str, directory: &Path) -> PathBuf {
    if program.contains('/') {
        directory.join(program)
    } else {
        program.into()
    }
}

/// What comes, unless it is too much: whoever goes on writing is ended.
async fn whole(stream: impl AsyncRead + Unpin) -> Result<Vec<u8>, SourceError> {
    let mut kept = Vec::new();
    let most = OUTPUT as u64 + 1;
    let _ = stream.take(most).read_to_end(&mut kept).await;
    if kept.len() > OUTPUT {
        return Err(TOO_LONG);
    }
    Ok(kept)
}

/// The beginning of what comes. The rest is taken too, so that it holds nobody up.
async fn beginning(mut stream: impl AsyncRead + Unpin) -> Result<Vec<u8>, SourceError> {
    let mut kept = Vec::new();
    let most = OUTPUT as u64;
    let _ = (&mut stream).take(most).read_to_end(&mut kept).await;
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    Ok(kept)
}

/// A process and its descendants, which end with the value unless the process has ended by itself.
#[derive(Debug)]
pub struct Group(Child);

impl Group {
    /// Its standard input, output and errors, where they are piped and not taken yet.
    pub fn streams(&mut self) -> (Option<ChildStdin>, Option<ChildStdout>, Option<ChildStderr>) {
        (
            self.0.stdin.take(),
            self.0.stdout.take(),
            self.0.stderr.take(),
        )
    }

    /// Waits for the process to end by itself, and leaves its number its own: until the group is ended
    /// nobody else has it.
    pub async fn has_ended(&self) -> std::io::Result<()> {
        let mut children = signal(SignalKind::child())?;
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        while let Some(pid) = self.number()
            && waitid(WaitId::Pid(pid), look)?.is_none()
        {
            children.recv().await;
        }
        Ok(())
    }

    /// Ends what is left of it. Returns how the process ended.
    pub async fn end(&mut self) -> std::io::Result<ExitStatus> {
        self.kill();
        self.0.wait().await
    }

    fn kill(&self) {
        if let Some(group) = self.number() {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// Its number until it is waited for: then it may be somebody else's.
    fn number(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.0.id()?).ok()?)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}
