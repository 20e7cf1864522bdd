//! Metrics that are read from nginx's log, and where that log is.

use std::path::PathBuf;

use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::units::Span;

/// So much of something for each replica, as the mean over a window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Traffic {
    /// How much.
    pub target: f64,
    /// Over so long.
    pub window: Span,
}

impl Traffic {
    /// The window where none is given.
    pub const WINDOW: u64 = 15;
    /// The longest window, in seconds.
    pub const LONGEST: u64 = 300;
}

impl Serialize for Traffic {
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

/// The directory of the log that load is read from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Logs {
    /// On this host, as written in the compose file.
    pub dir: PathBuf,
    /// As nginx sees it; `None` where that is the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inside: Option<PathBuf>,
}
