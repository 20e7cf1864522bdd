//! What `init` remembers of what it has written: enough to know its own files again, and to take
//! the line in `.env` back. No value of `.env` but that of `COMPOSE_FILE` is in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{DIRECTORY, OVERRIDE, dotenv::DotenvEdit};

/// The version of the format.
pub const VERSION: u32 = 1;

/// What was written, and for which answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`VERSION`].
    pub version: u32,
    /// SHA-256 of each file by its path below the project's directory.
    pub files: BTreeMap<String, String>,
    /// Directories that were made, the outermost first.
    pub directories: Vec<String>,
    /// What was done to `.env`.
    pub dotenv: Option<DotenvEdit>,
    /// Where requests come in.
    pub nginx: IngressMode,
    /// The image of an nginx that is added.
    pub image: String,
    /// The services.
    pub services: Vec<Choice>,
    /// The text of a file that was taken over, by its path: what stood there before.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub replaced: BTreeMap<String, String>,
    /// What held before, as long as not all of this is written: a file may still be the earlier one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier: Option<Box<Manifest>>,
}

/// Where requests come in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IngressMode {
    /// An nginx that is added to the project.
    New,
    /// A service of the project.
    Service(String),
    /// nginx on this machine.
    Host,
    /// A container that the compose file names already.
    Elsewhere,
}

/// What is wanted of one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// Its name.
    pub service: String,
    /// The fewest replicas.
    pub min: u32,
    /// The most.
    pub max: u32,
    /// The target for CPU, as it is written in the file: `60%`.
    pub cpu: String,
    /// The port, where the command line names it.
    pub port: Option<u16>,
}

impl Manifest {
    /// Reads one; words for people where it is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let record: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if record.version != VERSION {
            return Err(format!(
                "it is of version {}, and this program writes {VERSION}",
                record.version
            ));
        }
        // It may come with a project of somebody else's, and files are removed by it.
        for one in record.and_earlier() {
            let replaced = one.replaced.keys();
            let mut paths = one.files.keys().chain(&one.directories).chain(replaced);
            if let Some(path) = paths.find(|path| !is_ours(path)) {
                return Err(format!("{path} is not a path that this program writes"));
            }
        }
        Ok(record)
    }

    /// This one, and those of before that may still hold for a file.
    fn and_earlier(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |record| record.earlier.as_deref())
    }

    /// Every file that may be there.
    pub fn paths(&self) -> BTreeSet<&String> {
        self.and_earlier()
            .flat_map(|record| record.files.keys())
            .collect()
    }

    /// What may have been done to `.env`, the last first.
    pub fn edits(&self) -> impl Iterator<Item = &DotenvEdit> {
        self.and_earlier()
            .filter_map(|record| record.dotenv.as_ref())
    }

    /// As a file.
    pub fn text(&self) -> String {
        let text = serde_json::to_string_pretty(self).expect("plain data is JSON");
        format!("{text}\n")
    }

    /// Whether a file is as it was written, or as it was before that.
    pub fn is_unchanged(&self, path: &str, bytes: &[u8]) -> bool {
        let sum = digest_of(path, bytes);
        let before = self.replaced.get(path);
        before.is_some_and(|text| text.as_bytes() == bytes)
            || self
                .and_earlier()
                .any(|record| record.files.get(path) == Some(&sum))
    }
}

/// Whether it is a path that is written here.
fn is_ours(path: &str) -> bool {
    let parts = Path::new(path).components();
    let plain = parts
        .clone()
        .all(|part| matches!(part, Component::Normal(_)));
    plain && (path == OVERRIDE || parts.take(1).any(|part| part.as_os_str() == DIRECTORY))
}

/// What a file is known by. Counts in the override are kept by `watch`: with another one it is the same.
pub fn digest_of(path: &str, bytes: &[u8]) -> String {
    if path != OVERRIDE {
        return digest(bytes);
    }
    let text = String::from_utf8_lossy(bytes);
    let is_count = |line: &&str| {
        let count = |key| line.trim().strip_prefix(key).map(str::trim);
        let number = count("scale:").or_else(|| count("replicas:"));
        number.is_some_and(|number| number.parse::<u32>().is_ok()) || line.trim() == "deploy:"
    };
    let rest: Vec<_> = text.lines().filter(|line| !is_count(line)).collect();
    digest(rest.join("\n").as_bytes())
}

/// SHA-256 in hex.
pub fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_another_version_is_not() {
        let record = Manifest {
            version: VERSION,
            files: BTreeMap::from([("compose-scale/a".into(), digest(b"text"))]),
            directories: vec!["compose-scale".into()],
            dotenv: None,
            nginx: IngressMode::Service("edge".into()),
            image: "nginx:1.30".into(),
            services: vec![Choice {
                service: "web".into(),
                min: 2,
                max: 6,
                cpu: "60%".into(),
                port: None,
            }],
            replaced: BTreeMap::new(),
            earlier: None,
        };
        assert_eq!(Manifest::parse(&record.text()), Ok(record.clone()));
        assert!(record.is_unchanged("compose-scale/a", b"text"));
        assert!(!record.is_unchanged("compose-scale/a", b"Text"));
        assert!(!record.is_unchanged("b", b"text"));
        let newer = record.text().replace("\"version\": 1", "\"version\": 2");
        assert!(Manifest::parse(&newer).unwrap_err().contains("version 2"));
    }

    #[test]
    fn a_record_that_names_files_of_others_is_none() {
        for path in [
            "/etc/passwd",
            "../notes",
            "compose.yaml",
            "compose-scale/../a",
        ] {
            let text = format!(
                r#"{{"version":1,"files":{{"{path}":"00"}},"directories":[],"dotenv":null,"nginx":"new","image":"nginx","services":[]}}"#
            );
            let error = Manifest::parse(&text).unwrap_err();
            assert!(error.contains(path), "{error}");
            let good = text.replace(path, "compose-scale/a");
            let nested = good.replace(
                "\"services\":[]",
                &format!("\"services\":[],\"earlier\":{text}"),
            );
            assert!(Manifest::parse(&nested).unwrap_err().contains(path));
        }
    }

    #[test]
    fn until_all_is_written_a_file_may_be_the_one_of_before() {
        let text = |sum: &str, more: &str| {
            format!(
                r#"{{"version":1,"files":{{"{OVERRIDE}":"{sum}"}},"directories":[],"dotenv":null,"nginx":"new","image":"nginx","services":[]{more}}}"#
            )
        };
        let earlier = format!(",\"earlier\":{}", text(&digest_of(OVERRIDE, b"old"), ""));
        let record = Manifest::parse(&text(&digest_of(OVERRIDE, b"new"), &earlier)).unwrap();
        for bytes in [b"old", b"new"] {
            assert!(record.is_unchanged(OVERRIDE, bytes));
        }
        assert!(!record.is_unchanged(OVERRIDE, b"own"));
        assert_eq!(record.paths().len(), 1);
    }

    #[test]
    fn with_another_count_the_override_is_the_same() {
        let written = "services:\n  web:\n    scale: 2\n    x-autoscale: {max: 4}\n";
        let sum = digest_of(OVERRIDE, written.as_bytes());
        let kept = written.replace("scale: 2", "scale: 5");
        assert_eq!(digest_of(OVERRIDE, kept.as_bytes()), sum);
        let other = written.replace("    scale: 2\n", "    deploy:\n      replicas: 7\n");
        assert_eq!(digest_of(OVERRIDE, other.as_bytes()), sum);
        let changed = written.replace("max: 4", "max: 5");
        assert_ne!(digest_of(OVERRIDE, changed.as_bytes()), sum);
    }
}
