//! Files that are no compose files, by accident or by design: each ends with an error that says what
//! it is, in bounded time and memory.

use std::{fmt::Write as _, process::Command, time::Instant};

use super::*;

/// Everything that loading is given in these tests must be answered within this time, in a build
/// without optimisation on a machine that is busy.
const SOON: std::time::Duration = std::time::Duration::from_secs(60);

fn said(dir: &Dir) -> String {
    #[expect(clippy::disallowed_methods, reason = "the claim is about real time")]
    let began = Instant::now();
    let text = match load(&dir.request()) {
        Ok(_) => "read".to_owned(),
        Err(error) => dir.shown(&error.to_string()),
    };
    assert!(began.elapsed() < SOON, "{text}");
    text
}

fn said_of(text: &str) -> String {
    said(&file(text))
}

#[test]
fn aliases_of_aliases_do_not_fill_the_memory() {
    let mut bomb = String::from("x-0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\n");
    for level in 1..12 {
        let below = vec![format!("*a{}", level - 1); 10].join(", ");
        let _ = writeln!(bomb, "x-{level}: &a{level} [{below}]");
    }
    bomb.push_str("services: {web: {image: x}}\n");
    insta::assert_snapshot!(said_of(&bomb), @"compose.yaml:6: anchors and aliases make more than 1000000 values of this file");
    insta::assert_snapshot!(said_of("x-a: &a {b: *a}\nservices: {web: {image: x}}\n"), @"compose.yaml:1: not valid YAML: an alias stands inside of its own anchor");
}

#[test]
fn a_wrong_variable_in_a_script_is_shown_with_its_own_line() {
    let script = "set -e\n      for f in *; do echo \"${f##*/}\"; done\n";
    insta::assert_snapshot!(said_of(&format!("services:\n  job:\n    image: x\n    command: |\n      {script}")), @r#"compose.yaml:6: services.job.command: invalid interpolation format in "${f##*/}"; to mean a literal $, write $$"#);
    insta::assert_snapshot!(said_of("services:\n  a:\n    image: x\n    command:\n      - |\n        b\n        ${B?no}\n"), @"compose.yaml:7: services.a.command[0]: required variable B is missing a value: no");
}

#[test]
fn a_port_that_is_none_is_told_without_words_of_the_parser() {
    insta::assert_snapshot!(said_of("services: {a: {image: x, ports: [{target: 99999999}]}}"), @"compose.yaml:1: services.a.ports[0].target: found 99999999, expected a number from 0 to 65535");
}

#[test]
fn what_nobody_knows_is_no_part_of_a_container_made_from_the_file() {
    let dir = file(
        "services:\n  web:\n    image: x\n    fresh: 1\n    healthcheck: {test: [CMD, a], tests: b}\n",
    );
    let loaded = dir.load();
    insta::assert_snapshot!(loaded.warnings.join("\n"), @"
    compose.yaml:4: services.web.fresh: unknown key; of a newer compose? left to compose
    compose.yaml:5: services.web.healthcheck.tests: unknown key; did you mean `test`?
    ");
    let refused = loaded.project.services["web"].recipe.clone().unwrap();
    insta::assert_snapshot!(refused.unwrap_err().join("\n"), @"
    `fresh`: this program does not know what compose makes of it
    `healthcheck.tests`: this program does not know what compose makes of it
    ");
}

#[test]
fn nesting_is_bounded() {
    let deep = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        said_of(&format!(
            "x-d: {open}{close}\nservices: {{web: {{image: x}}}}\n"
        ))
    };
    assert_eq!(deep(100), "read");
    insta::assert_snapshot!(deep(300), @"compose.yaml:1: nested more than 128 levels deep");
    insta::assert_snapshot!(deep(100_000), @"compose.yaml:1: more than 1000 brackets are open at once");
    let text = format!(
        "services: {{web: {{image: \"{}\"}}}}\n",
        "${A:-".repeat(900)
    );
    assert!(said_of(&text).contains("invalid interpolation format"));
    let nested = format!("{}b{}", "${A:-".repeat(30), "}".repeat(30));
    assert_eq!(
        said_of(&format!("services: {{web: {{image: \"{nested}\"}}}}\n")),
        "read"
    );
}

#[test]
fn long_chains_and_rings_of_files_end() {
    let mut chain = String::from("services:\n  s0: {image: x}\n");
    for service in 1..2000 {
        let _ = writeln!(chain, "  s{service}: {{extends: s{}}}", service - 1);
    }
    let text = said_of(&chain);
    assert!(text.contains("more than 100 services extend each other in a row"));
    assert!(text.lines().count() <= 200);

    // A link makes ever new paths of the same two files.
    let dir = Dir::with(&[
        (
            "compose.yaml",
            "include: [loop/compose.yaml, loop/other.yaml]\nservices: {}\n",
        ),
        (
            "other.yaml",
            "include: [loop/compose.yaml, loop/other.yaml]\n",
        ),
    ]);
    std::os::unix::fs::symlink(".", dir.0.path().join("loop")).unwrap();
    insta::assert_snapshot!(said(&dir), @"
    compose.yaml:1: include[0]: /dir/loop/compose.yaml includes itself
    loop/other.yaml:1: include[0]: /dir/loop/loop/compose.yaml includes itself
    loop/other.yaml:1: include[1]: /dir/loop/loop/other.yaml includes itself
    ");
}

#[test]
fn what_is_no_text_file_is_named() {
    let dir = Dir::with(&[("other.yaml", "")]);
    let place = dir.0.path().join("compose.yaml");
    fs::create_dir(&place).unwrap();
    insta::assert_snapshot!(said(&dir), @"cannot read /dir/compose.yaml: Is a directory (os error 21)");
    fs::remove_dir(&place).unwrap();

    assert!(
        Command::new("mkfifo")
            .arg(&place)
            .status()
            .unwrap()
            .success()
    );
    insta::assert_snapshot!(said(&dir), @"cannot read /dir/compose.yaml: it is a pipe; use `-f -` and standard input instead");
    fs::remove_file(&place).unwrap();

    std::os::unix::fs::symlink("compose.yaml", &place).unwrap();
    assert!(said(&dir).starts_with("no compose file found"));
    fs::remove_file(&place).unwrap();

    std::os::unix::fs::symlink("/dev/zero", &place).unwrap();
    insta::assert_snapshot!(said(&dir), @"cannot read /dir/compose.yaml: it is larger than 16 MiB");
    fs::remove_file(&place).unwrap();

    #[expect(
        clippy::disallowed_methods,
        reason = "nobody reads a test's files meanwhile"
    )]
    fs::write(&place, b"services:\n  web: {image: \xff}\n").unwrap();
    insta::assert_snapshot!(said(&dir), @"cannot read /dir/compose.yaml: line 2 is not UTF-8 text");
}

#[test]
fn odd_texts_say_what_is_wrong_with_them() {
    insta::assert_snapshot!(said_of("services:\n\tweb: {image: x}\n"), @"compose.yaml:2: not valid YAML: found character that cannot start any token");
    insta::assert_snapshot!(said_of("null\n"), @"compose.yaml:1: found nothing, expected a map at the top");
    insta::assert_snapshot!(said_of("services: {web: {image: x, depends_on: ['']}}\n"), @"compose.yaml:1: services.web.depends_on: depends on a service without a name");
    insta::assert_snapshot!(said_of("services: {web: {image: x}}\n---\n"), @"compose.yaml:3: found nothing, expected a map at the top; take the `---` before it away");
    insta::assert_snapshot!(said_of("\u{0}"), @"compose.yaml:1: not valid YAML: control characters are not allowed");
    insta::assert_snapshot!(said_of("services: {web: {image: 2001-01-01}}\n"), @"compose.yaml:1: services.web.image: found the date 2001-01-01, expected a text (put it in quotes)");
    assert_eq!(
        said_of("\u{feff}services:\r\n  web:\r\n    image: x\r\n"),
        "read"
    );
    assert_eq!(said_of("# only a comment\n"), said_of(""));
}

#[test]
fn a_variable_file_may_hold_anything() {
    let env = |text: &str| {
        said(&Dir::with(&[
            ("compose.yaml", "services: {}"),
            (".env", text),
        ]))
    };
    assert_eq!(env(""), "read");
    assert_eq!(env("\u{feff}A=1\r\nB=2\r\n"), "read");
    insta::assert_snapshot!(env("A=1\n=2\n"), @".env:2: expected a name before the value");
    insta::assert_snapshot!(env("A=\"open\n"), @r#".env:1: unterminated quoted value "open"#);
    insta::assert_snapshot!(env("- a\n"), @r#".env:1: the name "- a" contains a space"#);
    let mut long = String::from("A0=x\n");
    for line in 1..20_000 {
        let _ = writeln!(long, "A{line}=${{A{}}}", line - 1);
    }
    assert_eq!(env(&long), "read");
}

#[test]
fn large_projects_are_read_at_once() {
    let mut text = String::from("services:\n");
    for service in 0..2000 {
        let _ = writeln!(
            text,
            "  s{service}:\n    image: \"x:${{TAG:-1}}\"\n    ports: [\"{}:80\"]\n    environment: {{A: b, C: d}}\n    depends_on: [s{}]\n    healthcheck: {{test: a, interval: 5s}}",
            10_000 + service,
            service + 1
        );
    }
    text.push_str("  s2000: {image: x, ports: [\"1-65535\"]}\n");
    assert_eq!(said_of(&text), "read");
}
