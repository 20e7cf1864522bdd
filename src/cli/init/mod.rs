//! `compose-scale init`: sets a project up for scaling, and takes it back. Nothing is written before it
//! was shown.

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::{Path, PathBuf},
};

use clap::Args;

use super::{Failure, ProjectArgs, output};
use crate::{
    compose::{self, Loaded, Places},
    compose_cli::{ComposeCli, ComposeVersion},
    files,
    init::{
        self, BareProject, DIRECTORY, IMAGE, InitDraft, InitError, OVERRIDE, RECORD, RESET_SINCE,
        manifest::{IngressMode, Manifest},
    },
    project::{Project, Service, images::ImageKind},
    telemetry::plain,
};

mod apply;
mod file_changes;
mod fronts;
mod next_steps;
mod prompt;
mod select;
mod undo;

use file_changes::Work;

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// Service to scale; may be repeated
    #[arg(long = "service", value_name = "NAME")]
    services: Vec<String>,
    /// Minimum number of replicas
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    min: Option<u32>,
    /// Maximum number of replicas
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    max: Option<u32>,
    /// CPU target, for example 60%
    #[arg(long, value_name = "SHARE", value_parser = share)]
    cpu: Option<String>,
    /// Container port that gets the requests
    #[arg(long = "port", value_name = "[NAME=]PORT", value_parser = port)]
    ports: Vec<(Option<String>, u16)>,
    /// nginx to use: a service, `host` (nginx on this machine) or `new` (adds one)
    #[arg(long, value_name = "NAME")]
    nginx: Option<String>,
    /// Image of a new nginx
    #[arg(long, value_name = "IMAGE", value_parser = image)]
    nginx_image: Option<String>,
    /// Write without asking
    #[arg(short, long)]
    yes: bool,
    /// Show the diff, write nothing
    #[arg(long)]
    dry_run: bool,
    /// Remove what an earlier init wrote; files changed since then stay
    #[arg(long, conflicts_with_all = ["services", "min", "max", "cpu", "ports", "nginx", "nginx_image"])]
    undo: bool,
    /// Also replace or remove files that were changed by hand
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
            InitError::Refused(refusals) => Self::Work(refusals),
        }
    }
}

/// A project and what `init` has to do with it.
struct InitSite {
    /// As the user has it, without what was laid over it.
    base: Loaded,
    places: Places,
    record: Option<Manifest>,
    candidates: Vec<String>,
    fronts: Vec<String>,
    policies: Vec<String>,
    /// The text of an override of somebody else's that has nothing but counts, by its name.
    taken_over: BTreeMap<String, String>,
    /// The counts in it.
    counts: BTreeMap<String, u32>,
}

impl InitSite {
    fn known(&self) -> BareProject<'_> {
        BareProject {
            project: &self.base.project,
            nginx: &self.base.settings.nginx,
            policies: &self.policies,
            candidates: &self.candidates,
            fronts: &self.fronts,
            counts: &self.counts,
        }
    }

    fn path(&self, file: impl AsRef<Path>) -> PathBuf {
        self.places.directory.join(file)
    }
}

pub(super) async fn run(project: &ProjectArgs, args: InitArgs) -> Result<(), Failure> {
    if args.undo {
        return undo::run(project, &args).await;
    }
    let site = look(project)?;
    let known = site.known();
    let asks = !args.yes && !args.dry_run && prompt::is_terminal();
    let door = door(&site, &args, asks)?;
    let offers = init::offers(&known, &door);
    let choices = select::choices(&site, &args, &offers, asks)?;
    let kept = site.record.as_ref().map(|record| record.image.as_str());
    let image = args.nginx_image.as_deref().or(kept).unwrap_or(IMAGE);
    let draft = init::draft(&known, &door, image, &choices)?;
    // The owner of the nginx on this machine is told which port it has to listen on.
    if door != IngressMode::Host {
        keeps_host_ports(project, &site, &draft)?;
    }
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
        lines.push("apply the diff above by hand, move the file away, or add --force".into());
        return Err(Failure::Work(lines));
    }
    for path in &work.left {
        say(&format!(
            "{path}: kept with your changes; nothing new to write"
        ));
    }
    if work.changes.is_empty() {
        say("everything is set up already; nothing to write");
        next_steps::tell(&site, &door, &draft);
        return Ok(());
    }
    let compose = if draft.resets { too_old().await } else { None };
    if args.dry_run {
        if let Some(what) = compose {
            say(&what);
        }
        return Ok(());
    }
    if let Some(what) = compose {
        return Err(Failure::Work(vec![what]));
    }
    if asks {
        let files = match work.changes.len() {
            1 => "this file".to_owned(),
            count => format!("these {count} files"),
        };
        let directory = site.places.directory.display();
        if !prompt::yes(&format!("Change {files} in {directory} as shown?"))? {
            say("nothing was written");
            return Ok(());
        }
    } else if !args.yes {
        return Err(Failure::Usage(
            "nothing was written: add --yes to write without asking, or --dry-run to see the diff only".into(),
        ));
    }
    file_changes::write(
        project,
        &site,
        work,
        (door.clone(), image.to_owned(), choices),
    )?;
    next_steps::tell(&site, &door, &draft);
    Ok(())
}

/// Loads the result as compose will, and checks that each host port that somebody serves now is served
/// afterwards too.
fn keeps_host_ports(
    project: &ProjectArgs,
    site: &InitSite,
    draft: &InitDraft,
) -> Result<(), Failure> {
    let mut request = project.request(&[])?;
    request.files.clone_from(&site.places.files);
    request.files.retain(|file| *file != site.path(OVERRIDE));
    request.files.push("-".into());
    request.stdin = draft.files.first().map(|file| file.text.clone());
    request.project_directory = Some(site.places.directory.clone());
    let result = compose::load(&request)?;
    let after = host_ports(&result.project);
    let mut lost = host_ports(&site.base.project);
    lost.retain(|port, _| !after.contains_key(port));
    if lost.is_empty() {
        return Ok(());
    }
    let lost = lost.iter();
    let lost = lost.map(|(port, service)| {
        format!("nothing was written: {service} publishes host port {port} now, and no service would afterwards; add it to the `ports` of your nginx first, or use --nginx new")
    });
    Err(Failure::Work(lost.collect()))
}

/// The fixed ports of the host, with the service that publishes each.
fn host_ports(project: &Project) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for service in project.services.values() {
        for port in service.ports.iter().filter(|port| port.is_fixed()) {
            let ip = port.host_ip.as_deref().filter(|ip| !ip.is_empty());
            let ip = ip.map_or_else(String::new, |ip| format!("{ip}:"));
            let published = port.published.as_deref().unwrap_or_default();
            let key = format!("{ip}{published}/{}", port.protocol);
            all.insert(key, service.name.clone());
        }
    }
    all
}

/// Where requests come in: as it is said, as it was, or as the project shows; asked where that is several.
fn door(site: &InitSite, args: &InitArgs, asks: bool) -> Result<IngressMode, Failure> {
    let known = site.known();
    let asked = args.nginx.as_deref();
    if let (None, Some(record)) = (asked, &site.record) {
        match &record.nginx {
            IngressMode::Service(name) if !known.project.services.contains_key(name) => {
                say(&format!("{name}: no longer a service of this project"));
            }
            door => return Ok(door.clone()),
        }
    }
    match init::door(&known, asked) {
        Err(InitError::Usage(_)) if asks && asked.is_none() => {
            let name = prompt::door(&site.candidates)?;
            Ok(init::door(&known, Some(&name))?)
        }
        door => Ok(door?),
    }
}

/// Reads the project as it is without the override, and the record.
fn look(project: &ProjectArgs) -> Result<InitSite, Failure> {
    let mut request = project.request(&[])?;
    let unread =
        |what: &str| Failure::Usage(format!("`init` writes COMPOSE_FILE into .env, and {what}"));
    if request.files.iter().any(|file| file.as_os_str() == "-") {
        return Err(unread(
            "a compose file on standard input cannot be named there",
        ));
    }
    let set = |name: &str| request.env.get(name).is_some_and(|value| !value.is_empty());
    if set("COMPOSE_FILE") {
        return Err(unread(
            "COMPOSE_FILE in the environment overrides it: unset it, and name the files with -f",
        ));
    }
    if !request.env_files.is_empty() || set("COMPOSE_ENV_FILES") || set("COMPOSE_DISABLE_ENV_FILE")
    {
        return Err(unread(
            "--env-file, COMPOSE_ENV_FILES or COMPOSE_DISABLE_ENV_FILE disable that: do without them here",
        ));
    }
    let places = compose::places(&request)?;
    let mut elsewhere = request.clone();
    elsewhere.env.remove("COMPOSE_PATH_SEPARATOR");
    let there = compose::places(&elsewhere).ok();
    if there.is_none_or(|there| there.separator != places.separator) {
        return Err(unread(
            "COMPOSE_PATH_SEPARATOR in the environment applies to this shell only: write it into .env, or unset it",
        ));
    }
    let ours = places.directory.join(OVERRIDE);
    let record = read_record(&places.directory)?;
    let (taken_over, counts) = taken_over(&places.directory, record.as_ref())?;
    request.files.clone_from(&places.files);
    request.files.retain(|file| *file != ours);
    request.project_directory = Some(places.directory.clone());
    let mut base = compose::load(&request)?;
    for warning in &base.warnings {
        tracing::warn!("{}", plain(warning));
    }
    fronts::read_base_images(&mut base.project);
    let fronts = fronts::of(&base.project);
    let is_nginx = |name: &&String| {
        let image = base
            .project
            .services
            .get(*name)
            .and_then(Service::known_image);
        image.is_some_and(|image| image.kind == ImageKind::Nginx)
    };
    Ok(InitSite {
        candidates: fronts.iter().filter(is_nginx).cloned().collect(),
        fronts,
        policies: base.policies.keys().cloned().collect(),
        base,
        places,
        record,
        taken_over,
        counts,
    })
}

/// The override that was there before the first `init`, by its name, and the counts in it: `watch` keeps
/// them in a file that somebody wrote for that. Anything else in it is somebody's own.
type TakenOver = (BTreeMap<String, String>, BTreeMap<String, u32>);

fn taken_over(root: &Path, record: Option<&Manifest>) -> Result<TakenOver, Failure> {
    let text = match record {
        Some(record) => record.replaced.get(OVERRIDE).cloned(),
        None => {
            apply::read(root, OVERRIDE)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        }
    };
    let Some(text) = text else {
        return Ok(TakenOver::default());
    };
    let counts = compose::count_file::alone(&text).map_err(|what| {
        if record.is_none() && text.starts_with(MADE_BY) {
            return Failure::Config(format!(
                "{OVERRIDE} was made by `init`, but {RECORD} is missing; {BY_HAND}"
            ));
        }
        Failure::Config(format!(
            "{OVERRIDE} exists and was not made by `init`, which takes over only files of plain counts (services.NAME.scale): {what}; rename the file, or add x-autoscale by hand (docs/setup.md)"
        ))
    })?;
    Ok((BTreeMap::from([(OVERRIDE.to_owned(), text)]), counts))
}

/// How the override begins that is written here.
const MADE_BY: &str = "# Made by `compose-scale init`";

/// What is left to do where the record is lost.
const BY_HAND: &str = "`init` recognizes its own files by it: restore it from version control or a backup, or undo by hand: remove compose.scale.yaml from COMPOSE_FILE in .env, delete compose.scale.yaml and compose-scale/ (except your own files), and run `docker compose up -d --remove-orphans`";

/// Whether there is an override that was written here.
fn is_made_here(directory: &Path) -> bool {
    files::read_content_text(&directory.join(OVERRIDE)).is_ok_and(|text| text.starts_with(MADE_BY))
}

/// What an earlier `init` has written here.
fn read_record(directory: &Path) -> Result<Option<Manifest>, Failure> {
    let path = directory.join(RECORD);
    let above = directory.join(DIRECTORY);
    if above.is_file() {
        return Err(Failure::Work(vec![format!(
            "{} is a file; move it away, `init` writes a directory of that name",
            above.display()
        )]));
    }
    let Some(bytes) = apply::read(directory, RECORD)? else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&bytes);
    Manifest::parse(&text).map(Some).map_err(|what| {
        Failure::Work(vec![format!(
            "{} cannot be read, so it is unknown what `init` wrote: {what}; {BY_HAND}",
            path.display()
        )])
    })
}

/// The release of compose here, where it does not know `!reset`.
async fn too_old() -> Option<String> {
    let (major, minor, patch) = RESET_SINCE;
    let least = ComposeVersion(major, minor, patch);
    let version = ComposeCli::find(false).await.ok()?.version();
    (version < least).then(|| {
        let ComposeVersion(a, b, c) = version;
        format!(
            "compose here is {a}.{b}.{c}, but `!reset`, which removes the service's host port, needs {major}.{minor}.{patch}: update compose, or remove that port from your file and run `init` again"
        )
    })
}

/// Words for people, beside the data.
fn say(text: &str) {
    let mut stderr = anstream::stderr().lock();
    let _ = writeln!(stderr, "{}", plain(text));
}
