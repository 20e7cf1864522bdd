//! Rows for people.

use comfy_table::{ContentArrangement, presets};
use jiff::{ZonedDateTime, tz::TimeZone};
use owo_colors::OwoColorize;

use crate::{
    reconcile::EventLevel,
    state::{HistoryEntry, HistoryKind},
    telemetry::plain,
    units::{Short, Span, Timestamp},
};

const COLUMNS: usize = 8;
const HEADER: [&str; COLUMNS] = [
    "TIME", "SERVICE", "EVENT", "REASON", "BY", "METRICS", "TOOK", "MESSAGE",
];

/// A table that may go on: what is appended stands below what was there.
#[derive(Debug)]
pub(super) struct Table {
    zone: TimeZone,
    has_header: bool,
    /// How wide each column is, as far as is known; the last one, which nothing stands behind, is 0.
    widths: [usize; COLUMNS],
}

impl Table {
    pub(super) fn new(zone: TimeZone) -> Self {
        Self {
            zone,
            has_header: false,
            widths: [0; COLUMNS],
        }
    }

    pub(super) fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Makes the columns as wide as these rows want them. Many rows are rendered in parts after that,
    /// because all cells of them would take much memory.
    pub(super) fn make_room(&mut self, rows: &[HistoryEntry], now: Timestamp) {
        let now = self.local(now);
        for row in rows {
            for (width, cell) in self.widths.iter_mut().zip(cells(row, &now)) {
                *width = cell.chars().count().max(*width);
            }
        }
        self.widths[COLUMNS - 1] = 0;
    }

    /// The rows, with colours; below a header the first time.
    pub(super) fn render(&mut self, rows: &[HistoryEntry], now: Timestamp) -> String {
        let now = self.local(now);
        let mut table = comfy_table::Table::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled);
        let has_header = std::mem::replace(&mut self.has_header, true);
        if !has_header {
            let mut header = HEADER.map(ToOwned::to_owned);
            header[0] = format!("TIME ({})", now.strftime("%Z"));
            for (width, title) in self.widths.iter_mut().zip(&header).take(COLUMNS - 1) {
                *width = title.chars().count().max(*width);
            }
            table.set_header(header);
        }
        for row in rows {
            let mut cells = cells(row, &now);
            for (cell, width) in cells.iter_mut().zip(&self.widths) {
                *cell = format!("{cell:<width$}");
            }
            table.add_row(cells);
        }
        let mut text = String::new();
        let mut lines = table.lines();
        if !has_header {
            text.extend(lines.next().map(|line| line.trim_end().to_owned() + "\n"));
        }
        for (row, line) in rows.iter().zip(lines) {
            text.push_str(&coloured(row, line.trim_end()));
            text.push('\n');
        }
        text
    }

    fn local(&self, now: Timestamp) -> ZonedDateTime {
        now.0.to_zoned_datetime(self.zone.clone())
    }
}

/// What wants attention stands out, and what is only remarked stands back.
fn coloured(row: &HistoryEntry, line: &str) -> String {
    match (row.kind(), row.level) {
        (_, EventLevel::Error) => line.red().to_string(),
        (_, EventLevel::Warn) => line.yellow().to_string(),
        (HistoryKind::Remark, _) => line.dimmed().to_string(),
        (
            HistoryKind::Change | HistoryKind::Served | HistoryKind::Trouble | HistoryKind::Step,
            _,
        ) => line.to_owned(),
    }
}

fn cells(row: &HistoryEntry, now: &ZonedDateTime) -> [String; COLUMNS] {
    let word = |word: &Option<String>| word.as_deref().map_or("-".to_owned(), one_line);
    let metrics: Vec<_> = row
        .metrics
        .iter()
        .map(|(name, value)| format!("{name} {}", Short(*value)))
        .collect();
    let metrics = if metrics.is_empty() {
        "-".to_owned()
    } else {
        one_line(&metrics.join(", "))
    };
    [
        clock(row.time, now),
        one_line(&row.service),
        one_line(&event(row)),
        word(&row.reason),
        word(&row.by),
        metrics,
        row.seconds.map_or("-".to_owned(), took),
        one_line(&row.message),
    ]
}

/// `2 → 4` for a change; the word of anything else, with a mark where it went wrong.
fn event(row: &HistoryEntry) -> String {
    let count = |count: Option<u32>| count.map_or("?".to_owned(), |n| n.to_string());
    let change = || format!("{} → {}", count(row.from), count(row.to));
    match row.kind() {
        HistoryKind::Change => change(),
        HistoryKind::Served => format!("{} served", change()),
        HistoryKind::Trouble => format!("! {}", row.event),
        HistoryKind::Remark | HistoryKind::Step => row.event.clone(),
    }
}

/// The time of day, with the day where it is another one, and with the zone where the clocks have
/// changed since.
fn clock(time: Timestamp, now: &ZonedDateTime) -> String {
    let time = time.0.to_zoned_datetime(now.time_zone().clone());
    let clock = if time.date() == now.date() {
        time.strftime("%H:%M:%S")
    } else {
        time.strftime("%Y-%m-%d %H:%M:%S")
    };
    if time.offset() == now.offset() {
        clock.to_string()
    } else {
        format!("{clock} {}", time.strftime("%Z"))
    }
}

fn took(seconds: f64) -> String {
    if seconds < 60.0 {
        format!("{seconds:.1}s")
    } else {
        Span::seconds(seconds.round() as u64).to_string()
    }
}

/// The first line of a text from outside, without anything that a terminal obeys.
fn one_line(text: &str) -> String {
    let first = text.lines().next().unwrap_or_default();
    let first = first.strip_suffix("; its last log lines:").unwrap_or(first);
    plain(first).replace('\t', " ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{
        super::rows::tests::{at, change},
        *,
    };

    fn berlin() -> TimeZone {
        TimeZone::get("Europe/Berlin").unwrap()
    }

    fn rows() -> Vec<HistoryEntry> {
        vec![
            HistoryEntry {
                metrics: BTreeMap::from([("cpu".into(), 99.93), ("requests".into(), 50.0)]),
                seconds: Some(0.96),
                message: "cpu 99.9% of 60% target: 2 → 4".into(),
                ..change(1_774_742_400, 2, 4)
            },
            HistoryEntry {
                level: EventLevel::Error,
                message: "shop-web-3 failed: it ended; its last log lines:\n    a\tb".into(),
                ..at(1_774_828_800, "failed")
            },
            HistoryEntry {
                by: Some("hand".into()),
                message: "scaling is \u{1b}[2Jpaused".into(),
                ..at(1_774_828_805, "paused")
            },
        ]
    }

    #[test]
    fn a_row_is_a_line_whatever_is_in_it_and_the_day_is_told_when_it_is_another() {
        let mut table = Table::new(berlin());
        table.make_room(&rows(), Timestamp::from_unix(1_774_830_000));
        let text = table.render(&rows(), Timestamp::from_unix(1_774_830_000));
        let text = anstream::adapter::strip_str(&text).to_string();
        insta::assert_snapshot!(text, @r"
        TIME (CEST)              SERVICE  EVENT     REASON        BY      METRICS                TOOK  MESSAGE
        2026-03-29 01:00:00 CET  web      2 → 4     above_target  policy  cpu 99.9, requests 50  1.0s  cpu 99.9% of 60% target: 2 → 4
        02:00:00                 web      ! failed  -             -       -                      -     shop-web-3 failed: it ended
        02:00:05                 web      paused    -             hand    -                      -     scaling is \u{1b}[2Jpaused
        ");
        // What comes later stands below.
        let text = table.render(&rows()[2..], Timestamp::from_unix(1_774_830_000));
        let text = anstream::adapter::strip_str(&text).to_string();
        assert_eq!(
            text,
            " 02:00:05                 web      paused    -             hand    -                      -     scaling is \\u{1b}[2Jpaused\n"
        );
    }

    #[test]
    fn what_went_wrong_is_coloured_as_it_deserves() {
        let text = Table::new(berlin()).render(&rows(), Timestamp::from_unix(1_774_830_000));
        let lines: Vec<_> = text.lines().collect();
        let colours = ["", "", "\u{1b}[31m", "\u{1b}[2m"];
        assert_eq!(lines.len(), colours.len());
        for (line, colour) in lines.iter().zip(colours) {
            assert!(line.starts_with(colour), "{line:?}");
            assert_eq!(line.contains('\u{1b}'), !colour.is_empty(), "{line:?}");
        }
    }

    #[test]
    fn a_long_time_has_its_units() {
        assert_eq!(
            [took(0.04), took(59.9), took(3725.4)],
            ["0.0s", "59.9s", "1h2m5s"]
        );
    }
}
