//! What becomes of a clone when the image has moved on under its name.

mod support;

use compose_scale::engine::{Engine as _, EngineError, NewReplica};
use serde_json::json;
use support::{
    ComposeProject, Image, api, clone_and_start, describe, engine, list, pick, real, text,
};

const SERVICE: &str = r"
services:
  web: {image: IMAGE, stop_signal: SIGKILL}
";

fn image(version: &str) -> Image {
    Image::committed(&json!({
        "Env": ["PATH=/bin", format!("VERSION={version}")],
        "Cmd": ["sleep", "1000"],
    }))
}

#[tokio::test]
async fn a_clone_follows_its_siblings_not_the_moved_name() {
    if !real() {
        return;
    }
    let docker = engine();
    let image = image("old");
    let old = image.id();
    let project = ComposeProject::new(&SERVICE.replace("IMAGE", &image.name));
    project.compose(&["up", "-d"]);
    image.commit(&json!({"Env": ["PATH=/bin", "VERSION=new"], "Cmd": ["sleep", "2000"]}));
    assert_ne!(image.id(), old);

    clone_and_start(&docker, &project, "web", (1, 2), &[]).await;
    let clone = project.inspect("web", 2);
    assert_eq!(text(&clone["Image"]), old);
    let mut ours = describe::normalised(&clone);
    assert_eq!(text(&ours["Config"]["Image"]), old);
    // But for how the image is called, it is its sibling's twin, in its label too.
    let theirs = describe::normalised(&project.inspect("web", 1));
    ours["Config"]["Image"] = theirs["Config"]["Image"].clone();
    assert_eq!(describe::differences(&ours, &theirs), Vec::<String>::new());

    // A clone of the clone has an id for a name, which cannot move.
    clone_and_start(&docker, &project, "web", (2, 3), &[]).await;
    assert_eq!(text(&project.inspect("web", 3)["Image"]), old);

    // Compose then replaces ours as it does its own: by what the file says now.
    project.up_scaled(&[], &["web"], 3);
    for replica in list(&docker, &project).await {
        assert_eq!(replica.image_id, image.id(), "{}", replica.name);
    }
}

#[tokio::test]
async fn an_image_that_is_gone_is_said_to_be_gone() {
    if !real() {
        return;
    }
    let docker = engine();
    let image = image("lost");
    let project = ComposeProject::new(&SERVICE.replace("IMAGE", &image.name));
    // Never started, so that the Engine gives the image away.
    project.compose(&["create"]);
    let (status, answer) = api::request("DELETE", &format!("/images/{}?force=1", image.id()), "");
    assert_eq!(status, 200, "{answer}");

    let replicas = list(&docker, &project).await;
    let new = NewReplica {
        name: project.container("web", 2),
        number: 2,
        uploads: Vec::new(),
    };
    let refused = docker
        .clone_replica(&pick(&replicas, "web", 1).id, &new)
        .await;
    assert!(
        matches!(&refused, Err(EngineError::ImageMoved { image: name }) if *name == image.name),
        "{refused:?}"
    );
    assert_eq!(list(&docker, &project).await.len(), 1);
}
