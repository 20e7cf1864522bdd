//! A command that is told on its standard input.

use std::{
    collections::VecDeque, convert::Infallible, os::unix::process::ExitStatusExt as _, path::Path,
    process::Stdio,
};

use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use super::{payload::Payload, retry::AttemptOutcome};
use crate::{policy::notify::NotifyCommand, sources::command};

/// So much of what a command prints is kept, from its end.
const KEPT: usize = 4 * 1024;
/// So many of its last lines are shown when it fails.
const LINES: usize = 3;

/// Runs it, once, without a shell. All that it has started ends with it, or with the deadline.
pub(super) async fn run(
    hook: &NotifyCommand,
    directory: &Path,
    document: &Payload,
) -> AttemptOutcome {
    let refused = |why: String| AttemptOutcome::Refused { why };
    let field = |key: &str| {
        document
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let started = command::start(&hook.argv, directory, |command| {
        command
            .stdin(Stdio::piped())
            .env("COMPOSE_SCALE_EVENT", field("event"))
            .env("COMPOSE_SCALE_SERVICE", field("service"))
            .env("COMPOSE_SCALE_PROJECT", field("project"));
    });
    let mut group = match started {
        Ok(group) => group,
        Err(error) => return refused(error.to_string()),
    };
    let (stdin, stdout, stderr) = group.streams();
    let mut input = Value::Object(document.clone()).to_string();
    input.push('\n');
    let (mut said, mut complained) = (OutputTail::default(), OutputTail::default());
    let talk = async {
        let write = async {
            if let Some(mut stdin) = stdin {
                // It need not read it.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
        };
        tokio::join!(write, said.follow(stdout), complained.follow(stderr));
        Ok::<_, Infallible>(())
    };
    let ended = timeout(hook.timeout.0, command::finish(&mut group, talk)).await;
    let status = group.end().await;
    let status = match ended {
        Ok(ended) => ended.and(status),
        Err(_) => {
            return refused(format!(
                "it was not done after {}, and was ended with all that it had started",
                hook.timeout
            ));
        }
    };
    let status = match status {
        Ok(status) if status.success() => return AttemptOutcome::Taken,
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

/// The end of what came.
#[derive(Default)]
struct OutputTail(VecDeque<u8>);

impl OutputTail {
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
        let mut tail = OutputTail::default();
        tail.follow(Some(flood.as_bytes())).await;
        let kept = tail.text();
        assert_eq!(kept.len(), KEPT);
        assert!(kept.ends_with("the end"));
    }
}
