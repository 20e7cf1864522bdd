//! What the tool asks of a reverse proxy. `nginx` is the one there is.
//!
//! [`render`] and [`inspect`] are pure: the text of our files, and what can be read from an nginx
//! configuration. [`nginx`] writes the files and gets them into effect.

pub mod inspect;
pub mod log_tail;
pub mod nginx;
mod read_back;
pub mod render;
mod version;

pub use read_back::{Listed, close, listed, written};
pub use version::{Features, NginxVersion};

use std::{future::Future, net::SocketAddr, path::PathBuf};

use crate::policy::Balance;
use nginx::NginxAccess;

/// The servers that one service's requests go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// The service, which names the upstream and its file.
    pub service: String,
    /// How requests are spread.
    pub balance: Balance,
    /// The servers, by replica number. Empty: every request is answered with an error at once.
    pub servers: Vec<UpstreamServer>,
}

/// One replica behind the proxy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UpstreamServer {
    /// The replica's number.
    pub number: u32,
    /// The container's name.
    pub name: String,
    /// Where the proxy reaches it.
    pub address: SocketAddr,
    /// Its share of the requests, in parts of [`Balance::FULL`] of the others'.
    pub weight: u8,
}

/// A reverse proxy whose upstreams are ours.
pub trait Proxy: Send + Sync + 'static {
    /// Makes the proxy serve exactly these upstreams, and returns once new requests go to them and
    /// nowhere else. Nothing happens when it does so already. What is not among them is taken away,
    /// so it is always given all of the project.
    ///
    /// Services do not wait for one another: a service whose new file cannot be used is in
    /// [`PublishResult::refused`], the others have what was asked for. Of the refused one the servers
    /// that are no longer wanted are out, where that alone was possible ([`PublishRefusal::removed`]).
    ///
    /// On an error nothing is as asked for, and the files are as they were; with two exceptions. A
    /// proxy that is not running finds the new files when it starts
    /// ([`ProxyError::NotRunning`]), and after [`ProxyError::NotReloaded`] and
    /// [`ProxyError::Unconfirmed`] the new files are kept and the next publish tries again to get them
    /// into effect. So it is after [`ProxyError::Unseen`].
    fn publish(
        &self,
        upstreams: &[Upstream],
    ) -> impl Future<Output = Result<PublishResult, ProxyError>> + Send;

    /// Finds out what a publish has to know first, and touches nothing: the next one need not.
    fn prepare(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Waits, without a bound, until no request is left that came in before `published`.
    fn drained(
        &self,
        published: &PublishResult,
    ) -> impl Future<Output = Result<(), ProxyError>> + Send;

    /// Whether its files send to exactly these servers and no earlier publish was cut short, so that
    /// another one would change nothing that a request could notice. Told without asking the proxy.
    fn is_as_written(&self, _upstreams: &[Upstream]) -> bool {
        false
    }

    /// Whether somebody has been at the files since the last publish, so that another one is due.
    fn disturbed(&self) -> bool {
        false
    }

    /// Its other side, where it is nginx.
    fn nginx(&self) -> Option<&dyn NginxAccess> {
        None
    }
}

/// What a publish did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PublishResult {
    /// The files that were rewritten; empty when there was nothing to do.
    pub changed: Vec<String>,
    /// Whether the proxy was told to reload.
    pub reloaded: bool,
    /// What may still have requests in flight from before; also that of an earlier publish.
    pub draining: DrainToken,
    /// The services whose new servers are not in effect.
    pub refused: Vec<PublishRefusal>,
}

/// What a proxy needs to find the requests of the time before. Only the proxy that gave it reads it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DrainToken(Vec<u32>);

impl DrainToken {
    /// How many processes may still have some.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl PublishResult {
    /// Why this service is not as asked for; `None` when it is.
    pub fn refusal(&self, service: &str) -> Option<&PublishRefusal> {
        self.refused
            .iter()
            .find(|refusal| refusal.service == service)
    }
}

/// A part of a publish that was not possible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishRefusal {
    /// The service, or the file name of what belongs to all of them.
    pub service: String,
    /// Why.
    pub error: ProxyError,
    /// Whether no request goes any more to servers that are not wanted; only the additions are
    /// missing then.
    pub removed: bool,
}

/// Why the proxy does not serve what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// The proxy is not running, or nothing can be run where it is: it may be stopping at this moment.
    #[error("nginx cannot be reached: {why}")]
    NotRunning {
        /// Which.
        why: String,
    },
    /// The proxy cannot be asked.
    #[error("nginx cannot be reached: {why}")]
    Unreachable {
        /// What the attempt said.
        why: String,
    },
    /// A file of ours could not be written.
    #[error("cannot write {}: {why}", path.display())]
    Unwritable {
        /// The file or directory.
        path: PathBuf,
        /// The system's words.
        why: String,
    },
    /// `nginx -t` refused the new files; the old ones are back.
    #[error("nginx refuses its configuration: {message}")]
    Rejected {
        /// nginx's first error with file and line.
        message: String,
    },
    /// The program is not where it is to run.
    #[error("nginx cannot be asked: {why}")]
    NoProgram {
        /// What the attempt said.
        why: String,
    },
    /// The reload could not be done.
    #[error("nginx could not be reloaded: {why}")]
    NotReloaded {
        /// What the attempt said.
        why: String,
    },
    /// The reload was sent, but its effect did not show in time.
    #[error("nginx did not take over the new configuration within {after:?}: {why}")]
    Unconfirmed {
        /// How long it was watched.
        after: std::time::Duration,
        /// What was seen instead.
        why: String,
    },
    /// nginx does not read a file of ours as it is on this host, so no reload gets it into effect.
    #[error("nginx does not read {}: {why}", path.display())]
    Unseen {
        /// The file.
        path: PathBuf,
        /// Why not, and what to type.
        why: String,
    },
    /// A value cannot be written into a config file.
    #[error("{what} cannot be used in an nginx file: {why}")]
    Unusable {
        /// The value.
        what: String,
        /// What is wrong with it.
        why: String,
    },
}
