//! The Engine stops and starts again under `watch`, on an Engine of the test's own.
//!
//! The test runs itself a second time with `DOCKER_HOST` set to that Engine, so that everything in
//! it, the Engine's questions too, goes there.

use std::{
    env,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

mod support;

use support::{
    api,
    daemon::Daemon,
    real,
    stack::{Stack, new_nginx},
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
    let daemon = Daemon::start(directory.path(), &["--bridge", BRIDGE]);
    daemon.takes(&[web_image(), new_nginx()]);
    daemon.stop();
    let ran = Command::new(env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("an_engine_that_stops_and_starts_again_under_watch_leads_to_no_wrong_action")
        .env(INNER, directory.path())
        .env("DOCKER_HOST", Daemon::host(directory.path()))
        .status()
        .unwrap();
    // Should the inner run have ended badly, its daemon is still there.
    Daemon::stop_what_is_left(directory.path());
    assert!(ran.success());
}

fn inner(directory: &Path) {
    let daemon = Daemon::start(directory, &["--bridge", BRIDGE]);
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
        running.log().contains("the Docker Engine does not answer")
    });
    let daemon = Daemon::start(directory, &["--bridge", BRIDGE]);
    stack.until("everything serves again", LONG, |s| {
        let ps = s.ps();
        running.log().contains("the Docker Engine answers again")
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
