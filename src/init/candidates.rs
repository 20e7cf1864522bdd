//! Which services can be scaled, and why the others cannot.

use std::path::Path;

use super::{BareProject, manifest::IngressMode};
use crate::{
    plan::blockers,
    project::{
        Port, PortProblem, Service, Volume,
        images::ImageKind,
        stateful::{self, Data},
    },
};

/// A service and what can be said of scaling it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScalingCandidate {
    /// Its name.
    pub service: String,
    /// The port that requests go to, where the file says so.
    pub port: Option<u16>,
    /// Fixed ports of the host that nginx has to take over.
    pub published: Vec<HostPort>,
    /// Whether it can be scaled.
    pub verdict: Eligibility,
    /// Whether it is taken when nobody says which.
    pub obvious: bool,
    /// Whether nginx waits for it: then it is no worker.
    pub behind_nginx: bool,
}

/// A port of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// The host address, if one is given.
    pub ip: Option<String>,
    /// The port on the host.
    pub port: u16,
}

/// Whether a service can be scaled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Eligibility {
    /// It can.
    Fit,
    /// Only its owner knows: it is taken where it is named.
    Doubtful(String),
    /// It cannot.
    Unfit {
        /// What stands in the way.
        what: String,
        /// What to do about it.
        fix: String,
    },
}

/// Ports of what is no HTTP.
const OTHER_PROTOCOLS: [(u16, &str); 28] = [
    (21, "FTP"),
    (22, "SSH"),
    (25, "mail"),
    (53, "DNS"),
    (389, "LDAP"),
    (465, "mail"),
    (587, "mail"),
    (636, "LDAP"),
    (1433, "SQL Server"),
    (1521, "Oracle"),
    (1883, "MQTT"),
    (2181, "ZooKeeper"),
    (2379, "etcd"),
    (3306, "MySQL"),
    (4222, "NATS"),
    (5432, "PostgreSQL"),
    (5433, "PostgreSQL"),
    (5672, "AMQP"),
    (6379, "Redis"),
    (6650, "Pulsar"),
    (7687, "Neo4j"),
    (8883, "MQTT"),
    (9042, "Cassandra"),
    (9092, "Kafka"),
    (11211, "memcached"),
    (19530, "Milvus"),
    (27017, "MongoDB"),
    (61616, "ActiveMQ"),
];

/// Every service of the project.
pub fn offers(known: &BareProject<'_>, door: &IngressMode) -> Vec<ScalingCandidate> {
    let services = known.project.services.values();
    services
        .map(|service| offer(known, door, service))
        .collect()
}

fn offer(known: &BareProject<'_>, door: &IngressMode, service: &Service) -> ScalingCandidate {
    let fixed: Vec<&Port> = service
        .ports
        .iter()
        .filter(|port| port.is_fixed())
        .collect();
    let port = published_target(&fixed).or_else(|| service.only_port().ok());
    let published = fixed
        .iter()
        .filter_map(|port| {
            Some(HostPort {
                ip: port.host_ip.clone().filter(|ip| !ip.is_empty()),
                port: port.published.as_deref()?.parse().ok()?,
            })
        })
        .collect();
    let verdict = verdict(known, door, service, &fixed);
    let behind_nginx = match door {
        IngressMode::Service(nginx) => {
            let nginx = known.project.services.get(nginx);
            nginx.is_some_and(|nginx| nginx.depends_on.contains_key(&service.name))
        }
        _ => false,
    };
    ScalingCandidate {
        service: service.name.clone(),
        port,
        published,
        obvious: verdict == Eligibility::Fit
            && (!fixed.is_empty() || behind_nginx || port.is_some()),
        verdict,
        behind_nginx,
    }
}

/// The port that a service is reached by where it publishes one, whatever else it exposes.
fn published_target(fixed: &[&Port]) -> Option<u16> {
    let first = fixed.first()?;
    let is_same = |port: &&Port| (port.target, port.protocol.as_str()) == (first.target, "tcp");
    fixed.iter().all(is_same).then_some(first.target)
}

fn verdict(
    known: &BareProject<'_>,
    door: &IngressMode,
    service: &Service,
    fixed: &[&Port],
) -> Eligibility {
    let name = &service.name;
    let unfit = |what: String, fix: &str| Eligibility::Unfit {
        what,
        fix: fix.to_owned(),
    };
    if known.policies.contains(name) {
        return unfit(
            "it has an `x-autoscale` section already".into(),
            "change that one",
        );
    }
    let is_door = matches!(door, IngressMode::Service(nginx) if nginx == name);
    if is_door || known.candidates.contains(name) {
        return unfit(
            "it is nginx, which sends requests to the others".into(),
            "scale one of those instead",
        );
    }
    if let Some(image) = service.known_image() {
        let passes_on = match image.kind {
            ImageKind::Proxy => true,
            ImageKind::Server | ImageKind::Nginx => known.fronts.contains(name),
            ImageKind::Data => false,
        };
        if passes_on {
            let what = format!("its image is {}, a proxy for other services", image.word);
            return if image.is_certain || image.kind != ImageKind::Proxy {
                unfit(what, "scale one of those instead")
            } else {
                Eligibility::Doubtful(format!(
                    "{what} by its name; if it is your app, add --service {name}"
                ))
            };
        }
    }
    let data = stateful::of(service);
    if let Some(Data::Database {
        why, is_certain, ..
    }) = data.first()
    {
        if !is_certain {
            return Eligibility::Doubtful(format!(
                "{why}, by its name a database or a queue; if it is your app, add --service {name}"
            ));
        }
        let what = format!("{why}, and two replicas would not share their data");
        return unfit(what, "scale the services that use it");
    }
    // Fixed ports are what `init` is for.
    let without_ports = Service {
        ports: Vec::new(),
        ..service.clone()
    };
    if let Some(refusal) = blockers::refusals(&without_ports, &[]).into_iter().next() {
        return unfit(refusal.what, &refusal.fix);
    }
    // What serves must be where nginx can reach it: on a network that both are on.
    let serves = !matches!(service.only_port(), Err(PortProblem::None));
    if let Some(mode) = service.network_mode.as_deref().filter(|_| serves) {
        return unfit(
            format!(
                "with `network_mode: {mode}` nginx cannot reach each replica by a network of the project"
            ),
            "remove `network_mode`",
        );
    }
    let runs_once = known.project.services.values().any(|other| {
        let needed = other.depends_on.get(name);
        needed.is_some_and(|needed| needed.condition == "service_completed_successfully")
    });
    if runs_once {
        return unfit(
            "it runs once: other services wait for it to finish".into(),
            "scale those",
        );
    }
    if let Some(verdict) = ports(door, service, fixed) {
        return verdict;
    }
    // A directory of the host is mostly code or settings.
    let written = data.into_iter().find_map(|found| match found {
        Data::OneProgram(volume) => Some(volume),
        Data::Shared(volume) => (volume.kind == "volume").then_some(volume),
        Data::Database { .. } => None,
    });
    if let Some(volume) = written {
        let what = in_words(known, volume);
        return Eligibility::Doubtful(format!(
            "every replica would write to {what}; if the app can share that, add --service {name}"
        ));
    }
    Eligibility::Fit
}

/// A volume for people: a path as it is written in the project.
fn in_words(known: &BareProject<'_>, volume: &Volume) -> String {
    let source = volume.source.as_deref().unwrap_or_default();
    if volume.kind == "volume" {
        return format!("its volume {source}");
    }
    let inside = Path::new(source).strip_prefix(&known.project.working_dir);
    let shown = inside.map_or_else(
        |_| source.to_owned(),
        |path| format!("./{}", path.display()),
    );
    format!(
        "{shown} ({}), which looks like the data of one program",
        volume.target
    )
}

/// What its ports forbid.
fn ports(door: &IngressMode, service: &Service, fixed: &[&Port]) -> Option<Eligibility> {
    let name = &service.name;
    let unfit = |what: String, fix: String| Some(Eligibility::Unfit { what, fix });
    let Some(first) = fixed.first() else {
        return match (door, service.only_port()) {
            (IngressMode::New, Ok(port)) => unfit(
                format!(
                    "it publishes no host port that nginx could take over: {name}:{port} is reached without nginx"
                ),
                "name the nginx that gets its requests: --nginx NAME".into(),
            ),
            (_, Err(problem @ PortProblem::Several(_))) => Some(Eligibility::Doubtful(format!(
                "it {problem}; name the port: --service {name} --port PORT"
            ))),
            _ => None,
        };
    };
    let shown = |port: &Port| {
        let published = port.published.as_deref().unwrap_or_default();
        let protocol = if port.protocol == "tcp" { "" } else { "/udp" };
        format!("{published}:{}{protocol}", port.target)
    };
    let all: Vec<_> = fixed.iter().map(|port| shown(port)).collect();
    let all = all.join(", ");
    let fixed_only = fixed.len() == service.ports.len();
    if !fixed_only || fixed.iter().any(|port| port.protocol != "tcp") {
        return unfit(
            format!("it publishes {all} beside ports that nginx cannot take over"),
            "keep one TCP port for nginx to take over, and move the others to a separate service"
                .into(),
        );
    }
    let number = |port: &Port| {
        port.published
            .as_deref()
            .and_then(|text| text.parse::<u32>().ok())
    };
    let is_tls = |port: &&&Port| {
        [443, 8443].contains(&u32::from(port.target))
            || number(port).is_some_and(|number| [443, 8443].contains(&number))
    };
    if let Some(port) = fixed.iter().find(is_tls) {
        return unfit(
            format!(
                "it publishes {}, the HTTPS port, but a new nginx has no certificate",
                shown(port)
            ),
            "serve HTTP, behind an nginx of yours that has the certificate: --nginx NAME".into(),
        );
    }
    if let Some((port, what)) = OTHER_PROTOCOLS
        .iter()
        .find(|(port, _)| *port == first.target)
    {
        return Some(Eligibility::Doubtful(format!(
            "port {port} is usually {what}, not HTTP; if it is HTTP here, add --service {name}"
        )));
    }
    if fixed.iter().any(|port| port.target != first.target) {
        return unfit(
            format!("it publishes several ports ({all}), and nginx sends requests to one"),
            "keep one of them, and move the others to a separate service".into(),
        );
    }
    if first.target == 443 {
        return unfit(
            format!("it publishes {all}, but nginx would need its certificate to take that over"),
            "serve HTTP in the container, and TLS in an nginx of your own".into(),
        );
    }
    match door {
        IngressMode::Service(nginx) => unfit(
            format!("it publishes {all} itself, so its requests bypass {nginx}"),
            format!(
                "publish that port on {nginx} and remove `ports` from {name}; or put a second nginx in front of it: --nginx new"
            ),
        ),
        IngressMode::Elsewhere => unfit(
            format!("it publishes {all} itself, so its requests bypass nginx"),
            format!("remove `ports` from {name}"),
        ),
        IngressMode::New | IngressMode::Host => None,
    }
}
