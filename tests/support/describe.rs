//! What is left of two containers' descriptions when everything is taken out that two replicas of
//! one service never share: number, name, ids, addresses, times, names of anonymous volumes.

use serde_json::{Map, Value};

use super::text;

/// Where the Engine's own maps or compose's make the order of a list a matter of chance.
const UNORDERED: [&str; 7] = [
    "/Config/Env",
    "/HostConfig/Binds",
    "/HostConfig/ExtraHosts",
    "/HostConfig/Mounts",
    "/HostConfig/Ulimits",
    "/HostConfig/VolumesFrom",
    "/Mounts",
];

/// A description without what differs between replicas.
pub(crate) fn normalised(inspect: &Value) -> Value {
    let id = text(&inspect["Id"]);
    let name = text(&inspect["Name"]).trim_start_matches('/');
    let mut copy = inspect.clone();
    let root = copy.as_object_mut().expect("a description");
    for volatile in [
        "Id",
        "Created",
        "ExecIDs",
        "GraphDriver",
        "HostnamePath",
        "HostsPath",
        "LogPath",
        "ResolvConfPath",
        "Storage",
    ] {
        root.remove(volatile);
    }
    if let Some(state) = root.get_mut("State").and_then(Value::as_object_mut) {
        for volatile in ["Pid", "StartedAt", "FinishedAt", "Health"] {
            state.remove(volatile);
        }
    }
    if let Some(settings) = root
        .get_mut("NetworkSettings")
        .and_then(Value::as_object_mut)
    {
        for volatile in ["SandboxID", "SandboxKey"] {
            settings.remove(volatile);
        }
        // Which port of the range it got; the range itself is in HostConfig.
        if let Some(ports) = settings.get_mut("Ports").and_then(Value::as_object_mut) {
            for bindings in ports.values_mut().filter_map(Value::as_array_mut) {
                for binding in bindings {
                    binding["HostPort"] = Value::from("PORT");
                }
            }
        }
        strip_addresses(settings);
        if let Some(networks) = settings.get_mut("Networks").and_then(Value::as_object_mut) {
            for endpoint in networks.values_mut().filter_map(Value::as_object_mut) {
                strip_addresses(endpoint);
            }
        }
    }
    if text(&inspect["HostConfig"]["NetworkMode"]).starts_with("container:")
        && let Some(config) = copy.pointer_mut("/Config").and_then(Value::as_object_mut)
    {
        // The host name of the container it lives in.
        config.remove("Hostname");
    }
    rewrite(&mut copy, &|found| {
        if found
            .strip_prefix("container:")
            .is_some_and(|id| is_hex(id, 64))
        {
            return "container:OTHER".into();
        }
        found
            .split('/')
            .map(|part| match part {
                part if part == name => "NAME",
                part if part == id => "ID",
                part if part == &id[..12] => "SHORT",
                part if is_hex(part, 64) => "ANONYMOUS",
                part => part,
            })
            .collect::<Vec<_>>()
            .join("/")
    });
    let number = "/Config/Labels/com.docker.compose.container-number";
    if let Some(number) = copy.pointer_mut(number) {
        *number = Value::from("NUMBER");
    }
    // Only on what a recreate has made.
    if let Some(labels) = copy
        .pointer_mut("/Config/Labels")
        .and_then(Value::as_object_mut)
    {
        labels.remove("com.docker.compose.replace");
        // Compose writes it from a map, in random order.
        if let Some(value) = labels.get_mut("com.docker.compose.depends_on") {
            let mut parts: Vec<&str> = text(value).split(',').collect();
            parts.sort_unstable();
            *value = Value::from(parts.join(","));
        }
    }
    for path in UNORDERED {
        if let Some(list) = copy.pointer_mut(path).and_then(Value::as_array_mut) {
            list.sort_by_key(Value::to_string);
        }
    }
    copy
}

fn strip_addresses(endpoint: &mut Map<String, Value>) {
    for volatile in ["EndpointID", "IPAddress", "MacAddress", "GlobalIPv6Address"] {
        if let Some(value) = endpoint.get_mut(volatile) {
            // Whether there is one at all is not a matter of chance.
            let some = !text(value).is_empty();
            *value = Value::from(some);
        }
    }
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn rewrite(value: &mut Value, change: &dyn Fn(&str) -> String) {
    match value {
        Value::String(text) => *text = change(text),
        Value::Array(list) => list.iter_mut().for_each(|item| rewrite(item, change)),
        Value::Object(map) => map.values_mut().for_each(|item| rewrite(item, change)),
        _ => {}
    }
}

/// Every place where two values differ, as `path: ours != theirs`.
pub(crate) fn differences(ours: &Value, theirs: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect("", ours, theirs, &mut found);
    found
}

fn collect(path: &str, ours: &Value, theirs: &Value, found: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            let mut keys: Vec<&String> = ours.keys().chain(theirs.keys()).collect();
            keys.sort();
            keys.dedup();
            let absent = Value::from("(absent)");
            for key in keys {
                let a = ours.get(key).unwrap_or(&absent);
                let b = theirs.get(key).unwrap_or(&absent);
                collect(&format!("{path}/{key}"), a, b, found);
            }
        }
        (Value::Array(ours), Value::Array(theirs)) if ours.len() == theirs.len() => {
            for (at, (a, b)) in ours.iter().zip(theirs).enumerate() {
                collect(&format!("{path}/{at}"), a, b, found);
            }
        }
        (ours, theirs) if ours == theirs => {}
        (ours, theirs) => found.push(format!("{path}: {ours} != {theirs}")),
    }
}
