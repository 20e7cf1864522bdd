//! The ways to nginx that a project may have besides the usual one: a container whose first process
//! is an init, commands of the user's own, and a configuration that the user broke.

use std::{fs, time::Duration};

mod support;

use support::{
    ComposeProject, real,
    stack::{Stack, new_nginx},
};

const LONG: Duration = Duration::from_secs(30);
const GOOD: &str = "include /etc/nginx/upstreams/*.conf;
server { listen 80 default_server; location / { proxy_pass http://web; include /etc/nginx/upstreams/web.location*; } }\n";

/// More settings of nginx's place, and more lines of its service.
fn project(place: &str, nginx: &str) -> Stack {
    let project = ComposeProject::new(&format!(
        "\
x-autoscale: {{interval: 1s, nginx: {{service: nginx, upstreams: ./upstreams{place}}}}}
services:
  web:
    image: WEB
    expose: [\"80\"]
    stop_grace_period: 2s
    x-autoscale: {{max: 4, metrics: [], drain: {{timeout: 5s}}}}
  nginx:
    image: {}
{nginx}
    ports: [\"127.0.0.1::80\"]
    volumes:
      - ./nginx.conf:/etc/nginx/conf.d/default.conf:ro
      - ./upstreams:/etc/nginx/upstreams:ro
    depends_on: [web]
",
        new_nginx()
    ));
    project.write("nginx.conf", GOOD);
    fs::create_dir_all(project.directory().join("upstreams")).expect("a directory");
    let mut stack = Stack::of(project);
    stack.project.compose(&["up", "-d"]);
    let nginx = stack.project.inspect("nginx", 1);
    let port = &nginx["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"];
    stack.listen(support::text(port).parse().expect("a port"));
    stack
}

fn answers(stack: &Stack) -> bool {
    stack.get("/").is_some_and(|(status, _)| status == 200)
}

/// Two ports, and nginx sends to one of them: no worker, so nothing about it may change without nginx.
#[test]
fn a_service_that_nginx_sends_to_is_refused_while_its_port_is_unknown() {
    if !real() {
        return;
    }
    let stack = project("", "");
    let file = stack.project.directory().join("compose.yaml");
    let right = fs::read_to_string(&file).expect("a file");
    let two_ports = right.replace("[\"80\"]", "[\"80\", \"81\"]");
    stack.project.write("compose.yaml", &two_ports);
    stack.project.compose(&["up", "-d", "--no-deps", "web"]);
    let why = "nginx sends requests to it at /etc/nginx/conf.d/default.conf:2";
    for command in [
        &["scale", "web=3"][..],
        &["scale", "web=1"],
        &["sync"],
        &["watch", "--once"],
    ] {
        let ran = stack.run(command);
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert_eq!(ran.code(), 1, "{command:?}\n{said}");
        assert!(said.contains(why), "{command:?}\n{said}");
        assert_eq!(stack.running().len(), 1, "{command:?}");
    }
    let found = stack.run(&["check"]).stdout;
    assert!(
        found.contains("has several ports (80, 81)") && found.contains("[no-port]"),
        "{found}"
    );
    // Where nginx sends it nothing it is a worker, scaled as ever.
    stack.project.write(
        "nginx.conf",
        "server { listen 80; location / { return 204; } }\n",
    );
    stack.project.compose(&["restart", "nginx"]);
    let ran = stack.run(&["scale", "web=2"]);
    assert_eq!(ran.code(), 0, "{}", ran.stderr);
    // And with its port it has an upstream.
    let with_port = two_ports.replace("{max: 4,", "{max: 4, port: 80,");
    stack.project.write("compose.yaml", &with_port);
    stack.project.write("nginx.conf", GOOD);
    stack.project.compose(&["restart", "nginx"]);
    let ran = stack.run(&["scale", "web=3"]);
    assert_eq!(ran.code(), 0, "{}", ran.stderr);
}

#[test]
fn an_nginx_below_an_init_is_reloaded() {
    if !real() {
        return;
    }
    let stack = project("", "    init: true");
    stack.until("it answers", LONG, answers);
    for count in [3, 1] {
        stack.must(&["scale", &format!("web={count}")]);
        assert_eq!(
            (stack.listed().len(), stack.running().len()),
            (count, count)
        );
        assert!(answers(&stack));
    }
}

#[test]
fn commands_of_the_users_own_test_and_reload() {
    if !real() {
        return;
    }
    let stack = project(", test: [sh, test.sh], reload: [sh, reload.sh]", "");
    let nginx = stack.project.container("nginx", 1);
    for (name, command) in [("test", "nginx -t"), ("reload", "nginx -s reload")] {
        let text = format!("echo {name} >>called && docker exec {nginx} {command}\n");
        stack.project.write(&format!("{name}.sh"), &text);
    }
    stack.until("it answers", LONG, answers);
    stack.must(&["scale", "web=2"]);
    assert_eq!(stack.listed().len(), 2);
    assert!(answers(&stack));
    let called = fs::read_to_string(stack.project.directory().join("called")).expect("calls");
    let mut words = called.lines();
    assert_eq!(
        (words.next(), words.next_back()),
        (Some("test"), Some("reload")),
        "{called}"
    );

    // What the user's own test refuses is refused.
    stack.project.write(
        "test.sh",
        "echo 'nginx: [emerg] not today in /x.conf:1' >&2; exit 1\n",
    );
    let before = stack.listed();
    let ran = stack.run(&["scale", "web=1", "--timeout", "5s"]);
    assert_eq!(ran.code(), 1, "{ran:?}");
    assert!(
        ran.stderr.contains(
            "web: nginx refuses its configuration: not today in /x.conf:1 (also without this change)\n"
        ),
        "{ran:?}"
    );
    assert_eq!(stack.listed(), before);
    assert_eq!(stack.running().len(), 2, "nothing is stopped");
}

#[test]
fn a_configuration_that_the_user_broke_is_said_with_its_line_and_stops_nothing() {
    if !real() {
        return;
    }
    let stack = project("", "");
    let watch = stack.watch(&[]);
    stack.until("watch has taken over", LONG, |s| s.ps()["watching"] == true);
    stack.must(&["scale", "web=2"]);
    let good = stack.listed();
    assert_eq!(good.len(), 2);
    // It is mounted by itself, so it is written into.
    stack
        .project
        .write("nginx.conf", &format!("nonsense;\n{GOOD}"));
    let sentence = "nginx refuses its configuration: unknown directive \"nonsense\" in /etc/nginx/conf.d/default.conf:1 (also without this change)";
    for count in ["web=3", "web=1"] {
        let ran = stack.run(&["scale", count, "--timeout", "6s"]);
        assert_eq!(ran.code(), 1, "{ran:?}");
        assert!(ran.stderr.contains(sentence), "{ran:?}");
        // Each attempt writes, tests and puts back.
        stack.until("the last good file is back", LONG, |s| s.listed() == good);
        assert!(answers(&stack));
        assert!(stack.running().len() >= 2, "nothing is stopped");
    }
    let log = watch.log();
    assert_eq!(log.matches(sentence).count(), 1, "{log}");

    stack.project.write("nginx.conf", GOOD);
    // The counts that were reported as failed were withdrawn, so none is carried out later.
    stack.until("it is in step again", LONG, |s| s.ps()["in_step"] == true);
    stack.must(&["scale", "web=1"]);
    assert_eq!(stack.listed().len(), 1);
    assert!(answers(&stack));
    assert!(watch.terminate().success());
}
