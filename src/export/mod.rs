//! The project for an engine of many machines: objects of Kubernetes, and what of the project they
//! cannot say.

use serde_json::Value;

pub mod autoscale;

/// Something of the project that does not carry over, or not wholly.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Remark {
    /// Where it is written, as in `services.web.network_mode` or
    /// `services.web.x-autoscale.priority`.
    pub place: String,
    /// What is lost or different.
    pub what: String,
    /// What to do about it.
    pub fix: String,
}

/// An object to apply, with what belongs to it: that becomes comments above it.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// The object, as the API has it.
    pub value: Value,
    /// What does not carry over.
    pub remarks: Vec<Remark>,
    /// What carries over by a choice that should be looked at.
    pub notes: Vec<Remark>,
}
