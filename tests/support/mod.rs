//! What the tests on a real Engine share: the switch, a compose project that cleans up after
//! itself, and plain questions to the Engine that do not go through the code under test.

#![expect(
    dead_code,
    reason = "every test file is a program of its own and uses its own part"
)]

use std::{
    collections::BTreeMap,
    env,
    fmt::Write as _,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use compose_scale::{
    compose_cli::ComposeVersion,
    engine::{Engine as _, Exec, NewReplica, docker::Docker},
    project::{ContainerId, Replica},
};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) mod api;
pub(crate) mod calls;
pub(crate) mod daemon;
pub(crate) mod describe;
pub(crate) mod kubernetes;
pub(crate) mod monitoring;
pub(crate) mod proxy;
pub(crate) mod stack;

/// Whether the tests on a real Engine shall run; says so when not. In CI they must.
pub(crate) fn real() -> bool {
    if env::var("COMPOSE_SCALE_TEST_REAL").as_deref() == Ok("1") {
        return true;
    }
    assert!(
        env::var("CI").as_deref() != Ok("true"),
        "COMPOSE_SCALE_TEST_REAL=1 must be set in CI"
    );
    eprintln!("skipped: needs a real Engine (COMPOSE_SCALE_TEST_REAL=1)");
    false
}

/// Whether the compose at hand is of this release at least; says so when not.
pub(crate) fn compose_from(least: ComposeVersion, for_what: &str) -> bool {
    let program = env::var("COMPOSE_SCALE_TEST_COMPOSE").expect("compose v2's program");
    let output = Command::new(program).args(["version", "--short"]).output();
    let output = output.expect("compose can be run");
    let said = String::from_utf8_lossy(&output.stdout);
    let enough = ComposeVersion::parse(&said).expect("a version") >= least;
    if !enough {
        eprintln!("skipped: compose {} has no {for_what}", said.trim());
    }
    enough
}

/// What a test on a real Engine needs beside it, as a variable names it; `None` where those tests do not
/// run. Where they do, none is left out for want of it.
pub(crate) fn needed(variable: &str, what: &str) -> Option<String> {
    if !real() {
        return None;
    }
    let value = env::var(variable).ok().filter(|value| !value.is_empty());
    assert!(value.is_some(), "{variable} must be set: {what}");
    value
}

/// A program or an image of the tests that needs no Engine; says so when it is missing. In CI it must be
/// there.
pub(crate) fn part(name: &str) -> Option<String> {
    let value = env::var(name).ok().filter(|value| !value.is_empty());
    if value.is_none() {
        assert!(
            env::var("CI").as_deref() != Ok("true"),
            "{name} must be set in CI"
        );
        eprintln!("skipped: {name} is missing (scripts/test sets it where it can be had)");
    }
    value
}

/// How the names of everything that tests make begin, so that leftovers can be told apart.
pub(crate) fn prefix() -> String {
    env::var("COMPOSE_SCALE_TEST_PREFIX").unwrap_or_else(|_| "cst-".into())
}

/// The Engine under test.
pub(crate) fn engine() -> Docker {
    Docker::connect(env::var("DOCKER_HOST").ok().as_deref()).expect("the Engine can be reached")
}

/// An image with the usual commands.
pub(crate) fn busybox() -> String {
    env::var("COMPOSE_SCALE_TEST_BUSYBOX").unwrap_or_else(|_| "busybox:1.37".into())
}

/// The small web server that the tests scale.
pub(crate) fn web_image() -> String {
    env::var("COMPOSE_SCALE_TEST_WEB_IMAGE")
        .unwrap_or_else(|_| "compose-scale/demo-web:latest".into())
}

/// Asks again and again until the answer is `Some`; panics after `limit`.
pub(crate) async fn eventually<T, F>(what: &str, limit: Duration, mut ask: F) -> T
where
    F: AsyncFnMut() -> Option<T>,
{
    let deadline = deadline(limit);
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        // An instant to come has not elapsed at all.
        let late = !deadline.elapsed().is_zero();
        assert!(!late, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// So much later than now.
pub(crate) fn deadline(limit: Duration) -> Instant {
    stack::now() + limit
}

/// A compose project in a directory of its own. Dropping it takes everything down.
pub(crate) struct ComposeProject {
    /// Unique on this Engine.
    pub(crate) name: String,
    directory: TempDir,
    ports: String,
}

impl ComposeProject {
    /// Writes `compose.yaml`, with `BUSYBOX` and `WEB` standing for the images, and `PORT_` for the
    /// first four digits of host ports that no other project uses. Starts nothing.
    pub(crate) fn new(yaml: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let project = Self {
            name: format!("{}{}-{number}", prefix(), std::process::id()),
            directory: TempDir::new().expect("a temporary directory"),
            ports: (1800 + (std::process::id() * 8 + number) % 1200).to_string(),
        };
        project.write("compose.yaml", yaml);
        project
    }

    /// Where its files are.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file of the project, with the images' names filled in.
    pub(crate) fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(path);
        let directory = path.parent().expect("a path inside the project");
        fs::create_dir_all(directory).expect("a directory of the project");
        let text = text
            .replace("BUSYBOX", &busybox())
            .replace("WEB", &web_image())
            .replace("PORT_", &self.ports);
        fs::File::create(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .expect("a file of the project");
        path
    }

    /// Runs compose and returns what it printed on standard output; panics when it fails.
    pub(crate) fn compose(&self, arguments: &[&str]) -> String {
        let output = self.try_compose(arguments);
        assert!(
            output.status.success(),
            "compose {} failed:\n{}{}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs compose.
    pub(crate) fn try_compose(&self, arguments: &[&str]) -> Output {
        let program = env::var("COMPOSE_SCALE_TEST_COMPOSE")
            .expect("COMPOSE_SCALE_TEST_COMPOSE is the path of compose v2's program");
        Command::new(program)
            .arg("--project-name")
            .arg(&self.name)
            .args(arguments)
            .current_dir(self.directory.path())
            // As a shell has it there.
            .env("PWD", self.directory.path())
            .env("COMPOSE_PROGRESS", "quiet")
            // Engine 20.10 loses track of endpoints when dozens of containers go at once, and then
            // never lets go of their network.
            .env("COMPOSE_PARALLEL_LIMIT", "6")
            .env_remove("COMPOSE_FILE")
            .env_remove("COMPOSE_PROJECT_NAME")
            .env_remove("COMPOSE_PROFILES")
            .stdin(Stdio::null())
            .output()
            .expect("compose can be run")
    }

    /// A command as it is to be typed for this project, whose name is given to every command of the tool.
    pub(crate) fn typed(&self, command: &str) -> String {
        command.replace(
            "docker compose ",
            &format!("docker compose -p {} ", self.name),
        )
    }

    /// Removes containers one after the other, and then all else: Engine 20.10 loses track of endpoints when
    /// dozens go at once, and never lets go of their network.
    pub(crate) fn down_in_turn(&self) {
        for container in self.inspect_all() {
            let id = text(&container["Id"]);
            api::request("DELETE", &format!("/containers/{id}?force=1&v=1"), "");
        }
        let output = self.try_compose(&["down", "-v", "-t", "0"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    }

    /// `up -d --scale SERVICE=N …` with more arguments before it.
    pub(crate) fn up_scaled(&self, arguments: &[&str], services: &[&str], count: u32) {
        let mut all = vec!["up", "-d"];
        all.extend(arguments);
        let scales: Vec<String> = services.iter().map(|s| format!("{s}={count}")).collect();
        for scale in &scales {
            all.extend(["--scale", scale]);
        }
        self.compose(&all);
    }

    /// The Engine's own description of its containers, in the order of their names.
    pub(crate) fn inspect_all(&self) -> Vec<Value> {
        let listed = api::get(&format!(
            "/containers/json?all=1&filters={}",
            self.label_filter()
        ));
        let mut found: Vec<Value> = listed
            .as_array()
            .expect("a list of containers")
            .iter()
            .map(|c| api::request("GET", &format!("/containers/{}/json", text(&c["Id"])), ""))
            // What has gone since it was listed is not there.
            .filter(|(status, _)| *status == 200)
            .map(|(_, inspect)| inspect)
            .collect();
        found.sort_by_key(|c| text(&c["Name"]).to_owned());
        found
    }

    /// The Engine's own description of one replica.
    pub(crate) fn inspect(&self, service: &str, number: u32) -> Value {
        api::get(&format!(
            "/containers/{}/json",
            self.container(service, number)
        ))
    }

    /// The name compose gives to a replica.
    pub(crate) fn container(&self, service: &str, number: u32) -> String {
        format!("{}-{service}-{number}", self.name)
    }

    /// The ids of its containers by their names.
    pub(crate) fn ids(&self) -> BTreeMap<String, String> {
        self.inspect_all()
            .iter()
            .map(|c| (text(&c["Name"]).to_owned(), text(&c["Id"]).to_owned()))
            .collect()
    }

    /// Which containers it has and since when they run: equal only when nothing was touched.
    pub(crate) fn untouched(&self) -> BTreeMap<String, String> {
        self.inspect_all()
            .iter()
            .map(|c| {
                let run = format!("{} {}", text(&c["Id"]), text(&c["State"]["StartedAt"]));
                (text(&c["Name"]).to_owned(), run)
            })
            .collect()
    }

    /// Everything on the Engine that carries the project's label, for the claim that nothing is left.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let filter = self.label_filter();
        let mut left = Vec::new();
        for (path, list, key) in [
            ("/containers/json?all=1&", "", "Id"),
            ("/networks?", "", "Name"),
            ("/volumes?", "Volumes", "Name"),
        ] {
            let answer = api::get(&format!("{path}filters={filter}"));
            let items = if list.is_empty() {
                &answer
            } else {
                &answer[list]
            };
            for item in items.as_array().into_iter().flatten() {
                left.push(format!("{path} {}", text(&item[key])));
            }
        }
        left
    }

    fn label_filter(&self) -> String {
        let filter = format!(
            r#"{{"label":["com.docker.compose.project={}"]}}"#,
            self.name
        );
        percent_encoded(&filter)
    }
}

impl Drop for ComposeProject {
    fn drop(&mut self) {
        // Compose lets go of a network while a container that shares it is still there, and fails;
        // a second time it succeeds.
        let down = ["down", "-v", "--remove-orphans", "--timeout", "0"];
        if (0..2).any(|_| self.try_compose(&down).status.success()) {
            return;
        }
        for container in self.inspect_all() {
            let id = text(&container["Id"]);
            api::request("DELETE", &format!("/containers/{id}?force=1&v=1"), "");
        }
        let output = self.try_compose(&down);
        if !output.status.success() {
            eprintln!(
                "could not take {} down: {}",
                self.name,
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
}

/// An image that is removed with the value.
pub(crate) struct Image {
    /// Its name.
    pub(crate) name: String,
}

impl Image {
    /// The busybox image with something for every key that an image may have.
    pub(crate) fn with_everything() -> Self {
        Self::committed(&json!({
            "Env": ["ROLE=image", "UNSET=image", "PATH=/bin"],
            "Labels": {"role": "image", "from": "image"},
            "Volumes": {"/declared": {}},
            "ExposedPorts": {"80/tcp": {}},
            "Entrypoint": ["/bin/busybox", "env"],
            "Cmd": ["sleep", "1000"],
            "WorkingDir": "/tmp",
            "Healthcheck": {"Test": ["CMD", "true"], "Interval": 3_000_000_000_i64},
        }))
    }

    /// The busybox image with another configuration (as in an image's `Config`).
    pub(crate) fn committed(config: &Value) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let repository = format!("cst-image-{}-{number}", std::process::id());
        let image = Self {
            name: format!("{repository}:latest"),
        };
        image.commit(config);
        image
    }

    /// Makes the name mean a new image with this configuration.
    pub(crate) fn commit(&self, config: &Value) {
        let (repository, tag) = self.name.split_once(':').expect("a name with a tag");
        let body = json!({ "Image": busybox(), "Cmd": ["true"] }).to_string();
        let (status, made) = api::request("POST", "/containers/create", &body);
        assert_eq!(status, 201, "{made}");
        let id = text(&made["Id"]).to_owned();
        let commit = format!("/commit?container={id}&repo={repository}&tag={tag}");
        let (status, answer) = api::request("POST", &commit, &config.to_string());
        assert_eq!(status, 201, "{answer}");
        api::request("DELETE", &format!("/containers/{id}?force=1"), "");
    }

    /// The id that the name has now.
    pub(crate) fn id(&self) -> String {
        text(&api::get(&format!("/images/{}/json", self.name))["Id"]).to_owned()
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        api::request("DELETE", &format!("/images/{}?force=1", self.name), "");
    }
}

/// The replica of that service and number, which must be there.
pub(crate) fn pick<'a>(replicas: &'a [Replica], service: &str, number: u32) -> &'a Replica {
    replicas
        .iter()
        .find(|r| r.service == service && r.number == number)
        .unwrap_or_else(|| {
            let names: Vec<&str> = replicas.iter().map(|r| r.name.as_str()).collect();
            panic!("{service} {number} is not among {names:?}")
        })
}

/// The project's containers as the code under test sees them.
pub(crate) async fn list(docker: &Docker, project: &ComposeProject) -> Vec<Replica> {
    docker
        .list(&project.name)
        .await
        .expect("the project's containers")
}

/// Clones replica `from` as replica `to`, with those uploaded files, and starts it.
pub(crate) async fn clone_and_start(
    docker: &Docker,
    project: &ComposeProject,
    service: &str,
    (from, to): (u32, u32),
    uploads: &[&str],
) -> ContainerId {
    let replicas = list(docker, project).await;
    let source = pick(&replicas, service, from);
    let new = NewReplica {
        name: source.sibling_name(to).expect("compose's own naming"),
        number: to,
        uploads: uploads.iter().map(|&path| path.to_owned()).collect(),
    };
    let cloned = docker.clone_replica(&source.id, &new).await;
    let id = cloned.unwrap_or_else(|error| panic!("{service}: {error}"));
    docker
        .start(&id)
        .await
        .unwrap_or_else(|error| panic!("{service}: {error}"));
    id
}

/// Removes a replica.
pub(crate) async fn remove(docker: &Docker, project: &ComposeProject, service: &str, number: u32) {
    let replicas = list(docker, project).await;
    let replica = pick(&replicas, service, number);
    docker
        .remove(&replica.id)
        .await
        .expect("the replica can be removed");
}

/// Runs a shell command in a container and returns what it printed, trimmed.
pub(crate) async fn shell(docker: &Docker, id: &ContainerId, command: &str) -> String {
    let exec = Exec {
        argv: ["sh", "-c", command].map(str::to_owned).to_vec(),
        ..Exec::default()
    };
    let output = docker.exec(id, &exec).await.expect("a command can be run");
    assert_eq!(output.code, 0, "{command}: {}", output.stderr);
    output.stdout.trim().to_owned()
}

/// A JSON string, or nothing.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("a string takes everything");
        }
    }
    encoded
}
