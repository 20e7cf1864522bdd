//! nginx's log: whatever is in it, each line is counted or passed over, and the numbers are numbers.

#![no_main]

use std::{net::SocketAddr, time::Duration};

use compose_scale::traffic::{RoutedReplica, ServiceTraffic};
use libfuzzer_sys::fuzz_target;

const NOW: u64 = 1_767_268_800_000;

fuzz_target!(|data: &[u8]| {
    let servers: Vec<_> = (1..=3)
        .map(|number: u8| RoutedReplica {
            address: SocketAddr::from(([172, 18, 0, number], 80)),
            service: "web".into(),
            replica: format!("shop-web-{number}"),
        })
        .collect();
    let mut traffic = ServiceTraffic::new(Duration::from_secs(30));
    traffic.route(["web", "api"].into_iter(), &servers, NOW + 5000);
    for line in data.split(|byte| *byte == b'\n') {
        traffic.hear(line);
    }
    let (lines, foreign) = traffic.lines();
    assert!(foreign <= lines);
    let window = Duration::from_secs(15);
    let of_replicas = servers
        .iter()
        .filter_map(|one| traffic.of_replica("web", &one.replica, NOW, window));
    let of_services = ["web", "api"]
        .into_iter()
        .filter_map(|name| traffic.of_service(name, NOW, window));
    for load in of_replicas.chain(of_services) {
        assert!(load.requests.is_finite() && load.requests >= 0.0);
        assert!(load.in_flight.is_finite() && load.in_flight >= 0.0);
        assert!((0.0..=1.0).contains(&load.errors));
        let p50 = load.latency(0.5);
        assert_eq!(p50.is_some(), load.latency(0.99).is_some());
        assert!(p50.is_none_or(|p50| load.latency(0.99).is_some_and(|p99| p99 >= p50)));
    }
});
