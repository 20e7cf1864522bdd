//! Replicas that are not what the compose file would make now.
//!
//! This tool never makes them anew: new replicas are made like those that are there, and whoever
//! changed the file runs compose. What is said here is which of them, and what to type.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use super::ServiceMachine;
use crate::project::{NamedVariables, Replica};

/// Variables that a sentence names before it counts the rest.
const NAMED: usize = 4;

/// What compose would make a replica of now; nothing where that cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Current {
    /// The configuration hash.
    pub hash: Option<String>,
    /// The id that the image's name has.
    pub image: Option<String>,
    /// The variables that both depend on.
    pub variables: NamedVariables,
    /// The command of this tool in whose environment the files were read.
    pub reader: String,
}

/// Replicas that are behind, or of which that cannot be told.
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
    /// Variables that the service names and that have no value where the files were read: with them it
    /// may be what it is, and so nothing is said to be behind.
    #[serde(default)]
    pub unset: Vec<String>,
    /// Variables that the service names.
    #[serde(default)]
    pub variables: Vec<String>,
    /// The command of this tool in whose environment the files were read.
    #[serde(default)]
    pub reader: String,
    /// What to type; or to do, where nobody can tell.
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
        if behind == 0 {
            return None;
        }
        let NamedVariables { used, unset } = &current.variables;
        let known = unset.is_empty();
        let fix = if known {
            fix(of)
        } else {
            format!(
                "give {} a value in `.env`, which compose and `{}` both read, or in the environment of both",
                few(unset),
                current.reader
            )
        };
        Some(Self {
            behind: if known { behind } else { 0 },
            of,
            configuration: configuration && known,
            image: image && known,
            unset: unset.iter().cloned().collect(),
            variables: used.iter().cloned().collect(),
            reader: current.reader.clone(),
            fix,
        })
    }

    /// Whether it can be told who is behind.
    pub fn is_known(&self) -> bool {
        self.unset.is_empty()
    }

    /// What is the matter, without what to do about it.
    pub fn what(&self) -> String {
        let Self { behind, of, .. } = self;
        if !self.is_known() {
            let verb = if self.unset.len() == 1 { "is" } else { "are" };
            return format!(
                "whether its replicas are behind the compose file is unknown: {} {verb} not set for `{}`",
                few(&self.unset),
                self.reader
            );
        }
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
        // With another environment the same file means another service.
        let read = if self.variables.is_empty() {
            String::new()
        } else {
            format!(
                ", read with {} as `{}` has {}",
                few(&self.variables),
                self.reader,
                if self.variables.len() == 1 {
                    "it"
                } else {
                    "them"
                }
            )
        };
        format!("{behind} of {of} {verb} {behind_what}{read}")
    }
}

/// The first of some names, and how many more.
fn few<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    let mut names: Vec<_> = names.into_iter().map(String::as_str).collect();
    let more = names.len().saturating_sub(NAMED);
    let last = if more > 1 {
        names.truncate(NAMED);
        format!("{more} more")
    } else {
        names.pop().unwrap_or_default().to_owned()
    };
    if names.is_empty() {
        return last;
    }
    format!("{} and {last}", names.join(", "))
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_known() {
            write!(f, "{}: run `{}`", self.what(), self.fix)
        } else {
            write!(f, "{}; {}", self.what(), self.fix)
        }
    }
}

impl ServiceMachine {
    /// Its replicas that are behind what compose would make now.
    pub fn drift(&self, current: &Current, fix: impl FnOnce(u32) -> String) -> Option<Drift> {
        // While compose replaces replicas there are more of them for a moment.
        let wanted = self.desired();
        Drift::of(self.staying(), current, |of| fix(wanted.unwrap_or(of)))
    }

    /// What its replicas were made of: configuration hash and image.
    pub fn kinds(&self) -> BTreeSet<(String, String)> {
        let kind = |r: &Replica| (r.config_hash.clone(), r.image_id.clone());
        self.staying().map(kind).collect()
    }

    fn staying(&self) -> impl Iterator<Item = &Replica> {
        let stays = self.members.values().filter(|m| !m.is_on_its_way_out());
        stays
            .map(|m| &m.replica)
            .filter(|replica| !replica.is_being_recreated())
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
            ..Current::default()
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
    fn it_says_with_whose_variables_it_was_judged_and_claims_nothing_without_them() {
        let old = Replica {
            config_hash: "a".into(),
            ..replica(1)
        };
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let judged = |hash: &str, used: &[&str], unset: &[&str]| {
            let current = Current {
                hash: Some(hash.into()),
                variables: NamedVariables {
                    used: names(used),
                    unset: names(unset),
                },
                reader: "watch".into(),
                ..Current::default()
            };
            Drift::of([&old], &current, |_| "up".into())
        };
        let said = |used: &[&str], unset: &[&str]| judged("b", used, unset).unwrap().to_string();
        insta::assert_snapshot!(said(&["TAG"], &[]), @"1 of 1 replica is behind the compose file, read with TAG as `watch` has it: run `up`");
        insta::assert_snapshot!(said(&["A", "B"], &[]), @"1 of 1 replica is behind the compose file, read with A and B as `watch` has them: run `up`");
        insta::assert_snapshot!(said(&["A", "B", "C", "D", "E", "F"], &[]), @"1 of 1 replica is behind the compose file, read with A, B, C, D and 2 more as `watch` has them: run `up`");
        insta::assert_snapshot!(said(&["A", "TAG"], &["TAG"]), @"whether its replicas are behind the compose file is unknown: TAG is not set for `watch`; give TAG a value in `.env`, which compose and `watch` both read, or in the environment of both");
        let unknown = judged("b", &["A", "TAG"], &["TAG"]).unwrap();
        assert_eq!((unknown.behind, unknown.configuration), (0, false));
        assert_eq!(
            judged("a", &["TAG"], &["TAG"]),
            None,
            "it is as the file says"
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
