//! What `check` looks at in and around nginx.

use std::{path::Path, sync::Arc, time::Duration};

use super::Report;
use crate::{
    cli::run,
    compose::Loaded,
    engine::{Engine, docker::Docker},
    policy::{Policy, Ready},
    project::{Replica, State},
    proxy::{
        Features, ProxyError,
        inspect::{Configuration, Findings},
        log::{LIMIT, Log},
        nginx::{self, Control},
        render,
    },
    traffic::Traffic,
    units::{Bytes, Size, Span},
    watch::{
        Clock,
        address::{self, Addresses},
        remote::{self, AnyNginx, Target, Whereabouts},
        setup::{self, NginxPlace},
        traffic, way,
    },
};

pub(super) async fn the_nginx(
    loaded: &Loaded,
    engine: Docker,
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
    let Some(place) = setup::nginx_place(loaded) else {
        no_place(loaded, report);
        return;
    };
    let look = Look {
        loaded,
        routed: &routed,
        containers,
        place: &place,
    };
    match &place {
        NginxPlace::Service(service) => {
            let ours = containers
                .iter()
                .filter(|c| c.is_replica() && c.service == *service);
            look.in_containers(engine, ours.cloned().collect(), report)
                .await;
        }
        NginxPlace::Container(name) => {
            let found = engine.inspect(name).await.ok();
            look.in_containers(engine, found.into_iter().collect(), report)
                .await;
        }
        NginxPlace::Host => look.on_this_host(report).await,
    }
}

fn no_place(loaded: &Loaded, report: &mut Report) {
    match setup::candidates(loaded).as_slice() {
        [first, _, ..] => report.error(
            "nginx",
            format!(
                "several services of the project run nginx: {}",
                setup::candidates(loaded).join(", ")
            ),
            format!(
                "say which one sends requests to the others: `x-autoscale: {{nginx: {{service: {first}}}}}` at the top level of the compose file"
            ),
        ),
        _ => report.error(
            "nginx",
            "no service of the project runs an image named nginx",
            "say where it is, at the top level of the compose file: `x-autoscale: {nginx: {service: NAME}}`; or `{container: NAME}` where it belongs to another project, or `{host: true}`",
        ),
    }
}

/// What is looked at, and from where.
struct Look<'a> {
    loaded: &'a Loaded,
    /// The services that nginx sends to.
    routed: &'a [&'a str],
    containers: &'a [Replica],
    place: &'a NginxPlace,
}

impl Look<'_> {
    async fn in_containers(&self, engine: Docker, found: Vec<Replica>, report: &mut Report) {
        let running: Vec<_> = found.iter().filter(|c| c.state == State::Running).collect();
        let crashing = found.iter().find(|c| c.state == State::Restarting);
        if let (true, Some(nginx)) = (running.is_empty(), crashing) {
            let text = remote::crash(&nginx.name, nginx.exit_code);
            let (what, fix) = text.split_once("; ").unwrap_or((&text, ""));
            report.error("nginx", what, fix);
            return;
        }
        if running.is_empty() {
            report.error("nginx", "it is not running", self.place.start());
            return;
        }
        for paused in found.iter().filter(|c| c.state == State::Paused) {
            report.error(
                "nginx",
                format!(
                    "{} is paused: it will go on with the files of before, so nothing is stopped until it has read the new ones",
                    paused.name
                ),
                format!("docker unpause {}", paused.name),
            );
        }
        if running.len() > 1 {
            let names: Vec<_> = running.iter().map(|c| c.name.as_str()).collect();
            report.ok(
                "nginx",
                format!("{} are kept in step with each other", names.join(", ")),
            );
        }
        let targets: Vec<_> = running.iter().filter_map(|c| Target::of(c)).collect();
        self.the_addresses(&Whereabouts::containers(targets), report);
        let engine = Arc::new(engine);
        for container in running {
            let Some(target) = Target::of(container) else {
                continue;
            };
            let control = AnyNginx::Container {
                engine: Arc::clone(&engine),
                target,
            };
            if !the_version(&control, report).await {
                continue;
            }
            self.the_log_directory(Some(container), report);
            if let Some(directory) = self.the_mount(container, report) {
                self.the_includes(&control, &directory, report).await;
            }
        }
        // It is one address, however many there are.
        self.the_status(report).await;
    }

    async fn on_this_host(&self, report: &mut Report) {
        let host = run::host_nginx(self.loaded);
        let open = host.is_open_to_us();
        let control = AnyNginx::<Docker>::Host(host);
        match control.identity().await {
            Ok(_) => {}
            Err(nginx::ControlError::NotRunning) => {
                report.error(
                    "nginx",
                    "it is not running on this host",
                    self.place.start(),
                );
                return;
            }
            Err(error) => {
                let text = error.to_string();
                let (what, fix) = text.split_once("; ").unwrap_or((&text, ""));
                report.error("nginx", what, fix);
                return;
            }
        }
        if !the_version(&control, report).await {
            return;
        }
        self.the_addresses(&Whereabouts::Host, report);
        self.the_log_directory(None, report);
        self.the_status(report).await;
        let directory = setup::upstreams(self.loaded);
        if !open {
            report.warn(
                "nginx",
                "this user may not read its configuration, so what it includes was not looked at",
                "sudo compose-scale check",
            );
            return;
        }
        self.the_includes(&control, &directory.to_string_lossy(), report)
            .await;
    }

    /// Whether nginx reaches every replica that runs.
    fn the_addresses(&self, whereabouts: &Whereabouts, report: &mut Report) {
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
                .and_then(|found| setup::port_of(found, policy));
            let Some(port) = port else {
                continue;
            };
            let mut running = self
                .containers
                .iter()
                .filter(|c| c.is_replica() && c.service == *service && c.state == State::Running);
            let way = |replica: &Replica| {
                let of = Addresses {
                    own: &replica.addresses,
                    published: &replica.published,
                };
                address::for_nginx(whereabouts, reach, of, port)
            };
            if let Some(replica) = running.clone().find(|replica| way(replica).is_none()) {
                let (what, fix) = match whereabouts {
                    Whereabouts::Host => (
                        format!(
                            "nginx on this host cannot reach {}: there is no bridge of this host to its network, and port {port} is not published",
                            replica.name
                        ),
                        format!(
                            "give {service} `ports: [\"127.0.0.1::{port}\"]` and run `docker compose up -d --no-deps {service}`"
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
                report.error(service, what, fix);
                continue;
            }
            let Some(way) = running.find_map(way) else {
                continue;
            };
            if way.published && matches!(policy.ready, Ready::Tcp(_) | Ready::Auto) {
                report.warn(
                    service,
                    "it is reached by a published port, which accepts connections before the app does: it counts as ready when GET / is answered with a status below 500",
                    "say what to ask instead: `ready: {http: /PATH}`, or give it a healthcheck",
                );
            } else if *whereabouts == Whereabouts::Host {
                report.ok(
                    service,
                    format!("nginx on this host reaches it at {}", way.address),
                );
            }
        }
    }

    fn on_one_network(&self, replica: &Replica) -> String {
        match self.place {
            NginxPlace::Container(name) => {
                let network = replica.addresses.keys().next();
                format!(
                    "`docker network connect {} {name}`, and the same where {name} is made",
                    network.map_or("NETWORK", String::as_str)
                )
            }
            NginxPlace::Service(_) | NginxPlace::Host => format!(
                "give nginx a network that {} is on, and run `{}`",
                replica.service,
                self.place.start()
            ),
        }
    }

    /// The directory of our files as nginx sees it.
    fn the_mount(&self, nginx: &Replica, report: &mut Report) -> Option<String> {
        let directory = setup::upstreams(self.loaded);
        let base = &self.loaded.project.working_dir;
        let then = self.place.with_other_volumes(&nginx.service);
        let mounted = way::mounted(&directory, base, self.place, &then, &nginx.mounts);
        for wrong in mounted.wrong {
            report.error("nginx", wrong.what, wrong.fix);
        }
        let inside = mounted.inside?;
        report.ok(
            "nginx",
            format!("{} is mounted at {inside}", directory.display()),
        );
        Some(inside)
    }

    async fn the_includes<C: Control>(&self, control: &C, directory: &str, report: &mut Report) {
        let dump = match nginx::dump(control).await {
            Ok(dump) => dump,
            Err(ProxyError::Rejected { message }) => {
                let look = match self.place {
                    NginxPlace::Service(name) => format!("docker compose exec {name} nginx -t"),
                    NginxPlace::Container(name) => format!("docker exec {name} nginx -t"),
                    NginxPlace::Host => "sudo nginx -t".to_owned(),
                };
                report.error(
                    "nginx",
                    format!("its configuration is not valid: {message}"),
                    format!("mend it, and see with `{look}`"),
                );
                return;
            }
            Err(error) => {
                report.error("nginx", error.to_string(), "");
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
            self.the_lines(service, &configuration, report);
        }
    }

    /// The directory of the log that load is read from, here and as nginx sees it.
    fn the_log_directory(&self, nginx: Option<&Replica>, report: &mut Report) {
        let (Some(logs), Some((path, _))) =
            (&self.loaded.settings.nginx.logs, setup::log(self.loaded))
        else {
            return;
        };
        let directory = self.loaded.project.resolve(&logs.dir);
        let shown = directory.display();
        if !directory.is_dir() {
            report.error(
                "nginx",
                format!("the directory for its log, {shown}, is not there"),
                format!("mkdir -p {shown}"),
            );
            return;
        }
        if let (Some(nginx), Some(inside)) = (nginx, &logs.inside) {
            let seen = way::seen_at(&directory, &nginx.mounts);
            if seen.as_ref() != Some(inside) {
                let base = &self.loaded.project.working_dir;
                let written = way::as_written(&directory, base, self.place);
                let then = self.place.with_other_volumes(&nginx.service);
                report.error(
                    "nginx",
                    match seen {
                        None => format!(
                            "{shown} is not mounted into {}, so its log cannot be read",
                            nginx.name
                        ),
                        Some(seen) => format!(
                            "{shown} is mounted into {} at {}, and not at {}",
                            nginx.name,
                            seen.display(),
                            inside.display()
                        ),
                    },
                    format!(
                        "give nginx `volumes: [\"{written}:{}\"]`, then {then}",
                        inside.display()
                    ),
                );
                return;
            }
        }
        match std::fs::metadata(&path) {
            Ok(there) => {
                let size = Size(Bytes(there.len()));
                let what = format!("its log is {} ({size})", path.display());
                // A running `watch` begins it anew long before.
                if there.len() > 2 * LIMIT {
                    report.warn("nginx", what, "let `compose-scale watch` run, which begins it anew at 16 MiB; without it the log grows");
                } else {
                    report.ok("nginx", what);
                }
                self.the_arrivals(&path, report);
            }
            Err(_) => report.warn(
                "nginx",
                format!("its log {} is not there yet", path.display()),
                "`compose-scale sync`, which makes nginx write it",
            ),
        }
    }

    /// Whether requests of the services whose load is read from the log are in it.
    fn the_arrivals(&self, path: &Path, report: &mut Report) {
        let read = self.routed.iter().copied().filter(|service| {
            let policy = self.loaded.policies.get(*service);
            policy.is_some_and(Policy::reads_the_log)
        });
        let read: Vec<_> = read.collect();
        let now = Clock::start().wall_millis();
        let mut heard = Traffic::new(Duration::ZERO);
        heard.route(read.iter().copied(), &[], u64::MAX);
        let begun = tokio::time::Instant::now().into_std();
        if let Err(error) = Log::new(path).read(begun, |line| heard.hear(line)) {
            let fix = "let this user read the directory, and give it room";
            report.error("nginx", error.to_string(), fix);
            return;
        }
        for service in read {
            match heard.last(service) {
                Some(last) => {
                    let ago = Duration::from_millis(now.saturating_sub(last)).as_secs();
                    report.ok(
                        service,
                        format!("its last request in nginx's log ended {} ago", Span::seconds(ago)),
                    );
                }
                None => report.warn(
                    service,
                    "no request of it is in nginx's log so far",
                    format!(
                        "ask nginx for a page of it and check again; what counts is sent by `proxy_pass http://{service};`"
                    ),
                ),
            }
        }
    }

    /// What nginx counts by itself, where the user offers that.
    async fn the_status(&self, report: &mut Report) {
        let logs = self.loaded.settings.nginx.logs.as_ref();
        let Some(url) = logs.and_then(|logs| logs.stub_status.as_ref()) else {
            return;
        };
        let behind = self.routed.len();
        match traffic::ask_status(url).await {
            Ok(_) if behind > 1 => report.warn(
                "nginx",
                format!(
                    "stub_status counts for nginx as a whole, and {behind} services are behind it: it is not used"
                ),
                "remove `nginx.logs.stub_status`; requests that have ended are told apart by the log",
            ),
            Ok(status) => {
                let under_way = status.writing.saturating_sub(1);
                report.ok("nginx", format!("stub_status: {under_way} under way"));
            }
            Err(error) => report.warn(
                "nginx",
                format!("stub_status cannot be read at {url}: {error}"),
                "give nginx `location = /nginx_status { stub_status; }` where this host reaches it, and nobody else",
            ),
        }
    }

    /// Whether requests to a service get into the log.
    fn the_lines(&self, service: &str, configuration: &Configuration, report: &mut Report) {
        let Some((_, log)) = setup::log(self.loaded) else {
            return;
        };
        let unlogged = configuration.unlogged(service, &log);
        let policy = self.loaded.policies.get(service);
        let read = policy.is_some_and(Policy::reads_the_log);
        for one in &unlogged {
            let wrong = way::not_logged(one, &self.loaded.project.name, &log);
            if read {
                report.error(service, wrong.what, wrong.fix);
            } else {
                report.warn(service, wrong.what, wrong.fix);
            }
        }
    }

    /// A directory that was deleted and made again is another one than nginx has mounted: it goes
    /// on reading the old one for ever.
    fn stale(&self, service: &str, dump: &str, report: &mut Report) {
        let path = setup::upstreams(self.loaded).join(render::upstream_name(service));
        let Ok(written) = std::fs::read_to_string(&path) else {
            return;
        };
        if !dump.contains(written.trim()) {
            report.error(
                "nginx",
                format!(
                    "it does not see {} as it is on this host: the directory was replaced after nginx started",
                    path.display()
                ),
                self.place.refresh(),
            );
        }
    }
}

/// Returns whether it can be asked anything.
async fn the_version<C: Control>(control: &C, report: &mut Report) -> bool {
    let features = match nginx::features(control).await {
        Ok(features) => features,
        Err(error) => {
            report.error(
                "nginx",
                format!("{}: {error}", control.name()),
                "use an image whose `nginx` is on the PATH",
            );
            return false;
        }
    };
    match features {
        Features {
            version: Some(version),
            keepalive_min_timeout: true,
            ..
        } => report.ok("nginx", format!("{version} in {}", control.name())),
        Features {
            version: Some(version),
            ..
        } => report.warn(
            "nginx",
            format!(
                "{version} closes idle keep-alive connections at a reload, and a request that is on its way on one is lost"
            ),
            "use nginx 1.27.4 or newer, which has `keepalive_min_timeout`",
        ),
        Features { version: None, .. } => {
            report.warn("nginx", "its version is not understood", "");
        }
    }
    true
}

fn one_include(service: &str, directory: &str, findings: &Findings, report: &mut Report) {
    for wrong in way::not_included(service, directory, findings) {
        report.error(service, wrong.what, wrong.fix);
    }
    if let [place] = findings.included.as_slice() {
        report.ok(service, format!("its upstream is included at {place}"));
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
