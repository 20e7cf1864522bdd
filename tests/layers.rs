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
    ("libyaml_safer", &["compose"]),
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
    ("cli/check/other_instances.rs", "/proc/locks, /etc/passwd"),
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
                .split("#[cfg(test)]\nmod tests {")
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
    uses(code)
        .into_iter()
        .chain(inline_paths(code))
        .filter(|path| path[0] == "crate")
        .filter_map(|path| path.into_iter().nth(1))
        .collect()
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

/// Where each file's paths lead: its imports and the paths in its code, resolved to files.
struct Imports {
    /// Module path, like `watch::driver`, to the file's path below `src`.
    files: BTreeMap<Vec<String>, String>,
    /// What a module hands on from its children: `pub use driver::Driver`.
    handed_on: BTreeMap<Vec<String>, BTreeMap<String, Vec<String>>>,
}

impl Imports {
    fn of(sources: &[Source]) -> Self {
        let files: BTreeMap<_, _> = sources
            .iter()
            .map(|source| (module_path(&source.path), source.path.clone()))
            .collect();
        let mut imports = Self {
            files,
            handed_on: BTreeMap::new(),
        };
        for source in sources {
            let module = module_path(&source.path);
            let mut names = BTreeMap::new();
            for import in uses(&source.code) {
                let path = absolute(&module, &import);
                if let Some((name, _)) = path
                    .split_last()
                    .filter(|_| imports.is_below(&path, &module))
                {
                    names.insert(name.clone(), path);
                }
            }
            imports.handed_on.insert(module, names);
        }
        imports
    }

    fn is_below(&self, path: &[String], module: &[String]) -> bool {
        path.starts_with(module) && self.files.contains_key(&path[..path.len() - 1])
    }

    /// The file that a path leads to.
    fn file(&self, path: &[String]) -> Option<&String> {
        let length = (1..=path.len())
            .rev()
            .find(|length| self.files.contains_key(&path[..*length]))?;
        if let Some(name) = path.get(length)
            && let Some(further) = self
                .handed_on
                .get(&path[..length])
                .and_then(|names| names.get(name))
            && further.len() > length + 1
        {
            return self.file(further);
        }
        self.files.get(&path[..length])
    }

    /// The files that each file needs. A module and the files inside it are one room: what a file takes
    /// from the modules around it counts for nothing.
    fn needed(&self, sources: &[Source]) -> BTreeMap<String, BTreeSet<String>> {
        let mut needed = BTreeMap::new();
        for source in sources {
            let module = module_path(&source.path);
            let paths = uses(&source.code)
                .into_iter()
                .chain(inline_paths(&source.code));
            let files: BTreeSet<_> = paths
                .filter_map(|path| self.file(&absolute(&module, &path)))
                .filter(|file| **file != source.path && !module.starts_with(&module_path(file)))
                .cloned()
                .collect();
            needed.insert(source.path.clone(), files);
        }
        needed
    }
}

/// A path as a whole: without `crate`, `self` and `super`.
fn absolute(module: &[String], path: &[String]) -> Vec<String> {
    let (mut base, rest) = match path.first().map(String::as_str) {
        Some("crate") => (Vec::new(), &path[1..]),
        Some("self") => (module.to_vec(), &path[1..]),
        Some("super") => {
            let ups = path.iter().take_while(|part| *part == "super").count();
            (
                module[..module.len().saturating_sub(ups)].to_vec(),
                &path[ups..],
            )
        }
        // A module of this file, or another crate.
        _ => (module.to_vec(), path),
    };
    base.extend(rest.iter().cloned());
    base
}

/// `watch/mod.rs` is `watch`, `watch/driver.rs` is `watch::driver`.
fn module_path(file: &str) -> Vec<String> {
    let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
    path.split('/').map(str::to_owned).collect()
}

/// The paths of all `use` items, one for each name.
fn uses(code: &str) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for (at, _) in code.match_indices("use ") {
        let begins = code[..at]
            .chars()
            .next_back()
            .is_none_or(char::is_whitespace);
        let before = code[..at].lines().next_back().unwrap_or_default().trim();
        if !begins
            || !(before.is_empty() || before.starts_with("pub") || code[..at].ends_with('\n'))
        {
            continue;
        }
        let item = code[at + "use ".len()..].split(';').next().unwrap();
        spread(
            &mut Vec::new(),
            &item.split_whitespace().collect::<Vec<_>>().join(" "),
            &mut all,
        );
    }
    all
}

/// `a::{b, c::d}` is `a::b` and `a::c::d`.
fn spread(prefix: &mut Vec<String>, item: &str, all: &mut Vec<Vec<String>>) {
    let length = prefix.len();
    let (head, group) = match item.split_once('{') {
        Some((head, rest)) => (head, Some(rest.trim_end().trim_end_matches('}'))),
        None => (item.split(" as ").next().unwrap(), None),
    };
    prefix.extend(
        head.split("::")
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(str::to_owned),
    );
    match group {
        None => {
            if prefix.last().is_some_and(|last| last == "self") && prefix.len() > 1 {
                prefix.pop();
            }
            all.push(prefix.clone());
        }
        Some(group) => {
            let mut depth = 0;
            for part in group.split(|c| {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    _ => {}
                }
                c == ',' && depth == 0
            }) {
                if !part.trim().is_empty() {
                    spread(prefix, part.trim(), all);
                }
            }
        }
    }
    prefix.truncate(length);
}

/// Paths in the code itself: `super::address::for_nginx(…)`, `setup::nginx_place(…)`.
fn inline_paths(code: &str) -> Vec<Vec<String>> {
    code.split(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | ':')))
        .filter(|word| word.contains("::"))
        .map(|word| {
            word.split("::")
                .filter(|p| !p.is_empty())
                .map(str::to_owned)
                .collect()
        })
        .filter(|path: &Vec<String>| {
            path.first()
                .is_some_and(|first| matches!(first.as_str(), "crate" | "super" | "self"))
        })
        .collect()
}

/// The shortest way from a file back to itself.
fn circle(needed: &BTreeMap<String, BTreeSet<String>>, start: &str) -> Option<Vec<String>> {
    let mut ways = vec![vec![start.to_owned()]];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for next in &needed[way.last().unwrap()] {
                let mut way = way.clone();
                way.push(next.clone());
                if next == start {
                    return Some(way);
                }
                if seen.insert(next.clone()) {
                    longer.push(way);
                }
            }
        }
        ways = longer;
    }
    None
}

#[test]
fn the_scan_of_imports_sees_groups_and_what_is_handed_on() {
    let code = "pub use driver::Driver;\nuse super::{\n    a::{B, c},\n    d,\n};\nuse crate::units::Span as S;";
    let expected: Vec<Vec<String>> = [
        &["driver", "Driver"][..],
        &["super", "a", "B"],
        &["super", "a", "c"],
        &["super", "d"],
        &["crate", "units", "Span"],
    ]
    .map(|path| path.iter().map(|part| (*part).to_owned()).collect())
    .into();
    assert_eq!(uses(code), expected);
}

#[test]
fn no_files_import_each_other() {
    let sources = sources();
    let needed = Imports::of(&sources).needed(&sources);
    let mut told = BTreeSet::new();
    let mut wrong = Vec::new();
    for file in needed
        .keys()
        .filter(|file| !told.contains(*file))
        .cloned()
        .collect::<Vec<_>>()
    {
        if told.contains(&file) {
            continue;
        }
        if let Some(way) = circle(&needed, &file) {
            told.extend(way.iter().cloned());
            wrong.push(way.join(" -> "));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Lines that a source file may have, without its tests.
const LONGEST: usize = 500;

#[test]
fn no_source_file_is_too_long_to_read() {
    let mut wrong = Vec::new();
    for source in sources() {
        let lines = source.code.trim_end().lines().count();
        if lines > LONGEST {
            wrong.push(format!("{} has {lines} lines", source.path));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Lines of tests that may stand in the file that they test.
const LONGEST_TESTS: usize = 300;

#[test]
fn long_tests_are_in_files_of_their_own() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for source in sources() {
        let text = fs::read_to_string(root.join(&source.path)).unwrap();
        let tests = text
            .split_once("#[cfg(test)]\nmod tests {")
            .map_or(0, |(_, tests)| tests.lines().count());
        if tests > LONGEST_TESTS {
            wrong.push(format!("{} has {tests} lines of tests", source.path));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_type_has_the_name_of_another() {
    let mut homes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in sources() {
        for line in source.code.lines() {
            let mut words = line
                .split_whitespace()
                .skip_while(|word| word.starts_with("pub"));
            let is_type = matches!(words.next(), Some("struct" | "enum" | "trait" | "type"));
            if !is_type || line.starts_with(' ') {
                continue;
            }
            let name: String = words
                .next()
                .unwrap_or_default()
                .chars()
                .take_while(|c| c.is_alphanumeric())
                .collect();
            homes.entry(name).or_default().push(source.path.clone());
        }
    }
    homes.retain(|_, files| files.len() > 1);
    assert!(homes.is_empty(), "{homes:#?}");
}
