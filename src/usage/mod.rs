//! From the kernel's counters to shares of a limit. Nothing is read here: an adapter takes a
//! [`CounterReading`], [`Window`] keeps the latest, [`cpu`] and [`memory`] make shares of them.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::units::{Bytes, Timestamp};

pub mod cgroup;
pub mod cpu;
pub mod memory;
pub mod window;

pub use window::Window;

/// One look at a container's counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CounterReading {
    /// When it was taken.
    pub at: Timestamp,
    /// CPU time used since the container started, in nanoseconds.
    pub cpu_nanos: u64,
    /// Scheduler periods with a quota, and those in which it was throttled.
    pub periods: u64,
    /// Periods in which the quota ran out.
    pub throttled: u64,
    /// Memory in use without the page cache that can be dropped.
    #[serde(serialize_with = "as_number", deserialize_with = "from_number")]
    pub working_set: Bytes,
}

// The text form of `Bytes` is rounded; what one run keeps for the next is not.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde calls"
)]
fn as_number<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(bytes.0)
}

fn from_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    u64::deserialize(deserializer).map(Bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_survives_its_json_form_to_the_byte() {
        let reading = CounterReading {
            at: Timestamp::from_unix(1_767_268_800),
            cpu_nanos: u64::MAX,
            periods: 7,
            throttled: 3,
            working_set: Bytes(123_456_789),
        };
        let text = serde_json::to_string(&reading).unwrap();
        assert!(text.contains(r#""working_set":123456789"#), "{text}");
        assert_eq!(
            serde_json::from_str::<CounterReading>(&text).unwrap(),
            reading
        );
    }
}
