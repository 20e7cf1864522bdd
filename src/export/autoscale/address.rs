//! Where a URL of a compose file leads to in a cluster.

use super::{AutoscaleSubject, notes::Notes};

/// The parts of a URL that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UrlParts<'a> {
    scheme: &'a str,
    pub(super) host: &'a str,
    /// With its colon, or nothing.
    port: &'a str,
    /// From the path on.
    pub(super) rest: &'a str,
}

impl<'a> UrlParts<'a> {
    pub(super) fn parse(url: &'a str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        // The colons of an IPv6 address are within brackets.
        let from = authority.rfind(']').map_or(0, |at| at + 1);
        let colon = authority[from..]
            .find(':')
            .map_or(authority.len(), |at| from + at);
        let (host, port) = authority.split_at(colon);
        (!host.is_empty()).then_some(Self {
            scheme,
            host,
            port,
            rest,
        })
    }

    /// This machine, which a cluster has not.
    fn is_here(&self) -> bool {
        self.host == "localhost" || self.host.starts_with("127.") || self.host == "[::1]"
    }

    /// A name without a dot is a service of the project.
    fn is_of_the_project(&self) -> bool {
        !self.host.contains(['.', ':', '{'])
    }

    /// The same at a Service of a namespace. KEDA asks from a namespace of its own.
    pub(super) fn at_service(&self, name: &str, namespace: &str) -> String {
        let Self {
            scheme, port, rest, ..
        } = self;
        format!("{scheme}://{name}.{namespace}.svc{port}{rest}")
    }
}

/// A URL for people: a token may be in its query.
pub(super) fn shown(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or(url)
}

/// The URL as it is asked from inside of the cluster. `instead` is asked where this machine is meant.
pub(super) fn in_cluster(
    subject: &AutoscaleSubject<'_>,
    url: &str,
    instead: Option<&str>,
    place: &str,
    notes: &mut Notes,
) -> String {
    let Some(parts) = UrlParts::parse(url) else {
        return url.to_owned();
    };
    if parts.is_here() {
        let what = format!("{} is on this machine", shown(url));
        let fix = "put the address in that the cluster reaches it by";
        let Some(there) = instead else {
            notes.lost(place, what + ", where no cluster reaches it", fix);
            return url.to_owned();
        };
        notes.chosen(place, format!("{what}; asked is {}", shown(there)), fix);
        return there.to_owned();
    }
    if !parts.is_of_the_project() {
        return url.to_owned();
    }
    // A service of ours may be named in a way that Kubernetes does not allow.
    let known = subject.names.get(parts.host).cloned();
    let name = known.unwrap_or_else(|| parts.host.to_lowercase().replace('_', "-"));
    let there = parts.at_service(&name, subject.namespace);
    notes.chosen(
        place,
        format!(
            "{} is asked as {}: any pod of that Service, not the first one",
            shown(url),
            shown(&there)
        ),
        format!("have a Service {name} with that port"),
    );
    there
}
