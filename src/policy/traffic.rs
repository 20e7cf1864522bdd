//! Metrics that are read from nginx's log, and where that log is.

use std::path::PathBuf;

use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::units::{Percent, Span};

/// So much of something for each replica, as the mean over a window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrafficTarget {
    /// How much.
    pub target: f64,
    /// Over so long.
    pub window: Span,
}

impl TrafficTarget {
    /// The window where none is given.
    pub const WINDOW: u64 = 15;
    /// The longest window, in seconds.
    pub const LONGEST: u64 = 300;
}

impl Serialize for TrafficTarget {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.window == Span::seconds(Self::WINDOW) {
            return serializer.serialize_f64(self.target);
        }
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("target", &self.target)?;
        map.serialize_entry("window", &self.window)?;
        map.end()
    }
}

/// How long requests may take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LatencyTarget {
    /// This percentile of them …
    pub percentile: Percentile,
    /// … within so long.
    pub target: Span,
    /// Of those that ended in a window of this length.
    pub window: Span,
}

impl LatencyTarget {
    /// The window where none is given.
    pub const WINDOW: u64 = 30;
}

impl Serialize for LatencyTarget {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(self.percentile.key(), &self.target)?;
        if self.window != Span::seconds(Self::WINDOW) {
            map.serialize_entry("window", &self.window)?;
        }
        map.end()
    }
}

/// A share of the requests, from the fastest up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Percentile {
    /// Half of them.
    P50,
    /// Nine of ten.
    P90,
    /// 19 of 20.
    P95,
    /// 99 of 100.
    P99,
}

impl Percentile {
    /// Every one there is.
    pub const ALL: [Self; 4] = [Self::P50, Self::P90, Self::P95, Self::P99];

    /// As it is written.
    pub fn key(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P90 => "p90",
            Self::P95 => "p95",
            Self::P99 => "p99",
        }
    }

    /// As a share of 1.
    pub fn share(self) -> f64 {
        match self {
            Self::P50 => 0.5,
            Self::P90 => 0.9,
            Self::P95 => 0.95,
            Self::P99 => 0.99,
        }
    }
}

/// How many requests may fail.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ErrorTarget {
    /// Replicas are added when a larger share does.
    #[serde(serialize_with = "super::exact")]
    pub above: Percent,
    /// Of those that ended in a window of this length.
    pub window: Span,
    /// So many at a time.
    pub step: u32,
}

/// The directory of the log that load is read from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Logs {
    /// On this host, as written in the compose file.
    pub dir: PathBuf,
    /// As nginx sees it; `None` where that is the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inside: Option<PathBuf>,
    /// The URL of nginx's `stub_status`, as this host reaches it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stub_status: Option<String>,
}
