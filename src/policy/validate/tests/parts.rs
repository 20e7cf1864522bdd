//! What a policy has beside its bounds and metrics.

use serde_json::{Value, json};

use super::{each_is, good, wrong};
use crate::{
    policy::{Balance, Behavior, Rate, Ready, Select, Tolerance},
    units::Span,
};

#[test]
fn tolerance_is_one_number_or_one_for_each_direction() {
    let tolerance = |value: Value| good(json!({ "tolerance": value })).tolerance;
    let is = |up, down| Tolerance { up, down };
    assert_eq!(tolerance(json!(0)), is(0.0, 0.0));
    assert_eq!(tolerance(json!({"up": 0.05, "down": 0.2})), is(0.05, 0.2));
    assert_eq!(tolerance(json!({"down": 0.2})), is(0.1, 0.2));
    each_is(&[
        (
            json!({"tolerance": "10%"}),
            "tolerance: found `10%` (a text), expected a number of at least 0, like 0.1, or \
             {up: 0.05, down: 0.2}",
        ),
        (
            json!({"tolerance": {"up": -0.1}}),
            "tolerance.up: found `-0.1` (a number), expected a number of at least 0, like 0.1",
        ),
    ]);
}

#[test]
fn a_duration_has_its_unit() {
    let good = good(json!({
        "initialization_period": "0s", "ready_timeout": "1ms", "min_ready": "1m30s",
        "drain": {"timeout": "0s"},
    }));
    assert_eq!(good.min_ready, Span::seconds(90));
    each_is(&[
        (
            json!({"min_ready": 30}),
            "min_ready: found `30` (a number), expected a duration with its unit, like 30s, 5m or \
             1h30m",
        ),
        (
            json!({"initialization_period": "-5s"}),
            "initialization_period: found `-5s`, expected a duration with its unit, like 30s, 5m \
             or 1h30m",
        ),
        (
            json!({"min_ready": "1us"}),
            "min_ready: found `1us`, expected a duration of whole milliseconds",
        ),
        (
            json!({"ready_timeout": "0s"}),
            "ready_timeout: found `0s`, expected a duration above 0s",
        ),
    ]);
}

#[test]
fn what_behavior_leaves_out_keeps_its_default() {
    let read = good(json!({"behavior": {
        "scale_up": {"policies": [], "select": "min"},
        "scale_down": {"stabilization_window": "1m", "policies": [{"replicas": 2, "per": "10s"}]},
    }}));
    let mut expected = Behavior::default();
    expected.scale_up.policies = Vec::new();
    expected.scale_up.select = Select::Min;
    expected.scale_down.stabilization_window = Span::seconds(60);
    expected.scale_down.policies = vec![Rate::Replicas {
        replicas: 2,
        per: Span::seconds(10),
    }];
    assert_eq!(read.behavior, expected);
}

#[test]
fn a_rate_is_a_change_in_a_while() {
    let rates = |rates: Value| json!({"behavior": {"scale_down": {"policies": rates}}});
    let place = "behavior.scale_down.policies";
    for (rate, problem) in [
        (
            json!([{"percent": 10, "replicas": 1, "per": "15s"}]),
            ".0: found percent and replicas, expected only one of them",
        ),
        (
            json!([{"per": "15s"}]),
            ".0: the change is missing, expected percent or replicas",
        ),
        (
            json!([{"replicas": 1}]),
            ".0: `per` is missing, expected a duration like 15s",
        ),
        (
            json!([{"percent": "10%", "per": "15s"}]),
            ".0.percent: found `10%` (a text), expected a number above 0",
        ),
        (
            json!([{"replicas": 1.5, "per": "15s"}]),
            ".0.replicas: found `1.5` (a number), expected a whole number from 1 to 4294967295",
        ),
        (
            json!(["none"]),
            ".0: found `none` (a text), expected a map like {percent: 100, per: 15s} or \
             {replicas: 4, per: 15s}",
        ),
        (
            json!("none"),
            ": found `none` (a text), expected a list like [{percent: 100, per: 15s}], or [] for \
             no limit",
        ),
    ] {
        assert_eq!(wrong(rates(rate)), [format!("{place}{problem}")]);
    }
}

#[test]
fn ready_is_a_word_a_port_or_a_path() {
    for (value, ready) in [
        (json!("auto"), Ready::Auto),
        (json!("healthcheck"), Ready::Healthcheck),
        (json!("running"), Ready::Running),
        (json!({"tcp": 8080}), Ready::Tcp(8080)),
        (
            json!({"http": "/healthz?full=1"}),
            Ready::Http("/healthz?full=1".into()),
        ),
    ] {
        assert_eq!(good(json!({ "ready": value })).ready, ready);
    }
    let forms = "expected auto, healthcheck, running, {tcp: 80} or {http: /healthz}";
    for (value, problem) in [
        (json!("tcp"), format!("ready: found `tcp`, {forms}")),
        (json!(80), format!("ready: found `80` (a number), {forms}")),
        (
            json!({"tcp": 80, "http": "/"}),
            format!("ready: found a map with 2 keys, {forms}"),
        ),
        (
            json!({"https": "/"}),
            "ready.https: unknown key; did you mean `http`? allowed are tcp, http".into(),
        ),
    ] {
        assert_eq!(wrong(json!({ "ready": value })), [problem]);
    }
    for path in ["healthz", "/a b", "/ä", "/a\r\nHost: x", ""] {
        let problems = wrong(json!({"ready": {"http": path}}));
        let end = "expected a path like /healthz, without spaces, in printable ASCII";
        assert!(
            problems[0].ends_with(end) && !problems[0].contains('\n'),
            "{problems:?}"
        );
    }
}

#[test]
fn balance_is_a_word_a_hash_or_a_cookie() {
    for (value, balance) in [
        (json!("round_robin"), Balance::RoundRobin),
        (json!("least_conn"), Balance::LeastConn),
        (json!("ip_hash"), Balance::IpHash),
        (
            json!({"hash": "$request_uri"}),
            Balance::Hash("$request_uri".into()),
        ),
        (
            json!({"sticky_cookie": "srv"}),
            Balance::StickyCookie("srv".into()),
        ),
    ] {
        assert_eq!(good(json!({ "balance": value })).balance, balance);
    }
    each_is(&[
        (
            json!({"balance": "random"}),
            "balance: found `random`, expected round_robin, least_conn, ip_hash, \
             {hash: $$request_uri} or {sticky_cookie: srv}",
        ),
        (
            json!({"balance": {"hash": "a\nb"}}),
            "balance.hash: found `a\\nb`, expected a text with variables of nginx in lower case, \
             like $$request_uri",
        ),
        (
            json!({"balance": {"hash": "-"}}),
            "balance.hash: found `-`, expected a text with variables of nginx in lower case, like \
             $$request_uri: without one all requests go to one replica",
        ),
        (
            json!({"balance": {"hash": "a$-"}}),
            "balance.hash: found `a$-`, expected a text with variables of nginx in lower case, like \
             $$request_uri: without one all requests go to one replica",
        ),
        (
            json!({"balance": {"sticky_cookie": "srv path=/"}}),
            "balance.sticky_cookie: found `srv path=/`, expected the name of a cookie in letters, \
             digits, `_` and `-`",
        ),
    ]);
}

#[test]
fn a_port_is_one_that_can_be_listened_on() {
    assert_eq!(good(json!({"port": 65535})).port, Some(65535));
    for port in [json!(0), json!(65536), json!("80")] {
        let problem = wrong(json!({ "port": port })).remove(0);
        assert!(
            problem.ends_with("expected a whole number from 1 to 65535"),
            "{problem}"
        );
    }
}
