//! `check` and what is refused, against real containers and a real nginx.

mod support;

use support::{
    ComposeProject, real,
    stack::{Stack, new_nginx},
};

/// A project with one web service and one nginx whose volumes and configuration are given.
fn project(web: &str, volumes: &str, nginx: &str) -> Stack {
    let yaml = format!(
        "\
x-autoscale: {{nginx: {{service: nginx, upstreams: ./upstreams}}}}
services:
  web:
    image: WEB
{web}
  nginx:
    image: {}
    volumes:
      - ./nginx.conf:/etc/nginx/conf.d/default.conf:ro
{volumes}
    depends_on: [web]
",
        new_nginx()
    );
    let project = ComposeProject::new(&yaml);
    project.write("nginx.conf", nginx);
    std::fs::create_dir_all(project.directory().join("upstreams")).expect("a directory");
    project.write("upstreams/one.conf", "# one\n");
    let stack = Stack::of(project);
    stack.project.compose(&["up", "-d"]);
    stack
}

const WEB: &str = "    expose: [\"80\"]
    x-autoscale: {max: 3}";
const DIRECTORY: &str = "      - ./upstreams:/etc/nginx/upstreams:ro";
const GOOD: &str = "include /etc/nginx/upstreams/*.conf;
server { location / { proxy_pass http://web; include /etc/nginx/upstreams/web.location*; } }\n";

fn findings(stack: &Stack) -> (i32, String) {
    let ran = stack.run(&["check"]);
    (ran.code(), ran.stdout)
}

#[test]
fn a_project_that_is_right_has_no_error() {
    if !real() {
        return;
    }
    let stack = project(WEB, DIRECTORY, GOOD);
    let (code, said) = findings(&stack);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("0 errors"), "{said}");
    assert!(said.contains("its upstream is included at"), "{said}");
    let json = stack.must(&["check", "--format", "json"]).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["version"], 1);
}

#[test]
fn each_thing_that_is_wrong_with_nginx_has_its_fix() {
    if !real() {
        return;
    }
    for (volumes, nginx, wrong, fix) in [
        (
            "",
            "server { location / { proxy_pass http://web; } }\n",
            "is not mounted into nginx",
            "./upstreams:/etc/nginx/upstreams:ro",
        ),
        (
            "      - ./upstreams/one.conf:/etc/nginx/upstreams/one.conf:ro",
            "server { location / { proxy_pass http://web; } }\n",
            "is mounted as a single file",
            "mount the directory instead of the file",
        ),
        (
            DIRECTORY,
            "server { location / { proxy_pass http://web; } }\n",
            "nginx does not include /etc/nginx/upstreams/web.conf",
            "include /etc/nginx/upstreams/*.conf;",
        ),
        (
            DIRECTORY,
            "include /etc/nginx/upstreams/*.conf;
             upstream web { server 127.0.0.1:81; }
             server { location / { proxy_pass http://web; } }\n",
            "has an upstream of the same name",
            "remove that `upstream web`",
        ),
    ] {
        let stack = project(WEB, volumes, nginx);
        let (code, said) = findings(&stack);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(wrong), "{wrong} is not in:\n{said}");
        assert!(said.contains(fix), "{fix} is not in:\n{said}");
    }
}

#[test]
fn what_runs_is_looked_at_and_not_only_what_is_written() {
    if !real() {
        return;
    }
    let stack = project(WEB, DIRECTORY, GOOD);
    stack.project.compose(&["stop", "web"]);
    let (code, said) = findings(&stack);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("no replica is running"), "{said}");
    assert!(said.contains("docker compose up -d web"), "{said}");
    stack.project.compose(&["stop", "nginx"]);
    let (_, said) = findings(&stack);
    assert!(said.contains("nginx: it is not running"), "{said}");
}

#[test]
fn a_fixed_port_of_the_running_containers_is_refused_though_the_file_has_moved_on() {
    if !real() {
        return;
    }
    let stack = project(
        "    ports: [\"127.0.0.1:18391:80\"]
    x-autoscale: {max: 3}",
        DIRECTORY,
        GOOD,
    );
    let yaml = std::fs::read_to_string(stack.project.directory().join("compose.yaml"))
        .expect("the compose file")
        .replace("ports: [\"127.0.0.1:18391:80\"]", "expose: [\"80\"]");
    stack.project.write("compose.yaml", &yaml);
    let ran = stack.run(&["scale", "web=2"]);
    assert_eq!(ran.code(), 1, "{ran:?}");
    assert!(ran.stderr.contains("18391"), "{ran:?}");
    assert_eq!(stack.running().len(), 1, "nothing was made");
    let (_, said) = findings(&stack);
    assert!(
        said.contains("its containers are older than the file"),
        "{said}"
    );
}

#[test]
fn several_services_scale_at_once_with_their_hooks_and_ports() {
    if !real() {
        return;
    }
    let project = ComposeProject::new(
        "services:
  worker:
    image: BUSYBOX
    command: [sh, -c, 'trap exit TERM; while :; do sleep 0.1; done']
    stop_grace_period: 2s
    volumes: [./shared:/shared]
    post_start: [{command: [sh, -c, 'echo started $$(hostname) >> /shared/log']}]
    pre_stop: [{command: [sh, -c, 'echo stopping $$(hostname) >> /shared/log']}]
    x-autoscale: {min: 1, max: 4, metrics: []}
  ranged:
    image: WEB
    ports: ['127.0.0.1:18400-18403:80']
    stop_grace_period: 2s
    x-autoscale: {min: 1, max: 4, metrics: []}
",
    );
    let stack = Stack::of(project);
    stack.project.compose(&["up", "-d"]);
    stack.must(&["scale", "worker=3", "ranged=4"]);
    let ids = stack.project.ids();
    assert_eq!(ids.len(), 7, "{ids:?}");
    let log =
        || std::fs::read_to_string(stack.project.directory().join("shared/log")).expect("the log");
    assert_eq!(
        log().lines().filter(|l| l.starts_with("started")).count(),
        3
    );
    // Every published port answers.
    for port in 18400..=18403 {
        std::net::TcpStream::connect(("127.0.0.1", port)).expect("a published port");
    }
    // compose takes them for its own and makes none anew.
    stack.project.up_scaled(&[], &["worker"], 3);
    stack.must(&["scale", "worker=1", "ranged=1"]);
    assert_eq!(stack.project.ids().len(), 2);
    assert_eq!(
        log().lines().filter(|l| l.starts_with("stopping")).count(),
        2
    );
}

#[test]
fn with_nothing_to_clone_it_says_what_to_run() {
    if !real() {
        return;
    }
    let stack = Stack::of(ComposeProject::new(
        "services: {web: {image: WEB, x-autoscale: {max: 3, port: 80}}}\n",
    ));
    let ran = stack.run(&["scale", "web=2"]);
    assert_eq!(ran.code(), 1, "{ran:?}");
    assert!(ran.stderr.contains("docker compose up -d web"), "{ran:?}");
}

#[test]
fn a_stopped_replica_is_started_before_a_new_one_is_made() {
    if !real() {
        return;
    }
    let stack = Stack::of(ComposeProject::new(
        "services: {web: {image: WEB, stop_grace_period: 1s, x-autoscale: {max: 3, port: 80}}}\n",
    ));
    stack.project.up_scaled(&[], &["web"], 2);
    let before = stack.project.ids();
    let second = &before[&format!("/{}", stack.project.container("web", 2))];
    support::api::request("POST", &format!("/containers/{second}/stop"), "");
    stack.must(&["scale", "web=2"]);
    assert_eq!(stack.project.ids(), before);
    assert_eq!(stack.running().len(), 2);
    // Where none runs, they are started all the same, and the next one is made like them.
    stack.project.compose(&["stop"]);
    stack.must(&["scale", "web=3"]);
    assert_eq!(stack.running().len(), 3);
    assert!(
        before
            .iter()
            .all(|(name, id)| stack.project.ids().get(name) == Some(id))
    );
}
