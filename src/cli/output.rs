//! Writing to standard output.

use std::io::Write as _;

use super::Failure;
use crate::telemetry::{plain, plain_json};

/// How much is gathered before it is written.
const AT_ONCE: usize = 64 * 1024;

/// The forms that a finding or a decision is printed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum OutputFormat {
    Text,
    Json,
}

/// Writes all of it; a reader who has gone away is not an error (see [`Failure::code`]).
pub(super) fn write(text: &[u8]) -> Result<(), Failure> {
    let mut stdout = anstream::stdout().lock();
    stdout.write_all(text)?;
    stdout.flush()?;
    Ok(())
}

/// Writes text of which parts come from outside; it has no colours of its own.
pub(super) fn text(text: &str) -> Result<(), Failure> {
    write(plain(text).as_bytes())
}

/// Writes a line, as [`text`] does.
pub(super) fn line(line: &str) -> Result<(), Failure> {
    text(&format!("{line}\n"))
}

/// Writes a value as one line of JSON.
pub(super) fn json_line<T: serde::Serialize>(value: &T) -> Result<(), Failure> {
    json_lines([value])
}

/// Writes values as lines of JSON, many at a time.
pub(super) fn json_lines<T: serde::Serialize>(
    values: impl IntoIterator<Item = T>,
) -> Result<(), Failure> {
    let mut text = String::new();
    for value in values {
        let line = serde_json::to_string(&value).map_err(std::io::Error::from)?;
        text.push_str(&plain_json(&line));
        text.push('\n');
        if text.len() >= AT_ONCE {
            write(text.as_bytes())?;
            text.clear();
        }
    }
    write(text.as_bytes())
}

/// Writes a JSON document.
pub(super) fn json<T: serde::Serialize>(value: &T) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(std::io::Error::from)?;
    write(plain_json(&text).as_bytes())?;
    write(b"\n")
}
