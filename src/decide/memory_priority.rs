//! Who goes first when several services want the last room of the machine: the one with the higher
//! priority, then the one further from its target, then the one whose name comes first.

use std::cmp::Ordering;

use crate::units::Bytes;

use super::{
    decide,
    input::{Input, KeptMemory},
};

/// More replicas that a service wants.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryRequest {
    /// The service.
    pub service: String,
    /// Its priority.
    pub priority: i32,
    /// How many times its target its load is.
    pub distance: f64,
    /// How many more.
    pub more: u32,
    /// Memory that each would take.
    pub each: Bytes,
}

/// What is kept for all of them.
pub fn sum(kept: &[KeptMemory]) -> Bytes {
    let each = kept.iter().map(|one| one.memory.0);
    Bytes(each.fold(0, u64::saturating_add))
}

/// What a service would want if there was memory for all of it; `None` if nothing more, and where the
/// size of its replicas is not known.
pub fn wish(mut input: Input) -> Option<MemoryRequest> {
    let host = input.host.as_mut()?;
    let each = host.replica_memory?;
    (host.free_memory, host.kept) = (None, Vec::new());
    let decision = decide(&input);
    let more = decision
        .desired
        .checked_sub(decision.current)
        .filter(|more| *more > 0)?;
    let times = decision.proposals.iter().filter_map(|one| {
        let target = one.target.or(one.above)?;
        Some(one.value? / target)
    });
    Some(MemoryRequest {
        service: input.service.unwrap_or_default(),
        priority: input.policy.priority,
        distance: times.fold(0.0, f64::max),
        more,
        each,
    })
}

/// What of the free memory is kept from a service for those that go before it: as many replicas of
/// each as fit into what the ones before leave. What holds none of them is of no use to them.
pub fn kept_from(service: &str, wishes: &[MemoryRequest], free: Bytes) -> Vec<KeptMemory> {
    let Some(own) = wishes.iter().find(|wish| wish.service == service) else {
        return Vec::new();
    };
    let mut first: Vec<_> = wishes
        .iter()
        .filter(|other| order(other, own) == Ordering::Less)
        .collect();
    first.sort_by(|one, other| order(one, other));
    let mut left = free.0;
    let mut kept = Vec::new();
    for wish in first {
        let fit = left.checked_div(wish.each.0).unwrap_or(0);
        let memory = fit.min(wish.more.into()) * wish.each.0;
        left -= memory;
        if memory > 0 {
            kept.push(KeptMemory {
                service: wish.service.clone(),
                memory: Bytes(memory),
            });
        }
    }
    kept
}

fn order(one: &MemoryRequest, other: &MemoryRequest) -> Ordering {
    other
        .priority
        .cmp(&one.priority)
        .then(other.distance.total_cmp(&one.distance))
        .then_with(|| one.service.cmp(&other.service))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::{HostCapacity, HostCpu, tests::fixture::web};

    /// A service of two replicas of 100 MiB each with this priority and load.
    fn wishing(service: &str, priority: i32, cpu: f64) -> MemoryRequest {
        let input = web(&[cpu; 2]).with(|input| {
            input.service = Some(service.into());
            input.policy.priority = priority;
            input.host = Some(HostCapacity {
                free_memory: Some(Bytes(0)),
                replica_memory: Some(Bytes(100 << 20)),
                ..HostCapacity::default()
            });
        });
        wish(input).unwrap()
    }

    const PLENTY: Bytes = Bytes(1 << 40);

    fn names(service: &str, wishes: &[MemoryRequest]) -> Vec<String> {
        let kept = kept_from(service, wishes, PLENTY).into_iter();
        kept.map(|one| one.service).collect()
    }

    #[test]
    fn a_wish_is_what_the_load_asks_for_without_the_machine() {
        // 95 of 60 with two replicas: four, so two more.
        let wish = wishing("web", 0, 95.0);
        assert_eq!((wish.more, wish.each), (2, Bytes(100 << 20)));
        assert!((wish.distance - 95.0 / 60.0).abs() < 1e-9);
        let calm = web(&[60.0; 2]).with(|input| {
            input.host = Some(HostCapacity {
                replica_memory: Some(Bytes(1)),
                ..HostCapacity::default()
            });
        });
        assert_eq!(super::wish(calm), None);
    }

    #[test]
    fn who_cannot_use_the_room_leaves_it_to_the_next() {
        let mut api = wishing("api", 0, 300.0);
        api.each = Bytes(2 << 30);
        let wishes = [api, wishing("shop", 0, 200.0), wishing("web", 0, 90.0)];
        let kept = |service: &str, mebibytes: u64| -> Vec<(String, u64)> {
            let kept = kept_from(service, &wishes, Bytes(mebibytes << 20)).into_iter();
            kept.map(|one| (one.service, one.memory.0 >> 20)).collect()
        };
        let of = |service: &str, mebibytes| (service.to_owned(), mebibytes);
        // Each may have four more at once, and of api's not one fits into 1 GiB.
        assert_eq!(kept("shop", 1024), []);
        assert_eq!(kept("web", 1024), [of("shop", 400)]);
        assert_eq!(kept("web", 250), [of("shop", 200)]);
        assert_eq!(kept("web", 3000), [of("api", 2048), of("shop", 400)]);
    }

    #[test]
    fn who_is_refused_for_the_cores_keeps_no_memory() {
        let full = web(&[95.0; 2]).with(|input| {
            input.host = Some(HostCapacity {
                replica_memory: Some(Bytes(1)),
                cpu: Some(HostCpu {
                    busy: 99.0,
                    reserve: 5.0,
                    pressure: None,
                }),
                ..HostCapacity::default()
            });
        });
        assert_eq!(wish(full), None);
    }

    #[test]
    fn the_higher_priority_goes_first_then_who_is_further_from_its_target() {
        let wishes = [
            wishing("api", 0, 90.0),
            wishing("batch", -5, 300.0),
            wishing("shop", 10, 70.0),
            wishing("web", 0, 95.0),
        ];
        assert_eq!(names("shop", &wishes), Vec::<String>::new());
        assert_eq!(names("web", &wishes), ["shop"]);
        assert_eq!(names("api", &wishes), ["shop", "web"]);
        assert_eq!(names("batch", &wishes), ["shop", "web", "api"]);
        assert_eq!(names("calm", &wishes), Vec::<String>::new());
    }
}
