//! A replica that we make is the one that compose would have made.

mod support;

use std::{collections::BTreeSet, net::IpAddr};

use compose_scale::compose_cli::ComposeVersion;
use compose_scale::project::Replica;
use serde_json::Value;
use support::{
    ComposeProject, api, clone_and_start, compose_from, describe, engine, list, pick, real, remove,
    shell, text,
};

/// A service that uses what a service can use.
const EVERYTHING: &str = r#"
services:
  web:
    image: BUSYBOX
    entrypoint: ["/bin/sh", "-c"]
    command: ["echo started; trap 'exit 0' TERM; while :; do sleep 0.2; done"]
    environment: {GREETING: "hello, world", EMPTY: "", A_DOLLAR: "$$1"}
    env_file: [web.env]
    labels: {example.role: front, example.note: "a=b,c"}
    expose: ["8080"]
    ports: ["PORT_0-PORT_5:80", "127.0.0.1:PORT_0-PORT_5:81/udp"]
    volumes:
      - named:/named
      - ./bound:/bound:ro
      - /anonymous
      - type: volume
        source: labelled
        target: /labelled
        volume: {nocopy: true}
      - type: tmpfs
        target: /mounted-tmpfs
        tmpfs: {size: 1048576}
    tmpfs: ["/plain-tmpfs:size=1m"]
    networks:
      front: {aliases: [shop, www], priority: 10}
      back: {aliases: [internal]}
    healthcheck:
      test: ["CMD", "true"]
      interval: 1s
      timeout: 2s
      retries: 5
      start_period: 1s
    cpus: 0.5
    mem_limit: 64m
    mem_reservation: 32m
    pids_limit: 100
    cap_add: [NET_ADMIN, SYS_NICE]
    cap_drop: [MKNOD]
    ulimits: {nofile: {soft: 1024, hard: 2048}, nproc: 512}
    sysctls: {net.core.somaxconn: "1024"}
    init: true
    restart: unless-stopped
    security_opt: ["no-new-privileges:true"]
    shm_size: 32m
    logging: {driver: json-file, options: {max-size: 1m, max-file: "2"}}
    extra_hosts: ["db.example:10.1.2.3", "cache.example:10.1.2.4"]
    dns_search: [example.test]
    stop_signal: SIGTERM
    stop_grace_period: 3s
    user: "0:0"
    working_dir: /tmp
    configs: [{source: inline, target: /etc/shop/inline.conf, mode: 0440}]
    depends_on: [before, behind]
  before: {image: BUSYBOX, command: ["sleep", "1000"], stop_signal: SIGKILL, networks: [front]}
  behind: {image: BUSYBOX, command: ["sleep", "1000"], stop_signal: SIGKILL, networks: [back]}
networks: {front: {}, back: {}}
volumes: {named: {}, labelled: {labels: {kept: "yes"}}}
configs: {inline: {content: "answer = 42\n"}}
"#;

/// Where compose writes the config with inline content.
const INLINE: &str = "/etc/shop/inline.conf";

fn everything() -> ComposeProject {
    let project = ComposeProject::new(EVERYTHING);
    project.write("web.env", "FROM_FILE=yes\nGREETING=overridden\n");
    project.write("bound/file", "bound");
    project
}

fn assert_same(when: &str, ours: &Value, theirs: &Value) {
    let differences = describe::differences(ours, theirs);
    assert!(
        differences.is_empty(),
        "{when}:\n{}",
        differences.join("\n")
    );
}

#[tokio::test]
async fn a_clone_is_what_compose_would_have_made() {
    if !real() || !compose_from(ComposeVersion(2, 23, 1), "inline configs") {
        return;
    }
    let docker = engine();
    let project = everything();
    project.compose(&["up", "-d"]);
    clone_and_start(&docker, &project, "web", (1, 2), &[INLINE]).await;
    let ours = describe::normalised(&project.inspect("web", 2));
    remove(&docker, &project, "web", 2).await;

    project.up_scaled(&["--no-recreate"], &["web"], 2);
    let theirs = describe::normalised(&project.inspect("web", 2));
    assert_same("cloned from a fresh container", &ours, &theirs);
    remove(&docker, &project, "web", 2).await;

    project.compose(&["up", "-d", "--force-recreate"]);
    let recreated = project.inspect("web", 1);
    let mounts = recreated["HostConfig"]["Mounts"].to_string();
    assert!(
        mounts.contains(r#""Source""#),
        "nothing was inherited: {mounts}"
    );
    clone_and_start(&docker, &project, "web", (1, 2), &[INLINE]).await;
    let ours = describe::normalised(&project.inspect("web", 2));
    assert_same("cloned from a recreated container", &ours, &theirs);

    // The labels are part of the comparison, but it must not be true of two empty ones.
    let labels = &ours["Config"]["Labels"];
    assert_eq!(labels["com.docker.compose.container-number"], "NUMBER");
    assert_eq!(labels["example.note"], "a=b,c");
}

#[tokio::test]
async fn compose_takes_clones_for_its_own() {
    if !real() || !compose_from(ComposeVersion(2, 23, 1), "inline configs") {
        return;
    }
    let docker = engine();
    let project = everything();
    project.compose(&["up", "-d"]);
    for number in 2..=4 {
        clone_and_start(&docker, &project, "web", (1, number), &[INLINE]).await;
    }
    let before = project.ids();

    project.up_scaled(&["--no-recreate"], &["web"], 4);
    assert_eq!(project.ids(), before, "up --no-recreate changed something");
    project.up_scaled(&[], &["web"], 4);
    assert_eq!(project.ids(), before, "up changed something");

    let listed = project.compose(&["ps", "--format", "{{.Name}}", "web"]);
    let logged = project.compose(&["logs", "web"]);
    for number in 1..=4 {
        assert!(
            listed.contains(&project.container("web", number)),
            "{listed}"
        );
        assert!(logged.contains(&format!("web-{number} ")), "{logged}");
    }

    let started = |replicas: &[Replica]| pick(replicas, "web", 4).started;
    let first = started(&list(&docker, &project).await);
    project.compose(&["restart", "web"]);
    assert!(
        started(&list(&docker, &project).await) > first,
        "not restarted"
    );
    assert_eq!(project.ids(), before, "restart changed something");

    // One more made by compose comes after ours, and the next of ours after that.
    project.up_scaled(&["--no-recreate"], &["web"], 5);
    let after = project.ids();
    assert!(after.contains_key(&format!("/{}", project.container("web", 5))));
    assert!(before.iter().all(|(name, id)| after.get(name) == Some(id)));

    project.compose(&["down", "-v"]);
    assert_eq!(project.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn the_service_name_resolves_to_all_replicas() {
    if !real() || !compose_from(ComposeVersion(2, 23, 1), "inline configs") {
        return;
    }
    let docker = engine();
    let project = everything();
    project.compose(&["up", "-d"]);
    clone_and_start(&docker, &project, "web", (1, 2), &[INLINE]).await;
    clone_and_start(&docker, &project, "web", (2, 3), &[INLINE]).await;

    let replicas = list(&docker, &project).await;
    for (network, looker, aliases) in [
        ("front", "before", ["web", "shop", "www"].as_slice()),
        ("back", "behind", &["web", "internal"]),
    ] {
        let looker = &pick(&replicas, looker, 1).id;
        let network = format!("{}_{network}", project.name);
        let expected: BTreeSet<IpAddr> = replicas
            .iter()
            .filter(|replica| replica.service == "web")
            .filter_map(|replica| replica.addresses.get(&network).copied())
            .collect();
        assert_eq!(expected.len(), 3, "{replicas:?}");
        for alias in aliases {
            let answer = shell(&docker, looker, &format!("nslookup {alias}. | cat")).await;
            let found: BTreeSet<IpAddr> = answer
                .split_whitespace()
                .filter_map(|word| word.parse().ok())
                .collect();
            assert!(found.is_superset(&expected), "{alias}: {answer}");
        }
        for number in 1..=3 {
            let name = project.container("web", number);
            let answer = shell(&docker, looker, &format!("nslookup {name}. | cat")).await;
            let address = pick(&replicas, "web", number).addresses[&network];
            assert!(answer.contains(&address.to_string()), "{name}: {answer}");
        }
    }
}

#[tokio::test]
async fn inline_content_is_there_before_the_start() {
    if !real() || !compose_from(ComposeVersion(2, 23, 1), "inline configs") {
        return;
    }
    let docker = engine();
    let project = everything();
    project.compose(&["up", "-d"]);
    // Its directory is in no image: compose made it as it wrote the file.
    let id = clone_and_start(&docker, &project, "web", (1, 2), &[INLINE]).await;
    let look = format!("cat {INLINE}; stat -c '%a %u:%g' {INLINE}");
    let replicas = list(&docker, &project).await;
    let original = shell(&docker, &pick(&replicas, "web", 1).id, &look).await;
    assert_eq!(shell(&docker, &id, &look).await, original);
    assert!(original.starts_with("answer = 42"), "{original}");
}

#[tokio::test]
async fn removing_clones_leaks_no_volume_and_takes_no_named_one() {
    if !real() || !compose_from(ComposeVersion(2, 23, 1), "inline configs") {
        return;
    }
    let docker = engine();
    let project = everything();
    project.compose(&["up", "-d"]);
    let replicas = list(&docker, &project).await;
    let marker = "echo kept > /named/marker && echo kept > /anonymous/marker";
    shell(&docker, &pick(&replicas, "web", 1).id, marker).await;
    project.compose(&["up", "-d", "--force-recreate", "--no-deps", "web"]);

    let before = anonymous_volumes(&project.inspect("web", 1));
    assert_eq!(before.len(), 1);
    clone_and_start(&docker, &project, "web", (1, 2), &[INLINE]).await;
    let made = anonymous_volumes(&project.inspect("web", 2));
    assert_eq!(made.len(), 1);
    assert!(made.is_disjoint(&before), "the volume is shared");
    remove(&docker, &project, "web", 2).await;
    for volume in &made {
        assert!(!exists(volume), "{volume} has leaked");
    }
    for volume in &before {
        assert!(exists(volume), "{volume} belongs to another replica");
    }

    // The recreated one has its anonymous volume by name; that goes with it, named ones stay.
    remove(&docker, &project, "web", 1).await;
    for volume in &before {
        assert!(!exists(volume), "{volume} has leaked");
    }
    for named in ["named", "labelled"] {
        assert!(exists(&format!("{}_{named}", project.name)), "{named}");
    }
}

fn anonymous_volumes(inspect: &Value) -> BTreeSet<String> {
    let mounts = inspect["Mounts"].as_array().into_iter().flatten();
    mounts
        .map(|mount| text(&mount["Name"]).to_owned())
        .filter(|name| name.len() == 64)
        .collect()
}

fn exists(volume: &str) -> bool {
    api::request("GET", &format!("/volumes/{volume}"), "").0 == 200
}
