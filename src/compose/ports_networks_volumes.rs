//! From the merged tree of a service to the model: what it is attached to (ports, networks, mounts).

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use docker_compose_types as spec;
use indexmap::IndexMap;

use super::{
    discover::clean,
    extra_validation::is_external,
    long_forms::{self, ValueKind},
    merge, ports,
    reader::ServiceReader,
    tree::{KeyPath, Node, NodeValue, SourceLocation},
};
use crate::project::{Port, Service, ServiceNetwork, Volume};

impl ServiceReader<'_> {
    /// Ports in long form; of two that are the same the later counts, in the place of the earlier.
    /// No host address is the same as that of all IPv4 addresses.
    pub(super) fn ports(&mut self, node: &Node, path: &KeyPath) -> Vec<Port> {
        let items = self.items(node, path, "ports");
        let path = path.key("ports");
        let mut all = IndexMap::new();
        for (at, item) in items.iter().enumerate() {
            for port in self.port(item, &path.item(at)) {
                let ip = port.host_ip.as_deref().unwrap_or("0.0.0.0").to_owned();
                let key = (
                    ip,
                    port.published.clone(),
                    port.target,
                    port.protocol.clone(),
                );
                all.insert(key, port);
            }
        }
        all.into_values().collect()
    }

    fn port(&mut self, node: &Node, path: &KeyPath) -> Vec<Port> {
        let text = match &node.value {
            NodeValue::Map(_) => return self.long_port(node, path).into_iter().collect(),
            NodeValue::Int(_) | NodeValue::Text(_) => node.scalar().unwrap_or_default(),
            _ => {
                self.wrong(node, path, "a port like \"8080:80\"");
                return Vec::new();
            }
        };
        ports::parse(&text).unwrap_or_else(|message| {
            self.mistakes.add(node.at, path, message);
            Vec::new()
        })
    }

    fn long_port(&mut self, node: &Node, path: &KeyPath) -> Option<Port> {
        let keys = [
            ("target", ValueKind::Whole),
            ("published", ValueKind::Word),
            ("protocol", ValueKind::Text),
            ("host_ip", ValueKind::Text),
            ("mode", ValueKind::Text),
        ];
        let port: spec::Port = long_forms::read(node, path, &keys, self.mistakes, self.warnings)?;
        let published = port.published.map(|published| match published {
            spec::PublishedPort::Single(number) => number.to_string(),
            spec::PublishedPort::Range(text) => text,
        });
        if let Some(text) = published.as_deref().filter(|text| !text.is_empty())
            && let Err(message) = ports::range(text)
        {
            let at = node.spot_of(&["published"]);
            self.mistakes.add(at, &path.key("published"), message);
        }
        if let Some(ip) = &port.host_ip
            && ip.parse::<IpAddr>().is_err()
        {
            let at = node.spot_of(&["host_ip"]);
            let message = format!("found {ip:?}, expected an IP address");
            self.mistakes.add(at, &path.key("host_ip"), message);
        }
        let text = |key| Some(node.get(key)?.as_text()?.to_owned());
        Some(Port {
            target: port.target,
            published: published.filter(|text| !text.is_empty()),
            host_ip: port.host_ip,
            protocol: port
                .protocol
                .map_or_else(|| "tcp".to_owned(), |name| name.to_ascii_lowercase()),
            mode: port.mode.unwrap_or_else(|| "ingress".to_owned()),
            name: text("name"),
            app_protocol: text("app_protocol"),
        })
    }

    /// Exposed container ports, without what is the default.
    pub(super) fn expose(&mut self, node: &Node, path: &KeyPath) -> Vec<String> {
        let items = self.items(node, path, "expose");
        let path = path.key("expose");
        let mut all: Vec<String> = Vec::new();
        for (at, item) in items.iter().enumerate() {
            // Compose takes any text here, so what is no port is not refused.
            let text = match &item.value {
                NodeValue::Int(_) | NodeValue::Float(_) | NodeValue::Text(_) => item.scalar(),
                _ => None,
            };
            let Some(text) = text else {
                self.wrong(item, &path.item(at), "a port like \"80\"");
                continue;
            };
            let port = text.strip_suffix("/tcp").unwrap_or(&text);
            if !all.iter().any(|known| known == port) {
                all.push(port.to_owned());
            }
        }
        all
    }

    /// Mounts in long form; of two on one path the later counts, in the place of the earlier.
    pub(super) fn volumes(&mut self, node: &Node, path: &KeyPath) -> Vec<Volume> {
        let items = self.items(node, path, "volumes");
        let path = path.key("volumes");
        let mut all: Vec<Volume> = Vec::new();
        for (at, item) in items.iter().enumerate() {
            let Some(volume) = self.volume(item, &path.item(at)) else {
                continue;
            };
            match all.iter_mut().find(|known| known.target == volume.target) {
                Some(known) => *known = volume,
                None => all.push(volume),
            }
        }
        all
    }

    pub(super) fn volume(&mut self, node: &Node, path: &KeyPath) -> Option<Volume> {
        let mut volume = if let Some(text) = node.as_text() {
            short_volume(text).or_else(|| {
                self.wrong(node, path, "a mount like ./data:/data or data:/data:ro");
                None
            })?
        } else {
            self.long_volume(node, path)?
        };
        volume.target = clean_target(&volume.target);
        if volume.kind == "bind" {
            match volume.source.take() {
                Some(source) => volume.source = Some(self.resolve(&source, node.at)),
                None => self.mistakes.add(node.at, path, "a bind needs a source"),
            }
        }
        Some(volume)
    }

    fn long_volume(&mut self, node: &Node, path: &KeyPath) -> Option<Volume> {
        let keys = [
            ("type", ValueKind::Text),
            ("source", ValueKind::Text),
            ("target", ValueKind::Text),
            ("read_only", ValueKind::Flag),
        ];
        let volume: spec::AdvancedVolumes =
            long_forms::read(node, path, &keys, self.mistakes, self.warnings)?;
        let kinds = ["bind", "volume", "tmpfs", "cluster", "npipe", "image"];
        if !kinds.contains(&volume._type.as_str()) {
            let message = format!("found {:?}, expected {}", volume._type, kinds.join(", "));
            let at = node.spot_of(&["type"]);
            self.mistakes.add(at, &path.key("type"), message);
        }
        let is_bind = volume._type == "bind";
        Some(Volume {
            kind: volume._type,
            // An empty path is the project's directory; an empty name is no name.
            source: volume.source.filter(|source| !source.is_empty() || is_bind),
            target: volume.target,
            read_only: volume.read_only,
        })
    }

    /// An absolute path, from one that is relative to the file it is written in.
    pub(super) fn resolve(&self, path: &str, at: SourceLocation) -> String {
        let bytes = path.as_bytes();
        let windows = bytes.len() > 2 && bytes[1] == b':' && matches!(bytes[2], b'\\' | b'/')
            || path.starts_with(r"\\");
        // Compose leaves what is absolute as it is, dots and all.
        if path.starts_with('/') || windows {
            return path.to_owned();
        }
        let path = match (path.strip_prefix('~'), self.home) {
            // Compose puts whatever follows below one's own home, a name too.
            (Some(rest), Some(home)) => Path::new(home).join(rest.trim_start_matches('/')),
            _ => self
                .sources
                .base(at)
                .map_or_else(|| PathBuf::from(path), |base| base.join(path)),
        };
        clean(&path).to_string_lossy().into_owned()
    }

    /// The networks of a service by key, with their real names.
    pub(super) fn networks(&mut self, service: &mut Service, node: &Node, path: &KeyPath) {
        let path = path.key("networks");
        let mut named = node.get("networks").cloned();
        if let Some(named) = &mut named {
            merge::keys_to_map(named);
            if named.as_map().is_none() && named.as_list().is_none_or(|list| !list.is_empty()) {
                self.wrong(named, &path, "a list or a map of networks");
            }
        }
        let entries = named.as_ref().and_then(Node::as_map);
        for (key, node) in entries.into_iter().flatten() {
            let network = if node.is_null() {
                ServiceNetwork::default()
            } else {
                service.mac_address |= node.get("mac_address").is_some_and(|mac| !mac.is_blank());
                self.network(node, &path.key(key))
            };
            service.networks.insert(key.clone(), network);
        }
        let own = node.get("network_mode").is_none() && node.get("provider").is_none();
        if service.networks.is_empty() && own {
            service
                .networks
                .insert("default".to_owned(), ServiceNetwork::default());
        }
        for (key, network) in &mut service.networks {
            network.name = self.real_name("networks", key);
        }
    }

    fn network(&mut self, node: &Node, path: &KeyPath) -> ServiceNetwork {
        let keys = [
            ("ipv4_address", ValueKind::Text),
            ("ipv6_address", ValueKind::Text),
            ("aliases", ValueKind::Texts),
        ];
        let read = long_forms::read(node, path, &keys, self.mistakes, self.warnings);
        let settings: spec::AdvancedNetworkSettings = read.unwrap_or_default();
        let priority = node
            .get("priority")
            .and_then(|priority| match &priority.value {
                NodeValue::Int(number) => Some(*number),
                NodeValue::Float(number) => Some(*number as i64),
                _ => {
                    self.wrong(priority, &path.key("priority"), "a number");
                    None
                }
            });
        let mut aliases: Vec<String> = Vec::new();
        for alias in settings.aliases {
            if !aliases.contains(&alias) {
                aliases.push(alias);
            }
        }
        ServiceNetwork {
            name: String::new(),
            aliases,
            static_address: [settings.ipv4_address, settings.ipv6_address]
                .iter()
                .flatten()
                .any(|address| !address.is_empty()),
            priority: priority.unwrap_or_default(),
        }
    }

    /// The name that a network or volume has in the Engine.
    pub(super) fn real_name(&self, section: &str, key: &str) -> String {
        let entry = self.root.get(section).and_then(|all| all.get(key));
        let text = |node: Option<&Node>| node.and_then(Node::as_text).map(ToOwned::to_owned);
        let external = entry.and_then(|entry| entry.get("external"));
        text(entry.and_then(|entry| entry.get("name")))
            .filter(|name| !name.is_empty())
            .or_else(|| text(external.and_then(|external| external.get("name"))))
            .unwrap_or_else(|| {
                if is_external(external) {
                    key.to_owned()
                } else {
                    format!("{}_{key}", self.project)
                }
            })
    }
}

/// Reads `[SOURCE:]TARGET[:OPTIONS]`.
fn short_volume(text: &str) -> Option<Volume> {
    let mut parts: Vec<String> = text.split(':').map(ToOwned::to_owned).collect();
    // A letter alone before a colon is a Windows drive to compose, on every system.
    let mut at = 0;
    while at + 1 < parts.len() {
        if text.len() > 2
            && parts[at].len() == 1
            && parts[at].bytes().all(|b| b.is_ascii_alphabetic())
        {
            let rest = parts.remove(at + 1);
            parts[at] = format!("{}:{rest}", parts[at]);
        }
        at += 1;
    }
    if parts.iter().any(String::is_empty) || parts.len() > 3 {
        return None;
    }
    let options = parts.get(2).cloned().unwrap_or_default();
    let (source, target) = match parts.as_slice() {
        [target] => (None, target.clone()),
        [source, target, ..] => (Some(source.clone()), target.clone()),
        [] => return None,
    };
    let is_path = source.as_deref().is_some_and(|source| {
        source.starts_with(['.', '/', '~']) || source.starts_with(r"\\") || source.contains(':')
    });
    Some(Volume {
        kind: if is_path { "bind" } else { "volume" }.to_owned(),
        source,
        target,
        read_only: options.split(',').rfind(|o| matches!(*o, "ro" | "rw")) == Some("ro"),
    })
}

fn clean_target(target: &str) -> String {
    if target.starts_with('/') {
        clean(Path::new(target)).to_string_lossy().into_owned()
    } else {
        target.to_owned()
    }
}

/// What is to happen when the process ends; `deploy` counts before `restart`.
pub(super) fn restart(node: &Node) -> Option<String> {
    let policy = node
        .get("deploy")
        .and_then(|node| node.get("restart_policy"));
    if let Some(policy) = policy.filter(|node| !node.is_null()) {
        let condition = policy.get("condition").and_then(Node::scalar);
        return Some(match condition.as_deref() {
            None | Some("" | "any") => "always".to_owned(),
            Some("none") => "no".to_owned(),
            Some(other) => other.to_owned(),
        });
    }
    match node.get("restart")?.scalar()?.as_str() {
        // `no` without quotes may be a boolean.
        "" | "false" => Some("no".to_owned()),
        other => Some(other.to_owned()),
    }
}

/// The services that are linked, without their aliases.
pub(super) fn links(node: &Node) -> Vec<String> {
    let items = node.get("links").and_then(Node::as_list).unwrap_or(&[]);
    let names = items.iter().filter_map(Node::as_text);
    let names = names.map(|link| link.split(':').next().unwrap_or(link));
    names.map(ToOwned::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_mounts_are_read_as_compose_reads_them() {
        let shown = |text: &str| {
            short_volume(text).map(|v| {
                let source = v.source.unwrap_or_default();
                format!("{} {source} {} {}", v.kind, v.target, v.read_only)
            })
        };
        for (text, expected) in [
            ("/anon", "volume  /anon false"),
            ("data:/data", "volume data /data false"),
            ("data:/data:ro", "volume data /data true"),
            ("./a:/a:rw,z", "bind ./a /a false"),
            ("~/a:/a", "bind ~/a /a false"),
            ("d:/d", "volume  d:/d false"),
            ("d:/x:/d", "bind d:/x /d false"),
        ] {
            assert_eq!(shown(text).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(shown("::/x"), None);
        assert_eq!(shown("aa:bb:cc:dd"), None);
    }
}
