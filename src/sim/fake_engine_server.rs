//! The simulated host behind a socket that speaks the Engine's HTTP API, as far as the tool asks for it, with
//! an nginx that reads real files. `DOCKER_HOST` pointed at it is enough for the whole program. Whoever runs
//! it decides for each request what goes wrong with it.
//!
//! It lives in the runtime that it is started in, so a clock that is paused pauses it too.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::mpsc,
    task::JoinSet,
    time::sleep,
};

use super::{
    engine::SimulatedHost,
    invariants::ServiceBounds,
    simulated_host::{Container, World},
};
use crate::{
    engine::{ContainerAction, EngineEvent},
    files,
    project::{ContainerId, ContainerState, Health, labels},
};

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

struct FakeRequest {
    method: String,
    path: String,
    query: BTreeMap<String, String>,
    body: Value,
}

impl FakeRequest {
    /// `POST /containers/*/start`
    fn kind(&self) -> String {
        let is_id = |part: &&str| part.len() == 64 && part.bytes().all(|b| b.is_ascii_hexdigit());
        let parts = self.path.split('/');
        let parts: Vec<_> = parts.map(|p| if is_id(&p) { "*" } else { p }).collect();
        format!("{} {}", self.method, parts.join("/"))
    }

    async fn read(stream: &mut UnixStream) -> Option<Self> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.ok()?);
        }
        let head = String::from_utf8(head).ok()?;
        let header = |name: &str| {
            head.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name)
                    .then(|| value.trim().to_owned())
            })
        };
        let mut body = Vec::new();
        if header("transfer-encoding").is_some_and(|how| how == "chunked") {
            loop {
                let mut size = Vec::new();
                while !size.ends_with(b"\r\n") {
                    size.push(stream.read_u8().await.ok()?);
                }
                let text = String::from_utf8(size).ok()?;
                let size = usize::from_str_radix(text.trim(), 16).ok()?;
                let mut chunk = vec![0; size + 2];
                stream.read_exact(&mut chunk).await.ok()?;
                body.extend_from_slice(&chunk[..size]);
                if size == 0 {
                    break;
                }
            }
        } else {
            body = vec![
                0;
                header("content-length")
                    .and_then(|n| n.parse().ok())
                    .unwrap_or(0)
            ];
            stream.read_exact(&mut body).await.ok()?;
        }
        let mut words = head.split_whitespace();
        let (method, target) = (words.next()?, words.next()?);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        Some(Self {
            method: method.to_owned(),
            path: without_version(path).to_owned(),
            query: pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        })
    }
}

/// `/v1.41/info` is `/info`.
fn without_version(path: &str) -> &str {
    let rest = path.strip_prefix("/v").and_then(|rest| {
        let (version, _) = rest.split_once('/')?;
        let is_one = version.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        is_one.then(|| &rest[version.len()..])
    });
    rest.unwrap_or(path)
}

/// What is answered.
enum FakeResponse {
    Json(u16, Value),
    Nothing(u16),
    /// What a command or a container has printed: streams and text.
    Printed(u16, Vec<(u8, String)>),
}

impl FakeResponse {
    fn status(&self) -> u16 {
        match self {
            Self::Json(status, _) | Self::Nothing(status) | Self::Printed(status, _) => *status,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Nothing(status) => {
                format!("HTTP/1.1 {status} Done\r\nContent-Length: 0\r\n\r\n").into()
            }
            Self::Json(status, body) => {
                let text = body.to_string();
                format!(
                    "HTTP/1.1 {status} Done\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{text}",
                    text.len()
                )
                .into()
            }
            Self::Printed(status, parts) => {
                let mut body = Vec::new();
                for (stream, text) in parts {
                    body.extend([*stream, 0, 0, 0]);
                    body.extend((text.len() as u32).to_be_bytes());
                    body.extend(text.as_bytes());
                }
                let head = if *status == 101 {
                    "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n\
                     Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
                        .to_owned()
                } else {
                    format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\nContent-Length: {}\r\n\r\n",
                        body.len()
                    )
                };
                let mut bytes = head.into_bytes();
                bytes.extend(body);
                bytes
            }
        }
    }
}

fn refused(status: u16, message: &str) -> FakeResponse {
    FakeResponse::Json(status, json!({ "message": message }))
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

fn message(project: &str, event: &EngineEvent) -> Value {
    let mut attributes = json!({
        "name": event.name,
        labels::PROJECT: project,
        labels::SERVICE: event.service,
    });
    let action = match &event.action {
        ContainerAction::Die(code) => {
            attributes["exitCode"] = code.unwrap_or(0).to_string().into();
            "die".to_owned()
        }
        ContainerAction::Kill(signal) => {
            attributes["signal"] = signal.clone().into();
            "kill".to_owned()
        }
        ContainerAction::Health(health) => {
            let word = match health {
                Health::Healthy => "healthy",
                Health::Unhealthy => "unhealthy",
                Health::Starting | Health::None => "starting",
            };
            format!("health_status: {word}")
        }
        other => other.to_string(),
    };
    let nanos = i64::try_from(event.at.0.as_nanosecond()).unwrap_or(i64::MAX);
    json!({
        "Type": "container", "Action": action, "timeNano": nanos,
        "Actor": {"ID": event.id.0, "Attributes": attributes},
    })
}

/// Does what is asked for.
fn act(world: &mut World, inside: &mut Inside, request: &FakeRequest) -> FakeResponse {
    let path = request.path.clone();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let gone = || refused(404, "no such thing");
    match (request.method.as_str(), parts.as_slice()) {
        ("GET", ["version"]) => {
            let (version, api) = &inside.version;
            FakeResponse::Json(
                200,
                json!({"Version": version, "ApiVersion": api, "Arch": "amd64"}),
            )
        }
        ("GET", ["info"]) => FakeResponse::Json(
            200,
            json!({"NCPU": world.machine.cores, "MemTotal": world.machine.memory.0}),
        ),
        ("GET", ["containers", "json"]) => {
            let all = world.containers.keys().map(|id| json!({"Id": id.0}));
            FakeResponse::Json(200, Value::Array(all.collect()))
        }
        ("GET", ["images", ..]) => FakeResponse::Json(
            200,
            json!({"Id": "sha256:1", "Os": "linux", "Architecture": "amd64"}),
        ),
        ("GET", ["networks", name]) => FakeResponse::Json(200, json!({"Id": name, "Name": name})),
        ("POST", ["containers", "create"]) => create(world, request),
        ("POST", ["networks", network, "connect"]) => {
            let id = ContainerId(
                request.body["Container"]
                    .as_str()
                    .unwrap_or_default()
                    .into(),
            );
            // It may have gone while somebody was late.
            if let Some(container) = world.containers.get_mut(&id) {
                container.networks.insert((*network).to_owned());
            }
            FakeResponse::Nothing(200)
        }
        ("POST", ["exec", id, "start"]) => {
            let Some((argv, code)) = inside.commands.get(*id).cloned() else {
                return gone();
            };
            let (stream, text, ended) = run(world, inside, &argv);
            inside
                .commands
                .insert((*id).to_owned(), (argv, ended.max(code)));
            FakeResponse::Printed(101, vec![(stream, text)])
        }
        ("GET", ["exec", id, "json"]) => match inside.commands.get(*id) {
            Some((_, code)) => FakeResponse::Json(200, json!({"ExitCode": code, "Running": false})),
            None => gone(),
        },
        (_, ["containers", key, rest @ ..]) => {
            let found = world.find(key).map(|one| one.id.clone());
            match found {
                Some(id) => act_on(world, inside, request, &id, rest),
                None => gone(),
            }
        }
        _ => gone(),
    }
}

fn create(world: &mut World, request: &FakeRequest) -> FakeResponse {
    let name = request.query.get("name").cloned().unwrap_or_default();
    if world.find(&name).is_some() {
        return refused(
            409,
            &format!("Conflict. The container name \"/{name}\" is in use"),
        );
    }
    let body = &request.body;
    let of_it = body["Labels"].as_object().into_iter().flatten();
    let of_it = of_it.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    let image = body["Image"].as_str().unwrap_or_default();
    let endpoints = body["NetworkingConfig"]["EndpointsConfig"].as_object();
    let networks = endpoints.map(|all| all.keys().cloned().collect());
    let id = world.add(name, of_it.collect(), image);
    world.is_made(&id);
    if let (Some(container), Some(networks)) = (world.containers.get_mut(&id), networks) {
        container.networks = networks;
    }
    FakeResponse::Json(201, json!({"Id": id.0, "Warnings": []}))
}

fn act_on(
    world: &mut World,
    inside: &mut Inside,
    request: &FakeRequest,
    id: &ContainerId,
    rest: &[&str],
) -> FakeResponse {
    let done = FakeResponse::Nothing(204);
    let Some(container) = world.containers.get(id) else {
        return refused(404, "no such thing");
    };
    match (request.method.as_str(), rest) {
        ("GET", ["json"]) => FakeResponse::Json(200, inspect(container, inside)),
        ("GET", ["stats"]) => match world.reading(id) {
            Some(reading) => FakeResponse::Json(
                200,
                json!({
                    "read": reading.at.to_string(),
                    "cpu_stats": {"cpu_usage": {"total_usage": reading.cpu_nanos}},
                    "memory_stats": {"usage": reading.working_set.0, "stats": {"inactive_file": 0}},
                }),
            ),
            None => FakeResponse::Json(200, json!({"cpu_stats": {}, "memory_stats": {}})),
        },
        ("GET", ["top"]) => {
            let now = world.elapsed();
            inside.old.retain(|(_, until)| *until > now);
            let worker = "nginx: worker process";
            let ending = format!("{worker} is shutting down");
            let process = |pid: u32, title: &str| json!([pid.to_string(), "100", title]);
            let master = "nginx: master process nginx -g daemon off;";
            let mut all = vec![json!(["100", "99", master])];
            all.extend(inside.workers.map(|pid| process(pid, worker)));
            all.extend(inside.old.iter().map(|(pid, _)| process(*pid, &ending)));
            FakeResponse::Json(
                200,
                json!({"Titles": ["PID", "PPID", "COMMAND"], "Processes": all}),
            )
        }
        ("GET", ["logs"]) => {
            let line = match container.exit_code {
                Some(code) => format!("simulated: exit with code {code}\n"),
                None => "simulated: starting\n".to_owned(),
            };
            FakeResponse::Printed(200, vec![(2, line)])
        }
        ("GET", ["archive"]) => refused(404, "no such file"),
        ("PUT", ["archive"]) => FakeResponse::Nothing(200),
        ("POST", ["kill"]) => {
            reload(world, inside);
            done
        }
        ("POST", ["start"]) => match world.start(id) {
            Ok(()) => done,
            Err(message) => refused(500, &message),
        },
        ("POST", ["stop"]) => {
            world.judge_stop(id);
            world.stop(id);
            done
        }
        ("DELETE", []) => {
            world.judge_stop(id);
            world.remove(id);
            done
        }
        ("POST", ["exec"]) => {
            let argv = request.body["Cmd"].as_array().into_iter().flatten();
            let argv = argv.filter_map(|word| Some(word.as_str()?.to_owned()));
            let exec = format!("{:064x}", inside.commands.len());
            inside.commands.insert(exec.clone(), (argv.collect(), 0));
            FakeResponse::Json(201, json!({ "Id": exec }))
        }
        _ => refused(500, "not here"),
    }
}

fn inspect(container: &Container, inside: &Inside) -> Value {
    let networks: BTreeMap<_, _> = container
        .networks
        .iter()
        .zip(1u8..)
        .map(|(name, subnet)| {
            let [_, _, c, d] = container.ip().octets();
            let address = if container.runs() {
                format!("10.{subnet}.{c}.{d}")
            } else {
                String::new()
            };
            (name.clone(), json!({"IPAddress": address}))
        })
        .collect();
    let is_nginx = container.image.starts_with("nginx");
    let mounts = if is_nginx {
        json!([{"Type": "bind", "Source": inside.upstreams, "Destination": INSIDE}])
    } else {
        json!([])
    };
    let mut state = json!({
        "Status": container.state,
        "StartedAt": container.started.map_or(NEVER.to_owned(), |at| at.to_string()),
        "ExitCode": container.exit_code.unwrap_or(0),
        "OOMKilled": container.oom_killed,
        "Pid": 0,
    });
    if container.health != Health::None {
        state["Health"] = json!({"Status": container.health});
    }
    let mode = container.networks.iter().next();
    json!({
        "Id": container.id.0,
        "Name": format!("/{}", container.name),
        "Created": container.created.to_string(),
        "Image": "sha256:1",
        "State": state,
        "Config": {"Image": container.image, "Labels": container.labels},
        "HostConfig": {
            "NetworkMode": mode,
            "NanoCpus": container.limits.cpus.map_or(0, |cores| (cores * 1e9) as u64),
            "Memory": container.limits.memory.map_or(0, |memory| memory.0),
        },
        "NetworkSettings": {"Networks": networks},
        "Mounts": mounts,
    })
}

/// A command in a container: which stream it prints to, what, and its exit code.
fn run(world: &World, inside: &Inside, argv: &[String]) -> (u8, String, i64) {
    let argument = argv.get(1).map(String::as_str);
    match (argument, &world.nginx_refuses) {
        (Some("-v"), _) => (2, "nginx version: nginx/1.30.0\n".into(), 0),
        (Some("-t" | "-T"), Some(why)) => (2, format!("nginx: [emerg] {why}\n"), 1),
        (Some("-T"), None) => (1, dump(inside), 0),
        _ => (1, String::new(), 0),
    }
}

/// What `nginx -T` prints.
fn dump(inside: &Inside) -> String {
    let mut text = format!(
        "# configuration file /etc/nginx/nginx.conf:\nhttp {{\n{}}}\n\n",
        inside.configuration
    );
    if inside.configuration.contains(&format!("{INSIDE}/*.conf")) {
        let entries = fs::read_dir(&inside.upstreams).into_iter().flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let ours =
            |name: &String| !name.starts_with('.') && name.split('.').next_back() == Some("conf");
        let mut names: Vec<_> = names.filter(ours).collect();
        names.sort();
        for name in names {
            let file = files::read_content_text(&inside.upstreams.join(&name)).unwrap_or_default();
            let heading = format!("# configuration file {INSIDE}/{name}:");
            text.extend([heading.as_str(), "\n", &file, "\n"]);
        }
    }
    text
}

/// nginx starts other workers, with what is in the files now.
fn reload(world: &mut World, inside: &mut Inside) {
    let drained = world.drained_in();
    let until = world.elapsed() + drained;
    if !drained.is_zero() {
        inside.old.extend(inside.workers.map(|pid| (pid, until)));
    }
    inside.workers = inside.workers.map(|pid| pid + 2);
    let services: Vec<_> = world.services.keys().cloned().collect();
    for service in services {
        let file = inside.upstreams.join(format!("{service}.conf"));
        let text = files::read_content_text(&file).unwrap_or_default();
        let servers = text.lines().filter_map(|line| {
            let (server, name) = line.split_once("; # ")?;
            let mut words = server.split_whitespace();
            let weight = words.find_map(|word| word.strip_prefix("weight=")?.parse().ok());
            Some((name.to_owned(), weight.unwrap_or(1)))
        });
        world.write(&service, servers.collect());
    }
    world.reload();
}
