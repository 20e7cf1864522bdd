//! What the words of nginx and of its processes come down to for a person. Pure.

use std::collections::BTreeSet;

use super::{CommandOutput, ControlError, workers::Workers};
use crate::proxy::render;

/// What a shell and a container runtime say when there is no such program, and of one that was ended by a
/// signal, as everything is that runs in a container when that stops.
pub(super) fn could_not_run(output: &CommandOutput) -> bool {
    // 126 and 127 for the program, 128 and the signal's number.
    (126..160).contains(&output.code)
}

/// Whether that is for lack of the program, and not because the container has stopped.
pub(super) fn has_no_program(output: &CommandOutput) -> bool {
    let said = format!("{}\n{}", output.stdout, output.stderr).to_lowercase();
    let not_found = [
        "executable file not found",
        "no such file or directory",
        "not found",
    ];
    (126..=127).contains(&output.code) && not_found.iter().any(|words| said.contains(words))
}

/// What came of running nginx where it could not be run.
pub(super) fn not_run(what: &str, output: &CommandOutput) -> ControlError {
    let why = format!("{what} cannot be run there: {}", last_line(output));
    if has_no_program(output) {
        ControlError::NoProgram { why }
    } else {
        ControlError::NotRun { why }
    }
}

/// nginx's first error without its prefix: `unknown directive "x" in /etc/nginx/nginx.conf:3`.
pub(super) fn first_error(output: &CommandOutput) -> String {
    let said = || output.stderr.lines().chain(output.stdout.lines());
    let emergency = said().find_map(|line| line.split_once("[emerg] "));
    let told = match emergency {
        // A line of the log has process and thread in front: `12#12: `.
        Some((_, message)) => match message.split_once(": ") {
            Some((ids, rest)) if ids.bytes().all(|b| b.is_ascii_digit() || b == b'#') => rest,
            _ => message,
        }
        .trim()
        .to_owned(),
        None => return last_line(output),
    };
    match duplicate(&told) {
        Some(name) => {
            format!("{told} (SERVICE.location has {name}: where that is included, take yours out)")
        }
        None => told,
    }
}

/// The directive that is there twice, where our file of settings has it.
fn duplicate(message: &str) -> Option<&str> {
    let (name, _) = message.split_once("\" directive is duplicate")?;
    let name = name.strip_prefix('"')?;
    render::is_set_once(name).then_some(name)
}

/// What a program says last, for want of something better.
pub(super) fn last_line(output: &CommandOutput) -> String {
    let said = || output.stdout.lines().chain(output.stderr.lines());
    let last = said().map(str::trim).rfind(|line| !line.is_empty());
    last.map_or_else(|| format!("exit code {}", output.code), str::to_owned)
}

/// Why a reload does not count as done.
pub(super) fn describe(workers: &Workers, old: &BTreeSet<u32>) -> String {
    let still = workers.active.intersection(old).count();
    let new = workers.active.len() - still;
    match (new, still) {
        (0, 0) => "no worker process is in sight".into(),
        (0, _) => "its workers are still those of before; its error log says why".into(),
        (_, still) => format!("{still} workers of before still take requests"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_missing_is_told_from_a_container_that_stops() {
        let not_run = |code, text: &str| {
            let stdout = text.to_owned();
            let stderr = String::new();
            not_run(
                "`nginx -v`",
                &CommandOutput {
                    code,
                    stdout,
                    stderr,
                },
            )
        };
        let missing = "OCI runtime exec failed: exec failed: unable to start container process: exec: \"nginx\": executable file not found in $PATH: unknown";
        for code in [126, 127] {
            let error = not_run(code, missing);
            assert!(matches!(error, ControlError::NoProgram { .. }), "{error}");
        }
        for (code, stopping) in [
            (
                126,
                "OCI runtime exec failed: exec failed: cannot exec in a stopped state: unknown",
            ),
            (
                128,
                "OCI runtime exec failed: exec failed: unable to start container process: error executing setns process: exit status 1: unknown",
            ),
            (137, ""),
        ] {
            let error = not_run(code, stopping);
            assert!(matches!(error, ControlError::NotRun { .. }), "{error}");
        }
    }

    #[test]
    fn the_first_emergency_is_told_without_its_prefix() {
        let said = |stderr: &str| {
            first_error(&CommandOutput {
                code: 1,
                stderr: stderr.into(),
                ..CommandOutput::default()
            })
        };
        let twice = "2026/01/01 12:00:00 [emerg] 7#7: invalid port in /a.conf:1\n\
                     nginx: [emerg] invalid port in /a.conf:1\nnginx: test failed\n";
        assert_eq!(said(twice), "invalid port in /a.conf:1");
        let host = "nginx: [emerg] host not found in upstream \"a: b\" in /a.conf:2\n";
        assert_eq!(
            said(host),
            "host not found in upstream \"a: b\" in /a.conf:2"
        );
        assert_eq!(said("only this\n\n"), "only this");
        let duplicate = |name: &str| {
            said(&format!(
                "nginx: [emerg] \"{name}\" directive is duplicate in /a.conf:2\n"
            ))
        };
        assert_eq!(
            duplicate("proxy_http_version"),
            "\"proxy_http_version\" directive is duplicate in /a.conf:2 \
             (SERVICE.location has proxy_http_version: where that is included, take yours out)"
        );
        assert_eq!(
            duplicate("keepalive_min_timeout"),
            "\"keepalive_min_timeout\" directive is duplicate in /a.conf:2"
        );
        assert_eq!(said(""), "exit code 1");
    }
}
