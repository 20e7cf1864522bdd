//! Writing to standard output.

use std::io::Write;

use super::Failure;

/// Writes all of it; a reader who has gone away is not an error (see [`Failure::code`]).
pub(super) fn write(text: &[u8]) -> Result<(), Failure> {
    let mut stdout = anstream::stdout().lock();
    stdout.write_all(text)?;
    stdout.flush()?;
    Ok(())
}

/// Writes a line.
pub(super) fn line(text: &str) -> Result<(), Failure> {
    write(format!("{text}\n").as_bytes())
}

/// Writes a JSON document.
pub(super) fn json<T: serde::Serialize>(value: &T) -> Result<(), Failure> {
    let mut text = serde_json::to_vec_pretty(value).map_err(std::io::Error::from)?;
    text.push(b'\n');
    write(&text)
}
