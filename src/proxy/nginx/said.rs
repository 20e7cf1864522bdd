//! What the words of nginx and of its processes come down to for a person. Pure.

use std::collections::BTreeSet;

use super::{Output, workers::Workers};
use crate::proxy::render;

/// What a shell and a container runtime say when there is no such program, and of one that was ended by a
/// signal, as everything is that runs in a container when that stops.
pub(super) fn could_not_run(output: &Output) -> bool {
    // 126 and 127 for the program, 128 and the signal's number.
    (126..160).contains(&output.code)
}

/// nginx's first error without its prefix: `unknown directive "x" in /etc/nginx/nginx.conf:3`.
pub(super) fn first_error(output: &Output) -> String {
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
pub(super) fn last_line(output: &Output) -> String {
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
    fn the_first_emergency_is_told_without_its_prefix() {
        let said = |stderr: &str| {
            first_error(&Output {
                code: 1,
                stderr: stderr.into(),
                ..Output::default()
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
