use super::*;
use crate::project::Replica;

fn dump(files: &[(&str, &str)]) -> Configuration {
    let file =
        |(name, content): &(&str, &str)| format!("# configuration file {name}:\n{content}\n");
    let files: Vec<String> = files.iter().map(file).collect();
    let text = format!(
        "nginx: configuration file test is successful\n{}",
        files.join("\n")
    );
    Configuration::parse(&text)
}

fn place(text: &str) -> ConfigLocation {
    let (file, line) = text.rsplit_once(':').unwrap();
    ConfigLocation {
        file: file.into(),
        line: line.parse().unwrap(),
    }
}

const SITE: &str = "server {
    listen 80;
    location / {
        proxy_pass http://web;
        include upstreams/web.location;
    }
    location /old/ { proxy_pass http://other/; }
}";

const MAIN: &str = "events {}
http {
    include /etc/nginx/upstreams/*.conf;
    include conf.d/*.conf;
}";

#[test]
fn a_project_that_is_set_up_right_is_recognised() {
    let location = render::location("shop", "web").unwrap();
    let configuration = dump(&[
        ("/etc/nginx/nginx.conf", MAIN),
        (
            "/etc/nginx/upstreams/web.conf",
            "upstream web { server 10.0.0.1:80; }",
        ),
        ("/etc/nginx/conf.d/default.conf", SITE),
        ("/etc/nginx/upstreams/web.location", &location),
    ]);
    assert_eq!(
        configuration.look_for("web", "/etc/nginx/upstreams/"),
        Findings {
            included: vec![place("/etc/nginx/nginx.conf:3")],
            passes: vec![Pass {
                place: place("/etc/nginx/conf.d/default.conf:4"),
                by: "proxy_pass".into(),
                target: "http://web".into(),
                port: None,
                settings: true,
                hides_headers_of: None,
            }],
            ..Findings::default()
        }
    );
}

#[test]
fn an_include_counts_before_there_is_a_file() {
    let configuration = dump(&[("/etc/nginx/nginx.conf", MAIN)]);
    let findings = configuration.look_for("api", "/etc/nginx/upstreams");
    assert_eq!(findings.included, [place("/etc/nginx/nginx.conf:3")]);
    assert_eq!(findings.passes, []);
}

#[test]
fn another_directory_is_not_included() {
    let configuration = dump(&[("/etc/nginx/nginx.conf", MAIN)]);
    let findings = configuration.look_for("api", "/etc/nginx/elsewhere");
    assert_eq!(findings, Findings::default());
}

#[test]
fn an_include_inside_a_server_is_on_the_wrong_level() {
    let main = "http {\n server {\n  include upstreams/*.conf;\n }\n}";
    let configuration = dump(&[("/etc/nginx/nginx.conf", main)]);
    let findings = configuration.look_for("web", "/etc/nginx/upstreams");
    assert_eq!(findings.included, []);
    assert_eq!(
        findings.misplaced,
        [Misplaced {
            place: place("/etc/nginx/nginx.conf:3"),
            block: "server".into()
        }]
    );
}

#[test]
fn without_its_port_each_directive_names_the_upstream_in_its_own_way() {
    let without = |pass: &str| {
        let main = format!("http {{\nserver {{ location / {{ {pass} }} }}\n}}");
        let configuration = dump(&[("/etc/nginx/nginx.conf", &main)]);
        let findings = configuration.look_for("web", "/etc/nginx/upstreams");
        findings.passes[0].without_port()
    };
    for (pass, right) in [
        ("proxy_pass http://web:80;", "proxy_pass http://web;"),
        (
            "proxy_pass https://web:443/a:443/;",
            "proxy_pass https://web/a:443/;",
        ),
        ("grpc_pass grpc://web:50051;", "grpc_pass grpc://web;"),
        ("fastcgi_pass web:9000;", "fastcgi_pass web;"),
        ("uwsgi_pass web:3031;", "uwsgi_pass web;"),
        ("scgi_pass web:4000;", "scgi_pass web;"),
        ("memcached_pass web:11211;", "memcached_pass web;"),
    ] {
        assert_eq!(without(pass), right);
    }
}

#[test]
fn a_port_behind_the_name_and_missing_settings_are_seen() {
    let main = "http {\nserver { location / { proxy_pass http://Web:3000/x; } }\n}";
    let configuration = dump(&[("/etc/nginx/nginx.conf", main)]);
    let findings = configuration.look_for("web", "/etc/nginx/upstreams");
    let [pass] = findings.passes.as_slice() else {
        panic!("{findings:?}")
    };
    assert_eq!(pass.port.as_deref(), Some("3000"));
    assert!(!pass.settings);
}

#[test]
fn an_upstream_of_the_same_name_elsewhere_is_found_and_one_of_streams_is_not() {
    let main = "http {\nupstream web { server web:80; }\ninclude upstreams/*.conf;\n}
stream {\nupstream web { server web:80; }\nserver { proxy_pass web; }\n}";
    let configuration = dump(&[
        ("/etc/nginx/nginx.conf", main),
        (
            "/etc/nginx/upstreams/web.conf",
            "upstream web { server 10.0.0.1:80; }",
        ),
    ]);
    let findings = configuration.look_for("web", "/etc/nginx/upstreams");
    assert_eq!(findings.foreign, [place("/etc/nginx/nginx.conf:2")]);
    assert_eq!(findings.passes, []);
}

#[test]
fn a_target_made_of_variables_is_told_apart() {
    let main = "http {\nserver { set $b web; location / { proxy_pass http://$b$request_uri; }
location /x { proxy_pass http://other$request_uri; } }\n}";
    let configuration = dump(&[("/etc/nginx/nginx.conf", main)]);
    let findings = configuration.look_for("web", "/etc/nginx/upstreams");
    assert_eq!(findings.variable[0], place("/etc/nginx/nginx.conf:2"));
    assert_eq!(findings.passes, []);
}

#[test]
fn what_the_settings_have_too_is_found_with_its_line_wherever_it_comes_from() {
    let main = "http {
server { location / {
    include params;
    proxy_connect_timeout 5s;
    proxy_pass http://web;
    include upstreams/web.location*;
} }
}";
    let params = ("/etc/nginx/params", "proxy_http_version 1.1;");
    let found = |ours: &str| {
        let configuration = dump(&[
            ("/etc/nginx/nginx.conf", main),
            params,
            ("/etc/nginx/upstreams/web.location", ours),
        ]);
        configuration
            .look_for("web", "/etc/nginx/upstreams/")
            .duplicate
    };
    let include = place("/etc/nginx/nginx.conf:6");
    let expected = |at: &str, name: &str| Duplicate {
        place: place(at),
        name: name.into(),
        include: include.clone(),
    };
    let expected = [
        expected("/etc/nginx/params:1", "proxy_http_version"),
        expected("/etc/nginx/nginx.conf:4", "proxy_connect_timeout"),
    ];
    assert_eq!(found(""), expected);
    // What is in our own file is no duplicate of itself.
    let location = render::location("shop", "web").unwrap();
    assert_eq!(found(&location), expected);
}

#[test]
fn a_variable_that_is_the_name_alone_is_a_way_to_the_service() {
    let look = |set: &str, pass: &str| {
        let main = format!(
            "http {{\nserver {{ {set} location / {{ access_log off; proxy_read_timeout 9m;
{pass} include upstreams/web.location*; }} }}\n}}"
        );
        let configuration = dump(&[("/etc/nginx/nginx.conf", &main)]);
        let passes = configuration.look_for("web", "/etc/nginx/upstreams").passes;
        assert_eq!(
            configuration.unlogged("web", "/logs/shop.log").len(),
            passes.len()
        );
        assert_eq!(
            configuration.patience_for("web").is_some(),
            !passes.is_empty()
        );
        passes
    };
    let by_name = look("set $b web;", "proxy_pass http://$b;");
    assert_eq!(
        by_name,
        [Pass {
            place: place("/etc/nginx/nginx.conf:3"),
            by: "proxy_pass".into(),
            target: "http://$b".into(),
            port: None,
            settings: true,
            hides_headers_of: None,
        }]
    );
    assert_eq!(look("set $b http://web;", "proxy_pass $b;").len(), 1);
    // Those go past the upstream.
    assert_eq!(look("set $b web;", "proxy_pass http://$b:80;"), []);
    assert_eq!(look("set $b web:80;", "proxy_pass http://$b;"), []);
    assert_eq!(look("set $b other;", "proxy_pass http://$b;"), []);
}

#[test]
fn headers_of_an_outer_level_that_the_settings_take_out_are_named() {
    let location = render::location("shop", "web").unwrap();
    let look = |own: &str| {
        let main = format!(
            "http {{\nproxy_set_header Host $host;\nserver {{ location / {{\n{own}\n\
             include upstreams/web.location; proxy_pass http://web; }} }}\n}}"
        );
        let configuration = dump(&[
            ("/etc/nginx/nginx.conf", &main),
            ("/etc/nginx/upstreams/web.location", &location),
        ]);
        let findings = configuration.look_for("web", "/etc/nginx/upstreams");
        findings.passes[0].hides_headers_of.clone()
    };
    assert_eq!(look(""), Some(place("/etc/nginx/nginx.conf:2")));
    assert_eq!(look("proxy_set_header Host $host;"), None);
}

#[test]
fn files_that_include_one_another_come_to_an_end() {
    let configuration = dump(&[(
        "/etc/nginx/nginx.conf",
        "include /etc/nginx/nginx.conf;\nx;",
    )]);
    assert!(!configuration.is_empty());
    assert!(Configuration::parse("nginx: [emerg] no\n").is_empty());
}

#[test]
fn the_address_is_the_one_on_a_shared_network() {
    let replica = replica(&[
        ("back", "10.0.0.2"),
        ("front", "10.1.0.2"),
        ("web", "10.2.0.2"),
    ]);
    let networks = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
    let address =
        |names| address_for(&replica.addresses, &networks(names)).map(|ip| ip.to_string());
    assert_eq!(address(&["web", "front"]).as_deref(), Some("10.1.0.2"));
    assert_eq!(address(&["back"]).as_deref(), Some("10.0.0.2"));
    assert_eq!(address(&["other"]), None);
}

fn replica(addresses: &[(&str, &str)]) -> Replica {
    use crate::{
        project::{ContainerId, ContainerState, Fixed, Health, Limits},
        units::Timestamp,
    };
    Replica {
        id: ContainerId("0".repeat(64)),
        name: "shop-web-1".into(),
        service: "web".into(),
        number: 1,
        state: ContainerState::Running,
        health: Health::None,
        created: Timestamp::from_unix(0),
        started: None,
        addresses: addresses
            .iter()
            .map(|(network, ip)| ((*network).to_owned(), ip.parse().unwrap()))
            .collect(),
        published: [].into(),
        config_hash: String::new(),
        image: String::new(),
        image_id: String::new(),
        limits: Limits::default(),
        pid: 0,
        cgroup_parent: String::new(),
        refers_to: Vec::new(),
        oom_killed: false,
        restart_count: 0,
        exit_code: None,
        fixed: Fixed::default(),
        stop_timeout: None,
        mounts: Vec::new(),
        labels: [].into(),
    }
}

#[test]
fn what_hides_the_log_is_the_access_log_that_is_nearest_to_the_pass() {
    const LOG: &str = "/logs/shop.log";
    let found = |http: &str, server: &str, location: &str| {
        let main = format!(
            "events {{}}
http {{
    {http}
    server {{
        {server}
        location / {{
            {location}
            proxy_pass http://web;
        }}
    }}
}}"
        );
        let unlogged = dump(&[("/etc/nginx/nginx.conf", &main)]).unlogged("web", LOG);
        let shown = unlogged.iter().map(|one| {
            assert_eq!(one.pass, place("/etc/nginx/nginx.conf:8"));
            format!("{}{}", one.by.line, if one.off { " off" } else { "" })
        });
        shown.collect::<Vec<_>>().join(", ")
    };
    let (ours, theirs) = (
        "access_log /logs/shop.log compose_scale_shop;",
        "access_log /var/log/nginx/access.log main;",
    );
    for (http, server, location, expected) in [
        ("", "", "", ""),
        (ours, "", "", ""),
        // Ours comes beside theirs.
        (theirs, "", "", ""),
        ("access_log off;", "", "", "3 off"),
        (ours, theirs, "", "5"),
        (ours, "", theirs, "7"),
        (ours, "access_log off;", "", "5 off"),
        (ours, theirs, ours, ""),
        (ours, &format!("{theirs} {ours}"), "", ""),
        (ours, "access_log off;", ours, ""),
    ] {
        assert_eq!(
            found(http, server, location),
            expected,
            "{http} {server} {location}"
        );
    }
}

#[test]
fn its_patience_is_the_longest_read_timeout_anywhere() {
    let patience = |site: &str| {
        let main = (
            "/etc/nginx/nginx.conf",
            "http { include /etc/nginx/site.conf; }",
        );
        dump(&[main, ("/etc/nginx/site.conf", site)])
            .patience()
            .as_secs()
    };
    assert_eq!(patience("server { listen 80; }"), 60);
    assert_eq!(
        patience("server { location / { proxy_read_timeout 10m; } }"),
        600
    );
    assert_eq!(
        patience("proxy_read_timeout 5s; uwsgi_read_timeout 1h30m;"),
        5400
    );
    assert_eq!(patience("proxy_read_timeout 90;"), 90);
    assert_eq!(
        patience("proxy_read_timeout soon; fastcgi_read_timeout 99999999999999999999d;"),
        60
    );
}

#[test]
fn a_configuration_is_the_same_where_only_our_servers_are_others() {
    let text = |web: &str, http: &str, site: &str| {
        format!(
            "# configuration file /etc/nginx/nginx.conf:\n{site}\n\
             # configuration file /etc/nginx/upstreams/00-compose-scale.conf:\n{http}\n\
             # configuration file /etc/nginx/upstreams/web.conf:\n{web}\n"
        )
    };
    let of = |web, http, site| {
        fingerprint(
            &text(web, http, site),
            "/etc/nginx/upstreams",
            "00-compose-scale.conf",
        )
    };
    let one = of("server 1;", "access_log a;", "http {}");
    assert_eq!(of("server 2;", "access_log a;", "http {}"), one);
    assert_ne!(of("server 1;", "", "http {}"), one);
    assert_ne!(
        of("server 1;", "access_log a;", "http { access_log off; }"),
        one
    );
}
