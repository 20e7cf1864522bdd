//! The version of nginx, and what it brings.

use crate::{
    cli::check::{CheckCode, CheckReport},
    proxy::{
        Features, ProxyError,
        nginx::{self, Control},
    },
};

/// Returns whether it can be asked anything.
pub(super) async fn check_version<C: Control>(control: &C, report: &mut CheckReport) -> bool {
    let features = match nginx::features(control).await {
        Ok(features) => features,
        Err(error) => {
            unanswered(&error, &control.name(), report);
            return false;
        }
    };
    check_features(&features, &control.name(), report);
    true
}

/// What it means that it cannot be asked for its version.
pub(super) fn unanswered(error: &ProxyError, name: &str, report: &mut CheckReport) {
    let what = format!("{name}: {error}");
    let log = format!("see why in its log: `docker logs --tail 20 {name}`");
    match error {
        ProxyError::NoProgram { .. } => {
            let fix = "use an image whose `nginx` is on the PATH";
            report.error(CheckCode::NginxVersion, "nginx", what, fix);
        }
        // It ran a moment ago.
        ProxyError::NotRunning { .. } => {
            let what =
                format!("{name} ended while it was looked at, as one that crashes at its start");
            report.error(CheckCode::NginxCrashing, "nginx", what, log);
        }
        _ => report.error(CheckCode::NginxUnanswered, "nginx", what, log),
    }
}

/// What its version brings.
pub(super) fn check_features(features: &Features, name: &str, report: &mut CheckReport) {
    match features {
        Features {
            version: Some(version),
            keepalive_min_timeout: true,
            ..
        } => report.ok("nginx", format!("{version} in {name}")),
        Features {
            version: Some(version),
            ..
        } => report.warn(CheckCode::NginxOld,
            "nginx",
            format!(
                "{version} closes idle keep-alive connections at a reload, and may lose a request that arrives on one"
            ),
            "use nginx 1.27.4 or newer, which has `keepalive_min_timeout`",
        ),
        Features { version: None, .. } => {
            report.warn(
                CheckCode::NginxVersion,
                "nginx",
                "its version is unknown, so newer directives are not used",
                "use an image whose `nginx -v` prints a version, best 1.27.4 or newer",
            );
        }
    }
}
