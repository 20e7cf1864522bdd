//! What can be read from an nginx configuration, its mounts and its networks. Pure: the caller
//! brings the output of `nginx -T` and the facts of the container.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    time::Duration,
};

use super::render;

mod bypass;
mod configuration;
mod glob;
mod mounts;
mod routes;
mod syntax;

pub use bypass::{Bypass, NameResolution, Resolver, by_place};
pub(super) use configuration::heading;
pub use configuration::{Configuration, fingerprint};
pub use mounts::{Mount, MountProblem, inside, mount_problems, writable};
pub use routes::{LocationMatch, Route};

use configuration::{DirectiveBlock, Statement};
pub(super) use syntax::LEFT_OUT;
#[cfg(test)]
pub(super) use syntax::parse;

/// Directives that hand a request to an upstream by its name.
const PASSES: [&str; 6] = [
    "proxy_pass",
    "grpc_pass",
    "fastcgi_pass",
    "uwsgi_pass",
    "scgi_pass",
    "memcached_pass",
];

/// A line of a configuration file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigLocation {
    /// The file, as nginx names it.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
}

impl fmt::Display for ConfigLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// What a configuration says about one service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Findings {
    /// Where its upstream file is read at http level. Right is exactly one.
    pub included: Vec<ConfigLocation>,
    /// Where its upstream file is read inside another block, which nginx refuses.
    pub misplaced: Vec<Misplaced>,
    /// Where requests are handed to it. None: nginx never asks it.
    pub passes: Vec<Pass>,
    /// Upstreams of the same name in files that are not ours; nginx refuses two.
    pub foreign: Vec<ConfigLocation>,
    /// Where the target is made of variables, so that it may be this service or not.
    pub variable: Vec<ConfigLocation>,
    /// Directives beside an include of its settings that are in those too; nginx refuses two.
    pub duplicate: Vec<Duplicate>,
}

/// A directive that our file of settings has as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duplicate {
    /// The directive of the user's own.
    pub place: ConfigLocation,
    /// Its name.
    pub name: String,
    /// The include of our file, on the same level.
    pub include: ConfigLocation,
}

/// An include on the wrong level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misplaced {
    /// The include.
    pub place: ConfigLocation,
    /// The block around it; empty at the top of the file.
    pub block: String,
}

/// A place where requests are handed to a service and not logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnloggedPass {
    /// The directive that hands them over.
    pub pass: ConfigLocation,
    /// The `access_log` that counts there.
    pub by: ConfigLocation,
    /// Whether it switches all off.
    pub off: bool,
}

/// A place where requests are handed to a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    /// The directive.
    pub place: ConfigLocation,
    /// Its name: `proxy_pass`, `grpc_pass` …
    pub by: String,
    /// Its target, as written.
    pub target: String,
    /// A port behind the name, which nginx refuses as soon as an upstream of that name exists: the
    /// port then belongs into the upstream.
    pub port: Option<String>,
    /// Whether the service's proxy settings are included there or around it.
    pub settings: bool,
    /// The block around that has `proxy_set_header` lines which no longer count, because the
    /// settings are included on a level that has none of its own.
    pub hides_headers_of: Option<ConfigLocation>,
}

impl Pass {
    /// The directive without the port.
    pub fn without_port(&self) -> String {
        let host = host_of(&self.target).0;
        format!("{} {};", self.by, with_host(&self.target, host))
    }

    /// Whether `SERVICE.location` is about it: its directives are those of `proxy_pass`.
    pub fn takes_settings(&self) -> bool {
        self.by == "proxy_pass"
    }
}

impl Configuration {
    /// What it says about a service whose files are in `directory` as nginx sees it.
    pub fn look_for(&self, service: &str, directory: &str) -> Findings {
        let directory = directory.trim_end_matches('/');
        let conf = format!("{directory}/{}", render::upstream_name(service));
        let location = format!("{directory}/{}", render::location_name(service));
        let mut findings = Findings::default();
        for statement in &self.statements {
            let block = self.block(statement);
            if self.includes(statement, &conf) {
                if block.name == "http" {
                    findings.included.push(statement.place.clone());
                } else {
                    findings.misplaced.push(Misplaced {
                        place: statement.place.clone(),
                        block: block.title(),
                    });
                }
            }
            if !self.is_within(statement, "http") {
                continue;
            }
            if PASSES.contains(&statement.name.as_str())
                && let Some(target) = statement.args.first()
            {
                if target.contains('$') && host_of(target).0.contains('$') {
                    findings.variable.push(statement.place.clone());
                }
                let (host, port) = host_of(target);
                // With a variable in it the name is looked up, and one with a port is no upstream's.
                if port.is_some() && target.contains('$') && !host.contains('$') {
                    continue;
                }
                if host.eq_ignore_ascii_case(service) || self.finds_by_variable(target, service) {
                    let pass = self.pass(statement, target, port, &location);
                    findings.passes.push(pass);
                }
            }
        }
        findings.foreign = self.foreign_upstreams(service, &conf);
        findings.duplicate = self.duplicates(&location, directory);
        findings
    }

    /// What stands beside an include of `location` and will be in that as well, should it exist.
    fn duplicates(&self, location: &str, directory: &str) -> Vec<Duplicate> {
        let mut found: Vec<Duplicate> = Vec::new();
        let includes = self
            .statements
            .iter()
            .filter(|s| self.includes(s, location));
        for include in includes {
            let is_one = |own: &&Statement| {
                own.block == include.block
                    && render::is_set_once(&own.name)
                    && !is_inside(&own.place.file, directory)
            };
            for own in self.statements.iter().filter(is_one) {
                let duplicate = Duplicate {
                    place: own.place.clone(),
                    name: own.name.clone(),
                    include: include.place.clone(),
                };
                // A file that is included in several locations is one place.
                let known = |one: &Duplicate| one.place == own.place && one.name == own.name;
                if !found.iter().any(known) {
                    found.push(duplicate);
                }
            }
        }
        found
    }

    /// The longest that nginx waits between two pieces of an answer, anywhere; 60 s unless it is set.
    pub fn patience(&self) -> Duration {
        let is_one = |statement: &&Statement| statement.name.ends_with("_read_timeout");
        let each = self.statements.iter().filter(is_one);
        let each = each.filter_map(|statement| time(statement.args.first()?));
        each.max().unwrap_or_default().max(Duration::from_secs(60))
    }

    /// Where requests are handed to a service without a line in the log at `path`, each with what hides
    /// it there: another `access_log` on the way to it, or one that is `off`.
    pub fn unlogged(&self, service: &str, path: &str) -> Vec<UnloggedPass> {
        let is_pass = |statement: &&Statement| {
            PASSES.contains(&statement.name.as_str())
                && self.is_within(statement, "http")
                && statement.args.first().is_some_and(|target| {
                    host_of(target).0.eq_ignore_ascii_case(service)
                        || self.finds_by_variable(target, service)
                })
        };
        let passes = self.statements.iter().filter(is_pass);
        passes
            .filter_map(|pass| {
                let logs_at = |level: usize| {
                    let here = move |s: &&Statement| s.block == level && s.name == "access_log";
                    self.statements.iter().filter(here).collect::<Vec<_>>()
                };
                let logs = self.levels(pass).into_iter().map(logs_at);
                let nearest = logs.into_iter().find(|logs| !logs.is_empty())?;
                let with = |first: &str| {
                    let is_it =
                        move |one: &&&Statement| one.args.first().is_some_and(|arg| arg == first);
                    nearest.iter().find(is_it)
                };
                let (ours, off) = (with(path).is_some(), with("off"));
                // Ours comes to the http level by itself.
                let at_http = self.block(nearest[0]).name == "http";
                let by = match off {
                    Some(off) => off,
                    None if ours || at_http => return None,
                    None => &nearest[0],
                };
                Some(UnloggedPass {
                    pass: pass.place.clone(),
                    by: by.place.clone(),
                    off: off.is_some(),
                })
            })
            .collect()
    }

    fn foreign_upstreams(&self, service: &str, conf: &str) -> Vec<ConfigLocation> {
        let is_it = |block: &&DirectiveBlock| {
            block.name == "upstream"
                && block.place.file != conf
                && block.parent.is_some_and(|p| self.blocks[p].name == "http")
                && matches!(block.args.as_slice(), [name] if name.eq_ignore_ascii_case(service))
        };
        let found = self.blocks.iter().filter(is_it);
        found.map(|block| block.place.clone()).collect()
    }

    fn pass(
        &self,
        statement: &Statement,
        target: &str,
        port: Option<&str>,
        location: &str,
    ) -> Pass {
        let levels = self.levels(statement);
        let at = |level: usize| self.statements.iter().filter(move |s| s.block == level);
        let included = levels
            .iter()
            .position(|&level| at(level).any(|s| self.includes(s, location)));
        let header = |level: usize| {
            at(level).find(|s| s.name == "proxy_set_header" && s.place.file != location)
        };
        let hidden = included.and_then(|index| {
            let own = levels[..=index]
                .iter()
                .any(|&level| header(level).is_some());
            let outer = levels[index + 1..].iter().find_map(|&level| header(level));
            outer.filter(|_| !own)
        });
        Pass {
            place: statement.place.clone(),
            by: statement.name.clone(),
            target: target.to_owned(),
            port: port.map(str::to_owned),
            settings: included.is_some(),
            hides_headers_of: hidden.map(|s| s.place.clone()),
        }
    }
}

/// Whether a file is in a directory.
fn is_inside(file: &str, directory: &str) -> bool {
    let rest = file.strip_prefix(directory.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.starts_with('/'))
}

/// Host and port of `http://web:80/path`, `grpc://web`, `web:9000`. An IPv6 address is no service.
fn host_of(target: &str) -> (&str, Option<&str>) {
    let rest = target.split_once("://").map_or(target, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    match authority.split_once(':') {
        // A variable may follow: `web:80$request_uri`.
        Some((host, port)) if !port.starts_with('$') => {
            (host, Some(port.split('$').next().unwrap_or(port)))
        }
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    }
}

/// A target with another host and without the port; its scheme, URI and variables stay.
fn with_host(target: &str, host: &str) -> String {
    let scheme_end = target.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = target.split_at(scheme_end);
    let (old, port) = host_of(target);
    let length = old.len() + port.map_or(0, |port| port.len() + 1);
    format!("{scheme}{host}{}", rest.get(length..).unwrap_or_default())
}

/// The address at which nginx reaches a replica: on the first network, by name, that both are on.
pub fn address_for(
    addresses: &BTreeMap<String, IpAddr>,
    nginx_networks: &BTreeSet<String>,
) -> Option<IpAddr> {
    let shared = |(network, _): &(&String, &IpAddr)| nginx_networks.contains(*network);
    addresses.iter().find(shared).map(|(_, address)| *address)
}

/// A time as nginx writes it: `90`, `1500ms`, `1h30m`.
fn time(text: &str) -> Option<Duration> {
    let mut all = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count());
        let (unit, after) =
            after.split_at(after.bytes().take_while(u8::is_ascii_alphabetic).count());
        let millis = match unit {
            "ms" => 1,
            "" | "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        let number: u64 = number.parse().ok()?;
        all = all.checked_add(Duration::from_millis(number.checked_mul(millis)?))?;
        rest = after.trim_start();
    }
    Some(all)
}

#[cfg(test)]
mod tests;
