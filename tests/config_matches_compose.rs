//! What this tool reads from compose files is what compose reads.
//!
//! Every case of `tests/compose_files` is given to `docker-compose config --format json` and to
//! [`compose_scale::compose::load`], and what our own `config` prints of it is compared, in compose's
//! forms; of values of the environment, which nobody prints, what is loaded. The path of the compose
//! binary comes from `COMPOSE_SCALE_TEST_COMPOSE`; no Engine is needed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeMap, fmt::Write as _, path::PathBuf, process::Command};

use compose_scale::{cli::Failure, compose, project::Service};
use serde_json::{Value, json};

#[path = "support/corpus.rs"]
mod corpus;

use corpus::{Case, request};

/// Names a directory of other cases to compare, for a hunt by hand.
const OWN_CASES: &str = "COMPOSE_SCALE_TEST_CASES";

/// How often compose runs at once.
const WORKERS: usize = 4;

fn cases() -> Vec<Case> {
    let own = std::env::var(OWN_CASES).map(PathBuf::from);
    corpus::cases(&own.unwrap_or_else(|_| corpus::directory()))
}

fn compose_says(binary: &str, case: &Case) -> Result<Value, String> {
    let output = Command::new(binary)
        .args(&case.args)
        .args(["config", "--format", "json"])
        .current_dir(&case.directory)
        .env_clear()
        .envs(&case.env)
        .output()
        .unwrap();
    if output.status.success() {
        let text = String::from_utf8(output.stdout).unwrap().replace("$$", "$");
        Ok(serde_json::from_str(&text).unwrap())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// The path of compose, or `None` after saying why nothing is tested.
fn compose_binary() -> Option<String> {
    let path = std::env::var("COMPOSE_SCALE_TEST_COMPOSE").ok();
    if path.is_none() {
        let why = "skipped: COMPOSE_SCALE_TEST_COMPOSE does not name a docker-compose binary";
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{why}");
        eprintln!("{why}");
    }
    path
}

#[test]
fn every_case_reads_as_compose_reads_it() {
    let Some(binary) = compose_binary() else {
        return;
    };
    let cases = cases();
    // Compose takes its time; a few at once take less of it.
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|first| {
                let mine = cases.iter().skip(first).step_by(WORKERS);
                let binary = binary.as_str();
                scope.spawn(move || {
                    mine.flat_map(|case| compared(case, binary))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let found = workers.into_iter().map(|worker| worker.join().unwrap());
        found.flatten().collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What differs in a case.
fn compared(case: &Case, binary: &str) -> Vec<String> {
    let ours = compose::load(&request(case));
    match (compose_says(binary, case), ours) {
        (Ok(theirs), Ok(loaded)) => {
            let printed = compose::render::to_json(&loaded);
            let services = loaded.project.services.values();
            let ours = json!({
                "name": printed["name"],
                "services": services
                    .map(|service| our_view(&printed["services"][&service.name], service))
                    .collect::<Vec<_>>(),
            });
            differences(&case.name, &sorted(ours), &their_view(&theirs))
        }
        (Err(_), Ok(_)) if case.newer => Vec::new(),
        (Err(_), Err(_)) if case.refused || std::env::var(OWN_CASES).is_ok() => Vec::new(),
        (theirs, ours) => vec![format!(
            "{}: ours {:?}, theirs {:?}",
            case.name,
            ours.map(|_| "read").map_err(|error| error.to_string()),
            theirs.map(|_| "read")
        )],
    }
}

#[test]
fn every_case_is_read_or_refused_as_it_says() {
    for case in cases() {
        let loaded = compose::load(&request(&case));
        let refused = loaded.as_ref().err().map(ToString::to_string);
        assert_eq!(
            refused.is_some(),
            case.refused,
            "{}: {refused:?}",
            case.name
        );
    }
}

/// Every refusal in one place, as it is shown; read it when a message changes.
#[test]
fn every_refusal_says_where_and_what_to_do() {
    let mut all = String::new();
    for case in cases().iter().filter(|case| case.refused) {
        let error = compose::load(&request(case)).expect_err(&case.name);
        let here = format!("{}/", case.directory.display());
        let failure = Failure::from(error);
        let shown = failure.to_string().replace(&here, "");
        let _ = writeln!(all, "{} ({})", case.name, failure.code());
        for line in shown.lines() {
            let _ = writeln!(all, "  {line}");
        }
    }
    insta::assert_snapshot!("refusals", all);
}

/// A key that nobody knows is named in a warning, and stops nothing.
#[test]
fn every_unknown_key_is_left_to_compose_and_named() {
    let mut all = String::new();
    for case in cases().iter().filter(|case| case.newer) {
        let loaded = compose::load(&request(case)).expect(&case.name);
        assert!(!loaded.warnings.is_empty(), "{}", case.name);
        for warning in loaded.warnings {
            let _ = writeln!(all, "{warning}");
        }
    }
    insta::assert_snapshot!("unknown_keys", all);
}

/// The innermost values that differ, each with the way to it.
fn differences(path: &str, ours: &Value, theirs: &Value) -> Vec<String> {
    match (ours, theirs) {
        (Value::Object(one), Value::Object(two)) => {
            let keys: std::collections::BTreeSet<_> = one.keys().chain(two.keys()).collect();
            keys.into_iter()
                .flat_map(|key| differences(&format!("{path}.{key}"), &ours[key], &theirs[key]))
                .collect()
        }
        (Value::Array(one), Value::Array(two)) if one.len() == two.len() => one
            .iter()
            .zip(two)
            .enumerate()
            .flat_map(|(at, (one, two))| differences(&format!("{path}[{at}]"), one, two))
            .collect(),
        _ if ours == theirs => Vec::new(),
        _ => vec![format!("{path}: ours {ours}, theirs {theirs}")],
    }
}

fn sorted(mut value: Value) -> Value {
    if let Some(services) = value["services"].as_array_mut() {
        services.sort_by_key(|service| service["name"].to_string());
    }
    value
}

/// A service as it is printed, and what is known of its environment.
fn our_view(printed: &Value, service: &Service) -> Value {
    let volumes: Vec<_> = items(&printed["volumes"])
        .map(|v| json!([v["type"], v["source"], v["target"], v["read_only"]]))
        .collect();
    let built = printed["build"] == true
        && printed["image"]
            .as_str()
            .is_some_and(|i| i.ends_with(&format!("-{}", service.name)));
    let hooks = service.post_start.iter().chain(&service.pre_stop);
    json!({
        "name": printed["name"],
        "image": if built { &Value::Null } else { &printed["image"] },
        "build": printed["build"],
        "container_name": printed["container_name"],
        "scale": printed["scale"],
        "ports": texts(items(&printed["ports"]).map(port)),
        "expose": printed["expose"],
        "healthcheck": printed["healthcheck"],
        "network_mode": printed["network_mode"],
        "networks": printed["networks"],
        "volumes": volumes,
        "depends_on": printed["depends_on"],
        "profiles": printed["profiles"],
        "stop_signal": printed["stop_signal"],
        "stop_grace_period": printed["stop_grace_period"],
        "post_start": items(&printed["post_start"]).map(our_hook).collect::<Vec<_>>(),
        "pre_stop": items(&printed["pre_stop"]).map(our_hook).collect::<Vec<_>>(),
        "hook_environments": hooks
            .map(|hook| texts(hook.environment.iter().cloned()))
            .collect::<Vec<_>>(),
        "cpus": printed["limits"]["cpus"],
        "memory": printed["limits"]["memory"],
        "mac_address": printed["mac_address"],
        "uploads": texts(items(&printed["uploads"]).map(|path| path.as_str().unwrap().to_owned())),
        "labels": printed["labels"],
        "environment": service.environment,
    })
}

fn port(port: &Value) -> String {
    let keys = [
        "host_ip",
        "published",
        "target",
        "protocol",
        "mode",
        "name",
        "app_protocol",
    ];
    keys.map(|key| port[key].to_string()).join(" ")
}

fn our_hook(hook: &Value) -> Value {
    let names = items(&hook["environment"]).map(|name| name.as_str().unwrap().to_owned());
    json!([
        hook["command"],
        hook["user"],
        hook["privileged"],
        hook["working_dir"],
        texts(names)
    ])
}

fn texts(all: impl Iterator<Item = String>) -> Vec<String> {
    let mut all: Vec<_> = all.collect();
    all.sort();
    all
}

fn their_view(project: &Value) -> Value {
    let services = project["services"].as_object().unwrap();
    let services: Vec<_> = services
        .iter()
        .map(|(name, service)| their_service(project, name, service))
        .collect();
    sorted(json!({"name": project["name"], "services": services}))
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn or(value: &Value, default: Value) -> Value {
    if value.is_null() {
        default
    } else {
        value.clone()
    }
}

fn number(value: &Value) -> Option<f64> {
    let number = value.as_f64().or_else(|| value.as_str()?.parse().ok())?;
    (number > 0.0).then_some(number)
}

/// A limit; 0 and less are none.
fn bytes(value: &Value) -> Option<&str> {
    value
        .as_str()
        .filter(|text| *text != "0" && !text.starts_with('-'))
}

fn their_service(project: &Value, name: &str, service: &Value) -> Value {
    let networks: BTreeMap<_, _> = entries(&service["networks"])
        .map(|(key, network)| {
            let view = json!({
                "name": project["networks"][key]["name"],
                "aliases": or(&network["aliases"], json!([])),
                "static_address": network.get("ipv4_address").is_some() || network.get("ipv6_address").is_some(),
                "priority": or(&network["priority"], json!(0)),
            });
            (key, view)
        })
        .collect();
    let volumes: Vec<_> = items(&service["volumes"])
        .map(|v| {
            json!([
                v["type"],
                v["source"],
                v["target"],
                or(&v["read_only"], json!(false))
            ])
        })
        .collect();
    let depends_on: BTreeMap<_, _> = entries(&service["depends_on"])
        .map(|(name, entry)| {
            let view = json!({
                "condition": entry["condition"],
                "restart": or(&entry["restart"], json!(false)),
                "required": entry["required"],
            });
            (name, view)
        })
        .collect();
    let limits = &service["deploy"]["resources"]["limits"];
    // Compose gives it to the Engine as it is.
    let quota = number(&service["cpu_quota"])
        .map(|quota| quota / number(&service["cpu_period"]).unwrap_or(100_000.0));
    let mac = service.get("mac_address").is_some()
        || entries(&service["networks"]).any(|(_, network)| network.get("mac_address").is_some());
    let expose: Vec<_> = items(&service["expose"])
        .map(|port| port.as_str().unwrap())
        .map(|port| port.strip_suffix("/tcp").unwrap_or(port))
        .collect();
    json!({
        "name": name,
        "image": service["image"],
        "build": service.get("build").is_some(),
        "container_name": service["container_name"],
        "scale": or(&service["scale"], service["deploy"]["replicas"].clone()),
        "ports": texts(items(&service["ports"]).map(port)),
        "expose": expose,
        "healthcheck": their_healthcheck(&service["healthcheck"]),
        "network_mode": service["network_mode"],
        "networks": networks,
        "volumes": volumes,
        "depends_on": depends_on,
        "profiles": or(&service["profiles"], json!([])),
        "stop_signal": service["stop_signal"],
        "stop_grace_period": service["stop_grace_period"],
        "post_start": items(&service["post_start"]).map(their_hook).collect::<Vec<_>>(),
        "pre_stop": items(&service["pre_stop"]).map(their_hook).collect::<Vec<_>>(),
        "hook_environments": items(&service["post_start"])
            .chain(items(&service["pre_stop"]))
            .map(their_environment)
            .collect::<Vec<_>>(),
        "cpus": number(&limits["cpus"]).or_else(|| number(&service["cpus"])).or(quota),
        "memory": bytes(&limits["memory"]).or_else(|| bytes(&service["mem_limit"])),
        "mac_address": mac,
        "uploads": texts(their_uploads(project, service)),
        "labels": or(&service["labels"], json!({})),
        "environment": or(&service["environment"], json!({})),
    })
}

fn their_healthcheck(check: &Value) -> Option<Value> {
    let off = check.is_null() || check["disable"] == true || check["test"][0] == "NONE";
    (!off).then(|| {
        json!({
            "test": or(&check["test"], json!([])),
            "interval": check["interval"],
            "timeout": check["timeout"],
            "retries": check["retries"],
            "start_period": check["start_period"],
            "start_interval": check["start_interval"],
        })
    })
}

fn their_hook(hook: &Value) -> Value {
    json!([
        hook["command"],
        hook["user"],
        or(&hook["privileged"], json!(false)),
        hook["working_dir"],
        texts(entries(&hook["environment"]).map(|(name, _)| name.clone()))
    ])
}

fn their_environment(hook: &Value) -> Vec<String> {
    texts(
        entries(&hook["environment"]).map(|(key, value)| match value.as_str() {
            Some(value) => format!("{key}={value}"),
            None => key.clone(),
        }),
    )
}

fn their_uploads<'v>(project: &'v Value, service: &'v Value) -> impl Iterator<Item = String> + 'v {
    [("configs", ""), ("secrets", "/run/secrets")]
        .into_iter()
        .flat_map(move |(section, directory)| {
            items(&service[section]).filter_map(move |entry| {
                let source = entry["source"].as_str()?;
                let definition = &project[section][source];
                if definition.get("content").is_none() && definition.get("environment").is_none() {
                    return None;
                }
                let target = entry["target"].as_str().unwrap_or(source);
                Some(if target.starts_with('/') {
                    target.to_owned()
                } else {
                    format!("{directory}/{target}")
                })
            })
        })
}
