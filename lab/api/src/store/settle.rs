//! What follows from a deletion: the garbage collector and the end of namespaces.
//!
//! A real cluster does this in controllers, some moments later. Here it is part of the change, so
//! that nobody ever sees an object whose owner is gone.

use serde_json::Value;

use super::delete::FOREGROUND;
use super::state::State;
use super::{DeleteOptions, Object, Store};
use crate::Resource;
use crate::object::{self, has, items, remove, set, text, texts};
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

    /// Empties the namespaces that go, and removes the empty ones.
    fn end_namespaces(&self, state: &mut State) -> bool {
        let going: Vec<_> = state
            .all(&NAMESPACES)
            .filter(|namespace| has(namespace, "/metadata/deletionTimestamp"))
            .cloned()
            .collect();
        let mut any = false;
        for namespace in going {
            let name = object::name(&namespace).to_owned();
            let inside: Vec<_> = state
                .everything()
                .filter(|(resource, object)| {
                    resource.namespaced && object::namespace(object) == name
                })
                .map(|(resource, object)| (resource, object.clone()))
                .collect();
            for (resource, object) in &inside {
                if !has(object, "/metadata/deletionTimestamp") {
                    any = true;
                    self.begin(state, resource, object, &DeleteOptions::default());
                }
            }
            if inside.is_empty() && texts(&namespace, "/metadata/finalizers").is_empty() {
                let mut last = (*namespace).clone();
                set(&mut last, &["spec"], Value::Object(serde_json::Map::new()));
                remove(&mut last, &["spec", "finalizers"]);
                any |= state.remove(&NAMESPACES, &last).is_some();
            }
        }
        any
    }
}
