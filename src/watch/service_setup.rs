//! From the loaded project to what each machine is told.

use std::path::PathBuf;

use crate::{
    compose::Loaded,
    plan::{self, Blocker},
    policy::{Metric, NginxPlacement, Policy},
    project::{PortProblem, Service, nginx::nginx_candidates},
    proxy::render,
    reconcile::ServiceSetup,
};

/// The directory of our files when the compose file names none.
const UPSTREAMS: &str = "nginx/upstreams";

/// The nginx that is kept in step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManagedNginx {
    /// A service of the project.
    Service(String),
    /// A container by name.
    Container(String),
    /// This host.
    Host,
}

impl ManagedNginx {
    /// What to do when nginx's volumes have been changed where it is made, by its service where it has
    /// one, for a sentence.
    pub fn with_other_volumes(&self, service: &str) -> String {
        match self {
            Self::Container(name) if service.is_empty() => format!("recreate {name}"),
            Self::Container(_) => {
                format!("in its own project `docker compose up -d --no-deps {service}`")
            }
            Self::Service(_) | Self::Host => format!("`{}`", self.start()),
        }
    }

    /// What to type so that it runs. Never without `--no-deps`: nginx depends on the services that
    /// it sends to, and compose would set those back to the file's count, without a drain.
    pub fn start(&self) -> String {
        match self {
            Self::Service(name) => format!("docker compose up -d --no-deps {name}"),
            Self::Container(name) => format!("docker start {name}"),
            Self::Host => "sudo systemctl start nginx".into(),
        }
    }

    /// What to type so that it sees a directory that was made anew.
    pub fn refresh(&self) -> String {
        match self {
            Self::Service(name) => {
                format!("docker compose up -d --no-deps --force-recreate {name}")
            }
            Self::Container(name) => format!("docker restart {name}"),
            Self::Host => "sudo systemctl restart nginx".into(),
        }
    }
}

/// What to type so that compose makes or starts what a service has too few of. That brings along
/// what it depends on, and sets it back to the file's count: where load decides on one of those,
/// they are left out.
pub fn up(loaded: &Loaded, service: &str) -> String {
    let services = &loaded.project.services;
    let mut needed = vec![service];
    let mut at = 0;
    while let Some(name) = needed.get(at) {
        let more = services.get(*name).into_iter();
        for other in more.flat_map(|service| service.depends_on.keys()) {
            if !needed.contains(&other.as_str()) {
                needed.push(other);
            }
        }
        at += 1;
    }
    let scaled = |name: &&str| loaded.policies.contains_key(*name);
    let alone = if needed[1..].iter().any(scaled) {
        "--no-deps "
    } else {
        ""
    };
    // What is there stays, whatever the file says of it by now.
    loaded.typed(&format!(
        "docker compose up -d --no-recreate {alone}{service}"
    ))
}

/// The services whose image is nginx, when the settings do not say which one.
pub fn candidates(loaded: &Loaded) -> Vec<&str> {
    nginx_candidates(&loaded.project)
        .map(|service| service.name.as_str())
        .collect()
}

/// Where nginx runs: as the settings say, else the one service whose image is nginx.
pub fn nginx_place(loaded: &Loaded) -> Option<ManagedNginx> {
    match &loaded.settings.nginx.place {
        Some(NginxPlacement::Service(name)) => Some(ManagedNginx::Service(name.clone())),
        Some(NginxPlacement::Container(name)) => Some(ManagedNginx::Container(name.clone())),
        Some(NginxPlacement::Host(_)) => Some(ManagedNginx::Host),
        None => match candidates(loaded).as_slice() {
            [only] => Some(ManagedNginx::Service((*only).to_owned())),
            _ => None,
        },
    }
}

/// What is wrong where several services of the project run nginx and none is named, and what to write;
/// `None` where there are not several.
pub fn several_nginx(loaded: &Loaded) -> Option<(String, String)> {
    let candidates = candidates(loaded);
    let [first, _, ..] = candidates.as_slice() else {
        return None;
    };
    if loaded.settings.nginx.place.is_some() {
        return None;
    }
    Some((
        format!(
            "several services of the project run nginx: {}",
            candidates.join(", ")
        ),
        format!(
            "say which one sends requests to the others: `x-autoscale: {{nginx: {{service: {first}}}}}` at the top level of the compose file"
        ),
    ))
}

/// What forbids a second replica according to the compose file.
pub fn refusals(loaded: &Loaded, service: &Service) -> Vec<Blocker> {
    let mut found = plan::blockers::refusals(service, &[]);
    let policy = loaded.policies.get(&service.name);
    let has_port = policy.is_some_and(|policy| port_of(service, policy).is_some());
    if has_port && let Some((what, fix)) = several_nginx(loaded) {
        found.push(Blocker {
            kind: plan::blockers::BlockerKind::NginxUnknown,
            service: service.name.clone(),
            what,
            fix,
        });
    }
    found
}

/// The directory of our files on this host.
pub fn upstreams(loaded: &Loaded) -> PathBuf {
    let written = loaded.settings.nginx.upstreams.clone();
    loaded
        .project
        .resolve(&written.unwrap_or_else(|| PathBuf::from(UPSTREAMS)))
}

/// The log that load is read from: on this host, and as nginx sees it.
pub fn log(loaded: &Loaded) -> Option<(PathBuf, String)> {
    let logs = loaded.settings.nginx.logs.as_ref()?;
    let name = format!("{}.log", loaded.project.name);
    let here = loaded.project.resolve(&logs.dir).join(&name);
    let inside = logs.inside.as_ref().map(|inside| inside.join(&name));
    let inside = inside.unwrap_or_else(|| here.clone());
    Some((here, inside.to_string_lossy().into_owned()))
}

/// A memory target that nothing can be measured against.
pub fn unmeasured(service: &Service, policy: &Policy) -> Option<Blocker> {
    let name = &service.name;
    let of_memory = |metric: &Metric| matches!(metric, Metric::Memory(_));
    let missing = policy.metrics.iter().any(of_memory) && service.limits.memory.is_none();
    missing.then(|| Blocker {
        kind: plan::blockers::BlockerKind::MemoryTarget,
        service: name.clone(),
        what: "a memory target needs a memory limit".into(),
        fix: format!(
            "give {name} `deploy: {{resources: {{limits: {{memory: 256M}}}}}}` and run `docker compose up -d --no-deps --scale {name}=N {name}`, where N is the number of running replicas"
        ),
    })
}

/// The port that traffic goes to: the policy's, else the single one that the service exposes or
/// publishes.
pub fn port_of(service: &Service, policy: &Policy) -> Option<u16> {
    policy.port.or_else(|| service.only_port().ok())
}

/// Why nginx can never send requests to a service, where it is to.
pub fn unroutable(loaded: &Loaded, service: &Service) -> Vec<Blocker> {
    let routed = loaded.policies.iter().filter_map(|(name, policy)| {
        port_of(loaded.project.services.get(name)?, policy)?;
        Some(name.as_str())
    });
    let routed: Vec<_> = routed.collect();
    let name = service.name.as_str();
    if nginx_place(loaded).is_none() || !routed.contains(&name) {
        return Vec::new();
    }
    let named = render::unusable_names(routed).remove(name);
    let named = named.map(|error| Blocker {
        kind: plan::blockers::BlockerKind::NginxName,
        service: name.to_owned(),
        what: error.to_string(),
        fix: format!("give {name} another name in the compose file"),
    });
    named
        .into_iter()
        .chain(plan::blockers::no_network(service))
        .collect()
}

/// A service that has no upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unrouted {
    /// Its name.
    pub service: String,
    /// Why it has none.
    pub why: String,
    /// What gives it one.
    pub fix: String,
}

/// Why a service has no upstream; `None` where it has one.
pub fn unrouted(loaded: &Loaded, name: &str) -> Option<Unrouted> {
    let service = loaded.project.services.get(name)?;
    let (why, fix) = match (loaded.policies.get(name), service.only_port()) {
        (Some(Policy { port: Some(_), .. }), _) | (Some(_), Ok(_)) => return None,
        (Some(_), Err(problem)) => {
            let example = match &problem {
                PortProblem::Several(ports) => ports.first().map_or(80, |port| *port),
                PortProblem::None => 80,
            };
            (
                format!("it {problem}"),
                format!("say which port nginx sends to: `x-autoscale: {{port: {example}}}`"),
            )
        }
        (None, port) => (
            "it has no `x-autoscale` section".to_owned(),
            match port {
                Ok(_) => format!("give {name} one: `x-autoscale: {{max: 4}}`"),
                Err(_) => {
                    format!("give {name} one with its port: `x-autoscale: {{max: 4, port: 80}}`")
                }
            },
        ),
    };
    Some(Unrouted {
        service: name.to_owned(),
        why,
        fix,
    })
}

/// What is said of a service that the project does not have.
pub fn no_such_service(loaded: &Loaded, name: &str) -> String {
    let known: Vec<_> = loaded.project.services.keys().cloned().collect();
    format!(
        "no such service: {name}; this project has {}",
        known.join(", ")
    )
}

/// What the machine of a service is told.
pub fn setup_for(loaded: &Loaded, service: &Service, has_nginx: bool) -> ServiceSetup {
    let own = loaded.policies.get(&service.name);
    let policy = own.cloned().unwrap_or_default();
    let port = port_of(service, &policy);
    ServiceSetup {
        service: service.name.clone(),
        up: up(loaded, &service.name),
        autoscaled: own.is_some(),
        routed: has_nginx && own.is_some() && port.is_some(),
        port,
        interval: loaded.settings.interval.0,
        refusals: refusals(loaded, service),
        unroutable: unroutable(loaded, service)
            .first()
            .map(|one| format!("{}; {}", one.what, one.fix)),
        policy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::{self, LoadRequest};

    fn loaded(yaml: &str) -> Loaded {
        let dir = tempfile::tempdir().unwrap();
        crate::files::replace(&dir.path().join("compose.yaml"), yaml.as_bytes()).unwrap();
        let request = LoadRequest {
            cwd: dir.path().to_owned(),
            project_name: Some("shop".into()),
            ..LoadRequest::default()
        };
        compose::load(&request).unwrap()
    }

    #[test]
    fn what_is_to_be_typed_for_nginx_is_right_where_it_runs_and_leaves_all_else_alone() {
        let service = ManagedNginx::Service("edge".into());
        assert_eq!(service.start(), "docker compose up -d --no-deps edge");
        assert_eq!(
            service.refresh(),
            "docker compose up -d --no-deps --force-recreate edge"
        );
        let container = ManagedNginx::Container("edge-nginx".into());
        assert_eq!(container.start(), "docker start edge-nginx");
        assert_eq!(container.refresh(), "docker restart edge-nginx");
        assert_eq!(ManagedNginx::Host.start(), "sudo systemctl start nginx");
        assert_eq!(ManagedNginx::Host.refresh(), "sudo systemctl restart nginx");
    }

    #[test]
    fn an_nginx_before_the_engine_is_not_the_door_of_the_project() {
        let loaded = loaded(
            "services:
  web: {image: web, x-autoscale: {max: 3}}
  edge: {image: nginx}
  engine-proxy: {image: 'nginx:1.30', volumes: ['/var/run/docker.sock:/var/run/docker.sock']}
  idle: {image: nginx, network_mode: none}
",
        );
        assert_eq!(candidates(&loaded), ["edge"]);
    }

    #[test]
    fn a_service_is_brought_up_with_what_it_needs_unless_load_decides_on_that() {
        let loaded = loaded(
            "services:
  db: {image: db}
  api: {image: api, depends_on: [db], x-autoscale: {max: 3}}
  site: {image: site, depends_on: [api]}
  web: {image: web, depends_on: [site], x-autoscale: {max: 3}}
",
        );
        // The project was named.
        let command = |rest: &str| format!("docker compose -p shop up -d --no-recreate {rest}");
        assert_eq!(up(&loaded, "api"), command("api"));
        assert_eq!(up(&loaded, "site"), command("--no-deps site"));
        assert_eq!(up(&loaded, "web"), command("--no-deps web"));
        assert_eq!(
            setup_for(&loaded, &loaded.project.services["web"], true).up,
            up(&loaded, "web")
        );
    }

    #[test]
    fn a_service_that_nginx_cannot_send_to_is_refused_and_no_other() {
        let loaded = loaded(
            "services:
  web: {image: web, expose: ['80'], x-autoscale: {max: 3}}
  Web: {image: web, expose: ['80'], x-autoscale: {max: 3}}
  worker.location: {image: web, x-autoscale: {max: 3}}
  WORKER: {image: web}
  offline: {image: web, expose: ['80'], network_mode: none, x-autoscale: {max: 3}}
  batch: {image: web, network_mode: none, x-autoscale: {max: 3}}
  nginx: {image: nginx}
",
        );
        let services = loaded.project.services.values();
        let refused = services.flat_map(|service| unroutable(&loaded, service));
        let refused: Vec<_> = refused.map(|one| one.to_string()).collect();
        assert_eq!(
            refused,
            [
                "Web: the service name \"Web\" cannot be used in an nginx file: nginx takes capitals in it for small letters, and cannot tell it from web; give Web another name in the compose file",
                "offline: with `network_mode: none` nginx cannot reach its replicas; remove `network_mode`; or remove its port (`expose`, `ports`, `x-autoscale.port`) if no requests go to it",
            ]
        );
    }
}
