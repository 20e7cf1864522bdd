//! The files of a project that runs, from the labels that compose put on its containers: for a
//! command with `-p NAME` and no file anywhere near.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::LoadRequest;
use crate::project::{Replica, labels};

/// Why a project's files cannot be had from its containers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RunningError {
    /// No container carries the project's name.
    #[error(
        "project {project} has no container, and there is no compose file in {} or a directory above it; \
         go to its directory, or name its file with -f",
        directory.display()
    )]
    None {
        /// The name that was asked for.
        project: String,
        /// Where a file was looked for.
        directory: PathBuf,
    },
    /// The container was not made from a file on a disk.
    #[error("{container} was made from {origin}, which cannot be read again; name a file with -f")]
    NoFile {
        /// The container whose labels were read.
        container: String,
        /// What it was made from.
        origin: String,
    },
    /// A label is missing.
    #[error("{container} has no label {label}, so its compose file is not known; name it with -f")]
    Unlabelled {
        /// The container whose labels were read.
        container: String,
        /// The label.
        label: &'static str,
    },
    /// The files are not there any more.
    #[error(
        "{} {}, which the labels of {container} name; where {} now? name it with -f",
        listed(files),
        if files.len() == 1 { "is gone" } else { "are gone" },
        if files.len() == 1 { "is it" } else { "are they" }
    )]
    Gone {
        /// The container whose labels were read.
        container: String,
        /// The files that are missing.
        files: Vec<PathBuf>,
    },
}

fn listed(files: &[PathBuf]) -> String {
    let names: Vec<_> = files.iter().map(|f| f.display().to_string()).collect();
    names.join(" and ")
}

/// What the labels of one container say.
#[derive(Debug, PartialEq, Eq)]
struct Origin<'r> {
    directory: &'r str,
    files: &'r str,
    env_files: &'r str,
}

/// Completes a request by what the labels of the project's containers say: files, project directory
/// and env files. The newest running container is asked; when none runs, the newest at all.
/// Env files that the request or its environment names count before those of the labels.
///
/// Returns what should be told: that containers disagree.
pub fn complete(
    request: &mut LoadRequest,
    project: &str,
    containers: &[Replica],
) -> Result<Option<String>, RunningError> {
    let all: Vec<&Replica> = containers.iter().filter(|c| c.is_replica()).collect();
    let running: Vec<&Replica> = all
        .iter()
        .copied()
        .filter(|c| c.started.is_some() && c.state.counts())
        .collect();
    let asked = if running.is_empty() { all } else { running };
    let newest = asked.iter().max_by_key(|c| (c.created, &c.name));
    let newest = *newest.ok_or_else(|| RunningError::None {
        project: project.to_owned(),
        directory: request.cwd.clone(),
    })?;
    let origin = origin(newest)?;
    let directory = Path::new(origin.directory);
    let files = paths(origin.files, directory, &newest.name)?;
    let missing: Vec<_> = files.iter().filter(|f| !is_there(f)).cloned().collect();
    if !missing.is_empty() {
        return Err(RunningError::Gone {
            container: newest.name.clone(),
            files: missing,
        });
    }
    let other = asked
        .iter()
        .find(|c| self::origin(c).is_ok_and(|other| other != origin));
    let warning = other.map(|other| {
        format!(
            "containers of {project} were made from different files: {} from {}, {} from {}; using those of the newest, {}",
            newest.name,
            origin.files,
            other.name,
            self::origin(other).map_or("", |origin| origin.files),
            newest.name,
        )
    });
    let names_env_files = request.env.get("COMPOSE_ENV_FILES");
    if request.env_files.is_empty() && names_env_files.is_none_or(String::is_empty) {
        request.env_files = split(origin.env_files)
            .iter()
            .map(|file| directory.join(file))
            .collect();
    }
    request.project_name = Some(project.to_owned());
    if request.project_directory.is_none() {
        request.project_directory = Some(directory.to_owned());
    }
    request.files = files;
    Ok(warning)
}

fn origin(container: &Replica) -> Result<Origin<'_>, RunningError> {
    let label = |label: &'static str| {
        let value = container.labels.get(label).map(String::as_str);
        value
            .filter(|value| !value.is_empty())
            .ok_or_else(|| RunningError::Unlabelled {
                container: container.name.clone(),
                label,
            })
    };
    Ok(Origin {
        directory: label(labels::WORKING_DIR)?,
        files: label(labels::CONFIG_FILES)?,
        env_files: label(labels::ENVIRONMENT_FILE).unwrap_or_default(),
    })
}

/// The files of a label, absolute.
fn paths(label: &str, directory: &Path, container: &str) -> Result<Vec<PathBuf>, RunningError> {
    let files = split(label);
    let no_file = files.iter().find_map(|file| {
        let remote = ["://", "git@"].iter().any(|mark| file.contains(mark));
        match file.as_str() {
            "-" => Some("standard input".to_owned()),
            _ if remote => Some(file.clone()),
            _ => None,
        }
    });
    match no_file {
        Some(origin) => Err(RunningError::NoFile {
            container: container.to_owned(),
            origin,
        }),
        // compose v1 wrote them as they were given.
        None => Ok(files.iter().map(|file| directory.join(file)).collect()),
    }
}

/// Splits a list of paths at its commas. Where paths are absolute, as compose v2 writes them, a
/// comma that no `/` follows belongs to a name.
fn split(label: &str) -> Vec<String> {
    let absolute = label.starts_with('/');
    let mut files: Vec<String> = Vec::new();
    for piece in label.split(',') {
        match files.last_mut() {
            Some(last) if absolute && !piece.starts_with('/') && piece != "-" => {
                last.push(',');
                last.push_str(piece);
            }
            _ if piece.is_empty() => {}
            _ => files.push(piece.to_owned()),
        }
    }
    files
}

fn is_there(file: &Path) -> bool {
    fs::metadata(file).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{plan::tests::replica, project::ContainerState};

    /// A container with the three labels.
    fn made(number: u32, files: &str, directory: &str, env_files: &str) -> Replica {
        let mut replica = replica(number);
        let labels = [
            (labels::CONFIG_FILES, files),
            (labels::WORKING_DIR, directory),
            (labels::ENVIRONMENT_FILE, env_files),
        ];
        for (label, value) in labels {
            if !value.is_empty() {
                replica.labels.insert(label.to_owned(), value.to_owned());
            }
        }
        replica
    }

    fn asked(containers: &[Replica]) -> Result<(LoadRequest, Option<String>), RunningError> {
        let mut request = LoadRequest {
            cwd: "/elsewhere".into(),
            ..LoadRequest::default()
        };
        let warning = complete(&mut request, "shop", containers)?;
        Ok((request, warning))
    }

    /// Two files that are there.
    fn files() -> (tempfile::TempDir, String, String) {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| {
            let path = directory.path().join(name);
            fs::File::create(&path).unwrap();
            path.to_string_lossy().into_owned()
        };
        let (one, two) = (path("compose.yaml"), path("with,comma.yaml"));
        (directory, one, two)
    }

    #[test]
    fn files_directory_and_env_files_come_from_the_labels() {
        let (_directory, one, two) = files();
        let label = format!("{one},{two}");
        let container = made(1, &label, "/srv/shop", "/srv/a.env,b.env");
        let (request, warning) = asked(std::slice::from_ref(&container)).unwrap();
        assert_eq!(request.files, [PathBuf::from(one), PathBuf::from(two)]);
        assert_eq!(request.project_directory, Some("/srv/shop".into()));
        assert_eq!(request.project_name.as_deref(), Some("shop"));
        // The piece without a slash is part of the name before it, as compose writes absolute ones.
        assert_eq!(request.env_files, [PathBuf::from("/srv/a.env,b.env")]);
        assert_eq!(warning, None);

        let mut own = LoadRequest {
            cwd: "/elsewhere".into(),
            env: [("COMPOSE_ENV_FILES".to_owned(), "mine".to_owned())].into(),
            ..LoadRequest::default()
        };
        complete(&mut own, "shop", &[container]).unwrap();
        assert_eq!(own.env_files, Vec::<PathBuf>::new());
    }

    #[test]
    fn paths_of_old_containers_are_relative_to_their_directory() {
        let (directory, ..) = files();
        let place = directory.path().to_string_lossy();
        let (request, _) = asked(&[made(1, "compose.yaml,compose.yaml", &place, "")]).unwrap();
        let file = directory.path().join("compose.yaml");
        assert_eq!(request.files, [file.clone(), file]);
    }

    #[test]
    fn of_containers_that_disagree_the_newest_running_one_counts() {
        let (_directory, one, two) = files();
        // They are as old as their numbers are low.
        let old = made(1, &two, "/b", "");
        let young = made(2, &one, "/a", "");
        let mut stopped = made(3, "/gone.yaml", "/c", "");
        stopped.state = ContainerState::Exited;
        let (request, warning) = asked(&[young, old, stopped.clone()]).unwrap();
        assert_eq!(request.project_directory, Some("/a".into()));
        assert_eq!(
            warning.unwrap(),
            format!(
                "containers of shop were made from different files: shop-web-2 from {one}, shop-web-1 from {two}; using those of the newest, shop-web-2"
            )
        );
        // Only when none runs is a stopped one asked.
        let error = asked(&[stopped]).unwrap_err();
        assert!(matches!(error, RunningError::Gone { .. }), "{error}");
    }

    #[test]
    fn what_cannot_be_had_says_why_and_what_to_do() {
        let said = |containers: &[Replica]| asked(containers).unwrap_err().to_string();
        insta::assert_snapshot!(said(&[]), @"project shop has no container, and there is no compose file in /elsewhere or a directory above it; go to its directory, or name its file with -f");
        insta::assert_snapshot!(said(&[made(1, "/gone.yaml", "/srv", "")]), @"/gone.yaml is gone, which the labels of shop-web-1 name; where is it now? name it with -f");
        insta::assert_snapshot!(said(&[made(1, "/a.yaml,/b.yaml", "/srv", "")]), @"/a.yaml and /b.yaml are gone, which the labels of shop-web-1 name; where are they now? name it with -f");
        insta::assert_snapshot!(said(&[made(1, "-", "/srv", "")]), @"shop-web-1 was made from standard input, which cannot be read again; name a file with -f");
        insta::assert_snapshot!(said(&[made(1, "oci://example.com/app:1", "/srv", "")]), @"shop-web-1 was made from oci://example.com/app:1, which cannot be read again; name a file with -f");
        insta::assert_snapshot!(said(&[made(1, "", "/srv", "")]), @"shop-web-1 has no label com.docker.compose.project.config_files, so its compose file is not known; name it with -f");
        let mut oneoff = made(1, "/x.yaml", "/srv", "");
        oneoff.labels.insert(labels::ONEOFF.into(), "True".into());
        assert!(said(&[oneoff]).starts_with("project shop has no container"));
    }
}
