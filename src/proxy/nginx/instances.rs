//! Every nginx that reads the files, at the time of one publish: each is asked, tested, reloaded and
//! confirmed by itself, all at once. One that does not run takes part in nothing: it reads the files
//! when it starts. One that runs and cannot be asked keeps the publish from being a success, but not
//! the others from what they can do.

use std::{collections::BTreeSet, future::Future, sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::time::{sleep, timeout};

use super::{
    CommandOutput, Control, ControlError, NginxSetup, command,
    config_dump::Dump,
    diagnostics::{could_not_run, describe, first_error, last_line, not_run},
    loaded_config::LoadedConfig,
    unreachable_as,
    workers::Workers,
};
use crate::proxy::{Features, NginxVersion, ProxyError};

/// The longest wait for one answer of [`Control`], should it have no deadline of its own.
const CALL: Duration = Duration::from_secs(30);
/// How long the master lets both generations take requests; looking earlier is in vain.
const MASTER_PAUSE: Duration = Duration::from_millis(100);
/// Between two looks at the workers after that, at first and in the long run: each takes as long as
/// the Engine takes to run `ps`, from a machine that is busy enough if it lets nginx wait.
const LOOK: Duration = Duration::from_millis(15);
const LONGEST_LOOK: Duration = Duration::from_millis(100);
/// Looks at an nginx that has no worker yet.
const STARTING_LOOKS: u32 = 30;

/// One nginx that runs.
#[derive(Debug)]
pub(super) struct Instance<C> {
    pub control: Arc<C>,
    pub identity: String,
    pub features: Features,
    /// What it printed of the files, in the last test; `None` when it could not be had.
    pub view: Option<LoadedConfig>,
    /// The workers of before the reload.
    pub before: Workers,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Instances<C> {
    pub members: Vec<Instance<C>>,
    /// Those that run, as far as is known, and did not do what they were asked.
    pub lost: Vec<ProxyError>,
    /// Whether a message has to say which one.
    pub several: bool,
}

/// What one makes of the files.
enum FileVerdict {
    Passed(Option<LoadedConfig>),
    Refused(String),
    Failed(ControlError),
}

impl<C: Control> Instances<C> {
    /// The oldest version that has to understand the files.
    pub(super) fn features(&self) -> Features {
        let all = self.members.iter().map(|member| member.features);
        all.min_by_key(|features| features.version)
            .unwrap_or_default()
    }

    /// An error of one of them, saying of which when there are several.
    pub(super) fn error_of(&self, control: &C, error: &ControlError) -> ProxyError {
        unreachable_as(error, said_of(self.several, control, error))
    }

    /// Tests the files in all of them and looks at their workers meanwhile: a removal should not
    /// wait for that as well. Returns the first refusal. Those that do not run are left out from
    /// then on, and those that cannot be asked are lost.
    pub(super) async fn test(&mut self, setup: &NginxSetup) -> Result<Option<String>, ProxyError> {
        let (verdicts, workers) = tokio::join!(
            self.verdicts(setup),
            join_all(self.members.iter().map(|member| serving(&*member.control)))
        );
        let verdicts = verdicts?;
        let mut refusal = None;
        let mut left_out = Vec::new();
        let members = std::mem::take(&mut self.members);
        for ((mut member, verdict), workers) in members.into_iter().zip(verdicts).zip(workers) {
            let error = match (verdict, workers) {
                (FileVerdict::Passed(view), Ok(workers)) => {
                    member.view = view;
                    member.before = workers;
                    self.members.push(member);
                    continue;
                }
                (FileVerdict::Refused(message), _) => {
                    let message = if self.several {
                        format!("{message} (says {})", member.control.name())
                    } else {
                        message
                    };
                    refusal.get_or_insert(message);
                    self.members.push(member);
                    continue;
                }
                (FileVerdict::Failed(error), _) | (_, Err(error)) => error,
            };
            left_out.push((self.error_of(&member.control, &error), error));
        }
        let nobody = self.members.is_empty();
        for (told, error) in left_out {
            if nobody || error != ControlError::NotRunning {
                self.lost.push(told);
            }
        }
        match self.lost.first() {
            Some(error) if nobody => Err(error.clone()),
            _ => Ok(refusal),
        }
    }

    async fn verdicts(&self, setup: &NginxSetup) -> Result<Vec<FileVerdict>, ProxyError> {
        let looks = join_all(self.members.iter().map(|member| dump(&*member.control)));
        let Some(argv) = &setup.test else {
            let outputs = looks.await.into_iter();
            return Ok(outputs.map(verdict).collect());
        };
        let (tested, outputs) = tokio::join!(command::run(argv, &setup.working_dir), looks);
        let tested = tested.map_err(|error| ProxyError::Unreachable {
            why: format!("`{}`: {error}", argv.join(" ")),
        })?;
        if could_not_run(&tested) {
            return Err(ProxyError::Unreachable {
                why: format!("the test cannot be run: {}", last_line(&tested)),
            });
        }
        let outputs = outputs.into_iter();
        Ok(outputs
            .map(|output| match output {
                _ if tested.code != 0 => FileVerdict::Refused(first_error(&tested)),
                Err(ControlError::NotRunning) => FileVerdict::Failed(ControlError::NotRunning),
                // The user's word counts; what is read may be hidden from us.
                Ok(output) if output.code == 0 => {
                    FileVerdict::Passed(Some(LoadedConfig::parse(&output.stdout)))
                }
                Ok(_) | Err(_) => FileVerdict::Passed(None),
            })
            .collect())
    }

    /// Makes those that are `behind` take over the files and waits until they have. Returns the
    /// identities of those that did; the others are lost.
    pub(super) async fn reload(
        &mut self,
        setup: &NginxSetup,
        behind: &BTreeSet<String>,
    ) -> BTreeSet<String> {
        let own = match &setup.reload {
            Some(argv) => Some(command::run(argv, &setup.working_dir).await),
            None => None,
        };
        let behind = || self.members.iter().filter(|m| behind.contains(&m.identity));
        let done = join_all(behind().map(|member| reload(member, setup, own.as_ref()))).await;
        let mut current = BTreeSet::new();
        let mut lost = Vec::new();
        for (member, done) in behind().zip(done) {
            match done {
                Ok(()) => {
                    current.insert(member.identity.clone());
                }
                // It reads them when it starts; but one alone was asked for a reload in vain.
                Err(NotReloaded::Asked(ControlError::NotRunning)) if self.several => {}
                Err(NotReloaded::Asked(error)) => lost.push(ProxyError::NotReloaded {
                    why: said_of(self.several, &*member.control, &error),
                }),
                Err(NotReloaded::Watched(error)) => lost.push(ProxyError::Unconfirmed {
                    after: setup.confirm_within,
                    why: said_of(self.several, &*member.control, &error),
                }),
            }
        }
        self.lost.extend(lost);
        current
    }
}

fn said_of<C: Control>(several: bool, control: &C, error: &ControlError) -> String {
    if several {
        format!("{}: {error}", control.name())
    } else {
        error.to_string()
    }
}

fn verdict(output: Result<CommandOutput, ControlError>) -> FileVerdict {
    match output {
        Ok(output) if output.code == 0 => {
            FileVerdict::Passed(Some(LoadedConfig::parse(&output.stdout)))
        }
        Ok(output) if could_not_run(&output) => FileVerdict::Failed(not_run("the test", &output)),
        Ok(output) => FileVerdict::Refused(first_error(&output)),
        Err(error) => FileVerdict::Failed(error),
    }
}

/// Tests the configuration and prints it, without what [`Dump`] leaves out.
pub(super) async fn dump<C: Control>(control: &C) -> Result<CommandOutput, ControlError> {
    let mut dump = Dump::default();
    let argv = argv(["nginx", "-T"]);
    let mut take = |piece: &[u8]| dump.push(piece);
    let mut output = bounded(control.run_streamed(&argv, &mut take)).await?;
    output.stdout = dump.text()?;
    Ok(output)
}

/// What it is by its own word.
pub(super) async fn features<C: Control>(control: &C) -> Result<Features, ControlError> {
    let output = bounded(control.run(&argv(["nginx", "-v"]))).await?;
    if could_not_run(&output) {
        return Err(not_run("`nginx -v`", &output));
    }
    let said = output.stderr + "\n" + &output.stdout;
    Ok(NginxVersion::parse(&said).map_or_else(Features::default, Features::of))
}

pub(super) async fn workers<C: Control>(control: &C) -> Result<Workers, ControlError> {
    let processes = bounded(control.processes()).await?;
    Ok(Workers::of(&processes))
}

/// The workers, once there are any: those of an nginx that is just starting would pass for new
/// ones after a reload that has not happened yet.
async fn serving<C: Control>(control: &C) -> Result<Workers, ControlError> {
    for _ in 0..STARTING_LOOKS {
        let workers = workers(control).await?;
        if !workers.active.is_empty() {
            return Ok(workers);
        }
        sleep(LOOK).await;
    }
    workers(control).await
}

/// How a reload failed.
enum NotReloaded {
    /// It was not done.
    Asked(ControlError),
    /// It was, and had no effect that shows.
    Watched(ControlError),
}

async fn reload<C: Control>(
    member: &Instance<C>,
    setup: &NginxSetup,
    own: Option<&Result<CommandOutput, ControlError>>,
) -> Result<(), NotReloaded> {
    let failed = |why| ControlError::Failed { why };
    let control = &*member.control;
    let sent = match own {
        Some(sent) => sent.clone().map(Some),
        // Elsewhere the first process is a script or an init that may not pass it on.
        None if member.before.master_is_first => bounded(control.hup()).await.map(|()| None),
        None => bounded(control.run(&argv(["nginx", "-s", "reload"])))
            .await
            .map(Some),
    };
    match sent {
        Ok(Some(output)) if output.code != 0 => {
            return Err(NotReloaded::Asked(failed(first_error(&output))));
        }
        Ok(_) => {}
        // Of a command of the user's own it says nothing about nginx.
        Err(error) if own.is_some() => {
            return Err(NotReloaded::Asked(failed(error.to_string())));
        }
        Err(error) => return Err(NotReloaded::Asked(error)),
    }
    let old = member.before.all();
    let mut seen = String::from("its workers were not seen");
    let watch = async {
        sleep(MASTER_PAUSE).await;
        let mut pause = LOOK;
        loop {
            match workers(control).await {
                Ok(workers) if workers.have_taken_over_from(&old) => return Ok(()),
                Ok(workers) => seen = describe(&workers, &old),
                Err(error) => seen = error.to_string(),
            }
            sleep(pause).await;
            pause = LONGEST_LOOK.min(pause * 3 / 2);
        }
    };
    let shown = timeout(setup.confirm_within, watch).await;
    shown.unwrap_or(Err(NotReloaded::Watched(failed(seen))))
}

/// Waits for an answer, but not for ever.
pub(super) async fn bounded<T>(
    call: impl Future<Output = Result<T, ControlError>> + Send,
) -> Result<T, ControlError> {
    // Boxed because there are several in a publish, and each may be large.
    timeout(CALL, Box::pin(call))
        .await
        .unwrap_or(Err(ControlError::Timeout(CALL)))
}

fn argv<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}
