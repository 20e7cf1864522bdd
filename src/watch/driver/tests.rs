//! A run on a disk that is slow.

use std::{collections::BTreeMap, fs};

use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    task::JoinSet,
    time::sleep,
};

use super::*;
use crate::{
    control::{self, ControlRequest, Reply, Snapshot},
    reconcile::{Pause, ReplicaView},
    sim::{App, Setting, SimEngine, Simulation, in_virtual_time},
};

/// A `watch` of three replicas of `web`, that writes no state before the permit is given back.
struct SlowDisk {
    _simulation: Simulation,
    engine: SimEngine,
    calls: mpsc::Sender<Call>,
    stop: CancellationToken,
    run: JoinSet<RunOutcome>,
    directory: tempfile::TempDir,
    held_up: Option<OwnedSemaphorePermit>,
}

impl SlowDisk {
    async fn begin() -> Self {
        let policy = crate::policy::policy(&serde_json::json!({"min": 1, "max": 6})).unwrap();
        let mut app = App::named("web");
        app.replicas = 3;
        let mut simulation = Simulation::begin(&Setting {
            apps: vec![(app, Some(policy))],
            ..Setting::default()
        });
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().to_string_lossy().into_owned();
        let env = BTreeMap::from([("COMPOSE_SCALE_STATE".to_owned(), place)]);
        let (mut driver, calls, notes) = simulation.driver(Some(StateDir::locate(&env, "shop")));
        let engine = simulation.engine();
        let held_up = driver.persistence.gate().acquire_owned().await.unwrap();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let mut run = JoinSet::new();
        run.spawn(async move {
            let _notes = notes;
            driver.run(stopped, CancellationToken::new()).await
        });
        sleep(Duration::from_secs(20)).await;
        Self {
            _simulation: simulation,
            engine,
            calls,
            stop,
            run,
            directory,
            held_up: Some(held_up),
        }
    }

    async fn status(&self) -> Snapshot {
        control::status(&self.calls).await.unwrap()
    }

    /// The replicas that nginx sends to.
    async fn served(&self) -> Vec<String> {
        let replicas = self.status().await.services.remove(0).replicas;
        let served = replicas
            .into_iter()
            .filter(|one: &ReplicaView| one.in_nginx);
        served.map(|one| one.name).collect()
    }

    async fn replicas(&self) -> Vec<crate::project::Replica> {
        let all = self.engine.list("shop").await.unwrap();
        all.into_iter().filter(|one| one.service == "web").collect()
    }

    async fn ask(&self, request: ControlRequest) -> mpsc::Receiver<Reply> {
        let (replies, answers) = mpsc::channel(16);
        self.calls.send(Call { request, replies }).await.unwrap();
        answers
    }

    fn saved(&self) -> Option<String> {
        fs::read_to_string(self.directory.path().join("state.json")).ok()
    }
}

/// The last word on a command; `None` while there is none.
fn done(answers: &mut mpsc::Receiver<Reply>) -> Option<bool> {
    while let Ok(reply) = answers.try_recv() {
        if let Reply::Done { ok, .. } = reply {
            return Some(ok);
        }
    }
    None
}

#[test]
fn a_slow_disk_delays_neither_a_tick_nor_a_route_that_takes_a_replica_out() {
    let run = async {
        let disk = SlowDisk::begin().await;
        assert_eq!(disk.served().await.len(), 3);
        let ticked = disk.status().await.ticked;
        let second = disk.replicas().await.remove(1);
        let removal = disk.engine.remove(&second.id);
        removal.await.unwrap();
        sleep(Duration::from_secs(1)).await;
        assert!(!disk.served().await.contains(&second.name));
        sleep(Duration::from_secs(30)).await;
        assert!(disk.status().await.ticked > ticked);
        assert_eq!(disk.saved(), None);
    };
    in_virtual_time(run).unwrap();
}

#[test]
fn steps_and_answers_wait_for_the_disk_and_the_loop_does_not() {
    let run = async {
        let mut disk = SlowDisk::begin().await;
        let mut paused = disk
            .ask(ControlRequest::Pause {
                services: vec!["web".into()],
                directions: Pause::Both,
                span: None,
            })
            .await;
        let mut scaled = disk
            .ask(ControlRequest::Scale {
                services: [("web".to_owned(), 5)].into_iter().collect(),
                hold: crate::units::Span::seconds(3600),
                wait: None,
            })
            .await;
        sleep(Duration::from_secs(30)).await;
        assert_eq!((done(&mut paused), done(&mut scaled)), (None, None));
        assert_eq!(disk.replicas().await.len(), 3);
        assert_eq!(disk.status().await.services[0].desired, Some(5));

        disk.held_up = None;
        sleep(Duration::from_secs(30)).await;
        assert_eq!(
            (done(&mut paused), done(&mut scaled)),
            (Some(true), Some(true))
        );
        assert_eq!(disk.replicas().await.len(), 5);
        let saved = disk.saved().unwrap();
        assert!(saved.contains(r#""hold":{"replicas":5"#), "{saved}");
        disk.stop.cancel();
        let outcome = disk.run.join_next().await.unwrap().unwrap();
        assert!(matches!(outcome, RunOutcome::Done), "{outcome:?}");
    };
    in_virtual_time(run).unwrap();
}
