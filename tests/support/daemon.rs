//! An Engine of a test's own, with its own socket and data.

use std::{
    env,
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::stack::{now, signal};

const LONG: Duration = Duration::from_secs(60);

/// A running `dockerd`, which ends with the value.
pub(crate) struct Daemon {
    directory: PathBuf,
    child: Child,
}

impl Daemon {
    /// Starts it in a directory, with more arguments, and waits until it answers.
    pub(crate) fn start(directory: &Path, arguments: &[&str]) -> Self {
        let at = |name: &str| directory.join(name).display().to_string();
        let log = File::options()
            .create(true)
            .append(true)
            .open(directory.join("log"))
            .expect("a log");
        // The machine's own settings are for the machine's own Engine.
        File::create(directory.join("daemon.json"))
            .and_then(|mut settings| settings.write_all(b"{}"))
            .expect("settings");
        let program = env::var("COMPOSE_SCALE_TEST_DOCKERD").unwrap_or_else(|_| "dockerd".into());
        let child = Command::new(program)
            .args(["--config-file", &at("daemon.json")])
            .args(["--data-root", &at("data"), "--exec-root", &at("exec")])
            .args(["--pidfile", &at("pid")])
            .args(["-H", &Self::host(directory)])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
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

    /// Its address, as in `DOCKER_HOST`.
    pub(crate) fn host(directory: &Path) -> String {
        format!("unix://{}/sock", directory.display())
    }

    fn answers(&self) -> bool {
        std::os::unix::net::UnixStream::connect(self.directory.join("sock")).is_ok()
            && self
                .docker(&["version"])
                .status()
                .is_ok_and(|s| s.success())
    }

    /// The CLI, set to it.
    pub(crate) fn docker(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command
            .arg("-H")
            .arg(Self::host(&self.directory))
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// Gives it images of the Engine that `DOCKER_HOST` names.
    pub(crate) fn takes(&self, images: &[String]) {
        for image in images {
            let mut save = Command::new("docker")
                .args(["save", image])
                .stdout(Stdio::piped())
                .spawn()
                .expect("docker runs");
            let load = self
                .docker(&["load"])
                .stdin(save.stdout.take().expect("it was piped"))
                .status()
                .expect("docker runs");
            assert!(load.success() && save.wait().expect("it ends").success());
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Ends it and waits for its end.
    pub(crate) fn stop(mut self) {
        signal(self.child.id(), "TERM");
        self.child.wait().expect("it ends");
    }

    /// Ends one that a run which went wrong has left in a directory.
    pub(crate) fn stop_what_is_left(directory: &Path) {
        let pid = directory.join("pid");
        if let Ok(text) = std::fs::read_to_string(&pid) {
            signal(text.trim().parse().expect("a process id"), "TERM");
            let end = now() + LONG;
            while pid.exists() && now() < end {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
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
