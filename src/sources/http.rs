//! One GET: a connection of its own, no redirects, no compression, a bounded answer.

use std::net::SocketAddr;

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{
    Request, Response, StatusCode, Uri,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::{ACCEPT, CONNECTION, HOST, LOCATION, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
};

use super::{SourceError, excerpt, in_words};

/// What is read of an answer at most.
const BODY: usize = 1024 * 1024;

/// What a server answered.
#[derive(Debug)]
pub(super) struct HttpResponse {
    status: StatusCode,
    location: Option<String>,
    pub(super) body: String,
}

impl HttpResponse {
    #[cfg(test)]
    pub(super) fn of(status: u16, body: &str) -> Self {
        Self {
            status: StatusCode::from_u16(status).unwrap(),
            location: None,
            body: body.to_owned(),
        }
    }

    /// Its body, if its status says that all is well.
    pub(super) fn success(self) -> Result<String, SourceError> {
        if self.status.is_success() {
            return Ok(self.body);
        }
        if self.status.is_redirection()
            && let Some(to) = self.location
        {
            return Err(SourceError::Redirect {
                status: self.status.as_u16(),
                to,
            });
        }
        Err(SourceError::Status {
            status: self.status.to_string(),
        })
    }
}

/// The host of a URL as it is written, and the port.
pub fn endpoint(url: &str) -> Option<(String, u16)> {
    let uri: Uri = url.parse().ok()?;
    Some((uri.host()?.to_owned(), uri.port_u16().unwrap_or(80)))
}

/// Gets a URL, from this address where one is given.
pub(super) async fn get(
    url: &str,
    address: Option<SocketAddr>,
) -> Result<HttpResponse, SourceError> {
    let no_url = |why: String| SourceError::NoUrl {
        url: excerpt(url),
        why,
    };
    let uri: Uri = url
        .parse()
        .map_err(|e: hyper::http::uri::InvalidUri| no_url(e.to_string()))?;
    let authority = uri
        .authority()
        .ok_or_else(|| no_url("it has no host".into()))?;
    let port = uri.port_u16().unwrap_or(80);
    let stream = if let Some(address) = address {
        connect(&[address], &address.to_string()).await?
    } else {
        let host = authority.host().trim_matches(['[', ']']);
        let found = lookup_host((host, port)).await;
        let found: Vec<_> = found.map(Iterator::collect).unwrap_or_default();
        if found.is_empty() {
            let host = host.to_owned();
            return Err(SourceError::NoSuchHost { host });
        }
        connect(&found, &format!("{}:{port}", authority.host())).await?
    };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header(HOST, authority.as_str())
        .header(USER_AGENT, "compose-scale")
        .header(
            ACCEPT,
            "application/json, text/plain;version=0.0.4, */*;q=0.5",
        )
        .header(CONNECTION, "close")
        .body(Full::default())
        .map_err(|error| no_url(error.to_string()))?;
    let answer = exchange(stream, request, async |response: Response<Incoming>| {
        let (head, body) = response.into_parts();
        let body = Limited::new(body, BODY).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                return SourceError::TooLong {
                    what: "the answer",
                    most: "1 MiB",
                };
            }
            let why = match error.downcast::<hyper::Error>() {
                Ok(error) => broken(&error),
                Err(error) => error.to_string(),
            };
            SourceError::Broken { why }
        })?;
        let location = head.headers.get(LOCATION);
        Ok(HttpResponse {
            status: head.status,
            location: location.map(|to| excerpt(&String::from_utf8_lossy(to.as_bytes()))),
            body: String::from_utf8(body.to_bytes().into())
                .map_err(|_| SourceError::NoText { what: "the answer" })?,
        })
    });
    answer.await.map_err(|why| SourceError::Broken { why })?
}

/// Sends a request over a stream and reads the answer. `Err` is why there is none, as a part of a sentence.
pub(crate) async fn exchange<T>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Full<Bytes>>,
    read: impl AsyncFnOnce(Response<Incoming>) -> T,
) -> Result<T, String> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(&error))?;
    let exchange = async {
        let response = sender.send_request(request).await;
        Ok(read(response.map_err(|error| broken(&error))?).await)
    };
    // How the connection ends is told through the exchange.
    let driven = async {
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        answer = exchange => answer,
        () = driven => unreachable!("it never ends"),
    }
}

async fn connect(addresses: &[SocketAddr], shown: &str) -> Result<TcpStream, SourceError> {
    TcpStream::connect(addresses).await.map_err(|error| {
        let address = shown.to_owned();
        if error.kind() == std::io::ErrorKind::ConnectionRefused {
            SourceError::Refused { address }
        } else {
            let why = in_words(&error);
            SourceError::NotConnected { address, why }
        }
    })
}

fn broken(error: &hyper::Error) -> String {
    if error.is_parse() {
        return "the answer is no HTTP".into();
    }
    if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        return "the connection was closed before the answer was complete".into();
    }
    let cause = std::error::Error::source(&error).map(ToString::to_string);
    let why = cause.unwrap_or_else(|| error.to_string());
    format!("the connection broke: {why}")
}
