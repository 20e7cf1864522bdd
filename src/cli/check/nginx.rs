//! What `check` looks at in and around nginx.

use std::path::Path;

use super::Report;
use crate::{
    cli::run,
    compose::Loaded,
    engine::{Engine, Exec, docker::Docker},
    project::{Replica, State},
    proxy::{
        Features, NginxVersion,
        inspect::{self, Configuration, Findings, Mount, MountProblem},
        render,
    },
    watch::setup::{self, NginxPlace},
};

pub(super) async fn the_nginx(
    loaded: &Loaded,
    engine: &Docker,
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

async fn nginx_says(engine: &Docker, nginx: &Replica, flag: &str) -> Result<String, String> {
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

async fn the_version(engine: &Docker, nginx: &Replica, report: &mut Report) {
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
        Some(version) if Features::of(version).keepalive_min_timeout => {
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
    engine: &Docker,
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
        let path = directory.join(render::upstream_name(service));
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
