//! What the tool asks of the Engine, counted: a stand-in on a socket of the test's own answers, and what
//! it is not asked costs nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use serde_json::json;
use tempfile::TempDir;

mod support;

use support::proxy::{EngineProxy, Verdict};

const YAML: &str = "\
name: shop
services:
  web:
    image: web
    x-autoscale: {max: 40, ready: running, metrics: [cpu: 60%]}
";

/// An Engine with one running replica of a service; it makes and starts others.
#[derive(Default)]
struct Engine {
    asked: BTreeMap<&'static str, u32>,
    made: BTreeSet<String>,
    running: BTreeSet<String>,
    /// The most that were made and not started.
    ahead: usize,
}

impl Engine {
    fn answer(&mut self, request: &str) -> Verdict {
        let (method, path) = request.split_once(' ').expect("a method and a path");
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let (call, status, body) = match (method, parts.as_slice()) {
            ("GET", ["version"]) => {
                let body = json!({"Version": "20.10.24", "ApiVersion": "1.41", "Arch": "amd64"});
                ("version", 200, body)
            }
            ("GET", ["info"]) => {
                let body = json!({"ID": "engine", "NCPU": 2, "MemTotal": 1_u64 << 30});
                ("info", 200, body)
            }
            ("GET", ["events"]) => {
                self.count("events");
                return Verdict::Hang;
            }
            ("GET", ["containers", "json"]) => {
                let ids: Vec<_> = self.made.iter().map(|name| json!({"Id": name})).collect();
                ("list", 200, json!(ids))
            }
            ("GET", ["containers", name, "json"]) => ("inspect", 200, self.describe(name)),
            ("GET", ["images", _, "json"]) => {
                let body = json!({"Id": "sha256:1", "Os": "linux", "Architecture": "amd64"});
                ("image", 200, body)
            }
            ("POST", ["containers", "create"]) => {
                let name = query.split('&').find_map(|word| word.strip_prefix("name="));
                let name = name.expect("a name").to_owned();
                self.made.insert(name.clone());
                self.ahead = self.ahead.max(self.made.len() - self.running.len());
                ("create", 201, json!({"Id": name, "Warnings": []}))
            }
            ("POST", ["containers", name, "start"]) => {
                self.running.insert((*name).to_owned());
                ("start", 204, json!(null))
            }
            _ => ("other", 404, json!({"message": request})),
        };
        self.count(call);
        let body = match status {
            204 => String::new(),
            _ => body.to_string(),
        };
        // For as long as the test's process runs.
        Verdict::Answer(status, Box::leak(body.into_boxed_str()))
    }

    fn count(&mut self, call: &'static str) {
        *self.asked.entry(call).or_default() += 1;
    }

    fn describe(&self, name: &str) -> serde_json::Value {
        let running = self.running.contains(name);
        let number = name.rsplit('-').next().unwrap_or_default();
        json!({
            "Id": name, "Name": format!("/{name}"), "Created": "2026-01-01T00:00:00Z",
            "Image": "sha256:1",
            "State": {
                "Status": if running { "running" } else { "created" },
                "StartedAt": "2026-01-01T00:00:01Z", "Pid": 4,
            },
            "Config": {"Image": "web", "Labels": {
                "com.docker.compose.project": "shop",
                "com.docker.compose.service": "web",
                "com.docker.compose.container-number": number,
                "com.docker.compose.oneoff": "False",
                "com.docker.compose.config-hash": "1",
                "com.docker.compose.image": "sha256:1",
            }},
            "HostConfig": {"NetworkMode": "shop_default"},
            "NetworkSettings": {"Networks": {"shop_default": {
                "IPAddress": format!("172.18.0.{number}"), "NetworkID": "net",
            }}},
        })
    }
}

/// What `scale web=COUNT` from one replica asks for.
fn asked(count: u32) -> BTreeMap<&'static str, u32> {
    let first = BTreeSet::from(["shop-web-1".to_owned()]);
    let engine = Arc::new(Mutex::new(Engine {
        made: first.clone(),
        running: first,
        ..Engine::default()
    }));
    let proxy = EngineProxy::alone();
    let answering = Arc::clone(&engine);
    proxy.decide(move |request| {
        answering
            .lock()
            .expect("no thread panicked")
            .answer(request)
    });

    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("compose.yaml");
    fs::File::create(&file)
        .and_then(|mut file| file.write_all(YAML.as_bytes()))
        .expect("a compose file");
    let output = Command::new(env!("CARGO_BIN_EXE_compose-scale"))
        .args(["scale", &format!("web={count}")])
        .current_dir(directory.path())
        .env("DOCKER_HOST", proxy.host())
        .env("COMPOSE_SCALE_STATE", directory.path().join("state"))
        .env_remove("COMPOSE_FILE")
        .env_remove("COMPOSE_PROJECT_NAME")
        .env_remove("COMPOSE_PROFILES")
        .stdin(Stdio::null())
        .output()
        .expect("the tool runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let engine = engine.lock().expect("no thread panicked");
    assert_eq!(engine.running.len() as u32, count, "{said}");
    // Four that start and four to come: what is left to the next run, should this one be killed.
    assert!(engine.ahead <= 8, "{}", engine.ahead);
    engine.asked.clone()
}

/// One replica more is one set of calls more, and what does not depend on it is asked once: the
/// Engine starts containers with the time that it does not spend on answers.
#[test]
fn a_replica_more_costs_its_own_calls_and_none_beside() {
    let (small, large) = (asked(2), asked(21));
    // The image and its source, that what was made from it is what it was; then itself, once for
    // its address and once for its gate.
    let each = BTreeMap::from([("create", 1), ("image", 1), ("inspect", 3), ("start", 1)]);
    let once = BTreeMap::from([
        ("events", 1),
        // Which Engine it is, for the lock.
        ("info", 1),
        // In the listing, by its gate, and to be remembered.
        ("inspect", 3),
        ("list", 1),
        ("version", 1),
    ]);
    let total = |more: u32| {
        let mut total = once.clone();
        for (call, count) in &each {
            *total.entry(*call).or_default() += count * more;
        }
        total
    };
    assert_eq!(small, total(1));
    assert_eq!(large, total(20));
}
