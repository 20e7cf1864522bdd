//! How the tests reach a real nginx.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use compose_scale::{
    engine::{Engine, EngineError, Exec, docker::Docker},
    project::ContainerId,
    proxy::nginx::{Control, ControlError, Output, Process},
};
use tokio::{process::Command, time::timeout};

const DEADLINE: Duration = Duration::from_secs(20);

/// How that nginx is reached: through the Engine, or as processes of this host.
#[derive(Debug, Clone)]
pub(crate) enum Reach {
    Engine {
        engine: Arc<Docker>,
        id: ContainerId,
    },
    Host {
        program: PathBuf,
        root: PathBuf,
        pid: PathBuf,
    },
}

fn failed(error: EngineError) -> ControlError {
    match error {
        EngineError::Gone { .. } | EngineError::Conflict { .. } => ControlError::NotRunning,
        error => ControlError::Failed {
            why: error.to_string(),
        },
    }
}

impl Control for Reach {
    async fn identity(&self) -> Result<String, ControlError> {
        match self {
            Self::Engine { engine, id } => {
                let container = engine.inspect(&id.0).await.map_err(failed)?;
                Ok(format!("{:?} {:?}", container.id, container.started))
            }
            Self::Host { pid, .. } => fs::read_to_string(pid).map_err(|_| ControlError::NotRunning),
        }
    }

    async fn run(&self, argv: &[String]) -> Result<Output, ControlError> {
        match self {
            Self::Engine { engine, id } => {
                let exec = Exec {
                    argv: argv.to_vec(),
                    ..Exec::default()
                };
                let output = engine.exec(id, &exec).await.map_err(failed)?;
                Ok(Output {
                    code: output.code,
                    stdout: output.stdout,
                    stderr: output.stderr,
                })
            }
            Self::Host { program, root, .. } => {
                let words: Vec<&str> = argv.iter().map(String::as_str).collect();
                let root = root.to_str().unwrap();
                let conf = format!("{root}/nginx.conf");
                let place = ["-e", "stderr", "-p", root, "-c", &conf];
                Ok(output(program, &[&place, &words[1..]].concat()).await)
            }
        }
    }

    async fn hup(&self) -> Result<(), ControlError> {
        match self {
            Self::Engine { engine, id } => engine.signal(id, "HUP").await.map_err(failed),
            Self::Host { pid, .. } => {
                let pid = fs::read_to_string(pid).unwrap();
                let output = output(Path::new("kill"), &["-HUP", pid.trim()]).await;
                assert_eq!(output.code, 0, "{}", output.stderr);
                Ok(())
            }
        }
    }

    async fn processes(&self) -> Result<Vec<Process>, ControlError> {
        match self {
            Self::Engine { engine, id } => {
                let rows = engine.processes(id).await.map_err(failed)?.into_iter();
                Ok(rows
                    .map(|row| Process {
                        pid: row.pid,
                        ppid: row.ppid,
                        args: row.args,
                    })
                    .collect())
            }
            Self::Host { pid, .. } => {
                let pid = fs::read_to_string(pid).map_err(|_| ControlError::NotRunning)?;
                let family = [
                    "-o",
                    "pid,ppid,args",
                    "--pid",
                    pid.trim(),
                    "--ppid",
                    pid.trim(),
                ];
                let table = output(Path::new("ps"), &family).await.stdout;
                Ok(table.lines().filter_map(row).collect())
            }
        }
    }
}

fn row(line: &str) -> Option<Process> {
    let (pid, rest) = line.trim().split_once(' ')?;
    let (parent, args) = rest.trim().split_once(' ')?;
    Some(Process {
        pid: pid.parse().ok()?,
        ppid: parent.parse().ok()?,
        args: args.trim().to_owned(),
    })
}

pub(crate) async fn docker(args: &[&str]) -> Output {
    output(Path::new("docker"), args).await
}

async fn output(program: &Path, args: &[&str]) -> Output {
    let running = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(DEADLINE, running).await.expect("it ends").unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Output {
        code: output.status.code().map_or(-1, i64::from),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}
