//! One line of the log.

use std::net::SocketAddr;

/// The fields of a line, in nginx's words. A tab parts them: inside of a field nginx writes a tab as
/// `\x09`. The first tells the version of the format. The name that the request was sent to is last.
pub const FIELDS: [&str; 8] = [
    "compose-scale/1",
    "$msec",
    "$status",
    "$request_time",
    "$upstream_addr",
    "$upstream_response_time",
    "$upstream_connect_time",
    "$proxy_host",
];

/// A request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccessLogLine<'a> {
    /// When it ended, in milliseconds since 1970.
    pub at: u64,
    /// The status of the answer.
    pub status: u16,
    /// What it took from its first byte to the last one of the answer, in milliseconds.
    pub took: u64,
    /// The name that it was sent to.
    pub upstream: &'a str,
}

/// A replica that was asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct UpstreamTry {
    /// Where; `None` for what is no address.
    pub(super) address: Option<SocketAddr>,
    /// Whether nginx had no server left to ask: it writes the upstream's name then.
    pub(super) unserved: bool,
    /// What it took to connect and to answer, in milliseconds.
    pub(super) took: u64,
    /// Whether it was asked because the one before it had failed, and not by an internal redirect.
    pub(super) again: bool,
}

/// More tries than this are not told apart.
const MOST: usize = 8;

/// Who was asked, one after the other.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tries {
    tries: [UpstreamTry; MOST],
    len: usize,
}

impl Tries {
    fn push(&mut self, one: UpstreamTry) {
        if self.len < MOST {
            self.tries[self.len] = one;
            self.len += 1;
        }
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &UpstreamTry> + ExactSizeIterator {
        self.tries[..self.len].iter()
    }

    /// How many were asked.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody was.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Reads a line; `None` for one that is not of this format, or of a request that was sent nowhere.
pub fn parse<'a>(line: &'a str, tries: &mut Tries) -> Option<AccessLogLine<'a>> {
    let mut fields = line.split('\t');
    if fields.next()? != FIELDS[0] {
        return None;
    }
    let at = millis(fields.next()?)?;
    let status = fields.next()?.parse().ok()?;
    let took = millis(fields.next()?)?;
    let addresses = fields.next()?;
    let answered = fields.next()?;
    fields.next()?;
    let upstream = fields.next()?;
    if fields.next().is_some() {
        return None;
    }
    *tries = Tries::default();
    let mut times = list(answered);
    let mut again = false;
    for (address, repeated) in list(addresses).filter(|(address, _)| *address != "-") {
        tries.push(UpstreamTry {
            address: address.parse().ok(),
            unserved: address.eq_ignore_ascii_case(upstream),
            took: times.next().and_then(|(time, _)| millis(time)).unwrap_or(0),
            again,
        });
        again = repeated;
    }
    (!tries.is_empty()).then_some(AccessLogLine {
        at,
        status,
        took,
        upstream,
    })
}

/// `10.0.0.1:80, 10.0.0.2:80` after a try that failed, `… : …` after an internal redirect. Each with
/// whether another try follows.
fn list(field: &str) -> impl Iterator<Item = (&str, bool)> {
    let words = field.split(' ').filter(|word| *word != ":");
    words.map(|word| match word.strip_suffix(',') {
        Some(word) => (word, true),
        None => (word, false),
    })
}

/// Seconds with three digits behind the point.
fn millis(text: &str) -> Option<u64> {
    let (seconds, rest) = text.split_once('.')?;
    let rest = (rest.len() == 3).then(|| rest.parse::<u16>().ok())??;
    let seconds = seconds.parse::<u64>().ok()?;
    seconds.checked_mul(1000)?.checked_add(rest.into())
}
