//! The code that reads foreign files, and what must hold whatever is in them. libFuzzer runs these functions, and
//! so does a test, with the inputs in `corpus`.

use std::{net::SocketAddr, time::Duration};

use compose_scale::{
    compose::{LoadRequest, fuzzing, load, render},
    decide::{Input, decide},
    traffic::{RoutedReplica, ServiceTraffic},
};

/// The time at which nginx's log is read, in milliseconds since 1970.
const NOW: u64 = 1_767_268_800_000;

/// A decision input in JSON: what is read is decided on, within its bounds, the same each time, and
/// is itself again after it was written down.
pub fn decision(data: &[u8]) {
    let Ok(input) = serde_json::from_slice::<Input>(data) else {
        return;
    };
    let decision = decide(&input);
    let paused_or_held = input.paused.is_some() || input.hold.is_some();
    if !paused_or_held && input.host.is_none() {
        let bounds = input.policy.min..=input.policy.max;
        let desired = decision.desired;
        assert!(bounds.contains(&desired), "{desired} is not in {bounds:?}");
    }
    assert!(!decision.message.is_empty());
    let written = serde_json::to_string(&input).expect("an input can be written");
    let again: Input = serde_json::from_str(&written).expect("what was written can be read");
    assert_eq!(decide(&again), decision, "{written}");
}

/// `$VAR` and `${VAR…}` in values, and `.env` files: the first line is a template, the rest a file.
pub fn interpolation(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (template, file) = text.split_once('\n').unwrap_or((text, ""));
    // Variables that name each other must not grow beyond what is promised.
    if let Ok(made) = fuzzing::interpolate(template, file) {
        let bound = template.len().max(1 << 20);
        assert!(
            made.len() <= bound,
            "{} bytes of {}",
            made.len(),
            data.len()
        );
    }
}

/// A compose file from standard input: it ends with a project, which can be printed, or with
/// mistakes, which can be told.
pub fn loader(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let request = LoadRequest {
        files: vec!["-".into()],
        // Nothing is there that `include`, `extends` or `env_file` could read.
        cwd: "/nowhere".into(),
        project_name: Some("p".into()),
        stdin: Some(text.to_owned()),
        ..LoadRequest::default()
    };
    match load(&request) {
        Ok(loaded) => assert!(!render::to_yaml(&loaded).is_empty()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// nginx's log: whatever is in it, each line is counted or passed over, and the numbers are numbers.
pub fn log(data: &[u8]) {
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
}
