//! Which calls of the Engine's API the tool may make: everything else is answered with 403, and noted.

use std::{
    collections::BTreeSet,
    io,
    net::{Shutdown, TcpListener},
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, MutexGuard},
    thread,
};

use super::proxy::{EngineProxy, Verdict};

/// What passed and what did not.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Rows of the list.
    pub(crate) passed: BTreeSet<String>,
    /// Requests that no row allows.
    pub(crate) refused: BTreeSet<String>,
}

/// A socket that lets only listed calls pass.
pub(crate) struct Allowed {
    proxy: EngineProxy,
    /// `DOCKER_HOST` of a port: over that the tool takes the Engine for one elsewhere.
    pub(crate) remote: String,
    seen: Arc<Mutex<Seen>>,
}

impl Allowed {
    /// A call is `METHOD /path`, where `{…}` stands for a part of the path.
    pub(crate) fn only(calls: Vec<String>) -> Self {
        let proxy = EngineProxy::new();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let noted = Arc::clone(&seen);
        proxy.decide(move |request| {
            let request = request.split('?').next().unwrap_or_default();
            // Compose's own program, which is called for hashes, has calls of its own.
            if request.ends_with(" /_ping") {
                return Verdict::Pass;
            }
            let mut noted = noted.lock().expect("no thread panicked");
            if let Some(call) = calls.iter().find(|call| is_one_of(request, call)) {
                noted.passed.insert(call.clone());
                Verdict::Pass
            } else {
                noted.refused.insert(request.to_owned());
                Verdict::Answer(403, r#"{"message":"not in docs/security.md"}"#)
            }
        });
        let remote = format!("tcp://{}", port_to(proxy.host()));
        Self {
            proxy,
            remote,
            seen,
        }
    }

    /// For `DOCKER_HOST`.
    pub(crate) fn host(&self) -> String {
        self.proxy.host()
    }

    /// Until now.
    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("no thread panicked")
    }
}

/// The real Engine's socket.
pub(crate) fn socket() -> String {
    let host = std::env::var("DOCKER_HOST").unwrap_or_default();
    host.strip_prefix("unix://")
        .unwrap_or("/var/run/docker.sock")
        .to_owned()
}

/// A port of this machine that leads to a socket; its threads end with the test's process.
fn port_to(host: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let path = host.trim_start_matches("unix://");
            let Ok(engine) = UnixStream::connect(path) else {
                continue;
            };
            let (Ok(from), Ok(to)) = (client.try_clone(), engine.try_clone()) else {
                continue;
            };
            thread::spawn(move || {
                let (mut from, mut to) = (from, to);
                let _ = io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Both);
            });
            thread::spawn(move || {
                let (mut engine, mut client) = (engine, client);
                let _ = io::copy(&mut engine, &mut client);
                let _ = client.shutdown(Shutdown::Both);
            });
        }
    });
    address
}

fn is_one_of(request: &str, call: &str) -> bool {
    // The name of an image may hold slashes; nothing else does.
    if let Some((before, after)) = call.split_once("{name}") {
        let inner = request
            .strip_prefix(before)
            .and_then(|rest| rest.strip_suffix(after));
        return inner
            .is_some_and(|inner| !inner.is_empty() && (after == "/json" || !inner.contains('/')));
    }
    let parts: Vec<&str> = request.split('/').collect();
    let wanted: Vec<&str> = call.split('/').collect();
    parts.len() == wanted.len()
        && parts
            .iter()
            .zip(&wanted)
            .all(|(part, wanted)| part == wanted || (wanted.starts_with('{') && !part.is_empty()))
}
