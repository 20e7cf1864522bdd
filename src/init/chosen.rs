//! A service that was chosen, with all that its files need.

use super::{HostPort, ScalingCandidate, manifest::Choice};
use crate::project::Service;

/// A service that is to be scaled.
pub(super) struct Chosen<'a> {
    pub(super) choice: &'a Choice,
    pub(super) offer: &'a ScalingCandidate,
    pub(super) service: &'a Service,
    pub(super) port: Option<u16>,
    /// What is published, and the port inside of nginx that it leads to.
    pub(super) listens: Vec<(&'a HostPort, u16)>,
}
