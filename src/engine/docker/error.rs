//! From what bollard reports to what the rest of the tool acts on.

use std::io;

use bollard::errors::Error;

use crate::engine::{EngineError, docker::host::EngineAddress};

/// What is asked for where the Engine has it in any case.
pub(super) const ENGINE: &str = "the Engine";

/// Says what a failed call means.
///
/// `doing` is the sentence's beginning (`starting web-2`), `what` the thing that was asked for.
pub(super) fn map(host: &EngineAddress, doing: &str, what: &str, error: Error) -> EngineError {
    match error {
        Error::DockerResponseServerError {
            status_code: 404,
            message,
        } if what == ENGINE => EngineError::Unreachable {
            address: host.to_string(),
            why: format!(
                "what answers there is no Docker Engine: {doing}: HTTP 404{}",
                first_line(&message)
            ),
        },
        Error::DockerResponseServerError {
            status_code: 404, ..
        } => EngineError::NotFound { what: what.into() },
        Error::DockerResponseServerError {
            status_code: 409,
            message,
        } => EngineError::Conflict {
            message: sentence(&message),
        },
        // So an old Engine says it of a container that stops at this moment.
        Error::DockerResponseServerError {
            status_code: 500,
            message,
        } if message.contains(" is not running") => EngineError::Conflict {
            message: sentence(&message),
        },
        Error::DockerResponseServerError {
            status_code,
            message,
        } => exhausted(&message).unwrap_or_else(|| EngineError::Refused {
            doing: doing.into(),
            message: sentence(&message),
            status: status_code,
        }),
        Error::SocketNotFoundError(path) => host.failure(io::ErrorKind::NotFound, path),
        Error::IOError { err } => host.failure(err.kind(), err.to_string()),
        Error::HyperLegacyError { err } => lost(host, &err),
        Error::HyperResponseError { err } => lost(host, &err),
        other => {
            let text = other.to_string();
            let why = match text.strip_prefix("Failed to deserialize JSON: ") {
                Some(rest) => format!("the answer is not understood: {rest}"),
                None => text,
            };
            EngineError::UnexpectedResponse {
                doing: doing.into(),
                why,
            }
        }
    }
}

/// A connection that could not be made or broke: the cause lies at the end of the chain.
fn lost(host: &EngineAddress, error: &(dyn std::error::Error + 'static)) -> EngineError {
    let mut kind = io::ErrorKind::Other;
    let mut why = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            kind = io.kind();
        }
        why = cause.to_string();
        source = cause.source();
    }
    host.failure(kind, why)
}

/// What has run out, where the Engine's words tell it: at the start of a container, and too late to be
/// foreseen, because others take ports and addresses too.
fn exhausted(message: &str) -> Option<EngineError> {
    let after = |mark: &str| message.split_once(mark).map(|(_, rest)| rest.trim());
    let first_word = |text: &str| text.split_whitespace().next().map(ToOwned::to_owned);
    let (what, fix) = if message.contains("all ports are allocated") {
        (
            "no host port of the published range is free".to_owned(),
            "widen the range under `ports` and run `docker compose up -d --no-deps --scale SERVICE=N SERVICE` with the number that there is, or ask for fewer replicas",
        )
    } else if let Some(pool) = after("address pools:") {
        let network = first_word(pool).unwrap_or_default();
        (
            format!("network {network} has no free address"),
            "give it a larger subnet under `networks` (`ipam`) and run `docker compose up -d --scale SERVICE=N` with the number that there is, or ask for fewer replicas",
        )
    } else if message.contains("port is already allocated")
        || ["listen ", "failed to bind host port "]
            .iter()
            .any(|mark| message.contains(mark) && message.contains("address already in use"))
    {
        let port = after("Bind for ")
            .or_else(|| after("failed to bind host port "))
            .or_else(|| after("listen tcp4 "))
            .or_else(|| after("listen tcp "))
            .and_then(first_word)
            .map_or_else(String::new, |port| {
                format!(" {}", port.trim_end_matches(':'))
            });
        (
            format!("host port{port} is taken already"),
            "see whose it is with `ss -ltnp`, or publish other ports",
        )
    } else if message.trim() == "Address already in use" {
        (
            "its static address is taken by another container".to_owned(),
            "remove `ipv4_address`/`ipv6_address` and run `docker compose up -d --no-deps` for the service",
        )
    } else {
        return None;
    };
    let fix = fix.to_owned();
    Some(EngineError::Exhausted { what, fix })
}

/// The beginning of what another program says, which may be a whole page.
fn first_line(message: &str) -> String {
    let line = message.lines().map(str::trim).find(|line| !line.is_empty());
    line.map_or_else(String::new, |line| {
        format!(" ({})", line.chars().take(80).collect::<String>())
    })
}

/// The Engine ends some messages with a newline.
fn sentence(message: &str) -> String {
    message.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(status_code: u16, message: &str) -> EngineError {
        let host = EngineAddress::Tcp("127.0.0.1:1".into());
        let error = Error::DockerResponseServerError {
            status_code,
            message: message.into(),
        };
        map(&host, "starting web-2", "container web-2", error)
    }

    #[test]
    fn each_status_has_its_meaning() {
        assert_eq!(
            mapped(404, "No such container").to_string(),
            "container web-2 is gone"
        );
        assert_eq!(
            mapped(
                409,
                "Conflict. The container name \"/web-2\" is already in use\n"
            )
            .to_string(),
            "Conflict. The container name \"/web-2\" is already in use"
        );
        assert_eq!(
            mapped(500, "something is broken").to_string(),
            "starting web-2: something is broken (HTTP 500)"
        );
    }

    #[test]
    fn what_is_no_engine_at_that_address_is_not_an_engine_that_is_gone() {
        let host = EngineAddress::Unix("/run/other.sock".into());
        for (message, said) in [("404 page not found\n", " (404 page not found)"), ("", "")] {
            let error = Error::DockerResponseServerError {
                status_code: 404,
                message: message.into(),
            };
            let error = map(&host, "asking for its version", ENGINE, error);
            assert!(error.is_outage());
            assert_eq!(
                error.to_string(),
                format!(
                    "cannot reach the Docker Engine at unix:///run/other.sock: what answers there is no Docker Engine: asking for its version: HTTP 404{said}"
                )
            );
        }
    }

    #[test]
    fn what_has_run_out_is_said_with_the_fix() {
        let taken = "see whose it is with `ss -ltnp`, or publish other ports";
        for (message, what, fix) in [
            (
                "driver failed programming external connectivity on endpoint shop-web-3 (cafe): Error starting userland proxy: listen tcp4 0.0.0.0:18401: bind: address already in use",
                "host port 0.0.0.0:18401 is taken already",
                taken,
            ),
            // Engine 28.
            (
                "failed to set up container networking: driver failed programming external connectivity on endpoint shop-web-2 (cafe): failed to bind host port 18401 for 0.0.0.0:18400-18402:172.18.0.3:80/tcp: address already in use",
                "host port 18401 is taken already",
                taken,
            ),
            (
                "driver failed programming external connectivity on endpoint shop-web-2 (cafe): Bind for 0.0.0.0:18400 failed: port is already allocated",
                "host port 0.0.0.0:18400 is taken already",
                taken,
            ),
            (
                "driver failed programming external connectivity on endpoint shop-web-3 (cafe): Bind for :::18410 failed: all ports are allocated",
                "no host port of the published range is free",
                "widen the range under `ports` and run `docker compose up -d --no-deps --scale SERVICE=N SERVICE` with the number that there is, or ask for fewer replicas",
            ),
            (
                "no available IPv4 addresses on this network's address pools: shop_small (cafe)",
                "network shop_small has no free address",
                "give it a larger subnet under `networks` (`ipam`) and run `docker compose up -d --scale SERVICE=N` with the number that there is, or ask for fewer replicas",
            ),
            (
                "Address already in use",
                "its static address is taken by another container",
                "remove `ipv4_address`/`ipv6_address` and run `docker compose up -d --no-deps` for the service",
            ),
        ] {
            assert_eq!(mapped(500, message).to_string(), format!("{what}; {fix}"));
        }
    }

    #[test]
    fn a_broken_connection_is_an_outage() {
        let host = EngineAddress::Tcp("127.0.0.1:1".into());
        let error = Error::IOError {
            err: io::Error::from(io::ErrorKind::ConnectionReset),
        };
        assert!(map(&host, "listing", "the project", error).is_outage());
    }
}
