//! How the tests reach a real nginx.

use std::{path::Path, process::Stdio, sync::Arc, time::Duration};

use compose_scale::{
    engine::{Engine, EngineError, Exec, docker::Docker},
    project::ContainerId,
    proxy::nginx::{CommandOutput, Control, ControlError, HostNginx, NginxProcess},
};
use tokio::{process::Command, time::timeout};

const DEADLINE: Duration = Duration::from_secs(20);

/// How that nginx is reached: through the Engine, or as the program does it on its host.
#[derive(Debug, Clone)]
pub(crate) enum Reach {
    Engine {
        engine: Arc<Docker>,
        id: ContainerId,
    },
    Host(HostNginx),
}

fn failed(error: EngineError) -> ControlError {
    match error {
        EngineError::NotFound { .. } | EngineError::Conflict { .. } => ControlError::NotRunning,
        error => ControlError::Failed {
            why: error.to_string(),
        },
    }
}

impl Control for Reach {
    fn name(&self) -> String {
        match self {
            Self::Engine { id, .. } => id.0.clone(),
            Self::Host(host) => host.name(),
        }
    }

    async fn identity(&self) -> Result<String, ControlError> {
        match self {
            Self::Engine { engine, id } => {
                let container = engine.inspect(&id.0).await.map_err(failed)?;
                Ok(format!("{:?} {:?}", container.id, container.started))
            }
            Self::Host(host) => host.identity().await,
        }
    }

    async fn run(&self, argv: &[String]) -> Result<CommandOutput, ControlError> {
        match self {
            Self::Engine { engine, id } => {
                let exec = Exec {
                    argv: argv.to_vec(),
                    ..Exec::default()
                };
                let output = engine.exec(id, &exec).await.map_err(failed)?;
                Ok(CommandOutput {
                    code: output.code,
                    stdout: output.stdout,
                    stderr: output.stderr,
                })
            }
            Self::Host(host) => host.run(argv).await,
        }
    }

    async fn run_streamed(
        &self,
        argv: &[String],
        stdout: &mut (dyn FnMut(&[u8]) + Send),
    ) -> Result<CommandOutput, ControlError> {
        match self {
            Self::Engine { engine, id } => {
                let exec = Exec {
                    argv: argv.to_vec(),
                    ..Exec::default()
                };
                let output = engine.exec_streamed(id, &exec, stdout).await;
                let output = output.map_err(failed)?;
                Ok(CommandOutput {
                    code: output.code,
                    stdout: output.stdout,
                    stderr: output.stderr,
                })
            }
            Self::Host(host) => host.run_streamed(argv, stdout).await,
        }
    }

    async fn hup(&self) -> Result<(), ControlError> {
        match self {
            Self::Engine { engine, id } => engine.signal(id, "HUP").await.map_err(failed),
            Self::Host(host) => host.hup().await,
        }
    }

    async fn processes(&self) -> Result<Vec<NginxProcess>, ControlError> {
        match self {
            Self::Engine { engine, id } => {
                let rows = engine.processes(id).await.map_err(failed)?.into_iter();
                Ok(rows
                    .map(|row| NginxProcess {
                        pid: row.pid,
                        ppid: row.ppid,
                        args: row.args,
                    })
                    .collect())
            }
            Self::Host(host) => host.processes().await,
        }
    }
}

pub(crate) async fn docker(args: &[&str]) -> CommandOutput {
    output(Path::new("docker"), args).await
}

async fn output(program: &Path, args: &[&str]) -> CommandOutput {
    let running = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(DEADLINE, running).await.expect("it ends").unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    CommandOutput {
        code: output.status.code().map_or(-1, i64::from),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}
