//! A first replica where there is nothing to make it like and no compose to make it: it is made of the
//! compose file, and is what compose would have made.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

mod support;

use compose_scale::{
    compose::{self, LoadRequest},
    compose_cli::ComposeVersion,
    engine::{Engine as _, NewReplica, docker::Docker},
    project::Service,
};
use serde_json::{Value, json};
use support::{
    ComposeProject, Image, api, compose_from, describe, engine, real,
    stack::{Stack, new_nginx, remove_container},
    text,
};

/// A service for every key that is translated. `IMAGE` stands for an image that declares an
/// environment, labels, a volume, a port and a healthcheck.
const CORPUS: &str = r#"
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
  ipc-service: {<<: *base, ipc: "service:ipc-shareable"}
  pid-service: {<<: *base, pid: "service:target"}
  user-host: {<<: *base, userns_mode: host}
  read-only: {<<: *base, read_only: true, user: "1000:1000", group_add: ["27", 5]}
  terminal: {<<: *base, tty: true, stdin_open: true}
  named-host: {<<: *base, hostname: boss, domainname: example.test, dns: 10.9.8.7, dns_opt: ["ndots:2"]}
  own-entrypoint: {<<: *rich, entrypoint: sleep, command: "1000"}
  no-command: {<<: *rich, entrypoint: ["sleep", "1000"], command: null}
  cleared-entrypoint: {<<: *rich, entrypoint: []}
  no-healthcheck: {<<: *rich, healthcheck: {disable: true}}
  some-healthcheck: {<<: *rich, healthcheck: {interval: 7s}}
  shell-healthcheck: {<<: *base, healthcheck: {test: "true || false", retries: 4, start_period: 1m}}
  volumes-of: {<<: *base, volumes_from: ["target:ro", plain]}
  overridden: {<<: *rich, labels: {role: service}, environment: {ROLE: service, UNSET: }}
  named-on-declared: {<<: *rich, volumes: ["data:/declared"]}
  no-copy: {<<: *base, volumes: [{type: volume, source: data, target: /d, read_only: true, volume: {nocopy: true}}]}
  short-no-copy: {<<: *base, volumes: ["data:/d:nocopy"]}
  bound:
    <<: *base
    volumes:
      - ./bound:/short:ro
      - ./bound:/z:z
      - ./bound:/shared:rw,rprivate
      - {type: bind, source: ./bound, target: /long}
      - {type: bind, source: ./bound, target: /strict, bind: {create_host_path: false}}
      - {type: bind, source: ./bound, target: /slave, bind: {propagation: rprivate}}
      - {type: volume, source: labelled, target: /v}
      - {type: volume, target: /no-options}
      - {type: volume, target: /some-options, volume: {}}
      - {type: volume, target: /nocopy, volume: {nocopy: true}}
      - {type: tmpfs, target: /memory, tmpfs: {size: 1m, mode: 0o700}}
      - {type: tmpfs, target: /plain-memory}
  anonymous: {<<: *rich, volumes: ["/one", "/two"]}
  device: {<<: *base, devices: ["/dev/null:/dev/nothing:r", /dev/zero, {source: /dev/full, target: /dev/brim, permissions: r}], device_cgroup_rules: ["c 1:3 mr"]}
  no-log: {<<: *base, logging: {driver: none}}
  limited:
    <<: *base
    cpu_shares: 200
    cpuset: "0"
    mem_limit: 64m
    memswap_limit: 128m
    mem_swappiness: 10
    oom_score_adj: 100
    oom_kill_disable: false
    blkio_config: {weight: 300}
    pids_limit: 50
    cpus: 0.3
  quota: {<<: *base, cpu_quota: 50000, cpu_period: 100000, memswap_limit: -1, mem_limit: 64m}
  unconfined: {<<: *base, security_opt: ["seccomp:unconfined", "systempaths=unconfined"]}
  hosts: {<<: *base, extra_hosts: {db.test: 10.1.2.3, six.test: "::1", gate: host-gateway}}
  listed-hosts: {<<: *base, extra_hosts: ["db.test:10.1.2.3", "six.test=[::1]"]}
  cgroup-host: {<<: *base, cgroup: host}
  ruled: {<<: *base, privileged: false, runtime: runc}
  deployed:
    <<: *base
    deploy:
      resources: {limits: {cpus: "0.25", memory: 64M, pids: 60}, reservations: {memory: 32M, cpus: "0.1"}}
      restart_policy: {condition: on-failure, max_attempts: 3}
      labels: {not: one of the container}
  dropped: {<<: *base, cap_drop: [CHOWN, all], cap_add: []}
  restarted: {<<: *base, restart: "on-failure:4"}
  networked:
    <<: *rich
    ports: ["PORT_0-PORT_9:80"]
    networks:
      one: {aliases: [uno], priority: 1}
      two: {driver_opts: {com.example.kind: x}}
      three: {}
      default:
  fixed: {<<: *base, networks: {addressed: {ipv4_address: 10.ADDRESS.7}}}
  of-platform: {<<: *base, platform: linux/ARCH}
  any-port: {<<: *base, ports: ["80", "53/udp"], expose: ["9000", "9001/udp", "9002/tcp", "9010-9012"]}
  called: {<<: *base, container_name: PROJECT-called}
  copied:
    <<: *base
    configs: [inline, {source: inline, target: /etc/deep/er.conf, mode: 0o400, uid: "7", gid: "8"}, {source: filed, target: relative}]
    secrets: [filed, {source: of-environment, target: token}]
  everything:
    image: BUSYBOX
    entrypoint: ["/bin/sh", "-c"]
    command: ["echo started; trap 'exit 0' TERM; while :; do sleep 0.2; done"]
    environment: {GREETING: "hello, world", EMPTY: "", A_DOLLAR: "$$1", NUMBER: 1.50, YES: true}
    env_file: [web.env]
    labels: {example.role: front, example.note: "a=b,c"}
    label_file: [labels.env]
    expose: ["8080"]
    ports: ["PORT_0-PORT_9:80", "127.0.0.1:PORT_0-PORT_9:81/udp"]
    tmpfs: ["/plain-tmpfs:size=1m", /bare]
    networks: {one: {aliases: [shop, www], priority: 10}, two: {aliases: [internal]}}
    healthcheck: {test: ["CMD", "true"], interval: 1s, timeout: 2s, retries: 5, start_period: 1s}
    mem_reservation: 32m
    cap_add: [NET_ADMIN, SYS_NICE]
    cap_drop: [mknod, SYS_NICE, CAP_CHOWN]
    ulimits: {nofile: {soft: 1024, hard: 2048}, nproc: 512}
    sysctls: {net.core.somaxconn: "1024"}
    init: true
    restart: unless-stopped
    security_opt: ["no-new-privileges:true"]
    shm_size: 32m
    logging: {driver: json-file, options: {max-size: 1m, max-file: "2"}}
    dns_search: [example.test]
    stop_signal: SIGTERM
    stop_grace_period: 3500ms
    user: "0:0"
    working_dir: /tmp
    attach: false
    pull_policy: never
    profiles: []
    depends_on: {target: {condition: service_started, restart: true}, plain: {condition: service_started}}
networks:
  one: {internal: true, labels: {of: one}}
  two: {driver: bridge, driver_opts: {com.docker.network.bridge.enable_icc: "true"}}
  three: {name: PROJECT-three}
  addressed: {ipam: {config: [{subnet: 10.ADDRESS.0/24}]}}
volumes: {data: {}, labelled: {labels: {kept: "yes"}, name: PROJECT-kept}}
configs: {inline: {content: "answer = 42\n"}, filed: {file: ./bound/file}}
secrets: {filed: {file: ./bound/file}, of-environment: {environment: HOME}}
"#;

/// This machine's architecture as images call it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn project(image: &str) -> ComposeProject {
    let project = ComposeProject::new("services: {}");
    let address = format!("{}.{}", 100 + std::process::id() % 100, 10);
    let file = CORPUS
        .replace("IMAGE", image)
        .replace("ARCH", architecture())
        .replace("ADDRESS", &address)
        .replace("PROJECT", &project.name);
    project.write("compose.yaml", &file);
    project.write("web.env", "FROM_FILE=yes\nGREETING=overridden\n");
    project.write("labels.env", "from.file=yes\n");
    project.write("bound/file", "bound");
    project
}

fn services_of(project: &ComposeProject) -> BTreeMap<String, Service> {
    let request = LoadRequest {
        cwd: project.directory().to_owned(),
        project_name: Some(project.name.clone()),
        env: std::env::vars().collect(),
        ..LoadRequest::default()
    };
    let loaded = compose::load(&request).expect("a project");
    loaded.project.services.into_iter().collect()
}

/// Makes and starts the first replica of a service, of its file alone.
async fn make(docker: &Docker, service: &Service) {
    let recipe = service.recipe.as_ref().expect("it was asked for");
    let recipe = recipe
        .as_ref()
        .unwrap_or_else(|refused| panic!("{}: {refused:?}", service.name));
    let new = NewReplica {
        name: recipe.name(1),
        number: 1,
        uploads: service.uploads.clone(),
    };
    let made = docker.make_from_file(recipe, &new).await;
    let id = made.unwrap_or_else(|error| panic!("{}: {error}", service.name));
    let started = docker.start(&id).await;
    started.unwrap_or_else(|error| panic!("{}: {error}", service.name));
}

/// A description without what only compose can know.
fn described(name: &str) -> Value {
    let inspect = api::get(&format!("/containers/{name}/json"));
    let mut seen = describe::normalised(&inspect);
    // Each network gets the next free addresses.
    let networks = seen.pointer_mut("/NetworkSettings/Networks");
    for (_, endpoint) in networks
        .and_then(Value::as_object_mut)
        .into_iter()
        .flatten()
    {
        endpoint["Gateway"] = json!(!text(&endpoint["Gateway"]).is_empty());
        endpoint["IPPrefixLen"] = json!(endpoint["IPPrefixLen"] != 0);
    }
    let labels = seen.pointer_mut("/Config/Labels");
    if let Some(labels) = labels.and_then(Value::as_object_mut) {
        labels.remove("com.docker.compose.version");
        labels.insert("com.docker.compose.config-hash".into(), json!("HASH"));
    }
    seen
}

/// What compose or we say of a network or volume, without what only compose can know.
fn surroundings(project: &ComposeProject) -> BTreeMap<String, Value> {
    let filter = format!(
        "filters=%7B%22label%22%3A%5B%22com.docker.compose.project%3D{}%22%5D%7D",
        project.name
    );
    let networks = api::get(&format!("/networks?{filter}"));
    let volumes = api::get(&format!("/volumes?{filter}"));
    let all = networks.as_array().into_iter().flatten();
    let all = all.chain(volumes["Volumes"].as_array().into_iter().flatten());
    all.map(|one| {
        let mut one = one.clone();
        let fields = one.as_object_mut().expect("a description");
        for volatile in ["Id", "Created", "CreatedAt", "Containers"] {
            fields.remove(volatile);
        }
        // The next free one, where none is written.
        if !text(&fields["Name"]).ends_with("addressed") {
            fields.remove("IPAM");
        }
        let labels = fields.get_mut("Labels").and_then(Value::as_object_mut);
        if let Some(labels) = labels {
            labels.remove("com.docker.compose.version");
            labels.remove("com.docker.compose.config-hash");
        }
        (text(&one["Name"]).to_owned(), one)
    })
    .collect()
}

#[tokio::test]
async fn what_is_made_of_the_file_is_what_compose_makes() {
    if !real() || !compose_from(ComposeVersion(2, 40, 0), "what this was written after") {
        return;
    }
    let image = Image::with_everything();
    let docker = engine();
    let project = project(&image.name);
    let services = services_of(&project);
    let name = |service: &str| match service {
        "called" => format!("{}-called", project.name),
        service => project.container(service, 1),
    };

    project.compose(&["up", "-d"]);
    let theirs: BTreeMap<&String, Value> = services
        .keys()
        .map(|service| (service, described(&name(service))))
        .collect();
    let around = surroundings(&project);
    let copied = inside(&docker, &name("copied")).await;
    project.down_in_turn();
    assert_eq!(project.leftovers(), Vec::<String>::new());

    // Those that others live in come first.
    let first = ["target", "plain", "ipc-shareable"];
    for service in first {
        make(&docker, &services[service]).await;
    }
    for (service, model) in &services {
        if !first.contains(&service.as_str()) {
            make(&docker, model).await;
        }
    }
    let mut all = Vec::new();
    for (service, theirs) in &theirs {
        let ours = described(&name(service));
        for difference in describe::differences(&ours, theirs) {
            all.push(format!("{service} {difference}"));
        }
    }
    let ours = json!(surroundings(&project));
    all.extend(describe::differences(&ours, &json!(around)));
    assert!(all.is_empty(), "{}", all.join("\n"));
    assert_eq!(inside(&docker, &name("copied")).await, copied);

    // Compose knows them for its own, with a configuration that is not the file's.
    let before = project.ids();
    let listed = project.compose(&["ps", "-a", "--format", "{{.Name}}"]);
    assert_eq!(listed.lines().count(), services.len(), "{listed}");
    project.compose(&["up", "-d", "--no-recreate"]);
    assert_eq!(project.ids(), before);
    project.compose(&["up", "-d", "--no-deps", "plain"]);
    let after = project.ids();
    let plain = format!("/{}", name("plain"));
    assert_ne!(after[&plain], before[&plain], "compose makes it anew");
    project.down_in_turn();
    assert_eq!(project.leftovers(), Vec::<String>::new());
}

/// The files that were written into a container, with their owners and modes.
async fn inside(docker: &Docker, name: &str) -> String {
    let id = compose_scale::project::ContainerId(name.to_owned());
    let command = "ls -ln /inline /etc/deep/er.conf /run/secrets/token | sed 's/ [A-Z][a-z][a-z] .*\\// /'; \
                   cat /inline /etc/deep/er.conf /run/secrets/token /relative /run/secrets/filed";
    support::shell(docker, &id, command).await
}

/// The tool where there is no compose to be found.
fn without_compose(stack: &Stack, nowhere: &Path, arguments: &[&str]) -> (bool, String) {
    let output = stack
        .command(arguments)
        .env("PATH", nowhere)
        .output()
        .expect("the tool runs");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (output.status.success(), said)
}

#[test]
fn with_nothing_left_and_no_compose_the_service_is_made_of_its_file_and_then_cloned() {
    if !real() {
        return;
    }
    let stack = Stack::up(
        &new_nginx(),
        "    x-autoscale: {min: 1, max: 4, metrics: []}",
    );
    let project = &stack.project;
    let nowhere = tempfile::tempdir().expect("an empty directory");
    let before = describe::normalised(&project.inspect("web", 1));
    remove_container(text(&project.inspect("web", 1)["Id"]));
    fs::remove_dir_all(stack.state()).ok();

    let (_, said) = without_compose(&stack, nowhere.path(), &["scale", "web=2", "--dry-run"]);
    assert!(said.contains("create one from the compose file"), "{said}");
    assert!(project.ids().keys().all(|name| !name.contains("web")));

    let (done, said) = without_compose(&stack, nowhere.path(), &["scale", "web=2"]);
    assert!(done, "{said}");
    assert!(
        said.contains("from the compose file, because neither `docker compose`")
            && said.contains("the next `docker compose up -d` recreates it and its clones"),
        "{said}"
    );
    let [first, second] =
        [1, 2].map(|number| describe::normalised(&project.inspect("web", number)));
    assert_eq!(
        describe::differences(&second, &first),
        Vec::<String>::new(),
        "the second one is a clone"
    );
    let differences = describe::differences(&first, &before);
    let unknown = ["config-hash", "compose.version"];
    assert!(
        differences.len() == 2
            && (differences.iter()).all(|line| unknown.iter().any(|only| line.contains(only))),
        "{differences:?}"
    );
    assert_eq!(stack.listed().len(), 2, "nginx is in step");
    stack.until("it serves", Duration::from_secs(30), |s| {
        s.get("/").is_some_and(|(status, _)| status == 200)
    });
    // And again, of what is remembered of it.
    for number in [1, 2] {
        remove_container(text(&project.inspect("web", number)["Id"]));
    }
    let (done, said) = without_compose(&stack, nowhere.path(), &["scale", "web=1"]);
    assert!(done && said.contains("remembered"), "{said}");
}

#[test]
fn what_cannot_be_made_of_the_file_is_refused_by_name_and_nothing_is_made() {
    if !real() {
        return;
    }
    let nowhere = tempfile::tempdir().expect("an empty directory");
    for (service, expected) in [
        (
            "{image: BUSYBOX, links: [other], external_links: [one]}",
            vec!["`links`: a service is found", "`external_links`: join"],
        ),
        (
            "{image: compose-scale/not-here}",
            vec!["the image compose-scale/not-here is not here; run `docker compose pull web`"],
        ),
        (
            "{image: BUSYBOX, networks: [outside]}",
            vec!["the external network compose-scale-outside is not here"],
        ),
        (
            "{image: BUSYBOX, ipc: \"service:other\"}",
            vec!["has no container; run `docker compose up -d other`"],
        ),
    ] {
        let file = format!(
            "services:\n  web: {service}\n  other: {{image: BUSYBOX}}\n\
             networks: {{outside: {{external: true, name: compose-scale-outside}}}}\n"
        );
        let stack = Stack::of(ComposeProject::new(&file));
        let (done, said) = without_compose(&stack, nowhere.path(), &["scale", "web=1"]);
        assert!(!done, "{said}");
        for expected in expected {
            assert!(said.contains(expected), "{service}: {said}");
        }
        assert_eq!(stack.project.leftovers(), Vec::<String>::new());
    }
}
