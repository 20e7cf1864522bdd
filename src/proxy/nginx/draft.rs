//! Which text each file shall have, and what of it remains when nginx refuses some. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::Path,
};

use crate::proxy::{Features, ProxyError, Refusal, Upstream, render};

use super::shelf::{Contents, Texts};

/// The files of one publish.
#[derive(Debug, Default)]
pub(super) struct Draft {
    entries: BTreeMap<String, Entry>,
    /// [`render::HTTP`] with nothing in it that could be there twice.
    bare_http: String,
    asked: BTreeSet<String>,
    refused: BTreeMap<String, ProxyError>,
}

#[derive(Debug)]
struct Entry {
    service: String,
    /// As nginx has accepted it last.
    good: Option<String>,
    /// As asked for.
    new: Option<String>,
    /// Instead of `new` once that is refused: the good text, without servers that are not wanted.
    fallback: Option<String>,
    held: bool,
}

impl Entry {
    fn text(&self) -> Option<&String> {
        let text = if self.held { &self.fallback } else { &self.new };
        text.as_ref()
    }

    /// Whether it is a change that can be held back.
    fn is_open(&self) -> bool {
        !self.held && self.new != self.good
    }
}

impl Draft {
    /// What is asked for, held against what is there.
    pub(super) fn new(
        project: &str,
        upstreams: &[Upstream],
        features: &Features,
        there: &Contents,
        directory: &Path,
    ) -> Result<Self, ProxyError> {
        let mut draft = Self {
            bare_http: render::http_without_directives(project)?,
            ..Self::default()
        };
        draft.add_http(project, features, there, directory)?;
        let mut seen = BTreeSet::new();
        for upstream in upstreams {
            if !seen.insert(upstream.service.to_lowercase()) {
                return Err(ProxyError::Unusable {
                    what: format!("the service name {:?}", upstream.service),
                    why: "nginx would see it twice".into(),
                });
            }
            draft.asked.insert(upstream.service.clone());
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
        project: &str,
        features: &Features,
        there: &Contents,
        directory: &Path,
    ) -> Result<(), ProxyError> {
        match there.foreign.get(render::HTTP) {
            // Two projects may share a directory as long as their services differ: what is at http
            // level is the same for both.
            Some(Some(_)) => {}
            Some(None) => self.refuse(render::HTTP, foreign(directory, render::HTTP, None)),
            None => {
                let good = there.good.get(render::HTTP);
                let new = match good {
                    Some(text) if render::is_without_directives(text) => text.clone(),
                    _ => render::http(project, features)?,
                };
                self.add(render::HTTP, render::HTTP, good, Some(new));
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
            if let Some(owner) = there.foreign.get(&name) {
                self.refuse(service, foreign(directory, &name, owner.as_deref()));
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
                entry.fallback = good.map(|text| render::reduced(text, &wanted));
                entry.held = entry.new.is_none();
            }
        }
    }

    fn add(&mut self, name: &str, service: &str, good: Option<&String>, new: Option<String>) {
        let entry = Entry {
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
        if message.contains("\"keepalive_min_timeout\" directive is duplicate")
            && let Some(entry) = self.entries.get_mut(render::HTTP)
            && entry.new.as_ref().is_some_and(|new| *new != self.bare_http)
        {
            entry.new = Some(self.bare_http.clone());
            return true;
        }
        // `… in /etc/nginx/upstreams/web.conf:4` and `open() "/etc/…/web.location" failed`.
        let named = |name: &str, _: &Entry| {
            message.contains(&format!("/{name}:")) || message.contains(&format!("/{name}\""))
        };
        // A place that still refers to an upstream that is gone has another name in its message.
        let removed = |_: &str, entry: &Entry| entry.new.is_none();
        self.hold(message, named) || self.hold(message, removed) || self.hold(message, |_, _| true)
    }

    fn hold(&mut self, message: &str, which: impl Fn(&str, &Entry) -> bool) -> bool {
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

    /// The refusals, or the first of them as the error of the whole when there is nothing else.
    pub(super) fn refusals(&self, changed: &[String]) -> Result<Vec<Refusal>, ProxyError> {
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
                .map(|(service, error)| Refusal {
                    service: service.clone(),
                    error: error.clone(),
                })
                .collect()),
        }
    }
}

fn foreign(directory: &Path, name: &str, owner: Option<&str>) -> ProxyError {
    let why = match owner {
        Some(owner) => format!(
            "it belongs to the project {owner}; give this project a directory of its own, or delete \
             the file if that project is gone"
        ),
        None => "it was not made by compose-scale; move it out of this directory".into(),
    };
    ProxyError::Unwritable {
        path: directory.join(name),
        why,
    }
}
