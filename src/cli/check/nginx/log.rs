//! The log that load is read from, and what nginx counts by itself.

use std::{path::Path, time::Duration};

use super::{
    super::{CheckCode, CheckReport},
    NginxCheck,
};
use crate::{
    policy::Policy,
    project::Replica,
    proxy::{
        inspect::Configuration,
        log_tail::{LIMIT, LogTail},
    },
    traffic::ServiceTraffic,
    units::{Bytes, Size, Span},
    watch::{RunClock, access_log_metrics, nginx_preflight, service_setup},
};

impl NginxCheck<'_> {
    /// The directory of the log that load is read from, here and as nginx sees it.
    pub(super) fn check_log_directory(&self, nginx: Option<&Replica>, report: &mut CheckReport) {
        let (Some(logs), Some((path, _))) = (
            &self.loaded.settings.nginx.logs,
            service_setup::log(self.loaded),
        ) else {
            return;
        };
        let directory = self.loaded.project.resolve(&logs.dir);
        let shown = directory.display();
        if !directory.is_dir() {
            report.error(
                CheckCode::NginxLogDirectory,
                "nginx",
                format!("the directory for its log, {shown}, does not exist"),
                format!("mkdir -p {shown}"),
            );
            return;
        }
        if let (Some(nginx), Some(inside)) = (nginx, &logs.inside) {
            let seen = nginx_preflight::seen_at(&directory, &nginx.mounts);
            if seen.as_ref() != Some(inside) {
                let base = &self.loaded.project.working_dir;
                let written = nginx_preflight::as_written(&directory, base, self.place);
                let then = self.place.with_other_volumes(&nginx.service);
                report.error(
                    CheckCode::NginxLogDirectory,
                    "nginx",
                    match seen {
                        None => format!(
                            "{shown} is not mounted into {}, so its log cannot be read",
                            nginx.name
                        ),
                        Some(seen) => format!(
                            "{shown} is mounted into {} at {}, and not at {}",
                            nginx.name,
                            seen.display(),
                            inside.display()
                        ),
                    },
                    format!(
                        "give nginx `volumes: [\"{written}:{}\"]`, then {then}",
                        inside.display()
                    ),
                );
                return;
            }
        }
        match std::fs::metadata(&path) {
            Ok(there) => {
                let size = Size(Bytes(there.len()));
                let what = format!("its log is {} ({size})", path.display());
                // A running `watch` begins it anew long before.
                if there.len() > 2 * LIMIT {
                    report.warn(
                        CheckCode::NginxLogGrows,
                        "nginx",
                        what,
                        "run `compose-scale watch`, which rotates it at 16 MiB",
                    );
                } else {
                    report.ok("nginx", what);
                }
                self.check_arrivals(&path, report);
            }
            Err(_) => report.warn(
                CheckCode::NginxLogMissing,
                "nginx",
                format!("its log {} does not exist yet", path.display()),
                "`compose-scale sync`, which makes nginx write it",
            ),
        }
    }

    /// Whether requests of the services whose load is read from the log are in it.
    fn check_arrivals(&self, path: &Path, report: &mut CheckReport) {
        let read = self.routed.iter().copied().filter(|service| {
            let policy = self.loaded.policies.get(*service);
            policy.is_some_and(Policy::reads_the_log)
        });
        let read: Vec<_> = read.collect();
        let now = RunClock::start().wall_millis();
        let mut heard = ServiceTraffic::new(Duration::ZERO);
        heard.route(read.iter().copied(), &[], u64::MAX);
        let begun = tokio::time::Instant::now().into_std();
        if let Err(error) = LogTail::new(path).read(begun, |line| heard.hear(line)) {
            let fix = "give this user read access to the directory, and free some space";
            report.error(
                CheckCode::NginxLogUnreadable,
                "nginx",
                error.to_string(),
                fix,
            );
            return;
        }
        for service in read {
            match heard.last(service) {
                Some(last) => {
                    let ago = Duration::from_millis(now.saturating_sub(last)).as_secs();
                    report.ok(
                        service,
                        format!("its last request in nginx's log ended {} ago", Span::seconds(ago)),
                    );
                }
                None => report.warn(CheckCode::NginxNoLines,
                    service,
                    "nginx's log has no request of it so far",
                    format!(
                        "request a page from nginx and check again; only requests by `proxy_pass http://{service};` count"
                    ),
                ),
            }
        }
    }

    /// What nginx counts by itself, where the user offers that.
    pub(super) async fn check_stub_status(&self, report: &mut CheckReport) {
        let logs = self.loaded.settings.nginx.logs.as_ref();
        let Some(url) = logs.and_then(|logs| logs.stub_status.as_ref()) else {
            return;
        };
        let behind = self.routed.len();
        match access_log_metrics::ask_status(url).await {
            Ok(_) if behind > 1 => report.warn(CheckCode::NginxStatus,
                "nginx",
                format!(
                    "stub_status counts all of nginx, which serves {behind} services: it is not used"
                ),
                "remove `nginx.logs.stub_status`; the log still counts finished requests per service",
            ),
            Ok(status) => {
                let under_way = status.writing.saturating_sub(1);
                report.ok("nginx", format!("stub_status: {under_way} under way"));
            }
            Err(error) => report.warn(CheckCode::NginxStatus,
                "nginx",
                format!("stub_status cannot be read at {url}: {error}"),
                "give nginx `location = /nginx_status { stub_status; }` and allow only this host to reach it",
            ),
        }
    }

    /// Whether requests to a service get into the log.
    pub(super) fn check_lines(
        &self,
        service: &str,
        configuration: &Configuration,
        report: &mut CheckReport,
    ) {
        let Some((_, log)) = service_setup::log(self.loaded) else {
            return;
        };
        let unlogged = configuration.unlogged(service, &log);
        let policy = self.loaded.policies.get(service);
        let read = policy.is_some_and(Policy::reads_the_log);
        for one in &unlogged {
            let wrong = nginx_preflight::not_logged(one, &self.loaded.project.name, &log);
            if read {
                report.error(wrong.kind.into(), service, wrong.what, wrong.fix);
            } else {
                report.warn(wrong.kind.into(), service, wrong.what, wrong.fix);
            }
        }
    }
}
