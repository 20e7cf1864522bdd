//! Each call of the adapter, on a real Engine.

mod support;

use std::{pin::pin, time::Duration};

use compose_scale::{
    engine::{
        ContainerAction, Engine as _, EngineError, EngineEvent, Exec, NewReplica, docker::Docker,
    },
    project::{ContainerId, ContainerState, Health, Replica},
};
use futures_util::{Stream, StreamExt as _};
use support::{
    ComposeProject, api, clone_and_start, engine, eventually, list, pick, real, shell, text,
};

const SOON: Duration = Duration::from_secs(20);

const SERVICES: &str = r#"
x-base: &base {image: BUSYBOX, stop_grace_period: 1s}
services:
  web:
    <<: *base
    command: ["sh", "-c", "trap 'exit 7' TERM; trap 'echo hup' HUP; echo out; echo err >&2; while :; do sleep 0.05; done"]
    healthcheck: {test: ["CMD", "test", "!", "-e", "/sick"], interval: 500ms, timeout: 1s, retries: 1}
    cpus: 0.5
    mem_limit: 64m
  terminal: {<<: *base, tty: true, command: ["sh", "-c", "echo one; echo two; sleep 1000"]}
  silent: {<<: *base, logging: {driver: none}, command: ["sh", "-c", "echo unheard; sleep 1000"]}
  stubborn: {<<: *base, command: ["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"]}
  busy: {<<: *base, command: ["sh", "-c", "while :; do :; done"], stop_signal: SIGKILL, cpus: 0.2}
  published: {<<: *base, command: ["sleep", "1000"], stop_signal: SIGKILL, ports: ["PORT_0:80"]}
"#;

fn up(services: &[&str]) -> (ComposeProject, Docker) {
    let project = ComposeProject::new(SERVICES);
    let mut arguments = vec!["up", "-d"];
    arguments.extend(services);
    project.compose(&arguments);
    (project, engine())
}

fn new(project: &ComposeProject, service: &str, number: u32) -> NewReplica {
    NewReplica {
        name: project.container(service, number),
        number,
        uploads: Vec::new(),
    }
}

#[tokio::test]
async fn the_engine_tells_its_version_and_its_machine() {
    if !real() {
        return;
    }
    let info = engine().info().await.unwrap();
    let version = api::get("/version");
    assert_eq!(info.version, text(&version["Version"]));
    assert_eq!(info.api_version, text(&version["ApiVersion"]));
    let machine = api::get("/info");
    assert_eq!(Some(u64::from(info.cpus)), machine["NCPU"].as_u64());
    assert_eq!(Some(info.memory), machine["MemTotal"].as_u64());
}

#[tokio::test]
async fn a_replica_is_listed_with_what_it_is_and_does() {
    if !real() {
        return;
    }
    let (project, docker) = up(&["web", "terminal"]);
    let web = eventually("healthy", SOON, async || {
        let replicas = list(&docker, &project).await;
        let web = pick(&replicas, "web", 1).clone();
        (web.health == Health::Healthy).then_some(web)
    })
    .await;
    assert_eq!(web.name, project.container("web", 1));
    assert_eq!(web.state, ContainerState::Running);
    assert!(web.is_replica());
    assert_eq!(web.limits.cpus, Some(0.5));
    assert_eq!(
        web.limits.memory.map(|bytes| bytes.0),
        Some(64 * 1024 * 1024)
    );
    assert_eq!(web.stop_timeout, Some(1));
    assert_eq!(web.addresses.len(), 1);
    assert!(web.pid > 0 && web.started > Some(web.created));
    assert_eq!(docker.inspect(&web.name).await.unwrap(), web);
    // A configured address would forbid scaling; the Engine's own must not be taken for one.
    assert!(!web.fixed.mac_address);

    let services: Vec<String> = list(&docker, &project)
        .await
        .into_iter()
        .map(|replica| replica.service)
        .collect();
    assert_eq!(services, ["terminal", "web"]);
    assert_eq!(docker.list("cst-no-such-project").await.unwrap(), []);
}

#[tokio::test]
async fn a_configured_mac_address_is_seen() {
    if !real() {
        return;
    }
    let project = ComposeProject::new(
        "services: {web: {image: BUSYBOX, command: [sleep, '1000'], stop_signal: SIGKILL, mac_address: '02:42:ac:11:65:43'}}",
    );
    project.compose(&["up", "-d"]);
    let docker = engine();
    // Later Engines make up addresses that follow no rule; there the compose file has to tell.
    if docker.info().await.unwrap().api_version.as_str() < "1.44" {
        let replicas = list(&docker, &project).await;
        assert!(pick(&replicas, "web", 1).fixed.mac_address);
    }
}

#[tokio::test]
async fn stopping_uses_the_containers_own_signal_and_grace() {
    if !real() {
        return;
    }
    let (project, docker) = up(&["web", "stubborn"]);
    let replicas = list(&docker, &project).await;
    for (service, code) in [("web", 7), ("stubborn", 137)] {
        let id = &pick(&replicas, service, 1).id;
        docker.stop(id, SOON).await.unwrap();
        let stopped = docker.inspect(&id.0).await.unwrap();
        assert_eq!(stopped.state, ContainerState::Exited);
        assert_eq!(stopped.exit_code, Some(code), "{service}");
        docker.stop(id, SOON).await.expect("stopping a stopped one");
        docker.start(id).await.unwrap();
        docker.start(id).await.expect("starting a running one");
    }
    let stubborn = &pick(&replicas, "stubborn", 1).id;
    let cut = docker.stop(stubborn, Duration::from_millis(200)).await;
    assert!(matches!(cut, Err(EngineError::TimedOut { .. })), "{cut:?}");

    docker.remove(stubborn).await.unwrap();
    docker
        .remove(stubborn)
        .await
        .expect("removing what is gone");
    docker
        .stop(stubborn, SOON)
        .await
        .expect("stopping what is gone");
    for result in [
        docker.start(stubborn).await,
        docker.signal(stubborn, "HUP").await,
    ] {
        assert!(
            matches!(result, Err(EngineError::NotFound { .. })),
            "{result:?}"
        );
    }
}

#[tokio::test]
async fn a_taken_name_is_a_conflict_and_leaves_nothing() {
    if !real() {
        return;
    }
    let (project, docker) = up(&["web"]);
    let replicas = list(&docker, &project).await;
    let source = &pick(&replicas, "web", 1).id;
    let taken = docker.clone_replica(source, &new(&project, "web", 1)).await;
    assert!(
        matches!(taken, Err(EngineError::Conflict { .. })),
        "{taken:?}"
    );
    assert_eq!(list(&docker, &project).await.len(), 1);
}

#[tokio::test]
async fn a_clone_that_cannot_be_finished_is_removed() {
    if !real() {
        return;
    }
    let (project, docker) = up(&["web"]);
    let replicas = list(&docker, &project).await;
    let source = &pick(&replicas, "web", 1).id;
    let mut new = new(&project, "web", 2);
    new.uploads.push("/no/such/file".into());
    let failed = docker.clone_replica(source, &new).await;
    assert!(
        matches!(failed, Err(EngineError::NotFound { .. })),
        "{failed:?}"
    );
    assert_eq!(list(&docker, &project).await.len(), 1);

    let vanished = ContainerId("f".repeat(64));
    let failed = docker.clone_replica(&vanished, &new).await;
    assert!(
        matches!(failed, Err(EngineError::NotFound { .. })),
        "{failed:?}"
    );
}

#[tokio::test]
async fn a_port_that_is_taken_shows_at_the_start() {
    if !real() {
        return;
    }
    let (project, docker) = up(&["published"]);
    let replicas = list(&docker, &project).await;
    let source = pick(&replicas, "published", 1);
    assert_eq!(source.fixed.host_ports.len(), 1);
    let new = new(&project, "published", 2);
    let id = docker.clone_replica(&source.id, &new).await.unwrap();
    let refused = docker.start(&id).await;
    assert!(
        matches!(&refused, Err(EngineError::Exhausted { what, .. }) if what.ends_with("is taken already")),
        "{refused:?}"
    );
    assert_eq!(
        docker.inspect(&id.0).await.unwrap().state,
        ContainerState::Created
    );
    docker.remove(&id).await.unwrap();
}

#[tokio::test]
async fn the_last_lines_of_a_log_are_read_from_every_kind_of_it() {
    if !real() {
        return;
    }
    let (project, docker) = up(&["web", "terminal", "silent"]);
    let replicas = list(&docker, &project).await;
    let read = async |service: &str, lines| {
        let id = &pick(&replicas, service, 1).id;
        docker.logs(id, lines).await.unwrap()
    };
    eventually("both streams", SOON, async || {
        let mut lines = read("web", 10).await;
        lines.sort();
        (lines == ["err", "out"]).then_some(())
    })
    .await;
    assert_eq!(read("web", 1).await.len(), 1);
    eventually("a terminal's lines", SOON, async || {
        (read("terminal", 10).await == ["one", "two"]).then_some(())
    })
    .await;
    assert_eq!(read("silent", 10).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_command_is_run_with_its_settings_and_its_result_told() {
    if !real() {
        return;
    }
    let (project, docker) = up(&["web"]);
    let id = &pick(&list(&docker, &project).await, "web", 1).id.clone();
    let exec = |command: &str| Exec {
        argv: ["sh", "-c", command].map(str::to_owned).to_vec(),
        ..Exec::default()
    };
    let mut settings = exec("echo $GREETING $(pwd) $(id -u); echo oops >&2; exit 3");
    settings.env.push("GREETING=hello".into());
    settings.working_dir = Some("/tmp".into());
    settings.user = Some("1000".into());
    let output = docker.exec(id, &settings).await.unwrap();
    assert_eq!(output.code, 3);
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str()),
        ("hello /tmp 1000\n", "oops\n")
    );

    let much = docker
        .exec(id, &exec("yes | head -c 1000000"))
        .await
        .unwrap();
    assert_eq!((much.code, much.stdout.len()), (0, 64 * 1024));

    let mut endless = exec("sleep 100");
    endless.deadline = Some(Duration::from_millis(300));
    let cut = docker.exec(id, &endless).await;
    assert!(matches!(cut, Err(EngineError::TimedOut { .. })), "{cut:?}");

    let missing = Exec {
        argv: vec!["/no/such/command".into()],
        ..Exec::default()
    };
    let missing = docker.exec(id, &missing).await.unwrap();
    assert!(matches!(missing.code, 126 | 127), "{missing:?}");
}

#[tokio::test]
async fn processes_are_listed_and_signalled() {
    if !real() {
        return;
    }
    let (project, docker) = up(&["web"]);
    let web = pick(&list(&docker, &project).await, "web", 1).clone();
    let processes = docker.processes(&web.id).await.unwrap();
    let first = processes.iter().find(|process| process.pid == web.pid);
    let first = first.unwrap_or_else(|| panic!("{processes:?}"));
    assert!(first.args.starts_with("sh -c trap"), "{}", first.args);

    docker.signal(&web.id, "HUP").await.unwrap();
    eventually("the signal's effect", SOON, async || {
        let lines = docker.logs(&web.id, 50).await.unwrap();
        lines.contains(&"hup".to_owned()).then_some(())
    })
    .await;
}

async fn next(
    events: &mut (impl Stream<Item = Result<EngineEvent, EngineError>> + Unpin),
    wanted: &[ContainerAction],
    id: &ContainerId,
) -> EngineEvent {
    let found = async {
        loop {
            let event = events
                .next()
                .await
                .expect("a next event")
                .expect("a stream");
            if wanted.contains(&event.action) && event.id == *id {
                return event;
            }
        }
    };
    tokio::time::timeout(SOON, found)
        .await
        .unwrap_or_else(|_| panic!("none of {wanted:?}"))
}

#[tokio::test]
async fn what_happens_to_the_project_is_told() {
    if !real() {
        return;
    }
    let (project, docker) = up(&["web"]);
    let mut events = pin!(docker.events(&project.name));
    // Not polled yet: what happens from here on must be told all the same.
    let id = clone_and_start(&docker, &project, "web", (1, 2), &[]).await;

    let created = next(&mut events, &[ContainerAction::Create], &id).await;
    assert_eq!(created.name, project.container("web", 2));
    assert_eq!(created.service.as_deref(), Some("web"));
    next(&mut events, &[ContainerAction::Network], &id).await;
    let started = next(&mut events, &[ContainerAction::Start], &id).await;
    assert!(started.at > created.at);
    next(
        &mut events,
        &[ContainerAction::Health(Health::Healthy)],
        &id,
    )
    .await;
    shell(&docker, &id, "touch /sick").await;
    next(
        &mut events,
        &[ContainerAction::Health(Health::Unhealthy)],
        &id,
    )
    .await;

    docker.stop(&id, SOON).await.unwrap();
    next(&mut events, &[ContainerAction::Kill("15".into())], &id).await;
    // Which of the two comes first depends on the Engine's version.
    let mut ends = [ContainerAction::Die(Some(7)), ContainerAction::Stop].to_vec();
    while !ends.is_empty() {
        let end = next(&mut events, &ends, &id).await.action;
        ends.retain(|action| *action != end);
    }
    docker.remove(&id).await.unwrap();
    next(&mut events, &[ContainerAction::Destroy], &id).await;
}

#[tokio::test]
async fn files_and_the_engine_agree_on_the_counters() {
    if !real() {
        return;
    }
    let (project, docker) = up(&["busy", "web"]);
    let busy = pick(&list(&docker, &project).await, "busy", 1).clone();
    assert_eq!(busy.limits.cpus, Some(0.2));
    let first = docker.usage(&busy).await.unwrap();
    // A group that does not exist makes the adapter ask the Engine instead.
    let by_engine = Replica {
        cgroup_parent: "/no-such-group".into(),
        ..busy.clone()
    };
    let engines_first = docker.usage(&by_engine).await.unwrap();
    let (second, engines_second) = eventually("two seconds of load", SOON, async || {
        let second = docker.usage(&busy).await.unwrap();
        let enough = second.at.since(first.at) > Duration::from_secs(2);
        if !enough {
            return None;
        }
        Some((second, docker.usage(&by_engine).await.unwrap()))
    })
    .await;
    for (name, first, second) in [
        ("files", first, second),
        ("engine", engines_first, engines_second),
    ] {
        let nanos = (second.cpu_nanos - first.cpu_nanos) as f64;
        let cores = nanos / second.at.since(first.at).as_nanos() as f64;
        assert!(
            (0.1..0.3).contains(&cores),
            "{name}: {cores} cores of a quota of 0.2"
        );
        assert!(second.throttled > first.throttled, "{name}");
        assert!(second.periods >= second.throttled, "{name}");
    }
    let (a, b) = (second.working_set.0, engines_second.working_set.0);
    assert!(a.abs_diff(b) < 4 * 1024 * 1024, "{a} and {b} bytes");

    let id = &busy.id;
    docker.stop(id, SOON).await.unwrap();
    assert!(
        docker.usage(&busy).await.is_err(),
        "a stopped one has no counters"
    );
}
