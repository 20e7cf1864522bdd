//! Custom metrics: each is read once, and what comes or does not come is told.

use futures_util::future::join_all;

use super::{CheckCode, CheckReport};
use crate::{
    compose::Loaded,
    engine::docker::Docker,
    policy::{CustomMetric, CustomSource, CustomTarget, ValueSelector},
    project::{ContainerState, Replica},
    sources::SourceError,
    telemetry::plain,
    units::Short,
    watch::{
        custom_metrics::{SourceContext, SourceReading},
        nginx_target::{NginxLocation, NginxTarget},
        service_setup::{self, ManagedNginx},
    },
};

/// So many replicas are asked; the others will be like them.
const REPLICAS: usize = 3;

pub(super) async fn check_values(
    loaded: &Loaded,
    engine: &Docker,
    containers: &[Replica],
    report: &mut CheckReport,
) {
    let around = SourceContext::new(loaded, nginx(loaded, containers), containers);
    let mut readings = Vec::new();
    for (service, policy) in &loaded.policies {
        for metric in &policy.metrics {
            let Some(custom) = metric.custom() else {
                continue;
            };
            let Some(source) = &custom.source else {
                continue;
            };
            if let CustomTarget::PerReplica(_) = custom.target {
                let replicas = containers.iter().filter(|one| {
                    one.is_replica()
                        && one.service == *service
                        && one.state == ContainerState::Running
                });
                for replica in replicas.take(REPLICAS) {
                    let reading = SourceReading::new(source, Some(replica), &around);
                    let whose = format!(" of {}", replica.name);
                    readings.push((service, custom, source, whose, reading));
                }
            } else {
                let reading = SourceReading::new(source, None, &around);
                readings.push((service, custom, source, String::new(), reading));
            }
        }
    }
    let answers = readings.iter().map(|(.., reading)| reading.once(engine));
    let answers = join_all(answers).await;
    for ((service, custom, source, whose, _), answer) in readings.iter().zip(answers) {
        let CustomMetric { name, .. } = custom;
        let from = origin(source);
        match answer {
            Ok(value) => report.ok(
                service,
                format!("{name}{whose} is {} ({from})", Short(value)),
            ),
            Err(error) => {
                let why = plain(&error.to_string()).into_owned();
                let what = format!("{name}{whose} cannot be read ({from}): {why}");
                report.error(
                    CheckCode::MetricUnreadable,
                    service,
                    what,
                    fix(service, source, &error),
                );
            }
        }
    }
}

/// Where it comes from, in a word: the other words of a command may be nobody's business.
fn origin(source: &CustomSource) -> String {
    match source {
        CustomSource::Command(command) => {
            let program = command.argv.first().map_or("", String::as_str);
            match &command.service {
                Some(service) => format!("{program} in {service}"),
                None => program.to_owned(),
            }
        }
        CustomSource::Http(http) => http.url.clone(),
        CustomSource::Prometheus(prometheus) => format!("Prometheus at {}", prometheus.url),
    }
}

fn nginx(loaded: &Loaded, containers: &[Replica]) -> NginxLocation {
    match service_setup::nginx_place(loaded) {
        Some(ManagedNginx::Host) => NginxLocation::Host,
        Some(ManagedNginx::Service(name)) => {
            let nginx = containers.iter().filter(|one| one.service == name);
            NginxLocation::containers(nginx.filter_map(NginxTarget::of))
        }
        Some(ManagedNginx::Container(_)) | None => NginxLocation::Unknown,
    }
}

/// What to do about it; empty where the reason says it all.
fn fix(service: &str, source: &CustomSource, error: &SourceError) -> String {
    match error {
        SourceError::NotFound {
            program,
            inside: None,
        } => format!(
            "install {program} on this machine, or run it in a service whose image has it: `command: {{argv: […], service: SERVICE}}`"
        ),
        SourceError::NotFound {
            program,
            inside: Some(inside),
        } => format!(
            "the image of {inside} has no {program}: use another `service`, or remove `service` and install it on this machine"
        ),
        SourceError::Exit { said, .. } if said.to_lowercase().contains("connection refused") => {
            "nothing listens there on this machine; if it runs in a container of the project, run the command there: `command: {argv: […], service: SERVICE}`".into()
        }
        SourceError::NotRunning { service } => format!("docker compose up -d {service}"),
        SourceError::Refused { .. } | SourceError::NotConnected { .. } => {
            "start the server there, or correct `url`; for a service of the project use its name, like http://SERVICE:PORT".into()
        }
        SourceError::NoSuchHost { .. } => {
            "correct `url`: use a host that this machine can resolve, or a service of the project".into()
        }
        SourceError::TimedOut { .. } => format!(
            "find out why it takes so long; `timeout` of {service}'s metric may be up to 1m"
        ),
        SourceError::NoData => "check in Prometheus that the query has a result; `… or vector(0)` gives one when there is no series".into(),
        SourceError::Several { .. } => match source {
            CustomSource::Prometheus(_) => "add `labels`, or aggregate in the query with sum(…) or max(…)".into(),
            _ => "add `labels` that only one series has".into(),
        },
        SourceError::Status { .. } => "try it by hand: curl -i URL".into(),
        SourceError::Redirect { .. } => {
            "use that address as `url`; for https use `command: [\"curl\", \"-fsS\", \"URL\"]`".into()
        }
        SourceError::NoNumber { .. } | SourceError::NoJson { .. } | SourceError::NothingThere { .. } => {
            match source {
                CustomSource::Command(command) if command.pointer.is_none() => {
                    "make it print only the number, or JSON together with `pointer`".into()
                }
                CustomSource::Http(http) if matches!(http.pick, ValueSelector::Sample { .. }) => {
                    "`metric` reads the text format of Prometheus; for JSON use `pointer`".into()
                }
                _ => "correct `pointer`, for example /queue/depth".into(),
            }
        }
        _ => String::new(),
    }
}
