//! Log lines on their way to standard error, or elsewhere.

use std::{
    io::{self, Write},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tracing::Level;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait for standard error; more than that are lost, and counted.
const QUEUE: usize = 1024;
/// What waits at the end gets this long to go out.
const PARTING: Duration = Duration::from_secs(1);

/// Takes a line with its level and without its time.
type LineSink = Arc<dyn Fn(Level, &str) + Send + Sync>;

/// Where lines go instead of standard error.
static DIVERTED: Mutex<Option<LineSink>> = Mutex::new(None);
/// Who writes to standard error, where nobody may wait for that.
static BESIDE: Mutex<Option<SyncSender<Vec<u8>>>> = Mutex::new(None);
/// Lines that found no room.
static LOST: AtomicU64 = AtomicU64::new(0);

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends lines elsewhere while the value lives: a screen would be drawn over by them.
#[derive(Debug)]
pub struct LogRedirect;

impl LogRedirect {
    /// From now on each line goes there, with its level and without its time.
    pub fn to(elsewhere: impl Fn(Level, &str) + Send + Sync + 'static) -> Self {
        *lock(&DIVERTED) = Some(Arc::new(elsewhere));
        Self
    }

    /// From now on lines go to standard error again.
    pub fn end() {
        *lock(&DIVERTED) = None;
    }
}

impl Drop for LogRedirect {
    fn drop(&mut self) {
        Self::end();
    }
}

/// Writes to standard error in a thread of its own while the value lives: a pipe that nobody reads, or a
/// terminal that is held, stops nobody who has something to say.
#[derive(Debug)]
pub struct AsyncStderr {
    thread: Option<JoinHandle<()>>,
}

impl AsyncStderr {
    /// Begins.
    pub fn begin() -> io::Result<Self> {
        let (lines, waiting) = sync_channel::<Vec<u8>>(QUEUE);
        let thread = thread::Builder::new().name("log".into()).spawn(move || {
            for line in waiting {
                let mut stderr = io::stderr().lock();
                let _ = stderr.write_all(&line);
                let lost = LOST.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    let _ = writeln!(stderr, "{lost} lines of this log were lost: nobody read it");
                }
            }
        })?;
        *lock(&BESIDE) = Some(lines);
        Ok(Self {
            thread: Some(thread),
        })
    }
}

impl Drop for AsyncStderr {
    fn drop(&mut self) {
        *lock(&BESIDE) = None;
        let Some(thread) = self.thread.take() else {
            return;
        };
        let mut left = PARTING;
        while !thread.is_finished() && !left.is_zero() {
            let step = Duration::from_millis(5);
            thread::sleep(step);
            left = left.saturating_sub(step);
        }
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
        // No lock is held while a line goes out: that may take as long as it likes.
        let elsewhere = lock(&DIVERTED).clone();
        if let Some(elsewhere) = elsewhere {
            let text = String::from_utf8_lossy(&self.line);
            elsewhere(self.level, without_time(&text, self.level).trim_end());
            return;
        }
        let line = std::mem::take(&mut self.line);
        match &*lock(&BESIDE) {
            Some(lines) => {
                if lines.try_send(line).is_err() {
                    LOST.fetch_add(1, Ordering::Relaxed);
                }
                return;
            }
            None => self.line = line,
        }
        let _ = io::stderr().write_all(&self.line);
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
