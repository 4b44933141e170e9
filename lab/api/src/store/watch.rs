//! Watching.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::watch::Receiver;
use tokio::time::Instant;

use super::state::{Change, State};
use super::{Object, Store};
use crate::object::{namespace, set};
use crate::schema::zero;
use crate::{ApiError, Resource, Selector};

/// What a watch is asked for.
#[derive(Clone, Debug, Default)]
pub struct WatchOptions {
    /// Which objects.
    pub selector: Selector,
    /// After which resourceVersion; nothing, and 0, begin with what there is.
    pub version: Option<u64>,
    /// Whether quiet times are bridged by bookmarks.
    pub bookmarks: bool,
    /// `sendInitialEvents`: whether the list comes as events, ended by a bookmark that says so.
    pub initial_events: Option<bool>,
}

/// What a watch says.
#[derive(Clone, Debug)]
pub enum WatchEvent {
    /// An object is new, or is selected now.
    Added(Object),
    /// An object has changed.
    Modified(Object),
    /// An object is gone, or is selected no more.
    Deleted(Object),
    /// Nothing has happened up to the resourceVersion of this otherwise empty object.
    Bookmark(Object),
    /// The watch is over: its place in the history is forgotten.
    Error(ApiError),
}

/// The events of a resource, one after the other.
#[derive(Debug)]
pub struct Watch {
    store: Store,
    resource: &'static Resource,
    namespace: Option<String>,
    options: WatchOptions,
    /// Everything up to here is told.
    position: u64,
    waiting: VecDeque<WatchEvent>,
    newest: Receiver<u64>,
    last: Instant,
    over: bool,
}

impl Store {
    /// Watches a resource, in one namespace or in all.
    ///
    /// # Errors
    /// [`ApiError::TooLargeResourceVersion`] for initial events at a version that is still to
    /// come. A version that is forgotten is told by the watch itself.
    pub fn watch(
        &self,
        resource: &'static Resource,
        namespace: Option<&str>,
        options: WatchOptions,
    ) -> Result<Watch, ApiError> {
        let newest = self.shared.newest.subscribe();
        let state = self.lock();
        let asked = options.version.unwrap_or(0);
        if options.initial_events == Some(true) && asked > state.version {
            return Err(ApiError::TooLargeResourceVersion { asked, current: state.version });
        }
        let from_present = asked == 0 || options.initial_events == Some(true);
        let tells_present = options.initial_events.unwrap_or(asked == 0);
        let mut watch = Watch {
            store: self.clone(),
            resource,
            namespace: namespace.map(str::to_owned),
            position: if from_present { state.version } else { asked },
            options,
            waiting: VecDeque::new(),
            newest,
            last: Instant::now(),
            over: false,
        };
        if tells_present {
            watch.tell_present(&state);
        }
        if watch.options.initial_events == Some(true) && watch.options.bookmarks {
            watch.waiting.push_back(WatchEvent::Bookmark(watch.bookmark(true)));
        }
        drop(state);
        Ok(watch)
    }
}

impl Watch {
    /// The next event; nothing after an error. Safe to drop while it waits.
    pub async fn next(&mut self) -> Option<WatchEvent> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                self.over = matches!(event, WatchEvent::Error(_));
                self.last = Instant::now();
                return Some(event);
            }
            if self.over {
                return None;
            }
            self.newest.mark_unchanged();
            self.gather();
            if !self.waiting.is_empty() {
                continue;
            }
            let quiet = self.last + self.store.options().bookmarks;
            tokio::select! {
                changed = self.newest.changed() => {
                    // The sender lives in the store, which this watch holds.
                    changed.ok()?;
                }
                () = tokio::time::sleep_until(quiet), if self.options.bookmarks => {
                    let bookmark = self.bookmark(false);
                    self.waiting.push_back(WatchEvent::Bookmark(bookmark));
                }
            }
        }
    }

    /// The events that are there now, without waiting for more.
    pub fn ready(&mut self) -> Vec<WatchEvent> {
        if !self.over {
            self.gather();
        }
        self.over |= self.waiting.iter().any(|event| matches!(event, WatchEvent::Error(_)));
        self.waiting.drain(..).collect()
    }

    /// A bookmark of the present position.
    #[must_use]
    pub fn position(&self) -> Object {
        self.bookmark(false)
    }

    fn tell_present(&mut self, state: &State) {
        for object in state.all(self.resource) {
            if self.is_about(object) {
                self.waiting.push_back(WatchEvent::Added(object.clone()));
            }
        }
    }

    fn is_about(&self, object: &Value) -> bool {
        let here = self.namespace.as_deref().is_none_or(|wanted| wanted == namespace(object));
        here && self.options.selector.matches(object)
    }

    fn gather(&mut self) {
        let store = self.store.clone();
        let state = store.lock();
        let changes = match state.since(self.resource, self.position) {
            Ok(changes) => changes,
            Err(error) => {
                self.waiting.push_back(WatchEvent::Error(error));
                return;
            }
        };
        let events: Vec<_> = changes.filter_map(|change| self.event(change)).collect();
        self.waiting.extend(events);
        self.position = self.position.max(state.version);
    }

    /// What a change is to a watch that sees a part of the objects.
    fn event(&self, change: &Change) -> Option<WatchEvent> {
        let was = change.before.as_ref().filter(|object| self.is_about(object));
        let is = change.after.as_ref().filter(|object| self.is_about(object));
        match (was, is) {
            (None, Some(object)) => Some(WatchEvent::Added(object.clone())),
            (Some(_), Some(object)) => Some(WatchEvent::Modified(object.clone())),
            (Some(before), None) => {
                // What was selected last, at the version at which that ended.
                let object = change.last.clone().unwrap_or_else(|| {
                    let mut object = (**before).clone();
                    let version = change.version.to_string();
                    set(&mut object, &["metadata", "resourceVersion"], version);
                    Arc::new(object)
                });
                Some(WatchEvent::Deleted(object))
            }
            (None, None) => None,
        }
    }

    fn bookmark(&self, end_of_list: bool) -> Object {
        let mut object = zero(self.resource.message);
        set(&mut object, &["kind"], self.resource.kind);
        set(&mut object, &["apiVersion"], self.resource.api_version());
        set(&mut object, &["metadata", "resourceVersion"], self.position.to_string());
        if end_of_list {
            let annotations = json!({"k8s.io/initial-events-end": "true"});
            set(&mut object, &["metadata", "annotations"], annotations);
        }
        Arc::new(object)
    }
}
