//! A command that is told on its standard input.

use std::{
    collections::VecDeque,
    io,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    pin::pin,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
    time::timeout,
};

use super::{body::Document, retry::Answer};
use crate::{
    policy::notify::Hook,
    sources::{SourceError, command, in_words},
};

/// So much of what a command prints is kept, from its end.
const KEPT: usize = 4 * 1024;
/// So many of its last lines are shown when it fails.
const LINES: usize = 3;
/// What it leaves in the background may print for so long after its end.
const AFTERWARDS: Duration = Duration::from_millis(100);

/// Runs it, once, without a shell, in a process group of its own that ends with it, or with the deadline.
pub(super) async fn run(hook: &Hook, directory: &Path, document: &Document) -> Answer {
    let refused = |why: String| Answer::Refused { why };
    let field = |key: &str| {
        document
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let started = Group::start(&hook.argv, directory, |command| {
        command
            .env("COMPOSE_SCALE_EVENT", field("event"))
            .env("COMPOSE_SCALE_SERVICE", field("service"))
            .env("COMPOSE_SCALE_PROJECT", field("project"));
    });
    let mut group = match started {
        Ok(group) => group,
        Err(error) => return refused(error.to_string()),
    };
    let leader = &mut group.leader;
    let (stdin, stdout, stderr) = (
        leader.stdin.take(),
        leader.stdout.take(),
        leader.stderr.take(),
    );
    let mut input = Value::Object(document.clone()).to_string();
    input.push('\n');
    let (mut said, mut complained) = (Tail::default(), Tail::default());
    let work = async {
        let write = async {
            if let Some(mut stdin) = stdin {
                // Who does not want to read it need not.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
        };
        let mut talk = pin!(async {
            tokio::join!(write, said.follow(stdout), complained.follow(stderr));
        });
        tokio::select! {
            ended = group.leader_has_ended() => {
                ended?;
                // Others may have its pipes, and never close them.
                let _ = timeout(AFTERWARDS, talk).await;
            }
            () = talk.as_mut() => group.leader_has_ended().await?,
        }
        group.end().await
    };
    let Ok(status) = timeout(hook.timeout.0, work).await else {
        return refused(format!(
            "it was not done after {}, and was ended with its process group",
            hook.timeout
        ));
    };
    let status = match status {
        Ok(status) if status.success() => return Answer::Taken,
        Ok(status) => status,
        Err(error) => return refused(format!("its end cannot be waited for: {error}")),
    };
    let how = match (status.signal(), status.code()) {
        (Some(signal), _) => format!("ended by signal {signal}"),
        (None, code) => format!("exit code {}", code.unwrap_or(-1)),
    };
    let said = [complained, said].map(|tail| last_lines(&tail.text()));
    match said.into_iter().find(|said| !said.is_empty()) {
        Some(said) => refused(format!("{how}: {said}")),
        None => refused(how),
    }
}

/// A command and what it started, but for what left its process group. All of that ends with the value.
struct Group {
    leader: Child,
}

impl Group {
    fn start(
        argv: &[String],
        directory: &Path,
        more: impl FnOnce(&mut Command),
    ) -> Result<Self, SourceError> {
        let program = argv.first().cloned().unwrap_or_default();
        let mut command = Command::new(command::path_of(&program, directory));
        command
            .args(argv.iter().skip(1))
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        more(&mut command);
        let leader = command.spawn();
        leader.map(|leader| Self { leader }).map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound && directory.is_dir() {
                SourceError::NotFound {
                    program,
                    inside: None,
                }
            } else {
                let why = in_words(&error);
                SourceError::NotRun { program, why }
            }
        })
    }

    /// Looks for the end of the leader without waiting for it: until that is done the number of the
    /// group is nobody else's.
    async fn leader_has_ended(&self) -> io::Result<()> {
        let mut children = signal(SignalKind::child())?;
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        while let Some(pid) = number(&self.leader)
            && waitid(WaitId::Pid(pid), look)?.is_none()
        {
            children.recv().await;
        }
        Ok(())
    }

    /// Ends what is left of it. Returns how its leader ended.
    async fn end(&mut self) -> io::Result<ExitStatus> {
        self.kill();
        self.leader.wait().await
    }

    fn kill(&self) {
        if let Some(pid) = number(&self.leader) {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Its number until it is waited for.
fn number(child: &Child) -> Option<Pid> {
    Pid::from_raw(i32::try_from(child.id()?).ok()?)
}

/// The end of what came.
#[derive(Default)]
struct Tail(VecDeque<u8>);

impl Tail {
    async fn follow(&mut self, stream: Option<impl AsyncRead + Unpin>) {
        let mut part = [0; 1024];
        if let Some(mut stream) = stream {
            while let Ok(length @ 1..) = stream.read(&mut part).await {
                self.0.extend(&part[..length]);
                let surplus = self.0.len().saturating_sub(KEPT);
                self.0.drain(..surplus);
            }
        }
    }

    fn text(mut self) -> String {
        String::from_utf8_lossy(self.0.make_contiguous()).into_owned()
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    lines[lines.len().saturating_sub(LINES)..].join(" / ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_is_printed_the_last_lines_are_shown() {
        assert_eq!(
            last_lines("one\n\n two \nthree\nfour\n"),
            "two / three / four"
        );
        assert_eq!(last_lines("\n"), "");
    }

    #[tokio::test]
    async fn of_a_flood_only_the_end_is_kept() {
        let flood = "x".repeat(100_000) + "the end";
        let mut tail = Tail::default();
        tail.follow(Some(flood.as_bytes())).await;
        let kept = tail.text();
        assert_eq!(kept.len(), KEPT);
        assert!(kept.ends_with("the end"));
    }
}
