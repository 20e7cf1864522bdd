//! Bounds by the clock, and who goes first.

use super::{
    cursor::{AllowedKeys, Cursor},
    value::{count, parsed, span_above_zero},
};
use crate::policy::{Schedule, Zone};

pub(super) fn priority(at: &Cursor<'_>) -> Option<i32> {
    at.value()
        .as_i64()
        .and_then(|number| i32::try_from(number).ok())
        .filter(|number| (-1000..=1000).contains(number))
        .or_else(|| at.expected("a whole number from -1000 to 1000"))
}

/// The schedules of a policy with these bounds; without, its bounds are wrong themselves.
pub(super) fn schedule(
    at: &Cursor<'_>,
    bounds: Option<(u32, u32)>,
    most: u32,
) -> Option<Vec<Schedule>> {
    let items = at.list(r#"a list like [{cron: "0 8 * * 1-5", for: 10h, min: 3}]"#)?;
    Some(
        items
            .iter()
            .filter_map(|at| one(at, bounds, most))
            .collect(),
    )
}

fn one(at: &Cursor<'_>, bounds: Option<(u32, u32)>, most: u32) -> Option<Schedule> {
    let keys = AllowedKeys::only(&["cron", "for", "min", "max", "timezone"]);
    let map = at.map(&keys, r#"{cron: "0 8 * * 1-5", for: 10h, min: 3}"#)?;
    let cron = map.require("cron", r#"a cron pattern like "0 8 * * 1-5""#, parsed);
    let lasts = map.require("for", "a duration like 10h", span_above_zero);
    let min = map.or("min", None, |at| count(at, 1, most).map(Some));
    let max = map.or("max", None, |at| count(at, 1, most).map(Some));
    let timezone = map.or("timezone", Zone::UTC, parsed);
    let (min, max) = (min?, max?);
    if min.is_none() && max.is_none() {
        at.problem("says nothing about the count, expected min, max or both");
    }
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        map.problem(
            "min",
            format!("found `{min}`, expected no more than `max` beside it, which is {max}"),
        );
    }
    if let Some((least, greatest)) = bounds {
        if let Some(min) = min.filter(|min| *min > greatest) {
            map.problem(
                "min",
                format!(
                    "found `{min}`, expected no more than the policy's `max`, which is {greatest}"
                ),
            );
        }
        if let Some(max) = max.filter(|max| *max < least) {
            map.problem(
                "max",
                format!(
                    "found `{max}`, expected no less than the policy's `min`, which is {least}"
                ),
            );
        }
    }
    Some(Schedule {
        cron: cron?,
        lasts: lasts?,
        min,
        max,
        timezone: timezone?,
    })
}
