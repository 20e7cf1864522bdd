//! Commands of the user's own on this host.

use std::{io, path::Path, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
    time::timeout,
};

use super::{CommandOutput, ControlError};
use crate::processes::Group;

/// The longest run; what takes longer is killed.
const DEADLINE: Duration = Duration::from_secs(30);

/// What is kept of its standard output and error, from the end: that says what went wrong.
const OUTPUT: usize = 64 * 1024;

/// Runs a command as a list of arguments, never by a shell.
pub(super) async fn run(
    argv: &[String],
    working_dir: &Path,
) -> Result<CommandOutput, ControlError> {
    let mut kept = Vec::new();
    let mut keep = |piece: &[u8]| keep_end(&mut kept, piece, OUTPUT);
    let mut output = run_streamed(argv, working_dir, &mut keep).await?;
    output.stdout = String::from_utf8_lossy(&kept).into_owned();
    Ok(output)
}

/// The same, but hands over its standard output piece by piece as it comes.
pub(super) async fn run_streamed(
    argv: &[String],
    working_dir: &Path,
    stdout: &mut (dyn FnMut(&[u8]) + Send),
) -> Result<CommandOutput, ControlError> {
    let failed = |why: String| ControlError::Failed { why };
    let (program, arguments) = argv
        .split_first()
        .ok_or_else(|| failed("the command is empty".into()))?;
    let cannot = |error: io::Error| failed(format!("{program} cannot be run: {error}"));
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(working_dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut group = Group::spawn(&mut command).map_err(cannot)?;
    let (_, out, err) = group.streams();
    let mut said = Vec::new();
    let mut keep = |piece: &[u8]| keep_end(&mut said, piece, OUTPUT);
    let running = async {
        tokio::try_join!(pieces(out, stdout), pieces(err, &mut keep))?;
        group.wait().await
    };
    let status = timeout(DEADLINE, running)
        .await
        .map_err(|_| ControlError::Timeout(DEADLINE))?
        .map_err(cannot)?;
    Ok(CommandOutput {
        code: status.code().map_or(-1, i64::from),
        stdout: String::new(),
        stderr: String::from_utf8_lossy(&said).into_owned(),
    })
}

async fn pieces(
    from: Option<impl AsyncRead + Unpin>,
    to: &mut (dyn FnMut(&[u8]) + Send),
) -> io::Result<()> {
    let Some(mut from) = from else {
        return Ok(());
    };
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer).await? {
            0 => return Ok(()),
            read => to(&buffer[..read]),
        }
    }
}

fn keep_end(kept: &mut Vec<u8>, piece: &[u8], most: usize) {
    kept.extend_from_slice(piece);
    if kept.len() > 2 * most {
        kept.drain(..kept.len() - most);
    }
}
