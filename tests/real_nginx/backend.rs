//! Replicas that are tasks of the test, and clients that ask nginx.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};

/// A server that answers with its name and the request's head. `/slow?MS` takes its time, and `/close` closes
/// the connection.
pub(crate) struct Backend {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    _serving: JoinSet<()>,
}

impl Backend {
    pub(crate) async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, name));
            }
        });
        Self {
            name,
            address,
            _serving: serving,
        }
    }
}

async fn serve(mut stream: TcpStream, name: &'static str) {
    while let Some(head) = read_head(&mut stream).await {
        if head.contains(" /close ") {
            return;
        }
        if let Some(ms) = head.split_once("/slow?").and_then(|(_, r)| number(r)) {
            sleep(Duration::from_millis(ms)).await;
        }
        let body = format!("{name}\n{head}");
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn number(text: &str) -> Option<u64> {
    text.split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = stream.read_u8().await.ok()?;
        head.push(byte);
    }
    String::from_utf8(head).ok()
}

/// A connection that is kept open.
pub(crate) struct Client {
    stream: TcpStream,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    pub(crate) closes: bool,
    pub(crate) cookie: Option<String>,
}

impl Client {
    pub(crate) async fn connect(port: u16) -> Result<Self, String> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await;
        stream
            .map(|stream| Self { stream })
            .map_err(|error| format!("connect: {error}"))
    }

    pub(crate) async fn get(&mut self, path: &str, headers: &str) -> Result<Answer, String> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n{headers}\r\n");
        let asked = async {
            let sent = self.stream.write_all(request.as_bytes()).await;
            sent.map_err(|error| format!("send: {error}"))?;
            self.read_answer().await
        };
        timeout(Duration::from_secs(10), asked)
            .await
            .unwrap_or_else(|_| Err("no answer within 10 s".into()))
    }

    async fn read_answer(&mut self) -> Result<Answer, String> {
        let head = read_head(&mut self.stream)
            .await
            .ok_or("closed without an answer")?;
        let cookie = head
            .lines()
            .find_map(|line| line.strip_prefix("Set-Cookie: "))
            .and_then(|value| value.split(';').next())
            .map(str::to_owned);
        let head = head.to_lowercase();
        let status = head.split(' ').nth(1).and_then(number);
        let length = head
            .split_once("content-length: ")
            .and_then(|(_, rest)| number(rest))
            .ok_or("no length")?;
        let mut body = vec![0; usize::try_from(length).unwrap()];
        let read = self.stream.read_exact(&mut body).await;
        read.map_err(|error| format!("body: {error}"))?;
        Ok(Answer {
            status: u16::try_from(status.ok_or("no status")?).unwrap(),
            body: String::from_utf8_lossy(&body).into_owned(),
            closes: head.contains("connection: close"),
            cookie,
        })
    }
}

/// One request over a connection of its own.
pub(crate) async fn get(port: u16, path: &str) -> Result<Answer, String> {
    let mut client = Client::connect(port).await?;
    client.get(path, "Connection: close\r\n").await
}

/// The names of the backends that answered this many requests.
pub(crate) async fn who_answers(port: u16, requests: u32) -> Vec<String> {
    let mut names = Vec::new();
    for _ in 0..requests {
        let answer = get(port, "/").await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        names.push(answer.body.lines().next().unwrap().to_owned());
    }
    names.sort();
    names.dedup();
    names
}
