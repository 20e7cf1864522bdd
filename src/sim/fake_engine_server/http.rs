//! HTTP as far as a client of the Engine speaks it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::{io::AsyncReadExt, net::UnixStream};

pub(super) struct FakeRequest {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: BTreeMap<String, String>,
    pub(super) body: Value,
}

impl FakeRequest {
    /// `POST /containers/*/start`
    pub(super) fn kind(&self) -> String {
        let is_id = |part: &&str| part.len() == 64 && part.bytes().all(|b| b.is_ascii_hexdigit());
        let parts = self.path.split('/');
        let parts: Vec<_> = parts.map(|p| if is_id(&p) { "*" } else { p }).collect();
        format!("{} {}", self.method, parts.join("/"))
    }

    pub(super) async fn read(stream: &mut UnixStream) -> Option<Self> {
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
pub(super) enum FakeResponse {
    Json(u16, Value),
    Nothing(u16),
    /// What a command or a container has printed: streams and text.
    Printed(u16, Vec<(u8, String)>),
}

impl FakeResponse {
    pub(super) fn status(&self) -> u16 {
        match self {
            Self::Json(status, _) | Self::Nothing(status) | Self::Printed(status, _) => *status,
        }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
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

pub(super) fn refused(status: u16, message: &str) -> FakeResponse {
    FakeResponse::Json(status, json!({ "message": message }))
}
