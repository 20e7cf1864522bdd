//! Requests over time.

use std::time::Duration;

use sketches_ddsketch::{Config, DDSketch};

use super::LAG;

/// Latencies are kept together for so long.
const SLOT: u64 = 5000;
/// A percentile is at most so far from the true one, as a share of it.
const ACCURACY: f64 = 0.02;
/// No window is shorter than what is kept as a sum, in milliseconds.
const SHORT: u64 = 1000;
/// Of one second no more long requests are told apart.
const MOST_LONG: usize = 10_000;

/// The load of a window.
#[derive(Debug, Clone, PartialEq)]
pub struct TrafficLoad {
    /// Requests that ended, per second.
    pub requests: f64,
    /// Requests under way at once, on average.
    pub in_flight: f64,
    /// The share of them that failed; zero where there were none.
    pub errors: f64,
    /// How many there were.
    pub count: u64,
    latency: Option<RequestDurations>,
}

/// How long requests took.
#[derive(Clone)]
struct RequestDurations(DDSketch);

impl std::fmt::Debug for RequestDurations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} requests", self.0.count())
    }
}

impl PartialEq for RequestDurations {
    fn eq(&self, other: &Self) -> bool {
        self.0.count() == other.0.count() && self.0.sum() == other.0.sum()
    }
}

impl TrafficLoad {
    /// Of requests that somebody has counted, with how long each of them, or of a sample of them, took in
    /// milliseconds.
    pub fn counted(
        (requests, in_flight, errors): (f64, f64, f64),
        count: u64,
        took: impl IntoIterator<Item = f64>,
    ) -> Self {
        let mut sketch: Option<DDSketch> = None;
        for took in took {
            sketch.get_or_insert_with(new_sketch).add(took);
        }
        Self {
            requests,
            in_flight,
            errors,
            count,
            latency: sketch.map(RequestDurations),
        }
    }

    /// The time within which a share of the requests was answered, in milliseconds; `None` where there
    /// were none.
    pub fn latency(&self, share: f64) -> Option<f64> {
        self.latency.as_ref()?.0.quantile(share).ok().flatten()
    }
}

fn new_sketch() -> DDSketch {
    DDSketch::new(Config::new(ACCURACY, 1024, 1.0))
}

/// The requests of a service or of a replica, by the second.
#[derive(Debug)]
pub struct RequestSeries {
    seconds: Vec<Second>,
    slots: Vec<Slot>,
}

#[derive(Debug, Clone, Default)]
struct Second {
    /// Which, since 1970.
    at: u64,
    requests: u32,
    failed: u32,
    /// What those that ended in it took together, in milliseconds, …
    busy: u64,
    /// … and each that took long.
    long: Vec<u32>,
}

#[derive(Debug, Clone)]
struct Slot {
    at: u64,
    latency: Option<RequestDurations>,
}

impl RequestSeries {
    /// Remembers so far back.
    pub fn new(reach: Duration) -> Self {
        let seconds = reach.as_secs() + 2;
        let slots = reach.as_millis() as u64 / SLOT + 2;
        Self {
            seconds: vec![Second::default(); seconds as usize],
            slots: vec![
                Slot {
                    at: 0,
                    latency: None
                };
                slots as usize
            ],
        }
    }

    /// A request that ended then and took so long, in milliseconds. `busy` says that somebody worked on it
    /// all the while, and `timed` that it belongs to how long requests take.
    pub fn add(&mut self, end: u64, took: u64, failed: bool, (busy, timed): (bool, bool)) {
        if let Some(second) = self.second(end / 1000) {
            second.requests = second.requests.saturating_add(1);
            second.failed = second.failed.saturating_add(failed.into());
            if busy && took <= SHORT {
                second.busy += took;
            } else if busy && second.long.len() < MOST_LONG {
                second.long.push(u32::try_from(took).unwrap_or(u32::MAX));
            }
        }
        if timed && let Some(latency) = self.slot(end / SLOT) {
            latency.add(took as f64);
        }
    }

    /// Takes over how long the requests of another one took.
    pub fn absorb(&mut self, other: &Self) {
        for slot in &other.slots {
            if let Some(theirs) = &slot.latency
                && let Some(latency) = self.slot(slot.at)
            {
                // They are all of one configuration.
                drop(latency.merge(&theirs.0));
            }
        }
    }

    /// The place of a second, which is emptied when it is an older one's; `None` for one that is too old
    /// itself.
    fn second(&mut self, at: u64) -> Option<&mut Second> {
        let place = (at % self.seconds.len() as u64) as usize;
        let second = &mut self.seconds[place];
        if second.at < at {
            *second = Second {
                at,
                ..Second::default()
            };
        }
        (second.at == at).then_some(second)
    }

    fn slot(&mut self, at: u64) -> Option<&mut DDSketch> {
        let place = (at % self.slots.len() as u64) as usize;
        let slot = &mut self.slots[place];
        if slot.at < at {
            *slot = Slot { at, latency: None };
        }
        let new = || RequestDurations(new_sketch());
        (slot.at == at).then(|| &mut slot.latency.get_or_insert_with(new).0)
    }

    /// The load over a window, which ends at the last full second that nginx has told all of. How long
    /// requests took is in `parts` as well.
    pub fn load<'a>(
        &'a self,
        now: u64,
        window: Duration,
        parts: impl Iterator<Item = &'a Self>,
    ) -> TrafficLoad {
        let end = now.saturating_sub(LAG.as_millis() as u64) / 1000;
        let length = window.as_secs().max(1);
        let begin = end.saturating_sub(length);
        let (mut count, mut failed, mut busy) = (0u64, 0u64, 0u64);
        for second in &self.seconds {
            if (begin..end).contains(&second.at) {
                count += u64::from(second.requests);
                failed += u64::from(second.failed);
                busy += second.busy;
                // One that took longer than the window was one of those under way all through it.
                let most = length * 1000;
                busy += second
                    .long
                    .iter()
                    .map(|took| most.min((*took).into()))
                    .sum::<u64>();
            }
        }
        let mut latency: Option<RequestDurations> = None;
        let slots = begin * 1000 / SLOT..=now / SLOT;
        let all = std::iter::once(self)
            .chain(parts)
            .flat_map(|one| &one.slots);
        for slot in all.filter(|slot| slots.contains(&slot.at)) {
            match (&mut latency, &slot.latency) {
                (None, Some(one)) => latency = Some(one.clone()),
                // They are all of one configuration.
                (Some(all), Some(one)) => drop(all.0.merge(&one.0)),
                (_, None) => {}
            }
        }
        let seconds = length as f64;
        TrafficLoad {
            requests: count as f64 / seconds,
            in_flight: busy as f64 / 1000.0 / seconds,
            errors: if count == 0 {
                0.0
            } else {
                failed as f64 / count as f64
            },
            count,
            latency,
        }
    }
}
