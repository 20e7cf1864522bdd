//! HTTP/1.1 messages on a blocking stream: heads by `httparse`, bodies by length
//! or chunks. Connections are reused, so a message is always read to its end.

use std::io::{self, Read, Write};

/// The longest head accepted, request line and headers together.
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
const READ_SIZE: usize = 8 * 1024;

/// How the end of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// So many bytes; 0 where there is no body.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// Up to the end of the connection (responses only).
    UntilClose,
}

/// A request's head.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// The method, as sent.
    pub method: String,
    /// The path without its query.
    pub path: String,
    /// What follows the `?`, empty without one.
    pub query: String,
    /// How the body ends.
    pub body: Body,
    /// Whether the client wants to send another request on this connection.
    pub keep_alive: bool,
    /// `Expect: 100-continue`: the body comes only after our word.
    pub expects_continue: bool,
}

impl Request {
    /// A number from the query: `ms` of `?ms=20`.
    pub fn number(&self, key: &str) -> Option<u64> {
        self.query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(name, _)| *name == key)
            .and_then(|(_, value)| value.parse().ok())
    }
}

/// A response's head.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// How the body ends.
    pub body: Body,
    /// Whether the server keeps the connection open.
    pub keep_alive: bool,
}

/// What the headers that matter here say.
struct Framing {
    body: Option<Body>,
    keep_alive: bool,
    expects_continue: bool,
}

/// A stream with the bytes that were read from it and not yet used.
#[derive(Debug)]
pub struct Connection<S> {
    stream: S,
    buffer: Vec<u8>,
    start: usize,
}

impl<S: Read + Write> Connection<S> {
    /// Wraps a stream that is at the beginning of a message.
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            buffer: Vec::with_capacity(READ_SIZE),
            start: 0,
        }
    }

    /// The stream itself, for socket options.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// Sends bytes as they are.
    pub fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Waits for the first bytes of the next message. False: the other side closed
    /// between two messages, as it may.
    pub fn wait(&mut self) -> io::Result<bool> {
        Ok(!self.rest().is_empty() || self.fill()? > 0)
    }

    /// Reads a request's head.
    pub fn request(&mut self) -> io::Result<Request> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
            let mut head = httparse::Request::new(&mut headers);
            if let httparse::Status::Complete(used) = head.parse(self.rest()).map_err(invalid)? {
                let framing = framing(head.headers, head.version == Some(1))?;
                let (path, query) = split_target(head.path.unwrap_or("/"));
                let request = Request {
                    method: head.method.unwrap_or("GET").to_owned(),
                    path: path.to_owned(),
                    query: query.to_owned(),
                    body: framing.body.unwrap_or(Body::Length(0)),
                    keep_alive: framing.keep_alive,
                    expects_continue: framing.expects_continue,
                };
                self.start += used;
                return Ok(request);
            }
            self.more_of_the_head()?;
        }
    }

    /// Reads a response's head; interim ones (1xx) are passed over.
    pub fn response(&mut self) -> io::Result<Response> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
            let mut head = httparse::Response::new(&mut headers);
            if let httparse::Status::Complete(used) = head.parse(self.rest()).map_err(invalid)? {
                let framing = framing(head.headers, head.version == Some(1))?;
                let status = head.code.unwrap_or(0);
                self.start += used;
                if (100..200).contains(&status) {
                    continue;
                }
                let body = match status {
                    204 | 304 => Body::Length(0),
                    _ => framing.body.unwrap_or(Body::UntilClose),
                };
                let keep_alive = framing.keep_alive && body != Body::UntilClose;
                return Ok(Response {
                    status,
                    body,
                    keep_alive,
                });
            }
            self.more_of_the_head()?;
        }
    }

    /// Reads a body to its end. Returns its length; up to `keep` bytes of it are
    /// appended to `kept`.
    pub fn body(&mut self, body: Body, keep: usize, kept: &mut Vec<u8>) -> io::Result<u64> {
        match body {
            Body::Length(length) => {
                self.take(length, keep, kept)?;
                Ok(length)
            }
            Body::Chunked => {
                let mut total = 0;
                loop {
                    let size = self.chunk_size()?;
                    if size == 0 {
                        while !self.line()?.is_empty() {} // Trailers, then the empty line.
                        return Ok(total);
                    }
                    self.take(size, keep, kept)?;
                    if !self.line()?.is_empty() {
                        return Err(invalid("no line end after a chunk"));
                    }
                    total += size;
                }
            }
            Body::UntilClose => {
                let mut total = 0;
                loop {
                    total += self.use_up(u64::MAX, keep, kept);
                    if self.fill()? == 0 {
                        return Ok(total);
                    }
                }
            }
        }
    }

    fn take(&mut self, mut length: u64, keep: usize, kept: &mut Vec<u8>) -> io::Result<()> {
        loop {
            length -= self.use_up(length, keep, kept);
            if length == 0 {
                return Ok(());
            }
            self.fill_some()?;
        }
    }

    /// Uses up at most `most` of what is buffered.
    fn use_up(&mut self, most: u64, keep: usize, kept: &mut Vec<u8>) -> u64 {
        let rest = &self.buffer[self.start..];
        let used = rest.len().min(usize::try_from(most).unwrap_or(usize::MAX));
        let wanted = keep.saturating_sub(kept.len()).min(used);
        kept.extend_from_slice(&rest[..wanted]);
        self.start += used;
        used as u64
    }

    fn chunk_size(&mut self) -> io::Result<u64> {
        let line = self.line()?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        u64::from_str_radix(digits, 16).map_err(|_| invalid("bad chunk size"))
    }

    /// One line, without its end.
    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.rest().iter().position(|&byte| byte == b'\n') {
                let line = String::from_utf8_lossy(&self.rest()[..end])
                    .trim_end()
                    .to_owned();
                self.start += end + 1;
                return Ok(line);
            }
            self.more_of_the_head()?;
        }
    }

    fn rest(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    fn more_of_the_head(&mut self) -> io::Result<()> {
        if self.rest().len() > MAX_HEAD {
            return Err(invalid("head too long"));
        }
        self.fill_some()
    }

    /// Reads more in the middle of a message, where an end is an error.
    fn fill_some(&mut self) -> io::Result<()> {
        match self.fill()? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    fn fill(&mut self) -> io::Result<usize> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let filled = self.buffer.len();
        self.buffer.resize(filled + READ_SIZE, 0);
        let read = loop {
            match self.stream.read(&mut self.buffer[filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.buffer
            .truncate(filled + read.as_ref().copied().unwrap_or(0));
        read
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn split_target(target: &str) -> (&str, &str) {
    target.split_once('?').unwrap_or((target, ""))
}

fn framing(headers: &[httparse::Header<'_>], http11: bool) -> io::Result<Framing> {
    let mut framing = Framing {
        body: None,
        keep_alive: http11,
        expects_continue: false,
    };
    for header in headers {
        let value = std::str::from_utf8(header.value).unwrap_or_default().trim();
        if header.name.eq_ignore_ascii_case("content-length") {
            let length = value.parse().map_err(|_| invalid("bad Content-Length"))?;
            if framing.body.is_none() {
                framing.body = Some(Body::Length(length));
            }
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            if value.eq_ignore_ascii_case("chunked") {
                framing.body = Some(Body::Chunked);
            } else {
                return Err(invalid("unknown Transfer-Encoding"));
            }
        } else if header.name.eq_ignore_ascii_case("connection") {
            if value.eq_ignore_ascii_case("close") {
                framing.keep_alive = false;
            } else if value.eq_ignore_ascii_case("keep-alive") {
                framing.keep_alive = true;
            }
        } else if header.name.eq_ignore_ascii_case("expect") {
            framing.expects_continue = value.eq_ignore_ascii_case("100-continue");
        }
    }
    Ok(framing)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives out its bytes a few at a time, as a network may.
    struct Trickle {
        bytes: Vec<u8>,
        at: usize,
    }

    impl Read for Trickle {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = buffer.len().min(3).min(self.bytes.len() - self.at);
            buffer[..count].copy_from_slice(&self.bytes[self.at..self.at + count]);
            self.at += count;
            Ok(count)
        }
    }

    impl Write for Trickle {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn connection(text: &str) -> Connection<Trickle> {
        Connection::new(Trickle {
            bytes: text.as_bytes().to_vec(),
            at: 0,
        })
    }

    #[test]
    fn two_requests_on_one_connection_with_a_chunked_body_between() {
        let mut connection = connection(
            "POST /cpu?ms=5&x=1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
             3;note=x\r\nabc\r\nA\r\n0123456789\r\n0\r\nTrailer: yes\r\n\r\n\
             GET /host HTTP/1.1\r\nConnection: close\r\n\r\n",
        );
        let first = connection.request().unwrap();
        assert_eq!((first.path.as_str(), first.number("ms")), ("/cpu", Some(5)));
        let mut kept = Vec::new();
        assert_eq!(connection.body(first.body, 5, &mut kept).unwrap(), 13);
        assert_eq!(kept, b"abc01");
        let second = connection.request().unwrap();
        assert_eq!((second.path.as_str(), second.keep_alive), ("/host", false));
        assert!(!connection.wait().unwrap());
    }

    #[test]
    fn a_response_without_a_length_ends_with_its_connection() {
        let mut connection = connection("HTTP/1.1 200 OK\r\n\r\nsome text");
        let head = connection.response().unwrap();
        assert_eq!((head.body, head.keep_alive), (Body::UntilClose, false));
        assert_eq!(connection.body(head.body, 0, &mut Vec::new()).unwrap(), 9);
    }

    #[test]
    fn a_body_that_is_cut_short_is_an_error() {
        let mut connection = connection("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
        let head = connection.response().unwrap();
        let error = connection.body(head.body, 0, &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn an_interim_response_is_passed_over() {
        let mut connection =
            connection("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n");
        let head = connection.response().unwrap();
        assert_eq!(
            (head.status, head.body, head.keep_alive),
            (204, Body::Length(0), true)
        );
    }

    #[test]
    fn an_endless_head_is_refused() {
        let mut connection = connection(&format!("GET / HTTP/1.1\r\nX: {}", "y".repeat(64 * 1024)));
        assert_eq!(
            connection.request().unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }
}
