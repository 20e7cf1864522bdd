//! Time passes: events come due, requests arrive and are answered, counters go on.

use std::{collections::BTreeMap, time::Duration};

use rand::RngExt;
use rand_distr::Exp1;

use super::{
    super::{clock, load_shape::LoadShape, queue::QueueStep, stats::StepRecord},
    Container, IDLE, SYSTEM, ScheduledEvent, ServiceLoad, World,
};
use crate::{
    engine::ContainerAction,
    host::HostSample,
    project::{ContainerId, Health},
    units::Bytes,
    usage::CounterReading,
};

impl World {
    pub(super) fn note(&mut self, at: Duration, id: &ContainerId, happening: ScheduledEvent) {
        let lives = self.containers.get(id).map_or(0, |one| one.lives);
        self.noted += 1;
        self.agenda
            .insert((at, self.noted), (id.clone(), lives, happening));
        self.news.notify_one();
    }

    pub(super) fn may_crash(&mut self, id: &ContainerId) {
        let Some(container) = self.containers.get(id) else {
            return;
        };
        let service = self.services.get(container.service());
        let rate = service.map_or(0.0, |service| service.profile.crashes);
        if rate > 0.0 {
            let hours: f64 = self.rng.sample::<f64, _>(Exp1) / rate;
            let at = self.at + Duration::from_secs_f64((hours * 3600.0).min(1e9));
            self.note(at, id, ScheduledEvent::Ends(1));
        }
    }

    /// When something happens by itself, since the beginning.
    pub(in crate::sim) fn next(&self) -> Option<Duration> {
        self.agenda.keys().next().map(|(at, _)| *at)
    }

    /// Plays what has happened by now.
    pub(in crate::sim) fn catch_up(&mut self) {
        let now = self.elapsed();
        while let Some(entry) = self.agenda.first_entry() {
            let (at, _) = *entry.key();
            if at > now {
                break;
            }
            let (id, lives, happening) = entry.remove();
            self.play(at);
            let same = |one: &&mut Container| one.lives == lives && one.runs();
            let Some(container) = self.containers.get_mut(&id).filter(same) else {
                continue;
            };
            match happening {
                ScheduledEvent::Ready => {
                    container.health = Health::Healthy;
                    let name = container.name.clone();
                    if let Some(service) = self.services.get_mut(container.service()) {
                        service.begin(&name);
                    }
                    self.is_through(&id);
                    self.tell(&id, ContainerAction::Health(Health::Healthy));
                    self.may_crash(&id);
                }
                ScheduledEvent::Ends(code) => {
                    self.force(&id);
                    self.ended(&id, code, false);
                }
            }
        }
        self.play(now);
    }

    /// Plays the load up to this moment.
    fn play(&mut self, until: Duration) {
        while self.at < until {
            // In steps of a whole grain, so that how often somebody looks changes little.
            let grain = self.grain.as_nanos();
            let whole = (self.at.as_nanos() / grain + 1) * grain;
            let end = until.min(Duration::from_nanos(whole as u64));
            let span = end.saturating_sub(self.at);
            let middle = self.at + span / 2;
            let (mut used, mut wanted) = (0.0, 0.0);
            for (name, service) in &mut self.services {
                let before = service.cpu();
                let rate = service.load.rate(middle);
                let step = service
                    .queue
                    .pass(span, rate, self.slower, &service.profile);
                let cores = (service.cpu() - before) / span.as_secs_f64();
                let cores = service.hear_cores(middle, span).unwrap_or(cores);
                used += cores;
                wanted += cores * self.slower;
                let of_it = |one: &&Container| one.service() == name && one.runs();
                let running = self.containers.values().filter(of_it).count() as u32;
                service.totals.add(&step, cores, running);
                if self.slower > 1.0 {
                    service.totals.starved_seconds += step.seconds;
                }
                if self.keeps {
                    let record = StepRecord {
                        at: end,
                        seconds: step.seconds,
                        expected: rate,
                        rate: step.came / step.seconds,
                        in_flight: step.in_flight,
                        p95: step.percentile(0.95),
                        failed: step.failed(),
                        cores,
                        running,
                        serving: service.queue.serving() as u32,
                    };
                    let begun = !self.at.as_nanos().is_multiple_of(grain);
                    match service.records.last_mut().filter(|_| begun) {
                        Some(last) => last.join(&record),
                        None => service.records.push(record),
                    }
                }
                service.remember(end, step);
            }
            for container in self.containers.values() {
                if container.runs() && container.health == Health::Starting {
                    let service = self.services.get(container.service());
                    let boot = service.map_or(0.0, |service| service.profile.boot_cores);
                    used += boot / self.slower;
                    wanted += boot;
                }
            }
            self.used = used;
            self.slower = (wanted / f64::from(self.machine.cores)).max(1.0);
            self.at = end;
        }
    }

    /// A container's counters.
    pub(in crate::sim) fn reading(&mut self, id: &ContainerId) -> Option<CounterReading> {
        self.catch_up();
        let container = self.containers.get(id).filter(|one| one.runs())?;
        let service = self.services.get(container.service())?;
        let alive = self.at.saturating_sub(container.since);
        let booted = alive.min(service.profile.start_time).as_secs_f64();
        let heard = service.heard.cores.as_ref();
        let heard = heard.and_then(|_| service.heard_cpu.get(&container.name));
        let seconds = heard
            .copied()
            .unwrap_or_else(|| service.queue.cpu(&container.name))
            + booted * service.profile.boot_cores
            + alive.as_secs_f64() * IDLE;
        Some(CounterReading {
            at: clock::now(),
            cpu_nanos: (seconds * 1e9) as u64,
            periods: 0,
            throttled: 0,
            working_set: service.profile.memory,
        })
    }

    /// What is seen of the machine.
    pub(in crate::sim) fn look(&mut self) -> HostSample {
        self.catch_up();
        let memory = |one: &Container| {
            let service = self.services.get(one.service()).filter(|_| one.runs());
            service.map_or(0, |service| service.profile.memory.0)
        };
        let in_use: u64 = self.containers.values().map(memory).sum();
        let cores = f64::from(self.machine.cores);
        HostSample {
            memory: self.machine.memory,
            available: Bytes(
                (self.machine.memory.0)
                    .saturating_sub(SYSTEM.0)
                    .saturating_sub(in_use),
            ),
            busy: Some((self.used / cores * 100.0).min(100.0)),
            pressure: None,
        }
    }

    /// What happened to the requests of a service in the last so long.
    pub(in crate::sim) fn load(&mut self, service: &str, window: Duration) -> Option<QueueStep> {
        self.catch_up();
        let service = self.services.get(service)?;
        let since = self.at.saturating_sub(window);
        let mut sum = QueueStep::default();
        let mut area = 0.0;
        let recent = service.steps.iter().rev();
        for (_, step) in recent.take_while(|(end, _)| *end > since) {
            sum.seconds += step.seconds;
            sum.came += step.came;
            sum.ended += step.ended;
            sum.timed_out += step.timed_out;
            sum.refused += step.refused;
            sum.broken += step.broken;
            area += step.in_flight * step.seconds;
            sum.took.extend_from_slice(&step.took);
        }
        sum.in_flight = area / sum.seconds.max(1e-9);
        Some(sum)
    }

    /// What was read at another time at this moment: requests per second, and those under way at once.
    pub(in crate::sim) fn heard(&mut self, service: &str) -> (Option<f64>, Option<f64>) {
        self.catch_up();
        let heard = self.services.get(service).map(|one| &one.heard);
        // A decision sees what was so until then; nobody decides at quite the same moments as before.
        let half = heard.map_or(Duration::ZERO, |heard| heard.interval / 2);
        let at = self.at.saturating_sub(half);
        let value = |shape: Option<&LoadShape>| shape.map(|shape| shape.rate(at));
        (
            value(heard.and_then(|heard| heard.requests.as_ref())),
            value(heard.and_then(|heard| heard.in_flight.as_ref())),
        )
    }
}

impl ServiceLoad {
    /// Requests in flight to a replica.
    pub(in crate::sim) fn open(&self, name: &str) -> usize {
        self.queue.open(name)
    }

    /// A replica that can serve.
    pub(super) fn begin(&mut self, name: &str) {
        self.queue.add(name, &self.profile);
        self.direct(self.reached);
    }

    /// nginx, where it runs, sends requests as it was told.
    pub(super) fn direct(&mut self, reached: bool) {
        self.reached = reached;
        if reached {
            self.queue.route(&self.routed);
        } else {
            self.queue.route(&BTreeMap::new());
        }
    }

    fn cpu(&self) -> f64 {
        self.queue.cpu_of_all()
    }

    /// Spreads what was read of the cores over the replicas that serve now; how much it is.
    fn hear_cores(&mut self, at: Duration, span: Duration) -> Option<f64> {
        let all = self.heard.cores.as_ref()?.rate(at) * self.profile.cores;
        let names = self.queue.served();
        let each = (all / names.len().max(1) as f64).min(self.profile.cores);
        let used = each * names.len() as f64;
        for name in names {
            *self.heard_cpu.entry(name).or_default() += each * span.as_secs_f64();
        }
        Some(used)
    }

    /// Keeps what the longest window of a policy may ask for.
    fn remember(&mut self, end: Duration, step: QueueStep) {
        const REACH: Duration = Duration::from_secs(600);
        self.steps.push_back((end, step));
        while self.steps.front().is_some_and(|(at, _)| *at + REACH < end) {
            self.steps.pop_front();
        }
    }
}
