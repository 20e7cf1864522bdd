//! An Engine whose calls are counted.

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt};

use super::Meters;
use crate::{
    engine::{
        ContainerProcess, Engine, EngineError, EngineEvent, EngineInfo, Exec, ExecOutput,
        NewReplica,
    },
    project::{ContainerId, Replica, container_spec::ContainerSpec, remembered_replica::Template},
    usage::CounterReading,
};

/// Counts each call, and how it ended.
#[derive(Debug, Clone)]
pub struct Metered<E> {
    inner: E,
    meters: Arc<Meters>,
}

impl<E> Metered<E> {
    /// Counts the calls of this one.
    pub fn new(inner: E, meters: Arc<Meters>) -> Self {
        Self { inner, meters }
    }

    async fn count<T>(
        &self,
        call: &'static str,
        made: impl Future<Output = Result<T, EngineError>> + Send,
    ) -> Result<T, EngineError> {
        let answer = made.await;
        self.meters.called(call, result(answer.as_ref().err()));
        answer
    }
}

/// How a call ended, in a word.
fn result(error: Option<&EngineError>) -> &'static str {
    match error {
        None => "ok",
        Some(EngineError::Unreachable { .. } | EngineError::Forbidden { .. }) => "unreachable",
        Some(EngineError::TimedOut { .. }) => "timeout",
        Some(EngineError::Refused { .. } | EngineError::Exhausted { .. }) => "refused",
        Some(EngineError::NotFound { .. }) => "gone",
        Some(EngineError::Conflict { .. }) => "conflict",
        Some(_) => "other",
    }
}

impl<E: Engine> Engine for Metered<E> {
    async fn ping(&self) -> Result<(), EngineError> {
        self.count("reach", self.inner.ping()).await
    }

    async fn info(&self) -> Result<EngineInfo, EngineError> {
        self.count("info", self.inner.info()).await
    }

    async fn list(&self, project: &str) -> Result<Vec<Replica>, EngineError> {
        self.count("list", self.inner.list(project)).await
    }

    async fn inspect(&self, id: &str) -> Result<Replica, EngineError> {
        self.count("inspect", self.inner.inspect(id)).await
    }

    async fn image_id(&self, reference: &str) -> Result<Option<String>, EngineError> {
        self.count("image", self.inner.image_id(reference)).await
    }

    async fn image_is_checked(&self, reference: &str) -> Result<Option<bool>, EngineError> {
        self.count("image", self.inner.image_is_checked(reference))
            .await
    }

    async fn clone_replica(
        &self,
        source: &ContainerId,
        new: &NewReplica,
    ) -> Result<ContainerId, EngineError> {
        self.count("create", self.inner.clone_replica(source, new))
            .await
    }

    async fn remember(
        &self,
        id: &ContainerId,
        before: Option<&Template>,
    ) -> Result<Template, EngineError> {
        self.count("remember", self.inner.remember(id, before))
            .await
    }

    async fn make_remembered(
        &self,
        template: &Template,
        new: &NewReplica,
        environment: &BTreeMap<String, Option<String>>,
    ) -> Result<ContainerId, EngineError> {
        let made = self.inner.make_remembered(template, new, environment);
        self.count("create", made).await
    }

    async fn make_from_file(
        &self,
        recipe: &ContainerSpec,
        new: &NewReplica,
    ) -> Result<ContainerId, EngineError> {
        let made = self.inner.make_from_file(recipe, new);
        self.count("create", made).await
    }

    async fn start(&self, id: &ContainerId) -> Result<(), EngineError> {
        self.count("start", self.inner.start(id)).await
    }

    async fn stop(&self, id: &ContainerId, deadline: Duration) -> Result<(), EngineError> {
        self.count("stop", self.inner.stop(id, deadline)).await
    }

    async fn remove(&self, id: &ContainerId) -> Result<(), EngineError> {
        self.count("remove", self.inner.remove(id)).await
    }

    async fn logs(&self, id: &ContainerId, lines: u32) -> Result<Vec<String>, EngineError> {
        self.count("logs", self.inner.logs(id, lines)).await
    }

    async fn exec(&self, id: &ContainerId, exec: &Exec) -> Result<ExecOutput, EngineError> {
        self.count("exec", self.inner.exec(id, exec)).await
    }

    async fn exec_streamed(
        &self,
        id: &ContainerId,
        exec: &Exec,
        stdout: &mut (dyn FnMut(&[u8]) + Send),
    ) -> Result<ExecOutput, EngineError> {
        let output = self.inner.exec_streamed(id, exec, stdout);
        self.count("exec", output).await
    }

    async fn signal(&self, id: &ContainerId, signal: &str) -> Result<(), EngineError> {
        self.count("signal", self.inner.signal(id, signal)).await
    }

    async fn processes(&self, id: &ContainerId) -> Result<Vec<ContainerProcess>, EngineError> {
        self.count("processes", self.inner.processes(id)).await
    }

    async fn usage(&self, replica: &Replica) -> Result<CounterReading, EngineError> {
        self.count("usage", self.inner.usage(replica)).await
    }

    fn events(
        &self,
        project: &str,
    ) -> impl Stream<Item = Result<EngineEvent, EngineError>> + Send + 'static {
        let meters = Arc::clone(&self.meters);
        self.inner.events(project).inspect(move |event| {
            if let Err(error) = event {
                meters.called("events", result(Some(error)));
            }
        })
    }
}
