//! Where a replica is reached: by nginx, and by this program's own looks at it.
//!
//! An nginx in a container reaches a replica on a network that both are on. One on this host takes
//! the container's own address where this host has an interface on that network, as it has on every
//! bridge network of an Engine that runs on it. Where it has none (an Engine in a virtual machine,
//! a rootless one, macvlan) it takes the port that the replica publishes on this host.

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
};

use super::nginx_target::NginxLocation;
use crate::{
    policy::ReplicaReach,
    project::{ContainerState, Replica},
    proxy::{Listed, inspect},
};

/// The addresses of one replica.
#[derive(Debug, Clone, Copy)]
pub struct Addresses<'a> {
    /// Its own, by network.
    pub own: &'a BTreeMap<String, IpAddr>,
    /// Published on this host, by the port inside.
    pub published: &'a BTreeMap<u16, SocketAddr>,
}

/// How a port of a replica is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicaAddressing {
    /// Where.
    pub address: SocketAddr,
    /// Through the Engine's own proxy, which accepts connections before the replica does.
    pub published: bool,
}

/// An address in nginx's files that is not the replica's any more that it was written for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misdirected {
    /// The replica, by name.
    pub replica: String,
    /// The address.
    pub address: SocketAddr,
    /// Which container of the project has it now; none, or one of somebody else's.
    pub now: Option<String>,
}

/// Which addresses of a service's file are not those of its replicas, as addresses are after containers
/// were started in another order. `containers` are all of the project.
pub fn misdirected(listed: &Listed, containers: &[Replica]) -> Vec<Misdirected> {
    let has = |one: &Replica, address: SocketAddr| {
        let own = one.addresses.values().any(|ip| *ip == address.ip());
        let published = one.published.values().any(|other| *other == address);
        one.state == ContainerState::Running && (own || published)
    };
    let wrong = listed.iter().filter(|(name, address)| {
        let mut named = containers.iter().filter(|one| one.name == **name);
        !named.any(|one| has(one, **address))
    });
    wrong
        .map(|(name, address)| Misdirected {
            replica: name.clone(),
            address: *address,
            now: containers
                .iter()
                .find(|one| has(one, *address))
                .map(|one| one.name.clone()),
        })
        .collect()
}

impl std::fmt::Display for Misdirected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            replica,
            address,
            now,
        } = self;
        write!(f, "{address} is written for {replica} and ")?;
        match now {
            Some(now) => write!(f, "is {now}'s now"),
            None => f.write_str("is not its address now"),
        }
    }
}

/// How nginx reaches a port of a replica; `None` when it cannot.
pub fn for_nginx(
    whereabouts: &NginxLocation,
    reach: ReplicaReach,
    of: Addresses<'_>,
    port: u16,
) -> Option<ReplicaAddressing> {
    match whereabouts {
        NginxLocation::Host => from_host(reach, of, port, &BridgeNetworks::read()),
        NginxLocation::Unknown | NginxLocation::Containers(_) => {
            let shared = inspect::address_for(of.own, &whereabouts.networks());
            shared.map(|ip| direct(ip, port))
        }
    }
}

/// How this program reaches it: as nginx does, else on any network, because all are reachable from
/// the host.
pub fn for_a_look(
    whereabouts: &NginxLocation,
    reach: ReplicaReach,
    of: Addresses<'_>,
    port: u16,
) -> Option<ReplicaAddressing> {
    let any = || of.own.values().next().map(|ip| direct(*ip, port));
    for_nginx(whereabouts, reach, of, port).or_else(any)
}

fn direct(ip: IpAddr, port: u16) -> ReplicaAddressing {
    ReplicaAddressing {
        address: SocketAddr::new(ip, port),
        published: false,
    }
}

fn from_host(
    reach: ReplicaReach,
    of: Addresses<'_>,
    port: u16,
    routes: &BridgeNetworks,
) -> Option<ReplicaAddressing> {
    let published = || {
        of.published.get(&port).map(|address| ReplicaAddressing {
            address: *address,
            published: true,
        })
    };
    let own = || of.own.values().next().map(|ip| direct(*ip, port));
    let bridged = || {
        let mut own = of.own.values();
        let ip = own.find(|ip| routes.lead_directly_to(**ip));
        ip.map(|ip| direct(*ip, port))
    };
    match reach {
        ReplicaReach::Container => own(),
        ReplicaReach::Published => published(),
        ReplicaReach::Auto => bridged().or_else(published),
    }
}

/// The networks that this host has a bridge on.
#[derive(Debug, Default)]
struct BridgeNetworks {
    /// Address and mask.
    bridged: Vec<(u32, u32)>,
}

impl BridgeNetworks {
    fn read() -> Self {
        let table = fs::read_to_string("/proc/net/route").unwrap_or_default();
        Self::parse(&table, |interface| {
            let class = Path::new("/sys/class/net").join(interface);
            class.join("bridge").is_dir()
        })
    }

    /// From the kernel's table: interface, destination and gateway in hexadecimal, flags, three
    /// numbers, mask; the bytes of an address in reverse.
    fn parse(table: &str, is_bridge: impl Fn(&str) -> bool) -> Self {
        let number = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::swap_bytes);
        let route = |line: &str| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [interface, destination, gateway, _, _, _, _, mask, ..] = fields.as_slice() else {
                return None;
            };
            let direct = number(gateway)? == 0 && is_bridge(interface);
            direct.then_some((number(destination)?, number(mask)?))
        };
        Self {
            bridged: table.lines().filter_map(route).collect(),
        }
    }

    fn lead_directly_to(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => {
                let ip = Ipv4Addr::to_bits(ip);
                let mut bridged = self.bridged.iter();
                bridged.any(|(network, mask)| ip & mask == *network && *mask != 0)
            }
            // Networks without IPv4 are rare, and always bridges of this host where they work.
            IpAddr::V6(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	0100000A	0003	0	0	0	00000000	0	0	0
eth0	0000000A	00000000	0001	0	0	0	00FFFFFF	0	0	0
br-1	000012AC	00000000	0001	0	0	0	0000FFFF	0	0	0
";

    fn way(reach: ReplicaReach, own: &str, published: bool) -> Option<(String, bool)> {
        let routes = BridgeNetworks::parse(TABLE, |interface| interface == "br-1");
        let own = [("net".to_owned(), own.parse().unwrap())].into();
        let published = published
            .then(|| (80, "127.0.0.1:32768".parse().unwrap()))
            .into_iter()
            .collect();
        let of = Addresses {
            own: &own,
            published: &published,
        };
        let way = from_host(reach, of, 80, &routes)?;
        Some((way.address.to_string(), way.published))
    }

    #[test]
    fn an_address_is_wrong_where_another_container_has_it_or_none() {
        let at = |name: &str, last: u8| {
            let mut one = crate::plan::tests::replica(1);
            one.name = name.into();
            one.addresses = BTreeMap::from([("net".into(), [172, 18, 0, last].into())]);
            one
        };
        let listed = Listed::from([
            ("shop-web-1".into(), ([172, 18, 0, 2], 80).into()),
            ("shop-web-2".into(), ([172, 18, 0, 3], 80).into()),
            ("shop-web-3".into(), ([127, 0, 0, 1], 8003).into()),
        ]);
        let told = |containers: &[Replica]| {
            let all = misdirected(&listed, containers).into_iter();
            all.map(|one| one.to_string()).collect::<Vec<_>>()
        };
        let mut third = at("shop-web-3", 9);
        third.published = BTreeMap::from([(80, ([127, 0, 0, 1], 8003).into())]);
        let right = [at("shop-web-1", 2), at("shop-web-2", 3), third.clone()];
        assert_eq!(told(&right), [""; 0]);
        let mut stopped = at("shop-web-2", 3);
        stopped.state = ContainerState::Exited;
        assert_eq!(
            told(&[at("shop-admin-1", 2), at("shop-web-1", 4), stopped, third]),
            [
                "172.18.0.2:80 is written for shop-web-1 and is shop-admin-1's now",
                "172.18.0.3:80 is written for shop-web-2 and is not its address now",
            ]
        );
    }

    #[test]
    fn nginx_on_the_host_takes_the_bridge_and_the_published_port_where_there_is_none() {
        let found = |address: &str, published| Some((address.to_owned(), published));
        let bridge = found("172.18.0.5:80", false);
        let port = found("127.0.0.1:32768", true);
        assert_eq!(way(ReplicaReach::Auto, "172.18.0.5", true), bridge);
        assert_eq!(way(ReplicaReach::Auto, "172.18.0.5", false), bridge);
        // An address of the host's own network is no container on a bridge: macvlan.
        assert_eq!(way(ReplicaReach::Auto, "10.0.0.9", true), port);
        assert_eq!(way(ReplicaReach::Auto, "172.30.0.5", true), port);
        assert_eq!(way(ReplicaReach::Auto, "172.30.0.5", false), None);
        assert_eq!(way(ReplicaReach::Published, "172.18.0.5", true), port);
        assert_eq!(way(ReplicaReach::Published, "172.18.0.5", false), None);
        let own = found("172.30.0.5:80", false);
        assert_eq!(way(ReplicaReach::Container, "172.30.0.5", true), own);
    }
}
