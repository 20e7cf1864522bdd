//! What people get wrong in a policy, each with the whole of what they are told.
//!
//! `tests/wrong_policies/policies.txt` has the cases, one a paragraph: the `x-autoscale` of a service, or
//! a whole compose file where it begins with `services:` or `x-autoscale:` at the left edge. The messages
//! are in the snapshot.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeMap, fmt::Write as _, fs};

use compose_scale::compose::{self, LoadRequest};

/// The case as a compose file.
fn file(case: &str) -> String {
    if case.starts_with("services:") || case.starts_with("x-autoscale:") {
        return case.to_owned();
    }
    let mut text = String::from("services:\n  web:\n    image: web\n    x-autoscale:\n");
    for line in case.lines() {
        writeln!(text, "      {line}").unwrap();
    }
    text
}

#[test]
fn every_mistake_has_its_place_what_was_found_and_what_is_allowed() {
    let cases = include_str!("wrong_policies/policies.txt");
    let cases: Vec<&str> = cases
        .split("\n\n")
        .map(str::trim)
        .filter(|case| !case.is_empty() && !case.starts_with('#'))
        .collect();
    assert!(cases.len() >= 60, "{} cases", cases.len());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("compose.yaml");
    let mut said = String::new();
    for case in cases {
        let mut yaml = tempfile::NamedTempFile::new_in(dir.path()).unwrap();
        std::io::Write::write_all(&mut yaml, file(case).as_bytes()).unwrap();
        fs::rename(yaml.path(), &path).unwrap();
        let request = LoadRequest {
            files: vec![path.clone()],
            cwd: dir.path().to_owned(),
            env: BTreeMap::new(),
            ..LoadRequest::default()
        };
        let error = match compose::load(&request) {
            Ok(_) => panic!("this is taken for right:\n{case}"),
            Err(error) => error.to_string(),
        };
        let shown = error.replace(&format!("{}/", dir.path().display()), "");
        writeln!(
            said,
            "{case}\n→ {}\n",
            shown.trim_end().replace('\n', "\n→ ")
        )
        .unwrap();
    }
    insta::assert_snapshot!(said);
}
