//! Looks at containers, and the names that they are remembered by.

use std::{sync::PoisonError, time::Duration};

use bollard::{
    models::ContainerInspectResponse,
    query_parameters::{InspectContainerOptions, ListContainersOptionsBuilder},
};
use futures_util::{StreamExt, TryStreamExt, future, stream};
use tokio::time::sleep;

use super::{Docker, READ, create_request, error, observe};
use crate::{
    engine::EngineError,
    project::{Replica, labels},
};

/// Between an answer that a container is gone and the next look.
const AGAIN: Duration = Duration::from_millis(50);
/// Names of containers that are remembered at most.
const NAMES: usize = 4096;
/// Containers inspected at the same time.
const INSPECTIONS: usize = 16;

impl Docker {
    /// The project's containers, each with a look at it, in no order.
    pub(super) async fn look_at_all(&self, project: &str) -> Result<Vec<Replica>, EngineError> {
        let filter = format!("{}={project}", labels::PROJECT);
        let options = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&[("label".to_owned(), vec![filter])].into())
            .build();
        let found = self
            .within(
                READ,
                "listing the project's containers",
                error::ENGINE,
                self.client.list_containers(Some(options)),
            )
            .await?;
        stream::iter(found.into_iter().filter_map(|c| c.id))
            .map(|id| async move {
                let inspect = self.look_again(&id).await;
                // Without it none makes sense, which is no container's fault.
                let api = self.facts().await?.api;
                match inspect.and_then(|inspect| observe::replica(inspect, api)) {
                    // It went away since the list was made.
                    Err(EngineError::NotFound { .. }) => Ok(None),
                    // One that makes no sense to us must not hide all others.
                    Err(error @ EngineError::UnexpectedResponse { .. }) => {
                        self.say_once(&id, &error);
                        Ok(None)
                    }
                    other => other.map(Some),
                }
            })
            .buffer_unordered(INSPECTIONS)
            .try_filter_map(future::ok)
            .try_collect()
            .await
    }

    pub(super) fn say_once(&self, id: &str, error: &EngineError) {
        let mut strange = self.strange.lock().unwrap_or_else(PoisonError::into_inner);
        if strange.insert(id.to_owned()) {
            tracing::warn!(container = short(id), %error, "left out: the Engine describes it in words that this program does not know");
        }
    }

    pub(super) async fn inspect_raw(
        &self,
        id: &str,
    ) -> Result<ContainerInspectResponse, EngineError> {
        let name = self.name_of(id);
        let inspect = self
            .within(
                READ,
                &format!("inspecting {name}"),
                &format!("container {name}"),
                self.client
                    .inspect_container(id, None::<InspectContainerOptions>),
            )
            .await?;
        if let (Some(id), Some(name)) = (&inspect.id, &inspect.name) {
            self.name(id, name.trim_start_matches('/'));
        }
        Ok(inspect)
    }

    /// The same, but one answer that it is gone is not believed: what is gone by mistake would be made anew,
    /// or never be removed.
    pub(super) async fn look_again(
        &self,
        id: &str,
    ) -> Result<ContainerInspectResponse, EngineError> {
        match self.inspect_raw(id).await {
            Err(EngineError::NotFound { .. }) => {
                sleep(AGAIN).await;
                self.inspect_raw(id).await
            }
            other => other,
        }
    }

    /// Remembers what a container is called.
    pub(super) fn name(&self, id: &str, name: &str) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= NAMES {
            names.clear();
        }
        names.insert(id.to_owned(), name.to_owned());
    }

    /// What people call a container: its name where that is known.
    pub(super) fn name_of(&self, id: &str) -> String {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.get(id).map_or(short(id), String::as_str).to_owned()
    }
}

/// Ids are shown as docker shows them; names are left whole.
pub(super) fn short(id: &str) -> &str {
    if create_request::is_anonymous(id) {
        &id[..12]
    } else {
        id
    }
}
