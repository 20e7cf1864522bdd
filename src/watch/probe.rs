//! Looking at a replica until it passes its gate.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    time::{sleep, timeout},
};

use super::{Message, RunClock, address::ReplicaAddressing};
use crate::{
    engine::Engine,
    project::{ContainerState, Health, Replica},
    reconcile::{Event, ReadinessCheck},
    units::Timestamp,
};

/// One look may take this long.
const LOOK: Duration = Duration::from_secs(1);
/// A starting replica is looked at this often at first, and less often as time goes by.
const EAGER: Duration = Duration::from_millis(20);
const PATIENT: Duration = Duration::from_secs(1);
/// Log lines kept of a replica that did not come up.
pub(super) const LAST_WORDS: u32 = 50;

/// What is looked at, and for how long.
pub(super) struct Probe {
    pub(super) replica: Replica,
    pub(super) gate: ReadinessCheck,
    /// How the port of its gate is reached from here.
    pub(super) way: Option<ReplicaAddressing>,
    pub(super) min_ready: Duration,
    pub(super) deadline: Option<Timestamp>,
}

impl Probe {
    /// Looks until the gate is passed or the deadline has come, and reports.
    pub(super) async fn run<E: Engine>(
        self,
        engine: Arc<E>,
        clock: RunClock,
        report: mpsc::Sender<Message>,
    ) {
        let service = self.replica.service.clone();
        let id = self.replica.id.clone();
        let say = |event| report.send(Message::To(service.clone(), Box::new(event)));
        let mut wait = EAGER;
        let mut ready_since: Option<Timestamp> = None;
        let mut told = false;
        loop {
            let look = timeout(LOOK, self.look(&*engine)).await;
            let now = clock.now();
            let why = match look {
                Ok(Ok(())) => {
                    let since = *ready_since.get_or_insert(now);
                    if now.since(since) >= self.min_ready {
                        let started = self.replica.started;
                        let _ = say(Event::Ready { id, started }).await;
                        return;
                    }
                    format!(
                        "it was not ready for {:?} without interruption",
                        self.min_ready
                    )
                }
                Ok(Err(why)) => {
                    ready_since = None;
                    why
                }
                Err(_) => {
                    ready_since = None;
                    format!("{}: no answer within {LOOK:?}", self.question())
                }
            };
            if !told {
                told = true;
                let why = why.clone();
                let _ = say(Event::NotYet {
                    id: id.clone(),
                    why,
                })
                .await;
            }
            if self.deadline.is_some_and(|deadline| now >= deadline) {
                let log = engine.logs(&id, LAST_WORDS).await.unwrap_or_default();
                let _ = say(Event::GateFailed { id, why, log }).await;
                return;
            }
            sleep(wait).await;
            wait = (wait * 5 / 4).min(if self.deadline.is_some() {
                PATIENT / 4
            } else {
                PATIENT
            });
        }
    }

    /// What a look asks.
    fn question(&self) -> String {
        match (&self.gate, self.way) {
            (ReadinessCheck::Tcp(_), Some(way)) if !way.published => connecting(way.address),
            (ReadinessCheck::Tcp(_), Some(way)) => getting(way.address, "/"),
            (ReadinessCheck::Http(_, path), Some(way)) => getting(way.address, path),
            _ => format!("looking at {}", self.replica.name),
        }
    }

    async fn look<E: Engine>(&self, engine: &E) -> Result<(), String> {
        match &self.gate {
            ReadinessCheck::Healthcheck | ReadinessCheck::Running => {
                let seen = engine
                    .inspect(&self.replica.id.0)
                    .await
                    .map_err(|error| error.to_string())?;
                if seen.state != ContainerState::Running {
                    return Err(format!("it is {}", seen.state));
                }
                match (&self.gate, seen.health) {
                    (ReadinessCheck::Running, _) | (_, Health::Healthy) => Ok(()),
                    (_, Health::None) => Err("it has no healthcheck".into()),
                    (_, Health::Starting) => Err("its healthcheck has not passed yet".into()),
                    (_, Health::Unhealthy) => Err("its healthcheck fails".into()),
                }
            }
            ReadinessCheck::Tcp(_) => {
                let way = self.way()?;
                // The Engine's own proxy accepts a connection before the replica listens.
                if way.published {
                    return answers(way.address, &self.replica.service, "/", 500).await;
                }
                TcpStream::connect(way.address)
                    .await
                    .map(drop)
                    .map_err(|error| format!("{}: {error}", connecting(way.address)))
            }
            ReadinessCheck::Http(_, path) => {
                answers(self.way()?.address, &self.replica.service, path, 400).await
            }
        }
    }

    fn way(&self) -> Result<ReplicaAddressing, String> {
        self.way
            .ok_or_else(|| "it has no address on any network".into())
    }
}

fn connecting(address: SocketAddr) -> String {
    format!("connecting to {address}")
}

fn getting(address: SocketAddr, path: &str) -> String {
    format!("GET http://{address}{path}")
}

/// Whether a GET is answered with a status below a bound.
async fn answers(address: SocketAddr, host: &str, path: &str, below: u16) -> Result<(), String> {
    let status = status_of(address, host, path)
        .await
        .map_err(|error| format!("{}: {error}", getting(address, path)))?;
    if (200..below).contains(&status) {
        Ok(())
    } else {
        Err(format!("{} answered {status}", getting(address, path)))
    }
}

/// The status of a GET.
async fn status_of(address: SocketAddr, host: &str, path: &str) -> Result<u16, String> {
    let text = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(address).await.map_err(text)?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: compose-scale\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.map_err(text)?;
    // "HTTP/1.1 200" is all that is needed.
    let mut head = [0u8; 12];
    stream.read_exact(&mut head).await.map_err(text)?;
    std::str::from_utf8(&head[9..])
        .ok()
        .filter(|_| head.starts_with(b"HTTP/1."))
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| "the answer is not HTTP".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_status_of_an_http_answer_is_read_and_anything_else_refused() {
        for (answer, expected) in [
            ("HTTP/1.1 204 No Content\r\n\r\n", Ok(204)),
            ("HTTP/1.0 503 Service Unavailable\r\n\r\n", Ok(503)),
            (
                "SSH-2.0-OpenSSH_9",
                Err("the answer is not HTTP".to_owned()),
            ),
        ] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let serve = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0u8; 512];
                let _ = stream.read(&mut request).await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
            };
            let (status, ()) = tokio::join!(status_of(address, "web", "/healthz"), serve);
            assert_eq!(status, expected);
        }
    }

    #[test]
    fn a_look_says_what_it_asks() {
        let address: SocketAddr = "172.18.0.3:8080".parse().unwrap();
        let question = |gate: ReadinessCheck, published| {
            let probe = Probe {
                replica: crate::plan::tests::replica(2),
                gate,
                way: Some(ReplicaAddressing { address, published }),
                min_ready: Duration::ZERO,
                deadline: None,
            };
            probe.question()
        };
        let health = || ReadinessCheck::Http(8080, "/healthz".into());
        assert_eq!(
            question(health(), false),
            "GET http://172.18.0.3:8080/healthz"
        );
        assert_eq!(
            question(ReadinessCheck::Tcp(8080), false),
            "connecting to 172.18.0.3:8080"
        );
        assert_eq!(
            question(ReadinessCheck::Tcp(8080), true),
            "GET http://172.18.0.3:8080/"
        );
        assert_eq!(
            question(ReadinessCheck::Running, false),
            "looking at shop-web-2"
        );
    }
}
