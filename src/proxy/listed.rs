//! Reading our own upstream files back: who gets traffic when nobody is there to ask.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::{ProxyError, Upstream, render};
use crate::files;

/// Which address nginx has for each container, by its name in the comments of a service's file, by
/// service; empty where nothing was written yet.
pub fn listed(directory: &Path, project: &str) -> BTreeMap<String, Listed> {
    let files = upstreams(directory, project).into_iter();
    files
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
pub fn close(directory: &Path, project: &str) -> Result<Vec<String>, ProxyError> {
    let mut closed = Vec::new();
    for (service, path, text) in upstreams(directory, project) {
        let without = render::reduced(&text, &BTreeSet::new());
        let written = files::replace(&path, without.as_bytes());
        let changed = written.map_err(|error| ProxyError::Unwritable {
            path,
            why: error.to_string(),
        })?;
        if changed {
            closed.push(service);
        }
    }
    Ok(closed)
}

/// The project's upstream files: the service, the path, the text.
fn upstreams(directory: &Path, project: &str) -> Vec<(String, PathBuf, String)> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
        .filter_map(|entry| {
            let path = entry.path();
            let name = path.file_name()?.to_str()?;
            let service = name
                .strip_suffix(".conf")
                .filter(|_| name != render::HTTP)?;
            let text = fs::read_to_string(&path).ok()?;
            (render::owner(&text) == Some(project))
                .then(|| (service.to_owned(), path.clone(), text))
        })
        .collect();
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
