//! What nginx reads: its configuration, where it is added, and what it needs until `watch` has run.

use std::fmt::Write as _;

use super::{BareProject, INSIDE, NewFile, UPSTREAMS, chosen::Chosen, manifest::IngressMode};
use crate::{project::Service, proxy::render};

pub(super) fn site(nginx: &str, routed: &[&Chosen<'_>]) -> String {
    let mut text = format!(
        "# Made by `compose-scale init`. Change it as you like, then\n\
         #   docker compose exec {nginx} nginx -s reload\n\
         \n\
         include {INSIDE}/*.conf;\n\
         \n\
         map $http_upgrade $connection_upgrade {{\n    default upgrade;\n    '' '';\n}}\n\
         # What a proxy in front of this one says of HTTPS is passed on.\n\
         map $http_x_forwarded_proto $forwarded_proto {{\n    default $http_x_forwarded_proto;\n    '' $scheme;\n}}\n"
    );
    for one in routed {
        text += "\nserver {\n";
        for (published, inside) in &one.listens {
            let _ = writeln!(text, "    listen {inside};");
            if has_ipv6(one.service) && published.ip.as_deref().is_none_or(|ip| ip.contains(':')) {
                let _ = writeln!(text, "    listen [::]:{inside};");
            }
        }
        let name = &one.choice.service;
        let _ = write!(
            text,
            "    # As it was without nginx: how large a request may be is {name}'s own business.\n    \
             client_max_body_size 0;\n\n    \
             location / {{\n        \
             proxy_pass http://{name};    # without a port: it is in the upstream\n        \
             include {INSIDE}/{name}.location*;\n        \
             proxy_set_header Host $http_host;\n        \
             proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n        \
             proxy_set_header X-Forwarded-Proto $forwarded_proto;\n        \
             proxy_set_header Upgrade $http_upgrade;\n        \
             proxy_set_header Connection $connection_upgrade;\n        \
             # An answer, a WebSocket or a stream of events that is silent for 60s is cut. If yours may be:\n        \
             #   proxy_read_timeout 1h;\n    }}\n}}\n"
        );
    }
    text
}

/// Whether a network of it has IPv6, as the file says: then the Engine sends what comes in over IPv6 to
/// nginx's own IPv6 address. Elsewhere that comes in over IPv4, and where the kernel has no IPv6 at all,
/// nginx would not start with such a `listen`.
fn has_ipv6(service: &Service) -> bool {
    let recipe = service
        .recipe
        .as_ref()
        .and_then(|recipe| recipe.as_ref().ok());
    let mut networks = recipe.into_iter().flat_map(|recipe| &recipe.networks);
    networks.any(|network| {
        let make = network.make.as_ref();
        make.is_some_and(|make| make["EnableIPv6"] == true)
    })
}

/// What nginx reads until `watch` has run: it does not start with the name of a server that is unknown.
pub(super) fn first_upstreams(
    known: &BareProject<'_>,
    door: &IngressMode,
    routed: &[&Chosen<'_>],
) -> Vec<NewFile> {
    let mut files = Vec::new();
    for one in routed {
        let name = &one.choice.service;
        let server = match (door, one.port) {
            // The port that it still publishes until compose has taken it away.
            (IngressMode::Host, _) => match one.listens.first() {
                Some((published, _)) => match published.ip.as_deref() {
                    None | Some("0.0.0.0") => format!("127.0.0.1:{}", published.port),
                    Some(ip) if ip.contains(':') => format!("[{ip}]:{}", published.port),
                    Some(ip) => format!("{ip}:{}", published.port),
                },
                None => "127.0.0.1:9 down".to_owned(),
            },
            // Without one it is a name of Docker's DNS, and port 80.
            (IngressMode::New | IngressMode::Service(_), Some(port)) if port != 80 => {
                format!("{name}:{port}")
            }
            _ => continue,
        };
        if let Ok(header) = render::header(&known.project.name) {
            files.push(NewFile {
                path: format!("{UPSTREAMS}/{}", render::upstream_name(name)).into(),
                text: format!("{header}upstream {name} {{\n    server {server};\n}}\n"),
            });
        }
    }
    files
}

pub(super) fn by_hand(routed: &[&Chosen<'_>], inside: &str) -> Vec<String> {
    let mut lines = vec![format!(
        "at http level, outside of any server (a file in conf.d is at http level):\n    include {inside}/*.conf;"
    )];
    for one in routed {
        let name = &one.choice.service;
        lines.push(format!(
            "in the location that sends to {name}, without a port in proxy_pass:\n    proxy_pass http://{name};\n    include {inside}/{name}.location*;"
        ));
    }
    lines
}
