//! How nginx is reached. Whoever owns the container engine implements it for containers; for this
//! host there is [`HostNginx`](super::HostNginx).

use std::{future::Future, ops::Deref, sync::Arc, time::Duration};

/// One nginx, in a container or on this host. Every call has a deadline of its own.
pub trait Control: Send + Sync + 'static {
    /// What a person calls it.
    fn name(&self) -> String;

    /// A text that is another one when the process may be another program than before: the
    /// container's id and the time of its start, for example.
    fn identity(&self) -> impl Future<Output = Result<String, ControlError>> + Send;

    /// Runs a command where nginx runs, and waits for it.
    fn run(
        &self,
        argv: &[String],
    ) -> impl Future<Output = Result<CommandOutput, ControlError>> + Send;

    /// The same, but hands over its standard output piece by piece as it comes: it may be of any length.
    fn run_streamed(
        &self,
        argv: &[String],
        stdout: &mut (dyn FnMut(&[u8]) + Send),
    ) -> impl Future<Output = Result<CommandOutput, ControlError>> + Send {
        async move {
            let mut output = self.run(argv).await?;
            stdout(std::mem::take(&mut output.stdout).as_bytes());
            Ok(output)
        }
    }

    /// Sends `SIGHUP` to the first process of the container, or to nginx's master on the host.
    fn hup(&self) -> impl Future<Output = Result<(), ControlError>> + Send;

    /// The processes of the container, or those of this nginx on the host.
    fn processes(&self) -> impl Future<Output = Result<Vec<NginxProcess>, ControlError>> + Send;
}

/// Every nginx that reads the same files: one, or the replicas of a service. Their process ids are
/// of one namespace.
pub trait Fleet: Send + Sync + 'static {
    /// How each is reached.
    type One: Control;

    /// Those there are now, always in the same order; none when none runs, `None` when that cannot
    /// be told.
    fn all(&self) -> Option<Vec<Arc<Self::One>>>;
}

/// A fleet of one.
#[derive(Debug)]
pub struct Only<C>(Arc<C>);

impl<C> Only<C> {
    /// Just this one.
    pub fn new(control: C) -> Self {
        Self(Arc::new(control))
    }
}

impl<C> Deref for Only<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.0
    }
}

impl<C: Control> Fleet for Only<C> {
    type One = C;

    fn all(&self) -> Option<Vec<Arc<C>>> {
        Some(vec![Arc::clone(&self.0)])
    }
}

/// What a command printed and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CommandOutput {
    /// Exit code; 126 and 127 mean that it could not be run at all.
    pub code: i64,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NginxProcess {
    /// Its id; in which namespace does not matter as long as it is always the same.
    pub pid: u32,
    /// Its parent's.
    pub ppid: u32,
    /// Its title, as in `nginx: worker process is shutting down`.
    pub args: String,
}

/// Why nginx could not be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// It is certain that it does not run.
    #[error("it is not running")]
    NotRunning,
    /// There was no answer.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// Nothing could be run there, because it stops at this moment, which runtimes word in many ways.
    #[error("{why}")]
    NotRun {
        /// What the attempt said.
        why: String,
    },
    /// There is no such program where it is to run.
    #[error("{why}")]
    NoProgram {
        /// What the attempt said.
        why: String,
    },
    /// Anything else.
    #[error("{why}")]
    Failed {
        /// What the attempt said.
        why: String,
    },
}
