//! `compose-scale history`: what `scaling.log` has, for people, for scripts, and as a chart.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use clap::Args;
use jiff::tz::TimeZone;

use self::{chart::HistoryChart, rows::Rows, table::Table};
use super::{
    Failure, ProjectArgs, driver_setup::Signals, environment, output, ps::PsFormat, state_dir,
};
use crate::{
    compose,
    state::{HistoryEntry, LogHistory, LogPiece, StateDir},
    units::{Span, Timestamp},
    watch::RunClock,
};

mod chart;
mod rows;
mod table;

/// How often it is looked for what was appended.
const LOOK: Duration = Duration::from_millis(200);
/// Rows that are rendered at once.
const AT_ONCE: usize = 1000;
/// Damaged lines of a log that are named one by one.
const NAMED: usize = 10;

#[derive(Debug, Args)]
pub(super) struct HistoryArgs {
    /// Only entries since then: an age like 2h, or a time like 2026-01-01T12:00:00Z
    #[arg(long, value_name = "SPAN|TIME", value_parser = since)]
    since: Option<Since>,
    /// Only this service; may be repeated
    #[arg(long = "service", value_name = "NAME")]
    services: Vec<String>,
    /// Only changes of a replica count, no failures
    #[arg(long)]
    changes: bool,
    /// Only the last N rows
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    last: Option<u32>,
    /// Continue with new entries until Ctrl-C
    #[arg(long)]
    follow: bool,
    /// Draw replicas over time instead of rows
    #[arg(long, conflicts_with_all = ["changes", "last", "follow", "format"])]
    chart: bool,
    /// Output format; json prints one line per row
    #[arg(long, value_enum, default_value_t = PsFormat::Table)]
    format: PsFormat,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Since {
    Ago(Span),
    Time(Timestamp),
}

fn since(text: &str) -> Result<Since, String> {
    let ago = text.parse().map(Since::Ago);
    ago.or_else(|_| text.parse().map(Since::Time)).map_err(|_| {
        "expected a duration like 2h or 1h30m, or a time like 2026-01-01T12:00:00Z".to_owned()
    })
}

/// Which lines become rows.
#[derive(Debug, Default)]
struct Filter {
    since: Option<Timestamp>,
    services: Vec<String>,
    changes: bool,
}

impl Filter {
    fn is_about(&self, entry: &HistoryEntry) -> bool {
        self.services.is_empty() || self.services.contains(&entry.service)
    }

    fn is_recent(&self, entry: &HistoryEntry) -> bool {
        self.since.is_none_or(|since| entry.time >= since)
    }
}

pub(super) async fn run(project: &ProjectArgs, args: HistoryArgs) -> Result<(), Failure> {
    // From here on, so that Ctrl-C is no failure at any time.
    let signals = args.follow.then(Signals::listen).transpose()?;
    let clock = RunClock::start();
    let place = HistorySource::find(project)?;
    let mut history = place.state.history()?;
    let filter = Filter {
        since: args.since.map(|since| match since {
            Since::Ago(span) => clock.now() - span.0,
            Since::Time(time) => time,
        }),
        services: args.services,
        changes: args.changes,
    };
    let mut faults = Faults::default();
    let mut known = KnownServices::default();
    let mut rows = Rows::new(args.last.map(|last| last as usize));
    let mut chart = args.chart.then(HistoryChart::default);
    let each = |piece: LogPiece| {
        let Some(entry) = faults.sort_out(piece) else {
            return;
        };
        known.hear_of(&entry.service);
        if filter.is_about(&entry) {
            match &mut chart {
                Some(chart) => chart.add(&entry, &filter),
                None => rows.add(entry, &filter),
            }
        }
    };
    if args.follow {
        history.read(each)?;
    } else {
        history.read_to_end(each)?;
    }
    faults.report();
    place.check(&filter.services, &known.0)?;

    let zone = TimeZone::system();
    let mut printer = Printer::new(args.format, zone.clone());
    if history.is_empty() {
        place.say_that_there_is_nothing(args.format)?;
    } else if let Some(chart) = chart {
        return output::write(chart.draw(&filter, clock.now(), width(), &zone).as_bytes());
    } else if rows.is_empty() && !args.follow {
        printer.nothing(&filter)?;
    } else {
        printer.print(&rows.take(), clock.now())?;
    }
    match signals {
        Some(signals) => follow(history, signals, clock, &filter, printer).await,
        None => Ok(()),
    }
}

/// Prints what is appended, until somebody has seen enough.
async fn follow(
    mut history: LogHistory,
    mut signals: Signals,
    clock: RunClock,
    filter: &Filter,
    mut printer: Printer,
) -> Result<(), Failure> {
    loop {
        tokio::select! {
            () = signals.stop.cancelled() => return Ok(()),
            // The terminal is gone.
            _ = signals.hangups.recv() => return Ok(()),
            () = tokio::time::sleep(LOOK) => {}
        }
        let mut faults = Faults::default();
        let mut rows = Rows::new(None);
        history.read(|piece| {
            if let Some(entry) = faults.sort_out(piece)
                && filter.is_about(&entry)
            {
                // What is printed cannot be completed any more, so its end gets a row.
                rows.add_alone(entry, filter);
            }
        })?;
        faults.report();
        if !rows.is_empty() {
            printer.print(&rows.take(), clock.now())?;
        }
    }
}

/// Where the log is, and which services the project has.
struct HistorySource {
    state: StateDir,
    /// `None` where the compose file cannot be used.
    services: Option<BTreeSet<String>>,
}

impl HistorySource {
    /// Files that cannot be used, or are gone, are no obstacle where there is a log.
    fn find(project: &ProjectArgs) -> Result<Self, Failure> {
        let request = project.request(&[])?;
        let error = match compose::load(&request) {
            Ok(loaded) => {
                return Ok(Self {
                    state: state_dir(&loaded),
                    services: Some(loaded.project.services.keys().cloned().collect()),
                });
            }
            Err(error) => error,
        };
        let failure = Failure::from(error);
        let likely = project.state_despite(&failure).or_else(|| {
            let name = compose::likely_name_without_files(&request)?;
            Some(StateDir::locate(&environment(), &name))
        });
        match likely {
            // A name that was guessed is right where there is a log.
            Some(state) if !state.history()?.is_empty() => Ok(Self {
                state,
                services: None,
            }),
            _ => Err(failure),
        }
    }

    /// Whether somebody asks for services that nobody has heard of.
    fn check(&self, asked: &[String], logged: &BTreeSet<String>) -> Result<(), Failure> {
        let has = |services: &BTreeSet<String>| {
            let names: Vec<_> = services.iter().map(String::as_str).collect();
            names.join(", ")
        };
        let project = self.services.clone().unwrap_or_default();
        let all: BTreeSet<_> = project.union(logged).cloned().collect();
        let unknown: BTreeSet<_> = asked
            .iter()
            .filter(|name| !all.contains(*name))
            .cloned()
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let there = match &self.services {
            Some(_) => format!("this project and its history have {}", has(&all)),
            None => format!(
                "the compose file cannot be used; the history has {}",
                has(&all)
            ),
        };
        Err(Failure::Usage(format!(
            "no such service: {}; {there}",
            has(&unknown)
        )))
    }

    /// For a project that was never scaled.
    fn say_that_there_is_nothing(&self, format: PsFormat) -> Result<(), Failure> {
        let text = format!(
            "nothing is recorded yet: {} is created with the first change",
            self.state.log_path().display()
        );
        match format {
            PsFormat::Table => output::line(&text),
            PsFormat::Json => {
                tracing::info!("{}", crate::telemetry::plain(&text));
                Ok(())
            }
        }
    }
}

/// Services that the log knows.
#[derive(Default)]
struct KnownServices(BTreeSet<String>);

impl KnownServices {
    fn hear_of(&mut self, service: &str) {
        if !self.0.contains(service) {
            self.0.insert(service.to_owned());
        }
    }
}

/// What is not as it should be in the log.
#[derive(Default)]
struct Faults {
    /// By log, the oldest first.
    damaged: Vec<(PathBuf, Vec<u64>)>,
    gap: bool,
}

impl Faults {
    /// The entry, if it is one.
    fn sort_out(&mut self, piece: LogPiece) -> Option<HistoryEntry> {
        match piece {
            LogPiece::Entry(entry) => return Some(*entry),
            LogPiece::Gap => self.gap = true,
            LogPiece::Damaged { file, line } => match self.damaged.last_mut() {
                Some((last, lines)) if *last == file => lines.push(line),
                _ => self.damaged.push((file, vec![line])),
            },
        }
        None
    }

    fn report(&self) {
        if self.gap {
            tracing::warn!(
                "logs were rotated faster than they could be read; some entries are missing"
            );
        }
        if !self.damaged.is_empty() {
            let logs: Vec<_> = self.damaged.iter().map(in_words).collect();
            let text = logs.join("; ");
            tracing::warn!(
                "damaged lines are skipped: {}",
                crate::telemetry::plain(&text)
            );
        }
    }
}

/// `/var/lib/…/scaling.log lines 3, 17`.
fn in_words((file, lines): &(PathBuf, Vec<u64>)) -> String {
    let named: Vec<_> = lines.iter().take(NAMED).map(u64::to_string).collect();
    let more = match lines.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let word = if lines.len() == 1 { "line" } else { "lines" };
    format!("{} {word} {}{more}", file.display(), named.join(", "))
}

/// Writes rows in the form that was asked for.
struct Printer {
    format: PsFormat,
    table: Table,
}

impl Printer {
    fn new(format: PsFormat, zone: TimeZone) -> Self {
        Self {
            format,
            table: Table::new(zone),
        }
    }

    fn print(&mut self, rows: &[HistoryEntry], now: Timestamp) -> Result<(), Failure> {
        match self.format {
            PsFormat::Json => output::json_lines(rows.iter().map(rows::HistoryRow::of)),
            PsFormat::Table => {
                self.table.make_room(rows, now);
                // None is a part too: below the header of a follower there may be nothing yet.
                let (first, rest) = rows.split_at(rows.len().min(AT_ONCE));
                for part in [first].into_iter().chain(rest.chunks(AT_ONCE)) {
                    output::write(self.table.render(part, now).as_bytes())?;
                }
                Ok(())
            }
        }
    }

    /// For a log that has nothing of what was asked for.
    fn nothing(&self, filter: &Filter) -> Result<(), Failure> {
        if self.format == PsFormat::Json {
            return Ok(());
        }
        let what = if filter.changes {
            "no change"
        } else {
            "nothing"
        };
        let mut text = format!("{what} is recorded");
        if !filter.services.is_empty() {
            text = format!("{text} of {}", filter.services.join(", "));
        }
        if let Some(since) = filter.since {
            let since = since.0.to_zoned_datetime(self.table.zone().clone());
            text = format!("{text} since {}", since.strftime("%Y-%m-%d %H:%M:%S %Z"));
        }
        output::line(&text)
    }
}

/// The width of the terminal, or of a sheet of paper.
fn width() -> usize {
    let columns = rustix::termios::tcgetwinsize(std::io::stdout()).map(|size| size.ws_col);
    columns.ok().filter(|n| *n > 0).map_or(80, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_span_or_a_time() {
        assert_eq!(since("2h"), Ok(Since::Ago(Span::seconds(7200))));
        let noon = Since::Time("2026-01-01T12:00:00Z".parse().unwrap());
        assert_eq!(since("2026-01-01T12:00:00Z"), Ok(noon));
        assert_eq!(since("2026-01-01T13:00:00+01:00"), Ok(noon));
        for wrong in ["90", "yesterday", "2026-01-01", "-2h", ""] {
            let error = since(wrong).unwrap_err();
            assert!(error.starts_with("expected a duration like 2h"), "{wrong}");
        }
    }

    #[test]
    fn damaged_lines_are_named_by_log_and_not_without_end() {
        let mut faults = Faults::default();
        for line in [3, 17] {
            faults.sort_out(LogPiece::Damaged {
                file: "/s/scaling.log.1".into(),
                line,
            });
        }
        faults.sort_out(LogPiece::Damaged {
            file: "/s/scaling.log".into(),
            line: 8,
        });
        let said: Vec<_> = faults.damaged.iter().map(in_words).collect();
        assert_eq!(
            said,
            ["/s/scaling.log.1 lines 3, 17", "/s/scaling.log line 8"]
        );
        let many = ("/l".into(), (1..=12).collect());
        assert_eq!(
            in_words(&many),
            "/l lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 2 more"
        );
    }
}
