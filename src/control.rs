//! Talking to a running `watch`: JSON lines over a unix socket in the state directory.
//!
//! A client sends one [`Request`] and reads [`Reply`] lines until the last one. The socket belongs to
//! the user who runs `watch` (mode 0600).

use std::{io, os::unix::fs::PermissionsExt, path::Path};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::mpsc,
    task::JoinSet,
};

use crate::{
    reconcile::{Note, ServiceView},
    units::{Moment, Span},
};

/// A request longer than this is not one of ours.
const LONGEST_LINE: usize = 64 * 1024;

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "ask")]
pub enum Request {
    /// How things are.
    Status,
    /// Bring services to these counts and hold them there.
    Scale {
        /// The counts.
        services: IndexMap<String, u32>,
        /// How long load may not change them.
        hold: Span,
        /// The longest wait; without, the answer comes at once.
        wait: Option<Span>,
    },
    /// Bring nginx in step.
    Sync,
}

/// What `watch` answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "reply")]
pub enum Reply {
    /// How things are; the only reply to `Status`.
    Status(Box<Snapshot>),
    /// Something happened; more follows.
    Note(Note),
    /// It is done, or given up; the last reply.
    Done {
        /// Whether everything asked for is there.
        ok: bool,
        /// A sentence, when there is something to say.
        message: String,
    },
}

/// Everything that `ps` shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Version of this document.
    pub version: u32,
    /// The project.
    pub project: String,
    /// When it was taken.
    pub at: Moment,
    /// Whether a `watch` is running.
    pub watching: bool,
    /// The nginx that is kept in step.
    pub nginx: Option<String>,
    /// What stands in the way right now.
    pub troubles: Vec<String>,
    /// The services.
    pub services: Vec<ServiceView>,
}

/// A request and where its replies go.
#[derive(Debug)]
pub struct Call {
    /// What is asked.
    pub request: Request,
    /// Where to answer. Closed when the client is gone.
    pub replies: mpsc::Sender<Reply>,
}

/// Listens until dropped; each request comes out of the channel.
pub async fn serve(path: &Path, calls: mpsc::Sender<Call>) -> io::Result<()> {
    // Whoever holds the lock may take over the socket of a run that was ended by force.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600))?;
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                clients.spawn(answer(stream, calls.clone()));
            }
            Some(_) = clients.join_next(), if !clients.is_empty() => {}
        }
    }
}

async fn answer(stream: UnixStream, calls: mpsc::Sender<Call>) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(tokio::io::AsyncReadExt::take(read, LONGEST_LINE as u64));
    reader.read_line(&mut line).await?;
    let (replies, mut answers) = mpsc::channel(256);
    match serde_json::from_str(&line) {
        Ok(request) => {
            if calls.send(Call { request, replies }).await.is_err() {
                return Ok(());
            }
        }
        Err(error) => {
            let refusal = Reply::Done {
                ok: false,
                message: format!("request not understood: {error}"),
            };
            return write.write_all(&to_line(&refusal)).await;
        }
    }
    while let Some(reply) = answers.recv().await {
        write.write_all(&to_line(&reply)).await?;
    }
    Ok(())
}

fn to_line<T: Serialize>(value: &T) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}

/// The client's end.
#[derive(Debug)]
pub struct Client {
    lines: tokio::io::Lines<BufReader<UnixStream>>,
}

impl Client {
    /// Asks a running `watch`; `None` when there is none.
    pub async fn ask(path: &Path, request: &Request) -> io::Result<Option<Self>> {
        let mut stream = match UnixStream::connect(path).await {
            Ok(stream) => stream,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        stream.write_all(&to_line(request)).await?;
        Ok(Some(Self {
            lines: BufReader::new(stream).lines(),
        }))
    }

    /// The next reply; `None` after the last one.
    pub async fn next(&mut self) -> io::Result<Option<Reply>> {
        match self.lines.next_line().await? {
            None => Ok(None),
            Some(line) => serde_json::from_str(&line)
                .map(Some)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_is_answered_line_by_line_and_nonsense_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        assert!(
            Client::ask(&path, &Request::Status)
                .await
                .unwrap()
                .is_none()
        );

        let (calls, mut asked) = mpsc::channel(1);
        let mut server = JoinSet::new();
        let at = path.clone();
        server.spawn(async move { serve(&at, calls).await });
        while !path.exists() {
            tokio::task::yield_now().await;
        }
        let mut client = Client::ask(&path, &Request::Sync).await.unwrap().unwrap();
        let call = asked.recv().await.unwrap();
        assert_eq!(call.request, Request::Sync);
        let done = Reply::Done {
            ok: true,
            message: "nothing to do".into(),
        };
        call.replies.send(done.clone()).await.unwrap();
        drop(call);
        assert_eq!(client.next().await.unwrap(), Some(done));
        assert_eq!(client.next().await.unwrap(), None);

        let mut stream = UnixStream::connect(&path).await.unwrap();
        stream.write_all(b"hello\n").await.unwrap();
        let mut lines = BufReader::new(stream).lines();
        let refusal = lines.next_line().await.unwrap().unwrap();
        assert!(refusal.contains("request not understood"), "{refusal}");
    }
}
