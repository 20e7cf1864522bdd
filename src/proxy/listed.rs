//! Reading our own upstream files back: who gets traffic when nobody is there to ask.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
};

use super::{Upstream, render};
use crate::files::Directory;

/// A file that is not ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Foreign {
    /// It belongs to another project.
    Project(String),
    /// It does not begin with our header.
    Unmarked,
    /// It cannot be read, or not be trusted.
    Unusable(String),
}

impl Foreign {
    /// Why it stays, and what to do.
    pub(super) fn why(&self) -> String {
        match self {
            Self::Project(owner) => format!(
                "it belongs to the project {owner}; give this project a directory of its own, or delete \
                 the file if that project is gone"
            ),
            Self::Unmarked => {
                "it was not made by compose-scale; move it out of this directory".into()
            }
            Self::Unusable(why) => why.clone(),
        }
    }
}

/// No file of ours is longer: a server takes less than 200 bytes.
const LARGEST: u64 = 1 << 20;

/// The text of a file of this project; `None` where there is no such file.
pub(super) fn read_back(
    directory: &Directory,
    name: &str,
    project: &str,
) -> Result<Option<String>, Foreign> {
    let bytes = match directory.read(name, LARGEST) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Foreign::Unusable(error.to_string())),
    };
    let text = String::from_utf8(bytes).unwrap_or_default();
    match render::owner(&text) {
        Some(owner) if owner == project => Ok(Some(text)),
        Some(owner) if render::header(owner).is_ok() => Err(Foreign::Project(owner.to_owned())),
        _ => Err(Foreign::Unmarked),
    }
}

/// The text of a service's upstream file as it is on this host; `None` where it is not this project's.
pub fn written(directory: &Path, project: &str, service: &str) -> Option<String> {
    let directory = Directory::at(directory).ok()?;
    read_back(&directory, &render::upstream_name(service), project).ok()?
}

/// The containers that each service's file lists, by the names in its comments; empty where nothing
/// was written yet.
pub fn listed(directory: &Path, project: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found = BTreeMap::new();
    let Ok(directory) = Directory::at(directory) else {
        return found;
    };
    for name in directory.names().unwrap_or_default() {
        let Some(service) = name.strip_suffix(".conf") else {
            continue;
        };
        if let Ok(Some(text)) = read_back(&directory, &name, project) {
            found.insert(service.to_owned(), servers(&text));
        }
    }
    found
}

/// Whether the project's own files, by name, are those of these upstreams and list exactly their servers.
pub(super) fn asks_for(files: &BTreeMap<String, String>, upstreams: &[Upstream]) -> bool {
    let listing = files
        .keys()
        .filter(|name| name.strip_suffix(".conf").is_some() && *name != render::HTTP);
    listing.count() == upstreams.len()
        && upstreams.iter().all(|upstream| {
            let text = files.get(&render::upstream_name(&upstream.service));
            text.is_some_and(|text| {
                let listed: BTreeSet<_> = lines(text).collect();
                let wanted: Vec<_> = upstream
                    .servers
                    .iter()
                    .map(|server| (server.address.to_string(), server.name.as_str()))
                    .collect();
                listed.len() == wanted.len()
                    && wanted
                        .iter()
                        .all(|(address, name)| listed.contains(&(address.as_str(), name)))
            })
        })
}

fn servers(text: &str) -> BTreeSet<String> {
    lines(text).map(|(_, name)| name.to_owned()).collect()
}

/// The address and the name of each server.
fn lines(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| {
        let (server, name) = line
            .trim_start()
            .strip_prefix("server ")?
            .split_once("; # ")?;
        Some((server.split_whitespace().next()?, name.trim()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        policy::Balance,
        proxy::{Features, Server, Upstream},
    };

    fn web(numbers: &[u8]) -> Upstream {
        Upstream {
            service: "web".into(),
            balance: Balance::LeastConn,
            servers: numbers
                .iter()
                .map(|number| Server {
                    number: u32::from(*number),
                    name: format!("shop-web-{number}"),
                    address: ([172, 18, 0, *number], 80).into(),
                    weight: Balance::FULL,
                })
                .collect(),
        }
    }

    #[test]
    fn files_ask_for_what_they_were_written_for_and_for_nothing_else() {
        let file = |upstream: &Upstream| {
            let text = render::upstream("shop", upstream, &Features::default()).unwrap();
            (render::upstream_name(&upstream.service), text)
        };
        let files = BTreeMap::from([
            file(&web(&[1, 2])),
            (render::HTTP.to_owned(), String::new()),
        ]);
        assert!(asks_for(&files, &[web(&[1, 2])]));
        assert!(!asks_for(&files, &[web(&[1])]));
        assert!(!asks_for(&files, &[web(&[1, 2, 3])]));
        assert!(!asks_for(&files, &[]));
        let mut moved = web(&[1, 2]);
        moved.servers[0].address.set_port(8080);
        assert!(!asks_for(&files, &[moved]));
        let mut other = web(&[1, 2]);
        other.service = "api".into();
        assert!(!asks_for(&files, &[other.clone()]));
        assert!(!asks_for(&files, &[web(&[1, 2]), other]));
        assert!(!asks_for(&BTreeMap::from([file(&web(&[]))]), &[web(&[1])]));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let upstream = web(&[1, 2]);
        let text = render::upstream("shop", &upstream, &Features::default()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        crate::files::replace(&dir.path().join("web.conf"), text.as_bytes()).unwrap();
        crate::files::replace(&dir.path().join("other.conf"), b"upstream other {}").unwrap();
        let expected = BTreeSet::from(["shop-web-1".to_owned(), "shop-web-2".to_owned()]);
        assert_eq!(
            listed(dir.path(), "shop"),
            BTreeMap::from([("web".to_owned(), expected)])
        );
        assert!(listed(dir.path(), "another").is_empty());
    }
}
