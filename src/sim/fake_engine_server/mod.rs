//! The simulated host behind a socket that speaks the Engine's HTTP API, as far as the tool asks for it, with
//! an nginx that reads real files. `DOCKER_HOST` pointed at it is enough for the whole program. Whoever runs
//! it decides for each request what goes wrong with it.
//!
//! It lives in the runtime that it is started in, so a clock that is paused pauses it too.

mod api;
mod http;
mod nginx;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::mpsc,
    task::JoinSet,
    time::sleep,
};

use super::{engine::SimulatedHost, simulated_host::ServiceBounds};
use crate::{engine::EngineEvent, project::ContainerState};
use api::{act, message};
use http::{FakeRequest, FakeResponse, refused};

/// Later than every deadline of a call.
const TOO_LATE: Duration = Duration::from_secs(90);
/// What a container has when it was never started.
const NEVER: &str = "0001-01-01T00:00:00Z";
/// Where nginx sees its files.
const INSIDE: &str = "/etc/nginx/upstreams";

/// What goes wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseFault {
    /// Nothing.
    None,
    /// It is refused with this status.
    Answer(u16),
    /// It is not done, and no answer ever comes.
    Hang,
    /// It is done at once, and the answer comes when nobody waits for it any more.
    Late,
    /// It is done when nobody waits for it any more.
    DoneLate,
    /// It is done, and the connection ends in the middle of the answer.
    Cut,
}

type Decide = dyn FnMut(&str) -> ResponseFault + Send;
type Lie = dyn FnMut(&str, &mut Value) + Send;

/// The daemon; it ends with the value.
pub struct Daemon {
    host: SimulatedHost,
    inside: Arc<Mutex<Inside>>,
    _server: JoinSet<()>,
}

struct Inside {
    decide: Box<Decide>,
    lie: Box<Lie>,
    /// Whether each event is told after the one that follows it.
    disorder: bool,
    /// The Engine's version and that of its API.
    version: (String, String),
    commands: BTreeMap<String, (Vec<String>, i64)>,
    /// Where nginx's files are on this host.
    upstreams: PathBuf,
    /// What is at http level besides them.
    configuration: String,
    /// nginx's workers; they are others after each reload.
    workers: [u32; 2],
    /// Workers of before a reload, which end when their requests have, at this time of the simulation.
    old: Vec<(u32, Duration)>,
}

fn lock(inside: &Mutex<Inside>) -> MutexGuard<'_, Inside> {
    inside.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Daemon {
    /// Listens at this socket. nginx reads the files of this directory.
    pub fn listen(host: SimulatedHost, socket: &Path, upstreams: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(socket)?;
        let proxied = host.world().services.keys().next().cloned();
        let proxied = proxied.unwrap_or_default();
        let inside = Arc::new(Mutex::new(Inside {
            decide: Box::new(|_| ResponseFault::None),
            lie: Box::new(|_, _| {}),
            disorder: false,
            version: ("20.10.24".into(), "1.41".into()),
            commands: BTreeMap::new(),
            upstreams: upstreams.to_owned(),
            configuration: format!(
                "include {INSIDE}/*.conf;\nserver {{ location / {{ proxy_pass http://{proxied}; }} }}\n"
            ),
            workers: [101, 102],
            old: Vec::new(),
        }));
        let mut server = JoinSet::new();
        server.spawn(host.clone().live());
        let (world, shared) = (host.clone(), Arc::clone(&inside));
        server.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                open.spawn(serve(stream, world.clone(), Arc::clone(&shared)));
            }
        });
        Ok(Self {
            host,
            inside,
            _server: server,
        })
    }

    /// From now on this decides; it is given `METHOD /path` with `*` for ids, and without a version.
    pub fn decide(&self, decide: impl FnMut(&str) -> ResponseFault + Send + 'static) {
        lock(&self.inside).decide = Box::new(decide);
    }

    /// From now on this may change every answer that is JSON.
    pub fn lie(&self, lie: impl FnMut(&str, &mut Value) + Send + 'static) {
        lock(&self.inside).lie = Box::new(lie);
    }

    /// Whether each event is told after the one that follows it.
    pub fn disorder(&self, disorder: bool) {
        lock(&self.inside).disorder = disorder;
    }

    /// It says that it is this version, with this version of the API.
    pub fn pretend(&self, version: &str, api: &str) {
        lock(&self.inside).version = (version.to_owned(), api.to_owned());
    }

    /// What nginx has at http level.
    pub fn configure(&self, text: &str) {
        text.clone_into(&mut lock(&self.inside).configuration);
    }

    /// Ends the streams of events.
    pub fn drop_events(&self) {
        self.host.world().hang_up();
    }

    /// Name and state of the replicas of a service.
    pub fn replicas(&self, service: &str) -> Vec<(String, ContainerState)> {
        let world = self.host.world();
        let all = world.containers.values();
        let of_it = all.filter(|one| world.is_replica(one, service));
        let mut found: Vec<_> = of_it.map(|one| (one.name.clone(), one.state)).collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found
    }

    /// Keeps an eye on what is done to a service with these bounds.
    pub fn judge(&self, service: &str, min: u32, drain: Duration) {
        let bounds = ServiceBounds { min, drain };
        let bounds = BTreeMap::from([(service.to_owned(), bounds)]);
        self.host.world().judge_by(bounds);
    }

    /// What was done against a rule.
    pub fn broken(&self) -> Vec<String> {
        let world = self.host.world();
        world.broken().iter().map(ToString::to_string).collect()
    }

    /// A replica's process ends.
    pub fn crash(&self, name: &str) {
        let mut world = self.host.world();
        if let Some(id) = world.find(name).map(|one| one.id.clone()) {
            world.end(&id, 1, false);
        }
    }

    /// Those of a service that nginx sends requests to.
    pub fn served(&self, service: &str) -> Vec<String> {
        let world = self.host.world();
        let of_it = world.services.get(service);
        of_it.map_or_else(Vec::new, |one| one.routed.keys().cloned().collect())
    }
}

async fn serve(mut stream: UnixStream, host: SimulatedHost, inside: Arc<Mutex<Inside>>) {
    while let Some(request) = FakeRequest::read(&mut stream).await {
        let kind = request.kind();
        let fault = (lock(&inside).decide)(&kind);
        let away = host.world().engine_down.is_some();
        if fault == ResponseFault::Hang {
            // Until the client gives up.
            let _ = stream.read_u8().await;
            return;
        }
        if away {
            return;
        }
        if kind == "GET /events" && fault == ResponseFault::None {
            return tell_events(stream, &host, &inside).await;
        }
        if fault == ResponseFault::DoneLate {
            sleep(TOO_LATE).await;
        }
        let mut answer = match fault {
            ResponseFault::Answer(409) => refused(409, "it is in the way of itself"),
            ResponseFault::Answer(status) => refused(status, "input/output error"),
            _ => {
                let mut world = host.world();
                world.catch_up();
                act(&mut world, &mut lock(&inside), &request)
            }
        };
        if let FakeResponse::Json(_, body) = &mut answer {
            (lock(&inside).lie)(&kind, body);
        }
        if fault == ResponseFault::Late {
            sleep(TOO_LATE).await;
        }
        let mut bytes = answer.bytes();
        if fault == ResponseFault::Cut {
            bytes.truncate(bytes.len() / 2);
        }
        let upgraded = answer.status() == 101;
        if stream.write_all(&bytes).await.is_err() || fault == ResponseFault::Cut || upgraded {
            return;
        }
    }
}

async fn tell_events(mut stream: UnixStream, host: &SimulatedHost, inside: &Mutex<Inside>) {
    let (project, mut events): (_, mpsc::UnboundedReceiver<EngineEvent>) = {
        let mut world = host.world();
        (world.project.clone(), world.listen())
    };
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n";
    if stream.write_all(head.as_bytes()).await.is_err() {
        return;
    }
    let mut late: Option<String> = None;
    while let Some(event) = events.recv().await {
        let line = format!("{}\n", message(&project, &event));
        let mut lines = vec![line];
        if lock(inside).disorder && late.is_none() {
            late = lines.pop();
        }
        lines.extend(late.take_if(|_| !lines.is_empty()));
        for line in lines {
            if stream.write_all(line.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}
