//! Replicas that serve their requests far worse than their siblings.

use std::time::Duration;

use super::ReplicaView;
use crate::units::Short;

/// With fewer requests per second a replica's numbers are chance.
const ENOUGH: f64 = 1.0;
/// A younger one is not compared: its numbers are of less than the others' time.
const GROWN: Duration = Duration::from_secs(30);
/// So many others at least say what is usual.
const SIBLINGS: usize = 2;
/// One that is far out has so many times what its siblings have, …
const TIMES: f64 = 3.0;
/// … and at least so many milliseconds more, …
const LATER: f64 = 50.0;
/// … or so many percent more of its requests fail.
const MORE_ERRORS: f64 = 10.0;

/// Each of them in a sentence, like `shop-web-3 stands out: p95 900ms, its siblings 45ms`.
pub(super) fn outliers(replicas: &[ReplicaView]) -> Vec<String> {
    // What has just begun has not been asked in the same time.
    let asked = |one: &&ReplicaView| {
        one.requests.is_some_and(|each| each >= ENOUGH) && one.age.is_some_and(|age| age.0 >= GROWN)
    };
    let asked: Vec<_> = replicas.iter().filter(asked).collect();
    let mut found = Vec::new();
    for one in &asked {
        let usual = |value: fn(&ReplicaView) -> Option<f64>| {
            let others = asked.iter().filter(|other| other.name != one.name);
            median(others.filter_map(|other| value(other)).collect())
        };
        let mut odd = Vec::new();
        if let (Some(own), Some(others)) = (one.p95, usual(|one| one.p95))
            && own >= (others * TIMES).max(others + LATER)
        {
            let (own, others) = (own.round(), others.round());
            odd.push(format!("p95 {own}ms, its siblings {others}ms"));
        }
        if let (Some(own), Some(others)) = (one.errors, usual(|one| one.errors))
            && own >= (others * TIMES).max(others + MORE_ERRORS)
        {
            let (own, others) = (Short(own), Short(others));
            odd.push(format!("errors {own}%, its siblings {others}%"));
        }
        if !odd.is_empty() {
            found.push(format!("{} stands out: {}", one.name, odd.join("; ")));
        }
    }
    found
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    if values.len() < SIBLINGS {
        return None;
    }
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    Some(if values.len().is_multiple_of(2) {
        f64::midpoint(values[middle - 1], values[middle])
    } else {
        values[middle]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        project::{ContainerId, ContainerState, Health},
        units::Span,
    };

    fn replicas(values: &[(f64, f64, f64)]) -> Vec<ReplicaView> {
        let each = values.iter().zip(1..);
        each.map(|((requests, p95, errors), number)| ReplicaView {
            name: format!("shop-web-{number}"),
            id: ContainerId(number.to_string()),
            number,
            state: ContainerState::Running,
            health: Health::None,
            phase: "serving".into(),
            in_nginx: true,
            age: Some(Span::seconds(60)),
            address: None,
            cpu: None,
            memory: None,
            requests: Some(*requests),
            in_flight: None,
            p95: Some(*p95),
            errors: Some(*errors),
            image: String::new(),
        })
        .collect()
    }

    #[test]
    fn who_is_far_from_the_others_is_named() {
        let slow = replicas(&[(9.0, 45.0, 0.0), (9.0, 50.0, 1.0), (9.0, 900.4, 0.0)]);
        assert_eq!(
            outliers(&slow),
            ["shop-web-3 stands out: p95 900ms, its siblings 48ms"]
        );
        let broken = replicas(&[(9.0, 45.0, 60.0), (9.0, 50.0, 1.0), (9.0, 60.0, 2.0)]);
        assert_eq!(
            outliers(&broken),
            ["shop-web-1 stands out: errors 60%, its siblings 1.5%"]
        );
    }

    #[test]
    fn what_is_near_small_rare_or_without_siblings_is_not() {
        for values in [
            [(9.0, 45.0, 0.0), (9.0, 50.0, 1.0), (9.0, 120.0, 5.0)],
            [(9.0, 2.0, 0.0), (9.0, 3.0, 0.0), (9.0, 40.0, 9.0)],
            [(9.0, 45.0, 0.0), (9.0, 50.0, 1.0), (0.5, 9000.0, 100.0)],
            [(9.0, 45.0, 0.0), (0.2, 50.0, 1.0), (9.0, 9000.0, 100.0)],
            [(9.0, 900.0, 80.0), (9.0, 1000.0, 90.0), (9.0, 900.0, 100.0)],
        ] {
            assert_eq!(outliers(&replicas(&values)), [""; 0], "{values:?}");
        }
        let mut new = replicas(&[(9.0, 45.0, 0.0), (9.0, 45.0, 0.0), (9.0, 900.0, 0.0)]);
        for replica in &mut new[..2] {
            replica.age = Some(Span::seconds(10));
        }
        assert_eq!(
            outliers(&new),
            [""; 0],
            "the old one still has what had waited"
        );
    }
}
