//! A daemon's socket with faults in it: what the tool says to the Engine goes through here, and a
//! test decides for each request what becomes of it.

use std::{
    io::{self, Read, Write},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use tempfile::TempDir;

/// What becomes of a request.
pub(crate) enum Verdict {
    /// It goes on to the Engine.
    Pass,
    /// It goes on, and then this is done at once.
    PassThen(Box<dyn FnOnce() + Send>),
    /// It never gets there; this is the answer.
    Answer(u16, &'static str),
    /// It never gets there, and no answer ever comes.
    Hang,
    /// The connection ends without an answer.
    Close,
}

type Decide = dyn FnMut(&str) -> Verdict + Send;

/// The socket. Everything passes until [`EngineProxy::decide`] says otherwise.
pub(crate) struct EngineProxy {
    _directory: TempDir,
    socket: PathBuf,
    shared: Arc<Shared>,
}

struct Shared {
    engine: Option<PathBuf>,
    decide: Mutex<Box<Decide>>,
    away: AtomicBool,
    listening: AtomicBool,
    over: AtomicBool,
    open: Mutex<Vec<Connection>>,
}

struct Connection {
    last: Arc<Mutex<String>>,
    client: UnixStream,
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl EngineProxy {
    /// In front of the Engine under test.
    pub(crate) fn new() -> Self {
        let host = std::env::var("DOCKER_HOST").unwrap_or_default();
        let path = host
            .strip_prefix("unix://")
            .unwrap_or("/var/run/docker.sock");
        Self::before(Some(path.into()))
    }

    /// In front of nothing: what is not answered by a verdict gets a 500.
    pub(crate) fn alone() -> Self {
        Self::before(None)
    }

    fn before(engine: Option<PathBuf>) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let socket = directory.path().join("docker.sock");
        let shared = Arc::new(Shared {
            engine,
            decide: Mutex::new(Box::new(|_| Verdict::Pass)),
            away: AtomicBool::new(false),
            listening: AtomicBool::new(true),
            over: AtomicBool::new(false),
            open: Mutex::new(Vec::new()),
        });
        let listener = listen(&socket);
        let (at, for_thread) = (socket.clone(), Arc::clone(&shared));
        thread::spawn(move || accept(listener, &at, &for_thread));
        Self {
            _directory: directory,
            socket,
            shared,
        }
    }

    /// For `DOCKER_HOST`.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// From now on this decides; it is given `METHOD /path?query` without an API version.
    pub(crate) fn decide(&self, decide: impl FnMut(&str) -> Verdict + Send + 'static) {
        *lock(&self.shared.decide) = Box::new(decide);
    }

    /// Everything passes again. What hangs goes on hanging.
    pub(crate) fn pass(&self) {
        self.decide(|_| Verdict::Pass);
    }

    /// Ends the connections whose last request contains this.
    pub(crate) fn drop_connections(&self, containing: &str) -> usize {
        let mut dropped = 0;
        lock(&self.shared.open).retain(|connection| {
            let hit = lock(&connection.last).contains(containing);
            if hit {
                dropped += 1;
                let _ = connection.client.shutdown(Shutdown::Both);
            }
            !hit
        });
        dropped
    }

    /// Nobody listens any more, and every connection ends; or somebody does again.
    pub(crate) fn away(&self, away: bool) {
        self.shared.away.store(away, Ordering::SeqCst);
        while self.shared.listening.load(Ordering::SeqCst) == away {
            thread::sleep(Duration::from_millis(2));
        }
        if away {
            self.drop_connections("");
        }
    }
}

impl Drop for EngineProxy {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        self.drop_connections("");
    }
}

fn listen(socket: &Path) -> UnixListener {
    let _ = std::fs::remove_file(socket);
    let listener = UnixListener::bind(socket).expect("a socket");
    listener.set_nonblocking(true).expect("a polled socket");
    listener
}

fn accept(first: UnixListener, socket: &Path, shared: &Arc<Shared>) {
    let mut listener = Some(first);
    while !shared.over.load(Ordering::SeqCst) {
        let away = shared.away.load(Ordering::SeqCst);
        if away == listener.is_some() {
            listener = (!away).then(|| listen(socket));
            shared.listening.store(!away, Ordering::SeqCst);
        }
        match listener.as_ref().map(UnixListener::accept) {
            Some(Ok((client, _))) => {
                client.set_nonblocking(false).expect("a plain socket");
                let shared = Arc::clone(shared);
                thread::spawn(move || {
                    let _ = serve(client, &shared);
                });
            }
            _ => thread::sleep(Duration::from_millis(2)),
        }
    }
}

fn serve(mut client: UnixStream, shared: &Arc<Shared>) -> io::Result<()> {
    let last = Arc::new(Mutex::new(String::new()));
    lock(&shared.open).push(Connection {
        last: Arc::clone(&last),
        client: client.try_clone()?,
    });
    let mut engine: Option<UnixStream> = None;
    while let Some(request) = Request::read(&mut client)? {
        lock(&last).clone_from(&request.line);
        let verdict = (lock(&shared.decide))(&request.line);
        let mut then: Option<Box<dyn FnOnce() + Send>> = None;
        match verdict {
            Verdict::Pass => {}
            Verdict::PassThen(act) => then = Some(act),
            Verdict::Answer(status, body) => {
                answer(&mut client, status, body)?;
                continue;
            }
            Verdict::Hang => {
                // Until the client gives up.
                let _ = client.read(&mut [0]);
                break;
            }
            Verdict::Close => break,
        }
        let Some(path) = &shared.engine else {
            answer(&mut client, 500, r#"{"message":"no such thing here"}"#)?;
            continue;
        };
        let upstream = match &mut engine {
            Some(upstream) => upstream,
            none => {
                let upstream = UnixStream::connect(path)?;
                let (from, to) = (upstream.try_clone()?, client.try_clone()?);
                thread::spawn(move || copy_answers(from, to));
                none.insert(upstream)
            }
        };
        upstream.write_all(&request.bytes)?;
        if let Some(act) = then {
            act();
        }
        if request.upgrade {
            io::copy(&mut client, upstream)?;
            upstream.shutdown(Shutdown::Write)?;
            return Ok(());
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    if let Some(upstream) = engine {
        let _ = upstream.shutdown(Shutdown::Both);
    }
    Ok(())
}

fn answer(client: &mut UnixStream, status: u16, body: &str) -> io::Result<()> {
    write!(
        client,
        "HTTP/1.1 {status} Whatever\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn copy_answers(mut from: UnixStream, mut to: UnixStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
}

/// One request with its body, as it came.
struct Request {
    line: String,
    bytes: Vec<u8>,
    upgrade: bool,
}

impl Request {
    fn read(client: &mut UnixStream) -> io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if client.read(&mut byte)? == 0 {
                return Ok(None);
            }
            bytes.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&bytes).into_owned();
        let field = |name: &str| {
            head.lines().skip(1).find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name)
                    .then(|| value.trim().to_owned())
            })
        };
        if field("transfer-encoding").is_some() {
            // Chunked; the programs under test send no trailers.
            while !bytes.ends_with(b"0\r\n\r\n") {
                let mut byte = [0];
                client.read_exact(&mut byte)?;
                bytes.push(byte[0]);
            }
        } else if let Some(length) = field("content-length").and_then(|l| l.parse().ok()) {
            let mut body = vec![0; length];
            client.read_exact(&mut body)?;
            bytes.extend(body);
        }
        let mut words = head.split_whitespace();
        let method = words.next().unwrap_or_default();
        let path = words.next().unwrap_or_default();
        let versioned = path.strip_prefix("/v").and_then(|p| p.split_once('/'));
        let line = match versioned {
            Some((version, rest)) if version.starts_with("1.") => format!("{method} /{rest}"),
            _ => format!("{method} {path}"),
        };
        Ok(Some(Self {
            line,
            bytes,
            upgrade: field("upgrade").is_some(),
        }))
    }
}
