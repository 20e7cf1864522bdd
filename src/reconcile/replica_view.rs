//! A replica as `ps` and the control socket show it.

use serde::{Deserialize, Serialize};

use crate::{
    project::{ContainerId, ContainerState, Health},
    units::Span,
};

/// A replica as it is right now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplicaView {
    /// Its name.
    pub name: String,
    /// Its container.
    pub id: ContainerId,
    /// Its number.
    pub number: u32,
    /// What the Engine says.
    pub state: ContainerState,
    /// What its healthcheck says.
    pub health: Health,
    /// What this tool makes of it: serving; ready, where nginx does not send to it yet; starting, draining,
    /// stopping, down.
    pub phase: String,
    /// Whether nginx sends traffic to it.
    pub in_nginx: bool,
    /// Time since its start.
    pub age: Option<Span>,
    /// Its first address.
    pub address: Option<String>,
    /// Percent of its CPU limit, or of one core.
    pub cpu: Option<f64>,
    /// Percent of its memory limit.
    pub memory: Option<f64>,
    /// Requests per second, from nginx.
    #[serde(default)]
    pub requests: Option<f64>,
    /// Requests under way at once, from nginx.
    #[serde(default)]
    pub in_flight: Option<f64>,
    /// The time within which 95% of its requests were answered, in milliseconds.
    #[serde(default)]
    pub p95: Option<f64>,
    /// Percent of its requests that failed.
    #[serde(default)]
    pub errors: Option<f64>,
    /// Its image.
    pub image: String,
}
