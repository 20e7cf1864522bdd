//! Memory that a replica needs, and its share of the limit.

use crate::units::{Bytes, Percent};

use super::CounterReading;

/// Memory in use without the page cache that the kernel would drop first, as `docker stats` shows
/// it: `usage - inactive_file`, and the whole usage when that would leave nothing. `inactive_file`
/// is `total_inactive_file` on cgroup v1.
pub fn working_set(usage: u64, inactive_file: u64) -> Bytes {
    // Usage is read a moment before its parts, so the parts can add up to more.
    if inactive_file < usage {
        Bytes(usage - inactive_file)
    } else {
        Bytes(usage)
    }
}

/// The working set in percent of the limit; `None` without a limit.
pub fn share(reading: &CounterReading, limit: Option<Bytes>) -> Option<Percent> {
    let limit = limit.filter(|limit| limit.0 > 0)?;
    Percent::new(reading.working_set.0 as f64 / limit.0 as f64 * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Timestamp;

    #[test]
    fn page_cache_that_can_be_dropped_is_not_counted() {
        assert_eq!(working_set(1000, 300), Bytes(700));
        assert_eq!(working_set(1000, 1000), Bytes(1000));
        assert_eq!(working_set(1000, 1200), Bytes(1000));
    }

    #[test]
    fn without_a_limit_there_is_no_share() {
        let reading = CounterReading {
            at: Timestamp::from_unix(0),
            cpu_nanos: 0,
            periods: 0,
            throttled: 0,
            working_set: Bytes(128 << 20),
        };
        assert_eq!(share(&reading, Some(Bytes(512 << 20))), Percent::new(25.0));
        assert_eq!(share(&reading, None), None);
        assert_eq!(share(&reading, Some(Bytes(0))), None);
    }
}
