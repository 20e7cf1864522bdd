//! Remembering a container, and making another one of what is remembered.

use std::collections::BTreeMap;

use bollard::{
    models::{ContainerInspectResponse, EndpointSettings, HostConfig, MountType, NetworkSettings},
    query_parameters::InspectNetworkOptions,
};

use crate::{
    engine::{
        EngineError, NewReplica,
        docker::{Docker, READ, clone::foreign_platform, create_request, observe},
    },
    project::{
        ContainerId,
        remembered_replica::{Sealed, Template},
    },
    units::hex,
};

/// Bytes of randomness in the salt of an environment's digest.
const SALT: usize = 16;

impl Docker {
    /// What is to be remembered of a container. With the salt of `before`, so that an unchanged one
    /// gives the same template.
    pub(super) async fn remember_container(
        &self,
        id: &ContainerId,
        before: Option<&Template>,
    ) -> Result<Template, EngineError> {
        let inspect = self.inspect_raw(&id.0).await?;
        let api = self.facts().await?.api;
        let salt = match before {
            Some(before) => before.environment.salt.clone(),
            None => salt()?,
        };
        template(inspect, api, salt)
    }

    /// Makes a container of what is remembered, not started, after proving that it still holds.
    /// `environment` are the values of the compose file.
    pub(super) async fn make_from_template(
        &self,
        template: &Template,
        new: &NewReplica,
        environment: &BTreeMap<String, Option<String>>,
    ) -> Result<ContainerId, EngineError> {
        let facts = self.facts().await?;
        let outdated = |why: String| EngineError::Outdated { why };
        if !new.uploads.is_empty() {
            return Err(outdated(
                "compose copies configs or secrets into it, which nothing remembers".into(),
            ));
        }
        let mut inspect: ContainerInspectResponse =
            serde_json::from_value(template.description.clone())
                .map_err(|error| outdated(error.to_string()))?;
        let image = self
            .image(&template.image)
            .await?
            .ok_or_else(|| outdated(format!("its image {} is gone", template.image)))?;
        if image.id.as_deref() != Some(template.image_id.as_str()) {
            return Err(outdated(format!(
                "its image {} is another one now",
                template.image
            )));
        }
        self.surroundings_exist(&inspect).await?;
        let from_image = image
            .config
            .as_ref()
            .and_then(|config| config.env.clone())
            .unwrap_or_default();
        let env = template
            .environment
            .open(environment, &from_image)
            .map_err(|broken| outdated(broken.to_string()))?;
        inspect.config.get_or_insert_default().env = Some(env);

        let platform = foreign_platform(&inspect, &image, &facts.architecture).unwrap_or_default();
        let blueprint = create_request::blueprint(inspect, new, template.image.clone(), facts.api);
        self.make(blueprint, &platform, new, None).await
    }

    /// Networks, named volumes and other containers that it is attached to: the engine would make
    /// volumes unasked, and without compose's labels.
    async fn surroundings_exist(
        &self,
        inspect: &ContainerInspectResponse,
    ) -> Result<(), EngineError> {
        let gone = |what: String| EngineError::Outdated {
            why: format!("{what} is gone"),
        };
        let host = inspect.host_config.clone().unwrap_or_default();
        let networks = inspect
            .network_settings
            .as_ref()
            .and_then(|settings| settings.networks.as_ref());
        for network in networks.into_iter().flat_map(|networks| networks.keys()) {
            let call = self
                .client
                .inspect_network(network, None::<InspectNetworkOptions>);
            let doing = format!("inspecting the network {network}");
            match self.within(READ, &doing, "the network", call).await {
                Err(EngineError::NotFound { .. }) => {
                    return Err(gone(format!("network {network}")));
                }
                other => drop(other?),
            }
        }
        for volume in named_volumes(&host) {
            let call = self.client.inspect_volume(&volume);
            let doing = format!("inspecting the volume {volume}");
            match self.within(READ, &doing, "the volume", call).await {
                Err(EngineError::NotFound { .. }) => return Err(gone(format!("volume {volume}"))),
                other => drop(other?),
            }
        }
        for container in observe::refers_to(&host) {
            match self.inspect_raw(&container).await {
                Err(EngineError::NotFound { .. }) => {
                    return Err(gone("the container that it lives in".into()));
                }
                other => drop(other?),
            }
        }
        Ok(())
    }
}

fn salt() -> Result<String, EngineError> {
    let mut bytes = [0_u8; SALT];
    getrandom::fill(&mut bytes).map_err(|error| EngineError::UnexpectedResponse {
        doing: "asking for random bytes".into(),
        why: error.to_string(),
    })?;
    Ok(hex(&bytes))
}

/// What a sibling is made of, without what is the container's own at this moment (addresses, state)
/// and without the values of its environment.
fn template(
    inspect: ContainerInspectResponse,
    api: super::engine_info::Api,
    salt: String,
) -> Result<Template, EngineError> {
    let replica = observe::replica(inspect.clone(), api)?;
    let mut config = inspect.config.unwrap_or_default();
    let environment = create_request::without_affinity(config.env.take().unwrap_or_default());
    let networks = inspect.network_settings.and_then(|n| n.networks);
    let mode = inspect
        .host_config
        .as_ref()
        .and_then(|host| host.network_mode.clone());
    let networks = networks.map(|networks| {
        networks
            .into_iter()
            .map(|(name, endpoint)| {
                let lasting = EndpointSettings {
                    ipam_config: endpoint.ipam_config,
                    links: endpoint.links,
                    aliases: endpoint.aliases,
                    driver_opts: endpoint.driver_opts,
                    gw_priority: endpoint.gw_priority,
                    // Told from the others by its id where the mode is one.
                    network_id: endpoint.network_id.filter(|id| mode.as_ref() == Some(id)),
                    ..EndpointSettings::default()
                };
                (name, lasting)
            })
            .collect()
    });
    let lasting = ContainerInspectResponse {
        id: inspect.id,
        name: inspect.name,
        image: inspect.image,
        image_manifest_descriptor: inspect.image_manifest_descriptor,
        config: Some(config),
        host_config: inspect.host_config,
        network_settings: Some(NetworkSettings {
            networks,
            ..NetworkSettings::default()
        }),
        ..ContainerInspectResponse::default()
    };
    let mut description =
        serde_json::to_value(lasting).map_err(|error| EngineError::UnexpectedResponse {
            doing: "describing a container".into(),
            why: error.to_string(),
        })?;
    // The engine's maps have no order; the same container must give the same bytes.
    description.sort_all_objects();
    Ok(Template {
        service: replica.service,
        name: replica.name,
        number: replica.number,
        config_hash: replica.config_hash,
        image: replica.image,
        image_id: replica.image_id,
        environment: Sealed::seal(&environment, salt),
        description,
    })
}

/// Volumes that somebody named: those that are anonymous are each replica's own.
fn named_volumes(host: &HostConfig) -> Vec<String> {
    let binds = host
        .binds
        .iter()
        .flatten()
        .filter_map(|bind| bind.split(':').next())
        .filter(|source| !source.starts_with('/'));
    let mounts = host
        .mounts
        .iter()
        .flatten()
        .filter(|mount| mount.typ == Some(MountType::VOLUME))
        .filter_map(|mount| mount.source.as_deref());
    binds
        .chain(mounts)
        .filter(|name| !name.is_empty() && !create_request::is_anonymous(name))
        .map(ToOwned::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::engine::docker::engine_info::Api;

    fn taken(changes: &Value) -> Template {
        let mut inspect = json!({
            "Id": "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "Name": "/shop-web-1",
            "Created": "2026-01-01T00:00:00Z",
            "Image": "sha256:1",
            "State": {"Status": "running", "Pid": 7, "StartedAt": "2026-01-01T00:00:01Z"},
            "Config": {
                "Hostname": "0123456789ab", "Image": "web:1",
                "Env": ["TOKEN=s3cret", "PATH=/bin"],
                "Labels": {
                    "com.docker.compose.service": "web",
                    "com.docker.compose.container-number": "1",
                    "com.docker.compose.config-hash": "abc",
                },
            },
            "HostConfig": {"NetworkMode": "shop_default", "Binds": ["shop_data:/d:rw"]},
            "NetworkSettings": {"Networks": {"shop_default": {
                "Aliases": ["shop-web-1", "web", "0123456789ab"],
                "NetworkID": "n1", "EndpointID": "e1", "IPAddress": "10.0.0.2",
                "MacAddress": "02:42:0a:00:00:02",
            }}},
        });
        for (path, value) in changes.as_object().into_iter().flatten() {
            *inspect.pointer_mut(path).unwrap() = value.clone();
        }
        template(
            serde_json::from_value(inspect).unwrap(),
            Api::OLDEST,
            "salt".into(),
        )
        .unwrap()
    }

    #[test]
    fn neither_a_value_of_the_environment_nor_an_address_is_remembered() {
        let text = serde_json::to_string(&taken(&json!({}))).unwrap();
        for gone in ["s3cret", "/bin", "10.0.0.2", "02:42", "e1", "n1", "Pid"] {
            assert!(!text.contains(gone), "{gone}: {text}");
        }
        assert!(text.contains("TOKEN") && text.contains("shop_default"));
    }

    #[test]
    fn the_same_container_gives_the_same_template_whatever_its_address() {
        let moved = json!({
            "/NetworkSettings/Networks/shop_default/IPAddress": "10.0.0.9",
            "/State/StartedAt": "2026-02-02T00:00:00Z",
        });
        assert_eq!(taken(&moved), taken(&json!({})));
        let other = json!({"/Config/Env/0": "TOKEN=other"});
        assert_ne!(taken(&other), taken(&json!({})));
    }

    #[test]
    fn only_volumes_with_a_name_must_exist() {
        let host: HostConfig = serde_json::from_value(json!({
            "Binds": ["data:/d:rw", "/srv:/s:ro"],
            "Mounts": [
                {"Type": "volume", "Source": "labelled", "Target": "/l"},
                {"Type": "volume", "Target": "/anonymous"},
                {"Type": "bind", "Source": "/srv", "Target": "/b"},
                {"Type": "volume", "Target": "/i",
                 "Source": "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"},
            ],
        }))
        .unwrap();
        assert_eq!(named_volumes(&host), ["data", "labelled"]);
    }
}
