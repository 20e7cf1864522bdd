//! How descriptions are understood.

use serde_json::{Value, json};

use super::*;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const OLD: Api = Api::OLDEST;

/// A running `shop-web-2`, as Engine 20.10 describes it, shortened.
fn description() -> Value {
    json!({
        "Id": ID,
        "Created": "2026-01-01T12:00:00.123456789Z",
        "Name": "/shop-web-2",
        "Image": "sha256:image",
        "RestartCount": 3,
        "State": {
            "Status": "running", "Running": true, "OOMKilled": false, "Pid": 4711, "ExitCode": 0,
            "StartedAt": "2026-01-01T12:00:01Z", "FinishedAt": "0001-01-01T00:00:00Z",
            "Health": {"Status": "healthy", "FailingStreak": 0, "Log": []},
        },
        "Config": {
            "Image": "web:1",
            "StopTimeout": 3,
            "Labels": {
                "com.docker.compose.project": "shop",
                "com.docker.compose.service": "web",
                "com.docker.compose.container-number": "2",
                "com.docker.compose.config-hash": "abc",
                "com.docker.compose.image": "sha256:label",
                "com.docker.compose.oneoff": "False",
            },
        },
        "HostConfig": {
            "NetworkMode": "shop_front", "NanoCpus": 500_000_000, "Memory": 67_108_864,
            "CgroupParent": "", "PortBindings": {},
        },
        "Mounts": [
            {"Type": "bind", "Source": "/srv/shop", "Destination": "/data", "RW": true},
        ],
        "NetworkSettings": {"Networks": {
            "shop_front": {"IPAddress": "172.18.0.5", "MacAddress": "02:42:ac:12:00:05", "IPAMConfig": {}},
            "shop_back": {"IPAddress": "", "GlobalIPv6Address": "fd00::5", "MacAddress": ""},
            "shop_none": {"IPAddress": "", "GlobalIPv6Address": ""},
        }},
    })
}

fn seen(change: impl FnOnce(&mut Value)) -> Replica {
    let mut inspect = description();
    change(&mut inspect);
    replica(serde_json::from_value(inspect).unwrap(), OLD).unwrap()
}

#[test]
fn a_running_replica_is_understood_whole() {
    let labels = description()["Config"]["Labels"].clone();
    assert_eq!(
        seen(|_| {}),
        Replica {
            id: ContainerId(ID.into()),
            name: "shop-web-2".into(),
            service: "web".into(),
            number: 2,
            state: ContainerState::Running,
            health: Health::Healthy,
            created: "2026-01-01T12:00:00.123456789Z".parse().unwrap(),
            started: Some("2026-01-01T12:00:01Z".parse().unwrap()),
            addresses: BTreeMap::from([
                ("shop_back".into(), "fd00::5".parse().unwrap()),
                ("shop_front".into(), "172.18.0.5".parse().unwrap()),
            ]),
            published: BTreeMap::new(),
            config_hash: "abc".into(),
            image: "web:1".into(),
            image_id: "sha256:label".into(),
            limits: Limits {
                cpus: Some(0.5),
                memory: Some(Bytes(67_108_864)),
            },
            pid: 4711,
            cgroup_parent: String::new(),
            refers_to: Vec::new(),
            oom_killed: false,
            restart_count: 3,
            exit_code: None,
            fixed: Fixed::default(),
            stop_timeout: Some(3),
            mounts: vec![MountPoint {
                source: "/srv/shop".into(),
                destination: "/data".into(),
                is_writable: true,
            }],
            labels: serde_json::from_value(labels).unwrap(),
        }
    );
}

#[test]
fn what_has_never_run_was_never_started_and_never_ended() {
    let created = seen(|c| {
        c["State"] = json!({"Status": "created", "Pid": 0, "ExitCode": 0,
            "StartedAt": "0001-01-01T00:00:00Z"});
    });
    assert_eq!(created.state, ContainerState::Created);
    assert_eq!(created.health, Health::None);
    assert_eq!(
        (created.started, created.exit_code, created.pid),
        (None, None, 0)
    );
}

#[test]
fn an_ended_replica_tells_its_exit_code() {
    let exited = seen(|c| {
        c["State"]["Status"] = "exited".into();
        c["State"]["ExitCode"] = 137.into();
        c["State"]["OOMKilled"] = true.into();
    });
    assert_eq!(exited.exit_code, Some(137));
    assert!(exited.oom_killed);
}

#[test]
fn every_state_and_health_of_the_engine_has_its_word() {
    for (status, state) in [
        ("created", ContainerState::Created),
        ("running", ContainerState::Running),
        ("paused", ContainerState::Paused),
        ("restarting", ContainerState::Restarting),
        ("removing", ContainerState::Removing),
        ("exited", ContainerState::Exited),
        ("dead", ContainerState::Dead),
    ] {
        assert_eq!(seen(|c| c["State"]["Status"] = status.into()).state, state);
    }
    for (status, health) in [
        ("none", Health::None),
        ("starting", Health::Starting),
        ("unhealthy", Health::Unhealthy),
    ] {
        let seen = seen(|c| c["State"]["Health"]["Status"] = status.into());
        assert_eq!(seen.health, health);
    }
}

#[test]
fn a_quota_is_a_limit_of_cpu_too() {
    let cpus = |host: Value| seen(|c| c["HostConfig"] = host).limits.cpus;
    assert_eq!(
        cpus(json!({"CpuQuota": 150_000, "CpuPeriod": 100_000})),
        Some(1.5)
    );
    assert_eq!(cpus(json!({"CpuQuota": 50_000})), Some(0.5));
    assert_eq!(cpus(json!({"CpuQuota": -1, "NanoCpus": 0})), None);
    // Bound to some cores, it has no more than those.
    let bound = |set: &str| cpus(json!({"NanoCpus": 2_500_000_000_i64, "CpusetCpus": set}));
    assert_eq!(bound("0-1"), Some(2.0));
    assert_eq!(bound("0,2-4"), Some(2.5));
    assert_eq!(bound(""), Some(2.5));
    assert_eq!(cpus(json!({"CpusetCpus": "3"})), Some(1.0));
    assert_eq!(cpus(json!({"CpusetCpus": "4-2"})), None);
    assert_eq!(
        seen(|c| c["HostConfig"] = json!({"Memory": 0}))
            .limits
            .memory,
        None
    );
}

#[test]
fn containers_it_lives_in_are_named_once() {
    let replica = seen(|c| {
        c["HostConfig"] = json!({
            "NetworkMode": "container:aaa", "IpcMode": "container:aaa", "PidMode": "host",
            "VolumesFrom": ["bbb:ro", "ccc"],
        });
    });
    assert_eq!(replica.refers_to, ["aaa", "bbb", "ccc"]);
    assert_eq!(replica.fixed.network_mode, "container:aaa");
}

#[test]
fn single_host_ports_are_fixed_and_ranges_are_not() {
    let fixed = seen(|c| {
        c["HostConfig"]["PortBindings"] = json!({
            "80/tcp": [{"HostIp": "", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "8080"}],
            "81/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8081"}],
            "82/udp": [{"HostIp": "", "HostPort": "9000-9010"}],
            "83/tcp": [{"HostIp": "", "HostPort": ""}, {"HostIp": "", "HostPort": "0"}],
            "84/tcp": null,
        });
    })
    .fixed;
    assert_eq!(
        fixed.host_ports,
        ["127.0.0.1:8081 → 81/tcp", "8080 → 80/tcp"]
    );
    assert_eq!(fixed.port_ranges, ["9000-9010 → 82/udp"]);
}

#[test]
fn a_static_address_is_one_that_was_configured() {
    let fixed = seen(|c| {
        c["NetworkSettings"]["Networks"]["shop_front"]["IPAMConfig"] =
            json!({"IPv4Address": "172.18.0.5"});
    })
    .fixed;
    assert_eq!(fixed.static_addresses, ["shop_front"]);
}

#[test]
fn a_mac_address_that_the_engine_did_not_make_up_was_configured() {
    let own = |inspect: &mut Value| {
        inspect["NetworkSettings"]["Networks"]["shop_front"]["MacAddress"] =
            "02:42:ac:11:65:43".into();
    };
    assert!(seen(own).fixed.mac_address);
    // Later Engines make up others, so there it proves nothing.
    let mut inspect = description();
    own(&mut inspect);
    let inspect = serde_json::from_value(inspect).unwrap();
    assert!(
        !replica(inspect, Api::MULTIPLE_NETWORKS)
            .unwrap()
            .fixed
            .mac_address
    );
}

#[test]
fn without_composes_labels_it_is_no_replica() {
    let stranger = seen(|c| {
        c["Config"]["Labels"] = json!({"com.docker.compose.container-number": "two"});
    });
    assert_eq!((stranger.number, stranger.service.as_str()), (0, ""));
    assert_eq!(stranger.image_id, "sha256:image");
    assert!(!stranger.is_replica());
}

#[test]
fn a_description_without_an_id_is_nonsense() {
    let nameless = serde_json::from_value(json!({"Name": "/x"})).unwrap();
    assert!(matches!(
        replica(nameless, OLD),
        Err(EngineError::UnexpectedResponse { .. })
    ));
}
