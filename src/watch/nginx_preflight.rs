//! The problems that keep nginx from reading our files, or from accepting them, each with its fix. `check`
//! and `watch` tell them in the same words.

use std::path::{Path, PathBuf};

use super::service_setup::{ManagedNginx, Unrouted};
use crate::{
    project::MountPoint,
    proxy::{
        inspect::{self, Findings, Mount, MountProblem},
        render,
    },
};

/// What kind of thing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreflightProblemKind {
    /// The directory is not mounted.
    NotMounted,
    /// A file of it is mounted by itself.
    SingleFile,
    /// The upstream is not included.
    NotIncluded,
    /// It is included on the wrong level.
    Misplaced,
    /// It is included twice.
    IncludedTwice,
    /// Another upstream has its name.
    SameName,
    /// A port stands behind its name.
    PortInPass,
    /// A directive beside the include of its settings is in those too.
    Duplicate,
    /// Requests are not logged.
    Unlogged,
    /// nginx sends requests to a service that has no upstream.
    NoUpstream,
}

/// What is wrong, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreflightProblem {
    /// What kind of thing it is.
    pub kind: PreflightProblemKind,
    /// Where, in nginx's configuration.
    pub place: Option<inspect::ConfigLocation>,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub fix: String,
}

/// How the directory of our files is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// Where nginx sees it; `None` where it does not.
    pub inside: Option<String>,
    /// What is wrong with that.
    pub wrong: Vec<PreflightProblem>,
    /// Whether the container's paths are paths of this machine at all, as far as it shows.
    pub comparable: bool,
}

/// Looks for a directory of this host in the mounts of a container.
pub fn mounted(
    directory: &Path,
    working_dir: &Path,
    place: &ManagedNginx,
    then: &str,
    points: &[MountPoint],
) -> Mounted {
    let (resolved, mounts) = resolved(directory, points);
    let wrong = inspect::mount_problems(&resolved, &mounts)
        .into_iter()
        .map(|problem| PreflightProblem {
            kind: match problem {
                MountProblem::NotMounted { .. } => PreflightProblemKind::NotMounted,
                MountProblem::SingleFile { .. } => PreflightProblemKind::SingleFile,
            },
            place: None,
            what: problem.to_string(),
            fix: match problem {
                MountProblem::NotMounted { .. } => format!(
                    "add to nginx's volumes: `- {}:/etc/nginx/upstreams:ro` (the directory, not a file), then {then}",
                    as_written(directory, working_dir, place)
                ),
                MountProblem::SingleFile { .. } => {
                    format!("mount the directory instead of the file, then {then}")
                }
            },
        })
        .collect();
    let inside = inspect::inside(&resolved, &mounts);
    Mounted {
        inside: inside.map(|path| path.to_string_lossy().into_owned()),
        wrong,
        comparable: points.is_empty() || points.iter().any(|point| point.source.exists()),
    }
}

/// Where a container sees a directory of this host.
pub fn seen_at(directory: &Path, points: &[MountPoint]) -> Option<PathBuf> {
    let (directory, mounts) = resolved(directory, points);
    inspect::inside(&directory, &mounts)
}

/// Where a container can write to a directory of this host.
pub fn writable_at(directory: &Path, points: &[MountPoint]) -> Option<PathBuf> {
    let (directory, mounts) = resolved(directory, points);
    inspect::writable(&directory, &mounts)
}

/// Without links, so that paths can be compared.
fn resolved(directory: &Path, points: &[MountPoint]) -> (PathBuf, Vec<Mount>) {
    let real = |path: &Path| path.canonicalize().unwrap_or(path.to_owned());
    let mount = |point: &MountPoint| Mount {
        is_dir: point.source.is_dir(),
        source: real(&point.source),
        destination: point.destination.clone(),
        is_writable: point.is_writable,
    };
    (real(directory), points.iter().map(mount).collect())
}

/// As one would write it in the compose file of nginx.
pub fn as_written(path: &Path, base: &Path, place: &ManagedNginx) -> String {
    match path.strip_prefix(base) {
        Ok(rest) if matches!(place, ManagedNginx::Service(_)) => format!("./{}", rest.display()),
        _ => path.display().to_string(),
    }
}

/// What keeps a service's upstream from being read, or nginx from accepting it.
pub fn not_included(service: &str, directory: &str, findings: &Findings) -> Vec<PreflightProblem> {
    let include = format!("include {directory}/*.conf;");
    let mut wrong = Vec::new();
    let mut say = |kind: PreflightProblemKind,
                   place: Option<&inspect::ConfigLocation>,
                   what: String,
                   fix: String| {
        let place = place.cloned();
        wrong.push(PreflightProblem {
            kind,
            place,
            what,
            fix,
        });
    };
    for misplaced in &findings.misplaced {
        say(
            PreflightProblemKind::Misplaced,
            Some(&misplaced.place),
            format!(
                "{} includes its upstream inside `{}`, where nginx refuses it",
                misplaced.place, misplaced.block
            ),
            format!("move `{include}` to the http level, outside of any server"),
        );
    }
    match findings.included.as_slice() {
        [] if findings.misplaced.is_empty() => say(
            PreflightProblemKind::NotIncluded,
            None,
            format!("nginx does not include {directory}/{service}.conf"),
            format!(
                "add `{include}` at http level (a file in conf.d is at http level), outside of any server"
            ),
        ),
        [first, second, ..] => say(
            PreflightProblemKind::IncludedTwice,
            Some(second),
            format!("its upstream is included twice, at {first} and {second}"),
            "remove one of the two".into(),
        ),
        [] | [_] => {}
    }
    for place in &findings.foreign {
        say(
            PreflightProblemKind::SameName,
            Some(place),
            format!("{place} has an upstream of the same name, and nginx refuses two"),
            format!("remove that `upstream {service}`; compose-scale writes it"),
        );
    }
    for inspect::Duplicate {
        place,
        name,
        include,
    } in &findings.duplicate
    {
        let settings = render::location_name(service);
        say(
            PreflightProblemKind::Duplicate,
            Some(place),
            format!(
                "{place}: {settings}, which {include} includes on the same level, has `{name}` too, and nginx refuses two"
            ),
            format!("remove yours; {settings} has it"),
        );
    }
    for pass in &findings.passes {
        if let Some(port) = &pass.port {
            say(
                PreflightProblemKind::PortInPass,
                Some(&pass.place),
                format!(
                    "{}: `{}` names port {port}, which nginx refuses beside an upstream of that name",
                    pass.place, pass.target
                ),
                format!(
                    "write `{}` without the port; it is in the upstream",
                    pass.without_port()
                ),
            );
        }
    }
    wrong
}

/// What is wrong with a service that nginx sends requests to and that has no upstream: to scale it would
/// bring its new replicas nothing, and take the old ones away from under their requests.
pub fn without_upstream(unrouted: &Unrouted, pass: &inspect::ConfigLocation) -> PreflightProblem {
    PreflightProblem {
        kind: PreflightProblemKind::NoUpstream,
        place: Some(pass.clone()),
        what: format!(
            "nginx sends requests to it at {pass}, but {}, so its replicas are not kept in step with nginx",
            unrouted.why
        ),
        fix: unrouted.fix.clone(),
    }
}

/// What hides our log where requests are handed to a service.
pub fn not_logged(unlogged: &inspect::UnloggedPass, project: &str, log: &str) -> PreflightProblem {
    let inspect::UnloggedPass { pass, by, off } = unlogged;
    let line = render::log_line(project, log).unwrap_or_default();
    let (what, fix) = if *off {
        (
            format!("requests of {pass} are not logged: `access_log off` at {by}"),
            format!("write `{line}` in its place"),
        )
    } else {
        (
            format!("the `access_log` at {by} replaces ours for requests of {pass}"),
            format!("write `{line}` beside it"),
        )
    };
    PreflightProblem {
        kind: PreflightProblemKind::Unlogged,
        place: Some(by.clone()),
        what,
        fix,
    }
}
