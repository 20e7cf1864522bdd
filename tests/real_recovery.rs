//! What goes wrong in life: replicas die, hang and never come up, the tool is killed, the Engine
//! stops.

use std::{fs::File, io::Write as _, process::Command, time::Duration};

mod support;

use support::{
    real,
    stack::{Stack, kill_container, new_nginx, now},
};

const LONG: Duration = Duration::from_secs(30);
/// So seldom that nothing is seen by chance.
const ROUND: Duration = Duration::from_secs(60);

/// Nothing is decided by load.
const BY_HAND: &str = "    stop_grace_period: 2s
    x-autoscale: {min: 1, max: 8, metrics: []}";

#[test]
fn a_replica_that_is_killed_is_out_of_nginx_at_once_and_comes_back() {
    if !real() {
        return;
    }
    let stack = Stack::up(new_nginx().as_str(), BY_HAND);
    stack.must(&["scale", "web=3", "--hold", "1s"]);
    stack.every(ROUND);
    let watch = stack.watch(&[]);
    stack.until("watch has taken over", LONG, |s| {
        s.ps()["services"][0]["serving"] == 3
    });
    let load = stack.load(&[
        "--duration",
        "60s",
        "--class",
        "fast:connections=8,rps=400",
        "--class",
        "post:connections=4,rps=50,method=POST,body-bytes=500,path=/echo",
    ]);
    std::thread::sleep(Duration::from_secs(1));
    let (name, id) = stack.running().swap_remove(1);

    let killed = now();
    kill_container(&id);
    // Long before the next round: the event itself is acted on. `scripts/bench events` measures it.
    stack.until("nginx no longer lists it", ROUND / 6, |s| {
        !s.listed().contains(&name)
    });
    println!("out of nginx's file {:?} after the kill", killed.elapsed());

    stack.until("it serves again", LONG, |s| {
        s.listed().len() == 3 && s.ps()["services"][0]["serving"] == 3
    });
    let report = load.end();
    // Only a POST that was inside the killed replica may fail: nginx repeats everything else.
    let inside = 4;
    assert!(report.failed() <= inside, "{report:#?}");
    for class in report.classes() {
        if class["name"] == "fast" {
            assert_eq!(class["failed"], 0, "{report:#?}");
        }
    }
    let told: Vec<_> = stack
        .history()
        .iter()
        .map(|line| line["event"].as_str().unwrap().to_owned())
        .collect();
    assert!(told.contains(&"died".to_owned()), "{told:?}");
    drop(watch);
}

#[test]
fn a_replica_that_is_restarted_is_listed_with_its_new_address() {
    if !real() {
        return;
    }
    let stack = Stack::up(new_nginx().as_str(), BY_HAND);
    stack.must(&["scale", "web=2", "--hold", "1s"]);
    let _watch = stack.watch(&[]);
    stack.until("watch has taken over", LONG, |s| s.listed().len() == 2);
    let load = stack.load(&["--duration", "60s", "--class", "fast:connections=8,rps=300"]);
    let name = stack.project.container("web", 2);
    let started = |stack: &Stack| stack.project.inspect("web", 2)["State"]["StartedAt"].clone();
    let before = started(&stack);
    let restart = format!("/containers/{name}/restart?t=2");
    let (status, answer) = support::api::request("POST", &restart, "");
    assert_eq!(status, 204, "{answer}");
    assert_ne!(started(&stack), before);
    stack.until("both serve again", LONG, |s| {
        let replicas = s.ps()["services"][0]["replicas"].clone();
        s.listed().contains(&name)
            && s.listed().len() == 2
            && replicas
                .as_array()
                .unwrap()
                .iter()
                .all(|r| r["phase"] == "serving")
    });
    // What is listed answers: every replica is asked directly through nginx.
    for _ in 0..4 {
        assert_eq!(stack.get("/").map(|(status, _)| status), Some(200));
    }
    let report = load.end();
    assert_eq!(report.failed(), 0, "{report:#?}");
}

#[test]
fn a_replica_that_never_becomes_ready_gets_no_request_and_goes_with_its_last_words() {
    if !real() {
        return;
    }
    let stack = Stack::up(
        new_nginx().as_str(),
        "    x-autoscale: {min: 1, max: 8, metrics: [], ready_timeout: 2s}",
    );
    stack.must(&["sync"]);
    // What compose makes now serves; what is made from it later does not.
    let (_, id) = stack.running().swap_remove(0);
    let (status, _) = support::api::request("POST", &format!("/containers/{id}/stop?t=1"), "");
    assert_eq!(status, 204);
    stack.rewrite(
        new_nginx().as_str(),
        "    environment: {NEVER_READY: \"1\"}
    x-autoscale: {min: 1, max: 8, metrics: [], ready_timeout: 2s}",
    );
    stack
        .project
        .compose(&["up", "-d", "--no-recreate", "--scale", "web=2", "web"]);
    let ran = stack.run(&["scale", "web=3"]);
    assert_eq!(ran.code(), 1, "{ran:?}");
    assert!(ran.stderr.contains("failed"), "{ran:?}");
    let never_listed = stack.listed().iter().all(|name| name.ends_with("-web-1"));
    assert!(never_listed, "{:?}", stack.listed());
}

#[test]
fn watch_that_is_killed_in_the_middle_converges_when_it_starts_again() {
    if !real() {
        return;
    }
    let stack = Stack::up(new_nginx().as_str(), BY_HAND);
    stack.must(&["sync"]);
    let load = stack.load(&[
        "--duration",
        "120s",
        "--class",
        "fast:connections=8,rps=300",
    ]);

    // Up: killed while replicas are being made.
    let watch = stack.watch(&[]);
    stack.until("watch has taken over", LONG, |s| s.ps()["watching"] == true);
    stack.must(&["scale", "web=5", "--no-wait"]);
    stack.until("something was made", LONG, |s| {
        s.project.inspect_all().len() > 2
    });
    watch.kill();

    let watch = stack.watch(&[]);
    stack.until("all five serve", LONG, |s| {
        let ps = s.ps();
        ps["watching"] == true && ps["services"][0]["serving"] == 5 && s.listed().len() == 5
    });
    assert_eq!(stack.project.inspect_all().len(), 6, "no orphan");

    // Down: killed while they drain.
    stack.must(&["scale", "web=1", "--no-wait"]);
    stack.until("some are out", LONG, |s| s.listed().len() == 1);
    watch.kill();

    let _watch = stack.watch(&[]);
    stack.until("one is left and serves", LONG, |s| {
        let ps = s.ps();
        ps["watching"] == true
            && ps["services"][0]["serving"] == 1
            && s.project.inspect_all().len() == 2
            && s.listed().len() == 1
    });
    let report = load.end();
    assert_eq!(report.failed(), 0, "{report:#?}");
}

#[test]
fn a_first_signal_leaves_the_replicas_running_and_a_second_watch_is_told_to_wait() {
    if !real() {
        return;
    }
    let stack = Stack::up(new_nginx().as_str(), BY_HAND);
    let watch = stack.watch(&[]);
    stack.until("watch has taken over", LONG, |s| s.ps()["watching"] == true);
    let second = stack.run(&["watch", "--once"]);
    assert_eq!(second.code(), 75, "{second:?}");
    assert!(
        second.stderr.contains("another compose-scale"),
        "{second:?}"
    );
    // Another home has another state directory, and the same nginx.
    let elsewhere = stack
        .command(&["watch", "--once"])
        .env("COMPOSE_SCALE_STATE", stack.state().join("elsewhere"))
        .status()
        .expect("the tool runs");
    assert_eq!(elsewhere.code(), Some(75));
    stack.must(&["scale", "web=3"]);
    assert!(watch.terminate().success());
    assert_eq!(stack.running().len(), 3);
    assert_eq!(stack.ps()["watching"], false);
}

#[test]
fn an_nginx_that_is_restarted_in_the_middle_is_waited_for_without_a_word() {
    if !real() {
        return;
    }
    let stack = Stack::up(new_nginx().as_str(), BY_HAND);
    let watch = stack.watch(&[]);
    stack.until("watch has taken over", LONG, |s| {
        s.ps()["services"][0]["serving"] == 1
    });
    let nginx = stack.project.container("nginx", 1);
    for count in [3, 1, 2] {
        let mut restart = Command::new("docker")
            .args(["restart", "-t", "1", &nginx])
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("docker runs");
        stack.must(&["scale", &format!("web={count}"), "--no-wait"]);
        assert!(restart.wait().expect("docker ends").success());
        stack.until("nginx is in step", LONG, |s| {
            s.running().len() == count && s.ps()["services"][0]["serving"] == count
        });
    }
    let log = watch.log();
    assert!(!log.contains(" ERROR "), "{log}");
}

#[test]
fn an_nginx_that_crashes_at_every_start_is_said_once_and_nothing_is_stopped() {
    if !real() {
        return;
    }
    let stack = Stack::up(new_nginx().as_str(), BY_HAND);
    stack.must(&["scale", "web=2", "--hold", "1s"]);
    let watch = stack.watch(&[]);
    stack.until("watch has taken over", LONG, |s| {
        s.ps()["services"][0]["serving"] == 2
    });
    let replicas = stack.running();
    let nginx = stack.project.container("nginx", 1);
    let docker = |arguments: &[&str]| {
        let ran = Command::new("docker").args(arguments).output();
        let ran = ran.expect("docker runs");
        assert!(ran.status.success(), "{arguments:?}: {ran:?}");
    };
    let conf = std::fs::read_to_string(stack.project.directory().join("nginx.conf"));
    let conf = conf.expect("its configuration");
    docker(&["update", "--restart", "always", &nginx]);
    // Into the same file: a mount shows the one that was there.
    overwrite(&stack, "nonsense;\n");
    docker(&["restart", "-t", "1", &nginx]);

    let why = format!(
        "nginx keeps crashing ({nginx} is restarting, exit code 1); look at `docker logs --tail 20 {nginx}`"
    );
    let ran = stack.run(&["scale", "web=1", "--timeout", "12s"]);
    assert_eq!(ran.code(), 1, "{ran:?}");
    // Several crashes later.
    let restarts = || {
        stack.project.inspect("nginx", 1)["RestartCount"]
            .as_u64()
            .unwrap_or_default()
    };
    stack.until("it has crashed again and again", LONG, |_| restarts() >= 6);
    stack.until("check tells it too", LONG, |s| {
        s.run(&["check"]).stdout.contains(&format!(
            "nginx: nginx keeps crashing ({nginx} is restarting, exit code 1) [nginx-crashing]\n         → look at `docker logs --tail 20 {nginx}`\n"
        ))
    });
    assert_eq!(watch.log().matches(&why).count(), 1, "{}", watch.log());
    let errors: Vec<_> = watch
        .log()
        .lines()
        .filter(|line| line.contains(" ERROR "))
        .map(ToOwned::to_owned)
        .collect();
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert_eq!(stack.running(), replicas, "{}", watch.log());

    overwrite(&stack, &conf);
    // The count that was reported as failed was withdrawn, so nothing is removed for it later.
    stack.until("nginx is in step again", LONG * 3, |s| {
        s.ps()["in_step"] == true
    });
    assert_eq!(stack.running(), replicas);
    assert_eq!(stack.listed().len(), replicas.len());
}

fn overwrite(stack: &Stack, text: &str) {
    let path = stack.project.directory().join("nginx.conf");
    let written = File::create(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.expect("a file");
}
