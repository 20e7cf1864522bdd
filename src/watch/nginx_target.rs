//! Reaching nginx for the proxy adapter: in containers through the engine, or on this host.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::sync::watch;

use crate::{
    engine::{Engine, EngineError, Exec, ExecOutput},
    project::{ContainerState, MountPoint, Replica},
    proxy::nginx::{CommandOutput, Control, ControlError, Fleet, HostNginx, NginxProcess},
    units::Timestamp,
};

/// A container that nginx runs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NginxTarget {
    /// Its id.
    pub id: crate::project::ContainerId,
    /// Its name.
    pub name: String,
    /// Its number among the replicas of its service.
    pub number: u32,
    /// Its last start: another start is another nginx.
    pub started: Option<Timestamp>,
    /// Networks it has an address on.
    pub networks: BTreeSet<String>,
    /// What of the host it sees.
    pub mounts: Vec<MountPoint>,
    /// The service that it belongs to, of whatever project; empty for none.
    pub service: String,
}

impl NginxTarget {
    /// From an observation of a container that has processes: one that is paused will go on
    /// sending requests some day. `None` for any other.
    pub fn of(replica: &Replica) -> Option<Self> {
        matches!(
            replica.state,
            ContainerState::Running | ContainerState::Paused
        )
        .then(|| Self {
            id: replica.id.clone(),
            name: replica.name.clone(),
            number: replica.number,
            started: replica.started,
            networks: replica.addresses.keys().cloned().collect(),
            mounts: replica.mounts.clone(),
            service: replica.service.clone(),
        })
    }

    /// A text that is another one after another start.
    fn identity(&self) -> String {
        let started = self.started.map_or(String::new(), |s| s.to_string());
        format!("{} {started}", self.id.0)
    }
}

/// Where nginx is at the moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum NginxLocation {
    /// That cannot be told: the engine has not been asked yet, or is away.
    #[default]
    Unknown,
    /// On this host.
    Host,
    /// In these containers, by number and name; none when none runs.
    Containers(Vec<NginxTarget>),
}

impl NginxLocation {
    /// These containers.
    pub fn containers(targets: impl IntoIterator<Item = NginxTarget>) -> Self {
        let mut targets: Vec<_> = targets.into_iter().collect();
        targets.sort_by(|a, b| (a.number, &a.name).cmp(&(b.number, &b.name)));
        Self::Containers(targets)
    }

    /// The same with a fresh look at one of the containers, or at one more.
    #[must_use]
    pub fn with(&self, replica: &Replica) -> Self {
        let others = match self {
            Self::Containers(targets) => targets.as_slice(),
            Self::Unknown | Self::Host => &[],
        };
        let others = others.iter().filter(|target| target.name != replica.name);
        Self::containers(others.cloned().chain(NginxTarget::of(replica)))
    }

    /// The networks on which all of them are, so that one list of addresses suits them all.
    pub fn networks(&self) -> BTreeSet<String> {
        let Self::Containers(targets) = self else {
            return BTreeSet::new();
        };
        let all = targets.iter().map(|target| target.networks.clone());
        all.reduce(|a, b| a.intersection(&b).cloned().collect())
            .unwrap_or_default()
    }

    /// A text that is another one where these may be other programs, or see other files: the ids of
    /// the containers and their starts. `None` where that cannot be told, as on this host.
    pub fn identity(&self) -> Option<String> {
        let Self::Containers(targets) = self else {
            return None;
        };
        let each = targets.iter().map(NginxTarget::identity);
        (!targets.is_empty()).then(|| each.collect::<Vec<_>>().join(", "))
    }

    /// Whether there is exactly one.
    pub fn is_one(&self) -> bool {
        match self {
            Self::Unknown => false,
            Self::Host => true,
            Self::Containers(targets) => targets.len() == 1,
        }
    }

    /// For people; `None` when there is none.
    pub fn names(&self) -> Option<String> {
        match self {
            Self::Unknown => None,
            Self::Host => Some("this host".into()),
            Self::Containers(targets) => {
                let names: Vec<_> = targets.iter().map(|target| target.name.as_str()).collect();
                (!names.is_empty()).then(|| names.join(", "))
            }
        }
    }
}

/// A container that has run for as long as this does not crash at its start; the Engine goes by the
/// same when it lets more and more time pass between two starts.
const STEADY: Duration = Duration::from_secs(10);

/// The containers of nginx that the Engine starts again and again, with their last exit codes. Between
/// two crashes such a container runs for a moment, and whatever comes of asking it then is chance.
#[derive(Debug, Default)]
pub(super) struct CrashLoops(BTreeMap<String, Option<i64>>);

impl CrashLoops {
    /// Takes a look at one container.
    pub(super) fn see(&mut self, replica: &Replica, now: Timestamp) {
        let name = &replica.name;
        match replica.state {
            ContainerState::Restarting => {
                self.0.insert(name.clone(), replica.exit_code);
            }
            ContainerState::Running if replica.started.is_some_and(|at| now.since(at) < STEADY) => {
            }
            _ => {
                self.0.remove(name);
            }
        }
    }

    /// Only these are there.
    pub(super) fn keep(&mut self, is_there: impl Fn(&str) -> bool) {
        self.0.retain(|name, _| is_there(name));
    }

    /// What is wrong, where no nginx runs but those that crash.
    pub(super) fn why(&self, whereabouts: &NginxLocation) -> Option<String> {
        let NginxLocation::Containers(targets) = whereabouts else {
            return None;
        };
        let (name, code) = self.0.first_key_value()?;
        let crashes = |target: &NginxTarget| self.0.contains_key(&target.name);
        targets.iter().all(crashes).then(|| crash(name, *code))
    }
}

/// Of an nginx that the Engine starts again and again.
pub fn crash(name: &str, exit_code: Option<i64>) -> String {
    let code = exit_code.map_or_else(String::new, |code| format!(", exit code {code}"));
    format!(
        "nginx keeps crashing ({name} is restarting{code}); look at `docker logs --tail 20 {name}`"
    )
}

/// Every nginx that the driver knows of.
#[derive(Debug)]
pub struct NginxFleet<E> {
    engine: Arc<E>,
    host: HostNginx,
    whereabouts: watch::Receiver<NginxLocation>,
}

impl<E: Engine> NginxFleet<E> {
    /// Follows `whereabouts`; `host` is the one of this host.
    pub fn new(
        engine: Arc<E>,
        host: HostNginx,
        whereabouts: watch::Receiver<NginxLocation>,
    ) -> Self {
        Self {
            engine,
            host,
            whereabouts,
        }
    }
}

impl<E: Engine> Fleet for NginxFleet<E> {
    type One = AnyNginx<E>;

    fn all(&self) -> Option<Vec<Arc<AnyNginx<E>>>> {
        match &*self.whereabouts.borrow() {
            NginxLocation::Unknown => None,
            NginxLocation::Host => Some(vec![Arc::new(AnyNginx::Host(self.host.clone()))]),
            NginxLocation::Containers(targets) => Some(
                targets
                    .iter()
                    .map(|target| {
                        Arc::new(AnyNginx::Container {
                            engine: Arc::clone(&self.engine),
                            target: target.clone(),
                        })
                    })
                    .collect(),
            ),
        }
    }
}

/// One nginx, wherever it is.
#[derive(Debug)]
pub enum AnyNginx<E> {
    /// Reached through the engine.
    Container {
        /// The engine.
        engine: Arc<E>,
        /// The container.
        target: NginxTarget,
    },
    /// A program of this host.
    Host(HostNginx),
}

impl<E: Engine> Control for AnyNginx<E> {
    fn name(&self) -> String {
        match self {
            Self::Container { target, .. } => target.name.clone(),
            Self::Host(host) => host.name(),
        }
    }

    async fn identity(&self) -> Result<String, ControlError> {
        match self {
            Self::Container { target, .. } => Ok(target.identity()),
            Self::Host(host) => host.identity().await,
        }
    }

    async fn run(&self, argv: &[String]) -> Result<CommandOutput, ControlError> {
        match self {
            Self::Container { engine, target } => {
                let done = engine.exec(&target.id, &command(argv)).await;
                done.map(output).map_err(|error| failed(error, target))
            }
            Self::Host(host) => host.run(argv).await,
        }
    }

    async fn run_streamed(
        &self,
        argv: &[String],
        stdout: &mut (dyn FnMut(&[u8]) + Send),
    ) -> Result<CommandOutput, ControlError> {
        match self {
            Self::Container { engine, target } => {
                let exec = command(argv);
                let done = engine.exec_streamed(&target.id, &exec, stdout).await;
                done.map(output).map_err(|error| failed(error, target))
            }
            Self::Host(host) => host.run_streamed(argv, stdout).await,
        }
    }

    async fn hup(&self) -> Result<(), ControlError> {
        match self {
            Self::Container { engine, target } => {
                let sent = engine.signal(&target.id, "HUP").await;
                sent.map_err(|error| failed(error, target))
            }
            Self::Host(host) => host.hup().await,
        }
    }

    async fn processes(&self) -> Result<Vec<NginxProcess>, ControlError> {
        let (engine, target) = match self {
            Self::Container { engine, target } => (engine, target),
            Self::Host(host) => return host.processes().await,
        };
        let listed = engine.processes(&target.id).await;
        Ok(listed
            .map_err(|error| failed(error, target))?
            .into_iter()
            .map(|process| NginxProcess {
                pid: process.pid,
                ppid: process.ppid,
                args: process.args,
            })
            .collect())
    }
}

fn command(argv: &[String]) -> Exec {
    Exec {
        argv: argv.to_vec(),
        ..Exec::default()
    }
}

fn output(output: ExecOutput) -> CommandOutput {
    CommandOutput {
        code: output.code,
        stdout: output.stdout,
        stderr: output.stderr,
    }
}

fn failed(error: EngineError, target: &NginxTarget) -> ControlError {
    match error {
        // Its workers are there and go on where they were once it goes on.
        EngineError::Conflict { message } if message.contains("is paused") => {
            ControlError::Failed {
                why: format!("it is paused; `docker unpause {}`", target.name),
            }
        }
        // A container that is gone or not running is not an nginx.
        EngineError::NotFound { .. } | EngineError::Conflict { .. } => ControlError::NotRunning,
        EngineError::TimedOut { after, .. } => ControlError::Timeout(after),
        error => ControlError::Failed {
            why: error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::replica;

    #[test]
    fn a_fresh_look_replaces_adds_and_takes_away() {
        let one = NginxLocation::default().with(&replica(2));
        let both = one.with(&replica(1));
        assert_eq!(both.names().as_deref(), Some("shop-web-1, shop-web-2"));
        assert_eq!(both.with(&replica(1)), both);
        let mut stopped = replica(2);
        stopped.state = ContainerState::Exited;
        assert_eq!(both.with(&stopped).names().as_deref(), Some("shop-web-1"));
        // Its workers are still there.
        stopped.state = ContainerState::Paused;
        assert_eq!(both.with(&stopped).names(), both.names());
        let mut first = replica(1);
        first.state = ContainerState::Exited;
        let none = both.with(&first);
        stopped.state = ContainerState::Exited;
        assert_eq!(none.with(&stopped), NginxLocation::Containers(Vec::new()));
    }

    #[test]
    fn an_nginx_that_keeps_crashing_is_one_until_it_has_run_for_a_while() {
        let at = |seconds: i64| Timestamp::from_unix(1000 + seconds);
        let mut crashes = CrashLoops::default();
        let none = NginxLocation::Containers(Vec::new());
        assert_eq!(crashes.why(&none), None);

        let mut nginx = replica(1);
        nginx.state = ContainerState::Restarting;
        nginx.exit_code = Some(1);
        crashes.see(&nginx, at(0));
        let why = "nginx keeps crashing (shop-web-1 is restarting, exit code 1); look at `docker \
                   logs --tail 20 shop-web-1`";
        assert_eq!(crashes.why(&none).as_deref(), Some(why));

        // A moment in which it runs makes no difference, but another one that runs does.
        nginx.state = ContainerState::Running;
        nginx.started = Some(at(1));
        crashes.see(&nginx, at(2));
        let it = NginxLocation::containers(NginxTarget::of(&nginx));
        assert_eq!(crashes.why(&it).as_deref(), Some(why));
        let both = it.with(&replica(2));
        assert_eq!(crashes.why(&both), None);
        assert_eq!(crashes.why(&NginxLocation::Unknown), None);

        crashes.see(&nginx, at(11));
        assert_eq!(crashes.why(&it), None);

        // One that was stopped, or is gone, crashes no more.
        for after in [ContainerState::Exited, ContainerState::Paused] {
            nginx.state = ContainerState::Restarting;
            crashes.see(&nginx, at(20));
            nginx.state = after;
            crashes.see(&nginx, at(21));
            assert_eq!(crashes.why(&none), None);
        }
        nginx.state = ContainerState::Restarting;
        crashes.see(&nginx, at(30));
        crashes.keep(|name| name != "shop-web-1");
        assert_eq!(crashes.why(&none), None);
    }

    #[test]
    fn only_a_network_that_all_of_them_are_on_is_shared() {
        let on = |number, networks: &[&str]| NginxTarget {
            networks: networks.iter().map(|n| (*n).to_owned()).collect(),
            ..NginxTarget::of(&replica(number)).unwrap()
        };
        let both = NginxLocation::containers([on(2, &["front", "back"]), on(1, &["back"])]);
        assert_eq!(both.networks().into_iter().collect::<Vec<_>>(), ["back"]);
        assert!(NginxLocation::Host.networks().is_empty());
    }
}
