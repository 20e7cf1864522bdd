//! nginx as a program of the host, in front of replicas in containers: found among the processes,
//! told, and no request lost.

mod support;

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use support::{
    ComposeProject, needed,
    stack::{Stack, now, signal},
    text,
};

const DEADLINE: Duration = Duration::from_secs(20);

/// The program.
fn program() -> Option<PathBuf> {
    let path = needed(
        "COMPOSE_SCALE_TEST_NGINX_PROGRAM",
        "the path of an nginx that runs on this host",
    );
    path.map(PathBuf::from)
}

/// An nginx on this host, ended with the value.
struct HostNginx(Child);

impl HostNginx {
    fn start(program: &PathBuf, stack: &Stack, port: u16) -> Self {
        let root = stack.project.directory();
        let shown = root.display();
        let temporary: Vec<String> = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|what| format!("{what}_temp_path {shown}/{what};"))
            .to_vec();
        stack.project.write(
            "host.conf",
            &format!(
                "worker_processes 2;\nerror_log stderr;\npid {shown}/nginx.pid;\nevents {{}}\nhttp {{\n\
                 access_log off;\n{}\ninclude {shown}/upstreams/*.conf;\nserver {{\nlisten \
                 127.0.0.1:{port};\nlocation / {{\nproxy_pass http://web;\ninclude \
                 {shown}/upstreams/web.location*;\n}}\n}}\n}}\n",
                temporary.join("\n")
            ),
        );
        let child = Command::new(program)
            .args(["-e", "stderr", "-p"])
            .arg(root)
            .arg("-c")
            .arg(root.join("host.conf"))
            .args(["-g", "daemon off;"])
            .stdin(Stdio::null())
            .spawn()
            .expect("nginx starts");
        let nginx = Self(child);
        stack.until("nginx answers", DEADLINE, |s| {
            s.get("/").is_some_and(|(status, _)| status == 200)
        });
        nginx
    }
}

impl Drop for HostNginx {
    fn drop(&mut self) {
        signal(self.0.id(), "TERM");
        let _ = self.0.wait();
    }
}

/// A project whose nginx is on the host. `ports` and `more` are lines of the service `web`;
/// `nginx` more settings.
fn project(nginx: &str, web: &str) -> (Stack, u16) {
    let project = ComposeProject::new(&format!(
        "\
x-autoscale:
  interval: 1s
  nginx: {{host: true, pid: ./nginx.pid, upstreams: ./upstreams{nginx}}}
services:
  web:
    image: WEB
    stop_grace_period: 2s
    environment: {{TERM_MODE: exit}}
{web}
"
    ));
    fs::create_dir_all(project.directory().join("upstreams")).expect("a directory");
    project.compose(&["up", "-d"]);
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port();
    let mut stack = Stack::of(project);
    stack.listen(port);
    (stack, port)
}

const POLICY: &str = "    x-autoscale: {min: 1, max: 4, metrics: []}";

#[test]
fn nothing_is_lost_behind_an_nginx_of_the_host_that_reaches_containers_by_their_bridge() {
    let Some(program) = program() else {
        return;
    };
    let (stack, port) = project("", &format!("    expose: [\"80\"]\n{POLICY}"));

    // Before it runs, its files are ready for it, and everybody is told.
    let ran = stack.run(&["sync"]);
    assert_eq!(ran.code(), 1, "{ran:?}");
    assert!(
        ran.stderr
            .contains("nginx cannot be reached: it is not running"),
        "{ran:?}"
    );
    let said = stack.run(&["check"]).stdout;
    assert!(
        said.contains("nginx: it is not running on this host"),
        "{said}"
    );

    let _nginx = HostNginx::start(&program, &stack, port);
    let said = stack.must(&["check"]).stdout;
    assert!(said.contains("0 errors"), "{said}");
    assert!(said.contains("in nginx on this host"), "{said}");
    let networks = &stack.project.inspect("web", 1)["NetworkSettings"]["Networks"];
    let network = networks.as_object().and_then(|all| all.values().next());
    let address = text(&network.expect("a network")["IPAddress"]);
    let reached = format!("nginx on this host reaches it at {address}:80");
    assert!(said.contains(&reached), "{reached} is not in:\n{said}");
    stack.must(&["sync"]);

    let begun = now();
    let load = stack.load(&[
        "--duration",
        "60s",
        "--class",
        "keepalive:connections=8,rps=400,peek=false",
        "--class",
        "oneshot:connections=8,rps=100,keepalive=false",
        "--class",
        "post:connections=4,rps=100,method=POST,body-bytes=2000,path=/echo",
        "--class",
        "slow:connections=4,path=/slow?ms=1000",
    ]);
    stack.must(&["scale", "web=4"]);
    assert_eq!(stack.listed().len(), 4);
    stack.must(&["scale", "web=1"]);
    let took = begun.elapsed();
    let report = load.end();
    println!(
        "host nginx: {} requests, {} failed ({} idle keep-alive races), 1 → 4 → 1 in {took:?}",
        report.requests(),
        report.failed(),
        report.races()
    );
    assert!(report.requests() > 500, "{report:?}");
    let said = Command::new(&program)
        .arg("-v")
        .output()
        .expect("a version");
    let version = compose_scale::proxy::NginxVersion::parse(&String::from_utf8_lossy(&said.stderr));
    let allowed = match version {
        Some(version) if version >= compose_scale::proxy::Features::KEEPALIVE_MIN_TIMEOUT => 0,
        _ => report.races(),
    };
    assert_eq!(report.failed(), allowed, "{report:#?}");
}

#[test]
fn a_published_port_is_probed_by_http_and_read_again_after_every_start() {
    let Some(program) = program() else {
        return;
    };
    // It listens a second after its start, while the Engine's proxy accepts at once.
    let (stack, port) = project(
        ", reach: published",
        &format!("    ports: [\"127.0.0.1::80\"]\n{POLICY}"),
    );
    stack.run(&["sync"]);
    let _nginx = HostNginx::start(&program, &stack, port);
    let said = stack.must(&["check"]).stdout;
    assert!(said.contains("GET / gets a status below 500"), "{said}");
    stack.must(&["scale", "web=2"]);
    let servers = || {
        let file = stack.project.directory().join("upstreams/web.conf");
        let text = fs::read_to_string(file).expect("an upstream");
        let lines = text.lines().filter(|line| line.contains("; # "));
        lines.map(|line| line.trim().to_owned()).collect::<Vec<_>>()
    };
    let before = servers();
    assert!(
        before
            .iter()
            .all(|line| line.starts_with("server 127.0.0.1:")),
        "{before:?}"
    );
    let watch = stack.watch(&[]);
    stack.until("watch runs", DEADLINE, |s| s.ps()["watching"] == true);
    let second = stack.project.container("web", 2);
    support::api::request("POST", &format!("/containers/{second}/restart?t=1"), "");
    stack.until("the new port is listed", DEADLINE, |_| {
        let now = servers();
        now.len() == 2 && now != before
    });
    for _ in 0..10 {
        assert_eq!(stack.get("/").map(|(status, _)| status), Some(200));
    }
    assert!(watch.terminate().success());
}
