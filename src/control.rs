//! Talking to a running `watch`: JSON lines over a unix socket in the state directory.
//!
//! A client sends one [`ControlRequest`] and reads [`Reply`] lines until the last one. The socket belongs to
//! the user who runs `watch` (mode 0600); root may use it too.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use indexmap::IndexMap;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream, unix::OwnedWriteHalf},
    sync::mpsc,
    task::JoinSet,
    time::{interval, sleep, timeout},
};

use tracing::warn;

use crate::{
    reconcile::{Pause, ScalingEvent, ServiceView},
    units::{Bytes, Span, Timestamp},
};

/// A request longer than this is not one of ours.
const LONGEST_LINE: usize = 64 * 1024;
/// More clients at a time than this wait for their turn.
const CLIENTS: usize = 64;
/// A client that has not asked by then, or does not take its answer, is given up.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often to look whether the socket is still there for clients to find, and whether a client that waits
/// is still there.
const LOOK: Duration = Duration::from_secs(1);
/// A longer path does not fit into the address of a socket.
const LONGEST_PATH: usize = 107;

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "ask")]
pub enum ControlRequest {
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
    /// Load shall not change the count of services, in these directions.
    Pause {
        /// The services.
        services: Vec<String>,
        /// The directions.
        directions: Pause,
        /// For how long; until they are resumed without.
        span: Option<Span>,
    },
    /// Load decides on services again.
    Resume {
        /// The services.
        services: Vec<String>,
    },
}

/// What `watch` answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "reply")]
pub enum Reply {
    /// How things are; the only reply to `Status`.
    Status(Box<Snapshot>),
    /// Something happened; more follows.
    Note(ScalingEvent),
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
    pub at: Timestamp,
    /// Whether a `watch` is running.
    pub watching: bool,
    /// The nginx that is kept in step.
    pub nginx: Option<String>,
    /// Whether it has what was decided.
    #[serde(default)]
    pub in_step: bool,
    /// Why the Engine does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_away: Option<String>,
    /// Time between two decisions.
    #[serde(default)]
    pub interval: Span,
    /// When the loop came round last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticked: Option<Timestamp>,
    /// The machine, where it is the Engine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostView>,
    /// What stands in the way right now.
    pub troubles: Vec<String>,
    /// The services.
    pub services: Vec<ServiceView>,
}

/// The machine as it is right now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostView {
    /// All of its memory.
    pub memory: Bytes,
    /// What programs may have of it.
    pub available: Bytes,
    /// What is left free of it; `None` where nothing is.
    pub reserve_memory: Option<Bytes>,
    /// Percent of its cores that are at work.
    pub busy: Option<f64>,
    /// Percent of them that are left idle; `None` where none are.
    pub reserve_cpu: Option<f64>,
}

/// A request and where its replies go.
#[derive(Debug)]
pub struct Call {
    /// What is asked.
    pub request: ControlRequest,
    /// Where to answer. Closed when the client is gone.
    pub replies: mpsc::Sender<Reply>,
}

/// Asks whoever takes the requests how things are; nothing where nobody does any more.
pub async fn status(calls: &mpsc::Sender<Call>) -> Option<Snapshot> {
    let (replies, mut answers) = mpsc::channel(1);
    let request = ControlRequest::Status;
    calls.send(Call { request, replies }).await.ok()?;
    match answers.recv().await? {
        Reply::Status(snapshot) => Some(*snapshot),
        Reply::Note(_) | Reply::Done { .. } => None,
    }
}

/// The socket that requests come in at.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    listener: UnixListener,
    /// Device and inode of its file.
    file: (u64, u64),
    owner: u32,
}

impl Socket {
    /// Makes it, in place of one that a run has left which was ended by force: whoever holds the lock may.
    /// Anything but a socket stays, and is an error.
    pub fn open(path: &Path) -> io::Result<Self> {
        match fs::symlink_metadata(path) {
            Ok(there) if !there.file_type().is_socket() => {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    format!("{} is no socket; remove it", path.display()),
                ));
            }
            Ok(_) => fs::remove_file(path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let listener = UnixListener::bind(&SocketPath::of(path)?.path)?;
        fs::set_permissions(path, PermissionsExt::from_mode(0o600))?;
        let meta = fs::symlink_metadata(path)?;
        Ok(Self {
            path: path.to_owned(),
            listener,
            file: (meta.dev(), meta.ino()),
            owner: meta.uid(),
        })
    }

    /// Whether clients find it at its path.
    fn is_there(&self) -> bool {
        let there = fs::symlink_metadata(&self.path);
        there.is_ok_and(|there| (there.dev(), there.ino()) == self.file)
    }

    /// Makes it again where it is not what is at its path, and says so; what stands in the way is said
    /// once.
    fn mend(&mut self, told: &mut Option<String>) {
        if self.is_there() {
            return;
        }
        let shown = self.path.display().to_string();
        match Self::open(&self.path) {
            Ok(again) => {
                *self = again;
                *told = None;
                warn!(
                    "{shown} was removed or replaced; it is there again, and commands find this watch"
                );
            }
            Err(error) => {
                let why = error.to_string();
                if told.as_ref() != Some(&why) {
                    warn!(
                        "{shown} was removed or replaced, so commands do not find this watch: {why}"
                    );
                    *told = Some(why);
                }
            }
        }
    }
}

/// Listens until dropped; each request comes out of the channel. A socket that was removed or replaced is
/// made again. No client can hold up another one, or whoever takes the requests.
pub async fn serve(mut socket: Socket, calls: mpsc::Sender<Call>) {
    let mut told = None;
    let mut clients = JoinSet::new();
    let mut look = interval(LOOK);
    loop {
        tokio::select! {
            accepted = socket.listener.accept(), if clients.len() < CLIENTS => match accepted {
                Ok((stream, _)) => {
                    // In a directory that others may enter, somebody could have come before the
                    // mode was set.
                    if stream.peer_cred().is_ok_and(|peer| [0, socket.owner].contains(&peer.uid())) {
                        clients.spawn(answer(stream, calls.clone()));
                    }
                }
                // Out of file descriptors, most likely, and soon again.
                Err(_) => sleep(PATIENCE / 50).await,
            },
            Some(_) = clients.join_next(), if !clients.is_empty() => {}
            _ = look.tick() => socket.mend(&mut told),
        }
    }
}

/// A path to a socket that is short enough for the kernel, for as long as the value lives.
struct SocketPath {
    path: PathBuf,
    _directory: Option<File>,
}

impl SocketPath {
    fn of(path: &Path) -> io::Result<Self> {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        };
        if path.as_os_str().len() <= LONGEST_PATH {
            return Ok(Self {
                path: path.to_owned(),
                _directory: None,
            });
        }
        let directory = File::open(directory)?;
        let short = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string());
        Ok(Self {
            path: short.join(name),
            _directory: Some(directory),
        })
    }
}

async fn answer(stream: UnixStream, calls: mpsc::Sender<Call>) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = Vec::new();
    let mut reader = BufReader::new(tokio::io::AsyncReadExt::take(read, LONGEST_LINE as u64));
    timeout(PATIENCE, reader.read_until(b'\n', &mut line)).await??;
    if line.is_empty() {
        return Ok(());
    }
    let (replies, mut answers) = mpsc::channel(256);
    let request = if line.ends_with(b"\n") {
        serde_json::from_slice(&line).map_err(|error| error.to_string())
    } else {
        Err(format!("it has no end within {LONGEST_LINE} bytes"))
    };
    match request {
        Ok(request) => {
            if calls.send(Call { request, replies }).await.is_err() {
                return Ok(());
            }
        }
        Err(why) => {
            let refusal = Reply::Done {
                ok: false,
                message: format!("request not understood: {why}"),
            };
            return timeout(PATIENCE, write.write_all(&to_line(&refusal))).await?;
        }
    }
    let mut look = interval(LOOK);
    loop {
        tokio::select! {
            reply = answers.recv() => match reply {
                Some(reply) => timeout(PATIENCE, write.write_all(&to_line(&reply))).await??,
                None => return Ok(()),
            },
            // Others wait for its place.
            _ = look.tick() => if has_hung_up(&write) {
                return Ok(());
            },
        }
    }
}

/// Whether the client has closed its end. One that only sends no more still reads.
fn has_hung_up(stream: &OwnedWriteHalf) -> bool {
    let stream: &UnixStream = stream.as_ref();
    let mut looked_at = [PollFd::new(stream, PollFlags::empty())];
    let now = Timespec::default();
    poll(&mut looked_at, Some(&now)).is_ok() && looked_at[0].revents().contains(PollFlags::HUP)
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
    pub async fn ask(path: &Path, request: &ControlRequest) -> io::Result<Option<Self>> {
        let connect = async { UnixStream::connect(&SocketPath::of(path)?.path).await };
        let mut stream = match connect.await {
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

    /// The same, but not for ever: a `watch` that is stopped (SIGSTOP, a debugger) says nothing.
    pub async fn next_within(&mut self, limit: Duration) -> io::Result<Option<Reply>> {
        timeout(limit, self.next()).await.unwrap_or_else(|_| {
            let why = format!("no answer within {limit:?}");
            Err(io::Error::new(io::ErrorKind::TimedOut, why))
        })
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
            Client::ask(&path, &ControlRequest::Status)
                .await
                .unwrap()
                .is_none()
        );

        let (calls, mut asked) = mpsc::channel(1);
        let mut server = JoinSet::new();
        server.spawn(serve(Socket::open(&path).unwrap(), calls));
        let mut client = Client::ask(&path, &ControlRequest::Sync)
            .await
            .unwrap()
            .unwrap();
        let call = asked.recv().await.unwrap();
        assert_eq!(call.request, ControlRequest::Sync);
        let done = Reply::Done {
            ok: true,
            message: "nothing to do".into(),
        };
        call.replies.send(done.clone()).await.unwrap();
        drop(call);
        assert_eq!(client.next().await.unwrap(), Some(done));
        assert_eq!(client.next().await.unwrap(), None);

        for (nonsense, why) in [
            (&b"hello\n"[..], "expected value at line 1 column 1"),
            (b"\xff\xfe\n", "expected value at line 1 column 1"),
            (
                &vec![b'x'; LONGEST_LINE],
                "it has no end within 65536 bytes",
            ),
        ] {
            let mut stream = UnixStream::connect(&path).await.unwrap();
            stream.write_all(nonsense).await.unwrap();
            let mut lines = BufReader::new(stream).lines();
            let refusal = lines.next_line().await.unwrap().unwrap();
            let expected = format!(
                r#"{{"reply":"done","ok":false,"message":"request not understood: {why}"}}"#
            );
            assert_eq!(refusal, expected);
        }
    }

    /// A server and what it is asked.
    fn served(path: &Path) -> (JoinSet<()>, mpsc::Receiver<Call>) {
        let (calls, asked) = mpsc::channel(1);
        let mut server = JoinSet::new();
        server.spawn(serve(Socket::open(path).unwrap(), calls));
        (server, asked)
    }

    async fn client(path: &Path) -> Client {
        loop {
            if let Some(client) = Client::ask(path, &ControlRequest::Status).await.unwrap() {
                return client;
            }
            sleep(LOOK).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn clients_that_say_nothing_keep_nobody_out_for_long() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let (_server, mut asked) = served(&path);
        drop(client(&path).await);
        asked.recv().await.unwrap();
        let mut idle = Vec::new();
        for _ in 0..2 * CLIENTS {
            idle.push(UnixStream::connect(&path).await.unwrap());
        }
        let _client = client(&path).await;
        assert!(asked.recv().await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn clients_that_are_gone_keep_no_place_and_those_that_only_send_no_more_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let (_server, mut asked) = served(&path);
        // Their answers take long.
        let mut calls = Vec::new();
        let mut gone = Vec::new();
        for _ in 1..CLIENTS {
            gone.push(client(&path).await);
            calls.push(asked.recv().await.unwrap());
        }
        let mut quiet = UnixStream::connect(&path).await.unwrap();
        quiet
            .write_all(&to_line(&ControlRequest::Status))
            .await
            .unwrap();
        quiet.shutdown().await.unwrap();
        let call = asked.recv().await.unwrap();
        drop(gone);
        let _client = client(&path).await;
        assert!(asked.recv().await.is_some());
        let done = Reply::Done {
            ok: true,
            message: "done".into(),
        };
        call.replies.send(done).await.unwrap();
        drop(call);
        let mut lines = BufReader::new(quiet).lines();
        assert!(lines.next_line().await.unwrap().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_socket_that_was_removed_is_there_again_and_its_path_may_be_long() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(60)).join("e".repeat(60));
        fs::create_dir_all(&deep).unwrap();
        let path = deep.join("control.sock");
        let (_server, mut asked) = served(&path);
        drop(client(&path).await);
        asked.recv().await.unwrap();
        fs::remove_file(&path).unwrap();
        while !path.exists() {
            sleep(LOOK).await;
        }
        let _client = client(&path).await;
        assert!(asked.recv().await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_socket_that_was_replaced_is_ours_again_and_what_is_no_socket_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let (_server, mut asked) = served(&path);
        // Another socket, at which nobody answers.
        fs::remove_file(&path).unwrap();
        drop(UnixListener::bind(&path).unwrap());
        let _client = client(&path).await;
        asked.recv().await.unwrap();
        // A file is not ours to remove.
        fs::remove_file(&path).unwrap();
        crate::files::replace(&path, b"notes").unwrap();
        sleep(3 * LOOK).await;
        assert_eq!(fs::read(&path).unwrap(), b"notes");
        let error = Socket::open(&path).unwrap_err().to_string();
        assert!(
            error.ends_with("control.sock is no socket; remove it"),
            "{error}"
        );
        fs::remove_file(&path).unwrap();
        let _client = client(&path).await;
        assert!(asked.recv().await.is_some());
    }
}
