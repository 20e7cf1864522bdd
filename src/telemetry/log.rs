//! Log lines on standard error.

use std::{fmt, io::IsTerminal};

use jiff::ZonedDateTime;
use tracing_subscriber::{
    EnvFilter,
    fmt::{format::Writer, time::FormatTime},
};

/// The environment variable that sets the level, in `tracing`'s filter syntax.
pub const LEVEL: &str = "COMPOSE_SCALE_LOG";

/// The time of day where the reader is.
struct LocalTime;

impl FormatTime for LocalTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        #[expect(
            clippy::disallowed_methods,
            reason = "a log line is stamped with the machine's time; nothing is decided by it"
        )]
        let now = ZonedDateTime::now();
        write!(writer, "{}", now.strftime("%Y-%m-%d %H:%M:%S"))
    }
}

/// Starts logging: the filter of [`LEVEL`] where it is set, else `debug` when verbose, `warn` when quiet,
/// `info` otherwise.
pub fn start(verbose: bool, quiet: bool) {
    let fallback = match (verbose, quiet) {
        (true, _) => "compose_scale=debug,warn",
        (false, true) => "warn",
        (false, false) => "compose_scale=info,warn",
    };
    let filter = EnvFilter::try_from_env(LEVEL).unwrap_or_else(|_| EnvFilter::new(fallback));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // A second start (in tests) keeps the first one.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .with_target(false)
        .with_timer(LocalTime)
        .try_init();
}
