//! `check` and what is refused, against real containers and a real nginx.

use std::time::Duration;

mod support;

use compose_scale::compose_cli::ComposeVersion;
use support::{
    ComposeProject, compose_from, real,
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
    (ran.code(), without_name(stack, &ran.stdout))
}

/// Without the project's name in commands, which was given to the tool and so is in them.
fn without_name(stack: &Stack, said: &str) -> String {
    said.replace(&stack.project.typed("docker compose "), "docker compose ")
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
fn what_will_bite_later_is_found_with_its_code_and_its_place() {
    if !real() {
        return;
    }
    let stack = project(
        "    expose: [\"80\"]
    volumes: [\"./shared:/var/lib/app\"]
    x-autoscale: {max: 3}",
        DIRECTORY,
        "include /etc/nginx/upstreams/*.conf;
         resolver 127.0.0.11;
         upstream site { server web:80; }
         server {
             location / { proxy_pass http://web; include /etc/nginx/upstreams/web.location*; proxy_read_timeout 5m; }
             location /site { proxy_pass http://site; }
             location /by-name { set $to http://web:80; proxy_pass $to; }
             location /by-port { set $b web; proxy_pass http://$b:80; }
         }\n",
    );
    let json = stack.must(&["check", "--format", "json"]).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let findings = json["findings"].as_array().expect("a list");
    let found: Vec<_> = findings
        .iter()
        .map(|one| {
            let file = one["file"]
                .as_str()
                .and_then(|file| file.rsplit('/').next());
            format!(
                "{} {} {}:{}",
                one["severity"].as_str().expect("a severity"),
                one["code"].as_str().expect("a code"),
                file.unwrap_or_default(),
                one["line"]
            )
        })
        .collect();
    for wanted in [
        "warning single-writer compose.yaml:6",
        "hint no-restart compose.yaml:3",
        "hint no-healthcheck compose.yaml:3",
        "warning no-cpu-limit compose.yaml:3",
        "warning nginx-bypass default.conf:3",
        "warning nginx-bypass default.conf:7",
        "warning nginx-bypass default.conf:8",
        "warning nginx-resolver default.conf:2",
        "warning drain-short default.conf:5",
    ] {
        assert!(
            found.iter().any(|one| one == wanted),
            "{wanted}: {found:#?}"
        );
    }
    assert!(
        !found.iter().any(|one| one.starts_with("error")),
        "{found:#?}"
    );
    // What is wrong with this machine depends on the machine; its clock is the Engine's.
    assert!(
        !found.iter().any(|one| one.contains("clock-apart")),
        "{found:#?}"
    );
}

#[test]
fn a_second_state_directory_is_no_place_for_a_second_watcher() {
    if !real() {
        return;
    }
    let stack = project(WEB, DIRECTORY, GOOD);
    let watch = stack.watch(&[]);
    let long = Duration::from_secs(30);
    stack.until("it acts", long, |s| {
        s.run(&["check"]).stdout.contains("manages it now")
    });
    let elsewhere = stack.project.directory().join("elsewhere");
    let output = stack
        .command(&["check"])
        .env("COMPOSE_SCALE_STATE", &elsewhere)
        .output()
        .expect("the tool runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("[watched-elsewhere]"), "{said}");
    // Looking takes nothing from the one that acts.
    assert!(watch.terminate().success());
}

#[test]
fn config_for_nginx_prints_what_sync_then_writes_and_writes_nothing() {
    if !real() {
        return;
    }
    let stack = project(WEB, DIRECTORY, GOOD);
    let directory = stack.project.directory().join("upstreams");
    let printed = stack.must(&["config", "--nginx"]).stdout;
    let there = || {
        let entries = std::fs::read_dir(&directory).expect("the directory");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let mut paths: Vec<_> = paths.filter(|path| path.is_file()).collect();
        paths.sort();
        paths
    };
    assert_eq!(there(), [directory.join("one.conf")]);
    stack.must(&["sync"]);
    let written: Vec<_> = there()
        .into_iter()
        .filter(|path| !path.ends_with("one.conf") && !path.ends_with(lock(&stack)))
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("a file");
            format!("# {}\n{text}", path.display())
        })
        .collect();
    assert_eq!(written.len(), 3, "{written:?}");
    assert_eq!(printed, written.join("\n"));
    stack.project.compose(&["stop", "nginx"]);
    let ran = stack.run(&["config", "--nginx"]);
    assert_eq!(ran.code(), 1, "{ran:?}");
    let fix = "start it with `docker compose up -d --no-deps nginx`";
    assert!(ran.stderr.contains(fix), "{ran:?}");
    let ran = stack.run(&["sync"]);
    assert_eq!(ran.code(), 1, "{ran:?}");
    let told = format!("compose-scale: nginx is not running; {fix}\n");
    assert!(ran.stderr.ends_with(&told), "{ran:?}");
}

/// Nothing that nginx reads.
fn lock(stack: &Stack) -> String {
    format!(".compose-scale-{}.lock", stack.project.name)
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
            "add to nginx's volumes: `- ./upstreams:/etc/nginx/upstreams:ro` (the directory, not a file), then `docker compose up -d --no-deps nginx`",
        ),
        (
            "      - ./upstreams/one.conf:/etc/nginx/upstreams/one.conf:ro",
            "server { location / { proxy_pass http://web; } }\n",
            "is mounted as a single file",
            "mount the directory instead of the file, then `docker compose up -d --no-deps nginx`",
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
        (
            DIRECTORY,
            "include /etc/nginx/upstreams/*.conf;
             server { location / { proxy_pass http://web;
             proxy_http_version 1.1;
             include /etc/nginx/upstreams/web.location*; } }\n",
            "has `proxy_http_version` too, and nginx refuses two",
            "remove yours; web.location has it",
        ),
    ] {
        let stack = project(WEB, volumes, nginx);
        let (code, said) = findings(&stack);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(wrong), "{wrong} is not in:\n{said}");
        assert!(said.contains(fix), "{fix} is not in:\n{said}");

        // What acts says the same before it makes anything.
        let mut lines = said.lines().skip_while(|line| !line.contains(wrong));
        let line = lines.next().expect("the finding");
        let (_, what) = line.split_once(": ").expect("what it is about");
        let fix = lines
            .next()
            .expect("its fix")
            .trim_start_matches([' ', '→']);
        let (what, _code) = what.rsplit_once(" [").expect("its code");
        let sentence = format!("{what}; {fix}");
        let before = stack.project.untouched();
        let ran = stack.run(&["scale", "web=2", "--hold", "1s"]);
        assert_eq!(ran.code(), 1, "{ran:?}");
        assert!(
            ran.stderr.contains(&sentence),
            "{sentence} is not in:\n{ran:#?}"
        );
        assert_eq!(
            stack.project.untouched(),
            before,
            "{wrong}: something was touched"
        );
    }
}

#[test]
fn a_directive_that_nginx_takes_once_is_said_by_sync_too() {
    if !real() {
        return;
    }
    let stack = project(
        WEB,
        DIRECTORY,
        "include /etc/nginx/upstreams/*.conf;
         server { location / { set $to web; proxy_pass http://$to;
         include /etc/nginx/upstreams/web.location*; proxy_connect_timeout 5s; } }\n",
    );
    let ran = stack.run(&["sync"]);
    assert_eq!(ran.code(), 1, "{ran:?}");
    let said = "\"proxy_connect_timeout\" directive is duplicate in /etc/nginx/conf.d/default.conf:3 \
                (SERVICE.location has proxy_connect_timeout: where that is included, take yours out)";
    assert!(ran.stderr.contains(said), "{ran:#?}");
    let codes = found(&stack);
    assert!(codes.contains_key("nginx-duplicate"), "{codes:?}");
    assert!(!codes.contains_key("nginx-no-pass"), "{codes:?}");
}

#[test]
fn watch_holds_what_nginx_would_never_send_to_and_says_so_once_until_it_is_mended() {
    if !real() {
        return;
    }
    let stack = project(
        "    expose: [\"80\"]
    x-autoscale: {min: 2, max: 3, metrics: []}",
        DIRECTORY,
        "server { location / { proxy_pass http://web; } }\n",
    );
    let before = stack.project.untouched();
    let watch = stack.watch(&[]);
    let sentence = "nginx does not include /etc/nginx/upstreams/web.conf; add `include /etc/nginx/upstreams/*.conf;` at http level (a file in conf.d is at http level), outside of any server";
    let long = Duration::from_secs(30);
    stack.until("it says so", long, |_| watch.log().contains(sentence));
    // Two intervals, in which it is looked at again.
    std::thread::sleep(Duration::from_secs(11));
    assert_eq!(watch.log().matches(sentence).count(), 1, "{}", watch.log());
    assert_eq!(stack.project.untouched(), before, "something was touched");

    // The file is mounted by itself: it is written into, and not replaced.
    stack.project.write("nginx.conf", GOOD);
    stack.until("it is mended", long, |s| s.listed().len() == 2);
    assert_eq!(stack.running().len(), 2);
    assert!(watch.terminate().success());
}

#[test]
fn a_memory_target_without_a_limit_is_said_once_and_the_others_go_on() {
    if !real() {
        return;
    }
    let stack = project(
        "    expose: [\"80\"]
    x-autoscale: {min: 2, max: 3, metrics: [{cpu: 60%}, {memory: 80%}]}",
        DIRECTORY,
        GOOD,
    );
    let watch = stack.watch(&[]);
    let long = Duration::from_secs(30);
    stack.until("it is at its least", long, |s| s.listed().len() == 2);
    let sentence = "ERROR web: a memory target needs a memory limit; give web `deploy: {resources: {limits: {memory: 256M}}}` and run `docker compose up -d --no-deps --scale web=N web`, where N is the number of running replicas; until then its memory metric is ignored";
    assert_eq!(watch.log().matches(sentence).count(), 1, "{}", watch.log());
    assert!(watch.terminate().success());
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
    assert!(
        said.contains("docker compose up -d --no-recreate web"),
        "{said}"
    );
    stack.project.compose(&["stop", "nginx"]);
    let (_, said) = findings(&stack);
    assert!(
        said.contains(
            "nginx: it is not running [nginx-not-running]\n         → docker compose up -d --no-deps nginx\n"
        ),
        "{said}"
    );
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
    assert!(
        said.contains("→ docker compose up -d --no-deps --scale web=1 web\n"),
        "{said}"
    );
}

#[test]
fn several_services_scale_at_once_with_their_hooks_and_ports() {
    if !real() || !compose_from(ComposeVersion(2, 30, 0), "hooks") {
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
fn what_cannot_be_made_of_its_file_without_compose_says_what_to_run() {
    if !real() {
        return;
    }
    let stack = Stack::of(ComposeProject::new(
        "services: {web: {image: WEB, links: [db], x-autoscale: {max: 3, port: 80}}, db: {image: WEB}}\n",
    ));
    let output = stack
        .command(&["scale", "web=2"])
        .env("PATH", "/nowhere")
        .output()
        .expect("the tool runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("up -d --no-recreate web"), "{said}");
    assert!(stack.project.ids().is_empty(), "{said}");
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

/// The codes that `check` finds, each with its fix.
fn found(stack: &Stack) -> std::collections::BTreeMap<String, String> {
    let ran = stack.run(&["check", "--format", "json"]);
    let said = without_name(stack, &ran.stdout);
    let json: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let findings = json["findings"].as_array().expect("a list");
    let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    findings
        .iter()
        .map(|one| (word(&one["code"]), word(&one["fix"])))
        .collect()
}

#[test]
fn what_becomes_of_nginx_while_it_runs_is_found_and_mended_by_what_is_said() {
    if !real() {
        return;
    }
    let stack = project(WEB, DIRECTORY, GOOD);
    stack.must(&["sync"]);
    let nginx = |codes: &std::collections::BTreeMap<String, String>| {
        codes
            .keys()
            .find(|code| code.starts_with("nginx-"))
            .cloned()
    };
    assert_eq!(nginx(&found(&stack)), None);

    let name = stack.project.container("nginx", 1);
    support::api::request("POST", &format!("/containers/{name}/pause"), "");
    let codes = found(&stack);
    assert_eq!(codes["nginx-paused"], format!("docker unpause {name}"));
    assert!(!codes.contains_key("nginx-not-running"), "{codes:?}");
    support::api::request("POST", &format!("/containers/{name}/unpause"), "");

    stack.project.write("nginx.conf", "nonsense;\n");
    let codes = found(&stack);
    assert!(codes["nginx-invalid"].contains("nginx -t"), "{codes:?}");
    stack.project.write("nginx.conf", GOOD);

    // As after `git clean`: the directory that is mounted is one that has no name any more.
    let directory = stack.project.directory().join("upstreams");
    std::fs::remove_dir_all(&directory).expect("its end");
    std::fs::create_dir(&directory).expect("a directory");
    let synced = stack.run(&["sync"]);
    let codes = found(&stack);
    assert!(codes.contains_key("nginx-stale"), "{codes:#?} {synced:?}");
    assert_eq!(
        codes["nginx-stale"],
        "docker compose up -d --no-deps --force-recreate nginx"
    );
    let words: Vec<_> = codes["nginx-stale"].split(' ').skip(2).collect();
    stack.project.compose(&words);
    assert_eq!(nginx(&found(&stack)), None);
}

#[test]
fn where_nginx_is_not_named_and_nothing_runs_both_are_found() {
    if !real() {
        return;
    }
    let stack = Stack::of(ComposeProject::new(
        "services: {web: {image: WEB, expose: [\"80\"], x-autoscale: {max: 3}}}\n",
    ));
    let codes = found(&stack);
    assert!(codes["nginx-unknown"].contains("x-autoscale"), "{codes:?}");
    assert!(
        codes["nothing-runs"].contains("docker compose up -d --no-recreate web"),
        "{codes:?}"
    );
}

#[test]
fn an_image_is_asked_for_its_healthcheck_where_nothing_runs() {
    if !real() {
        return;
    }
    let checks =
        serde_json::json!({"Healthcheck": {"Test": ["CMD", "true"]}, "Cmd": ["sleep", "9"]});
    let image = support::Image::committed(&checks);
    let told = |image: &str, more: &str| {
        let stack = Stack::of(ComposeProject::new(&format!(
            "services:
  web: {{image: \"{image}\", expose: [\"80\"], {more} x-autoscale: {{max: 3}}}}
  front: {{image: WEB, depends_on: {{web: {{condition: service_healthy}}}}}}
"
        )));
        let said = stack.run(&["check"]).stdout;
        let about = said
            .lines()
            .filter(|line| line.contains("healthcheck") && !line.contains("→"));
        about.map(ToOwned::to_owned).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(told(&image.name, ""), "");
    let off = told(&image.name, "healthcheck: {disable: true},");
    assert!(
        off.contains("[waits-for-health]") && !off.contains("unless"),
        "{off}"
    );
    let without = told("WEB", "");
    assert!(
        without.contains("[no-healthcheck]") && !without.contains("unless"),
        "{without}"
    );
    let unknown = told("cst-nobody-has-this:1", "");
    assert!(unknown.contains("(unless its image has one"), "{unknown}");
}
