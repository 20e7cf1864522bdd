use std::{fs, path::Path, time::Duration};

use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::{
    policy::Balance,
    proxy::{UpstreamServer, render},
};

mod bad_days;
mod fake;
mod fleet;
mod hostile;
use fake::Fake;

fn service(service: &str, addresses: &[&str]) -> Upstream {
    let servers = addresses
        .iter()
        .zip(1..)
        .map(|(address, number)| UpstreamServer {
            number,
            name: format!("shop-{service}-{number}"),
            address: address.parse().unwrap(),
            weight: Balance::FULL,
        });
    Upstream {
        service: service.into(),
        balance: Balance::LeastConn,
        servers: servers.collect(),
    }
}

fn web(addresses: &[&str]) -> Upstream {
    service("web", addresses)
}

fn nginx_in(directory: &Path) -> NginxProxy<Only<Fake>> {
    let control = Only::new(Fake::new(directory.to_owned()));
    NginxProxy::new(control, NginxSetup::new("shop", directory))
}

fn nginx() -> (TempDir, NginxProxy<Only<Fake>>) {
    let dir = tempfile::tempdir().unwrap();
    let nginx = nginx_in(dir.path());
    (dir, nginx)
}

fn read(dir: &TempDir, name: &str) -> String {
    fs::read_to_string(dir.path().join(name)).unwrap()
}

/// Every file with its text, the hidden ones too.
fn everything(dir: &TempDir) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let text = read(dir, &name);
            (name, text)
        })
        .collect();
    files.sort();
    files
}

fn rejected(error: &ProxyError) -> &str {
    match error {
        ProxyError::Rejected { message } => message,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn what_a_publish_asks_first_can_be_asked_before_and_touches_nothing() {
    let (dir, nginx) = nginx();
    nginx.prepare().await;
    assert!(everything(&dir).is_empty());
    let asked = |s: &mut fake::Behaviour| (s.probes, s.tests, s.hangups);
    assert_eq!(nginx.fleet().with(asked), (1, 0, 0));
    nginx.publish(&[web(&["172.18.0.2:80"])]).await.unwrap();
    assert_eq!(nginx.fleet().with(asked), (1, 1, 1));
}

#[tokio::test]
async fn files_are_as_written_once_a_publish_is_over() {
    let (dir, nginx) = nginx();
    let wanted = [web(&["172.18.0.2:80"])];
    assert!(!nginx.is_as_written(&wanted));
    nginx.publish(&wanted).await.unwrap();
    assert!(nginx.is_as_written(&wanted));
    assert!(!nginx.is_as_written(&[web(&["172.18.0.3:80"])]));
    // Of this one nobody knows whether it was taken over.
    let pending = dir.path().join(".compose-scale-shop.pending");
    crate::files::replace(&pending, b"{}").unwrap();
    assert!(!nginx.is_as_written(&wanted));
}

const FILES: [&str; 3] = ["00-compose-scale.conf", "web.conf", "web.location"];

#[tokio::test(start_paused = true)]
async fn the_first_publish_writes_tests_reloads_and_names_the_old_workers() {
    let (dir, nginx) = nginx();
    let published = nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap();
    assert_eq!(
        published,
        PublishResult {
            changed: FILES.map(str::to_owned).to_vec(),
            reloaded: true,
            draining: DrainToken(vec![101, 102]),
            refused: Vec::new(),
        }
    );
    assert_eq!(nginx.log_refused(), None);
    assert!(read(&dir, "web.conf").contains("server 10.0.0.1:80 "));
    assert!(read(&dir, "00-compose-scale.conf").contains("\nkeepalive_min_timeout 1s;"));
    assert_eq!(everything(&dir).len(), 3);
    let counts = |s: &mut fake::Behaviour| (s.probes, s.tests, s.hangups, s.commands);
    assert_eq!(nginx.fleet().with(counts), (1, 1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn the_same_again_does_nothing_for_this_program_and_for_its_next_start() {
    let (dir, nginx) = nginx();
    nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap();
    let again = nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap();
    assert_eq!(again, PublishResult::default());
    assert_eq!(nginx.fleet().with(|s| (s.tests, s.hangups)), (1, 1));
    let next = nginx_in(dir.path());
    let again = next.publish(&[web(&["10.0.0.1:80"])]).await.unwrap();
    assert_eq!(again, PublishResult::default());
    // One look at whether nginx reads these files.
    assert_eq!(next.fleet().with(|s| (s.tests, s.hangups)), (1, 0));
    next.publish(&[web(&["10.0.0.1:80"])]).await.unwrap();
    assert_eq!(next.fleet().with(|s| (s.tests, s.hangups)), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_version_wrote_is_replaced() {
    let (dir, nginx) = nginx();
    let wanted = [web(&["10.0.0.1:80"])];
    nginx.publish(&wanted).await.unwrap();
    let now = everything(&dir);
    for (name, this, earlier) in [
        ("web.conf", "max_fails=0;", "max_fails=1 fail_timeout=2s;"),
        ("web.location", "connect_timeout 4s;", "connect_timeout 1s;"),
    ] {
        let text = read(&dir, name);
        assert!(text.contains(this), "{text}");
        let text = text.replace(this, earlier);
        crate::files::replace(&dir.path().join(name), text.as_bytes()).unwrap();
        let next = nginx_in(dir.path());
        let published = next.publish(&wanted).await.unwrap();
        assert_eq!(
            (published.changed, published.reloaded),
            (vec![name.to_owned()], true)
        );
        assert_eq!(everything(&dir), now);
    }
}

#[tokio::test(start_paused = true)]
async fn workers_of_an_earlier_publish_that_still_have_requests_are_named() {
    let (_dir, nginx) = nginx();
    nginx.fleet().with(|s| s.busy = 1000);
    nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap();
    let again = nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap();
    assert!(!again.reloaded);
    assert_eq!(again.draining.0, [101, 102]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_file_is_put_back_and_nginx_is_left_alone() {
    let (dir, nginx) = nginx();
    nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap();
    let before = everything(&dir);
    nginx.fleet().with(|s| {
        s.rejects = vec![("10.0.0.2", "bad thing in /etc/nginx/upstreams/web.conf:6")];
    });
    let asked = [web(&["10.0.0.1:80", "10.0.0.2:80"])];
    let error = nginx.publish(&asked).await.unwrap_err();
    assert_eq!(
        rejected(&error),
        "bad thing in /etc/nginx/upstreams/web.conf:6"
    );
    assert_eq!(everything(&dir), before);
    assert_eq!(nginx.fleet().with(|s| s.hangups), 1);
}

#[tokio::test(start_paused = true)]
async fn a_first_publish_that_is_refused_leaves_no_file() {
    let (dir, nginx) = nginx();
    nginx
        .fleet()
        .with(|s| s.rejects = vec![("upstream web", "duplicate upstream \"web\" in /x.conf:1")]);
    let error = nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap_err();
    assert!(rejected(&error).starts_with("duplicate upstream"));
    assert_eq!(everything(&dir), []);
}

#[tokio::test(start_paused = true)]
async fn a_dead_server_is_taken_out_although_the_rest_of_the_change_is_refused() {
    let (dir, nginx) = nginx();
    let asked = [web(&["10.0.0.1:80", "10.0.0.2:80"])];
    nginx.publish(&asked).await.unwrap();
    nginx
        .fleet()
        .with(|s| s.rejects = vec![("10.0.0.3", "no memory in zone")]);
    let asked = [web(&["10.0.0.2:80", "10.0.0.3:80"])];
    let published = nginx.publish(&asked).await.unwrap();
    assert_eq!(
        rejected(&published.refusal("web").unwrap().error),
        "no memory in zone"
    );
    assert!(published.refusal("web").unwrap().removed);
    assert_eq!(published.changed, ["web.conf"]);
    assert!(published.reloaded);
    let text = read(&dir, "web.conf");
    assert!(text.contains("10.0.0.2:80"), "{text}");
    assert!(
        !text.contains("10.0.0.1") && !text.contains("10.0.0.3"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_service_holds_up_no_other() {
    let (dir, nginx) = nginx();
    nginx.fleet().with(|s| {
        s.rejects = vec![("hash", "unknown \"x\" variable in /etc/up/api.conf:4")];
    });
    let mut api = service("api", &["10.0.0.9:80"]);
    api.balance = Balance::Hash("$x".into());
    let asked = [web(&["10.0.0.1:80"]), api];
    let published = nginx.publish(&asked).await.unwrap();
    assert_eq!(published.refusal("web"), None);
    assert!(rejected(&published.refusal("api").unwrap().error).contains("unknown \"x\""));
    assert!(read(&dir, "web.conf").contains("10.0.0.1:80"));
    assert!(!dir.path().join("api.conf").exists());

    nginx
        .fleet()
        .with(|s| s.version = "nginx version: nginx/1.22.1");
    nginx.fleet().with(|s| s.identity = "two".into());
    let mut api = service("api", &["10.0.0.9:80"]);
    api.balance = Balance::StickyCookie("srv".into());
    let asked = [web(&["10.0.0.2:80"]), api];
    let published = nginx.publish(&asked).await.unwrap();
    let refusal = &published.refusal("api").unwrap().error;
    assert!(refusal.to_string().contains("1.29.6"), "{refusal}");
    assert!(read(&dir, "web.conf").contains("10.0.0.2:80"));
}

#[tokio::test(start_paused = true)]
async fn a_configuration_that_is_broken_elsewhere_is_told_apart() {
    let (dir, nginx) = nginx();
    nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap();
    let before = everything(&dir);
    nginx
        .fleet()
        .with(|s| s.rejects = vec![("", "unknown directive \"x\" in /etc/nginx/nginx.conf:3")]);
    let error = nginx.publish(&[web(&["10.0.0.2:80"])]).await.unwrap_err();
    assert_eq!(
        rejected(&error),
        "unknown directive \"x\" in /etc/nginx/nginx.conf:3 (also without this change)"
    );
    assert_eq!(everything(&dir), before);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_that_the_user_has_set_already_is_not_set_again() {
    let (dir, nginx) = nginx();
    nginx.fleet().with(|s| {
        let said = "\"keepalive_min_timeout\" directive is duplicate in /etc/nginx/nginx.conf:9";
        s.rejects = vec![("\nkeepalive_min_timeout 1s;", said)];
    });
    let published = nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap();
    assert_eq!(published.refused, []);
    assert!(read(&dir, "00-compose-scale.conf").contains("set elsewhere"));
    let tests = nginx.fleet().with(|s| s.tests);
    let again = nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap();
    assert_eq!(again, PublishResult::default());
    assert_eq!(nginx.fleet().with(|s| s.tests), tests);
}

#[tokio::test(start_paused = true)]
async fn a_reload_without_effect_is_an_error_and_is_tried_again() {
    let (_dir, nginx) = nginx();
    nginx.fleet().with(|s| s.stuck = true);
    let asked = [web(&["10.0.0.1:80"])];
    let error = nginx.publish(&asked).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "nginx did not take over the new configuration within 10s: its workers are still those of \
         before; its error log says why"
    );
    nginx.fleet().with(|s| s.stuck = false);
    let again = nginx.publish(&asked).await.unwrap();
    assert!(again.reloaded && again.changed.is_empty());
    assert!(!nginx.publish(&asked).await.unwrap().reloaded);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_version_gets_what_every_version_understands() {
    let (dir, nginx) = nginx();
    nginx
        .fleet()
        .with(|s| s.version = "Angie version: Angie/1.9.0");
    nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap();
    let text = read(&dir, "00-compose-scale.conf");
    assert!(text.contains("This nginx is an unknown version."), "{text}");
    assert!(!text.contains("\nkeepalive"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn the_version_is_asked_for_again_when_it_is_another_container() {
    let (dir, nginx) = nginx();
    nginx
        .fleet()
        .with(|s| s.version = "nginx version: nginx/1.22.1");
    nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap();
    nginx.fleet().with(|s| {
        s.version = "nginx version: nginx/1.30.6";
        s.identity = "two".into();
    });
    let published = nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap();
    assert_eq!(published.changed, ["00-compose-scale.conf"]);
    assert!(read(&dir, "00-compose-scale.conf").contains("\nkeepalive_min_timeout"));
}

#[tokio::test(start_paused = true)]
async fn an_nginx_that_is_down_finds_the_right_files_when_it_starts() {
    let (dir, nginx) = nginx();
    nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap();
    nginx.fleet().with(|s| s.running = false);
    for _ in 0..2 {
        let error = nginx.publish(&[web(&["10.0.0.2:80"])]).await.unwrap_err();
        let text = error.to_string();
        assert_eq!(text, "nginx cannot be reached: it is not running");
        assert!(read(&dir, "web.conf").contains("10.0.0.2:80"));
    }
    // What it started with was not tested, so it is now.
    nginx.fleet().with(|s| {
        s.running = true;
        s.identity = "two".into();
    });
    let published = nginx.publish(&[web(&["10.0.0.2:80"])]).await.unwrap();
    assert!(published.reloaded);
    assert_eq!(nginx.fleet().with(|s| s.tests), 2);
    assert_eq!(everything(&dir).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_a_crash_left_untested_is_undone_when_nginx_refuses_it() {
    let (dir, nginx) = nginx();
    nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap();
    let before = everything(&dir);
    nginx.fleet().with(|s| s.hangs = true);
    let asked = [web(&["10.0.0.1:80", "10.0.0.2:80"])];
    let given_up = timeout(Duration::from_secs(5), nginx.publish(&asked)).await;
    assert!(given_up.is_err());
    assert!(read(&dir, "web.conf").contains("10.0.0.2"));

    let next = nginx_in(dir.path());
    next.fleet().with(|s| s.rejects = vec![("10.0.0.2", "bad")]);
    let published = next.publish(&asked).await.unwrap();
    assert_eq!(rejected(&published.refusal("web").unwrap().error), "bad");
    assert_eq!(published.changed, ["web.conf"]);
    // nginx still runs the old files, as far as anyone knows: one reload makes sure.
    assert_eq!(next.fleet().with(|s| s.hangups), 1);
    assert_eq!(everything(&dir), before);
}

#[tokio::test(start_paused = true)]
async fn only_files_of_this_project_are_removed() {
    let (dir, nginx) = nginx();
    let asked = [web(&["10.0.0.1:80"]), service("api", &["10.0.0.2:80"])];
    nginx.publish(&asked).await.unwrap();
    let other = render::http("other", &Features::default(), render::HttpLevelLog::None).unwrap();
    for (name, text) in [("theirs.conf", other.as_str()), ("mine.conf", "# mine\n")] {
        crate::files::replace(&dir.path().join(name), text.as_bytes()).unwrap();
    }
    let published = nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap();
    assert_eq!(published.changed, ["api.conf", "api.location"]);
    let names: Vec<String> = everything(&dir).into_iter().map(|(name, _)| name).collect();
    let [http, conf, location] = FILES;
    assert_eq!(names, [http, "mine.conf", "theirs.conf", conf, location]);
}

#[tokio::test(start_paused = true)]
async fn a_file_of_somebody_else_is_not_overwritten() {
    let (dir, nginx) = nginx();
    let path = dir.path().join("web.conf");
    crate::files::replace(&path, b"server { listen 80; }\n").unwrap();
    let error = nginx.publish(&[web(&["10.0.0.1:80"])]).await;
    let published = error.unwrap();
    let refusal = published.refusal("web").unwrap();
    assert!(!refusal.removed, "it may list whatever it lists");
    let refusal = refusal.error.to_string();
    assert!(
        refusal.contains("web.conf: it was not made by compose-scale"),
        "{refusal}"
    );
    assert_eq!(read(&dir, "web.conf"), "server { listen 80; }\n");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_cannot_be_written_leaves_the_others_as_they_were() {
    let (dir, nginx) = nginx();
    nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap();
    let before = everything(&dir);
    // A directory in the place of its first name: not even root can write the file.
    let beside = dir.path().join(".web.conf.tmp");
    fs::create_dir(&beside).unwrap();
    let error = nginx.publish(&[web(&["10.0.0.2:80"])]).await.unwrap_err();
    let ProxyError::Unwritable { path, why } = error else {
        panic!("{error}")
    };
    assert_eq!(path, dir.path().join("web.conf"));
    assert!(why.contains(".web.conf.tmp is in the way: "), "{why}");
    fs::remove_dir(beside).unwrap();
    assert_eq!(everything(&dir), before);
}

#[tokio::test(start_paused = true)]
async fn a_missing_directory_is_named_and_not_made() {
    let (dir, _) = nginx();
    let gone = dir.path().join("gone");
    let error = nginx_in(&gone).publish(&[web(&[])]).await.unwrap_err();
    let directory = gone.display();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot write {directory}: there is no directory {directory}; make it with `mkdir -p \
             {directory}` and mount it into nginx"
        )
    );
    assert!(!gone.exists());
}

#[tokio::test(start_paused = true)]
async fn a_first_process_that_is_not_nginx_is_not_signalled() {
    let (_dir, nginx) = nginx();
    nginx.fleet().with(|s| s.init = true);
    nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap();
    assert_eq!(nginx.fleet().with(|s| (s.hangups, s.commands)), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn workers_of_an_nginx_that_is_just_starting_do_not_pass_for_new_ones() {
    let (_dir, nginx) = nginx();
    nginx.fleet().with(|s| {
        s.starting = 3;
        s.stuck = true;
    });
    let error = nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap_err();
    assert!(matches!(error, ProxyError::Unconfirmed { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn drained_waits_for_the_last_old_worker() {
    let (_dir, nginx) = nginx();
    nginx.fleet().with(|s| s.busy = 40);
    let published = nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap();
    let waiting = timeout(Duration::from_secs(3), nginx.drained(&published)).await;
    assert!(waiting.is_err());
    nginx.fleet().with(|s| s.leaving.clear());
    let drained = timeout(Duration::from_secs(3), nginx.drained(&published)).await;
    assert_eq!(drained.unwrap(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn an_nginx_that_has_ended_has_nothing_in_flight() {
    let (_dir, nginx) = nginx();
    nginx.fleet().with(|s| s.busy = 1000);
    let published = nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap();
    nginx.fleet().with(|s| s.running = false);
    assert_eq!(nginx.drained(&published).await, Ok(()));
}

#[tokio::test]
async fn commands_of_the_users_own_replace_test_and_hangup() {
    let dir = tempfile::tempdir().unwrap();
    let words = |words: &[&str]| Some(words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
    let setup = NginxSetup {
        test: words(&[
            "sh",
            "-c",
            "echo '[emerg] no' >&2; ! grep -q 10.0.0.2 web.conf",
        ]),
        reload: words(&["sh", "-c", "echo done > reloaded; exit 3"]),
        ..NginxSetup::new("shop", dir.path())
    };
    let nginx = NginxProxy::new(Only::new(Fake::new(dir.path().to_owned())), setup);
    let error = nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "nginx could not be reloaded: exit code 3"
    );
    assert_eq!(read(&dir, "reloaded"), "done\n");
    let error = nginx.publish(&[web(&["10.0.0.2:80"])]).await.unwrap_err();
    assert!(matches!(error, ProxyError::NotReloaded { .. }), "{error}");
    assert_eq!(nginx.fleet().with(|s| s.hangups), 0);
}

const LOG: &str = "/var/log/compose-scale/shop.log";

#[tokio::test(start_paused = true)]
async fn the_log_is_asked_for_at_http_level() {
    let dir = tempfile::tempdir().unwrap();
    let nginx = nginx_with_a_log(&dir);
    nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap();
    assert_eq!(nginx.log_refused(), None);
    let text = read(&dir, render::HTTP);
    let line = render::log_line("shop", LOG).unwrap();
    assert!(text.contains(&line), "{text}");
    // It stays where another directive of ours has to go.
    let other = nginx_with_a_log(&dir);
    other.fleet().with(|s| {
        let said = "\"keepalive_min_timeout\" directive is duplicate in /etc/nginx/x.conf:1";
        s.version = "nginx version: nginx/1.29.0";
        s.rejects = vec![("\nkeepalive_min_timeout 1s;", said)];
    });
    other.publish(&[web(&["10.0.0.2:80"])]).await.unwrap();
    let text = read(&dir, render::HTTP);
    assert!(
        text.contains(&line) && !text.contains("\nkeepalive_min_timeout"),
        "{text}"
    );
}

fn nginx_with_a_log(dir: &TempDir) -> NginxProxy<Only<Fake>> {
    let setup = NginxSetup {
        log: Some(LOG.into()),
        ..NginxSetup::new("shop", dir.path())
    };
    NginxProxy::new(Only::new(Fake::new(dir.path().to_owned())), setup)
}

#[tokio::test(start_paused = true)]
async fn a_log_that_nginx_cannot_write_is_left_out_and_traffic_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let nginx = nginx_with_a_log(&dir);
    let said = "open() \"/var/log/compose-scale/shop.log\" failed (2: No such file or directory)";
    nginx.fleet().with(|s| s.rejects = vec![(LOG, said)]);
    let published = nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap();
    assert!(nginx.log_refused().unwrap().contains(said));
    assert_eq!(published.refused, []);
    assert!(read(&dir, "web.conf").contains("10.0.0.1:80"));
    assert!(!read(&dir, render::HTTP).contains(LOG));
    // It is not tried again and again.
    let tests = nginx.fleet().with(|s| s.tests);
    nginx.publish(&[web(&["10.0.0.2:80"])]).await.unwrap();
    assert!(nginx.log_refused().is_some());
    assert_eq!(nginx.fleet().with(|s| s.tests), tests + 1);
}

#[tokio::test(start_paused = true)]
async fn what_nginx_has_not_tested_is_not_left_for_its_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let nginx = nginx_with_a_log(&dir);
    nginx.fleet().with(|s| s.running = false);
    let upstreams = [web(&["10.0.0.1:80"])];
    let error = nginx.publish(&upstreams).await.unwrap_err();
    assert!(matches!(error, ProxyError::NotRunning { .. }), "{error}");
    let text = read(&dir, render::HTTP);
    assert!(!text.contains("access_log"), "{text}");
    // Once it runs it is asked for; what it has taken once stays.
    nginx.fleet().with(|s| s.running = true);
    nginx.publish(&upstreams).await.unwrap();
    let line = render::log_line("shop", LOG).unwrap();
    assert!(read(&dir, render::HTTP).contains(&line));
    nginx.fleet().with(|s| s.running = false);
    nginx.publish(&[web(&["10.0.0.2:80"])]).await.unwrap_err();
    assert!(read(&dir, render::HTTP).contains(&line));
}

#[tokio::test(start_paused = true)]
async fn the_format_stays_where_a_line_of_the_users_own_may_name_it() {
    let dir = tempfile::tempdir().unwrap();
    let before = nginx_with_a_log(&dir);
    before.publish(&[web(&["10.0.0.1:80"])]).await.unwrap();
    let without = nginx_in(dir.path());
    without.publish(&[web(&["10.0.0.2:80"])]).await.unwrap();
    let text = read(&dir, render::HTTP);
    assert!(text.contains("log_format compose_scale_shop "), "{text}");
    assert!(!text.contains("\naccess_log"), "{text}");
}

#[tokio::test]
async fn a_name_that_nginx_cannot_tell_from_another_keeps_no_other_service_from_being_published() {
    let (dir, nginx) = nginx();
    let address = &["172.18.0.2:80"];
    let asked =
        ["00-compose-scale", "Web", "web", "web.location", "api"].map(|one| service(one, address));
    let published = nginx.publish(&asked).await.unwrap();
    let refused: Vec<_> = published
        .refused
        .iter()
        .map(|one| one.service.as_str())
        .collect();
    assert_eq!(refused, ["00-compose-scale", "Web", "web.location"]);
    let changed: Vec<_> = published.changed.iter().map(String::as_str).collect();
    assert_eq!(
        changed,
        [
            render::HTTP,
            "api.conf",
            "api.location",
            "web.conf",
            "web.location"
        ]
    );
    assert!(read(&dir, "web.conf").contains("server 172.18.0.2:80"));
    assert!(!read(&dir, render::HTTP).contains("upstream"));
}
