//! The ways of docs/guides.md, gone on a real Engine: the commands and files are taken from the page.
//!
//! Where the page says `/srv/shop`, the directory of a test's project stands; where it says the name of an
//! image of the reader's, one that is there.

#![expect(
    clippy::disallowed_methods,
    reason = "files of a test that nobody reads meanwhile"
)]

use std::{
    env, fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::json;
use tempfile::TempDir;

mod support;

use support::{
    ComposeProject, Image, busybox,
    daemon::Daemon,
    needed, part, real,
    stack::{Ran, Stack, new_nginx, signal},
    web_image,
};

const LONG: Duration = Duration::from_secs(60);
/// Set in the second run, which has an Engine of its own: the directory of that.
const INNER: &str = "COMPOSE_SCALE_TEST_SWARM_ENGINE";

/// The fenced texts of one kind below a heading of the page.
fn blocks(heading: &str, kind: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guides.md");
    let page = fs::read_to_string(path).expect("the page");
    let (_, section) = page
        .split_once(&format!("\n## {heading}\n"))
        .unwrap_or_else(|| panic!("no heading {heading:?}"));
    let section = section.split("\n## ").next().unwrap_or_default();
    let fence = format!("```{kind}\n");
    let blocks = section.split(&fence).skip(1);
    blocks
        .map(|block| block.split("```").next().unwrap_or_default().to_owned())
        .collect()
}

/// The commands below a heading, as they are to be typed.
fn commands(heading: &str) -> Vec<String> {
    let found = blocks(heading, "sh");
    assert_eq!(found.len(), 1, "{heading}: one list of commands");
    found[0].lines().map(ToOwned::to_owned).collect()
}

/// Somebody who follows the page in a project's directory.
struct Reader {
    stack: Stack,
    programs: TempDir,
    /// For commands that name the project themselves.
    names_project: bool,
}

impl Reader {
    fn of(project: ComposeProject) -> Self {
        Self::with(Stack::of(project))
    }

    fn with(stack: Stack) -> Self {
        let programs = TempDir::new().expect("a directory");
        let tool = env!("CARGO_BIN_EXE_compose-scale");
        symlink(tool, programs.path().join("compose-scale")).expect("a link");
        Self {
            stack,
            programs,
            names_project: true,
        }
    }

    fn directory(&self) -> &Path {
        self.stack.project.directory()
    }

    /// A program by this name that does something else.
    fn program(&self, name: &str, script: &str) {
        let path = self.programs.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a program");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it can be run");
    }

    fn path(&self) -> String {
        let own = self.programs.path().display();
        format!("{own}:{}", env::var("PATH").unwrap_or_default())
    }

    /// A line of the page in a shell.
    fn shell(&self, line: &str) -> Command {
        let line = line.replace("/srv/shop", &self.directory().display().to_string());
        let mut command = Command::new("sh");
        command
            .args(["-c", &line])
            .current_dir(self.directory())
            .env("PWD", self.directory())
            .env("PATH", self.path())
            .env("COMPOSE_SCALE_STATE", self.stack.state())
            .env("COMPOSE_PROGRESS", "quiet")
            .env("NO_COLOR", "1")
            .env_remove("COMPOSE_FILE")
            .env_remove("COMPOSE_PROFILES")
            .stdin(Stdio::null());
        if self.names_project {
            command.env("COMPOSE_PROJECT_NAME", &self.stack.project.name);
        }
        command
    }

    /// Types a line and waits for its good end.
    fn types(&self, line: &str) -> Ran {
        let output = self.shell(line).output().expect("a shell");
        let ran = Ran {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        assert!(ran.status.success(), "{line}: {ran:#?}");
        ran
    }

    /// Types a line of what goes on until it is ended.
    fn starts(&self, line: &str) -> Going {
        let log = self.programs.path().join("said");
        let file = fs::File::create(&log).expect("a file");
        let child = self
            .shell(&format!("exec {line}"))
            .stdout(file.try_clone().expect("a second handle"))
            .stderr(file)
            .spawn()
            .expect("a shell");
        Going { child, log }
    }

    /// Starts it, waits until it has said that, and ends it.
    fn sees(&self, line: &str, text: &str) {
        let going = self.starts(line);
        self.stack
            .until(&format!("{line} says {text:?}"), LONG, |_| {
                going.said().contains(text)
            });
    }
}

struct Going {
    child: Child,
    log: PathBuf,
}

impl Going {
    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            signal(self.child.id(), "TERM");
        }
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- what it said\n{}", self.said());
        }
    }
}

/// Whether a `watch` answers `ps`; one that begins or ends may give no answer.
fn watching(stack: &Stack) -> bool {
    let ran = stack.run(&["ps", "--format", "json"]);
    let said: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
    said["watching"] == true
}

/// What `sh` of the page's section does first, then second, …: the test names each line, so that none is
/// added or changed without it.
fn in_order<'a>(lines: &'a [String], starts: &[&str]) -> Vec<&'a str> {
    let begins = lines
        .iter()
        .zip(starts)
        .all(|(line, start)| line.starts_with(start));
    assert!(
        begins && lines.len() == starts.len(),
        "{lines:#?} are not {starts:#?}"
    );
    lines.iter().map(String::as_str).collect()
}

#[test]
fn workers_without_nginx() {
    let Some(redis) = real()
        .then(|| part("COMPOSE_SCALE_TEST_REDIS_IMAGE"))
        .flatten()
    else {
        return;
    };
    let heading = "Workers without nginx";
    let worker = Image::committed(&json!({"Cmd": ["sleep", "1000"], "StopSignal": "SIGKILL"}));
    let yaml = blocks(heading, "yaml")
        .remove(0)
        .replace("redis:7", &redis)
        .replace("my-worker:latest", &worker.name);
    let reader = Reader::of(ComposeProject::new(&yaml));
    let lines = commands(heading);
    let lines = in_order(
        &lines,
        &[
            "docker compose up -d",
            "compose-scale check",
            "compose-scale watch --dry-run",
        ],
    );
    reader.types(lines[0]);
    let said = reader.types(lines[1]).stdout;
    assert!(said.contains("jobs is 0 (redis-cli in queue)"), "{said}");
    assert!(
        lines[1].contains("`jobs is 0 (redis-cli in queue)`"),
        "{}",
        lines[1]
    );

    let push = ["exec", "-T", "queue", "redis-cli", "lpush", "jobs"];
    let jobs: Vec<_> = (0..45).map(|job| job.to_string()).collect();
    let all: Vec<_> = push
        .into_iter()
        .chain(jobs.iter().map(String::as_str))
        .collect();
    reader.stack.project.compose(&all);
    reader.sees(lines[2], "1 → 3");
    let _watch = reader.starts("compose-scale watch --plain");
    reader.stack.until("there are workers enough", LONG, |s| {
        s.ps()["services"][0]["replicas"]
            .as_array()
            .is_some_and(|all| all.len() == 3)
    });
}

/// A web service behind nginx with this policy.
fn shop(policy: &str) -> Stack {
    Stack::up(
        &new_nginx(),
        &format!("    stop_grace_period: 1s\n    x-autoscale: {policy}"),
    )
}

#[test]
fn in_tmux() {
    let Some(tmux) = real().then(|| part("COMPOSE_SCALE_TEST_TMUX")).flatten() else {
        return;
    };
    let mut reader = Reader::with(shop("{min: 1, max: 4, metrics: []}"));
    // One server for what the page does, and one as the terminal that it is looked at in.
    let server = |name: &str| {
        format!(
            "env -u TMUX TERM=screen {tmux} -S {}/{name} -f /dev/null",
            reader.programs.path().display()
        )
    };
    let (inner, outer) = (server("inner"), server("outer"));
    reader.program("tmux", &format!("exec {inner} \"$@\""));
    let _ends = Servers(vec![inner.clone(), outer.clone()]);
    let lines = commands("Try it in tmux");
    let lines = in_order(
        &lines,
        &[
            "tmux new -d -s scale 'cd /srv/shop && compose-scale watch'",
            "tmux attach -t scale",
            "compose-scale ps",
        ],
    );
    reader.types(lines[0]);
    reader.stack.until("it watches", LONG, watching);

    let attach = lines[1].split('#').next().unwrap_or_default().trim();
    let terminal = |arguments: &str| reader.types(&format!("{outer} {arguments}")).stdout;
    let there = || {
        let mut command = reader.shell(&format!("{outer} has-session -t look"));
        command
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    let look = || {
        terminal(&format!("new -d -x 110 -y 30 -s look '{attach}'"));
        terminal("set -g prefix None");
        reader.stack.until("the screen is seen", LONG, |_| {
            let screen = terminal("capture-pane -p -t look");
            screen.contains("web") && screen.contains("quit")
        });
    };
    look();
    // Looked at in another window meanwhile.
    let said = reader.types(lines[2]).stdout;
    assert!(said.contains("web"), "{said}");
    terminal("send-keys -t look C-b d");
    reader.stack.until("it is left", LONG, |_| !there());
    assert!(watching(&reader.stack), "it goes on unseen");

    look();
    terminal("send-keys -t look q");
    reader.stack.until("it asks", LONG, |_| {
        terminal("capture-pane -p -t look").contains("stop watch?")
    });
    terminal("send-keys -t look y");
    reader
        .stack
        .until("it has ended", LONG, |s| !watching(s) && !there());
    reader.names_project = true;
}

/// Servers of tmux that end with the value.
struct Servers(Vec<String>);

impl Drop for Servers {
    fn drop(&mut self) {
        for server in &self.0 {
            let mut command = Command::new("sh");
            let command = command.args(["-c", &format!("{server} kill-server")]);
            let _ = command.stderr(Stdio::null()).status();
        }
    }
}

#[test]
fn from_cron() {
    if !real() {
        return;
    }
    let reader = Reader::with(shop("{min: 2, max: 4, metrics: []}"));
    let table = blocks("From cron", "text").remove(0);
    let (mut path, mut job) = ("/usr/bin:/bin".to_owned(), None);
    for line in table.lines() {
        match line.strip_prefix("PATH=") {
            Some(value) => path = value.to_owned(),
            None => job = line.strip_prefix("* * * * * ").map(ToOwned::to_owned),
        }
    }
    let job = job.expect("a job");
    assert!(
        job.contains(" /usr/local/bin/compose-scale watch --once "),
        "{job}"
    );
    // What the machine has in /usr/local/bin, and the tool; compose may be a plugin of this user's.
    let home = TempDir::new().expect("a home");
    let plugins = home.path().join(".docker/cli-plugins");
    fs::create_dir_all(&plugins).expect("a directory");
    let compose = env::var("COMPOSE_SCALE_TEST_COMPOSE").expect("compose");
    symlink(compose, plugins.join("docker-compose")).expect("a link");
    let log = home.path().join("log");
    let job = job
        .replace("/srv/shop", &reader.directory().display().to_string())
        .replace(
            "/usr/local/bin/compose-scale",
            env!("CARGO_BIN_EXE_compose-scale"),
        )
        .replace("/var/log/shop-scale.log", &log.display().to_string());
    let run = |path: &str| {
        let mut cron = Command::new("/usr/bin/env");
        cron.args([
            "-i",
            &format!("PATH={path}"),
            "SHELL=/bin/sh",
            "LOGNAME=root",
        ])
        .arg(format!("HOME={}", home.path().display()))
        // What a test has and cron has not.
        .arg(format!(
            "COMPOSE_PROJECT_NAME={}",
            reader.stack.project.name
        ))
        .args(env::var("DOCKER_HOST").map(|host| format!("DOCKER_HOST={host}")))
        .args(["/bin/sh", "-c", &job])
        .current_dir(home.path())
        .stdin(Stdio::null());
        let output = cron.output().expect("a shell");
        let said = fs::read_to_string(&log).unwrap_or_default();
        (output.status.code(), said, output)
    };
    let (code, said, output) = run(&path);
    assert_eq!(code, Some(0), "{said}{output:?}");
    assert!(
        output.stdout.is_empty() && output.stderr.is_empty(),
        "no mail: {output:?}"
    );
    assert!(said.contains("1 → 2"), "{said}");
    assert_eq!(reader.stack.running().len(), 2, "{said}");
    assert_eq!(reader.stack.listed().len(), 2, "{said}");
    // History is kept in the home that cron gives.
    let state = home
        .path()
        .join(".local/state/compose-scale")
        .join(&reader.stack.project.name);
    assert!(state.join("scaling.log").exists(), "{state:?}");

    // A replica that died is made up for by the next run, also where cron's own PATH has no docker in it.
    let (_, first) = reader.stack.running().remove(0);
    support::stack::remove_container(&first);
    let (code, said, _) = run("/usr/bin:/bin");
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(reader.stack.running().len(), 2, "{said}");

    // The page says that two never overlap.
    let mut command = reader.shell("exec compose-scale watch --plain");
    let command = command.env("COMPOSE_SCALE_STATE", &state);
    let file = fs::File::create(home.path().join("watch")).expect("a file");
    let child = command
        .stdout(file.try_clone().expect("a handle"))
        .stderr(file)
        .spawn();
    let watch = Going {
        child: child.expect("a shell"),
        log: home.path().join("watch"),
    };
    reader
        .stack
        .until("it watches", LONG, |_| state.join("control.sock").exists());
    let (code, said, _) = run(&path);
    assert_eq!(code, Some(75), "{said}");
    drop(watch);
}

#[test]
fn from_up_with_scale() {
    if !real() {
        return;
    }
    let reader = Reader::with(shop("{min: 1, max: 8, metrics: []}"));
    reader.types("docker compose up -d --scale web=2");
    let before = reader.stack.running();
    assert_eq!(before.len(), 2);
    let lines = commands("From `docker compose up --scale`");
    let lines = in_order(
        &lines,
        &[
            "compose-scale check",
            "compose-scale scale web=4 ",
            "compose-scale watch",
        ],
    );
    reader.types(lines[0]);
    reader.types(lines[1]);
    let after = reader.stack.running();
    assert_eq!(after.len(), 4);
    assert!(
        before.iter().all(|one| after.contains(one)),
        "nothing is made anew"
    );
    let _watch = reader.starts(lines[2]);
    reader.stack.until("it watches", LONG, watching);
    // The count in the file is 1, and there is no compose.scale.yaml.
    reader.types("docker compose up -d");
    reader.stack.until("the count is restored", LONG, |s| {
        s.listed().len() == 4 && s.running().len() == 4
    });
}

/// Runs a test a second time, without any network but its own: there it may have an Engine that does with the
/// network what it likes.
fn alone(test: &str) {
    let directory = TempDir::new().expect("a directory");
    let saved = directory.path().join("images.tar");
    let save = Command::new("docker")
        .args(["save", "-o"])
        .arg(&saved)
        .args([web_image(), new_nginx(), busybox()])
        .status();
    assert!(save.expect("docker runs").success());
    let ran = Command::new("unshare")
        .arg("--net")
        .arg(env::current_exe().expect("this program"))
        .args(["--exact", "--nocapture", test])
        .env(INNER, directory.path())
        .env("DOCKER_HOST", Daemon::host(directory.path()))
        .status()
        .expect("unshare runs");
    Daemon::stop_what_is_left(directory.path());
    assert!(ran.success());
}

/// An Engine that is a swarm of one machine.
fn swarm(directory: &Path) -> Daemon {
    let loopback = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .status();
    assert!(loopback.expect("ip runs").success());
    let daemon = Daemon::start(directory, &[]);
    let images = directory.join("images.tar").display().to_string();
    let init = ["swarm", "init", "--advertise-addr", "127.0.0.1"];
    for arguments in [&["load", "-i", &images][..], &init[..]] {
        let done = daemon.docker(arguments).status().expect("docker runs");
        assert!(done.success(), "{arguments:?}");
    }
    daemon
}

/// What a stack was, as a project behind nginx.
const MOVED: &str = "services:
  web:
    image: WEB
    expose: [\"80\"]
    stop_grace_period: 1s
    deploy: {replicas: 2, resources: {limits: {cpus: \"0.25\", memory: 64M}}}
    volumes: [\"data:/uploads\"]
    x-autoscale: {min: 2, max: 4, metrics: [], ready: {http: /healthz}}
  nginx:
    image: NGINX
    ports: [\"8080:80\"]
    volumes:
      - ./nginx.conf:/etc/nginx/conf.d/default.conf:ro
      - ./nginx/upstreams:/etc/nginx/upstreams:ro
    depends_on: [web]
volumes: {data: {}}
";

const NGINX: &str = "include /etc/nginx/upstreams/*.conf;
server { listen 80; location / { proxy_pass http://web; include /etc/nginx/upstreams/web.location*; } }\n";

#[test]
fn from_swarm() {
    if needed(
        "COMPOSE_SCALE_TEST_DOCKERD",
        "dockerd, for a swarm of its own",
    )
    .is_none()
    {
        return;
    }
    let Ok(directory) = env::var(INNER) else {
        alone("from_swarm");
        return;
    };
    let daemon = swarm(Path::new(&directory));
    let stack = "version: \"3.8\"
services:
  web:
    image: WEB
    ports: [\"8080:80\"]
    deploy: {replicas: 2, resources: {limits: {cpus: \"0.25\", memory: 64M}}}
    volumes: [\"data:/uploads\"]
volumes: {data: {}}
";
    let mut reader = Reader::of(ComposeProject::new(stack));
    reader.names_project = false;
    reader.types("docker stack deploy -c compose.yaml shop");
    reader.stack.until("the stack is up", LONG, |_| {
        reader
            .types("docker service ls --format '{{.Replicas}}'")
            .stdout
            .trim()
            == "2/2"
    });
    reader.types(
        "docker run --rm -v shop_data:/uploads IMAGE touch /uploads/kept"
            .replace("IMAGE", &busybox())
            .as_str(),
    );

    reader
        .stack
        .project
        .write("compose.yaml", &MOVED.replace("NGINX", &new_nginx()));
    reader.stack.project.write("nginx.conf", NGINX);
    fs::create_dir_all(reader.directory().join("nginx/upstreams")).expect("a directory");
    let lines = commands("From Swarm");
    let lines = in_order(
        &lines,
        &[
            "docker stack rm shop ",
            "until [ -z \"$(docker network ls -q --filter name=^shop_)\" ]; do sleep 1; done ",
            "docker compose -p shop up -d ",
            "compose-scale -p shop check",
            "compose-scale -p shop watch --dry-run",
        ],
    );
    for line in &lines[..4] {
        reader.types(line);
    }
    let mounted = reader
        .types("docker inspect --format '{{range .Mounts}}{{.Name}}{{end}}' shop-web-1 shop-web-2");
    assert_eq!(mounted.stdout, "shop_data\nshop_data\n");
    let kept = reader
        .types(&format!(
            "docker run --rm -v shop_data:/uploads {} ls /uploads",
            busybox()
        ))
        .stdout;
    assert_eq!(kept.trim(), "kept", "the data is there again");
    reader.sees(lines[4], "web");
    // What the table says for the commands of Swarm.
    reader.types("compose-scale -p shop scale web=4");
    let listed = reader
        .types("docker ps --format '{{.Names}}' --filter name=shop-web")
        .stdout;
    assert_eq!(listed.lines().count(), 4, "{listed}");
    let ps = reader.types("compose-scale -p shop ps").stdout;
    assert!(ps.contains("shop-web-4"), "{ps}");
    reader.types("docker compose -p shop down -v --timeout 0");
    reader.types("docker swarm leave --force");
    drop(reader);
    daemon.stop();
}

#[test]
fn from_a_shell_script() {
    if needed(
        "COMPOSE_SCALE_TEST_DOCKERD",
        "dockerd, for a swarm of its own",
    )
    .is_none()
    {
        return;
    }
    let Ok(directory) = env::var(INNER) else {
        alone("from_a_shell_script");
        return;
    };
    let daemon = swarm(Path::new(&directory));
    let heading = "From a shell script over `docker stats`";
    let yaml = blocks(heading, "yaml")
        .remove(0)
        .replace("my-web-app:latest", "WEB");
    // The page has the service alone; its nginx is the one of `MOVED`.
    let (_, nginx) = MOVED.split_once("  nginx:\n").expect("a service");
    let (nginx, _) = nginx.split_once("volumes: {data").expect("its end");
    let yaml = format!("{yaml}  nginx:\n{nginx}").replace("NGINX", &new_nginx());
    let reader = Reader::of(ComposeProject::new(&yaml));
    reader.stack.project.write("nginx.conf", NGINX);
    fs::create_dir_all(reader.directory().join("nginx/upstreams")).expect("a directory");
    reader.types(&format!(
        "docker service create -q --name web --replicas 3 -p 8080:80 {}",
        web_image()
    ));
    // There is no cron here; what the page says of it has nothing to do with the rest.
    reader.program("crontab", "test \"$*\" = -e");
    let lines = commands(heading);
    let lines = in_order(
        &lines,
        &[
            "crontab -e ",
            "docker swarm leave --force ",
            "docker compose up -d",
            "compose-scale check",
            "compose-scale watch --dry-run",
        ],
    );
    for line in &lines[..4] {
        reader.types(line);
    }
    assert_eq!(reader.stack.running().len(), 3);
    // Nobody asks for anything: one less, as the script would have it, when the window is over.
    reader.sees(lines[4], "below 20% asks for 2");
    drop(reader);
    daemon.stop();
}
