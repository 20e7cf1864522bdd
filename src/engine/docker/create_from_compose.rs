//! Making a container of what the compose file says, where there is none to make it like.

use std::collections::BTreeMap;

use bollard::{
    models::{
        ContainerCreateBody, EndpointSettings, NetworkCreateRequest, NetworkingConfig,
        VolumeCreateRequest,
    },
    query_parameters::InspectNetworkOptions,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use crate::{
    engine::{
        Engine as _, EngineError, NewReplica,
        docker::{CREATE, Docker, READ, create_request::Blueprint, engine_info::Api},
    },
    project::{
        ContainerId,
        container_spec::{ContainerSpec, Resource},
        labels,
    },
};

impl Docker {
    /// Makes a container of a recipe, not started, with its files, and what of its networks and volumes
    /// is not there. All that can be refused is refused before anything is made.
    pub(super) async fn make_from_recipe(
        &self,
        recipe: &ContainerSpec,
        new: &NewReplica,
    ) -> Result<ContainerId, EngineError> {
        let facts = self.facts().await?;
        let missing = |what: String, fix: String| EngineError::Missing { what, fix };
        for need in &recipe.needs {
            let api = Api::new(need.api.0, need.api.1);
            if facts.api < api {
                return Err(missing(
                    format!(
                        "`{}` needs an Engine of API {api}, and this one is of {}",
                        need.key, facts.api
                    ),
                    "leave it out or renew the Engine".into(),
                ));
            }
        }
        let image = self.image(&recipe.image).await?.ok_or_else(|| {
            let verb = if recipe.built { "build" } else { "pull" };
            missing(
                format!("the image {} is not here", recipe.image),
                format!("run `docker compose {verb} {}`", recipe.service),
            )
        })?;
        let shared = self.shared_with(recipe).await?;
        let networks = self.missing_networks(recipe).await?;
        let volumes = self.missing_volumes(recipe).await?;
        let image = image.id.unwrap_or_default();
        let blueprint = blueprint(recipe, new, &image, &shared, facts.api)?;

        for request in networks {
            let doing = format!("making the network {}", request.name);
            let made = self.client.create_network(request);
            self.within(CREATE, &doing, "its driver", made).await?;
        }
        for request in volumes {
            let name = request.name.clone().unwrap_or_default();
            let doing = format!("making the volume {name}");
            let made = self.client.create_volume(request);
            self.within(CREATE, &doing, "its driver", made).await?;
        }
        let platform = recipe.platform.as_deref().unwrap_or_default();
        let id = self.make(blueprint, platform, new, None).await?;
        for file in &recipe.files {
            if let Err(error) = self.write_file(&id, &new.name, file).await {
                // The first error is the one to report.
                self.remove_container(&id).await.ok();
                return Err(error);
            }
        }
        Ok(id)
    }

    /// The containers of other services that it refers to: of each the first by name, as compose
    /// chooses.
    async fn shared_with(
        &self,
        recipe: &ContainerSpec,
    ) -> Result<BTreeMap<String, String>, EngineError> {
        let mut found: BTreeMap<String, (String, String)> = BTreeMap::new();
        if recipe.shared.is_empty() {
            return Ok(BTreeMap::new());
        }
        for replica in self.list(&recipe.project).await? {
            let id = (replica.name.clone(), replica.id.0.clone());
            if replica.is_replica() && found.get(&replica.service).is_none_or(|known| *known > id) {
                found.insert(replica.service, id);
            }
        }
        let mut ids = BTreeMap::new();
        for other in recipe.shared.iter().map(|shared| &shared.service) {
            let (_, id) = found.get(other).ok_or_else(|| EngineError::Missing {
                what: format!("the service {other}, which it shares with, has no container"),
                fix: format!("run `docker compose up -d {other}`"),
            })?;
            ids.insert(other.clone(), id.clone());
        }
        Ok(ids)
    }

    async fn missing_networks(
        &self,
        recipe: &ContainerSpec,
    ) -> Result<Vec<NetworkCreateRequest>, EngineError> {
        let mut all = Vec::new();
        for network in &recipe.networks {
            let name = &network.name;
            let call = self
                .client
                .inspect_network(name, None::<InspectNetworkOptions>);
            let doing = format!("inspecting the network {name}");
            match self.within(READ, &doing, "the network", call).await {
                Err(EngineError::NotFound { .. }) => all.push(request(network, "network")?),
                other => drop(other?),
            }
        }
        Ok(all)
    }

    async fn missing_volumes(
        &self,
        recipe: &ContainerSpec,
    ) -> Result<Vec<VolumeCreateRequest>, EngineError> {
        let mut all = Vec::new();
        for volume in &recipe.volumes {
            let name = &volume.name;
            let doing = format!("inspecting the volume {name}");
            let call = self.client.inspect_volume(name);
            match self.within(READ, &doing, "the volume", call).await {
                Err(EngineError::NotFound { .. }) => all.push(request(volume, "volume")?),
                other => drop(other?),
            }
        }
        Ok(all)
    }
}

/// The request that makes what is missing, unless somebody else makes it.
fn request<T: Serialize + DeserializeOwned>(
    resource: &Resource,
    kind: &str,
) -> Result<T, EngineError> {
    let name = &resource.name;
    match &resource.make {
        Some(make) => typed(make, &format!("making the {kind} {name}")),
        None => Err(EngineError::Missing {
            what: format!("the external {kind} {name} is not here"),
            fix: format!("make it with `docker {kind} create {name}`"),
        }),
    }
}

/// The request for the container.
fn blueprint(
    recipe: &ContainerSpec,
    new: &NewReplica,
    image: &str,
    shared: &BTreeMap<String, String>,
    api: Api,
) -> Result<Blueprint, EngineError> {
    let mut host = recipe.host.clone();
    for other in &recipe.shared {
        let id = shared.get(&other.service).map_or("", String::as_str);
        if other.field == "VolumesFrom" {
            let list = host.entry(other.field).or_insert_with(|| json!([]));
            if let Value::Array(list) = list {
                list.push(json!(id));
            }
        } else {
            host.insert(other.field.into(), json!(format!("container:{id}")));
        }
    }
    let mut labels = recipe.labels.clone();
    labels.insert(labels::NUMBER.to_owned(), new.number.to_string());
    labels.insert(labels::IMAGE.to_owned(), image.to_owned());
    let mut body = recipe.config.clone();
    body.insert("Image".into(), json!(recipe.image));
    body.insert("Labels".into(), json!(labels));
    body.insert("HostConfig".into(), Value::Object(host));
    let doing = format!("making {}", new.name);
    let mut body: ContainerCreateBody = typed(&Value::Object(body), &doing)?;

    let mut create = BTreeMap::new();
    let mut connect = BTreeMap::new();
    for (at, endpoint) in recipe.endpoints.iter().enumerate() {
        let mut settings: Map<String, Value> = endpoint.settings.clone();
        let own = [new.name.clone(), recipe.service.clone()];
        let aliases: Vec<_> = own.iter().chain(&endpoint.aliases).collect();
        settings.insert("Aliases".into(), json!(aliases));
        let settings: EndpointSettings = typed(&Value::Object(settings), &doing)?;
        let list = if at == 0 || api >= Api::MULTIPLE_NETWORKS {
            &mut create
        } else {
            &mut connect
        };
        list.insert(endpoint.network.clone(), settings);
    }
    body.networking_config = (!create.is_empty()).then(|| NetworkingConfig {
        endpoints_config: Some(create.into_iter().collect()),
    });
    Ok(Blueprint { body, connect })
}

/// A request in its types. What they have no place for is an error: it would be dropped in silence.
fn typed<T: Serialize + DeserializeOwned>(value: &Value, doing: &str) -> Result<T, EngineError> {
    let nonsense = |why: String| EngineError::UnexpectedResponse {
        doing: doing.to_owned(),
        why,
    };
    let typed: T = serde_json::from_value(value.clone())
        .map_err(|error| nonsense(format!("a value of the compose file does not fit: {error}")))?;
    let again = serde_json::to_value(&typed).map_err(|error| nonsense(error.to_string()))?;
    match lost("", value, &again) {
        Some(path) => Err(nonsense(format!("{path} cannot be sent from here"))),
        None => Ok(typed),
    }
}

/// The first place of a value that is not in another one.
fn lost(path: &str, value: &Value, kept: &Value) -> Option<String> {
    match (value, kept) {
        (Value::Object(value), Value::Object(kept)) => value.iter().find_map(|(key, value)| {
            let path = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            match kept.get(key) {
                Some(kept) => lost(&path, value, kept),
                None => Some(path),
            }
        }),
        (Value::Array(value), Value::Array(kept)) if value.len() == kept.len() => value
            .iter()
            .zip(kept)
            .find_map(|(value, kept)| lost(path, value, kept)),
        (value, kept) => (value != kept).then(|| path.to_owned()),
    }
}
