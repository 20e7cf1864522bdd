//! Each finding of the compose file, of what runs and of the machine: what makes it appear, and what does not.

use super::{
    service::fixture::{FINE, loaded},
    *,
};
use crate::{
    host::HostSample,
    plan::tests::replica,
    project::Limits,
    units::{Bytes, Timestamp},
};

/// A service `web` that nothing is wrong with, with these further lines.
fn web(more: &str) -> Loaded {
    let policy = if more.contains("x-autoscale") {
        ""
    } else {
        "    x-autoscale: {max: 3}\n"
    };
    loaded(&format!(
        "services:\n  web:\n{FINE}{more}{policy}networks: {{front: {{}}}}\n"
    ))
}

fn codes(look: impl FnOnce(&mut CheckReport)) -> Vec<String> {
    let mut report = CheckReport::new("shop");
    look(&mut report);
    let without = report
        .findings
        .iter()
        .find(|one| one.code.is_some() && one.fix.is_empty());
    assert!(without.is_none(), "nothing to do about {without:?}");
    report.codes()
}

#[test]
fn what_a_policy_cannot_work_with_is_an_error() {
    let told = |more: &str| codes(|report| check_file(&web(more), report));
    assert_eq!(told(""), [""; 0]);
    for (more, code) in [
        ("    container_name: shop\n", "error container-name"),
        ("    ports: [\"8080:80\"]\n", "error host-port"),
        (
            "    networks: {front: {ipv4_address: 10.9.8.7}}\n",
            "error static-address",
        ),
        ("    mac_address: 02:42:ac:11:00:02\n", "error mac-address"),
        ("    pre_start: [{command: migrate}]\n", "error pre-start"),
        ("    network_mode: host\n", "error network-mode"),
        (
            "    x-autoscale: {max: 3, metrics: [memory: 80%]}\n    mem_limit: 64m\n",
            "",
        ),
    ] {
        let found = told(more);
        let expected: &[&str] = if code.is_empty() { &[] } else { &[code] };
        assert_eq!(found, expected, "{more}");
    }
    // One replica may have all of that.
    let one = "    container_name: shop\n    x-autoscale: {max: 1}\n";
    assert_eq!(told(one), [""; 0]);

    let told = |yaml: &str| codes(|report| check_file(&loaded(yaml), report));
    let bare = |service: &str| told(&format!("services: {{web: {{{service}}}}}\n"));
    assert_eq!(bare("image: app"), ["error no-policy"]);
    assert_eq!(
        bare("expose: [\"80\"], provider: {type: x}, x-autoscale: {max: 3}"),
        ["error no-image"]
    );
    assert_eq!(
        bare("image: app, expose: [\"80\", \"81\"], x-autoscale: {max: 3}"),
        ["warning no-port"]
    );
    assert_eq!(
        bare("image: app, x-autoscale: {max: 3, ready: {http: /}}"),
        ["warning no-port", "error ready-needs-port"]
    );
    assert_eq!(
        bare("image: app, expose: [\"80\"], x-autoscale: {max: 3, metrics: [memory: 80%]}"),
        ["error memory-target"]
    );
}

#[test]
fn a_name_that_nginx_cannot_have_or_cannot_tell_from_another_is_found() {
    let told = |name: &str, other: &str| {
        let yaml = format!(
            "services:\n  {name}:\n{FINE}    x-autoscale: {{max: 3}}\n  nginx: {{image: nginx}}\n{other}"
        );
        codes(|report| check_file(&loaded(&yaml), report))
    };
    let policy = format!("{FINE}    x-autoscale: {{max: 3}}\n");
    assert_eq!(told("web", ""), [""; 0]);
    let error = ["error nginx-name"];
    for name in ["00-compose-scale", ".web", "localhost"] {
        assert_eq!(told(name, ""), error, "{name}");
    }
    for other in ["Web", "web.location", "web.locations.eu"] {
        assert_eq!(
            told("web", &format!("  {other}:\n{policy}")),
            error,
            "{other}"
        );
    }
    for other in ["web2", "web.loc", "api.location"] {
        assert_eq!(
            told("web", &format!("  {other}:\n{policy}")),
            [""; 0],
            "{other}"
        );
    }
    // nginx sends nothing to it by a file of ours.
    assert_eq!(told("web", "  WEB: {image: app}\n"), ["warning nginx-name"]);
    let offline = "    network_mode: none\n";
    assert_eq!(
        told("web", &format!("  api:\n{policy}{offline}")),
        ["error network-mode"]
    );
}

#[test]
fn what_runs_may_be_other_than_the_file() {
    let told = |more: &str, containers: &[Replica]| {
        codes(|report| check_containers(&web(more), containers, report))
    };
    assert_eq!(told("", &[replica(1), replica(2)]), [""; 0]);
    assert_eq!(told("", &[]), ["error nothing-runs"]);
    // Two services are one finding, with one command.
    let two = loaded(
        "services:\n  web: {image: a, expose: [\"80\"], x-autoscale: {max: 3}}\n  \
         api: {image: a, expose: [\"80\"], x-autoscale: {min: 2, max: 3}}\n",
    );
    let mut report = CheckReport::new("shop");
    check_containers(&two, &[], &mut report);
    assert_eq!(report.codes(), ["error nothing-runs"]);
    let found = &report.findings[0];
    assert!(
        found.message.contains("no replica of web, api is running"),
        "{}",
        found.message
    );
    assert!(
        found
            .fix
            .ends_with("web api, or compose-scale scale web=1 api=2"),
        "{}",
        found.fix
    );
    let mut stopped = replica(1);
    stopped.state = ContainerState::Exited;
    assert_eq!(told("", &[stopped.clone()]), ["error nothing-runs"]);

    let mut half = stopped;
    half.name = format!("0123456789ab_{}", half.name);
    assert_eq!(told("", &[replica(1), half]), ["warning half-recreated"]);

    let mut bound = replica(1);
    bound.fixed.host_ports = vec!["8080:80".into()];
    assert_eq!(told("", &[bound]), ["error containers-older"]);

    let mut other = replica(2);
    other.config_hash = "h2".into();
    assert_eq!(told("", &[replica(1), other]), ["warning mixed-replicas"]);

    let asks = "    x-autoscale: {max: 3, ready: healthcheck}\n";
    assert_eq!(told(asks, &[replica(1)]), ["error healthcheck-needed"]);
    let mut healthy = replica(1);
    healthy.health = Health::Healthy;
    assert_eq!(told(asks, &[healthy]), [""; 0]);
}

#[test]
fn what_crashes_or_is_not_healthy_is_no_replica_that_runs_well() {
    let told = |containers: &[Replica]| {
        let mut report = CheckReport::new("shop");
        check_containers(&web(""), containers, &mut report);
        let fixes = report.findings.iter().filter(|one| one.code.is_some());
        let fixes: Vec<_> = fixes.map(|one| one.fix.clone()).collect();
        (report.codes(), fixes.join("\n"), report.to_string())
    };
    let mut crashing = replica(1);
    crashing.state = ContainerState::Restarting;
    crashing.exit_code = Some(137);
    let (codes, fix, text) = told(&[crashing.clone()]);
    assert_eq!(codes, ["error crashing"]);
    assert_eq!(fix, "see why: `docker logs --tail 50 shop-web-1`");
    assert!(text.contains("exit code 137"), "{text}");
    let (codes, _, text) = told(&[crashing, replica(2)]);
    assert_eq!(codes, ["warning crashing"]);
    assert!(text.contains("1 running"), "{text}");

    let with = |number: u32, health: Health| {
        let mut replica = replica(number);
        replica.health = health;
        replica
    };
    let (codes, fix, text) = told(&[with(1, Health::Unhealthy)]);
    assert_eq!(codes, ["error unhealthy"]);
    assert!(!text.contains("1 running"), "{text}");
    assert!(
        fix.contains("{{json .State.Health.Log}}' shop-web-1"),
        "{fix}"
    );
    assert!(fix.contains("docker compose logs --tail 50 web"), "{fix}");
    let (codes, _, text) = told(&[with(1, Health::Healthy), with(2, Health::Unhealthy)]);
    assert_eq!(codes, ["warning unhealthy"]);
    assert!(text.contains("shop-web-2"), "{text}");
    assert_eq!(told(&[with(1, Health::Starting)]).0, [""; 0]);
}

fn info(version: &str) -> EngineInfo {
    EngineInfo {
        version: version.into(),
        api_version: "1.44".into(),
        cpus: 2,
        memory: 1 << 30,
        cgroup_files: true,
        cgroup_version: "2".into(),
        time: None,
        root: None,
        id: "one".into(),
        socket: None,
    }
}

#[test]
fn a_machine_without_room_for_the_maximum_is_told() {
    let told = |available: u64| {
        let look = HostSample {
            memory: Bytes(1 << 30),
            available: Bytes(available),
            busy: None,
            pressure: None,
        };
        let mut running = replica(1);
        running.limits = Limits {
            memory: Some(Bytes(100 << 20)),
            ..Limits::default()
        };
        codes(|report| {
            capacity::check_capacity(&web(""), &info("28.0.0"), &[running], Some(&look), report);
        })
    };
    assert_eq!(told(900 << 20), [""; 0]);
    // A tenth is kept free: for one more of the two there is room.
    assert_eq!(told(220 << 20), ["warning no-room"]);
}

#[test]
fn an_engine_that_gives_out_made_up_addresses_and_counters_without_files_are_told() {
    let told = |info: &EngineInfo| codes(|report| engine_and_disk::check_engine(info, report));
    assert_eq!(told(&info("28.5.2")), [""; 0]);
    assert_eq!(told(&info("25.0.1")), ["warning engine-issue"]);
    let mut counted = info("28.5.2");
    counted.cgroup_files = false;
    counted.cgroup_version = "1".into();
    let mut report = CheckReport::new("shop");
    engine_and_disk::check_engine(&counted, &mut report);
    assert_eq!(report.codes(), ["hint slow-counters"]);
    assert!(report.findings[0].message.contains("cgroup v1"));
}

#[test]
fn clocks_that_are_apart_are_told() {
    let at = Timestamp::from_unix;
    let told = |time: i64| {
        let mut info = info("28.5.2");
        info.time = Some(at(time));
        codes(|report| engine_and_disk::check_clock(&info, at(1000), at(1001), report))
    };
    assert_eq!(told(1000), [""; 0]);
    assert_eq!(told(1060), ["warning clock-apart"]);
}

#[test]
fn a_socket_that_is_somebody_elses_is_no_engine_that_is_away() {
    let told = |error: EngineError| codes(|report| no_engine(&Failure::Engine(error), report));
    let address = "unix:///var/run/docker.sock".to_owned();
    let forbidden = EngineError::Forbidden {
        address: address.clone(),
        group: Some("docker".into()),
    };
    assert_eq!(told(forbidden), ["error socket-rights"]);
    let away = EngineError::Unreachable {
        address,
        why: "no such file".into(),
    };
    assert_eq!(told(away), ["error engine-away"]);
}

#[test]
fn a_directory_that_cannot_be_written_to_is_found_by_trying() {
    let there = tempfile::tempdir().unwrap();
    assert!(try_out(there.path()).is_ok());
    assert!(try_out(&there.path().join("gone")).is_err());
}
