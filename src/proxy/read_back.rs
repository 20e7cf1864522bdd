//! Reading our own upstream files back: who gets traffic when nobody is there to ask.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::SocketAddr,
    path::Path,
};

use super::{ProxyError, Upstream, render};
use crate::files::{self, Directory};

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

/// Which address nginx has for each container, by its name in the comments of a service's file, by
/// service; empty where nothing was written yet.
pub fn listed(directory: &Path, project: &str) -> BTreeMap<String, Listed> {
    let Ok(directory) = Directory::at(directory) else {
        return BTreeMap::new();
    };
    upstreams(&directory, project)
        .into_iter()
        .map(|(service, _, text)| {
            let servers = lines(&text).filter_map(|(address, name)| {
                let address = address.parse().ok()?;
                Some((name.to_owned(), address))
            });
            (service, servers.collect())
        })
        .collect()
}

/// The address of each container of one service, by its name.
pub type Listed = BTreeMap<String, SocketAddr>;

/// Takes every server out of the project's upstreams, so that an nginx that starts answers 502 and sends
/// nothing to an address that may be another container's by now. Returns the services.
pub fn close(path: &Path, project: &str) -> Result<Vec<String>, ProxyError> {
    let unwritable = |name: &str, error: &io::Error| ProxyError::Unwritable {
        path: path.join(name),
        why: error.to_string(),
    };
    let directory = match Directory::at(path) {
        Ok(directory) => directory,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unwritable("", &error)),
    };
    let mut closed = Vec::new();
    for (service, name, text) in upstreams(&directory, project) {
        let without = render::reduced(&text, &BTreeSet::new());
        let changed = directory
            .replace(&name, without.as_bytes(), files::PUBLIC)
            .map_err(|error| unwritable(&name, &error))?;
        if changed {
            closed.push(service);
        }
    }
    Ok(closed)
}

/// The project's upstream files: the service, the name of the file, the text.
fn upstreams(directory: &Directory, project: &str) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    for name in directory.names().unwrap_or_default() {
        let service = name.strip_suffix(".conf");
        let Some(service) = service.filter(|_| name != render::HTTP) else {
            continue;
        };
        if let Ok(Some(text)) = read_back(directory, &name, project) {
            found.push((service.to_owned(), name.clone(), text));
        }
    }
    found.sort();
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
    use std::fs;

    use super::*;
    use crate::{
        policy::Balance,
        proxy::{Features, Upstream, UpstreamServer},
    };

    fn web(numbers: &[u8]) -> Upstream {
        Upstream {
            service: "web".into(),
            balance: Balance::LeastConn,
            servers: numbers
                .iter()
                .map(|number| UpstreamServer {
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
        files::replace(&dir.path().join("web.conf"), text.as_bytes()).unwrap();
        files::replace(&dir.path().join("other.conf"), b"upstream other {}").unwrap();
        let expected = BTreeMap::from([
            ("shop-web-1".to_owned(), ([172, 18, 0, 1], 80).into()),
            ("shop-web-2".to_owned(), ([172, 18, 0, 2], 80).into()),
        ]);
        assert_eq!(
            listed(dir.path(), "shop"),
            BTreeMap::from([("web".to_owned(), expected)])
        );
        assert!(listed(dir.path(), "another").is_empty());
    }

    #[test]
    fn what_is_closed_has_no_server_and_is_complete_all_the_same() {
        let text = render::upstream("shop", &web(&[1, 2]), &Features::default()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.conf");
        let http = dir.path().join(render::HTTP);
        let others = dir.path().join("api.conf");
        let header = text.lines().next().unwrap();
        let written = |path: &Path, text: &str| files::replace(path, text.as_bytes()).unwrap();
        written(&path, &text);
        written(&http, &format!("{header}\nlog_format x y;\n"));
        written(&others, &text.replace("shop", "another"));
        // What is elsewhere is not ours, whatever it says.
        let outside = tempfile::NamedTempFile::new().unwrap();
        written(outside.path(), &text);
        std::os::unix::fs::symlink(outside.path(), dir.path().join("link.conf")).unwrap();

        assert_eq!(close(dir.path(), "shop").unwrap(), ["web"]);
        let closed = fs::read_to_string(&path).unwrap();
        assert_eq!(lines(&closed).count(), 0, "{closed}");
        assert!(closed.contains("server 127.0.0.1:9 down;"), "{closed}");
        let others_stay = |text: &str| {
            text.lines()
                .filter(|line| !line.contains("server "))
                .count()
        };
        assert_eq!(others_stay(&closed), others_stay(&text));
        assert_eq!(
            fs::read_to_string(&others).unwrap(),
            text.replace("shop", "another")
        );
        assert_eq!(fs::read_to_string(outside.path()).unwrap(), text);
        assert!(fs::read_to_string(&http).unwrap().contains("log_format"));
        assert_eq!(
            close(dir.path(), "shop").unwrap(),
            [""; 0],
            "once is enough"
        );
    }
}
