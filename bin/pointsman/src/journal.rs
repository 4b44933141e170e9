//! The log: to standard error, as text or as JSON lines.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;

use crate::cli::{LogArguments, LogFormat};

/// Starts the log. Levels follow kube-proxy's `-v`: 0 and 1 what matters to an operator, 2 and 3
/// each sync, 4 and above each decision.
pub(crate) fn start(arguments: &LogArguments) {
    let level = match arguments.v {
        0 | 1 => LevelFilter::INFO,
        2 | 3 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    // The libraries below speak of connections and frames: of interest at the highest level alone.
    let libraries = if arguments.v >= 6 { "trace" } else { "error" };
    let filter = format!("{libraries},pointsman={level},sync={level},intake={level}");
    let log = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_target(false);
    match arguments.logging_format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}
