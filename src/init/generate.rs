//! The text of the files.

use std::{collections::BTreeSet, fmt::Write as _, path::PathBuf};

use super::{
    BareProject, INSIDE, InitDraft, NewFile, OVERRIDE, SITE, ScalingCandidate, UPSTREAMS,
    chosen::Chosen,
    manifest::{Choice, IngressMode},
    nginx_config::{by_hand, first_upstreams, site},
};

pub(super) fn draft(
    known: &BareProject<'_>,
    door: &IngressMode,
    image: &str,
    chosen: &[(&Choice, &ScalingCandidate)],
) -> InitDraft {
    let mut taken = BTreeSet::new();
    let chosen: Vec<_> = chosen
        .iter()
        .filter_map(|(choice, offer)| {
            let service = known.project.services.get(&choice.service)?;
            // One address may have a port that another one has too; inside there is one address.
            let listens = offer.published.iter().map(|published| {
                let mut ports = (published.port..=u16::MAX).chain((1..published.port).rev());
                let free = ports.find(|port| !taken.contains(port));
                let inside = free.unwrap_or(published.port);
                taken.insert(inside);
                (published, inside)
            });
            Some(Chosen {
                choice,
                offer,
                service,
                port: choice.port.or(offer.port),
                listens: listens.collect(),
            })
        })
        .collect();
    let routed: Vec<&Chosen<'_>> = chosen.iter().filter(|one| one.port.is_some()).collect();
    let mut draft = InitDraft {
        files: vec![NewFile {
            path: OVERRIDE.into(),
            text: String::new(),
        }],
        upstreams: Vec::new(),
        by_hand: Vec::new(),
        notes: Vec::new(),
        resets: chosen.iter().any(|one| !one.listens.is_empty()),
    };
    let upstreams = Upstreams::of(known, door, &routed);
    draft.files[0].text = overlay(known, door, image, &chosen, &routed, &upstreams);
    if upstreams.ours {
        draft.files.push(NewFile {
            path: format!("{UPSTREAMS}/.gitkeep").into(),
            text: String::new(),
        });
        draft
            .upstreams
            .extend(first_upstreams(known, door, &routed));
    }
    if matches!(door, IngressMode::New) && !routed.is_empty() {
        draft.files.push(NewFile {
            path: SITE.into(),
            text: site(&new_name(known), &routed),
        });
    } else if !routed.is_empty() {
        draft.by_hand = by_hand(&routed, &upstreams.inside);
    }
    for one in &chosen {
        notes(one, door, &mut draft.notes);
    }
    draft
}

/// The directory of upstreams: a new one, or what the project has already.
struct Upstreams {
    /// Whether it is made here.
    ours: bool,
    /// Whether it has to be mounted.
    mount: bool,
    /// As nginx sees it.
    inside: String,
}

impl Upstreams {
    fn of(known: &BareProject<'_>, door: &IngressMode, routed: &[&Chosen<'_>]) -> Self {
        let set = known.nginx.upstreams.as_ref();
        let ours = set.is_none() && !routed.is_empty();
        let directory = known
            .project
            .resolve(set.map_or(UPSTREAMS.as_ref(), PathBuf::as_path));
        match door {
            IngressMode::Host => Self {
                ours,
                mount: false,
                inside: directory.display().to_string(),
            },
            IngressMode::Elsewhere => Self {
                ours,
                mount: false,
                inside: INSIDE.to_owned(),
            },
            IngressMode::New => Self {
                ours,
                mount: ours,
                inside: INSIDE.to_owned(),
            },
            IngressMode::Service(name) => {
                let volumes = known.project.services.get(name).map(|nginx| &nginx.volumes);
                let mounted = volumes.into_iter().flatten().find(|volume| {
                    volume.source.as_deref().map(PathBuf::from) == Some(directory.clone())
                });
                Self {
                    ours,
                    mount: mounted.is_none() && !routed.is_empty(),
                    inside: mounted.map_or(INSIDE.to_owned(), |volume| volume.target.clone()),
                }
            }
        }
    }
}

fn overlay(
    known: &BareProject<'_>,
    door: &IngressMode,
    image: &str,
    chosen: &[Chosen<'_>],
    routed: &[&Chosen<'_>],
    upstreams: &Upstreams,
) -> String {
    let mut text = String::from(
        "# Made by `compose-scale init`, to be laid over the project's own files: COMPOSE_FILE in .env\n\
         # names them all. Change it as you like; `compose-scale init --undo` takes back what is unchanged.\n",
    );
    let mut nginx = String::new();
    if known.nginx.place.is_none() {
        match door {
            IngressMode::New => nginx = format!("    service: {}\n", key(&new_name(known))),
            IngressMode::Service(name) => nginx = format!("    service: {}\n", key(name)),
            IngressMode::Host => nginx = "    host: true\n".into(),
            IngressMode::Elsewhere => {}
        }
    }
    if upstreams.ours {
        let _ = writeln!(nginx, "    upstreams: ./{UPSTREAMS}");
    }
    if !nginx.is_empty() && !routed.is_empty() {
        let _ = write!(text, "x-autoscale:\n  nginx:\n{nginx}\n");
    }
    text += "services:\n";
    let mut sections = Vec::new();
    for one in chosen {
        sections.push(service(one, door));
    }
    match door {
        IngressMode::New if !routed.is_empty() => sections.push(new_nginx(known, image, routed)),
        IngressMode::Service(name) if upstreams.mount => sections.push(format!(
            "  {}:\n    volumes:\n      - ./{UPSTREAMS}:{INSIDE}:ro\n",
            key(name)
        )),
        _ => {}
    }
    // Their counts are put in where they were taken from.
    let kept = known.counts.keys().filter(|name| {
        let is_there = known.project.services.contains_key(*name)
            || known.project.disabled_services.contains(*name);
        let chosen = chosen.iter().any(|one| one.choice.service == **name);
        let nginx =
            matches!(door, IngressMode::Service(nginx) if nginx == *name && upstreams.mount);
        is_there && !chosen && !nginx
    });
    sections.extend(kept.map(|name| format!("  {}:\n", key(name))));
    text + &sections.join("\n")
}

fn service(one: &Chosen<'_>, door: &IngressMode) -> String {
    let mut text = format!("  {}:\n", key(&one.choice.service));
    if !one.listens.is_empty() {
        let all: Vec<_> = one
            .service
            .ports
            .iter()
            .map(|port| {
                format!(
                    "{}:{}",
                    port.published.as_deref().unwrap_or_default(),
                    port.target
                )
            })
            .collect();
        let whose = match door {
            IngressMode::Host => "it is for your nginx",
            _ => "nginx has it",
        };
        let _ = writeln!(
            text,
            "    # A host port can belong to one replica only: {whose} now ({}).\n    ports: !reset []",
            all.join(", ")
        );
    }
    let Choice { min, max, cpu, .. } = one.choice;
    if one.service.scale.is_none() && *min > 1 {
        let _ = writeln!(
            text,
            "    # What `docker compose up -d` makes: not less than min. Without it where your file has a count.\n    scale: {min}"
        );
    }
    let _ = write!(text, "    x-autoscale:\n      min: {min}");
    if *min > 1 {
        text += "    # 2 or more: a crash must not cause downtime";
    }
    let _ = writeln!(text, "\n      max: {max}");
    if let Some(port) = one.port {
        let _ = writeln!(text, "      port: {port}");
    }
    text += "      metrics:\n";
    match one.service.limits.cpus {
        Some(cpus) => {
            let _ = writeln!(
                text,
                "        - cpu: {cpu}    # of the limit of {cpus} cores"
            );
        }
        None => {
            let _ = writeln!(
                text,
                "        # Of one core: {name} has no limit. With one it is a share of that, for example\n        \
                 #   deploy: {{resources: {{limits: {{cpus: \"0.5\"}}}}}}\n        \
                 - cpu: {cpu}",
                name = one.choice.service
            );
        }
    }
    text
}

fn new_nginx(known: &BareProject<'_>, image: &str, routed: &[&Chosen<'_>]) -> String {
    let name = new_name(known);
    let mut text = format!(
        "  {}:\n    image: {image}\n    restart: unless-stopped\n    ports:\n",
        key(&name)
    );
    for (published, inside) in routed.iter().flat_map(|one| &one.listens) {
        let ip = match published.ip.as_deref() {
            Some(ip) if ip.contains(':') => format!("[{ip}]:"),
            Some(ip) => format!("{ip}:"),
            None => String::new(),
        };
        let _ = writeln!(text, "      - \"{ip}{}:{inside}\"", published.port);
    }
    let _ = write!(
        text,
        "    volumes:\n      # Directories, never a file in them: a new file would not be seen.\n      \
         - ./compose-scale/conf.d:/etc/nginx/conf.d:ro\n      - ./{UPSTREAMS}:{INSIDE}:ro\n"
    );
    let mut networks = BTreeSet::new();
    for one in routed {
        // All of them: one may be internal, and publishes nothing.
        networks.extend(one.service.networks.keys().map(String::as_str));
    }
    if networks.iter().any(|network| *network != "default") {
        let _ = writeln!(text, "    networks: {}", list(networks));
    }
    let profiles: BTreeSet<_> = routed
        .iter()
        .flat_map(|one| one.service.profiles.iter().map(String::as_str))
        .collect();
    if !profiles.is_empty() {
        let _ = writeln!(text, "    profiles: {}", list(profiles));
    }
    let services = routed.iter().map(|one| one.choice.service.as_str());
    let _ = writeln!(text, "    depends_on: {}", list(services));
    text
}

/// A name that no service of the project has.
pub(super) fn new_name(known: &BareProject<'_>) -> String {
    let project = known.project;
    let is_free = |name: &&str| {
        !project.services.contains_key(*name)
            && !project.disabled_services.iter().any(|other| other == name)
    };
    let names = ["nginx", "gateway", "compose-scale-nginx"];
    names
        .into_iter()
        .find(is_free)
        .unwrap_or(names[2])
        .to_owned()
}

fn notes(one: &Chosen<'_>, door: &IngressMode, notes: &mut Vec<String>) {
    let name = &one.choice.service;
    let min = one.choice.min;
    if let Some(scale) = one.service.scale.filter(|scale| *scale < min) {
        notes.push(format!(
            "{name}: your file has a count of {scale}, below the minimum of {min}: each `docker compose up -d` goes back to {scale}, until `watch` adds the rest. Better write {min} there"
        ));
    }
    if one.port.is_none() {
        notes.push(format!(
            "{name}: it has no known port, so it is scaled as a worker, without nginx. If it serves HTTP: --port {name}=PORT"
        ));
    }
    if matches!(door, IngressMode::Host) && !one.offer.published.is_empty() {
        notes.push(format!(
            "{name}: it no longer publishes its host port; your nginx has to listen there, or on another port"
        ));
    }
}

/// A flow list of names.
fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.into_iter().map(key).collect();
    format!("[{}]", names.join(", "))
}

/// A name as YAML reads it back: one that could be something else is quoted.
fn key(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    let lower = name.to_ascii_lowercase();
    let other = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    if plain && !other.contains(&lower.as_str()) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
    }
}
