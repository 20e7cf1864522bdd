//! A file for each object in a directory, and a `kustomization.yaml` that names them.
//!
//! Every file begins with a digest of what follows. What has been changed since is somebody's work, and
//! is not written over; what is no longer made and was not changed is removed.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{Export, Failure, count, whole};
use crate::{export::yaml, files, telemetry::plain, units::hex};

/// Names all others.
const KUSTOMIZATION: &str = "kustomization.yaml";
/// The line that our files begin with, and the digest's first digits behind it.
const MARK: &str = "# compose-scale export kubernetes: changes belong into an overlay; digest ";
const DIGITS: usize = 16;

/// Whose a file is that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Nobody,
    Us,
    /// Ours at first.
    Changed,
    Somebody,
}

fn marked(body: &str) -> String {
    let digest = hex(&Sha256::digest(body));
    format!("{MARK}{}\n{body}", &digest[..DIGITS])
}

fn owner(path: &Path) -> io::Result<Owner> {
    let text = match fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Owner::Nobody),
        Err(error) => return Err(error),
    };
    let Some(rest) = text.strip_prefix(MARK) else {
        return Ok(Owner::Somebody);
    };
    let body = rest.split_once('\n').map_or("", |(_, body)| body);
    Ok(if marked(body) == text {
        Owner::Us
    } else {
        Owner::Changed
    })
}

fn cannot(path: &Path, error: &io::Error) -> Failure {
    Failure::Work(vec![format!("cannot use {}: {error}", path.display())])
}

pub(super) fn write(directory: &Path, export: &Export) -> Result<(), Failure> {
    let mut texts: BTreeMap<String, (String, bool)> = BTreeMap::new();
    for object in &export.objects {
        let is_private = object.kind() == "Secret";
        texts.insert(object.file(), (marked(&yaml::document(object)), is_private));
    }
    let names: Vec<_> = export
        .objects
        .iter()
        .map(crate::export::Object::file)
        .collect();
    let kustomization = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": export.namespace,
        "resources": names,
    });
    let kustomization = marked(&(whole(export) + &yaml::plain(&kustomization)));

    let old = old(directory)?;
    let mut theirs = Vec::new();
    for name in texts.keys().map(String::as_str).chain([KUSTOMIZATION]) {
        match old.get(name) {
            Some(Owner::Changed) => {
                theirs.push(format!("{name} has been changed since it was made"));
            }
            Some(Owner::Somebody) => {
                theirs.push(format!("{name} is there and was not made by this command"));
            }
            _ => {}
        }
    }
    if !theirs.is_empty() {
        theirs.push(format!(
            "nothing was written: choose another directory than {}, or move what is yours into an overlay (docs: export.md, Changes of your own)",
            directory.display()
        ));
        return Err(Failure::Work(theirs));
    }
    fs::create_dir_all(directory).map_err(|error| cannot(directory, &error))?;
    let mut changed = 0;
    for (name, (text, is_private)) in &texts {
        let path = directory.join(name);
        let put = if *is_private {
            files::replace_private
        } else {
            files::replace
        };
        changed += usize::from(put(&path, text.as_bytes()).map_err(|error| cannot(&path, &error))?);
    }
    let path = directory.join(KUSTOMIZATION);
    changed += usize::from(
        files::replace(&path, kustomization.as_bytes()).map_err(|error| cannot(&path, &error))?,
    );
    for (name, owner) in &old {
        if texts.contains_key(name) || name == KUSTOMIZATION {
            continue;
        }
        let path: PathBuf = directory.join(name);
        match owner {
            Owner::Us => {
                files::remove(&path).map_err(|error| cannot(&path, &error))?;
                tracing::info!("{} is no longer needed, and removed", plain(name));
            }
            Owner::Changed => tracing::warn!(
                "{} is no longer needed; it has been changed since it was made, so it stays, and {KUSTOMIZATION} does not name it",
                plain(name)
            ),
            Owner::Nobody | Owner::Somebody => {}
        }
    }
    tracing::info!(
        "{} in {}, {} changed; `kubectl apply -k {}` puts them into the namespace {}",
        count(texts.len(), "object", "objects"),
        plain(&directory.display().to_string()),
        count(changed, "file", "files"),
        plain(&directory.display().to_string()),
        export.namespace
    );
    Ok(())
}

/// The YAML files that are there.
fn old(directory: &Path) -> Result<BTreeMap<String, Owner>, Failure> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(cannot(directory, &error)),
    };
    let mut all = BTreeMap::new();
    for entry in entries {
        let entry = entry.map_err(|error| cannot(directory, &error))?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let path = entry.path();
        let is_yaml = path
            .extension()
            .is_some_and(|extension| extension == "yaml");
        if is_yaml && !path.is_dir() {
            let owner = owner(&path).map_err(|error| cannot(&path, &error))?;
            all.insert(name, owner);
        }
    }
    Ok(all)
}
