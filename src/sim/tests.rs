//! The simulated host by itself, and a judge that must see what is wrong.

#![expect(clippy::float_cmp, reason = "counts, which are whole numbers")]

use std::{collections::BTreeMap, time::Duration};

use tokio::{task::JoinSet, time::sleep};

use super::{
    simulated_host::{InvariantChecker, ServiceBounds},
    *,
};
use crate::{
    engine::{Engine, EngineError, NewReplica},
    policy::Balance,
    project::{ContainerId, ContainerState, Health},
    proxy::{Proxy, ProxyError, Upstream, UpstreamServer},
};

/// Two replicas of `web` under a little load, and who looks on.
fn host(load: f64) -> (SimulatedHost, SimEngine, SimProxy) {
    let at = jiff::Timestamp::from_second(1_767_225_600).unwrap();
    let app = App {
        service: "web".into(),
        profile: Profile {
            service_time: Duration::from_secs(2),
            ..Profile::default()
        },
        load: LoadShape::steady(load),
        pick: BalanceMethod::LeastConn,
        replicas: 2,
        heard: RecordedReadings::default(),
    };
    let mut world = World::begin("shop", MachineSpec::default(), vec![app], 1, at);
    let bounds = ServiceBounds {
        min: 1,
        drain: Duration::from_secs(30),
    };
    world.judge_by(BTreeMap::from([("web".to_owned(), bounds)]));
    let host = SimulatedHost::new(world);
    let engine = SimEngine::new(host.clone(), Pace::default());
    (host.clone(), engine, SimProxy::new(host))
}

async fn id_of(engine: &SimEngine, name: &str) -> ContainerId {
    engine.inspect(name).await.unwrap().id
}

fn to(names: &[&str]) -> Vec<Upstream> {
    let server = |name: &&str| UpstreamServer {
        number: 1,
        name: (*name).to_owned(),
        address: ([10, 0, 0, 1], 80).into(),
        weight: 10,
    };
    vec![Upstream {
        service: "web".into(),
        balance: Balance::LeastConn,
        servers: names.iter().map(server).collect(),
    }]
}

/// What the judge says after all of it.
fn broken<F: Future<Output = ()>>(
    load: f64,
    acts: impl FnOnce(SimulatedHost, SimEngine, SimProxy) -> F,
) -> Vec<String> {
    in_virtual_time(async {
        let (host, engine, proxy) = host(load);
        let mut life = JoinSet::new();
        life.spawn(host.clone().live());
        acts(host.clone(), engine, proxy).await;
        let world = host.world();
        world.broken().iter().map(|one| one.what.clone()).collect()
    })
    .unwrap()
}

#[test]
fn a_drained_replica_may_go() {
    let broken = broken(3.5, async |_, engine, proxy| {
        sleep(Duration::from_secs(10)).await;
        let published = proxy.publish(&to(&["shop-web-1"])).await.unwrap();
        proxy.drained(&published).await.unwrap();
        let id = id_of(&engine, "shop-web-2").await;
        engine.stop(&id, Duration::ZERO).await.unwrap();
        engine.remove(&id).await.unwrap();
    });
    assert_eq!(broken, [""; 0]);
}

#[test]
fn who_stops_a_replica_that_serves_is_seen() {
    let broken = broken(3.5, async |_, engine, _| {
        sleep(Duration::from_secs(10)).await;
        let id = id_of(&engine, "shop-web-2").await;
        engine.stop(&id, Duration::ZERO).await.unwrap();
    });
    assert_eq!(
        broken[0],
        "stopped shop-web-2, which nginx sends requests to"
    );
    assert!(
        broken[1].starts_with("stopped shop-web-2 with "),
        "{broken:?}"
    );
}

#[test]
fn who_does_not_wait_for_requests_is_seen() {
    let broken = broken(3.5, async |_, engine, proxy| {
        sleep(Duration::from_secs(10)).await;
        proxy.publish(&to(&["shop-web-1"])).await.unwrap();
        let id = id_of(&engine, "shop-web-2").await;
        engine.stop(&id, Duration::ZERO).await.unwrap();
    });
    assert_eq!(broken.len(), 1);
    assert!(broken[0].ends_with("requests in flight"), "{broken:?}");
}

#[test]
fn who_goes_below_the_least_is_seen() {
    let broken = broken(0.0, async |_, engine, proxy| {
        proxy.publish(&to(&[])).await.unwrap();
        for name in ["shop-web-1", "shop-web-2"] {
            let id = id_of(&engine, name).await;
            engine.remove(&id).await.unwrap();
        }
    });
    assert_eq!(
        broken,
        ["stopped shop-web-2: 0 are left, and 1 is the least"]
    );
}

#[test]
fn who_sends_requests_to_one_that_is_not_ready_is_seen() {
    let broken = broken(0.0, async |_, engine, proxy| {
        let new = NewReplica {
            name: "shop-web-3".into(),
            number: 3,
            uploads: Vec::new(),
        };
        let like = id_of(&engine, "shop-web-1").await;
        let id = engine.clone_replica(&like, &new).await.unwrap();
        engine.start(&id).await.unwrap();
        let all = to(&["shop-web-1", "shop-web-2", "shop-web-3"]);
        proxy.publish(&all).await.unwrap();
        let other = id_of(&engine, "shop-web-2").await;
        proxy.publish(&to(&["shop-web-1"])).await.unwrap();
        engine.stop(&other, Duration::ZERO).await.unwrap();
    });
    assert_eq!(
        broken,
        [
            "sent requests to shop-web-3, which is not ready",
            "stopped shop-web-2 while another replica of web was made"
        ]
    );
}

#[test]
fn who_forgets_a_replica_or_touches_a_stranger_is_seen() {
    let broken = broken(0.0, async |host, engine, proxy| {
        host.world().add_foreign("other-web-1", &[]);
        let id = id_of(&engine, "other-web-1").await;
        engine.stop(&id, Duration::ZERO).await.unwrap();
        proxy.publish(&to(&["shop-web-1"])).await.unwrap();
        for _ in 0..60 {
            sleep(Duration::from_secs(1)).await;
            host.world().judge_quiet();
        }
    });
    assert_eq!(
        broken,
        [
            "stopped other-web-1, which is none of its replicas",
            "nginx sends to shop-web-1 long after shop-web-1, shop-web-2 were the ones that can serve"
        ]
    );
}

#[test]
fn a_count_that_goes_back_soon_is_a_flap() {
    let mut judge = InvariantChecker::default();
    for (at, up) in [(0, true), (60, true), (120, false), (400, true)] {
        judge.scales("web", up, Duration::from_secs(at));
    }
    assert_eq!(judge.flaps, 1);
}

#[test]
fn a_replica_is_made_started_and_ready_when_its_time_has_come() {
    in_virtual_time(async {
        let (host, engine, _) = host(0.0);
        let mut living = JoinSet::new();
        living.spawn(host.clone().live());
        let source = id_of(&engine, "shop-web-1").await;
        let new = NewReplica {
            name: "shop-web-3".into(),
            number: 3,
            uploads: Vec::new(),
        };
        let id = engine.clone_replica(&source, &new).await.unwrap();
        let again = engine.clone_replica(&source, &new).await;
        assert!(matches!(again, Err(EngineError::Conflict { .. })));
        let made = engine.inspect("shop-web-3").await.unwrap();
        assert_eq!((made.state, made.number), (ContainerState::Created, 3));
        assert!(made.is_replica() && made.addresses.is_empty());
        engine.start(&id).await.unwrap();
        sleep(Duration::from_millis(2900)).await;
        let health = async || engine.inspect("shop-web-3").await.unwrap().health;
        assert_eq!(health().await, Health::Starting);
        sleep(Duration::from_millis(200)).await;
        assert_eq!(health().await, Health::Healthy);
        engine.remove(&id).await.unwrap();
        let gone = engine.inspect("shop-web-3").await;
        assert!(matches!(gone, Err(EngineError::NotFound { .. })));
    })
    .unwrap();
}

#[test]
fn cores_that_are_not_enough_make_everything_slower() {
    in_virtual_time(async {
        let (host, engine, _) = host(3.9);
        host.world().machine.cores = 1;
        let first = id_of(&engine, "shop-web-1").await;
        sleep(Duration::from_secs(60)).await;
        let before = host.world().reading(&first).unwrap().cpu_nanos;
        sleep(Duration::from_secs(60)).await;
        let after = host.world().reading(&first).unwrap().cpu_nanos;
        // Two replicas that could use a core each share one.
        let used = (after - before) as f64 / 60e9;
        assert!((0.4..0.6).contains(&used), "{used}");
        assert_eq!(host.world().look().busy.map(f64::round), Some(100.0));
        let step = host.world().load("web", Duration::from_secs(30)).unwrap();
        assert!(step.percentile(0.5).unwrap() > 3000.0);
    })
    .unwrap();
}

#[test]
fn without_nginx_nobody_gets_through() {
    in_virtual_time(async {
        let (host, engine, proxy) = host(2.0);
        let nginx = id_of(&engine, "shop-nginx-1").await;
        engine.stop(&nginx, Duration::ZERO).await.unwrap();
        let told = proxy.publish(&to(&["shop-web-2"])).await;
        assert!(matches!(told, Err(ProxyError::NotRunning { .. })));
        sleep(Duration::from_secs(100)).await;
        let load = |seconds| host.world().load("web", Duration::from_secs(seconds));
        assert_eq!(load(60).unwrap().refused, load(60).unwrap().came);
        // It starts with what is written by now.
        engine.start(&nginx).await.unwrap();
        sleep(Duration::from_secs(60)).await;
        assert_eq!(load(50).unwrap().refused, 0.0);
        assert_eq!(host.world().services["web"].open("shop-web-1"), 0);
        assert!(host.world().services["web"].open("shop-web-2") > 0);
    })
    .unwrap();
}
