//! What reading nginx's log costs: `cargo bench --bench traffic`.

use std::{fmt::Write as _, net::SocketAddr, time::Duration};

use compose_scale::traffic::{RoutedReplica, ServiceTraffic};
use divan::{Bencher, counter::ItemsCount};

const LINES: usize = 1_000_000;
const AT: u64 = 1_767_268_800_000;

fn main() {
    divan::main();
}

/// So many replicas of four services.
fn servers(count: u8) -> Vec<RoutedReplica> {
    let server = |number: u8| RoutedReplica {
        address: SocketAddr::from(([172, 18, 0, number], 80)),
        service: format!("service-{}", number % 4),
        replica: format!("shop-service-{}-{number}", number % 4),
    };
    (0..count).map(server).collect()
}

/// A million lines of a minute, as they come out of the file.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn a_million_lines(bencher: Bencher<'_, '_>) {
    let mut text = String::new();
    for line in 0..LINES {
        let at = AT + (line as u64) * 60_000 / LINES as u64;
        let number = line % 20;
        let took = line % 997;
        let _ = writeln!(
            text,
            "compose-scale/1\t{}.{:03}\t200\t0.{took:03}\t172.18.0.{number}:80\t0.{took:03}\t0.000\tservice-{}",
            at / 1000,
            at % 1000,
            number % 4
        );
    }
    let services: Vec<_> = (0..4).map(|number| format!("service-{number}")).collect();
    bencher
        .counter(ItemsCount::new(LINES))
        .with_inputs(|| {
            let mut traffic = ServiceTraffic::new(Duration::from_secs(30));
            traffic.route(services.iter().map(String::as_str), &servers(20), u64::MAX);
            traffic
        })
        .bench_values(|mut traffic| {
            for line in text.as_bytes().split(|byte| *byte == b'\n') {
                traffic.hear(line);
            }
            traffic.of_service("service-1", AT + 60_000, Duration::from_secs(15))
        });
}
