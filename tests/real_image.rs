//! The tool as an image, FROM scratch, started by the command at the head of the Dockerfile.

use std::{fs, path::Path, process::Command, time::Duration};

use serde_json::Value;

mod support;

use support::{
    needed,
    stack::{Stack, new_nginx},
};

const LONG: Duration = Duration::from_secs(60);

/// The image under test.
fn image() -> Option<String> {
    needed("COMPOSE_SCALE_TEST_TOOL_IMAGE", "an image of the tool")
}

/// A container of the tool; removed, with its volume, with the value.
struct Container {
    name: String,
}

impl Container {
    fn docker(arguments: &[&str]) -> (bool, String, String) {
        let output = Command::new("docker")
            .args(arguments)
            .output()
            .expect("docker runs");
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }

    /// A command of the tool beside the running `watch`.
    fn run(&self, arguments: &[&str]) -> (bool, String, String) {
        let mut all = vec!["exec", self.name.as_str(), "/compose-scale"];
        all.extend(arguments);
        Self::docker(&all)
    }

    fn log(&self) -> String {
        let (_, stdout, stderr) = Self::docker(&["logs", &self.name]);
        stdout + &stderr
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- what watch said\n{}", self.log());
        }
        Self::docker(&["rm", "-f", &self.name]);
        Self::docker(&["volume", "rm", "-f", &self.name]);
    }
}

/// The words of the `docker run` at the head of the Dockerfile.
fn documented() -> Vec<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("Dockerfile");
    let text = fs::read_to_string(file).expect("the Dockerfile");
    let begin = text.find("docker run").expect("a command to run it");
    let mut words = Vec::new();
    for line in text[begin..].lines() {
        let line = line.trim_start_matches('#').trim();
        let continued = line.strip_suffix('\\');
        words.extend(
            continued
                .unwrap_or(line)
                .split_whitespace()
                .map(|word| word.replace('"', "")),
        );
        if continued.is_none() {
            break;
        }
    }
    assert!(words.len() > 10, "{words:?}");
    words.split_off(1)
}

#[test]
fn the_image_from_scratch_watches_a_project_by_the_command_in_the_dockerfile() {
    let Some(image) = image() else { return };
    let stack = Stack::up(
        new_nginx().as_str(),
        "    deploy: {resources: {limits: {cpus: \"0.2\", memory: 64M}}}
    x-autoscale: {min: 2, max: 3}",
    );
    let directory = stack.project.directory().display().to_string();
    let socket = std::env::var("DOCKER_HOST").unwrap_or_default();
    let socket = socket
        .strip_prefix("unix://")
        .unwrap_or("/var/run/docker.sock");
    // As users do whose directory is not called like the project.
    let name = format!("COMPOSE_PROJECT_NAME={}\n", stack.project.name);
    stack.project.write(".env", &name);
    let container = Container {
        name: format!("{}-tool", stack.project.name),
    };
    let words: Vec<String> = documented()
        .into_iter()
        .map(|word| match word.as_str() {
            "compose-scale" => "NAME".to_owned(),
            _ => word
                .replace("$PWD", &directory)
                .replace("compose-scale-shop:", &format!("{}:", container.name))
                .replace("/var/run/docker.sock:", &format!("{socket}:")),
        })
        .collect();
    let last = words.len() - 1;
    let words: Vec<&str> = words
        .iter()
        .enumerate()
        .map(|(at, word)| match word.as_str() {
            "NAME" if at == last => image.as_str(),
            "NAME" => container.name.as_str(),
            word => word,
        })
        .collect();
    let (ok, _, error) = Container::docker(&words);
    assert!(ok, "{words:?}: {error}");

    stack.until("two replicas serve", LONG, |s| s.listed().len() == 2);
    let (ok, shown, error) = container.run(&["ps", "--format", "json"]);
    assert!(ok, "{error}");
    let shown: Value = serde_json::from_str(&shown).expect("ps prints JSON");
    assert_eq!(shown["watching"], true, "{shown}");

    let (ok, checked, error) = container.run(&["check"]);
    assert!(ok, "{checked}{error}");
    assert!(checked.contains("0 errors, 0 warnings"), "{checked}");
    assert!(checked.contains("read from cgroup files"), "{checked}");

    let (ok, _, error) = container.run(&["scale", "web=3"]);
    assert!(ok, "{error}");
    assert_eq!(stack.listed().len(), 3);

    // As process 1 it still hears SIGTERM, and leaves the replicas.
    let (ok, _, error) = Container::docker(&["stop", "-t", "20", &container.name]);
    assert!(ok, "{error}");
    let (_, code, _) = Container::docker(&[
        "inspect",
        "--format",
        "{{.State.ExitCode}}",
        &container.name,
    ]);
    assert_eq!(code.trim(), "0", "{}", container.log());
    assert_eq!(stack.running().len(), 3);
}

#[test]
fn as_a_service_of_the_project_it_needs_neither_root_nor_the_socket_itself() {
    let Some(image) = image() else { return };
    let stack = Stack::up(
        new_nginx().as_str(),
        "    deploy: {resources: {limits: {cpus: \"0.2\", memory: 64M}}}
    x-autoscale: {min: 2, max: 3}",
    );
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("compose/tool-service");
    let read = |name: &str| fs::read_to_string(shipped.join(name)).expect("a file that is shipped");
    let yaml = read("compose.watch.yaml").replace("nginx:1.30", &new_nginx());
    stack.project.write("compose.watch.yaml", &yaml);
    stack
        .project
        .write("engine-proxy/nginx.conf", &read("engine-proxy/nginx.conf"));
    let directory = stack.project.directory();
    let owned = Command::new("chown")
        .args(["-R", "1234:1234"])
        .arg(directory)
        .status();
    assert!(owned.expect("chown").success());
    let socket = std::env::var("DOCKER_HOST").unwrap_or_default();
    let socket = socket
        .strip_prefix("unix://")
        .unwrap_or("/var/run/docker.sock");
    let env = format!(
        "COMPOSE_FILE=compose.yaml:compose.watch.yaml\nCOMPOSE_SCALE_USER=1234:1234\n\
         COMPOSE_SCALE_IMAGE={image}\nDOCKER_SOCKET={socket}\n"
    );
    stack.project.write(".env", &env);
    // From another directory its paths would be those of that one.
    let elsewhere = tempfile::tempdir().expect("a directory");
    let program = std::env::var("COMPOSE_SCALE_TEST_COMPOSE").expect("compose v2's program");
    let from_there = Command::new(program)
        .args(["-p", &stack.project.name, "-f"])
        .arg(directory.join("compose.yaml"))
        .arg("-f")
        .arg(directory.join("compose.watch.yaml"))
        .args(["up", "-d", "compose-scale", "engine-proxy"])
        .current_dir(elsewhere.path())
        .env("PWD", elsewhere.path())
        .output()
        .expect("compose runs");
    let said = String::from_utf8_lossy(&from_there.stderr);
    assert!(!from_there.status.success(), "{said}");
    assert!(said.contains("/compose.watch.yaml"), "{said}");
    stack
        .project
        .compose(&["up", "-d", "compose-scale", "engine-proxy"]);
    let container = Container {
        name: format!("{}-compose-scale-1", stack.project.name),
    };

    stack.until("two replicas serve", LONG, |s| s.listed().len() == 2);
    let (ok, _, error) = container.run(&["scale", "web=3"]);
    assert!(ok, "{error}");
    assert_eq!(stack.listed().len(), 3);
    let (ok, checked, error) = container.run(&["check"]);
    assert!(ok, "{checked}{error}");
    assert!(checked.contains("0 errors"), "{checked}");
    assert!(checked.contains("read from cgroup files"), "{checked}");
    // What it wrote is its user's, and nothing else of it can be written to.
    let (ok, user, _) = Container::docker(&[
        "inspect",
        "--format",
        "{{.Config.User}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}}",
        &container.name,
    ]);
    assert!(ok);
    assert_eq!(user.trim(), "1234:1234 true [ALL]");
    // compose takes it for its own, and a plain `up -d` makes nothing anew.
    stack.project.compose(&["up", "-d", "--no-recreate"]);
    stack.until("three replicas serve", LONG, |s| s.listed().len() == 3);
}

#[test]
fn the_proxy_that_is_shipped_is_the_one_of_the_page() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| fs::read_to_string(root.join(name)).expect("a file that is shipped");
    let page = read("docs/security.md");
    let (_, recipe) = page.split_once("```nginx\n# In http.").expect("a recipe");
    let (recipe, _) = recipe.split_once("```").expect("its end");
    let shipped = read("compose/tool-service/engine-proxy/nginx.conf");
    let lines = |text: &str| -> Vec<String> {
        let lines = text.lines().map(|line| line.trim().to_owned());
        lines.filter(|line| !line.is_empty()).collect()
    };
    let shipped = lines(&shipped).join("\n");
    let recipe = lines(recipe)[1..].join("\n");
    assert!(shipped.contains(&recipe), "{shipped}");
}
