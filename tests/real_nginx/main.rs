//! What real nginx makes of our files: each claim with the newest version, with an old one, and,
//! where its program is given, with one on the host.

use std::{
    fmt::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use compose_scale::{
    policy::Balance,
    proxy::{
        Features, Proxy, ProxyError, Upstream, UpstreamServer,
        inspect::{Configuration, Pass},
        nginx::dump,
    },
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

#[cfg(test)]
mod backend;
#[cfg(test)]
mod reach;
#[cfg(test)]
mod rig;

use backend::{Backend, Client, get, who_answers};
use rig::{Kind, Rig, free_port};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_go_to_what_was_published_and_nowhere_else() {
    for kind in Kind::all() {
        let (a, b) = (Backend::start("a").await, Backend::start("b").await);
        let rig = Rig::start(&kind, &[&a], "", "").await;
        assert_eq!(who_answers(rig.port, 4).await, ["a"]);
        let mut times = Vec::new();
        for (backends, names) in [
            (vec![&a, &b], vec!["a", "b"]),
            (vec![&b], vec!["b"]),
            (vec![&a], vec!["a"]),
            (vec![&b, &a], vec!["a", "b"]),
        ] {
            let begun = Instant::now();
            let published = rig.publish(&backends).await.unwrap();
            times.push(begun.elapsed());
            assert!(published.reloaded);
            assert_eq!(published.draining.count(), 2, "{published:?}");
            assert_eq!(who_answers(rig.port, 20).await, names, "{kind:?}");
        }
        eprintln!("{kind:?}: publish to confirmed in {times:?}");
        let sticky = rig.nginx.features().await.unwrap().sticky;
        let has = rig
            .file("00-compose-scale.conf")
            .contains("\nkeepalive_min_timeout 1s;");
        assert_eq!(has, sticky, "the newest knows both, the old one neither");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_changed_means_no_reload_not_even_after_a_restart_of_this_program() {
    for kind in Kind::all() {
        let a = Backend::start("a").await;
        let rig = Rig::start(&kind, &[&a], "", "").await;
        rig.publish(&[&a]).await.unwrap();
        let workers = rig.workers().await;
        let again = rig.publish(&[&a]).await.unwrap();
        assert!(!again.reloaded && again.changed.is_empty(), "{again:?}");
        // One more on top would show if the first had been two.
        assert_eq!(rig.workers().await, workers);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_lasts_as_long_as_the_slowest_request() {
    for kind in Kind::all() {
        let (a, b) = (Backend::start("a").await, Backend::start("b").await);
        let rig = Rig::start(&kind, &[&a], "", "").await;
        rig.publish(&[&a]).await.unwrap();
        let port = rig.port;
        let mut slow = JoinSet::new();
        let begun = Instant::now();
        slow.spawn(async move { get(port, "/slow?2000").await });
        // It has to be with the backend before the backend is taken out.
        sleep(Duration::from_millis(200)).await;
        let published = rig.publish(&[&b]).await.unwrap();
        assert_eq!(who_answers(port, 10).await, ["b"]);
        assert!(begun.elapsed() < Duration::from_secs(2), "too late to tell");
        let drained = timeout(Duration::from_secs(10), rig.nginx.drained(&published)).await;
        assert_eq!(drained.unwrap(), Ok(()));
        let took = begun.elapsed();
        assert!(took >= Duration::from_secs(2), "{took:?}");
        let answer = slow.join_next().await.unwrap().unwrap().unwrap();
        assert!(
            answer.status == 200 && answer.body.starts_with('a'),
            "{answer:?}"
        );
        eprintln!(
            "{kind:?}: drained {:?} after its last request",
            took.saturating_sub(Duration::from_secs(2))
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nginx_refuses_is_undone_and_a_dead_server_leaves_all_the_same() {
    for kind in Kind::all() {
        let (a, b) = (Backend::start("a").await, Backend::start("b").await);
        let rig = Rig::start(&kind, &[&a, &b], "", "").await;
        rig.publish(&[&a, &b]).await.unwrap();
        let (before, workers) = (rig.file("web.conf"), rig.workers().await);
        let unknown = Balance::Hash("$no_such_thing".into());
        let refused = rig.publish_balanced(&[&a, &b], unknown.clone()).await;
        let Err(ProxyError::Rejected { message }) = refused else {
            panic!("{refused:?}")
        };
        assert!(
            message.starts_with("unknown \"no_such_thing\" variable"),
            "{message}"
        );
        assert_eq!(rig.file("web.conf"), before);
        assert_eq!(rig.workers().await, workers);

        let published = rig.publish_balanced(&[&a], unknown).await.unwrap();
        assert!(published.refusal("web").is_some() && published.reloaded);
        assert_eq!(who_answers(rig.port, 10).await, ["a"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_upstream_answers_at_once() {
    for kind in Kind::all() {
        let a = Backend::start("a").await;
        let rig = Rig::start(&kind, &[&a], "", "").await;
        rig.publish(&[]).await.unwrap();
        let begun = Instant::now();
        assert_eq!(get(rig.port, "/").await.unwrap().status, 502);
        assert!(begun.elapsed() < Duration::from_millis(500));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_servers_fit_with_every_balance() {
    for kind in Kind::all() {
        let a = Backend::start("a").await;
        let rig = Rig::start(&kind, &[&a], "", "").await;
        let Features { sticky, .. } = rig.nginx.features().await.unwrap();
        let many = |balance| Upstream {
            service: "web".into(),
            balance,
            servers: (1..=1000)
                .map(|number| UpstreamServer {
                    number,
                    name: format!("shop-web-{number}"),
                    address: format!("[fd00::{number}]:65535").parse().unwrap(),
                    weight: Balance::FULL,
                })
                .collect(),
        };
        for balance in [
            Balance::RoundRobin,
            Balance::LeastConn,
            Balance::IpHash,
            Balance::Hash(r#"$request_uri"; x {} \ 'y' ${host}"#.into()),
            Balance::StickyCookie("srv-1_a".into()),
        ] {
            let is_sticky = matches!(balance, Balance::StickyCookie(_));
            let published = rig.nginx.publish(&[many(balance)]).await;
            if is_sticky && !sticky {
                assert!(
                    matches!(published, Err(ProxyError::Unusable { .. })),
                    "{published:?}"
                );
            } else {
                let published = published.unwrap();
                assert!(
                    published.reloaded && published.refused.is_empty(),
                    "{published:?}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sticky_client_stays_with_its_replica() {
    for kind in Kind::all() {
        let (a, b) = (Backend::start("a").await, Backend::start("b").await);
        let rig = Rig::start(&kind, &[&a], "", "").await;
        if !rig.nginx.features().await.unwrap().sticky {
            continue;
        }
        let balance = Balance::StickyCookie("srv".into());
        rig.publish_balanced(&[&a, &b], balance).await.unwrap();
        let mut client = Client::connect(rig.port).await.unwrap();
        let first = client.get("/", "").await.unwrap();
        let cookie = first.cookie.expect("a cookie is set");
        let name = first.body.lines().next().unwrap().to_owned();
        for _ in 0..20 {
            let again = client
                .get("/", &format!("Cookie: {cookie}\r\n"))
                .await
                .unwrap();
            assert!(again.body.starts_with(&name), "{again:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_that_fails_after_the_test_is_noticed_and_tried_again() {
    for kind in Kind::all() {
        let (a, b) = (Backend::start("a").await, Backend::start("b").await);
        let mut rig = Rig::start(&kind, &[&a], "", "").await;
        rig.publish(&[&a]).await.unwrap();
        // `nginx -t` does not mind a port that is taken, the reload does.
        let port = free_port();
        let taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
        rig.add_server(port);
        rig.set_patience(Duration::from_secs(4));
        let error = rig.publish(&[&b]).await.unwrap_err();
        assert!(matches!(error, ProxyError::Unconfirmed { .. }), "{error}");
        drop(taken);
        let published = rig.publish(&[&b]).await.unwrap();
        assert!(
            published.reloaded && published.changed.is_empty(),
            "{published:?}"
        );
        assert_eq!(who_answers(rig.port, 10).await, ["b"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timeout_in_the_users_own_file_does_not_stand_in_the_way() {
    for kind in Kind::all() {
        let a = Backend::start("a").await;
        let rig = Rig::start(&kind, &[&a], "", "").await;
        if !rig.nginx.features().await.unwrap().keepalive_min_timeout {
            continue;
        }
        drop(rig);
        let rig = Rig::start(&kind, &[&a], "keepalive_min_timeout 2s;", "").await;
        let published = rig.publish(&[&a]).await.unwrap();
        assert_eq!(published.refused, []);
        assert!(rig.file("00-compose-scale.conf").contains("set elsewhere"));
        assert!(!rig.publish(&[&a]).await.unwrap().reloaded);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn web_sockets_work_beside_the_settings_and_others_are_kept_alive() {
    let http = "map $http_upgrade $connection_upgrade { default upgrade; '' ''; }";
    let location = "proxy_set_header Upgrade $http_upgrade;
                    proxy_set_header Connection $connection_upgrade;";
    for kind in Kind::all() {
        let a = Backend::start("a").await;
        let rig = Rig::start(&kind, &[&a], http, location).await;
        let ask = async |headers: &str| {
            let mut client = Client::connect(rig.port).await.unwrap();
            let head = client.get("/", headers).await.unwrap().body.to_lowercase();
            let about = |line: &&str| line.starts_with("connection") || line.starts_with("upgrade");
            head.lines()
                .filter(about)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let socket = ask("Upgrade: websocket\r\nConnection: Upgrade\r\n").await;
        assert_eq!(socket, ["upgrade: websocket", "connection: upgrade"]);
        assert_eq!(ask("").await, [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_own_dump_of_the_configuration_is_understood() {
    for kind in Kind::all() {
        let a = Backend::start("a").await;
        let rig = Rig::start(&kind, &[&a], "", "proxy_set_header Host $host;").await;
        rig.publish(&[&a]).await.unwrap();
        let configuration = Configuration::parse(&dump(&**rig.nginx.fleet()).await.unwrap());
        let findings = configuration.look_for("web", &rig.inside());
        assert_eq!(findings.included.len(), 1, "{findings:?}");
        let [
            Pass {
                port: None,
                settings: true,
                hides_headers_of: None,
                ..
            },
        ] = findings.passes.as_slice()
        else {
            panic!("{findings:?}")
        };
        assert!(findings.foreign.is_empty() && findings.misplaced.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_lost_over_ten_changes() {
    for kind in Kind::all() {
        let (a, b) = (Backend::start("a").await, Backend::start("b").await);
        let rig = Rig::start(&kind, &[&a], "", "").await;
        rig.publish(&[&a]).await.unwrap();
        let kept = rig.nginx.features().await.unwrap().keepalive_min_timeout;
        let load = Load::start(rig.port, 4, if kept { 4 } else { 0 });
        for turn in 0..10 {
            let backends: &[&Backend] = if turn % 2 == 0 { &[&a, &b] } else { &[&b] };
            rig.publish(backends).await.unwrap();
        }
        let (requests, failed) = load.stop().await;
        eprintln!("{kind:?}: {requests} requests over ten reloads");
        assert_eq!(failed, [""; 0]);
        assert!(requests > 200, "{requests}");
    }
}

/// Clients that ask all the time, at a bounded rate.
struct Load {
    clients: JoinSet<Vec<String>>,
    stop: Arc<AtomicBool>,
    requests: Arc<AtomicU32>,
}

impl Load {
    /// Some with a connection for each request, some that keep theirs until they are told not to.
    fn start(port: u16, once: u32, kept: u32) -> Self {
        let mut load = Self {
            clients: JoinSet::new(),
            stop: Arc::default(),
            requests: Arc::default(),
        };
        for number in 0..once + kept {
            let (stop, requests) = (load.stop.clone(), load.requests.clone());
            load.clients.spawn(async move {
                let mut failed = Vec::new();
                let mut client = None;
                while !stop.load(Ordering::Relaxed) {
                    let answer = if number < once {
                        get(port, "/").await
                    } else {
                        ask(&mut client, port).await
                    };
                    requests.fetch_add(1, Ordering::Relaxed);
                    match answer {
                        Ok(answer) if answer.status == 200 => {}
                        other => failed.push(format!("client {number}: {other:?}")),
                    }
                    sleep(Duration::from_millis(3)).await;
                }
                failed
            });
        }
        load
    }

    async fn stop(self) -> (u32, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let failed = self.clients.join_all().await.concat();
        (self.requests.load(Ordering::Relaxed), failed)
    }
}

async fn ask(client: &mut Option<Client>, port: u16) -> Result<backend::Answer, String> {
    let mut open = match client.take() {
        Some(open) => open,
        None => Client::connect(port).await?,
    };
    let answer = open.get("/", "").await?;
    if !answer.closes {
        *client = Some(open);
    }
    Ok(answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_url_on_which_the_app_closes_the_connection_takes_no_replica_out() {
    for kind in Kind::all() {
        let mut backends = Vec::new();
        for name in ["a", "b", "c", "d", "e", "f"] {
            backends.push(Backend::start(name).await);
        }
        let all: Vec<&Backend> = backends.iter().collect();
        let rig = Rig::start(&kind, &all[..1], "", "").await;
        for count in [1, 2, 6] {
            rig.publish(&all[..count]).await.unwrap();
            for round in 0..20 {
                let status = get(rig.port, "/close").await.unwrap().status;
                assert_eq!(status, 502, "{kind:?}");
                for _ in 0..10 {
                    let status = get(rig.port, "/").await.unwrap().status;
                    assert_eq!(status, 200, "{kind:?}, {count} replicas, round {round}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_nine_megabytes_of_addresses_the_files_are_seen() {
    let mut geo = String::from("geo $zone {\n default none;\n");
    let mut number: u32 = 1 << 24;
    while geo.len() < 9_000_000 {
        let [a, b, c, d] = number.to_be_bytes();
        writeln!(geo, " {a}.{b}.{c}.{d}/32 z{};", number % 9).unwrap();
        number += 1;
    }
    geo += "}\n";
    for kind in Kind::all() {
        let (a, b) = (Backend::start("a").await, Backend::start("b").await);
        let rig = Rig::start(&kind, &[&a], &geo, "").await;
        assert!(rig.publish(&[&b]).await.unwrap().reloaded);
        assert_eq!(who_answers(rig.port, 4).await, ["b"]);
        let text = dump(&**rig.nginx.fleet()).await.unwrap();
        assert!(text.len() < 200_000, "{} bytes", text.len());
        let findings = Configuration::parse(&text).look_for("web", &rig.inside());
        let line = geo.lines().count();
        assert!(findings.included[0].line > line, "{findings:?}");
        assert_eq!(findings.passes.len(), 1);
    }
}
