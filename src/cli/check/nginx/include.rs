//! How nginx's own configuration includes a service's files, and hands requests to it.

use crate::{
    cli::check::{CheckCode, CheckReport},
    proxy::inspect::Findings,
    watch::nginx_preflight,
};

pub(super) fn one_include(
    service: &str,
    directory: &str,
    findings: &Findings,
    report: &mut CheckReport,
) {
    for wrong in nginx_preflight::not_included(service, directory, findings) {
        report.error(wrong.kind.into(), service, wrong.what, wrong.fix);
        if let Some(place) = &wrong.place {
            report.at(&place.file, place.line);
        }
    }
    if let [place] = findings.included.as_slice() {
        report.ok(service, format!("its upstream is included at {place}"));
    }
    if findings.passes.is_empty() {
        let doubt = if findings.variable.is_empty() {
            String::new()
        } else {
            " (a target with variables may)".to_owned()
        };
        report.warn(
            CheckCode::NginxNoPass,
            service,
            format!("no proxy_pass sends requests to it{doubt}"),
            format!("in its location: `proxy_pass http://{service};`"),
        );
    }
    for pass in findings.passes.iter().filter(|pass| pass.takes_settings()) {
        if !pass.settings {
            report.warn(
                CheckCode::NginxNoSettings,
                service,
                format!(
                    "{}: this location lacks the settings for retries, timeouts and keep-alive",
                    pass.place
                ),
                format!("add `include {directory}/{service}.location*;` to the location"),
            );
            report.at(&pass.place.file, pass.place.line);
        }
        if let Some(place) = &pass.hides_headers_of {
            report.warn(CheckCode::NginxHeadersHidden,
                service,
                format!("{}: the headers set at {place} do not apply here, because this location sets its own", pass.place),
                "repeat those proxy_set_header lines in the location",
            );
            report.at(&pass.place.file, pass.place.line);
        }
    }
}
