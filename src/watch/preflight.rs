//! Whether nginx will ever read our files: looked at before the first replica is made, because one
//! that nginx cannot send to is of no use.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use tokio::time::timeout;

use super::{
    nginx_preflight::{PreflightProblem, mounted, not_included, not_logged, without_upstream},
    nginx_target::NginxLocation,
    service_setup::{ManagedNginx, Unrouted},
};
use crate::proxy::{
    Proxy, ProxyError,
    inspect::{self, Configuration},
    render,
};

/// A look may take this long; what is not known by then stands in nobody's way.
const LOOK: Duration = Duration::from_secs(5);

/// What hides the log from a service, by service.
pub(super) type UnloggedByService = BTreeMap<String, String>;

/// Whether nginx reads our files, as far as it was looked at.
#[derive(Debug)]
pub(super) struct PreflightState {
    /// What keeps nginx from reading our files, by service, as the last look found it.
    barred: BTreeMap<String, String>,
    /// Whether that is to be looked at.
    due: bool,
    /// Whether a look is on its way.
    running: bool,
    /// Whether nginx, as it runs now, has been looked at.
    known: bool,
}

impl PreflightState {
    /// Nothing is known.
    pub(super) fn new() -> Self {
        Self {
            barred: BTreeMap::new(),
            due: true,
            running: false,
            known: false,
        }
    }

    /// nginx, or what it is to read, may be another one now.
    pub(super) fn request(&mut self) {
        self.due = true;
    }

    /// Whether a look is to begin.
    pub(super) fn is_due(&self) -> bool {
        self.due && !self.running
    }

    /// What was requested is being dealt with.
    pub(super) fn take_request(&mut self) {
        self.due = false;
    }

    /// A look begins.
    pub(super) fn begin(&mut self) {
        self.running = true;
    }

    pub(super) fn is_running(&self) -> bool {
        self.running
    }

    pub(super) fn is_known(&self) -> bool {
        self.known
    }

    /// Takes the result of a look.
    pub(super) fn end(&mut self, seen: &PreflightResult) {
        self.running = false;
        self.known = seen.answered;
        self.barred = seen.barred.clone();
    }

    /// Whether nginx cannot read the files of any service.
    pub(super) fn is_barred(&self) -> bool {
        !self.barred.is_empty()
    }

    /// What keeps nginx from reading the files of a service.
    pub(super) fn barred(&self, service: &str) -> Option<&String> {
        self.barred.get(service)
    }

    /// The words for what nginx does not read: those of the look, where it found out why.
    pub(super) fn in_words(&self, service: &str, error: &ProxyError) -> String {
        match (error, self.barred(service)) {
            (ProxyError::Unseen { .. }, Some(why)) => why.clone(),
            _ => error.to_string(),
        }
    }
}

/// The result of a look.
#[derive(Debug, Default)]
pub(super) struct PreflightResult {
    /// What bars the way, by service.
    pub(super) barred: BTreeMap<String, String>,
    /// Those that were looked at.
    pub(super) services: Vec<String>,
    /// The nginx that was; `None` where it could not be looked at as a whole.
    pub(super) nginx: Option<String>,
    /// What hides the log from services.
    pub(super) unlogged: UnloggedByService,
    /// What was looked at of nginx's own configuration; `None` where that was not all of it.
    pub(super) configured: Option<PreflightFindings>,
    /// Whether any nginx has answered.
    pub(super) answered: bool,
}

/// What a look has found of nginx's own configuration.
#[derive(Debug, Clone, Copy)]
pub(super) struct PreflightFindings {
    /// Another one for another configuration, but for our servers.
    pub(super) configuration: u64,
    /// When the look began, in milliseconds since 1970.
    pub(super) begun: u64,
    /// The longest that nginx waits for an answer by it.
    pub(super) patience: Duration,
}

/// One look.
pub(super) struct PreflightCheck {
    pub(super) services: Vec<String>,
    /// Those that have no upstream, which is right where nginx sends them nothing.
    pub(super) unrouted: Vec<Unrouted>,
    pub(super) directory: PathBuf,
    pub(super) working_dir: PathBuf,
    pub(super) place: ManagedNginx,
    pub(super) whereabouts: NginxLocation,
    /// The project and its log, as nginx sees it.
    pub(super) log: Option<(String, String)>,
    /// The services whose load is read from it.
    pub(super) readers: BTreeSet<String>,
    /// Which nginx; `None` where that cannot be told.
    pub(super) nginx: Option<String>,
    /// When it begins, in milliseconds since 1970.
    pub(super) begun: u64,
}

impl PreflightCheck {
    /// What bars the way, by service, and whether each nginx could be looked at. nginx as it is
    /// configured now is what counts; one that cannot be asked, or does not accept what it has, is left
    /// to the publish, which may mend it.
    pub(super) async fn run<P: Proxy>(self, proxy: Arc<P>) -> PreflightResult {
        let mut all_of_it = DefaultHasher::new();
        let mut patience = Duration::ZERO;
        let mut answered = false;
        self.nginx.hash(&mut all_of_it);
        let mut barred = BTreeMap::new();
        let mut unlogged = UnloggedByService::new();
        let mut looked_at = 0;
        let asked = async {
            match proxy.nginx() {
                Some(nginx) => nginx.configurations().await,
                None => Vec::new(),
            }
        };
        let asked = timeout(LOOK, asked).await;
        for (name, dump) in asked.unwrap_or_default() {
            answered = true;
            let Some((directory, wrong)) = self.place_in(&name) else {
                continue;
            };
            looked_at += 1;
            let ours = directory.as_deref().unwrap_or_default();
            inspect::fingerprint(&dump, ours, render::HTTP).hash(&mut all_of_it);
            let needed = directory.is_some() || !self.unrouted.is_empty();
            let configuration = needed.then(|| Configuration::parse(&dump));
            for (unrouted, configuration) in self.unrouted.iter().zip(configuration.iter().cycle())
            {
                if let Some(pass) = configuration.way_to(&unrouted.service, ours) {
                    let wrong = without_upstream(unrouted, &pass);
                    let told = format!("{}; {}", wrong.what, wrong.fix);
                    barred.entry(unrouted.service.clone()).or_insert(told);
                }
            }
            let configuration = configuration.filter(|_| directory.is_some());
            let longest = configuration.as_ref().map(Configuration::patience);
            patience = patience.max(longest.unwrap_or_default());
            for service in &self.services {
                let mut all = wrong.clone();
                if let (Some(directory), Some(configuration)) = (&directory, &configuration) {
                    let findings = configuration.look_for(service, directory);
                    all.extend(not_included(service, directory, &findings));
                    let log = self.log.as_ref().filter(|_| self.readers.contains(service));
                    let wrong = log.and_then(|(project, log)| {
                        // A part of the requests is no measure of the load.
                        let hidden = configuration.unlogged(service, log);
                        hidden.first().map(|one| not_logged(one, project, log))
                    });
                    if let Some(wrong) = wrong {
                        unlogged.insert(service.clone(), format!("{}; {}", wrong.what, wrong.fix));
                    }
                }
                let told: Vec<_> = all
                    .iter()
                    .map(|w| format!("{}; {}", w.what, w.fix))
                    .collect();
                if !told.is_empty() {
                    barred.entry(service.clone()).or_insert(told.join("\n"));
                }
            }
        }
        let all = match &self.whereabouts {
            NginxLocation::Containers(targets) => targets.len(),
            NginxLocation::Host | NginxLocation::Unknown => 1,
        };
        let complete = looked_at == all;
        PreflightResult {
            barred,
            services: self.services,
            nginx: self.nginx.filter(|_| complete),
            unlogged,
            configured: complete.then(|| PreflightFindings {
                configuration: all_of_it.finish(),
                begun: self.begun,
                patience,
            }),
            answered,
        }
    }

    /// Where this nginx sees the directory, and what is wrong with that; `None` where that cannot
    /// be told.
    fn place_in(&self, name: &str) -> Option<(Option<String>, Vec<PreflightProblem>)> {
        let NginxLocation::Containers(targets) = &self.whereabouts else {
            let here = self.directory.to_string_lossy().into_owned();
            return Some((Some(here), Vec::new()));
        };
        let target = targets.iter().find(|target| target.name == name)?;
        let then = self.place.with_other_volumes(&target.service);
        let mounted = mounted(
            &self.directory,
            &self.working_dir,
            &self.place,
            &then,
            &target.mounts,
        );
        // This program in a container of its own may see the directory by another path.
        mounted
            .comparable
            .then_some((mounted.inside, mounted.wrong))
    }
}
