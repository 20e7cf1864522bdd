//! A web service behind nginx, the tool's own program, and load on it.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use super::{ComposeProject, api, text};

/// The newer nginx, which keeps idle connections alive over a reload.
pub(crate) fn new_nginx() -> String {
    std::env::var("COMPOSE_SCALE_TEST_NGINX_NEW").unwrap_or_else(|_| "nginx:1.30".into())
}

/// An old nginx, which does not.
pub(crate) fn old_nginx() -> String {
    std::env::var("COMPOSE_SCALE_TEST_NGINX_OLD")
        .unwrap_or_else(|_| "compose-scale/test-nginx:1.22".into())
}

const NGINX: &str = "\
include /etc/nginx/upstreams/*.conf;
server {
    listen 80 default_server;
    location / {
        proxy_pass http://web;
        include /etc/nginx/upstreams/web.location*;
    }
}
";

/// A project with a service `web` behind a service `nginx`.
pub(crate) struct Stack {
    pub(crate) project: ComposeProject,
    state: TempDir,
    port: u16,
}

impl Stack {
    /// Brings it up. `web` are more lines of the service, indented by four spaces.
    pub(crate) fn up(nginx: &str, web: &str) -> Self {
        let project = ComposeProject::new(&yaml(nginx, web));
        project.write("nginx.conf", NGINX);
        fs::create_dir_all(project.directory().join("upstreams")).expect("a directory");
        Self::started(project)
    }

    /// Brings up a project that is made by hand, with a service `nginx`, and waits until it answers.
    pub(crate) fn started(project: ComposeProject) -> Self {
        project.compose(&["up", "-d"]);
        let mut stack = Self::of(project);
        stack.port = stack.published();
        stack.until("nginx answers", Duration::from_secs(60), |s| {
            s.get("/").is_some_and(|(status, _)| status == 200)
        });
        stack
    }

    /// The tool on a project that is made by hand; nothing is started.
    pub(crate) fn of(project: ComposeProject) -> Self {
        Self {
            project,
            state: TempDir::new().expect("a state directory"),
            port: 0,
        }
    }

    /// Its requests go to this port of the host.
    pub(crate) fn listen(&mut self, port: u16) {
        self.port = port;
    }

    /// Its requests go to the port that nginx has now: after a start it is another one.
    pub(crate) fn listen_again(&mut self) {
        self.port = self.published();
    }

    /// Writes the compose file anew, without telling anybody.
    pub(crate) fn rewrite(&self, nginx: &str, web: &str) {
        self.project.write("compose.yaml", &yaml(nginx, web));
    }

    /// How often `watch` looks, from its next start.
    pub(crate) fn every(&self, interval: Duration) {
        let path = self.project.directory().join("compose.yaml");
        let yaml = fs::read_to_string(path).expect("the file");
        let seconds = interval.as_secs();
        let yaml = yaml.replace("interval: 1s", &format!("interval: {seconds}s"));
        self.project.write("compose.yaml", &yaml);
    }

    fn published(&self) -> u16 {
        let nginx = self.project.inspect("nginx", 1);
        text(&nginx["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"])
            .parse()
            .expect("a published port")
    }

    /// The address of a path behind nginx.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// One GET through nginx: status and body.
    pub(crate) fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .ok()?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let status = answer.split_whitespace().nth(1)?.parse().ok()?;
        let body = answer.split_once("\r\n\r\n")?.1.to_owned();
        Some((status, body))
    }

    /// Where the tool keeps its state.
    pub(crate) fn state(&self) -> PathBuf {
        self.state.path().join("s")
    }

    /// The tool's program, set to this project.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_compose-scale"));
        command
            .args(["-p", &self.project.name])
            .args(arguments)
            .current_dir(self.project.directory())
            .env("COMPOSE_SCALE_STATE", self.state())
            .env("NO_COLOR", "1")
            .env_remove("COMPOSE_FILE")
            .env_remove("COMPOSE_PROJECT_NAME")
            .env_remove("COMPOSE_PROFILES")
            .stdin(Stdio::null());
        command
    }

    /// Runs the tool to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let output = self.command(arguments).output().expect("the tool runs");
        Ran {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs the tool to its end, which must be a good one.
    pub(crate) fn must(&self, arguments: &[&str]) -> Ran {
        let ran = self.run(arguments);
        assert!(ran.status.success(), "{arguments:?} failed: {ran:?}");
        ran
    }

    /// Starts `watch`, which is ended with the value.
    pub(crate) fn watch(&self, arguments: &[&str]) -> Watch {
        self.watch_with(arguments, &[])
    }

    /// The same with more environment.
    pub(crate) fn watch_with(&self, arguments: &[&str], env: &[(&str, &str)]) -> Watch {
        let log = self.state.path().join(format!(
            "watch-{}.log",
            fs::read_dir(self.state.path()).map_or(0, Iterator::count)
        ));
        let file = fs::File::create(&log).expect("a log file");
        let mut all = vec!["watch", "--plain"];
        all.extend(arguments);
        let child = self
            .command(&all)
            .envs(env.iter().copied())
            .stdout(file.try_clone().expect("a second handle"))
            .stderr(file)
            .spawn()
            .expect("the tool starts");
        Watch { child, log }
    }

    /// `ps` as JSON.
    pub(crate) fn ps(&self) -> Value {
        let ran = self.must(&["ps", "--format", "json"]);
        serde_json::from_str(&ran.stdout).expect("ps prints JSON")
    }

    /// The running replicas of `web`, by name, with their ids.
    pub(crate) fn running(&self) -> Vec<(String, String)> {
        self.project
            .inspect_all()
            .iter()
            .filter(|c| {
                c["State"]["Running"] == true
                    && text(&c["Config"]["Labels"]["com.docker.compose.service"]) == "web"
            })
            .map(|c| {
                (
                    text(&c["Name"]).trim_start_matches('/').to_owned(),
                    text(&c["Id"]).to_owned(),
                )
            })
            .collect()
    }

    /// The names that nginx's upstream lists, from the file.
    pub(crate) fn listed(&self) -> Vec<String> {
        let path = self.project.directory().join("upstreams/web.conf");
        fs::read_to_string(path)
            .unwrap_or_default()
            .lines()
            .filter_map(|line| line.split_once("; # "))
            .map(|(_, name)| name.to_owned())
            .collect()
    }

    /// The lines of `scaling.log`.
    pub(crate) fn history(&self) -> Vec<Value> {
        fs::read_to_string(self.state().join("scaling.log"))
            .unwrap_or_default()
            .lines()
            .map(|line| serde_json::from_str(line).expect("a line of JSON"))
            .collect()
    }

    /// Asks again and again until it is true; panics after `limit`.
    pub(crate) fn until(&self, what: &str, limit: Duration, mut ask: impl FnMut(&Self) -> bool) {
        let end = now() + limit;
        while !ask(self) {
            assert!(now() < end, "not within {limit:?}: {what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Starts load on it.
    pub(crate) fn load(&self, arguments: &[&str]) -> Load {
        let program = std::env::var("COMPOSE_SCALE_TEST_LOAD")
            .expect("COMPOSE_SCALE_TEST_LOAD is the path of the load generator");
        let child = Command::new(program)
            .args(["--url", &self.url("/"), "--json"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the load generator starts");
        Load { child }
    }
}

fn yaml(nginx: &str, web: &str) -> String {
    format!(
        "\
x-autoscale:
  interval: 1s
  nginx: {{service: nginx, upstreams: ./upstreams}}
  # Other tests keep the machine's cores busy.
  host: {{reserve_memory: none, reserve_cpu: none}}
services:
  web:
    image: WEB
    expose: [\"80\"]
{web}
  nginx:
    image: {nginx}
    ports: [\"127.0.0.1::80\"]
    volumes:
      - ./nginx.conf:/etc/nginx/conf.d/default.conf:ro
      - ./upstreams:/etc/nginx/upstreams:ro
    depends_on: [web]
"
    )
}

#[expect(clippy::disallowed_methods, reason = "these tests run in real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// How a run of the tool ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }
}

/// A running `watch`.
pub(crate) struct Watch {
    child: Child,
    log: PathBuf,
}

impl Watch {
    /// What it has said.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// kill -9.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it is killed");
        self.child.wait().expect("it is gone");
    }

    /// SIGTERM, and how it ended.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        signal(self.child.id(), "TERM");
        self.child.wait().expect("it ends")
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- what watch said\n{}", self.log());
        }
    }
}

/// Sends a signal to a process.
pub(crate) fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .status()
        .expect("kill runs");
    assert!(sent.success());
}

/// A running load generator.
pub(crate) struct Load {
    child: Child,
}

impl Load {
    /// Ends it and reads its report.
    pub(crate) fn end(self) -> Report {
        signal(self.child.id(), "TERM");
        self.wait()
    }

    /// Waits for its own end and reads its report.
    pub(crate) fn wait(mut self) -> Report {
        let mut text = String::new();
        let mut stdout = self.child.stdout.take().expect("it was piped");
        stdout.read_to_string(&mut text).expect("a report");
        self.child.wait().expect("it ends");
        Report(serde_json::from_str(&text).expect("a report in JSON"))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a load generator counted.
#[derive(Debug)]
pub(crate) struct Report(pub(crate) Value);

impl Report {
    pub(crate) fn requests(&self) -> u64 {
        self.0["requests"].as_u64().expect("a count")
    }

    pub(crate) fn failed(&self) -> u64 {
        self.0["failed"].as_u64().expect("a count")
    }

    /// Failures that are the race of an idle keep-alive connection with a reload.
    pub(crate) fn races(&self) -> u64 {
        self.classes()
            .map(|class| class["keepalive_race"].as_u64().unwrap_or(0))
            .sum()
    }

    pub(crate) fn classes(&self) -> impl Iterator<Item = &Value> {
        self.0["classes"].as_array().into_iter().flatten()
    }
}

/// Takes a container away by force.
pub(crate) fn remove_container(id: &str) {
    let (status, answer) = api::request("DELETE", &format!("/containers/{id}?force=1"), "");
    assert_eq!(status, 204, "{answer}");
}

/// A port of this machine that nobody listens at.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// Ends a container's process at once, as `kill -9` does.
pub(crate) fn kill_container(id: &str) {
    let (status, answer) = api::request("POST", &format!("/containers/{id}/kill?signal=KILL"), "");
    assert_eq!(status, 204, "{answer}");
}
