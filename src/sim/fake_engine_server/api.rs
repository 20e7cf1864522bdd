//! The calls of the Engine's API, done to the simulated host.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    super::simulated_host::{Container, World},
    INSIDE, Inside, NEVER,
    http::{FakeRequest, FakeResponse, refused},
    nginx::{reload, run},
};
use crate::{
    engine::{ContainerAction, EngineEvent},
    project::{ContainerId, Health, labels},
};

pub(super) fn message(project: &str, event: &EngineEvent) -> Value {
    let mut attributes = json!({
        "name": event.name,
        labels::PROJECT: project,
        labels::SERVICE: event.service,
    });
    let action = match &event.action {
        ContainerAction::Die(code) => {
            attributes["exitCode"] = code.unwrap_or(0).to_string().into();
            "die".to_owned()
        }
        ContainerAction::Kill(signal) => {
            attributes["signal"] = signal.clone().into();
            "kill".to_owned()
        }
        ContainerAction::Health(health) => {
            let word = match health {
                Health::Healthy => "healthy",
                Health::Unhealthy => "unhealthy",
                Health::Starting | Health::None => "starting",
            };
            format!("health_status: {word}")
        }
        other => other.to_string(),
    };
    let nanos = i64::try_from(event.at.0.as_nanosecond()).unwrap_or(i64::MAX);
    json!({
        "Type": "container", "Action": action, "timeNano": nanos,
        "Actor": {"ID": event.id.0, "Attributes": attributes},
    })
}

/// Does what is asked for.
pub(super) fn act(world: &mut World, inside: &mut Inside, request: &FakeRequest) -> FakeResponse {
    let path = request.path.clone();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let gone = || refused(404, "no such thing");
    match (request.method.as_str(), parts.as_slice()) {
        ("GET", ["version"]) => {
            let (version, api) = &inside.version;
            FakeResponse::Json(
                200,
                json!({"Version": version, "ApiVersion": api, "Arch": "amd64"}),
            )
        }
        ("GET", ["info"]) => FakeResponse::Json(
            200,
            json!({"NCPU": world.machine.cores, "MemTotal": world.machine.memory.0}),
        ),
        ("GET", ["containers", "json"]) => {
            let all = world.containers.keys().map(|id| json!({"Id": id.0}));
            FakeResponse::Json(200, Value::Array(all.collect()))
        }
        ("GET", ["images", ..]) => FakeResponse::Json(
            200,
            json!({"Id": "sha256:1", "Os": "linux", "Architecture": "amd64"}),
        ),
        ("GET", ["networks", name]) => FakeResponse::Json(200, json!({"Id": name, "Name": name})),
        ("POST", ["containers", "create"]) => create(world, request),
        ("POST", ["networks", network, "connect"]) => {
            let id = ContainerId(
                request.body["Container"]
                    .as_str()
                    .unwrap_or_default()
                    .into(),
            );
            // It may have gone while somebody was late.
            if let Some(container) = world.containers.get_mut(&id) {
                container.networks.insert((*network).to_owned());
            }
            FakeResponse::Nothing(200)
        }
        ("POST", ["exec", id, "start"]) => {
            let Some((argv, code)) = inside.commands.get(*id).cloned() else {
                return gone();
            };
            let (stream, text, ended) = run(world, inside, &argv);
            inside
                .commands
                .insert((*id).to_owned(), (argv, ended.max(code)));
            FakeResponse::Printed(101, vec![(stream, text)])
        }
        ("GET", ["exec", id, "json"]) => match inside.commands.get(*id) {
            Some((_, code)) => FakeResponse::Json(200, json!({"ExitCode": code, "Running": false})),
            None => gone(),
        },
        (_, ["containers", key, rest @ ..]) => {
            let found = world.find(key).map(|one| one.id.clone());
            match found {
                Some(id) => act_on(world, inside, request, &id, rest),
                None => gone(),
            }
        }
        _ => gone(),
    }
}

fn create(world: &mut World, request: &FakeRequest) -> FakeResponse {
    let name = request.query.get("name").cloned().unwrap_or_default();
    if world.find(&name).is_some() {
        return refused(
            409,
            &format!("Conflict. The container name \"/{name}\" is in use"),
        );
    }
    let body = &request.body;
    let of_it = body["Labels"].as_object().into_iter().flatten();
    let of_it = of_it.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    let image = body["Image"].as_str().unwrap_or_default();
    let endpoints = body["NetworkingConfig"]["EndpointsConfig"].as_object();
    let networks = endpoints.map(|all| all.keys().cloned().collect());
    let id = world.add(name, of_it.collect(), image);
    world.is_made(&id);
    if let (Some(container), Some(networks)) = (world.containers.get_mut(&id), networks) {
        container.networks = networks;
    }
    FakeResponse::Json(201, json!({"Id": id.0, "Warnings": []}))
}

fn act_on(
    world: &mut World,
    inside: &mut Inside,
    request: &FakeRequest,
    id: &ContainerId,
    rest: &[&str],
) -> FakeResponse {
    let done = FakeResponse::Nothing(204);
    let Some(container) = world.containers.get(id) else {
        return refused(404, "no such thing");
    };
    match (request.method.as_str(), rest) {
        ("GET", ["json"]) => FakeResponse::Json(200, inspect(container, inside)),
        ("GET", ["stats"]) => match world.reading(id) {
            Some(reading) => FakeResponse::Json(
                200,
                json!({
                    "read": reading.at.to_string(),
                    "cpu_stats": {"cpu_usage": {"total_usage": reading.cpu_nanos}},
                    "memory_stats": {"usage": reading.working_set.0, "stats": {"inactive_file": 0}},
                }),
            ),
            None => FakeResponse::Json(200, json!({"cpu_stats": {}, "memory_stats": {}})),
        },
        ("GET", ["top"]) => {
            let now = world.elapsed();
            inside.old.retain(|(_, until)| *until > now);
            let worker = "nginx: worker process";
            let ending = format!("{worker} is shutting down");
            let process = |pid: u32, title: &str| json!([pid.to_string(), "100", title]);
            let master = "nginx: master process nginx -g daemon off;";
            let mut all = vec![json!(["100", "99", master])];
            all.extend(inside.workers.map(|pid| process(pid, worker)));
            all.extend(inside.old.iter().map(|(pid, _)| process(*pid, &ending)));
            FakeResponse::Json(
                200,
                json!({"Titles": ["PID", "PPID", "COMMAND"], "Processes": all}),
            )
        }
        ("GET", ["logs"]) => {
            let line = match container.exit_code {
                Some(code) => format!("simulated: exit with code {code}\n"),
                None => "simulated: starting\n".to_owned(),
            };
            FakeResponse::Printed(200, vec![(2, line)])
        }
        ("GET", ["archive"]) => refused(404, "no such file"),
        ("PUT", ["archive"]) => FakeResponse::Nothing(200),
        ("POST", ["kill"]) => {
            reload(world, inside);
            done
        }
        ("POST", ["start"]) => match world.start(id) {
            Ok(()) => done,
            Err(message) => refused(500, &message),
        },
        ("POST", ["stop"]) => {
            world.judge_stop(id);
            world.stop(id);
            done
        }
        ("DELETE", []) => {
            world.judge_stop(id);
            world.remove(id);
            done
        }
        ("POST", ["exec"]) => {
            let argv = request.body["Cmd"].as_array().into_iter().flatten();
            let argv = argv.filter_map(|word| Some(word.as_str()?.to_owned()));
            let exec = format!("{:064x}", inside.commands.len());
            inside.commands.insert(exec.clone(), (argv.collect(), 0));
            FakeResponse::Json(201, json!({ "Id": exec }))
        }
        _ => refused(500, "not here"),
    }
}

fn inspect(container: &Container, inside: &Inside) -> Value {
    let networks: BTreeMap<_, _> = container
        .networks
        .iter()
        .zip(1u8..)
        .map(|(name, subnet)| {
            let [_, _, c, d] = container.ip().octets();
            let address = if container.runs() {
                format!("10.{subnet}.{c}.{d}")
            } else {
                String::new()
            };
            (name.clone(), json!({"IPAddress": address}))
        })
        .collect();
    let is_nginx = container.image.starts_with("nginx");
    let mounts = if is_nginx {
        json!([{"Type": "bind", "Source": inside.upstreams, "Destination": INSIDE}])
    } else {
        json!([])
    };
    let mut state = json!({
        "Status": container.state,
        "StartedAt": container.started.map_or(NEVER.to_owned(), |at| at.to_string()),
        "ExitCode": container.exit_code.unwrap_or(0),
        "OOMKilled": container.oom_killed,
        "Pid": 0,
    });
    if container.health != Health::None {
        state["Health"] = json!({"Status": container.health});
    }
    let mode = container.networks.iter().next();
    json!({
        "Id": container.id.0,
        "Name": format!("/{}", container.name),
        "Created": container.created.to_string(),
        "Image": "sha256:1",
        "State": state,
        "Config": {"Image": container.image, "Labels": container.labels},
        "HostConfig": {
            "NetworkMode": mode,
            "NanoCpus": container.limits.cpus.map_or(0, |cores| (cores * 1e9) as u64),
            "Memory": container.limits.memory.map_or(0, |memory| memory.0),
        },
        "NetworkSettings": {"Networks": networks},
        "Mounts": mounts,
    })
}
