//! `demo --engine docker`: all of it, and that nothing is left of it, also when it is interrupted.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

mod support;

use support::{engine, real, stack::new_nginx};

/// The demonstration, and the project's name.
fn demo(temporary: &std::path::Path) -> (Child, String) {
    let child = Command::new(env!("CARGO_BIN_EXE_compose-scale"))
        .args(["demo", "--engine", "docker", "--image", &new_nginx()])
        .env("TMPDIR", temporary)
        .env("PATH", path_with_compose())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let project = format!("demo-{}", child.id());
    (child, project)
}

/// A directory with compose under its own name, before all others.
fn path_with_compose() -> String {
    let program = std::env::var("COMPOSE_SCALE_TEST_COMPOSE").expect("compose v2's program");
    let directory = PathBuf::from(program);
    let directory = directory.parent().expect("a directory").display();
    format!("{directory}:{}", std::env::var("PATH").unwrap_or_default())
}

async fn nothing_is_left(project: &str, temporary: &std::path::Path) {
    use compose_scale::engine::Engine as _;
    let left = engine().list(project).await.expect("a listing");
    assert!(left.is_empty(), "{left:?}");
    let left: Vec<_> = std::fs::read_dir(temporary)
        .expect("the directory")
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn it_grows_mends_itself_shrinks_and_leaves_nothing() {
    if !real() {
        return;
    }
    let temporary = tempfile::tempdir().expect("a directory");
    let (child, project) = demo(temporary.path());
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    for part in [
        "scaling: requests",
        "●●●●● ",
        "-web-5 died with exit code 0",
        "the minimum is 2",
        " requests, 0 failed, 95% within",
    ] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
    nothing_is_left(&project, temporary.path()).await;
}

#[tokio::test]
async fn an_interrupt_ends_it_and_leaves_nothing() {
    if !real() {
        return;
    }
    let temporary = tempfile::tempdir().expect("a directory");
    let (mut child, project) = demo(temporary.path());
    let mut lines = BufReader::new(child.stdout.take().expect("its output"));
    let mut line = String::new();
    while !line.contains("●●") || line.contains("Each") {
        line.clear();
        assert!(lines.read_line(&mut line).expect("a line") > 0, "it ended");
    }
    let kill = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(kill.expect("kill").success());
    let mut rest = String::new();
    lines.read_to_string(&mut rest).expect("the rest");
    assert!(child.wait().expect("it ends").success(), "{rest}");
    assert!(rest.contains("removing the project"), "{rest}");
    assert!(!rest.contains("Summary:"), "{rest}");
    nothing_is_left(&project, temporary.path()).await;
}
