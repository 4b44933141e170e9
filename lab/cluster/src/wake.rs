//! What lets a controller sleep until something has changed.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use lab_api::{ApiError, Resource, Store, WatchEvent, WatchOptions};
use tokio::runtime::Handle;
use tracing::warn;

/// A bell. Clones ring the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bell {
    shared: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Debug, Default)]
struct State {
    rung: bool,
    over: bool,
}

impl Bell {
    pub(crate) fn ring(&self) {
        self.change(|state| state.rung = true);
    }

    /// Whoever waits, now or later, is told to end.
    pub(crate) fn end(&self) {
        self.change(|state| state.over = true);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let (state, bell) = &*self.shared;
        change(&mut state.lock().unwrap_or_else(PoisonError::into_inner));
        bell.notify_all();
    }

    /// Waits until somebody rings, or for some time; `false` when it is over.
    pub(crate) fn wait(&self, time: Option<Duration>) -> bool {
        let (state, bell) = &*self.shared;
        let state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let quiet = |state: &mut State| !state.rung && !state.over;
        let time = time.unwrap_or(Duration::from_secs(3600));
        let waited = bell.wait_timeout_while(state, time, quiet);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.rung = false;
        !state.over
    }

    /// Rings at every change of some resources, as long as the runtime lives.
    pub(crate) fn ring_at_changes(
        &self,
        runtime: &Handle,
        store: &Store,
        resources: &[&'static Resource],
    ) -> Result<(), ApiError> {
        for &resource in resources {
            let mut watch = store.watch(resource, None, WatchOptions::default())?;
            let (bell, store) = (self.clone(), store.clone());
            runtime.spawn(async move {
                loop {
                    match watch.next().await {
                        Some(WatchEvent::Error(_)) | None => {
                            // Too far behind: begin anew. The bell says what the rest would have.
                            match store.watch(resource, None, WatchOptions::default()) {
                                Ok(anew) => watch = anew,
                                Err(error) => return warn!("{}: {error}", resource.plural),
                            }
                        }
                        Some(_) => {}
                    }
                    bell.ring();
                }
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_kept_for_who_comes_late_and_heard_once() {
        let bell = Bell::default();
        bell.ring();
        let start = std::time::Instant::now();
        assert!(bell.wait(Some(Duration::from_secs(60))));
        assert!(start.elapsed() < Duration::from_secs(30));
        let start = std::time::Instant::now();
        assert!(bell.wait(Some(Duration::from_millis(50))));
        assert!(start.elapsed() >= Duration::from_millis(50));
        bell.end();
        assert!(!bell.wait(None));
        assert!(!bell.wait(None));
    }
}
