//! Replicas that are not what the compose file would make now.
//!
//! This tool never makes them anew: new replicas are made like those that are there, and whoever
//! changed the file runs compose. What is said here is which of them, and what to type.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use super::Machine;
use crate::project::Replica;

/// What compose would make a replica of now; nothing where that cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Current {
    /// The configuration hash.
    pub hash: Option<String>,
    /// The id that the image's name has.
    pub image: Option<String>,
}

/// Replicas that are behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// How many.
    pub behind: u32,
    /// Of how many.
    pub of: u32,
    /// Whether the compose file is another one.
    pub configuration: bool,
    /// Whether the image's name means another image.
    pub image: bool,
    /// What to type.
    pub fix: String,
}

impl Drift {
    /// Compares replicas of a service with what compose would make now.
    pub fn of<'a>(
        replicas: impl IntoIterator<Item = &'a Replica>,
        current: &Current,
        fix: impl FnOnce(u32) -> String,
    ) -> Option<Self> {
        let other = |now: &Option<String>, then: &str| {
            !then.is_empty() && now.as_ref().is_some_and(|now| now != then)
        };
        let (mut behind, mut of) = (0, 0);
        let (mut configuration, mut image) = (false, false);
        for replica in replicas {
            of += 1;
            let is_old = other(&current.hash, &replica.config_hash);
            let has_old = other(&current.image, &replica.image_id);
            behind += u32::from(is_old || has_old);
            configuration |= is_old;
            image |= has_old;
        }
        (behind > 0).then(|| Self {
            behind,
            of,
            configuration,
            image,
            fix: fix(of),
        })
    }

    /// What is the matter, without what to do about it.
    pub fn what(&self) -> String {
        let Self { behind, of, .. } = self;
        let verb = if *of == 1 {
            "replica is"
        } else {
            "replicas are"
        };
        let behind_what = match (self.configuration, self.image) {
            (true, true) => "behind the compose file and of an older image",
            (false, true) => "of an older image than its name has now",
            _ => "behind the compose file",
        };
        format!("{behind} of {of} {verb} {behind_what}")
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: run `{}`", self.what(), self.fix)
    }
}

impl Machine {
    /// Its replicas that are behind what compose would make now.
    pub fn drift(&self, current: &Current, fix: impl FnOnce(u32) -> String) -> Option<Drift> {
        Drift::of(self.staying(), current, fix)
    }

    /// What its replicas were made of: configuration hash and image.
    pub fn kinds(&self) -> BTreeSet<(String, String)> {
        let kind = |r: &Replica| (r.config_hash.clone(), r.image_id.clone());
        self.staying().map(kind).collect()
    }

    fn staying(&self) -> impl Iterator<Item = &Replica> {
        let stays = self.members.values().filter(|m| !m.is_on_its_way_out());
        stays.map(|m| &m.replica)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::replica;

    fn of(hashes: &[(&str, &str)], hash: Option<&str>, image: Option<&str>) -> Option<String> {
        let replicas: Vec<_> = (1..)
            .zip(hashes)
            .map(|(number, (hash, image))| Replica {
                config_hash: (*hash).into(),
                image_id: (*image).into(),
                ..replica(number)
            })
            .collect();
        let current = Current {
            hash: hash.map(Into::into),
            image: image.map(Into::into),
        };
        let fix = |count| format!("up {count}");
        Drift::of(&replicas, &current, fix).map(|drift| drift.to_string())
    }

    #[test]
    fn replicas_of_another_hash_or_image_are_behind() {
        let some = [("a", "1"), ("a", "1"), ("b", "2")];
        assert_eq!(
            of(&some, Some("b"), None).unwrap(),
            "2 of 3 replicas are behind the compose file: run `up 3`"
        );
        assert_eq!(
            of(&some, None, Some("1")).unwrap(),
            "1 of 3 replicas are of an older image than its name has now: run `up 3`"
        );
        assert_eq!(
            of(&some[2..], Some("a"), Some("1")).unwrap(),
            "1 of 1 replica is behind the compose file and of an older image: run `up 1`"
        );
    }

    #[test]
    fn where_nothing_is_known_nothing_is_claimed() {
        assert_eq!(of(&[("a", "1")], None, None), None);
        assert_eq!(of(&[("a", "1")], Some("a"), Some("1")), None);
        assert_eq!(of(&[("", "")], Some("a"), Some("1")), None);
        assert_eq!(of(&[], Some("a"), Some("1")), None);
    }
}
