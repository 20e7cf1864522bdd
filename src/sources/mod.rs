//! Where custom metrics come from: one reading of one value.
//!
//! A reading never waits longer than the `timeout` of its source, keeps a bounded part of what it is
//! told, and gives a number of at least 0 or a [`SourceError`], which reads as one line. Nothing is
//! tried twice: the next interval is.
//!
//! A command that runs inside a container is run by the driver, which has the Engine;
//! [`command::judge`] makes a number of what it printed.

use std::{borrow::Cow, collections::BTreeMap, net::SocketAddr, path::Path};

use tokio::time::timeout;

use crate::{
    policy::{CustomSource, ValueSelector},
    units::Span,
};

pub mod command;
mod exposition;
mod http;
mod parse_number;
mod prometheus;

#[cfg(test)]
mod tests;

pub use http::endpoint;
pub(crate) use http::exchange;

/// What the system says of a failure, without its number.
pub fn in_words(error: &std::io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or_default();
    words.to_lowercase()
}

/// Reads a value on this host: commands run in `directory`, and an address overrules the one that
/// the host of a URL stands for.
pub async fn read(
    source: &CustomSource,
    directory: &Path,
    address: Option<SocketAddr>,
) -> Result<f64, SourceError> {
    let after = source.timeout();
    let reading = async {
        match source {
            CustomSource::Command(one) => command::judge(one, &command::run(one, directory).await?),
            CustomSource::Http(one) => {
                let body = http::get(&one.url, address).await?.success()?;
                match &one.pick {
                    ValueSelector::Pointer { pointer } => parse_number::at_pointer(&body, pointer),
                    ValueSelector::Sample { metric, labels } => {
                        exposition::sample(&body, metric, labels)
                    }
                }
            }
            CustomSource::Prometheus(one) => {
                let url = prometheus::url_of(&one.url, &one.query);
                prometheus::judge(http::get(&url, address).await?, &one.labels)
            }
        }
    };
    // The command's own deadline ends its processes; this one is for all the rest.
    match timeout(after.0, reading).await {
        Ok(value) => plausible(value?),
        Err(_) => Err(SourceError::TimedOut { after }),
    }
}

/// What a URL answers, as text.
pub async fn text(url: &str, after: Span) -> Result<String, SourceError> {
    let reading = async { http::get(url, None).await?.success() };
    let read = timeout(after.0, reading).await;
    read.unwrap_or(Err(SourceError::TimedOut { after }))
}

/// The source as it is for one replica: `{replica}` is its address and `{name}` its name.
#[must_use]
pub fn for_replica(source: &CustomSource, name: &str, address: &str) -> CustomSource {
    // Other braces are PromQL's.
    let fill = |text: &str| text.replace("{replica}", address).replace("{name}", name);
    // As a host of a URL an IPv6 address is in brackets.
    let fill_url = |text: &str| {
        if address.contains(':') {
            let host = format!("[{address}]");
            text.replace("{replica}", &host).replace("{name}", name)
        } else {
            fill(text)
        }
    };
    let mut source = source.clone();
    match &mut source {
        CustomSource::Command(one) => one.argv.iter_mut().for_each(|word| *word = fill(word)),
        CustomSource::Http(one) => one.url = fill_url(&one.url),
        CustomSource::Prometheus(one) => {
            one.url = fill_url(&one.url);
            one.query = fill(&one.query);
        }
    }
    source
}

/// No load is negative, infinite or no number at all.
fn plausible(value: f64) -> Result<f64, SourceError> {
    if value.is_finite() && value >= 0.0 {
        // Without the sign that a zero can have.
        Ok(value + 0.0)
    } else {
        Err(SourceError::Implausible { value })
    }
}

/// Why a value could not be read.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// There is no such program.
    #[error("`{program}` was not found{}", place(.inside.as_deref()))]
    NotFound {
        /// Its name.
        program: String,
        /// The service in whose replica it was looked for; `None` is this host.
        inside: Option<String>,
    },
    /// A program cannot be run.
    #[error("`{program}` cannot be run: {why}")]
    NotRun {
        /// Its name.
        program: String,
        /// What the attempt said.
        why: String,
    },
    /// A command ended with another code than 0.
    #[error("exit code {code}{}", after_colon(.said))]
    Exit {
        /// The code.
        code: i64,
        /// The first line that it printed, of its errors if there are any.
        said: String,
    },
    /// A command was ended by a signal.
    #[error("ended by signal {signal}")]
    Signal {
        /// Its number.
        signal: i32,
    },
    /// The deadline has come.
    #[error("no answer within {after}")]
    TimedOut {
        /// The deadline.
        after: Span,
    },
    /// Nothing listens.
    #[error("connection refused by {address}")]
    Refused {
        /// Host and port.
        address: String,
    },
    /// There is no connection.
    #[error("no connection to {address}: {why}")]
    NotConnected {
        /// Host and port.
        address: String,
        /// What the attempt said.
        why: String,
    },
    /// A name has no address.
    #[error("the host `{host}` has no address")]
    NoSuchHost {
        /// The name.
        host: String,
    },
    /// No replica of a service can be asked.
    #[error("no replica of {service} is running")]
    NotRunning {
        /// The service.
        service: String,
    },
    /// A replica is on no network.
    #[error("{replica} has no address that is reached from here")]
    NoAddress {
        /// Its name.
        replica: String,
    },
    /// The Engine could not run a command.
    #[error("{0}")]
    Engine(String),
    /// The URL is none.
    #[error("`{url}` is no URL: {why}")]
    NoUrl {
        /// The URL.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The server did not say 200.
    #[error("the answer is {status}")]
    Status {
        /// The status and its name.
        status: String,
    },
    /// The server said to ask somewhere else.
    #[error("the answer is {status}, a redirect to {to}, and none is followed")]
    Redirect {
        /// The status.
        status: u16,
        /// Where to.
        to: String,
    },
    /// What came is too much.
    #[error("{what} is longer than {most}")]
    TooLong {
        /// What it is.
        what: &'static str,
        /// What is allowed.
        most: &'static str,
    },
    /// The answer is none, or only a part of one.
    #[error("{why}")]
    Broken {
        /// What is wrong.
        why: String,
    },
    /// What came is no text.
    #[error("{what} is no text (UTF-8)")]
    NoText {
        /// What it is.
        what: &'static str,
    },
    /// What came is no number.
    #[error("no number in {found}")]
    NoNumber {
        /// What there is.
        found: String,
    },
    /// What came is no JSON.
    #[error("no JSON in {found}")]
    NoJson {
        /// What there is.
        found: String,
    },
    /// The JSON has nothing there.
    #[error("nothing at `{pointer}` in the JSON")]
    NothingThere {
        /// The pointer.
        pointer: String,
    },
    /// The number is no load.
    #[error("is {value}, expected a number of at least 0")]
    Implausible {
        /// The number.
        value: f64,
    },
    /// There is no such metric.
    #[error("no sample of `{wanted}`")]
    NoSample {
        /// Its name and labels.
        wanted: String,
    },
    /// The query matches nothing.
    #[error("no data")]
    NoData,
    /// More than one value.
    #[error("{count} {of}, expected one; pick one with `labels`{}", differing(.differ))]
    Several {
        /// How many.
        count: usize,
        /// Of what.
        of: &'static str,
        /// The labels that they differ in.
        differ: Vec<String>,
    },
    /// The query gives something that is no number of now.
    #[error("the query gives a {kind}, expected one number: a scalar or an instant vector")]
    Kind {
        /// What it gives.
        kind: String,
    },
    /// The server reports an error.
    #[error("Prometheus says: {0}")]
    Said(String),
}

fn place(inside: Option<&str>) -> Cow<'static, str> {
    match inside {
        Some(service) => format!(" in {service}").into(),
        None => " on this host".into(),
    }
}

fn after_colon(said: &str) -> String {
    if said.is_empty() {
        String::new()
    } else {
        format!(": {said}")
    }
}

fn differing(labels: &[String]) -> String {
    if labels.is_empty() {
        String::new()
    } else {
        format!(" ({})", labels.join(", "))
    }
}

/// What a person needs to see of a text: its first line with anything in it, not all of a long one.
pub fn excerpt(text: &str) -> String {
    const MOST: usize = 120;
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    let line = line.unwrap_or_default();
    let mut short: String = line
        .chars()
        .take(MOST)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if line.chars().nth(MOST).is_some() {
        short.push('…');
    }
    short
}

/// The same as a part of a sentence.
fn quoted(text: &str) -> String {
    let short = excerpt(text);
    if short.is_empty() {
        "an empty text".into()
    } else {
        format!("`{short}`")
    }
}

/// Whether a series has at least these labels.
fn has(series: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(name, value)| {
        // A label that is missing is the same as one that is empty, as everywhere in Prometheus.
        series.get(name).map_or("", String::as_str) == value
    })
}

/// The labels in which series differ.
fn differing_labels<'a>(series: impl Iterator<Item = &'a BTreeMap<String, String>>) -> Vec<String> {
    let all: Vec<_> = series.collect();
    let names: std::collections::BTreeSet<_> = all.iter().flat_map(|one| one.keys()).collect();
    names
        .into_iter()
        .filter(|name| {
            let first = all.first().and_then(|one| one.get(*name));
            all.iter().any(|one| one.get(*name) != first)
        })
        .cloned()
        .collect()
}
