//! What has to be done to the files of a project, shown and done.

use owo_colors::OwoColorize as _;

use super::{
    Site,
    apply::{self, Change},
};
use crate::{
    cli::{Failure, ProjectArgs},
    compose::{self, count},
    init::{
        DIRECTORY, Draft, OVERRIDE, diff, dotenv,
        record::{self, Choice, Door, Record},
        relative,
    },
    telemetry::plain,
};

/// What has to be done to the files.
pub(super) struct Work {
    pub(super) changes: Vec<Change>,
    /// Files that are not ours, or no longer.
    pub(super) in_the_way: Vec<String>,
    dotenv: Option<dotenv::Edit>,
    /// What is recorded of files: those of this draft.
    files: Vec<(String, Vec<u8>)>,
}

impl Work {
    pub(super) fn of(
        project: &ProjectArgs,
        site: &Site,
        draft: &Draft,
        force: bool,
    ) -> Result<Self, Failure> {
        let mut work = Self {
            changes: Vec::new(),
            in_the_way: Vec::new(),
            dotenv: None,
            files: Vec::new(),
        };
        let record = site.record.as_ref();
        for file in &draft.files {
            let shown = file.path.display().to_string();
            let before = apply::read(&site.path(&file.path))?;
            let mut text = file.text.clone();
            // The count that runs is not set back to the first one.
            if shown == OVERRIDE
                && let (Some(before), Some(record)) = (&before, record)
            {
                let services = record.services.iter().map(|one| one.service.clone());
                let services: Vec<_> = services.collect();
                text = count::carried(&String::from_utf8_lossy(before), &text, &services);
            }
            let after = text.into_bytes();
            if let Some(before) = before.as_ref().filter(|before| **before != after)
                && !record.is_some_and(|record| record.is_unchanged(&shown, before))
                && !force
            {
                work.in_the_way.push(shown.clone());
            }
            work.files.push((shown.clone(), after.clone()));
            work.change(site, shown, before, Some(after));
        }
        for file in &draft.upstreams {
            let before = apply::read(&site.path(&file.path))?;
            // What `watch` has written since is the truth; the first one may be for another port.
            let is_due = before
                .as_ref()
                .is_none_or(|before| is_first(before, &file.text));
            if is_due {
                let after = Some(file.text.clone().into_bytes());
                work.change(site, file.path.display().to_string(), before, after);
            }
        }
        // What an earlier answer asked for and this one does not.
        for path in record.into_iter().flat_map(|record| record.files.keys()) {
            let gone = !work.files.iter().any(|(file, _)| file == path);
            let before = apply::read(&site.path(path))?;
            if let Some(before) = before.filter(|_| gone) {
                if record.is_some_and(|record| record.is_unchanged(path, &before)) || force {
                    work.change(site, path.clone(), Some(before), None);
                } else {
                    work.in_the_way.push(path.clone());
                }
            }
        }
        work.dotenv(project, site)?;
        Ok(work)
    }

    /// `.env` comes last: with it the rest begins to count.
    fn dotenv(&mut self, project: &ProjectArgs, site: &Site) -> Result<(), Failure> {
        let places = &site.places;
        if places.files.contains(&site.path(OVERRIDE)) {
            return Ok(());
        }
        let files: Vec<_> = places
            .files
            .iter()
            .map(|file| relative(&places.directory, file))
            .collect();
        let odd = |file: &&String| file.contains(&places.separator) || file.contains('\'');
        if let Some(file) = files.iter().find(odd) {
            return Err(Failure::Usage(format!(
                "the name of {file} cannot be written into COMPOSE_FILE; give the file another one"
            )));
        }
        let before = apply::read(&site.path(".env"))?;
        let text = before.as_deref().map(String::from_utf8_lossy);
        let anew = !project.files.is_empty();
        let added = dotenv::add(text.as_deref(), &files, OVERRIDE, &places.separator, anew);
        if let Some((after, edit)) = added {
            self.dotenv = Some(edit);
            self.change(site, ".env".into(), before, Some(after.into_bytes()));
        }
        Ok(())
    }

    fn change(
        &mut self,
        site: &Site,
        shown: String,
        before: Option<Vec<u8>>,
        after: Option<Vec<u8>>,
    ) {
        if before != after {
            self.changes.push(Change {
                path: site.path(&shown),
                shown,
                before,
                after,
            });
        }
    }

    pub(super) fn shown(&self) -> String {
        self.changes.iter().map(shown).collect()
    }
}

/// A change as a diff, in colours.
pub(super) fn shown(change: &Change) -> String {
    let text = |bytes: &Option<Vec<u8>>| {
        bytes
            .as_ref()
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    };
    // What else is in `.env` is nobody's business.
    let secret = change.shown == ".env";
    let context = if secret { 0 } else { 3 };
    let (mut before, after) = (text(&change.before), text(&change.after));
    if let Some(before) = before.as_mut().filter(|_| secret) {
        // A last line without its end would count as changed.
        if !before.is_empty() && !before.ends_with('\n') {
            before.push('\n');
        }
    }
    let diff = diff::unified(&change.shown, before.as_deref(), after.as_deref(), context);
    let mut out = String::new();
    for line in plain(&diff).lines() {
        match line.chars().next() {
            _ if line.starts_with("+++") || line.starts_with("---") => {
                out += &line.bold().to_string();
            }
            Some('+') => out += &line.green().to_string(),
            Some('-') => out += &line.red().to_string(),
            _ => out += line,
        }
        out.push('\n');
    }
    out
}

/// Writes all of it, with the record, or nothing.
pub(super) fn write(
    project: &ProjectArgs,
    site: &Site,
    work: &Work,
    (nginx, image, services): (Door, String, Vec<Choice>),
) -> Result<(), Failure> {
    let old = site.record.as_ref();
    let applied = apply::apply(&site.places.directory, &work.changes)?;
    let mut directories = old
        .map(|record| record.directories.clone())
        .unwrap_or_default();
    directories.extend(applied.directories());
    // Where no other file is below it.
    let home = site.places.directory.join(DIRECTORY);
    if !home.is_dir() {
        std::fs::create_dir(&home)?;
        directories.insert(0, DIRECTORY.to_owned());
    }
    let files = work
        .files
        .iter()
        .map(|(path, bytes)| (path.clone(), record::digest_of(path, bytes)));
    let record = Record {
        version: record::VERSION,
        files: files.collect(),
        directories,
        dotenv: work.dotenv.clone().or_else(|| old?.dotenv.clone()),
        nginx,
        image,
        services,
    };
    let recorded = apply::record(&site.places.directory, Some(&record));
    let loaded = recorded.and_then(|()| read_again(project, site));
    match loaded {
        Ok(()) => Ok(()),
        Err(failure) => {
            applied.take_back();
            let _ = apply::record(&site.places.directory, old);
            apply::remove_empty(&site.places.directory, &record.directories);
            Err(failure)
        }
    }
}

/// Whether what was written is what the project is made of from now on.
fn read_again(project: &ProjectArgs, site: &Site) -> Result<(), Failure> {
    let taken_back = |what: String| {
        Failure::Work(vec![format!(
            "what was written cannot be used, so it is taken back: {what}"
        )])
    };
    let mut request = project.request(&[])?;
    request.files = Vec::new();
    request.cwd.clone_from(&site.places.directory);
    let loaded = compose::load(&request).map_err(|error| taken_back(error.to_string()))?;
    let files = &loaded.project.config_files;
    if files.contains(&site.path(OVERRIDE)) {
        return Ok(());
    }
    Err(taken_back(format!(
        "COMPOSE_FILE of .env does not name {OVERRIDE} in the end; write that line by hand, and run `init` again"
    )))
}

/// Whether it is a first upstream as it would be written now, but for the port.
fn is_first(before: &[u8], text: &str) -> bool {
    let without_port = |text: &str| {
        let (head, port) = text.rsplit_once(':')?;
        let tail = port.trim_start_matches(|c: char| c.is_ascii_digit());
        Some(format!("{head}:{tail}"))
    };
    let before = String::from_utf8_lossy(before);
    without_port(&before).is_some_and(|shape| Some(shape) == without_port(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_upstream_follows_the_port_and_what_watch_has_written_stays() {
        let first = |port: u16| format!("# header\nupstream web {{\n    server web:{port};\n}}\n");
        assert!(is_first(first(3000).as_bytes(), &first(8000)));
        let written = "# header\nupstream web {\n    server 172.18.0.2:3000; # shop-web-1\n}\n";
        assert!(!is_first(written.as_bytes(), &first(8000)));
    }
}
