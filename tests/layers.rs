//! Who may use whom: lower layers never import higher ones, and outside crates stay where they
//! belong. The table is the architecture; a change of it is a change of the architecture.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Each module and what it may use of this crate.
const MAY_USE: &[(&str, &[&str])] = &[
    // 0: words, one way to replace a file, and one to run a command
    ("units", &[]),
    ("files", &[]),
    ("processes", &[]),
    // 1: facts
    ("project", &["units", "files"]),
    ("policy", &["units"]),
    ("usage", &["units"]),
    ("traffic", &["units"]),
    // 2: judgement
    ("decide", &["units", "project", "policy", "usage"]),
    ("plan", &["units", "project"]),
    // 3: flow
    (
        "reconcile",
        &["units", "project", "policy", "usage", "decide", "plan"],
    ),
    // 4: adapters, never each other
    ("compose", &["units", "project", "policy", "usage", "files"]),
    ("engine", &["units", "project", "policy", "usage"]),
    ("compose_cli", &["units", "files", "processes"]),
    ("host", &["units"]),
    (
        "proxy",
        &[
            "units",
            "project",
            "policy",
            "usage",
            "traffic",
            "files",
            "processes",
        ],
    ),
    ("sources", &["units", "policy", "processes"]),
    ("state", &["units", "project", "reconcile", "files"]),
    // 5: shell
    ("init", &["units", "project", "policy", "plan", "proxy"]),
    ("export", &["units", "project", "policy", "proxy"]),
    ("telemetry", &["units", "decide"]),
    ("control", &["units", "telemetry", "reconcile"]),
    (
        "screen",
        &[
            "units",
            "project",
            "decide",
            "reconcile",
            "telemetry",
            "control",
        ],
    ),
    (
        "metrics",
        &[
            "units",
            "project",
            "usage",
            "decide",
            "reconcile",
            "engine",
            "control",
        ],
    ),
    (
        "notify",
        &[
            "units",
            "policy",
            "reconcile",
            "sources",
            "telemetry",
            "processes",
        ],
    ),
    (
        "watch",
        &[
            "metrics",
            "units",
            "files",
            "project",
            "policy",
            "usage",
            "traffic",
            "decide",
            "plan",
            "reconcile",
            "compose",
            "compose_cli",
            "engine",
            "host",
            "proxy",
            "sources",
            "state",
            "telemetry",
            "control",
        ],
    ),
    (
        "sim",
        &[
            "files",
            "metrics",
            "units",
            "project",
            "policy",
            "usage",
            "traffic",
            "decide",
            "reconcile",
            "compose",
            "engine",
            "host",
            "proxy",
            "state",
            "control",
            "watch",
        ],
    ),
    // 6: edge
    (
        "cli",
        &[
            "export",
            "init",
            "metrics",
            "screen",
            "sim",
            "units",
            "files",
            "project",
            "policy",
            "usage",
            "traffic",
            "decide",
            "plan",
            "reconcile",
            "compose",
            "compose_cli",
            "engine",
            "host",
            "proxy",
            "sources",
            "state",
            "telemetry",
            "control",
            "notify",
            "watch",
        ],
    ),
];

/// Modules without I/O: they return data, and the driver does something about it.
const PURE: &[&str] = &[
    "units",
    "project",
    "policy",
    "usage",
    "traffic",
    "decide",
    "plan",
    "reconcile",
    "init",
    "export",
];

/// Outside crates that only these places may name.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("bollard", &["engine/docker"]),
    ("hyper", &["sources", "metrics", "notify", "cli/demo"]),
    (
        "http_body_util",
        &["sources", "metrics", "notify", "cli/demo"],
    ),
    ("sketches_ddsketch", &["traffic"]),
    ("rand", &["sim"]),
    ("rand_distr", &["sim"]),
    ("rand_pcg", &["sim"]),
    ("serde_yaml", &["compose"]),
    ("docker_compose_types", &["compose"]),
    ("saphyr_parser", &["compose"]),
    ("sd_notify", &["watch"]),
    ("prometheus_client", &["metrics"]),
    ("ratatui", &["screen"]),
    ("comfy_table", &["cli"]),
    ("indicatif", &["cli"]),
    ("clap", &["cli"]),
    ("k8s_openapi", &["export"]),
    ("similar", &["init"]),
    ("rustls", &["notify"]),
    ("tokio_rustls", &["notify"]),
    ("webpki_roots", &["notify"]),
    ("rustls_native_certs", &["notify"]),
];

/// Who opens or changes files without `files`, which knows what of a file to trust. Each reads what only
/// the kernel or root writes, or what the user has named.
const OPENS_FILES: &[(&str, &str)] = &[
    ("files/", "the one place"),
    ("host.rs", "/proc"),
    ("watch/address.rs", "/proc"),
    ("watch/clock.rs", "/proc"),
    ("notify/mod.rs", "/proc"),
    ("processes.rs", "/proc"),
    ("state/project_lock.rs", "/proc, /etc/passwd, /etc/group"),
    ("proxy/nginx/host.rs", "/proc, and the user's nginx.pid"),
    ("engine/docker/host.rs", "/etc/group"),
    ("engine/docker/counters.rs", "cgroup files"),
    ("cli/check/access.rs", "/etc/passwd, /etc/group"),
    ("cli/check/watchers.rs", "/proc/locks, /etc/passwd"),
    (
        "compose/discover.rs",
        "compose files, among them a shell's pipes",
    ),
    ("cli/explain.rs", "the file that is named"),
    ("screen/keys.rs", "the terminal"),
    (
        "control.rs",
        "the control socket, which is removed and never opened",
    ),
    ("cli/watch.rs", "the same"),
];

struct Source {
    /// Path below `src`, like `engine/docker/mod.rs`.
    path: String,
    module: String,
    /// The code without comments and without the tests at its end.
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files
        .into_iter()
        .filter_map(|file| {
            let path = file
                .strip_prefix(&root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            let module = path.split(['/', '.']).next().unwrap().to_owned();
            if matches!(path.as_str(), "lib.rs" | "main.rs")
                || path.ends_with("tests.rs")
                || path.contains("/tests/")
            {
                return None;
            }
            let text = fs::read_to_string(&file).unwrap();
            let code = text
                .split("#[cfg(test)]")
                .next()
                .unwrap()
                .lines()
                .map(|line| line.split("//").next().unwrap())
                .collect::<Vec<_>>()
                .join("\n");
            Some(Source { path, module, code })
        })
        .collect()
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

/// The top-level modules that a text names as `crate::module` or in `use crate::{module…}`.
fn used(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut word = String::new();
            let mut fresh = true;
            for c in list.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => fresh = true,
                    c if depth == 0 && fresh && (c.is_alphanumeric() || c == '_') => word.push(c),
                    _ if word.is_empty() => {}
                    _ => fresh = false,
                }
                if (!fresh || depth > 0 || c == ',') && !word.is_empty() {
                    found.insert(std::mem::take(&mut word));
                }
            }
            found.extend((!word.is_empty()).then_some(word));
        } else {
            let word: String = rest
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            found.insert(word);
        }
    }
    found
}

#[test]
fn the_scan_sees_every_form_of_a_path() {
    let code = "use crate::units::Moment;\nuse crate::{\n    engine::{Engine, docker::Docker},\n    plan,\n    project::State,\n};\nlet x = crate::state::load();";
    let expected: BTreeSet<String> = ["units", "engine", "plan", "project", "state"]
        .map(String::from)
        .into();
    assert_eq!(used(code), expected);
}

#[test]
fn lower_layers_never_import_higher_ones() {
    let allowed: BTreeMap<_, BTreeSet<_>> = MAY_USE
        .iter()
        .map(|(module, uses)| (*module, uses.iter().copied().collect()))
        .collect();
    let mut wrong = Vec::new();
    for source in sources() {
        let Some(allowed) = allowed.get(source.module.as_str()) else {
            wrong.push(format!(
                "{}: module {} is not in the table",
                source.path, source.module
            ));
            continue;
        };
        for used in used(&source.code) {
            if used != source.module && !allowed.contains(used.as_str()) {
                wrong.push(format!("{} uses {used}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pure_modules_have_no_runtime_no_log_and_no_clock() {
    let mut wrong = Vec::new();
    for source in sources()
        .iter()
        .filter(|s| PURE.contains(&s.module.as_str()))
    {
        for banned in [
            "tokio",
            "tracing",
            "std::fs",
            "std::net::Tcp",
            "std::process",
            "std::env",
            "::now()",
            "async fn",
        ] {
            if source.code.contains(banned) {
                wrong.push(format!("{} names {banned}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_are_opened_in_one_place() {
    let mut wrong = Vec::new();
    let mut used = BTreeSet::new();
    for source in sources() {
        for call in [
            "File::open",
            "File::create",
            "File::options",
            "OpenOptions",
            "fs::read(",
            "fs::read_to_string",
            "fs::write",
            "fs::rename",
            "fs::remove_file",
            "fs::hard_link",
            "fs::copy",
            "openat(",
        ] {
            if !source.code.contains(call) {
                continue;
            }
            match OPENS_FILES
                .iter()
                .find(|(home, _)| source.path.starts_with(home))
            {
                Some((home, _)) => {
                    used.insert(*home);
                }
                None => wrong.push(format!("{} has {call}", source.path)),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let listed: BTreeSet<_> = OPENS_FILES.iter().map(|(home, _)| *home).collect();
    assert_eq!(used, listed);
}

#[test]
fn outside_crates_stay_where_they_belong() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (name, homes) in ONLY_IN {
            let named = source.code.contains(&format!("{name}::"))
                || source.code.contains(&format!("use {name}"));
            if named && !homes.iter().any(|home| source.path.starts_with(home)) {
                wrong.push(format!(
                    "{} names {name}, which belongs to {}",
                    source.path,
                    homes.join(" and ")
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
