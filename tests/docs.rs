//! README says what the program does: its tables and examples are held against the code.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use compose_scale::{
    cli::{CODES, code},
    compose::{self, LoadRequest, Loaded},
    decide::{Input, Observed, ObservedState, Reason, decide},
    policy::{
        Metric, Policy, SERVICE_KEYS, Settings,
        notify::{EVENTS, GROUPS},
    },
    units::{Span, Timestamp},
};
use serde_json::Value;

/// README and every page below docs/, by path.
fn pages() -> BTreeMap<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = fs::read_dir(root.join("docs")).unwrap();
    pages
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "md"))
        .chain([root.join("README.md")])
        .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
        .collect()
}

fn page(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The rows of the page's tables whose header begins with these cells, without their markup.
fn table(name: &str, header: &[&str]) -> Vec<Vec<String>> {
    let text = page(name);
    let rows: Vec<_> = text
        .split("\n\n")
        .filter(|block| block.starts_with('|'))
        .flat_map(|block| {
            let mut rows = block.lines().map(cells);
            let is_it = rows
                .next()
                .is_some_and(|cells| cells.starts_with(&owned(header)));
            rows.skip(1).filter(move |_| is_it)
        })
        .collect();
    assert!(
        !rows.is_empty(),
        "{name} has no table with the header {header:?}"
    );
    rows
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// The cells of a row; `\|` is no border.
fn cells(row: &str) -> Vec<String> {
    let row = row.replace("\\|", "\u{0}");
    let inner = row.trim().trim_matches('|');
    inner
        .split('|')
        .map(|cell| cell.trim().replace('\u{0}', "|"))
        .collect()
}

/// All texts in backticks.
fn code_in(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// What a cell says when it is nothing but code.
fn only_code(cell: &str) -> Option<&str> {
    let inner = cell.strip_prefix('`')?.strip_suffix('`')?;
    (!inner.contains('`')).then_some(inner)
}

fn load(yaml: &str) -> Result<Loaded, String> {
    let dir = tempfile::tempdir().unwrap();
    let path: PathBuf = dir.path().join("compose.yaml");
    let mut file = fs::File::create_new(&path).unwrap();
    file.write_all(yaml.as_bytes()).unwrap();
    drop(file);
    let request = LoadRequest {
        files: vec![path],
        cwd: dir.path().to_owned(),
        env: BTreeMap::new(),
        ..LoadRequest::default()
    };
    compose::load(&request).map_err(|error| error.to_string())
}

/// A dotted key and its value as a map on one line: `{a: {b: value}}`.
fn nested(key: &str, value: &str) -> String {
    key.rsplit('.').fold(value.to_owned(), |inner, step| {
        format!("{{{step}: {inner}}}")
    })
}

/// The policy of a service with `max: 1` and these further keys.
fn policy_with(entries: &str) -> Result<Policy, String> {
    let logs = "x-autoscale: {nginx: {logs: {dir: ./logs, inside: /var/log/nginx-load}}}";
    let yaml = format!("{logs}\nservices:\n  web:\n    image: web\n    x-autoscale: {entries}\n");
    let mut loaded = load(&yaml).map_err(|error| format!("{yaml}{error}"))?;
    Ok(loaded.policies.swap_remove("web").unwrap())
}

fn settings_with(entries: &str) -> Result<Settings, String> {
    let yaml = format!("x-autoscale: {entries}\nservices:\n  web:\n    image: web\n");
    Ok(load(&yaml)
        .map_err(|error| format!("{yaml}{error}"))?
        .settings)
}

/// The dotted keys of all values in a document; a list is a value.
fn leaves(value: &Value, path: &str, into: &mut BTreeSet<String>) {
    let Some(map) = value.as_object() else {
        into.insert(path.to_owned());
        return;
    };
    for (key, value) in map {
        let path = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        leaves(value, &path, into);
    }
}

/// The rows of the table of a service's keys: key and default.
fn policy_rows() -> Vec<(String, String)> {
    key_rows("min")
}

/// Of the two tables of keys the one that has this key.
fn key_rows(having: &str) -> Vec<(String, String)> {
    let all = table(
        "docs/settings.md",
        &["key", "default", "allowed", "meaning"],
    );
    let rows: Vec<_> = all
        .into_iter()
        .map(|row| (only_code(&row[0]).unwrap().to_owned(), row[1].clone()))
        .collect();
    let split = rows.iter().position(|(key, _)| key == "interval").unwrap();
    let (policy, settings) = rows.split_at(split);
    let part = [policy, settings]
        .into_iter()
        .find(|part| part.iter().any(|(key, _)| key == having));
    part.unwrap().to_vec()
}

#[test]
fn every_key_of_a_policy_has_a_row_and_every_row_is_a_key() {
    let shown: BTreeSet<String> = policy_rows()
        .iter()
        .map(|(key, _)| key.split('.').next().unwrap().to_owned())
        .collect();
    let known: BTreeSet<String> = SERVICE_KEYS.iter().map(|key| (*key).to_owned()).collect();
    assert_eq!(shown, known);
}

#[test]
fn every_default_in_the_policy_table_is_the_programs() {
    let built_in = policy_with("{max: 1}").unwrap();
    // `Policy::default()` is for services without a section; only its metrics are others.
    let by_hand = Policy {
        metrics: built_in.metrics.clone(),
        ..Policy::default()
    };
    assert_eq!(by_hand, built_in);

    let mut shown = BTreeSet::new();
    for (key, default) in policy_rows() {
        shown.insert(key.clone());
        if matches!(key.as_str(), "max" | "port") {
            assert_eq!(only_code(&default), None, "{key} has no default value");
            continue;
        }
        let value = only_code(&default).unwrap_or_else(|| panic!("{key}: no default"));
        let inner = nested(&key, value);
        let entries = format!("{{max: 1, {}}}", &inner[1..inner.len() - 1]);
        assert_eq!(policy_with(&entries).unwrap(), built_in, "{key}: {value}");
    }

    let mut all = BTreeSet::new();
    leaves(&serde_json::to_value(&built_in).unwrap(), "", &mut all);
    for leaf in all {
        let covered = |row: &String| leaf == *row || leaf.starts_with(&format!("{row}."));
        assert!(shown.iter().any(covered), "{leaf} has no row");
    }
}

#[test]
fn a_service_cannot_do_without_what_is_called_required() {
    let required: Vec<_> = policy_rows()
        .into_iter()
        .filter(|(_, default)| default == "required")
        .map(|(key, _)| key)
        .collect();
    assert_eq!(required, ["max"]);
    assert!(policy_with("{min: 1}").is_err());
}

#[test]
fn every_default_in_the_settings_table_is_the_programs() {
    let mut shown = BTreeSet::new();
    for (key, default) in key_rows("interval") {
        let has_default =
            ["interval", "nginx.reload", "nginx.test", "notify"].contains(&key.as_str());
        if has_default || key.starts_with("host.") {
            let entries = nested(&key, only_code(&default).unwrap());
            assert_eq!(
                settings_with(&entries).unwrap(),
                Settings::default(),
                "{key}"
            );
        } else if matches!(key.as_str(), "nginx.host" | "nginx.pid" | "nginx.reach") {
            let name = key.trim_start_matches("nginx.");
            let value = only_code(&default).unwrap_or("true");
            let entries = match name {
                "host" => "{nginx: {host: true}}".to_owned(),
                "pid" => "{nginx: {host: true, pid: /run/nginx.pid}}".to_owned(),
                _ => format!("{{nginx: {{host: true, {name}: {value}}}}}"),
            };
            settings_with(&entries).unwrap();
        } else {
            // The others have no default in the file, but they are keys.
            let value = match key.as_str() {
                "nginx.logs" => "{dir: ./x, inside: /x}",
                _ => "./x",
            };
            settings_with(&nested(&key, value)).unwrap();
        }
        shown.insert(key);
    }
    // The error for a key that is not there names all that are.
    for (section, wrong) in [
        ("", "{wrong: 1}"),
        ("nginx.", "{nginx: {wrong: 1}}"),
        ("host.", "{host: {wrong: 1}}"),
    ] {
        let error = settings_with(wrong).unwrap_err();
        let allowed = error.split("allowed are ").nth(1).unwrap();
        for key in allowed.trim().split(", ") {
            let key = format!("{section}{key}");
            let known = SERVICE_KEYS.contains(&key.as_str())
                || shown
                    .iter()
                    .any(|row| *row == key || row.starts_with(&format!("{key}.")));
            assert!(known, "{key} has no row");
        }
    }
}

#[test]
fn every_metric_that_is_shown_is_read() {
    let rows = table("docs/settings.md", &["metric", "meaning"]);
    let mut kinds = BTreeSet::new();
    for row in rows {
        let entries = format!("{{max: 1, metrics: [{}]}}", only_code(&row[0]).unwrap());
        let policy = policy_with(&entries).unwrap();
        kinds.extend(policy.metrics.iter().map(|metric| metric.name().to_owned()));
    }
    for kind in [
        "cpu",
        "memory",
        "requests",
        "in_flight",
        "latency",
        "errors",
        "jobs",
    ] {
        assert!(kinds.contains(kind), "{kind} has no row");
    }
}

#[test]
fn every_example_with_a_policy_is_read_without_a_mistake() {
    let text: String = pages().into_values().collect();
    let mut read = 0;
    for block in text.split("```yaml\n").skip(1) {
        let yaml = block.split("```").next().unwrap();
        if yaml.contains("x-autoscale") && yaml.contains("services:") {
            let loaded = load(yaml).unwrap_or_else(|error| panic!("{yaml}\n{error}"));
            assert!(!loaded.policies.is_empty(), "{yaml}");
            assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
            read += 1;
        }
    }
    assert!(read >= 2, "only {read} examples were found");
}

#[test]
fn every_event_that_one_can_be_told_of_is_explained() {
    let text = page("docs/notify.md");
    let (_, events) = text.split_once("\n## Events\n").unwrap();
    let (events, _) = events.split_once("\n## ").unwrap();
    let shown: BTreeSet<_> = code_in(events).into_iter().collect();
    for name in EVENTS.iter().chain(&GROUPS) {
        assert!(shown.contains(name), "{name} is not explained");
    }
}

#[test]
fn every_code_of_a_finding_is_explained_and_every_one_explained_is_a_code() {
    let text = page("docs/check.md");
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let mut shown = Vec::new();
    for row in rows {
        let cells = cells(row);
        assert_eq!(cells.len(), 4, "{row}");
        assert!(cells.iter().all(|cell| !cell.is_empty()), "{row}");
        shown.push(only_code(&cells[0]).unwrap().to_owned());
    }
    shown.sort();
    let mut all = owned(CODES);
    all.sort();
    assert_eq!(shown, all);
}

#[test]
fn the_commands_are_those_of_the_help() {
    let output = Command::new(env!("CARGO_BIN_EXE_compose-scale"))
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let listed = help
        .split("Commands:\n")
        .nth(1)
        .unwrap()
        .split("\n\n")
        .next()
        .unwrap();
    let commands: BTreeSet<String> = listed
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|word| !word.is_empty())
        .map(ToOwned::to_owned)
        .collect();
    for name in ["README.md", "docs/commands.md"] {
        let shown = commands_shown(name);
        assert_eq!(shown, commands, "{name}");
    }
}

/// The commands in a page's table, each with options that its help knows.
fn commands_shown(page: &str) -> BTreeSet<String> {
    let mut shown = BTreeSet::new();
    for row in table(page, &["command", "what it does"]) {
        // The command, and the one below it where there is one.
        let words: Vec<_> = only_code(&row[0])
            .unwrap()
            .split(' ')
            .take_while(|word| word.chars().all(|c| c.is_ascii_lowercase()))
            .collect();
        let name = words.join(" ");
        let output = Command::new(env!("CARGO_BIN_EXE_compose-scale"))
            .args(&words)
            .arg("--help")
            .output()
            .unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        for option in code_in(&row[1])
            .iter()
            .filter(|code| code.starts_with("--"))
        {
            let option = option.split(' ').next().unwrap();
            assert!(help.contains(option), "{name} has no {option}");
        }
        shown.insert(words[0].to_owned());
    }
    shown
}

#[test]
fn help_has_no_phrase_that_readers_stumble_over() {
    let mut commands = commands_shown("docs/commands.md");
    commands.insert("export kubernetes".to_owned());
    commands.remove("help");
    for command in commands {
        let output = Command::new(env!("CARGO_BIN_EXE_compose-scale"))
            .args(command.split(' '))
            .arg("--help")
            .output()
            .unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(help.contains("Usage:"), "{command}: {help}");
        for (phrase, plain) in STUMBLING.iter().chain(IN_MESSAGES) {
            assert!(
                !help.contains(phrase),
                "{command}: {phrase:?}; plainer: {plain:?}"
            );
        }
    }
}

#[test]
fn the_exit_codes_are_the_programs() {
    let shown: Vec<String> = table("docs/commands.md", &["exit code", "meaning"])
        .iter()
        .map(|row| row[0].clone())
        .collect();
    let codes = [
        0,
        code::FAILED,
        code::USAGE,
        code::ENGINE,
        code::HELD,
        code::CONFIG,
    ];
    assert_eq!(shown, codes.map(|code| code.to_string()));
}

#[test]
fn every_reason_that_can_come_up_is_explained() {
    let rows = table("docs/reasons.md", &["reason", "meaning, and what to do"]);
    let shown: BTreeSet<&str> = rows.iter().flat_map(|row| code_in(&row[0])).collect();
    let all: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.label()).collect();
    assert_eq!(shown, all);
}

#[test]
fn the_worked_example_is_what_the_program_decides() {
    let replica = |number: u32, age: u64, cpu: f64| Observed {
        name: format!("shop-web-{number}"),
        state: ObservedState::Running,
        ready: true,
        age: Span::seconds(age),
        metrics: BTreeMap::from([("cpu".to_owned(), cpu)]),
        throttled: None,
        out_of_memory: None,
    };
    let policy = policy_with("{min: 2, max: 4, metrics: [cpu: 60%]}").unwrap();
    assert!(matches!(policy.metrics[..], [Metric::Cpu(_)]));
    let mut input = Input::new(Timestamp::from_unix(1000), policy);
    input.current = Some(2);

    input.replicas = vec![replica(1, 86, 100.0), replica(2, 29, 100.0)];
    assert_eq!(decide(&input).desired, 2, "the second one is too young");

    input.replicas = vec![replica(1, 91, 100.0), replica(2, 34, 99.8)];
    let decision = decide(&input);
    assert_eq!(decision.reason, Reason::AboveTarget);
    let said = format!(
        "\"{}\", reason {}",
        decision.message,
        decision.reason.label()
    );
    assert!(
        page("docs/decisions.md").contains(&said),
        "not in docs/decisions.md: {said}"
    );
}

/// The anchors of a page's headings.
fn headings(page: &str) -> BTreeSet<String> {
    let titles = page
        .lines()
        .filter(|line| line.starts_with('#'))
        .filter_map(|line| line.trim_start_matches('#').strip_prefix(' '));
    titles
        .map(|title| {
            let kept = title.to_lowercase();
            kept.chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
        .collect()
}

#[test]
fn links_within_the_repository_lead_somewhere() {
    for (path, text) in pages() {
        links_of(&path, &text);
    }
}

fn links_of(page: &Path, text: &str) {
    let name = page.display();
    let anchors = headings(text);
    let root = page.parent().unwrap();
    for target in text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
    {
        if target.starts_with("https://") {
            continue;
        }
        if let Some(anchor) = target.strip_prefix('#') {
            assert!(anchors.contains(anchor), "{name}: no heading for #{anchor}");
        } else {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = root.join(file);
            assert!(file.exists(), "{name}: {target} does not exist");
            let there =
                anchor.is_empty() || headings(&fs::read_to_string(file).unwrap()).contains(anchor);
            assert!(there, "{name}: no heading for {target}");
        }
    }
}

#[test]
fn every_place_in_the_code_that_newcomers_are_sent_to_exists() {
    let rows = table("docs/where-is.md", &["Where is …", "file", "look for"]);
    assert_eq!(rows.len(), 10);
    let text = page("docs/where-is.md");
    for row in text.lines().filter(|line| line.starts_with("| …")) {
        let cells: Vec<_> = row.split('|').collect();
        let (files, names) = (code_in(cells[2]), code_in(cells[3]));
        assert_eq!(files.len(), names.len(), "{row}");
        for (file, name) in files.iter().zip(names) {
            assert!(page(file).contains(name), "{file} has no {name}");
        }
    }
}

#[test]
fn the_index_has_every_page() {
    let index = page("docs/README.md");
    for path in pages().into_keys() {
        let name = path.file_name().unwrap().to_str().unwrap();
        let linked = name == "README.md" || index.contains(&format!("({name})"));
        assert!(linked, "docs/README.md does not link {name}");
    }
}

/// The longest line of running text. Tables and code cannot be wrapped.
const WIDTH: usize = 120;

/// The lines of a page outside of code blocks, tables and links that nothing can break, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let (mut is_code, mut is_measured) = (false, false);
    text.lines().enumerate().filter_map(move |(number, line)| {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
            return None;
        }
        // Written by the benchmarks.
        if line.starts_with("<!-- ") {
            is_measured = !line.starts_with("<!-- /");
            return None;
        }
        let is_table = line.trim_start().starts_with('|');
        (!is_code && !is_measured && !is_table).then_some((number + 1, line))
    })
}

#[test]
fn lines_of_prose_fit_a_window() {
    let mut wide = Vec::new();
    for (path, text) in pages() {
        for (number, line) in prose(&text) {
            if line.chars().count() > WIDTH {
                wide.push(format!("{}:{number}", path.display()));
            }
        }
    }
    assert!(wide.is_empty(), "more than {WIDTH} characters: {wide:#?}");
}

#[test]
fn the_readme_is_read_in_five_minutes() {
    let lines = page("README.md").lines().count();
    assert!(lines <= 250, "README has {lines} lines");
}

/// Phrases that readers stumbled over, each with a plainer one.
const STUMBLING: &[(&str, &str)] = &[
    ("to and fro", "flapping"),
    (
        "a crash must not be noticed",
        "a crash must not cause downtime",
    ),
    ("takes stock", "resyncs"),
    ("end what they start", "clean up after themselves"),
    ("who is told of", "notification targets"),
    ("last room of the machine", "the remaining memory"),
    ("cannot have a twin", "cannot run twice"),
    ("looked at afresh", "re-read"),
    ("policy of before", "the previous policy"),
    ("count of before", "the previous count"),
    ("bite later", "cause problems later"),
    ("bite some day", "cause problems later"),
    ("the page is away", "the site is down"),
    ("adding goes on", "pauses scaling down only"),
    ("comes with what to type", "includes the fix"),
    ("engine of many machines", "Kubernetes"),
];

#[test]
fn no_phrase_that_readers_stumble_over() {
    for (path, text) in pages() {
        for (number, line) in text.lines().enumerate() {
            for (phrase, plain) in STUMBLING {
                let name = path.display();
                assert!(
                    !line.to_lowercase().contains(phrase),
                    "{name}:{}: {phrase:?}; plainer: {plain:?}",
                    number + 1
                );
            }
        }
    }
}

/// Phrases that messages of the program do without, each with a plainer one.
const IN_MESSAGES: &[(&str, &str)] = &[
    ("all the same", "anyway"),
    (" anew", "again"),
    (" of before", "previous"),
    ("cannot be told", "is unknown"),
    ("goes on with", "keeps"),
    (" is away", "does not answer"),
    ("is told of", "gets"),
    ("last words", "last log lines"),
    ("mend ", "correct"),
    ("somebody", "another command"),
    ("nobody ", "no user"),
    ("take back", "undo"),
    ("taken back", "undone"),
    ("touches nothing", "changes nothing"),
    ("touch nothing", "change nothing"),
];

/// The sources below a directory, without those of tests.
fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("tests") {
                sources(&path, found);
            }
        } else if path.extension().is_some_and(|kind| kind == "rs") && !path.ends_with("tests.rs") {
            found.push(path);
        }
    }
}

#[test]
fn messages_have_no_phrase_that_readers_stumble_over() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    for part in ["cli", "screen", "watch", "reconcile", "init"] {
        sources(&root.join(part), &mut all);
    }
    let mut wrong = Vec::new();
    for path in all {
        let text = fs::read_to_string(&path).unwrap();
        let program = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
        for (number, line) in program.lines().enumerate() {
            if line.trim_start().starts_with("//") || line.contains("reason = \"") {
                continue;
            }
            let literals: Vec<_> = line.split('"').skip(1).step_by(2).collect();
            for (phrase, plain) in STUMBLING.iter().chain(IN_MESSAGES) {
                if literals.iter().any(|literal| literal.contains(phrase)) {
                    let place = path.strip_prefix(&root).unwrap().display();
                    wrong.push(format!(
                        "src/{place}:{}: {phrase:?}; plainer: {plain:?}",
                        number + 1
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
