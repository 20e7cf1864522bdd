//! What has to be done to the files of a project, shown and done.

use owo_colors::OwoColorize as _;

use super::{
    InitSite,
    apply::{self, FileChange},
};
use crate::{
    cli::{Failure, ProjectArgs},
    compose::{self, edit_count},
    init::{
        InitDraft, OVERRIDE, RECORD, diff, dotenv,
        manifest::{self, Choice, IngressMode, Manifest},
        relative,
    },
    telemetry::plain,
};

/// What has to be done to the files.
pub(super) struct Work {
    pub(super) changes: Vec<FileChange>,
    /// Files that are not ours, or no longer.
    pub(super) in_the_way: Vec<String>,
    /// Files that were changed by hand and would be what they were before that: they stay.
    pub(super) left: Vec<String>,
    dotenv: Option<dotenv::DotenvEdit>,
    /// What is recorded of files: the digests of this draft's.
    files: Vec<(String, String)>,
    /// The text of files of somebody's own that are replaced, by their path.
    replaced: Vec<(String, String)>,
}

impl Work {
    pub(super) fn of(
        project: &ProjectArgs,
        site: &InitSite,
        draft: &InitDraft,
        force: bool,
    ) -> Result<Self, Failure> {
        let mut work = Self {
            changes: Vec::new(),
            in_the_way: Vec::new(),
            left: Vec::new(),
            dotenv: None,
            files: Vec::new(),
            replaced: Vec::new(),
        };
        let record = site.record.as_ref();
        refuse_dangling(site, OVERRIDE)?;
        for file in &draft.files {
            let shown = file.path.display().to_string();
            let before = apply::read(&site.places.directory, &shown)?;
            let mut text = file.text.clone();
            // The count that runs is not set back to the first one.
            if shown == OVERRIDE
                && let Some(before) = &before
            {
                if let Some(first) = site.taken_over.get(OVERRIDE) {
                    let services: Vec<_> = site.counts.keys().cloned().collect();
                    text = edit_count::carried(first, &text, &services);
                }
                let recorded = record.into_iter().flat_map(|record| &record.services);
                let services = recorded.map(|one| &one.service).chain(site.counts.keys());
                let services: Vec<_> = services.cloned().collect();
                text = edit_count::carried(&String::from_utf8_lossy(before), &text, &services);
            }
            let after = text.into_bytes();
            let sum = manifest::digest_of(&shown, &after);
            work.files.push((shown.clone(), sum.clone()));
            let is_theirs = |before: &&Vec<u8>| {
                let taken_over = record.is_none() && shown == OVERRIDE;
                let ours = record.is_some_and(|record| record.is_unchanged(&shown, before));
                **before != after && !ours && !taken_over
            };
            let theirs = before.as_ref().filter(is_theirs);
            let is_new = !record.is_some_and(|record| record.paths().contains(&shown));
            if let Some(theirs) = theirs.filter(|_| force && is_new) {
                work.keep(&shown, theirs)?;
            }
            if theirs.is_some() && !force {
                // It would be written as it was written then.
                if record.is_some_and(|record| record.files.get(&shown) == Some(&sum)) {
                    work.left.push(shown);
                    continue;
                }
                work.in_the_way.push(shown.clone());
            }
            work.change(shown, before, Some(after));
        }
        for file in &draft.upstreams {
            let shown = file.path.display().to_string();
            let before = apply::read(&site.places.directory, &shown)?;
            // What `watch` has written since is the truth; the first one may be for another port.
            let is_due = before
                .as_ref()
                .is_none_or(|before| is_first(before, &file.text));
            if is_due {
                let after = Some(file.text.clone().into_bytes());
                work.change(shown, before, after);
            }
        }
        // What an earlier answer asked for and this one does not.
        for path in record.into_iter().flat_map(Manifest::paths) {
            let gone = !work.files.iter().any(|(file, _)| file == path);
            let before = apply::read(&site.places.directory, path)?;
            if let Some(before) = before.filter(|_| gone) {
                if record.is_some_and(|record| record.is_unchanged(path, &before)) || force {
                    let first = record.and_then(|record| record.replaced.get(path));
                    let after = first.map(|text| text.clone().into_bytes());
                    work.change(path.clone(), Some(before), after);
                } else {
                    work.in_the_way.push(path.clone());
                }
            }
        }
        work.dotenv(project, site)?;
        Ok(work)
    }

    /// `.env` comes last: with it the rest begins to count.
    fn dotenv(&mut self, project: &ProjectArgs, site: &InitSite) -> Result<(), Failure> {
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
                "the name of {file} cannot be written into COMPOSE_FILE; rename the file"
            )));
        }
        refuse_dangling(site, ".env")?;
        let before = apply::read(&places.directory, ".env")?;
        let text = before.as_deref().map(String::from_utf8_lossy);
        let anew = !project.files.is_empty();
        let added = dotenv::add(text.as_deref(), &files, OVERRIDE, &places.separator, anew);
        if let Some((after, edit)) = added {
            let earlier = site
                .record
                .as_ref()
                .and_then(|record| record.edits().next());
            self.dotenv = Some(edit.on_top_of(earlier));
            self.change(".env".into(), before, Some(after.into_bytes()));
        }
        Ok(())
    }

    /// Keeps a file of somebody's own in the record, for `--undo` to bring it back.
    fn keep(&mut self, shown: &str, bytes: &[u8]) -> Result<(), Failure> {
        let Ok(text) = std::str::from_utf8(bytes) else {
            return Err(Failure::Work(vec![format!(
                "{shown} is your own file and not UTF-8, so {RECORD} cannot keep it for `init --undo`: move it away"
            )]));
        };
        self.replaced.push((shown.to_owned(), text.to_owned()));
        Ok(())
    }

    fn change(&mut self, shown: String, before: Option<Vec<u8>>, after: Option<Vec<u8>>) {
        if before != after {
            self.changes.push(FileChange {
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

/// A link of the user's own is followed; one to nothing leads nowhere.
fn refuse_dangling(site: &InitSite, shown: &str) -> Result<(), Failure> {
    let path = site.path(shown);
    if !path.is_symlink() || path.exists() {
        return Ok(());
    }
    Err(Failure::Work(vec![format!(
        "{shown} is a link to {}, which does not exist: create that file, or remove the link",
        std::fs::read_link(&path)?.display()
    )]))
}

/// A change as a diff, in colours.
pub(super) fn shown(change: &FileChange) -> String {
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

/// Writes all of it, or nothing. The record comes first, so that `--undo` knows what may be there wherever
/// this ends.
pub(super) fn write(
    project: &ProjectArgs,
    site: &InitSite,
    work: Work,
    (nginx, image, services): (IngressMode, String, Vec<Choice>),
) -> Result<(), Failure> {
    let root = &site.places.directory;
    let old = site.record.as_ref();
    let mut record = Manifest {
        version: manifest::VERSION,
        files: work.files.into_iter().collect(),
        directories: old.map_or_else(Vec::new, |record| record.directories.clone()),
        dotenv: work.dotenv.or_else(|| old?.edits().next().cloned()),
        nginx,
        image,
        services,
        replaced: old.map_or_else(|| site.taken_over.clone(), |record| record.replaced.clone()),
        earlier: old.cloned().map(Box::new),
    };
    record.replaced.extend(work.replaced);
    let mut changes = vec![FileChange {
        shown: RECORD.into(),
        before: apply::read(root, RECORD)?,
        // It names the directories that are made, its own among them.
        after: Some(Vec::new()),
    }];
    changes.extend(work.changes);
    record.directories.extend(apply::missing(root, &changes));
    changes[0].after = Some(record.text().into_bytes());
    let applied = apply::apply(root, &changes)?;
    record.earlier = None;
    let done = read_again(project, site).and_then(|()| match old {
        Some(_) => apply::record(root, Some(&record)),
        None => Ok(()),
    });
    if done.is_err() {
        applied.take_back();
    }
    done
}

/// Whether what was written is what the project is made of from now on.
fn read_again(project: &ProjectArgs, site: &InitSite) -> Result<(), Failure> {
    let taken_back = |what: String| {
        Failure::Work(vec![format!(
            "the new files cannot be used, so they are removed again: {what}"
        )])
    };
    let mut request = project.request(&[])?;
    request.files = Vec::new();
    request.project_directory = None;
    request.cwd.clone_from(&site.places.directory);
    let loaded = compose::load(&request).map_err(|error| taken_back(error.to_string()))?;
    let files = &loaded.project.config_files;
    if files.contains(&site.path(OVERRIDE)) {
        return Ok(());
    }
    Err(taken_back(format!(
        "COMPOSE_FILE in .env does not name {OVERRIDE}; add it by hand, and run `init` again"
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
