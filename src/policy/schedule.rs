//! Bounds by the clock: a cron pattern that begins a while in which the count is at least, or at most,
//! so many.
//!
//! The pattern is read and searched by croner, on the wall clock of the schedule's time zone. Where that
//! clock jumps ahead over a beginning, the while begins at the first moment after the jump; where it runs
//! twice through one, it begins at the first. Its length is real time: one of 10 h is 10 h long on every
//! day of the year. Time zones are those of the database that is built in, so that a decision is the
//! same wherever it is taken again.

use std::{cmp::Ordering, fmt, str::FromStr};

use croner::{
    errors::CronError,
    parser::{CronParser, Seconds, Year},
    time::{CivilDate, CivilDateTime, CivilTime, CronDateTime, Resolution, Weekday},
};
use jiff::{
    SignedDuration, ZonedDateTime,
    civil::DateTime,
    tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase},
};
use serde::{Serialize, Serializer};

use crate::units::{Span, Timestamp, UnitError};

/// Bounds of a count that hold for a while, again and again. At least one of them is there.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Schedule {
    /// When the while begins.
    pub cron: Cron,
    /// How long it lasts.
    #[serde(rename = "for")]
    pub lasts: Span,
    /// Never fewer replicas meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<u32>,
    /// Never more replicas meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// Whose clock the pattern is for.
    pub timezone: Zone,
}

/// The bounds that hold at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CountBounds {
    /// The largest floor; never above [`max`](Self::max).
    pub min: u32,
    /// The smallest ceiling.
    pub max: u32,
    /// Whether a schedule made the floor what it is.
    pub min_by_schedule: bool,
    /// Whether a schedule made the ceiling what it is.
    pub max_by_schedule: bool,
}

impl CountBounds {
    /// Of a policy's own bounds and its schedules at this moment: the largest floor and the smallest
    /// ceiling of all that hold. A ceiling is for what must not be exceeded, so it wins over a floor.
    pub fn at(now: Timestamp, min: u32, max: u32, schedules: &[Schedule]) -> Self {
        let mut bounds = Self {
            min,
            max,
            min_by_schedule: false,
            max_by_schedule: false,
        };
        for schedule in schedules.iter().filter(|one| one.holds(now)) {
            if let Some(floor) = schedule.min.filter(|floor| *floor > bounds.min) {
                bounds.min = floor;
                bounds.min_by_schedule = true;
            }
            if let Some(ceiling) = schedule.max.filter(|ceiling| *ceiling < bounds.max) {
                bounds.max = ceiling;
                bounds.max_by_schedule = true;
            }
        }
        if bounds.min > bounds.max {
            bounds.min = bounds.max;
            bounds.min_by_schedule = bounds.max_by_schedule;
        }
        bounds
    }
}

impl Schedule {
    /// Whether its while has begun and not ended.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.began(now)
            .is_some_and(|began| now.since(began) < self.lasts.0)
    }

    /// When its last while began; `None` when none ever has.
    fn began(&self, now: Timestamp) -> Option<Timestamp> {
        let clock = Wall(now.0.to_zoned_datetime(self.timezone.0.clone()));
        let began = self.cron.0.find_previous_occurrence(&clock, true).ok()?;
        Some(Timestamp(began.0.timestamp()))
    }

    /// The next moment at which its while begins or ends.
    pub fn turns(&self, now: Timestamp) -> Option<Timestamp> {
        let clock = Wall(now.0.to_zoned_datetime(self.timezone.0.clone()));
        let begins = self.cron.0.find_next_occurrence(&clock, false).ok();
        let begins = begins.map(|at| Timestamp(at.0.timestamp()));
        let ends = self
            .began(now)
            .map(|began| began + self.lasts.0)
            .filter(|ends| *ends > now);
        begins.into_iter().chain(ends).min()
    }
}

/// A cron pattern of five fields, as in crontab(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron(croner::Cron);

impl FromStr for Cron {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let parser = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build();
        let parsed = parser.parse(text).map_err(|error| {
            let form =
                "a cron pattern of five fields (minute, hour, day, month, weekday), like 0 8 * * 1-5";
            // Its fields are right in number, so the message is about one of them.
            let why = if text.split_whitespace().count() == 5 {
                format!(" ({})", error.to_string().trim_end_matches('.').to_lowercase())
            } else {
                String::new()
            };
            UnitError(format!("{form}{why}"))
        })?;
        // Any pattern that ever comes does so within the 400 years after which the calendar repeats.
        let begin = Wall(jiff::Timestamp::UNIX_EPOCH.to_zoned_datetime(TimeZone::UTC));
        match parsed.find_next_occurrence(&begin, true) {
            Ok(_) => Ok(Self(parsed)),
            Err(_) => Err(UnitError(
                "a cron pattern that comes some day; none of its months has such a day".into(),
            )),
        }
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl Serialize for Cron {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A time zone by its name in the IANA database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone(TimeZone);

impl Zone {
    /// UTC.
    pub const UTC: Self = Self(TimeZone::UTC);
}

impl FromStr for Zone {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        TimeZoneDatabase::bundled()
            .get(text)
            .map(Self)
            .map_err(|_| UnitError("the name of a time zone, like Europe/London or UTC".into()))
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.iana_name().unwrap_or("UTC"))
    }
}

impl Serialize for Zone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A moment on somebody's wall clock, for croner.
#[derive(Debug, Clone)]
struct Wall(ZonedDateTime);

impl CronDateTime for Wall {
    fn to_civil(&self) -> CivilDateTime {
        let (date, time) = (self.0.date(), self.0.time());
        CivilDateTime::new(
            CivilDate::from_parts_unchecked(
                date.year().into(),
                u32::from(date.month().unsigned_abs()),
                u32::from(date.day().unsigned_abs()),
            ),
            CivilTime::from_parts_unchecked(
                u32::from(time.hour().unsigned_abs()),
                u32::from(time.minute().unsigned_abs()),
                u32::from(time.second().unsigned_abs()),
            ),
        )
    }

    fn civil_weekday(&self) -> Weekday {
        let sunday_is_zero = self.0.weekday().to_sunday_zero_offset();
        Weekday::from_days_from_sunday(u32::from(sunday_is_zero.unsigned_abs()))
    }

    fn resolve_civil(&self, civil: CivilDateTime) -> Result<Resolution<Self>, CronError> {
        let field = |value: u32| i8::try_from(value).map_err(|_| CronError::InvalidDate);
        let datetime = DateTime::new(
            i16::try_from(civil.year()).map_err(|_| CronError::InvalidDate)?,
            field(civil.month())?,
            field(civil.day())?,
            field(civil.hour())?,
            field(civil.minute())?,
            field(civil.second())?,
            0,
        )
        .map_err(|_| CronError::InvalidDate)?;
        let there = self.0.time_zone().to_ambiguous_zoned_datetime(datetime);
        let is_one_of = |which: Result<ZonedDateTime, jiff::Error>| {
            which.map(Self).map_err(|_| CronError::InvalidTime)
        };
        Ok(match there.offset() {
            AmbiguousOffset::Unambiguous { .. } => {
                Resolution::Single(is_one_of(there.unambiguous())?)
            }
            AmbiguousOffset::Fold { .. } => Resolution::Ambiguous(
                is_one_of(there.clone().earlier())?,
                is_one_of(there.later())?,
            ),
            AmbiguousOffset::Gap { .. } => Resolution::Gap,
        })
    }

    fn checked_add_seconds(&self, seconds: i64) -> Option<Self> {
        let span = SignedDuration::from_secs(seconds);
        self.0.checked_add(span).ok().map(Self)
    }

    fn cmp_instant(&self, other: &Self) -> Ordering {
        self.0.timestamp().cmp(&other.0.timestamp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(cron: &str, hours: u64, zone: &str, min: u32) -> Schedule {
        Schedule {
            cron: cron.parse().unwrap(),
            lasts: Span::seconds(hours * 3600),
            min: Some(min),
            max: None,
            timezone: zone.parse().unwrap(),
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_while_begins_with_its_pattern_and_is_as_long_as_it_says() {
        // 2026-01-05 is a Monday.
        let work = schedule("0 8 * * 1-5", 10, "UTC", 3);
        for (moment, holds) in [
            ("2026-01-05T07:59:59Z", false),
            ("2026-01-05T08:00:00Z", true),
            ("2026-01-05T17:59:59Z", true),
            ("2026-01-05T18:00:00Z", false),
            ("2026-01-10T12:00:00Z", false),
        ] {
            assert_eq!(work.holds(at(moment)), holds, "{moment}");
        }
        // One that is longer than its period always holds, also over midnight.
        assert!(schedule("0 22 * * *", 24, "UTC", 3).holds(at("2026-01-10T12:00:00Z")));
    }

    #[test]
    fn summer_time_moves_the_beginning_and_not_the_length() {
        let london = schedule("0 8 * * *", 10, "Europe/London", 3);
        for (moment, holds) in [
            // Winter: UTC. Summer: one hour ahead of it.
            ("2026-03-28T07:59:59Z", false),
            ("2026-03-28T08:00:00Z", true),
            ("2026-03-29T06:59:59Z", false),
            ("2026-03-29T07:00:00Z", true),
            ("2026-03-29T16:59:59Z", true),
            ("2026-03-29T17:00:00Z", false),
            ("2026-10-25T07:59:59Z", false),
            ("2026-10-25T08:00:00Z", true),
        ] {
            assert_eq!(london.holds(at(moment)), holds, "{moment}");
        }
    }

    #[test]
    fn a_beginning_that_the_clock_jumps_over_is_the_moment_after_the_jump() {
        // 01:00 to 02:00 does not exist in London on 29 March 2026; it is 01:00 UTC afterwards.
        let night = schedule("30 1 * * *", 1, "Europe/London", 3);
        assert!(!night.holds(at("2026-03-29T00:59:59Z")));
        assert!(night.holds(at("2026-03-29T01:00:00Z")));
        assert!(night.holds(at("2026-03-29T01:59:59Z")));
        assert!(!night.holds(at("2026-03-29T02:00:00Z")));
    }

    #[test]
    fn a_beginning_that_comes_twice_counts_once() {
        // 01:30 is 00:30 and 01:30 UTC in London on 25 October 2026.
        let night = schedule("30 1 * * *", 1, "Europe/London", 3);
        assert!(!night.holds(at("2026-10-25T00:29:59Z")));
        assert!(night.holds(at("2026-10-25T00:30:00Z")));
        assert!(night.holds(at("2026-10-25T01:29:59Z")));
        assert!(!night.holds(at("2026-10-25T01:30:00Z")));
    }

    #[test]
    fn overlaps_take_the_largest_floor_and_the_smallest_ceiling() {
        let noon = at("2026-01-05T12:00:00Z");
        let mut ceiling = schedule("0 0 * * *", 24, "UTC", 1);
        (ceiling.min, ceiling.max) = (None, Some(6));
        let floors = [
            schedule("0 8 * * *", 10, "UTC", 3),
            schedule("0 11 * * *", 2, "UTC", 5),
            schedule("0 20 * * *", 2, "UTC", 7),
        ];
        let bounds = CountBounds::at(noon, 1, 8, &floors);
        assert_eq!((bounds.min, bounds.max), (5, 8));
        assert!(bounds.min_by_schedule && !bounds.max_by_schedule);
        let all: Vec<_> = floors.into_iter().chain([ceiling]).collect();
        let bounds = CountBounds::at(noon, 1, 8, &all);
        assert_eq!((bounds.min, bounds.max), (5, 6));
        // At 21:00 the floor of 7 is above the ceiling of 6.
        let bounds = CountBounds::at(at("2026-01-05T21:00:00Z"), 1, 8, &all);
        assert_eq!((bounds.min, bounds.max), (6, 6));
        // A floor below the policy's own and a ceiling above it change nothing.
        let bounds = CountBounds::at(noon, 6, 6, &all);
        assert_eq!((bounds.min, bounds.max), (6, 6));
        assert!(!bounds.min_by_schedule && !bounds.max_by_schedule);
    }

    #[test]
    fn the_next_turn_is_a_beginning_or_an_end() {
        let work = schedule("0 8 * * *", 10, "UTC", 3);
        let turns = |moment: &str| work.turns(at(moment)).unwrap().to_string();
        assert_eq!(turns("2026-01-05T07:00:00Z"), "2026-01-05T08:00:00Z");
        assert_eq!(turns("2026-01-05T08:00:00Z"), "2026-01-05T18:00:00Z");
        assert_eq!(turns("2026-01-05T18:00:00Z"), "2026-01-06T08:00:00Z");
    }

    #[test]
    fn texts_are_printed_so_that_they_mean_the_same() {
        assert_eq!(
            "0 0 1 JAN *".parse::<Cron>().unwrap().to_string(),
            "0 0 1 1 *"
        );
        for text in ["0 8 * * 1-5", "*/15 0 1 1 *"] {
            assert_eq!(text.parse::<Cron>().unwrap().to_string(), text);
        }
        for text in ["Europe/London", "UTC", "America/New_York"] {
            assert_eq!(text.parse::<Zone>().unwrap().to_string(), text);
        }
        for wrong in ["", "8", "0 0 8 * * 1-5", "0 25 * * *", "0 8 * * 1-5 2026"] {
            assert!(wrong.parse::<Cron>().is_err(), "{wrong}");
        }
        for wrong in ["", "Europe/Atlantis", "CEST"] {
            assert!(wrong.parse::<Zone>().is_err(), "{wrong}");
        }
    }
}
