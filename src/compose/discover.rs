//! Which files a project is made of, its directory, and the variables that its files may use.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Read as _},
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
};

pub(crate) use crate::files::clean;

use super::{
    LoadRequest, dotenv,
    error::{LoadError, Mistake},
    interpolate::VariableMap,
};

/// Names of a compose file, the first that exists wins.
const NAMES: [&str; 4] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
];

/// Names of the override file beside it.
const OVERRIDES: [&str; 4] = [
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];

/// What was found before any compose file is read.
#[derive(Debug)]
pub(crate) struct Discovery {
    /// Absolute, in the order they are merged; `-` is standard input.
    pub(crate) files: Vec<PathBuf>,
    /// The project directory, absolute.
    pub(crate) directory: PathBuf,
    /// The environment and what the env files add to it.
    pub(crate) variables: VariableMap,
    /// Files that matter when they change or appear, beside the compose files.
    pub(crate) watched: Vec<PathBuf>,
    /// What should be told.
    pub(crate) warnings: Vec<String>,
    /// What values of the env files name and nothing sets.
    pub(crate) unset: BTreeSet<String>,
}

/// Finds the compose files and reads the env files.
pub(crate) fn discover(request: &LoadRequest) -> Result<Discovery, LoadError> {
    let mut found = Discovery {
        files: request
            .files
            .iter()
            .map(|file| absolute(request, file))
            .collect(),
        directory: PathBuf::new(),
        variables: with_working_directory(request),
        watched: Vec::new(),
        warnings: Vec::new(),
        unset: BTreeSet::new(),
    };
    refuse_remote(request.files.iter().filter_map(|file| file.to_str()))?;
    // COMPOSE_FILE itself may be set in the env file, so that one is read first …
    found.directory = project_directory(request, &found.files);
    found.read_env_files(request)?;
    if found.files.is_empty() {
        found.listed_files(request)?;
    }
    if found.files.is_empty() {
        found.search(request)?;
    }
    // … and once more, because the files may lie in another directory than was thought.
    let directory = project_directory(request, &found.files);
    if directory != found.directory {
        found.directory = directory;
        found.read_env_files(request)?;
    }
    Ok(found)
}

/// The environment. Where it has no `PWD`, as below systemd, compose sets it, whatever `.env` says.
fn with_working_directory(request: &LoadRequest) -> VariableMap {
    let mut variables = request.env.clone();
    if let Some(cwd) = request.cwd.to_str() {
        variables
            .entry("PWD".to_owned())
            .or_insert_with(|| cwd.to_owned());
    }
    variables
}

fn absolute(request: &LoadRequest, path: &Path) -> PathBuf {
    if path == Path::new("-") {
        path.to_owned()
    } else {
        clean(&request.cwd.join(path))
    }
}

fn project_directory(request: &LoadRequest, files: &[PathBuf]) -> PathBuf {
    if let Some(directory) = &request.project_directory {
        return absolute(request, directory);
    }
    files
        .iter()
        .find(|file| *file != Path::new("-"))
        .and_then(|file| file.parent())
        .map_or_else(|| clean(&request.cwd), Path::to_owned)
}

/// Whether compose would fetch this file from another machine.
pub(crate) fn is_remote(path: &str) -> bool {
    path.contains("://") || path.starts_with("git@") || path.starts_with("github.com/")
}

/// Why such a file is not read.
pub(crate) fn remote(path: &str) -> String {
    format!(
        "{path} is on another machine, and nothing is fetched here; get a copy of it and name that, \
         or write the whole project into one file with `docker compose config -o FILE`"
    )
}

/// Bytes of a file. Far from what anybody writes.
const LARGEST: u64 = 16 << 20;

/// Reads a file as text. Never waits for a pipe that has a name, and never reads without end.
pub(crate) fn read(path: &Path) -> Result<String, LoadError> {
    let unreadable = |source| LoadError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let wrong = |what: &str| unreadable(io::Error::other(what));
    let kind = fs::metadata(path).map_err(unreadable)?.file_type();
    // The pipe of a shell's `<(command)` has a writer; one on a disk may never have one.
    if kind.is_fifo() && !path.starts_with("/dev") && !path.starts_with("/proc") {
        return Err(wrong("it is a pipe; use `-f -` and standard input instead"));
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(unreadable)?;
    let read = file.take(LARGEST + 1).read_to_end(&mut bytes);
    if read.map_err(unreadable)? as u64 > LARGEST {
        return Err(wrong("it is larger than 16 MiB"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.split(|byte| *byte == b'\n').count();
        wrong(&format!("line {line} is not UTF-8 text"))
    })
}

fn refuse_remote<'p>(mut paths: impl Iterator<Item = &'p str>) -> Result<(), LoadError> {
    match paths.find(|path| is_remote(path)) {
        Some(path) => Err(LoadError::Setting(remote(path))),
        None => Ok(()),
    }
}

/// The env files that are asked for, absolute; none leaves it to `.env`.
pub(super) fn asked_env_files(request: &LoadRequest, variables: &VariableMap) -> Vec<PathBuf> {
    let listed = variables.get("COMPOSE_ENV_FILES");
    let listed = listed.map_or_else(Vec::new, |list| {
        list.split(',')
            .filter(|file| !file.is_empty())
            .map(PathBuf::from)
            .collect()
    });
    let asked = if request.env_files.is_empty() {
        &listed
    } else {
        &request.env_files
    };
    asked.iter().map(|file| absolute(request, file)).collect()
}

impl Discovery {
    fn read_env_files(&mut self, request: &LoadRequest) -> Result<(), LoadError> {
        let asked = asked_env_files(request, &self.variables);
        let mut values = VariableMap::new();
        if asked.is_empty() {
            if is_disabled(request)? {
                return Ok(());
            }
            let path = self.directory.join(".env");
            self.watch(&path);
            if path.is_file() {
                values = self.read_env_file(request, &path, &values)?;
            }
        }
        for path in asked {
            self.watch(&path);
            let more = self.read_env_file(request, &path, &values)?;
            values.extend(more);
        }
        for (name, value) in values {
            self.variables.entry(name).or_insert(value);
        }
        Ok(())
    }

    fn read_env_file(
        &mut self,
        request: &LoadRequest,
        path: &Path,
        earlier: &VariableMap,
    ) -> Result<VariableMap, LoadError> {
        let text = read(path)?;
        // Names of an earlier file are known here too, and those of the environment win.
        let mut unset = BTreeSet::new();
        let values = dotenv::parse(&text, &self.variables, earlier, &mut unset);
        self.warn_unset(&unset);
        self.unset.append(&mut unset);
        values.map_err(|error| {
            LoadError::Mistakes(vec![Mistake {
                file: shown(request, path),
                line: error.line,
                path: String::new(),
                message: error.message,
            }])
        })
    }

    /// Warns of names that have no value.
    pub(crate) fn warn_unset(&mut self, unset: &BTreeSet<String>) {
        for name in unset {
            self.warn(format!(
                "the variable {name} is not set; an empty text is used"
            ));
        }
    }

    /// Adds a warning once.
    pub(crate) fn warn(&mut self, warning: String) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    fn watch(&mut self, path: &Path) {
        if !self.watched.iter().any(|known| known == path) {
            self.watched.push(path.to_owned());
        }
    }

    fn listed_files(&mut self, request: &LoadRequest) -> Result<(), LoadError> {
        let Some(list) = self.variables.get("COMPOSE_FILE") else {
            return Ok(());
        };
        let separator = separator(&self.variables);
        refuse_remote(std::iter::once(list.as_str()))?;
        if list.split(separator).any(str::is_empty) {
            let (file, line) = self.listing(request).unwrap_or_default();
            return Err(LoadError::Mistakes(vec![Mistake {
                file,
                line,
                path: "COMPOSE_FILE".into(),
                message: "it has an entry that is empty, which compose takes for the directory; \
                          name the compose files in it, or remove it"
                    .into(),
            }]));
        }
        let files: Vec<_> = list
            .split(separator)
            .map(|file| absolute(request, Path::new(file)))
            .collect();
        let is_missing = |file: &&PathBuf| *file != Path::new("-") && !file.exists();
        if let Some(missing) = files.iter().find(is_missing) {
            let message = format!("it names {}, which does not exist", missing.display());
            return Err(match self.listing(request) {
                Some((file, line)) => LoadError::Mistakes(vec![Mistake {
                    file,
                    line,
                    path: "COMPOSE_FILE".into(),
                    message,
                }]),
                None => LoadError::Setting(format!("COMPOSE_FILE in the environment: {message}")),
            });
        }
        self.files = files;
        Ok(())
    }

    /// The env file that sets `COMPOSE_FILE`, and its line; none where the environment does.
    fn listing(&self, request: &LoadRequest) -> Option<(String, usize)> {
        if request.env.contains_key("COMPOSE_FILE") {
            return None;
        }
        let sets = |line: &str| {
            let line = line.trim_start().trim_start_matches("export ").trim_start();
            let rest = line.strip_prefix("COMPOSE_FILE").map(str::trim_start);
            rest.is_some_and(|rest| rest.starts_with(['=', ':']))
        };
        self.watched.iter().rev().find_map(|path| {
            let text = read(path).ok()?;
            let line = text
                .lines()
                .collect::<Vec<_>>()
                .iter()
                .rposition(|line| sets(line))?;
            Some((shown(request, path), line + 1))
        })
    }

    fn search(&mut self, request: &LoadRequest) -> Result<(), LoadError> {
        let start = project_directory(request, &[]);
        for directory in start.ancestors() {
            let hits = existing(directory, &NAMES);
            let Some(file) = self.choose(hits, "compose files") else {
                continue;
            };
            self.files.push(file);
            let overrides = existing(directory, &OVERRIDES);
            if let Some(file) = self.choose(overrides, "override files") {
                self.files.push(file);
            }
            // A file that appears under another name changes the project too.
            for name in NAMES.iter().chain(&OVERRIDES) {
                self.watch(&directory.join(name));
            }
            return Ok(());
        }
        Err(LoadError::NotFound {
            names: NAMES.to_vec(),
            directory: start,
        })
    }

    fn choose(&mut self, mut hits: Vec<PathBuf>, what: &str) -> Option<PathBuf> {
        if hits.is_empty() {
            return None;
        }
        if hits.len() > 1 {
            let names: Vec<_> = hits.iter().map(|hit| hit.display().to_string()).collect();
            self.warn(format!(
                "found several {what}: {}; using {}",
                names.join(", "),
                names[0]
            ));
        }
        Some(hits.swap_remove(0))
    }
}

/// What stands between the files of `COMPOSE_FILE`.
pub(crate) fn separator(variables: &VariableMap) -> &str {
    variables
        .get("COMPOSE_PATH_SEPARATOR")
        .filter(|separator| !separator.is_empty())
        .map_or(":", String::as_str)
}

/// Whether a directory has a compose file of its own, by the names that compose looks for.
pub fn has_compose_file(directory: &Path) -> bool {
    !existing(directory, &NAMES).is_empty()
}

fn existing(directory: &Path, names: &[&str]) -> Vec<PathBuf> {
    names
        .iter()
        .map(|name| directory.join(name))
        .filter(|path| path.exists())
        .collect()
}

/// Only the environment itself can switch `.env` off.
fn is_disabled(request: &LoadRequest) -> Result<bool, LoadError> {
    let Some(value) = request.env.get("COMPOSE_DISABLE_ENV_FILE") else {
        return Ok(false);
    };
    match value.as_str() {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(LoadError::Setting(format!(
            "COMPOSE_DISABLE_ENV_FILE: found {value:?}, expected true or false"
        ))),
    }
}

/// A path for a message: relative when the file lies below the working directory.
pub(crate) fn shown(request: &LoadRequest, path: &Path) -> String {
    path.strip_prefix(clean(&request.cwd))
        .unwrap_or(path)
        .display()
        .to_string()
}

/// Makes a project name of any text: lower case letters, digits, `-` and `_`, and in front a
/// letter or a digit.
pub(crate) fn normal_name(text: &str) -> String {
    let name: String = text
        .to_lowercase()
        .chars()
        .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-'))
        .collect();
    name.trim_start_matches(['_', '-']).to_owned()
}

/// The project's name: `-p`, then `COMPOSE_PROJECT_NAME`, then `name:` of the files, then the
/// directory. `named` reads the second to last.
pub(crate) fn project_name(
    request: &LoadRequest,
    found: &Discovery,
    named: impl FnOnce() -> Result<Option<String>, LoadError>,
) -> Result<String, LoadError> {
    let given = [
        ("--project-name", request.project_name.as_ref()),
        (
            "COMPOSE_PROJECT_NAME",
            found.variables.get("COMPOSE_PROJECT_NAME"),
        ),
    ];
    for (origin, name) in given {
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            continue;
        };
        if normal_name(name) != *name {
            return Err(LoadError::Setting(format!(
                "{origin}: found {name:?}, expected only lower case letters, digits, - and _, \
                 starting with a letter or a digit"
            )));
        }
        return Ok(name.clone());
    }
    let name = match named()? {
        Some(name) => normal_name(&name),
        None => normal_name(
            &found
                .directory
                .file_name()
                .unwrap_or_default()
                .to_string_lossy(),
        ),
    };
    if name.is_empty() {
        return Err(LoadError::Setting(
            "the project has no name: give one with --project-name or `name:`".into(),
        ));
    }
    Ok(name)
}
