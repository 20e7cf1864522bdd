//! Containers that are started again without `watch`, as after a reboot: the Engine gives their addresses
//! away anew, and the files of nginx are of before.

use std::{collections::BTreeMap, process::Command, time::Duration};

mod support;

use support::{
    real,
    stack::{Stack, new_nginx, old_nginx},
    text,
};

const LONG: Duration = Duration::from_secs(30);
/// Beside `web` a service that nginx never sends to.
const WEB_AND_ADMIN: &str = "    stop_grace_period: 1s
    x-autoscale: {min: 1, max: 4, metrics: []}
  admin:
    image: WEB
    hostname: admin
    stop_grace_period: 1s";

fn docker(arguments: &[&str]) {
    let ran = Command::new("docker").args(arguments).output();
    let ran = ran.expect("docker runs");
    assert!(ran.status.success(), "{arguments:?}: {ran:?}");
}

/// The project's containers, by their address.
fn by_address(stack: &Stack) -> BTreeMap<String, String> {
    let containers = stack.project.inspect_all();
    let address = |one: &serde_json::Value| {
        let networks = one["NetworkSettings"]["Networks"].as_object().cloned();
        let mut networks = networks.unwrap_or_default().into_iter();
        networks.find_map(|(_, network)| Some(network["IPAddress"].as_str()?.to_owned()))
    };
    containers
        .iter()
        .filter_map(|one| {
            let name = text(&one["Name"]).trim_start_matches('/').to_owned();
            Some((address(one)?, name))
        })
        .collect()
}

/// Stops everything and starts it in another order: `admin` has the address of the first replica then.
fn reboot(stack: &mut Stack, between: impl FnOnce(&Stack)) {
    let before = by_address(stack);
    let mut order: Vec<_> = before.values().cloned().collect();
    let at = |part: &str| order.iter().position(|name| name.contains(part));
    let (admin, web) = (at("admin-1").expect("admin"), at("web-1").expect("web"));
    order.swap(admin, web);
    let all: Vec<_> = order.iter().map(String::as_str).collect();
    docker(&[&["stop"], all.as_slice()].concat());
    between(stack);
    for name in all {
        docker(&["start", name]);
    }
    stack.listen_again();
    let after = by_address(stack);
    assert_ne!(before, after, "the addresses were given away anew");
}

/// How often each host and status answers.
fn answers(stack: &Stack) -> BTreeMap<String, usize> {
    let mut seen = BTreeMap::new();
    for _ in 0..200 {
        let answer = stack.get("/host");
        let who = answer.map_or("nobody".into(), |(status, body)| match status {
            200 if body.trim() == "admin" => "admin".to_owned(),
            200 => "web".to_owned(),
            other => other.to_string(),
        });
        *seen.entry(who).or_default() += 1;
    }
    seen
}

fn in_nginx(stack: &Stack) -> Vec<bool> {
    let ps = stack.ps();
    let services = ps["services"].as_array().cloned().unwrap_or_default();
    let web = services.iter().find(|one| one["service"] == "web");
    let replicas = web.expect("web")["replicas"].as_array().cloned();
    let replicas = replicas.unwrap_or_default();
    let flags = replicas.iter().map(|one| one["in_nginx"] == true);
    flags.collect()
}

fn addresses_of_before_are_told_and_closed(nginx: &str) {
    let mut stack = Stack::up(nginx, WEB_AND_ADMIN);
    stack.must(&["scale", "web=2"]);
    assert_eq!(in_nginx(&stack), [true, true]);
    let fine = stack.run(&["check"]).stdout;
    assert!(!fine.contains("nginx-stale-address"), "{fine}");

    // Nothing looks after it: visitors get to a service that is not theirs, and that is told.
    reboot(&mut stack, |_| {});
    let open = answers(&stack);
    println!("{nginx}: without anything, of 200 requests: {open:?}");
    assert!(
        open.contains_key("admin"),
        "the case is what it should be: {open:?}"
    );
    assert_ne!(in_nginx(&stack), [true, true]);
    let found = stack.run(&["check"]);
    assert_eq!(found.code(), 1);
    assert!(
        found.stdout.contains("nginx-stale-address") && found.stdout.contains("admin-1's now"),
        "{}",
        found.stdout
    );
    stack.must(&["sync"]);
    assert_eq!(in_nginx(&stack), [true, true]);
    assert_eq!(answers(&stack).into_keys().collect::<Vec<_>>(), ["web"]);

    // With the unit that runs before the Engine nobody gets there.
    reboot(&mut stack, |stack| {
        let closed = stack.must(&["sync", "--before-engine"]).stdout;
        assert!(closed.contains("no addresses any more: web"), "{closed}");
    });
    let closed = answers(&stack);
    println!("{nginx}: with addresses taken out, of 200 requests: {closed:?}");
    assert_eq!(closed, BTreeMap::from([("502".to_owned(), 200)]));
    let watch = stack.watch(&[]);
    // The workers of before answer beside the new ones for a moment.
    stack.until("watch has let all visitors in", LONG, |stack| {
        let seen = answers(stack);
        assert!(!seen.contains_key("admin"), "{seen:?}");
        seen.into_keys().eq(["web"])
    });
    assert!(watch.terminate().success());
}

#[test]
fn addresses_of_before_a_reboot_are_told_and_closed_with_a_new_nginx() {
    if real() {
        addresses_of_before_are_told_and_closed(&new_nginx());
    }
}

#[test]
fn addresses_of_before_a_reboot_are_told_and_closed_with_an_old_nginx() {
    if real() {
        addresses_of_before_are_told_and_closed(&old_nginx());
    }
}
