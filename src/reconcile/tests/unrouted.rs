//! A service without an upstream, where there is an nginx that may send requests to it all the same.

use super::*;

const WHY: &str = "nginx sends requests to it at web.conf:1, but it has several ports (80, 81)";

fn bench(numbers: &[u32]) -> MachineBench {
    let setup = ServiceSetup {
        routed: false,
        port: None,
        ..setup()
    };
    let mut bench = MachineBench::blind(setup, None);
    bench.machine.expect_a_look();
    bench.see(numbers);
    for number in numbers {
        bench.ready(*number);
    }
    bench
}

fn looked(bench: &mut MachineBench, barred: Option<&str>) -> Vec<Effect> {
    bench.hear(Event::Way {
        barred: barred.map(ToOwned::to_owned),
        nginx: None,
    })
}

#[test]
fn a_worker_is_scaled_once_nginx_was_looked_at() {
    let mut bench = bench(&[1, 2]);
    assert_eq!(asked(&bench.scale(3)), NOTHING);
    assert!(!bench.machine.is_at(2));
    assert_eq!(asked(&looked(&mut bench, None)), ["create 3"]);
    assert_eq!(asked(&bench.made(3)), ["probe 3"]);
    bench.ready(3);
    assert!(bench.machine.is_at(3));
    assert_eq!(asked(&bench.scale(1)), ["retire 2", "retire 3"]);
}

#[test]
fn an_nginx_that_cannot_be_looked_at_holds_a_worker_up_for_a_moment_only() {
    let mut bench = bench(&[1]);
    assert_eq!(asked(&bench.scale(2)), NOTHING);
    assert_eq!(asked(&bench.after(4)), NOTHING);
    assert_eq!(asked(&bench.after(1)), ["create 2"]);
}

#[test]
fn what_nginx_sends_requests_to_is_neither_grown_nor_shrunk_nor_said_to_be_there() {
    let mut bench = bench(&[1, 2]);
    assert_eq!(told(&looked(&mut bench, Some(WHY))), [WHY], "said at once");
    assert_eq!(told(&looked(&mut bench, Some(WHY))), NOTHING, "and once");
    for count in [3, 1, 2] {
        let effects = bench.scale(count);
        assert_eq!(asked(&effects), NOTHING, "{count}");
        let told = told(&effects);
        assert_eq!(told.last().map(String::as_str), Some(WHY), "{count}");
    }
    let trouble = bench.machine.trouble(bench.now, true);
    assert_eq!(trouble, Some(format!("web: {WHY}")));
    assert_eq!(asked(&looked(&mut bench, None)), NOTHING);
    assert_eq!(asked(&bench.scale(1)), ["retire 2"]);
}
