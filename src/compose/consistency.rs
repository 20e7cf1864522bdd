//! What has to hold between the parts of a project, in compose's words where it has some.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;

use super::{
    error::Mistakes,
    tree::{KeyPath, Node},
};
use crate::project::Service;

/// Notes what an enabled service refers to and is not there, and what excludes each other.
pub(crate) fn check(root: &Node, services: &IndexMap<String, Service>, mistakes: &mut Mistakes) {
    let mut container_names = BTreeMap::new();
    for (name, service) in services {
        let path = KeyPath::of(["services", name.as_str()]);
        let mut say = |key: &[&str], message: String| {
            let mut full = path.clone();
            full.0.extend(key.iter().map(|key| (*key).to_owned()));
            mistakes.add(root.spot_of(&full.0), &full, message);
        };
        let node = root.get("services").and_then(|all| all.get(name));
        let has = |key: &str| node.is_some_and(|node| node.get(key).is_some());
        if service.image.is_none() && !has("provider") {
            say(
                &[],
                "has neither an image nor a build context specified".into(),
            );
        }
        if service.network_mode.is_some() && has("networks") {
            let message = "declares mutually exclusive `network_mode` and `networks`";
            say(&["network_mode"], message.into());
        }
        if service.container_name.is_some() && service.scale.is_some_and(|scale| scale > 1) {
            let message = "can't be set together with more than one replica: \
                           a container name must be unique";
            say(&["container_name"], message.into());
        }
        if let Some(container) = service.container_name.as_deref() {
            match container_names.get(container) {
                Some(other) => {
                    let message = format!(
                        "container name {container:?} is already in use by service {other}"
                    );
                    say(&["container_name"], message);
                }
                None => {
                    container_names.insert(container, name);
                }
            }
        }
        for key in service.networks.keys() {
            if key != "default" && !defined(root, "networks", key) {
                say(
                    &["networks", key],
                    format!("refers to undefined network {key}"),
                );
            }
        }
        for (at, volume) in service.volumes.iter().enumerate() {
            if let Some(source) = volume.source.as_deref()
                && volume.kind == "volume"
                && !defined(root, "volumes", source)
            {
                let position = format!("[{at}]");
                let message = format!("refers to undefined volume {source}");
                say(&["volumes", &position], message);
            }
        }
        for (section, one) in [("configs", "config"), ("secrets", "secret")] {
            let items = node
                .and_then(|node| node.get(section))
                .and_then(Node::as_list);
            for (at, item) in items.into_iter().flatten().enumerate() {
                let source = item.as_text().or_else(|| item.get("source")?.as_text());
                if let Some(source) = source.filter(|source| !defined(root, section, source)) {
                    let position = format!("[{at}]");
                    say(
                        &[section, &position],
                        format!("refers to undefined {one} {source}"),
                    );
                }
            }
        }
        for other in service.depends_on.keys() {
            let optional = node
                .and_then(|node| node.get("depends_on")?.get(other)?.get("required"))
                .is_some_and(|required| required.scalar().as_deref() == Some("false"));
            let fine = services.contains_key(other) || optional && defined(root, "services", other);
            if !fine {
                let message = format!("depends on undefined or disabled service {other}");
                say(&["depends_on", other], message);
            }
        }
    }
    for (section, sources) in [
        ("configs", ["file", "environment", "content"].as_slice()),
        ("secrets", &["file", "environment"]),
    ] {
        let entries = root.get(section).and_then(Node::as_map);
        for (key, entry) in entries.into_iter().flatten() {
            if let Some(message) = wrong_source(entry, sources) {
                mistakes.add(entry.at, &KeyPath::of([section, key]), message);
            }
        }
    }
    cycle(root, services, mistakes);
}

/// What is wrong with where a config or a secret comes from. Used or not, it must come from one place.
fn wrong_source(entry: &Node, sources: &[&str]) -> Option<String> {
    let given = sources.iter().filter(|key| entry.get(key).is_some());
    match given.count() {
        0 if entry.get("external").is_none() => {
            Some(format!("one of {} must be set", sources.join(", ")))
        }
        0 | 1 => None,
        _ => Some(format!("{} are mutually exclusive", sources.join(", "))),
    }
}

fn defined(root: &Node, section: &str, key: &str) -> bool {
    root.get(section).is_some_and(|all| all.get(key).is_some())
}

/// Notes one ring of services that wait for each other.
fn cycle(root: &Node, services: &IndexMap<String, Service>, mistakes: &mut Mistakes) {
    fn visit<'s>(
        name: &'s str,
        services: &'s IndexMap<String, Service>,
        way: &mut Vec<&'s str>,
        done: &mut BTreeSet<&'s str>,
    ) -> Option<String> {
        if let Some(start) = way.iter().position(|known| *known == name) {
            return Some(format!("{} -> {name}", way[start..].join(" -> ")));
        }
        if !done.insert(name) {
            return None;
        }
        way.push(name);
        let others = services.get(name)?.depends_on.keys();
        let ring = others
            .filter(|other| services.contains_key(*other))
            .find_map(|other| visit(other, services, way, done));
        way.pop();
        ring
    }
    let mut done = BTreeSet::new();
    for name in services.keys() {
        let mut way = Vec::new();
        if let Some(ring) = visit(name, services, &mut way, &mut done) {
            let path = KeyPath::of(["services", name.as_str(), "depends_on"]);
            let message = format!("dependency cycle detected: {ring}");
            mistakes.add(root.spot_of(&path.0), &path, message);
            return;
        }
    }
}
