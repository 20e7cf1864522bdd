//! Whether nginx will ever read our files: looked at before the first replica is made, because one
//! that nginx cannot send to is of no use. `check` tells the same in the same words.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::time::timeout;

use super::{
    Driver, Message, RunGoal,
    access_log_metrics::UnloggedByService,
    nginx_target::NginxLocation,
    service_setup::{self, ManagedNginx, Unrouted},
};
use crate::{
    engine::Engine,
    project::MountPoint,
    proxy::{
        Proxy, ProxyError,
        inspect::{self, Configuration, Findings, Mount, MountProblem},
        render,
    },
    reconcile::Event,
};

/// A look may take this long; what is not known by then stands in nobody's way.
const LOOK: Duration = Duration::from_secs(5);

/// What kind of thing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreflightProblemKind {
    /// The directory is not mounted.
    NotMounted,
    /// A file of it is mounted by itself.
    SingleFile,
    /// The upstream is not included.
    NotIncluded,
    /// It is included on the wrong level.
    Misplaced,
    /// It is included twice.
    IncludedTwice,
    /// Another upstream has its name.
    SameName,
    /// A port stands behind its name.
    PortInPass,
    /// A directive beside the include of its settings is in those too.
    Duplicate,
    /// Requests are not logged.
    Unlogged,
    /// nginx sends requests to a service that has no upstream.
    NoUpstream,
}

/// What is wrong, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreflightProblem {
    /// What kind of thing it is.
    pub kind: PreflightProblemKind,
    /// Where, in nginx's configuration.
    pub place: Option<inspect::ConfigLocation>,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub fix: String,
}

/// How the directory of our files is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// Where nginx sees it; `None` where it does not.
    pub inside: Option<String>,
    /// What is wrong with that.
    pub wrong: Vec<PreflightProblem>,
    /// Whether the container's paths are paths of this machine at all, as far as it shows.
    pub comparable: bool,
}

/// Looks for a directory of this host in the mounts of a container.
pub fn mounted(
    directory: &Path,
    working_dir: &Path,
    place: &ManagedNginx,
    then: &str,
    points: &[MountPoint],
) -> Mounted {
    let (resolved, mounts) = resolved(directory, points);
    let wrong = inspect::mount_problems(&resolved, &mounts)
        .into_iter()
        .map(|problem| PreflightProblem {
            kind: match problem {
                MountProblem::NotMounted { .. } => PreflightProblemKind::NotMounted,
                MountProblem::SingleFile { .. } => PreflightProblemKind::SingleFile,
            },
            place: None,
            what: problem.to_string(),
            fix: match problem {
                MountProblem::NotMounted { .. } => format!(
                    "add to nginx's volumes: `- {}:/etc/nginx/upstreams:ro` (the directory, not a file), then {then}",
                    as_written(directory, working_dir, place)
                ),
                MountProblem::SingleFile { .. } => {
                    format!("mount the directory instead of the file, then {then}")
                }
            },
        })
        .collect();
    let inside = inspect::inside(&resolved, &mounts);
    Mounted {
        inside: inside.map(|path| path.to_string_lossy().into_owned()),
        wrong,
        comparable: points.is_empty() || points.iter().any(|point| point.source.exists()),
    }
}

/// Where a container sees a directory of this host.
pub fn seen_at(directory: &Path, points: &[MountPoint]) -> Option<PathBuf> {
    let (directory, mounts) = resolved(directory, points);
    inspect::inside(&directory, &mounts)
}

/// Where a container can write to a directory of this host.
pub fn writable_at(directory: &Path, points: &[MountPoint]) -> Option<PathBuf> {
    let (directory, mounts) = resolved(directory, points);
    inspect::writable(&directory, &mounts)
}

/// Without links, so that paths can be compared.
fn resolved(directory: &Path, points: &[MountPoint]) -> (PathBuf, Vec<Mount>) {
    let real = |path: &Path| path.canonicalize().unwrap_or(path.to_owned());
    let mount = |point: &MountPoint| Mount {
        is_dir: point.source.is_dir(),
        source: real(&point.source),
        destination: point.destination.clone(),
        is_writable: point.is_writable,
    };
    (real(directory), points.iter().map(mount).collect())
}

/// As one would write it in the compose file of nginx.
pub fn as_written(path: &Path, base: &Path, place: &ManagedNginx) -> String {
    match path.strip_prefix(base) {
        Ok(rest) if matches!(place, ManagedNginx::Service(_)) => format!("./{}", rest.display()),
        _ => path.display().to_string(),
    }
}

/// What keeps a service's upstream from being read, or nginx from accepting it.
pub fn not_included(service: &str, directory: &str, findings: &Findings) -> Vec<PreflightProblem> {
    let include = format!("include {directory}/*.conf;");
    let mut wrong = Vec::new();
    let mut say = |kind: PreflightProblemKind,
                   place: Option<&inspect::ConfigLocation>,
                   what: String,
                   fix: String| {
        let place = place.cloned();
        wrong.push(PreflightProblem {
            kind,
            place,
            what,
            fix,
        });
    };
    for misplaced in &findings.misplaced {
        say(
            PreflightProblemKind::Misplaced,
            Some(&misplaced.place),
            format!(
                "{} includes its upstream inside `{}`, where nginx refuses it",
                misplaced.place, misplaced.block
            ),
            format!("move `{include}` to the http level, outside of any server"),
        );
    }
    match findings.included.as_slice() {
        [] if findings.misplaced.is_empty() => say(
            PreflightProblemKind::NotIncluded,
            None,
            format!("nginx does not include {directory}/{service}.conf"),
            format!(
                "add `{include}` at http level (a file in conf.d is at http level), outside of any server"
            ),
        ),
        [first, second, ..] => say(
            PreflightProblemKind::IncludedTwice,
            Some(second),
            format!("its upstream is included twice, at {first} and {second}"),
            "remove one of the two".into(),
        ),
        [] | [_] => {}
    }
    for place in &findings.foreign {
        say(
            PreflightProblemKind::SameName,
            Some(place),
            format!("{place} has an upstream of the same name, and nginx refuses two"),
            format!("remove that `upstream {service}`; compose-scale writes it"),
        );
    }
    for inspect::Duplicate {
        place,
        name,
        include,
    } in &findings.duplicate
    {
        let settings = render::location_name(service);
        say(
            PreflightProblemKind::Duplicate,
            Some(place),
            format!(
                "{place}: {settings}, which {include} includes on the same level, has `{name}` too, and nginx refuses two"
            ),
            format!("remove yours; {settings} has it"),
        );
    }
    for pass in &findings.passes {
        if let Some(port) = &pass.port {
            say(
                PreflightProblemKind::PortInPass,
                Some(&pass.place),
                format!(
                    "{}: `{}` names port {port}, which nginx refuses beside an upstream of that name",
                    pass.place, pass.target
                ),
                format!(
                    "write `{}` without the port; it is in the upstream",
                    pass.without_port()
                ),
            );
        }
    }
    wrong
}

/// What is wrong with a service that nginx sends requests to and that has no upstream: to scale it would
/// bring its new replicas nothing, and take the old ones away from under their requests.
pub fn without_upstream(unrouted: &Unrouted, pass: &inspect::ConfigLocation) -> PreflightProblem {
    PreflightProblem {
        kind: PreflightProblemKind::NoUpstream,
        place: Some(pass.clone()),
        what: format!(
            "nginx sends requests to it at {pass}, but {}, so its replicas are not kept in step with nginx",
            unrouted.why
        ),
        fix: unrouted.fix.clone(),
    }
}

/// What hides our log where requests are handed to a service.
pub fn not_logged(unlogged: &inspect::UnloggedPass, project: &str, log: &str) -> PreflightProblem {
    let inspect::UnloggedPass { pass, by, off } = unlogged;
    let line = render::log_line(project, log).unwrap_or_default();
    let (what, fix) = if *off {
        (
            format!("requests of {pass} are not logged: `access_log off` at {by}"),
            format!("write `{line}` in its place"),
        )
    } else {
        (
            format!("the `access_log` at {by} replaces ours for requests of {pass}"),
            format!("write `{line}` beside it"),
        )
    };
    PreflightProblem {
        kind: PreflightProblemKind::Unlogged,
        place: Some(by.clone()),
        what,
        fix,
    }
}

/// What a look has found.
#[derive(Debug, Default)]
pub(super) struct PreflightResult {
    /// What bars the way, by service.
    barred: BTreeMap<String, String>,
    /// Those that were looked at.
    services: Vec<String>,
    /// The nginx that was; `None` where it could not be looked at as a whole.
    nginx: Option<String>,
    /// What hides the log from services.
    unlogged: UnloggedByService,
    /// What was looked at of nginx's own configuration; `None` where that was not all of it.
    configured: Option<PreflightFindings>,
    /// Whether any nginx has answered.
    answered: bool,
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

/// What one look needs to know.
struct PreflightCheck {
    services: Vec<String>,
    /// Those that have no upstream, which is right where nginx sends them nothing.
    unrouted: Vec<Unrouted>,
    directory: PathBuf,
    working_dir: PathBuf,
    place: ManagedNginx,
    whereabouts: NginxLocation,
    /// The project and its log, as nginx sees it.
    log: Option<(String, String)>,
    /// The services whose load is read from it.
    readers: BTreeSet<String>,
    /// Which nginx; `None` where that cannot be told.
    nginx: Option<String>,
    /// When it begins, in milliseconds since 1970.
    begun: u64,
}

impl PreflightCheck {
    /// What bars the way, by service, and whether each nginx could be looked at. nginx as it is
    /// configured now is what counts; one that cannot be asked, or does not accept what it has, is left
    /// to the publish, which may mend it.
    async fn run<P: Proxy>(self, proxy: Arc<P>) -> PreflightResult {
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

impl<E: Engine, P: Proxy> Driver<E, P> {
    /// Looks at nginx when it is another one, when a service is new, and again and again while
    /// something bars the way.
    pub(super) fn check_nginx_routing(&mut self) {
        if !self.way_is_due || self.way_is_looked_at || self.passive() {
            return;
        }
        let (Some(proxy), Some(place)) =
            (self.proxy.clone(), service_setup::nginx_place(&self.loaded))
        else {
            return;
        };
        let whereabouts = self.nginx.borrow().clone();
        if whereabouts == NginxLocation::Unknown {
            return;
        }
        self.way_is_due = false;
        if whereabouts.names().is_none() {
            // It finds the files when it starts.
            self.way_found(&PreflightResult::default());
            return;
        }
        let upstreams = service_setup::upstreams(&self.loaded);
        let nginx = whereabouts.identity();
        let nginx = nginx.map(|nginx| format!("{nginx} {}", upstreams.display()));
        let unrouted = self.unrouted();
        let routed = || self.machines.values().filter(|m| m.setup().routed);
        let (known, unknown): (Vec<_>, Vec<_>) =
            routed().partition(|m| nginx.is_some() && m.reader() == nginx.as_deref());
        for machine in known {
            let event = Event::Way {
                barred: None,
                nginx: nginx.clone(),
            };
            self.queue.push_back((machine.service().to_owned(), event));
        }
        // What is made is shown to nginx in any case, which finds out if it no longer holds.
        let is_new = !unknown.is_empty() && self.goal != RunGoal::Sync;
        if !is_new && unrouted.is_empty() && self.goal != RunGoal::Watch && self.monitor.is_none() {
            return;
        }
        self.way_is_looked_at = true;
        let begun = self.clock.wall_millis();
        if let Some(monitor) = &mut self.monitor {
            monitor.looked = Some(begun);
        }
        let look = PreflightCheck {
            services: routed().map(|m| m.service().to_owned()).collect(),
            unrouted,
            directory: upstreams,
            working_dir: self.loaded.project.working_dir.clone(),
            place,
            whereabouts,
            readers: routed()
                .filter(|machine| machine.setup().policy.reads_the_log())
                .map(|machine| machine.service().to_owned())
                .collect(),
            log: service_setup::log(&self.loaded)
                .map(|(_, log)| (self.loaded.project.name.clone(), log)),
            nginx,
            begun,
        };
        let report = self.report.clone();
        self.tasks.spawn(async move {
            let seen = look.run(proxy).await;
            let _ = report.send(Message::Way(seen)).await;
        });
    }

    /// The managed services that have no upstream.
    fn unrouted(&self) -> Vec<Unrouted> {
        let services = self.machines.values().filter(|m| !m.setup().routed);
        services
            .filter_map(|m| service_setup::unrouted(&self.loaded, m.service()))
            .collect()
    }

    /// Services that nginx sends requests to and that have no upstream, each in a sentence.
    pub(super) fn without_upstream(&self, concerns: impl Fn(&str) -> bool) -> Vec<String> {
        let services = self.machines.values();
        services
            .filter(|m| !m.setup().routed && concerns(m.service()))
            .filter_map(|m| {
                let why = self.barred.get(m.service())?;
                Some(format!("{}: {why}", m.service()))
            })
            .collect()
    }

    pub(super) fn way_found(&mut self, seen: &PreflightResult) {
        self.way_is_looked_at = false;
        self.way_is_known = seen.answered;
        for name in self.machines.keys() {
            let event = Event::Way {
                barred: seen.barred.get(name).cloned(),
                nginx: seen.nginx.clone().filter(|_| seen.services.contains(name)),
            };
            self.queue.push_back((name.clone(), event));
        }
        self.barred = seen.barred.clone();
        if seen.configured.is_some() {
            self.unlogged.clone_from(&seen.unlogged);
        } else {
            // Of what could not be looked at as a whole, what was known stays.
            self.unlogged.extend(seen.unlogged.clone());
        }
        if let (Some(monitor), Some(found)) = (&mut self.monitor, seen.configured) {
            monitor.configured(found);
        }
        // nginx became another one meanwhile.
        self.check_nginx_routing();
    }

    /// nginx does not read what it was seen to read once: that is looked into.
    pub(super) fn way_is_lost(&mut self, service: &str) {
        if let Some(machine) = self.machines.get_mut(service)
            && machine.forget_reader()
        {
            self.dirty = true;
            self.way_is_due = true;
            self.check_nginx_routing();
        }
    }

    /// The words for what nginx does not read: those of the look, where it found out why.
    pub(super) fn in_words_of_the_way(&self, service: &str, error: &ProxyError) -> String {
        match (error, self.barred.get(service)) {
            (ProxyError::Unseen { .. }, Some(why)) => why.clone(),
            _ => error.to_string(),
        }
    }
}
