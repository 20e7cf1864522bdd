//! Reaching an nginx that runs in a container, for the proxy adapter.

use std::{collections::BTreeSet, sync::Arc};

use tokio::sync::watch;

use crate::{
    engine::{Engine, EngineError, Exec},
    project::Replica,
    proxy::nginx::{Control, ControlError, Output, Process},
    units::Moment,
};

/// The container that nginx runs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its id.
    pub id: crate::project::ContainerId,
    /// Its name.
    pub name: String,
    /// Its last start: another start is another nginx.
    pub started: Option<Moment>,
    /// Networks it has an address on.
    pub networks: BTreeSet<String>,
}

impl Target {
    /// From an observation.
    pub fn of(replica: &Replica) -> Self {
        Self {
            id: replica.id.clone(),
            name: replica.name.clone(),
            started: replica.started,
            networks: replica.addresses.keys().cloned().collect(),
        }
    }
}

/// An nginx that is reached through the engine: the container that the driver says is nginx.
#[derive(Debug)]
pub struct ContainerNginx<E> {
    engine: Arc<E>,
    target: watch::Receiver<Option<Target>>,
}

impl<E: Engine> ContainerNginx<E> {
    /// Follows whatever container `target` names.
    pub fn new(engine: Arc<E>, target: watch::Receiver<Option<Target>>) -> Self {
        Self { engine, target }
    }

    fn target(&self) -> Result<Target, ControlError> {
        self.target.borrow().clone().ok_or(ControlError::NotRunning)
    }
}

impl<E: Engine> Control for ContainerNginx<E> {
    async fn identity(&self) -> Result<String, ControlError> {
        let target = self.target()?;
        let started = target.started.map_or(String::new(), |s| s.to_string());
        Ok(format!("{} {started}", target.id.0))
    }

    async fn run(&self, argv: &[String]) -> Result<Output, ControlError> {
        let exec = Exec {
            argv: argv.to_vec(),
            ..Exec::default()
        };
        let done = self.engine.exec(&self.target()?.id, &exec).await;
        let output = done.map_err(failed)?;
        Ok(Output {
            code: output.code,
            stdout: output.stdout,
            stderr: output.stderr,
        })
    }

    async fn hup(&self) -> Result<(), ControlError> {
        let target = self.target()?;
        self.engine.signal(&target.id, "HUP").await.map_err(failed)
    }

    async fn processes(&self) -> Result<Vec<Process>, ControlError> {
        let listed = self.engine.processes(&self.target()?.id).await;
        Ok(listed
            .map_err(failed)?
            .into_iter()
            .map(|process| Process {
                pid: process.pid,
                ppid: process.ppid,
                args: process.args,
            })
            .collect())
    }
}

fn failed(error: EngineError) -> ControlError {
    match error {
        // A container that is gone or not running is not an nginx.
        EngineError::Gone { .. } | EngineError::Conflict { .. } => ControlError::NotRunning,
        EngineError::TimedOut { after, .. } => ControlError::Timeout(after),
        error => ControlError::Failed {
            why: error.to_string(),
        },
    }
}
