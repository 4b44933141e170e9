//! The log: to standard error, as text or as JSON lines.

use std::io::IsTerminal;

use config::flags::LoggingFlags;
use config::{LogFormat, Logging};
use tracing::level_filters::LevelFilter;

/// What a command without a configuration is to log.
pub(crate) fn of_flags(said: &LoggingFlags) -> Logging {
    let json = said.logging_format.as_deref() == Some("json");
    Logging {
        format: if json { LogFormat::Json } else { LogFormat::Text },
        verbosity: said.v.unwrap_or_default(),
    }
}

/// Starts the log. Levels follow klog's `-v`: 0 and 1 what matters to an operator, 2 and 3 each
/// sync, 4 and above each decision.
pub(crate) fn start(logging: &Logging) {
    let level = match logging.verbosity {
        0 | 1 => LevelFilter::INFO,
        2 | 3 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    // The libraries below speak of connections and frames: of interest at the highest level alone.
    let libraries = if logging.verbosity >= 6 { "trace" } else { "error" };
    let own = ["pointsman", "sync", "intake", "dns", "health"];
    let filter = own.iter().fold(libraries.to_owned(), |all, name| format!("{all},{name}={level}"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_target(false);
    match logging.format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}
