//! Laying one file over another, and one service over the one it extends.
//!
//! Maps merge, lists append, anything else is replaced. What differs from that is in the two tables
//! below: values that are replaced as a whole, and values with two forms that are brought to one.

use super::{
    error::Mistakes,
    tree::{KeyPath, Map, Node, NodeValue, OverrideTag, SourceLocation},
};

/// How two values of a key with a rule of its own become one.
enum MergeRule {
    /// The later one counts.
    Replace,
    /// Both become lists: `KEY=value` of a map, the only item of a text.
    Entries,
    /// The same, where a name may have several values and none comes twice.
    Hosts,
    /// Both become lists of pairs; of one name the later counts.
    Pairs,
    /// The earlier one becomes a map: of a list, keys without a value.
    LateKeys,
    /// Both become maps: of a list, keys without a value.
    Keys,
    /// Both become maps: of a list, keys with what the short form of a dependency means.
    Dependencies,
    /// Both become maps: a text is the value of this key.
    Field(&'static str),
    /// Options of different drivers do not mix.
    Logging,
}

fn rule(path: &KeyPath) -> Option<MergeRule> {
    const REPLACED: [&str; 5] = [
        "services.*.command",
        "services.*.entrypoint",
        "services.*.healthcheck.test",
        "services.*.ulimits.*",
        "services.*.gpus",
    ];
    const ENTRIES: [&str; 14] = [
        "networks.*.labels",
        "volumes.*.labels",
        "services.*.annotations",
        "services.*.build.args",
        "services.*.build.labels",
        "services.*.deploy.labels",
        "services.*.dns",
        "services.*.dns_search",
        "services.*.env_file",
        "services.*.environment",
        "services.*.label_file",
        "services.*.labels",
        "services.*.sysctls",
        "services.*.tmpfs",
    ];
    const HOSTS: [&str; 2] = ["services.*.build.extra_hosts", "services.*.extra_hosts"];
    const KEYS: [&str; 2] = ["services.*.models", "services.*.networks"];
    if REPLACED.iter().any(|pattern| path.matches(pattern)) {
        Some(MergeRule::Replace)
    } else if ENTRIES.iter().any(|pattern| path.matches(pattern)) {
        Some(MergeRule::Entries)
    } else if HOSTS.iter().any(|pattern| path.matches(pattern)) {
        Some(MergeRule::Hosts)
    } else if path.matches("services.*.build.additional_contexts") {
        Some(MergeRule::Pairs)
    } else if path.matches("services.*.build.ssh") {
        Some(MergeRule::LateKeys)
    } else if KEYS.iter().any(|pattern| path.matches(pattern)) {
        Some(MergeRule::Keys)
    } else if path.matches("services.*.depends_on") {
        Some(MergeRule::Dependencies)
    } else if path.matches("services.*.build") {
        Some(MergeRule::Field("context"))
    } else if path.matches("services.*.extends") {
        Some(MergeRule::Field("service"))
    } else if path.matches("services.*.logging") {
        Some(MergeRule::Logging)
    } else {
        None
    }
}

/// Lays `over` on top of `base`, from which its tags first take back what they name.
pub(crate) fn merge(base: &mut Node, over: Node, path: &KeyPath, mistakes: &mut Mistakes) {
    take_back(base, &over);
    lay(base, without_edits(over), path, mistakes);
}

/// Removes what the tags of `over` name. They name keys of maps: an entry of a list stays.
pub(crate) fn take_back(base: &mut Node, over: &Node) {
    let (Some(map), Some(over)) = (base.as_map_mut(), over.as_map()) else {
        return;
    };
    for (key, node) in over {
        match (node.edit, map.get_mut(key)) {
            (_, None) => {}
            (Some(OverrideTag::Reset), Some(_)) => {
                map.shift_remove(key);
            }
            // It keeps its place among the keys.
            (Some(OverrideTag::Override), Some(base)) => *base = null(node.at),
            (None, Some(base)) => take_back(base, node),
        }
    }
}

/// Lays a tree without tags on top of `base`.
fn lay(base: &mut Node, over: Node, path: &KeyPath, mistakes: &mut Mistakes) {
    if over.is_null() {
        return;
    }
    if base.is_null() {
        *base = over;
        return;
    }
    match rule(path) {
        Some(MergeRule::Replace) => *base = over,
        Some(MergeRule::Entries) => {
            let at = over.at;
            let mut entries = into_entries(std::mem::replace(base, null(at)));
            entries.extend(into_entries(over));
            *base = Node::new(at, NodeValue::List(entries));
        }
        Some(MergeRule::Hosts) => {
            let at = over.at;
            let mut hosts = into_hosts(std::mem::replace(base, null(at)));
            for host in into_hosts(over) {
                if !hosts.iter().any(|known| known.same(&host)) {
                    hosts.push(host);
                }
            }
            *base = Node::new(at, NodeValue::List(hosts));
        }
        Some(MergeRule::Pairs) => {
            let at = over.at;
            let mut pairs = into_entries(std::mem::replace(base, null(at)));
            let name = |node: &Node| {
                let text = node.as_text().unwrap_or_default();
                text.split('=').next().unwrap_or_default().to_owned()
            };
            for pair in into_entries(over) {
                match pairs.iter_mut().find(|known| name(known) == name(&pair)) {
                    Some(known) => *known = pair,
                    None => pairs.push(pair),
                }
            }
            *base = Node::new(at, NodeValue::List(pairs));
        }
        Some(MergeRule::LateKeys) => {
            keys_to_map(base);
            generic(base, over, path, mistakes);
        }
        Some(MergeRule::Keys) => {
            keys_to_map(base);
            let mut over = over;
            keys_to_map(&mut over);
            generic(base, over, path, mistakes);
        }
        Some(MergeRule::Dependencies) => {
            dependencies_to_map(base);
            let mut over = over;
            dependencies_to_map(&mut over);
            generic(base, over, path, mistakes);
        }
        Some(MergeRule::Field(key)) => {
            text_to_map(base, key);
            let mut over = over;
            text_to_map(&mut over, key);
            generic(base, over, path, mistakes);
        }
        Some(MergeRule::Logging) => {
            let driver = |node: &Node| node.get("driver").and_then(Node::scalar);
            let (one, two) = (driver(base), driver(&over));
            if one.is_some() && two.is_some() && one != two {
                *base = over;
            } else {
                generic(base, over, path, mistakes);
            }
        }
        None => generic(base, over, path, mistakes),
    }
}

fn generic(base: &mut Node, over: Node, path: &KeyPath, mistakes: &mut Mistakes) {
    let (at, found) = (over.at, over.to_string());
    match (&mut base.value, over.value) {
        (NodeValue::Map(map), NodeValue::Map(more)) => {
            for (key, node) in more {
                match map.get_mut(&key) {
                    Some(base) => lay(base, node, &path.key(&key), mistakes),
                    None => {
                        map.insert(key, node);
                    }
                }
            }
            base.at = at;
        }
        (NodeValue::List(items), NodeValue::List(more)) => {
            items.extend(more);
            base.at = at;
        }
        (NodeValue::Map(_), _) => mistakes.add(
            at,
            path,
            format!("found {found}, expected a map, as in an earlier file"),
        ),
        (NodeValue::List(_), _) => mistakes.add(
            at,
            path,
            format!("found {found}, expected a list, as in an earlier file"),
        ),
        (_, value) => *base = Node::new(at, value),
    }
}

/// Applies the tags of a tree that is laid on nothing.
pub(crate) fn without_edits(node: Node) -> Node {
    let value = match node.value {
        NodeValue::Map(map) => NodeValue::Map(
            map.into_iter()
                .filter_map(|(key, node)| Some((key, kept(node)?)))
                .collect(),
        ),
        NodeValue::List(items) => NodeValue::List(items.into_iter().filter_map(kept).collect()),
        value => value,
    };
    Node::new(node.at, value)
}

fn kept(node: Node) -> Option<Node> {
    (node.edit != Some(OverrideTag::Reset)).then(|| without_edits(node))
}

fn null(at: SourceLocation) -> Node {
    Node::new(at, NodeValue::Null)
}

/// The items of a value that may be a list, a map, or a single text: of a map `KEY=value`, or
/// `KEY` alone where it has no value.
pub(crate) fn into_entries(node: Node) -> Vec<Node> {
    match node.value {
        NodeValue::List(items) => items,
        NodeValue::Map(map) => map
            .into_iter()
            .map(|(key, node)| match node.value {
                NodeValue::Null => Node::text(node.at, key),
                // A nested value is a mistake, for the reader to find.
                NodeValue::List(_) | NodeValue::Map(_) => node,
                _ => {
                    let value = node.scalar().unwrap_or_default();
                    Node::text(node.at, format!("{key}={value}"))
                }
            })
            .collect(),
        NodeValue::Null => Vec::new(),
        value => vec![Node::new(node.at, value)],
    }
}

/// The same for hosts, whose map may hold several addresses for a name.
pub(crate) fn into_hosts(node: Node) -> Vec<Node> {
    let NodeValue::Map(map) = node.value else {
        return into_entries(node);
    };
    let pairs = map.into_iter().flat_map(|(name, node)| {
        let addresses = match node.value {
            NodeValue::List(items) => items,
            _ => vec![node],
        };
        addresses
            .into_iter()
            .map(move |address| match address.scalar() {
                Some(text) => Node::text(address.at, format!("{name}={text}")),
                None => address,
            })
    });
    pairs.collect()
}

/// Turns a list of names into a map of names without values.
pub(crate) fn keys_to_map(node: &mut Node) {
    if let NodeValue::List(items) = &node.value
        && items.iter().all(|item| item.as_text().is_some())
    {
        let map = items
            .iter()
            .filter_map(|item| Some((item.as_text()?.to_owned(), null(item.at))));
        node.value = NodeValue::Map(map.collect());
    }
}

/// Turns a list of services into a map that says of each what the list means.
fn dependencies_to_map(node: &mut Node) {
    let short = node.as_list().is_some();
    keys_to_map(node);
    for (_, entry) in node.as_map_mut().filter(|_| short).into_iter().flatten() {
        let at = entry.at;
        let meaning = [
            ("condition", Node::text(at, "service_started")),
            ("required", Node::new(at, NodeValue::Bool(true))),
        ];
        let meaning = meaning.map(|(key, node)| (key.to_owned(), node));
        entry.value = NodeValue::Map(Map::from(meaning));
    }
}

fn text_to_map(node: &mut Node, key: &str) {
    if let NodeValue::Text(text) = &node.value {
        let text = Node::text(node.at, text.clone());
        node.value = NodeValue::Map(Map::from([(key.to_owned(), text)]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::yaml;

    fn merged(files: &[&str]) -> (serde_json::Value, Vec<String>) {
        let mut mistakes = Mistakes::default();
        let mut base = Node::new(SourceLocation::default(), NodeValue::Map(Map::new()));
        for (at, text) in files.iter().enumerate() {
            for node in yaml::parse(text, at).unwrap() {
                merge(&mut base, node, &KeyPath::default(), &mut mistakes);
            }
        }
        let mistakes = mistakes.finish(&super::super::tree::Sources::default());
        let messages = mistakes
            .mistakes()
            .iter()
            .map(ToString::to_string)
            .collect();
        (base.to_json(), messages)
    }

    fn service(one: &str, two: &str) -> serde_json::Value {
        let file = |text: &str| format!("services: {{a: {text}}}");
        let (value, mistakes) = merged(&[&file(one), &file(two)]);
        assert_eq!(mistakes, Vec::<String>::new());
        value["services"]["a"].clone()
    }

    #[test]
    fn maps_merge_lists_append_and_scalars_are_replaced() {
        assert_eq!(
            service(
                "{image: x, x-y: {l: [1], a: 1}}",
                "{image: y, x-y: {l: [2], b: 2}}"
            ),
            serde_json::json!({"image": "y", "x-y": {"l": [1, 2], "a": 1, "b": 2}})
        );
    }

    #[test]
    fn commands_are_replaced_as_a_whole() {
        assert_eq!(
            service(
                "{command: [a], healthcheck: {test: a, retries: 1}}",
                "{command: b, healthcheck: {test: [CMD, b]}}"
            ),
            serde_json::json!({"command": "b", "healthcheck": {"test": ["CMD", "b"], "retries": 1}})
        );
    }

    #[test]
    fn lists_and_maps_of_the_same_thing_mix() {
        assert_eq!(
            service(
                "{labels: {a: 1, b: null}, networks: [n], depends_on: [x], build: ./x, dns: d}",
                "{labels: [a=2], networks: {m: {aliases: [q]}}, depends_on: {x: {condition: c}}, build: {target: t}, dns: [e]}"
            ),
            serde_json::json!({
                "labels": ["a=1", "b", "a=2"],
                "networks": {"n": null, "m": {"aliases": ["q"]}},
                "depends_on": {"x": {"condition": "c", "required": true}},
                "build": {"context": "./x", "target": "t"},
                "dns": ["d", "e"],
            })
        );
    }

    #[test]
    fn hosts_keep_every_address_once() {
        assert_eq!(
            service(
                "{extra_hosts: {a: [\"1\", \"2\"], b: \"3\"}}",
                "{extra_hosts: [a=2, b=4]}"
            ),
            serde_json::json!({"extra_hosts": ["a=1", "a=2", "b=3", "b=4"]})
        );
    }

    #[test]
    fn the_short_form_of_a_dependency_means_the_same_in_any_file() {
        let long = "{depends_on: {x: {condition: service_healthy, restart: true}}}";
        let started = serde_json::json!({
            "depends_on": {"x": {"condition": "service_started", "required": true, "restart": true}},
        });
        assert_eq!(service(long, "{depends_on: [x]}"), started);
        assert_eq!(
            service("{depends_on: [x]}", "{depends_on: {x: {restart: true}}}"),
            started
        );
        assert_eq!(
            service(long, "{depends_on: {x: null}}")["depends_on"]["x"]["condition"],
            "service_healthy"
        );
    }

    #[test]
    fn logging_options_merge_only_for_one_driver() {
        let one = "{logging: {driver: x, options: {a: 1}}}";
        assert_eq!(
            service(one, "{logging: {options: {b: 2}}}"),
            serde_json::json!({"logging": {"driver": "x", "options": {"a": 1, "b": 2}}})
        );
        assert_eq!(
            service(one, "{logging: {driver: y, options: {b: 2}}}"),
            serde_json::json!({"logging": {"driver": "y", "options": {"b": 2}}})
        );
    }

    #[test]
    fn tags_take_back_what_was_written_before() {
        assert_eq!(
            service(
                "{ports: [a], labels: {l: 1, m: 2}, expose: [1], image: x}",
                "{ports: !override [b], labels: {l: !reset null}, expose: !reset [], command: !reset x}"
            ),
            serde_json::json!({"ports": ["b"], "labels": ["m=2"], "image": "x"})
        );
        assert_eq!(
            service("{labels: [l=1, m=2]}", "{labels: {l: !reset null}}"),
            serde_json::json!({"labels": ["l=1", "m=2"]})
        );
    }

    #[test]
    fn nothing_takes_nothing_away() {
        assert_eq!(
            service("{image: x, expose: [1]}", "{image: null, expose: ~}"),
            serde_json::json!({"image": "x", "expose": [1]})
        );
    }

    #[test]
    fn different_kinds_do_not_merge() {
        let (_, mistakes) = merged(&[
            "services: {a: {healthcheck: {retries: 1}}}",
            "services: {a: {healthcheck: [1]}}",
        ]);
        insta::assert_snapshot!(mistakes.join("\n"), @"services.a.healthcheck: found a list, expected a map, as in an earlier file");
    }
}
