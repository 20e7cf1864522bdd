//! The demo's web app: a small HTTP/1.1 server, one thread per connection.
//!
//! | path | answer |
//! |---|---|
//! | `/` | host name, version and request count |
//! | `/host` | the host name alone |
//! | `/cpu?ms=N` | after burning N ms of CPU time |
//! | `/slow?ms=N` | after sleeping N ms |
//! | `/echo` | the length of the request's body |
//! | `/healthz` | 200, or 503 after `/unhealthy` and until `/healthy` |
//! | `/close` | none: the connection is closed |
//! | `/exit?code=N` | none: the process ends |
//!
//! `web health [PATH]` asks the server on `127.0.0.1:$PORT` and exits 0 or 1: a
//! health check for an image without a shell.
//!
//! Environment: `PORT` (80; 0 picks a free one and prints it), `APP_VERSION`,
//! `START_DELAY_MS` (listen only after that), `NEVER_READY=1` (never listen),
//! `WORKERS` (so many requests burn or sleep at once, the others wait; 0, the default, is no limit),
//! `BACKLOG` (how many connections may wait to be accepted; 128), `ACCEPT_MS` (the pause after each
//! accept; 0), `IDLE_MS` (closes a connection that is idle for so long; 0, the default, never does),
//! `CLOSES=1` (answers every request as `/close` does),
//! `TERM_MODE`: what SIGTERM does. `drain` (default) stops accepting, finishes the
//! requests in flight, closes idle connections and exits 0; `exit` ends at once;
//! `ignore` installs no handler, so that as process 1 only SIGKILL ends it.

use std::collections::HashMap;
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use demo_web::http::{Connection, Request};
use rustix::net::listen;
use rustix::time::{ClockId, clock_gettime};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

const STACK: usize = 128 * 1024;
/// The longest that one request may burn or sleep.
const LONGEST: Duration = Duration::from_secs(600);
/// How long a draining server waits for the rest of a request, or for the first
/// one of a connection accepted just before.
const DRAIN_PATIENCE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        [] => serve(),
        ["health"] => health("/healthz"),
        ["health", path] => health(path),
        _ => {
            eprintln!("usage: web [health [PATH]]");
            ExitCode::from(2)
        }
    }
}

fn environment(name: &str, default: &str) -> String {
    std::env::var(name)
        .ok()
        .filter(|value| !value.is_empty())
        .unwrap_or_else(|| default.to_owned())
}

fn number(name: &str, default: &str) -> Result<u64, String> {
    let text = environment(name, default);
    text.parse()
        .map_err(|_| format!("{name}: {text:?} is not a number"))
}

fn port() -> Result<u16, String> {
    let text = environment("PORT", "80");
    text.parse()
        .map_err(|_| format!("PORT: {text:?} is not a port"))
}

fn serve() -> ExitCode {
    match Server::start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("web: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Asks the running server; the answer is the exit code.
fn health(path: &str) -> ExitCode {
    let ask = || -> Result<u16, Box<dyn std::error::Error>> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port()?))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        let mut connection = Connection::new(stream);
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        connection.write_all(request.as_bytes())?;
        Ok(connection.response()?.status)
    };
    match ask() {
        Ok(status) if (200..300).contains(&status) => ExitCode::SUCCESS,
        Ok(status) => {
            println!("{path} answered {status}");
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("{path}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What a client's connection is doing, as the drain needs to know it.
mod state {
    /// Accepted, no request yet: the first one may be on its way.
    pub(crate) const FRESH: u8 = 0;
    /// In a request.
    pub(crate) const BUSY: u8 = 1;
    /// Between two requests: may be closed.
    pub(crate) const IDLE: u8 = 2;
}

struct Client {
    stream: TcpStream,
    state: AtomicU8,
    server: Arc<Server>,
}

/// A client's stream that, in a drain, does not take the end of reading that the
/// drain itself made for the client's.
struct ClientStream(Arc<Client>);

impl Read for ClientStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut since = None;
        loop {
            let read = (&self.0.stream).read(buffer)?;
            let in_a_request = self.0.state.load(SeqCst) == state::BUSY;
            if read > 0 || !in_a_request || !self.0.server.draining.load(SeqCst) {
                return Ok(read);
            }
            if since.get_or_insert_with(Instant::now).elapsed() > DRAIN_PATIENCE {
                return Ok(0);
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Write for ClientStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&self.0.stream).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Server {
    host: String,
    version: String,
    healthy: AtomicBool,
    draining: AtomicBool,
    requests: AtomicU64,
    clients: Mutex<HashMap<u64, Arc<Client>>>,
    all_gone: Condvar,
    /// Workers that have nothing to do; `None` where there is no limit.
    free: Option<Mutex<u64>>,
    one_is_free: Condvar,
    /// Between two connections that it accepts.
    accept_pause: Duration,
    /// A connection may be idle for so long.
    idle: Option<Duration>,
    /// Whether it closes the connection on every request.
    closes: bool,
}

impl Server {
    /// Serves until a signal ends it.
    fn start() -> Result<(), String> {
        let mode = environment("TERM_MODE", "drain");
        let port = port()?;
        let delay = number("START_DELAY_MS", "0")?;
        let workers = number("WORKERS", "0")?;
        let backlog = number("BACKLOG", "128")?;
        let idle = number("IDLE_MS", "0")?;
        let accept_pause = Duration::from_millis(number("ACCEPT_MS", "0")?);
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
            .unwrap_or_else(|_| environment("HOSTNAME", "unknown"));
        let server = Arc::new(Self {
            host: host.trim().to_owned(),
            version: environment("APP_VERSION", env!("CARGO_PKG_VERSION")),
            healthy: AtomicBool::new(true),
            draining: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            clients: Mutex::default(),
            all_gone: Condvar::new(),
            free: (workers > 0).then(|| Mutex::new(workers)),
            one_is_free: Condvar::new(),
            accept_pause,
            idle: (idle > 0).then(|| Duration::from_millis(idle)),
            closes: environment("CLOSES", "0") == "1",
        });
        let listener: Arc<Mutex<Option<u16>>> = Arc::default();
        match mode.as_str() {
            "ignore" => {}
            "exit" | "drain" => {
                let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(|e| e.to_string())?;
                let (server, listener) = (server.clone(), listener.clone());
                spawn(move || {
                    for _ in &mut signals {
                        let listening_on = *lock(&listener);
                        match listening_on {
                            Some(port) if mode == "drain" => server.drain(port),
                            _ => signal_hook::low_level::exit(0),
                        }
                    }
                })
                .map_err(|e| e.to_string())?;
            }
            _ => {
                return Err(format!(
                    "TERM_MODE: {mode:?} is none of exit, drain, ignore"
                ));
            }
        }

        thread::sleep(Duration::from_millis(delay));
        while environment("NEVER_READY", "0") == "1" {
            thread::park();
        }
        let socket = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
            .map_err(|e| format!("cannot listen on port {port}: {e}"))?;
        // Once more: the length of the queue is the last one that was asked for.
        listen(&socket, i32::try_from(backlog).unwrap_or(i32::MAX)).map_err(|e| e.to_string())?;
        let port = socket.local_addr().map_err(|e| e.to_string())?.port();
        *lock(&listener) = Some(port);
        eprintln!(
            "web {} on {} listens on port {port}",
            server.version, server.host
        );
        server.accept_all(&socket);
        drop(socket);

        let clients = lock(&server.clients);
        drop(
            server
                .all_gone
                .wait_while(clients, |clients| !clients.is_empty()),
        );
        eprintln!(
            "web drained after {} requests",
            server.requests.load(SeqCst)
        );
        Ok(())
    }

    /// Accepts until the drain, then what is waiting already.
    fn accept_all(self: &Arc<Self>, socket: &TcpListener) {
        for number in 0.. {
            if self.draining.load(SeqCst) && socket.set_nonblocking(true).is_err() {
                return;
            }
            match socket.accept() {
                Ok((stream, _)) => {
                    self.clone().welcome(stream, number);
                    thread::sleep(self.accept_pause);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Out of file descriptors, or the client is gone already.
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    fn welcome(self: Arc<Self>, stream: TcpStream, number: u64) {
        // An accepted socket does not inherit O_NONBLOCK on Linux.
        let _ = stream.set_nodelay(true);
        let _ = stream.set_read_timeout(self.idle);
        let client = Arc::new(Client {
            stream,
            state: AtomicU8::new(state::FRESH),
            server: self.clone(),
        });
        let guard = Guard {
            server: self.clone(),
            number,
        };
        lock(&self.clients).insert(number, client.clone());
        // Where no thread can be had, the dropped guard closes the connection.
        let _ = spawn(move || {
            let _guard = guard;
            // A client that went away is its own affair.
            let _ = client.server.talk(&client);
        });
    }

    fn talk(&self, client: &Arc<Client>) -> io::Result<()> {
        let mut connection = Connection::new(ClientStream(client.clone()));
        let mut nothing = Vec::new();
        while connection.wait()? {
            client.state.store(state::BUSY, SeqCst);
            let request = match connection.request() {
                Ok(request) => request,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    return connection.write_all(&response(400, "bad request\n", false, false));
                }
                Err(error) => return Err(error),
            };
            if request.expects_continue {
                connection.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            let length = connection.body(request.body, 0, &mut nothing)?;
            self.requests.fetch_add(1, SeqCst);
            if self.closes || request.path == "/close" {
                return client.stream.shutdown(std::net::Shutdown::Both);
            }
            let (status, text) = self.answer(&request, length);
            // Told late, so that what became a drain meanwhile is told too.
            let keep = request.keep_alive && !self.draining.load(SeqCst);
            connection.write_all(&response(status, &text, keep, request.method == "HEAD"))?;
            client.state.store(state::IDLE, SeqCst);
            if !keep || self.draining.load(SeqCst) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Does the work once a worker is free for it.
    fn as_a_worker<T>(&self, work: impl FnOnce() -> T) -> T {
        let Some(free) = &self.free else {
            return work();
        };
        let mut left = lock(free);
        while *left == 0 {
            left = self
                .one_is_free
                .wait(left)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *left -= 1;
        drop(left);
        let done = work();
        *lock(free) += 1;
        self.one_is_free.notify_one();
        done
    }

    fn answer(&self, request: &Request, body_length: u64) -> (u16, String) {
        let time = Duration::from_millis(request.number("ms").unwrap_or(0)).min(LONGEST);
        match request.path.as_str() {
            "/" => {
                let count = self.requests.load(SeqCst);
                (
                    200,
                    format!(
                        "hello from {}, version {}, request {count}\n",
                        self.host, self.version
                    ),
                )
            }
            "/host" => (200, format!("{}\n", self.host)),
            "/cpu" => {
                let burned = self.as_a_worker(|| burn(time));
                (
                    200,
                    format!("{} burned {} ms {burned}\n", self.host, time.as_millis()),
                )
            }
            "/slow" => {
                self.as_a_worker(|| thread::sleep(time));
                (
                    200,
                    format!("{} slept {} ms\n", self.host, time.as_millis()),
                )
            }
            "/echo" => (200, format!("{body_length}\n")),
            "/healthz" if self.healthy.load(SeqCst) => (200, "ok\n".to_owned()),
            "/healthz" => (503, "unhealthy\n".to_owned()),
            "/healthy" | "/unhealthy" => {
                self.healthy.store(request.path == "/healthy", SeqCst);
                (
                    200,
                    format!("{} is now {}\n", self.host, &request.path[1..]),
                )
            }
            "/exit" => {
                let code = request.number("code").unwrap_or(0);
                signal_hook::low_level::exit(i32::try_from(code).unwrap_or(1))
            }
            "/panic" => panic!("asked to panic"),
            _ => (404, "not found\n".to_owned()),
        }
    }

    /// Stops accepting and closes what is idle. A second call changes nothing.
    fn drain(&self, port: u16) {
        if self.draining.swap(true, SeqCst) {
            return;
        }
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, port)); // Wakes accept().
        self.close_those(&[state::IDLE]);
        thread::sleep(DRAIN_PATIENCE);
        self.close_those(&[state::IDLE, state::FRESH]);
    }

    /// Ends reading only: a request that has arrived meanwhile is still read and
    /// answered, since Linux goes on delivering what is in the socket.
    fn close_those(&self, states: &[u8]) {
        for client in lock(&self.clients).values() {
            if states.contains(&client.state.load(SeqCst)) {
                let _ = client.stream.shutdown(std::net::Shutdown::Read);
            }
        }
    }
}

/// Takes its client off the list, also when the thread panics.
struct Guard {
    server: Arc<Server>,
    number: u64,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut clients = lock(&self.server.clients);
        clients.remove(&self.number);
        if clients.is_empty() {
            self.server.all_gone.notify_all();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new()
        .stack_size(STACK)
        .spawn(work)
        .map(drop)
}

fn response(status: u16, text: &str, keep_alive: bool, head_only: bool) -> Vec<u8> {
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        _ => "Service Unavailable",
    };
    let connection = if keep_alive { "keep-alive" } else { "close" };
    let body = if head_only { "" } else { text };
    format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\
         Connection: {connection}\r\n\r\n{body}",
        text.len(),
    )
    .into_bytes()
}

/// Keeps this thread's CPU busy for so long, not counting the time it waits for a
/// CPU: a throttled container takes longer for the same work.
fn burn(time: Duration) -> u64 {
    let used = || {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(now.tv_sec.cast_unsigned(), now.tv_nsec as u32)
    };
    let end = used() + time;
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    while used() < end {
        for number in 0..10_000_u64 {
            hash = black_box((hash ^ number).wrapping_mul(0x100_0000_01b3));
        }
    }
    hash
}
