//! Watching a folder, and handing on what it says whenever that changes.
//!
//! The kernel announces changes (inotify). What it cannot announce is found by comparing the files'
//! stamps once a second: a link's target elsewhere, a folder that is replaced, a network mount.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use model::{Change, Notice};
use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::files::{self, Stamps};
use super::manifest::{self, FileContents, Files, Key, Manifest};
use super::{FolderContents, FolderSource, assemble, notice_of};
use crate::{Delivery, Error};

/// How long a folder must be quiet before it is read: an editor writes in several steps.
const QUIET: Duration = Duration::from_millis(50);
/// A folder that is never quiet is read nevertheless.
const RESTLESS: Duration = Duration::from_secs(1);
/// How long a file that lost all its content may still be about to get some.
const ABOUT_TO_WRITE: Duration = Duration::from_millis(500);
/// How often stamps are compared.
const COMPARE: Duration = Duration::from_secs(1);

impl FolderSource {
    /// Sends all that the folder says, and again whenever that changes. Returns when nobody listens
    /// any more.
    ///
    /// A document that can no longer be read costs nothing: what its file last gave stays, unless
    /// another manifest gives it. A folder that vanishes leaves everything as it was.
    ///
    /// # Errors
    /// [`Error::Folder`] if the folder cannot be read at the start. Later the same is a notice.
    pub async fn run(self, deliveries: Sender<Delivery>) -> Result<(), Error> {
        let mut watch = Watch::new(self.path);
        let mut contents = watch.read().await?;
        loop {
            if let Some(delivery) = watch.delivery(contents)
                && deliveries.send(delivery).await.is_err()
            {
                return Ok(());
            }
            tokio::select! {
                () = watch.change() => {}
                () = deliveries.closed() => return Ok(()),
            }
            contents = match watch.read().await {
                Ok(contents) => contents,
                Err(error) => watch.kept(&error),
            };
        }
    }
}

struct Watch {
    path: PathBuf,
    announced: Arc<Notify>,
    watcher: Option<RecommendedWatcher>,
    /// Nothing while the folder cannot be read.
    stamps: Option<Stamps>,
    /// What each file last gave.
    known: Files,
    /// What was sent last.
    sent: Option<(Vec<Change>, Vec<Notice>)>,
}

impl Watch {
    fn new(path: PathBuf) -> Self {
        Self {
            path,
            announced: Arc::new(Notify::new()),
            watcher: None,
            stamps: None,
            known: Files::new(),
            sent: None,
        }
    }

    /// Asks the kernel for announcements, anew if the folder is another one. Without them the
    /// stamps alone tell of changes, a second late at most.
    fn subscribe(&mut self) {
        let announced = self.announced.clone();
        let hear = move |event: notify::Result<notify::Event>| {
            if event.map_or(true, |event| is_change(&event.kind)) {
                announced.notify_one();
            }
        };
        // Links lead anywhere; what is behind them is left to the stamps.
        let config = notify::Config::default().with_follow_symlinks(false);
        let watcher = RecommendedWatcher::new(hear, config).and_then(|mut watcher| {
            watcher.watch(&self.path, RecursiveMode::Recursive)?;
            Ok(watcher)
        });
        self.watcher = watcher
            .inspect_err(|error| {
                let path = self.path.display();
                tracing::debug!("no announcements for {path}: {error}; it is compared instead");
            })
            .ok();
    }

    /// Waits until the folder changed, and is quiet.
    async fn change(&mut self) {
        loop {
            let compare = Instant::now() + COMPARE;
            tokio::select! {
                () = self.announced.notified() => break,
                () = sleep_until(compare) => {
                    let path = self.path.clone();
                    let listing = blocking(&self.path, move || files::list(&path)).await;
                    let stamps = listing.ok().map(|listing| listing.stamps());
                    if stamps != self.stamps {
                        break;
                    }
                }
            }
        }
        let latest = Instant::now() + RESTLESS;
        while Instant::now() < latest {
            let quiet = Instant::now() + QUIET;
            if timeout_at(quiet.min(latest), self.announced.notified()).await.is_err() {
                break;
            }
        }
    }

    /// Reads the folder; what broken files last gave is kept.
    async fn read(&mut self) -> Result<FolderContents, Error> {
        if self.watcher.is_none() {
            self.subscribe();
        }
        let (mut stamps, mut files) = self.load().await?;
        if files.iter().any(|(name, file)| file.is_empty && self.gave_something(name)) {
            sleep(ABOUT_TO_WRITE).await;
            (stamps, files) = self.load().await?;
        }
        if self.stamps.as_ref().is_some_and(|before| before.root != stamps.root) {
            self.subscribe();
        }
        self.stamps = Some(stamps);
        keep_of_broken(&mut files, &mut self.known);
        let mut contents = assemble(files.values());
        let errors = files.values().flat_map(|file| &file.errors);
        contents.notices.extend(errors.map(notice_of));
        self.known = files;
        Ok(contents)
    }

    async fn load(&self) -> Result<(Stamps, Files), Error> {
        let path = self.path.clone();
        blocking(&self.path, move || manifest::load(&path)).await
    }

    fn gave_something(&self, file: &Arc<str>) -> bool {
        self.known.get(file).is_some_and(|known| !known.manifests.is_empty())
    }

    /// The folder as a whole cannot be read: everything stays, and a notice says so.
    fn kept(&mut self, error: &Error) -> FolderContents {
        (self.stamps, self.watcher) = (None, None);
        let mut contents = assemble(self.known.values());
        contents.notices.push(notice_of(error));
        contents
    }

    /// What to send, unless all of it was sent before.
    fn delivery(&mut self, contents: FolderContents) -> Option<Delivery> {
        let FolderContents { changes, notices, allocated, allocated_node_ports, .. } = contents;
        let (same_facts, same_notices) = match &self.sent {
            Some(sent) => (sent.0 == changes, sent.1 == notices),
            None => (false, false),
        };
        if same_facts && same_notices {
            return None;
        }
        if !same_facts {
            for (service, address) in allocated {
                tracing::info!(%service, %address, "its manifest names no cluster IP: chosen");
            }
            for (service, port) in allocated_node_ports {
                tracing::info!(%service, port, "its manifest names no node port: chosen");
            }
        }
        self.sent = Some((changes.clone(), notices.clone()));
        let changes = if same_facts { Vec::new() } else { changes };
        Some(Delivery { changes, notices, complete: true })
    }
}

/// Our own reading opens files and folders, which is announced as well.
fn is_change(kind: &EventKind) -> bool {
    match kind {
        EventKind::Access(access) => *access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

/// Adds what a broken file gave before to what it gives now, except what some file gives now. A
/// folder that cannot be listed counts as broken with all that was in it.
fn keep_of_broken(files: &mut Files, known: &mut Files) {
    let given: BTreeSet<Key> = files
        .values()
        .flat_map(|file| file.manifests.iter().map(|manifest| manifest.key.clone()))
        .collect();
    let broken: Vec<Arc<str>> = files
        .iter()
        .filter(|(_, file)| !file.errors.is_empty())
        .map(|(name, _)| name.clone())
        .collect();
    for name in broken {
        let within = format!("{name}/");
        let lost: Vec<Arc<str>> = known
            .keys()
            .filter(|known| **known == name || known.starts_with(&within))
            .filter(|known| **known == name || !files.contains_key(*known))
            .cloned()
            .collect();
        for file in lost {
            let Some(before) = known.remove(&file) else { continue };
            let kept = before.manifests.into_iter().filter(|it| !given.contains(&it.key));
            let kept: Vec<Manifest> = kept.collect();
            let place: &mut FileContents = files.entry(file).or_default();
            place.manifests.extend(kept);
        }
    }
}

async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|stopped| {
        Err(Error::Folder { path: path.into(), source: io::Error::other(stopped) })
    })
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
