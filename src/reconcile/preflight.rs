//! Whether nginx can send requests to a new replica, and what is done where it cannot: nothing is made,
//! and everything that is there goes on.

use std::time::Duration;

use super::{Effect, EventKind, ServiceMachine};
use crate::units::Timestamp;

/// How long a look at nginx is waited for before a replica is made.
const LOOK: Duration = Duration::from_secs(5);

/// What is known of nginx before a replica is made.
#[derive(Debug)]
pub(super) struct NginxPreflight {
    pub(super) result: RoutingPreflight,
    /// The nginx that was last seen to read its upstream.
    pub(super) reader: Option<String>,
}

/// Whether nginx can send requests to what is made.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum RoutingPreflight {
    /// Nothing speaks against it.
    Open,
    /// It is being looked at, which is waited for until then.
    Unknown { until: Option<Timestamp> },
    /// It cannot.
    Barred {
        why: String,
        /// Whether that has been said.
        told: bool,
    },
}

impl NginxPreflight {
    /// After a run that saw this nginx read its upstream.
    pub(super) fn after(reader: Option<String>) -> Self {
        Self {
            result: RoutingPreflight::Open,
            reader,
        }
    }

    /// What keeps nginx from sending requests to a new replica.
    pub(super) fn barred_by(&self) -> Option<&str> {
        match &self.result {
            RoutingPreflight::Barred { why, .. } => Some(why),
            RoutingPreflight::Open | RoutingPreflight::Unknown { .. } => None,
        }
    }

    fn found(&mut self, barred: Option<String>, nginx: Option<String>) {
        self.reader = nginx.filter(|_| barred.is_none());
        self.result = match (barred, &self.result) {
            (None, _) => RoutingPreflight::Open,
            // It is looked at again and again, and said once.
            (Some(why), RoutingPreflight::Barred { why: before, told }) if why == *before => {
                RoutingPreflight::Barred { why, told: *told }
            }
            (Some(why), _) => RoutingPreflight::Barred { why, told: false },
        };
    }

    /// Whether this is what bars the way, and has been said.
    pub(super) fn is_told(&mut self, what: &str) -> bool {
        match &mut self.result {
            RoutingPreflight::Barred { why, told } if why == what => std::mem::replace(told, true),
            _ => false,
        }
    }

    /// Somebody asks anew, and hears it again.
    pub(super) fn tell_again(&mut self) {
        if let RoutingPreflight::Barred { told, .. } = &mut self.result {
            *told = false;
        }
    }
}

impl ServiceMachine {
    /// Says that nginx is about to be looked at: no replica is made before that.
    pub fn expect_a_look(&mut self) {
        self.preflight.result = RoutingPreflight::Unknown { until: None };
        self.check_setup();
    }

    /// What nginx can never send to needs no look.
    pub(super) fn check_setup(&mut self) {
        if self.setup.unroutable.is_some() {
            self.on_way(None, None);
        }
    }

    /// The nginx that was last seen to read its upstream, in this run or an earlier one.
    pub fn reader(&self) -> Option<&str> {
        self.preflight.reader.as_deref()
    }

    /// It does not read it any more. Returns whether it was thought to.
    pub fn forget_reader(&mut self) -> bool {
        self.preflight.reader.take().is_some()
    }

    pub(super) fn on_way(&mut self, barred: Option<String>, nginx: Option<String>) {
        let barred = self.setup.unroutable.clone().or(barred);
        self.preflight.found(barred, nginx);
    }

    /// Whether a service without an upstream may not be scaled at all, because nginx sends requests to it
    /// or that is not known yet.
    pub(super) fn is_barred_unrouted(&mut self, now: Timestamp, out: &mut Vec<Effect>) -> bool {
        !self.setup.routed && self.is_barred(now, out)
    }

    /// Whether nginx is being looked at before a service without an upstream may be scaled.
    pub(super) fn awaits_a_look(&self) -> bool {
        !self.setup.routed
            && !self.passive
            && matches!(self.preflight.result, RoutingPreflight::Unknown { .. })
    }

    /// Whether no replica may be made now. That it cannot be had is said once, and to whoever asks.
    pub(super) fn is_barred(&mut self, now: Timestamp, out: &mut Vec<Effect>) -> bool {
        self.check_setup();
        let live = self.live();
        match &mut self.preflight.result {
            RoutingPreflight::Open => false,
            RoutingPreflight::Unknown { until } => {
                let until = *until.get_or_insert(now + LOOK);
                if now < until {
                    out.push(Effect::WakeAt(until));
                    return true;
                }
                self.preflight.result = RoutingPreflight::Open;
                false
            }
            RoutingPreflight::Barred { told: true, .. } => true,
            RoutingPreflight::Barred { why, told } => {
                *told = true;
                let why = why.clone();
                out.push(self.note(EventKind::Refused { why }, now));
                self.hold = None;
                self.desired = Some(live);
                self.moving = None;
                true
            }
        }
    }
}
