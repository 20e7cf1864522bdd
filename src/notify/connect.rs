//! The way to a webhook: directly or through the proxy that the environment names, encrypted for
//! `https`.
//!
//! Certificates are held against those of the machine, or, where it has none, as in an empty container,
//! against Mozilla's, which are built in.

use std::{
    io,
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use hyper::{Uri, header::HeaderValue};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use rustls::{
    CertificateError, ClientConfig, Error as TlsError, RootCertStore, crypto::ring,
    pki_types::ServerName,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, lookup_host},
};
use tokio_rustls::TlsConnector;

use crate::{policy::notify::SecretUrl, sources::in_words};

/// The head of a proxy's answer may be so long.
const HEAD: usize = 8 * 1024;

/// A stream in both directions.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A way to a server.
pub(super) struct Connection {
    pub(super) stream: Box<dyn Stream>,
    /// Whether a proxy is at the other end that wants to have the whole URL.
    pub(super) is_forwarding: bool,
    /// … and what it knows us by.
    pub(super) proxy_word: Option<HeaderValue>,
}

/// Makes the way to the host of a URL. `Err` is why there is none, as a part of a sentence.
pub(super) async fn to(uri: &Uri) -> Result<Connection, String> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let encrypted = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
    let Some(proxy) = proxy(uri, host) else {
        let stream = connect(host, port).await?;
        return Ok(Connection {
            stream: if encrypted {
                secured(stream, host).await?
            } else {
                Box::new(stream)
            },
            is_forwarding: false,
            proxy_word: None,
        });
    };
    let via = proxy.uri();
    if via.scheme_str() != Some("http") {
        return Err("the proxy that the environment names is not an http:// one".into());
    }
    let proxy_host = via.host().unwrap_or_default().trim_matches(['[', ']']);
    let stream = connect(proxy_host, via.port_u16().unwrap_or(80)).await;
    let mut stream = stream.map_err(|why| format!("by the proxy of the environment: {why}"))?;
    if !encrypted {
        return Ok(Connection {
            stream: Box::new(stream),
            is_forwarding: true,
            proxy_word: proxy.basic_auth().cloned(),
        });
    }
    tunnel(
        &mut stream,
        uri.host().unwrap_or_default(),
        port,
        proxy.basic_auth(),
    )
    .await?;
    Ok(Connection {
        stream: secured(stream, host).await?,
        is_forwarding: false,
        proxy_word: None,
    })
}

/// The proxy of `HTTPS_PROXY`, `HTTP_PROXY` or `ALL_PROXY`, unless `NO_PROXY` has the host; what is on
/// this machine is never asked through one.
fn proxy(uri: &Uri, host: &str) -> Option<Intercept> {
    static MATCHER: OnceLock<Matcher> = OnceLock::new();
    if is_local(host) {
        return None;
    }
    MATCHER.get_or_init(Matcher::from_env).intercept(uri)
}

fn is_local(host: &str) -> bool {
    host == "localhost"
        || host
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Whether the host of a URL has an address; with a proxy that is the proxy's business.
pub async fn is_known(url: &SecretUrl) -> bool {
    let uri = url.secret().parse();
    if uri.is_ok_and(|uri| proxy(&uri, url.host()).is_some()) {
        return true;
    }
    let found = lookup_host((url.host(), url.port())).await;
    found.is_ok_and(|mut found| found.next().is_some())
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    let found = lookup_host((host, port)).await;
    let found: Vec<_> = found.map(Iterator::collect).unwrap_or_default();
    if found.is_empty() {
        return Err(format!("the host `{host}` has no address"));
    }
    TcpStream::connect(&found[..])
        .await
        .map_err(|error| format!("no connection to {host}:{port}: {}", in_words(&error)))
}

/// Asks a proxy for a way to a host that it does not look into.
async fn tunnel(
    stream: &mut TcpStream,
    host: &str,
    port: u16,
    word: Option<&HeaderValue>,
) -> Result<(), String> {
    let broken = |error: io::Error| format!("the proxy of the environment: {}", in_words(&error));
    let mut request =
        format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n").into_bytes();
    if let Some(word) = word {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(word.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    stream.write_all(&request).await.map_err(broken)?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= HEAD {
            return Err("the proxy of the environment does not speak HTTP".into());
        }
        // What comes behind the head is not the proxy's.
        head.push(stream.read_u8().await.map_err(broken)?);
    }
    let head = String::from_utf8_lossy(&head);
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    if status.starts_with('2') {
        return Ok(());
    }
    Err(format!(
        "the proxy of the environment answers HTTP {status}"
    ))
}

async fn secured(stream: TcpStream, host: &str) -> Result<Box<dyn Stream>, String> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| format!("`{host}` is no name that a certificate can have"))?;
    let stream = TlsConnector::from(config()?).connect(name, stream).await;
    stream
        .map(|stream| Box::new(stream) as Box<dyn Stream>)
        .map_err(|error| format!("no encrypted connection to {host}: {}", untrusted(&error)))
}

/// Why a server is not spoken to.
fn untrusted(error: &io::Error) -> String {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<TlsError>());
    match inner {
        Some(TlsError::InvalidCertificate(wrong)) => match wrong {
            CertificateError::UnknownIssuer => {
                "its certificate is from nobody whom this machine trusts".into()
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired".into()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is for another name".into()
            }
            other => format!("its certificate is not accepted: {other}"),
        },
        Some(other) => other.to_string(),
        None => in_words(error),
    }
}

fn config() -> Result<Arc<ClientConfig>, String> {
    static CONFIG: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();
    let make = || {
        let mut roots = RootCertStore::empty();
        let machine = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(machine.certs);
        if roots.is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let config = config.with_root_certificates(roots).with_no_client_auth();
        Ok(Arc::new(config))
    };
    CONFIG.get_or_init(make).clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_this_machine_is_asked_without_a_proxy() {
        assert!(is_local("localhost") && is_local("127.0.0.2") && is_local("::1"));
        assert!(!is_local("hooks.example.com") && !is_local("10.0.0.1"));
    }
}
