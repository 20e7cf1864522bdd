//! The link to the Engine: its events, the listings, and how it comes back when it went away.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt};

use super::{Message, project_id, tasks::Tasks};
use crate::{
    engine::{Engine, EngineError, EngineEvent},
    project::ContainerId,
    state::ProjectLock,
    units::Timestamp,
};

/// While the Engine tells of nothing and nothing is to be done, containers are listed this often: a
/// listing costs the Engine a look at each of them.
const RESYNC: Duration = Duration::from_secs(60);
/// A lost engine is tried again this often; less often, up to [`LONGEST_RECONNECT`], when it comes
/// back again and again and never for as long as [`STEADY`].
const RECONNECT: Duration = Duration::from_millis(500);
const LONGEST_RECONNECT: Duration = Duration::from_secs(15);
const STEADY: Duration = Duration::from_secs(60);

type EventStream = Pin<Box<dyn Stream<Item = Result<EngineEvent, EngineError>> + Send>>;

/// The Engine as this run is connected to it.
pub(super) struct EngineLink<E> {
    engine: Arc<E>,
    events: Option<EventStream>,
    /// Why it does not answer.
    away: Option<String>,
    reconnecting: bool,
    /// Counts connections: an answer that was asked for through an earlier one is out of date.
    connection: u32,
    connected: Option<Timestamp>,
    /// Connections in a row that did not last.
    flaps: u32,
    listing: bool,
    /// When the last listing was asked for that has been answered.
    listed: Option<Timestamp>,
    /// When the Engine told of something last.
    heard: Option<Timestamp>,
}

impl<E: Engine> EngineLink<E> {
    pub(super) fn new(engine: Arc<E>) -> Self {
        Self {
            engine,
            events: None,
            away: None,
            reconnecting: false,
            connection: 0,
            connected: None,
            flaps: 0,
            listing: false,
            listed: None,
            heard: None,
        }
    }

    pub(super) fn engine(&self) -> Arc<E> {
        Arc::clone(&self.engine)
    }

    /// Why the Engine does not answer; `None` while it does.
    pub(super) fn away(&self) -> Option<&str> {
        self.away.as_deref()
    }

    pub(super) fn is_away(&self) -> bool {
        self.away.is_some()
    }

    /// Whether its events are followed.
    pub(super) fn is_connected(&self) -> bool {
        self.events.is_some()
    }

    /// Whether an answer was asked for through this connection.
    pub(super) fn is_current(&self, connection: u32) -> bool {
        connection == self.connection
    }

    /// Opens the event stream; the containers are listed afterwards.
    pub(super) fn connect(&mut self, project: &str, now: Timestamp) {
        self.connection += 1;
        self.connected = Some(now);
        self.listing = false;
        self.listed = None;
        self.events = Some(Box::pin(self.engine.events(project)));
    }

    /// The next event; never while there is no connection.
    pub(super) async fn next_event(&mut self) -> Option<Result<EngineEvent, EngineError>> {
        match &mut self.events {
            Some(stream) => stream.next().await,
            None => std::future::pending().await,
        }
    }

    /// The Engine told of something.
    pub(super) fn hear(&mut self, now: Timestamp) {
        self.heard = Some(now);
    }

    /// The connection is gone. Says whether that is news.
    pub(super) fn lose(&mut self, why: &str) -> bool {
        self.events = None;
        let is_news = self.away.is_none();
        if is_news {
            self.away = Some(why.to_owned());
        }
        is_news
    }

    /// Asks after a while whether the Engine answers again. With it the right to act on `project` is
    /// taken, where that could not be done before.
    pub(super) fn reconnect(&mut self, project: Option<String>, now: Timestamp, tasks: &mut Tasks) {
        // Several calls fail when the engine goes; one attempt at a time is enough.
        if std::mem::replace(&mut self.reconnecting, true) {
            return;
        }
        match self.connected.take().map(|since| now.since(since)) {
            Some(lasted) if lasted >= STEADY => self.flaps = 0,
            Some(_) => self.flaps += 1,
            None => {}
        }
        let flaps = self.flaps.saturating_sub(1).min(10);
        let wait = (RECONNECT * 2u32.pow(flaps)).min(LONGEST_RECONNECT);
        let engine = self.engine();
        let report = tasks.reporter();
        tasks.report(async move {
            tokio::time::sleep(wait).await;
            let info = engine.info().await;
            if let (Some(project), Ok(info)) = (project, &info) {
                let claimed = ProjectLock::take(&project_id(info, &project)).await;
                let _ = report.send(Message::Claimed(claimed)).await;
            }
            Message::Engine(info)
        });
    }

    /// The attempt to reach it again is over.
    pub(super) fn attempted(&mut self) {
        self.reconnecting = false;
    }

    /// Lists the project's containers, one listing at a time, and looks at the nginx that is a container
    /// outside of it.
    pub(super) fn list(
        &mut self,
        project: &str,
        foreign: Option<ContainerId>,
        now: Timestamp,
        tasks: &mut Tasks,
    ) {
        if std::mem::replace(&mut self.listing, true) {
            return;
        }
        let engine = self.engine();
        let project = project.to_owned();
        let connection = self.connection;
        tasks.report(async move {
            let look = async {
                let id = foreign?;
                let seen = engine.inspect(&id.0).await.map(Box::new);
                Some((id, seen))
            };
            let (result, nginx) = tokio::join!(engine.list(&project), look);
            Message::Listed {
                taken: now,
                connection,
                result,
                nginx,
            }
        });
    }

    /// A listing has come through this connection. Says whether it counts.
    pub(super) fn listing_came(&mut self, connection: u32) -> bool {
        // What was asked for before the engine went says nothing about what is there now.
        let counts = self.is_current(connection) && self.is_connected();
        if counts {
            self.listing = false;
        }
        counts
    }

    /// The containers are known, as they were then. Says whether the Engine was away before.
    pub(super) fn listed(&mut self, taken: Timestamp) -> bool {
        self.listed = Some(taken);
        self.away.take().is_some()
    }

    /// Whether a listing would show nothing new: the events told of nothing since the last one.
    pub(super) fn is_up_to_date(&self, now: Timestamp) -> bool {
        !self.listing
            && self.listed.is_some_and(|listed| {
                self.heard.is_none_or(|heard| heard < listed) && now.since(listed) < RESYNC
            })
    }

    /// Looks at one container.
    pub(super) fn inspect(&self, id: ContainerId, now: Timestamp, tasks: &mut Tasks) {
        let engine = self.engine();
        let connection = self.connection;
        tasks.report(async move {
            let result = engine.inspect(&id.0).await.map(Box::new);
            Message::Inspected {
                taken: now,
                connection,
                id,
                result,
            }
        });
    }

    /// The clock was set: answers that are on their way belong to another time.
    pub(super) fn clock_jumped(&mut self, now: Timestamp) {
        self.connection += 1;
        self.listing = false;
        self.connected = self.connected.map(|_| now);
    }
}
