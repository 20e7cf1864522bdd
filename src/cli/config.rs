//! `compose-scale config`

use std::{fmt::Write as _, sync::Arc};

use clap::{Args, ValueEnum};

use super::{Failure, ProjectArgs, driver_setup, engine, output, sync};
use crate::{
    compose::{self, Loaded},
    engine::{Engine, EngineError, docker::Docker},
    policy::Balance,
    project::{ContainerState, Health, Replica},
    proxy::{
        Features, ProxyError, Upstream, UpstreamServer,
        nginx::{self, Control},
        render,
    },
    telemetry::plain,
    watch::{
        address::{self, Addresses},
        nginx_target::{AnyNginx, NginxLocation, NginxTarget},
        service_setup::{self, ManagedNginx},
    },
};

#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    /// Output format
    #[arg(long, value_enum, default_value_t = ConfigFormat::Yaml)]
    format: ConfigFormat,
    /// Print the files that nginx would get for the running replicas instead
    #[arg(long, conflicts_with = "format")]
    nginx: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ConfigFormat {
    Yaml,
    Json,
}

pub(super) async fn run(project: &ProjectArgs, args: &ConfigArgs) -> Result<(), Failure> {
    let (_, loaded) = project.load(&[]).await?;
    if args.nginx {
        let (text, refused) = files(&loaded).await?;
        output::text(&text)?;
        return match refused.as_slice() {
            [] => Ok(()),
            refused => Err(Failure::Work(
                refused.iter().map(ToString::to_string).collect(),
            )),
        };
    }
    match args.format {
        ConfigFormat::Json => output::json(&compose::render::to_json(&loaded)),
        ConfigFormat::Yaml => output::text(&compose::render::to_yaml(&loaded)),
    }
}

/// Every file for nginx with its path as a heading, for the containers that run.
async fn files(loaded: &Loaded) -> Result<(String, Vec<ProxyError>), Failure> {
    let place = sync::nginx_place(loaded)?;
    let engine = engine()?;
    let containers = engine.list(&loaded.project.name).await?;
    let whereabouts = whereabouts(&engine, &place, &containers).await?;
    let features = features(engine, loaded, &whereabouts).await;
    let features = features.ok_or_else(|| {
        Failure::Work(vec![format!(
            "nginx is not running, so its version and its networks are unknown; start it with `{}`",
            place.start()
        )])
    })??;
    let upstreams: Vec<_> = loaded
        .policies
        .keys()
        .filter_map(|service| upstream(loaded, service, &containers, &whereabouts))
        .collect();
    let log = service_setup::log(loaded).map(|(_, inside)| inside);
    let log = log
        .as_deref()
        .map_or(render::HttpLevelLog::None, render::HttpLevelLog::To);
    let (files, refused) = render::files(&loaded.project.name, &upstreams, &features, log)
        .map_err(|error| Failure::Work(vec![error.to_string()]))?;
    let directory = service_setup::upstreams(loaded);
    let mut text = String::new();
    for (name, content) in files {
        if !text.is_empty() {
            text.push('\n');
        }
        let _ = write!(text, "# {}\n{content}", directory.join(name).display());
    }
    Ok((text, refused))
}

async fn whereabouts(
    engine: &Docker,
    place: &ManagedNginx,
    containers: &[Replica],
) -> Result<NginxLocation, Failure> {
    Ok(match place {
        ManagedNginx::Host => NginxLocation::Host,
        ManagedNginx::Service(service) => {
            let ours = containers.iter();
            let ours = ours.filter(|c| c.service == *service && c.is_replica());
            NginxLocation::containers(ours.filter_map(NginxTarget::of))
        }
        ManagedNginx::Container(name) => match engine.inspect(name).await {
            Ok(container) => NginxLocation::containers(NginxTarget::of(&container)),
            Err(EngineError::NotFound { .. }) => NginxLocation::Containers(Vec::new()),
            Err(error) => return Err(error.into()),
        },
    })
}

/// What all that run can do; `None` when none runs.
async fn features(
    engine: Docker,
    loaded: &Loaded,
    whereabouts: &NginxLocation,
) -> Option<Result<Features, Failure>> {
    let engine = Arc::new(engine);
    let all: Vec<AnyNginx<Docker>> = match whereabouts {
        NginxLocation::Host => vec![AnyNginx::Host(driver_setup::host_nginx(loaded))],
        NginxLocation::Unknown => Vec::new(),
        NginxLocation::Containers(targets) => targets
            .iter()
            .map(|target| AnyNginx::Container {
                engine: Arc::clone(&engine),
                target: target.clone(),
            })
            .collect(),
    };
    let mut found: Option<Features> = None;
    for nginx in all {
        match nginx::features(&nginx).await {
            Ok(features) => {
                let older = found.is_none_or(|before| features.version < before.version);
                found = if older { Some(features) } else { found };
            }
            Err(error) => {
                let text = format!("{}: {error}", nginx.name());
                return Some(Err(Failure::Work(vec![text])));
            }
        }
    }
    found.map(Ok)
}

/// What requests for a service would go to. `None` where it has no port.
fn upstream(
    loaded: &Loaded,
    service: &str,
    containers: &[Replica],
    whereabouts: &NginxLocation,
) -> Option<Upstream> {
    let policy = loaded.policies.get(service)?;
    let port = service_setup::port_of(loaded.project.services.get(service)?, policy)?;
    let reach = loaded.settings.nginx.reach;
    let takes_requests = |c: &&Replica| {
        c.service == service
            && c.is_replica()
            && c.state == ContainerState::Running
            && matches!(c.health, Health::None | Health::Healthy)
    };
    let mut servers = Vec::new();
    for replica in containers.iter().filter(takes_requests) {
        let of = Addresses {
            own: &replica.addresses,
            published: &replica.published,
        };
        if let Some(way) = address::for_nginx(whereabouts, reach, of, port) {
            servers.push(UpstreamServer {
                number: replica.number,
                name: replica.name.clone(),
                address: way.address,
                weight: Balance::FULL,
            });
        } else {
            tracing::warn!(
                "nginx cannot reach {}; `compose-scale check` says why",
                plain(&replica.name)
            );
        }
    }
    servers.sort();
    Some(Upstream {
        service: service.to_owned(),
        balance: policy.balance.clone(),
        servers,
    })
}
