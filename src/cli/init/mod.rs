//! `compose-scale init`: sets a project up for scaling, and takes it back. Nothing is written before it
//! was shown.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use clap::Args;
use owo_colors::OwoColorize as _;

use super::{Failure, ProjectArgs, output};
use crate::{
    compose::{self, Loaded, Places},
    compose_cli::{ComposeCli, Version},
    init::{
        self, Draft, IMAGE, InitError, Known, OVERRIDE, Offer, RECORD, RESET_SINCE, Verdict, diff,
        dotenv,
        record::{self, Choice, Door, Record, digest},
        relative,
    },
    telemetry::plain,
    watch::setup,
};

mod apply;
mod ask;
mod undo;

use apply::Change;

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// A service to scale; again for another one
    #[arg(long = "service", value_name = "NAME")]
    services: Vec<String>,
    /// The fewest replicas
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    min: Option<u32>,
    /// The most replicas
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    max: Option<u32>,
    /// The CPU load to hold, like 60%
    #[arg(long, value_name = "SHARE", value_parser = share)]
    cpu: Option<String>,
    /// The port in the container that requests go to
    #[arg(long = "port", value_name = "[NAME=]PORT", value_parser = port)]
    ports: Vec<(Option<String>, u16)>,
    /// Where requests come in: a service, `host` for nginx on this machine, `new` to add one
    #[arg(long, value_name = "NAME")]
    nginx: Option<String>,
    /// The image of an nginx that is added
    #[arg(long, value_name = "IMAGE", value_parser = image)]
    nginx_image: Option<String>,
    /// Write without asking
    #[arg(short, long)]
    yes: bool,
    /// Show what would be written, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Take back what was written, as far as it is unchanged
    #[arg(long, conflicts_with_all = ["services", "min", "max", "cpu", "ports", "nginx", "nginx_image"])]
    undo: bool,
    /// Replace or remove files that were changed since, too
    #[arg(long)]
    force: bool,
}

fn share(text: &str) -> Result<String, String> {
    let number = text.trim_end_matches('%');
    match number.parse::<f64>() {
        Ok(share) if share.is_finite() && share > 0.0 => Ok(format!("{number}%")),
        _ => Err("expected a share like 60%".into()),
    }
}

fn port(text: &str) -> Result<(Option<String>, u16), String> {
    let (service, port) = match text.split_once('=') {
        Some((service, port)) => (Some(service.to_owned()), port),
        None => (None, text),
    };
    match port.parse() {
        Ok(port) if port > 0 => Ok((service, port)),
        _ => Err("expected a port from 1 to 65535, or SERVICE=PORT".into()),
    }
}

fn image(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("expected the name of an image, like nginx:1.30".into())
    }
}

impl From<InitError> for Failure {
    fn from(error: InitError) -> Self {
        match error {
            InitError::Usage(what) => Self::Usage(what),
            InitError::Refused(refusals) => Self::Refused(refusals),
        }
    }
}

/// A project and what `init` has to do with it.
struct Site {
    /// As the user has it, without what was laid over it.
    base: Loaded,
    places: Places,
    record: Option<Record>,
    candidates: Vec<String>,
    policies: Vec<String>,
}

impl Site {
    fn known(&self) -> Known<'_> {
        Known {
            project: &self.base.project,
            nginx: &self.base.settings.nginx,
            policies: &self.policies,
            candidates: &self.candidates,
        }
    }

    fn path(&self, file: impl AsRef<Path>) -> PathBuf {
        self.places.directory.join(file)
    }
}

pub(super) async fn run(project: &ProjectArgs, args: InitArgs) -> Result<(), Failure> {
    if args.undo {
        return undo::run(project, &args);
    }
    let site = look(project)?;
    let known = site.known();
    let door = match (&args.nginx, &site.record) {
        (None, Some(record)) => record.nginx.clone(),
        (asked, _) => init::door(&known, asked.as_deref())?,
    };
    let offers = init::offers(&known, &door);
    let asks = !args.yes && !args.dry_run && ask::is_terminal();
    let choices = choices(&site, &args, &offers, asks)?;
    let kept = site.record.as_ref().map(|record| record.image.as_str());
    let image = args.nginx_image.as_deref().or(kept).unwrap_or(IMAGE);
    let draft = init::draft(&known, &door, image, &choices)?;
    let work = Work::of(project, &site, &draft, args.force)?;

    output::write(work.shown().as_bytes())?;
    for note in &draft.notes {
        say(note);
    }
    if !work.in_the_way.is_empty() {
        let mut lines: Vec<_> = work
            .in_the_way
            .iter()
            .map(|path| {
                format!(
                    "{path} was not written by `init`, or was changed since, so nothing is written"
                )
            })
            .collect();
        lines.push(
            "take over by hand what is shown above, move the file away, or add --force".into(),
        );
        return Err(Failure::Work(lines));
    }
    if work.changes.is_empty() {
        say("everything is set up already; there is nothing to write");
        next(&site, &draft);
        return Ok(());
    }
    let compose = if draft.resets { too_old().await } else { None };
    if args.dry_run {
        compose.iter().for_each(|what| say(what));
        return Ok(());
    }
    if let Some(what) = compose {
        return Err(Failure::Work(vec![what]));
    }
    if asks {
        if !ask::yes("Write this?")? {
            say("nothing was written");
            return Ok(());
        }
    } else if !args.yes {
        return Err(Failure::Usage(
            "nothing was written: add --yes to write this without being asked, or --dry-run to only see it".into(),
        ));
    }
    write(project, &site, &work, (door, image.to_owned(), choices))?;
    next(&site, &draft);
    Ok(())
}

/// Reads the project as it is without the override, and the record.
fn look(project: &ProjectArgs) -> Result<Site, Failure> {
    let mut request = project.request(&[])?;
    let unread =
        |what: &str| Failure::Usage(format!("`init` writes COMPOSE_FILE into .env, and {what}"));
    if request.files.iter().any(|file| file.as_os_str() == "-") {
        return Err(unread(
            "a compose file from standard input has no place in it",
        ));
    }
    let set = |name: &str| request.env.get(name).is_some_and(|value| !value.is_empty());
    if set("COMPOSE_FILE") {
        return Err(unread(
            "COMPOSE_FILE of the environment would win over that: unset it, and name the files with -f",
        ));
    }
    if !request.env_files.is_empty() || set("COMPOSE_ENV_FILES") || set("COMPOSE_DISABLE_ENV_FILE")
    {
        return Err(unread(
            "--env-file, COMPOSE_ENV_FILES or COMPOSE_DISABLE_ENV_FILE switch that off: leave them away here",
        ));
    }
    let places = compose::places(&request)?;
    let ours = places.directory.join(OVERRIDE);
    let record = read_record(&places.directory)?;
    if record.is_none() && ours.exists() {
        return Err(Failure::Config(format!(
            "{OVERRIDE} is there already and was not made by `init`; give it another name, or add x-autoscale by hand (README, \"The policy\")"
        )));
    }
    request.files = places.files.clone();
    request.files.retain(|file| *file != ours);
    request.project_directory = Some(places.directory.clone());
    let base = compose::load(&request)?;
    for warning in &base.warnings {
        tracing::warn!("{}", plain(warning));
    }
    let candidates = setup::candidates(&base).into_iter().map(str::to_owned);
    Ok(Site {
        candidates: candidates.collect(),
        policies: base.policies.keys().cloned().collect(),
        base,
        places,
        record,
    })
}

/// What an earlier `init` has written here.
fn read_record(directory: &Path) -> Result<Option<Record>, Failure> {
    let path = directory.join(RECORD);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::Work(vec![format!("{}: {error}", path.display())])),
    };
    Record::parse(&text).map(Some).map_err(|what| {
        Failure::Work(vec![format!(
            "{} cannot be read, so it is not known what `init` has written: {what}",
            path.display()
        )])
    })
}

/// The services to scale: as named, as recorded, as answered, or where only one thing can be meant.
fn choices(
    site: &Site,
    args: &InitArgs,
    offers: &[Offer],
    asks: bool,
) -> Result<Vec<Choice>, Failure> {
    let recorded = site.record.as_ref().map(|record| record.services.clone());
    let mut choices = recorded.clone().unwrap_or_default();
    let mut named = args.services.clone();
    named.extend(args.ports.iter().filter_map(|(service, _)| service.clone()));
    if named.is_empty() && recorded.is_none() {
        tell(offers);
        let obvious: Vec<_> = offers.iter().filter(|offer| offer.obvious).collect();
        named = obvious.iter().map(|offer| offer.service.clone()).collect();
        if asks
            && offers
                .iter()
                .any(|offer| !matches!(offer.verdict, Verdict::Unfit { .. }))
        {
            named = ask::services(&named)?;
        }
        if named.is_empty() {
            return Err(nothing(offers));
        }
    } else if named.is_empty() {
        named = choices
            .iter()
            .map(|choice| choice.service.clone())
            .collect();
    }
    let mut all = named.clone();
    all.dedup();
    for name in all {
        let offer = offers.iter().find(|offer| offer.service == name);
        let before = choices.iter().position(|choice| choice.service == name);
        let service = site.base.project.services.get(&name);
        let scale = service.and_then(|service| service.scale).unwrap_or(1);
        let mut choice = match before {
            Some(at) => choices[at].clone(),
            None => first(&name, scale, args),
        };
        choice.min = args.min.unwrap_or(choice.min);
        choice.max = args.max.unwrap_or(choice.max);
        choice.cpu = args.cpu.clone().unwrap_or(choice.cpu);
        for (service, port) in &args.ports {
            match service {
                Some(service) if *service != name => {}
                None if named.len() > 1 => {
                    return Err(Failure::Usage(format!(
                        "--port {port}: of which service? --port {name}={port}"
                    )));
                }
                _ => choice.port = Some(*port),
            }
        }
        if asks && before.is_none() && offer.is_some() {
            ask::numbers(&mut choice, offer.and_then(|offer| offer.port))?;
        }
        if let Some(offer) = offer.filter(|offer| offer.behind_nginx)
            && choice.port.or(offer.port).is_none()
            && !asks
        {
            return Err(Failure::Usage(format!(
                "{name}: nginx sends to it, and which port it listens on is not in the file: --port {name}=PORT"
            )));
        }
        if choice.min > choice.max {
            return Err(Failure::Usage(format!(
                "{name}: at least {} and at most {} cannot both be",
                choice.min, choice.max
            )));
        }
        match before {
            Some(at) => choices[at] = choice,
            None => choices.push(choice),
        }
    }
    Ok(choices)
}

/// What is proposed for a service: two, so that a crash is not noticed, and room to grow.
fn first(name: &str, scale: u32, args: &InitArgs) -> Choice {
    let max = args
        .max
        .unwrap_or_else(|| (2 * scale).clamp(4, 1000))
        .max(args.min.unwrap_or(1));
    Choice {
        service: name.to_owned(),
        min: 2.min(max),
        max,
        cpu: "60%".into(),
        port: None,
    }
}

/// Says of each service whether it can be scaled.
fn tell(offers: &[Offer]) {
    for offer in offers {
        let name = &offer.service;
        match &offer.verdict {
            Verdict::Fit => say(&format!("{name}: can be scaled")),
            Verdict::Doubtful(why) => say(&format!("{name}: not taken by itself: {why}")),
            Verdict::Unfit { what, .. } => say(&format!("{name}: not offered: {what}")),
        }
    }
}

/// No service is named, and none is meant.
fn nothing(offers: &[Offer]) -> Failure {
    let could: Vec<_> = offers
        .iter()
        .filter(|offer| !matches!(offer.verdict, Verdict::Unfit { .. }))
        .map(|offer| format!("--service {}", offer.service))
        .collect();
    if could.is_empty() {
        let fixes = offers.iter().filter_map(|offer| match &offer.verdict {
            Verdict::Unfit { fix, .. } => Some(format!("{}: {fix}", offer.service)),
            _ => None,
        });
        let mut lines = vec![
            "no service of this project can be scaled as it is; what would change that:".to_owned(),
        ];
        lines.extend(fixes);
        return Failure::Work(lines);
    }
    Failure::Usage(format!(
        "say which service is to be scaled: {}",
        could.join(" or ")
    ))
}

/// What has to be done to the files.
struct Work {
    changes: Vec<Change>,
    /// Files that are not ours, or no longer.
    in_the_way: Vec<String>,
    dotenv: Option<dotenv::Edit>,
    /// What is recorded of files: those of this draft.
    files: Vec<(String, Vec<u8>)>,
}

impl Work {
    fn of(project: &ProjectArgs, site: &Site, draft: &Draft, force: bool) -> Result<Self, Failure> {
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
            let after = file.text.clone().into_bytes();
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
            if before.is_none() {
                let after = Some(file.text.clone().into_bytes());
                work.change(site, file.path.display().to_string(), None, after);
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

    fn shown(&self) -> String {
        self.changes.iter().map(shown).collect()
    }
}

/// A change as a diff, in colours.
fn shown(change: &Change) -> String {
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
                out += &line.bold().to_string()
            }
            Some('+') => out += &line.green().to_string(),
            Some('-') => out += &line.red().to_string(),
            _ => out += line,
        }
        out.push('\n');
    }
    out
}

fn write(
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
    let files = work
        .files
        .iter()
        .map(|(path, bytes)| (path.clone(), digest(bytes)));
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

/// The release of compose here, where it does not know `!reset`.
async fn too_old() -> Option<String> {
    let (major, minor, patch) = RESET_SINCE;
    let least = Version(major, minor, patch);
    let version = ComposeCli::find(false).await.ok()?.version();
    (version < least).then(|| {
        let Version(a, b, c) = version;
        format!(
            "compose here is {a}.{b}.{c}, and `!reset`, which takes the port of the host away from the service, needs {major}.{minor}.{patch}: update compose, or take that port out of your file and run `init` again"
        )
    })
}

/// What is left to type.
fn next(site: &Site, draft: &Draft) {
    if !draft.by_hand.is_empty() {
        say("\nin nginx's own configuration, which is yours:");
        for line in &draft.by_hand {
            say(&format!("  {}", line.replace('\n', "\n  ")));
        }
    }
    let directory = &site.places.directory;
    let here = std::env::current_dir().is_ok_and(|cwd| cwd == *directory);
    say("\nnext:");
    if !here {
        say(&format!(
            "  cd {}    # COMPOSE_FILE in .env counts only there",
            directory.display()
        ));
    }
    say("  docker compose up -d\n  compose-scale check\n  compose-scale watch");
    say("and to take it all back: compose-scale init --undo");
}

/// Words for people, beside the data.
fn say(text: &str) {
    let mut stderr = anstream::stderr().lock();
    let _ = writeln!(stderr, "{}", plain(text));
}
