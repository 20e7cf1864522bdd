//! `/metrics`, `/healthz` and `/readyz` over HTTP.

use std::{
    convert::Infallible,
    fmt::Write as _,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CONTENT_TYPE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::Meters;
use crate::control::{self, Call, Snapshot};

/// What `OpenMetrics` is called over HTTP.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// A loop that has not answered by then is not waited for: what it said last has to do.
const ANSWER: Duration = Duration::from_secs(2);
/// Who has not asked, or not taken the answer, by then is sent away: Prometheus waits for ten seconds.
const PATIENCE: Duration = Duration::from_secs(4);
/// More who ask at a time wait for their turn.
const CLIENTS: usize = 64;
/// A loop that has not come round for this long, and three intervals, has stopped.
const STALLED: Duration = Duration::from_secs(30);

/// Whether all is as it should be, or why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthReport {
    /// What is wrong; nothing where all is well.
    pub why: Vec<String>,
}

impl HealthReport {
    /// Whether the loop goes round.
    pub fn alive(snapshot: Option<&Snapshot>, age: Duration) -> Self {
        let Some(snapshot) = snapshot else {
            return Self {
                why: vec!["nothing has been heard of the loop".into()],
            };
        };
        let ticked = snapshot.ticked.unwrap_or(snapshot.at);
        let since = snapshot.at.since(ticked) + age;
        let stalled = since > snapshot.interval.0 * 3 + STALLED;
        let why = stalled.then(|| format!("the loop came round {}s ago", since.as_secs()));
        Self {
            why: why.into_iter().collect(),
        }
    }

    /// Whether it does its work: it is alive, the Engine answers, every service was seen, and nginx
    /// has what was decided.
    pub fn ready(snapshot: Option<&Snapshot>, age: Duration) -> Self {
        let mut health = Self::alive(snapshot, age);
        let Some(snapshot) = snapshot else {
            return health;
        };
        if let Some(why) = &snapshot.engine_away {
            let why = format!("the Docker Engine does not answer: {why}");
            health.why.push(why);
        }
        for service in &snapshot.services {
            if service.desired.is_none() {
                let why = format!("{} has not been looked at yet", service.service);
                health.why.push(why);
            }
        }
        // While replicas come and go it is out of step for a moment, and nothing is wrong.
        if !snapshot.in_step && !snapshot.troubles.is_empty() {
            health.why.push("nginx is not in step".into());
        }
        health
    }

    fn response(&self) -> Response<Full<Bytes>> {
        let mut text = String::new();
        for why in &self.why {
            let _ = writeln!(text, "{why}");
        }
        if self.why.is_empty() {
            text.push_str("ok\n");
            respond(StatusCode::OK, text)
        } else {
            respond(StatusCode::SERVICE_UNAVAILABLE, text)
        }
    }
}

/// Asks the loop how things are, and remembers what it said last.
#[derive(Debug)]
pub struct Latest {
    calls: mpsc::Sender<Call>,
    last: Mutex<Option<(Snapshot, Instant)>>,
}

impl Latest {
    /// Asks through this channel.
    pub fn new(calls: mpsc::Sender<Call>) -> Self {
        Self {
            calls,
            last: Mutex::default(),
        }
    }

    /// How things are, else how they were so long ago.
    pub async fn snapshot(&self) -> Option<(Snapshot, Duration)> {
        if let Ok(Some(snapshot)) = timeout(ANSWER, control::status(&self.calls)).await {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            *last = Some((snapshot, Instant::now()));
        }
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref()
            .map(|(snapshot, heard)| (snapshot.clone(), heard.elapsed()))
    }
}

/// Listens at an address; one that others than this machine and its private networks reach only where
/// that is wanted.
pub async fn bind(address: SocketAddr, public: bool) -> io::Result<TcpListener> {
    if !public && !is_private(address.ip()) {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "everybody could read there what runs here; use an address like 127.0.0.1:9917, or add --metrics-public",
        ));
    }
    TcpListener::bind(address).await
}

/// Of this machine, or of a network that is not the internet.
fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            // 100.64.0.0/10 is behind the address translation of a provider or of a private network.
            let shared = v4.octets()[0] == 100 && v4.octets()[1] & 0b1100_0000 == 64;
            v4.is_loopback() || v4.is_private() || v4.is_link_local() || shared
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// Answers until dropped. Nobody can hold up another one, or the loop. What others count is brought in
/// before each page.
pub async fn serve(
    listener: TcpListener,
    meters: Arc<Meters>,
    latest: Latest,
    bring_in: impl Fn(&Meters) + Send + Sync + 'static,
) {
    let latest = Arc::new(latest);
    let bring_in: Arc<BringIn> = Arc::new(bring_in);
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if clients.len() < CLIENTS => match accepted {
                Ok((stream, _)) => {
                    let of = (Arc::clone(&meters), Arc::clone(&latest), Arc::clone(&bring_in));
                    clients.spawn(answer(stream, of));
                }
                // Out of file descriptors, most likely, and soon again.
                Err(_) => sleep(PATIENCE / 100).await,
            },
            Some(_) = clients.join_next(), if !clients.is_empty() => {}
        }
    }
}

type BringIn = dyn Fn(&Meters) + Send + Sync;

async fn answer(stream: TcpStream, of: (Arc<Meters>, Arc<Latest>, Arc<BringIn>)) {
    let service = service_fn(|request: Request<Incoming>| {
        let (meters, latest, bring_in) = &of;
        async move {
            bring_in(meters);
            Ok::<_, Infallible>(respond_to(&request, meters, latest).await)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        // One question each: there is nothing to be gained here by more.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // Whoever breaks a connection off knows.
    let _ = timeout(PATIENCE, connection).await;
}

async fn respond_to(
    request: &Request<Incoming>,
    meters: &Meters,
    latest: &Latest,
) -> Response<Full<Bytes>> {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut response = respond(StatusCode::METHOD_NOT_ALLOWED, String::new());
        let allowed = hyper::header::HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        return response;
    }
    let path = request.uri().path();
    if !["/metrics", "/healthz", "/readyz"].contains(&path) {
        let text = "there are /metrics, /healthz and /readyz\n";
        return respond(StatusCode::NOT_FOUND, text.to_owned());
    }
    let latest = latest.snapshot().await;
    let (snapshot, age) = match &latest {
        Some((snapshot, age)) => (Some(snapshot), *age),
        None => (None, Duration::ZERO),
    };
    match path {
        "/healthz" => HealthReport::alive(snapshot, age).response(),
        "/readyz" => HealthReport::ready(snapshot, age).response(),
        _ => {
            let page = meters.page(snapshot.map(|snapshot| (snapshot, age)));
            let mut response = respond(StatusCode::OK, page);
            let kind = hyper::header::HeaderValue::from_static(OPEN_METRICS);
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        }
    }
}

fn respond(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        control::Reply,
        units::{Span, Timestamp},
    };

    fn snapshot(ticked: i64) -> Snapshot {
        serde_json::from_value(serde_json::json!({
            "version": 1, "project": "shop", "at": Timestamp::from_unix(1000), "watching": true,
            "nginx": null, "in_step": true, "interval": Span::seconds(5),
            "ticked": Timestamp::from_unix(ticked), "troubles": [], "services": [],
        }))
        .unwrap()
    }

    #[test]
    fn a_loop_that_has_stopped_is_seen_by_its_age() {
        let now = Duration::ZERO;
        assert_eq!(HealthReport::alive(Some(&snapshot(998)), now).why, [""; 0]);
        let later = Duration::from_secs(44);
        let stalled = HealthReport::alive(Some(&snapshot(998)), later);
        assert_eq!(stalled.why, ["the loop came round 46s ago"]);
        assert!(!HealthReport::alive(None, now).why.is_empty());
    }

    #[test]
    fn readiness_is_the_engine_and_every_service_and_nginx_that_is_in_trouble() {
        let mut snapshot = snapshot(999);
        snapshot.in_step = false;
        let ready = |snapshot: &Snapshot| HealthReport::ready(Some(snapshot), Duration::ZERO).why;
        assert_eq!(ready(&snapshot), [""; 0], "replicas come and go");
        snapshot.troubles.push("web: nginx refuses it".into());
        assert_eq!(ready(&snapshot), ["nginx is not in step"]);
        snapshot.in_step = true;
        snapshot.engine_away = Some("no socket".into());
        assert_eq!(
            ready(&snapshot),
            ["the Docker Engine does not answer: no socket"]
        );
    }

    #[test]
    fn only_addresses_of_this_machine_and_of_private_networks_are_private() {
        for (address, private) in [
            ("127.0.0.1", true),
            ("::1", true),
            ("172.17.0.1", true),
            ("100.64.0.1", true),
            ("100.127.255.254", true),
            ("100.63.255.255", false),
            ("100.128.0.1", false),
            ("fd00::1", true),
            ("::ffff:10.0.0.1", true),
            ("0.0.0.0", false),
            ("::", false),
            ("203.0.113.7", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_private(address.parse().unwrap()), private, "{address}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_does_not_answer_is_told_of_as_it_was() {
        let (calls, mut asked) = mpsc::channel(1);
        let latest = Latest::new(calls);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let call: Call = asked.recv().await.unwrap();
            let reply = Reply::Status(Box::new(snapshot(999)));
            call.replies.send(reply).await.unwrap();
            // And then it hangs.
            let _kept = asked.recv().await;
            std::future::pending::<()>().await;
        });
        let (first, age) = latest.snapshot().await.unwrap();
        assert_eq!((first.clone(), age), (snapshot(999), Duration::ZERO));
        tokio::time::advance(Duration::from_secs(60)).await;
        let (again, age) = latest.snapshot().await.unwrap();
        assert_eq!(again, first);
        assert_eq!(age, Duration::from_secs(60) + ANSWER);
        assert!(!HealthReport::alive(Some(&again), age).why.is_empty());
    }
}
