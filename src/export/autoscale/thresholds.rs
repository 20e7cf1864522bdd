//! Two thresholds and a step, said as a target with a tolerance and a rate.
//!
//! An autoscaler of Kubernetes acts when a metric is beyond `target × (1 + up)` or short of
//! `target × (1 - down)`. So thresholds are a target between them and the tolerances that reach just as far, and
//! a rate of `step` pods keeps it from answering in proportion.

use std::fmt::Write;

use crate::{
    policy::{Aim, Metric, Policy, Rate, Rules, Select, Tolerance},
    units::{Percent, Short, Span},
};

use super::notes::Notes;

/// How often the autoscaler of Kubernetes decides, as long as nobody says otherwise.
pub(super) const SYNC: Span = Span::seconds(15);

/// The policy with a target in place of each pair of thresholds, and with the tolerance and the rates that make
/// up for it; and with no way down where there is none in ours.
pub(super) fn in_its_words(policy: &Policy, notes: &mut Notes) -> Policy {
    let mut said = policy.clone();
    let alone = policy.metrics.len() == 1;
    for (index, metric) in said.metrics.iter_mut().enumerate() {
        let name = metric.name().to_owned();
        let (Metric::Cpu(aim) | Metric::Memory(aim)) = metric else {
            continue;
        };
        let Aim::Thresholds { above, below, step } = *aim else {
            continue;
        };
        let pair = ThresholdPair {
            above: above.get(),
            below: below.get(),
            step,
        };
        let place = format!("metrics.{index}.{name}");
        let target = if alone {
            let target = pair.target();
            said.tolerance = pair.tolerance(target);
            at_most(&mut said.behavior.scale_up, step, false, &place, notes);
            at_most(&mut said.behavior.scale_down, step, true, &place, notes);
            pair.note_alone(target, said.tolerance, &place, notes);
            target
        } else {
            pair.among_others(said.tolerance, &place, notes)
        };
        if let Some(target) = Percent::new(target) {
            *aim = Aim::Target(target);
        }
    }
    let only_errors = |one: &Metric| matches!(one, Metric::Errors(_));
    if !said.metrics.is_empty() && said.metrics.iter().all(only_errors) {
        // Fewer errors are no reason to remove one.
        said.behavior.scale_down.select = Select::Disabled;
    }
    said
}

/// Two thresholds, in percent.
struct ThresholdPair {
    above: f64,
    below: f64,
    step: u32,
}

impl ThresholdPair {
    /// A whole number of percent between the thresholds. For steps of one it is at the upper one: a load beyond it
    /// asks for one more at least, and less than it for as few as can be. For larger steps it is in the middle, so
    /// that either way there is something to ask for.
    fn target(&self) -> f64 {
        let target = if self.step == 1 {
            self.above.floor()
        } else {
            f64::midpoint(self.above, self.below).round()
        };
        if target < self.below {
            return self.below.ceil().max(1.0);
        }
        target.max(1.0)
    }

    fn tolerance(&self, target: f64) -> Tolerance {
        Tolerance {
            up: (self.above / target - 1.0).max(0.0),
            down: (1.0 - self.below / target).max(0.0),
        }
    }

    fn note_alone(&self, target: f64, tolerance: Tolerance, place: &str, notes: &mut Notes) {
        let Self { above, below, step } = self;
        let mut what = format!(
            "{{above: {above}%, below: {below}%, step: {step}}} is written as a target of {target}% that is left \
             alone between {below}% and {above}%, with {step} at most in {SYNC}, as often as Kubernetes decides; where it does not know `tolerance` that is a plain target"
        );
        // From so many replicas on a load just beyond the threshold asks for a whole step.
        let up = if *step == 1 {
            1.0
        } else {
            (f64::from(step - 1) / tolerance.up).floor() + 1.0
        };
        let down = (f64::from(*step) / tolerance.down).ceil();
        let fix = "nothing to do; a plain target (cpu: 60%) is what Kubernetes is made for";
        if up > 1.0 || down > f64::from(*step) + 1.0 {
            let from = |replicas: f64| {
                if replicas.is_finite() {
                    format!("from {replicas} on")
                } else {
                    "with a load far beyond".to_owned()
                }
            };
            let _ = write!(
                what,
                "; whole steps are added {} and removed {}, smaller ones with fewer",
                from(up),
                from(down)
            );
            notes.lost(place, what, fix);
        } else {
            notes.chosen(place, what, fix);
        }
    }

    /// The target whose upper end is `above` with a tolerance that is that of other metrics, too.
    fn among_others(&self, tolerance: Tolerance, place: &str, notes: &mut Notes) -> f64 {
        let target = (self.above / (1.0 + tolerance.up)).round().max(1.0);
        let Self { above, below, step } = self;
        notes.lost(
            place,
            format!(
                "an autoscaler has one tolerance for all its metrics: {{above: {above}%, below: {below}%, step: {step}}} \
                 is written as a target of {target}%, more are asked for above {}%, fewer below {}%, and in proportion",
                Short(target * (1.0 + tolerance.up)),
                Short(target * (1.0 - tolerance.down)),
            ),
            "use a target for every metric, or thresholds as the only one",
        );
        target
    }
}

/// Adds "no more than a step each time" to the rules of a direction.
fn at_most(rules: &mut Rules, step: u32, down: bool, place: &str, notes: &mut Notes) {
    let limit = Rate::Replicas {
        replicas: step,
        per: SYNC,
    };
    // All of them is no limit on the way down.
    let allows_a_step = |rate: &Rate| match rate {
        Rate::Replicas { replicas, per } => *replicas >= step && *per <= SYNC,
        Rate::Percent { percent, .. } => down && *percent >= 100.0,
    };
    match rules.select {
        Select::Disabled => {}
        Select::Max if rules.policies.is_empty() || rules.policies.iter().any(allows_a_step) => {
            rules.policies = vec![limit];
        }
        Select::Max | Select::Min => {
            if rules.select == Select::Max && rules.policies.len() > 1 {
                notes.lost(
                    place,
                    "the largest of several rates, and of that no more than a step, is written as the smallest of all of them",
                    "name one rate in `behavior`",
                );
            }
            rules.policies.push(limit);
            rules.select = Select::Min;
        }
    }
}
