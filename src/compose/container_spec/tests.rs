//! What a compose file becomes, where no Engine of the tests can show it, and that every key is one of
//! those that something is done about.

use std::{collections::BTreeSet, path::PathBuf};

use serde_json::{Value as Json, json};

use super::{super::schema, table};
use crate::{
    compose::{self, LoadRequest},
    project::container_spec::ContainerSpec,
};

/// What becomes of a service with these lines.
fn made(lines: &str, rest: &str) -> Result<ContainerSpec, Vec<String>> {
    let lines = lines.replace('\n', "\n    ");
    let request = LoadRequest {
        files: vec![PathBuf::from("-")],
        project_name: Some("shop".into()),
        cwd: PathBuf::from("/srv/shop"),
        stdin: Some(format!(
            "services:\n  web:\n    image: app:1\n    {lines}\n  db: {{image: db}}\n{rest}"
        )),
        ..LoadRequest::default()
    };
    let loaded = compose::load(&request).unwrap_or_else(|error| panic!("{error}"));
    loaded.project.services["web"].recipe.clone().unwrap()
}

fn host(lines: &str, field: &str) -> Json {
    let recipe = made(lines, "").unwrap_or_else(|refused| panic!("{lines}: {refused:?}"));
    recipe.host.get(field).cloned().unwrap_or(Json::Null)
}

fn refused(lines: &str, rest: &str) -> String {
    made(lines, rest).unwrap_err().join("\n")
}

#[test]
fn every_key_of_a_service_is_translated_means_nothing_or_is_refused() {
    let rows = table::PLAIN.iter().map(|row| row.0);
    let refused = table::REFUSED.iter().map(|row| row.0);
    let known: BTreeSet<&str> = rows
        .chain(refused)
        .chain(table::ELSEWHERE.iter().copied())
        .chain(table::MEANINGLESS.iter().copied())
        .chain(table::OWN.iter().copied())
        .collect();
    let written: BTreeSet<&str> = schema::service_keys().collect();
    assert_eq!(known, written);
}

#[test]
fn every_key_stands_in_the_documentation_with_what_becomes_of_it() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/replicas.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (_, section) = page.split_once("## From the compose file").unwrap();
    let row = |title: &str| {
        let row = section.lines().find(|line| line.starts_with(title));
        row.unwrap_or_else(|| panic!("no row {title}")).to_owned()
    };
    let nothing = row("| means nothing");
    let not = row("| refused");
    let translated = row("| translated");
    for key in schema::service_keys() {
        let here = if table::MEANINGLESS.contains(&key) {
            &nothing
        } else if table::REFUSED.iter().any(|(refused, _)| *refused == key) {
            &not
        } else if ["provider", "post_start", "pre_stop"].contains(&key) {
            section
        } else {
            &translated
        };
        assert!(here.contains(&format!("`{key}`")), "{key}: {here}");
    }
}

#[test]
fn devices_and_what_drivers_give_are_asked_for_as_compose_asks() {
    assert_eq!(
        host("gpus: all", "DeviceRequests"),
        json!([{"Driver": "", "Count": -1, "Capabilities": [["gpu"]]}])
    );
    assert_eq!(
        host(
            "gpus: [{driver: nvidia, device_ids: [\"0\"], capabilities: [compute]}]",
            "DeviceRequests"
        ),
        json!([{"Driver": "nvidia", "Count": 0, "DeviceIDs": ["0"],
                "Capabilities": [["compute", "gpu"]]}])
    );
    let reserved =
        "deploy: {resources: {reservations: {devices: [{capabilities: [gpu], count: 2}]}}}";
    assert_eq!(
        host(reserved, "DeviceRequests"),
        json!([{"Driver": "", "Count": 2, "Capabilities": [["gpu"]]}])
    );
    assert_eq!(
        host("devices: [/dev/a, \"/dev/b:/dev/c:r\"]", "Devices"),
        json!([
            {"PathOnHost": "/dev/a", "PathInContainer": "/dev/a", "CgroupPermissions": "rwm"},
            {"PathOnHost": "/dev/b", "PathInContainer": "/dev/c", "CgroupPermissions": "r"},
        ])
    );
    assert_eq!(host("privileged: yes", "Privileged"), json!(true));
    assert_eq!(
        host("storage_opt: {size: 1G}", "StorageOpt"),
        json!({"size": "1G"})
    );
    assert_eq!(
        host(
            "blkio_config: {weight: 300, device_read_bps: [{path: /dev/a, rate: 1m}]}",
            "BlkioDeviceReadBps"
        ),
        json!([{"Path": "/dev/a", "Rate": 1 << 20}])
    );
}

#[test]
fn what_only_newer_engines_know_is_noted() {
    let all = "annotations: {a: b}\n\
               healthcheck: {test: [CMD, x], start_interval: 1s, start_period: 5s}\n\
               networks: {default: {gw_priority: 1}}\n\
               volumes: [{type: image, source: i, target: /i}, \
               {type: volume, source: d, target: /d, volume: {subpath: s}}]";
    let recipe = made(all, "volumes: {d: {}}\n").unwrap();
    let mut needs: Vec<_> = recipe
        .needs
        .iter()
        .map(|need| (need.key, need.api))
        .collect();
    needs.sort_unstable();
    assert_eq!(
        needs,
        [
            ("annotations", (1, 43)),
            ("healthcheck.start_interval", (1, 44)),
            ("networks.gw_priority", (1, 48)),
            ("volumes of an image", (1, 48)),
            ("volumes.volume.subpath", (1, 45)),
        ]
    );
}

#[test]
fn all_that_cannot_be_translated_is_named_at_once() {
    let all = "links: [db]\n\
               mac_address: 02:42:ac:11:00:02\n\
               security_opt: [\"seccomp:./profile.json\"]\n\
               devices: [\"vendor.com/class=name\"]\n\
               networks: {default: {interface_name: eth7}}\n\
               read_only: true\n\
               configs: [inline]\n\
               secrets: [outside]\n\
               volumes: [{type: cluster, source: c, target: /c}]";
    let rest = "volumes: {c: {}}\n\
                configs: {inline: {content: x}}\n\
                secrets: {outside: {external: true}}\n";
    insta::assert_snapshot!(refused(all, rest), @"
    `networks.interface_name`: only newer Engines take it, and not here
    `links`: a service is found by its name on a shared network without them
    `mac_address`: the Engine's API has moved it about; leave it out
    `security_opt`: a seccomp profile is a file that compose rewrites
    `devices`: a CDI name is for compose to translate
    `configs`: inline cannot be written into a container that is read-only
    `secrets`: outside is kept outside of the project, which needs Swarm
    `volumes`: a cluster is for Swarm or for Windows
    ");
}

#[test]
fn what_must_be_there_is_named_as_compose_names_it() {
    let recipe = made(
        "networks: [front, outside]\nvolumes: [\"data:/d\"]",
        "networks: {front: {driver: overlay, attachable: true}, outside: {external: true}}\n\
         volumes: {data: {driver: local, driver_opts: {type: tmpfs}}}\n",
    )
    .unwrap();
    let networks: Vec<_> = recipe.networks.iter().map(|n| (&n.name, &n.make)).collect();
    let labels = |kind: &str, key: &str| {
        json!({
            "com.docker.compose.project": "shop",
            format!("com.docker.compose.{kind}"): key,
        })
    };
    let front = json!({
        "Name": "shop_front", "Labels": labels("network", "front"),
        "Driver": "overlay", "Attachable": true,
    });
    assert_eq!(
        networks,
        [
            (&"shop_front".to_owned(), &Some(front)),
            (&"outside".to_owned(), &None)
        ]
    );
    let data = json!({
        "Name": "shop_data", "Labels": labels("volume", "data"),
        "Driver": "local", "DriverOpts": {"type": "tmpfs"},
    });
    assert_eq!(recipe.volumes[0].make, Some(data));
}

#[test]
fn the_hash_is_there_and_is_none() {
    let recipe = made("labels: {own: label}\ndepends_on: [db]", "").unwrap();
    let labels = &recipe.labels;
    assert_eq!(labels["com.docker.compose.config-hash"], "unknown");
    assert_eq!(labels["com.docker.compose.oneoff"], "False");
    assert_eq!(
        labels["com.docker.compose.depends_on"],
        "db:service_started:false"
    );
    assert_eq!(
        labels["com.docker.compose.project.working_dir"],
        "/srv/shop"
    );
    assert_eq!(labels["own"], "label");
    assert_eq!(recipe.name(3), "shop-web-3");
}
