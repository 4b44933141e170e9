//! The file of `--config`, while the agent runs: what can follow a change does so at once, and for
//! the rest the process ends, so that its supervisor starts it anew.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use config::flags::ProxyFlags;
use config::{Meant, Part, Reload};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;
use tracing::{debug, info, warn};

use crate::agent::Order;
use crate::commands::run::{rest, serving};
use crate::views::health::Served;
use crate::{journal, tuning};

/// A ConfigMap is replaced, and an editor writes, in several steps.
const QUIET: Duration = Duration::from_millis(100);
/// How often the file is read though nobody announced anything: not every file system does.
const COMPARE: Duration = Duration::from_secs(5);

/// What a new configuration reaches.
pub(crate) struct Reach {
    pub(crate) orders: UnboundedSender<Order>,
    /// Health and metrics, where they are served.
    pub(crate) served: Option<Served>,
}

/// Follows the file, if there is one, for as long as every change can be followed in place.
///
/// # Errors
/// What asks for a new start.
pub(crate) async fn follow(said: &ProxyFlags, mut meant: Meant, reach: &Reach) -> Result<()> {
    let Some(path) = meant.config_file.clone() else {
        return std::future::pending().await;
    };
    let announced = Arc::new(Notify::new());
    let mut watcher = watch(&path, announced.clone());
    let mut seen = std::fs::read_to_string(&path).ok();
    loop {
        tokio::select! {
            () = announced.notified() => tokio::time::sleep(QUIET).await,
            () = tokio::time::sleep(COMPARE) => {}
        }
        if watcher.is_none() {
            watcher = watch(&path, announced.clone());
        }
        let text = std::fs::read_to_string(&path).ok();
        if text == seen {
            continue;
        }
        seen = text;
        match config::load(said, &crate::commands::run::host_name()) {
            Ok((new, warnings)) => {
                warnings.iter().for_each(|warning| warn!("{warning}"));
                apply(&meant, &new, &path, reach)?;
                meant = new;
            }
            Err(error) => warn!("{error}; the configuration in force stays"),
        }
    }
}

/// Watches the folder: the file itself may be a link that is replaced.
fn watch(path: &Path, announced: Arc<Notify>) -> Option<RecommendedWatcher> {
    let folder = path.parent().filter(|folder| *folder != Path::new("")).map(Path::to_path_buf);
    let folder = folder.unwrap_or_else(|| PathBuf::from("."));
    let hear = move |_event| announced.notify_one();
    let watcher = notify::recommended_watcher(hear).and_then(|mut watcher| {
        watcher.watch(&folder, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    watcher
        .inspect_err(|error| {
            debug!("no announcements for {}: {error}; it is compared instead", folder.display());
        })
        .ok()
}

fn apply(old: &Meant, new: &Meant, path: &Path, reach: &Reach) -> Result<()> {
    let parts = match config::reload(old, new) {
        Reload::InPlace(parts) => parts,
        Reload::Restart(fixed) => {
            let what: Vec<String> = fixed.iter().map(ToString::to_string).collect();
            bail!(
                "{}: what has changed asks for a new start: {}; the rules stay in place",
                path.display(),
                what.join("; ")
            );
        }
    };
    if parts.is_empty() {
        return Ok(());
    }
    info!("{}: changed in place: {parts:?}", path.display());
    if parts.contains(&Part::Verbosity) {
        journal::change(&new.logging);
    }
    if parts.contains(&Part::Conntrack) {
        tuning::conntrack(&new.conntrack);
    }
    if parts.contains(&Part::OomScore) {
        tuning::oom_score(new.oom_score_adj);
    }
    if let Some(served) = &reach.served {
        served.change(serving(new)?);
    }
    let order = Order {
        routing: parts.contains(&Part::Routing).then(|| new.routing.clone()),
        rest: parts.contains(&Part::Pace).then(|| rest(new)),
    };
    // The agent is gone only when everything ends.
    let _ = reach.orders.send(order);
    Ok(())
}
