//! The wall clock of a simulated host: it begins when it is told to, goes by tokio's clock, which stands
//! still while somebody computes, and can be set.

use std::{cell::Cell, time::Duration};

use jiff::SignedDuration;
use tokio::time::Instant;

use crate::units::Timestamp;

thread_local! {
    static BEGUN: Cell<(jiff::Timestamp, Option<Instant>)> =
        const { Cell::new((jiff::Timestamp::UNIX_EPOCH, None)) };
    static SET_BY: Cell<SignedDuration> = const { Cell::new(SignedDuration::ZERO) };
}

/// It is this time now, on this thread.
pub(super) fn begin(at: jiff::Timestamp) {
    BEGUN.set((at, Some(Instant::now())));
    SET_BY.set(SignedDuration::ZERO);
}

/// Sets it.
pub(super) fn set_by(span: SignedDuration) {
    SET_BY.set(SET_BY.get() + span);
}

/// Time since it began, however it was set.
pub(super) fn elapsed() -> Duration {
    let (_, begun) = BEGUN.get();
    begun.map_or(Duration::ZERO, |begun| begun.elapsed())
}

/// What it shows.
pub(super) fn read() -> jiff::Timestamp {
    let (at, begun) = BEGUN.get();
    let ran = begun.map_or(SignedDuration::ZERO, |begun| {
        SignedDuration::try_from(begun.elapsed()).unwrap_or(SignedDuration::MAX)
    });
    at.saturating_add(ran + SET_BY.get())
        .unwrap_or(jiff::Timestamp::MAX)
}

pub(super) fn now() -> Timestamp {
    Timestamp(read())
}
