//! From the merged tree of a service to what is written of its container, for whoever runs it on
//! something else than this Engine.
//!
//! Shapes have been checked before. What cannot be understood all the same is left out here and still
//! named in [`Workload::keys`], so that it is never lost in silence.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    container_spec::read,
    extra_validation::is_external,
    merge::{into_entries, into_hosts},
    reader::ServiceReader,
    text_parsers,
    tree::Node,
};
use crate::{
    project::{
        Limits,
        workload::{NamedNetwork, NamedVolume, Workload},
    },
    units::Bytes,
};

/// Sections whose own keys are named one by one.
const SECTIONS: [&str; 2] = ["deploy", "build"];

impl ServiceReader<'_> {
    /// What is written of a service's container.
    pub(super) fn workload(&self, node: &Node, from_env_file: BTreeSet<String>) -> Workload {
        let text = |key: &str| node.get(key)?.scalar().filter(|text| !text.is_empty());
        let flag = |key: &str| node.get(key).and_then(read::flag) == Some(true);
        let list = |key: &str| {
            let list = node.get(key).and_then(read::texts_or_text);
            list.unwrap_or_default()
        };
        let pairs = |key: &str| node.get(key).map(read::pairs).unwrap_or_default();
        let capabilities = |key: &str| {
            let names = list(key).into_iter().map(|name| {
                let name = name.trim().to_ascii_uppercase();
                name.strip_prefix("CAP_").unwrap_or(&name).to_owned()
            });
            names.collect()
        };
        Workload {
            keys: keys(node),
            command: command(node, "command"),
            entrypoint: command(node, "entrypoint"),
            user: text("user"),
            working_dir: text("working_dir"),
            hostname: text("hostname"),
            read_only: flag("read_only"),
            privileged: flag("privileged"),
            init: flag("init"),
            tty: flag("tty"),
            stdin_open: flag("stdin_open"),
            cap_add: capabilities("cap_add"),
            cap_drop: capabilities("cap_drop"),
            security: list("security_opt"),
            group_add: list("group_add"),
            sysctls: pairs("sysctls"),
            extra_hosts: extra_hosts(node),
            dns: [list("dns"), list("dns_search"), list("dns_opt")],
            memory_mounts: memory_mounts(node),
            shm_size: size(node.get("shm_size")),
            annotations: pairs("annotations"),
            reserved: reserved(node),
            files: self.files(node),
            from_env_file,
            attachments: attachments(node),
            subpaths: subpaths(node),
            pull_policy: text("pull_policy"),
            platform: text("platform"),
        }
    }
}

/// Paths inside of volumes, by the path in the container.
fn subpaths(node: &Node) -> BTreeMap<String, String> {
    let items = node.get("volumes").and_then(Node::as_list);
    let below = items.into_iter().flatten().filter_map(|item| {
        let path = item.get("volume")?.get("subpath")?.as_text()?;
        Some((item.get("target")?.as_text()?.to_owned(), path.to_owned()))
    });
    below.filter(|(_, path)| !path.is_empty()).collect()
}

/// Keys of a service's networks that say how it is attached.
const ATTACHMENTS: [&str; 4] = [
    "driver_opts",
    "interface_name",
    "link_local_ips",
    "mac_address",
];

fn attachments(node: &Node) -> BTreeSet<String> {
    let networks = node.get("networks").and_then(Node::as_map);
    let keys = networks
        .into_iter()
        .flatten()
        .filter_map(|(_, one)| one.as_map());
    let keys = keys.flat_map(|map| map.keys());
    keys.filter(|key| ATTACHMENTS.contains(&key.as_str()))
        .cloned()
        .collect()
}

/// The networks of the project.
pub(super) fn networks(root: &Node) -> BTreeMap<String, NamedNetwork> {
    let all = root.get("networks").and_then(Node::as_map);
    let networks = all.into_iter().flatten().map(|(key, node)| {
        let network = NamedNetwork {
            internal: node.get("internal").and_then(read::flag) == Some(true),
            external: is_external(node.get("external")),
        };
        (key.clone(), network)
    });
    networks.collect()
}

/// The named volumes of the project.
pub(super) fn volumes(root: &Node) -> BTreeMap<String, NamedVolume> {
    let all = root.get("volumes").and_then(Node::as_map);
    let volumes = all.into_iter().flatten().map(|(key, node)| {
        let options = node.get("driver_opts").map(read::pairs);
        let volume = NamedVolume {
            external: is_external(node.get("external")),
            driver: node.get("driver").and_then(Node::as_text).map(Into::into),
            options: options.unwrap_or_default(),
        };
        (key.clone(), volume)
    });
    volumes.collect()
}

fn keys(node: &Node) -> Vec<String> {
    let mut all = Vec::new();
    for (key, value) in node.as_map().into_iter().flatten() {
        // Nothing, to compose.
        if value.is_null() {
            continue;
        }
        if SECTIONS.contains(&key.as_str()) {
            below(key, value, &mut all);
        } else {
            all.push(key.clone());
        }
    }
    all
}

/// A section's keys, and those of its resources down to the last.
fn below(path: &str, node: &Node, all: &mut Vec<String>) {
    let deep = matches!(path, "deploy" | "build" | "deploy.resources")
        || path.starts_with("deploy.resources.") && path.split('.').count() == 3;
    match node.as_map().filter(|_| deep) {
        Some(map) => {
            for (key, inner) in map.iter().filter(|(_, inner)| !inner.is_null()) {
                below(&format!("{path}.{key}"), inner, all);
            }
        }
        None => all.push(path.to_owned()),
    }
}

fn command(node: &Node, key: &str) -> Option<Vec<String>> {
    read::command(node.get(key).filter(|node| !node.is_null())?)
}

/// Names and addresses; an address in brackets is one of IPv6.
fn extra_hosts(node: &Node) -> Vec<(String, String)> {
    let entries = node.get("extra_hosts").cloned().map(into_hosts);
    let pairs = entries.unwrap_or_default().into_iter().filter_map(|entry| {
        let text = entry.as_text()?;
        let (host, address) = text.split_once('=').or_else(|| text.split_once(':'))?;
        let address = address.trim_start_matches('[').trim_end_matches(']');
        Some((host.to_owned(), address.to_owned()))
    });
    pairs.collect()
}

/// `tmpfs`, and volumes of that type.
fn memory_mounts(node: &Node) -> Vec<(String, u64)> {
    let mut all = Vec::new();
    for entry in node
        .get("tmpfs")
        .cloned()
        .map(into_entries)
        .unwrap_or_default()
    {
        let text = entry.scalar().unwrap_or_default();
        let (path, options) = text.split_once(':').unwrap_or((&text, ""));
        let limit = options
            .split(',')
            .find_map(|option| option.strip_prefix("size="));
        let limit = limit.and_then(text_parsers::size).unwrap_or(0);
        all.push((path.to_owned(), limit));
    }
    let volumes = node.get("volumes").and_then(Node::as_list);
    for item in volumes.into_iter().flatten() {
        let is_tmpfs = item.get("type").and_then(Node::as_text) == Some("tmpfs");
        if let Some(target) = item.get("target").and_then(Node::as_text)
            && is_tmpfs
        {
            let limit = item.get("tmpfs").and_then(|tmpfs| size(tmpfs.get("size")));
            all.push((target.to_owned(), limit.unwrap_or(0)));
        }
    }
    all
}

fn size(node: Option<&Node>) -> Option<u64> {
    let size = node.and_then(read::size)?;
    u64::try_from(size).ok().filter(|size| *size > 0)
}

fn reserved(node: &Node) -> Limits {
    let below = ["deploy", "resources", "reservations"];
    let deploy = below.iter().try_fold(node, |node, key| node.get(key));
    let cpus = deploy.and_then(|all| all.get("cpus")?.scalar()?.parse::<f64>().ok());
    let memory = deploy.and_then(|all| size(all.get("memory")));
    Limits {
        cpus: cpus.filter(|cpus| cpus.is_finite() && *cpus > 0.0),
        memory: memory
            .or_else(|| size(node.get("mem_reservation")))
            .map(Bytes),
    }
}
