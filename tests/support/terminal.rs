//! A command in a real terminal: tmux, as over ssh.

use std::{
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

pub(crate) const LONG: Duration = Duration::from_secs(30);

/// The tmux that is used; says so where there is none. In CI there must be one.
pub(crate) fn tmux() -> Option<String> {
    let named = std::env::var("COMPOSE_SCALE_TEST_TMUX").ok();
    let program = named
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "tmux".into());
    let works = Command::new(&program)
        .arg("-V")
        .stdout(Stdio::null())
        .status();
    if works.is_ok_and(|status| status.success()) {
        return Some(program);
    }
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "COMPOSE_SCALE_TEST_TMUX must name tmux in CI"
    );
    eprintln!("skipped: needs tmux");
    None
}

/// A terminal, which is closed with the value.
pub(crate) struct Terminal {
    tmux: String,
    directory: TempDir,
}

impl Terminal {
    /// Runs a script of the shell in a terminal of so many columns and lines.
    pub(crate) fn begin(tmux: String, (columns, lines): (u16, u16), script: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let play = directory.path().join("play.sh");
        compose_scale::files::replace(&play, script.as_bytes()).expect("a script");
        let terminal = Self { tmux, directory };
        terminal.must(&[
            "new-session",
            "-d",
            "-x",
            &columns.to_string(),
            "-y",
            &lines.to_string(),
            &format!("sh '{}'", play.display()),
        ]);
        terminal
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.tmux);
        command
            .arg("-S")
            .arg(self.directory.path().join("tmux.sock"))
            .args(["-f", "/dev/null"])
            .args(arguments)
            .env("TERM", "xterm-256color")
            .env("LC_ALL", "C.UTF-8")
            .env_remove("TMUX");
        command
    }

    /// Tells tmux something, which must succeed.
    pub(crate) fn must(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().expect("tmux runs");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub(crate) fn keys(&self, keys: &[&str]) {
        let mut all = vec!["send-keys"];
        all.extend(keys);
        self.must(&all);
    }

    pub(crate) fn seen(&self) -> String {
        self.must(&["capture-pane", "-p"])
    }

    /// What is on the screen once it has all of this.
    pub(crate) fn until(&self, what: &[&str]) -> String {
        let begun = now();
        loop {
            let seen = self.seen();
            if what.iter().all(|part| seen.contains(part)) {
                return seen;
            }
            assert!(begun.elapsed() < LONG, "no {what:?} within 30s:\n{seen}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn close(&self) {
        let _ = self.command(&["kill-server"]).output();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.close();
    }
}

#[expect(clippy::disallowed_methods, reason = "these tests run in real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
