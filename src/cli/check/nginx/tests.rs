//! What is wrong between nginx's configuration and the upstreams: pure, from what `nginx -T` prints.

use super::{
    super::service::fixture::{FINE, loaded},
    version::{check_features, unanswered},
    *,
};
use crate::{
    plan::tests::replica,
    project::MountPoint,
    proxy::{Features, NginxVersion},
};

const DIRECTORY: &str = "/etc/nginx/upstreams";
const UPSTREAM: &str = "upstream web { server 172.18.0.2:80; }";
const SETTINGS: &str = "proxy_set_header Connection \"\";";

/// nginx's configuration with this in a file of conf.d, and our files.
fn told(site: &str) -> Vec<String> {
    told_with(site, UPSTREAM, SETTINGS)
}

/// The same with these in our files.
fn told_with(site: &str, upstream: &str, settings: &str) -> Vec<String> {
    let dump = format!(
        "# configuration file /etc/nginx/nginx.conf:
events {{}}
http {{ include /etc/nginx/conf.d/*.conf; }}

# configuration file /etc/nginx/conf.d/default.conf:
{site}

# configuration file {DIRECTORY}/web.conf:
{upstream}

# configuration file {DIRECTORY}/web.location:
{settings}
"
    );
    let mut report = CheckReport::new("shop");
    let configuration = Configuration::parse(&dump);
    let findings = configuration.look_for("web", DIRECTORY);
    one_include("web", DIRECTORY, &findings, &mut report);
    let lines = report.findings.iter().filter(|one| one.code.is_some());
    let without = lines.clone().find(|one| one.fix.is_empty());
    assert!(without.is_none(), "nothing to do about {without:?}");
    report.codes()
}

const INCLUDE: &str = "include /etc/nginx/upstreams/*.conf;";
const LOCATION: &str = "include /etc/nginx/upstreams/web.location*;";

#[test]
fn a_configuration_that_is_right_has_no_finding() {
    let right = format!(
        "{INCLUDE}\nserver {{ listen 80; location / {{ proxy_pass http://web; {LOCATION} }} }}"
    );
    assert_eq!(told(&right), [""; 0]);
}

#[test]
fn a_service_without_an_upstream_is_a_worker_only_where_nginx_sends_it_nothing() {
    let told = |service: &str, site: &str| {
        let yaml =
            format!("services: {{web: {{image: app, x-autoscale: {{max: 3}}, {service}}}}}\n");
        let loaded = loaded(&yaml);
        let mut report = CheckReport::new("shop");
        report.warn(
            CheckCode::NoPort,
            "web",
            "nginx sends no traffic to it",
            "set `port`",
        );
        let unrouted: Vec<_> = service_setup::unrouted(&loaded, "web")
            .into_iter()
            .collect();
        let dump = format!("# configuration file /etc/nginx/nginx.conf:\nhttp {{\n{site}\n}}\n");
        let configuration = Configuration::parse(&dump);
        check_unrouted(&unrouted, DIRECTORY, &configuration, &mut report);
        let of = |one: &super::super::report::Finding| format!("{}; {}", one.message, one.fix);
        (
            report.codes(),
            report.findings.iter().map(of).collect::<String>(),
        )
    };
    let two = "expose: [\"80\", \"81\"]";
    let worker = "server { location / { proxy_pass http://other; } }";
    assert_eq!(told(two, worker).0, ["warning no-port"]);
    for site in [
        "server { location / { proxy_pass http://web; } }",
        "server { location / { proxy_pass http://web:80/; } }",
        "server { location / { set $to web; proxy_pass http://$to:80; } }",
        "upstream app { server web:80; }\nserver { location / { proxy_pass http://app; } }",
    ] {
        assert_eq!(told(two, site).0, ["error no-port"], "{site}");
        assert_eq!(told("restart: always", site).0, ["error no-port"], "{site}");
        // One port is an upstream.
        assert_eq!(
            told("expose: [\"80\"]", site).0,
            ["warning no-port"],
            "{site}"
        );
    }
    let pass = "server { location / { proxy_pass http://web; } }";
    insta::assert_snapshot!(told(two, pass).1, @"nginx sends requests to it at /etc/nginx/nginx.conf:2, but it has several ports (80, 81), so its replicas are not kept in step with nginx; say which port nginx sends to: `x-autoscale: {port: 80}`");
    insta::assert_snapshot!(told("restart: always", pass).1, @"nginx sends requests to it at /etc/nginx/nginx.conf:2, but it exposes no port and publishes none, so its replicas are not kept in step with nginx; say which port nginx sends to: `x-autoscale: {port: 80}`");
}

#[test]
fn a_variable_that_is_the_service_without_a_port_has_no_finding() {
    let by_variable = |pass: &str| {
        told(&format!(
            "{INCLUDE}\nserver {{ location / {{ set $b web; proxy_pass {pass}; {LOCATION} }} }}"
        ))
    };
    assert_eq!(by_variable("http://$b"), [""; 0]);
    assert_eq!(by_variable("http://$b:80"), ["warning nginx-no-pass"]);
}

#[test]
fn each_thing_that_keeps_requests_from_the_upstream_has_a_code() {
    let pass = format!("proxy_pass http://web; {LOCATION}");
    for (site, code) in [
        (
            format!("server {{ location / {{ {pass} }} }}"),
            "error nginx-not-included",
        ),
        (
            format!("server {{ {INCLUDE} location / {{ {pass} }} }}"),
            "error nginx-misplaced",
        ),
        (
            format!("{INCLUDE} {INCLUDE} server {{ location / {{ {pass} }} }}"),
            "error nginx-included-twice",
        ),
        (
            format!(
                "{INCLUDE} upstream web {{ server 127.0.0.1:81; }} server {{ location / {{ {pass} }} }}"
            ),
            "error nginx-same-name",
        ),
        (
            format!("{INCLUDE} server {{ location / {{ proxy_pass http://web:80; {LOCATION} }} }}"),
            "error nginx-port-in-pass",
        ),
        (
            format!("{INCLUDE} server {{ location / {{ return 204; }} }}"),
            "warning nginx-no-pass",
        ),
        (
            format!("{INCLUDE} server {{ location / {{ proxy_pass http://web; }} }}"),
            "warning nginx-no-settings",
        ),
        (
            format!("{INCLUDE} server {{ proxy_set_header Host $host; location / {{ {pass} }} }}"),
            "warning nginx-headers-hidden",
        ),
    ] {
        let found = told(&site);
        assert!(
            found.iter().any(|one| one == code),
            "{code}: {found:?} of {site}"
        );
    }
}

#[test]
fn a_directive_that_the_settings_will_have_too_is_told_before_they_are_there() {
    let before = |own: &str, around: &str| {
        let site = format!(
            "{INCLUDE} server {{ {around} location / {{ {own} proxy_pass http://web; {LOCATION} }} }}"
        );
        told_with(&site, "", "")
    };
    for own in [
        "proxy_http_version 1.1;",
        "proxy_connect_timeout 5s;",
        "proxy_next_upstream_tries 2;",
    ] {
        assert_eq!(before(own, ""), ["error nginx-duplicate"], "{own}");
        // An inner level takes the place of the outer one.
        assert_eq!(before("", own), [""; 0], "{own}");
    }
    let repeated = "proxy_set_header Host $host; proxy_next_upstream error; proxy_read_timeout 5s;";
    assert_eq!(before(repeated, ""), [""; 0]);
    let elsewhere = "location /x { proxy_http_version 1.1; proxy_pass http://other; }";
    assert_eq!(before("", elsewhere), [""; 0]);
}

#[test]
fn an_nginx_that_is_too_old_for_reloads_without_loss_is_told() {
    let of = |said: &str| {
        let mut report = CheckReport::new("shop");
        let features = NginxVersion::parse(said).map_or_else(Features::default, Features::of);
        check_features(&features, "shop-nginx-1", &mut report);
        report.codes()
    };
    assert_eq!(of("nginx version: nginx/1.30.0"), [""; 0]);
    assert_eq!(of("nginx version: nginx/1.27.4"), [""; 0]);
    assert_eq!(of("nginx version: nginx/1.27.3"), ["warning nginx-old"]);
    assert_eq!(of("something else"), ["warning nginx-version"]);
}

/// A project with a service `web`, and what it says of nginx.
fn shop(settings: &str, web: &str) -> Loaded {
    loaded(&format!(
        "x-autoscale: {{nginx: {{{settings}}}}}
services:
  web:
{FINE}    x-autoscale: {{max: 3{web}}}
  nginx: {{image: \"nginx:1.30\"}}
"
    ))
}

/// An nginx that is on the network of the replicas.
fn nginx() -> Replica {
    let mut nginx = replica(1);
    nginx.name = "shop-nginx-1".into();
    nginx.service = "nginx".into();
    nginx
}

fn looked(
    loaded: &Loaded,
    containers: &[Replica],
    look: impl FnOnce(&NginxCheck<'_>, &mut CheckReport),
) -> Vec<String> {
    let mut report = CheckReport::new("shop");
    let place = ManagedNginx::Service("nginx".into());
    let of = NginxCheck {
        loaded,
        routed: &["web"],
        unrouted: &[],
        containers,
        place: &place,
    };
    look(&of, &mut report);
    report.codes()
}

#[test]
fn a_replica_that_nginx_cannot_reach_is_told() {
    let whereabouts = NginxLocation::containers(NginxTarget::of(&nginx()));
    let told = |whereabouts: &NginxLocation, replica: Replica| {
        looked(&shop("service: nginx", ""), &[replica], |look, report| {
            look.check_addresses(whereabouts, report);
        })
    };
    assert_eq!(told(&whereabouts, replica(1)), [""; 0]);
    let mut elsewhere = replica(1);
    elsewhere.addresses = [("shop_back".to_owned(), [172, 19, 0, 2].into())].into();
    assert_eq!(told(&whereabouts, elsewhere), ["error nginx-no-way"]);
    // From the host by a published port, where the settings say so.
    let mut published = replica(1);
    published.published = [(80, ([127, 0, 0, 1], 49153).into())].into();
    let by_port = |replica: Replica| {
        looked(
            &shop("host: true, reach: published", ""),
            &[replica],
            |look, report| {
                look.check_addresses(&NginxLocation::Host, report);
            },
        )
    };
    assert_eq!(by_port(published), ["warning nginx-published-port"]);
    assert_eq!(by_port(replica(1)), ["error nginx-no-way"]);
}

#[test]
fn a_directory_of_the_log_is_there_and_where_it_is_said_to_be() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path().display().to_string();
    let logs = |dir: &str| {
        format!("service: nginx, logs: {{dir: \"{dir}\", inside: /var/log/compose-scale}}")
    };
    let told = |dir: &str, inside: &str| {
        let mut nginx = nginx();
        nginx.mounts = vec![MountPoint {
            source: directory.path().to_owned(),
            destination: inside.into(),
            is_writable: true,
        }];
        let loaded = shop(&logs(dir), ", metrics: [requests: 50]");
        looked(&loaded, &[], |look, report| {
            look.check_log_directory(Some(&nginx), report);
        })
    };
    let gone = format!("{here}/gone");
    assert_eq!(
        told(&gone, "/var/log/compose-scale"),
        ["error nginx-log-directory"]
    );
    assert_eq!(told(&here, "/elsewhere"), ["error nginx-log-directory"]);
    assert_eq!(
        told(&here, "/var/log/compose-scale"),
        ["warning nginx-log-missing"]
    );
    let log = directory.path().join("shop.log");
    crate::files::replace(&log, b"").unwrap();
    assert_eq!(
        told(&here, "/var/log/compose-scale"),
        ["warning nginx-no-lines"]
    );
    let file = std::fs::File::options().write(true).open(&log).unwrap();
    file.set_len(3 * proxy::log_tail::LIMIT).unwrap();
    let large = told(&here, "/var/log/compose-scale");
    assert!(
        large.contains(&"warning nginx-log-grows".to_owned()),
        "{large:?}"
    );
}

#[test]
fn a_directory_that_nginx_has_not_mounted_is_told() {
    let loaded = shop("service: nginx, upstreams: /srv/shop/upstreams", "");
    let mounted = |source: &str, destination: &str, is_writable: bool| {
        let mut nginx = nginx();
        nginx.mounts = vec![MountPoint {
            source: source.into(),
            destination: destination.into(),
            is_writable,
        }];
        looked(&loaded, &[], |look, report| {
            look.check_mount(&nginx, report);
        })
    };
    let told = |source: &str, destination: &str| mounted(source, destination, false);
    assert_eq!(told("/srv/shop/upstreams", DIRECTORY), [""; 0]);
    let writable = ["warning nginx-mount-writable"];
    assert_eq!(mounted("/srv/shop/upstreams", DIRECTORY, true), writable);
    assert_eq!(told("/srv/shop/html", "/html"), ["error nginx-not-mounted"]);
    let file = told(
        "/srv/shop/upstreams/web.conf",
        "/etc/nginx/upstreams/web.conf",
    );
    assert!(
        file.contains(&"error nginx-single-file".to_owned()),
        "{file:?}"
    );
}

#[test]
fn an_nginx_that_ends_while_it_is_asked_is_not_one_without_the_program() {
    let said = |error: ProxyError| {
        let mut report = CheckReport::new("shop");
        unanswered(&error, "shop-nginx-1", &mut report);
        let fix = report.findings[0].fix.clone();
        (report.codes().remove(0), fix)
    };
    let why = || "`nginx -v` cannot be run there: no".to_owned();
    let log = "see why in its log: `docker logs --tail 20 shop-nginx-1`".to_owned();
    assert_eq!(
        said(ProxyError::NotRunning { why: why() }),
        ("error nginx-crashing".to_owned(), log.clone())
    );
    assert_eq!(
        said(ProxyError::Unreachable { why: why() }),
        ("error nginx-unanswered".to_owned(), log)
    );
    assert_eq!(
        said(ProxyError::NoProgram { why: why() }),
        (
            "error nginx-version".to_owned(),
            "use an image whose `nginx` is on the PATH".to_owned()
        )
    );
}
