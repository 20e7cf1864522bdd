//! Looking into a container: its log, its processes, commands run in it.

use std::time::Duration;

use bollard::{
    container::LogOutput,
    exec::StartExecResults,
    models::{ContainerTopResponse, ExecConfig},
    query_parameters::{LogsOptionsBuilder, TopOptionsBuilder},
};
use futures_util::TryStreamExt;

use crate::{
    engine::{
        ContainerProcess, EngineError, Exec, ExecOutput,
        docker::{Docker, READ},
    },
    project::ContainerId,
};

/// Longest run of a command that brings no deadline of its own.
const COMMAND: Duration = Duration::from_secs(30);
/// What is kept of each stream of a command that does not say how much.
pub(super) const OUTPUT: usize = 64 * 1024;
/// What is kept of a log, from its end.
const LOG: usize = 1024 * 1024;

impl Docker {
    pub(super) async fn last_lines(
        &self,
        id: &ContainerId,
        lines: u32,
    ) -> Result<Vec<String>, EngineError> {
        let options = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .tail(&lines.to_string())
            .build();
        let read = self.client.logs(&id.0, Some(options)).try_fold(
            Vec::new(),
            |mut log: Vec<u8>, chunk| async move {
                keep_end(&mut log, chunk.as_ref(), LOG);
                Ok(log)
            },
        );
        let read = self
            .within(
                READ,
                &format!("reading the log of {}", self.name_of(&id.0)),
                &format!("container {}", self.name_of(&id.0)),
                read,
            )
            .await;
        match read {
            Ok(log) => Ok(last_lines(&log, lines as usize)),
            // Log drivers that only send (syslog, none).
            Err(EngineError::Refused { message, .. })
                if message.contains("does not support reading") =>
            {
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }

    pub(super) async fn run_inside(
        &self,
        id: &ContainerId,
        exec: &Exec,
        stdout: &mut (dyn FnMut(&[u8]) + Send),
    ) -> Result<ExecOutput, EngineError> {
        let command = exec.argv.first().map_or("", String::as_str);
        let config = ExecConfig {
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(exec.argv.clone()),
            env: (!exec.env.is_empty()).then(|| exec.env.clone()),
            privileged: Some(exec.privileged),
            user: exec.user.clone(),
            working_dir: exec.working_dir.clone(),
            ..ExecConfig::default()
        };
        let mut whole = true;
        let run = async {
            let made = self.client.create_exec(&id.0, config).await?;
            let mut stderr = Vec::new();
            let most = exec.keep.unwrap_or(OUTPUT);
            if let StartExecResults::Attached { mut output, input } =
                self.client.start_exec(&made.id, None).await?
            {
                while let Some(chunk) = output.try_next().await? {
                    match &chunk {
                        // Its end says what went wrong.
                        LogOutput::StdErr { message } => keep_end(&mut stderr, message, most),
                        LogOutput::StdOut { message } | LogOutput::StdIn { message } => {
                            stdout(message);
                        }
                        // Only a terminal has such, and there is none: what is left of a piece
                        // when the connection ends in the middle of it.
                        LogOutput::Console { .. } => {
                            whole = false;
                            break;
                        }
                    }
                }
                // Held until here: the Engine ends the session when this half closes.
                drop(input);
            }
            let ended = self.client.inspect_exec(&made.id).await?;
            Ok((ended.exit_code, stderr))
        };
        let doing = format!("running {command} in {}", self.name_of(&id.0));
        let (code, stderr) = self
            .within(
                exec.deadline.unwrap_or(COMMAND),
                &doing,
                &format!("container {}", self.name_of(&id.0)),
                run,
            )
            .await?;
        let code = match code {
            Some(code) if whole => code,
            Some(_) => {
                let why = "its output broke off".into();
                return Err(EngineError::UnexpectedResponse { doing, why });
            }
            None => {
                let why = "its output has ended, but it has no exit code".into();
                return Err(EngineError::UnexpectedResponse { doing, why });
            }
        };
        Ok(ExecOutput {
            code,
            stdout: String::new(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        })
    }

    pub(super) async fn running_inside(
        &self,
        id: &ContainerId,
    ) -> Result<Vec<ContainerProcess>, EngineError> {
        let options = TopOptionsBuilder::default()
            .ps_args("-eo pid,ppid,args")
            .build();
        let doing = format!("listing the processes of {}", self.name_of(&id.0));
        let top = self
            .within(
                READ,
                &doing,
                &format!("container {}", self.name_of(&id.0)),
                self.client.top_processes(&id.0, Some(options)),
            )
            .await?;
        processes(&top).map_err(|why| EngineError::UnexpectedResponse { doing, why })
    }
}

pub(super) fn keep_beginning(kept: &mut Vec<u8>, chunk: &[u8], most: usize) {
    let room = most.saturating_sub(kept.len()).min(chunk.len());
    kept.extend_from_slice(&chunk[..room]);
}

fn keep_end(kept: &mut Vec<u8>, chunk: &[u8], most: usize) {
    kept.extend_from_slice(chunk);
    if kept.len() > 2 * most {
        kept.drain(..kept.len() - most);
    }
}

fn last_lines(log: &[u8], count: usize) -> Vec<String> {
    let text = String::from_utf8_lossy(log);
    let mut lines: Vec<String> = text
        .lines()
        .map(|line| line.trim_end_matches('\r').to_owned())
        .collect();
    let surplus = lines.len().saturating_sub(count);
    lines.split_off(surplus)
}

/// Reads the table that `ps` printed. Its titles depend on the `ps` of the host (`COMMAND`, `CMD`,
/// `ARGS`), so only the two numbers are looked up by title, and fall back to the order asked for.
fn processes(top: &ContainerTopResponse) -> Result<Vec<ContainerProcess>, String> {
    let titles: Vec<&str> = top.titles.iter().flatten().map(|t| t.trim()).collect();
    let column = |title: &str, fallback: usize| {
        titles
            .iter()
            .position(|found| found.eq_ignore_ascii_case(title))
            .unwrap_or(fallback)
    };
    let own = column("PID", 0);
    let parent = column("PPID", 1);
    let last = titles.len().saturating_sub(1);
    top.processes
        .iter()
        .flatten()
        .map(|row| {
            let number = |at: usize| {
                row.get(at)
                    .and_then(|text| text.trim().parse().ok())
                    .ok_or_else(|| format!("`{}` is no line of ps", row.join(" ")))
            };
            Ok(ContainerProcess {
                pid: number(own)?,
                ppid: number(parent)?,
                args: row
                    .get(last..)
                    .unwrap_or_default()
                    .join(" ")
                    .trim()
                    .to_owned(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_last_lines_come_without_their_ends() {
        assert_eq!(last_lines(b"one\r\ntwo\nthree", 2), ["two", "three"]);
        assert_eq!(last_lines(b"", 5), Vec::<String>::new());
    }

    #[test]
    fn a_commands_output_is_bounded() {
        let mut kept = vec![b'x'; 8];
        keep_beginning(&mut kept, b"abc", 10);
        keep_beginning(&mut kept, b"d", 10);
        assert_eq!(kept, b"xxxxxxxxab");
        for piece in 0..100 {
            keep_end(&mut kept, &[piece; 7], 10);
            assert!(kept.len() <= 20);
        }
        assert_eq!(kept.last(), Some(&99));
    }

    #[test]
    fn processes_are_read_whatever_the_titles_are() {
        let read = |titles: &[&str]| {
            let rows = json!([["7", "1", "nginx: master process nginx -g daemon off;"]]);
            let top = json!({ "Titles": titles, "Processes": rows });
            processes(&serde_json::from_value(top).unwrap())
        };
        let expected = vec![ContainerProcess {
            pid: 7,
            ppid: 1,
            args: "nginx: master process nginx -g daemon off;".into(),
        }];
        assert_eq!(read(&["PID", "PPID", "COMMAND"]), Ok(expected.clone()));
        assert_eq!(read(&["pid", "ppid", "ARGS"]), Ok(expected));
        let odd = json!({ "Titles": ["PID"], "Processes": [["nonsense"]] });
        assert!(processes(&serde_json::from_value(odd).unwrap()).is_err());
    }
}
