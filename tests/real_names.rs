//! Projects whose containers are named with underscores: those of compose v1, and of v2 with
//! `--compatibility`.

mod support;

use compose_scale::engine::Engine as _;
use serde_json::{Value, json};
use support::{
    ComposeProject, Image, api, clone_and_start, engine, list, pick, real, stack::Stack, text,
};

const SERVICE: &str = r#"
services:
  web:
    image: BUSYBOX
    command: [sleep, "1000"]
    stop_signal: SIGKILL
    x-autoscale: {max: 6, metrics: [], ready: running}
"#;

fn names(project: &ComposeProject) -> Vec<String> {
    let prefix = format!("/{}", project.name);
    let all = project.ids().into_keys();
    all.map(|name| name.trim_start_matches(&prefix).to_owned())
        .collect()
}

#[test]
fn replicas_are_named_as_their_siblings_are_and_compose_takes_them_for_its_own() {
    if !real() {
        return;
    }
    let stack = Stack::of(ComposeProject::new(SERVICE));
    let project = &stack.project;
    project.compose(&["--compatibility", "up", "-d"]);
    stack.must(&["scale", "web=2"]);
    assert_eq!(names(project), ["_web_1", "_web_2"]);
    let before = project.untouched();
    let scale = ["--compatibility", "up", "-d", "--scale", "web=2"];
    project.compose(&scale);
    assert_eq!(project.untouched(), before, "compose changed something");

    // None left: the first one is named as the last one was, and the next like it.
    for container in project.inspect_all() {
        let path = format!("/containers/{}?force=1", text(&container["Id"]));
        assert_eq!(api::request("DELETE", &path, "").0, 204);
    }
    std::fs::remove_dir_all(stack.state().join("templates")).expect("what is remembered");
    let ran = stack
        .command(&["scale", "web=2"])
        .env("COMPOSE_COMPATIBILITY", "true")
        .output()
        .expect("the tool runs");
    assert!(ran.status.success(), "{ran:?}");
    assert_eq!(names(project), ["_web_1", "_web_2"]);

    // Both kinds side by side, as when somebody forgets the flag: both count.
    project.compose(&["up", "-d", "--no-recreate", "--scale", "web=3"]);
    assert_eq!(names(project), ["-web-3", "_web_1", "_web_2"]);
    stack.must(&["scale", "web=4"]);
    assert_eq!(names(project), ["-web-3", "_web_1", "_web_2", "_web_4"]);
    stack.must(&["scale", "web=1"]);
    assert_eq!(names(project), ["_web_1"]);
    project.compose(&["down"]);
    assert_eq!(project.leftovers(), Vec::<String>::new());
}

/// A replica as compose v1 makes it: no image label, no alias of its own name, and after a recreate its
/// anonymous volume by name among the binds.
fn made_by_v1(project: &ComposeProject, image: &str, network: &str, volume: &str) {
    let body = json!({
        "Image": image,
        "Labels": {
            "com.docker.compose.project": project.name,
            "com.docker.compose.service": "web",
            "com.docker.compose.oneoff": "False",
            "com.docker.compose.container-number": "1",
            "com.docker.compose.version": "1.29.2",
            "com.docker.compose.config-hash": "1".repeat(64),
            "com.docker.compose.project.working_dir": project.directory(),
            "com.docker.compose.project.config_files": "compose.yaml",
        },
        "HostConfig": {
            "NetworkMode": network,
            "Binds": [format!("{volume}:/declared:rw")],
        },
        "NetworkingConfig": {"EndpointsConfig": {network: {"Aliases": ["web"]}}},
    });
    let path = format!("/containers/create?name={}_web_1", project.name);
    let (status, made) = api::request("POST", &path, &body.to_string());
    assert_eq!(status, 201, "{made}");
    let start = format!("/containers/{}/start", text(&made["Id"]));
    assert_eq!(api::request("POST", &start, "").0, 204);
}

fn aliases(container: &Value, network: &str) -> Vec<String> {
    let aliases = &container["NetworkSettings"]["Networks"][network]["Aliases"];
    let short = &text(&container["Id"])[..12];
    aliases
        .as_array()
        .into_iter()
        .flatten()
        .map(|alias| text(alias).to_owned())
        .filter(|alias| alias != short)
        .collect()
}

#[tokio::test]
async fn a_replica_of_compose_v1_is_copied_as_v1_would_have_made_it() {
    if !real() {
        return;
    }
    let docker = engine();
    let image = Image::committed(&json!({
        "Env": ["PATH=/bin"], "Cmd": ["sleep", "1000"], "StopSignal": "SIGKILL",
        "Volumes": {"/declared": {}},
    }));
    let project = ComposeProject::new(&SERVICE.replace("BUSYBOX", &image.name));
    let network = format!("{}_default", project.name);
    let label = json!({"com.docker.compose.project": project.name, "com.docker.compose.network": "default"});
    let body = json!({"Name": network, "Labels": label}).to_string();
    assert_eq!(api::request("POST", "/networks/create", &body).0, 201);
    let (status, volume) = api::request("POST", "/volumes/create", "{}");
    assert_eq!(status, 201, "{volume}");
    let volume = text(&volume["Name"]).to_owned();
    made_by_v1(&project, &image.name, &network, &volume);

    let id = clone_and_start(&docker, &project, "web", (1, 2), &[]).await;
    let first = api::get(&format!("/containers/{}_web_1/json", project.name));
    let second = api::get(&format!("/containers/{}_web_2/json", project.name));
    assert_eq!(text(&second["Id"]), id.0);
    assert_eq!(aliases(&first, &network), ["web"]);
    assert_eq!(aliases(&second, &network), ["web"]);
    let labels = &second["Config"]["Labels"];
    assert!(labels["com.docker.compose.image"].is_null(), "{labels}");
    assert_eq!(labels["com.docker.compose.container-number"], "2");
    let own = text(&second["Mounts"][0]["Name"]).to_owned();
    assert_eq!(own.len(), 64);
    assert_ne!(own, volume, "the anonymous volume is shared");

    let replicas = list(&docker, &project).await;
    let template = docker.remember(&pick(&replicas, "web", 1).id, None).await;
    let template = template.expect("it can be remembered");
    assert_eq!(template.image_id, image.id());

    docker.remove(&id).await.expect("it can be removed");
    assert_eq!(api::request("GET", &format!("/volumes/{own}"), "").0, 404);
    support::remove(&docker, &project, "web", 1).await;
    assert_eq!(
        api::request("GET", &format!("/volumes/{volume}"), "").0,
        404
    );
}
