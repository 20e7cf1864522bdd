//! Where remarks are gathered.

use std::fmt::Display;

use super::super::{Object, Remark};

/// The remarks on one service's policy.
pub(super) struct Notes {
    service: String,
    lost: Vec<Remark>,
    chosen: Vec<Remark>,
}

impl Notes {
    pub(super) fn new(service: &str) -> Self {
        Self {
            service: service.to_owned(),
            lost: Vec::new(),
            chosen: Vec::new(),
        }
    }

    /// A key of the policy does not carry over, or not wholly.
    pub(super) fn lost(
        &mut self,
        key: impl Display,
        what: impl Into<String>,
        fix: impl Into<String>,
    ) {
        let remark = self.remark(&key, what.into(), fix.into());
        self.lost.push(remark);
    }

    /// It carries over by a choice, or under a condition.
    pub(super) fn chosen(
        &mut self,
        key: impl Display,
        what: impl Into<String>,
        fix: impl Into<String>,
    ) {
        let remark = self.remark(&key, what.into(), fix.into());
        self.chosen.push(remark);
    }

    fn remark(&self, key: &impl Display, what: String, fix: String) -> Remark {
        Remark {
            place: format!("services.{}.x-autoscale.{key}", self.service),
            what,
            fix,
        }
    }

    /// What does not carry over, where there is no object that it belongs to.
    pub(super) fn into_remarks(self) -> Vec<Remark> {
        self.lost
    }

    /// The object that all of it belongs to.
    pub(super) fn object(self, value: serde_json::Value) -> Object {
        Object {
            value,
            remarks: self.lost,
            notes: self.chosen,
        }
    }
}
