//! Which text each file shall have, and what of it remains when nginx refuses some. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::Path,
};

use crate::proxy::{Features, ProxyError, PublishRefusal, Upstream, read_back::Foreign, render};

use super::{
    loaded_config::Sight,
    upstream_dir::{Contents, Texts},
};

/// The files of one publish.
#[derive(Debug, Default)]
pub(super) struct ChangeSet {
    entries: BTreeMap<String, ChangeEntry>,
    /// What [`render::HTTP`] is made of, where it is ours.
    http: Option<HttpLevel>,
    /// Why nginx does not write the log that it was asked to.
    log_refused: Option<String>,
    asked: BTreeSet<String>,
    refused: BTreeMap<String, ProxyError>,
    /// Refused ones whose file is ours, so that what is not wanted is out of it.
    reduced: BTreeSet<String>,
    /// Refused ones whose file nginx does not read.
    unseen: BTreeSet<String>,
}

/// What belongs at http level.
#[derive(Debug)]
struct HttpLevel {
    project: String,
    features: Features,
    /// Without what the user's own configuration has already.
    bare: bool,
    log: Option<String>,
    /// Whether its format is defined: a line of the user's own may name it.
    format: bool,
}

impl HttpLevel {
    fn text(&self) -> Result<String, ProxyError> {
        let log = match &self.log {
            Some(path) => render::HttpLevelLog::To(path),
            None if self.format => render::HttpLevelLog::Format,
            None => render::HttpLevelLog::None,
        };
        if self.bare {
            render::http_without_directives(&self.project, log)
        } else {
            render::http(&self.project, &self.features, log)
        }
    }

    /// Leaves out what nginx's message is about, and returns whether that was anything.
    fn give_way(&mut self, message: &str, log_refused: &mut Option<String>) -> bool {
        if !self.bare && message.contains("\"keepalive_min_timeout\" directive is duplicate") {
            self.bare = true;
            return true;
        }
        // Without it the load is not known, but requests go where they should.
        if self
            .log
            .as_ref()
            .is_some_and(|log| message.contains(log.as_str()))
        {
            self.log = None;
            *log_refused = Some(message.to_owned());
            return true;
        }
        false
    }
}

/// What an nginx shows of the files.
#[derive(Debug, Default)]
pub(super) struct Compared {
    /// Service, file and how it is seen, of each that is not as it should be.
    pub amiss: Vec<(String, String, Sight)>,
    /// Whether any file is seen as it was before.
    pub any_old: bool,
}

#[derive(Debug)]
struct ChangeEntry {
    service: String,
    /// As nginx has accepted it last.
    good: Option<String>,
    /// As asked for.
    new: Option<String>,
    /// Instead of `new` once that is refused: the good text, without servers that are not wanted.
    fallback: Option<String>,
    held: bool,
}

impl ChangeEntry {
    fn text(&self) -> Option<&String> {
        let text = if self.held { &self.fallback } else { &self.new };
        text.as_ref()
    }

    /// Whether it is a change that can be held back.
    fn is_open(&self) -> bool {
        !self.held && self.new != self.good
    }
}

impl ChangeSet {
    /// What is asked for, held against what is there.
    pub(super) fn new(
        project: &str,
        upstreams: &[Upstream],
        features: &Features,
        there: &Contents,
        (directory, log): (&Path, Option<&str>),
    ) -> Result<Self, ProxyError> {
        let mut draft = Self::default();
        let http = HttpLevel {
            project: project.to_owned(),
            features: *features,
            bare: false,
            log: log
                .filter(|log| render::log_line(project, log).is_ok())
                .map(str::to_owned),
            format: log.is_some(),
        };
        draft.add_http(http, there, directory)?;
        let mut unusable = render::unusable_names(upstreams.iter().map(|one| one.service.as_str()));
        for upstream in upstreams {
            draft.asked.insert(upstream.service.clone());
            if let Some(error) = unusable.remove(upstream.service.as_str()) {
                draft.refuse(&upstream.service, error);
                continue;
            }
            draft.add_service(project, upstream, features, there, directory);
        }
        // What is left is of services that have no upstream any more.
        for (name, text) in &there.good {
            if !draft.entries.contains_key(name) && name != render::HTTP {
                let service = name.rsplit_once('.').map_or("", |(stem, _)| stem);
                draft.add(name, service, Some(text), None);
            }
        }
        Ok(draft)
    }

    fn add_http(
        &mut self,
        mut http: HttpLevel,
        there: &Contents,
        directory: &Path,
    ) -> Result<(), ProxyError> {
        match there.foreign.get(render::HTTP) {
            // Two projects may share a directory as long as their services differ: what is at http
            // level is the same for both.
            Some(Foreign::Project(_)) => {}
            Some(other) => self.refuse(render::HTTP, unwritable(directory, render::HTTP, other)),
            None => {
                let good = there.good.get(render::HTTP);
                http.format |= good.is_some_and(|text| render::has_log_format(text));
                http.bare = good.is_some_and(|text| render::is_without_directives(text));
                self.add(render::HTTP, render::HTTP, good, Some(http.text()?));
                self.http = Some(http);
            }
        }
        Ok(())
    }

    fn add_service(
        &mut self,
        project: &str,
        upstream: &Upstream,
        features: &Features,
        there: &Contents,
        directory: &Path,
    ) {
        let service = upstream.service.as_str();
        let wanted: BTreeSet<SocketAddr> = upstream.servers.iter().map(|s| s.address).collect();
        let conf = render::upstream(project, upstream, features);
        let location = render::location(project, service);
        let files = [
            (render::upstream_name(service), conf),
            (render::location_name(service), location),
        ];
        for (name, text) in files {
            if let Some(other) = there.foreign.get(&name) {
                self.refuse(service, unwritable(directory, &name, other));
                continue;
            }
            let good = there.good.get(&name);
            match text {
                Ok(text) => self.add(&name, service, good, Some(text)),
                Err(error) => {
                    self.refuse(service, error);
                    // Without a file there is nothing to take a server out of.
                    if good.is_some() {
                        self.add(&name, service, good, None);
                    }
                }
            }
            if let Some(entry) = self.entries.get_mut(&name) {
                if name == render::upstream_name(service) {
                    self.reduced.insert(service.to_owned());
                }
                entry.fallback = good.map(|text| render::reduced(text, &wanted));
                entry.held = entry.new.is_none();
            }
        }
    }

    fn add(&mut self, name: &str, service: &str, good: Option<&String>, new: Option<String>) {
        let entry = ChangeEntry {
            service: service.to_owned(),
            good: good.cloned(),
            new,
            fallback: good.cloned(),
            held: false,
        };
        self.entries.insert(name.to_owned(), entry);
    }

    fn refuse(&mut self, service: &str, error: ProxyError) {
        self.refused.entry(service.to_owned()).or_insert(error);
    }

    /// Why nginx does not write the log, where it has refused to.
    pub(super) fn log_refused(&self) -> Option<&str> {
        self.log_refused.as_deref()
    }

    /// The files as they shall be now.
    pub(super) fn texts(&self) -> Texts {
        self.entries
            .iter()
            .map(|(name, entry)| (name.clone(), entry.text().cloned()))
            .collect()
    }

    /// The files whose text is another than the one given.
    pub(super) fn changed_from(&self, files: &BTreeMap<String, String>) -> Vec<String> {
        self.entries
            .iter()
            .filter(|(name, entry)| entry.text() != files.get(*name))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Holds back what nginx's message is about, as closely as it tells, and returns whether there
    /// was anything left to hold back.
    pub(super) fn hold_back(&mut self, message: &str) -> bool {
        if let Some(http) = &mut self.http
            && let Some(entry) = self.entries.get_mut(render::HTTP)
            && !entry.held
            && http.give_way(message, &mut self.log_refused)
            && let Ok(text) = http.text()
        {
            entry.new = Some(text);
            return true;
        }
        // `… in /etc/nginx/upstreams/web.conf:4` and `open() "/etc/…/web.location" failed`.
        let named = |name: &str, _: &ChangeEntry| {
            message.contains(&format!("/{name}:")) || message.contains(&format!("/{name}\""))
        };
        // A place that still refers to an upstream that is gone has another name in its message.
        let removed = |_: &str, entry: &ChangeEntry| entry.new.is_none();
        self.hold(message, named) || self.hold(message, removed) || self.hold(message, |_, _| true)
    }

    fn hold(&mut self, message: &str, which: impl Fn(&str, &ChangeEntry) -> bool) -> bool {
        let mut services = Vec::new();
        for (name, entry) in &mut self.entries {
            if entry.is_open() && which(name, entry) {
                entry.held = true;
                services.push(entry.service.clone());
            }
        }
        for service in &services {
            let message = message.to_owned();
            self.refuse(service, ProxyError::Rejected { message });
        }
        !services.is_empty()
    }

    /// Holds the files against what an nginx shows. An upstream has to be there; the settings for a
    /// location and what belongs at http level may be left out, but not be those of before.
    pub(super) fn compare(&self, look: impl Fn(&str, &str) -> Sight) -> Compared {
        let mut compared = Compared::default();
        for (name, entry) in &self.entries {
            let Some(text) = entry.text() else {
                continue;
            };
            let sight = look(name, text);
            compared.any_old |= sight == Sight::Old;
            let needed = *name == render::upstream_name(&entry.service);
            let wrong = sight == Sight::Old || needed && sight == Sight::Nothing;
            if wrong && self.asked.contains(&entry.service) {
                let amiss = (entry.service.clone(), name.clone(), sight);
                compared.amiss.push(amiss);
            }
        }
        compared
    }

    /// nginx does not read the service's file, whatever is in it.
    pub(super) fn unseen(&mut self, service: &str, error: ProxyError) {
        self.refuse(service, error);
        self.reduced.remove(service);
        self.unseen.insert(service.to_owned());
    }

    /// Fails when no service at all is seen.
    pub(super) fn none_is_seen(&self) -> Result<(), ProxyError> {
        match self
            .unseen
            .first()
            .and_then(|first| self.refused.get(first))
        {
            Some(error) if self.asked.is_subset(&self.unseen) => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// The refusals, or the first of them as the error of the whole when there is nothing else.
    pub(super) fn refusals(&self, changed: &[String]) -> Result<Vec<PublishRefusal>, ProxyError> {
        let nothing = changed.is_empty()
            && self
                .asked
                .iter()
                .all(|service| self.refused.contains_key(service));
        match self.refused.values().next() {
            Some(error) if nothing => Err(error.clone()),
            _ => Ok(self
                .refused
                .iter()
                .map(|(service, error)| PublishRefusal {
                    service: service.clone(),
                    error: error.clone(),
                    removed: self.reduced.contains(service),
                })
                .collect()),
        }
    }
}

fn unwritable(directory: &Path, name: &str, other: &Foreign) -> ProxyError {
    ProxyError::Unwritable {
        path: directory.join(name),
        why: other.why(),
    }
}
