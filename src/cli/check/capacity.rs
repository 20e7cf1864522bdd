//! What the machine holds.

use super::{CheckCode, CheckReport};
use crate::{
    compose::Loaded,
    engine::EngineInfo,
    host::{HostSample, Watcher},
    project::Replica,
    units::Size,
};

/// Tells what is free, and whether every service could grow to its maximum.
pub(super) fn check_capacity(
    loaded: &Loaded,
    info: &EngineInfo,
    containers: &[Replica],
    look: Option<&HostSample>,
    report: &mut CheckReport,
) {
    let Some(reserve) = loaded.settings.host.reserve_memory else {
        return;
    };
    let Some(look) = look.filter(|look| look.memory.0 == info.memory) else {
        report.ok(
            "host",
            "the Engine runs on another machine, so its memory is not checked",
        );
        return;
    };
    let kept = reserve.of(look.memory);
    let free = look.available.0.saturating_sub(kept.0);
    report.ok(
        "host",
        format!(
            "{} of {} memory are available, {} of it are reserved",
            Size(look.available),
            Size(look.memory),
            Size(kept)
        ),
    );
    for (name, policy) in &loaded.policies {
        let of_it = containers
            .iter()
            .filter(|one| one.service == *name && one.is_replica());
        let there = u32::try_from(of_it.clone().count()).unwrap_or(u32::MAX);
        let limit = of_it.filter_map(|one| one.limits.memory).max();
        let (Some(limit), Some(more)) = (limit, policy.max.checked_sub(there)) else {
            continue;
        };
        let fit = free / limit.0.max(1);
        if fit < u64::from(more) {
            let fit = match fit {
                0 => "none".to_owned(),
                some => format!("{some}"),
            };
            report.warn(
                CheckCode::NoRoom,
                name,
                format!("`max` allows {more} more, but the machine has memory for {fit}"),
                format!("lower its memory limit ({}) or `max`", Size(limit)),
            );
        }
    }
}

/// A look at this machine.
pub(super) fn look(now: crate::units::Timestamp) -> Option<HostSample> {
    Watcher::default().look(now)
}
