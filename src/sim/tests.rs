use std::time::Duration;

use super::*;
use crate::policy::Policy;

fn policy(yaml: &str) -> Policy {
    let value: serde_json::Value = serde_json::from_str(yaml).unwrap();
    crate::policy::policy(&value).unwrap()
}

fn app(load: Shape) -> App {
    App {
        service: "web".into(),
        profile: Profile::default(),
        load,
        pick: Pick::LeastConn,
        replicas: 1,
    }
}

#[test]
fn a_day_of_the_real_driver() {
    let policy = policy(r#"{"min": 1, "max": 8, "metrics": [{"cpu": "60%"}]}"#);
    let load = Shape::daily(5.0, 100.0, Duration::ZERO);
    let setting = Setting {
        apps: vec![(app(load), Some(policy))],
        grain: Duration::from_secs(5),
        ..Setting::default()
    };
    let began = std::time::Instant::now();
    let notes = in_virtual_time(async {
        let mut simulation = Simulation::begin(&setting);
        let mut watch = simulation.watch();
        let mut notes = watch.take_notes();
        tokio::time::sleep(Duration::from_secs(86_400)).await;
        watch.stop().await.unwrap();
        let mut told = Vec::new();
        while let Ok(note) = notes.try_recv() {
            told.push(note);
        }
        told
    })
    .unwrap();
    for note in notes {
        println!("{} {}", note.at, note.what);
    }
    println!("{:?}", began.elapsed());
}
