//! A command on this host, and what a command printed anywhere.

use std::{
    future::Future,
    io,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    pin::pin,
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    time::timeout,
};

use super::{SourceError, excerpt, in_words, parse_number};
use crate::{policy::CommandSource, processes::Group};

/// What a command may print at most.
pub const OUTPUT: usize = 64 * 1024;
/// What a command leaves in the background may print for so long after its end.
const AFTERWARDS: Duration = Duration::from_millis(100);
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
pub fn judge(command: &CommandSource, printed: &Printed) -> Result<f64, SourceError> {
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
        Some(pointer) => parse_number::at_pointer(&printed.stdout, pointer),
        None => parse_number::plain(&printed.stdout),
    }?;
    super::plausible(value)
}

/// Runs a command on this host, without a shell. All that it has started ends with it, or with the deadline.
pub(super) async fn run(command: &CommandSource, directory: &Path) -> Result<Printed, SourceError> {
    let mut group = start(&command.argv, directory, |_| {})?;
    let (_, Some(stdout), Some(stderr)) = group.streams() else {
        return Err(SourceError::Broken {
            why: "its output cannot be read".into(),
        });
    };
    let (mut printed, mut complained) = (Vec::new(), Vec::new());
    let read = async {
        tokio::try_join!(
            whole(stdout, &mut printed),
            beginning(stderr, &mut complained)
        )
        .map(drop)
    };
    let after = command.timeout;
    let ended = timeout(after.0, finish(&mut group, read)).await;
    let unknown = |error: io::Error| SourceError::Broken {
        why: format!("its end cannot be waited for: {error}"),
    };
    let ended = match ended {
        Ok(ended) => ended,
        Err(_) => Ok(Err(SourceError::TimedOut { after })),
    };
    let status = group.end().await.map_err(unknown)?;
    ended.map_err(unknown)??;
    if let Some(signal) = status.signal() {
        return Err(SourceError::Signal { signal });
    }
    let code = status.code().unwrap_or(-1).into();
    let stdout = match String::from_utf8(printed) {
        Ok(text) => text,
        // A failure has its code and its errors to tell.
        Err(_) if code != 0 => String::new(),
        Err(_) => return Err(SourceError::NoText { what: "the output" }),
    };
    Ok(Printed {
        code,
        stdout,
        stderr: String::from_utf8_lossy(&complained).into_owned(),
    })
}

/// Starts a command on this host, without a shell. All that it starts ends with the value. Its standard
/// input is empty unless `more` says otherwise.
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
        .stderr(Stdio::piped());
    more(&mut command);
    Group::spawn(&mut command).map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound && directory.is_dir() {
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

/// Waits for a command to end by itself while `talk` reads its output. What it leaves in the background may
/// have its pipes too, and never close them: that is read for a moment only.
pub async fn finish<E>(
    group: &mut Group,
    talk: impl Future<Output = Result<(), E>>,
) -> io::Result<Result<(), E>> {
    let mut talk = pin!(talk);
    tokio::select! {
        ended = group.has_ended() => {
            ended?;
            Ok(timeout(AFTERWARDS, talk).await.unwrap_or(Ok(())))
        }
        read = talk.as_mut() => {
            if read.is_ok() {
                group.has_ended().await?;
            }
            Ok(read)
        }
    }
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

/// All that comes, unless it is too much.
async fn whole(stream: impl AsyncRead + Unpin, kept: &mut Vec<u8>) -> Result<(), SourceError> {
    let most = OUTPUT as u64 + 1;
    let _ = stream.take(most).read_to_end(kept).await;
    if kept.len() > OUTPUT {
        return Err(TOO_LONG);
    }
    Ok(())
}

/// The beginning of what comes. The rest is read too, so that the command is not held up.
async fn beginning(
    mut stream: impl AsyncRead + Unpin,
    kept: &mut Vec<u8>,
) -> Result<(), SourceError> {
    let most = OUTPUT as u64;
    let _ = (&mut stream).take(most).read_to_end(kept).await;
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    Ok(())
}
