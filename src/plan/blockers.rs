//! What makes a second replica impossible, each with the fix to type.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use crate::project::{Replica, Service};

/// What kind of thing stands in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockerKind {
    /// A name that one container can have.
    ContainerName,
    /// A port of the host that one container can bind.
    HostPort,
    /// Too few ports of the host.
    PortRange,
    /// An address that one container can have.
    StaticAddress,
    /// A hardware address that one container can have.
    MacAddress,
    /// A network that is another one's.
    NetworkMode,
    /// Something that only compose runs before a start.
    PreStart,
    /// Nothing to run.
    NoImage,
    /// Nobody can tell which nginx sends the requests.
    NginxUnknown,
    /// A memory target without a limit.
    MemoryTarget,
    /// A name that nginx cannot have an upstream for.
    NginxName,
}

/// Why a service cannot have more than one replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Blocker {
    /// What kind of thing it is.
    #[serde(skip)]
    pub kind: BlockerKind,
    /// The service.
    pub service: String,
    /// What stands in the way.
    pub what: String,
    /// What to do about it.
    pub fix: String,
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.service, self.what, self.fix)
    }
}

/// Everything about a service, in its file and on its containers, that forbids a second replica.
/// The file may be newer than the containers; both must allow it.
pub fn refusals(service: &Service, replicas: &[&Replica]) -> Vec<Blocker> {
    let mut found: Vec<(BlockerKind, String, String)> = Vec::new();
    let name = &service.name;

    let named = service.container_name.clone().or_else(|| {
        replicas
            .iter()
            .find(|r| !r.is_being_recreated() && r.sibling_name(r.number).is_none())
            .map(|r| r.name.clone())
    });
    if let Some(container) = named {
        found.push((
            BlockerKind::ContainerName,
            format!("container_name `{container}` can belong to one container only"),
            format!(
                "remove `container_name` from {name} and run `docker compose up -d --no-deps {name}`; other services still reach it as `{name}`"
            ),
        ));
    }

    let mut ports: Vec<String> = service
        .ports
        .iter()
        .filter(|p| p.is_fixed())
        .map(|p| {
            format!(
                "{}:{}",
                p.published.as_deref().unwrap_or_default(),
                p.target
            )
        })
        .collect();
    if ports.is_empty() {
        ports.extend(replicas.iter().flat_map(|r| r.fixed.host_ports.clone()));
        ports.sort();
        ports.dedup();
    }
    if !ports.is_empty() {
        let target = service.ports.first().map_or(80, |p| p.target);
        found.push((
            BlockerKind::HostPort,
            format!("host port {} can be bound by one replica only", ports.join(", ")),
            format!(
                "publish that port on the nginx service and give {name} `expose: [\"{target}\"]` instead of `ports`"
            ),
        ));
    }

    let mut addresses: Vec<String> = service
        .networks
        .iter()
        .filter(|(_, network)| network.static_address)
        .map(|(key, _)| key.clone())
        .collect();
    if addresses.is_empty() {
        addresses.extend(
            replicas
                .iter()
                .flat_map(|r| r.fixed.static_addresses.clone()),
        );
        addresses.sort();
        addresses.dedup();
    }
    if !addresses.is_empty() {
        found.push((
            BlockerKind::StaticAddress,
            format!(
                "its static address on network {} can belong to one replica only",
                addresses.join(", ")
            ),
            format!("remove `ipv4_address`/`ipv6_address`; other services reach it as `{name}`"),
        ));
    }

    if service.mac_address || replicas.iter().any(|r| r.fixed.mac_address) {
        found.push((
            BlockerKind::MacAddress,
            "its `mac_address` can belong to one replica only".into(),
            "remove `mac_address`".into(),
        ));
    }

    let mode = service
        .network_mode
        .clone()
        .or_else(|| {
            replicas
                .iter()
                .map(|r| r.fixed.network_mode.clone())
                .find(|m| !m.is_empty())
        })
        .unwrap_or_default();
    if mode == "host" || mode.starts_with("container:") || mode.starts_with("service:") {
        found.push((
            BlockerKind::NetworkMode,
            format!("with `network_mode: {mode}` all replicas would listen on the same port"),
            "remove `network_mode` so that each replica has an address of its own".into(),
        ));
    }

    if service.pre_start {
        found.push((
            BlockerKind::PreStart,
            "only compose runs its `pre_start` hooks, so a replica made here would start without them".into(),
            "move them into a service of their own that ends, and wait for it: `depends_on: {NAME: {condition: service_completed_successfully}}`".into(),
        ));
    }

    if service.image.is_none() && !service.build && replicas.is_empty() {
        found.push((
            BlockerKind::NoImage,
            "it has neither `image` nor `build`".into(),
            "give it an image".into(),
        ));
    }

    found
        .into_iter()
        .map(|(kind, what, fix)| Blocker {
            kind,
            service: name.clone(),
            what,
            fix,
        })
        .collect()
}

/// Why nothing on a network can reach a service.
pub fn no_network(service: &Service) -> Option<Blocker> {
    let none = service.network_mode.as_deref() == Some("none");
    none.then(|| Blocker {
        kind: BlockerKind::NetworkMode,
        service: service.name.clone(),
        what: "with `network_mode: none` nginx cannot reach its replicas".into(),
        fix: "remove `network_mode`; or remove its port (`expose`, `ports`, `x-autoscale.port`) if no requests go to it".into(),
    })
}

/// How many replicas the host ports that a service publishes are enough for; `None` where nothing
/// bounds them.
pub fn room(service: &Service) -> Option<u32> {
    let mut pools: BTreeMap<(&str, &str, &str), u32> = BTreeMap::new();
    for port in &service.ports {
        let range = port.published.as_deref().filter(|p| p.contains('-'));
        if let Some(range) = range {
            let ip = match port.host_ip.as_deref() {
                None | Some("" | "0.0.0.0" | "::") => "",
                Some(ip) => ip,
            };
            *pools.entry((ip, &port.protocol, range)).or_default() += 1;
        }
    }
    pools
        .into_iter()
        .filter_map(|((.., range), users)| {
            let (first, last) = range.split_once('-')?;
            let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
            // Two ports of a container that publish one range take two of it.
            Some((last.checked_sub(first)? + 1) / users)
        })
        .min()
}

/// Why a service cannot have so many replicas, where it may have some. The fix makes them anew, `then`
/// of them: compose would go back to the file's count.
pub fn too_many(service: &Service, count: u32, then: u32) -> Option<Blocker> {
    let room = room(service).filter(|room| *room < count)?;
    let ranges: Vec<_> = service
        .ports
        .iter()
        .filter_map(|port| port.published.as_deref().filter(|p| p.contains('-')))
        .collect();
    let name = &service.name;
    Some(Blocker {
        kind: BlockerKind::PortRange,
        service: name.clone(),
        what: format!(
            "its host ports {} are enough for {room} replicas, not for {count}",
            ranges.join(", ")
        ),
        fix: format!(
            "publish a range of {count} ports or more and run `{}`, or let nginx publish the port and give {name} `expose` instead of `ports`",
            super::anew(name, then)
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::{super::tests::replica, *};
    use crate::project::{Port, ServiceNetwork};

    fn web() -> Service {
        Service {
            name: "web".into(),
            image: Some("web:latest".into()),
            ..Service::default()
        }
    }

    fn reasons(service: &Service, replicas: &[&Replica]) -> Vec<String> {
        refusals(service, replicas)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn an_ordinary_service_is_not_refused() {
        assert_eq!(reasons(&web(), &[&replica(1), &replica(2)]), [""; 0]);
    }

    #[test]
    fn every_reason_is_named_with_its_fix() {
        let mut service = web();
        service.container_name = Some("site".into());
        service.ports.push(Port {
            published: Some("8080".into()),
            ..Port::tcp(80)
        });
        service.networks.insert(
            "front".into(),
            ServiceNetwork {
                static_address: true,
                ..ServiceNetwork::default()
            },
        );
        service.mac_address = true;
        service.network_mode = Some("host".into());
        assert_eq!(
            reasons(&service, &[]),
            [
                "web: container_name `site` can belong to one container only; remove `container_name` from web and run `docker compose up -d --no-deps web`; other services still reach it as `web`",
                "web: host port 8080:80 can be bound by one replica only; publish that port on the nginx service and give web `expose: [\"80\"]` instead of `ports`",
                "web: its static address on network front can belong to one replica only; remove `ipv4_address`/`ipv6_address`; other services reach it as `web`",
                "web: its `mac_address` can belong to one replica only; remove `mac_address`",
                "web: with `network_mode: host` all replicas would listen on the same port; remove `network_mode` so that each replica has an address of its own",
            ]
        );
    }

    #[test]
    fn a_range_of_ports_and_a_port_the_engine_chooses_are_fine() {
        let mut service = web();
        for published in [None, Some("8000-8010".to_owned())] {
            service.ports.push(Port {
                published,
                ..Port::tcp(80)
            });
        }
        assert_eq!(reasons(&service, &[]), [""; 0]);
    }

    #[test]
    fn a_range_of_ports_is_enough_for_as_many_replicas_as_it_has_ports() {
        let with = |ports: &[(&str, u16, &str)]| {
            let mut service = web();
            service.ports = ports
                .iter()
                .map(|(published, target, protocol)| Port {
                    published: Some((*published).to_owned()),
                    protocol: (*protocol).to_owned(),
                    ..Port::tcp(*target)
                })
                .collect();
            service
        };
        assert_eq!(room(&web()), None);
        assert_eq!(room(&with(&[("8000-8003", 80, "tcp")])), Some(4));
        let shared = with(&[("8000-8003", 80, "tcp"), ("8000-8003", 81, "tcp")]);
        assert_eq!(room(&shared), Some(2));
        let apart = with(&[("8000-8003", 80, "tcp"), ("8000-8003", 53, "udp")]);
        assert_eq!(room(&apart), Some(4));
        let narrow = with(&[("8000-8009", 80, "tcp"), ("9000-9002", 81, "tcp")]);
        assert_eq!(too_many(&narrow, 3, 2), None);
        assert_eq!(
            too_many(&narrow, 4, 2).unwrap().to_string(),
            "web: its host ports 8000-8009, 9000-9002 are enough for 3 replicas, not for 4; publish a range of 4 ports or more and run `docker compose up -d --no-deps --scale web=2 web`, or let nginx publish the port and give web `expose` instead of `ports`"
        );
    }

    #[test]
    fn what_the_containers_are_bound_to_counts_when_the_file_has_moved_on() {
        let mut bound = replica(1);
        bound.fixed.host_ports = vec!["8080:80".into()];
        bound.name = "site".into();
        assert_eq!(reasons(&web(), &[&bound]).len(), 2);
    }
}
