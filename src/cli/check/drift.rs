//! Whether the replicas are what compose would make now.

use super::{CheckCode, CheckReport};
use crate::{
    compose::{LoadRequest, Loaded},
    engine::Engine,
    project::Replica,
    reconcile::Drift,
    watch::drift::{currents, fix},
};

/// Says which services have replicas that are behind the file.
pub(super) async fn check_drift(
    loaded: &Loaded,
    source: &LoadRequest,
    engine: &impl Engine,
    containers: &[Replica],
    report: &mut CheckReport,
) {
    for (name, current) in currents(engine, source, loaded, "check").await {
        let replicas = containers
            .iter()
            .filter(|c| c.is_replica() && c.service == name && !c.is_being_recreated());
        let drift = Drift::of(replicas, &current, |count| fix(loaded, &name, count));
        let Some(drift) = drift else {
            continue;
        };
        if drift.is_known() {
            report.warn(
                CheckCode::BehindFile,
                &name,
                drift.what(),
                drift.fix.as_str(),
            );
        } else {
            report.hint(
                CheckCode::BehindUnknown,
                &name,
                drift.what(),
                drift.fix.as_str(),
            );
        }
    }
}
