//! The words everything else is written in: shares, sizes, durations and moments.
//!
//! Each type parses from exactly one spelling and prints the same spelling back. Nothing here
//! reads a clock or does I/O.

use std::{
    fmt,
    ops::{Add, Sub},
    str::FromStr,
    time::Duration,
};

pub use jiff::SignedDuration;
use jiff::Timestamp as Instant;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is not the unit that was expected. The message is a fragment that says what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnitError(pub(crate) String);

/// A share of a limit, written `60%`. Finite and not negative; may exceed 100.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Percent(f64);

impl Percent {
    /// Wraps a number of percent; `None` when it is negative or not finite.
    pub fn new(percent: f64) -> Option<Self> {
        (percent.is_finite() && percent >= 0.0).then_some(Self(percent))
    }

    /// The number of percent: 60.0 for `60%`.
    pub fn get(self) -> f64 {
        self.0
    }

    /// The share as a ratio: 0.6 for `60%`.
    pub fn ratio(self) -> f64 {
        self.0 / 100.0
    }
}

impl FromStr for Percent {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        text.strip_suffix('%')
            .and_then(|number| number.trim_end().parse().ok())
            .and_then(Self::new)
            .ok_or_else(|| UnitError("a percentage like 60%".into()))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

/// Prints a number with at most one digit behind the point, and none when it is whole.
#[derive(Debug, Clone, Copy)]
pub struct Short(pub f64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounded = (self.0 * 10.0).round() / 10.0;
        if rounded.fract() == 0.0 {
            write!(f, "{rounded:.0}")
        } else {
            write!(f, "{rounded:.1}")
        }
    }
}

/// An amount of memory in bytes. Suffixes as in compose: `b`, `k`, `m`, `g`, `t`, with `b` or `ib`
/// behind them, each step 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

impl FromStr for Bytes {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = || UnitError("a size like 512m, 1.5g or 800MiB".into());
        let text = text.trim();
        let split = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, suffix) = text.split_at(split);
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let power = match suffix.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 1,
            "m" | "mb" | "mib" => 2,
            "g" | "gb" | "gib" => 3,
            "t" | "tb" | "tib" => 4,
            _ => return Err(wrong()),
        };
        Ok(Self((number * 1024f64.powi(power)) as u64))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The largest unit that says it exactly, so that what is printed can be read back.
        let mut value = self.0;
        let mut unit = "B";
        for next in ["KiB", "MiB", "GiB", "TiB"] {
            if value == 0 || !value.is_multiple_of(1024) {
                break;
            }
            value /= 1024;
            unit = next;
        }
        write!(f, "{value}{unit}")
    }
}

/// Prints a size as people write it: in MiB, or in GiB from there on, with at most one digit behind the
/// point. What is to be read back is printed by [`Bytes`] itself.
#[derive(Debug, Clone, Copy)]
pub struct Size(pub Bytes);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = self.0.0 as f64 / f64::from(1 << 20);
        if mib >= 1024.0 {
            write!(f, "{}GiB", Short(mib / 1024.0))
        } else {
            write!(f, "{}MiB", Short(mib))
        }
    }
}

/// A length of time, written `30s`, `1h30m`, `250ms`. A bare number is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(pub Duration);

impl Span {
    /// A span of whole seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// A time that was measured, to the millisecond: nobody wants to read nanoseconds.
    pub fn measured(span: Duration) -> Self {
        Self(Duration::from_millis(
            u64::try_from(span.as_millis()).unwrap_or(u64::MAX),
        ))
    }
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = || UnitError("a duration with its unit, like 30s, 5m or 1h30m".into());
        let signed: SignedDuration = text.trim().parse().map_err(|_| wrong())?;
        Duration::try_from(signed).map(Self).map_err(|_| wrong())
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_zero() {
            return f.write_str("0s");
        }
        let (seconds, nanos) = (self.0.as_secs(), self.0.subsec_nanos());
        for (value, unit) in [
            (seconds / 3600, "h"),
            (seconds / 60 % 60, "m"),
            (seconds % 60, "s"),
            (u64::from(nanos / 1_000_000), "ms"),
            (u64::from(nanos / 1000 % 1000), "us"),
            (u64::from(nanos % 1000), "ns"),
        ] {
            if value > 0 {
                write!(f, "{value}{unit}")?;
            }
        }
        Ok(())
    }
}

/// A point in time. The driver derives every moment of a run from one wall-clock reading plus a
/// monotonic clock, so moments of one run never go backwards, and those of two runs compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub Instant);

impl Timestamp {
    /// The time from `earlier` to this moment; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::try_from(self.0.duration_since(earlier.0)).unwrap_or_default()
    }

    /// The same moment by a clock that was set by so much.
    #[must_use]
    pub fn shifted(self, by: SignedDuration) -> Self {
        let bound = if by.is_negative() {
            Instant::MIN
        } else {
            Instant::MAX
        };
        Self(self.0.checked_add(by).unwrap_or(bound))
    }

    /// The time of day in UTC, to the second.
    pub fn clock(self) -> String {
        self.0.strftime("%H:%M:%S UTC").to_string()
    }

    /// The time of day somewhere, to the second.
    pub fn clock_in(self, zone: &jiff::tz::TimeZone) -> String {
        let there = self.0.to_zoned_datetime(zone.clone());
        there.strftime("%H:%M:%S").to_string()
    }

    /// The day and the time of day in UTC, to the second.
    pub fn date_and_clock(self) -> String {
        self.0.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
    }

    /// A moment so many seconds after the epoch; for tests and for Engine timestamps.
    pub fn from_unix(seconds: i64) -> Self {
        Self(Instant::from_second(seconds).unwrap_or(Instant::MAX))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.checked_add(span).unwrap_or(Instant::MAX))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, span: Duration) -> Self {
        Self(self.0.checked_sub(span).unwrap_or(Instant::MIN))
    }
}

impl FromStr for Timestamp {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        text.parse()
            .map(Self)
            .map_err(|_| UnitError("a time like 2026-01-01T12:00:00Z".into()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! serde_as_text {
    ($($unit:ty),*) => {$(
        impl Serialize for $unit {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $unit {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(|error| {
                    serde::de::Error::custom(format!("found `{text}`, expected {error}"))
                })
            }
        }
    )*};
}
serde_as_text!(Percent, Bytes, Span, Timestamp);

/// A word as a shell takes it for one.
pub fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Bytes as hex digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = fmt::Write::write_fmt(&mut text, format_args!("{byte:02x}"));
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_needs_its_sign_and_must_be_finite() {
        assert_eq!("60%".parse(), Ok(Percent(60.0)));
        assert_eq!("0.5%".parse(), Ok(Percent(0.5)));
        for wrong in ["60", "-1%", "NaN%", "inf%", "%", ""] {
            assert!(wrong.parse::<Percent>().is_err(), "{wrong}");
        }
        assert_eq!(Percent(62.54).to_string(), "62.54%");
        assert_eq!(Percent(60.0).to_string(), "60%");
    }

    #[test]
    fn sizes_count_in_1024s_as_compose_does() {
        assert_eq!("1.5g".parse(), Ok(Bytes(1_610_612_736)));
        assert_eq!("800MiB".parse(), Ok(Bytes(838_860_800)));
        assert_eq!("10kb".parse(), Ok(Bytes(10_240)));
        assert_eq!("77".parse(), Ok(Bytes(77)));
        assert!("1.5x".parse::<Bytes>().is_err());
        assert!("-1m".parse::<Bytes>().is_err());
        assert_eq!(Bytes(838_860_800).to_string(), "800MiB");
        assert_eq!(Bytes(1_000_000).to_string(), "1000000B");
        assert_eq!(Bytes(0).to_string(), "0B");
    }

    #[test]
    fn sizes_are_short_for_people() {
        assert_eq!(Size(Bytes(3 << 30)).to_string(), "3GiB");
        assert_eq!(Size(Bytes(100 << 20)).to_string(), "100MiB");
        assert_eq!(Size(Bytes(24_683_656 << 10)).to_string(), "23.5GiB");
    }

    #[test]
    fn a_duration_needs_a_unit() {
        assert_eq!("1h30m".parse(), Ok(Span::seconds(5400)));
        assert_eq!("250ms".parse(), Ok(Span(Duration::from_millis(250))));
        assert_eq!("0s".parse(), Ok(Span::seconds(0)));
        for wrong in ["90", "-5s", "1d", "", "soon"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong}");
        }
        assert_eq!(Span::seconds(5405).to_string(), "1h30m5s");
        assert_eq!(Span::default().to_string(), "0s");
        // What is written down is what was meant, to the last digit.
        let odd = Span(Duration::new(3661, 1_002_003));
        assert_eq!(odd.to_string(), "1h1m1s1ms2us3ns");
        assert_eq!(odd.to_string().parse(), Ok(odd));
        assert_eq!(Span::measured(odd.0).to_string(), "1h1m1s1ms");
    }

    #[test]
    fn time_between_moments_is_never_negative() {
        let noon: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        assert_eq!((noon + Duration::from_secs(5)).since(noon).as_secs(), 5);
        assert_eq!(noon.since(noon + Duration::from_secs(5)), Duration::ZERO);
        assert_eq!(noon.to_string(), "2026-01-01T12:00:00Z");
    }
}
