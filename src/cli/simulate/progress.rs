//! Progress, on a terminal.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

/// A bar on a terminal.
pub(super) struct PlayProgress {
    bar: Option<(ProgressBar, Arc<AtomicU64>)>,
}

impl PlayProgress {
    pub(super) fn begin(total: u64, done: &Arc<AtomicU64>) -> Self {
        if !crate::telemetry::log::may_draw() {
            return Self { bar: None };
        }
        let bar = ProgressBar::new(total);
        let style = ProgressStyle::with_template("{wide_bar} {percent}% {eta} left");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let (told, counted, ended) = (bar.clone(), Arc::clone(done), Arc::new(AtomicU64::new(0)));
        let end = Arc::clone(&ended);
        thread::spawn(move || {
            while end.load(Ordering::Relaxed) == 0 {
                told.set_position(counted.load(Ordering::Relaxed));
                thread::sleep(Duration::from_millis(100));
            }
        });
        Self {
            bar: Some((bar, ended)),
        }
    }
}

impl Drop for PlayProgress {
    fn drop(&mut self) {
        if let Some((bar, ended)) = &self.bar {
            ended.store(1, Ordering::Relaxed);
            bar.finish_and_clear();
        }
    }
}
