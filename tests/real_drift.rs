//! Replicas that are behind the compose file, or of an image that its name does not mean any more.

use std::time::Duration;

use compose_scale::compose_cli::Version;

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
    if !real() || !compose_from(Version(2, 30, 2), "hash that is computed here") {
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
    let fix = "docker compose up -d --no-deps --scale web=3 web";
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
        watch
            .log()
            .contains("its replicas are as the compose file says")
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
        text(&after["fix"]).starts_with("docker compose up -d"),
        "{after}"
    );
}
