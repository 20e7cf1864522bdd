//! Removing a container and the volumes that only it had.

use std::{collections::BTreeSet, time::Duration};

use bollard::{
    models::{ContainerInspectResponse, Volume},
    query_parameters::{
        RemoveContainerOptions, RemoveContainerOptionsBuilder, RemoveVolumeOptions,
    },
};
use tokio::time::{Instant, sleep};

use crate::{
    engine::{
        EngineError,
        docker::{Docker, READ, REMOVE, create_request::is_anonymous, or_gone},
    },
    project::ContainerId,
};

/// What the Engine puts on a volume whose name it made up (since version 23).
const ANONYMOUS: &str = "com.docker.volume.anonymous";
/// How often to look whether a removal that others began is done.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

impl Docker {
    /// Removes a container with its anonymous volumes. `v=1` takes those that the Engine made for
    /// it; those that compose handed on by name in a recreate count as named there.
    pub(super) async fn remove_container(&self, id: &ContainerId) -> Result<(), EngineError> {
        let inspect = match self.look_again(&id.0).await {
            Ok(inspect) => inspect,
            Err(EngineError::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        self.delete_container(id).await?;
        let mut first_error = Ok(());
        for volume in anonymous_volumes(&inspect) {
            let removed = self.delete_volume(&volume).await;
            first_error = first_error.and(removed);
        }
        first_error
    }

    async fn delete_container(&self, id: &ContainerId) -> Result<(), EngineError> {
        let name = self.name_of(&id.0);
        let (doing, what) = (format!("removing {name}"), format!("container {name}"));
        let remove = || {
            let call = self.client.remove_container(&id.0, Some(with_volumes()));
            self.within(REMOVE, &doing, &what, call)
        };
        let mut removed = remove().await;
        if matches!(removed, Err(EngineError::NotFound { .. }))
            && self.look_again(&id.0).await.is_ok()
        {
            removed = remove().await;
        }
        match removed {
            // Someone else is removing it: wait until that is done.
            Err(EngineError::Conflict { message }) => {
                let deadline = Instant::now() + REMOVE;
                loop {
                    match self.inspect_raw(&id.0).await {
                        Err(error) => return or_gone(Err(error)),
                        Ok(_) if Instant::now() >= deadline => {
                            return Err(EngineError::Conflict { message });
                        }
                        Ok(_) => sleep(LOOK_AGAIN).await,
                    }
                }
            }
            other => or_gone(other),
        }
    }

    /// Deletes a volume unless it is named, gone, or in use by another container.
    async fn delete_volume(&self, name: &str) -> Result<(), EngineError> {
        let doing = format!("removing the anonymous volume {}", &name[..12]);
        let what = "the volume";
        let inspected = self
            .within(READ, &doing, what, self.client.inspect_volume(name))
            .await;
        match inspected {
            Ok(volume) if made_by_engine(&volume) => {}
            Ok(_) | Err(EngineError::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(error),
        }
        let call = self.client.remove_volume(name, None::<RemoveVolumeOptions>);
        match self.within(REMOVE, &doing, what, call).await {
            Err(EngineError::Conflict { .. }) => Ok(()),
            other => or_gone(other),
        }
    }
}

fn with_volumes() -> RemoveContainerOptions {
    RemoveContainerOptionsBuilder::default()
        .v(true)
        .force(true)
        .build()
}

/// Volumes with a made-up name that are mounted into the container.
fn anonymous_volumes(inspect: &ContainerInspectResponse) -> BTreeSet<String> {
    inspect
        .mounts
        .iter()
        .flatten()
        .filter(|mount| mount.typ.as_deref() == Some("volume"))
        .filter_map(|mount| mount.name.clone())
        .filter(|name| is_anonymous(name))
        .collect()
}

/// Whether a volume with a made-up name really is anonymous. Older Engines put no label on theirs;
/// any other label (compose's, a user's) means that someone made it on purpose.
fn made_by_engine(volume: &Volume) -> bool {
    is_anonymous(&volume.name)
        && (volume.labels.is_empty() || volume.labels.contains_key(ANONYMOUS))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn only_volumes_with_made_up_names_are_ever_deleted() {
        let inspect = serde_json::from_value(json!({ "Mounts": [
            {"Type": "volume", "Name": HEX, "Destination": "/a"},
            {"Type": "volume", "Name": "shop_data", "Destination": "/b"},
            {"Type": "bind", "Source": "/srv", "Destination": "/c"},
        ]}))
        .unwrap();
        assert_eq!(
            anonymous_volumes(&inspect),
            BTreeSet::from([HEX.to_owned()])
        );
    }

    #[test]
    fn a_volume_that_someone_labelled_was_made_on_purpose() {
        let volume = |name: &str, labels: serde_json::Value| -> Volume {
            serde_json::from_value(json!({
                "Name": name, "Driver": "local", "Mountpoint": "/m", "Labels": labels,
                "Scope": "local", "Options": {}
            }))
            .unwrap()
        };
        assert!(made_by_engine(&volume(HEX, json!(null))));
        assert!(made_by_engine(&volume(HEX, json!({ ANONYMOUS: "" }))));
        let by_compose = json!({ "com.docker.compose.volume": "data" });
        assert!(!made_by_engine(&volume(HEX, by_compose)));
        assert!(!made_by_engine(&volume("data", json!(null))));
    }
}
