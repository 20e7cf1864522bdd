//! What has to hold between the parts of a project, in compose's words where it has some.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;

use super::{
    error::Mistakes,
    extra_validation::is_external,
    merge,
    tree::{KeyPath, Map, Node, NodeValue},
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
                "has neither an image nor a build context specified; add `image` or `build`".into(),
            );
        }
        let listed = node.and_then(|node| node.get("networks"));
        let attached = listed.is_some_and(|networks| match &networks.value {
            NodeValue::List(list) => !list.is_empty(),
            NodeValue::Map(map) => !map.is_empty(),
            _ => true,
        });
        if service.network_mode.is_some() && attached {
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
        let mut models = node.and_then(|node| node.get("models")).cloned();
        models.iter_mut().for_each(merge::keys_to_map);
        for model in models.iter().filter_map(Node::as_map).flat_map(Map::keys) {
            if !defined(root, "models", model) {
                say(
                    &["models", model],
                    format!("refers to undefined model {model}"),
                );
            }
        }
        for other in service.depends_on.keys() {
            let optional = node
                .and_then(|node| node.get("depends_on")?.get(other)?.get("required"))
                .is_some_and(|required| required.scalar().as_deref() == Some("false"));
            let off = root.get("services").and_then(|all| all.get(other));
            if services.contains_key(other) || optional && off.is_some() {
                continue;
            }
            let message = match off {
                Some(off) => {
                    let profiles = off.get("profiles").and_then(Node::as_list);
                    let profile = profiles.and_then(|all| all.first()?.as_text());
                    format!(
                        "depends on service {other}, which is switched off; add --profile {}",
                        profile.unwrap_or("NAME")
                    )
                }
                None if other.is_empty() => "depends on a service without a name".into(),
                None => format!("depends on undefined service {other}"),
            };
            let written = node.and_then(|node| wherefrom(node, other));
            match written {
                Some(key) => say(&[key], message),
                None if other.is_empty() => say(&["depends_on"], message),
                None => say(&["depends_on", other], message),
            }
        }
    }
    for (section, sources) in [
        ("configs", &["file", "environment", "content"][..]),
        ("secrets", &["file", "environment"]),
        ("volumes", &[]),
        ("networks", &[]),
    ] {
        let entries = root.get(section).and_then(Node::as_map);
        for (key, entry) in entries.into_iter().flatten() {
            let wrong = wrong_source(entry, sources)
                .or_else(|| wrong_external(entry, section == "volumes"));
            if let Some((key_below, message)) = wrong {
                let mut path = KeyPath::of([section, key]);
                path.0.extend(key_below.map(ToOwned::to_owned));
                mistakes.add(root.spot_of(&path.0), &path, message);
            }
        }
    }
    cycle(root, services, mistakes);
}

/// The key other than `depends_on` by which a service depends on another.
fn wherefrom(node: &Node, other: &str) -> Option<&'static str> {
    let keys = [
        "links",
        "network_mode",
        "ipc",
        "pid",
        "uts",
        "cgroup",
        "volumes_from",
    ];
    let names = |node: &Node| match &node.value {
        NodeValue::List(items) => items
            .iter()
            .filter_map(Node::as_text)
            .any(|item| item == other || item.split(':').next() == Some(other)),
        NodeValue::Text(text) => text.strip_prefix("service:") == Some(other),
        _ => false,
    };
    let depends = node.get("depends_on");
    let written = depends.is_some_and(|all| match &all.value {
        NodeValue::Map(map) => map.contains_key(other),
        _ => names(all),
    });
    keys.into_iter()
        .find(|key| !written && node.get(key).is_some_and(names))
}

/// What is wrong, and below which key.
type Wrong<'n> = (Option<&'n str>, String);

/// What is wrong with where a config or a secret comes from. Used or not, it must come from one place.
fn wrong_source<'n>(entry: &Node, sources: &[&str]) -> Option<Wrong<'n>> {
    let given = sources.iter().filter(|key| entry.get(key).is_some());
    match given.count() {
        _ if sources.is_empty() => None,
        0 if !is_external(entry.get("external")) => {
            Some((None, format!("one of {} must be set", sources.join(", "))))
        }
        0 | 1 => None,
        _ => Some((
            None,
            format!("{} are mutually exclusive", sources.join(", ")),
        )),
    }
}

/// What does not go with `external`. A volume that is kept elsewhere is described there.
fn wrong_external(entry: &Node, is_volume: bool) -> Option<Wrong<'_>> {
    let external = entry
        .get("external")
        .filter(|node| is_external(Some(node)))?;
    let other = external.get("name").and_then(Node::as_text);
    let name = entry.get("name").and_then(Node::as_text);
    if let (Some(one), Some(two)) = (name, other)
        && one != two
    {
        let message = "`name` and `external.name` differ; write `name` alone";
        return Some((Some("name"), message.to_owned()));
    }
    let described = entry.as_map().filter(|_| is_volume)?;
    let key = described
        .keys()
        .find(|key| !key.starts_with("x-") && !["external", "name"].contains(&key.as_str()))?;
    let message =
        format!("`{key}` does not go with `external`, which is made elsewhere; take one away");
    Some((Some(key), message))
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
