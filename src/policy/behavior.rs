//! How fast a count may follow its load.

use std::time::Duration;

use serde::Serialize;

use super::exact;
use crate::units::{Percent, Span};

/// Stabilization and rate rules of both directions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Behavior {
    /// Rules for adding replicas.
    pub scale_up: Rules,
    /// Rules for removing replicas.
    pub scale_down: Rules,
}

/// The rules of one direction.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rules {
    /// Up: the lowest recommendation in this window counts. Down: the highest.
    pub stabilization_window: Span,
    /// How much may change in a while; empty means as much as wanted.
    pub policies: Vec<Rate>,
    /// Which of several policies counts.
    pub select: Select,
    /// Up only: what counts as a burst, which neither the window nor the policies slow down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<Burst>,
}

/// A sudden load, as Knative's autoscaler sees it in its panic mode.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Burst {
    /// Over this long the load is averaged; the burst is over after ten times that without another.
    pub window: Span,
    /// It is one when the load asks for this share of the replicas there are, starting ones included.
    #[serde(serialize_with = "exact")]
    pub threshold: Percent,
}

impl Burst {
    /// How long it lasts after the load was last as high: Knative's panic window is by default a
    /// tenth of its stable window.
    pub fn lasts(&self) -> Duration {
        self.window.0.saturating_mul(10)
    }
}

/// How much may change within a span of time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Rate {
    /// A share of the count at the start of the span.
    Percent {
        /// 100 doubles the count on the way up, and allows zero on the way down.
        percent: f64,
        /// The span.
        per: Span,
    },
    /// A number of replicas.
    Replicas {
        /// How many.
        replicas: u32,
        /// The span.
        per: Span,
    },
}

impl Rate {
    /// The span in which changes are counted.
    pub fn per(&self) -> Span {
        match self {
            Self::Percent { per, .. } | Self::Replicas { per, .. } => *per,
        }
    }
}

/// Which policy counts when there are several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Select {
    /// The one that allows the larger change.
    Max,
    /// The one that allows the smaller change.
    Min,
    /// No change in this direction at all.
    Disabled,
}

impl Default for Behavior {
    /// Those of the `HorizontalPodAutoscaler`: up by the larger of 100% and 4 replicas in 15 s at
    /// once, down to whatever was the highest recommendation of the last five minutes.
    fn default() -> Self {
        let per = Span::seconds(15);
        Self {
            scale_up: Rules {
                stabilization_window: Span::seconds(0),
                policies: vec![
                    Rate::Percent {
                        percent: 100.0,
                        per,
                    },
                    Rate::Replicas { replicas: 4, per },
                ],
                select: Select::Max,
                burst: None,
            },
            scale_down: Rules {
                stabilization_window: Span::seconds(300),
                policies: vec![Rate::Percent {
                    percent: 100.0,
                    per,
                }],
                select: Select::Max,
                burst: None,
            },
        }
    }
}
