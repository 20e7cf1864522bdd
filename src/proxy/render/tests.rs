use super::*;
use crate::proxy::NginxVersion;

const OLD: NginxVersion = NginxVersion::new(1, 22, 1);
const NEW: NginxVersion = NginxVersion::new(1, 30, 6);

fn server(number: u32, address: &str) -> UpstreamServer {
    UpstreamServer {
        number,
        name: format!("shop-web-{number}"),
        address: address.parse().unwrap(),
        weight: Balance::FULL,
    }
}

fn web(servers: &[UpstreamServer]) -> Upstream {
    Upstream {
        service: "web".into(),
        balance: Balance::LeastConn,
        servers: servers.to_vec(),
    }
}

fn text(balance: Balance, version: NginxVersion) -> Result<String, String> {
    let asked = Upstream {
        balance,
        ..web(&[server(1, "172.18.0.3:80")])
    };
    upstream("shop", &asked, &Features::of(version)).map_err(|error| error.to_string())
}

fn hash(key: &str) -> Result<String, String> {
    let text = text(Balance::Hash(key.into()), OLD)?;
    let line = text.lines().find(|line| line.contains("hash "));
    Ok(line.unwrap().trim().to_owned())
}

#[test]
fn every_file_of_a_project_as_text() {
    let upstreams = [web(&[
        server(10, "172.18.0.9:80"),
        server(2, "172.18.0.4:80"),
        server(1, "[fd00::3]:80"),
    ])];
    let (files, refused) =
        files("shop", &upstreams, &Features::of(NEW), HttpLevelLog::None).unwrap();
    assert!(refused.is_empty());
    let all: Vec<String> = files
        .iter()
        .map(|(name, text)| format!("=== {name}\n{text}"))
        .collect();
    let all = all.join("\n");
    insta::assert_snapshot!(all);
}

#[test]
fn weights_are_written_where_they_differ() {
    let lines = |weights: [u8; 2]| {
        let mut servers = [server(1, "172.18.0.3:80"), server(2, "172.18.0.4:80")];
        for (server, weight) in servers.iter_mut().zip(weights) {
            server.weight = weight;
        }
        let text = upstream("shop", &web(&servers), &Features::of(OLD)).unwrap();
        let lines = text.lines().filter(|line| line.contains("server "));
        lines.map(|line| line.trim().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        lines([10, 4]),
        [
            "server 172.18.0.3:80 weight=10 max_fails=0; # shop-web-1",
            "server 172.18.0.4:80 weight=4 max_fails=0; # shop-web-2",
        ]
    );
    assert_eq!(
        lines([10, 10])[1],
        "server 172.18.0.4:80 max_fails=0; # shop-web-2"
    );
}

#[test]
fn an_older_nginx_is_told_what_it_lacks() {
    insta::assert_snapshot!(http("shop", &Features::of(OLD), HttpLevelLog::None).unwrap(), @r"
    # generated, do not edit: made by compose-scale for project shop
    # This nginx is 1.22.1. Since 1.27.4 a reload can keep the connections of idle clients
    # open a little longer (keepalive_min_timeout); before, a request that is on its way over
    # one of them at that moment is lost, unless the client repeats it.
    ");
}

#[test]
fn the_log_is_a_format_and_a_line_of_the_projects_own() {
    let log = HttpLevelLog::To("/var/log/compose-scale/shop.log");
    insta::assert_snapshot!(http("shop", &Features::of(NEW), log).unwrap(), @r#"
    # generated, do not edit: made by compose-scale for project shop
    # What the load is read from. An `access_log` inside of a server or a location takes the place of
    # this one there: write the second line beside it as well.
    log_format compose_scale_shop "compose-scale/1\t$msec\t$status\t$request_time\t$upstream_addr\t$upstream_response_time\t$upstream_connect_time\t$proxy_host";
    access_log /var/log/compose-scale/shop.log compose_scale_shop buffer=32k flush=1s if=$upstream_addr;

    # A reload closes the connections of clients that are idle. A request already on its
    # way over one of them would be lost; this long they are still answered.
    keepalive_min_timeout 1s;
    "#);
    assert_eq!(
        log_line("shop", "/srv/a shop/\"x\".log").unwrap(),
        "access_log \"/srv/a shop/\\\"x\\\".log\" compose_scale_shop buffer=32k flush=1s if=$upstream_addr;"
    );
    assert!(log_line("shop", "/srv/$host/shop.log").is_err());
}

#[test]
fn no_server_left_keeps_nginx_valid() {
    let text = upstream("shop", &web(&[]), &Features::of(NEW)).unwrap();
    insta::assert_snapshot!(text, @r"
    # generated, do not edit: made by compose-scale for project shop
    upstream web {
        zone compose_scale_web 64k;
        least_conn;
        server 127.0.0.1:9 down;
        keepalive 32;
    }
    ");
}

#[test]
fn the_balance_is_written_before_keepalive() {
    let lines = |balance| {
        let text = text(balance, NEW).unwrap();
        let body: Vec<&str> = text.lines().skip(3).map(str::trim).collect();
        body.join("\n")
    };
    let server = "server 172.18.0.3:80 max_fails=0; # shop-web-1\nkeepalive 32;\n}";
    assert_eq!(lines(Balance::RoundRobin), server);
    assert_eq!(lines(Balance::IpHash), format!("ip_hash;\n{server}"));
    assert_eq!(
        lines(Balance::Hash("$request_uri".into())),
        format!("hash \"$request_uri\" consistent;\n{server}")
    );
    assert_eq!(
        lines(Balance::StickyCookie("srv".into())),
        format!("least_conn;\nsticky cookie srv path=/ httponly;\n{server}")
    );
}

#[test]
fn a_sticky_cookie_on_an_older_nginx_says_what_it_needs() {
    assert_eq!(
        text(Balance::StickyCookie("srv".into()), OLD).unwrap_err(),
        "balance sticky_cookie cannot be used in an nginx file: it needs nginx 1.29.6 or later, \
         and this one is 1.22.1"
    );
}

#[test]
fn a_hash_key_stays_one_word_whatever_it_holds() {
    for (key, written) in [
        ("$request_uri", r#"hash "$request_uri" consistent;"#),
        (
            "${arg_id}-$1; } evil {",
            r#"hash "${arg_id}-$1; } evil {" consistent;"#,
        ),
        (
            r#"a" ; deny all; # \"#,
            r#"hash "a\" ; deny all; # \\" consistent;"#,
        ),
        ("it's $uri", r#"hash "it's $uri" consistent;"#),
    ] {
        assert_eq!(hash(key).as_deref(), Ok(written));
    }
    for key in ["", "$", "a$", "$ x", "${uri", "$-", "$$uri", "a\nb", "a\0b"] {
        let error = hash(key).unwrap_err();
        assert!(error.contains("the hash key"), "{key:?}: {error}");
    }
}

#[test]
fn a_name_that_could_become_a_directive_is_refused() {
    for bad in [
        "", "we b", "web;", "web{", "../web", "web\n", "w\u{e9}b", ".web",
    ] {
        let asked = Upstream {
            service: bad.into(),
            ..web(&[])
        };
        let refused = upstream("shop", &asked, &Features::default());
        assert!(
            matches!(refused, Err(ProxyError::Unusable { .. })),
            "{bad:?}"
        );
        assert!(location("shop", bad).is_err(), "{bad:?}");
    }
    assert!(location("shop", "00-compose-scale").is_err());
    assert!(http("shop\nuser root;", &Features::default(), HttpLevelLog::None).is_err());
    let mut evil = server(1, "172.18.0.3:80");
    evil.name = "x\n    server 6.6.6.6:80;".into();
    assert!(upstream("shop", &web(&[evil]), &Features::default()).is_err());
}

#[test]
fn a_name_that_takes_the_place_of_another_is_refused_and_the_others_have_their_files() {
    let long = "x".repeat(LONGEST_NAME + 1);
    let longest = "y".repeat(LONGEST_NAME);
    let names = [
        "00-compose-scale",
        "WEB",
        "Web",
        "api",
        "api.conf",
        "10.0.0.7",
        "localhost",
        "web",
        "web.locations",
        "web.loc",
        "xapi.location",
        &long,
        &longest,
    ];
    let upstreams = names.map(|name| Upstream {
        service: name.into(),
        ..web(&[])
    });
    let (files, refused) =
        files("shop", &upstreams, &Features::of(NEW), HttpLevelLog::None).unwrap();
    let there = files.keys().filter_map(|name| name.strip_suffix(".conf"));
    let there: Vec<_> = there.collect();
    assert_eq!(
        there,
        [
            "00-compose-scale",
            "api",
            "api.conf",
            "web",
            "web.loc",
            "xapi.location",
            &longest
        ]
    );
    assert!(files.keys().all(|name| format!(".{name}.tmp").len() <= 255));
    assert_eq!(files.len(), 1 + 2 * 6);
    let mut said: Vec<_> = refused.iter().map(ToString::to_string).collect();
    assert!(
        said.pop()
            .unwrap()
            .ends_with("it is too long for the name of a file")
    );
    assert_eq!(
        said.join("\n")
            .replace(" cannot be used in an nginx file", ""),
        "the service name \"00-compose-scale\": its file is the one for the http level\n\
         the service name \"WEB\": nginx takes capitals in it for small letters, and cannot tell it from Web\n\
         the service name \"Web\": nginx takes capitals in it for small letters, and cannot tell it from web\n\
         the service name \"10.0.0.7\": elsewhere in nginx's configuration it means an address\n\
         the service name \"localhost\": elsewhere in nginx's configuration it means an address\n\
         the service name \"web.locations\": `include web.location*` in the location of web would read its files too"
    );
    // Whatever their order is.
    let backwards = unusable_names(names.into_iter().rev());
    assert_eq!(backwards, unusable_names(names));
}

#[test]
fn what_is_set_once_is_what_the_settings_have_but_for_what_may_be_there_twice() {
    let directives = crate::proxy::inspect::parse(&location("shop", "web").unwrap());
    let mut names: Vec<_> = directives.iter().map(|one| one.name.as_str()).collect();
    names.retain(|name| !["proxy_set_header", "proxy_next_upstream"].contains(name));
    assert_eq!(names, ONCE);
    assert!(!is_set_once("proxy_set_header") && !is_set_once("proxy_read_timeout"));
}

#[test]
fn the_zone_grows_with_the_servers() {
    // What was measured to fit: 63 in 64k, 143 in 128k, 303 in 256k.
    for (servers, kib) in [(0, 64), (1, 128), (64, 128), (65, 192), (300, 384)] {
        assert_eq!(zone(servers), kib, "{servers} servers");
    }
}

#[test]
fn the_owner_of_a_file_is_read_from_its_first_line() {
    let text = location("shop", "web").unwrap();
    assert_eq!(owner(&text), Some("shop"));
    assert_eq!(owner("upstream web {}\n"), None);
    assert_eq!(owner(""), None);
}

#[test]
fn reducing_takes_servers_out_and_nothing_else() {
    let features = Features::of(NEW);
    let one = server(1, "172.18.0.3:80");
    let two = server(2, "[fd00::4]:80");
    let both = upstream("shop", &web(&[one.clone(), two.clone()]), &features).unwrap();
    assert_eq!(reduced(&both, &[one.address, two.address].into()), both);
    assert_eq!(
        reduced(&both, &[two.address].into()),
        upstream("shop", &web(&[two]), &features).unwrap()
    );
    let none = reduced(&both, &BTreeSet::new());
    assert!(
        none.contains("down;") && !none.contains("172.18.0.3"),
        "{none}"
    );
    assert_eq!(reduced(&none, &[one.address].into()), none);
}

/// What nginx would read: the names of the directives, and every word behind `hash`.
fn as_read(text: &str) -> (Vec<String>, Vec<String>) {
    let directives = crate::proxy::inspect::parse(text);
    let [block] = directives.as_slice() else {
        panic!("{text}")
    };
    let inner = block.block.as_ref().unwrap();
    let names = inner.iter().map(|d| d.name.clone()).collect();
    let hash = inner.iter().find(|d| d.name == "hash");
    (names, hash.unwrap().args.clone())
}

proptest::proptest! {
    #[test]
    fn a_hash_key_never_becomes_anything_but_a_hash_key(
        key in "([a-z \\\\\"';{}#\n\t$_]|\\PC){0,24}",
    ) {
        if let Ok(text) = text(Balance::Hash(key.clone()), OLD) {
            let (names, hash) = as_read(&text);
            proptest::prop_assert_eq!(names, ["zone", "hash", "server", "keepalive"]);
            proptest::prop_assert_eq!(hash, [key.as_str(), "consistent"]);
        }
    }

    #[test]
    fn a_service_name_is_one_word_or_refused(name in "\\PC{0,12}|[a-z.;{}$\n -]{1,12}") {
        if let Ok(text) = location("shop", &name) {
            let words = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
            proptest::prop_assert!(name.bytes().all(words), "{}", name);
            let pass = format!("`proxy_pass http://{name};`");
            proptest::prop_assert!(text.contains(&pass), "{}", text);
        }
    }
}
