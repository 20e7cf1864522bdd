//! From what bollard reports to what the rest of the tool acts on.

use std::io;

use bollard::errors::Error;

use crate::engine::{EngineError, docker::host::Host};

/// Says what a failed call means.
///
/// `doing` is the sentence's beginning (`starting web-2`), `what` the thing that was asked for.
pub(super) fn map(host: &Host, doing: &str, what: &str, error: Error) -> EngineError {
    match error {
        Error::DockerResponseServerError {
            status_code: 404, ..
        } => EngineError::Gone { what: what.into() },
        Error::DockerResponseServerError {
            status_code: 409,
            message,
        } => EngineError::Conflict {
            message: sentence(&message),
        },
        Error::DockerResponseServerError {
            status_code,
            message,
        } => EngineError::Refused {
            doing: doing.into(),
            message: sentence(&message),
            status: status_code,
        },
        Error::SocketNotFoundError(path) => host.failure(io::ErrorKind::NotFound, path),
        Error::IOError { err } => host.failure(err.kind(), err.to_string()),
        Error::HyperLegacyError { err } => lost(host, &err),
        Error::HyperResponseError { err } => lost(host, &err),
        other => EngineError::Nonsense {
            doing: doing.into(),
            why: other.to_string(),
        },
    }
}

/// A connection that could not be made or broke: the cause lies at the end of the chain.
fn lost(host: &Host, error: &(dyn std::error::Error + 'static)) -> EngineError {
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

/// The Engine ends some messages with a newline.
fn sentence(message: &str) -> String {
    message.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(status_code: u16, message: &str) -> EngineError {
        let host = Host::Tcp("127.0.0.1:1".into());
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
            mapped(500, "port is already allocated").to_string(),
            "starting web-2: port is already allocated (HTTP 500)"
        );
    }

    #[test]
    fn a_broken_connection_is_an_outage() {
        let host = Host::Tcp("127.0.0.1:1".into());
        let error = Error::IOError {
            err: io::Error::from(io::ErrorKind::ConnectionReset),
        };
        assert!(map(&host, "listing", "the project", error).is_outage());
    }
}
