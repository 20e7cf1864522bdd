//! A web server that does with requests what a test wants, and tells what it was sent.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde_json::Value;

/// What a server does with a request.
pub(crate) enum Reply {
    /// This status line and these header lines.
    Head(&'static str),
    /// Nothing, for ever.
    Hang,
}

pub(crate) const FINE: Reply = Reply::Head("200 OK");

/// What was sent.
#[derive(Debug)]
pub(crate) struct Request {
    /// The first line and the headers.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }

    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }
}

/// A server on a port of its own.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    requests: Mutex<mpsc::Receiver<Request>>,
}

impl Server {
    /// One that answers the nth request (from 0) as `reply` says.
    pub(crate) fn new(reply: impl Fn(usize) -> Reply + Send + 'static) -> Self {
        Self::begin(reply, |stream| Some(Box::new(stream)))
    }

    /// The same, with the certificate in `tests/notify`.
    pub(crate) fn encrypted(reply: impl Fn(usize) -> Reply + Send + 'static) -> Self {
        Self::begin(reply, |stream| Some(Box::new(secured(stream))))
    }

    /// A proxy that is asked for a way to a host, and is that host itself.
    pub(crate) fn tunnel(
        reply: impl Fn(usize) -> Reply + Send + 'static,
    ) -> (Self, mpsc::Receiver<String>) {
        let (tell, asked) = mpsc::channel();
        let server = Self::begin(reply, move |mut stream| {
            let request = read(&mut stream)?;
            tell.send(request.line().to_owned()).ok()?;
            stream.write_all(b"HTTP/1.1 200 fine\r\n\r\n").ok()?;
            Some(Box::new(secured(stream)))
        });
        (server, asked)
    }

    fn begin(
        reply: impl Fn(usize) -> Reply + Send + 'static,
        open: impl Fn(TcpStream) -> Option<Box<dyn Stream>> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (tell, requests) = mpsc::channel();
        // It ends with the test's process.
        thread::spawn(move || {
            let mut hanging = Vec::new();
            let mut count = 0;
            for stream in listener.incoming().flatten() {
                let Some(mut stream) = open(stream) else {
                    continue;
                };
                let Some(request) = read(&mut stream) else {
                    continue;
                };
                // The test has heard of it before it is answered.
                let _ = tell.send(request);
                let answer = reply(count);
                count += 1;
                match answer {
                    Reply::Head(head) => {
                        let text = format!(
                            "HTTP/1.1 {head}\r\nContent-Length: 9\r\nConnection: close\r\n\r\nthe words"
                        );
                        let _ = stream.write_all(text.as_bytes());
                        let _ = stream.flush();
                    }
                    Reply::Hang => hanging.push(stream),
                }
            }
        });
        Self {
            address,
            requests: Mutex::new(requests),
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The next request, for which it waits.
    pub(crate) fn next(&self) -> Request {
        let requests = self.requests.lock().expect("nobody panics with it");
        requests
            .recv_timeout(Duration::from_secs(30))
            .expect("a request within 30s")
    }

    /// How many more there were until now.
    pub(crate) fn more(&self) -> usize {
        let requests = self.requests.lock().expect("nobody panics with it");
        requests.try_iter().count()
    }
}

trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

fn read(stream: &mut impl Read) -> Option<Request> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        let is_it = name.eq_ignore_ascii_case("content-length");
        is_it.then(|| value.parse::<usize>().ok())?
    });
    let mut body = vec![0; length.unwrap_or_default()];
    stream.read_exact(&mut body).ok()?;
    let body = String::from_utf8(body).ok()?;
    Some(Request { head, body })
}

fn secured(stream: TcpStream) -> StreamOwned<ServerConnection, TcpStream> {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("../notify/localhost.pem"));
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("../notify/localhost.key"));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.expect("a certificate")],
            key.expect("a key"),
        )
        .expect("they belong together");
    let session = ServerConnection::new(Arc::new(config)).expect("a session");
    StreamOwned::new(session, stream)
}
