//! One POST to a webhook: a connection of its own, no redirects, a bounded answer.

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response, Uri,
    body::{Body, Bytes, Incoming},
    header::{
        CONNECTION, CONTENT_TYPE, DATE, HOST, HeaderMap, HeaderName, LOCATION, PROXY_AUTHORIZATION,
        RETRY_AFTER, USER_AGENT,
    },
};
use tokio::time::timeout;

use super::{
    connect,
    payload::{self, Payload},
    redact::Redactor,
    retry::{self, AttemptOutcome},
};
use crate::{
    policy::notify::{Webhook, hidden},
    sources::{excerpt, exchange},
};

/// What is read of an answer at most; only its first line is ever shown.
const BODY: usize = 16 * 1024;

/// Posts a document, once.
pub(super) async fn post(webhook: &Webhook, document: &Payload) -> AttemptOutcome {
    let body = payload::for_host(document, webhook.url.host());
    let answer = timeout(webhook.timeout.0, send(webhook, body)).await;
    match answer {
        Ok(Ok(answer)) => answer,
        Ok(Err(why)) => AttemptOutcome::later(why),
        Err(_) => AttemptOutcome::later(format!("no answer within {}", webhook.timeout)),
    }
}

/// Sends it and judges the answer; `Err` is why there is none.
async fn send(webhook: &Webhook, body: String) -> Result<AttemptOutcome, String> {
    let uri: Uri = webhook
        .url
        .secret()
        .parse()
        .map_err(|_| "its URL is none".to_owned())?;
    let line = connect::to(&uri).await?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let target = if line.is_forwarding {
        webhook.url.secret()
    } else {
        path
    };
    let mut request = Request::post(target)
        .header(HOST, uri.authority().map_or("", |host| host.as_str()))
        .header(
            USER_AGENT,
            concat!("compose-scale/", env!("CARGO_PKG_VERSION")),
        )
        .header(CONTENT_TYPE, "application/json")
        .header(CONNECTION, "close");
    if let Some(word) = line.proxy_word {
        request = request.header(PROXY_AUTHORIZATION, word);
    }
    for (name, value) in &webhook.headers.0 {
        // A name of the user's goes before ours.
        let Ok(name) = name.parse::<HeaderName>() else {
            continue;
        };
        if let (Some(headers), Ok(value)) = (request.headers_mut(), value.parse()) {
            headers.insert(name, value);
        }
    }
    let request = request
        .body(Full::new(Bytes::from(body)))
        .map_err(|_| "its URL is none".to_owned())?;
    let read = async |response| judge(response, &Redactor::of(webhook)).await;
    exchange(line.stream, request, read).await
}

async fn judge(response: Response<Incoming>, veil: &Redactor) -> AttemptOutcome {
    let (head, body) = response.into_parts();
    let status = head.status;
    if status.is_success() {
        return AttemptOutcome::Taken;
    }
    let text = |name| text_of(&head.headers, name);
    if status.is_redirection() {
        let to = text(LOCATION).map(hidden).unwrap_or_default();
        let why = format!(
            "HTTP {status}: redirects are not followed (to {})",
            excerpt(&veil.over(&to))
        );
        return AttemptOutcome::Refused { why };
    }
    let said = beginning(body).await;
    // What is cut off could not be found any more.
    let said = excerpt(&veil.over(&String::from_utf8_lossy(&said)));
    let why = if said.is_empty() {
        format!("HTTP {status}")
    } else {
        format!("HTTP {status}: {said}")
    };
    if !retry::is_passing(status.as_u16()) {
        return AttemptOutcome::Refused { why };
    }
    let after = text(RETRY_AFTER).and_then(|after| retry::asked(after, text(DATE)));
    AttemptOutcome::Later { why, after }
}

/// What there is to read, up to [`BODY`].
async fn beginning(mut body: impl Body<Data = Bytes> + Unpin) -> Vec<u8> {
    let mut kept = Vec::new();
    while kept.len() < BODY
        && let Some(Ok(frame)) = body.frame().await
    {
        kept.extend(frame.into_data().unwrap_or_default());
    }
    kept.truncate(BODY);
    kept
}

fn text_of(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}
