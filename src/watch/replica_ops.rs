//! Carrying out one step on the engine.

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use crate::{
    engine::{Engine, EngineError, Exec, NewReplica},
    project::{ContainerId, LifecycleHook, Replica},
};

/// Grace that compose gives a service without `stop_grace_period`.
const DEFAULT_GRACE: Duration = Duration::from_secs(10);
/// On top of the grace period, for the engine itself.
const STOP_MARGIN: Duration = Duration::from_secs(30);
const HOOK_DEADLINE: Duration = Duration::from_secs(60);

/// How many containers are started at once. A start is bound by the CPU time of the engine's own
/// helper processes; four measured fastest on two cores, see docs/benchmarks.md.
pub const STARTS_AT_ONCE: u32 = 4;

/// Bounds how many containers are started at once, and how many are made ahead of their start: as many
/// again, so that none of those that start has to wait for the next one to be made, and little is left to
/// start later by a run that is killed.
#[derive(Debug)]
pub(super) struct Starts {
    pub(super) permits: Semaphore,
    ahead: Semaphore,
    at_once: u32,
}

impl Starts {
    pub(super) fn new(at_once: u32) -> Self {
        Self {
            permits: Semaphore::new(at_once as usize),
            ahead: Semaphore::new(2 * at_once as usize),
            at_once,
        }
    }
}

/// What making a replica takes besides the container it is made like.
#[derive(Debug, Clone)]
pub(super) struct CreateContext {
    pub(super) new: NewReplica,
    pub(super) like: ContainerId,
    pub(super) alone: bool,
    pub(super) post_start: Vec<LifecycleHook>,
}

/// Why a replica was not made.
#[derive(Debug)]
pub(super) enum NotMade {
    /// Somebody else took its name, or took it away before it ran: look again and take the next number.
    Taken,
    /// Anything else.
    Failed(String),
}

/// Makes a replica and starts it; leaves nothing behind when it cannot.
pub(super) async fn create<E: Engine>(
    engine: &E,
    starts: &Starts,
    making: CreateContext,
) -> Result<Replica, NotMade> {
    let failed = |error: EngineError| NotMade::Failed(error.to_string());
    let closed = |_| "shutting down".to_owned();
    let _place = starts
        .ahead
        .acquire()
        .await
        .map_err(|error| NotMade::Failed(closed(error)))?;
    let id = match engine.clone_replica(&making.like, &making.new).await {
        Ok(id) => id,
        Err(EngineError::Conflict { .. }) => return Err(NotMade::Taken),
        Err(error) => return Err(failed(error)),
    };
    let permits = if making.alone { starts.at_once } else { 1 };
    let started = match starts.permits.acquire_many(permits).await {
        Ok(_permit) => start(engine, &id, &making.post_start).await,
        Err(error) => Err(closed(error)),
    };
    match started {
        Ok(replica) => Ok(replica),
        Err(why) => {
            // Whoever removed it meant that, and its app has not failed.
            if let Err(EngineError::NotFound { .. }) = engine.inspect(&id.0).await {
                return Err(NotMade::Taken);
            }
            let _ = engine.remove(&id).await;
            Err(NotMade::Failed(why))
        }
    }
}

/// Starts a container and runs its `post_start` hooks.
pub(super) async fn start<E: Engine>(
    engine: &E,
    id: &ContainerId,
    post_start: &[LifecycleHook],
) -> Result<Replica, String> {
    engine.start(id).await.map_err(|error| error.to_string())?;
    for hook in post_start {
        run(engine, id, hook, "post_start").await?;
    }
    engine
        .inspect(&id.0)
        .await
        .map_err(|error| error.to_string())
}

/// Runs the `pre_stop` hooks, stops the container in its own way, and removes it. A hook that fails
/// does not keep it alive; what went wrong is returned beside the outcome.
pub(super) async fn retire<E: Engine>(
    engine: Arc<E>,
    replica: Replica,
    pre_stop: Vec<LifecycleHook>,
) -> (Result<(), String>, Vec<String>) {
    let mut troubles = Vec::new();
    for hook in &pre_stop {
        if let Err(why) = run(&*engine, &replica.id, hook, "pre_stop").await {
            troubles.push(why);
        }
    }
    let grace = replica
        .stop_timeout
        .map_or(DEFAULT_GRACE, Duration::from_secs);
    let outcome = match engine.stop(&replica.id, grace + STOP_MARGIN).await {
        // A stop that failed is followed by a removal that kills.
        Ok(()) | Err(EngineError::TimedOut { .. } | EngineError::Refused { .. }) => {
            engine.remove(&replica.id).await
        }
        Err(error) => Err(error),
    };
    (outcome.map_err(|error| error.to_string()), troubles)
}

async fn run<E: Engine>(
    engine: &E,
    id: &ContainerId,
    hook: &LifecycleHook,
    kind: &str,
) -> Result<(), String> {
    let exec = Exec {
        argv: hook.command.clone(),
        user: hook.user.clone(),
        env: hook.environment.clone(),
        working_dir: hook.working_dir.clone(),
        privileged: hook.privileged,
        deadline: Some(HOOK_DEADLINE),
        ..Exec::default()
    };
    // The other words may hold what is nobody's business.
    let command = hook.command.first().map_or("", String::as_str);
    match engine.exec(id, &exec).await {
        Ok(output) if output.code == 0 => Ok(()),
        Ok(output) => Err(format!(
            "{kind} hook `{command}` ended with code {}: {}",
            output.code,
            output.stderr.trim()
        )),
        Err(error) => Err(format!("{kind} hook `{command}`: {error}")),
    }
}
