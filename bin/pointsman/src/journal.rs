//! The log: to standard error, as text or as JSON lines.

use std::io::IsTerminal;
use std::sync::OnceLock;

use config::flags::LoggingFlags;
use config::{LogFormat, Logging};
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::Layer;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt as _;

/// What a command without a configuration is to log.
pub(crate) fn of_flags(said: &LoggingFlags) -> Logging {
    let json = said.logging_format.as_deref() == Some("json");
    Logging {
        format: if json { LogFormat::Json } else { LogFormat::Text },
        verbosity: said.v.unwrap_or_default(),
    }
}

/// Replaces the filter of the log that was started.
type Refilter = Box<dyn Fn(Targets) -> Result<(), String> + Send + Sync>;

static REFILTER: OnceLock<Refilter> = OnceLock::new();

/// Starts the log. Levels follow klog's `-v`: 0 and 1 what matters to an operator, 2 and 3 each
/// sync, 4 and above each decision.
pub(crate) fn start(logging: &Logging) {
    let (filter, handle) = reload::Layer::new(filter(logging));
    remember(handle);
    let log = tracing_subscriber::registry().with(filter);
    match logging.format {
        LogFormat::Text => log.with(lines().with_ansi(std::io::stderr().is_terminal())).init(),
        LogFormat::Json => log.with(lines().json().flatten_event(true)).init(),
    }
}

/// One line for each event, to standard error.
fn lines<S>() -> Layer<
    S,
    tracing_subscriber::fmt::format::DefaultFields,
    tracing_subscriber::fmt::format::Format,
    fn() -> std::io::Stderr,
>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    tracing_subscriber::fmt::layer().with_writer(std::io::stderr as fn() -> _).with_target(false)
}

/// Starts the log of the process that holds a lab.
#[cfg(feature = "lab")]
pub(crate) fn of_lab() {
    let own = ["pointsman", "lab_cluster", "lab_api"].map(|name| (name, LevelFilter::INFO));
    let filter = Targets::new().with_default(LevelFilter::ERROR).with_targets(own);
    tracing_subscriber::registry().with(filter).with(lines().with_ansi(false)).init();
}

/// Logs as finely as is wanted now; the form stays.
pub(crate) fn change(logging: &Logging) {
    let Some(refilter) = REFILTER.get() else { return };
    if let Err(error) = refilter(filter(logging)) {
        tracing::warn!("the log stays as it is: {error}");
    }
}

fn remember<S: 'static>(handle: Handle<Targets, S>) {
    let refilter = move |filter| handle.reload(filter).map_err(|error| error.to_string());
    // Only the first log of a process counts.
    let _ = REFILTER.set(Box::new(refilter));
}

fn filter(logging: &Logging) -> Targets {
    let level = match logging.verbosity {
        0 | 1 => LevelFilter::INFO,
        2 | 3 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    // The libraries below speak of connections and frames: of interest at the highest level alone.
    let libraries = if logging.verbosity >= 6 { LevelFilter::TRACE } else { LevelFilter::ERROR };
    let own = ["pointsman", "sync", "intake", "dns", "health"];
    Targets::new().with_default(libraries).with_targets(own.map(|name| (name, level)))
}
