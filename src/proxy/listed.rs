//! Reading our own upstream files back: who gets traffic when nobody is there to ask.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use super::render;

/// The containers that each service's file lists, by the names in its comments; empty where nothing
/// was written yet.
pub fn listed(directory: &Path, project: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let Some(service) = path
            .file_name()
            .and_then(|name| name.to_str()?.strip_suffix(".conf").map(ToOwned::to_owned))
        else {
            continue;
        };
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        if render::owner(&text) == Some(project) {
            found.insert(service, servers(&text));
        }
    }
    found
}

fn servers(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter(|line| line.trim_start().starts_with("server "))
        .filter_map(|line| line.split_once("; # "))
        .map(|(_, name)| name.trim().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        policy::Balance,
        proxy::{Features, Server, Upstream},
    };

    #[test]
    fn what_is_written_is_read_back() {
        let upstream = Upstream {
            service: "web".into(),
            balance: Balance::LeastConn,
            servers: (1..=2)
                .map(|number| Server {
                    number,
                    name: format!("shop-web-{number}"),
                    address: ([172, 18, 0, number as u8], 80).into(),
                })
                .collect(),
        };
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
