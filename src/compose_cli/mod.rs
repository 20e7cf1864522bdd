//! Compose's own program, for what only it can do: making the first replica of a service that has
//! none, and saying what a service's configuration hash is.
//!
//! It is never asked for `scale` (which makes every replica anew for some services) nor for a count
//! that would take a running container away, and it builds and pulls nothing.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use tokio::process::Command;

use crate::{processes::Group, units::shell_word};

mod hash;

/// Longest wait for a program to tell its version.
const VERSION: Duration = Duration::from_secs(15);
/// Longest wait for the project's configuration.
const CONFIG: Duration = Duration::from_secs(30);
/// The first release whose hash is computed here: before, other keys went into it.
const FIRST_LIKE_THIS: ComposeVersion = ComposeVersion(2, 30, 2);
/// Longest wait for a replica.
const UP: Duration = Duration::from_secs(180);
/// Lines of its complaint that are passed on: the last ones tell what went wrong.
const LINES: usize = 5;

/// The project as compose is told of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProjectLocation {
    /// Its name.
    pub project: String,
    /// Its files, absolute; `-` is standard input, which cannot be read again.
    pub files: Vec<PathBuf>,
    /// Its directory, absolute.
    pub directory: PathBuf,
    /// `--env-file`, in order.
    pub env_files: Vec<PathBuf>,
    /// `--profile`.
    pub profiles: Vec<String>,
    /// Where the command was called: relative paths are relative to it.
    pub cwd: PathBuf,
    /// The engine, as in `DOCKER_HOST`: compose must not follow a context to another one.
    pub docker_host: String,
    /// Whether containers are named with underscores.
    pub underscores: bool,
}

/// Why compose did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CliError {
    /// There is no such program.
    #[error("neither `docker compose` nor `docker-compose` is installed here")]
    NotInstalled,
    /// The compose file is gone with the standard input that it was read from.
    #[error("the compose file came from standard input, which cannot be read again")]
    StandardInput,
    /// It ended with an error.
    #[error("`{command}` failed: {why}")]
    Failed {
        /// The command line.
        command: String,
        /// Its last words.
        why: String,
    },
    /// It took too long and was ended.
    #[error("`{command}` did not end within {after:?}")]
    TimedOut {
        /// The command line.
        command: String,
        /// The deadline.
        after: Duration,
    },
}

/// Compose as it is installed here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComposeCli {
    /// `docker compose` or `docker-compose`.
    program: Vec<String>,
    version: ComposeVersion,
}

/// `2.40.3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ComposeVersion(pub u32, pub u32, pub u32);

impl ComposeVersion {
    /// Reads what `version --short` prints; what a distribution has put behind it is left out.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_start_matches('v');
        let mut parts = text.split(['.', '-', '+']).map(str::parse);
        let mut next = || parts.next()?.ok();
        Some(Self(next()?, next()?, next().unwrap_or(0)))
    }
}

impl ComposeCli {
    /// Looks for compose: v2 as a plugin or by itself, else v1; v1 first where it made the project.
    pub async fn find(prefer_v1: bool) -> Result<Self, CliError> {
        let plugin = ["docker".to_owned(), "compose".to_owned()].to_vec();
        let standalone = ["docker-compose".to_owned()].to_vec();
        let mut found = Vec::new();
        for program in [plugin, standalone] {
            if let Some(cli) = Self::of(program).await {
                if cli.is_v1() == prefer_v1 {
                    return Ok(cli);
                }
                found.push(cli);
            }
        }
        found.into_iter().next().ok_or(CliError::NotInstalled)
    }

    /// A program that says it is compose.
    async fn of(program: Vec<String>) -> Option<Self> {
        let mut command = command(&program, &[]);
        command.args(["version", "--short"]);
        let running = async { Group::spawn(&mut command)?.output().await };
        let output = tokio::time::timeout(VERSION, running).await.ok()?;
        let output = output.ok().filter(|output| output.status.success())?;
        let version = ComposeVersion::parse(&String::from_utf8_lossy(&output.stdout))?;
        Some(Self { program, version })
    }

    /// Its release.
    pub fn version(&self) -> ComposeVersion {
        self.version
    }

    fn is_v1(&self) -> bool {
        self.version < ComposeVersion(2, 0, 0)
    }

    /// The command that makes a service have one replica, in words for people.
    pub fn shown(&self, place: &ProjectLocation, service: &str) -> String {
        self.show(&self.up_arguments(place, service))
    }

    /// Makes the one replica of a service that has none, and starts it.
    pub async fn up(&self, place: &ProjectLocation, service: &str) -> Result<(), CliError> {
        readable(place)?;
        self.run(place, &self.up_arguments(place, service), UP)
            .await
            .map(drop)
    }

    /// The configuration hash that compose would write on a replica now; `None` where this version
    /// of compose computes it in another way, or does not show what goes into it.
    pub async fn hash(
        &self,
        place: &ProjectLocation,
        service: &str,
    ) -> Result<Option<String>, CliError> {
        if self.version < FIRST_LIKE_THIS {
            return Ok(None);
        }
        readable(place)?;
        let mut arguments = self.project_arguments(place);
        arguments.extend(["config", "--format", "json", service].map(OsString::from));
        let output = self.run(place, &arguments, CONFIG).await?;
        Ok(hash::of(&String::from_utf8_lossy(&output.stdout), service))
    }

    /// The same of several services, with one call; those that cannot be told are left out.
    pub async fn hashes(
        &self,
        place: &ProjectLocation,
        services: &[&str],
    ) -> Result<BTreeMap<String, String>, CliError> {
        if self.version < FIRST_LIKE_THIS || services.is_empty() {
            return Ok(BTreeMap::new());
        }
        readable(place)?;
        let mut arguments = self.project_arguments(place);
        arguments.extend(["config", "--format", "json"].map(OsString::from));
        let output = self.run(place, &arguments, CONFIG).await?;
        let document = String::from_utf8_lossy(&output.stdout);
        let hash = |name: &&str| Some(((*name).to_owned(), hash::of(&document, name)?));
        Ok(services.iter().filter_map(hash).collect())
    }

    /// A command of compose on a project, in a process group of its own.
    pub fn command(&self, place: &ProjectLocation, arguments: &[&str]) -> Command {
        let mut all = self.project_arguments(place);
        all.extend(arguments.iter().map(OsString::from));
        let mut command = self.prepared(place, &all);
        command.process_group(0).kill_on_drop(true);
        command
    }

    fn prepared(&self, place: &ProjectLocation, arguments: &[OsString]) -> Command {
        let mut command = command(&self.program, arguments);
        command
            .current_dir(&place.cwd)
            .env("DOCKER_HOST", &place.docker_host)
            .env_remove("DOCKER_CONTEXT");
        command
    }

    fn project_arguments(&self, place: &ProjectLocation) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = Vec::new();
        let mut add = |flag: &str, value: &Path| {
            arguments.push(flag.into());
            arguments.push(value.into());
        };
        add("-p", Path::new(&place.project));
        for file in &place.files {
            add("-f", file);
        }
        for file in &place.env_files {
            add("--env-file", file);
        }
        for profile in &place.profiles {
            add("--profile", Path::new(profile));
        }
        add("--project-directory", &place.directory);
        if place.underscores && !self.is_v1() {
            arguments.push("--compatibility".into());
        }
        arguments
    }

    fn up_arguments(&self, place: &ProjectLocation, service: &str) -> Vec<OsString> {
        let mut arguments = self.project_arguments(place);
        arguments
            .extend(["up", "-d", "--no-deps", "--no-recreate", "--no-build"].map(OsString::from));
        if !self.is_v1() {
            arguments.extend(["--pull", "never"].map(OsString::from));
        }
        arguments.extend(["--scale".into(), format!("{service}=1").into()]);
        arguments.push(service.into());
        arguments
    }

    fn show(&self, arguments: &[OsString]) -> String {
        let words = self.program.iter().map(String::as_str);
        let arguments: Vec<_> = arguments.iter().map(|a| a.to_string_lossy()).collect();
        words
            .chain(arguments.iter().map(AsRef::as_ref))
            .map(shell_word)
            .collect::<Vec<_>>()
            .join(" ")
    }

    async fn run(
        &self,
        place: &ProjectLocation,
        arguments: &[OsString],
        deadline: Duration,
    ) -> Result<Output, CliError> {
        let shown = || self.show(arguments);
        let mut command = self.prepared(place, arguments);
        command
            .env("COMPOSE_PROGRESS", "quiet")
            .env("COMPOSE_ANSI", "never");
        let running = async { Group::spawn(&mut command)?.output().await };
        match tokio::time::timeout(deadline, running).await {
            Err(_) => Err(CliError::TimedOut {
                command: shown(),
                after: deadline,
            }),
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                Err(CliError::NotInstalled)
            }
            Ok(Err(error)) => Err(CliError::Failed {
                command: shown(),
                why: error.to_string(),
            }),
            Ok(Ok(output)) if output.status.success() => Ok(output),
            Ok(Ok(output)) => Err(CliError::Failed {
                command: shown(),
                why: last_words(&output),
            }),
        }
    }
}

/// Files that can be read again.
fn readable(place: &ProjectLocation) -> Result<(), CliError> {
    if place.files.iter().any(|file| file == Path::new("-")) {
        Err(CliError::StandardInput)
    } else {
        Ok(())
    }
}

fn command(program: &[String], arguments: &[OsString]) -> Command {
    let mut words = program.iter();
    let mut command = Command::new(words.next().map_or("", String::as_str));
    command
        .args(words)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// The end of what it complained of, else how it ended.
fn last_words(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<_> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    if lines.is_empty() {
        return output.status.to_string();
    }
    lines[lines.len().saturating_sub(LINES)..].join("; ")
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn place() -> ProjectLocation {
        ProjectLocation {
            project: "shop".into(),
            files: vec![
                "/srv/shop/compose.yaml".into(),
                "/srv/my shop/more.yaml".into(),
            ],
            directory: "/srv/shop".into(),
            env_files: vec!["prod.env".into()],
            profiles: vec!["front".into()],
            cwd: "/".into(),
            docker_host: "unix:///var/run/docker.sock".into(),
            underscores: false,
        }
    }

    fn cli(program: &[&str], version: ComposeVersion) -> ComposeCli {
        ComposeCli {
            program: program.iter().map(|&word| word.to_owned()).collect(),
            version,
        }
    }

    const V2: ComposeVersion = ComposeVersion(2, 40, 3);
    const V1: ComposeVersion = ComposeVersion(1, 29, 2);

    #[test]
    fn v2_makes_one_and_touches_nothing_else() {
        insta::assert_snapshot!(
            cli(&["docker", "compose"], V2).shown(&place(), "web"),
            @"docker compose -p shop -f /srv/shop/compose.yaml -f '/srv/my shop/more.yaml' --env-file prod.env --profile front --project-directory /srv/shop up -d --no-deps --no-recreate --no-build --pull never --scale web=1 web"
        );
        let mut underscores = place();
        underscores.underscores = true;
        let shown = cli(&["docker", "compose"], V2).shown(&underscores, "web");
        assert!(shown.contains(" --compatibility up "), "{shown}");
    }

    #[test]
    fn v1_knows_no_pull_flag() {
        insta::assert_snapshot!(
            cli(&["docker-compose"], V1).shown(&place(), "web"),
            @"docker-compose -p shop -f /srv/shop/compose.yaml -f '/srv/my shop/more.yaml' --env-file prod.env --profile front --project-directory /srv/shop up -d --no-deps --no-recreate --no-build --scale web=1 web"
        );
    }

    #[test]
    fn versions_are_read_with_and_without_a_letter_and_a_suffix() {
        assert_eq!(ComposeVersion::parse("v2.40.3\n"), Some(V2));
        assert_eq!(ComposeVersion::parse("1.29.2"), Some(V1));
        assert_eq!(
            ComposeVersion::parse("2.12.2+ds1-0ubuntu1"),
            Some(ComposeVersion(2, 12, 2))
        );
        assert_eq!(ComposeVersion::parse("unknown flag"), None);
    }

    /// A stand-in that writes its environment and arguments into a file, and then does as told.
    fn stand_in(then: &str) -> (tempfile::TempDir, ComposeCli, ProjectLocation) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("compose");
        let mut script = String::new();
        write!(
            script,
            "echo \"$DOCKER_HOST $*\" > {}/said\n{then}\n",
            directory.path().display()
        )
        .unwrap();
        crate::files::replace(&path, script.as_bytes()).unwrap();
        let found = cli(&["sh", path.to_str().unwrap()], V2);
        let mut place = place();
        place.cwd = directory.path().to_owned();
        (directory, found, place)
    }

    #[tokio::test]
    async fn its_own_words_say_what_went_wrong() {
        let (_directory, cli, place) =
            stand_in("printf '\\n1\\n2\\n3\\n4\\n5\\n service \"web\" is broken\\n' >&2; exit 1");
        let error = cli.up(&place, "web").await.unwrap_err().to_string();
        assert!(
            error.ends_with("failed: 2; 3; 4; 5; service \"web\" is broken"),
            "{error}"
        );
        assert!(error.contains("--no-recreate"), "{error}");
    }

    #[tokio::test]
    async fn it_talks_to_the_engine_that_we_talk_to() {
        let (directory, cli, place) = stand_in("exit 0");
        cli.up(&place, "web").await.unwrap();
        let said = std::fs::read_to_string(directory.path().join("said")).unwrap();
        assert!(
            said.starts_with("unix:///var/run/docker.sock -p shop -f /srv/shop/compose.yaml"),
            "{said}"
        );
    }

    #[tokio::test]
    async fn a_file_from_standard_input_is_not_asked_for_again() {
        let (_directory, cli, mut place) = stand_in("exit 0");
        place.files = vec!["-".into()];
        assert_eq!(cli.up(&place, "web").await, Err(CliError::StandardInput));
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_said_to_be_missing() {
        let gone = cli(&["/nowhere/docker-compose"], V2);
        let mut here = place();
        here.cwd = "/".into();
        assert_eq!(gone.up(&here, "web").await, Err(CliError::NotInstalled));
    }
}
