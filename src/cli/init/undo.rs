//! `compose-scale init --undo`: everything as it was before `init`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{InitArgs, apply, apply::Change, read_record, say, work::shown};
use crate::{
    cli::{Failure, ProjectArgs, output, run},
    compose,
    files::clean,
    init::{OVERRIDE, RECORD, UPSTREAMS, dotenv, record::Record},
    proxy::render,
    state::StateError,
};

pub(super) fn run(project: &ProjectArgs, args: &InitArgs) -> Result<(), Failure> {
    let root = root(project)?;
    let Some(record) = read_record(&root)? else {
        return Err(Failure::Config(format!(
            "nothing here was set up by `init`: there is no {RECORD} in {} or above",
            root.display()
        )));
    };
    let held = hold(project)?;
    let (changes, rest, kept) = plan(&root, &record, args.force)?;
    let text: String = changes.iter().map(shown).collect();
    if args.dry_run {
        output::write(text.as_bytes())?;
        for what in &kept {
            say(what);
        }
        return Ok(());
    }
    apply::apply(&root, &changes)?;
    apply::record(&root, rest.as_ref())?;
    for change in &changes {
        let what = if change.after.is_some() {
            "as before"
        } else {
            "removed"
        };
        say(&format!("{}: {what}", change.shown));
    }
    drop(held);
    if rest.is_none() {
        if record.directories.iter().any(|path| path == UPSTREAMS) {
            sweep(&root.join(UPSTREAMS));
        }
        apply::remove_empty(&root, &record.directories);
    }
    if changes.iter().any(|change| change.shown == OVERRIDE) {
        say("\nnext:\n  docker compose up -d --remove-orphans");
    }
    if kept.is_empty() {
        Ok(())
    } else {
        Err(Failure::Work(kept))
    }
}

/// The directory of the project: where the record is.
fn root(project: &ProjectArgs) -> Result<PathBuf, Failure> {
    let cwd = std::env::current_dir()?;
    let named = project.project_directory.clone();
    let beside = project
        .files
        .first()
        .and_then(|file| file.parent().map(Path::to_owned));
    let start = clean(&cwd.join(named.or(beside).unwrap_or_default()));
    let found = start.ancestors().find(|path| path.join(RECORD).is_file());
    Ok(found.map_or_else(|| start.clone(), Path::to_owned))
}

/// Keeps a `watch` from starting, and fails while one runs: it would write on. A project that cannot be
/// loaded has none that could be found.
fn hold(project: &ProjectArgs) -> Result<Vec<crate::state::Lock>, Failure> {
    let request = project.request(&[])?;
    let Ok(loaded) = compose::load(&request) else {
        return Ok(Vec::new());
    };
    match run::lock(&loaded) {
        Err(failure @ Failure::State(StateError::Held { .. })) => Err(failure),
        other => Ok(other.unwrap_or_default()),
    }
}

/// What to change, what is then left in the record, and what is kept and why.
#[expect(clippy::type_complexity, reason = "three answers of one look")]
fn plan(
    root: &Path,
    record: &Record,
    force: bool,
) -> Result<(Vec<Change>, Option<Record>, Vec<String>), Failure> {
    let mut changes = Vec::new();
    let mut kept = Vec::new();
    let mut rest = record.clone();
    // `.env` first: as long as it names the override, that has to be there.
    if let Some(edit) = &record.dotenv {
        let path = root.join(".env");
        let before = apply::read(&path)?;
        let text = before.as_deref().map(std::str::from_utf8).transpose();
        let Ok(text) = text else {
            let what = ".env: it is not UTF-8, so it is left as it is, and so is all that it names; take compose.scale.yaml out of its COMPOSE_FILE by hand and come back";
            return Ok((Vec::new(), Some(rest), vec![what.into()]));
        };
        match text.map(|text| dotenv::take_back(text, edit)) {
            Some(Ok(after)) => changes.push(Change {
                path,
                shown: ".env".into(),
                before,
                after: after.map(String::into_bytes),
            }),
            // What it still names has to be there.
            Some(Err(dotenv::Changed)) if text.is_some_and(|text| text.contains(OVERRIDE)) => {
                let what = ".env: its COMPOSE_FILE is not the one that `init` wrote, so nothing is taken back; take compose.scale.yaml out of it and come back";
                return Ok((Vec::new(), Some(rest), vec![what.into()]));
            }
            Some(Err(dotenv::Changed)) | None => {}
        }
        rest.dotenv = None;
    }
    for path in record.files.keys() {
        let Some(before) = apply::read(&root.join(path))? else {
            rest.files.remove(path);
            continue;
        };
        if !force && !record.is_unchanged(path, &before) {
            kept.push(format!(
                "{path}: it was changed since `init` wrote it, so it is kept; `init --undo --force` removes it too"
            ));
            continue;
        }
        rest.files.remove(path);
        changes.push(Change {
            path: root.join(path),
            shown: path.clone(),
            before: Some(before),
            after: None,
        });
    }
    // Upstreams are the program's own, whatever is in them.
    let made = record.directories.iter().any(|path| path == UPSTREAMS);
    if made && rest.files.is_empty() {
        for entry in fs::read_dir(root.join(UPSTREAMS))
            .into_iter()
            .flatten()
            .flatten()
        {
            let Ok(Some(bytes)) = apply::read(&entry.path()) else {
                continue;
            };
            if render::owner(&String::from_utf8_lossy(&bytes)).is_some() {
                changes.push(Change {
                    shown: format!("{UPSTREAMS}/{}", entry.file_name().to_string_lossy()),
                    path: entry.path(),
                    before: Some(bytes),
                    after: None,
                });
            }
        }
    }
    let rest = (!rest.files.is_empty()).then_some(rest);
    Ok((changes, rest, kept))
}

/// Removes the hidden files of a `watch` that runs no longer.
fn sweep(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry
            .file_name()
            .to_string_lossy()
            .starts_with(".compose-scale-")
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}
