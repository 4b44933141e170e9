//! How the watches fare, for those who must tell whether the routing is up to date.

use std::collections::BTreeMap;
use std::time::Instant;

use tokio::sync::watch;

use super::kind::Kind;

/// How one kind's watch fares.
#[derive(Clone, Debug, Default)]
pub struct WatchState {
    /// Whether the server answered the last request and has not ended its answer since.
    pub connected: bool,
    /// Whether the kind has been delivered completely at least once.
    pub listed: bool,
    /// When the server last said anything on this kind, bookmarks included (about one a minute).
    pub last_event: Option<Instant>,
    /// What went wrong last, until something goes well again.
    pub failure: Option<String>,
    /// How often the kind was listed from nothing, the first time included.
    pub lists: u64,
    /// How often a watch was closed at once without an event (kubernetes#73324).
    pub short_watches: u64,
}

/// How all watches fare.
pub type WatchStates = BTreeMap<Kind, WatchState>;

/// One kind's place in the states.
#[derive(Clone)]
pub(super) struct StateOf {
    kind: Kind,
    all: watch::Sender<WatchStates>,
}

impl StateOf {
    pub(super) fn new(kind: Kind, all: watch::Sender<WatchStates>) -> Self {
        Self { kind, all }
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut WatchState)) {
        self.all.send_modify(|states| change(states.entry(self.kind).or_default()));
    }
}
