//! What this tool reads from compose files is what compose reads.
//!
//! Every case of `tests/compose_files` is given to `docker-compose config --format json` and to
//! [`compose_scale::compose::load`], and the fields that the model has are compared. The path of
//! the compose binary comes from `COMPOSE_SCALE_TEST_COMPOSE`; no Engine is needed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use compose_scale::{
    compose::{self, Request},
    project::{Healthcheck, Hook, Service},
    units::{Bytes, Span},
};
use serde_json::{Value, json};

/// How a case is loaded, beyond the defaults: lines of a comment at the top of its (first) file,
/// like `# args: --profile debug` or `# env: TAG=1`.
#[derive(Debug, Default)]
struct Case {
    name: String,
    directory: PathBuf,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    refused: bool,
}

fn cases() -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compose_files");
    let mut paths: Vec<_> = fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.iter().map(|path| case(path)).collect()
}

fn case(path: &Path) -> Case {
    let name = path.file_stem().unwrap().to_string_lossy().into_owned();
    let mut case = Case {
        name,
        ..Case::default()
    };
    let first = if path.is_dir() {
        path.clone_into(&mut case.directory);
        path.join("case")
    } else {
        path.parent().unwrap().clone_into(&mut case.directory);
        case.args = vec![
            "-f".into(),
            path.file_name().unwrap().to_string_lossy().into(),
        ];
        path.to_owned()
    };
    for line in fs::read_to_string(first).unwrap_or_default().lines() {
        if let Some(args) = line.strip_prefix("# args: ") {
            case.args.extend(args.split(' ').map(ToOwned::to_owned));
        } else if let Some((key, value)) =
            line.strip_prefix("# env: ").and_then(|l| l.split_once('='))
        {
            case.env.insert(key.to_owned(), value.to_owned());
        } else if line == "# refused" {
            case.refused = true;
        }
    }
    case.env.insert("HOME".into(), "/home/me".into());
    case
}

fn request(case: &Case) -> Request {
    let mut request = Request {
        cwd: case.directory.clone(),
        env: case.env.clone(),
        ..Request::default()
    };
    let mut args = case.args.iter();
    while let Some(flag) = args.next() {
        let value = args.next().unwrap().clone();
        match flag.as_str() {
            "-f" => request.files.push(value.into()),
            "-p" => request.project_name = Some(value),
            "--profile" => request.profiles.push(value),
            "--env-file" => request.env_files.push(value.into()),
            "--project-directory" => request.project_directory = Some(value.into()),
            other => panic!("{other} is no flag of this test"),
        }
    }
    request
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
    let mut wrong = Vec::new();
    for case in cases() {
        let ours = compose::load(&request(&case));
        match (compose_says(&binary, &case), ours) {
            (Ok(theirs), Ok(loaded)) => {
                let ours = json!({
                    "name": loaded.project.name,
                    "services": loaded.project.services.values().map(our_view).collect::<Vec<_>>(),
                });
                let theirs = their_view(&theirs);
                let ours = sorted(ours);
                wrong.extend(differences(&case.name, &ours, &theirs));
            }
            (Err(_), Err(_)) if case.refused => {}
            (theirs, ours) => wrong.push(format!(
                "{}: ours {:?}, theirs {:?}",
                case.name,
                ours.map(|_| "read").map_err(|error| error.to_string()),
                theirs.map(|_| "read")
            )),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
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

fn our_view(service: &Service) -> Value {
    let networks: BTreeMap<_, _> = service
        .networks
        .iter()
        .map(|(key, network)| {
            let view = json!({
                "name": network.name,
                "aliases": network.aliases,
                "static": network.static_address,
                "priority": network.priority,
            });
            (key, view)
        })
        .collect();
    let volumes: Vec<_> = service
        .volumes
        .iter()
        .map(|v| json!([v.kind, v.source, v.target, v.read_only]))
        .collect();
    let depends_on: BTreeMap<_, _> = service.depends_on.iter().collect();
    let built = service.build
        && service
            .image
            .as_deref()
            .is_some_and(|i| i.ends_with(&format!("-{}", service.name)));
    json!({
        "name": service.name,
        "image": if built { None } else { service.image.clone() },
        "build": service.build,
        "container_name": service.container_name,
        "scale": service.scale,
        "ports": texts(service.ports.iter().map(|p| {
            format!("{:?} {:?} {} {}", p.host_ip, p.published, p.target, p.protocol)
        })),
        "expose": service.expose,
        "healthcheck": service.healthcheck.as_ref().map(our_healthcheck),
        "network_mode": service.network_mode,
        "networks": networks,
        "volumes": volumes,
        "depends_on": depends_on,
        "profiles": service.profiles,
        "stop_signal": service.stop_signal,
        "stop_grace_period": service.stop_grace_period.map(|span| span.to_string()),
        "post_start": service.post_start.iter().map(our_hook).collect::<Vec<_>>(),
        "pre_stop": service.pre_stop.iter().map(our_hook).collect::<Vec<_>>(),
        "cpus": service.limits.cpus,
        "memory": service.limits.memory.map(|bytes| bytes.0),
        "mac_address": service.mac_address,
        "uploads": texts(service.uploads.iter().cloned()),
        "labels": service.labels,
    })
}

fn our_healthcheck(check: &Healthcheck) -> Value {
    let span = |span: Option<Span>| span.map(|span| span.to_string());
    json!({
        "test": check.test,
        "interval": span(check.interval),
        "timeout": span(check.timeout),
        "retries": check.retries,
        "start_period": span(check.start_period),
        "start_interval": span(check.start_interval),
    })
}

fn our_hook(hook: &Hook) -> Value {
    json!([
        hook.command,
        hook.user,
        hook.privileged,
        hook.working_dir,
        texts(hook.environment.iter().cloned())
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

fn span(value: &Value) -> Option<String> {
    let span: Span = value.as_str()?.parse().unwrap();
    Some(span.to_string())
}

fn number(value: &Value) -> Option<f64> {
    let number = value.as_f64().or_else(|| value.as_str()?.parse().ok())?;
    (number > 0.0).then_some(number)
}

fn bytes(value: &Value) -> Option<u64> {
    let Bytes(bytes) = value.as_str()?.parse().ok()?;
    (bytes > 0).then_some(bytes)
}

fn their_service(project: &Value, name: &str, service: &Value) -> Value {
    let networks: BTreeMap<_, _> = entries(&service["networks"])
        .map(|(key, network)| {
            let view = json!({
                "name": project["networks"][key]["name"],
                "aliases": or(&network["aliases"], json!([])),
                "static": network.get("ipv4_address").is_some() || network.get("ipv6_address").is_some(),
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
        .map(|(name, entry)| (name, &entry["condition"]))
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
        "ports": texts(items(&service["ports"]).map(|p| {
            format!(
                "{:?} {:?} {} {}",
                p["host_ip"].as_str(), p["published"].as_str(), p["target"], p["protocol"].as_str().unwrap()
            )
        })),
        "expose": expose,
        "healthcheck": their_healthcheck(&service["healthcheck"]),
        "network_mode": service["network_mode"],
        "networks": networks,
        "volumes": volumes,
        "depends_on": depends_on,
        "profiles": or(&service["profiles"], json!([])),
        "stop_signal": service["stop_signal"],
        "stop_grace_period": span(&service["stop_grace_period"]),
        "post_start": items(&service["post_start"]).map(their_hook).collect::<Vec<_>>(),
        "pre_stop": items(&service["pre_stop"]).map(their_hook).collect::<Vec<_>>(),
        "cpus": number(&limits["cpus"]).or_else(|| number(&service["cpus"])).or(quota),
        "memory": bytes(&limits["memory"]).or_else(|| bytes(&service["mem_limit"])),
        "mac_address": mac,
        "uploads": texts(their_uploads(project, service)),
        "labels": or(&service["labels"], json!({})),
    })
}

fn their_healthcheck(check: &Value) -> Option<Value> {
    let off = check.is_null() || check["disable"] == true || check["test"][0] == "NONE";
    (!off).then(|| {
        json!({
            "test": or(&check["test"], json!([])),
            "interval": span(&check["interval"]),
            "timeout": span(&check["timeout"]),
            "retries": check["retries"],
            "start_period": span(&check["start_period"]),
            "start_interval": span(&check["start_interval"]),
        })
    })
}

fn their_hook(hook: &Value) -> Value {
    let environment = texts(entries(&hook["environment"]).map(
        |(key, value)| match value.as_str() {
            Some(value) => format!("{key}={value}"),
            None => key.clone(),
        },
    ));
    json!([
        hook["command"],
        hook["user"],
        or(&hook["privileged"], json!(false)),
        hook["working_dir"],
        environment
    ])
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

#[test]
fn durations_of_the_comparison_are_read_exactly() {
    assert_eq!(span(&json!("1m30.5s")).as_deref(), Some("1m30s500ms"));
    assert_eq!(
        "26h0m1.5s".parse(),
        Ok(Span(Duration::from_millis(93_601_500)))
    );
}
