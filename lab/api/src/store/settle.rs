//! What follows from a deletion: the garbage collector and the end of namespaces.
//!
//! A real cluster collects in a controller, some moments later. Here it is part of the change, so
//! that nobody ever sees an object whose owner is gone.

use std::time::Duration;

use serde_json::Value;

use super::delete::FOREGROUND;
use super::state::State;
use super::{DeleteOptions, Object, Store, WatchEvent, WatchOptions};
use crate::Resource;
use crate::object::{self, has, items, text, texts};
use crate::resource::NAMESPACES;

impl State {
    pub(super) fn owned_by(&self, uid: &str) -> Vec<(&'static Resource, Object)> {
        let owned = |object: &Value| {
            items(object, "/metadata/ownerReferences")
                .iter()
                .any(|owner| text(owner, "/uid") == uid)
        };
        let all = self.everything().filter(|(_, object)| owned(object));
        all.map(|(resource, object)| (resource, object.clone())).collect()
    }

    fn inside(&self, namespace: &str) -> Vec<(&'static Resource, Object)> {
        let inside = |resource: &Resource, object: &Value| {
            resource.namespaced && object::namespace(object) == namespace
        };
        let all = self.everything().filter(|(resource, object)| inside(resource, object));
        all.map(|(resource, object)| (resource, object.clone())).collect()
    }

    /// Whether something that an object owns holds up its end.
    pub(super) fn owns_blocking(&self, uid: &str) -> bool {
        self.everything().any(|(_, object)| {
            items(object, "/metadata/ownerReferences").iter().any(|owner| {
                let blocks = owner.get("blockOwnerDeletion") == Some(&Value::Bool(true));
                text(owner, "/uid") == uid && blocks
            })
        })
    }
}

impl Store {
    /// Removes what may go, until nothing more may.
    pub(super) fn settle(&self, state: &mut State) {
        while self.collect(state) || self.finish(state) || self.end_namespaces(state) {}
    }

    /// Deletes the objects whose owners are all gone, or go in the foreground.
    fn collect(&self, state: &mut State) -> bool {
        let uids = |object: &Object| object::uid(object).to_owned();
        let mut live: std::collections::BTreeSet<_> = std::collections::BTreeSet::new();
        for (_, object) in state.everything() {
            let leaves = has(object, "/metadata/deletionTimestamp")
                && texts(object, "/metadata/finalizers").iter().any(|one| one == FOREGROUND);
            if !leaves {
                live.insert(uids(object));
            }
        }
        let abandoned = |object: &Value| {
            let owners = items(object, "/metadata/ownerReferences");
            !owners.is_empty()
                && !has(object, "/metadata/deletionTimestamp")
                && owners.iter().all(|owner| !live.contains(text(owner, "/uid")))
        };
        let lost: Vec<_> = state
            .everything()
            .filter(|(_, object)| abandoned(object))
            .map(|(resource, object)| (resource, object.clone()))
            .collect();
        for (resource, object) in &lost {
            self.begin(state, resource, object, &DeleteOptions::default());
        }
        !lost.is_empty()
    }

    /// Removes the marked objects that nothing holds up any more.
    fn finish(&self, state: &mut State) -> bool {
        let marked: Vec<_> = state
            .everything()
            .filter(|(resource, object)| {
                has(object, "/metadata/deletionTimestamp") && **resource != NAMESPACES
            })
            .map(|(resource, object)| (resource, object.clone()))
            .collect();
        let mut any = false;
        for (resource, object) in marked {
            let mut finalizers = texts(&object, "/metadata/finalizers");
            let waited = finalizers.iter().any(|one| one == FOREGROUND);
            if waited && !state.owns_blocking(object::uid(&object)) {
                finalizers.retain(|one| one != FOREGROUND);
            }
            let grace = object::number(&object, "/metadata/deletionGracePeriodSeconds");
            if finalizers.is_empty() && grace == 0 {
                any |= state.remove(resource, &object).is_some();
            }
        }
        any
    }

    /// Removes the namespaces that go and are empty.
    fn end_namespaces(&self, state: &mut State) -> bool {
        let going: Vec<_> = state
            .all(&NAMESPACES)
            .filter(|namespace| has(namespace, "/metadata/deletionTimestamp"))
            .filter(|namespace| texts(namespace, "/metadata/finalizers").is_empty())
            .cloned()
            .collect();
        let mut any = false;
        for namespace in going {
            if state.inside(object::name(&namespace)).is_empty() {
                any |= state.remove(&NAMESPACES, &namespace).is_some();
            }
        }
        any
    }

    /// Deletes what is in a namespace that goes. What takes its time keeps the namespace.
    pub(super) fn empty_namespace(&self, name: &str) {
        let emptied = self.transact(false, |state| {
            let namespace = state.get(&NAMESPACES, "", name)?;
            if has(&namespace, "/metadata/deletionTimestamp") {
                for (resource, object) in state.inside(name) {
                    if !has(&object, "/metadata/deletionTimestamp") {
                        self.begin(state, resource, &object, &DeleteOptions::default());
                    }
                }
                self.settle(state);
            }
            Ok(())
        });
        if let Err(error) = emptied {
            tracing::debug!("the namespace {name} went by itself: {error}");
        }
    }

    /// Empties namespaces that go, a moment after they were told to: whoever deletes a namespace
    /// and its objects one by one finds them still there, as on a real server. Never ends.
    pub(crate) async fn empty_namespaces(&self) {
        /// Long enough for one kubectl to go through a manifest.
        const MOMENT: Duration = Duration::from_millis(500);
        loop {
            let Ok(mut watch) = self.watch(&NAMESPACES, None, WatchOptions::default()) else {
                return;
            };
            while let Some(event) = watch.next().await {
                let (WatchEvent::Added(namespace) | WatchEvent::Modified(namespace)) = event else {
                    continue;
                };
                if has(&namespace, "/metadata/deletionTimestamp") {
                    tokio::time::sleep(MOMENT).await;
                    self.empty_namespace(object::name(&namespace));
                }
            }
        }
    }
}
