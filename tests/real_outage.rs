//! The Engine stops and starts again under `watch`, on an Engine of the test's own.
//!
//! The test runs itself a second time with `DOCKER_HOST` set to that Engine, so that everything in
//! it, the Engine's questions too, goes there.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    env,
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

mod support;

use support::{
    api, real,
    stack::{Stack, new_nginx, now, signal},
    web_image,
};

const LONG: Duration = Duration::from_secs(60);
/// Set in the second run: the directory of the Engine.
const INNER: &str = "COMPOSE_SCALE_TEST_PRIVATE_ENGINE";

/// The daemon's own default bridge: without one it would take over the machine's `docker0`, and
/// with `--bridge none` delete it.
const BRIDGE: &str = "cst-br0";

struct Bridge;

impl Bridge {
    fn make() -> Self {
        let ip = |arguments: &[&str]| {
            Command::new("ip")
                .args(arguments)
                .status()
                .expect("ip runs")
        };
        // Left over from a run that was killed.
        let _ = Command::new("ip")
            .args(["link", "del", BRIDGE])
            .stderr(Stdio::null())
            .status();
        assert!(ip(&["link", "add", BRIDGE, "type", "bridge"]).success());
        assert!(ip(&["addr", "add", "10.213.1.1/24", "dev", BRIDGE]).success());
        assert!(ip(&["link", "set", BRIDGE, "up"]).success());
        Self
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "del", BRIDGE]).status();
    }
}

/// A daemon with its own socket and data.
struct Daemon {
    directory: PathBuf,
    child: Child,
}

impl Daemon {
    fn start(directory: &Path) -> Self {
        let at = |name: &str| directory.join(name).display().to_string();
        let log = File::options()
            .create(true)
            .append(true)
            .open(directory.join("log"))
            .unwrap();
        // The machine's own settings are for the machine's own Engine.
        let settings = directory.join("daemon.json");
        std::io::Write::write_all(&mut File::create(&settings).unwrap(), b"{}").unwrap();
        let program = env::var("COMPOSE_SCALE_TEST_DOCKERD").unwrap_or_else(|_| "dockerd".into());
        let child = Command::new(program)
            .args(["--config-file", &at("daemon.json")])
            .args(["--data-root", &at("data"), "--exec-root", &at("exec")])
            .args(["--pidfile", &at("pid"), "--bridge", BRIDGE])
            .args(["-H", &format!("unix://{}", at("sock"))])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("dockerd starts");
        let daemon = Self {
            directory: directory.to_owned(),
            child,
        };
        let end = now() + LONG;
        while !daemon.answers() {
            assert!(now() < end, "dockerd does not answer: {}", daemon.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        daemon
    }

    fn answers(&self) -> bool {
        std::os::unix::net::UnixStream::connect(self.directory.join("sock")).is_ok()
            && self
                .docker(&["version"])
                .status()
                .is_ok_and(|s| s.success())
    }

    fn docker(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command
            .arg("-H")
            .arg(format!("unix://{}/sock", self.directory.display()))
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    fn stop(mut self) {
        signal(self.child.id(), "TERM");
        self.child.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            signal(self.child.id(), "TERM");
            let _ = self.child.wait();
        }
    }
}

#[test]
fn an_engine_that_stops_and_starts_again_under_watch_leads_to_no_wrong_action() {
    if !real() {
        return;
    }
    if let Ok(directory) = env::var(INNER) {
        inner(Path::new(&directory));
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let _bridge = Bridge::make();
    // The inner run starts and stops the daemon; here only its images are put into place.
    let daemon = Daemon::start(directory.path());
    for image in [web_image(), new_nginx()] {
        let mut save = Command::new("docker")
            .args(["save", &image])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let load = daemon
            .docker(&["load"])
            .stdin(save.stdout.take().unwrap())
            .status()
            .unwrap();
        assert!(load.success() && save.wait().unwrap().success());
    }
    daemon.stop();
    let ran = Command::new(env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("an_engine_that_stops_and_starts_again_under_watch_leads_to_no_wrong_action")
        .env(INNER, directory.path())
        .env(
            "DOCKER_HOST",
            format!("unix://{}/sock", directory.path().display()),
        )
        .status()
        .unwrap();
    // Should the inner run have ended badly, its daemon is still there.
    if let Ok(pid) = std::fs::read_to_string(directory.path().join("pid")) {
        signal(pid.trim().parse().unwrap(), "TERM");
        let end = now() + LONG;
        while directory.path().join("pid").exists() && now() < end {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    assert!(ran.success());
}

fn inner(directory: &Path) {
    let daemon = Daemon::start(directory);
    let mut watch = None;
    let stack = Stack::up(
        &new_nginx(),
        "    restart: unless-stopped
    stop_grace_period: 1s
    x-autoscale: {min: 1, max: 8, metrics: []}",
    );
    stack.must(&["scale", "web=3", "--hold", "1s"]);
    let before = stack.running();
    let running = watch.insert(stack.watch(&[]));
    stack.until("watch has taken over", LONG, |s| s.ps()["watching"] == true);

    daemon.stop();
    stack.until("watch has noticed", LONG, |_| {
        running.log().contains("the Docker Engine is away")
    });
    let daemon = Daemon::start(directory);
    stack.until("everything serves again", LONG, |s| {
        let ps = s.ps();
        running.log().contains("the Docker Engine is back")
            && ps["services"][0]["serving"] == 3
            && s.listed().len() == 3
    });
    assert!(running.runs());
    assert_eq!(
        stack.running(),
        before,
        "the same containers, none made, none removed"
    );
    // Only nginx, which has no restart policy here, is still down; its files are right for its start.
    let (status, _) = api::request(
        "POST",
        &format!("/containers/{}/start", stack.project.container("nginx", 1)),
        "",
    );
    assert!(status == 204 || status == 304);
    let told = running.log();
    assert!(!told.contains("creating"), "{told}");
    assert!(!told.contains("draining"), "{told}");
    drop(watch);
    drop(stack);
    daemon.stop();
}
