//! Load as nginx sees it: how many requests come, how many are under way at once, how long they take
//! and how many fail; of a service and of each of its replicas. Pure: lines in, numbers out.
//!
//! Requests under way are known by Little's law: what those that ended in the window took together, per
//! second of it. One that took longer than the window counts as one that was under way all through it.

use std::{collections::HashMap, net::SocketAddr, time::Duration};

mod access_log_line;
mod series;
mod stub_status;

pub use access_log_line::{AccessLogLine, FIELDS, Tries, parse};
pub use series::{RequestSeries, TrafficLoad};
pub use stub_status::{Status, Statuses};

/// nginx keeps lines back for so long (`flush=1s`): the window ends before them.
pub const LAG: Duration = Duration::from_millis(1200);

/// What ended longer ago is no news, in milliseconds: the first look at a log finds that too.
const RECENT: u64 = 120_000;

/// A replica as nginx reaches it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutedReplica {
    /// Where.
    pub address: SocketAddr,
    /// Its service.
    pub service: String,
    /// Its name.
    pub replica: String,
}

/// What the log has told of some services.
#[derive(Debug)]
pub struct ServiceTraffic {
    /// No window is longer.
    longest: Duration,
    /// How far back it remembers.
    reach: Duration,
    services: Vec<ServiceSeries>,
    servers: HashMap<SocketAddr, (usize, usize)>,
    /// Nothing can have ended after this, in milliseconds since 1970.
    until: u64,
    /// When the first request ended that it heard of, in milliseconds since 1970.
    first: Option<u64>,
    lines: u64,
    /// Lines that are none of ours.
    foreign: u64,
}

#[derive(Debug)]
struct ServiceSeries {
    name: String,
    /// When the last request ended that it heard of, in milliseconds since 1970.
    last: Option<u64>,
    /// Whether a connection to it became another protocol.
    upgraded: bool,
    /// Requests for which nginx had no server, since they were taken last.
    unserved: u64,
    series: RequestSeries,
    replicas: Vec<ReplicaSeries>,
}

#[derive(Debug)]
struct ReplicaSeries {
    name: String,
    series: RequestSeries,
}

impl ServiceTraffic {
    /// Remembers as much as a window of this length needs.
    pub fn new(longest: Duration) -> Self {
        Self {
            longest,
            reach: longest + LAG + Duration::from_secs(5),
            services: Vec::new(),
            servers: HashMap::new(),
            until: u64::MAX,
            first: None,
            lines: 0,
            foreign: 0,
        }
    }

    /// Where requests go from now on. What is known of a replica that is not among them is forgotten,
    /// and so is a service.
    ///
    /// What ends after `until`, in milliseconds since 1970, was written by a clock that has been set back.
    pub fn route<'a>(
        &mut self,
        services: impl Iterator<Item = &'a str>,
        servers: &[RoutedReplica],
        until: u64,
    ) {
        self.until = until;
        let mut before = std::mem::take(&mut self.services);
        for name in services {
            let known = before.iter().position(|service| service.name == name);
            self.services.push(match known {
                Some(at) => before.swap_remove(at),
                None => ServiceSeries {
                    name: name.to_owned(),
                    last: None,
                    upgraded: false,
                    unserved: 0,
                    series: RequestSeries::new(self.reach),
                    replicas: Vec::new(),
                },
            });
        }
        self.servers.clear();
        for (at, service) in self.services.iter_mut().enumerate() {
            let of_it = |server: &&RoutedReplica| server.service == service.name;
            let mut before = std::mem::take(&mut service.replicas);
            for server in servers.iter().filter(of_it) {
                let known = before.iter().position(|one| one.name == server.replica);
                service.replicas.push(match known {
                    Some(at) => before.swap_remove(at),
                    None => ReplicaSeries {
                        name: server.replica.clone(),
                        series: RequestSeries::new(self.reach),
                    },
                });
                let place = (at, service.replicas.len() - 1);
                self.servers.insert(server.address, place);
            }
            for gone in before {
                service.series.absorb(&gone.series);
            }
        }
    }

    /// Takes a line of the log. Whatever is not one of ours is passed over.
    pub fn hear(&mut self, text: &[u8]) {
        self.lines += 1;
        let mut tries = Tries::default();
        let line = std::str::from_utf8(text).ok();
        let line = line.and_then(|line| parse(line, &mut tries));
        let Some(line) = line.filter(|line| line.at <= self.until) else {
            self.foreign += 1;
            return;
        };
        self.first.get_or_insert(line.at);
        self.count(&line, &tries);
    }

    fn count(&mut self, line: &AccessLogLine<'_>, tries: &Tries) {
        let by_name = |service: &ServiceSeries| service.name.eq_ignore_ascii_case(line.upstream);
        let by_server = || {
            let known = |one: &access_log_line::UpstreamTry| self.servers.get(&one.address?);
            tries
                .iter()
                .rev()
                .find_map(known)
                .map(|(service, _)| *service)
        };
        let Some(at) = self.services.iter().position(by_name).or_else(by_server) else {
            return;
        };
        let is_recent = self.until == u64::MAX || self.until - line.at <= RECENT;
        let service = &mut self.services[at];
        service.last = service.last.max(Some(line.at));
        // What the app took: a slow client takes time that no replica could save.
        let took = tries
            .iter()
            .fold(0u64, |sum, one| sum.saturating_add(one.took));
        let failed = line.status >= 500 || tries.iter().any(|one| one.again);
        // A connection that became a websocket is as long as somebody looks at a page, and idle mostly.
        service.upgraded |= line.status == 101;
        // Where no server was left to ask, nobody took any time.
        let timed = line.status != 101 && tries.iter().any(|one| one.address.is_some());
        if is_recent && tries.iter().next_back().is_some_and(|one| one.unserved) {
            service.unserved += 1;
        }
        let once = tries.len() == 1;
        let mut is_timed = false;
        let mut end = line.at;
        let mut repeated = line.status >= 500;
        for one in tries.iter().rev() {
            let place = one.address.and_then(|address| self.servers.get(&address));
            if let Some((_, replica)) = place.filter(|(service, _)| *service == at) {
                let failed = repeated;
                let series = &mut service.replicas[*replica].series;
                // What one replica took is what the service took; several tries are the service's.
                is_timed = timed && once;
                series.add(end, one.took, failed, (timed, is_timed));
            }
            end = end.saturating_sub(one.took);
            // It is the one after it that was asked in its place.
            repeated = one.again;
        }
        let counted = (timed, timed && !is_timed);
        service.series.add(line.at, took, failed, counted);
    }

    /// A service's load over a window that ends as late as nginx has told everything of, by the wall
    /// clock in milliseconds since 1970; `None` for one that is not known.
    pub fn of_service(&self, service: &str, now: u64, window: Duration) -> Option<TrafficLoad> {
        let service = self.services.iter().find(|one| one.name == service)?;
        let parts = service.replicas.iter().map(|replica| &replica.series);
        let window = window.min(self.longest);
        Some(service.series.load(now, window, parts))
    }

    /// The same of one replica.
    pub fn of_replica(
        &self,
        service: &str,
        replica: &str,
        now: u64,
        window: Duration,
    ) -> Option<TrafficLoad> {
        let service = self.services.iter().find(|one| one.name == service)?;
        let replica = service.replicas.iter().find(|one| one.name == replica)?;
        let window = window.min(self.longest);
        Some(replica.series.load(now, window, std::iter::empty()))
    }

    /// How many requests of a service nginx had no server for, since this was asked last.
    pub fn take_unserved(&mut self, service: &str) -> u64 {
        let mut services = self.services.iter_mut();
        let service = services.find(|one| one.name == service);
        service.map_or(0, |service| std::mem::take(&mut service.unserved))
    }

    /// When the first request ended that it heard of, in milliseconds since 1970.
    pub fn first(&self) -> Option<u64> {
        self.first
    }

    /// When the last request of a service ended, in milliseconds since 1970.
    pub fn last(&self, service: &str) -> Option<u64> {
        let service = self.services.iter().find(|one| one.name == service)?;
        service.last
    }

    /// Whether a connection to a service became another protocol, like a websocket: nginx counts it as
    /// a request that is answered, for as long as it is there.
    pub fn is_upgraded(&self, service: &str) -> bool {
        let mut services = self.services.iter();
        services.any(|one| one.name == service && one.upgraded)
    }

    /// Lines so far, and how many of them are none of ours.
    pub fn lines(&self) -> (u64, u64) {
        (self.lines, self.foreign)
    }
}

#[cfg(test)]
mod tests;
