//! nginx behind the trait: files are written, tested, put into effect, and seen to be in effect.
//!
//! The order of a publish is: note what was good, write what differs, `nginx -t`, on a refusal put
//! back what it is about, hang up the master, and watch its workers until a new one is there and no
//! old one takes requests. A hangup itself always succeeds, whatever nginx makes of it.

use std::{
    future::Future,
    path::PathBuf,
    sync::{Arc, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Mutex,
    time::{sleep, timeout},
};

mod command;
mod control;
mod draft;
mod said;
mod shelf;
mod workers;

pub use control::{Control, ControlError, Output, Process};

use super::{Features, NginxVersion, Proxy, ProxyError, Published, Upstream};
use draft::Draft;
use said::{could_not_run, describe, first_error, last_line};
use shelf::{Contents, Shelf};
use workers::Workers;

/// The longest wait for one answer of [`Control`], should it have no deadline of its own.
const CALL: Duration = Duration::from_secs(30);
/// How long the master lets both generations take requests; looking earlier is in vain.
const MASTER_PAUSE: Duration = Duration::from_millis(100);
/// Between two looks at the workers after that.
const LOOK: Duration = Duration::from_millis(15);
/// Looks at an nginx that has no worker yet.
const STARTING_LOOKS: u32 = 30;
/// Between two looks at workers that have requests in flight, at first and in the long run.
const DRAIN_LOOK: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(250));
/// Looks in a row that may fail before a drain is given up.
const DRAIN_FAILURES: u32 = 5;

/// What it has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// The project, which the files name as their owner.
    pub project: String,
    /// The directory of the files on this host; absolute.
    pub directory: PathBuf,
    /// Where the two commands run; absolute.
    pub working_dir: PathBuf,
    /// A command on this host instead of `nginx -t` in the container.
    pub test: Option<Vec<String>>,
    /// A command on this host instead of the hangup.
    pub reload: Option<Vec<String>>,
    /// How long a reload may take to show.
    pub confirm_within: Duration,
}

impl Setup {
    /// With the built-in test and reload.
    pub fn new(project: impl Into<String>, directory: impl Into<PathBuf>) -> Self {
        let directory = directory.into();
        Self {
            project: project.into(),
            working_dir: directory.clone(),
            directory,
            test: None,
            reload: None,
            confirm_within: Duration::from_secs(10),
        }
    }
}

/// An nginx whose upstreams are ours.
#[derive(Debug)]
pub struct Nginx<C> {
    control: C,
    setup: Setup,
    /// One publish at a time; and the version that was probed last, with the identity it is of.
    probed: Mutex<Option<(String, Features)>>,
    /// One look at the files at a time: the file work of a publish that was given up goes on for a
    /// moment, and the next one must see what it leaves.
    shelf: Arc<std::sync::Mutex<Shelf>>,
}

impl<C: Control> Proxy for Nginx<C> {
    async fn publish(&self, upstreams: &[Upstream]) -> Result<Published, ProxyError> {
        let mut probed = self.probed.lock().await;
        let (features, running) = match self.probe(&mut probed).await {
            Ok(features) => (features, true),
            // The features of the last time may not be those of the next; the oldest always fit.
            Err(ControlError::NotRunning) => (Features::default(), false),
            Err(error) => return Err(unreachable(&error)),
        };
        let there = self.on_shelf(Shelf::read).await?;
        let setup = &self.setup;
        let mut draft = Draft::new(
            &setup.project,
            upstreams,
            &features,
            &there,
            &setup.directory,
        )?;
        if !running {
            return Err(self.leave_for_later(&draft, there).await);
        }
        let before = if draft.changed_from(&there.ours).is_empty() && !there.unfinished {
            None
        } else {
            self.accept(&mut draft, &there).await?
        };
        let old_workers = match &before {
            Some(before) => {
                self.reload(before).await?;
                self.on_shelf(Shelf::in_effect).await?;
                before.all()
            }
            None => self.workers().await?.leaving,
        };
        let changed = draft.changed_from(&there.ours);
        Ok(Published {
            refused: draft.refusals(&changed)?,
            changed,
            reloaded: before.is_some(),
            old_workers: old_workers.into_iter().collect(),
        })
    }

    async fn drained(&self, published: &Published) -> Result<(), ProxyError> {
        let (mut pause, longest) = DRAIN_LOOK;
        let mut failures = 0;
        while !published.old_workers.is_empty() {
            match self.processes().await {
                Ok(workers) if workers.left_of(&published.old_workers) == 0 => break,
                // What has ended has nothing in flight.
                Err(ControlError::NotRunning) => break,
                Ok(_) => failures = 0,
                Err(error) => {
                    failures += 1;
                    if failures == DRAIN_FAILURES {
                        return Err(unreachable(&error));
                    }
                }
            }
            sleep(pause).await;
            pause = longest.min(pause * 5 / 4);
        }
        Ok(())
    }
}

impl<C: Control> Nginx<C> {
    /// An nginx reached by `control`.
    pub fn new(control: C, setup: Setup) -> Self {
        let shelf = Shelf::new(setup.directory.clone(), setup.project.clone());
        Self {
            control,
            setup,
            probed: Mutex::new(None),
            shelf: Arc::new(std::sync::Mutex::new(shelf)),
        }
    }

    /// How it is reached.
    pub fn control(&self) -> &C {
        &self.control
    }

    /// What the nginx that runs now can do.
    pub async fn features(&self) -> Result<Features, ProxyError> {
        let mut probed = self.probed.lock().await;
        self.probe(&mut probed).await.map_err(|e| unreachable(&e))
    }

    /// Its whole configuration, for [`Configuration::parse`](super::inspect::Configuration::parse).
    /// One that it refuses is [`ProxyError::Rejected`].
    pub async fn dump(&self) -> Result<String, ProxyError> {
        let output = bounded(self.control.run(&argv(["nginx", "-T"])))
            .await
            .map_err(|error| unreachable(&error))?;
        match output.code {
            0 => Ok(output.stdout),
            126 | 127 => Err(ProxyError::Unreachable {
                why: format!("`nginx -T` cannot be run there: {}", last_line(&output)),
            }),
            _ => Err(ProxyError::Rejected {
                message: first_error(&output),
            }),
        }
    }

    async fn probe(
        &self,
        probed: &mut Option<(String, Features)>,
    ) -> Result<Features, ControlError> {
        let identity = bounded(self.control.identity()).await?;
        if let Some((of, features)) = probed
            && *of == identity
        {
            return Ok(*features);
        }
        let output = bounded(self.control.run(&argv(["nginx", "-v"]))).await?;
        if could_not_run(&output) {
            return Err(ControlError::Failed {
                why: format!("`nginx -v` cannot be run there: {}", last_line(&output)),
            });
        }
        let said = output.stderr + "\n" + &output.stdout;
        let features = NginxVersion::parse(&said).map_or_else(Features::default, Features::of);
        *probed = Some((identity, features));
        Ok(features)
    }

    /// Writes the files and gets them past nginx's test, without those that it refuses. Returns the
    /// workers of before when a reload is needed.
    async fn accept(
        &self,
        draft: &mut Draft,
        there: &Contents,
    ) -> Result<Option<Workers>, ProxyError> {
        loop {
            let (texts, good) = (draft.texts(), there.good.clone());
            self.on_shelf(move |shelf| shelf.write(&texts, &good))
                .await?;
            // The workers are looked at meanwhile: a removal should not wait for that as well.
            let (verdict, workers) = tokio::join!(self.test(), self.serving());
            let needed = there.unfinished || !draft.changed_from(&there.ours).is_empty();
            let result = match (verdict, workers) {
                (Ok(None), Ok(workers)) if needed => {
                    self.on_shelf(Shelf::accepted).await?;
                    return Ok(Some(workers));
                }
                (Ok(Some(message)), _) if draft.hold_back(&message) => continue,
                (Ok(Some(message)), _) => Err(ProxyError::Rejected {
                    message: format!("{message} (also without this change)"),
                }),
                (Err(error), _) | (_, Err(error)) => Err(error),
                (Ok(None), Ok(_)) => Ok(None),
            };
            let (texts, good) = (draft.texts(), there.good.clone());
            self.on_shelf(move |shelf| shelf.roll_back(&texts, &good))
                .await?;
            return result;
        }
    }

    /// nginx is not there: it shall find the right addresses when it starts, because those of
    /// before may belong to somebody else by then.
    async fn leave_for_later(&self, draft: &Draft, there: Contents) -> ProxyError {
        if !draft.changed_from(&there.ours).is_empty() {
            let texts = draft.texts();
            let written = self
                .on_shelf(move |shelf| shelf.write(&texts, &there.good))
                .await;
            if let Err(error) = written {
                return error;
            }
        }
        unreachable(&ControlError::NotRunning)
    }

    /// The first error of the configuration; `None` when there is none.
    async fn test(&self) -> Result<Option<String>, ProxyError> {
        let output = match &self.setup.test {
            Some(argv) => command::run(argv, &self.setup.working_dir).await,
            None => bounded(self.control.run(&argv(["nginx", "-t"]))).await,
        }
        .map_err(|error| unreachable(&error))?;
        if could_not_run(&output) {
            let why = format!("the test cannot be run: {}", last_line(&output));
            return Err(ProxyError::Unreachable { why });
        }
        Ok((output.code != 0).then(|| first_error(&output)))
    }

    /// Makes nginx take over its files and waits until it has.
    async fn reload(&self, before: &Workers) -> Result<(), ProxyError> {
        let unconfirmed = |why| ProxyError::Unconfirmed {
            after: self.setup.confirm_within,
            why,
        };
        let sent = match &self.setup.reload {
            Some(argv) => command::run(argv, &self.setup.working_dir).await.map(Some),
            // Elsewhere the first process is a script or an init that may not pass it on.
            None if before.master_is_first => bounded(self.control.hup()).await.map(|()| None),
            None => bounded(self.control.run(&argv(["nginx", "-s", "reload"])))
                .await
                .map(Some),
        };
        match sent {
            Ok(Some(output)) if output.code != 0 => {
                let why = format!("the reload failed: {}", first_error(&output));
                return Err(unconfirmed(why));
            }
            Ok(_) => {}
            Err(error) => return Err(unconfirmed(format!("the reload failed: {error}"))),
        }
        let old = before.all();
        let mut seen = String::from("its workers were not seen");
        let watch = async {
            sleep(MASTER_PAUSE).await;
            loop {
                match self.processes().await {
                    Ok(workers) if workers.have_taken_over_from(&old) => return,
                    Ok(workers) => seen = describe(&workers, &old),
                    Err(error) => seen = error.to_string(),
                }
                sleep(LOOK).await;
            }
        };
        let shown = timeout(self.setup.confirm_within, watch).await;
        shown.map_err(|_| unconfirmed(seen))
    }

    /// The workers, once there are any: those of an nginx that is just starting would pass for new
    /// ones after a reload that has not happened yet.
    async fn serving(&self) -> Result<Workers, ProxyError> {
        for _ in 0..STARTING_LOOKS {
            let workers = self.workers().await?;
            if !workers.active.is_empty() {
                return Ok(workers);
            }
            sleep(LOOK).await;
        }
        self.workers().await
    }

    async fn workers(&self) -> Result<Workers, ProxyError> {
        self.processes().await.map_err(|error| unreachable(&error))
    }

    async fn processes(&self) -> Result<Workers, ControlError> {
        let processes = bounded(self.control.processes()).await?;
        Ok(Workers::of(&processes))
    }

    /// Does file work where waiting for a disk blocks nobody.
    async fn on_shelf<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shelf) -> Result<T, ProxyError> + Send + 'static,
    ) -> Result<T, ProxyError> {
        let shared = Arc::clone(&self.shelf);
        let work = move || work(&shared.lock().unwrap_or_else(PoisonError::into_inner));
        let done = tokio::task::spawn_blocking(work).await;
        done.unwrap_or_else(|error| {
            Err(ProxyError::Unwritable {
                path: self.setup.directory.clone(),
                why: error.to_string(),
            })
        })
    }
}

/// Waits for an answer, but not for ever.
async fn bounded<T>(
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

fn unreachable(error: &ControlError) -> ProxyError {
    ProxyError::Unreachable {
        why: error.to_string(),
    }
}

#[cfg(test)]
mod tests;
