//! The keys that compose knows, from its specification. What is not among them compose refuses, and
//! so do we: a key that is misspelt would otherwise silently do nothing.

use super::{
    error::Mistakes,
    tree::{KeyPath, Node, Value},
};
use crate::policy::validate;

const TOP: &[&str] = &[
    "configs", "include", "models", "name", "networks", "secrets", "services", "version", "volumes",
];

const SERVICE: &[&str] = &[
    "annotations",
    "attach",
    "blkio_config",
    "build",
    "cap_add",
    "cap_drop",
    "cgroup",
    "cgroup_parent",
    "command",
    "configs",
    "container_name",
    "cpu_count",
    "cpu_percent",
    "cpu_period",
    "cpu_quota",
    "cpu_rt_period",
    "cpu_rt_runtime",
    "cpu_shares",
    "cpus",
    "cpuset",
    "credential_spec",
    "depends_on",
    "deploy",
    "develop",
    "device_cgroup_rules",
    "devices",
    "dns",
    "dns_opt",
    "dns_search",
    "domainname",
    "entrypoint",
    "env_file",
    "environment",
    "expose",
    "extends",
    "external_links",
    "extra_hosts",
    "gpus",
    "group_add",
    "healthcheck",
    "hostname",
    "image",
    "init",
    "ipc",
    "isolation",
    "label_file",
    "labels",
    "links",
    "logging",
    "mac_address",
    "mem_limit",
    "mem_reservation",
    "mem_swappiness",
    "memswap_limit",
    "models",
    "network_mode",
    "networks",
    "oom_kill_disable",
    "oom_score_adj",
    "pid",
    "pids_limit",
    "platform",
    "ports",
    "post_start",
    "pre_stop",
    "privileged",
    "profiles",
    "provider",
    "pull_policy",
    "pull_refresh_after",
    "read_only",
    "restart",
    "runtime",
    "scale",
    "secrets",
    "security_opt",
    "shm_size",
    "stdin_open",
    "stop_grace_period",
    "stop_signal",
    "storage_opt",
    "sysctls",
    "tmpfs",
    "tty",
    "ulimits",
    "use_api_socket",
    "user",
    "userns_mode",
    "uts",
    "volumes",
    "volumes_from",
    "working_dir",
];

/// Keys of the maps below, as far as they are read here or a slip in them is likely.
const NESTED: &[(&str, &[&str])] = &[
    (
        "services.*.deploy",
        &[
            "endpoint_mode",
            "labels",
            "mode",
            "placement",
            "replicas",
            "resources",
            "restart_policy",
            "rollback_config",
            "update_config",
        ],
    ),
    ("services.*.deploy.resources", &["limits", "reservations"]),
    (
        "services.*.deploy.resources.limits",
        &["cpus", "memory", "pids"],
    ),
    (
        "services.*.healthcheck",
        &[
            "disable",
            "interval",
            "retries",
            "start_interval",
            "start_period",
            "test",
            "timeout",
        ],
    ),
    ("services.*.extends", &["file", "service"]),
    (
        "services.*.networks.*",
        &[
            "aliases",
            "driver_opts",
            "gw_priority",
            "interface_name",
            "ipv4_address",
            "ipv6_address",
            "link_local_ips",
            "mac_address",
            "priority",
        ],
    ),
    (
        "services.*.ports.*",
        &[
            "app_protocol",
            "host_ip",
            "mode",
            "name",
            "protocol",
            "published",
            "target",
        ],
    ),
    (
        "services.*.volumes.*",
        &[
            "bind",
            "consistency",
            "image",
            "read_only",
            "source",
            "target",
            "tmpfs",
            "type",
            "volume",
        ],
    ),
    (
        "services.*.depends_on.*",
        &["condition", "required", "restart"],
    ),
    (
        "networks.*",
        &[
            "attachable",
            "driver",
            "driver_opts",
            "enable_ipv4",
            "enable_ipv6",
            "external",
            "internal",
            "ipam",
            "labels",
            "name",
        ],
    ),
    (
        "volumes.*",
        &["driver", "driver_opts", "external", "labels", "name"],
    ),
    (
        "configs.*",
        &[
            "content",
            "driver",
            "driver_opts",
            "environment",
            "external",
            "file",
            "labels",
            "name",
            "template_driver",
        ],
    ),
    (
        "secrets.*",
        &[
            "driver",
            "driver_opts",
            "environment",
            "external",
            "file",
            "labels",
            "name",
            "template_driver",
        ],
    ),
];

/// Notes every key that compose does not know.
pub(crate) fn check(root: &Node, mistakes: &mut Mistakes) {
    let top = KeyPath::default();
    keys(root, &top, TOP, mistakes);
    if let Some(name) = root.get("name").filter(|name| name.as_text().is_none()) {
        let message = format!("found {name}, expected a text (put it in quotes)");
        mistakes.add(name.at, &top.key("name"), message);
    }
    for section in ["services", "networks", "volumes", "configs", "secrets"] {
        let Some(node) = root.get(section) else {
            continue;
        };
        let path = top.key(section);
        let Some(map) = node.as_map() else {
            mistakes.add(node.at, &path, format!("found {node}, expected a map"));
            continue;
        };
        for (name, node) in map {
            let path = path.key(name);
            if !name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
            {
                mistakes.add(
                    node.at,
                    &path,
                    "found another character than letters, digits, `.`, `_` and `-` in the name",
                );
            }
            if section == "services" {
                if node.as_map().is_none() {
                    mistakes.add(node.at, &path, format!("found {node}, expected a map"));
                }
                keys(node, &path, SERVICE, mistakes);
            }
            nested(node, &path, mistakes);
        }
    }
}

fn keys(node: &Node, path: &KeyPath, allowed: &[&str], mistakes: &mut Mistakes) {
    for (key, node) in node.as_map().into_iter().flatten() {
        if !key.starts_with("x-") && !allowed.contains(&key.as_str()) {
            let meant = validate::nearest(key, allowed)
                .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            let message = if allowed.len() < 12 {
                let end = if meant.is_empty() { ";" } else { "" };
                format!("unknown key{meant}{end} allowed are {}", allowed.join(", "))
            } else {
                format!("additional properties '{key}' not allowed{meant}")
            };
            mistakes.add(node.at, &path.key(key), message);
        }
    }
}

fn nested(node: &Node, path: &KeyPath, mistakes: &mut Mistakes) {
    // What users put below `x-` is theirs.
    if path.0.last().is_some_and(|key| key.starts_with("x-")) {
        return;
    }
    if let Some((_, allowed)) = NESTED.iter().find(|(pattern, _)| path.matches(pattern)) {
        keys(node, path, allowed, mistakes);
    }
    match &node.value {
        Value::Map(map) => {
            for (key, node) in map {
                nested(node, &path.key(key), mistakes);
            }
        }
        Value::List(items) => {
            for (at, node) in items.iter().enumerate() {
                nested(node, &path.item(at), mistakes);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::{tree::Sources, yaml};

    #[test]
    fn unknown_keys_are_all_named_with_their_line() {
        let root = yaml::parse(
            "foo: 1\nx-bar: 2\nservices:\n  a:\n    imag: x\n    x-y: {z: 1}\n    healthcheck:\n      tset: x\n  b: 1\n  'c d': {}\n",
            0,
        )
        .unwrap()
        .remove(0);
        let mut mistakes = Mistakes::default();
        check(&root, &mut mistakes);
        insta::assert_snapshot!(mistakes.finish(&Sources::default()), @"
        foo: unknown key; allowed are configs, include, models, name, networks, secrets, services, version, volumes
        services.a.imag: additional properties 'imag' not allowed; did you mean `image`?
        services.a.healthcheck.tset: unknown key; allowed are disable, interval, retries, start_interval, start_period, test, timeout
        services.b: found 1, expected a map
        services.c d: found another character than letters, digits, `.`, `_` and `-` in the name
        ");
    }
}
