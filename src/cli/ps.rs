//! `compose-scale ps`

use clap::{Args, ValueEnum};
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

use super::{
    Failure, ProjectArgs,
    driver_setup::{self, DriverOptions, Signals},
    failure, output, state_dir,
};
use crate::{
    control::{Client, ControlRequest, Reply, Snapshot},
    decide::MetricUnit,
    engine::Engine,
    proxy::render::upstream_name,
    reconcile::{EventKind, ReplicaView, ServiceView},
    state::{self, StateDir},
    units::Short,
    watch::{
        RunGoal,
        address::{Misdirected, misdirected},
        drift::currents,
        project_id,
    },
};

#[derive(Debug, Args)]
pub(super) struct PsArgs {
    /// Output format
    #[arg(long, value_enum, default_value_t = PsFormat::Table)]
    format: PsFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum PsFormat {
    Table,
    Json,
}

pub(super) async fn run(project: &ProjectArgs, args: PsArgs) -> Result<(), Failure> {
    let snapshot = Box::pin(snapshot(project)).await?;
    match args.format {
        PsFormat::Json => output::json(&snapshot),
        PsFormat::Table => output::text(&table(&snapshot)),
    }
}

/// A `watch` that has not answered by then is stuck.
const ANSWER: std::time::Duration = std::time::Duration::from_secs(10);

/// From the running `watch`, else by looking. A running one answers also while the files are wrong.
async fn snapshot(project: &ProjectArgs) -> Result<Snapshot, Failure> {
    let (source, loaded) = match project.load(&[]).await {
        Ok(both) => both,
        Err(failure) => {
            if let Some(state) = project.state_despite(&failure)
                && let Ok(Some(mut snapshot)) = ask(&state).await
            {
                let first = failure.to_string();
                let first = first.lines().next().unwrap_or_default();
                snapshot.troubles.push(format!(
                    "the compose file cannot be used; `watch` keeps the previous one: {first}"
                ));
                return Ok(snapshot);
            }
            return Err(failure);
        }
    };
    let state = state_dir(&loaded);
    if let Some(snapshot) = ask(&state).await? {
        return Ok(snapshot);
    }
    let shown = state.path().display();
    let extra = loaded.project.services.keys().cloned().collect();
    let listed = crate::proxy::listed(
        &crate::watch::service_setup::upstreams(&loaded),
        &loaded.project.name,
    );
    // Compose is asked beside the look, which takes a second.
    let engine = super::engine()?;
    let project = loaded.project.name.clone();
    let model = loaded.clone();
    // Who waits for `ps` does not wait for a compose that does not answer.
    let currents = tokio::time::timeout(ANSWER, currents(&engine, &source, &model, "ps"));
    let signals = Signals::listen()?;
    let (mut driver, _notes) = driver_setup::driver(DriverOptions {
        loaded,
        source: None,
        extra,
        dry_run: false,
        state: None,
        keeps_state: false,
        locks: Vec::new(),
        calls: None,
        reload: None,
        recording: None,
        goal: RunGoal::Look,
    })
    .await?;
    let looked = driver.run(signals.stop.clone(), signals.abort.clone());
    let listing = async {
        let engine = super::engine()?;
        let (containers, info) = tokio::join!(engine.list(&project), engine.info());
        let actor = match &info {
            Ok(info) => state::holder(&project_id(info, &project)).await,
            Err(_) => None,
        };
        Ok::<_, Failure>((containers?, actor))
    };
    let (looked, currents, containers) = tokio::join!(looked, currents, listing);
    failure::outcome(looked)?;
    driver.compare_with(currents.unwrap_or_default());
    let mut snapshot = driver.snapshot();
    let (containers, actor) = containers?;
    snapshot.troubles.extend(actor.map(|actor| {
        format!("{actor} acts on this project with another state directory than {shown}, so it cannot be asked from here")
    }));
    for service in &mut snapshot.services {
        let Some(servers) = listed.get(&service.service) else {
            continue;
        };
        let wrong = misdirected(servers, &containers);
        for replica in &mut service.replicas {
            let is_it = |one: &Misdirected| one.replica == replica.name;
            replica.in_nginx = servers.contains_key(&replica.name) && !wrong.iter().any(is_it);
        }
        let file = upstream_name(&service.service);
        let troubles = wrong.iter().map(|one| {
            format!(
                "{}: {file}: {one}; run `compose-scale sync`",
                service.service
            )
        });
        snapshot.troubles.extend(troubles);
    }
    Ok(snapshot)
}

/// What the running `watch` says; `None` when there is none.
pub(super) async fn ask(state: &StateDir) -> Result<Option<Snapshot>, Failure> {
    let Some(mut client) = Client::ask(&state.socket(), &ControlRequest::Status)
        .await
        .map_err(|error| failure::unheard(&error))?
    else {
        return Ok(None);
    };
    let answer = tokio::time::timeout(ANSWER, client.next()).await;
    let answer = answer.map(|reply| reply.map_err(|error| failure::unheard(&error)));
    if let Ok(reply) = answer
        && let Some(Reply::Status(snapshot)) = reply?
    {
        return Ok(Some(*snapshot));
    }
    Err(Failure::Work(vec![
        "the running `watch` did not answer".into(),
    ]))
}

fn table(snapshot: &Snapshot) -> String {
    let mut lines = Vec::new();
    for service in &snapshot.services {
        lines.push(headline(service));
        if let Some(why) = &service.standstill {
            lines.push(format!("  {why}"));
        } else if let Some(decision) = &service.decision {
            lines.push(format!(
                "  last decision at {}: {} ({})",
                decision.at.clock(),
                decision.message,
                decision.reason
            ));
        }
        if !service.replicas.is_empty() {
            let table = replicas(&service.replicas);
            lines.extend(table.lines().map(|line| format!(" {}", line.trim_end())));
        }
        lines.extend(service.drift.iter().map(|drift| format!("  {drift}")));
        lines.extend(service.outliers.iter().map(|why| format!("  {why}")));
        lines.push(String::new());
    }
    lines.extend(snapshot.troubles.iter().map(|why| format!("! {why}")));
    if !snapshot.watching {
        lines.push("no `compose-scale watch` is running for this project".into());
    }
    lines.join("\n") + "\n"
}

/// The service in a line: `web: 2 of 3 serving, 1 to 6 allowed, cpu 40 (target 60)`.
fn headline(service: &ServiceView) -> String {
    let mut parts = vec![match service.desired.filter(|_| service.autoscaled) {
        Some(desired) => format!("{} of {desired} serving", service.serving),
        None => format!("{} serving", service.serving),
    }];
    if let (Some(min), Some(max)) = (service.min, service.max) {
        parts.push(format!("{min} to {max} allowed"));
    }
    for metric in &service.metrics {
        let figure = |value: f64| match metric.unit {
            MetricUnit::Millis => format!("{}ms", value.round()),
            _ => Short(value).to_string(),
        };
        let value = metric.value.map_or("unknown".to_owned(), figure);
        let target = metric.target.map_or(String::new(), |target| {
            format!(" (target {})", figure(target))
        });
        let name = &metric.metric;
        parts.push(match &metric.percentile {
            Some(percentile) => format!("{name} {percentile} {value}{target}"),
            None => format!("{name} {value}{target}"),
        });
    }
    if let Some(hold) = service.hold {
        parts.push(EventKind::from(hold).to_string());
    }
    parts.extend(service.paused.map(|paused| paused.to_string()));
    if !service.autoscaled {
        parts.push("not autoscaled".into());
    }
    format!("{}: {}", service.service, parts.join(", "))
}

fn replicas(replicas: &[ReplicaView]) -> String {
    let mut table = Table::new();
    let mut header = vec![
        "REPLICA", "STATE", "HEALTH", "PHASE", "NGINX", "AGE", "ADDRESS", "CPU", "MEMORY",
    ];
    // Where nginx's log is read.
    let logged = replicas.iter().any(|replica| replica.requests.is_some());
    if logged {
        header.extend(["REQ/S", "IN FLIGHT", "P95", "ERRORS"]);
    }
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header);
    for replica in replicas {
        let mut row = vec![
            Cell::new(&replica.name),
            Cell::new(replica.state),
            Cell::new(match replica.health {
                crate::project::Health::None => "-",
                crate::project::Health::Starting => "starting",
                crate::project::Health::Healthy => "healthy",
                crate::project::Health::Unhealthy => "unhealthy",
            }),
            Cell::new(&replica.phase),
            Cell::new(if replica.in_nginx { "yes" } else { "no" }),
            Cell::new(replica.age.map_or("-".to_owned(), |age| {
                crate::units::Span::seconds(age.0.as_secs()).to_string()
            })),
            Cell::new(replica.address.as_deref().unwrap_or("-")),
            share(replica.cpu),
            share(replica.memory),
        ];
        if logged {
            row.push(number(replica.requests, ""));
            row.push(number(replica.in_flight, ""));
            row.push(number(replica.p95.map(f64::round), "ms"));
            row.push(share(replica.errors));
        }
        table.add_row(row);
    }
    table.to_string()
}

fn number(value: Option<f64>, unit: &str) -> Cell {
    let text = value.map_or("-".to_owned(), |value| format!("{}{unit}", Short(value)));
    Cell::new(text).set_alignment(CellAlignment::Right)
}

fn share(value: Option<f64>) -> Cell {
    let text = value.map_or("-".to_owned(), |share| format!("{}%", Short(share)));
    Cell::new(text).set_alignment(CellAlignment::Right)
}
