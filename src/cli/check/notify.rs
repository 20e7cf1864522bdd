//! Notifications: whether those who are to be told can be, and, on request, a test to each.

use std::{
    net::IpAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use futures_util::future::join_all;

use super::{CheckCode, CheckReport};
use crate::{
    compose::Loaded,
    notify,
    policy::{
        Notify,
        notify::{EventFilter, NotifyTarget, SecretUrl},
    },
    sources::command,
    telemetry::plain,
    watch::RunClock,
};

const ABOUT: &str = "notify";
/// How long a name is looked up.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn check_targets(loaded: &Loaded, send_test: bool, report: &mut CheckReport) {
    let all = &loaded.settings.notify;
    for one in all {
        let before = report.findings.len();
        match &one.target {
            NotifyTarget::Command(hook) => {
                let program = hook.argv.first().map_or("", String::as_str);
                check_program(program, &loaded.project.working_dir, report);
            }
            NotifyTarget::Webhook(webhook) => check_url(&webhook.url, report).await,
        }
        if report.findings.len() == before {
            report.ok(ABOUT, format!("{} gets {}", name(one), events(one)));
        }
    }
    if !send_test {
        return;
    }
    if all.is_empty() {
        report.warn(CheckCode::NotifyNobody,
            ABOUT,
            "there is no notification target, so no test was sent",
            "add `x-autoscale: {notify: [{webhook: \"https://…\"}]}` at the top level of the compose file",
        );
    }
    let project = &loaded.project;
    let tests = all.iter().map(|one| {
        let service = one
            .services
            .first()
            .or_else(|| loaded.policies.keys().next());
        let service = service.map_or("", String::as_str);
        let now = RunClock::start().now();
        notify::test(one, &project.name, &project.working_dir, service, now)
    });
    for (one, answer) in all.iter().zip(join_all(tests).await) {
        match answer {
            Ok(()) => report.ok(ABOUT, format!("{} accepted the test", name(one))),
            Err(why) => report.error(
                CheckCode::NotifyTestFailed,
                ABOUT,
                format!("{} did not accept the test: {}", name(one), plain(&why)),
                match one.target {
                    NotifyTarget::Webhook(_) => {
                        "correct `webhook` or its `headers`, or repair the server there"
                    }
                    NotifyTarget::Command(_) => {
                        "run it by hand, with a JSON object on its standard input"
                    }
                },
            ),
        }
    }
}

fn name(notify: &Notify) -> String {
    format!("{} {}", notify.target.kind(), notify.target)
}

fn events(notify: &Notify) -> String {
    let what = match &notify.events {
        EventFilter::All => "all events of scaling.log".to_owned(),
        EventFilter::Some(names) => names.join(", "),
    };
    match notify.services.as_slice() {
        [] => what,
        services => format!("{what} (of {})", services.join(", ")),
    }
}

fn check_program(program: &str, directory: &Path, report: &mut CheckReport) {
    let found = if program.contains('/') {
        Some(command::path_of(program, directory)).filter(|path| path.exists())
    } else {
        in_path(program)
    };
    let Some(path) = found else {
        report.error(
            CheckCode::NotifyProgram,
            ABOUT,
            format!("command {program}: there is no such program"),
            format!("install {program} on this machine, or correct `command`"),
        );
        return;
    };
    if !is_program(&path) {
        report.error(
            CheckCode::NotifyProgram,
            ABOUT,
            format!("command {program}: it cannot be run"),
            format!("chmod +x {}", path.display()),
        );
    }
}

fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let places: Vec<_> = std::env::split_paths(&path).collect();
    let places = places.iter().map(|place| place.join(program));
    places.into_iter().find(|place| is_program(place))
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path)
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

async fn check_url(url: &SecretUrl, report: &mut CheckReport) {
    if !url.is_encrypted() && !is_near(url.host()) {
        report.warn(
            CheckCode::NotifyClearText,
            ABOUT,
            format!(
                "webhook {url}: its path, its headers and all notifications are sent in clear text"
            ),
            "use https://",
        );
    }
    let found = tokio::time::timeout(PATIENCE, notify::is_known(url)).await;
    if !found.unwrap_or(false) {
        report.warn(
            CheckCode::NotifyUnknownHost,
            ABOUT,
            format!("webhook {url}: its host has no address on this machine"),
            "correct `webhook`, or repair the machine's DNS",
        );
    }
}

/// Whether a host is on this machine, or by its address in a network of one's own.
fn is_near(host: &str) -> bool {
    host == "localhost"
        || host.parse().is_ok_and(|address: IpAddr| match address {
            IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
            IpAddr::V6(v6) => {
                v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local()
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_address_is_near_and_a_name_is_not() {
        for near in [
            "localhost",
            "127.0.0.1",
            "10.1.2.3",
            "192.168.0.9",
            "::1",
            "fd00::1",
        ] {
            assert!(is_near(near), "{near}");
        }
        for far in ["hooks.example.com", "8.8.8.8", "2001:db8::1"] {
            assert!(!is_near(far), "{far}");
        }
    }
}
