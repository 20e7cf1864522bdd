//! A publish, stage by stage.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures_util::future::join_all;

use super::{
    ControlError, Fleet, NginxProxy,
    change_set::ChangeSet,
    control::Control,
    instances::{self, Instance, Instances, bounded},
    loaded_config::{LoadedConfig, Sight},
    unreachable,
    upstream_dir::{Contents, Shelf},
    workers::Workers,
};
use crate::proxy::{DrainToken, Features, ProxyError, PublishResult, Upstream, render};

/// What is known of one nginx, by its identity.
#[derive(Debug, Clone, Copy)]
struct InstanceRecord {
    /// Whether it runs what is in the files.
    current: bool,
    /// Whether it has shown that it reads the directory that is there now.
    sees: bool,
    /// Whether it ever has.
    saw: bool,
}

/// What is known from one publish to the next.
#[derive(Debug, Default)]
pub(super) struct PublishMemory {
    /// Whether there was a publish: an nginx that is new after that may have read the files of
    /// before one.
    begun: bool,
    known: BTreeMap<String, InstanceRecord>,
    /// What each can do, by its identity.
    features: BTreeMap<String, Features>,
    /// Whether it is known of each, and not only of the files, if it runs them: a publish of this
    /// program left some behind.
    counted: bool,
    /// Why the nginx that runs does not write the log.
    pub(super) log_refused: Option<String>,
    /// Device and inode of the directory.
    place: Option<(u64, u64)>,
}

impl PublishMemory {
    /// Another directory has been read by none.
    fn notice_place(&mut self, place: Option<(u64, u64)>) {
        if std::mem::replace(&mut self.place, place) != place {
            self.known.values_mut().for_each(|known| known.sees = false);
        }
    }

    /// A new nginx may write the log that others do not.
    fn notice_new<C>(&mut self, crew: &Instances<C>) {
        let is_new = |member: &Instance<C>| !self.known.contains_key(&member.identity);
        if crew.members.iter().any(is_new) {
            self.log_refused = None;
        }
    }

    fn begin<C>(&mut self, crew: &Instances<C>, there: &Contents) {
        let first = !self.begun && !there.unfinished;
        for member in &crew.members {
            self.known
                .entry(member.identity.clone())
                .or_insert(InstanceRecord {
                    current: first,
                    sees: false,
                    saw: false,
                });
        }
        self.begun = true;
    }

    /// Those that do not run what is in the files.
    fn behind(&self) -> BTreeSet<String> {
        let behind = self.known.iter().filter(|(_, known)| !known.current);
        behind.map(|(identity, _)| identity.clone()).collect()
    }
}

/// Whether nginx has to be reloaded although no file changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reload {
    /// As far as is known, each one runs what is in the files.
    NotNeeded,
    /// One is known not to.
    Needed,
    /// A publish was cut short, so nothing is known of any.
    Recover,
}

impl Reload {
    fn of(memory: &PublishMemory, there: &Contents) -> Self {
        if there.unfinished && (there.untested || !memory.counted) {
            Self::Recover
        } else if memory.known.values().any(|known| !known.current) {
            Self::Needed
        } else {
            Self::NotNeeded
        }
    }
}

impl<F: Fleet> NginxProxy<F> {
    /// Gets these upstreams into effect.
    pub(super) async fn bring_in_step(
        &self,
        memory: &mut PublishMemory,
        upstreams: &[Upstream],
    ) -> Result<PublishResult, ProxyError> {
        let mut crew = self.assemble(memory).await?;
        let there = self.on_shelf(Shelf::read).await?;
        self.warn_of_distrust(&there).await?;
        memory.notice_place(self.stamp().map(|(device, inode, ..)| (device, inode)));
        memory.notice_new(&crew);
        let mut draft = self.draft(memory, &crew, &there, upstreams)?;
        if crew.members.is_empty() {
            memory.begun = true;
            return Err(self.leave_for_later(&draft, there).await);
        }
        memory.begin(&crew, &there);
        let reloaded = self
            .put_into_effect(memory, &mut crew, &mut draft, &there)
            .await?;
        if let Some(why) = draft.log_refused() {
            memory.log_refused = Some(why.to_owned());
        }
        if let Some(error) = crew.lost.first() {
            return Err(error.clone());
        }
        if reloaded || there.unfinished {
            self.on_shelf(Shelf::in_effect).await?;
        }
        let old_workers = old_workers(&crew, reloaded).await?;
        let changed = draft.changed_from(&there.ours);
        Ok(PublishResult {
            refused: draft.refusals(&changed)?,
            changed,
            reloaded,
            draining: DrainToken(old_workers.into_iter().collect()),
        })
    }

    async fn warn_of_distrust(&self, there: &Contents) -> Result<(), ProxyError> {
        if let Some(why) = &there.distrusted {
            tracing::warn!(
                "{} is ignored, because others can have written it: {why}; `compose-scale check` \
                 tells who can write to that directory",
                self.on_shelf(|shelf| Ok(shelf.path(&shelf.undo())))
                    .await?
                    .display()
            );
        }
        Ok(())
    }

    /// The files as they shall be.
    fn draft(
        &self,
        memory: &PublishMemory,
        crew: &Instances<F::One>,
        there: &Contents,
        upstreams: &[Upstream],
    ) -> Result<ChangeSet, ProxyError> {
        let setup = &self.setup;
        let log = setup
            .log
            .as_deref()
            .filter(|_| memory.log_refused.is_none());
        // Nothing that nginx has not tested may keep it from starting.
        let is_there = |log: &&str| {
            let http = there.good.get(render::HTTP);
            http.is_some_and(|text| text.contains(&format!("access_log {log} ")))
        };
        let log = log.filter(|log| !crew.members.is_empty() || is_there(log));
        ChangeSet::new(
            &setup.project,
            upstreams,
            &crew.features(),
            there,
            (&setup.directory, log),
        )
    }

    /// Writes, tests and reloads where that is needed. Returns whether nginx was reloaded.
    async fn put_into_effect(
        &self,
        memory: &mut PublishMemory,
        crew: &mut Instances<F::One>,
        draft: &mut ChangeSet,
        there: &Contents,
    ) -> Result<bool, ProxyError> {
        let reload = Reload::of(memory, there);
        if reload == Reload::NotNeeded && draft.changed_from(&there.ours).is_empty() {
            self.look(crew, memory, draft).await?;
            return Ok(false);
        }
        if !self.accept(memory, crew, draft, there, reload).await? {
            return Ok(false);
        }
        if reload == Reload::Recover || !draft.changed_from(&there.ours).is_empty() {
            let known = memory.known.values_mut();
            known.for_each(|known| known.current = false);
        }
        memory.counted = true;
        for identity in crew.reload(&self.setup, &memory.behind()).await {
            if let Some(known) = memory.known.get_mut(&identity) {
                known.current = true;
            }
        }
        Ok(true)
    }

    /// Every nginx that runs, with what it can do. Fails when none can be asked.
    pub(super) async fn assemble(
        &self,
        memory: &mut PublishMemory,
    ) -> Result<Instances<F::One>, ProxyError> {
        let unknown = || ProxyError::Unreachable {
            why: "the Docker Engine does not answer".into(),
        };
        let all = self.fleet.all().ok_or_else(unknown)?;
        let mut crew = Instances {
            members: Vec::new(),
            lost: Vec::new(),
            several: all.len() > 1,
        };
        let asked = join_all(all.iter().map(|control| self.probe(control, memory))).await;
        for (control, asked) in all.iter().zip(asked) {
            match asked {
                Ok((identity, features)) => crew.members.push(Instance {
                    control: Arc::clone(control),
                    identity,
                    features,
                    view: None,
                    before: Workers::default(),
                }),
                Err(ControlError::NotRunning) => {}
                Err(error) => crew.lost.push(crew.error_of(control, &error)),
            }
        }
        let is_there = |identity: &String| crew.members.iter().any(|m| m.identity == *identity);
        memory.known.retain(|identity, _| is_there(identity));
        memory.features = crew
            .members
            .iter()
            .map(|member| (member.identity.clone(), member.features))
            .collect();
        match crew.lost.first() {
            Some(error) if crew.members.is_empty() => Err(error.clone()),
            _ => Ok(crew),
        }
    }

    async fn probe(
        &self,
        control: &F::One,
        memory: &PublishMemory,
    ) -> Result<(String, Features), ControlError> {
        let identity = bounded(control.identity()).await?;
        let features = match memory.features.get(&identity) {
            Some(features) => *features,
            None => instances::features(control).await?,
        };
        Ok((identity, features))
    }

    /// Writes the files and gets them past the test of every nginx, without those that one refuses.
    /// Returns whether a reload is needed: without a change as `reload` says.
    async fn accept(
        &self,
        memory: &mut PublishMemory,
        crew: &mut Instances<F::One>,
        draft: &mut ChangeSet,
        there: &Contents,
        reload: Reload,
    ) -> Result<bool, ProxyError> {
        loop {
            let (texts, good) = (draft.texts(), there.good.clone());
            self.on_shelf(move |shelf| shelf.write(&texts, &good))
                .await?;
            let verdict = crew.test(&self.setup).await;
            let needed = reload != Reload::NotNeeded || !draft.changed_from(&there.ours).is_empty();
            let result = match verdict {
                Ok(None) if needed => {
                    // What it does not read it has not tested either, so the last good texts are
                    // still remembered when it does.
                    self.hold_against(memory, crew, draft)?;
                    self.on_shelf(Shelf::accepted).await?;
                    return Ok(true);
                }
                Ok(Some(message)) if draft.hold_back(&message) => continue,
                Ok(Some(message)) => Err(ProxyError::Rejected {
                    message: format!("{message} (also without this change)"),
                }),
                Err(error) => Err(error),
                Ok(None) => Ok(false),
            };
            let (texts, good) = (draft.texts(), there.good.clone());
            self.on_shelf(move |shelf| shelf.roll_back(&texts, &good))
                .await?;
            return result;
        }
    }

    /// Asks those that have not shown yet that they read the directory, although there is nothing
    /// to reload.
    async fn look(
        &self,
        crew: &mut Instances<F::One>,
        memory: &mut PublishMemory,
        draft: &mut ChangeSet,
    ) -> Result<(), ProxyError> {
        let unsure = crew
            .members
            .iter_mut()
            .filter(|m| !memory.known[&m.identity].sees);
        join_all(unsure.map(async |member| {
            // A configuration that is broken by now is what it does not run: not our concern.
            if let Ok(output) = instances::dump(&*member.control).await
                && output.code == 0
            {
                member.view = Some(LoadedConfig::parse(&output.stdout));
            }
        }))
        .await;
        self.hold_against(memory, crew, draft)
    }

    /// Refuses every service whose file some nginx does not show as it is on this host.
    fn hold_against(
        &self,
        memory: &mut PublishMemory,
        crew: &Instances<F::One>,
        draft: &mut ChangeSet,
    ) -> Result<(), ProxyError> {
        for member in &crew.members {
            let (Some(view), Some(known)) = (&member.view, memory.known.get_mut(&member.identity))
            else {
                continue;
            };
            let seen = draft.compare(|name, text| view.of(name, text));
            for (service, name, sight) in &seen.amiss {
                let which = if crew.several {
                    format!("{}: ", member.control.name())
                } else {
                    String::new()
                };
                let why = if known.saw || *sight == Sight::Old || seen.any_old {
                    format!(
                        "{which}its directory was replaced after nginx started, and nginx goes on \
                         reading the one of before; run `{}`",
                        self.setup.refresh
                    )
                } else {
                    format!(
                        "{which}it is not included at http level, or its directory is not mounted or \
                         was replaced after nginx started; `compose-scale check` says which"
                    )
                };
                let path = self.setup.directory.join(name);
                draft.unseen(service, ProxyError::Unseen { path, why });
            }
            known.sees = seen.amiss.is_empty();
            known.saw |= known.sees;
        }
        draft.none_is_seen()
    }

    /// nginx is not there: it shall find the right addresses when it starts, because those of
    /// before may belong to somebody else by then.
    async fn leave_for_later(&self, draft: &ChangeSet, there: Contents) -> ProxyError {
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
}

/// Workers that may still have requests in flight from before.
async fn old_workers<C: Control>(
    crew: &Instances<C>,
    reloaded: bool,
) -> Result<BTreeSet<u32>, ProxyError> {
    let mut old = BTreeSet::new();
    for member in &crew.members {
        if reloaded {
            old.extend(member.before.all());
        } else {
            let workers = instances::workers(&*member.control).await;
            let workers = workers.map_err(|e| crew.error_of(&member.control, &e))?;
            old.extend(workers.leaving);
        }
    }
    Ok(old)
}
