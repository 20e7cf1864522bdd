//! `compose-scale check`: everything that would stop scaling from working, each with its fix.

use std::{collections::BTreeSet, path::Path};

use clap::Args;

use super::{
    Failure, ProjectArgs, engine,
    output::{self, OutputFormat},
    state_dir,
};
use crate::{
    compose::Loaded,
    engine::{Engine, EngineError, EngineInfo, docker::Docker},
    plan::{self, blockers},
    policy::{Policy, Ready},
    project::{ContainerState, Health, Replica, Service},
    units::Timestamp,
    watch::{RunClock, service_setup},
};

mod access;
mod capacity;
mod code;
mod custom;
mod data;
mod drift;
mod engine_and_disk;
mod nginx;
mod notify;
mod other_instances;
mod report;
mod service;
#[cfg(test)]
mod tests;

pub use code::CODES;
use code::CheckCode;
use report::{CheckReport, Severity};

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Output format
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    format: OutputFormat,
    /// Send a test to every target in `x-autoscale.notify`
    #[arg(long)]
    send_test: bool,
}

pub(super) async fn run(project: &ProjectArgs, args: CheckArgs) -> Result<(), Failure> {
    let (source, loaded) = project.load(&[]).await?;
    let mut report = CheckReport::new(&loaded.project.name);
    check_file(&loaded, &mut report);
    let mut known = None;
    if let Some((engine, info, containers)) = check_project_on_engine(&mut report).await {
        let look = capacity::look(RunClock::start().now());
        capacity::check_capacity(&loaded, &info, &containers, look.as_ref(), &mut report);
        let checked = service::checked(&loaded, &engine, &containers).await;
        service::check_services(&loaded, &containers, &checked, &mut report);
        check_containers(&loaded, &containers, &mut report);
        drift::check_drift(&loaded, &source, &engine, &containers, &mut report).await;
        custom::check_values(&loaded, &engine, &containers, &mut report).await;
        nginx::check_nginx(&loaded, engine, &containers, &mut report).await;
        known = Some(info);
    } else {
        report.warn(
            CheckCode::NotLookedAt,
            "engine",
            "containers and nginx could not be checked",
            "run `compose-scale check` again when the Engine answers",
        );
        service::check_services(&loaded, &[], &service::Checked::default(), &mut report);
    }
    notify::check_targets(&loaded, args.send_test, &mut report).await;
    check_directories(&loaded, known.as_ref(), &mut report).await;
    report.typed_for(&loaded);
    report.find_places(&loaded);
    report.group();
    match args.format {
        OutputFormat::Text => output::write(report.to_string().as_bytes())?,
        OutputFormat::Json => output::json(&report.document())?,
    }
    if report.count(Severity::Error) > 0 {
        return Err(Failure::Said);
    }
    Ok(())
}

// ---- the compose file --------------------------------------------------------------------------

fn check_file(loaded: &Loaded, report: &mut CheckReport) {
    let files: Vec<_> = loaded
        .project
        .config_files
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    report.ok(
        "project",
        format!("{} from {}", loaded.project.name, files.join(", ")),
    );
    if loaded.policies.is_empty() {
        let text = super::watch::no_policy(loaded);
        let (what, fix) = text.split_once("; add one").unwrap_or((&text, ""));
        report.error(
            CheckCode::NoPolicy,
            "project",
            what,
            format!("add one{fix}"),
        );
    }
    for (name, policy) in &loaded.policies {
        if let Some(service) = loaded.project.services.get(name) {
            one_policy(loaded, service, policy, report);
        }
    }
}

fn one_policy(loaded: &Loaded, service: &Service, policy: &Policy, report: &mut CheckReport) {
    let name = &service.name;
    let before = report.count(Severity::Error);
    for refusal in service_setup::unroutable(loaded, service) {
        report.error(refusal.kind.into(), name, refusal.what, refusal.fix);
    }
    let others = loaded.project.services.keys();
    let mut others = others.filter(|other| !loaded.policies.contains_key(*other));
    if let Some(other) = others.find(|other| *other != name && other.eq_ignore_ascii_case(name)) {
        report.warn(
            CheckCode::NginxName,
            name,
            format!(
                "nginx takes capitals in a name for small letters: a `proxy_pass http://{other};` leads to the replicas of {name}"
            ),
            format!("give {name} or {other} another name"),
        );
    }
    if policy.max > 1 {
        for refusal in blockers::refusals(service, &[]) {
            report.error(refusal.kind.into(), name, refusal.what, refusal.fix);
        }
    }
    let port = service_setup::port_of(service, policy);
    if port.is_none() {
        let problem = service.only_port().err();
        let what = problem.map_or_else(String::new, |problem| problem.to_string());
        report.warn(
            CheckCode::NoPort,
            name,
            format!("nginx sends no traffic to it: {what}"),
            "fine for a worker; else set `x-autoscale.port`",
        );
    }
    if matches!(policy.ready, Ready::Http(_)) && port.is_none() {
        report.error(
            CheckCode::ReadyNeedsPort,
            name,
            "`ready: {http: …}` needs a port",
            "set `x-autoscale.port`",
        );
    }
    if let Some(refusal) = service_setup::unmeasured(service, policy) {
        report.error(refusal.kind.into(), name, refusal.what, refusal.fix);
    }
    if report.count(Severity::Error) == before {
        report.ok(
            name,
            format!("may have {} to {} replicas", policy.min, policy.max),
        );
    }
}

// ---- the engine and its containers -------------------------------------------------------------

/// The Engine, what it says of itself, and between which moments it said so.
async fn ask(
    project: &str,
) -> Result<(Docker, EngineInfo, Vec<Replica>, Timestamp, Timestamp), Failure> {
    let engine = engine()?;
    let clock = RunClock::start();
    let asked = clock.now();
    let info = engine.info().await?;
    let answered = clock.now();
    let containers = engine.list(project).await?;
    Ok((engine, info, containers, asked, answered))
}

async fn check_project_on_engine(
    report: &mut CheckReport,
) -> Option<(Docker, EngineInfo, Vec<Replica>)> {
    match ask(&report.project).await {
        Ok((engine, info, containers, asked, answered)) => {
            let counters = if info.cgroup_files {
                "; CPU and memory are read from cgroup files"
            } else {
                ""
            };
            report.ok(
                "engine",
                format!(
                    "Docker {} (API {}){counters}",
                    info.version, info.api_version
                ),
            );
            engine_and_disk::check_engine(&info, report);
            engine_and_disk::check_clock(&info, asked, answered, report);
            Some((engine, info, containers))
        }
        Err(failure) => {
            no_engine(&failure, report);
            None
        }
    }
}

fn no_engine(failure: &Failure, report: &mut CheckReport) {
    let code = match failure {
        Failure::Engine(EngineError::Forbidden { .. }) => CheckCode::SocketRights,
        _ => CheckCode::EngineAway,
    };
    let fix = failure.hint().unwrap_or_else(|| {
        "run `docker info`, and `sudo journalctl -u docker -n 20` on the Engine's machine".into()
    });
    report.error(code, "engine", failure.to_string(), fix);
}

/// Services without a running replica, in one finding: `docker compose up` is one command.
fn check_nothing_runs(loaded: &Loaded, idle: &[(&str, u32)], report: &mut CheckReport) {
    let (Some((first, _)), names) = (idle.first(), idle.iter().map(|(name, _)| *name)) else {
        return;
    };
    let names = names.collect::<Vec<_>>().join(" ");
    let counts = idle.iter().map(|(name, min)| format!("{name}={min}"));
    let counts = counts.collect::<Vec<_>>().join(" ");
    let what = if idle.len() == 1 {
        "no replica is running, so there is none to clone".to_owned()
    } else {
        format!(
            "no replica of {} is running, so there is none to clone",
            names.replace(' ', ", ")
        )
    };
    let up = service_setup::up(loaded, &names);
    let fix = format!("{up}, or compose-scale scale {counts}");
    report.error(CheckCode::NothingRuns, first, what, fix);
}

fn check_containers(loaded: &Loaded, containers: &[Replica], report: &mut CheckReport) {
    let mut idle = Vec::new();
    for (name, policy) in &loaded.policies {
        let Some(service) = loaded.project.services.get(name) else {
            continue;
        };
        let replicas: Vec<_> = containers
            .iter()
            .filter(|c| c.is_replica() && c.service == *name)
            .collect();
        let running: Vec<_> = replicas
            .iter()
            .filter(|r| r.state == ContainerState::Running)
            .collect();
        check_crashing(name, &replicas, running.is_empty(), report);
        if running.is_empty() {
            if replicas
                .iter()
                .any(|r| r.state == ContainerState::Restarting)
            {
                continue;
            }
            idle.push((name.as_str(), policy.min.max(1)));
            continue;
        }
        check_unhealthy(name, &running, report);
        // The halves of a recreate have one number.
        let numbers = replicas.iter().filter(|r| r.state.counts());
        let numbers: BTreeSet<_> = numbers.map(|r| r.number).collect();
        let anew = plan::anew(name, numbers.len() as u32);
        for left in replicas.iter().filter(|r| r.is_being_recreated()) {
            report.warn(
                CheckCode::HalfRecreated,
                name,
                format!(
                    "{} is left from an unfinished recreate: compose is still running, or was interrupted",
                    left.name
                ),
                format!(
                    "if compose is not running: `docker rm -f {}`, then `{anew}`",
                    left.name
                ),
            );
        }
        // What the file says was reported before.
        if policy.max > 1 && blockers::refusals(service, &[]).is_empty() {
            for refusal in blockers::refusals(service, &replicas) {
                report.error(
                    CheckCode::ContainersOlder,
                    name,
                    format!("its containers are older than the file: {}", refusal.what),
                    anew.as_str(),
                );
            }
        }
        let configurations: BTreeSet<_> = replicas
            .iter()
            .map(|r| (&r.config_hash, &r.image_id))
            .collect();
        if configurations.len() > 1 {
            report.warn(CheckCode::MixedReplicas,
                name,
                "its replicas have different configurations or images; new replicas are clones of the latest one",
                anew,
            );
        }
        if policy.ready == Ready::Healthcheck && running.iter().any(|r| r.health == Health::None) {
            report.error(
                CheckCode::HealthcheckNeeded,
                name,
                "`ready: healthcheck`, but its containers have none",
                format!("give {name} a `healthcheck`, or use `ready: auto`"),
            );
        }
    }
    check_nothing_runs(loaded, &idle, report);
}

/// Replicas that the Engine starts again and again: to start them once more mends nothing.
fn check_crashing(name: &str, replicas: &[&Replica], is_all: bool, report: &mut CheckReport) {
    for crashing in replicas
        .iter()
        .filter(|r| r.state == ContainerState::Restarting)
    {
        let container = &crashing.name;
        let code = crashing
            .exit_code
            .map_or_else(String::new, |code| format!(", exit code {code}"));
        let fix = format!("see why: `docker logs --tail 50 {container}`");
        let what = format!("{container} keeps crashing (it is restarting{code})");
        if is_all {
            let what = format!("{what}, and no other replica runs");
            report.error(CheckCode::Crashing, name, what, fix);
        } else {
            report.warn(CheckCode::Crashing, name, what, fix);
        }
    }
}

/// How many run, and which of them their healthcheck says no of.
fn check_unhealthy(name: &str, running: &[&&Replica], report: &mut CheckReport) {
    let all = running.len();
    let unhealthy = running.iter().filter(|r| r.health == Health::Unhealthy);
    let unhealthy: Vec<_> = unhealthy.map(|r| r.name.as_str()).collect();
    let Some(first) = unhealthy.first() else {
        report.ok(name, format!("{all} running"));
        return;
    };
    let fix = format!(
        "read the healthcheck's output: `docker inspect --format '{{{{json .State.Health.Log}}}}' {first}`, and `docker compose logs --tail 50 {name}`"
    );
    let names = unhealthy.join(", ");
    if unhealthy.len() == all {
        let what = format!("the healthcheck of every running replica fails: {names}");
        report.error(CheckCode::Unhealthy, name, what, fix);
    } else {
        let well = all - unhealthy.len();
        let what =
            format!("{well} of {all} replicas are healthy: the healthcheck of {names} fails");
        report.warn(CheckCode::Unhealthy, name, what, fix);
    }
}

// ---- where files go ----------------------------------------------------------------------------

async fn check_directories(loaded: &Loaded, info: Option<&EngineInfo>, report: &mut CheckReport) {
    let state = state_dir(loaded);
    let written = state.make().map_err(|error| error.to_string());
    let written = written.and_then(|()| {
        let path = state.path();
        try_out(path).map_err(|error| format!("cannot write to {}: {error}", path.display()))
    });
    match written {
        Ok(()) => report.ok(
            "project",
            format!("history and state are kept in {}", state.path().display()),
        ),
        Err(what) => report.error(
            CheckCode::StateNotWritable,
            "project",
            what,
            "set COMPOSE_SCALE_STATE to a directory of your own",
        ),
    }
    access::check_directories(loaded, &state, report);
    other_instances::check_other_instances(loaded, &state, info, report).await;
    let upstreams = service_setup::nginx_place(loaded).map(|_| service_setup::upstreams(loaded));
    let needs = engine_and_disk::directories(state.path(), upstreams.clone(), info);
    engine_and_disk::check_disk_space(&needs, engine_and_disk::room, report);
    if let Some(directory) = upstreams.filter(|directory| directory.exists())
        && let Err(error) = try_out(&directory)
    {
        report.error(
            CheckCode::UpstreamsNotWritable,
            "nginx",
            format!("cannot write to {}: {error}", directory.display()),
            format!("sudo chown $USER {}", directory.display()),
        );
    }
}

/// Whether a file can be made in a directory. It has no name, so that nobody who follows the directory
/// sees one come and go.
fn try_out(directory: &Path) -> std::io::Result<()> {
    tempfile::tempfile_in(directory).map(drop)
}
