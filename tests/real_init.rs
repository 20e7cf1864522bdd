//! `init` on projects of compose's own kind: one port of the host, three replicas that cannot all have
//! it, and no nginx; an nginx that is there; one on this machine. Up, scaled, and all of it taken back.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

mod support;

use compose_scale::compose_cli::ComposeVersion;
use support::{
    ComposeProject, compose_from, needed, real,
    stack::{Ran, Stack, free_port, new_nginx, signal},
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
    if !real() || !compose_from(ComposeVersion(major, minor, patch), "`!reset`") {
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

/// An app that says which replica it is.
const WHO: &str = r#"
  web:
    image: BUSYBOX
    command: [sh, -c, "mkdir /www && hostname > /www/index.html && exec httpd -f -p 8000 -h /www"]
    stop_signal: SIGKILL
"#;

/// The lines that are to be written below a heading of what `init` has said.
fn lines(said: &str, heading: &str) -> String {
    let mut below = said.lines().skip_while(|line| !line.contains(heading));
    let heading = below
        .next()
        .unwrap_or_else(|| panic!("no {heading:?} in:\n{said}"));
    let depth = |line: &str| line.len() - line.trim_start().len();
    let lines: Vec<_> = below
        .take_while(|line| depth(line) > depth(heading))
        .collect();
    assert!(!lines.is_empty(), "{said}");
    lines.join("\n")
}

/// A configuration with what `init` says where it says it: at http level, and instead of the old
/// `proxy_pass` in the location.
fn with_the_lines(said: &str, conf: &str, http: &str, location: &str) -> String {
    assert!(conf.contains(http) && conf.contains(location), "{conf}");
    conf.replace(http, &format!("{}\n{http}", lines(said, "at http level")))
        .replace(location, &lines(said, "in the location that sends to web"))
}

/// What is to be typed, in its order.
fn commands(ran: &Ran) -> Vec<String> {
    let next = ran
        .stderr
        .lines()
        .skip_while(|line| !line.starts_with("next"));
    let typed = next.skip(1).take_while(|line| line.starts_with("  "));
    typed.map(|line| without_name(line.trim())).collect()
}

/// Without the project's name, which was given to the tool and so is in every command.
fn without_name(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let is_name = |at: usize| words[at] == "-p" || at > 0 && words[at - 1] == "-p";
    let rest = (0..words.len()).filter(|at| !is_name(*at));
    rest.map(|at| words[at]).collect::<Vec<_>>().join(" ")
}

/// Which replicas answer.
fn who(stack: &Stack) -> BTreeSet<String> {
    let answers = (0..20).map(|_| stack.get("/").expect("an answer"));
    answers
        .map(|(status, body)| {
            assert_eq!(status, 200, "{body}");
            body.trim().to_owned()
        })
        .collect()
}

/// Two replicas, then three, then two: each of them answers, and no other one.
fn is_scaled(stack: &Stack) {
    let watch = stack.watch(&[]);
    stack.until("two answer", LONG, |s| {
        s.get("/").is_some_and(|(status, _)| status == 200) && who(s).len() == 2
    });
    stack.must(&["scale", "web=3"]);
    assert_eq!(who(stack).len(), 3);
    stack.must(&["scale", "web=2"]);
    assert_eq!(who(stack).len(), 2);
    assert!(watch.terminate().success());
}

#[test]
fn an_nginx_of_the_project_is_told_by_its_owner_and_everything_is_as_before_in_the_end() {
    if !real() {
        return;
    }
    let project = ComposeProject::new(&format!(
        "services:{WHO}    expose: [\"8000\"]\n  edge:\n    image: {}\n    \
         ports: [\"127.0.0.1:PORT_0:80\"]\n    volumes: [\"./edge:/etc/nginx/conf.d:ro\"]\n    depends_on: [web]\n",
        new_nginx()
    ));
    let conf = "server {\n    listen 80;\n    location / {\n        proxy_pass http://web:8000;\n    }\n}\n";
    project.write("edge/site.conf", conf);
    let mut stack = Stack::of(project);
    let directory = stack.project.directory().to_owned();
    stack.project.compose(&["up", "-d"]);
    let edge = port(&stack, "edge", "80/tcp");
    answers(&mut stack, edge, "");
    let before = files(&directory);

    let ran = stack.must(&["init", "--yes"]);
    let new = with_the_lines(
        &ran.stderr,
        conf,
        "server {",
        "        proxy_pass http://web:8000;",
    );
    stack.project.write("edge/site.conf", &new);
    let typed = commands(&ran);
    for command in typed.iter().flat_map(|line| line.split(" && ")) {
        let words: Vec<_> = command.split(' ').collect();
        match words.as_slice() {
            ["docker", "compose", words @ ..] => {
                stack.project.compose(words);
                // Until `watch` runs it is reached by its name.
                answers(&mut stack, edge, "");
            }
            ["compose-scale", "check"] => {
                let said = stack.must(&["check"]).stdout;
                assert!(said.contains("\n0 errors"), "{said}");
            }
            ["compose-scale", "watch"] => is_scaled(&stack),
            _ => panic!("{command}"),
        }
    }

    let ran = stack.must(&["init", "--undo"]);
    assert!(ran.stderr.contains("set proxy_pass to"), "{}", ran.stderr);
    stack.project.write("edge/site.conf", conf);
    assert_eq!(commands(&ran), ["docker compose up -d --remove-orphans"]);
    stack.project.compose(&["up", "-d", "--remove-orphans"]);
    assert_eq!(files(&directory), before);
    answers(&mut stack, edge, "");
    assert_eq!(stack.project.ids().len(), 2);
}

#[test]
fn counts_that_somebody_keeps_are_taken_over_and_come_back() {
    if !real() {
        return;
    }
    let project = ComposeProject::new(
        "services:\n  jobs: {image: BUSYBOX, command: [sleep, \"1000\"], stop_signal: SIGKILL}\n  \
         mail: {image: BUSYBOX, command: [sleep, \"1000\"], stop_signal: SIGKILL, deploy: {replicas: 1}}\n",
    );
    project.write(
        "compose.scale.yaml",
        "# counts\nservices:\n  jobs:\n    scale: 3\n  mail:\n    deploy:\n      replicas: 2\n",
    );
    project.write(".env", "COMPOSE_FILE=compose.yaml:compose.scale.yaml\n");
    let stack = Stack::of(project);
    let before = files(stack.project.directory());
    stack.project.compose(&["up", "-d"]);
    let running = stack.project.untouched();
    assert_eq!(running.len(), 5);

    let ran = stack.must(&["init", "--yes", "--service", "jobs"]);
    assert_eq!(commands(&ran)[0], "docker compose up -d");
    stack.project.compose(&["up", "-d"]);
    assert_eq!(stack.project.untouched(), running);
    stack.must(&["scale", "jobs=4"]);
    stack.project.compose(&["up", "-d"]);
    assert_eq!(stack.project.ids().len(), 6);

    stack.must(&["init", "--undo"]);
    assert_eq!(files(stack.project.directory()), before);
    stack.project.compose(&["up", "-d"]);
    assert_eq!(stack.project.ids().len(), 5);
}

/// An nginx on this machine, ended with the value.
struct HostNginx(Child);

impl Drop for HostNginx {
    fn drop(&mut self) {
        signal(self.0.id(), "TERM");
        let _ = self.0.wait();
    }
}

fn nginx(program: &Path, directory: &Path) -> Command {
    let mut command = Command::new(program);
    let conf = directory.join("host.conf");
    command.args(["-e", "stderr", "-p"]).arg(directory);
    command.arg("-c").arg(conf).stdin(Stdio::null());
    command
}

#[test]
fn an_nginx_of_this_machine_is_told_by_its_owner_and_everything_is_as_before_in_the_end() {
    let what = "the path of an nginx that runs on this host";
    let Some(program) = needed("COMPOSE_SCALE_TEST_NGINX_PROGRAM", what).map(PathBuf::from) else {
        return;
    };
    let (major, minor, patch) = compose_scale::init::RESET_SINCE;
    if !compose_from(ComposeVersion(major, minor, patch), "`!reset`") {
        return;
    }
    // Where another nginx runs on this machine, the pid file says which one is meant.
    let project = ComposeProject::new(&format!(
        "x-autoscale: {{nginx: {{host: true, pid: ./nginx.pid}}}}\nservices:{WHO}    ports: [\"127.0.0.1:PORT_0:8000\"]\n"
    ));
    let mut stack = Stack::of(project);
    let directory = stack.project.directory().to_owned();
    stack.project.compose(&["up", "-d"]);
    let web = port(&stack, "web", "8000/tcp");
    let (listen, shown) = (free_port(), directory.display());
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("{what}_temp_path {shown}/{what};\n"))
        .concat();
    let conf = format!(
        "worker_processes 2;\nerror_log stderr;\npid {shown}/nginx.pid;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}\
         server {{\nlisten 127.0.0.1:{listen};\nlocation / {{\nproxy_pass http://127.0.0.1:{web};\n}}\n}}\n}}\n"
    );
    stack.project.write("host.conf", &conf);
    let child = nginx(&program, &directory)
        .args(["-g", "daemon off;"])
        .spawn();
    let _nginx = HostNginx(child.expect("nginx starts"));
    answers(&mut stack, listen, "");
    let before = files(&directory);

    let ran = stack.must(&["init", "--yes", "--nginx", "host"]);
    let old = format!("proxy_pass http://127.0.0.1:{web};");
    let new = with_the_lines(&ran.stderr, &conf, "server {", &old);
    stack.project.write("host.conf", &new);
    for command in commands(&ran) {
        let words: Vec<_> = command.split(' ').collect();
        match words.as_slice() {
            ["sudo", "nginx", "-t", "&&", "sudo", "nginx", "-s", "reload"] => {
                for arguments in [&["-t"][..], &["-s", "reload"]] {
                    let ended = nginx(&program, &directory).args(arguments).status();
                    assert!(ended.expect("nginx runs").success(), "{arguments:?}");
                }
                answers(&mut stack, listen, "");
            }
            ["docker", "compose", words @ ..] => {
                stack.project.compose(words);
            }
            ["compose-scale", "check"] => {
                let said = stack.must(&["check"]).stdout;
                assert!(said.contains("\n0 errors"), "{said}");
            }
            ["compose-scale", "watch"] => is_scaled(&stack),
            _ => panic!("{command}"),
        }
    }

    let ran = stack.must(&["init", "--undo"]);
    assert!(ran.stderr.contains("set proxy_pass to"), "{}", ran.stderr);
    stack.project.write("host.conf", &conf);
    let ended = nginx(&program, &directory).args(["-s", "reload"]).status();
    assert!(ended.expect("nginx runs").success());
    stack.project.up_scaled(&["--remove-orphans"], &["web"], 1);
    assert_eq!(files(&directory), before);
    answers(&mut stack, listen, "");
    assert_eq!(stack.project.ids().len(), 1);
}
