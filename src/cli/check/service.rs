//! What will bite later in a service that may have several replicas: pure, from the compose file and
//! what runs.

use std::collections::BTreeMap;

use super::{CheckCode, CheckReport, data};
use crate::{
    compose::Loaded,
    engine::Engine,
    plan::blockers,
    policy::{Metric, Policy, Ready},
    project::{ContainerState, Health, Replica, Service},
    watch::service_setup,
};

/// Whether something asks a service's replicas how they are, by service: by the file, by what runs, else by
/// its image; a service is missing where nobody can tell.
pub(super) type Checked = BTreeMap<String, bool>;

/// Finds out, and asks the Engine for images only where nothing else tells.
pub(super) async fn checked(
    loaded: &Loaded,
    engine: &impl Engine,
    containers: &[Replica],
) -> Checked {
    let mut checked = Checked::new();
    for name in loaded.policies.keys() {
        let Some(service) = loaded.project.services.get(name) else {
            continue;
        };
        let mut running = containers
            .iter()
            .filter(|one| {
                one.is_replica() && one.service == *name && one.state == ContainerState::Running
            })
            .peekable();
        let known = match (written(loaded, service), &service.image) {
            (Some(known), _) => Some(known),
            _ if running.peek().is_some() => Some(running.any(|one| one.health != Health::None)),
            (None, Some(image)) => engine.image_is_checked(image).await.unwrap_or(None),
            (None, None) => None,
        };
        checked.extend(known.map(|known| (name.clone(), known)));
    }
    checked
}

/// What the file says of a healthcheck: that there is one, or that there shall be none.
fn written(loaded: &Loaded, service: &Service) -> Option<bool> {
    let key = (service.name.clone(), "healthcheck".to_owned());
    let is_off = service.healthcheck.is_none() && loaded.places.contains_key(&key);
    (is_off || service.healthcheck.is_some()).then_some(!is_off)
}

/// Looks at every service that has a policy.
pub(super) fn check_services(
    loaded: &Loaded,
    containers: &[Replica],
    checked: &Checked,
    report: &mut CheckReport,
) {
    for (name, policy) in &loaded.policies {
        let Some(service) = loaded.project.services.get(name) else {
            continue;
        };
        let is_checked = checked
            .get(name)
            .copied()
            .or_else(|| written(loaded, service));
        let is_routed = service_setup::port_of(service, policy).is_some();
        check_readiness(service, policy, is_checked, is_routed, report);
        check_limits(service, policy, report);
        check_stop(service, is_routed, report);
        if policy.max > 1 {
            let there = containers
                .iter()
                .filter(|one| one.is_replica() && one.service == *name && one.state.counts());
            let there = u32::try_from(there.count()).unwrap_or(u32::MAX);
            let then = if there > 0 { there } else { policy.min.max(1) };
            if let Some(refusal) = blockers::too_many(service, policy.max, then) {
                report.warn(refusal.kind.into(), name, refusal.what, refusal.fix);
            }
            data::check_data(service, report);
            check_other_services(loaded, service, is_checked, report);
        }
    }
}

fn check_readiness(
    service: &Service,
    policy: &Policy,
    is_checked: Option<bool>,
    is_routed: bool,
    report: &mut CheckReport,
) {
    if is_checked == Some(true) || policy.ready != Ready::Auto {
        return;
    }
    let name = &service.name;
    let unless = unless(is_checked);
    let (what, fix) = if is_routed {
        (
            format!(
                "it has no healthcheck{unless}: a new replica gets requests as soon as its port accepts connections, and a replica that hangs keeps getting them"
            ),
            format!("give {name} a `healthcheck`, or set `ready: {{http: /PATH}}`"),
        )
    } else {
        (
            format!(
                "it has no healthcheck{unless}: a replica counts as ready as soon as it runs, also when it hangs"
            ),
            format!("give {name} a `healthcheck`"),
        )
    };
    report.hint(CheckCode::NoHealthcheck, name, what, fix);
}

/// What is left open where the image could not be asked for.
fn unless(is_checked: Option<bool>) -> &'static str {
    match is_checked {
        Some(_) => "",
        None => " (unless its image has one, which could not be read)",
    }
}

fn check_limits(service: &Service, policy: &Policy, report: &mut CheckReport) {
    let name = &service.name;
    let uses_cpu = policy.metrics.iter().any(Metric::is_cpu);
    if service.limits.cpus.is_none() {
        if uses_cpu {
            report.warn(
                CheckCode::NoCpuLimit,
                name,
                "it has no CPU limit, so its CPU load is measured against one core",
                "set `deploy.resources.limits.cpus` if a replica may use less or more than one core",
            );
        } else {
            report.hint(
                CheckCode::NoCpuLimit,
                name,
                "it has no CPU limit: one busy replica can take all cores from the others and from nginx",
                "set `deploy.resources.limits.cpus`",
            );
        }
    }
    if service.limits.memory.is_none() && service_setup::unmeasured(service, policy).is_none() {
        report.hint(
            CheckCode::NoMemoryLimit,
            name,
            "it has no memory limit: it is unknown how many replicas fit on the machine, and one memory leak can bring down all of them",
            "set `deploy.resources.limits.memory`",
        );
    }
}

/// What becomes of a replica whose process ends, or is to end.
fn check_stop(service: &Service, is_routed: bool, report: &mut CheckReport) {
    let name = &service.name;
    if matches!(service.restart.as_deref(), None | Some("no")) {
        report.hint(
            CheckCode::NoRestart,
            name,
            "it has no restart policy: no replica runs after the machine restarts",
            "set `restart: unless-stopped`, or run `docker compose up -d` at every start of the machine",
        );
    }
    if !is_routed && service.stop_grace_period.is_none() {
        report.hint(
            CheckCode::GraceShort,
            name,
            "it has no `stop_grace_period`: a removed replica has 10s to finish its work, then it is killed",
            "set `stop_grace_period: 2m`, or as long as its longest job takes",
        );
    }
}

/// What other services do with it.
fn check_other_services(
    loaded: &Loaded,
    service: &Service,
    is_checked: Option<bool>,
    report: &mut CheckReport,
) {
    let name = &service.name;
    for other in loaded.project.services.values() {
        if other.links.contains(name) {
            let key = (other.name.clone(), "links".to_owned());
            report.warn(
                CheckCode::Links,
                name,
                format!(
                    "{} links to it: the link reaches one replica only, and a wrong address after that replica is removed",
                    other.name
                ),
                format!(
                    "remove `links` from {0} and run `docker compose up -d --no-deps {0}`; the name {name} works without a link",
                    other.name
                ),
            );
            locate(loaded, &key, report);
        }
        let waits = other.depends_on.get(name);
        if waits.is_none_or(|one| one.condition != "service_healthy") {
            continue;
        }
        let key = (other.name.clone(), "depends_on".to_owned());
        let own = format!("docker compose up -d --no-deps {}", other.name);
        if is_checked == Some(true) {
            report.hint(
                CheckCode::WaitsForHealth,
                name,
                format!(
                    "{} depends on its health: `docker compose up` waits for every replica, and fails if one is unhealthy",
                    other.name
                ),
                format!("start {} alone with `{own}`", other.name),
            );
        } else {
            report.warn(
                CheckCode::WaitsForHealth,
                name,
                format!(
                    "{} depends on its health, but it has no healthcheck{}: `docker compose up` fails",
                    other.name,
                    unless(is_checked)
                ),
                format!("give {name} a `healthcheck`, or write `condition: service_started`"),
            );
        }
        locate(loaded, &key, report);
    }
}

fn locate(loaded: &Loaded, key: &(String, String), report: &mut CheckReport) {
    if let Some((file, line)) = loaded.places.get(key) {
        report.at(&file.display().to_string(), *line);
    }
}

#[cfg(test)]
pub(super) mod fixture {
    use super::{CheckReport, Checked, check_services};
    use crate::compose::{self, LoadRequest, Loaded};

    /// All that is fine, so that a test names what it is about.
    pub(in crate::cli::check) const FINE: &str = "    image: app:1
    expose: [\"80\"]
    restart: unless-stopped
    healthcheck: {test: [CMD, \"true\"]}
    deploy: {resources: {limits: {cpus: \"0.5\", memory: 64M}}}
";

    pub(in crate::cli::check) fn loaded(yaml: &str) -> Loaded {
        let dir = tempfile::tempdir().unwrap();
        crate::files::replace(&dir.path().join("compose.yaml"), yaml.as_bytes()).unwrap();
        let request = LoadRequest {
            cwd: dir.path().to_owned(),
            project_name: Some("shop".into()),
            ..LoadRequest::default()
        };
        compose::load(&request).unwrap()
    }

    pub(in crate::cli::check) fn report(yaml: &str) -> CheckReport {
        let loaded = loaded(yaml);
        let mut report = CheckReport::new("shop");
        // Nobody could ask the Engine for images.
        check_services(&loaded, &[], &Checked::new(), &mut report);
        report.find_places(&loaded);
        report
    }

    /// With these further lines for `web`, and further services.
    pub(in crate::cli::check) fn codes(web: &str, others: &str) -> Vec<String> {
        let web = format!("{FINE}{web}");
        let policy = if web.contains("x-autoscale") {
            ""
        } else {
            "    x-autoscale: {max: 3}\n"
        };
        let volumes = "volumes: {things: {}}";
        report(&format!(
            "services:\n  web:\n{web}{policy}{others}{volumes}\n"
        ))
        .codes()
    }
}

#[cfg(test)]
mod tests {
    use super::{
        fixture::{FINE, codes, report},
        *,
    };

    #[test]
    fn a_service_with_all_that_it_needs_has_no_finding() {
        assert_eq!(codes("", "  db: {image: postgres:17}\n"), [""; 0]);
    }

    #[test]
    fn what_is_missing_is_a_hint_where_the_policy_does_without_it() {
        let bare = "services: {web: {image: app, expose: [\"80\"], x-autoscale: {max: 3, metrics: METRICS}}}\n";
        assert_eq!(
            report(&bare.replace("METRICS", "[cpu: 60%]")).codes(),
            [
                "hint no-healthcheck",
                "warning no-cpu-limit",
                "hint no-memory-limit",
                "hint no-restart"
            ]
        );
        assert_eq!(
            report(&bare.replace("METRICS", "[]")).codes()[1],
            "hint no-cpu-limit"
        );
        // The memory target has an error of its own.
        let memory = report(&bare.replace("METRICS", "[memory: 60%]")).codes();
        assert!(
            !memory.contains(&"hint no-memory-limit".to_owned()),
            "{memory:?}"
        );
    }

    #[test]
    fn a_policy_that_says_what_is_ready_needs_no_healthcheck() {
        let yaml = "services: {web: {image: app, expose: [\"80\"], x-autoscale: {max: 3, ready: {http: /}}}}\n";
        let codes = report(yaml).codes();
        assert!(
            !codes.contains(&"hint no-healthcheck".to_owned()),
            "{codes:?}"
        );
    }

    #[test]
    fn a_restart_policy_is_found_at_both_places() {
        let with = |restart: &str| {
            let yaml =
                format!("services: {{web: {{image: app, {restart}, x-autoscale: {{max: 3}}}}}}\n");
            let codes = report(&yaml).codes();
            codes.contains(&"hint no-restart".to_owned())
        };
        assert!(with("restart: \"no\""));
        assert!(!with("restart: always"));
        assert!(!with("deploy: {restart_policy: {condition: any}}"));
        assert!(with("deploy: {restart_policy: {condition: none}}"));
    }

    #[test]
    fn a_worker_has_time_to_finish_or_is_told_that_it_has_not() {
        let yaml = |more: &str| {
            report(&format!(
                "services: {{job: {{image: app, {more} x-autoscale: {{max: 3}}}}}}\n"
            ))
            .codes()
        };
        let code = "hint grace-short".to_owned();
        assert!(yaml("").contains(&code));
        assert!(!yaml("stop_grace_period: 1m,").contains(&code));
    }

    #[test]
    fn links_and_waiting_of_other_services_are_told_where_they_are_written() {
        let others = "  front:
    image: app
    links: [\"web:backend\"]
    depends_on: {web: {condition: service_healthy}}\n";
        assert_eq!(
            codes("", others),
            ["warning links", "hint waits-for-health"]
        );
        let yaml = format!("services:\n  web:\n{FINE}    x-autoscale: {{max: 3}}\n{others}");
        let found = report(&yaml);
        let lines: Vec<_> = found.findings.iter().map(|one| one.line).collect();
        assert_eq!(lines, [Some(11), Some(12)]);
    }

    #[test]
    fn waiting_for_the_health_of_what_has_no_healthcheck_fails() {
        let yaml = "services:
  web: {image: app, expose: [\"80\"], x-autoscale: {max: 3}}
  front: {image: app, depends_on: {web: {condition: service_healthy}}}\n";
        let codes = report(yaml).codes();
        assert!(
            codes.contains(&"warning waits-for-health".to_owned()),
            "{codes:?}"
        );
    }

    #[test]
    fn an_image_that_brings_a_healthcheck_is_no_reason_to_complain() {
        let yaml = "services:
  web: {image: app, expose: [\"80\"], HEALTH x-autoscale: {max: 3}}
  front: {image: app, depends_on: {web: {condition: service_healthy}}}\n";
        let told = |health: &str, image: Option<bool>| {
            let loaded = fixture::loaded(&yaml.replace("HEALTH", health));
            let mut report = CheckReport::new("shop");
            let checked = image.map(|known| ("web".to_owned(), known));
            check_services(&loaded, &[], &checked.into_iter().collect(), &mut report);
            let about = |code: Option<CheckCode>| {
                matches!(
                    code,
                    Some(CheckCode::WaitsForHealth | CheckCode::NoHealthcheck)
                )
            };
            let found = report.findings.iter().filter(|one| about(one.code));
            found
                .map(|one| format!("{:?}: {}", one.severity, one.message))
                .collect::<Vec<_>>()
                .join("\n")
        };
        insta::assert_snapshot!(told("", Some(true)), @"Hint: front depends on its health: `docker compose up` waits for every replica, and fails if one is unhealthy");
        insta::assert_snapshot!(told("", Some(false)), @r"
        Hint: it has no healthcheck: a new replica gets requests as soon as its port accepts connections, and a replica that hangs keeps getting them
        Warning: front depends on its health, but it has no healthcheck: `docker compose up` fails
        ");
        // Nobody could look at it.
        insta::assert_snapshot!(told("", None), @r"
        Hint: it has no healthcheck (unless its image has one, which could not be read): a new replica gets requests as soon as its port accepts connections, and a replica that hangs keeps getting them
        Warning: front depends on its health, but it has no healthcheck (unless its image has one, which could not be read): `docker compose up` fails
        ");
        insta::assert_snapshot!(told("healthcheck: {disable: true},", None), @r"
        Hint: it has no healthcheck: a new replica gets requests as soon as its port accepts connections, and a replica that hangs keeps getting them
        Warning: front depends on its health, but it has no healthcheck: `docker compose up` fails
        ");
    }

    #[test]
    fn a_range_that_is_too_small_is_widened_without_a_fall_back_to_one() {
        let ports = "    ports: [\"18000-18001:80\"]\n";
        assert_eq!(codes(ports, ""), ["warning port-range"]);
        let wide = "    ports: [\"18000-18002:80\"]\n";
        assert_eq!(codes(wide, ""), [""; 0]);
        let yaml = format!("services:\n  web:\n{FINE}{ports}    x-autoscale: {{min: 2, max: 3}}\n");
        let fix = report(&yaml).findings.remove(0).fix;
        assert!(
            fix.contains("`docker compose up -d --no-deps --scale web=2 web`"),
            "{fix}"
        );
    }

    #[test]
    fn a_finding_has_the_line_of_its_key_or_of_its_service() {
        let found = report(
            "services:\n  web:\n    image: app\n    restart: \"no\"\n    x-autoscale: {max: 3}\n",
        );
        let line = |code: CheckCode| {
            let one = found.findings.iter().find(|one| one.code == Some(code));
            one.unwrap().line
        };
        assert_eq!(line(CheckCode::NoRestart), Some(4));
        assert_eq!(line(CheckCode::NoHealthcheck), Some(2));
    }
}
