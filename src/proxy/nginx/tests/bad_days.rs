//! What goes wrong around nginx, each with the words that a person reads.

use super::*;

fn at(dir: &TempDir, name: &str) -> String {
    dir.path().join(name).display().to_string()
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_was_made_anew_is_not_the_one_that_nginx_reads() {
    let (dir, nginx) = nginx();
    let up = dir.path().join("up");
    fs::create_dir(&up).unwrap();
    let nginx = {
        drop(nginx);
        nginx_in(&up)
    };
    nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap();
    assert!(!nginx.disturbed());
    // A mount goes on showing what is deleted: an empty directory.
    let old = dir.path().join("deleted");
    fs::create_dir(&old).unwrap();
    nginx.fleet().with(|s| s.reads = Some(old));
    fs::remove_dir_all(&up).unwrap();
    fs::create_dir(&up).unwrap();
    assert!(nginx.disturbed(), "nobody else asks for a publish");
    let error = nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap_err();
    let path = at(&dir, "up/web.conf");
    let words = format!(
        "nginx does not read {path}: its directory was replaced after nginx started, and nginx goes \
         on reading the one of before; run `docker compose up -d --no-deps --force-recreate nginx`"
    );
    assert_eq!(error.to_string(), words);
    assert_eq!(nginx.fleet().with(|s| s.hangups), 1, "it was no use");
    assert!(!nginx.disturbed(), "the machines ask again");
    // The new container finds the right addresses, and is tested and seen like any other.
    nginx.fleet().with(|s| {
        s.reads = None;
        s.identity = "two".into();
    });
    let published = nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap();
    assert!(published.reloaded && published.refused.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_link_that_was_turned_is_seen_by_the_old_text() {
    let (dir, _) = nginx();
    let (first, second) = (dir.path().join("r1"), dir.path().join("r2"));
    let current = dir.path().join("current");
    fs::create_dir(&first).unwrap();
    std::os::unix::fs::symlink(&first, &current).unwrap();
    let nginx = nginx_in(&current);
    nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap();
    nginx.fleet().with(|s| s.reads = Some(first.clone()));
    // As a deployment does it: the same files in another place.
    fs::create_dir(&second).unwrap();
    for name in FILES {
        fs::copy(first.join(name), second.join(name)).unwrap();
    }
    fs::remove_file(&current).unwrap();
    std::os::unix::fs::symlink(&second, &current).unwrap();
    // Nothing differs yet.
    nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap();
    let error = nginx.publish(&[web(&["10.0.0.2:80"])]).await.unwrap_err();
    assert!(matches!(error, ProxyError::Unseen { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("was replaced after nginx started")
    );
    // A program that starts now finds out by itself.
    let next = nginx_in(&current);
    next.fleet().with(|s| s.reads = Some(first));
    let error = next.publish(&[web(&["10.0.0.2:80"])]).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("was replaced after nginx started")
    );
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_is_not_included_gets_nobody_stopped() {
    let (dir, nginx) = nginx();
    let elsewhere = tempfile::tempdir().unwrap();
    nginx
        .fleet()
        .with(|s| s.reads = Some(elsewhere.path().to_owned()));
    let error = nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap_err();
    let path = at(&dir, "web.conf");
    let words = format!(
        "nginx does not read {path}: it is not included at http level, or its directory is not \
         mounted or was replaced after nginx started; `compose-scale check` says which"
    );
    assert_eq!(error.to_string(), words);
    assert_eq!(nginx.fleet().with(|s| s.hangups), 0);
    nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap_err();
    nginx.fleet().with(|s| s.reads = None);
    assert!(
        nginx
            .publish(&[web(&["10.0.0.1:80"])])
            .await
            .unwrap()
            .reloaded
    );
}

#[tokio::test(start_paused = true)]
async fn a_service_that_nginx_does_not_include_holds_up_no_other() {
    let (dir, nginx) = nginx();
    let seen = tempfile::tempdir().unwrap();
    let (mine, theirs) = (dir.path().join("web.conf"), seen.path().join("web.conf"));
    std::os::unix::fs::symlink(mine, theirs).unwrap();
    nginx
        .fleet()
        .with(|s| s.reads = Some(seen.path().to_owned()));
    let asked = [web(&["10.0.0.1:80"]), service("api", &["10.0.0.2:80"])];
    for reloaded in [true, false] {
        let published = nginx.publish(&asked).await.unwrap();
        assert_eq!(published.reloaded, reloaded);
        assert_eq!(published.refusal("web"), None);
        let refusal = published.refusal("api").unwrap();
        assert!(!refusal.removed);
        assert!(matches!(refusal.error, ProxyError::Unseen { .. }));
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_somebody_took_away_is_put_back() {
    let (dir, nginx) = nginx();
    nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap();
    fs::remove_file(dir.path().join("web.conf")).unwrap();
    assert!(nginx.disturbed());
    let published = nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap();
    assert_eq!(published.changed, ["web.conf"]);
    assert!(!nginx.disturbed());
}

#[test]
fn what_the_system_says_comes_with_what_to_do() {
    let shelf = Shelf::new("/srv/up".into(), "shop".into(), None);
    let words = |kind: std::io::ErrorKind| shelf.error("web.conf", &kind.into()).to_string();
    for (kind, expected) in [
        (
            std::io::ErrorKind::StorageFull,
            "no space left on the disk; nginx goes on with the files of before",
        ),
        (
            std::io::ErrorKind::PermissionDenied,
            "permission denied; `sudo chown $USER /srv/up` makes it yours",
        ),
        (
            std::io::ErrorKind::ReadOnlyFilesystem,
            "the file system is mounted read-only; only nginx should see it like that",
        ),
        (
            std::io::ErrorKind::NotFound,
            "there is no directory /srv/up; make it with `mkdir -p /srv/up` and mount it into nginx",
        ),
    ] {
        assert_eq!(
            words(kind),
            format!("cannot write /srv/up/web.conf: {expected}")
        );
    }
}

#[tokio::test]
async fn a_reload_command_that_prints_and_fails_is_quoted() {
    let dir = tempfile::tempdir().unwrap();
    let words = |words: &[&str]| Some(words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
    let said = async |argv: &[&str]| {
        let setup = NginxSetup {
            reload: words(argv),
            confirm_within: Duration::from_millis(300),
            ..NginxSetup::new("shop", dir.path())
        };
        let fake = Only::new(Fake::new(dir.path().to_owned()));
        let nginx = NginxProxy::new(fake, setup);
        let error = nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap_err();
        error.to_string()
    };
    let begin = "nginx could not be reloaded: ";
    assert_eq!(
        said(&[
            "sh",
            "-c",
            "echo one; echo 'a password is required' >&2; exit 1"
        ])
        .await,
        format!("{begin}a password is required")
    );
    assert_eq!(
        said(&["no-such-program"]).await,
        format!(
            "{begin}no-such-program cannot be run: No such file or directory (os \
             error 2)"
        )
    );
    assert_eq!(
        said(&["true"]).await,
        "nginx did not take over the new configuration within 300ms: its workers are still those of before; its error log says why"
    );
}
