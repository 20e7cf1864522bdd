//! docs/security.md against the real thing: its tables are what is allowed and what is written, and
//! a canary in everything that may be secret comes out nowhere.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read as _, Write as _},
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

mod support;

use compose_scale::compose_cli::ComposeVersion;
use support::{
    ComposeProject, api,
    calls::{self, Allowed},
    compose_from, real,
    stack::{Stack, new_nginx, signal},
    text,
};

const LONG: Duration = Duration::from_secs(60);

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/security.md")).unwrap()
}

/// The first cells, in code, of the table with this header, each with the rest of its row.
fn rows(header: &str) -> Vec<(String, String)> {
    let page = page();
    let table = page.split(header).nth(1).expect("the table");
    let rows: Vec<_> = table
        .lines()
        .skip(1)
        .skip_while(|line| line.starts_with("|-"))
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let (first, rest) = line.trim_start_matches("| `").split_once("` |").unwrap();
            (first.to_owned(), rest.trim().to_owned())
        })
        .collect();
    assert!(rows.len() > 5, "{rows:?}");
    rows
}

/// Everything that may be secret has a canary of its own, so that a finding says where it came from.
const CANARIES: [&str; 9] = [
    "canary-environment",
    "canary-interpolated",
    "canary-env-file",
    "canary-secret",
    "canary-config",
    "canary-label",
    "canary-build",
    "canary-hook-word",
    "canary-hook-environment",
];

/// With everything in it that makes the tool do all that it can do.
fn project() -> Stack {
    let yaml = format!(
        "\
x-autoscale:
  interval: 1s
  nginx: {{service: nginx, upstreams: ./upstreams}}
services:
  web:
    image: WEB
    build: {{context: ., args: {{TOKEN: canary-build}}}}
    expose: [\"80\"]
    environment:
      TOKEN: canary-environment
      OTHER: ${{OTHER}}
    env_file: [./web.env]
    labels: {{traefik.auth: canary-label}}
    secrets: [token]
    configs: [settings]
    volumes: [/data]
    networks: [default, back]
    stop_grace_period: 1s
    deploy: {{replicas: 2}}
    x-autoscale: POLICY
  bad:
    image: BUSYBOX
    command: [sh, -c, \"printf 'app\\\\033[2J\\\\033]0;x\\\\007gave up\\\\n'; exec sleep 600\"]
    init: true
    stop_grace_period: 0s
    x-autoscale: BAD
  hooked:
    image: BUSYBOX
    command: [sleep, \"600\"]
    init: true
    stop_grace_period: 0s
    volumes: [./shared:/shared]
    post_start:
      # It succeeds for compose and fails for the second replica.
      - {{command: [sh, -c, \"mkdir /shared/$0 2>/dev/null || exit 3\", canary-hook-word], environment: [\"TOKEN=canary-hook-environment\"]}}
    pre_stop: [{{command: [\"true\"]}}]
    x-autoscale: HOOKED
  lone:
    image: BUSYBOX
    command: [sleep, \"600\"]
    init: true
    stop_grace_period: 0s
    environment: {{TOKEN: canary-environment}}
    networks: [back]
    x-autoscale: LONE
  nginx:
    image: {}
    ports: [\"127.0.0.1::80\"]
    volumes:
      - ./nginx.conf:/etc/nginx/conf.d/default.conf:ro
      - ./upstreams:/etc/nginx/upstreams:ro
    depends_on: [web]
secrets: {{token: {{environment: SECRET}}}}
configs: {{settings: {{content: \"canary-config\"}}}}
networks: {{back: {{}}}}
",
        new_nginx()
    );
    let yaml = yaml
        .replace("POLICY", "{min: 1, max: 4, metrics: []}")
        .replace(
            "BAD",
            "{min: 1, max: 2, metrics: [], ready: {tcp: 80}, ready_timeout: 2s}",
        )
        .replace("HOOKED", "{min: 1, max: 2, metrics: []}")
        .replace("LONE", "{min: 1, max: 2, metrics: []}");
    let project = ComposeProject::new(&yaml);
    project.write(".env", "OTHER=canary-interpolated\nSECRET=canary-secret\n");
    project.write("web.env", "FROM_FILE=canary-env-file\n");
    project.write(
        "nginx.conf",
        "include /etc/nginx/upstreams/*.conf;\nserver { location / { proxy_pass http://web; include /etc/nginx/upstreams/web.location*; } }\n",
    );
    fs::create_dir_all(project.directory().join("upstreams")).unwrap();
    Stack::of(project)
}

/// Everything that a tool said in one run of a project.
struct Session<'a> {
    stack: &'a Stack,
    host: String,
    umask: &'static str,
    said: Vec<(String, String)>,
}

impl Session<'_> {
    /// A command of the tool; what hangs is ended.
    fn command(&self, seconds: u32, arguments: &[&str]) -> Command {
        let tool = self.stack.command(arguments);
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(format!("umask {} && exec \"$@\"", self.umask))
            .args(["sh", "timeout", "--foreground", &seconds.to_string()])
            .arg(tool.get_program())
            .args(tool.get_args())
            .current_dir(self.stack.project.directory())
            .env("DOCKER_HOST", &self.host)
            .env("COMPOSE_SCALE_LOG", "trace")
            .stdin(Stdio::null());
        for (key, value) in tool.get_envs() {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        command
    }

    /// Runs a command of the tool and keeps what it said.
    fn run(&mut self, arguments: &[&str]) -> (i32, String) {
        let output = self.command(40, arguments).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        self.said.push((arguments.join(" "), said.clone()));
        (output.status.code().unwrap_or(-1), said)
    }

    fn must(&mut self, arguments: &[&str]) {
        let (code, said) = self.run(arguments);
        assert_eq!(code, 0, "{arguments:?}: {said}");
    }

    /// Runs `watch` while something is done, to its good end.
    fn watching(&mut self, meanwhile: impl FnOnce(&mut Self)) {
        let path = self.stack.project.directory().join("watch.log");
        let log = fs::File::create(&path).unwrap();
        let child = self
            .command(120, &["watch", "--plain"])
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut watch = Ended(child, path.clone());
        meanwhile(self);
        signal(watch.0.id(), "TERM");
        let status = watch.0.wait().unwrap();
        let said = fs::read_to_string(&path).unwrap();
        assert!(status.success(), "{said}");
        fs::remove_file(&path).unwrap();
        self.said.push(("watch".into(), said));
    }
}

/// A `watch` that ends with the value.
struct Ended(Child, PathBuf);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        if thread::panicking() {
            let said = fs::read_to_string(&self.1).unwrap_or_default();
            eprintln!("---- what watch said\n{said}");
        }
    }
}

/// Replicas of a service that run, by name and id.
fn running(stack: &Stack, service: &str) -> BTreeMap<String, String> {
    stack
        .project
        .inspect_all()
        .iter()
        .filter(|c| {
            c["State"]["Running"] == true
                && text(&c["Config"]["Labels"]["com.docker.compose.service"]) == service
        })
        .map(|c| (text(&c["Name"]).to_owned(), text(&c["Id"]).to_owned()))
        .collect()
}

/// Whether `scaling.log` has such a line.
fn recorded(stack: &Stack, service: &str, event: &str) -> bool {
    let mut history = stack.history().into_iter();
    history.any(|line| line["service"] == service && line["event"] == event)
}

/// Does everything that the tool can do, and returns what it said.
fn everything(stack: &Stack, proxy: &Allowed, umask: &'static str) -> Vec<(String, String)> {
    let mut session = Session {
        stack,
        host: proxy.host(),
        umask,
        said: Vec::new(),
    };
    let looks = Looks::at(stack);
    stack.project.compose(&["up", "-d", "--no-build"]);
    // What is made anew is given its unnamed volumes by name.
    stack
        .project
        .compose(&["up", "-d", "--no-build", "--force-recreate", "web"]);
    session.must(&["config"]);
    session.must(&["config", "--format", "json"]);
    // The first to need the state directory.
    session.run(&["check"]);
    session.run(&["check", "--format", "json"]);
    session.must(&["sync"]);
    session.must(&["config", "--nginx"]);
    session.must(&["scale", "web=1"]);
    session.host.clone_from(&proxy.remote);
    session.must(&["ps"]);
    session.host = proxy.host();
    // `bad` never serves, and that is told.
    session.run(&["watch", "--once", "--dry-run"]);
    session.watching(|session| {
        stack.until("watch has taken over", LONG, |s| {
            s.state().join("control.sock").exists() && s.listed().len() == 1
        });
        session.must(&["scale", "web=3"]);
        session.run(&["scale", "bad=2", "--timeout", "20s"]);
        session.run(&["scale", "hooked=2", "--timeout", "20s"]);
        assert!(recorded(stack, "bad", "failed"), "{:?}", stack.history());
        session.must(&["scale", "hooked=1"]);
        let (_, id) = running(stack, "web").pop_last().unwrap();
        support::stack::kill_container(&id);
        stack.until("the dead one is told", LONG, |s| recorded(s, "web", "died"));
        stack.until("three serve again", LONG, |s| {
            s.listed().len() == 3 && running(s, "web").len() == 3
        });
        session.must(&["ps"]);
        session.must(&["ps", "--format", "json"]);
        session.must(&["scale", "web=2"]);
        lose_the_last_one(stack, "lone");
        assert_modes(stack, &looks);
        let answer = asked(&stack.state().join("control.sock"));
        session.said.push(("control socket".into(), answer));
    });
    session.run(&["watch", "--once"]);
    session.said
}

/// The only replica of a service goes with its container, and comes back as it is remembered.
fn lose_the_last_one(stack: &Stack, service: &str) {
    let template = stack.state().join(format!("templates/{service}.json"));
    stack.until("it is remembered", LONG, |_| template.exists());
    let before = running(stack, service);
    let (_, id) = before.first_key_value().unwrap();
    let (status, answer) = api::request("DELETE", &format!("/containers/{id}?force=1"), "");
    assert_eq!(status, 204, "{answer}");
    stack.until("another one is there", LONG, |s| {
        let now = running(s, service);
        now.len() == 1 && now != before
    });
    stack.until("it is told", LONG, |s| recorded(s, service, "founded"));
    let mut history = stack.history().into_iter();
    let made = history.find(|line| line["event"] == "founded");
    assert!(format!("{made:?}").contains("remembered"), "{made:?}");
}

/// A service of which there is nothing, where there is no compose: with its network and its volume.
fn made_of_its_file(proxy: &Allowed) {
    let stack = Stack::of(ComposeProject::new(
        "services:\n  web:\n    image: BUSYBOX\n    command: [sleep, \"1000\"]\n    stop_signal: SIGKILL\n    \
         volumes: [\"data:/data\"]\n    x-autoscale: {max: 4, metrics: [], ready: running}\n\
         volumes: {data: {}}\n",
    ));
    let nowhere = tempfile::tempdir().unwrap();
    let output = stack
        .command(&["scale", "web=1"])
        .env("PATH", nowhere.path())
        .env("DOCKER_HOST", proxy.host())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("from the compose file"), "{said}");
    assert!(output.status.success(), "{said}");
}

/// What the control socket answers.
fn asked(socket: &Path) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.write_all(b"{\"ask\":\"status\"}\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("\"web\""), "{answer}");
    answer
}

/// All below a directory, itself too.
fn below(directory: &Path) -> Vec<PathBuf> {
    let mut found = vec![directory.to_owned()];
    let mut at = 0;
    while at < found.len() {
        let entries = fs::read_dir(&found[at]).into_iter().flatten();
        found.extend(entries.flatten().map(|entry| entry.path()));
        at += 1;
    }
    found
}

/// The file that one beside it is about to become: `.state.json.tmp` is `state.json`.
fn written_as(path: &Path) -> PathBuf {
    let name = path.file_name().and_then(|name| name.to_str());
    match name.and_then(|name| name.strip_prefix('.')?.strip_suffix(".tmp")) {
        Some(name) => path.with_file_name(name),
        None => path.to_owned(),
    }
}

/// What was in the two directories at any time, as the page calls it: its mode when it was seen last,
/// and whether it is a socket. Some files are there for a moment only.
struct Looks {
    found: Arc<Mutex<BTreeMap<String, (u32, bool)>>>,
    over: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Looks {
    fn at(stack: &Stack) -> Self {
        let upstreams = stack.project.directory().join("upstreams");
        let places = [("STATE", stack.state()), ("UPSTREAMS", upstreams)];
        let project = stack.project.name.clone();
        let found = Arc::new(Mutex::new(BTreeMap::new()));
        let over = Arc::new(AtomicBool::new(false));
        let (into, end) = (Arc::clone(&found), Arc::clone(&over));
        let thread = thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                for (name, directory) in &places {
                    let seen = look(name, directory, &project);
                    into.lock().unwrap().extend(seen);
                }
                thread::sleep(Duration::from_millis(5));
            }
        });
        Self {
            found,
            over,
            thread: Some(thread),
        }
    }
}

impl Drop for Looks {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}

fn look(name: &str, directory: &Path, project: &str) -> Vec<(String, (u32, bool))> {
    let seen = below(directory).into_iter().filter_map(|path| {
        // It may just have been renamed: `watch` is at work.
        let metadata = fs::symlink_metadata(&path).ok()?;
        let is_written = written_as(&path) == path;
        if !is_written || (path == directory && name == "UPSTREAMS") {
            return None;
        }
        let relative = path.strip_prefix(directory).unwrap();
        let shown = Path::new(name).join(relative).display().to_string();
        let shown = shown.trim_end_matches('/');
        let mut shown = shown.replace(&format!("-{project}."), "-PROJECT.");
        for service in ["web", "bad", "hooked", "lone"] {
            for end in ["conf", "location", "json"] {
                let own = format!("/{service}.{end}");
                shown = shown.replace(&own, &format!("/SERVICE.{end}"));
            }
        }
        let is_socket = metadata.file_type().is_socket();
        Some((shown, (metadata.permissions().mode() & 0o7777, is_socket)))
    });
    seen.collect()
}

/// Each file that there is or was has a row in the page and its mode, and each row a file.
fn assert_modes(stack: &Stack, looks: &Looks) {
    let rows = rows("| file | mode | what is in it |");
    let listed: BTreeSet<&str> = rows.iter().map(|(file, _)| file.as_str()).collect();
    let seen = || looks.found.lock().unwrap().clone();
    stack.until("each row has been written", LONG, |_| {
        let seen = seen();
        listed.iter().all(|file| seen.contains_key(*file))
    });
    for (shown, (mode, is_socket)) in seen() {
        let row = rows.iter().find(|(file, _)| *file == shown);
        let (file, rest) = row.unwrap_or_else(|| panic!("{shown} is not in docs/security.md"));
        let mode = format!("{mode:04o}");
        assert!(rest.starts_with(&mode), "{file} has mode {mode}: {rest}");
        assert_eq!(is_socket, file.ends_with("control.sock"), "{file}");
    }
}

fn assert_no_canary(stack: &Stack, said: &[(String, String)]) {
    let mut all: Vec<(String, String)> = said.to_vec();
    let upstreams = stack.project.directory().join("upstreams");
    for path in below(&stack.state()).into_iter().chain(below(&upstreams)) {
        if path.is_file() {
            let bytes = fs::read(&path).unwrap();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            all.push((path.display().to_string(), text));
        }
    }
    for (place, text) in &all {
        // Labels belong to the description of a container that is remembered, and to what `config`
        // shows: the file, so command lines too.
        let config = place.starts_with("config");
        for canary in CANARIES {
            if (canary == "canary-label" && (config || place.contains("/templates/")))
                || (canary == "canary-hook-word" && config)
            {
                continue;
            }
            let line = text.lines().find(|line| line.contains(canary));
            assert_eq!(line, None, "{canary} is in {place}");
        }
        for char in ['\u{1b}', '\u{7}'] {
            let line = text.lines().find(|line| line.contains(char));
            assert_eq!(line, None, "an escape sequence is in {place}");
        }
    }
    // What it is about was there at all.
    let inspected = format!("{:?}", stack.project.inspect_all());
    for canary in ["canary-environment", "canary-env-file", "canary-label"] {
        assert!(inspected.contains(canary), "{canary} was never planted");
    }
    let watch: String = all.iter().map(|(_, text)| text.as_str()).collect();
    assert!(watch.contains("\\u{1b}[2J"), "the escape was never shown");
    assert!(watch.contains("post_start"), "the hook was never told");
}

#[test]
fn every_call_is_in_the_page_modes_hold_with_a_lax_umask_and_no_secret_comes_out() {
    if !real() || !compose_from(ComposeVersion(2, 30, 0), "hooks") {
        return;
    }
    let calls = rows("| call | when and why |");
    let names: Vec<String> = calls.iter().map(|(call, _)| call.clone()).collect();
    let proxy = Allowed::only(names);
    let stack = project();
    let said = everything(&stack, &proxy, "000");
    made_of_its_file(&proxy);

    let seen = proxy.seen();
    assert_eq!(seen.refused, BTreeSet::new(), "not in docs/security.md");
    let version = text(&api::get("/version")["ApiVersion"]).to_owned();
    let minor: u32 = version.split('.').nth(1).unwrap().parse().unwrap();
    let unused: Vec<_> = calls
        .iter()
        .filter(|(call, _)| !seen.passed.contains(call))
        // 1.44 is the API of Engine 25.
        .filter(|(_, why)| minor < 44 || !why.contains("Engines before 25"))
        .map(|(call, _)| call)
        .collect();
    assert!(unused.is_empty(), "listed and never used: {unused:?}");
    assert_no_canary(&stack, &said);
}

#[test]
fn an_nginx_of_another_project_takes_no_call_that_is_not_in_the_page() {
    if !real() {
        return;
    }
    let calls = rows("| call | when and why |");
    let proxy = Allowed::only(calls.into_iter().map(|(call, _)| call).collect());
    let edge = format!("{}edge-{}", support::prefix(), std::process::id());
    let project = ComposeProject::new(&format!(
        "\
x-autoscale: {{interval: 1s, nginx: {{container: {edge}, upstreams: ./upstreams}}}}
services:
  web: {{image: WEB, expose: [\"80\"], stop_grace_period: 1s, x-autoscale: {{max: 3, metrics: []}}}}
"
    ));
    fs::create_dir_all(project.directory().join("upstreams")).unwrap();
    let conf = project.write(
        "nginx.conf",
        "include /etc/nginx/upstreams/*.conf;\nserver { location / { proxy_pass http://web; include /etc/nginx/upstreams/web.location*; } }\n",
    );
    let stack = Stack::of(project);
    stack.project.compose(&["up", "-d"]);
    let upstreams = stack.project.directory().join("upstreams");
    let _edge = Removed(edge.clone());
    let started = Command::new("docker")
        .args(["run", "-d", "--name", &edge])
        .args(["--network", &format!("{}_default", stack.project.name)])
        // Of a service whose name is that of one of ours.
        .args(["--label", "com.docker.compose.project=edge"])
        .args(["--label", "com.docker.compose.service=web"])
        .args(["--label", "com.docker.compose.container-number=1"])
        .args(["--label", "com.docker.compose.config-hash=h"])
        .args(["--label", "com.docker.compose.oneoff=False"])
        .args([
            "-v",
            &format!("{}:/etc/nginx/upstreams:ro", upstreams.display()),
        ])
        .args([
            "-v",
            &format!("{}:/etc/nginx/conf.d/default.conf:ro", conf.display()),
        ])
        .arg(new_nginx())
        .output()
        .unwrap();
    assert!(started.status.success(), "{started:?}");
    let mut session = Session {
        stack: &stack,
        host: proxy.host(),
        umask: "022",
        said: Vec::new(),
    };
    session.must(&["check"]);
    session.must(&["sync"]);
    session.must(&["scale", "web=2"]);
    session.watching(|session| {
        stack.until("watch has taken over", LONG, |s| {
            s.state().join("control.sock").exists() && s.listed().len() == 2
        });
        session.must(&["scale", "web=1"]);
        session.must(&["ps"]);
    });
    assert_eq!(stack.listed().len(), 1);
    let seen = proxy.seen();
    assert_eq!(seen.refused, BTreeSet::new(), "not in docs/security.md");
    let asked = "POST /containers/{id}/exec";
    assert!(seen.passed.contains(asked), "it was never asked anything");
}

#[test]
fn modes_hold_with_a_strict_umask_and_the_proxy_of_the_page_lets_through_what_is_needed() {
    if !real() {
        return;
    }
    let stack = Stack::up(
        new_nginx().as_str(),
        "    x-autoscale: {min: 1, max: 3, metrics: []}",
    );
    let socket = stack.project.directory().join("engine");
    fs::create_dir_all(&socket).unwrap();
    let page = page();
    let recipe = page.split("```nginx\n").nth(1).unwrap();
    let recipe = recipe.split("```").next().unwrap();
    let conf = stack.project.write(
        "engine.conf",
        &format!("user root;\nevents {{}}\nhttp {{\n{recipe}}}\n"),
    );
    let name = format!("{}-engine", stack.project.name);
    let _proxy = Removed(name.clone());
    let started = Command::new("docker")
        .args(["run", "-d", "--name", &name])
        .args(["-v", &format!("{}:/var/run/docker.sock", calls::socket())])
        .args(["-v", &format!("{}:/run/engine-proxy", socket.display())])
        .args([
            "-v",
            &format!("{}:/etc/nginx/nginx.conf:ro", conf.display()),
        ])
        .args([new_nginx().as_str(), "nginx", "-g", "daemon off;"])
        .output()
        .unwrap();
    assert!(started.status.success(), "{started:?}");
    let path = socket.join("docker.sock");
    stack.until("the proxy listens", LONG, |_| {
        UnixStream::connect(&path).is_ok()
    });
    let mut session = Session {
        stack: &stack,
        host: format!("unix://{}", path.display()),
        umask: "077",
        said: Vec::new(),
    };
    let looks = Looks::at(&stack);
    session.must(&["check"]);
    session.watching(|session| {
        stack.until("watch has taken over", LONG, |s| s.listed().len() == 1);
        session.must(&["scale", "web=2"]);
        session.must(&["check"]);
        // An nginx whose user is another one reads them.
        assert!(stack.get("/").is_some_and(|(status, _)| status == 200));
        assert_modes(&stack, &looks);
        session.must(&["scale", "web=1"]);
    });
    let build = Command::new("docker")
        .args(["-H", &session.host, "volume", "ls"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&build.stderr).into_owned();
    assert!(said.contains("403"), "{said}");
}

/// A container that is removed with the value.
struct Removed(String);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rm", "-f", &self.0]).output();
    }
}
