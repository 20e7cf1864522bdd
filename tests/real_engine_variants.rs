//! One service for each feature that needs a rule of its own when a container is cloned.

mod support;

use std::{collections::BTreeMap, path::Path};

use compose_scale::compose_cli::ComposeVersion;
use compose_scale::engine::docker::Docker;
use serde_json::Value;
use support::{ComposeProject, Image, api, compose_from, describe, engine, real};

/// `IMAGE` stands for an image that declares an environment, labels, a volume, a port and a
/// healthcheck.
const VARIANTS: &str = r#"
x-base: &base {image: BUSYBOX, command: [sleep, "1000"], stop_signal: SIGKILL}
x-rich: &rich {image: IMAGE, command: [sleep, "1000"], stop_signal: SIGKILL}
services:
  target: {<<: *base}
  plain: {<<: *base}
  net-host: {<<: *base, network_mode: host}
  net-none: {<<: *base, network_mode: none}
  net-bridge: {<<: *base, network_mode: bridge}
  net-service: {<<: *rich, network_mode: "service:target"}
  uts-host: {<<: *base, uts: host}
  pid-host: {<<: *base, pid: host}
  ipc-host: {<<: *base, ipc: host}
  ipc-shareable: {<<: *base, ipc: shareable}
  pid-service: {<<: *base, pid: "service:target"}
  read-only: {<<: *base, read_only: true, user: "1000:1000", group_add: ["27"]}
  terminal: {<<: *base, tty: true, stdin_open: true}
  linked: {<<: *base, links: [target, "target:other"]}
  named-host: {<<: *base, hostname: boss, domainname: example.test, dns: [10.9.8.7], dns_opt: ["ndots:2"]}
  service-name-host: {<<: *base, hostname: service-name-host}
  own-entrypoint: {<<: *rich, entrypoint: [sleep], command: ["1000"]}
  no-command: {<<: *rich, entrypoint: ["sleep", "1000"], command: null}
  cleared-entrypoint: {<<: *rich, entrypoint: []}
  no-healthcheck: {<<: *rich, healthcheck: {disable: true}}
  some-healthcheck: {<<: *rich, healthcheck: {interval: 7s}}
  volumes-of: {<<: *base, volumes_from: ["target:ro", plain]}
  overridden: {<<: *rich, labels: {role: service}, environment: {ROLE: service, UNSET: }}
  named-on-declared: {<<: *rich, volumes: ["data:/declared"]}
  no-copy: {<<: *base, volumes: [{type: volume, source: data, target: /d, read_only: true, volume: {nocopy: true}}]}
  anonymous: {<<: *rich, volumes: ["/one", "/two"]}
  device: {<<: *base, devices: ["/dev/null:/dev/nothing:r"], device_cgroup_rules: ["c 1:3 mr"]}
  no-log: {<<: *base, logging: {driver: none}}
  limited:
    <<: *base
    cpu_shares: 200
    cpuset: "0"
    mem_limit: 64m
    memswap_limit: 128m
    mem_swappiness: 10
    oom_score_adj: 100
    blkio_config: {weight: 300}
    pids_limit: 50
  quota: {<<: *base, cpu_quota: 50000, cpu_period: 100000}
  unconfined: {<<: *base, security_opt: ["seccomp:unconfined", "systempaths=unconfined"]}
  cgroup-host: {<<: *base, cgroup: host}
  deployed:
    <<: *base
    deploy:
      resources: {limits: {cpus: "0.25", memory: 64M, pids: 60}, reservations: {memory: 32M}}
      restart_policy: {condition: on-failure, max_attempts: 3}
  networked:
    <<: *rich
    ports: ["PORT_0-PORT_9:80"]
    networks:
      one: {aliases: [uno], priority: 1}
      two: {driver_opts: {com.example.kind: x}}
      default:
  of-platform: {<<: *base, platform: linux/ARCH}
  profiled: {<<: *base, security_opt: ["seccomp:./seccomp.json", "no-new-privileges:true"]}
  any-port: {<<: *base, ports: ["80", "53/udp"]}
networks: {one: {}, two: {}}
volumes: {data: {}}
"#;

/// Allows everything but one call: what matters is that it is a file that compose sends along.
const SECCOMP: &str = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
  {"names": ["keyctl"], "action": "SCMP_ACT_ERRNO"}
]}
"#;

/// This machine's architecture as images call it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Compose links a replica by its own number (`target-2` for the one target there is); a clone keeps
/// the names its source has.
fn without_numbered_links(mut description: Value) -> Value {
    let networks = description.pointer_mut("/NetworkSettings/Networks");
    for endpoint in networks
        .and_then(Value::as_object_mut)
        .into_iter()
        .flatten()
    {
        if let Some(links) = endpoint.1.get_mut("Links").and_then(Value::as_array_mut) {
            links.retain(|link| !support::text(link).ends_with(['1', '2']));
        }
    }
    description
}

fn described(project: &ComposeProject, services: &[String]) -> BTreeMap<String, Value> {
    services
        .iter()
        .map(|service| {
            let seen = describe::normalised(&project.inspect(service, 2));
            (service.clone(), without_numbered_links(seen))
        })
        .collect()
}

async fn clone_all(docker: &Docker, project: &ComposeProject, services: &[String]) {
    for service in services {
        support::clone_and_start(docker, project, service, (1, 2), &[]).await;
    }
}

async fn remove_all(docker: &Docker, project: &ComposeProject, services: &[String]) {
    for service in services {
        support::remove(docker, project, service, 2).await;
    }
}

fn assert_same(when: &str, ours: &BTreeMap<String, Value>, theirs: &BTreeMap<String, Value>) {
    let mut all = Vec::new();
    for (service, ours) in ours {
        for difference in describe::differences(ours, &theirs[service]) {
            all.push(format!("{service} {difference}"));
        }
    }
    assert!(all.is_empty(), "{when}:\n{}", all.join("\n"));
}

/// Compose makes anew whatever it does not take for its own.
fn assert_untouched_by_a_plain_up(when: &str, project: &ComposeProject, services: &[&str]) {
    let before = project.untouched();
    project.up_scaled(&[], services, 2);
    assert_eq!(project.untouched(), before, "{when}: compose changed it");
}

/// An Engine started with `--bridge none` has none, and takes away that of another on its machine.
fn has_default_bridge() -> bool {
    let (status, network) = api::request("GET", "/networks/bridge", "");
    let interface = support::text(&network["Options"]["com.docker.network.bridge.name"]);
    status == 200 && Path::new("/sys/class/net").join(interface).exists()
}

#[tokio::test]
async fn every_feature_survives_cloning() {
    if !real() || !compose_from(ComposeVersion(2, 29, 0), "options of a network's driver") {
        return;
    }
    let image = Image::with_everything();
    let docker = engine();
    assert!(
        has_default_bridge(),
        "`network_mode: bridge` is one of the variants, and this Engine has no default bridge"
    );
    let variants = VARIANTS.replace("IMAGE", &image.name);
    let project = ComposeProject::new(&variants.replace("ARCH", architecture()));
    project.write("seccomp.json", SECCOMP);
    project.compose(&["up", "-d"]);
    let replicas = support::list(&docker, &project).await;
    let mut services: Vec<String> = replicas.into_iter().map(|r| r.service).collect();
    services.retain(|service| service != "target");
    let names: Vec<&str> = services.iter().map(String::as_str).collect();

    clone_all(&docker, &project, &services).await;
    let ours = described(&project, &services);
    assert_untouched_by_a_plain_up("clones of fresh containers", &project, &names);
    remove_all(&docker, &project, &services).await;

    project.up_scaled(&["--no-recreate"], &names, 2);
    let theirs = described(&project, &services);
    assert_same("clones of fresh containers", &ours, &theirs);

    // A recreate hands anonymous volumes on by name, among others.
    remove_all(&docker, &project, &services).await;
    project.compose(&["up", "-d", "--force-recreate"]);
    clone_all(&docker, &project, &services).await;
    let ours = described(&project, &services);
    assert_same("clones of recreated containers", &ours, &theirs);

    assert_untouched_by_a_plain_up("clones of recreated containers", &project, &names);
    remove_all(&docker, &project, &services).await;
    project.compose(&["down", "-v"]);
    assert_eq!(project.leftovers(), Vec::<String>::new());
}
