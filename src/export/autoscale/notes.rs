//! Where remarks are gathered.

use std::fmt::Display;

use super::super::Remark;

/// The remarks on one service's policy.
pub(super) struct Notes {
    service: String,
    remarks: Vec<Remark>,
}

impl Notes {
    pub(super) fn new(service: &str) -> Self {
        Self {
            service: service.to_owned(),
            remarks: Vec::new(),
        }
    }

    /// A remark on a key of the policy.
    pub(super) fn add(
        &mut self,
        key: impl Display,
        what: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.remarks.push(Remark {
            place: format!("services.{}.x-autoscale.{key}", self.service),
            what: what.into(),
            fix: fix.into(),
        });
    }

    pub(super) fn into_remarks(self) -> Vec<Remark> {
        self.remarks
    }
}
