//! Whether nginx can send requests to a new replica, and what is done where it cannot: nothing is made,
//! and everything that is there goes on.

use super::{Effect, EventKind, LOOK, RoutingPreflight, ServiceMachine};
use crate::units::Timestamp;

impl ServiceMachine {
    /// Says that nginx is about to be looked at: no replica is made before that.
    pub fn expect_a_look(&mut self) {
        self.way = RoutingPreflight::Unknown { until: None };
        self.check_setup();
    }

    /// What nginx can never send to needs no look.
    pub(super) fn check_setup(&mut self) {
        if self.setup.unroutable.is_some() {
            self.way_found(None, None);
        }
    }

    /// The nginx that was last seen to read its upstream, in this run or an earlier one.
    pub fn reader(&self) -> Option<&str> {
        self.reader.as_deref()
    }

    /// It does not read it any more. Returns whether it was thought to.
    pub fn forget_reader(&mut self) -> bool {
        self.reader.take().is_some()
    }

    pub(super) fn way_found(&mut self, barred: Option<String>, nginx: Option<String>) {
        let barred = self.setup.unroutable.clone().or(barred);
        self.reader = nginx.filter(|_| barred.is_none());
        self.way = match (barred, &self.way) {
            (None, _) => RoutingPreflight::Open,
            // It is looked at again and again, and said once.
            (Some(why), RoutingPreflight::Barred { why: before, told }) if why == *before => {
                RoutingPreflight::Barred { why, told: *told }
            }
            (Some(why), _) => RoutingPreflight::Barred { why, told: false },
        };
    }

    /// Whether a service without an upstream may not be scaled at all, because nginx sends requests to it
    /// or that is not known yet.
    pub(super) fn is_barred_unrouted(&mut self, now: Timestamp, out: &mut Vec<Effect>) -> bool {
        !self.setup.routed && self.is_barred(now, out)
    }

    /// Whether nginx is being looked at before a service without an upstream may be scaled.
    pub(super) fn awaits_a_look(&self) -> bool {
        !self.setup.routed && !self.passive && matches!(self.way, RoutingPreflight::Unknown { .. })
    }

    /// Whether no replica may be made now. That it cannot be had is said once, and to whoever asks.
    pub(super) fn is_barred(&mut self, now: Timestamp, out: &mut Vec<Effect>) -> bool {
        self.check_setup();
        let live = self.live();
        match &mut self.way {
            RoutingPreflight::Open => false,
            RoutingPreflight::Unknown { until } => {
                let until = *until.get_or_insert(now + LOOK);
                if now < until {
                    out.push(Effect::WakeAt(until));
                    return true;
                }
                self.way = RoutingPreflight::Open;
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

    /// Whether this is what bars the way, and has been said.
    pub(super) fn is_told(&mut self, what: &str) -> bool {
        match &mut self.way {
            RoutingPreflight::Barred { why, told } if why == what => std::mem::replace(told, true),
            _ => false,
        }
    }

    /// Somebody asks anew, and hears it again.
    pub(super) fn tell_again(&mut self) {
        if let RoutingPreflight::Barred { told, .. } = &mut self.way {
            *told = false;
        }
    }
}
