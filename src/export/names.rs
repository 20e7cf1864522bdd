//! Names that Kubernetes allows, for those that compose allows.

use std::collections::{BTreeMap, BTreeSet};

/// The longest label of a domain name.
const LONGEST: usize = 63;

/// A label of a domain name that begins with a letter, as names of Services must (RFC 1035). `or` stands in where
/// nothing is left.
pub(super) fn label(text: &str, or: &str) -> String {
    let mut label: String = text
        .to_ascii_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    if !label.starts_with(|c: char| c.is_ascii_lowercase()) {
        let rest = label.trim_start_matches('-');
        label = if rest.is_empty() {
            or.to_owned()
        } else if rest.starts_with(|c: char| c.is_ascii_lowercase()) {
            rest.to_owned()
        } else {
            format!("{or}-{rest}")
        };
    }
    label.truncate(LONGEST);
    label.trim_end_matches('-').to_owned()
}

/// A name for each key, no two alike: the first of two that come out the same keeps it.
pub(super) fn unique<'a>(
    keys: impl IntoIterator<Item = &'a str>,
    or: &str,
) -> BTreeMap<String, String> {
    let keys: Vec<_> = keys.into_iter().collect();
    // Those that need no change keep their name whatever stands before them.
    let mut taken: BTreeSet<String> = BTreeSet::new();
    let mut names = BTreeMap::new();
    for exact in [true, false] {
        for key in &keys {
            let wanted = label(key, or);
            if (wanted == *key) != exact {
                continue;
            }
            let name = free(&wanted, &taken);
            taken.insert(name.clone());
            names.insert((*key).to_owned(), name);
        }
    }
    names
}

/// The name itself where nobody has it, else with the first number that is free.
pub(super) fn free(wanted: &str, taken: &BTreeSet<String>) -> String {
    let numbered = (2..).map(|number| with(wanted, &number.to_string()));
    std::iter::once(wanted.to_owned())
        .chain(numbered)
        .find(|name| !taken.contains(name))
        .unwrap_or_default()
}

/// A name with a word behind it, short enough.
pub(super) fn with(name: &str, word: &str) -> String {
    let room = LONGEST.saturating_sub(word.len() + 1);
    let head = name.get(..room.min(name.len())).unwrap_or(name);
    format!("{}-{word}", head.trim_end_matches('-'))
}

/// A key of a `ConfigMap` or a Secret.
pub(super) fn data_key(text: &str) -> String {
    let key: String = text
        .chars()
        .map(|c| {
            let fits = c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if fits { c } else { '-' }
        })
        .take(253)
        .collect();
    // No key begins with two dots, and one is no file.
    let key = if key.starts_with("..") {
        key.trim_start_matches('.')
    } else {
        &key
    };
    if key.trim_matches('.').is_empty() {
        "file".to_owned()
    } else {
        key.to_owned()
    }
}

/// Whether a text may be the key of an annotation: `[PREFIX/]NAME`.
pub(super) fn is_annotation(key: &str) -> bool {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let ends = |text: &str| {
        let end = |c: char| c.is_ascii_alphanumeric();
        text.starts_with(end) && text.ends_with(end)
    };
    let name_fits = name.len() <= LONGEST
        && ends(name)
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    let prefix_fits = prefix.is_none_or(|prefix| {
        prefix.len() <= 253
            && prefix.split('.').all(|part| {
                ends(part)
                    && part
                        .chars()
                        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            })
    });
    name_fits && prefix_fits
}

/// Whether a text may be the name of an environment variable in every release of Kubernetes.
pub(super) fn is_variable(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    name.chars().all(fits) && name.starts_with(|c: char| !c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_becomes_a_label_that_begins_with_a_letter() {
        for (text, name) in [
            ("web", "web"),
            ("My_App.v2", "my-app-v2"),
            ("2048", "app-2048"),
            ("_db_", "db"),
            ("-", "app"),
            (&"x".repeat(80), &"x".repeat(63)),
        ] {
            assert_eq!(label(text, "app"), name, "{text}");
        }
    }

    #[test]
    fn names_that_come_out_alike_are_told_apart_and_one_that_fits_keeps_its_own() {
        let names = unique(["my_db", "my-db", "my.db"], "app");
        let of = |key: &str| names.get(key).map(String::as_str);
        assert_eq!(of("my-db"), Some("my-db"));
        assert_eq!(of("my_db"), Some("my-db-2"));
        assert_eq!(of("my.db"), Some("my-db-3"));
    }

    #[test]
    fn a_word_behind_a_long_name_leaves_it_short_enough() {
        let name = with(&"x".repeat(63), "public");
        assert_eq!(name.len(), 63);
        assert!(name.ends_with("x-public"));
    }

    #[test]
    fn annotations_and_variables_are_told_from_what_is_none() {
        for fits in ["traefik.enable", "example.com/role", "a", "A_b-c.d"] {
            assert!(is_annotation(fits), "{fits}");
        }
        for not in [
            "",
            "a/b/c",
            "Example.com/x",
            "-a",
            "a b",
            "/a",
            &"x".repeat(64),
        ] {
            assert!(!is_annotation(not), "{not}");
        }
        assert!(is_variable("PATH") && is_variable("my.key-2"));
        assert!(!is_variable("2nd") && !is_variable("a b") && !is_variable(""));
        assert_eq!(data_key("nginx.conf"), "nginx.conf");
        assert_eq!(data_key("a b/c"), "a-b-c");
        assert_eq!(data_key(".."), "file");
        assert_eq!(data_key("..foo"), "foo");
        assert_eq!(data_key(".env"), ".env");
    }
}
