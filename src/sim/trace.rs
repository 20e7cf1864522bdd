//! Load that was measured somewhere: a table of times and values.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::load_shape::{LoadShape, MOST};

/// What the values of a trace are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TraceUnit {
    /// `requests_per_second`
    Requests,
    /// `cpu_cores`
    Cores,
}

/// Load over time.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// What its values are.
    pub unit: TraceUnit,
    /// Seconds since its beginning, and the value from then on.
    pub points: Vec<(f64, f64)>,
    /// The time of its beginning, where the table has it.
    pub begins: Option<Timestamp>,
}

/// A line that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{what}", line.map_or(String::new(), |line| format!("line {line}: ")))]
pub struct TraceError {
    /// Which line, from one; `None` for the table as a whole.
    pub line: Option<u64>,
    /// What is wrong with it.
    pub what: String,
}

/// The columns that hold values.
const COLUMNS: [(TraceUnit, &str); 2] = [
    (TraceUnit::Requests, "requests_per_second"),
    (TraceUnit::Cores, "cpu_cores"),
];

/// A moment, in seconds since a beginning of its own or since 1970.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Time {
    Seconds(f64),
    Stamp(Timestamp),
}

impl Trace {
    /// From comma-separated values with a heading, or from JSON lines; either with `time` and one of
    /// `requests_per_second` and `cpu_cores`. Times are seconds, or stamps like 2026-01-01T12:00:00Z.
    pub fn parse(text: &str) -> Result<Self, TraceError> {
        // What some programs put in front of a text.
        let text = text.trim_start_matches('\u{feff}');
        let rows = if text.trim_start().starts_with('{') {
            json(text)?
        } else {
            table(text)?
        };
        Self::of(rows)
    }

    fn of(rows: Vec<(u64, Time, TraceUnit, f64)>) -> Result<Self, TraceError> {
        let Some((_, first, unit, _)) = rows.first().copied() else {
            let what = "no values in it; expected a heading `time,requests_per_second` or `time,cpu_cores` and a row for each time".into();
            return Err(TraceError { line: None, what });
        };
        let mut points: Vec<(f64, f64)> = Vec::new();
        for (line, time, of_it, value) in rows {
            let wrong = |what: String| TraceError {
                line: Some(line),
                what,
            };
            if of_it != unit {
                return Err(wrong(
                    "requests_per_second and cpu_cores cannot both be used".into(),
                ));
            }
            let at = match (time, first) {
                (Time::Seconds(at), Time::Seconds(first)) => at - first,
                (Time::Stamp(at), Time::Stamp(first)) => at.duration_since(first).as_secs_f64(),
                _ => {
                    let what = "expected all times to be seconds, or all to be stamps";
                    return Err(wrong(what.into()));
                }
            };
            if points.last().is_some_and(|(before, _)| at <= *before) {
                return Err(wrong("its time is not after the one before".into()));
            }
            points.push((at, value));
        }
        Ok(Self {
            unit,
            points,
            begins: match first {
                Time::Stamp(stamp) => Some(stamp),
                Time::Seconds(_) => None,
            },
        })
    }

    /// How long it is: the last value holds as long as the ones before do, usually.
    pub fn span(&self) -> Duration {
        let mut gaps: Vec<_> = self
            .points
            .windows(2)
            .map(|pair| pair[1].0 - pair[0].0)
            .collect();
        gaps.sort_by(f64::total_cmp);
        let usual = gaps.get(gaps.len() / 2).copied().unwrap_or(60.0);
        let last = self.points.last().map_or(0.0, |(at, _)| *at);
        Duration::from_secs_f64(last + usual)
    }

    /// As requests per second, where a replica's share of a core stands for so many of them.
    pub fn shape(&self, per_core: f64) -> LoadShape {
        let factor = match self.unit {
            TraceUnit::Requests => 1.0,
            TraceUnit::Cores => per_core,
        };
        let points = self.points.iter();
        LoadShape::trace(points.map(|(at, value)| (Duration::from_secs_f64(*at), value * factor)))
    }
}

fn time(text: &str) -> Result<Time, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        let fits = seconds.is_finite() && seconds.abs() < 1e12;
        return fits
            .then_some(Time::Seconds(seconds))
            .ok_or_else(|| format!("found `{text}`, expected seconds"));
    }
    // As spreadsheets and databases write them.
    let stamp = text.parse::<Timestamp>().or_else(|_| {
        let text = text.replace(' ', "T");
        format!("{text}Z").parse::<Timestamp>()
    });
    stamp.map(Time::Stamp).map_err(|_| {
        format!("found `{text}`, expected seconds or a time like 2026-01-01T12:00:00Z")
    })
}

fn value(text: &str, name: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok();
    let number = number.filter(|number| (0.0..=MOST).contains(number));
    number.ok_or_else(|| format!("found {name} `{text}`, expected a number from 0 to {MOST}"))
}

fn table(text: &str) -> Result<Vec<(u64, Time, TraceUnit, f64)>, TraceError> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .comment(Some(b'#'))
        .from_reader(text.as_bytes());
    let of_csv = |error: &csv::Error| TraceError {
        line: error.position().map(csv::Position::line),
        what: match error.kind() {
            csv::ErrorKind::UnequalLengths {
                expected_len, len, ..
            } => {
                format!("found {len} values, expected {expected_len} as in the heading")
            }
            _ => error.to_string(),
        },
    };
    let heading = reader.headers().map_err(|error| of_csv(&error))?.clone();
    let place = |name: &str| {
        heading
            .iter()
            .position(|one| one.eq_ignore_ascii_case(name))
    };
    let columns = COLUMNS
        .iter()
        .find_map(|(unit, name)| Some((*unit, *name, place(name)?)));
    let (Some(at), Some((unit, name, column))) = (place("time"), columns) else {
        let found = heading.iter().collect::<Vec<_>>().join(",");
        let hint = if found.contains([';', '\t']) {
            ", separated by commas"
        } else {
            ""
        };
        return Err(TraceError {
            line: Some(1),
            what: format!(
                "found the heading `{found}`, expected `time` and `requests_per_second` or `cpu_cores`{hint}"
            ),
        });
    };
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| of_csv(&error))?;
        let line = record.position().map_or(0, csv::Position::line);
        let wrong = |what| TraceError {
            line: Some(line),
            what,
        };
        let field = |index: usize| record.get(index).unwrap_or_default();
        rows.push((
            line,
            time(field(at)).map_err(wrong)?,
            unit,
            value(field(column), name).map_err(wrong)?,
        ));
    }
    Ok(rows)
}

fn json(text: &str) -> Result<Vec<(u64, Time, TraceUnit, f64)>, TraceError> {
    let mut rows = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        if line.trim().is_empty() {
            continue;
        }
        let wrong = |what: String| TraceError {
            line: Some(number),
            what,
        };
        let object: Value = serde_json::from_str(line).map_err(|error| wrong(error.to_string()))?;
        let plain = |value: &Value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let at = object
            .get("time")
            .ok_or_else(|| wrong("no `time` in it".into()))?;
        let found = COLUMNS
            .iter()
            .find_map(|(unit, name)| Some((*unit, *name, object.get(*name)?)));
        let (unit, name, found) = found
            .ok_or_else(|| wrong("no `requests_per_second` and no `cpu_cores` in it".into()))?;
        rows.push((
            number,
            time(&plain(at)).map_err(wrong)?,
            unit,
            value(&plain(found), name).map_err(wrong)?,
        ));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::float_cmp, reason = "values that are written down")]

    use super::*;

    #[test]
    fn what_spreadsheets_write_is_read_or_named() {
        let parse = |text: &str| Trace::parse(text).map_err(|error| error.to_string());
        assert!(parse("\u{feff}time,cpu_cores\r\n0,1\r\n60,2\r\n").is_ok());
        assert!(parse("\u{feff}{\"time\":0,\"cpu_cores\":1}").is_ok());
        let commas = parse("time;cpu_cores\n1;2\n").unwrap_err();
        assert!(commas.ends_with(", separated by commas"), "{commas}");
        let large = parse("time,cpu_cores\n1,1e300\n").unwrap_err();
        assert!(
            large.contains("`1e300`, expected a number from 0 to"),
            "{large}"
        );
    }

    #[test]
    fn tables_and_json_lines_say_the_same() {
        let csv = "# a comment\ntime,host,requests_per_second\n100,a,5\n160,a,7.5\n220,a,0\n";
        let lines = "{\"time\":100,\"requests_per_second\":5}\n\n{\"time\":160,\"requests_per_second\":7.5}\n{\"time\":\"220\",\"requests_per_second\":\"0\"}";
        let trace = Trace::parse(csv).unwrap();
        assert_eq!(trace, Trace::parse(lines).unwrap());
        assert_eq!(trace.points, [(0.0, 5.0), (60.0, 7.5), (120.0, 0.0)]);
        assert_eq!(trace.span(), Duration::from_secs(180));
        assert_eq!(trace.shape(1.0).rate(Duration::from_secs(70)), 7.5);
    }

    #[test]
    fn stamps_say_when_it_begins_and_cores_are_turned_into_requests() {
        let text = "Time, CPU_cores\n2026-01-05T08:00:00Z, 0.5\n2026-01-05 08:01:00, 2\n";
        let trace = Trace::parse(text).unwrap();
        assert_eq!(trace.begins, Some("2026-01-05T08:00:00Z".parse().unwrap()));
        assert_eq!(trace.unit, TraceUnit::Cores);
        assert_eq!(trace.shape(40.0).rate(Duration::from_secs(60)), 80.0);
    }

    #[test]
    fn what_cannot_be_used_is_named_with_its_line() {
        for (text, expected) in [
            ("", "line 1: found the heading ``, expected `time` and"),
            (
                "time,requests_per_second\n",
                "no values in it; expected a heading",
            ),
            (
                "when,what\n1,2\n",
                "line 1: found the heading `when,what`, expected `time`",
            ),
            (
                "time,cpu_cores\n1,x\n",
                "line 2: found cpu_cores `x`, expected a number",
            ),
            (
                "time,cpu_cores\n1,-2\n",
                "line 2: found cpu_cores `-2`, expected a number",
            ),
            (
                "time,cpu_cores\nsoon,2\n",
                "line 2: found `soon`, expected seconds or a time",
            ),
            (
                "time,cpu_cores\n1,2\n1,3\n",
                "line 3: its time is not after the one before",
            ),
            (
                "time,cpu_cores\n1,2\n2\n",
                "line 3: found 1 values, expected 2",
            ),
            (
                "time,cpu_cores\n1,2\n2026-01-01T00:00:00Z,3\n",
                "line 3: expected all times to be seconds",
            ),
            (
                "{\"time\":1}",
                "line 1: no `requests_per_second` and no `cpu_cores`",
            ),
            ("{\"time\":1,", "line 1: EOF while parsing"),
        ] {
            let error = Trace::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text:?}: {error}");
        }
    }
}
