//! Log lines on standard error: a line of text for people, or a line of JSON for machines.

use std::{
    fmt,
    io::{self, IsTerminal},
    sync::OnceLock,
};

use jiff::ZonedDateTime;
use serde_json::{Map, Value};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer, time::FormatTime},
    registry::LookupSpan,
};

use super::{log_writer::Outs, plain_json};

/// The environment variable that sets the level, in `tracing`'s filter syntax.
pub const LEVEL: &str = "COMPOSE_SCALE_LOG";
/// The environment variable that sets the form, `text` or `json`.
pub const FORMAT: &str = "COMPOSE_SCALE_LOG_FORMAT";

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineFormat {
    /// For people.
    Text,
    /// An object on each line, with the names of `scaling.log`.
    Json,
}

/// The form of this process.
static CHOSEN: OnceLock<LineFormat> = OnceLock::new();

/// The time of day where the reader is.
struct LocalTime;

impl FormatTime for LocalTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{}", now().strftime("%Y-%m-%d %H:%M:%S"))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a log line is stamped with the machine's time; nothing is decided by it"
)]
fn now() -> ZonedDateTime {
    ZonedDateTime::now()
}

/// Starts logging: the filter of [`LEVEL`] where it is set, else `debug` when verbose, `warn` when quiet,
/// `info` otherwise.
pub fn start(verbose: bool, quiet: bool, format: LineFormat) {
    let fallback = match (verbose, quiet) {
        (true, _) => "compose_scale=debug,warn",
        (false, true) => "warn",
        (false, false) => "compose_scale=info,warn",
    };
    let filter = EnvFilter::try_from_env(LEVEL).unwrap_or_else(|_| EnvFilter::new(fallback));
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let _ = CHOSEN.set(format);
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Outs);
    // A second start (in tests) keeps the first one.
    let _ = match format {
        LineFormat::Text => log
            .with_ansi(colour)
            .with_target(false)
            .with_timer(LocalTime)
            .try_init(),
        LineFormat::Json => log.event_format(Json).try_init(),
    };
}

/// Whether standard error is for machines.
pub fn is_json() -> bool {
    CHOSEN.get() == Some(&LineFormat::Json)
}

/// Whether standard error may have pictures that move.
pub fn may_draw() -> bool {
    io::stderr().is_terminal() && !is_json()
}

/// A line of JSON, for what has to be said whatever the filter.
pub fn json_line(level: Level, message: &str, further: Vec<(&'static str, Value)>) -> String {
    let mut line = LogFields::default();
    line.0.extend(
        further
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value)),
    );
    line.0.insert("message".into(), message.into());
    line.text(level)
}

struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = LogFields::default();
        event.record(&mut line);
        writeln!(writer, "{}", line.text(*event.metadata().level()))
    }
}

/// The fields of a line, the message among them.
#[derive(Default)]
struct LogFields(Map<String, Value>);

impl LogFields {
    /// When and how bad first, the sentence last, as a reader looks for them.
    fn text(mut self, level: Level) -> String {
        let time = format!("{:.3}", now().timestamp());
        let level = level.as_str().to_ascii_lowercase();
        let message = self.0.remove("message").unwrap_or_else(|| "".into());
        let mut all = Map::from_iter([
            ("time".to_owned(), time.into()),
            ("level".to_owned(), level.into()),
        ]);
        all.append(&mut self.0);
        all.insert("message".into(), message);
        plain_json(&Value::from(all).to_string()).into_owned()
    }

    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for LogFields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_json_begins_with_its_time_and_ends_with_its_sentence() {
        let further = vec![("exit_code", 78.into())];
        let text = json_line(Level::ERROR, "two\nlines \u{9b}2J", further);
        assert!(!text.contains(['\n', '\u{9b}']), "{text}");
        let value: Value = serde_json::from_str(&text).unwrap();
        let names: Vec<_> = value.as_object().unwrap().keys().collect();
        assert_eq!(names, ["time", "level", "exit_code", "message"]);
        let time = value["time"].as_str().unwrap();
        assert!(
            time.parse::<jiff::Timestamp>().is_ok() && time.ends_with('Z'),
            "{time}"
        );
        assert_eq!(value["level"], "error");
        assert_eq!(value["message"], "two\nlines \u{9b}2J");
    }
}
