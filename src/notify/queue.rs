//! What waits for a target. Putting something in never waits: when it is full, the oldest goes.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify as Bell;

/// So many may wait for a target.
pub(super) const MOST: usize = 256;

/// What waits for one target.
#[derive(Debug)]
pub(super) struct NotificationQueue<T> {
    state: Mutex<QueueState<T>>,
    bell: Bell,
}

#[derive(Debug)]
struct QueueState<T> {
    waiting: VecDeque<T>,
    dropped: u64,
    closed: bool,
}

impl<T> NotificationQueue<T> {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(QueueState {
                waiting: VecDeque::new(),
                dropped: 0,
                closed: false,
            }),
            bell: Bell::new(),
        }
    }

    /// Puts one at the end. Returns whether the oldest had to go for it.
    pub(super) fn push(&self, one: T) -> bool {
        let mut state = self.state();
        let full = state.waiting.len() >= MOST;
        if full {
            state.waiting.pop_front();
            state.dropped += 1;
        }
        state.waiting.push_back(one);
        drop(state);
        self.bell.notify_one();
        full
    }

    /// How many were dropped since the last time this or [`Self::next`] said so.
    pub(super) fn take_dropped(&self) -> u64 {
        std::mem::take(&mut self.state().dropped)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state().waiting.is_empty()
    }

    /// Nothing more comes.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.bell.notify_one();
    }

    /// The oldest, and how many were dropped since that was last said; nothing when it is closed and empty.
    pub(super) async fn next(&self) -> Option<(T, u64)> {
        loop {
            {
                let mut state = self.state();
                if let Some(one) = state.waiting.pop_front() {
                    return Some((one, std::mem::take(&mut state.dropped)));
                }
                if state.closed {
                    return None;
                }
            }
            self.bell.notified().await;
        }
    }

    fn state(&self) -> MutexGuard<'_, QueueState<T>> {
        // Nothing that can panic is done with it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn order_is_kept_and_the_end_comes_after_the_last_one() {
        let queue = NotificationQueue::new();
        assert!(!queue.push(1) && !queue.push(2));
        queue.close();
        assert_eq!(queue.next().await, Some((1, 0)));
        assert_eq!(queue.next().await, Some((2, 0)));
        assert_eq!(queue.next().await, None);
    }

    #[tokio::test]
    async fn of_too_many_the_oldest_are_dropped_and_counted_once() {
        let queue = NotificationQueue::new();
        let dropped = (0..MOST + 3).filter(|number| queue.push(*number)).count();
        assert_eq!(dropped, 3);
        assert_eq!(queue.next().await, Some((3, 3)));
        assert_eq!(queue.next().await, Some((4, 0)));
        queue.close();
        let mut left = 0;
        while queue.next().await.is_some() {
            left += 1;
        }
        assert_eq!(left, MOST - 2);
    }
}
