//! The log: to standard error, as text or as JSON lines.

use std::io::IsTerminal;
use std::sync::OnceLock;

use config::flags::LoggingFlags;
use config::{LogFormat, Logging};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::reload::Handle;

/// What a command without a configuration is to log.
pub(crate) fn of_flags(said: &LoggingFlags) -> Logging {
    let json = said.logging_format.as_deref() == Some("json");
    Logging {
        format: if json { LogFormat::Json } else { LogFormat::Text },
        verbosity: said.v.unwrap_or_default(),
    }
}

/// Replaces the filter of the log that was started.
type Refilter = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

static REFILTER: OnceLock<Refilter> = OnceLock::new();

/// Starts the log. Levels follow klog's `-v`: 0 and 1 what matters to an operator, 2 and 3 each
/// sync, 4 and above each decision.
pub(crate) fn start(logging: &Logging) {
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter(logging))
        .with_writer(std::io::stderr)
        .with_target(false);
    match logging.format {
        LogFormat::Text => {
            let log = log.with_ansi(std::io::stderr().is_terminal()).with_filter_reloading();
            remember(log.reload_handle());
            log.init();
        }
        LogFormat::Json => {
            let log = log.json().flatten_event(true).with_filter_reloading();
            remember(log.reload_handle());
            log.init();
        }
    }
}

/// Logs as finely as is wanted now; the form stays.
pub(crate) fn change(logging: &Logging) {
    let Some(refilter) = REFILTER.get() else { return };
    if let Err(error) = refilter(filter(logging)) {
        tracing::warn!("the log stays as it is: {error}");
    }
}

fn remember<S: 'static>(handle: Handle<EnvFilter, S>) {
    let refilter = move |filter| handle.reload(filter).map_err(|error| error.to_string());
    // Only the first log of a process counts.
    let _ = REFILTER.set(Box::new(refilter));
}

fn filter(logging: &Logging) -> EnvFilter {
    let level = match logging.verbosity {
        0 | 1 => LevelFilter::INFO,
        2 | 3 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    // The libraries below speak of connections and frames: of interest at the highest level alone.
    let libraries = if logging.verbosity >= 6 { "trace" } else { "error" };
    let own = ["pointsman", "sync", "intake", "dns", "health"];
    EnvFilter::new(
        own.iter().fold(libraries.to_owned(), |all, name| format!("{all},{name}={level}")),
    )
}
