//! The rules of cloning, one by one.

use serde_json::{Value, json};

use super::*;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const VOLUME: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";

/// A replica `shop-web-1` on one network, with `changes` merged over its description.
fn source(changes: Value) -> ContainerInspectResponse {
    let mut inspect = json!({
        "Id": ID,
        "Name": "/shop-web-1",
        "Config": {
            "Hostname": "0123456789ab",
            "Image": "web:1",
            "Env": ["A=1"],
            "Cmd": ["serve"],
            "Labels": {
                "com.docker.compose.project": "shop",
                "com.docker.compose.container-number": "1",
                "com.docker.compose.config-hash": "abc",
            },
        },
        "HostConfig": {"NetworkMode": "shop_default"},
        "NetworkSettings": {"Networks": {"shop_default": {
            "Aliases": ["shop-web-1", "web", "0123456789ab"],
            "NetworkID": "n1", "EndpointID": "e1", "Gateway": "10.0.0.1",
            "IPAddress": "10.0.0.2", "IPPrefixLen": 24, "MacAddress": "02:42:0a:00:00:02",
            "DNSNames": ["shop-web-1", "web", "0123456789ab"],
        }}},
    });
    merge(&mut inspect, changes);
    serde_json::from_value(inspect).unwrap()
}

fn merge(into: &mut Value, changes: Value) {
    match (into, changes) {
        (Value::Object(into), Value::Object(changes)) => {
            for (key, value) in changes {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, changes) => *into = changes,
    }
}

/// The request for replica 4, at an API that takes one network, as JSON.
fn request(changes: Value) -> Value {
    serde_json::to_value(blueprint_at(changes, Api::OLDEST).body).unwrap()
}

fn blueprint_at(changes: Value, api: Api) -> Blueprint {
    let new = NewReplica {
        name: "shop-web-4".into(),
        number: 4,
        uploads: Vec::new(),
    };
    blueprint(source(changes), &new, "web:1".into(), api)
}

#[test]
fn a_whole_request_is_the_source_with_its_own_name_and_number() {
    assert_eq!(
        request(json!({})),
        json!({
            "Image": "web:1",
            "Env": ["A=1"],
            "Cmd": ["serve"],
            "Labels": {
                "com.docker.compose.project": "shop",
                "com.docker.compose.container-number": "4",
                "com.docker.compose.config-hash": "abc",
            },
            "HostConfig": {"NetworkMode": "shop_default"},
            "NetworkingConfig": {"EndpointsConfig": {
                "shop_default": {"Aliases": ["shop-web-4", "web"]},
            }},
        })
    );
}

#[test]
fn the_mark_of_a_recreate_is_not_handed_on() {
    let recreated = json!({"Config": {"Labels": {
        "com.docker.compose.replace": "web-1", "example.kept": "yes",
    }}});
    let labels = &request(recreated)["Labels"];
    assert!(labels["com.docker.compose.replace"].is_null());
    assert_eq!(labels["example.kept"], "yes");
}

#[test]
fn a_host_name_is_kept_when_someone_chose_it() {
    let chosen = json!({"Config": {"Hostname": "boss", "Domainname": "example.test"}});
    assert_eq!(request(chosen)["Hostname"], "boss");
    assert!(request(json!({}))["Hostname"].is_null());
}

#[test]
fn a_host_name_is_not_sent_where_the_engine_refuses_one() {
    for host in [
        json!({"NetworkMode": "container:abc"}),
        json!({"UTSMode": "host"}),
    ] {
        let request = request(json!({"Config": {"Hostname": "boss"}, "HostConfig": host}));
        assert!(request["Hostname"].is_null());
    }
    // With the host's network it holds the machine's name, and is accepted.
    let hosted = json!({"Config": {"Hostname": "vm"}, "HostConfig": {"NetworkMode": "host"}});
    assert_eq!(request(hosted)["Hostname"], "vm");
}

#[test]
fn a_container_in_anothers_network_asks_for_no_port_and_no_network() {
    let request = request(json!({
        "Config": {"ExposedPorts": {"80/tcp": {}}},
        "HostConfig": {
            "NetworkMode": "container:abc",
            "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8000-8010"}]},
        },
    }));
    assert!(
        request["ExposedPorts"]
            .as_object()
            .is_none_or(serde_json::Map::is_empty)
    );
    assert_eq!(request["HostConfig"]["PortBindings"], json!({}));
    assert!(request["NetworkingConfig"].is_null());
}

#[test]
fn built_in_networks_take_no_settings() {
    for mode in ["host", "none", "bridge", "default"] {
        let request = request(json!({"HostConfig": {"NetworkMode": mode}}));
        assert!(request["NetworkingConfig"].is_null(), "{mode}");
        assert_eq!(request["HostConfig"]["NetworkMode"], mode);
    }
}

#[test]
fn a_range_of_ports_is_copied_as_it_was_asked_for() {
    let bindings = json!({"80/tcp": [{"HostIp": "", "HostPort": "8000-8010"}]});
    let request = request(json!({
        "Config": {"ExposedPorts": {"80/tcp": {}}},
        "HostConfig": {"PortBindings": bindings},
    }));
    assert_eq!(request["HostConfig"]["PortBindings"], bindings);
    assert_eq!(request["ExposedPorts"], json!({"80/tcp": {}}));
}

#[test]
fn an_inherited_anonymous_volume_is_not_shared() {
    let request = request(json!({
        "Config": {"Volumes": {"/declared": {}}},
        "HostConfig": {"Mounts": [
            {"Type": "volume", "Source": VOLUME, "Target": "/declared"},
            {"Type": "volume", "Source": VOLUME, "Target": "/own"},
        ]},
    }));
    assert_eq!(
        request["HostConfig"]["Mounts"],
        json!([{"Type": "volume", "Target": "/own", "VolumeOptions": {}}])
    );
    assert_eq!(request["Volumes"], json!({"/declared": {}}));
}

#[test]
fn other_mounts_are_copied() {
    let mounts = json!([
        {"Type": "volume", "Target": "/fresh", "VolumeOptions": {"NoCopy": true}},
        {"Type": "volume", "Source": "shop_data", "Target": "/data", "ReadOnly": true},
        {"Type": "bind", "Source": "/srv", "Target": "/srv"},
        {"Type": "tmpfs", "Target": "/tmp", "TmpfsOptions": {"SizeBytes": 1024}},
    ]);
    let request = request(json!({"HostConfig": {"Mounts": mounts}}));
    assert_eq!(request["HostConfig"]["Mounts"], mounts);
}

#[test]
fn an_anonymous_volume_bound_by_name_is_left_to_the_image() {
    let request = request(json!({
        "Config": {"Volumes": {"/declared": {}}},
        "HostConfig": {"Binds": [
            format!("{VOLUME}:/declared:rw"),
            format!("{VOLUME}:/elsewhere:rw"),
            "shop_data:/declared/data:rw",
            "/srv:/srv:ro",
        ]},
    }));
    assert_eq!(
        request["HostConfig"]["Binds"],
        json!([
            format!("{VOLUME}:/elsewhere:rw"),
            "shop_data:/declared/data:rw",
            "/srv:/srv:ro"
        ])
    );
}

#[test]
fn what_v1_notes_of_the_container_it_replaced_is_not_handed_on() {
    let recreated = json!({"Config": {"Env": ["A=1", "affinity:container==0123"]}});
    assert_eq!(request(recreated)["Env"], json!(["A=1"]));
}

#[test]
fn links_of_the_default_bridge_take_the_form_that_create_wants() {
    let request = request(json!({"HostConfig": {
        "NetworkMode": "bridge",
        "Links": ["/db-1:/shop-web-1/db", "cache-1:cache"],
    }}));
    assert_eq!(
        request["HostConfig"]["Links"],
        json!(["db-1:db", "cache-1:cache"])
    );
}

#[test]
fn links_on_a_network_keep_their_numbered_aliases() {
    let links = json!(["shop-db-1:db", "shop-db-1:db-1"]);
    let request =
        request(json!({"NetworkSettings": {"Networks": {"shop_default": {"Links": links}}}}));
    let endpoint = &request["NetworkingConfig"]["EndpointsConfig"]["shop_default"];
    assert_eq!(endpoint["Links"], links);
}

#[test]
fn absent_settings_stay_absent_and_empty_ones_stay_empty() {
    let networks = |settings: Value| {
        let request = request(json!({"NetworkSettings": {"Networks": {"shop_default": settings}}}));
        request["NetworkingConfig"]["EndpointsConfig"]["shop_default"].clone()
    };
    let none = networks(json!({"Aliases": null, "IPAMConfig": null}));
    assert_eq!(none, json!({}));
    let empty = networks(json!({"Aliases": [], "IPAMConfig": {}}));
    assert_eq!(empty, json!({"Aliases": [], "IPAMConfig": {}}));
}

#[test]
fn an_alias_that_equals_the_host_name_is_told_from_the_engines_own() {
    let aliases = |list: Value| {
        let request = request(json!({
            "Config": {"Hostname": "web"},
            "NetworkSettings": {"Networks": {"shop_default": {"Aliases": list}}},
        }));
        request["NetworkingConfig"]["EndpointsConfig"]["shop_default"]["Aliases"].clone()
    };
    assert_eq!(
        aliases(json!(["shop-web-1", "web", "0123456789ab"])),
        json!(["shop-web-4", "web"])
    );
    assert_eq!(
        aliases(json!(["shop-web-1", "front", "0123456789ab", "web"])),
        json!(["shop-web-4", "front"])
    );
    // From API 1.45 on the Engine adds nothing.
    assert_eq!(
        aliases(json!(["shop-web-1", "web"])),
        json!(["shop-web-4", "web"])
    );
}

#[test]
fn an_old_engine_gets_its_other_networks_one_by_one() {
    let two = json!({"NetworkSettings": {"Networks": {
        "shop_back": {"Aliases": ["shop-web-1", "web", "0123456789ab"], "IPAddress": "10.1.0.2"},
    }}});
    let old = blueprint_at(two.clone(), Api::new(1, 43));
    let networks = |body: &ContainerCreateBody| -> Vec<String> {
        let config = body.networking_config.clone().unwrap();
        let mut names: Vec<String> = config.endpoints_config.unwrap().into_keys().collect();
        names.sort();
        names
    };
    assert_eq!(networks(&old.body), ["shop_default"]);
    let back = &old.connect["shop_back"];
    assert_eq!(back.aliases, Some(vec!["shop-web-4".into(), "web".into()]));
    assert_eq!(back.ip_address, None);

    let new = blueprint_at(two, Api::MULTIPLE_NETWORKS);
    assert_eq!(networks(&new.body), ["shop_back", "shop_default"]);
    assert!(new.connect.is_empty());
}

#[test]
fn what_newer_engines_report_is_sent_back_and_what_they_made_up_is_not() {
    // API 1.48: aliases as they were submitted, made-up MAC addresses, priorities of gateways.
    let reported = json!({
        "Config": {"Healthcheck": {
            "Test": ["CMD", "true"], "StartPeriod": 9_000_000_000_i64, "StartInterval": 1_000_000_000_i64,
        }},
        "NetworkSettings": {"Networks": {
            "shop_default": {
                "Aliases": ["shop-web-1", "web"],
                "MacAddress": "9a:1c:3f:00:11:22",
                "GwPriority": 0,
                "DNSNames": ["shop-web-1", "web", "0123456789ab"],
            },
            "shop_back": {
                "Aliases": ["shop-web-1", "web"],
                "MacAddress": "9a:1c:3f:00:11:23",
                "GwPriority": 7,
                "IPAMConfig": {},
            },
        }},
    });
    let blueprint = blueprint_at(reported, Api::new(1, 48));
    assert!(blueprint.connect.is_empty());
    let body = serde_json::to_value(blueprint.body).unwrap();
    assert_eq!(
        body["NetworkingConfig"]["EndpointsConfig"],
        json!({
            "shop_default": {"Aliases": ["shop-web-4", "web"], "GwPriority": 0},
            "shop_back": {"Aliases": ["shop-web-4", "web"], "GwPriority": 7, "IPAMConfig": {}},
        })
    );
    assert_eq!(body["Healthcheck"]["StartInterval"], 1_000_000_000_i64);
}

#[test]
fn the_primary_network_may_be_given_by_its_id() {
    let by_id = blueprint_at(json!({"HostConfig": {"NetworkMode": "n1"}}), Api::OLDEST);
    assert!(by_id.connect.is_empty());
    assert!(by_id.body.networking_config.is_some());
}

#[test]
fn a_cleared_entrypoint_and_an_absent_command_survive() {
    let cleared = request(json!({"Config": {"Entrypoint": [], "Cmd": null}}));
    assert_eq!(cleared["Entrypoint"], json!([]));
    assert!(cleared["Cmd"].is_null());
    let disabled = request(json!({"Config": {"Healthcheck": {"Test": ["NONE"]}}}));
    assert_eq!(disabled["Healthcheck"], json!({"Test": ["NONE"]}));
}

#[test]
fn only_64_hex_digits_are_a_made_up_name() {
    assert!(is_anonymous(VOLUME));
    assert!(!is_anonymous("shop_data"));
    assert!(!is_anonymous(&VOLUME[1..]));
    assert!(!is_anonymous(&VOLUME.replace('f', "g")));
}
