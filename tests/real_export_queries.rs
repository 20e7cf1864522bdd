//! A real Prometheus answers the queries of exported autoscalers, from a page of counters as an ingress controller has
//! it, with the number that `watch` reads from nginx's log.

mod support;

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use compose_scale::{
    export::autoscale::{AutoscaleSubject, Controller, autoscaler},
    policy::{self, Policy},
    project::Limits,
};
use serde_json::{Value, json};

use support::{
    deadline,
    monitoring::{Exporter, Prometheus, items, prometheus_program},
    text,
};

const LONG: Duration = Duration::from_secs(60);

/// Requests per second; so many of a hundred fail.
const REQUESTS: f64 = 40.0;
const FAILED: f64 = 5.0;
/// What all of them take together, per second.
const IN_FLIGHT: f64 = 12.0;

/// The counters of one service after some seconds, with these labels and those for a status.
fn counted(
    names: [&str; 2],
    labels: &str,
    status: &str,
    buckets: &[(f64, f64)],
    seconds: f64,
) -> String {
    let [requests, duration] = names;
    let mut page = String::new();
    for (code, share) in [("200", 100.0 - FAILED), ("503", FAILED)] {
        let labels = format!("{labels},{status}=\"{code}\"");
        let all = REQUESTS * seconds * share / 100.0;
        let _ = writeln!(page, "{requests}{{{labels}}} {all}");
        for (end, within) in buckets {
            let _ = writeln!(
                page,
                "{duration}_bucket{{{labels},le=\"{end}\"}} {}",
                all * within
            );
        }
        let _ = writeln!(page, "{duration}_bucket{{{labels},le=\"+Inf\"}} {all}");
        let _ = writeln!(
            page,
            "{duration}_sum{{{labels}}} {}",
            IN_FLIGHT * seconds * share / 100.0
        );
        let _ = writeln!(page, "{duration}_count{{{labels}}} {all}");
    }
    page
}

const TRAEFIK: [&str; 2] = [
    "traefik_service_requests_total",
    "traefik_service_request_duration_seconds",
];
const NGINX: [&str; 2] = [
    "nginx_ingress_controller_requests",
    "nginx_ingress_controller_request_duration_seconds",
];
/// So many requests have ended by then that 95% take 0.25 s: three quarters of the way from 0.1 s to 0.3 s.
const COARSE: [(f64, f64); 4] = [(0.1, 0.8), (0.3, 1.0), (1.2, 1.0), (5.0, 1.0)];
const FINE: [(f64, f64); 4] = [(0.1, 0.7), (0.25, 0.95), (0.5, 1.0), (10.0, 1.0)];

fn page(seconds: f64) -> String {
    let traefik = |service: &str| {
        format!("method=\"GET\",protocol=\"http\",service=\"shop-{service}-80@kubernetes\"")
    };
    let mut page = counted(TRAEFIK, &traefik("web"), "code", &COARSE, seconds);
    // Nobody asks this one any more, and nothing of it ever failed.
    let quiet = counted(TRAEFIK, &traefik("quiet"), "code", &COARSE, 1.0);
    for line in quiet.lines().filter(|line| !line.contains("503")) {
        let _ = writeln!(page, "{line}");
    }
    // Websockets: long, and none of the load.
    let socket = traefik("web").replace("http", "websocket") + ",code=\"101\"";
    let _ = writeln!(page, "{}_sum{{{socket}}} {}", TRAEFIK[1], 1e6 * seconds);
    for (space, service, name) in [
        ("exported_namespace", "exported_service", "web"),
        ("exported_namespace", "service", "api"),
        ("namespace", "service", "app"),
    ] {
        let labels = format!("method=\"GET\",{space}=\"shop\",{service}=\"{name}\"");
        page += &counted(NGINX, &labels, "status", &FINE, seconds);
        let _ = writeln!(
            page,
            "{}_sum{{{labels},status=\"101\"}} {}",
            NGINX[1],
            1e6 * seconds
        );
    }
    // A namespace that is not meant.
    page += &counted(
        NGINX,
        "namespace=\"other\",service=\"app\"",
        "status",
        &FINE,
        seconds,
    );
    for (pod, queue, value) in [
        ("web-1-a", "mail", 3),
        ("web-1-b", "mail", 6),
        ("api-1-a", "post", 90),
    ] {
        let _ = writeln!(page, "busy{{pod=\"{pod}\",queue=\"{queue}\"}} {value}");
    }
    page +=
        "waiting{queue=\"mail\",kind=\"a$b\"} 7\nwaiting{queue=\"post\",kind=\"a$b\"} 8\n# EOF\n";
    page
}

/// The triggers of a policy with these metrics, by name: their query and their target.
fn queries(name: &str, ingress: Controller, metrics: &Value) -> BTreeMap<String, String> {
    let policy: Policy =
        policy::for_compose(&json!({"max": 8, "metrics": metrics})).expect("a policy");
    let object = autoscaler(&AutoscaleSubject {
        service: name,
        name,
        namespace: "shop",
        port: Some(80),
        policy: &policy,
        limits: Limits::default(),
        ingress: Some(ingress),
        prometheus: "http://prometheus:9090",
        names: &BTreeMap::new(),
        labels: &BTreeMap::new(),
    });
    let object = object.object.expect("an object").value;
    let triggers = items(&object["spec"]["triggers"]).iter();
    triggers
        .map(|trigger| {
            let query = text(&trigger["metadata"]["query"]);
            // A test has no minute until a rate is whole.
            (
                text(&trigger["name"]).to_owned(),
                query.replace("[1m]", "[5s]"),
            )
        })
        .collect()
}

fn served() -> Value {
    json!([{"requests": 50}, {"in_flight": 8}, {"latency": {"p95": "300ms"}}, {"errors": {"above": "20%"}}])
}

#[test]
fn each_query_gives_the_number_of_our_own_metric() {
    let Some(program) = prometheus_program() else {
        return;
    };
    let began = deadline(Duration::ZERO);
    // Counters begin with what there was before.
    let exporter = Exporter::start(move |_| page(100.0 + began.elapsed().as_secs_f64()));
    let prometheus = Prometheus::start(&program, &exporter.address);

    let mut expected: Vec<(String, String, Option<f64>)> = Vec::new();
    let mut expect =
        |whose: &str, queries: BTreeMap<String, String>, values: &[(&str, Option<f64>)]| {
            assert_eq!(queries.len(), values.len(), "{queries:?}");
            for (name, value) in values {
                expected.push((format!("{name} of {whose}"), queries[*name].clone(), *value));
            }
        };
    let numbers = [
        ("requests", Some(REQUESTS)),
        ("in_flight", Some(IN_FLIGHT)),
        ("latency", Some(250.0)),
        ("errors", Some(FAILED)),
    ];
    for (controller, name) in [
        (Controller::Traefik, "web"),
        (Controller::Nginx, "web"),
        (Controller::Nginx, "api"),
        (Controller::Nginx, "app"),
    ] {
        let whose = format!("{name} behind {controller:?}");
        expect(&whose, queries(name, controller, &served()), &numbers);
    }
    // No traffic is no load, and what is not there is no reading.
    let none = numbers.map(|(name, _)| (name, Some(0.0)));
    expect(
        "quiet",
        queries("quiet", Controller::Traefik, &served()),
        &none,
    );
    let nothing = numbers.map(|(name, _)| (name, None));
    expect(
        "nobody",
        queries("nobody", Controller::Traefik, &served()),
        &nothing,
    );
    expect(
        "nobody",
        queries("nobody", Controller::Nginx, &served()),
        &nothing,
    );
    // However many fail, only a little more is asked for.
    let few = queries(
        "web",
        Controller::Traefik,
        &json!([{"errors": {"above": "2%"}}]),
    );
    expect("few", few, &[("errors", Some(2.02))]);
    let custom = |query: &str, labels: Value, target: &str| {
        let source =
            json!({"url": "http://prometheus.example:9090", "query": query, "labels": labels});
        let metrics = json!([{"custom": {"name": "own", "prometheus": source, target: 4}}]);
        queries("web", Controller::Traefik, &metrics)
    };
    let mean = custom(r#"busy{pod="{name}"}"#, json!({}), "per_replica_target");
    expect("the mean", mean, &[("own", Some(4.5))]);
    let one = custom(
        "waiting",
        json!({"queue": "mail", "kind": "a$b"}),
        "average_target",
    );
    expect("one of two", one, &[("own", Some(7.0))]);

    let end = deadline(LONG);
    loop {
        let wrong: Vec<String> = expected
            .iter()
            .filter_map(|(what, query, value)| {
                let found = match prometheus.ask(query) {
                    Ok(found) => found,
                    Err(error) => return Some(format!("{what}: {error}: {query}")),
                };
                let numbers: Vec<f64> = found
                    .iter()
                    .map(|one| text(&one["value"][1]).parse().expect("a number"))
                    .collect();
                let right = match (value, &numbers[..]) {
                    (None, []) => true,
                    (Some(value), [number]) => (number - value).abs() <= 0.05 * value,
                    _ => false,
                };
                (!right).then(|| format!("{what}: {numbers:?} and not {value:?}: {query}"))
            })
            .collect();
        // What finds nothing must not be asked before there is something.
        if wrong.is_empty() {
            break;
        }
        assert!(end.elapsed().is_zero(), "{}", wrong.join("\n"));
        std::thread::sleep(Duration::from_millis(500));
    }
}
