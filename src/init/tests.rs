//! From a project to the text of files.

use std::collections::BTreeMap;

use indexmap::IndexMap;

use super::*;
use crate::project::{Port, Service, ServiceNetwork, Volume};

fn service(name: &str, ports: &[(&str, &str, u16)]) -> Service {
    let port = |(ip, published, target): &(&str, &str, u16)| Port {
        published: Some((*published).to_owned()),
        host_ip: (!ip.is_empty()).then(|| (*ip).to_owned()),
        ..Port::tcp(*target)
    };
    Service {
        name: name.to_owned(),
        image: Some(format!("registry.example.com/{name}:1")),
        ports: ports.iter().map(port).collect(),
        ..Service::default()
    }
}

fn project(services: Vec<Service>) -> Project {
    let services = services.into_iter().map(|one| (one.name.clone(), one));
    Project {
        name: "shop".into(),
        working_dir: "/srv/shop".into(),
        config_files: vec!["/srv/shop/compose.yaml".into()],
        services: services.collect::<IndexMap<_, _>>(),
        disabled_services: Vec::new(),
        volumes: std::collections::BTreeMap::new(),
        networks: std::collections::BTreeMap::new(),
    }
}

fn choice(name: &str) -> Choice {
    Choice {
        service: name.into(),
        min: 2,
        max: 4,
        cpu: "60%".into(),
        port: None,
    }
}

fn known<'a>(
    project: &'a Project,
    nginx: &'a NginxPolicy,
    candidates: &'a [String],
) -> BareProject<'a> {
    BareProject {
        project,
        nginx,
        policies: &[],
        candidates,
        fronts: candidates,
        counts: const { &BTreeMap::new() },
    }
}

fn drafted(
    services: Vec<Service>,
    door: &IngressMode,
    names: &[&str],
) -> Result<InitDraft, InitError> {
    let (project, nginx) = (project(services), NginxPolicy::default());
    let choices: Vec<_> = names.iter().map(|name| choice(name)).collect();
    draft(&known(&project, &nginx, &[]), door, IMAGE, &choices)
}

fn text<'a>(draft: &'a InitDraft, path: &str) -> &'a str {
    let file = draft.files.iter().find(|file| file.path == Path::new(path));
    &file.unwrap().text
}

fn verdict(service: Service, door: &IngressMode) -> Eligibility {
    let (project, nginx) = (project(vec![service]), NginxPolicy::default());
    offers(&known(&project, &nginx, &[]), door)
        .remove(0)
        .verdict
}

#[test]
fn where_requests_come_in_is_seen_and_can_be_said() {
    let project = project(vec![service("web", &[]), service("edge", &[])]);
    let nginx = NginxPolicy::default();
    let found = |candidates: &[&str], asked| {
        let candidates: Vec<_> = candidates.iter().map(|name| (*name).to_owned()).collect();
        door(&known(&project, &nginx, &candidates), asked)
    };
    assert_eq!(found(&[], None), Ok(IngressMode::New));
    assert_eq!(
        found(&["edge"], None),
        Ok(IngressMode::Service("edge".into()))
    );
    assert_eq!(found(&["edge"], Some("new")), Ok(IngressMode::New));
    assert_eq!(found(&[], Some("host")), Ok(IngressMode::Host));
    assert_eq!(
        found(&[], Some("edge")),
        Ok(IngressMode::Service("edge".into()))
    );
    assert!(matches!(
        found(&["web", "edge"], None),
        Err(InitError::Usage(_))
    ));
    assert!(matches!(found(&[], Some("wbe")), Err(InitError::Usage(_))));
}

/// The host ports that a project's services publish after `init`.
fn host_ports(services: &[Service], draft: &InitDraft) -> Vec<String> {
    let overlay = text(draft, OVERRIDE);
    let kept = services.iter().filter(|one| {
        let section = overlay.split(&format!("\n  {}:\n", one.name)).nth(1);
        !section.is_some_and(|section| {
            section
                .split("\n\n")
                .next()
                .unwrap()
                .contains("ports: !reset")
        })
    });
    let kept = kept.flat_map(|one| &one.ports);
    let kept = kept.filter_map(|port| port.published.clone());
    let nginx = overlay.lines().filter_map(|line| {
        let (host, _) = line.trim().strip_prefix("- \"")?.rsplit_once(':')?;
        Some(host.rsplit(':').next()?.to_owned())
    });
    let mut all: Vec<_> = kept.chain(nginx).collect();
    all.sort();
    all
}

#[test]
fn every_host_port_that_was_served_is_served_afterwards() {
    let published = service("web", &[("", "8080", 80)]);
    let exposing = Service {
        expose: vec!["9000".into()],
        ..published.clone()
    };
    let twice = service("web", &[("127.0.0.1", "8080", 80), ("", "8081", 80)]);
    for web in [published, exposing, twice] {
        let services = vec![web, service("api", &[("", "9090", 3000)])];
        let mut before: Vec<_> = services
            .iter()
            .flat_map(|one| &one.ports)
            .filter_map(|port| port.published.clone())
            .collect();
        before.sort();
        let draft = drafted(services.clone(), &IngressMode::New, &["web"]).unwrap();
        assert_eq!(
            host_ports(&services, &draft),
            before,
            "{}",
            text(&draft, OVERRIDE)
        );
        assert!(text(&draft, OVERRIDE).contains("port: 80\n"));
        assert!(text(&draft, SITE).contains("proxy_pass http://web"));
    }
}

#[test]
fn one_port_of_two_addresses_has_two_ports_inside() {
    let services = vec![
        service("one", &[("127.0.0.1", "80", 80), ("", "8080", 80)]),
        service("two", &[("::1", "80", 9000)]),
    ];
    let draft = drafted(services, &IngressMode::New, &["one", "two"]).unwrap();
    let overlay = text(&draft, OVERRIDE);
    for line in ["\"127.0.0.1:80:80\"", "\"8080:8080\"", "\"[::1]:80:81\""] {
        assert!(overlay.contains(&format!("      - {line}\n")), "{overlay}");
    }
    let site = text(&draft, SITE);
    assert_eq!(site.matches("server {").count(), 2);
    assert!(site.contains("listen 80;\n    listen 8080;\n"), "{site}");
    assert!(site.contains("listen 81;\n"), "{site}");
    assert_eq!(
        draft.upstreams.len(),
        1,
        "for the one that is not on port 80"
    );
}

#[test]
fn the_last_port_of_two_addresses_has_two_ports_inside_too() {
    let services = vec![
        service("one", &[("127.0.0.1", "65535", 80)]),
        service("two", &[("127.0.0.2", "65535", 80)]),
    ];
    let draft = drafted(services, &IngressMode::New, &["one", "two"]).unwrap();
    let overlay = text(&draft, OVERRIDE);
    for line in ["\"127.0.0.1:65535:65535\"", "\"127.0.0.2:65535:65534\""] {
        assert!(overlay.contains(&format!("      - {line}\n")), "{overlay}");
    }
}

#[test]
fn what_serves_is_on_a_network_that_nginx_can_be_on_and_a_worker_need_not_be() {
    for mode in ["bridge", "none", "host", "container:other"] {
        let mut web = service("web", &[("", "8080", 80)]);
        web.network_mode = Some(mode.into());
        let Eligibility::Unfit { what, .. } = verdict(web, &IngressMode::New) else {
            panic!("{mode} is offered");
        };
        assert!(what.contains(mode), "{what}");
    }
    let mut jobs = service("jobs", &[]);
    jobs.network_mode = Some("none".into());
    assert_eq!(verdict(jobs, &IngressMode::New), Eligibility::Fit);
}

#[test]
fn nginx_listens_on_ipv6_where_the_network_has_it_and_the_port_was_open_to_it() {
    let mut web = service("web", &[("", "80", 80), ("127.0.0.1", "81", 80)]);
    let plain = drafted(vec![web.clone()], &IngressMode::New, &["web"]).unwrap();
    assert!(!text(&plain, SITE).contains("[::]"));
    web.recipe = Some(Ok(crate::project::container_spec::ContainerSpec {
        networks: vec![crate::project::container_spec::Resource {
            name: "shop_default".into(),
            make: Some(serde_json::json!({"EnableIPv6": true})),
        }],
        ..Default::default()
    }));
    let draft = drafted(vec![web], &IngressMode::New, &["web"]).unwrap();
    let site = text(&draft, SITE);
    assert!(
        site.contains("listen 80;\n    listen [::]:80;\n    listen 81;\n    #"),
        "{site}"
    );
}

#[test]
fn the_comment_names_the_nginx_that_is_added() {
    let services = vec![service("web", &[("", "80", 80)]), service("nginx", &[])];
    let draft = drafted(services, &IngressMode::New, &["web"]).unwrap();
    assert!(text(&draft, SITE).contains("docker compose exec gateway nginx -s reload"));
}

#[test]
fn a_new_nginx_takes_no_name_that_is_taken_and_is_where_the_services_are() {
    let mut web = service("on", &[("", "80", 80)]);
    web.networks = IndexMap::from([("front".into(), ServiceNetwork::default())]);
    web.profiles = vec!["live".into()];
    let services = vec![web, service("nginx", &[])];
    let draft = drafted(services, &IngressMode::New, &["on"]).unwrap();
    let overlay = text(&draft, OVERRIDE);
    for line in [
        "    service: gateway\n",
        "  \"on\":\n",
        "  gateway:\n",
        "    networks: [front]\n",
        "    profiles: [live]\n",
        "    depends_on: [\"on\"]\n",
    ] {
        assert!(overlay.contains(line), "{line}{overlay}");
    }
}

#[test]
fn a_worker_needs_no_nginx() {
    let draft = drafted(vec![service("jobs", &[])], &IngressMode::New, &["jobs"]).unwrap();
    assert_eq!(draft.files.len(), 1);
    assert!(!draft.resets);
    assert!(!text(&draft, OVERRIDE).contains("nginx:"));
    assert!(draft.notes[0].contains("a worker"), "{:?}", draft.notes);
}

#[test]
fn a_volume_is_for_its_owner_to_judge_and_a_range_of_ports_stays() {
    let mut web = service("web", &[("", "80", 80)]);
    web.volumes.push(Volume {
        kind: "volume".into(),
        source: Some("data".into()),
        target: "/data".into(),
        read_only: false,
    });
    assert!(matches!(
        verdict(web.clone(), &IngressMode::New),
        Eligibility::Doubtful(_)
    ));
    assert!(drafted(vec![web.clone()], &IngressMode::New, &["web"]).is_ok());
    web.volumes[0].read_only = true;
    assert_eq!(verdict(web, &IngressMode::New), Eligibility::Fit);

    let random = service("web", &[("", "0", 80)]);
    assert!(matches!(
        verdict(random, &IngressMode::New),
        Eligibility::Unfit { .. }
    ));
    let range = service("web", &[("", "8000-8010", 80)]);
    let draft = drafted(vec![range], &IngressMode::Host, &["web"]).unwrap();
    assert!(!draft.resets);
    assert!(!text(&draft, OVERRIDE).contains("!reset"));
}

#[test]
fn what_goes_past_an_nginx_that_is_there_is_refused_with_the_way_out() {
    let web = service("web", &[("", "8080", 80)]);
    let Eligibility::Unfit { fix, .. } = verdict(web, &IngressMode::Service("edge".into())) else {
        panic!("it is offered");
    };
    assert!(fix.contains("--nginx new"), "{fix}");
}

#[test]
fn a_database_is_told_by_its_image_and_by_where_its_data_is() {
    let with = |image: &str, kind: &str, source: &str, target: &str| {
        let mut one = service("store", &[("", "8080", 80)]);
        one.image = Some(image.into());
        one.volumes = vec![Volume {
            kind: kind.into(),
            source: Some(source.into()),
            target: target.into(),
            read_only: false,
        }];
        verdict(one, &IngressMode::New)
    };
    let unfit = |image, target| {
        matches!(
            with(image, "volume", "data", target),
            Eligibility::Unfit { .. }
        )
    };
    assert!(unfit("bitnami/postgresql:17", "/x"));
    assert!(unfit("mcr.microsoft.com/mssql/server:2022", "/x"));
    assert!(unfit(
        "registry.example.com/store:1",
        "/var/lib/postgresql/data"
    ));
    let doubtful = |kind, source, target| {
        matches!(with("app", kind, source, target), Eligibility::Doubtful(_))
    };
    assert!(doubtful("volume", "data", "/uploads"));
    assert!(doubtful("bind", "/srv/shop.sqlite", "/app/shop.sqlite"));
    assert!(!doubtful("bind", "/srv/code", "/app"));
}
