//! That every key is one of those that something is done about.

use std::collections::BTreeSet;

use super::key_support;
use crate::compose;

#[test]
fn every_key_of_a_service_is_carried_over_means_nothing_or_is_lost() {
    let known: Vec<&str> = key_support::LOST
        .iter()
        .map(|row| row.0)
        .chain(key_support::CARRIED.iter().copied())
        .chain(key_support::NOTHING.iter().copied())
        .collect();
    let once: BTreeSet<&str> = known.iter().copied().collect();
    assert_eq!(known.len(), once.len(), "a key is in two lists");
    let written: BTreeSet<String> = compose::keys_of_services().into_iter().collect();
    // Of sections, either the keys below or the whole.
    let missing: Vec<_> = written
        .iter()
        .filter(|key| {
            let section = key.split('.').next().unwrap();
            !once.contains(key.as_str()) && !once.contains(section)
        })
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    let unknown: Vec<_> = once.iter().filter(|key| !written.contains(**key)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn every_key_stands_in_the_documentation() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/export.md");
    let page = std::fs::read_to_string(path).unwrap();
    let named = |key: &str| page.contains(&format!("`{key}`"));
    let lost = key_support::LOST.iter().map(|row| row.0);
    let missing: Vec<_> = lost
        .chain(key_support::CARRIED.iter().copied())
        .chain(key_support::NOTHING.iter().copied())
        .filter(|key| !named(key))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/export.md does not name {missing:?}"
    );
}
