//! What `check` looks at in and around nginx.

use std::{path::Path, sync::Arc};

use super::{CheckCode, CheckReport};
use crate::{
    cli::driver_setup,
    compose::Loaded,
    engine::{Engine, docker::Docker},
    plan,
    policy::Ready,
    project::{ContainerState, Replica},
    proxy::{
        self, Listed, ProxyError,
        inspect::Configuration,
        listed,
        nginx::{self, Control},
        render,
    },
    watch::{
        address::{self, Addresses},
        nginx_preflight,
        nginx_target::{self, AnyNginx, NginxLocation, NginxTarget},
        service_setup::{self, ManagedNginx, Unrouted},
    },
};

mod bypass;
mod include;
mod log;
#[cfg(test)]
mod tests;
mod version;

use include::one_include;
use version::check_version;

pub(super) async fn check_nginx(
    loaded: &Loaded,
    engine: Docker,
    containers: &[Replica],
    report: &mut CheckReport,
) {
    let routed: Vec<_> = loaded
        .policies
        .iter()
        .filter_map(|(name, policy)| {
            let service = loaded.project.services.get(name)?;
            service_setup::port_of(service, policy).map(|_| name.as_str())
        })
        .collect();
    let names = loaded.policies.keys();
    let unrouted: Vec<_> = names
        .filter_map(|name| service_setup::unrouted(loaded, name))
        .collect();
    let Some(place) = service_setup::nginx_place(loaded) else {
        if !routed.is_empty() {
            no_place(loaded, report);
        }
        return;
    };
    if routed.is_empty() && unrouted.is_empty() {
        return;
    }
    let look = NginxCheck {
        loaded,
        routed: &routed,
        unrouted: &unrouted,
        containers,
        place: &place,
    };
    let directory = service_setup::upstreams(loaded);
    for (service, listed) in listed(&directory, &loaded.project.name) {
        stale_addresses(&service, &directory, &listed, containers, report);
    }
    match &place {
        ManagedNginx::Service(service) => {
            let ours = containers
                .iter()
                .filter(|c| c.is_replica() && c.service == *service);
            look.in_containers(engine, ours.cloned().collect(), report)
                .await;
        }
        ManagedNginx::Container(name) => {
            let found = engine.inspect(name).await.ok();
            look.in_containers(engine, found.into_iter().collect(), report)
                .await;
        }
        ManagedNginx::Host => look.on_this_host(report).await,
    }
}

/// Addresses that are another container's than the one they were written for.
fn stale_addresses(
    service: &str,
    directory: &Path,
    listed: &Listed,
    containers: &[Replica],
    report: &mut CheckReport,
) {
    let file = directory.join(render::upstream_name(service));
    for wrong in address::misdirected(listed, containers) {
        report.error(
            CheckCode::NginxStaleAddress,
            service,
            format!("{}: {wrong}", file.display()),
            "compose-scale sync",
        );
        report.at(&file.display().to_string(), 1);
    }
}

fn no_place(loaded: &Loaded, report: &mut CheckReport) {
    match service_setup::several_nginx(loaded) {
        Some((what, fix)) => report.error(CheckCode::NginxUnknown, "nginx", what, fix),
        None => report.error(CheckCode::NginxUnknown,
            "nginx",
            "no service of the project runs an image named nginx",
            "name it at the top level of the compose file: `x-autoscale: {nginx: {service: NAME}}`, `{container: NAME}` if it belongs to another project, or `{host: true}`",
        ),
    }
}

/// What is looked at, and from where.
struct NginxCheck<'a> {
    loaded: &'a Loaded,
    /// The services that nginx sends to.
    routed: &'a [&'a str],
    /// Those that have no upstream.
    unrouted: &'a [Unrouted],
    containers: &'a [Replica],
    place: &'a ManagedNginx,
}

impl NginxCheck<'_> {
    async fn in_containers(&self, engine: Docker, found: Vec<Replica>, report: &mut CheckReport) {
        let running: Vec<_> = found
            .iter()
            .filter(|c| c.state == ContainerState::Running)
            .collect();
        if self.routed.is_empty() {
            let engine = Arc::new(engine);
            for target in running.into_iter().filter_map(NginxTarget::of) {
                let engine = Arc::clone(&engine);
                self.without_upstreams(&AnyNginx::Container { engine, target }, report)
                    .await;
            }
            return;
        }
        let crashing = found.iter().find(|c| c.state == ContainerState::Restarting);
        if let (true, Some(nginx)) = (running.is_empty(), crashing) {
            let text = nginx_target::crash(&nginx.name, nginx.exit_code);
            let (what, fix) = text.split_once("; ").unwrap_or((&text, ""));
            report.error(CheckCode::NginxCrashing, "nginx", what, fix);
            return;
        }
        for paused in found.iter().filter(|c| c.state == ContainerState::Paused) {
            report.error(CheckCode::NginxPaused,
                "nginx",
                format!(
                    "{} is paused: it keeps the old upstreams, so no replica is stopped until it has read the new ones",
                    paused.name
                ),
                format!("docker unpause {}", paused.name),
            );
        }
        if running.is_empty() {
            if found.iter().any(|c| c.state == ContainerState::Paused) {
                return;
            }
            report.error(
                CheckCode::NginxNotRunning,
                "nginx",
                "it is not running",
                self.place.start(),
            );
            return;
        }
        if running.len() > 1 {
            let names: Vec<_> = running.iter().map(|c| c.name.as_str()).collect();
            report.ok(
                "nginx",
                format!("{} are kept in step with each other", names.join(", ")),
            );
        }
        let targets: Vec<_> = running.iter().filter_map(|c| NginxTarget::of(c)).collect();
        self.check_addresses(&NginxLocation::containers(targets), report);
        let engine = Arc::new(engine);
        for container in running {
            let Some(target) = NginxTarget::of(container) else {
                continue;
            };
            let control = AnyNginx::Container {
                engine: Arc::clone(&engine),
                target,
            };
            if !check_version(&control, report).await {
                continue;
            }
            self.check_log_directory(Some(container), report);
            if let Some(directory) = self.check_mount(container, report) {
                self.check_includes(&control, &directory, report).await;
            }
        }
        // It is one address, however many there are.
        self.check_stub_status(report).await;
    }

    async fn on_this_host(&self, report: &mut CheckReport) {
        let host = driver_setup::host_nginx(self.loaded);
        let open = host.is_open_to_us();
        let control = AnyNginx::<Docker>::Host(host);
        if self.routed.is_empty() {
            if open {
                self.without_upstreams(&control, report).await;
            }
            return;
        }
        match control.identity().await {
            Ok(_) => {}
            Err(nginx::ControlError::NotRunning) => {
                report.error(
                    CheckCode::NginxNotRunning,
                    "nginx",
                    "it is not running on this host",
                    self.place.start(),
                );
                return;
            }
            Err(error) => {
                let text = error.to_string();
                let look = "read its log: `sudo journalctl -u nginx -n 20`";
                let (what, fix) = text.split_once("; ").unwrap_or((&text, look));
                report.error(CheckCode::NginxUnanswered, "nginx", what, fix);
                return;
            }
        }
        if !check_version(&control, report).await {
            return;
        }
        self.check_addresses(&NginxLocation::Host, report);
        self.check_log_directory(None, report);
        self.check_stub_status(report).await;
        let directory = service_setup::upstreams(self.loaded);
        if !open {
            report.warn(
                CheckCode::NginxUnread,
                "nginx",
                "this user may not read its configuration, so its includes were not checked",
                "sudo compose-scale check",
            );
            return;
        }
        self.check_includes(&control, &directory.to_string_lossy(), report)
            .await;
    }

    /// Whether nginx reaches every replica that runs.
    fn check_addresses(&self, whereabouts: &NginxLocation, report: &mut CheckReport) {
        let reach = self.loaded.settings.nginx.reach;
        for service in self.routed {
            let Some(policy) = self.loaded.policies.get(*service) else {
                continue;
            };
            let port = self
                .loaded
                .project
                .services
                .get(*service)
                .and_then(|found| service_setup::port_of(found, policy));
            let Some(port) = port else {
                continue;
            };
            let mut running = self.containers.iter().filter(|c| {
                c.is_replica() && c.service == *service && c.state == ContainerState::Running
            });
            let way = |replica: &Replica| {
                let of = Addresses {
                    own: &replica.addresses,
                    published: &replica.published,
                };
                address::for_nginx(whereabouts, reach, of, port)
            };
            if let Some(replica) = running.clone().find(|replica| way(replica).is_none()) {
                let (what, fix) = match whereabouts {
                    NginxLocation::Host => (
                        format!(
                            "nginx on this host cannot reach {}: this host has no bridge to its network, and port {port} is not published",
                            replica.name
                        ),
                        format!(
                            "give {service} `ports: [\"127.0.0.1::{port}\"]` and run `{}`",
                            plan::anew(
                                service,
                                u32::try_from(running.clone().count()).unwrap_or(1)
                            )
                        ),
                    ),
                    _ => (
                        format!(
                            "{} shares no network with {}",
                            replica.name,
                            whereabouts.names().unwrap_or_default()
                        ),
                        self.on_one_network(replica),
                    ),
                };
                report.error(CheckCode::NginxNoWay, service, what, fix);
                continue;
            }
            let Some(way) = running.find_map(way) else {
                continue;
            };
            if way.published && matches!(policy.ready, Ready::Tcp(_) | Ready::Auto) {
                report.warn(CheckCode::NginxPublishedPort,
                    service,
                    "nginx reaches it by a published port, which accepts connections before the app does: it counts as ready when GET / gets a status below 500",
                    "set `ready: {http: /PATH}`, or give it a healthcheck",
                );
            } else if *whereabouts == NginxLocation::Host {
                report.ok(
                    service,
                    format!("nginx on this host reaches it at {}", way.address),
                );
            }
        }
    }

    fn on_one_network(&self, replica: &Replica) -> String {
        match self.place {
            ManagedNginx::Container(name) => {
                let network = replica.addresses.keys().next();
                format!(
                    "`docker network connect {} {name}`, and add that network where {name} is defined",
                    network.map_or("NETWORK", String::as_str)
                )
            }
            ManagedNginx::Service(_) | ManagedNginx::Host => format!(
                "connect nginx to a network of {}, and run `{}`",
                replica.service,
                self.place.start()
            ),
        }
    }

    /// The directory of our files as nginx sees it.
    fn check_mount(&self, nginx: &Replica, report: &mut CheckReport) -> Option<String> {
        let directory = service_setup::upstreams(self.loaded);
        let base = &self.loaded.project.working_dir;
        let then = self.place.with_other_volumes(&nginx.service);
        let mounted = nginx_preflight::mounted(&directory, base, self.place, &then, &nginx.mounts);
        for wrong in mounted.wrong {
            report.error(wrong.kind.into(), "nginx", wrong.what, wrong.fix);
        }
        let inside = mounted.inside?;
        if let Some(place) = nginx_preflight::writable_at(&directory, &nginx.mounts) {
            let written = nginx_preflight::as_written(&directory, base, self.place);
            report.warn(
                CheckCode::NginxMountWritable,
                "nginx",
                format!(
                    "{} can write to {}, at {}: an attacker who takes over nginx could plant files there",
                    nginx.name,
                    directory.display(),
                    place.display()
                ),
                format!("mount it read-only, `- {written}:{inside}:ro`, then {then}"),
            );
        }
        report.ok(
            "nginx",
            format!("{} is mounted at {inside}", directory.display()),
        );
        Some(inside)
    }

    async fn check_includes<C: Control>(
        &self,
        control: &C,
        directory: &str,
        report: &mut CheckReport,
    ) {
        let dump = match nginx::dump(control).await {
            Ok(dump) => dump,
            Err(ProxyError::Rejected { message }) => {
                let look = match self.place {
                    ManagedNginx::Service(name) => format!("docker compose exec {name} nginx -t"),
                    ManagedNginx::Container(name) => format!("docker exec {name} nginx -t"),
                    ManagedNginx::Host => "sudo nginx -t".to_owned(),
                };
                report.error(
                    CheckCode::NginxInvalid,
                    "nginx",
                    format!("its configuration is not valid: {message}"),
                    format!("correct it, and test it with `{look}`"),
                );
                return;
            }
            Err(error) => {
                let look = match self.place {
                    ManagedNginx::Service(name) => format!("docker compose logs --tail 20 {name}"),
                    ManagedNginx::Container(name) => format!("docker logs --tail 20 {name}"),
                    ManagedNginx::Host => "sudo journalctl -u nginx -n 20".to_owned(),
                };
                let fix = format!("read its log: `{look}`");
                report.error(CheckCode::NginxUnanswered, "nginx", error.to_string(), fix);
                return;
            }
        };
        let configuration = Configuration::parse(&dump);
        for service in self.routed {
            let findings = configuration.look_for(service, directory);
            if !findings.included.is_empty() {
                self.stale(service, &dump, report);
            }
            one_include(service, directory, &findings, report);
            self.check_lines(service, &configuration, report);
            if let Some(policy) = self.loaded.policies.get(*service) {
                let containers = self.containers.iter();
                let replicas: Vec<_> = containers
                    .filter(|one| one.is_replica() && one.service == *service)
                    .collect();
                let aliases = self.loaded.project.services.get(*service);
                let others = bypass::others(&replicas, aliases);
                bypass::check_bypasses(service, &others, directory, &configuration, report);
                let grace = aliases.and_then(|one| one.stop_grace_period);
                bypass::check_timeouts(service, policy, grace, &configuration, report);
            }
        }
        bypass::check_resolvers(self.routed, &configuration, report);
        check_unrouted(self.unrouted, directory, &configuration, report);
    }

    /// Where no service has an upstream, nothing else of nginx matters.
    async fn without_upstreams<C: Control>(&self, control: &C, report: &mut CheckReport) {
        if let Ok(dump) = nginx::dump(control).await {
            check_unrouted(self.unrouted, "", &Configuration::parse(&dump), report);
        }
    }

    /// A directory that was deleted and made again is another one than nginx has mounted: it goes
    /// on reading the old one for ever.
    fn stale(&self, service: &str, dump: &str, report: &mut CheckReport) {
        let directory = service_setup::upstreams(self.loaded);
        let path = directory.join(render::upstream_name(service));
        let project = &self.loaded.project.name;
        let Some(written) = proxy::written(&directory, project, service) else {
            return;
        };
        if !dump.contains(written.trim()) {
            report.error(
                CheckCode::NginxStale,
                "nginx",
                format!(
                    "it reads an old {}: the directory was replaced after nginx started",
                    path.display()
                ),
                self.place.refresh(),
            );
        }
    }
}

/// Services without an upstream that nginx sends requests to all the same: no workers.
fn check_unrouted(
    unrouted: &[Unrouted],
    directory: &str,
    configuration: &Configuration,
    report: &mut CheckReport,
) {
    for one in unrouted {
        let Some(pass) = configuration.way_to(&one.service, directory) else {
            continue;
        };
        // Without nginx's configuration it might have been a worker.
        report
            .findings
            .retain(|known| known.code != Some(CheckCode::NoPort) || known.service != one.service);
        let wrong = nginx_preflight::without_upstream(one, &pass);
        report.error(wrong.kind.into(), &one.service, wrong.what, wrong.fix);
        report.at(&pass.file, pass.line);
    }
}
