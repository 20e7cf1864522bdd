//! From the Engine's description of a container to a [`Replica`]. Pure.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use bollard::models::{
    ContainerInspectResponse, ContainerStateStatusEnum, EndpointSettings, HealthStatusEnum,
    HostConfig, PortMap,
};

use crate::{
    engine::{EngineError, docker::engine_info::Api},
    project::{ContainerId, ContainerState, Fixed, Health, Limits, MountPoint, Replica, labels},
    units::{Bytes, Timestamp},
};

/// The scheduler period that the kernel takes when only a quota is set, in microseconds.
const DEFAULT_PERIOD: i64 = 100_000;

/// What the rest of the tool needs to know of an inspected container.
pub(super) fn replica(inspect: ContainerInspectResponse, api: Api) -> Result<Replica, EngineError> {
    let nonsense = |why: &str| EngineError::UnexpectedResponse {
        doing: "inspecting a container".into(),
        why: why.into(),
    };
    let id = inspect.id.ok_or_else(|| nonsense("it has no id"))?;
    let config = inspect.config.unwrap_or_default();
    let host = inspect.host_config.unwrap_or_default();
    let state = inspect.state.unwrap_or_default();
    let settings = inspect.network_settings.unwrap_or_default();
    let networks: BTreeMap<String, EndpointSettings> =
        settings.networks.unwrap_or_default().into_iter().collect();
    let labels: BTreeMap<String, String> = config.labels.unwrap_or_default().into_iter().collect();
    let label = |key: &str| labels.get(key).cloned().unwrap_or_default();
    let status = status(state.status);

    Ok(Replica {
        id: ContainerId(id),
        name: bare_name(&inspect.name.unwrap_or_default()).to_owned(),
        service: label(labels::SERVICE),
        number: label(labels::NUMBER).parse().unwrap_or(0),
        state: status,
        health: health(state.health.and_then(|health| health.status)),
        created: inspect
            .created
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| nonsense("it has no time of creation"))?,
        started: state.started_at.as_deref().and_then(moment),
        addresses: networks
            .iter()
            .filter_map(|(name, endpoint)| Some((name.clone(), address(endpoint)?)))
            .collect(),
        published: published(settings.ports.as_ref()),
        config_hash: label(labels::CONFIG_HASH),
        image: config.image.unwrap_or_default(),
        image_id: labels
            .get(labels::IMAGE)
            .cloned()
            .or(inspect.image)
            .unwrap_or_default(),
        limits: limits(&host),
        pid: state
            .pid
            .and_then(|pid| u32::try_from(pid).ok())
            .unwrap_or(0),
        cgroup_parent: host.cgroup_parent.clone().unwrap_or_default(),
        refers_to: refers_to(&host),
        oom_killed: state.oom_killed.unwrap_or(false),
        restart_count: inspect
            .restart_count
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or(0),
        exit_code: matches!(
            status,
            ContainerState::Exited | ContainerState::Dead | ContainerState::Restarting
        )
        .then_some(state.exit_code)
        .flatten(),
        fixed: fixed(&host, &networks, api),
        stop_timeout: config
            .stop_timeout
            .and_then(|seconds| u64::try_from(seconds).ok()),
        mounts: mounts(inspect.mounts),
        labels,
    })
}

/// A container's name without the slash that the Engine puts in front.
pub(super) fn bare_name(name: &str) -> &str {
    name.strip_prefix('/').unwrap_or(name)
}

fn status(status: Option<ContainerStateStatusEnum>) -> ContainerState {
    match status {
        Some(ContainerStateStatusEnum::CREATED) => ContainerState::Created,
        // Still serving until its process has ended.
        Some(ContainerStateStatusEnum::RUNNING | ContainerStateStatusEnum::STOPPING) => {
            ContainerState::Running
        }
        Some(ContainerStateStatusEnum::PAUSED) => ContainerState::Paused,
        Some(ContainerStateStatusEnum::RESTARTING) => ContainerState::Restarting,
        Some(ContainerStateStatusEnum::REMOVING) => ContainerState::Removing,
        Some(ContainerStateStatusEnum::EXITED) => ContainerState::Exited,
        Some(ContainerStateStatusEnum::DEAD | ContainerStateStatusEnum::EMPTY) | None => {
            ContainerState::Dead
        }
    }
}

fn health(status: Option<HealthStatusEnum>) -> Health {
    match status {
        Some(HealthStatusEnum::STARTING) => Health::Starting,
        Some(HealthStatusEnum::HEALTHY) => Health::Healthy,
        Some(HealthStatusEnum::UNHEALTHY) => Health::Unhealthy,
        Some(HealthStatusEnum::NONE | HealthStatusEnum::EMPTY) | None => Health::None,
    }
}

/// A time of the Engine; `None` for Go's zero time, which means "never".
fn moment(text: &str) -> Option<Timestamp> {
    (!text.starts_with("0001-"))
        .then(|| text.parse().ok())
        .flatten()
}

fn address(endpoint: &EndpointSettings) -> Option<IpAddr> {
    [&endpoint.ip_address, &endpoint.global_ipv6_address]
        .into_iter()
        .flatten()
        .find_map(|text| text.parse().ok())
}

/// Where this host reaches the TCP ports that are published on it. A port that is published on every
/// address is taken on the loopback.
fn published(ports: Option<&PortMap>) -> BTreeMap<u16, SocketAddr> {
    let mut found = BTreeMap::new();
    for (target, bindings) in ports.into_iter().flatten() {
        let Some(port) = target.strip_suffix("/tcp").and_then(|p| p.parse().ok()) else {
            continue;
        };
        let address = bindings.iter().flatten().filter_map(|binding| {
            let ip = match binding.host_ip.as_deref() {
                None | Some("" | "0.0.0.0") => IpAddr::V4(Ipv4Addr::LOCALHOST),
                Some("::") => IpAddr::V6(Ipv6Addr::LOCALHOST),
                Some(ip) => ip.parse().ok()?,
            };
            Some(SocketAddr::new(
                ip,
                binding.host_port.as_deref()?.parse().ok()?,
            ))
        });
        // IPv4 sorts first.
        if let Some(address) = address.min() {
            found.insert(port, address);
        }
    }
    found
}

fn limits(host: &HostConfig) -> Limits {
    let positive = |value: Option<i64>| value.filter(|value| *value > 0);
    let cpus = positive(host.nano_cpus)
        .map(|nanos| nanos as f64 / 1e9)
        .or_else(|| {
            let period = positive(host.cpu_period).unwrap_or(DEFAULT_PERIOD);
            positive(host.cpu_quota).map(|quota| quota as f64 / period as f64)
        });
    // It has no more than the cores that it is bound to, whatever its quota.
    let bound = host.cpuset_cpus.as_deref().and_then(cores);
    let cpus = match (cpus, bound) {
        (Some(quota), Some(bound)) => Some(quota.min(bound)),
        (quota, bound) => quota.or(bound),
    };
    Limits {
        cpus,
        memory: positive(host.memory).map(|bytes| Bytes(bytes as u64)),
    }
}

/// How many cores a list like `0-2,5` has; `None` for an empty one.
fn cores(list: &str) -> Option<f64> {
    let mut cores = 0u32;
    for part in list.split(',').map(str::trim) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to): (u32, u32) = (from.parse().ok()?, to.parse().ok()?);
        cores += to.checked_sub(from)?.checked_add(1)?;
    }
    (cores > 0).then_some(f64::from(cores))
}

/// In the order of their places, because the Engine lists them in none.
fn mounts(points: Option<Vec<bollard::models::MountPoint>>) -> Vec<MountPoint> {
    let mut mounts: Vec<MountPoint> = points
        .into_iter()
        .flatten()
        .filter_map(|mount| {
            Some(MountPoint {
                source: mount.source?.into(),
                destination: mount.destination?.into(),
                is_writable: mount.rw == Some(true),
            })
        })
        .collect();
    mounts.sort_by(|a, b| a.destination.cmp(&b.destination));
    mounts
}

/// The containers that this one cannot live without.
pub(super) fn refers_to(host: &HostConfig) -> Vec<String> {
    let joined = [&host.network_mode, &host.ipc_mode, &host.pid_mode]
        .into_iter()
        .flatten()
        .filter_map(|mode| mode.strip_prefix("container:"));
    let volumes = host
        .volumes_from
        .iter()
        .flatten()
        .map(|from| from.split_once(':').map_or(from.as_str(), |(id, _)| id));
    let mut found: Vec<String> = joined.chain(volumes).map(str::to_owned).collect();
    found.sort();
    found.dedup();
    found
}

fn fixed(host: &HostConfig, networks: &BTreeMap<String, EndpointSettings>, api: Api) -> Fixed {
    let (host_ports, port_ranges) = ports(host.port_bindings.as_ref());
    Fixed {
        host_ports,
        port_ranges,
        static_addresses: networks
            .iter()
            .filter(|(_, endpoint)| {
                endpoint.ipam_config.as_ref().is_some_and(|ipam| {
                    [&ipam.ipv4_address, &ipam.ipv6_address]
                        .into_iter()
                        .flatten()
                        .any(|address| !address.is_empty())
                })
            })
            .map(|(name, _)| name.clone())
            .collect(),
        mac_address: networks.values().any(|endpoint| has_own_mac(endpoint, api)),
        network_mode: host
            .network_mode
            .clone()
            .filter(|mode| mode == "host" || mode.starts_with("container:"))
            .unwrap_or_default(),
    }
}

/// Requested host ports that are single ones, and those that are ranges.
fn ports(bindings: Option<&PortMap>) -> (Vec<String>, Vec<String>) {
    let mut single = Vec::new();
    let mut ranges = Vec::new();
    for (target, bindings) in bindings.into_iter().flatten() {
        for binding in bindings.iter().flatten() {
            let port = binding.host_port.as_deref().unwrap_or_default();
            if port.is_empty() || port == "0" {
                continue;
            }
            let text = match binding.host_ip.as_deref() {
                None | Some("" | "0.0.0.0" | "::") => format!("{port} → {target}"),
                Some(ip) => format!("{ip}:{port} → {target}"),
            };
            if port.contains('-') {
                ranges.push(text);
            } else {
                single.push(text);
            }
        }
    }
    // The Engine's maps have no order, and one port may be bound on IPv4 and IPv6.
    for list in [&mut single, &mut ranges] {
        list.sort();
        list.dedup();
    }
    (single, ranges)
}

/// Whether an endpoint's MAC address was configured, as far as it can be told.
///
/// Engines of an API below 1.44 make one up from the IPv4 address (172.18.0.5 gives
/// 02:42:ac:12:00:05); a `02:42:` that differs was asked for. Later ones make up random ones, and
/// other network drivers follow rules of their own: those count as made up, and the compose file
/// has to tell.
fn has_own_mac(endpoint: &EndpointSettings, api: Api) -> bool {
    let made_up = endpoint
        .ip_address
        .as_deref()
        .and_then(|ip| ip.parse::<Ipv4Addr>().ok())
        .map(|ip| {
            let [a, b, c, d] = ip.octets();
            format!("02:42:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
        });
    api < Api::MULTIPLE_NETWORKS
        && made_up.is_some()
        && endpoint
            .mac_address
            .as_ref()
            .is_some_and(|mac| mac.starts_with("02:42:") && Some(mac) != made_up.as_ref())
}

#[cfg(test)]
#[path = "observe_tests.rs"]
mod tests;
