//! `compose-scale init --undo`: everything as it was before `init`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    BY_HAND, InitArgs, apply, apply::FileChange, file_changes::shown, is_made_here, read_record,
    say,
};
use crate::{
    cli::{Failure, ProjectArgs, driver_setup, output, working_directory},
    compose,
    files::{self, Directory, clean},
    init::{
        DIRECTORY, OVERRIDE, RECORD, UPSTREAMS, dotenv,
        manifest::{IngressMode, Manifest},
    },
    proxy::render,
    state::{Lock, StateDir, StateError},
    watch::{Claim, service_setup},
};

pub(super) async fn run(project: &ProjectArgs, args: &InitArgs) -> Result<(), Failure> {
    let root = root(project)?;
    let Some(record) = read_record(&root)? else {
        if is_made_here(&root) {
            return Err(Failure::Config(format!("{RECORD} is missing; {BY_HAND}")));
        }
        return nothing(&root, args.dry_run);
    };
    if args.dry_run {
        let UndoPlan { changes, kept, .. } = plan(&root, &record, args.force)?;
        let text: String = changes.iter().map(shown).collect();
        output::write(text.as_bytes())?;
        for what in &kept {
            say(what);
        }
        return Ok(());
    }
    let held = hold(project, &root).await?;
    let UndoPlan {
        changes,
        rest,
        kept,
    } = plan(&root, &record, args.force)?;
    apply::apply(&root, &changes)?;
    for change in &changes {
        let what = if change.after.is_some() {
            "as before"
        } else {
            "removed"
        };
        say(&format!("{}: {what}", change.shown));
    }
    let paths = record.paths().into_iter().map(String::as_str);
    for path in paths.chain([".env", RECORD]) {
        let _ = apply::remove_leftover(&root, path);
    }
    drop(held);
    if rest.is_none() {
        if record.directories.iter().any(|path| path == UPSTREAMS)
            && let Ok(directory) = upstreams(&root)
        {
            sweep(&directory);
        }
        // The record goes last of all files: until then another `--undo` goes on from here.
        apply::remove_empty(&root, &record.directories);
    }
    apply::record(&root, rest.as_ref())?;
    if rest.is_none() {
        apply::remove_empty(&root, &[DIRECTORY.to_owned()]);
    }
    let has_upstreams = record
        .paths()
        .iter()
        .any(|path| path.starts_with(UPSTREAMS));
    // Without `.env` the override counts no longer, kept or not: what it had added is an orphan then.
    let counted = |change: &FileChange| [OVERRIDE, ".env"].contains(&change.shown.as_str());
    let counts_no_longer = changes.iter().any(counted);
    if record.nginx != IngressMode::New && has_upstreams && (kept.is_empty() || counts_no_longer) {
        say(
            "\nin nginx's own configuration: remove the two `include` lines that you added for `init`, and set proxy_pass to the previous address and port",
        );
    }
    if counts_no_longer {
        let name = project.project_name.as_deref();
        let flags = name.map(|name| format!("-p {name}")).unwrap_or_default();
        let up = compose::typed(&flags, "docker compose up -d --remove-orphans");
        say(&format!("\nnext:\n  {up}"));
    }
    if kept.is_empty() {
        Ok(())
    } else {
        Err(Failure::Work(kept))
    }
}

/// The directory of the project: where the record is, at most as far up as compose would look for it.
fn root(project: &ProjectArgs) -> Result<PathBuf, Failure> {
    let cwd = working_directory()?;
    let named = project.project_directory.clone();
    let beside = project
        .files
        .first()
        .and_then(|file| file.parent().map(Path::to_owned));
    let start = clean(&cwd.join(named.or(beside).unwrap_or_default()));
    let is_project = |path: &&Path| {
        let lists_files = files::read_content_text(&path.join(".env"))
            .is_ok_and(|text| dotenv::files(&text).is_some_and(|files| !files.is_empty()));
        path.join(RECORD).is_file() || lists_files || compose::has_compose_file(path)
    };
    let found = start.ancestors().find(is_project).unwrap_or(&start);
    // Its files may be in a directory below, which is the project's then.
    let places = compose::places(&project.request(&[])?);
    let below = places.ok().map(|places| places.directory);
    let below = below.filter(|path| path.starts_with(found) && path.join(RECORD).is_file());
    Ok(match below {
        Some(below) if !found.join(RECORD).is_file() => below,
        _ => found.to_owned(),
    })
}

/// There is no record. An `init` that was ended at its very beginning may have left an empty directory.
fn nothing(root: &Path, dry_run: bool) -> Result<(), Failure> {
    let home = root.join(DIRECTORY);
    if home.is_dir() && !dry_run {
        apply::remove_leftover(root, RECORD)?;
        if fs::remove_dir(&home).is_ok() {
            say(&format!(
                "{DIRECTORY}: removed; nothing else had been written"
            ));
            return Ok(());
        }
    }
    Err(Failure::Config(format!(
        "nothing here was set up by `init`: there is no {RECORD} in {}",
        root.display()
    )))
}

/// What keeps a `watch` from starting.
#[derive(Default)]
struct Held {
    locks: Vec<Lock>,
    /// The same by Engine and project.
    claim: Option<Claim>,
    /// The lock beside nginx's files, which nobody else would remove.
    beside: Option<PathBuf>,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(path) = &self.beside {
            let _ = files::remove(path);
        }
        self.claim = None;
        self.locks.clear();
    }
}

/// Keeps a `watch` of the project that is taken back from starting, and fails while one runs: it would
/// write on.
async fn hold(project: &ProjectArgs, root: &Path) -> Result<Held, Failure> {
    let mut request = project.request(&[])?;
    request.files = Vec::new();
    request.project_directory = None;
    root.clone_into(&mut request.cwd);
    let (name, held) = if let Ok(loaded) = compose::load(&request) {
        let held = driver_setup::lock(&loaded).map(|locks| Held {
            locks,
            claim: None,
            beside: Some(driver_setup::writers_lock(
                &loaded,
                &service_setup::upstreams(&loaded),
            )),
        });
        (loaded.project.name, held)
    } else {
        // One that was started when the files were good may go on with what it read.
        let name =
            compose::likely_name(&request).or_else(|| compose::likely_name_without_files(&request));
        let Some(name) = name else {
            return Ok(Held::default());
        };
        let lock = StateDir::locate(&request.env, &name).lock();
        let held = lock.map_err(Failure::from).map(|lock| Held {
            locks: vec![lock],
            claim: None,
            beside: None,
        });
        (name, held)
    };
    let held = match held {
        Ok(mut held) => {
            let claimed = driver_setup::claim_where_it_answers(&name).await;
            claimed.map(|claim| {
                held.claim = Some(claim);
                held
            })
        }
        Err(failure) => Err(failure),
    };
    match held {
        Err(failure @ Failure::State(StateError::Held { .. })) => {
            say(
                "nothing is undone while a `watch` runs, because it would keep writing: stop it first",
            );
            Err(failure)
        }
        other => Ok(other.unwrap_or_default()),
    }
}

/// What to do.
struct UndoPlan {
    changes: Vec<FileChange>,
    /// What is left in the record.
    rest: Option<Manifest>,
    /// What is kept, and why.
    kept: Vec<String>,
}

fn plan(root: &Path, record: &Manifest, force: bool) -> Result<UndoPlan, Failure> {
    let mut plan = UndoPlan {
        changes: Vec::new(),
        rest: None,
        kept: Vec::new(),
    };
    // `.env` first: as long as it names the override, that has to be there.
    match dotenv_change(root, record)? {
        Ok(change) => plan.changes.extend(change),
        Err(why) => {
            plan.kept.push(why);
            plan.rest = Some(record.clone());
            return Ok(plan);
        }
    }
    let mut rest = record.clone();
    rest.dotenv = None;
    rest.earlier = None;
    rest.files.clear();
    for path in record.paths() {
        let before = apply::read(root, path)?;
        let after = record.replaced.get(path).cloned().map(String::into_bytes);
        if before == after {
            continue;
        }
        if let Some(bytes) = &before
            && !force
            && !record.is_unchanged(path, bytes)
        {
            let force = if after.is_some() {
                "restores the previous file"
            } else {
                "removes it too"
            };
            plan.kept.push(format!(
                "{path}: it was changed since `init` wrote it, so it is kept; `init --undo --force` {force}"
            ));
            let sum = record.files.get(path).cloned().unwrap_or_default();
            rest.files.insert(path.clone(), sum);
            continue;
        }
        plan.changes.push(FileChange {
            shown: path.clone(),
            before,
            after,
        });
    }
    // What the override mounts stays with it: whoever names it again has all of it.
    if rest.files.contains_key(OVERRIDE) {
        let inside = |change: &mut FileChange| Path::new(&change.shown).starts_with(DIRECTORY);
        for change in plan.changes.extract_if(.., inside) {
            let sum = record.files.get(&change.shown).cloned().unwrap_or_default();
            plan.kept.push(format!(
                "{}: kept with {OVERRIDE}, which mounts it",
                change.shown
            ));
            rest.files.insert(change.shown, sum);
        }
    }
    // Upstreams are the program's own, whatever is in them.
    let made = record.directories.iter().any(|path| path == UPSTREAMS);
    if made && rest.files.is_empty() {
        for name in upstreams(root)
            .and_then(|there| there.names())
            .unwrap_or_default()
        {
            let shown = format!("{UPSTREAMS}/{name}");
            let Ok(Some(bytes)) = apply::read(root, &shown) else {
                continue;
            };
            if render::owner(&String::from_utf8_lossy(&bytes)).is_some() {
                plan.changes.push(FileChange {
                    shown,
                    before: Some(bytes),
                    after: None,
                });
            }
        }
    }
    plan.rest = (!rest.files.is_empty()).then_some(rest);
    Ok(plan)
}

/// The line of before; or why nothing can be taken back.
fn dotenv_change(
    root: &Path,
    record: &Manifest,
) -> Result<Result<Option<FileChange>, String>, Failure> {
    let before = apply::read(root, ".env")?;
    let text = before.as_deref().map(std::str::from_utf8).transpose();
    let Ok(text) = text else {
        let what = ".env: it is not UTF-8, so it is kept, with all files that it names; remove compose.scale.yaml from its COMPOSE_FILE by hand, then run this again";
        return Ok(match record.edits().next() {
            Some(_) => Err(what.into()),
            None => Ok(None),
        });
    };
    let text = text.unwrap_or_default();
    let taken_back = record
        .edits()
        .find_map(|edit| dotenv::take_back(text, edit).ok());
    // What it names in the end has to be there.
    let last = match &taken_back {
        Some(after) => after.as_deref().unwrap_or_default(),
        None => text,
    };
    let names_it = dotenv::files(last).is_some_and(|files| files.contains(OVERRIDE));
    let stays = record.replaced.contains_key(OVERRIDE);
    if names_it && !stays && record.edits().next().is_some() {
        let what = ".env: its COMPOSE_FILE is not the one that `init` wrote, so nothing is undone; remove compose.scale.yaml from it, then run this again";
        return Ok(Err(what.into()));
    }
    Ok(Ok(taken_back.map(|after| FileChange {
        shown: ".env".into(),
        before,
        after: after.map(String::into_bytes),
    })))
}

/// The directory of upstreams that `init` makes, never through a link.
fn upstreams(root: &Path) -> io::Result<Directory> {
    let parts = Path::new(UPSTREAMS);
    parts
        .iter()
        .try_fold(Directory::at(root)?, |directory, part| {
            directory.inner(part)
        })
}

/// Removes the hidden files of a `watch` that runs no longer.
fn sweep(directory: &Directory) {
    for name in directory.names().unwrap_or_default() {
        let is_unfinished = name.starts_with('.') && name.rsplit('.').next() == Some("tmp");
        if name.starts_with(".compose-scale-") || is_unfinished {
            let _ = directory.remove(name);
        }
    }
}
