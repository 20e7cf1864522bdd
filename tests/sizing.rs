//! `simulate --size`: how many machines of a kind a service takes, and what that rests on.

use std::{fs, io::Write as _, path::Path};

use assert_cmd::Command;
use predicates::{prelude::PredicateBooleanExt as _, str::contains};
use serde_json::{Value, json};
use tempfile::TempDir;

const SHOP: &str = "\
name: shop
services:
  web:
    image: web
    expose: [\"80\"]
    deploy: {resources: {limits: {cpus: \"0.5\", memory: 512M}}}
    x-autoscale: {min: 2, max: 8, metrics: [{cpu: 60%}]}
";

fn write(directory: &TempDir, name: &str, text: &str) {
    fs::File::create(directory.path().join(name))
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .expect("a file");
}

/// A project, and files beside its compose file.
fn directory(yaml: &str, files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    write(&directory, "compose.yaml", yaml);
    for (name, text) in files {
        write(&directory, name, text);
    }
    directory
}

fn simulate(directory: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_compose-scale"));
    command
        .current_dir(directory.path())
        .env("NO_COLOR", "1")
        .env_remove("COMPOSE_FILE")
        .env_remove("COMPOSE_PROJECT_NAME")
        .env_remove("COMPOSE_PROFILES")
        .arg("simulate")
        .args(arguments);
    command
}

fn stdout(command: &mut Command) -> String {
    let output = command.assert().success();
    String::from_utf8(output.get_output().stdout.clone()).expect("text")
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).expect("text")
}

/// What is told of machines, without the table of policies above it.
fn machines(text: &str) -> &str {
    let at = text.find("machines for ").expect(text);
    &text[at..]
}

#[test]
fn machines_are_told_for_each_kind_and_each_policy_with_what_they_rest_on() {
    let loose = "min: 2\nmax: 8\nmetrics: [{requests: 36}]\n";
    let still = "min: 2\nmax: 8\nmetrics: []\n";
    let shop = directory(SHOP, &[("loose.yaml", loose), ("still.yaml", still)]);
    let load = ["--load", "steady:60", "--for", "6m"];
    let sizes = ["--size", "small=2cpu,4GiB", "--size", "flat=16cpu,2GiB"];
    let policies = ["--policy", "loose.yaml", "--policy", "still.yaml"];
    let text = stdout(simulate(&shop, &load).args(sizes).args(policies));
    insta::assert_snapshot!("text", machines(&text));
}

#[test]
fn programs_read_the_same_figures_and_the_page_shows_them() {
    let shop = directory(SHOP, &[]);
    let arguments = [
        "--load",
        "steady:60",
        "--for",
        "6m",
        "--size",
        "small=2cpu,4GiB",
        "--html",
        "report.html",
        "--format",
        "json",
    ];
    let text = stdout(&mut simulate(&shop, &arguments));
    let document: Value = serde_json::from_str(&text).expect("a document");
    assert_eq!(document["version"], 1);
    insta::assert_snapshot!("json", pretty(&document["sizing"]));
    insta::assert_snapshot!("json-of-policy", pretty(&document["policies"][0]["sizing"]));
    let loads = document["policies"][0]["sizing"]["loads"].as_array();
    let count = |load: &Value| load["machines"][0]["machines"].as_u64().expect("a count");
    let counts: Vec<_> = loads.expect("loads").iter().map(count).collect();
    assert!(counts.is_sorted() && counts.len() == 4, "{counts:?}");

    let page = fs::read_to_string(shop.path().join("report.html")).expect("the page");
    for part in [
        "Machines for compose file",
        "One lasts until",
        "2cpu, 4GiB",
        "a replica takes 0.5 cores (its CPU limit)",
    ] {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn what_is_not_known_of_a_replica_is_assumed_and_said() {
    let bare = SHOP.replace(
        "    deploy: {resources: {limits: {cpus: \"0.5\", memory: 512M}}}\n",
        "",
    );
    let cores = "time,cpu_cores\n0,0.3\n60,0.9\n120,0.4\n180,0.3\n";
    let shop = directory(&bare, &[("load.csv", cores)]);
    let trace = ["--trace", "load.csv", "--size", "vps=4cpu,8GiB"];
    simulate(&shop, &trace)
        .assert()
        .success()
        .stdout(
            contains("a replica takes 1 cores (assumed: it has no CPU limit) and 128MiB (assumed: it has no memory limit)")
                .and(contains("the load is measured in used cores"))
                .and(contains("3 replicas (CPU)")),
        )
        .stderr(contains("web has no known CPU limit").and(contains("set another size with --memory")));
    // JSON lines are the same load.
    let lines = "{\"time\":0,\"cpu_cores\":0.3}\n{\"time\":60,\"cpu_cores\":0.9}\n{\"time\":120,\"cpu_cores\":0.4}\n{\"time\":180,\"cpu_cores\":0.3}\n";
    write(&shop, "load.jsonl", lines);
    let told = |file: &str| {
        let of_it = [
            "--trace",
            file,
            "--size",
            "vps=4cpu,8GiB",
            "--memory",
            "3GiB",
        ];
        machines(&stdout(&mut simulate(&shop, &of_it))).to_owned()
    };
    let text = told("load.csv");
    assert_eq!(text, told("load.jsonl"));
    assert!(
        text.contains("3GiB (--memory)") && text.contains("2 replicas (memory)"),
        "{text}"
    );
}

/// A recording in which two replicas do the work of `busy` of them for ten minutes, without a compose file.
fn recording(busy: f64) -> String {
    let decision = |tick: i64| {
        let now = compose_scale::units::Timestamp::from_unix(1_767_600_000 + 5 * tick);
        let replica = |number: u32| {
            json!({
                "name": format!("shop-web-{number}"), "state": "running", "ready": true,
                "age": format!("{}s", 100 + 5 * tick), "metrics": {"cpu": busy / 2.0 * 100.0},
            })
        };
        let decision = json!({
            "service": "web", "now": now,
            "policy": {"min": 1, "max": 4, "metrics": [{"cpu": "60%"}]},
            "replicas": [replica(1), replica(2)],
            "host": {"free_memory": "2GiB", "replica_memory": "180MiB"},
        });
        format!("{decision}\n")
    };
    (0..120).map(decision).collect()
}

#[test]
fn a_recording_brings_load_and_memory_and_its_load_is_multiplied() {
    let none = tempfile::tempdir().expect("a directory");
    write(&none, "watch.jsonl", &recording(1.2));
    let arguments = ["--recording", "watch.jsonl", "--size", "vps=4cpu,8GiB"];
    let text = stdout(simulate(&none, &arguments).args(["--format", "json"]));
    let document: Value = serde_json::from_str(&text).expect("a document");
    let replica = &document["sizing"]["replica"];
    assert_eq!(
        (
            &replica["memory_bytes"],
            &replica["memory_from"],
            &replica["cpus_from"]
        ),
        (
            &json!(180 << 20),
            &json!("recording"),
            &json!("assumed_cpu")
        )
    );
    // 1.2 replicas' work at 60% are two replicas.
    let loads = &document["policies"][0]["sizing"]["loads"];
    let peaks = [0, 1, 2, 3].map(|index: usize| loads[index]["replicas"]["peak"].as_f64());
    for (peak, expected) in peaks.iter().zip([2.0, 20.0, 200.0, 2000.0]) {
        let ratio = peak.expect("a count") / expected;
        assert!((0.9..=1.1).contains(&ratio), "{peaks:?}");
    }
}

/// A spike that is over before replicas are ready, a jump after which there is nothing, and one replica a minute.
#[test]
fn a_policy_that_is_too_slow_needs_no_fewer_machines() {
    let slow = SHOP.replace(
        "metrics: [{cpu: 60%}]",
        "metrics: [{cpu: 60%}], behavior: {scale_up: {policies: [{replicas: 1, per: 1m}]}}",
    );
    let jump = "time,requests_per_second\n0,10\n60,100\n120,0\n600,0\n";
    let kind = ["--size", "v=4cpu,8GiB"];
    for (yaml, load, peak) in [
        (
            SHOP,
            &["--load", "spikes:1..100", "--for", "15m"][..],
            100.0,
        ),
        (SHOP, &["--trace", "load.csv"], 100.0),
        (&slow, &["--load", "spikes:10..120", "--for", "15m"], 120.0),
    ] {
        let shop = directory(yaml, &[("load.csv", jump)]);
        let text = stdout(simulate(&shop, load).args(kind).args(["--format", "json"]));
        let document: Value = serde_json::from_str(&text).expect("a document");
        let sizing = &document["policies"][0]["sizing"];
        let one = &sizing["one_machine"][0];
        let (lasts, full) = (one["lasts_until"].as_f64(), one["cores_full_at"].as_f64());
        // Seven replicas at 60% serve 168 a second.
        assert!(
            lasts <= full && lasts < Some(175.0 / peak),
            "{load:?}: {one}"
        );
        let tenfold = &sizing["loads"][1];
        let wanted = (peak * 10.0 / 24.0_f64).ceil();
        assert!(tenfold["short_of"].as_u64() > Some(0), "{tenfold}");
        assert!(
            tenfold["machines_for"].as_f64() >= Some(wanted),
            "{tenfold}"
        );
        let machines = &tenfold["machines"][0]["machines"];
        assert!(
            machines.as_f64() >= Some((wanted / 7.0).ceil()),
            "{tenfold}"
        );
        let lines = sizing["remarks"].to_string();
        assert!(lines.contains("more were needed for a while"), "{lines}");
    }
    let shop = directory(SHOP, &[]);
    let text = stdout(simulate(&shop, &["--load", "spikes:1..100", "--for", "15m"]).args(kind));
    for part in [
        " ×10 !",
        " of 42 ",
        "- !: machines are counted for the replicas that serve the peak at the target",
        "compose file: !: load rises faster than it adds replicas",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn what_cannot_be_sized_is_told_with_what_to_write() {
    let shop = directory(SHOP, &[]);
    for (sizes, expected) in [
        (
            &["small"][..],
            "expected NAME=CPU,MEMORY like small=2cpu,4GiB",
        ),
        (
            &["small=2,4GiB"],
            "found CPU `2`, expected a number of cores with its unit, like 2cpu",
        ),
        (
            &["small=2cpu,4"],
            "found memory `4`, expected a size with its unit, like 4GiB",
        ),
        (
            &["small=2cpu,4GiB", "small=4cpu,8GiB"],
            "--size small is given twice, expected a different name for each machine size",
        ),
        (
            &["tiny=0.5cpu,4GiB"],
            "--size tiny: no replica of web fits on it: it takes 0.5 cores (its CPU limit), but of 0.5 only 0.47 are available beside the reserve",
        ),
        (
            &["low=2cpu,700MiB"],
            "--size low: no replica of web fits on it: it takes 512MiB (its memory limit), but of 700MiB only 374MiB are available beside the system and the reserve",
        ),
    ] {
        let mut command = simulate(&shop, &["--load", "steady:60"]);
        for size in sizes {
            command.args(["--size", size]);
        }
        command.assert().code(2).stderr(contains(expected));
    }
}

/// The blocks of code of a section, by their language.
fn blocks<'a>(section: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    let blocks = section.split(fence.as_str()).skip(1);
    blocks
        .filter_map(|block| block.split("```").next())
        .collect()
}

#[test]
fn the_example_in_the_docs_is_what_the_program_prints() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/simulate.md");
    let page = fs::read_to_string(page).expect("the page");
    let (_, section) = page
        .split_once("\n## How many machines\n")
        .expect("the section");
    let (yaml, console) = (blocks(section, "yaml")[0], blocks(section, "console")[0]);
    let (command, printed) = console
        .split_once('\n')
        .expect("a command and what it prints");
    let words: Vec<_> = command.split_whitespace().collect();
    assert_eq!(words[..3], ["$", "compose-scale", "simulate"]);
    let shop = directory(yaml, &[]);
    let text = stdout(&mut simulate(&shop, &words[3..]));
    assert_eq!(machines(&text).trim(), printed.trim(), "{text}");
}
