//! How a service's first container is to be made where there is nothing to make it like: what the
//! compose file says, in the words of the Engine API.
//!
//! Only what the files tell is in it. What the Engine knows (the image's id, the containers of other
//! services) and what is a container's own (name and number) is filled in when it is made.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// What stands in the place of compose's configuration hash, which only compose can compute. The label
/// must be there: compose does not see a container without it. Since it is no hash, compose takes the
/// container for one of an older configuration, and its next `up` makes it anew.
pub const NO_HASH: &str = "unknown";

/// A service's container as the compose file describes it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ContainerSpec {
    /// The project.
    pub project: String,
    /// The service.
    pub service: String,
    /// The name of its only container, where one is written.
    pub container_name: Option<String>,
    /// The image's name.
    pub image: String,
    /// Whether the image comes from a `build` section.
    pub built: bool,
    /// The platform to ask for.
    pub platform: Option<String>,
    /// The container's configuration.
    pub config: Map<String, Value>,
    /// What of it is the host's business.
    pub host: Map<String, Value>,
    /// Its labels, without number and image.
    pub labels: BTreeMap<String, String>,
    /// Its networks, the primary one first.
    pub endpoints: Vec<Endpoint>,
    /// Networks that must be there.
    pub networks: Vec<Resource>,
    /// Volumes that must be there.
    pub volumes: Vec<Resource>,
    /// Containers of other services that it refers to.
    pub shared: Vec<SharedNamespace>,
    /// Files that are written into it before it starts.
    pub files: Vec<File>,
    /// Keys that not every Engine knows.
    pub needs: Vec<EngineRequirement>,
}

/// How it is attached to a network.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// The network's name.
    pub network: String,
    /// Names besides its own and the service's.
    pub aliases: Vec<String>,
    /// The rest.
    pub settings: Map<String, Value>,
}

/// A network or a volume.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource {
    /// Its name.
    pub name: String,
    /// The request that makes it; `None` for one that somebody else makes.
    pub make: Option<Value>,
}

/// A reference to the container of another service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedNamespace {
    /// The field of the host's part.
    pub field: &'static str,
    /// The other service.
    pub service: String,
}

/// A config or secret that has no file of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Absolute, inside the container.
    pub path: String,
    /// What is in it.
    pub content: String,
    /// Its mode.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// A key that an older Engine would drop in silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineRequirement {
    /// The key, as it is written.
    pub key: &'static str,
    /// The API version that knows it: major and minor.
    pub api: (u32, u32),
}

impl ContainerSpec {
    /// The name of its container with this number, as compose gives it.
    pub fn name(&self, number: u32) -> String {
        self.container_name
            .clone()
            .unwrap_or_else(|| format!("{}-{}-{number}", self.project, self.service))
    }
}
