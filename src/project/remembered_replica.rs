//! What is remembered of a replica, so that another one can be made like it when none is left.
//!
//! It is written to a file, so the values of its environment are not in it: only their names, and a
//! digest that tells whether values that come from elsewhere are the same ones.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::units::hex;

/// A replica as it was made, without the values of its environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Template {
    /// Its service.
    pub service: String,
    /// Its name.
    pub name: String,
    /// Its number.
    pub number: u32,
    /// The service's hash when it was made.
    pub config_hash: String,
    /// The image's name as in its configuration.
    pub image: String,
    /// The image that the name meant when it was made.
    pub image_id: String,
    /// Its environment.
    pub environment: Sealed,
    /// The rest, in the words of the engine it was made by.
    pub description: serde_json::Value,
}

impl Template {
    /// The name of a replica with another number; `None` where it does not follow compose's pattern.
    pub fn sibling_name(&self, number: u32) -> Option<String> {
        super::replica::sibling_name(&self.service, &self.name, self.number, number)
    }
}

/// An environment without its values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The variables, in order.
    pub names: Vec<String>,
    /// Random, in hex: equal environments of two services have different digests.
    pub salt: String,
    /// sha256 over the salt and all of it, in hex.
    pub digest: String,
}

/// Why an environment could not be put together again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnsealError {
    /// A variable comes neither from the file nor from the image.
    #[error("its variable {0} is neither in the compose file nor in the image")]
    Unknown(String),
    /// The file has a variable that the replica did not have.
    #[error("the compose file gives it a new variable {0}")]
    New(String),
    /// A value is another one now.
    #[error("its environment has changed in the compose file")]
    Changed,
}

impl Sealed {
    /// Seals `KEY=value` entries; `KEY` alone is one without a value.
    pub fn seal(environment: &[String], salt: String) -> Self {
        let names = environment.iter().map(|e| name(e).to_owned()).collect();
        let digest = digest(environment, &salt);
        Self {
            names,
            salt,
            digest,
        }
    }

    /// The same environment, with values from the compose file and, where it names none, from the
    /// image, as the engine merges the two.
    pub fn open(
        &self,
        file: &BTreeMap<String, Option<String>>,
        image: &[String],
    ) -> Result<Vec<String>, UnsealError> {
        let new = file
            .iter()
            .find(|(key, value)| value.is_some() && !self.names.contains(key));
        if let Some((key, _)) = new {
            return Err(UnsealError::New(key.clone()));
        }
        let mut opened = Vec::with_capacity(self.names.len());
        for key in &self.names {
            let entry = match file.get(key) {
                Some(Some(value)) => Some(format!("{key}={value}")),
                Some(None) => Some(key.clone()),
                None => image.iter().find(|entry| name(entry) == key).cloned(),
            };
            opened.push(entry.ok_or_else(|| UnsealError::Unknown(key.clone()))?);
        }
        if digest(&opened, &self.salt) == self.digest {
            Ok(opened)
        } else {
            Err(UnsealError::Changed)
        }
    }
}

fn name(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(name, _)| name)
}

/// Each entry with its length, so that no two environments give the same bytes; sorted, because the
/// order is a matter of chance.
fn digest(environment: &[String], salt: &str) -> String {
    let mut entries: Vec<_> = environment.iter().collect();
    entries.sort();
    let mut hash = Sha256::new();
    hash.update(salt);
    for entry in entries {
        hash.update((entry.len() as u64).to_le_bytes());
        hash.update(entry);
    }
    hex(&hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(all: &[&str]) -> Vec<String> {
        all.iter().map(|&entry| entry.to_owned()).collect()
    }

    fn file(all: &[(&str, Option<&str>)]) -> BTreeMap<String, Option<String>> {
        all.iter()
            .map(|(key, value)| ((*key).to_owned(), value.map(ToOwned::to_owned)))
            .collect()
    }

    fn sealed() -> Sealed {
        Sealed::seal(
            &entries(&["TOKEN=s3cret", "UNSET", "PATH=/bin"]),
            "0a1b".into(),
        )
    }

    #[test]
    fn no_value_is_in_what_is_kept() {
        let text = serde_json::to_string(&sealed()).unwrap();
        assert!(text.contains("TOKEN") && !text.contains("s3cret"), "{text}");
        assert!(!text.contains("/bin"), "{text}");
    }

    #[test]
    fn values_come_from_the_file_and_else_from_the_image() {
        let file = file(&[("TOKEN", Some("s3cret")), ("UNSET", None)]);
        let image = entries(&["PATH=/bin", "TOKEN=image"]);
        assert_eq!(
            sealed().open(&file, &image),
            Ok(entries(&["TOKEN=s3cret", "UNSET", "PATH=/bin"]))
        );
    }

    #[test]
    fn an_environment_that_cannot_be_the_same_is_not_opened() {
        let image = entries(&["PATH=/bin"]);
        let open = |pairs: &[(&str, Option<&str>)]| sealed().open(&file(pairs), &image);
        assert_eq!(
            open(&[("TOKEN", Some("other")), ("UNSET", None)]),
            Err(UnsealError::Changed)
        );
        assert_eq!(
            open(&[("UNSET", None)]),
            Err(UnsealError::Unknown("TOKEN".into()))
        );
        assert_eq!(
            open(&[("TOKEN", Some("s3cret")), ("UNSET", None), ("X", Some(""))]),
            Err(UnsealError::New("X".into()))
        );
    }

    #[test]
    fn entries_that_run_together_have_another_digest() {
        let one = Sealed::seal(&entries(&["A=1", "B=2"]), "salt".into());
        let two = Sealed::seal(&entries(&["A=1B=2"]), "salt".into());
        assert_ne!(one.digest, two.digest);
        let salted = Sealed::seal(&entries(&["A=1", "B=2"]), "other".into());
        assert_ne!(one.digest, salted.digest);
    }
}
