//! The reader of nginx's log: it keeps what the log has told, and answers questions from that.

use std::{
    path::Path,
    time::{Duration, Instant, UNIX_EPOCH},
};

use tracing::debug;

use super::load_query::{LoadField, LoadQuery, OF_EACH, RequestRoutes};
use super::{LOOK_AGAIN, SHOWN};
use crate::{
    proxy::log_tail::{LogError, LogTail},
    reconcile::Values,
    traffic::{LAG, ServiceTraffic, Status, Statuses},
    units::{Bytes, Size, Span},
};

/// Less of a window than this tells nothing.
const LEAST: Duration = Duration::from_secs(5);
/// No request for longer than nginx waits for an answer, and this, may be no traffic: by then it has given
/// up one that nobody answers, and written that down.
const SILENCE: Duration = Duration::from_secs(15);
/// nginx is told to open its logs again at most so often.
const REOPEN: Duration = Duration::from_secs(30);
/// Silence that lasts no longer is nothing to be told.
const AWHILE: Duration = Duration::from_secs(150);
/// nginx's clock may be ahead by so much, in milliseconds.
const AHEAD: u64 = 5000;

/// The log and what it has told.
#[derive(Debug)]
pub(super) struct LogReader {
    log: LogTail,
    traffic: ServiceTraffic,
    /// From here on nothing is missing, in milliseconds since 1970.
    since: Option<u64>,
    /// Until then lines may have been lost.
    gap: u64,
    reopened: Option<Instant>,
    /// Whether nginx was not told the last time.
    reopen_again: bool,
    /// Whether it was said that the log grows.
    grows: bool,
    statuses: Statuses,
    /// Which file is read, and since when, in milliseconds since 1970; zero for the first one.
    file: Option<((u64, u64), u64)>,
}

/// The answer of the log.
#[derive(Debug, Default)]
pub(super) struct LogReading {
    pub(super) values: Values,
    /// nginx has to open its logs again.
    pub(super) reopen: bool,
    /// And when it does not, the log has to be moved back.
    pub(super) rotated: bool,
    /// Why it grows and grows, where that is to be said.
    pub(super) grows: Option<String>,
}

impl LogReader {
    pub(super) fn new(path: &Path, reach: Duration) -> Self {
        Self {
            log: LogTail::new(path),
            traffic: ServiceTraffic::new(reach),
            since: None,
            gap: 0,
            reopened: None,
            reopen_again: false,
            grows: false,
            statuses: Statuses::default(),
            file: None,
        }
    }

    /// Takes what nginx itself counted then.
    pub(super) fn push_status(&mut self, wall: u64, status: Status) {
        self.statuses.push(wall, status);
    }

    /// nginx was not told to open its logs again.
    pub(super) fn not_reopened(&mut self, rotated: bool) {
        if rotated {
            self.unrotate();
        } else {
            self.reopen_again = true;
        }
    }

    pub(super) fn answer(&mut self, question: &LoadQuery) -> LogReading {
        let (now, wall) = (question.now, question.wall);
        let RequestRoutes { services, servers } = &*question.routes;
        let services = services.iter().map(String::as_str);
        self.traffic.route(services, servers, wall + AHEAD);
        let mut answer = LogReading::default();
        let traffic = &mut self.traffic;
        let read = self.log.read(now, |line| traffic.hear(line));
        let long_ago = self
            .reopened
            .is_none_or(|at| now.duration_since(at) > REOPEN);
        let wanted = match &read {
            Ok(found) => found.reopen,
            // It was deleted, perhaps, and nginx writes into what is left of it.
            Err(LogError::Missing { .. }) => long_ago,
            Err(_) => false,
        };
        let wanted = wanted || self.reopen_again && long_ago;
        if question.acts && wanted && question.trouble.is_none() {
            answer.reopen = true;
        } else {
            self.reopen_again |= wanted;
        }
        if let Some(identity) = self.log.identity()
            && self.file.is_none_or(|(file, _)| file != identity)
        {
            let since = self.file.map_or(0, |_| wall);
            self.file = Some((identity, since));
        }
        // A log that fills its file system is begun anew too, or it would stay full.
        let rotates = matches!(read, Ok(_) | Err(LogError::Full { .. }))
            && question.acts
            && question.trouble.is_none()
            && self.log.is_due();
        if rotates {
            match self.log.rotate(now) {
                Ok(()) => {
                    answer.reopen = true;
                    answer.rotated = true;
                }
                Err(error) => answer.grows = self.grows(&error),
            }
        }
        let failed = read.err().map(|error| error.to_string());
        if failed.is_some() {
            self.gap = wall;
        }
        if let Some(why) = question.trouble.as_ref().or(failed.as_ref()) {
            self.since = None;
            if why != Values::NOT_YET {
                self.gap = wall;
            }
            answer.values = question.unread(why);
        } else {
            if self.since.is_none() {
                self.since = Some(self.complete_since(wall));
            }
            answer.values = self.values(question, wall);
        }
        answer.values.unserved = self.traffic.take_unserved(&question.service);
        if answer.reopen {
            self.reopened = Some(now);
            self.reopen_again = false;
        }
        answer
    }

    /// From when on the log tells of every request.
    fn complete_since(&self, wall: u64) -> u64 {
        let begun = match self.log.since() {
            Some(made) => made.duration_since(UNIX_EPOCH).ok(),
            None => self.traffic.first().map(Duration::from_millis),
        };
        let begun = begun.and_then(|begun| u64::try_from(begun.as_millis()).ok());
        // A log of the time to come was made before the clock was set back.
        begun.unwrap_or(wall).max(self.gap).min(wall)
    }

    fn values(&self, question: &LoadQuery, wall: u64) -> Values {
        let end = wall.saturating_sub(LAG.as_millis() as u64);
        let known = Duration::from_millis(end.saturating_sub(self.since.unwrap_or(end)));
        let service = &question.service;
        let mut values = Values::default();
        if known < LEAST {
            return question.unread(Values::NOT_YET);
        }
        let of_service = |window: Duration| {
            let window = window.min(known);
            self.traffic.of_service(service, wall, window)
        };
        if let Some(why) = &question.doubt {
            return question.unread(why);
        }
        let shown_idle = self.is_idle(question, wall);
        // nginx's own count has a websocket too, for as long as it is there.
        let counts = !self.traffic.is_upgraded(service);
        for (metric, window, pick) in &question.metrics {
            let load = of_service(*window).filter(|load| load.count > 0);
            let under_way = self.statuses.in_flight(wall, *window);
            let under_way = under_way.filter(|_| counts).unwrap_or(0.0);
            // That nobody comes cannot be told from a log that is not written, unless it is shown.
            let silent = || {
                let text = format!("no request in its log for {}", Span(*window));
                // That is no failure before it lasts.
                let last = self.traffic.last(service).unwrap_or(0);
                if wall.saturating_sub(last) < AWHILE.as_millis() as u64 {
                    format!("{text}: {}", Values::NOT_YET)
                } else {
                    text
                }
            };
            let value = match load {
                Some(load) => {
                    let value = pick.value(&load).unwrap_or_default();
                    match pick {
                        LoadField::InFlight if counts => {
                            Ok(self.statuses.corrected(value, wall, *window))
                        }
                        _ => Ok(value),
                    }
                }
                None if matches!(pick, LoadField::InFlight) && under_way >= 1.0 => Ok(under_way),
                // What has not ended by now is under way still.
                None if shown_idle && under_way < 1.0 => Ok(0.0),
                None => Err(silent()),
            };
            values.service.insert(metric.clone(), value);
        }
        for (id, name) in &question.replicas {
            let window = SHOWN.min(known);
            let load = self.traffic.of_replica(service, name, wall, window);
            let Some(load) = load else {
                continue;
            };
            for (metric, pick) in OF_EACH {
                if let Some(value) = pick.value(&load) {
                    let of_each = values.replicas.entry(metric.to_owned()).or_default();
                    of_each.insert(id.clone(), Ok(value));
                }
            }
        }
        values
    }

    /// Whether nobody asks for the service, although its requests would be in the log: one was, under the
    /// configuration that nginx still had after that and a short while ago, and in the same file.
    fn is_idle(&self, question: &LoadQuery, wall: u64) -> bool {
        let millis = |span: Duration| span.as_millis() as u64;
        let (Some(last), Some(configured)) =
            (self.traffic.last(&question.service), question.configured)
        else {
            return false;
        };
        let (_, begun) = self.file.unwrap_or_default();
        let silent = wall >= last.saturating_add(millis(configured.patience + SILENCE));
        let of_it = last >= configured.since.max(begun);
        let seen = configured.until > last + millis(LAG);
        // A look takes a moment.
        let lately = wall <= configured.until + millis(LOOK_AGAIN + LEAST * 3);
        silent && of_it && seen && lately
    }

    /// That the log cannot be begun anew, once.
    fn grows(&mut self, error: &std::io::Error) -> Option<String> {
        if std::mem::replace(&mut self.grows, true) {
            return None;
        }
        let (size, path) = (Size(Bytes(self.log.size())), self.log.path().display());
        Some(format!(
            "{path} has {size} and cannot be rotated ({error}): it will grow; give this user write access to its directory"
        ))
    }

    fn unrotate(&mut self) {
        if let Err(error) = self.log.unrotate() {
            debug!(%error, "the log could not be moved back");
        }
    }
}
