//! Replicas over time, drawn with the characters of a terminal.

use std::{collections::BTreeMap, fmt::Write as _};

use jiff::{ZonedDateTime, tz::TimeZone};
use owo_colors::OwoColorize;

use super::Filter;
use crate::{
    state::{HistoryEntry, HistoryKind},
    telemetry::plain,
    units::{Short, Timestamp},
};

/// As high as this a chart has a line for each replica; above, a line stands for several.
const LINES: u32 = 10;
/// The parts of a line, from none to all of it.
const PARTS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Narrower than this nothing can be told.
const NARROWEST: usize = 20;

/// What is drawn, by service.
#[derive(Debug, Default)]
pub(super) struct HistoryChart {
    services: BTreeMap<String, ChartSeries>,
}

#[derive(Debug, Default)]
struct ChartSeries {
    changes: Vec<ChartChange>,
    /// When something went wrong.
    troubles: Vec<Timestamp>,
}

#[derive(Debug)]
struct ChartChange {
    at: Timestamp,
    from: u32,
    to: u32,
}

impl HistoryChart {
    /// Takes in a line. What came before the chart's beginning says how many there were then.
    pub(super) fn add(&mut self, entry: &HistoryEntry, filter: &Filter) {
        match entry.kind() {
            HistoryKind::Change => {
                if let (Some(from), Some(to)) = (entry.from, entry.to) {
                    let at = entry.time;
                    let change = ChartChange { at, from, to };
                    self.of(&entry.service).changes.push(change);
                }
            }
            HistoryKind::Trouble if filter.is_recent(entry) => {
                self.of(&entry.service).troubles.push(entry.time);
            }
            HistoryKind::Trouble
            | HistoryKind::Served
            | HistoryKind::Remark
            | HistoryKind::Step => {}
        }
    }

    fn of(&mut self, service: &str) -> &mut ChartSeries {
        if !self.services.contains_key(service) {
            self.services
                .insert(service.to_owned(), ChartSeries::default());
        }
        self.services.entry(service.to_owned()).or_default()
    }

    /// One chart below the other, on the same time: since then, or since the first change or trouble.
    pub(super) fn draw(
        &self,
        filter: &Filter,
        now: Timestamp,
        width: usize,
        zone: &TimeZone,
    ) -> String {
        let drawn = || {
            let services = self.services.iter();
            services.filter(|(_, series)| !series.changes.is_empty())
        };
        let first = drawn().flat_map(|(_, series)| {
            let change = series.changes.first().map(|change| change.at);
            change.into_iter().chain(series.troubles.first().copied())
        });
        let Some(begin) = filter.since.or(first.min()) else {
            return "no change of a replica count is recorded\n".to_owned();
        };
        let axis = TimeAxis {
            begin,
            // A clock that was set may have put all of it into the future.
            end: now.max(begin + std::time::Duration::from_secs(1)),
            zone,
        };
        let charts: Vec<_> = drawn()
            .map(|(service, series)| series.draw(service, &axis, width))
            .collect();
        charts.join("\n")
    }
}

impl ChartSeries {
    fn draw(&self, service: &str, axis: &TimeAxis<'_>, width: usize) -> String {
        let label = self
            .changes
            .iter()
            .map(|change| change.from.max(change.to))
            .max()
            .map_or(1, |most| most.to_string().len());
        let columns = width.max(NARROWEST).saturating_sub(label + 3);
        let counts = self.counts(axis, columns);
        let (first, later) = self.since(axis.begin);
        let all = || later.iter().map(|change| change.to).chain([first]);
        let fewest = all().min().unwrap_or_default();
        let most = all().max().unwrap_or_default().max(1);
        let last = later.last().map_or(first, |change| change.to);
        let range = match (fewest, most) {
            (1, 1) => "1 replica".to_owned(),
            (fewest, most) if fewest == most => format!("{most} replicas"),
            _ => format!("{fewest} to {most} replicas"),
        };
        let mut text = format!("{}: {range}, {last} now\n", plain(service).bold());
        let lines = most.min(LINES);
        for line in (1..=lines).rev() {
            // With a line for each replica every one has its number, else the ends and the middle.
            let value = f64::from(most) * f64::from(line) / f64::from(lines);
            let numbered = most <= LINES || line == lines || line == lines / 2;
            let number = if numbered {
                Short(value.round()).to_string()
            } else {
                String::new()
            };
            let cells: String = counts.iter().map(|n| part(*n, most, lines, line)).collect();
            let _ = writeln!(text, "{number:>label$} ┤{}", cells.trim_end().cyan());
        }
        let (ticks, times) = axis.labels(columns);
        let _ = writeln!(text, "{:>label$} └{ticks}", 0);
        if let Some(marks) = self.marks(axis, columns) {
            let _ = writeln!(text, "{:>label$}  {}", "", marks.red());
        }
        let _ = writeln!(text, "{:>label$}  {}", "", times.dimmed());
        text
    }

    /// How many there were then, and what was changed since.
    fn since(&self, begin: Timestamp) -> (u32, &[ChartChange]) {
        let before = self.changes.iter().take_while(|change| change.at < begin);
        let (before, later) = self.changes.split_at(before.count());
        let count = before.last().map(|change| change.to);
        let count = count.or(later.first().map(|change| change.from));
        (count.unwrap_or_default(), later)
    }

    /// The most replicas in each column: a peak is seen however short it was.
    fn counts(&self, axis: &TimeAxis<'_>, columns: usize) -> Vec<u32> {
        let (mut count, changes) = self.since(axis.begin);
        let mut changes = changes.iter().peekable();
        let counts = (0..columns).map(|column| {
            let mut most = count;
            while let Some(change) =
                changes.next_if(|change| axis.column(change.at, columns) <= column)
            {
                most = most.max(change.to);
                count = change.to;
            }
            most
        });
        counts.collect()
    }

    /// A mark below each column in which something went wrong.
    fn marks(&self, axis: &TimeAxis<'_>, columns: usize) -> Option<String> {
        let mut marks = vec![' '; columns];
        for at in &self.troubles {
            marks[axis.column(*at, columns)] = '!';
        }
        let text: String = marks.into_iter().collect();
        let text = text.trim_end();
        (!text.is_empty()).then(|| text.to_owned())
    }
}

/// How much of a line is filled for that many of `most` replicas on `lines` lines.
fn part(count: u32, most: u32, lines: u32, line: u32) -> char {
    let height = f64::from(count) / f64::from(most) * f64::from(lines);
    let here = (height - f64::from(line - 1)).clamp(0.0, 1.0);
    PARTS[(here * 8.0).round() as usize]
}

/// The time that all charts are drawn on.
struct TimeAxis<'a> {
    begin: Timestamp,
    end: Timestamp,
    zone: &'a TimeZone,
}

impl TimeAxis<'_> {
    /// The column of a moment.
    fn column(&self, at: Timestamp, columns: usize) -> usize {
        let share = at.since(self.begin).as_secs_f64() / self.end.since(self.begin).as_secs_f64();
        ((share * columns as f64) as usize).min(columns - 1)
    }

    /// The line with ticks, and the times below it: as many as there is room for, the first and the
    /// last always.
    fn labels(&self, columns: usize) -> (String, String) {
        let span = self.end.since(self.begin);
        let zoned = |share: f64| {
            let at = self.begin + span.mul_f64(share);
            at.0.to_zoned_datetime(self.zone.clone())
        };
        let (begin, end) = (zoned(0.0), zoned(1.0));
        let format = if span.as_secs() < 600 && begin.date() == end.date() {
            "%H:%M:%S"
        } else if begin.date() == end.date() {
            "%H:%M"
        } else if span.as_secs() < 30 * 86400 {
            "%m-%d %H:%M"
        } else {
            "%Y-%m-%d"
        };
        let text = |at: &ZonedDateTime| at.strftime(format).to_string();
        let zone = end.strftime(" %Z").to_string();
        let length = text(&begin).len();
        // Between two of them, and for the zone at the end.
        let fit = columns.saturating_sub(zone.len()) / (length + 4);
        let steps = fit.clamp(1, 5) - usize::from(fit > 1);
        let mut ticks = vec!['─'; columns];
        let mut times = String::new();
        for step in 0..=steps {
            let share = step as f64 / steps as f64;
            let column = (((columns - 1) as f64) * share).round() as usize;
            ticks[column] = '┬';
            let mut time = text(&zoned(share));
            let mut start = column;
            if step == steps {
                time.push_str(&zone);
                start = (column + 1).saturating_sub(time.len());
            } else if step > 0 {
                start = column.saturating_sub(time.len() / 2);
            }
            let used = times.chars().count();
            if start < used + usize::from(used > 0) {
                continue;
            }
            times.extend(std::iter::repeat_n(' ', start - used));
            times.push_str(&time);
        }
        (ticks.into_iter().collect(), times)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::rows::tests::{at, change},
        *,
    };
    use crate::reconcile::EventLevel;

    fn drawn(since: Option<i64>, now: i64, width: usize, entries: &[HistoryEntry]) -> String {
        let filter = Filter {
            since: since.map(Timestamp::from_unix),
            ..Filter::default()
        };
        let mut chart = HistoryChart::default();
        for entry in entries {
            chart.add(entry, &filter);
        }
        let text = chart.draw(&filter, Timestamp::from_unix(now), width, &TimeZone::UTC);
        anstream::adapter::strip_str(&text).to_string()
    }

    fn story() -> Vec<HistoryEntry> {
        vec![
            change(0, 1, 2),
            change(1800, 2, 4),
            HistoryEntry {
                level: EventLevel::Error,
                ..at(2400, "failed")
            },
            // Shorter than a column.
            change(3600, 4, 6),
            change(3610, 6, 3),
            change(6000, 3, 1),
        ]
    }

    #[test]
    fn a_line_for_each_replica_and_every_peak_is_seen() {
        insta::assert_snapshot!(drawn(None, 7200, 60, &story()), @r"
        web: 1 to 6 replicas, 1 now
        6 ┤                            █
        5 ┤                            █
        4 ┤              ███████████████
        3 ┤              █████████████████████████████████
        2 ┤███████████████████████████████████████████████
        1 ┤████████████████████████████████████████████████████████
        0 └┬─────────────┬─────────────┬────────────┬─────────────┬
                             !
           00:00       00:30         01:00        01:30   02:00 UTC
        ");
    }

    #[test]
    fn what_was_before_the_beginning_is_where_it_begins() {
        insta::assert_snapshot!(drawn(Some(3605), 90_000, 50, &story()), @r"
        web: 1 to 6 replicas, 1 now
        6 ┤█
        5 ┤█
        4 ┤█
        3 ┤██
        2 ┤██
        1 ┤██████████████████████████████████████████████
        0 └┬────────────────────────────────────────────┬
           01-01 01:00                    01-02 01:00 UTC
        ");
        // Since then nothing was changed.
        let calm = drawn(Some(6500), 7100, 40, &story());
        assert!(calm.starts_with("web: 1 replica, 1 now\n1 ┤███"), "{calm}");
    }

    #[test]
    fn trouble_before_the_first_change_has_its_own_place() {
        let early = [
            HistoryEntry {
                level: EventLevel::Error,
                ..at(0, "failed")
            },
            change(1800, 1, 2),
        ];
        insta::assert_snapshot!(drawn(None, 3600, 40, &early), @r"
        web: 1 to 2 replicas, 2 now
        2 ┤                  ██████████████████
        1 ┤████████████████████████████████████
        0 └┬─────────────────┬────────────────┬
           !
           00:00           00:30      01:00 UTC
        ");
    }

    #[test]
    fn many_replicas_have_parts_of_lines() {
        let many = [change(0, 1, 40), change(100, 40, 13), change(200, 13, 21)];
        insta::assert_snapshot!(drawn(None, 300, 40, &many), @r"
        web: 1 to 40 replicas, 21 now
        40 ┤████████████
           ┤████████████
           ┤████████████
           ┤████████████
           ┤████████████           ▂▂▂▂▂▂▂▂▂▂▂▂
        20 ┤████████████           ████████████
           ┤████████████▂▂▂▂▂▂▂▂▂▂▂████████████
           ┤███████████████████████████████████
           ┤███████████████████████████████████
           ┤███████████████████████████████████
         0 └┬─────────────────────────────────┬
            00:00:00               00:05:00 UTC
        ");
    }

    #[test]
    fn no_width_and_no_time_is_too_small() {
        for width in [0, 1, 30] {
            let text = drawn(None, 0, width, &[change(0, 1, 1000)]);
            assert!(
                text.lines().all(|line| line.chars().count() <= 60),
                "{text}"
            );
        }
        assert_eq!(
            drawn(None, 0, 80, &[]),
            "no change of a replica count is recorded\n"
        );
    }
}
