//! The requests of one service: they come at random, nginx hands each to a replica, and there it waits
//! until one of the replica's workers is free.
//!
//! Arrivals are open-loop: nobody waits for an answer before the next one comes, as it is with many
//! independent clients (a Poisson process, whose rate changes over time). Each replica is a queue of its
//! own, first come first served, with as many workers as it works on requests at once. With one replica and
//! exponential times it is the M/M/c queue of the textbook.
//!
//! Where many requests come within a step and none has to wait for long, only a part of the step is played
//! through and counts for all of it; what a queue does while it grows or shrinks is always played in full.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::Duration,
};

use rand::{RngExt, SeedableRng};
use rand_distr::Exp1;
use rand_pcg::Pcg64;

use super::profile::Profile;

/// Of one step no more requests than this are played through while the queues are short.
const ENOUGH: f64 = 125.0;
const SECOND: f64 = 1e9;
/// A part is so many times as long as a request takes, at least: what is under way at its beginning is not all of it.
const SPAN: f64 = 10.0;
/// With more work than this share of what the workers can do, queues may grow by themselves.
const BUSY: f64 = 0.9;
/// A load that differs by this share from that of the step before has to be got used to.
const CHANGE: f64 = 0.1;

/// How nginx picks a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BalanceMethod {
    /// The one with the fewest requests in flight.
    LeastConn,
    /// One after the other.
    RoundRobin,
    /// By a hash of something about the client: at random.
    Hash,
}

/// What happened in a step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QueueStep {
    /// How long it was, in seconds.
    pub seconds: f64,
    /// Requests that came.
    pub came: f64,
    /// Requests that ended, answered or not.
    pub ended: f64,
    /// Of these, those that nginx gave up waiting for.
    pub timed_out: f64,
    /// Requests that found no replica, or one that turned them away.
    pub refused: f64,
    /// Requests whose replica ended under them.
    pub broken: f64,
    /// Requests under way at once, on average.
    pub in_flight: f64,
    /// How long those that ended had taken, in milliseconds; a sample of them where many came.
    pub took: Vec<f32>,
}

impl QueueStep {
    /// Requests that got no answer.
    pub fn failed(&self) -> f64 {
        self.timed_out + self.refused + self.broken
    }

    /// The time within which a share of the requests was answered, in milliseconds.
    pub fn percentile(&self, share: f64) -> Option<f64> {
        percentile(&mut self.took.clone(), share)
    }
}

/// The time within which a share of them ended.
pub(super) fn percentile(took: &mut [f32], share: f64) -> Option<f64> {
    let last = took.len().checked_sub(1)?;
    let at = ((took.len() as f64 * share).ceil() as usize).clamp(1, last + 1) - 1;
    let (_, value, _) = took.select_nth_unstable_by(at, f32::total_cmp);
    Some(f64::from(*value))
}

/// A request under way, as nginx sees it: its end, how long it will have taken, and whether nginx will have
/// given it up. In nanoseconds.
type OpenRequest = Reverse<(u64, u64, bool)>;

/// A replica as nginx and its requests see it.
#[derive(Debug)]
struct Lane {
    name: String,
    weight: u32,
    /// When each of its workers will be free.
    free: Vec<u64>,
    open: BinaryHeap<OpenRequest>,
    /// For nginx's smooth weighted round robin.
    turn: i64,
    /// All that its workers were given to do, in nanoseconds.
    given: u64,
    /// What it has used so far, in core-seconds.
    cpu: f64,
}

/// The requests of one service.
#[derive(Debug)]
pub(super) struct RequestQueue {
    rng: Pcg64,
    pick: BalanceMethod,
    /// By the replica's name.
    lanes: Vec<Lane>,
    /// Those that nginx sends requests to, by their place.
    routed: Vec<usize>,
    /// The queue's own time, which stands still while a part of a step counts for the rest of it.
    now: u64,
    /// Until the next request comes, in multiples of the mean time between two.
    next: f64,
    broken: f64,
    /// What those that ended had used, in core-seconds.
    ended_cpu: f64,
    /// The load of the step before, where nothing has changed since then.
    used_to: Option<f64>,
}

impl RequestQueue {
    pub(super) fn new(seed: u64, pick: BalanceMethod) -> Self {
        let mut rng = Pcg64::seed_from_u64(seed);
        Self {
            next: rng.sample(Exp1),
            rng,
            pick,
            lanes: Vec::new(),
            routed: Vec::new(),
            now: 0,
            broken: 0.0,
            ended_cpu: 0.0,
            used_to: None,
        }
    }

    /// A replica that can serve from now on, when nginx sends to it.
    pub(super) fn add(&mut self, name: &str, profile: &Profile) {
        let Err(place) = self.find(name) else {
            return;
        };
        let lane = Lane {
            name: name.to_owned(),
            weight: 1,
            free: vec![self.now; profile.concurrency.max(1) as usize],
            open: BinaryHeap::new(),
            turn: 0,
            given: 0,
            cpu: 0.0,
        };
        self.lanes.insert(place, lane);
        for routed in self.routed.iter_mut().filter(|routed| **routed >= place) {
            *routed += 1;
        }
    }

    /// Its place, or where it would have one.
    fn find(&self, name: &str) -> Result<usize, usize> {
        self.lanes
            .binary_search_by(|lane| lane.name.as_str().cmp(name))
    }

    fn lane(&self, name: &str) -> Option<&Lane> {
        self.find(name).ok().map(|place| &self.lanes[place])
    }

    /// A replica that has ended. What it was at work on is lost.
    pub(super) fn remove(&mut self, name: &str) -> u64 {
        let Ok(place) = self.find(name) else {
            return 0;
        };
        let lane = self.lanes.remove(place);
        self.routed.retain(|routed| *routed != place);
        for routed in self.routed.iter_mut().filter(|routed| **routed > place) {
            *routed -= 1;
        }
        let lost = lane.open.len() as u64;
        self.used_to = None;
        self.broken += lost as f64;
        self.ended_cpu += lane.cpu;
        lost
    }

    /// nginx sends to these from now on, with these weights.
    pub(super) fn route(&mut self, servers: &BTreeMap<String, u32>) {
        self.used_to = None;
        self.routed.clear();
        for (place, lane) in self.lanes.iter_mut().enumerate() {
            if let Some(weight) = servers.get(&lane.name) {
                lane.weight = (*weight).max(1);
                self.routed.push(place);
            }
        }
    }

    /// How long until everything that is under way now has ended.
    pub(super) fn drained_in(&self) -> Duration {
        let open = self.lanes.iter().flat_map(|lane| &lane.open);
        let last = open.map(|Reverse((end, ..))| *end).max().unwrap_or(0);
        Duration::from_nanos(last.saturating_sub(self.now))
    }

    /// Requests that a replica is at work on or that wait in front of it.
    pub(super) fn open(&self, name: &str) -> usize {
        self.lane(name).map_or(0, |lane| lane.open.len())
    }

    /// What a replica has used so far, in core-seconds.
    pub(super) fn cpu(&self, name: &str) -> f64 {
        self.lane(name).map_or(0.0, |lane| lane.cpu)
    }

    /// What all of them have used, those that ended included, in core-seconds.
    pub(super) fn cpu_of_all(&self) -> f64 {
        self.ended_cpu + self.lanes.iter().map(|lane| lane.cpu).sum::<f64>()
    }

    /// How many replicas nginx sends to and that can serve.
    pub(super) fn serving(&self) -> usize {
        self.routed.len()
    }

    /// Their names.
    pub(super) fn served(&self) -> Vec<String> {
        let routed = self.routed.iter();
        routed
            .map(|place| self.lanes[*place].name.clone())
            .collect()
    }

    /// Lets time pass, while so many requests come in a second and each takes so many times as long as it
    /// does on an idle machine.
    pub(super) fn pass(
        &mut self,
        span: Duration,
        rate: f64,
        slower: f64,
        profile: &Profile,
    ) -> QueueStep {
        let seconds = span.as_secs_f64();
        let mut step = QueueStep {
            seconds,
            broken: std::mem::take(&mut self.broken),
            ..QueueStep::default()
        };
        if seconds <= 0.0 {
            return step;
        }
        let whole = span.as_nanos() as u64;
        let part = self.part(rate, slower, profile);
        let part = part.map_or(whole, |part| part.min(whole));
        self.used_to = Some(rate * slower);
        let broken = step.broken;
        step.broken = 0.0;
        let before = self.work_done();
        self.play(part, rate, slower, profile, &mut step);
        let times = whole as f64 / part.max(1) as f64;
        if times > 1.0 && !self.is_steady() {
            // A queue has begun to grow: that is played in full.
            self.play(whole - part, rate, slower, profile, &mut step);
            step.in_flight /= whole as f64;
            self.charge(&before, |worked| worked, whole, slower, profile);
        } else {
            let expected = rate * part as f64 / SECOND;
            step.in_flight /= part.max(1) as f64;
            step.came = extended(step.came, expected, times);
            step.ended = extended(step.ended, expected, times);
            step.timed_out *= times;
            step.refused *= times;
            let work = expected * profile.service_time.as_nanos() as f64 * slower;
            self.charge(
                &before,
                |worked| extended(worked, work, times),
                whole,
                slower,
                profile,
            );
        }
        step.broken = broken;
        step
    }

    /// The part of a step that may stand for all of it, in nanoseconds; `None` where it has to be played in full.
    fn part(&self, rate: f64, slower: f64, profile: &Profile) -> Option<u64> {
        let mean = profile.service_time.as_secs_f64() * slower;
        let workers = f64::from(profile.concurrency.max(1)) * self.routed.len() as f64;
        let used_to = self.used_to?;
        let same = (rate * slower - used_to).abs() <= used_to * CHANGE;
        let fits = rate * mean < workers * BUSY;
        let long = (ENOUGH / rate).max(mean * SPAN) * SECOND;
        (same && fits && self.is_steady()).then_some(long as u64)
    }

    /// Whether some worker is free, so that what is played is like what comes after it.
    fn is_steady(&self) -> bool {
        let mut routed = self.routed.iter().map(|place| &self.lanes[*place]);
        let mut others = self.lanes.iter().enumerate();
        // One that finishes its requests has an end of its own.
        if others.any(|(place, lane)| !lane.open.is_empty() && !self.routed.contains(&place)) {
            return false;
        }
        routed.any(|lane| lane.free.iter().any(|free| *free <= self.now))
    }

    /// What each replica's workers have done, in nanoseconds.
    fn work_done(&self) -> Vec<u64> {
        let done = |lane: &Lane| {
            let ahead = lane.free.iter().map(|free| free.saturating_sub(self.now));
            lane.given.saturating_sub(ahead.sum::<u64>())
        };
        self.lanes.iter().map(done).collect()
    }

    /// Counts what the workers have done since then as what it stands for.
    fn charge(
        &mut self,
        before: &[u64],
        stands_for: impl FnOnce(f64) -> f64,
        whole: u64,
        slower: f64,
        profile: &Profile,
    ) {
        let after = self.work_done();
        let worked = |(before, after): (&u64, &u64)| after.saturating_sub(*before) as f64;
        let all: f64 = before.iter().zip(&after).map(worked).sum();
        if all <= 0.0 {
            return;
        }
        let factor = stands_for(all) / all;
        // One that is kept waiting for a core does not use it.
        let share = profile.cores / f64::from(profile.concurrency.max(1)) / slower;
        // Nobody works for longer than there is time.
        let most = f64::from(profile.concurrency.max(1)) * whole as f64;
        for (lane, one) in self.lanes.iter_mut().zip(before.iter().zip(&after)) {
            lane.cpu += (worked(one) * factor).min(most) / SECOND * share;
        }
    }

    fn play(&mut self, span: u64, rate: f64, slower: f64, profile: &Profile, step: &mut QueueStep) {
        let end = self.now + span;
        let gap = if rate > 0.0 {
            SECOND / rate
        } else {
            f64::INFINITY
        };
        let remaining = |queue: &Self| -> f64 {
            let open = queue.lanes.iter().flat_map(|lane| &lane.open);
            open.map(|Reverse((end, ..))| end.saturating_sub(queue.now) as f64)
                .sum()
        };
        let mut area = remaining(self);
        loop {
            let wait = self.next * gap;
            let left = end - self.now;
            if wait >= left as f64 {
                if gap.is_finite() {
                    self.next -= left as f64 / gap;
                }
                self.now = end;
                break;
            }
            self.now += wait as u64;
            self.next = self.rng.sample(Exp1);
            step.came += 1.0;
            if let Some(took) = self.hand_over(slower, profile, step) {
                area += took as f64;
            } else {
                step.refused += 1.0;
                step.ended += 1.0;
            }
        }
        let now = self.now;
        for lane in &mut self.lanes {
            lane.finish(now, step);
        }
        step.in_flight += area - remaining(self);
    }

    /// nginx hands a request to a replica; how long it will take in nginx's eyes.
    fn hand_over(&mut self, slower: f64, profile: &Profile, step: &mut QueueStep) -> Option<u64> {
        let now = self.now;
        let (lanes, routed) = (&mut self.lanes, &self.routed);
        let place = match self.pick {
            BalanceMethod::LeastConn => {
                for place in routed {
                    lanes[*place].finish(now, step);
                }
                // nginx compares what each has by its weight.
                let load = |place: &&usize| {
                    let lane = &lanes[**place];
                    lane.open.len() as u64 * 10_000 / u64::from(lane.weight)
                };
                *routed.iter().min_by_key(load)?
            }
            BalanceMethod::RoundRobin => {
                let mut all = 0;
                for place in routed {
                    let lane = &mut lanes[*place];
                    lane.turn += i64::from(lane.weight);
                    all += i64::from(lane.weight);
                }
                let place = *routed
                    .iter()
                    .max_by_key(|place| (lanes[**place].turn, Reverse(**place)))?;
                lanes[place].turn -= all;
                place
            }
            BalanceMethod::Hash => {
                let count = routed.len();
                let which = (count > 0).then(|| self.rng.random_range(0..count))?;
                routed[which]
            }
        };
        let lane = &mut lanes[place];
        let worker = lane.free.iter_mut().min()?;
        let waits = worker.saturating_sub(now);
        let mean = profile.service_time.as_nanos() as u64;
        let longest = u64::from(profile.backlog) * mean / u64::from(profile.concurrency.max(1));
        if waits > longest {
            return None;
        }
        let works = (profile.sample(&mut self.rng) * slower) as u64;
        // nginx closes the connection, but the replica does not notice.
        *worker = (*worker).max(now).saturating_add(works);
        lane.given = lane.given.saturating_add(works);
        let timeout = profile.timeout.as_nanos() as u64;
        let gives_up = waits.saturating_add(works) > timeout;
        let took = waits.saturating_add(works).min(timeout);
        lane.open.push(Reverse((now + took, took, gives_up)));
        Some(took)
    }
}

/// What a sum over a part of a step stands for, of which so much was to be expected: chance adds up to less than
/// all the rest, with the root of how often it is thrown.
fn extended(found: f64, expected: f64, times: f64) -> f64 {
    (expected * times + (found - expected) * times.sqrt()).max(0.0)
}

impl Lane {
    /// Ends what has ended by now.
    fn finish(&mut self, now: u64, step: &mut QueueStep) {
        while let Some(Reverse((end, took, gave_up))) = self.open.peek().copied() {
            if end > now {
                return;
            }
            self.open.pop();
            step.ended += 1.0;
            if gave_up {
                step.timed_out += 1.0;
            }
            step.took.push((took as f64 / 1e6) as f32);
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::float_cmp, reason = "counts, which are whole numbers")]

    use super::{super::profile::Spread, *};

    /// The mean time that a request waits for a worker, by Erlang's C formula, in seconds.
    fn erlang(rate: f64, service: f64, workers: u32) -> f64 {
        let offered = rate * service;
        let mut blocked = 1.0;
        for k in 1..=workers {
            blocked = offered * blocked / (f64::from(k) + offered * blocked);
        }
        let busy = offered / f64::from(workers);
        let waits = blocked / (1.0 - busy * (1.0 - blocked));
        waits * service / (f64::from(workers) - offered)
    }

    fn profile(service_ms: u64, concurrency: u32, spread: Spread) -> Profile {
        Profile {
            service_time: Duration::from_millis(service_ms),
            concurrency,
            spread,
            backlog: 100_000,
            ..Profile::default()
        }
    }

    fn all_routed(queue: &mut RequestQueue, replicas: u32, profile: &Profile) {
        let names: BTreeMap<_, _> = (1..=replicas).map(|n| (format!("web-{n}"), 1)).collect();
        for name in names.keys() {
            queue.add(name, profile);
        }
        queue.route(&names);
    }

    /// The mean time of a request, and requests under way at once.
    fn mean(
        queue: &mut RequestQueue,
        rate: f64,
        steps: u32,
        span: Duration,
        profile: &Profile,
    ) -> (f64, f64) {
        let (mut took, mut count, mut in_flight) = (0.0, 0.0, 0.0);
        for _ in 0..steps {
            let step = queue.pass(span, rate, 1.0, profile);
            took += step.took.iter().map(|ms| f64::from(*ms)).sum::<f64>();
            count += step.took.len() as f64;
            in_flight += step.in_flight / f64::from(steps);
        }
        (took / count / 1000.0, in_flight)
    }

    fn near(found: f64, expected: f64, share: f64) {
        assert!(
            (found - expected).abs() <= share * expected,
            "{found} is not within {share} of {expected}"
        );
    }

    #[test]
    fn one_replica_waits_as_long_as_the_formula_for_m_m_c_says() {
        for (rate, workers) in [(5.0, 1), (8.0, 1), (24.0, 4), (36.0, 4), (144.0, 16)] {
            let profile = profile(100, workers, Spread::Exponential);
            let mut queue = RequestQueue::new(7, BalanceMethod::LeastConn);
            all_routed(&mut queue, 1, &profile);
            let span = Duration::from_secs_f64(ENOUGH / rate);
            let (took, in_flight) = mean(&mut queue, rate, 1000, span, &profile);
            let expected = erlang(rate, 0.1, workers) + 0.1;
            near(took, expected, 0.03);
            // Little's law.
            near(in_flight, rate * expected, 0.04);
        }
    }

    #[test]
    fn a_part_of_a_step_counts_for_all_of_it() {
        let profile = profile(100, 16, Spread::Exponential);
        let mut queue = RequestQueue::new(3, BalanceMethod::LeastConn);
        all_routed(&mut queue, 1, &profile);
        let span = Duration::from_secs(60);
        let (mut came, mut squares) = (0.0, 0.0);
        for _ in 0..1000 {
            let of_it = queue.pass(span, 144.0, 1.0, &profile).came;
            came += of_it;
            squares += (of_it - 144.0 * 60.0).powi(2) / 1000.0;
        }
        // As much chance as there is in a Poisson process.
        near(squares.sqrt(), f64::sqrt(144.0 * 60.0), 0.15);
        near(came, 144.0 * 60.0 * 1000.0, 0.01);
        let (took, _) = mean(&mut queue, 144.0, 1000, span, &profile);
        near(took, erlang(144.0, 0.1, 16) + 0.1, 0.03);
        // All that was done in that time, too.
        near(queue.cpu("web-1"), 144.0 * 0.1 / 16.0 * 60.0 * 2000.0, 0.03);
    }

    #[test]
    fn a_queue_that_grows_and_shrinks_is_played_in_full() {
        let profile = profile(10, 4, Spread::Fixed);
        let mut queue = RequestQueue::new(5, BalanceMethod::LeastConn);
        all_routed(&mut queue, 1, &profile);
        // 400 in a second are possible.
        queue.pass(Duration::from_secs(10), 600.0, 1.0, &profile);
        near(queue.open("web-1") as f64, 2000.0, 0.1);
        let step = queue.pass(Duration::from_secs(10), 300.0, 1.0, &profile);
        near(step.ended, 4000.0, 0.02);
        near(queue.open("web-1") as f64, 1000.0, 0.2);
        queue.pass(Duration::from_secs(15), 300.0, 1.0, &profile);
        assert!(queue.open("web-1") < 10);
    }

    #[test]
    fn more_than_all_workers_can_do_is_seen_however_many_they_are() {
        let profile = Profile {
            backlog: 511,
            ..profile(1000, 1000, Spread::Exponential)
        };
        let mut queue = RequestQueue::new(5, BalanceMethod::LeastConn);
        all_routed(&mut queue, 1, &profile);
        let step = Duration::from_secs(5);
        for _ in 0..20 {
            queue.pass(step, 100.0, 1.0, &profile);
        }
        let before = queue.cpu("web-1");
        let steps: Vec<_> = (0..20)
            .map(|_| queue.pass(step, 3000.0, 1.0, &profile))
            .collect();
        // A thousand in a second are possible.
        let refused: f64 = steps.iter().map(|step| step.refused).sum();
        near(refused, 2000.0 * 100.0, 0.03);
        let used = (queue.cpu("web-1") - before) / 100.0;
        assert!((0.95..=1.0).contains(&used), "{used}");
    }

    #[test]
    fn what_finds_no_room_is_refused_and_what_waits_too_long_is_given_up() {
        let small = Profile {
            backlog: 20,
            ..profile(100, 1, Spread::Fixed)
        };
        let mut queue = RequestQueue::new(5, BalanceMethod::LeastConn);
        all_routed(&mut queue, 1, &small);
        queue.pass(Duration::from_secs(60), 20.0, 1.0, &small);
        let step = queue.pass(Duration::from_secs(60), 20.0, 1.0, &small);
        near(step.refused, 600.0, 0.15);
        let impatient = Profile {
            timeout: Duration::from_secs(1),
            backlog: 100,
            ..small
        };
        queue.pass(Duration::from_secs(60), 20.0, 1.0, &impatient);
        let step = queue.pass(Duration::from_secs(60), 20.0, 1.0, &impatient);
        assert!(step.timed_out > 500.0, "{}", step.timed_out);
        assert_eq!(step.percentile(0.95), Some(1000.0));
        let mut nobody = RequestQueue::new(1, BalanceMethod::RoundRobin);
        let step = nobody.pass(Duration::from_secs(10), 20.0, 1.0, &impatient);
        assert_eq!(step.refused, step.came);
    }

    #[test]
    fn fewest_in_flight_is_better_than_turns_and_turns_are_better_than_chance() {
        let profile = profile(100, 1, Spread::Exponential);
        let mut took = Vec::new();
        for pick in [
            BalanceMethod::LeastConn,
            BalanceMethod::RoundRobin,
            BalanceMethod::Hash,
        ] {
            let mut queue = RequestQueue::new(9, pick);
            all_routed(&mut queue, 4, &profile);
            took.push(mean(&mut queue, 32.0, 1000, Duration::from_secs(5), &profile).0);
        }
        assert!(took[0] < took[1] && took[1] < took[2], "{took:?}");
        // Four queues of one worker each: between one for all of them, and each for itself.
        assert!(took[0] > erlang(32.0, 0.1, 4) + 0.1);
        near(took[2], erlang(8.0, 0.1, 1) + 0.1, 0.1);
    }

    #[test]
    fn weights_share_requests_and_what_is_not_routed_gets_none() {
        let profile = profile(10, 8, Spread::Fixed);
        for pick in [BalanceMethod::LeastConn, BalanceMethod::RoundRobin] {
            let mut queue = RequestQueue::new(2, pick);
            for name in ["a", "b", "c"] {
                queue.add(name, &profile);
            }
            queue.route(&BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 3)]));
            queue.pass(Duration::from_secs(100), 700.0, 1.0, &profile);
            let (a, b) = (queue.cpu("a"), queue.cpu("b"));
            assert!(b > 1.5 * a, "{pick:?}: {a} {b}");
            assert_eq!(queue.cpu("c"), 0.0);
        }
    }

    #[test]
    fn a_replica_that_ends_takes_its_requests_with_it() {
        let profile = profile(1000, 8, Spread::Fixed);
        let mut queue = RequestQueue::new(2, BalanceMethod::LeastConn);
        all_routed(&mut queue, 2, &profile);
        queue.pass(Duration::from_secs(10), 8.0, 1.0, &profile);
        let (there, until) = (queue.open("web-1") as u64, queue.drained_in());
        assert!(
            there > 1 && until > Duration::from_millis(500),
            "{there} {until:?}"
        );
        assert_eq!(queue.remove("web-1"), there);
        let step = queue.pass(Duration::from_secs(1), 8.0, 1.0, &profile);
        assert_eq!(step.broken, there as f64);
        queue.route(&BTreeMap::new());
        let last = queue.drained_in();
        queue.pass(last, 0.0, 1.0, &profile);
        assert_eq!(
            (queue.open("web-2"), queue.drained_in()),
            (0, Duration::ZERO)
        );
    }

    #[test]
    fn the_same_seed_gives_the_same_requests() {
        let profile = profile(50, 2, Spread::LogNormal(1.5));
        let play = |seed| {
            let mut queue = RequestQueue::new(seed, BalanceMethod::LeastConn);
            all_routed(&mut queue, 3, &profile);
            (0..20)
                .map(|_| queue.pass(Duration::from_secs(5), 40.0, 1.2, &profile))
                .collect::<Vec<_>>()
        };
        assert_eq!(play(1), play(1));
        assert_ne!(play(1), play(2));
    }
}
