//! Several nginx that read the same files.

use super::*;

/// A fleet whose members come and go.
#[derive(Debug)]
struct Several(std::sync::Mutex<Option<Vec<Arc<Fake>>>>);

impl Fleet for Several {
    type One = Fake;

    fn all(&self) -> Option<Vec<Arc<Fake>>> {
        self.0.lock().unwrap().clone()
    }
}

impl Several {
    fn are(&self, fakes: Option<&[&Arc<Fake>]>) {
        *self.0.lock().unwrap() = fakes.map(|fakes| fakes.iter().copied().cloned().collect());
    }
}

/// Two of them, with processes of their own.
fn two() -> (TempDir, NginxProxy<Several>, Arc<Fake>, Arc<Fake>) {
    let dir = tempfile::tempdir().unwrap();
    let fake = || Arc::new(Fake::new(dir.path().to_owned()));
    let (one, two) = (fake(), fake());
    two.with(|s| {
        s.name = "shop-nginx-2";
        s.identity = "two".into();
        s.renumber(200);
    });
    let fleet = Several(std::sync::Mutex::new(Some(vec![
        Arc::clone(&one),
        Arc::clone(&two),
    ])));
    let nginx = NginxProxy::new(fleet, NginxSetup::new("shop", dir.path()));
    (dir, nginx, one, two)
}

fn counts(fake: &Fake) -> (u32, u32) {
    fake.with(|s| (s.tests, s.hangups))
}

#[tokio::test(start_paused = true)]
async fn each_is_tested_reloaded_and_drained() {
    let (_dir, nginx, one, two) = two();
    two.with(|s| s.busy = 40);
    let published = nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap();
    assert_eq!(published.draining.0, [101, 102, 201, 202]);
    assert_eq!((counts(&one), counts(&two)), ((1, 1), (1, 1)));
    let waiting = timeout(Duration::from_secs(3), nginx.drained(&published)).await;
    assert!(waiting.is_err(), "the second still has requests");
    two.with(|s| s.leaving.clear());
    assert_eq!(nginx.drained(&published).await, Ok(()));
    let again = nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap();
    assert_eq!(again, PublishResult::default());
    assert_eq!((counts(&one), counts(&two)), ((1, 1), (1, 1)));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_down_holds_up_nobody_and_is_reloaded_when_it_is_back() {
    let (_dir, nginx, one, two) = two();
    two.with(|s| s.running = false);
    let published = nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap();
    assert_eq!(published.draining.0, [101, 102]);
    two.with(|s| {
        s.running = true;
        s.identity = "two again".into();
    });
    // It may have read the files just before they were written.
    let published = nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap();
    assert!(published.reloaded && published.changed.is_empty());
    assert_eq!((counts(&one), counts(&two)), ((2, 1), (1, 1)));
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_be_asked_keeps_replicas_from_being_stopped_but_the_other_follows() {
    let (dir, nginx, one, two) = two();
    nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap();
    two.with(|s| s.deaf = true);
    let asked = [web(&["10.0.0.2:80"])];
    let error = nginx.publish(&asked).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "nginx cannot be reached: shop-nginx-2: it is paused"
    );
    assert_eq!((counts(&one), counts(&two)), ((2, 2), (1, 1)));
    assert!(read(&dir, "web.conf").contains("10.0.0.2:80"));
    // Nobody is reloaded twice for it.
    nginx.publish(&asked).await.unwrap_err();
    assert_eq!(one.with(|s| s.hangups), 2);
    let published = {
        two.with(|s| s.deaf = false);
        nginx.publish(&asked).await.unwrap()
    };
    assert!(published.reloaded);
    assert_eq!(counts(&two).1, 2);
}

#[tokio::test(start_paused = true)]
async fn one_whose_reload_shows_no_effect_is_named() {
    let (_dir, nginx, one, two) = two();
    nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap();
    two.with(|s| s.stuck = true);
    let error = nginx.publish(&[web(&["10.0.0.2:80"])]).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "nginx did not take over the new configuration within 10s: shop-nginx-2: its workers are \
         still those of before; its error log says why"
    );
    assert_eq!(one.with(|s| s.hangups), 2);
}

#[tokio::test(start_paused = true)]
async fn what_one_of_them_refuses_none_gets() {
    let (dir, nginx, one, two) = two();
    nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap();
    two.with(|s| s.rejects = vec![("10.0.0.2", "no memory in zone")]);
    let error = nginx
        .publish(&[web(&["10.0.0.1:80", "10.0.0.2:80"])])
        .await
        .unwrap_err();
    assert_eq!(rejected(&error), "no memory in zone (says shop-nginx-2)");
    assert!(!read(&dir, "web.conf").contains("10.0.0.2"));
    assert_eq!(one.with(|s| s.hangups), 1);
}

#[tokio::test(start_paused = true)]
async fn the_oldest_of_them_decides_what_is_written() {
    let (dir, nginx, _one, two) = two();
    two.with(|s| s.version = "nginx version: nginx/1.22.1");
    nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap();
    assert!(!read(&dir, "00-compose-scale.conf").contains("\nkeepalive_min_timeout"));
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_away_proves_no_drain() {
    let (_dir, nginx, one, two) = two();
    let published = nginx.publish(&[web(&["10.0.0.1:80"])]).await.unwrap();
    nginx.fleet().are(None);
    let error = nginx.drained(&published).await.unwrap_err();
    let text = "nginx cannot be reached: the Docker Engine does not answer";
    assert_eq!(error.to_string(), text);
    let error = nginx.publish(&[web(&["10.0.0.2:80"])]).await.unwrap_err();
    assert_eq!(error.to_string(), text);
    nginx.fleet().are(Some(&[&one, &two]));
    assert_eq!(nginx.drained(&published).await, Ok(()));
}
