//! What is wrong between nginx's configuration and the upstreams: pure, from what `nginx -T` prints.

use super::*;
use crate::proxy::NginxVersion;

const DIRECTORY: &str = "/etc/nginx/upstreams";
const UPSTREAM: &str = "upstream web { server 172.18.0.2:80; }";
const SETTINGS: &str = "proxy_set_header Connection \"\";";

/// nginx's configuration with this in a file of conf.d, and our files.
fn told(site: &str) -> Vec<String> {
    let dump = format!(
        "# configuration file /etc/nginx/nginx.conf:
events {{}}
http {{ include /etc/nginx/conf.d/*.conf; }}

# configuration file /etc/nginx/conf.d/default.conf:
{site}

# configuration file {DIRECTORY}/web.conf:
{UPSTREAM}

# configuration file {DIRECTORY}/web.location:
{SETTINGS}
"
    );
    let mut report = Report::new("shop");
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
fn an_nginx_that_is_too_old_for_reloads_without_loss_is_told() {
    let of = |said: &str| {
        let mut report = Report::new("shop");
        let features = NginxVersion::parse(said).map_or_else(Features::default, Features::of);
        the_features(&features, "shop-nginx-1", &mut report);
        report.codes()
    };
    assert_eq!(of("nginx version: nginx/1.30.0"), [""; 0]);
    assert_eq!(of("nginx version: nginx/1.27.4"), [""; 0]);
    assert_eq!(of("nginx version: nginx/1.27.3"), ["warning nginx-old"]);
    assert_eq!(of("something else"), ["warning nginx-version"]);
}
