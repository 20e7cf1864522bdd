//! Setting a project up for scaling: which services can be scaled, and the files that make it so.
//!
//! Pure: a project and what is wanted come in, the text of files and words for people come out.
//! Nothing of the user's own is rewritten but one line of `.env`; everything else is laid over it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::{
    policy::{NginxPlacement, NginxPolicy},
    project::Project,
};

mod candidates;
mod chosen;
pub mod diff;
pub mod dockerfile;
pub mod dotenv;
mod generate;
pub mod manifest;
mod nginx_config;

pub use candidates::{Eligibility, HostPort, ScalingCandidate, offers};

use manifest::{Choice, IngressMode};

/// The override, beside the compose file.
pub const OVERRIDE: &str = "compose.scale.yaml";
/// What else is written is below it.
pub const DIRECTORY: &str = "compose-scale";
/// nginx's configuration; its directory is mounted, because an editor replaces a file.
pub const SITE: &str = "compose-scale/conf.d/default.conf";
/// Where the program writes upstreams.
pub const UPSTREAMS: &str = "compose-scale/upstreams";
/// The same inside of nginx's container.
pub const INSIDE: &str = "/etc/nginx/upstreams";
/// How `init` knows what it has written.
pub const RECORD: &str = "compose-scale/init.json";
/// The image of an nginx that is added.
pub const IMAGE: &str = "nginx:1.30";
/// The first release of compose that knows `!reset` in all its forms.
pub const RESET_SINCE: (u32, u32, u32) = (2, 24, 4);

/// What is known of a project, without what `init` has laid over it.
#[derive(Debug, Clone, Copy)]
pub struct BareProject<'a> {
    /// The project.
    pub project: &'a Project,
    /// What it says on nginx.
    pub nginx: &'a NginxPolicy,
    /// Services that have a policy already.
    pub policies: &'a [String],
    /// Services that are nginx and pass requests on to others.
    pub candidates: &'a [String],
    /// Services that pass requests on to others, by what their configuration and the project say.
    pub fronts: &'a [String],
    /// Services with a count in an override that is taken over: they keep a place there.
    pub counts: &'a BTreeMap<String, u32>,
}

/// One file to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFile {
    /// Below the project's directory.
    pub path: PathBuf,
    /// All of it.
    pub text: String,
}

/// What is to be written, and what is to be said with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitDraft {
    /// The files, the override first.
    pub files: Vec<NewFile>,
    /// First upstreams. They belong to `watch` as soon as it runs, so they are made once and never
    /// compared.
    pub upstreams: Vec<NewFile>,
    /// Lines that the user has to write into a configuration of nginx that is theirs.
    pub by_hand: Vec<String>,
    /// What else should be known.
    pub notes: Vec<String>,
    /// Whether the override has a tag that only newer releases of compose know.
    pub resets: bool,
}

/// Why nothing can be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InitError {
    /// The command line does not say enough, or too much.
    #[error("{0}")]
    Usage(String),
    /// These cannot be scaled.
    #[error("{}", .0.join("\n"))]
    Refused(Vec<String>),
}

/// Where requests come in: as `--nginx` says, else as the project shows.
pub fn door(known: &BareProject<'_>, asked: Option<&str>) -> Result<IngressMode, InitError> {
    let has = |name: &str| known.project.services.contains_key(name);
    match asked {
        Some("host") => return Ok(IngressMode::Host),
        Some("new") => return Ok(IngressMode::New),
        Some(name) if has(name) => return Ok(IngressMode::Service(name.to_owned())),
        Some(name) => {
            let all: Vec<_> = known.project.services.keys().map(String::as_str).collect();
            return Err(InitError::Usage(format!(
                "--nginx {name}: no such service; this project has {}. `--nginx host` is the one on this machine, `--nginx new` adds one",
                all.join(", ")
            )));
        }
        None => {}
    }
    match (&known.nginx.place, known.candidates) {
        (Some(NginxPlacement::Service(name)), _) => Ok(IngressMode::Service(name.clone())),
        (Some(NginxPlacement::Container(_)), _) => Ok(IngressMode::Elsewhere),
        (Some(NginxPlacement::Host(_)), _) => Ok(IngressMode::Host),
        (None, []) => Ok(IngressMode::New),
        (None, [only]) => Ok(IngressMode::Service(only.clone())),
        (None, several) => Err(InitError::Usage(format!(
            "several services run nginx: {}; name the one that sends requests to the others: --nginx {}",
            several.join(", "),
            several[0]
        ))),
    }
}

/// The files for these choices.
pub fn draft(
    known: &BareProject<'_>,
    door: &IngressMode,
    image: &str,
    choices: &[Choice],
) -> Result<InitDraft, InitError> {
    let offers = offers(known, door);
    let mut refused = Vec::new();
    let mut chosen = Vec::new();
    for choice in choices {
        let Some(offer) = offers.iter().find(|offer| offer.service == choice.service) else {
            let all: Vec<_> = known.project.services.keys().map(String::as_str).collect();
            return Err(InitError::Usage(format!(
                "no such service: {}; this project has {}",
                choice.service,
                all.join(", ")
            )));
        };
        if let Eligibility::Unfit { what, fix } = &offer.verdict {
            refused.push(format!("{}: {what}; {fix}", offer.service));
        }
        if *door == IngressMode::New && choice.port.is_some() && offer.published.is_empty() {
            refused.push(format!(
                "{}: it has a port, but publishes none that nginx could take over; name the nginx that gets its requests: --nginx NAME",
                offer.service
            ));
        }
        // Each host port that somebody serves now is served afterwards.
        if !offer.published.is_empty() && choice.port.or(offer.port).is_none() {
            let ports: Vec<_> = offer
                .published
                .iter()
                .map(|one| one.port.to_string())
                .collect();
            refused.push(format!(
                "{service}: it publishes {}, and it is not known which port of it nginx should send those requests to; name it: --port {service}=PORT",
                ports.join(", "),
                service = offer.service
            ));
        }
        chosen.push((choice, offer));
    }
    if !refused.is_empty() {
        return Err(InitError::Refused(refused));
    }
    let has_profile = |choice: &Choice| {
        let service = known.project.services.get(&choice.service);
        service.is_some_and(|service| !service.profiles.is_empty())
    };
    let profiled = chosen
        .iter()
        .filter(|(choice, _)| has_profile(choice))
        .count();
    if *door == IngressMode::New && profiled > 0 && profiled < chosen.len() {
        return Err(InitError::Usage(
            "some of these services have a profile and others have none: one nginx cannot serve both, because it does not start without them; name the services that run together with --service".into(),
        ));
    }
    Ok(generate::draft(known, door, image, &chosen))
}

/// A path below the project's directory as a compose file and `COMPOSE_FILE` write it.
pub fn relative(directory: &Path, path: &Path) -> String {
    let inside = path.strip_prefix(directory).unwrap_or(path);
    inside.display().to_string()
}

#[cfg(test)]
mod tests;
