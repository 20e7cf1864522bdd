//! A file for each object in a directory, and a `kustomization.yaml` that names them.
//!
//! Every file begins with whose it is and a digest of what follows. What has been changed since is somebody's
//! work, and is not written over; what is no longer made, was listed, and was not changed is removed.

use std::{collections::BTreeSet, fs, io, path::Path};

use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{Export, Failure, count, whole};
use crate::{
    export::{Object, yaml},
    files,
    telemetry::plain,
    units::hex,
};

/// Names all others.
const KUSTOMIZATION: &str = "kustomization.yaml";
/// What kubectl reads in its place, and refuses beside it.
const OTHERS: [&str; 2] = ["kustomization.yml", "Kustomization"];
/// What our files begin with; the rest of the line is what was exported, and the digest's first digits.
const MARK: &str = "# compose-scale export kubernetes: ";
const DIGITS: usize = 16;

/// Whose a file is that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Owner {
    Nobody,
    /// Ours, as it was made, of this export.
    Us(String),
    /// Ours at first.
    Changed,
    Somebody,
}

fn marked(what: &str, body: &str) -> String {
    let digest = hex(&Sha256::digest(body));
    format!(
        "{MARK}{what}; changes belong into an overlay; {}\n{body}",
        &digest[..DIGITS]
    )
}

/// A link or a directory is somebody's, and so is what cannot be read.
fn owner(path: &Path) -> Owner {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Owner::Nobody,
        Ok(found) if found.is_file() => {}
        _ => return Owner::Somebody,
    }
    let Ok(text) = files::read_content_text(path) else {
        return Owner::Somebody;
    };
    let Some((line, body)) = text
        .strip_prefix(MARK)
        .and_then(|rest| rest.split_once('\n'))
    else {
        return Owner::Somebody;
    };
    let what = line.split("; ").next().unwrap_or_default();
    if marked(what, body) == text {
        Owner::Us(what.to_owned())
    } else {
        Owner::Changed
    }
}

fn cannot(path: &Path, error: &io::Error) -> Failure {
    Failure::Work(vec![format!("cannot use {}: {error}", path.display())])
}

/// Writes an export, `what` of which says what it is of.
pub(super) fn write(directory: &Path, what: &str, export: &Export) -> Result<(), Failure> {
    let names: Vec<String> = export.objects.iter().map(Object::file).collect();
    let before = listed(directory);
    let wrong = in_the_way(directory, what, names.iter().map(String::as_str));
    if !wrong.is_empty() {
        let mut lines = wrong;
        lines.push(format!(
            "nothing was written: choose another directory than {}, or move your own files into an overlay (docs: export.md, Changes of your own)",
            directory.display()
        ));
        return Err(Failure::Work(lines));
    }
    fs::create_dir_all(directory).map_err(|error| cannot(directory, &error))?;
    let mut changed = 0;
    for (name, object) in names.iter().zip(&export.objects) {
        let path = directory.join(name);
        let is_secret = object.kind() == "Secret";
        let put = if is_secret {
            files::replace_private
        } else {
            files::replace
        };
        let text = marked(what, &yaml::document(object));
        let new = put(&path, text.as_bytes()).map_err(|error| cannot(&path, &error))?;
        changed += usize::from(new);
    }
    let kustomization = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": export.namespace,
        "resources": names,
    });
    let path = directory.join(KUSTOMIZATION);
    let text = marked(what, &(whole(export) + &yaml::plain(&kustomization)));
    let new = files::replace(&path, text.as_bytes()).map_err(|error| cannot(&path, &error))?;
    changed += usize::from(new);
    for name in before.iter().filter(|name| !names.contains(name)) {
        remove(directory, name)?;
    }
    let shown = plain(&directory.display().to_string()).into_owned();
    tracing::info!(
        "{} in {shown}, {} changed; `kubectl apply -k {shown}` applies them to the namespace {}",
        count(names.len(), "object", "objects"),
        count(changed, "file", "files"),
        export.namespace
    );
    Ok(())
}

/// What would be written over, or would make the directory one that kubectl refuses.
fn in_the_way<'a>(
    directory: &Path,
    what: &str,
    names: impl Iterator<Item = &'a str>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for name in names.chain([KUSTOMIZATION]) {
        let name_and = |words: &str| format!("{} {words}", plain(name));
        match owner(&directory.join(name)) {
            Owner::Nobody => {}
            Owner::Us(of) if of == what => {}
            Owner::Us(of) => wrong.push(name_and(&format!("belongs to another export: {of}"))),
            Owner::Changed => wrong.push(name_and("has been changed since it was made")),
            Owner::Somebody => wrong.push(name_and("exists and was not made by this command")),
        }
    }
    for name in OTHERS {
        if owner(&directory.join(name)) != Owner::Nobody {
            wrong.push(format!(
                "{name} exists, and kubectl accepts only one such file"
            ));
        }
    }
    wrong
}

/// The files that the last export has listed, where its list is as it was made.
fn listed(directory: &Path) -> BTreeSet<String> {
    let path = directory.join(KUSTOMIZATION);
    if !matches!(owner(&path), Owner::Us(_)) {
        return BTreeSet::new();
    }
    let text = files::read_content_text(&path).unwrap_or_default();
    let items = text.lines().filter_map(|line| line.strip_prefix("  - "));
    items
        .filter(|name| !name.contains('/'))
        .map(ToOwned::to_owned)
        .collect()
}

fn remove(directory: &Path, name: &str) -> Result<(), Failure> {
    let path = directory.join(name);
    match owner(&path) {
        Owner::Us(_) => {
            files::remove(&path).map_err(|error| cannot(&path, &error))?;
            tracing::info!("removed {}, which is no longer needed", plain(name));
        }
        Owner::Changed => tracing::warn!(
            "{} is no longer needed; it has been changed since it was made, so it stays, and {KUSTOMIZATION} does not name it",
            plain(name)
        ),
        Owner::Nobody | Owner::Somebody => {}
    }
    Ok(())
}
