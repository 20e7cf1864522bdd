//! Log lines on their way to standard error, or elsewhere.

use std::{
    io::{self, Write},
    sync::{Mutex, PoisonError},
};

use tracing::Level;
use tracing_subscriber::fmt::MakeWriter;

type Diverted = Box<dyn Fn(Level, &str) + Send>;

/// Where lines go instead of standard error.
static DIVERTED: Mutex<Option<Diverted>> = Mutex::new(None);

/// Sends lines elsewhere while the value lives: a screen would be drawn over by them.
#[derive(Debug)]
pub struct Divert;

impl Divert {
    /// From now on each line goes there, with its level and without its time.
    pub fn to(elsewhere: impl Fn(Level, &str) + Send + 'static) -> Self {
        *DIVERTED.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(elsewhere));
        Self
    }
}

impl Divert {
    /// From now on lines go to standard error again.
    pub fn end() {
        *DIVERTED.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Drop for Divert {
    fn drop(&mut self) {
        Self::end();
    }
}

/// A line on its way to standard error, or elsewhere.
pub(super) struct Out {
    level: Level,
    line: Vec<u8>,
}

pub(super) struct Outs;

impl<'a> MakeWriter<'a> for Outs {
    type Writer = Out;

    fn make_writer(&'a self) -> Out {
        Out {
            level: Level::INFO,
            line: Vec::new(),
        }
    }

    fn make_writer_for(&'a self, meta: &tracing::Metadata<'_>) -> Out {
        Out {
            level: *meta.level(),
            line: Vec::new(),
        }
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        let diverted = DIVERTED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(elsewhere) = diverted.as_ref() {
            let text = String::from_utf8_lossy(&self.line);
            elsewhere(self.level, without_time(&text, self.level).trim_end());
        } else {
            let _ = io::stderr().write_all(&self.line);
        }
    }
}

/// The line without its time and its level.
fn without_time(line: &str, level: Level) -> String {
    let line = anstream::adapter::strip_str(line).to_string();
    let word = format!(" {level} ");
    match line.split_once(word.as_str()) {
        Some((time, rest)) if time.len() <= 20 => rest.trim_start().to_owned(),
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_goes_elsewhere_leaves_its_time_behind() {
        let line = "\u{1b}[2m2026-01-02 03:04:05\u{1b}[0m \u{1b}[33m WARN\u{1b}[0m no INFO yet why=\"it\"\n";
        assert_eq!(without_time(line, Level::WARN), "no INFO yet why=\"it\"\n");
        assert_eq!(
            without_time("something else", Level::WARN),
            "something else"
        );
    }
}
