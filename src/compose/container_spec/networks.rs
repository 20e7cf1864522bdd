//! Ports, and the networks that a container is on.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::{Endpoint, Resource, SpecBuilder, labels, read};
use crate::{compose::tree::Node, project::ServiceNetwork};

impl SpecBuilder<'_, '_> {
    pub(super) fn ports(&mut self) {
        let mut exposed = Map::new();
        let mut bindings: BTreeMap<String, Vec<Json>> = BTreeMap::new();
        // As compose sends it: the Engine takes a port without a protocol, and a range.
        let written = self.node.get("expose").and_then(read::texts);
        for text in written.unwrap_or_default() {
            exposed.insert(text, json!({}));
        }
        for port in &self.service.ports {
            let key = format!("{}/{}", port.target, port.protocol);
            exposed.insert(key.clone(), json!({}));
            bindings.entry(key).or_default().push(json!({
                "HostIp": port.host_ip.clone().unwrap_or_default(),
                "HostPort": port.published.clone().unwrap_or_default(),
            }));
        }
        if !exposed.is_empty() {
            self.set_config("ExposedPorts", Json::Object(exposed));
        }
        self.set_host("PortBindings", json!(bindings));
    }

    pub(super) fn networks(&mut self) {
        if self.service.network_mode.is_some() {
            return;
        }
        let mut all: Vec<(String, ServiceNetwork)> = self
            .service
            .networks
            .iter()
            .map(|(key, network)| (key.clone(), network.clone()))
            .collect();
        // The highest priority is first; of equals, the first in the alphabet.
        all.sort_by(|(a, one), (b, two)| (two.priority, a).cmp(&(one.priority, b)));
        for (key, network) in all {
            let node = self.node.get("networks").and_then(|all| all.get(&key));
            let written = node.filter(|node| !node.is_null()).cloned();
            self.endpoint(&network, written.as_ref());
            self.network(&key, &network.name);
        }
        if let Some(primary) = self.recipe.endpoints.first() {
            let mode = json!(primary.network);
            self.set_host("NetworkMode", mode);
        }
    }

    fn endpoint(&mut self, network: &ServiceNetwork, node: Option<&Node>) {
        let mut settings = Map::new();
        if let Some(node) = node {
            let mut addresses = Map::new();
            for (key, field) in [
                ("ipv4_address", "IPv4Address"),
                ("ipv6_address", "IPv6Address"),
            ] {
                let address = node.get(key).and_then(Node::as_text);
                if let Some(address) = address.filter(|address| !address.is_empty()) {
                    addresses.insert(field.into(), json!(address));
                }
            }
            if let Some(local) = node.get("link_local_ips").and_then(read::texts) {
                addresses.insert("LinkLocalIPs".into(), json!(local));
            }
            settings.insert("IPAMConfig".into(), Json::Object(addresses));
            if let Some(options) = node.get("driver_opts") {
                settings.insert("DriverOpts".into(), json!(read::pairs(options)));
            }
            if let Some(priority) = node.get("gw_priority").and_then(read::whole)
                && priority != 0
            {
                settings.insert("GwPriority".into(), json!(priority));
                self.need("networks.gw_priority", (1, 48));
            }
            for key in ["interface_name", "mac_address"] {
                if node.get(key).is_some_and(|value| !value.is_blank()) {
                    self.refuse(
                        &format!("networks.{key}"),
                        "only newer Engines take it, and not here",
                    );
                }
            }
        }
        self.recipe.endpoints.push(Endpoint {
            network: network.name.clone(),
            aliases: network.aliases.clone(),
            settings,
        });
    }

    /// A network must be there; it is made as compose makes it.
    fn network(&mut self, key: &str, name: &str) {
        let make = self
            .made("networks", key, name, labels::NETWORK, "Options")
            .map(|mut all| {
                let written = |field: &str| self.top("networks", key)?.get(field);
                for (key, field) in [
                    ("internal", "Internal"),
                    ("attachable", "Attachable"),
                    ("enable_ipv4", "EnableIPv4"),
                    ("enable_ipv6", "EnableIPv6"),
                ] {
                    if let Some(flag) = written(key).and_then(read::flag) {
                        all.insert(field.into(), json!(flag));
                    }
                }
                if let Some(addresses) = written("ipam") {
                    all.insert("IPAM".into(), ipam(addresses));
                }
                Json::Object(all)
            });
        self.recipe.networks.push(Resource {
            name: name.to_owned(),
            make,
        });
    }
}

fn ipam(node: &Node) -> Json {
    let mut all = Map::new();
    if let Some(driver) = node.get("driver").and_then(Node::as_text) {
        all.insert("Driver".into(), json!(driver));
    }
    if let Some(options) = node.get("options") {
        all.insert("Options".into(), json!(read::pairs(options)));
    }
    let pools = node
        .get("config")
        .and_then(Node::as_list)
        .unwrap_or_default();
    let pools = pools.iter().map(|pool| {
        let mut all = Map::new();
        for (key, field) in [
            ("subnet", "Subnet"),
            ("ip_range", "IPRange"),
            ("gateway", "Gateway"),
        ] {
            if let Some(text) = pool.get(key).and_then(Node::as_text) {
                all.insert(field.into(), json!(text));
            }
        }
        if let Some(others) = pool.get("aux_addresses") {
            all.insert("AuxiliaryAddresses".into(), json!(read::pairs(others)));
        }
        Json::Object(all)
    });
    let pools: Vec<Json> = pools.collect();
    if !pools.is_empty() {
        all.insert("Config".into(), json!(pools));
    }
    Json::Object(all)
}
