//! `compose-scale check`: everything that would stop scaling from working, each with its fix.

use std::{fmt, path::Path};

use clap::{Args, ValueEnum};
use owo_colors::{AnsiColors, OwoColorize};
use serde::Serialize;

use super::{Failure, ProjectArgs, engine, output, run, state_dir};
use crate::{
    compose::Loaded,
    engine::{Engine, Exec},
    plan::refuse,
    policy::{Metric, Policy, Ready},
    project::{Health, Replica, Service, State},
    proxy::{
        NginxVersion,
        inspect::{self, Configuration, Findings, Mount, MountProblem},
    },
    watch::setup::{self, NginxPlace},
};

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
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
                finding.about,
                finding.what
            )?;
            for line in finding.fix.lines() {
                writeln!(f, "         → {line}")?;
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
    let (_, loaded) = project.load(&[])?;
    let mut report = Report {
        version: 1,
        project: loaded.project.name.clone(),
        findings: Vec::new(),
    };
    the_file(&loaded, &mut report);
    match the_engine(&mut report).await {
        Some((engine, containers)) => {
            the_containers(&loaded, &containers, &mut report);
            the_nginx(&loaded, &engine, &containers, &mut report).await;
        }
        None => report.warn(
            "engine",
            "containers and nginx could not be looked at",
            "run `compose-scale check` again when the Engine answers",
        ),
    }
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
    let uses_memory = policy
        .metrics
        .iter()
        .any(|metric| matches!(metric, Metric::Memory(_)));
    if uses_memory && service.limits.memory.is_none() {
        report.error(
            name,
            "a memory target needs a memory limit to be a share of",
            format!(
                "give {name} `deploy: {{resources: {{limits: {{memory: 256M}}}}}}` and run `docker compose up -d {name}`"
            ),
        );
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

async fn the_engine(report: &mut Report) -> Option<(crate::engine::docker::Docker, Vec<Replica>)> {
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
            Some((engine, containers))
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
                format!("docker compose up -d {name}"),
            );
            continue;
        }
        report.ok(name, format!("{} running", running.len()));
        // What the file says was reported before.
        if policy.max > 1 && refuse::refusals(service, &[]).is_empty() {
            for refusal in refuse::refusals(service, &replicas) {
                report.error(
                    name,
                    format!("its containers are older than the file: {}", refusal.what),
                    format!("docker compose up -d {name}"),
                );
            }
        }
        let configurations: std::collections::BTreeSet<_> = replicas
            .iter()
            .map(|r| (&r.config_hash, &r.image_id))
            .collect();
        if configurations.len() > 1 {
            report.warn(
                name,
                "its replicas are of different configurations or images; new ones follow the one made last",
                format!("docker compose up -d {name}"),
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

// ---- nginx -------------------------------------------------------------------------------------

async fn the_nginx(
    loaded: &Loaded,
    engine: &crate::engine::docker::Docker,
    containers: &[Replica],
    report: &mut Report,
) {
    let routed: Vec<_> = loaded
        .policies
        .iter()
        .filter_map(|(name, policy)| {
            let service = loaded.project.services.get(name)?;
            setup::port_of(service, policy).map(|_| name.as_str())
        })
        .collect();
    if routed.is_empty() {
        return;
    }
    let found = match setup::nginx_place(loaded) {
        None => {
            report.error(
                "nginx",
                "no service of the project runs nginx, or several do",
                "name it: `x-autoscale: {nginx: {service: NAME}}` at the top level of the compose file",
            );
            return;
        }
        Some(NginxPlace::Service(service)) => containers
            .iter()
            .find(|c| c.is_replica() && c.service == service && c.state == State::Running)
            .cloned()
            .ok_or(format!("docker compose up -d {service}")),
        Some(NginxPlace::Container(name)) => engine
            .inspect(&name)
            .await
            .ok()
            .filter(|c| c.state == State::Running)
            .ok_or(format!("docker start {name}")),
    };
    let nginx = match found {
        Ok(nginx) => nginx,
        Err(fix) => {
            report.error("nginx", "it is not running", fix);
            return;
        }
    };
    let others = containers
        .iter()
        .filter(|c| c.is_replica() && c.service == nginx.service && c.state == State::Running)
        .count();
    if others > 1 {
        report.error(
            "nginx",
            format!(
                "{others} replicas of it run, and only {} is kept in step",
                nginx.name
            ),
            format!("docker compose up -d --scale {}=1", nginx.service),
        );
    }
    the_version(engine, &nginx, report).await;
    the_networks(&nginx, &routed, containers, report);
    if let Some(directory) = the_mount(loaded, &nginx, report) {
        the_includes(loaded, engine, &nginx, &directory, &routed, report).await;
    }
}

async fn nginx_says(
    engine: &crate::engine::docker::Docker,
    nginx: &Replica,
    flag: &str,
) -> Result<String, String> {
    let exec = Exec {
        argv: vec!["nginx".into(), flag.into()],
        ..Exec::default()
    };
    let output = engine
        .exec(&nginx.id, &exec)
        .await
        .map_err(|error| error.to_string())?;
    if output.code == 0 {
        Ok(format!("{}\n{}", output.stdout, output.stderr))
    } else {
        Err(output.stderr.trim().to_owned())
    }
}

async fn the_version(engine: &crate::engine::docker::Docker, nginx: &Replica, report: &mut Report) {
    let version = match nginx_says(engine, nginx, "-v").await {
        Ok(text) => NginxVersion::parse(&text),
        Err(error) => {
            report.error(
                "nginx",
                format!("`nginx -v` in {} failed: {error}", nginx.name),
                "use an image whose `nginx` is on the PATH",
            );
            return;
        }
    };
    match version {
        Some(version) if crate::proxy::Features::of(version).keepalive_min_timeout => {
            report.ok("nginx", format!("{version} in {}", nginx.name));
        }
        Some(version) => report.warn(
            "nginx",
            format!(
                "{version} closes idle keep-alive connections at a reload, and a request that is on its way on one is lost"
            ),
            "use nginx 1.27.4 or newer, which has `keepalive_min_timeout`",
        ),
        None => report.warn("nginx", "its version is not understood", ""),
    }
}

fn the_networks(nginx: &Replica, routed: &[&str], containers: &[Replica], report: &mut Report) {
    let networks = nginx.addresses.keys().cloned().collect();
    for service in routed {
        let apart = containers
            .iter()
            .filter(|c| c.is_replica() && c.service == *service && c.state == State::Running)
            .find(|c| inspect::address_for(&c.addresses, &networks).is_none());
        if let Some(replica) = apart {
            report.error(
                service,
                format!("{} shares no network with {}", replica.name, nginx.name),
                "put both services on one network and run `docker compose up -d`",
            );
        }
    }
}

/// The directory of our files as nginx sees it.
fn the_mount(loaded: &Loaded, nginx: &Replica, report: &mut Report) -> Option<String> {
    let directory = run::upstreams(loaded);
    let resolved = directory.canonicalize().unwrap_or(directory.clone());
    let mounts: Vec<_> = nginx
        .mounts
        .iter()
        .map(|mount| Mount {
            is_dir: mount.source.is_dir(),
            source: mount.source.canonicalize().unwrap_or(mount.source.clone()),
            destination: mount.destination.clone(),
        })
        .collect();
    for problem in inspect::mount_problems(&resolved, &mounts) {
        let fix = match &problem {
            MountProblem::NotMounted { .. } => format!(
                "add to nginx's volumes: `- {}:/etc/nginx/upstreams:ro` (the directory, not a file), then `docker compose up -d`",
                shown(&directory, &loaded.project.working_dir)
            ),
            MountProblem::SingleFile { .. } => {
                "mount the directory instead of the file, then `docker compose up -d`".to_owned()
            }
        };
        report.error("nginx", problem.to_string(), fix);
    }
    let inside = inspect::inside(&resolved, &mounts)?;
    report.ok(
        "nginx",
        format!("{} is mounted at {}", directory.display(), inside.display()),
    );
    Some(inside.to_string_lossy().into_owned())
}

/// As one would write it in the compose file.
fn shown(path: &Path, base: &Path) -> String {
    path.strip_prefix(base).map_or_else(
        |_| path.display().to_string(),
        |rest| format!("./{}", rest.display()),
    )
}

async fn the_includes(
    loaded: &Loaded,
    engine: &crate::engine::docker::Docker,
    nginx: &Replica,
    directory: &str,
    routed: &[&str],
    report: &mut Report,
) {
    let dump = match nginx_says(engine, nginx, "-T").await {
        Ok(dump) => dump,
        Err(error) => {
            report.error(
                "nginx",
                format!("its configuration is not valid: {error}"),
                "mend it, then `docker compose exec` into nginx and run `nginx -t`",
            );
            return;
        }
    };
    stale(loaded, &dump, routed, report);
    let configuration = Configuration::parse(&dump);
    for service in routed {
        let findings = configuration.look_for(service, directory);
        one_include(service, directory, &findings, report);
    }
}

/// A directory that was deleted and made again is another one than nginx has mounted: it goes on
/// reading the old one for ever.
fn stale(loaded: &Loaded, dump: &str, routed: &[&str], report: &mut Report) {
    let directory = run::upstreams(loaded);
    for service in routed {
        let path = directory.join(crate::proxy::render::upstream_name(service));
        let Ok(written) = std::fs::read_to_string(&path) else {
            continue;
        };
        if !dump.contains(written.trim()) {
            report.error(
                "nginx",
                format!(
                    "it does not see {} as it is on this host: the directory was replaced after nginx started, or is not included",
                    path.display()
                ),
                "docker compose up -d --force-recreate nginx",
            );
        }
    }
}

fn one_include(service: &str, directory: &str, findings: &Findings, report: &mut Report) {
    let include = format!("include {directory}/*.conf;");
    for misplaced in &findings.misplaced {
        report.error(
            service,
            format!(
                "{} includes its upstream inside `{}`, where nginx refuses it",
                misplaced.place, misplaced.block
            ),
            format!("move `{include}` to the http level, outside of any server"),
        );
    }
    match findings.included.as_slice() {
        [] if findings.misplaced.is_empty() => report.error(
            service,
            format!("nginx does not include {directory}/{service}.conf"),
            format!("add `{include}` at http level (a file in conf.d is at http level), outside of any server"),
        ),
        [] => {}
        [place] => report.ok(service, format!("its upstream is included at {place}")),
        [first, second, ..] => report.error(
            service,
            format!("its upstream is included twice, at {first} and {second}"),
            "remove one of the two",
        ),
    }
    for place in &findings.foreign {
        report.error(
            service,
            format!("{place} has an upstream of the same name, and nginx refuses two"),
            format!("remove that `upstream {service}`; compose-scale writes it"),
        );
    }
    if findings.passes.is_empty() {
        let doubt = if findings.variable.is_empty() {
            String::new()
        } else {
            " (a target with variables may)".to_owned()
        };
        report.warn(
            service,
            format!("no proxy_pass of nginx goes to it{doubt}"),
            format!("in its location: `proxy_pass http://{service};`"),
        );
    }
    for pass in &findings.passes {
        if let Some(port) = &pass.port {
            report.error(
                service,
                format!("{}: `{}` names port {port}, which nginx refuses beside an upstream of that name", pass.place, pass.target),
                format!("write `http://{service}` without the port; it is in the upstream"),
            );
        }
        if !pass.settings {
            report.warn(
                service,
                format!(
                    "{}: no settings for retries, timeouts and keep-alive beside this proxy_pass",
                    pass.place
                ),
                format!("add `include {directory}/{service}.location*;` to the location"),
            );
        }
        if let Some(place) = &pass.hides_headers_of {
            report.warn(
                service,
                format!("{}: the headers set at {place} do not reach it, because this location sets its own", pass.place),
                "repeat those proxy_set_header lines in the location",
            );
        }
    }
}

// ---- where files go ----------------------------------------------------------------------------

fn the_places(loaded: &Loaded, report: &mut Report) {
    let state = state_dir(loaded);
    match tempfile_in(state.path()) {
        Ok(()) => report.ok(
            "project",
            format!("history and state are kept in {}", state.path().display()),
        ),
        Err(error) => report.error(
            "project",
            format!("cannot write to {}: {error}", state.path().display()),
            "set COMPOSE_SCALE_STATE to a directory of your own",
        ),
    }
    if setup::nginx_place(loaded).is_some() {
        let directory = run::upstreams(loaded);
        if directory.exists()
            && let Err(error) = tempfile_in(&directory)
        {
            report.error(
                "nginx",
                format!("cannot write to {}: {error}", directory.display()),
                format!("sudo chown $USER {}", directory.display()),
            );
        }
    }
}

/// Whether a file can be made in a directory, which is made where it is missing.
fn tempfile_in(directory: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    tempfile::Builder::new()
        .prefix(".check-")
        .tempfile_in(directory)
        .map(drop)
}
