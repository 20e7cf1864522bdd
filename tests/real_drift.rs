//! Replicas that are behind the compose file, or of an image that its name does not mean any more.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use compose_scale::compose_cli::ComposeVersion;

mod support;

use support::{
    ComposeProject, api, busybox, compose_from, prefix, real,
    stack::{Stack, new_nginx},
    text, web_image,
};

const LONG: Duration = Duration::from_secs(60);

/// A service whose configuration is this one.
fn web(value: &str) -> String {
    format!(
        "    environment: {{VALUE: \"{value}\"}}
    stop_grace_period: 1s
    x-autoscale: {{min: 1, max: 8, metrics: []}}"
    )
}

#[test]
fn replicas_behind_the_compose_file_are_said_until_compose_has_made_them_anew() {
    if !real() || !compose_from(ComposeVersion(2, 30, 2), "hash that is computed here") {
        return;
    }
    let stack = Stack::up(&new_nginx(), &web("1"));
    assert_eq!(stack.ps()["services"][0]["drift"], serde_json::Value::Null);
    let check = stack.run(&["check"]).stdout;
    assert!(!check.contains("behind"), "{check}");
    let watch = stack.watch(&[]);
    stack.until("watch has taken over", LONG, |s| s.ps()["watching"] == true);
    stack.must(&["scale", "web=2"]);

    stack.rewrite(&new_nginx(), &web("2"));
    stack.until("it is noticed", LONG, |s| {
        s.ps()["services"][0]["drift"]["behind"] == 2
    });
    // What is added is like what is there.
    stack.must(&["scale", "web=3"]);
    let drift = stack.ps()["services"][0]["drift"].clone();
    assert_eq!(drift["behind"], 3, "{drift}");
    assert_eq!(
        (&drift["configuration"], &drift["image"]),
        (&true.into(), &false.into())
    );
    let fix = stack
        .project
        .typed("docker compose up -d --no-deps --scale web=3 web");
    assert_eq!(drift["fix"], fix);
    let shown = stack.must(&["ps"]).stdout;
    let line = format!("  3 of 3 replicas are behind the compose file: run `{fix}`\n");
    assert!(shown.contains(&line), "{shown}");
    let check = stack.run(&["check"]).stdout;
    assert!(
        check.contains("warning  web: 3 of 3 replicas are behind the compose file"),
        "{check}"
    );

    let words: Vec<_> = fix.split(' ').skip(2).collect();
    stack.project.compose(&words);
    stack.until("it is over", LONG, |_| {
        watch.log().contains("its replicas match the compose file")
    });
    assert_eq!(stack.ps()["services"][0]["drift"], serde_json::Value::Null);
    let said = watch.log().matches("behind the compose file").count();
    assert_eq!(said, 1, "{}", watch.log());

    // Without a `watch` it is looked at for the one who asks.
    watch.terminate();
    stack.rewrite(&new_nginx(), &web("3"));
    let drift = stack.ps()["services"][0]["drift"].clone();
    assert_eq!(
        (&drift["behind"], &drift["of"]),
        (&3.into(), &3.into()),
        "{drift}"
    );
}

/// An image's second name, which is gone with the value.
struct Name(String);

impl Name {
    fn means(&self, image: &str) {
        let path = format!("/images/{image}/tag?repo={}&tag=1", self.0);
        let (status, answer) = api::request("POST", &path, "");
        assert_eq!(status, 201, "{answer}");
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        api::request("DELETE", &format!("/images/{}:1", self.0), "");
    }
}

#[test]
fn an_image_that_has_moved_on_is_said() {
    if !real() {
        return;
    }
    let name = Name(format!("{}moving-{}", prefix(), std::process::id()));
    name.means(&web_image());
    let project = ComposeProject::new(&format!(
        "services:
  web:
    image: {}:1
    x-autoscale: {{min: 1, max: 4, metrics: []}}
",
        name.0
    ));
    let stack = Stack::of(project);
    stack.project.compose(&["up", "-d"]);
    let before = stack.ps()["services"][0].clone();
    assert_eq!(before["drift"], serde_json::Value::Null, "{before}");
    name.means(&busybox());
    let after = stack.ps()["services"][0]["drift"].clone();
    assert_eq!(
        (&after["image"], &after["behind"]),
        (&true.into(), &1.into()),
        "{after}"
    );
    assert!(
        text(&after["fix"]).starts_with(&stack.project.typed("docker compose up -d")),
        "{after}"
    );
}

/// A service whose configuration a variable is in, and one that depends on it.
fn with_a_variable(value: &str, top: &str) -> String {
    format!(
        "services:
  web:
    image: WEB
    environment: {{VALUE: \"{value}\"}}
    stop_grace_period: 1s
    depends_on: [base]
    x-autoscale: {{min: 1, max: 8, metrics: [], port: 80}}
  base:
    image: WEB
    stop_grace_period: 1s
    environment: {{TOP: \"{top}\"}}
    x-autoscale: {{min: 1, max: 4, metrics: [], port: 80}}
"
    )
}

/// `docker compose` in a shell that has a variable which this tool does not see.
fn compose_with(stack: &Stack, variable: &str, arguments: &[&str]) {
    let program = std::env::var("COMPOSE_SCALE_TEST_COMPOSE").expect("compose v2's program");
    let (key, value) = variable.split_once('=').expect("KEY=VALUE");
    let status = Command::new(program)
        .args(["-p", &stack.project.name])
        .args(arguments)
        .current_dir(stack.project.directory())
        .env("PWD", stack.project.directory())
        .env("COMPOSE_PROGRESS", "quiet")
        .env(key, value)
        .stdin(Stdio::null())
        .status();
    assert!(status.expect("compose runs").success(), "{arguments:?}");
}

fn said(stack: &Stack, env: Option<(&str, &str)>, arguments: &[&str]) -> String {
    let output = stack.command(arguments).envs(env).output();
    String::from_utf8_lossy(&output.expect("the tool runs").stdout).into_owned()
}

#[test]
fn drift_is_judged_with_the_environment_of_this_tool_and_says_so() {
    if !real() || !compose_from(ComposeVersion(2, 30, 2), "hash that is computed here") {
        return;
    }
    let stack = Stack::of(ComposeProject::new(&with_a_variable("${CST_VALUE}", "1")));
    compose_with(&stack, "CST_VALUE=1", &["up", "-d"]);

    // It is not set here: nothing is claimed of `web`, and `base` is not touched by that.
    let check = said(&stack, None, &["check"]);
    let unknown = "web: whether its replicas are behind the compose file is unknown: CST_VALUE is not set for `check`";
    assert!(
        check.contains(unknown) && check.contains("[behind-unknown]"),
        "{check}"
    );
    assert!(!check.contains("[behind-file]"), "{check}");
    let drift = &stack.ps()["services"][0]["drift"];
    assert_eq!(
        (&drift["behind"], &drift["unset"]),
        (&0.into(), &serde_json::json!(["CST_VALUE"]))
    );
    // A running `watch` says it once, and `ps` says that it was `watch` which looked.
    let watch = stack.watch(&[]);
    let line = "unknown: CST_VALUE is not set for `watch`";
    stack.until("watch says so", LONG, |_| watch.log().contains(line));
    let ps = said(&stack, Some(("CST_VALUE", "1")), &["ps"]);
    assert!(ps.contains(line), "{ps}");
    assert_eq!(watch.log().matches("CST_VALUE is not set for").count(), 1);
    assert!(watch.terminate().success());
    // Where it has the value that compose had, there is nothing to say.
    let same = said(&stack, Some(("CST_VALUE", "1")), &["check"]);
    assert!(!same.contains("behind"), "{same}");
    // Another value is another file, and the line says whose.
    let other = said(&stack, Some(("CST_VALUE", "2")), &["check"]);
    let line = "1 of 1 replica is behind the compose file, read with CST_VALUE as `check` has it";
    assert!(other.contains(line), "{other}");
    // So is a default.
    stack
        .project
        .write("compose.yaml", &with_a_variable("${CST_VALUE:-0}", "1"));
    let ps = said(&stack, None, &["ps"]);
    assert!(ps.contains("read with CST_VALUE as `ps` has it"), "{ps}");
    // What has no variable is said as ever, and in `.env` everybody reads the same.
    stack
        .project
        .write("compose.yaml", &with_a_variable("${CST_VALUE}", "2"));
    stack.project.write(".env", "CST_VALUE=1\n");
    let check = said(&stack, None, &["check"]);
    let base = "base: 1 of 1 replica is behind the compose file [behind-file]";
    assert!(check.contains(base), "{check}");
    assert!(!check.contains("web: 1 of 1"), "{check}");
}

#[test]
fn the_fix_makes_the_service_anew_and_nothing_that_it_depends_on() {
    if !real() || !compose_from(ComposeVersion(2, 30, 2), "hash that is computed here") {
        return;
    }
    let stack = Stack::of(ComposeProject::new(&with_a_variable("1", "1")));
    let counts = |web: &str, base: &str| {
        let (web, base) = (format!("web={web}"), format!("base={base}"));
        stack
            .project
            .compose(&["up", "-d", "--scale", &web, "--scale", &base]);
    };
    counts("3", "2");
    // Both have changed. The fix of one is for that one.
    let before = stack.project.ids();
    stack
        .project
        .write("compose.yaml", &with_a_variable("2", "2"));
    let fix = stack.ps()["services"][0]["drift"]["fix"].clone();
    let typed = stack
        .project
        .typed("docker compose up -d --no-deps --scale web=3 web");
    assert_eq!(fix, typed);
    let words: Vec<_> = text(&fix).split(' ').skip(2).collect();
    stack.project.compose(&words);
    let after = stack.project.ids();
    assert_eq!(after.len(), 5);
    let kept = |service: &str| {
        let of = |(name, _): &(&String, &String)| name.contains(&format!("-{service}-"));
        before
            .iter()
            .filter(of)
            .filter(|(name, id)| after.get(*name) == Some(id))
            .count()
    };
    assert_eq!((kept("base"), kept("web")), (2, 0));

    // The count goes with it also where a file of the project has it.
    stack
        .project
        .write("compose.scale.yaml", "services:\n  web:\n    scale: 3\n");
    stack
        .project
        .write(".env", "COMPOSE_FILE=compose.yaml:compose.scale.yaml\n");
    stack
        .project
        .write("compose.yaml", &with_a_variable("3", "2"));
    let fix = stack.ps()["services"][0]["drift"]["fix"].clone();
    let typed = stack
        .project
        .typed("docker compose up -d --no-deps --scale web=3 web");
    assert_eq!(fix, typed);
    stack
        .project
        .compose(&text(&fix).split(' ').skip(2).collect::<Vec<_>>());
    assert_eq!(stack.running().len(), 3);
    let now = stack.project.ids();
    let mut base = before.iter().filter(|(name, _)| name.contains("-base-"));
    assert!(base.all(|(name, id)| now.get(name) == Some(id)));
    assert_eq!(now.len(), 5);
}
