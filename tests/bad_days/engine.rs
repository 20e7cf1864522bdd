//! A Docker Engine in memory, as far as the tool asks for one: it speaks HTTP on a socket, and a test
//! decides for each request what goes wrong with it. It lives in the test's own runtime, so that a
//! paused clock pauses it too.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::mpsc,
    task::JoinSet,
    time::sleep,
};

/// Later than every deadline of a call.
const TOO_LATE: Duration = Duration::from_secs(90);

/// What goes wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
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

type Decide = dyn FnMut(&str) -> Fault + Send;

/// The Engine; it is gone with the value.
pub(crate) struct FakeEngine {
    socket: PathBuf,
    world: Arc<Mutex<World>>,
    _directory: TempDir,
    _server: JoinSet<()>,
}

struct World {
    containers: BTreeMap<String, Container>,
    made: u32,
    commands: BTreeMap<String, Vec<String>>,
    listeners: Vec<mpsc::UnboundedSender<String>>,
    decide: Box<Decide>,
    /// Where nginx's files are on this host.
    upstreams: PathBuf,
    /// What is at http level besides them.
    configuration: String,
    /// nginx's workers; they are others after each reload.
    workers: [u32; 2],
    /// The names in the upstream that its workers were started with.
    serves: Vec<String>,
}

#[derive(Debug, Clone)]
struct Container {
    name: String,
    state: &'static str,
    /// As it was asked for.
    body: Value,
    networks: Vec<String>,
    address: u32,
    starts: u32,
}

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FakeEngine {
    /// One that runs `shop-web-1` and `shop-nginx-1`, which includes the files of this directory.
    pub(crate) fn start(upstreams: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("docker.sock");
        let mut world = World {
            containers: BTreeMap::new(),
            made: 0,
            commands: BTreeMap::new(),
            listeners: Vec::new(),
            decide: Box::new(|_| Fault::None),
            upstreams: upstreams.to_owned(),
            configuration: "include /etc/nginx/upstreams/*.conf;\n\
                            server { location / { proxy_pass http://web; } }\n"
                .into(),
            workers: [101, 102],
            serves: Vec::new(),
        };
        for service in ["web", "nginx"] {
            let id = world.make(&format!("shop-{service}-1"), &body(service));
            for network in ["shop_front", "shop_back"] {
                world.connect(&id, network);
            }
            world.start(&id);
        }
        let world = Arc::new(Mutex::new(world));
        let listener = UnixListener::bind(&socket).unwrap();
        let mut server = JoinSet::new();
        let shared = Arc::clone(&world);
        server.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                open.spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self {
            socket,
            world,
            _directory: directory,
            _server: server,
        }
    }

    /// For `DOCKER_HOST`.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// From now on this decides; it is given `METHOD /path` with `*` for ids.
    pub(crate) fn decide(&self, decide: impl FnMut(&str) -> Fault + Send + 'static) {
        lock(&self.world).decide = Box::new(decide);
    }

    /// Name and state of the replicas of `web`.
    pub(crate) fn replicas(&self) -> Vec<(String, &'static str)> {
        let world = lock(&self.world);
        let web = world.containers.values().filter(|c| service(c) == "web");
        let mut found: Vec<_> = web.map(|c| (c.name.clone(), c.state)).collect();
        found.sort();
        found
    }

    /// Those that nginx sends requests to.
    pub(crate) fn served(&self) -> Vec<String> {
        lock(&self.world).serves.clone()
    }

    /// Ends the streams of events.
    pub(crate) fn drop_events(&self) {
        lock(&self.world).listeners.clear();
    }

    /// What nginx has at http level.
    pub(crate) fn configure(&self, text: &str) {
        text.clone_into(&mut lock(&self.world).configuration);
    }
}

/// What compose asks for.
fn body(service: &str) -> Value {
    json!({
        "Image": service,
        "Labels": {
            "com.docker.compose.project": "shop",
            "com.docker.compose.service": service,
            "com.docker.compose.container-number": "1",
            "com.docker.compose.oneoff": "False",
            "com.docker.compose.config-hash": "cafe",
            "com.docker.compose.image": "sha256:1",
        },
        "HostConfig": {"NetworkMode": "shop_front"},
        "NetworkingConfig": {"EndpointsConfig": {"shop_front": {}}},
    })
}

fn service(container: &Container) -> &str {
    let label = &container.body["Labels"]["com.docker.compose.service"];
    label.as_str().unwrap_or_default()
}

impl World {
    fn make(&mut self, name: &str, body: &Value) -> String {
        self.made += 1;
        let id = format!("{:064x}", 0xabcd_0000_0000_u64 + u64::from(self.made));
        let endpoints = body["NetworkingConfig"]["EndpointsConfig"].as_object();
        let networks = endpoints.map(|e| e.keys().cloned().collect());
        let container = Container {
            name: name.to_owned(),
            state: "created",
            body: body.clone(),
            networks: networks.unwrap_or_default(),
            address: self.made + 1,
            starts: 0,
        };
        self.containers.insert(id.clone(), container);
        self.tell(&id, "create");
        id
    }

    fn connect(&mut self, id: &str, network: &str) {
        // It may have gone while somebody was late.
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        if !container.networks.iter().any(|known| known == network) {
            container.networks.push(network.to_owned());
        }
    }

    fn start(&mut self, id: &str) {
        let container = self.containers.get_mut(id).unwrap();
        container.state = "running";
        container.starts += 1;
        self.tell(id, "start");
    }

    fn stop(&mut self, id: &str) {
        let container = self.containers.get_mut(id).unwrap();
        if container.state == "running" {
            container.state = "exited";
            for action in ["kill", "die", "stop"] {
                self.tell(id, action);
            }
        }
    }

    fn remove(&mut self, id: &str) {
        if self.containers[id].state == "running" {
            self.containers.get_mut(id).unwrap().state = "exited";
            self.tell(id, "kill");
            self.tell(id, "die");
        }
        self.tell(id, "destroy");
        self.containers.remove(id);
    }

    fn tell(&mut self, id: &str, action: &str) {
        let container = &self.containers[id];
        let mut attributes = container.body["Labels"].clone();
        attributes["name"] = json!(container.name);
        attributes["signal"] = json!("15");
        let message = json!({
            "Type": "container", "Action": action, "timeNano": 1,
            "Actor": {"ID": id, "Attributes": attributes},
        });
        self.listeners
            .retain(|listener| listener.send(format!("{message}\n")).is_ok());
    }

    fn find(&self, key: &str) -> Option<String> {
        let by_name = || self.containers.iter().find(|(_, c)| c.name == key);
        if self.containers.contains_key(key) {
            return Some(key.to_owned());
        }
        by_name().map(|(id, _)| id.clone())
    }

    fn inspect(&self, id: &str) -> Value {
        let container = &self.containers[id];
        let runs = container.state == "running";
        let networks: BTreeMap<_, _> = container
            .networks
            .iter()
            .zip(1..)
            .map(|(name, subnet)| {
                let address = if runs {
                    format!("10.{subnet}.0.{}", container.address)
                } else {
                    String::new()
                };
                (name.clone(), json!({"IPAddress": address}))
            })
            .collect();
        let mounts = if service(container) == "nginx" {
            json!([{"Type": "bind", "Source": self.upstreams, "Destination": "/etc/nginx/upstreams"}])
        } else {
            json!([])
        };
        let started = match container.starts {
            0 => "0001-01-01T00:00:00Z".to_owned(),
            starts => format!("2026-01-01T00:00:{:02}Z", starts % 60),
        };
        json!({
            "Id": id,
            "Name": format!("/{}", container.name),
            "Created": format!("2026-01-01T00:00:00.{:03}Z", container.address),
            "Image": "sha256:1",
            "State": {"Status": container.state, "StartedAt": started, "ExitCode": 0, "Pid": 0},
            "Config": {"Image": container.body["Image"], "Labels": container.body["Labels"]},
            "HostConfig": {"NetworkMode": "shop_front"},
            "NetworkSettings": {"Networks": networks},
            "Mounts": mounts,
        })
    }

    /// What `nginx -T` prints.
    fn dump(&self) -> String {
        let mut text = format!(
            "# configuration file /etc/nginx/nginx.conf:\nhttp {{\n{}}}\n\n",
            self.configuration
        );
        if self.configuration.contains("/etc/nginx/upstreams/*.conf") {
            let mut names: Vec<_> = std::fs::read_dir(&self.upstreams)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter(|name| {
                    !name.starts_with('.') && name.split('.').next_back() == Some("conf")
                })
                .collect();
            names.sort();
            for name in names {
                let file = std::fs::read_to_string(self.upstreams.join(&name)).unwrap_or_default();
                let heading = format!("# configuration file /etc/nginx/upstreams/{name}:");
                text.extend([heading.as_str(), "\n", &file, "\n"]);
            }
        }
        text
    }

    fn reload(&mut self) {
        self.workers = self.workers.map(|pid| pid + 2);
        let file = self.upstreams.join("web.conf");
        self.serves = std::fs::read_to_string(file)
            .unwrap_or_default()
            .lines()
            .filter_map(|line| line.split_once("; # "))
            .map(|(_, name)| name.to_owned())
            .collect();
    }

    /// Does what is asked for: status and body.
    fn act(&mut self, request: &Request) -> (u16, Value) {
        let path = request.path.clone();
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let gone = || (404, json!({"message": "no such thing"}));
        match (request.method.as_str(), parts.as_slice()) {
            ("GET", ["version"]) => (
                200,
                json!({"Version": "20.10.24", "ApiVersion": "1.41", "Arch": "amd64"}),
            ),
            ("GET", ["info"]) => (200, json!({"NCPU": 2, "MemTotal": 1_073_741_824})),
            ("GET", ["containers", "json"]) => {
                let all = self.containers.keys().map(|id| json!({"Id": id}));
                (200, Value::Array(all.collect()))
            }
            ("GET", ["images", ..]) => (
                200,
                json!({"Id": "sha256:1", "Os": "linux", "Architecture": "amd64"}),
            ),
            ("POST", ["containers", "create"]) => {
                let name = request.query.get("name").cloned().unwrap_or_default();
                if self.find(&name).is_some() {
                    let message = format!("Conflict. The container name \"/{name}\" is in use");
                    return (409, json!({ "message": message }));
                }
                (
                    201,
                    json!({"Id": self.make(&name, &request.body), "Warnings": []}),
                )
            }
            ("POST", ["networks", network, "connect"]) => {
                let id = request.body["Container"].as_str().unwrap_or_default();
                self.connect(id, network);
                (200, Value::Null)
            }
            ("POST", ["exec", id, "start"]) => {
                let argv = self.commands[*id].clone();
                match argv.get(1).map(String::as_str) {
                    Some("-v") => (101, json!([2, "nginx version: nginx/1.30.0\n"])),
                    Some("-T") => (101, json!([1, self.dump()])),
                    _ => (101, json!([1, ""])),
                }
            }
            ("GET", ["exec", _, "json"]) => (200, json!({"ExitCode": 0, "Running": false})),
            (_, ["containers", key, rest @ ..]) => match self.find(key) {
                Some(id) => self.act_on(request, &id, rest),
                None => gone(),
            },
            _ => gone(),
        }
    }

    fn act_on(&mut self, request: &Request, id: &str, rest: &[&str]) -> (u16, Value) {
        match (request.method.as_str(), rest) {
            ("GET", ["json"]) => (200, self.inspect(id)),
            ("GET", ["top"]) => {
                let [one, other] = self.workers.map(|pid| pid.to_string());
                let worker = "nginx: worker process";
                (
                    200,
                    json!({"Titles": ["PID", "PPID", "COMMAND"], "Processes": [
                        ["100", "99", "nginx: master process nginx -g daemon off;"],
                        [one, "100", worker], [other, "100", worker],
                    ]}),
                )
            }
            ("POST", ["kill"]) => {
                self.reload();
                (204, Value::Null)
            }
            ("POST", ["start"]) => {
                self.start(id);
                (204, Value::Null)
            }
            ("POST", ["stop"]) => {
                self.stop(id);
                (204, Value::Null)
            }
            ("DELETE", []) => {
                self.remove(id);
                (204, Value::Null)
            }
            ("POST", ["exec"]) => {
                let argv = request.body["Cmd"].as_array().into_iter().flatten();
                let argv = argv.filter_map(|word| Some(word.as_str()?.to_owned()));
                let number = self.commands.len();
                let exec = format!("{number:064x}");
                self.commands.insert(exec.clone(), argv.collect());
                (201, json!({ "Id": exec }))
            }
            _ => (500, json!({"message": "not here"})),
        }
    }
}

struct Request {
    method: String,
    path: String,
    query: BTreeMap<String, String>,
    body: Value,
}

impl Request {
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
        let length = head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            let is_length = key.eq_ignore_ascii_case("content-length");
            is_length.then(|| value.trim().parse::<usize>().ok())?
        });
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).await.ok()?;
        let mut words = head.split_whitespace();
        let (method, target) = (words.next()?, words.next()?);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        Some(Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query: pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        })
    }
}

async fn serve(mut stream: UnixStream, world: Arc<Mutex<World>>) {
    while let Some(request) = Request::read(&mut stream).await {
        let kind = request.kind();
        let fault = (lock(&world).decide)(&kind);
        if fault == Fault::Hang {
            // Until the client gives up.
            let _ = stream.read_u8().await;
            return;
        }
        if kind == "GET /events" && fault == Fault::None {
            return tell_events(stream, &world).await;
        }
        if fault == Fault::DoneLate {
            sleep(TOO_LATE).await;
        }
        let (status, body) = match fault {
            Fault::Answer(409) => (409, json!({"message": "it is in the way of itself"})),
            Fault::Answer(status) => (status, json!({"message": "input/output error"})),
            _ => lock(&world).act(&request),
        };
        if fault == Fault::Late {
            sleep(TOO_LATE).await;
        }
        let mut bytes = answer(status, &body);
        if fault == Fault::Cut {
            bytes.truncate(bytes.len() / 2);
        }
        if stream.write_all(&bytes).await.is_err() || fault == Fault::Cut || status == 101 {
            return;
        }
    }
}

fn answer(status: u16, body: &Value) -> Vec<u8> {
    if status == 101 {
        let (channel, text) = (&body[0], body[1].as_str().unwrap_or_default());
        let mut bytes =
            b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n\
                          Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
                .to_vec();
        bytes.extend([channel.as_u64().unwrap_or(1) as u8, 0, 0, 0]);
        bytes.extend((text.len() as u32).to_be_bytes());
        bytes.extend(text.as_bytes());
        return bytes;
    }
    if status == 204 {
        return b"HTTP/1.1 204 No Content\r\n\r\n".to_vec();
    }
    let text = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    format!(
        "HTTP/1.1 {status} Whatever\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    )
    .into_bytes()
}

async fn tell_events(mut stream: UnixStream, world: &Mutex<World>) {
    let (sender, mut events) = mpsc::unbounded_channel();
    lock(world).listeners.push(sender);
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n";
    if stream.write_all(head.as_bytes()).await.is_err() {
        return;
    }
    while let Some(event) = events.recv().await {
        if stream.write_all(event.as_bytes()).await.is_err() {
            return;
        }
    }
}
