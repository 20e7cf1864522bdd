//! One connection's client: sends a request, reads the answer, keeps the
//! connection or makes a new one. It never sends a request twice.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Instant;

use demo_web::http::Connection;
use rustix::net::{RecvFlags, recv};

use crate::options::Class;

/// Why a request failed.
#[derive(Debug)]
pub(crate) struct Trouble {
    /// A status code, or connect, reset, eof, timeout, invalid.
    pub(crate) kind: String,
    /// The connection had answered before and closed under this request without a
    /// byte in answer: what a client sees that reuses a connection just as the
    /// server closes it for being idle.
    pub(crate) keepalive_race: bool,
}

/// A 2xx.
pub(crate) struct Answer {
    pub(crate) length: u64,
    /// The beginning of the body, where it was asked for.
    pub(crate) body: Vec<u8>,
}

pub(crate) struct Client<'a> {
    class: &'a Class,
    address: SocketAddr,
    bytes: Vec<u8>,
    connection: Option<Connection<TcpStream>>,
    pub(crate) connects: u64,
}

impl<'a> Client<'a> {
    pub(crate) fn new(class: &'a Class) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, class.port));
        Self {
            class,
            address,
            bytes: request_bytes(class),
            connection: None,
            connects: 0,
        }
    }

    /// Sends one request and reads its answer to the end.
    pub(crate) fn request(&mut self, keep_body: bool) -> Result<Answer, Trouble> {
        let kept = self
            .connection
            .take()
            .filter(|kept| !self.class.peek || is_open(kept.stream()));
        let reused = kept.is_some();
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.connect().map_err(|error| Trouble {
                kind: if is_timeout(&error) {
                    "timeout"
                } else {
                    "connect"
                }
                .to_owned(),
                keepalive_race: false,
            })?,
        };

        let begin = Instant::now();
        let mut answered = false;
        let mut exchange = || -> io::Result<(u16, bool, Answer)> {
            // A server may answer and close before it has read the whole body: what
            // it said is still there to read, so a failed write is told only then.
            let written = connection.write_all(&self.bytes);
            answered = connection.wait()?;
            if !answered {
                written?;
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let head = connection.response()?;
            let mut body = Vec::new();
            let keep = if keep_body { 256 } else { 0 };
            let length = connection.body(head.body, keep, &mut body)?;
            if begin.elapsed() > self.class.timeout {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Ok((head.status, head.keep_alive, Answer { length, body }))
        };
        let outcome = exchange();
        match outcome {
            Ok((status, keep_alive, answer)) => {
                if keep_alive && self.class.keepalive {
                    self.connection = Some(connection);
                }
                if (200..300).contains(&status) {
                    Ok(answer)
                } else {
                    Err(Trouble {
                        kind: status.to_string(),
                        keepalive_race: false,
                    })
                }
            }
            Err(error) => {
                let kind = kind(&error);
                let closed = matches!(kind, "eof" | "reset");
                Err(Trouble {
                    kind: kind.to_owned(),
                    keepalive_race: reused && !answered && closed,
                })
            }
        }
    }

    fn connect(&mut self) -> io::Result<Connection<TcpStream>> {
        self.connects += 1;
        let stream = TcpStream::connect_timeout(&self.address, self.class.timeout)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(self.class.timeout))?;
        stream.set_write_timeout(Some(self.class.timeout))?;
        Ok(Connection::new(stream))
    }
}

/// Whether an idle connection can be used again: nothing to read, not even its end.
fn is_open(stream: &TcpStream) -> bool {
    let mut byte = [0_u8; 1];
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    matches!(recv(stream, byte.as_mut_slice(), flags), Err(error) if error == rustix::io::Errno::WOULDBLOCK)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

fn kind(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "eof",
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "reset",
        io::ErrorKind::InvalidData => "invalid",
        _ if is_timeout(error) => "timeout",
        _ => "other",
    }
}

fn request_bytes(class: &Class) -> Vec<u8> {
    use std::fmt::Write as _;
    let mut head = format!(
        "{} {} HTTP/1.1\r\nHost: {}\r\n",
        class.method, class.path, class.host
    );
    if !class.keepalive {
        head.push_str("Connection: close\r\n");
    }
    if class.method == "POST" || class.body_bytes > 0 {
        let _ = write!(head, "Content-Length: {}\r\n", class.body_bytes);
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    bytes.resize(bytes.len() + class.body_bytes, b'x');
    bytes
}
