//! From a container's description to the request that makes its sibling. Pure.
//!
//! The Engine fills in defaults and adds names of its own when it makes a container. What it added
//! to the source is taken out again here, so that it adds the sibling's own; everything else is
//! copied, because compose tells its replicas by what they are, not by who made them.

use std::collections::{BTreeMap, BTreeSet};

use bollard::models::{
    ContainerConfig, ContainerCreateBody, ContainerInspectResponse, EndpointSettings, HostConfig,
    Mount, MountType, NetworkingConfig,
};

use crate::{
    engine::{
        NewReplica,
        docker::{engine_info::Api, observe::bare_name},
    },
    project::{final_name, labels},
};

/// What to send to make a sibling.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Blueprint {
    /// The body of `create`.
    pub(super) body: ContainerCreateBody,
    /// Networks to connect it to afterwards, by name.
    pub(super) connect: BTreeMap<String, EndpointSettings>,
}

/// The sibling of `source` with another name and number, made from `image` (a name or an id).
pub(super) fn blueprint(
    source: ContainerInspectResponse,
    new: &NewReplica,
    image: String,
    api: Api,
) -> Blueprint {
    let id = source.id.unwrap_or_default();
    let name = source.name.unwrap_or_default();
    let config = source.config.unwrap_or_default();
    let host = source.host_config.unwrap_or_default();
    let mode = Mode::of(host.network_mode.as_deref());

    let renaming = Renaming {
        short_id: id.get(..12).unwrap_or(&id),
        hostname: config.hostname.as_deref().unwrap_or_default(),
        // Compose names its endpoints by what it will be called.
        old: final_name(bare_name(&name)),
        new: &new.name,
    };
    let mut create: BTreeMap<String, EndpointSettings> = BTreeMap::new();
    let mut connect = BTreeMap::new();
    let networks = source.network_settings.and_then(|n| n.networks);
    for (network, endpoint) in networks.into_iter().flatten() {
        if mode != Mode::Networks {
            continue;
        }
        let primary = [Some(network.as_str()), endpoint.network_id.as_deref()]
            .contains(&host.network_mode.as_deref());
        let list = if primary || api >= Api::MULTIPLE_NETWORKS {
            &mut create
        } else {
            &mut connect
        };
        list.insert(network, renaming.endpoint(endpoint));
    }

    let declared: BTreeSet<String> = config.volumes.iter().flatten().cloned().collect();
    let keeps_hostname = mode != Mode::Container
        && host.uts_mode.as_deref() != Some("host")
        && config.hostname.as_deref() != Some(renaming.short_id);
    let mut body = from_config(config, new.number);
    body.image = Some(image);
    body.hostname = body.hostname.filter(|_| keeps_hostname);
    body.exposed_ports = body.exposed_ports.filter(|_| mode != Mode::Container);
    body.host_config = Some(from_host_config(host, mode, &declared));
    body.networking_config = (!create.is_empty()).then(|| NetworkingConfig {
        endpoints_config: Some(create.into_iter().collect()),
    });
    Blueprint { body, connect }
}

/// What a container's network mode means for the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Lives in another container's network: has no name, no port and no endpoint of its own.
    Container,
    /// `host`, `none` or the default bridge, which take no settings.
    Builtin,
    /// User-defined networks.
    Networks,
}

impl Mode {
    fn of(mode: Option<&str>) -> Self {
        match mode.unwrap_or_default() {
            "" | "default" | "bridge" | "host" | "none" => Self::Builtin,
            mode if mode.starts_with("container:") => Self::Container,
            _ => Self::Networks,
        }
    }
}

fn from_config(config: ContainerConfig, number: u32) -> ContainerCreateBody {
    let mut labels = config.labels.unwrap_or_default();
    labels.insert(labels::NUMBER.to_owned(), number.to_string());
    labels.remove(labels::REPLACE);
    ContainerCreateBody {
        hostname: config.hostname,
        domainname: config.domainname,
        user: config.user,
        attach_stdin: config.attach_stdin,
        attach_stdout: config.attach_stdout,
        attach_stderr: config.attach_stderr,
        exposed_ports: config.exposed_ports,
        tty: config.tty,
        open_stdin: config.open_stdin,
        stdin_once: config.stdin_once,
        env: config.env.map(without_affinity),
        cmd: config.cmd,
        healthcheck: config.healthcheck,
        args_escaped: config.args_escaped,
        image: config.image,
        volumes: config.volumes,
        working_dir: config.working_dir,
        entrypoint: config.entrypoint,
        network_disabled: config.network_disabled,
        on_build: config.on_build,
        labels: Some(labels),
        stop_signal: config.stop_signal,
        stop_timeout: config.stop_timeout,
        shell: config.shell,
        host_config: None,
        networking_config: None,
    }
}

/// An environment without what compose v1 adds when it makes a container anew: the id of the old one,
/// which is no other replica's business.
pub(super) fn without_affinity(mut environment: Vec<String>) -> Vec<String> {
    environment.retain(|entry| !entry.starts_with("affinity:container="));
    environment
}

fn from_host_config(host: HostConfig, mode: Mode, declared: &BTreeSet<String>) -> HostConfig {
    HostConfig {
        port_bindings: host.port_bindings.map(|mut bindings| {
            if mode == Mode::Container {
                bindings.clear();
            }
            bindings
        }),
        mounts: host.mounts.map(|mounts| {
            mounts
                .into_iter()
                .filter_map(|mount| own_mount(mount, declared))
                .collect()
        }),
        binds: host.binds.map(|binds| {
            binds
                .into_iter()
                .filter(|bind| !inherits_declared(bind, declared))
                .collect()
        }),
        links: host
            .links
            .map(|links| links.iter().map(|link| submitted_link(link)).collect()),
        ..host
    }
}

/// A mount as compose asks for it the first time. A recreate hands the old container's anonymous
/// volumes on by name; a sibling with that name in it would share them.
fn own_mount(mut mount: Mount, declared: &BTreeSet<String>) -> Option<Mount> {
    let inherited =
        mount.typ == Some(MountType::VOLUME) && mount.source.as_deref().is_some_and(is_anonymous);
    if inherited {
        let target = mount.target.as_deref().unwrap_or_default();
        if declared.contains(target) {
            // The image declares it: the Engine makes one unasked.
            return None;
        }
        mount.source = None;
        // Compose sends them, empty, the first time, and not when it hands a volume on.
        mount.volume_options.get_or_insert_default();
    }
    Some(mount)
}

/// Whether a bind is an anonymous volume of the image that compose v1 handed on in a recreate.
fn inherits_declared(bind: &str, declared: &BTreeSet<String>) -> bool {
    let mut parts = bind.split(':');
    parts.next().is_some_and(is_anonymous)
        && parts.next().is_some_and(|target| declared.contains(target))
}

/// Whether a volume's name was made up by the Engine: 64 hex digits.
pub(super) fn is_anonymous(volume: &str) -> bool {
    volume.len() == 64
        && volume
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Inspect shows a link of the default bridge as `/db-1:/web-1/alias`; `create` wants `db-1:alias`.
fn submitted_link(link: &str) -> String {
    match link.split_once(':') {
        Some((target, inside)) if target.starts_with('/') => {
            let alias = inside.rsplit('/').next().unwrap_or(inside);
            format!("{}:{alias}", bare_name(target))
        }
        _ => link.to_owned(),
    }
}

/// How the source is called on its networks, and how the sibling shall be.
struct Renaming<'a> {
    short_id: &'a str,
    hostname: &'a str,
    old: &'a str,
    new: &'a str,
}

impl Renaming<'_> {
    /// Only what was submitted: the rest is the source's address in use.
    fn endpoint(&self, endpoint: EndpointSettings) -> EndpointSettings {
        EndpointSettings {
            ipam_config: endpoint.ipam_config,
            links: endpoint.links,
            aliases: endpoint.aliases.map(|aliases| self.aliases(aliases)),
            driver_opts: endpoint.driver_opts,
            gw_priority: endpoint.gw_priority,
            ..EndpointSettings::default()
        }
    }

    /// Below API 1.45 the Engine appends the short id, then the host name unless it is there. So a
    /// host name in front of the short id was asked for (`hostname: web` of the service `web`).
    fn aliases(&self, aliases: Vec<String>) -> Vec<String> {
        let appended = aliases.iter().position(|alias| alias == self.short_id);
        aliases
            .into_iter()
            .enumerate()
            .filter(|(index, alias)| match appended {
                Some(appended) if *index > appended => alias != self.hostname,
                _ => alias != self.short_id,
            })
            .map(|(_, alias)| {
                if alias == self.old {
                    self.new.to_owned()
                } else {
                    alias
                }
            })
            .collect()
    }
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
