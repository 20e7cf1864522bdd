//! What makes a replica fit for traffic, how it gets traffic, and how it loses it.

use super::{
    cursor::{AllowedKeys, Cursor},
    value::{port, span, text, word},
};
use crate::{
    policy::{Balance, Drain, Policy, Ready},
    units::Span,
};

pub(super) fn ready(at: &Cursor<'_>) -> Option<Ready> {
    let expected = "auto, healthcheck, running, {tcp: 80} or {http: /healthz}";
    if !at.value().is_object() {
        let words = [
            ("auto", Ready::Auto),
            ("healthcheck", Ready::Healthcheck),
            ("running", Ready::Running),
        ];
        return word(at, &words, expected);
    }
    let keys = AllowedKeys::only(&["tcp", "http"]);
    at.only_entry(&keys, expected, |key, at| match key {
        "tcp" => port(at).map(Ready::Tcp),
        _ => path(at).map(Ready::Http),
    })
}

/// The path of a request line, where a space would begin the protocol's version.
fn path(at: &Cursor<'_>) -> Option<String> {
    at.value()
        .as_str()
        .filter(|path| path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic()))
        .map(str::to_owned)
        .or_else(|| at.expected_text("a path like /healthz, without spaces, in printable ASCII"))
}

pub(super) fn drain(at: &Cursor<'_>) -> Option<Drain> {
    let map = at.map(&AllowedKeys::only(&["timeout"]), "{timeout: 30s}")?;
    let mut drain = Policy::default().drain;
    map.read("timeout", &mut drain.timeout, span);
    Some(drain)
}

/// Weights that change would move the clients of a hash from one replica to another again and again.
pub(super) fn slow_start(at: &Cursor<'_>, balance: &Balance) -> Option<Span> {
    const LONGEST: u64 = 600;
    let slow = span(at)?;
    if slow.0.as_secs() > LONGEST {
        return at.expected_text("a duration up to 10m");
    }
    if !slow.0.is_zero() && !balance.bears_weights() {
        at.problem(
            "does not go with `balance` ip_hash or hash: each step would move clients to another replica",
        );
        return None;
    }
    Some(slow)
}

pub(super) fn balance(at: &Cursor<'_>) -> Option<Balance> {
    let expected =
        "round_robin, least_conn, ip_hash, {hash: $$request_uri} or {sticky_cookie: srv}";
    if !at.value().is_object() {
        let words = [
            ("round_robin", Balance::RoundRobin),
            ("least_conn", Balance::LeastConn),
            ("ip_hash", Balance::IpHash),
        ];
        return word(at, &words, expected);
    }
    let keys = AllowedKeys::only(&["hash", "sticky_cookie"]);
    at.only_entry(&keys, expected, |key, at| match key {
        "hash" => hash(at).map(Balance::Hash),
        _ => cookie(at).map(Balance::StickyCookie),
    })
}

/// A key that is the same for every request would send all of them to one replica.
fn hash(at: &Cursor<'_>) -> Option<String> {
    let expected = "a text with variables of nginx in lower case, like $$request_uri";
    let key = text(at, expected)?;
    let is_variable = |behind: &str| {
        let name = behind.strip_prefix('{').unwrap_or(behind);
        name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
    };
    if key.split('$').skip(1).any(is_variable) {
        return Some(key);
    }
    let why = "without one all requests go to one replica";
    at.expected_text(format!("{expected}: {why}"))
}

fn cookie(at: &Cursor<'_>) -> Option<String> {
    let token = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    at.value()
        .as_str()
        .filter(|name| !name.is_empty() && name.bytes().all(token))
        .map(str::to_owned)
        .or_else(|| at.expected_text("the name of a cookie in letters, digits, `_` and `-`"))
}
