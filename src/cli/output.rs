//! Writing to standard output.

use std::{fmt::Write as _, io::Write as _};

use super::Failure;
use crate::telemetry::plain;

/// How much is gathered before it is written.
const AT_ONCE: usize = 64 * 1024;

/// The forms that a finding or a decision is printed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
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
        text.push_str(&ascii_controls(&line));
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
    write(ascii_controls(&text).as_bytes())?;
    write(b"\n")
}

/// JSON escapes the control characters of ASCII only; a terminal obeys the others too. All of them
/// are inside of strings, where an escape means the same.
fn ascii_controls(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for char in json.chars() {
        if matches!(char, '\u{7f}'..='\u{9f}') {
            let _ = write!(out, "\\u{:04x}", u32::from(char));
        } else {
            out.push(char);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_no_character_that_a_terminal_obeys() {
        let value = serde_json::json!("a\u{9b}2J\u{7f}é");
        let text = ascii_controls(&value.to_string());
        assert_eq!(text, r#""a\u009b2J\u007fé""#);
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            value
        );
    }
}
