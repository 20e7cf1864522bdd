use super::*;

const AT: u64 = 1_767_268_800_000;

fn server(last: u8, service: &str) -> RoutedReplica {
    RoutedReplica {
        address: SocketAddr::from(([172, 18, 0, last], 80)),
        service: service.into(),
        replica: format!("shop-{service}-{last}"),
    }
}

/// Knows web at .1 and .2, and api at .9.
fn traffic() -> ServiceTraffic {
    let mut traffic = ServiceTraffic::new(Duration::from_secs(30));
    let servers = [server(1, "web"), server(2, "web"), server(9, "api")];
    traffic.route(["web", "api"].into_iter(), &servers, u64::MAX);
    traffic
}

/// A line as nginx writes it.
fn line(after: u64, status: u16, addresses: &str, times: &str, upstream: &str) -> String {
    let at = AT + after;
    let (seconds, millis) = (at / 1000, at % 1000);
    format!(
        "compose-scale/1\t{seconds}.{millis:03}\t{status}\t0.250\t{addresses}\t{times}\t0.000\t{upstream}"
    )
}

fn window(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The end of a window that ends so many seconds after the begin of all.
fn end_of(seconds: u64) -> u64 {
    AT + seconds * 1000 + LAG.as_millis() as u64
}

#[test]
fn a_line_says_when_how_long_who_and_how_it_ended() {
    let mut tries = Tries::default();
    let text = line(1500, 200, "172.18.0.1:80", "0.204", "web");
    let read = parse(&text, &mut tries).unwrap();
    assert_eq!(
        (read.at, read.status, read.took, read.upstream),
        (AT + 1500, 200, 250, "web")
    );
    let asked = |addresses: &str, times: &str| {
        let mut tries = Tries::default();
        parse(&line(0, 200, addresses, times, "web"), &mut tries).map(|_| {
            let each = tries
                .iter()
                .map(|one| (one.address.map(|a| a.to_string()), one.took));
            each.collect::<Vec<_>>()
        })
    };
    let some = |address: &str, took| (Some(address.to_owned()), took);
    assert_eq!(
        asked("172.18.0.1:80, 172.18.0.2:80", "1.000, 0.020"),
        Some(vec![some("172.18.0.1:80", 1000), some("172.18.0.2:80", 20)])
    );
    assert_eq!(
        asked("172.18.0.1:80 : [fd00::2]:8080", "0.001 : 0.002"),
        Some(vec![some("172.18.0.1:80", 1), some("[fd00::2]:8080", 2)])
    );
    // No server was left to ask; the client went away before the answer.
    assert_eq!(asked("web", "0.000"), Some(vec![(None, 0)]));
    assert_eq!(
        asked("172.18.0.1:80", "-"),
        Some(vec![some("172.18.0.1:80", 0)])
    );
    assert_eq!(asked("-", "-"), None, "answered by nginx itself");
}

#[test]
fn what_is_torn_foreign_or_huge_is_passed_over() {
    let mut traffic = traffic();
    let good = line(0, 200, "172.18.0.1:80", "0.010", "web");
    traffic.hear(good.as_bytes());
    for end in 0..good.len() {
        // A name that is cut is another name.
        if end < good.len() - "web".len() {
            traffic.hear(&good.as_bytes()[..end]);
        }
    }
    for foreign in [
        "",
        "127.0.0.1 - - [24/Nov/2026:15:00:00 +0000] \"GET / HTTP/1.1\" 200 5",
        "compose-scale/2\t1.000\t200\t0.1\t-\t-\t-\tweb",
        "compose-scale/1\t99999999999999999999.000\t200\t0.100\t172.18.0.1:80\t0.1\t-\tweb",
        "compose-scale/1\t1.000\t70000\t0.100\t172.18.0.1:80\t0.1\t-\tweb",
        "\t\t\t\t\t\t\t\t\t",
    ] {
        traffic.hear(foreign.as_bytes());
    }
    traffic.hear(&[0xff, 0xfe, b'\t']);
    traffic.hear("compose-scale/1\t".repeat(100_000).as_bytes());
    let load = traffic.of_service("web", end_of(1), window(1)).unwrap();
    assert_eq!(load.count, 1);
    let (lines, foreign) = traffic.lines();
    assert_eq!(lines - foreign, 1, "{lines} lines");
}

#[test]
fn requests_and_those_under_way_are_counted_over_the_window() {
    let mut traffic = traffic();
    // For ten seconds five requests a second, each of 200 ms: one under way at any time.
    for tick in 0..50 {
        let text = line(tick * 200 + 200, 200, "172.18.0.1:80", "0.200", "web");
        traffic.hear(text.as_bytes());
    }
    let load = traffic.of_service("web", end_of(10), window(10)).unwrap();
    assert!((load.requests - 5.0).abs() <= 0.1, "{load:?}");
    assert!((load.in_flight - 1.0).abs() < 0.02, "{load:?}");
    let first = traffic.of_replica("web", "shop-web-1", end_of(10), window(10));
    assert_eq!(first.unwrap(), load, "all of it was the first one's");
    let other = traffic.of_replica("web", "shop-web-2", end_of(10), window(10));
    assert_eq!(other.unwrap().count, 0);
    assert_eq!(
        traffic
            .of_service("api", end_of(10), window(10))
            .unwrap()
            .count,
        0
    );
    assert_eq!(traffic.of_service("db", end_of(10), window(10)), None);
    // Half of the window was silent.
    let later = traffic.of_service("web", end_of(15), window(10)).unwrap();
    assert!((later.requests - 2.5).abs() < 0.11, "{later:?}");
    assert_eq!(
        traffic
            .of_service("web", end_of(60), window(10))
            .unwrap()
            .count,
        0
    );
}

#[test]
fn requests_that_take_long_are_all_counted_and_none_as_more_than_one() {
    // Two a second, of five to twenty seconds each.
    for (took, expected) in [(5_000, 10.0), (10_000, 20.0), (20_000, 40.0)] {
        let mut traffic = traffic();
        for tick in 0..80 {
            let times = format!("{}.000", took / 1000);
            let text = line(tick * 500, 200, "172.18.0.1:80", &times, "web");
            traffic.hear(text.as_bytes());
        }
        let load = traffic.of_service("web", end_of(40), window(20)).unwrap();
        let off: f64 = load.in_flight / expected - 1.0;
        assert!(off.abs() < 0.01, "{took} ms: {load:?}");
    }
    // One of a day was one, and a websocket is no request that is worked on.
    let mut traffic = traffic();
    traffic.hear(line(2_500, 200, "172.18.0.1:80", "86400.000", "web").as_bytes());
    traffic.hear(line(2_500, 101, "172.18.0.1:80", "86400.000", "web").as_bytes());
    let load = traffic.of_service("web", end_of(5), window(5)).unwrap();
    assert!((load.in_flight - 1.0).abs() < 1e-9, "{load:?}");
    assert_eq!(load.count, 2);
}

#[test]
fn what_a_clock_wrote_that_was_set_back_is_passed_over() {
    let mut traffic = traffic();
    traffic.route(["web"].into_iter(), &[server(1, "web")], AT + 5_000);
    for after in [3_600_000, 1_000] {
        traffic.hear(line(after, 200, "172.18.0.1:80", "0.010", "web").as_bytes());
    }
    assert_eq!(
        traffic
            .of_service("web", end_of(2), window(2))
            .unwrap()
            .count,
        1
    );
}

#[test]
fn a_failed_try_is_an_error_of_the_request_and_of_the_replica_that_failed() {
    let mut traffic = traffic();
    let both = "172.18.0.1:80, 172.18.0.2:80";
    traffic.hear(line(100, 200, both, "1.000, 0.050", "web").as_bytes());
    traffic.hear(line(200, 200, "172.18.0.2:80", "0.050", "web").as_bytes());
    traffic.hear(line(300, 503, "172.18.0.2:80", "0.050", "web").as_bytes());
    traffic.hear(line(400, 404, "172.18.0.2:80", "0.050", "web").as_bytes());
    let at = (end_of(1), window(2));
    let all = traffic.of_service("web", at.0, at.1).unwrap();
    assert_eq!((all.count, all.errors), (4, 0.5));
    let of = |replica| traffic.of_replica("web", replica, at.0, at.1).unwrap();
    assert_eq!((of("shop-web-1").count, of("shop-web-1").errors), (1, 1.0));
    assert_eq!((of("shop-web-2").count, of("shop-web-2").errors), (4, 0.25));
}

#[test]
fn a_request_is_its_services_by_name_and_else_by_address() {
    let mut traffic = traffic();
    // FastCGI and gRPC have no proxy_host.
    traffic.hear(line(0, 200, "172.18.0.9:80", "0.010", "-").as_bytes());
    traffic.hear(line(0, 200, "172.18.0.77:80", "0.010", "WEB").as_bytes());
    traffic.hear(line(0, 200, "172.18.0.77:80", "0.010", "elsewhere").as_bytes());
    let count = |service| {
        traffic
            .of_service(service, end_of(1), window(1))
            .unwrap()
            .count
    };
    assert_eq!((count("api"), count("web")), (1, 1));
}

#[test]
fn percentiles_are_close_to_the_true_ones() {
    let mut traffic = traffic();
    for millis in 1..=1000u64 {
        let times = format!("{}.{:03}", millis / 1000, millis % 1000);
        let text = line(millis * 4, 200, "172.18.0.1:80", &times, "web");
        traffic.hear(text.as_bytes());
    }
    let load = traffic.of_service("web", end_of(5), window(5)).unwrap();
    for (share, expected) in [(0.5, 500.0), (0.9, 900.0), (0.95, 950.0), (0.99, 990.0)] {
        let found = load.latency(share).unwrap();
        let off = (found / expected - 1.0f64).abs();
        assert!(off < 0.025, "{share}: {found}");
    }
    let none = traffic.of_service("api", end_of(5), window(5)).unwrap();
    assert_eq!(none.latency(0.95), None);
}

#[test]
fn who_stays_keeps_what_is_known_and_an_address_belongs_to_whoever_has_it_now() {
    let mut traffic = traffic();
    traffic.hear(line(0, 200, "172.18.0.1:80", "0.010", "web").as_bytes());
    // The address of the first is given to a new one at once.
    let mut third = server(1, "web");
    third.replica = "shop-web-3".into();
    traffic.route(["web"].into_iter(), &[server(2, "web"), third], u64::MAX);
    traffic.hear(line(0, 200, "172.18.0.1:80", "0.010", "web").as_bytes());
    let of = |replica| traffic.of_replica("web", replica, end_of(1), window(1));
    assert_eq!(of("shop-web-3").unwrap().count, 1);
    assert_eq!(of("shop-web-1"), None);
    assert_eq!(
        traffic
            .of_service("web", end_of(1), window(1))
            .unwrap()
            .count,
        2
    );
    assert_eq!(traffic.of_service("api", end_of(1), window(1)), None);
}

#[test]
fn requests_without_a_server_are_told_once_and_only_while_they_are_news() {
    let mut traffic = ServiceTraffic::new(Duration::from_secs(60));
    let now = AT + 600_000;
    traffic.route(["web", "api"].into_iter(), &[server(1, "web")], now);
    let mut hear = |ago: u64, status, addresses, times, upstream| {
        traffic.hear(line(600_000 - ago, status, addresses, times, upstream).as_bytes());
    };
    hear(10, 502, "web", "0.000", "web");
    hear(10, 502, "172.18.0.1:80, web", "0.001, 0.000", "web");
    // Its replica was asked, and failed.
    hear(10, 502, "172.18.0.1:80", "0.001", "web");
    hear(10, 200, "172.18.0.1:80", "0.001", "web");
    // Long over when the log is read for the first time.
    hear(120_001, 502, "web", "0.000", "web");
    hear(10, 502, "api", "0.000", "api");
    assert_eq!(traffic.take_unserved("web"), 2);
    assert_eq!(traffic.take_unserved("web"), 0);
    assert_eq!(traffic.take_unserved("api"), 1);
    assert_eq!(traffic.take_unserved("none"), 0);
}

#[test]
fn an_internal_redirect_is_no_failure_and_who_found_no_server_took_no_time() {
    let mut traffic = traffic();
    traffic.hear(
        line(
            500,
            200,
            "172.18.0.1:80 : 172.18.0.2:80",
            "0.010 : 0.020",
            "web",
        )
        .as_bytes(),
    );
    let load = traffic.of_service("web", end_of(10), window(10)).unwrap();
    assert_eq!((load.count, load.errors), (1, 0.0));
    traffic.hear(line(600, 502, "web", "0.000", "web").as_bytes());
    let load = traffic.of_service("web", end_of(10), window(10)).unwrap();
    assert_eq!((load.count, load.errors), (2, 0.5));
    assert!(
        load.latency(0.01).unwrap() > 20.0,
        "{:?}",
        load.latency(0.01)
    );
    assert!(!traffic.is_upgraded("web"));
    traffic.hear(line(700, 101, "172.18.0.1:80", "60.000", "web").as_bytes());
    assert!(traffic.is_upgraded("web"));
}
