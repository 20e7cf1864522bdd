//! Commands of the user's own on this host.

use std::{path::Path, process::Stdio, time::Duration};

use tokio::{process::Command, time::timeout};

use super::{ControlError, Output};
use crate::processes::Group;

/// The longest run; what takes longer is killed.
const DEADLINE: Duration = Duration::from_secs(30);

/// Runs a command as a list of arguments, never by a shell.
pub(super) async fn run(argv: &[String], working_dir: &Path) -> Result<Output, ControlError> {
    let failed = |why: String| ControlError::Failed { why };
    let (program, arguments) = argv
        .split_first()
        .ok_or_else(|| failed("the command is empty".into()))?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(working_dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let running = async { Group::spawn(&mut command)?.output().await };
    let output = timeout(DEADLINE, running)
        .await
        .map_err(|_| ControlError::Timeout(DEADLINE))?
        .map_err(|error| failed(format!("{program} cannot be run: {error}")))?;
    Ok(Output {
        code: output.status.code().map_or(-1, i64::from),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
