//! `compose-scale config`

use std::{fmt::Write as _, sync::Arc};

use clap::{Args, ValueEnum};

use super::{Failure, ProjectArgs, engine, output, run, sync};
use crate::{
    compose::{self, Loaded},
    engine::{Engine, EngineError, docker::Docker},
    policy::Balance,
    project::{Health, Replica, State},
    proxy::{
        Features, ProxyError, Server, Upstream,
        nginx::{self, Control},
        render,
    },
    telemetry::plain,
    watch::{
        address::{self, Addresses},
        remote::{AnyNginx, Target, Whereabouts},
        setup::{self, NginxPlace},
    },
};

#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Yaml)]
    format: Format,
    /// Print the files that nginx would get for the running replicas instead
    #[arg(long, conflicts_with = "format")]
    nginx: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
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
        Format::Json => output::json(&compose::render::to_json(&loaded)),
        Format::Yaml => output::text(&compose::render::to_yaml(&loaded)),
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
    let log = setup::log(loaded).map(|(_, inside)| inside);
    let log = log.as_deref().map_or(render::Log::None, render::Log::To);
    let (files, refused) = render::files(&loaded.project.name, &upstreams, &features, log)
        .map_err(|error| Failure::Work(vec![error.to_string()]))?;
    let directory = setup::upstreams(loaded);
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
    place: &NginxPlace,
    containers: &[Replica],
) -> Result<Whereabouts, Failure> {
    Ok(match place {
        NginxPlace::Host => Whereabouts::Host,
        NginxPlace::Service(service) => {
            let ours = containers.iter();
            let ours = ours.filter(|c| c.service == *service && c.is_replica());
            Whereabouts::containers(ours.filter_map(Target::of))
        }
        NginxPlace::Container(name) => match engine.inspect(name).await {
            Ok(container) => Whereabouts::containers(Target::of(&container)),
            Err(EngineError::Gone { .. }) => Whereabouts::Containers(Vec::new()),
            Err(error) => return Err(error.into()),
        },
    })
}

/// What all that run can do; `None` when none runs.
async fn features(
    engine: Docker,
    loaded: &Loaded,
    whereabouts: &Whereabouts,
) -> Option<Result<Features, Failure>> {
    let engine = Arc::new(engine);
    let all: Vec<AnyNginx<Docker>> = match whereabouts {
        Whereabouts::Host => vec![AnyNginx::Host(run::host_nginx(loaded))],
        Whereabouts::Unknown => Vec::new(),
        Whereabouts::Containers(targets) => targets
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
    whereabouts: &Whereabouts,
) -> Option<Upstream> {
    let policy = loaded.policies.get(service)?;
    let port = setup::port_of(loaded.project.services.get(service)?, policy)?;
    let reach = loaded.settings.nginx.reach;
    let takes_requests = |c: &&Replica| {
        c.service == service
            && c.is_replica()
            && c.state == State::Running
            && matches!(c.health, Health::None | Health::Healthy)
    };
    let mut servers = Vec::new();
    for replica in containers.iter().filter(takes_requests) {
        let of = Addresses {
            own: &replica.addresses,
            published: &replica.published,
        };
        if let Some(way) = address::for_nginx(whereabouts, reach, of, port) {
            servers.push(Server {
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
