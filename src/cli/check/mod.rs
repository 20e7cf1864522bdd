//! `compose-scale check`: everything that would stop scaling from working, each with its fix.

use std::{collections::BTreeSet, fmt, path::Path};

use clap::Args;
use owo_colors::{AnsiColors, OwoColorize};
use serde::Serialize;

use super::{
    Failure, ProjectArgs, engine,
    output::{self, Format},
    state_dir,
};
use crate::{
    compose::Loaded,
    engine::{Engine, EngineInfo, docker::Docker},
    plan::{self, refuse},
    policy::{Metric, Policy, Ready},
    project::{Health, Replica, Service, State},
    telemetry::plain,
    watch::setup,
};

mod custom;
mod drift;
mod host;
mod nginx;
mod notify;

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Send a test to everybody whom `x-autoscale.notify` names
    #[arg(long)]
    send_test: bool,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Grade {
    Ok,
    Warning,
    Error,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    grade: Grade,
    /// What it is about: a service, `nginx`, `engine`, `project`.
    about: String,
    what: String,
    /// What to type; empty when nothing is to be done.
    #[serde(skip_serializing_if = "String::is_empty")]
    fix: String,
}

#[derive(Debug, Serialize)]
struct Report {
    version: u32,
    project: String,
    findings: Vec<Finding>,
}

impl Report {
    fn ok(&mut self, about: &str, what: impl Into<String>) {
        self.add(Grade::Ok, about, what, "");
    }

    fn warn(&mut self, about: &str, what: impl Into<String>, fix: impl Into<String>) {
        self.add(Grade::Warning, about, what, fix);
    }

    fn error(&mut self, about: &str, what: impl Into<String>, fix: impl Into<String>) {
        self.add(Grade::Error, about, what, fix);
    }

    fn add(&mut self, grade: Grade, about: &str, what: impl Into<String>, fix: impl Into<String>) {
        self.findings.push(Finding {
            grade,
            about: about.to_owned(),
            what: what.into(),
            fix: fix.into(),
        });
    }

    fn count(&self, grade: Grade) -> usize {
        self.findings.iter().filter(|f| f.grade == grade).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            let (word, colour) = match finding.grade {
                Grade::Ok => ("ok", AnsiColors::Green),
                Grade::Warning => ("warning", AnsiColors::Yellow),
                Grade::Error => ("error", AnsiColors::Red),
            };
            writeln!(
                f,
                "{:<7}  {}: {}",
                word.color(colour),
                plain(&finding.about),
                // Further lines stay below the first one.
                plain(finding.what.trim_end()).replace('\n', "\n         ")
            )?;
            for line in finding.fix.lines() {
                writeln!(f, "         → {}", plain(line))?;
            }
        }
        let plural = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
        writeln!(
            f,
            "\n{}, {}",
            plural(self.count(Grade::Error), "error"),
            plural(self.count(Grade::Warning), "warning")
        )
    }
}

pub(super) async fn run(project: &ProjectArgs, args: CheckArgs) -> Result<(), Failure> {
    let (source, loaded) = project.load(&[]).await?;
    let mut report = Report {
        version: 1,
        project: loaded.project.name.clone(),
        findings: Vec::new(),
    };
    the_file(&loaded, &mut report);
    match the_engine(&mut report).await {
        Some((engine, info, containers)) => {
            let look = host::look(crate::watch::Clock::start().now());
            host::the_machine(&loaded, &info, &containers, look.as_ref(), &mut report);
            the_containers(&loaded, &containers, &mut report);
            drift::the_file(&loaded, &source, &engine, &containers, &mut report).await;
            custom::the_values(&loaded, &engine, &containers, &mut report).await;
            nginx::the_nginx(&loaded, engine, &containers, &mut report).await;
        }
        None => report.warn(
            "engine",
            "containers and nginx could not be looked at",
            "run `compose-scale check` again when the Engine answers",
        ),
    }
    notify::the_targets(&loaded, args.send_test, &mut report).await;
    the_places(&loaded, &mut report);
    match args.format {
        Format::Text => output::write(report.to_string().as_bytes())?,
        Format::Json => output::json(&report)?,
    }
    if report.count(Grade::Error) > 0 {
        return Err(Failure::Said);
    }
    Ok(())
}

// ---- the compose file --------------------------------------------------------------------------

fn the_file(loaded: &Loaded, report: &mut Report) {
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
        report.error("project", what, format!("add one{fix}"));
    }
    for (name, policy) in &loaded.policies {
        if let Some(service) = loaded.project.services.get(name) {
            one_policy(service, policy, report);
        }
    }
}

fn one_policy(service: &Service, policy: &Policy, report: &mut Report) {
    let name = &service.name;
    let before = report.count(Grade::Error);
    if policy.max > 1 {
        for refusal in refuse::refusals(service, &[]) {
            report.error(name, refusal.what, refusal.fix);
        }
        if let Some(refusal) = refuse::too_many(service, policy.max) {
            report.warn(name, refusal.what, refusal.fix);
        }
    }
    let port = setup::port_of(service, policy);
    if port.is_none() {
        let what = service
            .only_port()
            .map_or_else(|problem| problem.to_string(), |_| String::new());
        report.warn(
            name,
            format!("nginx sends no traffic to it: {what}"),
            "fine for a worker; else set `x-autoscale.port`",
        );
    }
    if matches!(policy.ready, Ready::Http(_)) && port.is_none() {
        report.error(
            name,
            "`ready: {http: …}` needs a port",
            "set `x-autoscale.port`",
        );
    }
    if let Some(refusal) = setup::unmeasured(service, policy) {
        report.error(name, refusal.what, refusal.fix);
    }
    let uses_cpu = policy
        .metrics
        .iter()
        .any(|metric| matches!(metric, Metric::Cpu(_)));
    if uses_cpu && service.limits.cpus.is_none() {
        report.warn(
            name,
            "it has no CPU limit, so its CPU share is one of a whole core",
            "set `deploy.resources.limits.cpus` if a replica may use less than that, or more",
        );
    }
    if report.count(Grade::Error) == before {
        report.ok(
            name,
            format!("may have {} to {} replicas", policy.min, policy.max),
        );
    }
}

// ---- the engine and its containers -------------------------------------------------------------

async fn the_engine(report: &mut Report) -> Option<(Docker, EngineInfo, Vec<Replica>)> {
    let answer = match engine() {
        Ok(engine) => match engine.info().await {
            Ok(info) => match engine.list(&report.project).await {
                Ok(containers) => Ok((engine, info, containers)),
                Err(error) => Err(Failure::Engine(error)),
            },
            Err(error) => Err(Failure::Engine(error)),
        },
        Err(failure) => Err(failure),
    };
    match answer {
        Ok((engine, info, containers)) => {
            let counters = if info.cgroup_files {
                "CPU and memory are read from cgroup files"
            } else {
                "CPU and memory are asked of the Engine, which takes it about a second"
            };
            report.ok(
                "engine",
                format!(
                    "Docker {} (API {}); {counters}",
                    info.version, info.api_version
                ),
            );
            Some((engine, info, containers))
        }
        Err(failure) => {
            report.error(
                "engine",
                failure.to_string(),
                failure.hint().unwrap_or_default(),
            );
            None
        }
    }
}

fn the_containers(loaded: &Loaded, containers: &[Replica], report: &mut Report) {
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
            .filter(|r| r.state == State::Running)
            .collect();
        if running.is_empty() {
            report.error(
                name,
                "no replica is running, so there is none to make another one like",
                format!(
                    "{}, or compose-scale scale {name}={}",
                    setup::up(loaded, name),
                    policy.min.max(1)
                ),
            );
            continue;
        }
        report.ok(name, format!("{} running", running.len()));
        // The halves of a recreate have one number.
        let numbers = replicas.iter().filter(|r| r.state.counts());
        let numbers: BTreeSet<_> = numbers.map(|r| r.number).collect();
        let anew = plan::anew(name, numbers.len() as u32);
        for left in replicas.iter().filter(|r| r.is_being_recreated()) {
            report.warn(
                name,
                format!(
                    "{} is one half of a recreate: compose is at work, or was interrupted",
                    left.name
                ),
                format!(
                    "if compose is not at work: `docker rm -f {}`, then `{anew}`",
                    left.name
                ),
            );
        }
        // What the file says was reported before.
        if policy.max > 1 && refuse::refusals(service, &[]).is_empty() {
            for refusal in refuse::refusals(service, &replicas) {
                report.error(
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
            report.warn(
                name,
                "its replicas are of different configurations or images; new ones follow the one made last",
                anew,
            );
        }
        if policy.ready == Ready::Healthcheck && running.iter().any(|r| r.health == Health::None) {
            report.error(
                name,
                "`ready: healthcheck`, but its containers have none",
                format!("give {name} a `healthcheck`, or use `ready: auto`"),
            );
        }
    }
}

// ---- where files go ----------------------------------------------------------------------------

fn the_places(loaded: &Loaded, report: &mut Report) {
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
            "project",
            what,
            "set COMPOSE_SCALE_STATE to a directory of your own",
        ),
    }
    if setup::nginx_place(loaded).is_some() {
        let directory = setup::upstreams(loaded);
        if directory.exists()
            && let Err(error) = try_out(&directory)
        {
            report.error(
                "nginx",
                format!("cannot write to {}: {error}", directory.display()),
                format!("sudo chown $USER {}", directory.display()),
            );
        }
    }
}

/// Whether a file can be made in a directory. It has no name, so that nobody who follows the directory
/// sees one come and go.
fn try_out(directory: &Path) -> std::io::Result<()> {
    tempfile::tempfile_in(directory).map(drop)
}
