//! The project's settings.

use serde_json::{Value, json};

use super::{SERVICE_KEYS, lines, settings};
use crate::{
    policy::{
        HostReserve, NginxPlacement, NginxPolicy, Reserve, Settings,
        notify::{EventFilter, NotifyCommand, NotifyTarget},
    },
    units::{Bytes, Percent, Span},
};

fn wrong(value: &Value) -> Vec<String> {
    lines(settings(value).unwrap_err())
}

#[test]
fn settings_say_how_often_and_where_nginx_is() {
    let value = json!({
        "interval": "1s",
        "nginx": {
            "container": "edge-nginx",
            "upstreams": "./nginx/upstreams",
            "reload": ["systemctl", "reload", "nginx", ""],
            "test": "builtin",
        },
    });
    let expected = Settings {
        interval: Span::seconds(1),
        nginx: NginxPolicy {
            place: Some(NginxPlacement::Container("edge-nginx".into())),
            upstreams: Some("./nginx/upstreams".into()),
            reload: Some(
                ["systemctl", "reload", "nginx", ""]
                    .map(String::from)
                    .into(),
            ),
            test: None,
            ..NginxPolicy::default()
        },
        host: HostReserve::default(),
        notify: Vec::new(),
    };
    assert_eq!(settings(&value), Ok(expected));
    let named = settings(&json!({"nginx": {"service": "edge"}})).unwrap();
    assert_eq!(
        named.nginx.place,
        Some(NginxPlacement::Service("edge".into()))
    );
}

#[test]
fn what_is_kept_of_the_machine_is_a_share_a_size_or_nothing() {
    let host = |value: Value| settings(&json!({ "host": value })).unwrap().host;
    assert_eq!(host(json!({})), HostReserve::default());
    let kept = host(json!({"reserve_memory": "512m", "reserve_cpu": "none"}));
    assert_eq!(kept.reserve_memory, Some(Reserve::Bytes(Bytes(512 << 20))));
    assert_eq!(kept.reserve_cpu, None);
    let kept = host(json!({"reserve_memory": "25%", "reserve_cpu": "0%"}));
    let share = Percent::new(25.0).unwrap();
    assert_eq!(kept.reserve_memory, Some(Reserve::Share(share)));
    assert_eq!(Reserve::Share(share).of(Bytes(8 << 30)), Bytes(2 << 30));
    assert_eq!(kept.reserve_cpu, Percent::new(0.0));
    for kept in [
        HostReserve::default(),
        kept,
        host(json!({"reserve_memory": "none"})),
    ] {
        assert_eq!(host(serde_json::to_value(kept).unwrap()), kept);
    }
}

#[test]
fn who_is_told_is_a_url_a_webhook_or_a_command() {
    let read = settings(&json!({"notify": [
        "https://hooks.example.com:8443/T0/B1?a=%20",
        {"webhook": "http://[::1]:8080", "events": "all", "services": ["web"],
         "headers": {"Authorization": "Bearer x"}, "timeout": "2s", "retry": 0},
        {"command": ["page-me", ""], "events": ["died", "trouble"], "timeout": "1m"},
    ]}));
    let [short, webhook, command] = read.unwrap().notify.try_into().unwrap();
    assert_eq!(short.events, EventFilter::default());
    assert!(short.services.is_empty());
    let NotifyTarget::Webhook(short) = short.target else {
        panic!("{short:?}");
    };
    assert_eq!(
        short.url.secret(),
        "https://hooks.example.com:8443/T0/B1?a=%20"
    );
    assert_eq!((short.timeout, short.retry), (Span::seconds(10), 5));
    assert_eq!(webhook.events, EventFilter::All);
    assert_eq!(webhook.services, ["web"]);
    let NotifyTarget::Webhook(webhook) = webhook.target else {
        panic!("{webhook:?}");
    };
    assert_eq!(webhook.headers.0["Authorization"], "Bearer x");
    assert_eq!((webhook.timeout, webhook.retry), (Span::seconds(2), 0));
    assert_eq!(
        command.events,
        EventFilter::Some(vec!["died".into(), "trouble".into()])
    );
    let hook = NotifyCommand {
        argv: vec!["page-me".into(), String::new()],
        timeout: Span::seconds(60),
    };
    assert_eq!(command.target, NotifyTarget::Command(hook));
}

#[test]
fn every_mistake_of_the_settings_is_named_at_once() {
    let value = json!({
        "intervall": "5s",
        "interval": "999ms",
        "port": 80,
        "nginx": {"service": "a", "container": "b", "upstreams": 1, "image": "nginx"},
    });
    let allowed = "allowed are interval, nginx, host, notify, min, max, metrics, priority, schedule, \
                   tolerance, initialization_period, behavior, ready, ready_timeout, min_ready, slow_start, \
                   drain, balance";
    assert_eq!(
        wrong(&value),
        [
            &*format!("intervall: unknown key; did you mean `interval`? {allowed}"),
            "port: belongs to a service: each has its own",
            "interval: found `999ms`, expected a duration of at least 1s",
            "nginx.image: unknown key; allowed are service, container, host, upstreams, logs, reload, test, pid, reach",
            "nginx: found service and container, expected only one of them",
            "nginx.upstreams: found `1` (a number), expected the path of a directory, like \
             ./nginx/upstreams",
        ]
    );
}

#[test]
fn a_command_is_a_list_of_words_because_no_shell_splits_it() {
    let nginx = |key: &str, value: Value| json!({"nginx": {key: value}});
    let list = r#"expected builtin or a list like ["systemctl", "reload", "nginx"]; it is run without a shell"#;
    for (value, found) in [
        (json!("systemctl reload nginx"), "a text"),
        (json!([]), "an empty list"),
        (json!(true), "`true` (a truth value)"),
    ] {
        let problem = format!("nginx.reload: found {found}, {list}");
        assert_eq!(wrong(&nginx("reload", value)), [problem]);
    }
    assert_eq!(
        wrong(&nginx("test", json!(["", 1]))),
        [
            "nginx.test.0: found `` (a text), expected the name of a program",
            "nginx.test.1: found `1` (a number), expected a text; put it in quotes",
        ]
    );
}

#[test]
fn defaults_of_services_are_left_to_the_services() {
    for key in SERVICE_KEYS.iter().filter(|key| **key != "port") {
        assert_eq!(
            settings(&json!({*key: "whatever"})),
            Ok(Settings::default()),
            "{key}"
        );
    }
}
