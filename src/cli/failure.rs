//! How a command fails: the message, the hint and the exit code.

use crate::{
    compose::{LoadError, RunningError},
    engine::EngineError,
    plan::Blocker,
    state::StateError,
    watch::RunOutcome,
};

/// Exit codes, as documented.
pub mod code {
    /// The work failed.
    pub const FAILED: u8 = 1;
    /// The command line makes no sense.
    pub const USAGE: u8 = 2;
    /// The Engine cannot be reached.
    pub const ENGINE: u8 = 69;
    /// Another watcher holds the project.
    pub const HELD: u8 = 75;
    /// The compose file or its policy is wrong.
    pub const CONFIG: u8 = 78;
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The compose file cannot be used.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The compose files of a running project cannot be had.
    #[error(transparent)]
    Running(#[from] RunningError),
    /// The project is there, but not what the command needs.
    #[error("{0}")]
    Config(String),
    /// The engine said no.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The engine went away.
    #[error("{0}")]
    EngineAway(String),
    /// The state directory cannot be used, or another process holds it.
    #[error(transparent)]
    State(#[from] StateError),
    /// The command line makes no sense.
    #[error("{0}")]
    Usage(String),
    /// A service cannot be scaled.
    #[error("{}", lines(.0))]
    Refused(Vec<Blocker>),
    /// The work failed.
    #[error("{}", .0.join("\n"))]
    Work(Vec<String>),
    /// Something that has been said already.
    #[error("")]
    Said,
    /// Output could not be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] std::io::Error),
}

fn lines(refusals: &[Blocker]) -> String {
    let lines: Vec<_> = refusals.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

impl Failure {
    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            Self::Load(_) | Self::Running(_) | Self::Config(_) => code::CONFIG,
            Self::Engine(error) if error.is_outage() || error.is_silence() => code::ENGINE,
            Self::EngineAway(_) => code::ENGINE,
            Self::State(StateError::Held { .. }) => code::HELD,
            Self::Usage(_) => code::USAGE,
            Self::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe => 0,
            Self::Engine(_)
            | Self::State(_)
            | Self::Refused(_)
            | Self::Work(_)
            | Self::Said
            | Self::Output(_) => code::FAILED,
        }
    }

    /// What to do about it, where that is not in the message.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Engine(EngineError::Forbidden { group, .. }) => Some(match group {
                Some(group) => format!(
                    "add yourself to the group that owns the socket and log in again: sudo usermod -aG {group} $USER"
                ),
                None => "run it as root, or as a user who may use the socket".into(),
            }),
            Self::Engine(EngineError::Unreachable { .. }) | Self::EngineAway(_) => Some(
                "is Docker running? `sudo systemctl start docker`, or set DOCKER_HOST".into(),
            ),
            Self::Engine(EngineError::UnexpectedResponse { .. }) => {
                Some("does DOCKER_HOST point to a Docker Engine?".into())
            }
            Self::Engine(error) if error.is_silence() => Some(
                "it accepts connections but does not answer: `sudo journalctl -u docker`, then `sudo systemctl restart docker`"
                    .into(),
            ),
            Self::State(StateError::Io { .. }) => Some(
                "set COMPOSE_SCALE_STATE to a directory that this user may write to, the same for every command"
                    .into(),
            ),
            Self::State(StateError::Held {
                elsewhere: true, ..
            }) => Some(
                "it has another state directory: run commands as its user, or with the same COMPOSE_SCALE_STATE, or end that process"
                    .into(),
            ),
            Self::State(StateError::Held { .. }) => Some(
                "a project has one `watch`; talk to the running one with `compose-scale ps` or `compose-scale scale`"
                    .into(),
            ),
            Self::Load(error) if error.is_not_found() => Some(
                "go to the project's directory, name its file with -f, or name a project that runs with -p"
                    .into(),
            ),
            _ => None,
        }
    }
}

/// What went wrong on the way to a running `watch`.
pub(super) fn unheard(error: &std::io::Error) -> Failure {
    Failure::Work(vec![format!("cannot talk to the running `watch`: {error}")])
}

/// Turns the end of a run into the end of a command.
pub(super) fn outcome(outcome: RunOutcome) -> Result<(), Failure> {
    match outcome {
        RunOutcome::Done => Ok(()),
        RunOutcome::Failed(why) => Err(Failure::Work(why)),
        RunOutcome::EngineAway(why) => Err(Failure::EngineAway(why)),
        RunOutcome::Ousted(by) => Err(by.into()),
        RunOutcome::Interrupted => {
            tracing::warn!(
                "interrupted: unfinished steps stay as they are; `compose-scale sync` brings nginx in step with them"
            );
            Ok(())
        }
    }
}
