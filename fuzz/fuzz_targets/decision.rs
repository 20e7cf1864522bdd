//! A decision input in JSON: what is read is decided on, within its bounds, the same each time, and
//! is itself again after it was written down.

#![no_main]

use compose_scale::decide::{Input, decide};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(input) = serde_json::from_slice::<Input>(data) else {
        return;
    };
    let decision = decide(&input);
    let paused_or_held = input.paused.is_some() || input.hold.is_some();
    if !paused_or_held && input.host.is_none() {
        let bounds = input.policy.min..=input.policy.max;
        let desired = decision.desired;
        assert!(bounds.contains(&desired), "{desired} is not in {bounds:?}");
    }
    assert!(!decision.message.is_empty());
    let written = serde_json::to_string(&input).expect("an input can be written");
    let again: Input = serde_json::from_str(&written).expect("what was written can be read");
    assert_eq!(decide(&again), decision, "{written}");
});
