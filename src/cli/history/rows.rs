//! Rows: one for each change of a count, with the time until it was served, and one for whatever else
//! people want to know of.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use super::Filter;
use crate::{
    state::{HistoryEntry, HistoryKind},
    units::Timestamp,
};

/// Rows in the order of the log.
#[derive(Debug)]
pub(super) struct Rows {
    kept: VecDeque<HistoryEntry>,
    /// How many there were before those.
    gone: usize,
    /// So many are kept.
    last: usize,
    /// Of each service the last change that is not served yet.
    open: BTreeMap<String, OpenRow>,
}

#[derive(Debug)]
struct OpenRow {
    from: Option<u32>,
    to: Option<u32>,
    /// The number of its row, if it has one.
    row: Option<usize>,
}

impl Rows {
    pub(super) fn new(last: Option<usize>) -> Self {
        Self {
            kept: VecDeque::new(),
            gone: 0,
            last: last.unwrap_or(usize::MAX),
            open: BTreeMap::new(),
        }
    }

    /// Adds a line. The one that says that a change is served completes the row of that change.
    pub(super) fn add(&mut self, entry: HistoryEntry, filter: &Filter) {
        match entry.kind() {
            HistoryKind::Change => {
                let (service, from, to) = (entry.service.clone(), entry.from, entry.to);
                let row = self.push(entry, filter);
                // One that was overtaken by the next will never be served.
                self.open.insert(service, OpenRow { from, to, row });
            }
            HistoryKind::Served => {
                let its = self
                    .open
                    .get(&entry.service)
                    .filter(|open| (open.from, open.to) == (entry.from, entry.to));
                let Some(open) = its else {
                    // Its change is in a log that is not kept any more.
                    self.push(entry, filter);
                    return;
                };
                let row = open.row.and_then(|row| row.checked_sub(self.gone));
                if let Some(row) = row.and_then(|row| self.kept.get_mut(row)) {
                    row.seconds = entry.seconds;
                }
                self.open.remove(&entry.service);
            }
            HistoryKind::Trouble | HistoryKind::Remark | HistoryKind::Step => {
                self.push(entry, filter);
            }
        }
    }

    /// Adds a line as a row of its own.
    pub(super) fn add_alone(&mut self, entry: HistoryEntry, filter: &Filter) {
        self.push(entry, filter);
    }

    fn push(&mut self, entry: HistoryEntry, filter: &Filter) -> Option<usize> {
        let is_row = match entry.kind() {
            HistoryKind::Change | HistoryKind::Served => true,
            HistoryKind::Trouble | HistoryKind::Remark => !filter.changes,
            HistoryKind::Step => false,
        };
        if !is_row || !filter.is_recent(&entry) {
            return None;
        }
        self.kept.push_back(entry);
        if self.kept.len() > self.last {
            self.kept.pop_front();
            self.gone += 1;
        }
        Some(self.gone + self.kept.len().checked_sub(1)?)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    pub(super) fn take(self) -> Vec<HistoryEntry> {
        self.kept.into()
    }
}

/// A row for scripts: the names are those of `scaling.log`, and all of them are there in every row.
#[derive(Debug, Serialize)]
pub(super) struct HistoryRow<'a> {
    version: u32,
    time: Timestamp,
    service: &'a str,
    event: &'a str,
    from: Option<u32>,
    to: Option<u32>,
    reason: Option<&'a str>,
    by: Option<&'a str>,
    metrics: &'a BTreeMap<String, f64>,
    seconds: Option<f64>,
    message: &'a str,
}

impl<'a> HistoryRow<'a> {
    pub(super) fn of(entry: &'a HistoryEntry) -> Self {
        Self {
            version: 1,
            time: entry.time,
            service: &entry.service,
            event: &entry.event,
            from: entry.from,
            to: entry.to,
            reason: entry.reason.as_deref(),
            by: entry.by.as_deref(),
            metrics: &entry.metrics,
            seconds: entry.seconds,
            message: &entry.message,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::reconcile::EventLevel;

    pub(crate) fn at(second: i64, event: &str) -> HistoryEntry {
        HistoryEntry {
            time: Timestamp::from_unix(second),
            service: "web".into(),
            event: event.into(),
            from: None,
            to: None,
            reason: None,
            by: None,
            metrics: BTreeMap::new(),
            seconds: None,
            message: String::new(),
            level: EventLevel::Info,
        }
    }

    pub(crate) fn change(second: i64, from: u32, to: u32) -> HistoryEntry {
        HistoryEntry {
            from: Some(from),
            to: Some(to),
            reason: Some("above_target".into()),
            by: Some("policy".into()),
            ..at(second, "scale")
        }
    }

    fn served(second: i64, from: u32, to: u32, seconds: f64) -> HistoryEntry {
        HistoryEntry {
            seconds: Some(seconds),
            event: "scaled".into(),
            ..change(second, from, to)
        }
    }

    /// `EVENT FROM-TO SECONDS` of each row.
    fn short(rows: Rows) -> Vec<String> {
        let count = |n: Option<u32>| n.map_or("?".into(), |n| n.to_string());
        let shown = rows.take().into_iter().map(|row| {
            let seconds = row.seconds.map_or("-".into(), |s| s.to_string());
            format!(
                "{} {}-{} {seconds}",
                row.event,
                count(row.from),
                count(row.to)
            )
        });
        shown.collect()
    }

    fn rows(last: Option<usize>, filter: &Filter, entries: Vec<HistoryEntry>) -> Vec<String> {
        let mut rows = Rows::new(last);
        for entry in entries {
            rows.add(entry, filter);
        }
        short(rows)
    }

    #[test]
    fn a_change_has_the_time_until_it_was_served() {
        let entries = vec![
            change(0, 1, 2),
            at(1, "draining"),
            served(2, 1, 2, 2.0),
            // Overtaken before it was served.
            change(3, 2, 4),
            change(4, 4, 6),
            served(9, 4, 6, 5.0),
        ];
        assert_eq!(
            rows(None, &Filter::default(), entries),
            ["scale 1-2 2", "scale 2-4 -", "scale 4-6 5"]
        );
    }

    #[test]
    fn what_was_served_has_a_row_only_where_its_change_is_not_in_the_log() {
        let since = Filter {
            since: Some(Timestamp::from_unix(5)),
            ..Filter::default()
        };
        let entries = || vec![served(1, 1, 2, 1.0), change(4, 2, 3), served(6, 2, 3, 2.0)];
        assert_eq!(rows(None, &since, entries()), Vec::<String>::new());
        assert_eq!(
            rows(None, &Filter::default(), entries()),
            ["scaled 1-2 1", "scale 2-3 2"]
        );
    }

    #[test]
    fn the_last_rows_are_completed_too() {
        let entries = vec![
            change(0, 1, 2),
            change(1, 2, 3),
            change(2, 3, 4),
            served(3, 3, 4, 1.0),
        ];
        let last = |n| rows(Some(n), &Filter::default(), entries.clone());
        assert_eq!(last(2), ["scale 2-3 -", "scale 3-4 1"]);
        assert_eq!(last(0), Vec::<String>::new());
        // Its row is gone, and nobody else's is completed.
        let mut late = entries.clone();
        late.insert(
            3,
            HistoryEntry {
                level: EventLevel::Error,
                ..at(3, "failed")
            },
        );
        assert_eq!(rows(Some(1), &Filter::default(), late), ["failed ?-? -"]);
    }

    #[test]
    fn only_changes_is_what_it_says() {
        let changes = Filter {
            changes: true,
            ..Filter::default()
        };
        let entries = vec![at(0, "paused"), change(1, 1, 2), at(2, "died")];
        assert_eq!(rows(None, &changes, entries), ["scale 1-2 -"]);
    }

    #[test]
    fn a_row_for_scripts_has_every_name() {
        let row = at(0, "paused");
        assert_eq!(
            serde_json::to_string(&HistoryRow::of(&row)).unwrap(),
            r#"{"version":1,"time":"1970-01-01T00:00:00Z","service":"web","event":"paused","from":null,"to":null,"reason":null,"by":null,"metrics":{},"seconds":null,"message":""}"#
        );
    }
}
