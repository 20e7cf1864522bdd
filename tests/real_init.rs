//! `init` on a project of compose's own kind: one port of the host, three replicas that cannot all have
//! it, and no nginx; up, scaled, and all of it taken back.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

mod support;

use compose_scale::compose_cli::Version;
use support::{
    ComposeProject, compose_from, real,
    stack::{Stack, new_nginx},
};

const LONG: Duration = Duration::from_secs(60);

const ARTICLE: &str = r#"
services:
  web:
    image: WEB
    ports: ["PORT_0:80"]
    deploy:
      replicas: 3
  api:
    image: BUSYBOX
    command: [sh, -c, "mkdir /www && echo it is the api > /www/index.html && exec httpd -f -p 3000 -h /www"]
    stop_signal: SIGKILL
    ports: ["127.0.0.1:PORT_1:3000"]
"#;

/// Every file below a directory, with its bytes.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            let bytes = fs::read(&path).expect("a file");
            all.insert(path.display().to_string(), bytes);
        }
    }
    all
}

fn port(stack: &Stack, service: &str, inside: &str) -> u16 {
    let container = stack.project.inspect(service, 1);
    let published = &container["NetworkSettings"]["Ports"][inside][0]["HostPort"];
    support::text(published).parse().expect("a published port")
}

fn answers(stack: &mut Stack, port: u16, with: &str) {
    stack.listen(port);
    stack.until("the page answers on the old port", LONG, |s| {
        s.get("/")
            .is_some_and(|(status, body)| status == 200 && body.contains(with))
    });
}

#[test]
fn the_articles_project_is_set_up_scaled_and_taken_back() {
    let (major, minor, patch) = compose_scale::init::RESET_SINCE;
    if !real() || !compose_from(Version(major, minor, patch), "`!reset`") {
        return;
    }
    let project = ComposeProject::new(ARTICLE);
    project.write(".env", "# mine\nSECRET=abc");
    let mut stack = Stack::of(project);
    let directory = stack.project.directory().to_owned();
    let before = files(&directory);

    // Three cannot have one port, so one runs when `init` comes.
    let ran = stack.project.try_compose(&["up", "-d"]);
    assert!(!ran.status.success(), "three replicas had one port");
    stack.project.compose(&["rm", "--stop", "--force", "web"]);
    stack.project.compose(&["up", "-d", "--scale", "web=1"]);
    let (web, api) = (
        port(&stack, "web", "80/tcp"),
        port(&stack, "api", "3000/tcp"),
    );
    answers(&mut stack, web, "");

    // Only shown, and then written.
    stack.must(&["init", "--dry-run"]);
    assert_eq!(files(&directory), before);
    let image = new_nginx();
    let ran = stack.must(&["init", "--yes", "--max", "5", "--nginx-image", &image]);
    assert!(
        ran.stdout.contains("+    ports: !reset []"),
        "{}",
        ran.stdout
    );
    assert!(!ran.stdout.contains("SECRET"), "{}", ran.stdout);
    stack.project.compose(&["config", "--quiet"]);
    stack.project.compose(&["up", "-d"]);
    answers(&mut stack, api, "it is the api");
    answers(&mut stack, web, "");
    stack.until("three replicas run", LONG, |s| s.running().len() == 3);
    let ran = stack.run(&["check"]);
    assert!(ran.stdout.contains("\n0 errors"), "{}", ran.stdout);

    let watch = stack.watch(&[]);
    stack.until("watch is there", LONG, |s| s.run(&["ps"]).code() == 0);
    stack.must(&["scale", "web=5"]);
    assert_eq!(stack.running().len(), 5);
    stack.must(&["scale", "api=3"]);
    let upstream = directory.join("compose-scale/upstreams");
    for (file, count) in [("web.conf", 5), ("api.conf", 3)] {
        let text = fs::read_to_string(upstream.join(file)).expect("an upstream");
        assert_eq!(text.matches("; # ").count(), count, "{text}");
    }
    answers(&mut stack, api, "it is the api");
    answers(&mut stack, web, "");

    // A second time there is nothing to do, and under a running `watch` nothing is taken back.
    let ran = stack.must(&["init", "--yes"]);
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.contains("set up already"), "{}", ran.stderr);
    let ran = stack.run(&["init", "--undo"]);
    assert_eq!(ran.code(), 75, "{}", ran.stderr);
    assert!(watch.terminate().success());

    let ran = stack.must(&["init", "--undo"]);
    assert!(ran.stderr.contains("--remove-orphans"), "{}", ran.stderr);
    assert_eq!(files(&directory), before);
    assert!(!directory.join("compose-scale").exists());
    stack.project.up_scaled(&["--remove-orphans"], &["web"], 1);
    answers(&mut stack, web, "");
    answers(&mut stack, api, "it is the api");
    assert_eq!(stack.project.ids().len(), 2, "nginx is gone");
    let ran = stack.project.try_compose(&["up", "-d"]);
    assert!(!ran.status.success(), "as before");
}
