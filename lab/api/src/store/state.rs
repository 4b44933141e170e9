//! What is behind the lock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::Value;

use super::{Object, not_found};
use crate::object::{self, set};
use crate::patch::Applied;
use crate::{ApiError, Resource};

/// Namespace and name. The namespace of cluster-wide objects is empty.
pub(super) type Key = (String, String);

#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) object: Object,
    pub(super) applied: Applied,
}

/// What happened to an object.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) version: u64,
    pub(super) resource: &'static Resource,
    pub(super) before: Option<Object>,
    pub(super) after: Option<Object>,
    /// The last state of a deleted object, with the resourceVersion of its deletion.
    pub(super) last: Option<Object>,
}

impl Change {
    fn key(&self) -> Key {
        let object = self.after.as_deref().or(self.before.as_deref()).unwrap_or(&Value::Null);
        key_of(object)
    }
}

pub(super) fn key_of(object: &Value) -> Key {
    (object::namespace(object).to_owned(), object::name(object).to_owned())
}

#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) version: u64,
    objects: BTreeMap<&'static Resource, BTreeMap<Key, Stored>>,
    history: VecDeque<Change>,
    /// How many changes the history holds at most.
    depth: usize,
    /// The version after which the history is complete.
    pub(super) compacted: u64,
    /// Whether this is a copy that is thrown away: its objects get no version of their own.
    pub(super) dry: bool,
}

impl State {
    pub(super) fn new(depth: usize) -> Self {
        let (objects, history) = (BTreeMap::new(), VecDeque::new());
        Self { version: 0, objects, history, depth, compacted: 0, dry: false }
    }

    pub(super) fn all(&self, resource: &'static Resource) -> impl Iterator<Item = &Object> {
        self.objects.get(resource).into_iter().flatten().map(|(_, stored)| &stored.object)
    }

    pub(super) fn everything(&self) -> impl Iterator<Item = (&'static Resource, &Object)> {
        self.objects.iter().flat_map(|(resource, objects)| {
            objects.values().map(move |stored| (*resource, &stored.object))
        })
    }

    pub(super) fn find(
        &self,
        resource: &'static Resource,
        namespace: &str,
        name: &str,
    ) -> Option<&Stored> {
        self.objects.get(resource)?.get(&(namespace.to_owned(), name.to_owned()))
    }

    pub(super) fn get(
        &self,
        resource: &'static Resource,
        namespace: &str,
        name: &str,
    ) -> Result<Object, ApiError> {
        let found = self.find(resource, namespace, name);
        found.map(|stored| stored.object.clone()).ok_or_else(|| not_found(resource, name))
    }

    /// Stores an object under the next version.
    pub(super) fn put(
        &mut self,
        resource: &'static Resource,
        mut object: Value,
        applied: Applied,
    ) -> Object {
        self.version += 1;
        if !self.dry {
            set(&mut object, &["metadata", "resourceVersion"], self.version.to_string());
        }
        let key = key_of(&object);
        let object = Arc::new(object);
        let stored = Stored { object: object.clone(), applied };
        let before = self.objects.entry(resource).or_default().insert(key, stored);
        let after = Some(object.clone());
        let before = before.map(|stored| stored.object);
        let version = self.version;
        self.remember(Change { version, resource, before, after, last: None });
        object
    }

    /// Notes who owns the fields of an object that does not change.
    pub(super) fn note(&mut self, resource: &'static Resource, object: &Value, applied: Applied) {
        let objects = self.objects.get_mut(resource);
        if let Some(stored) = objects.and_then(|objects| objects.get_mut(&key_of(object))) {
            stored.applied = applied;
        }
    }

    /// Forgets an object; its last state carries the version of its deletion.
    pub(super) fn remove(&mut self, resource: &'static Resource, object: &Value) -> Option<Object> {
        let before = self.objects.get_mut(resource)?.remove(&key_of(object))?.object;
        self.version += 1;
        let mut last = (*before).clone();
        set(&mut last, &["metadata", "resourceVersion"], self.version.to_string());
        let last = Arc::new(last);
        let (version, gone) = (self.version, Some(last.clone()));
        self.remember(Change { version, resource, before: Some(before), after: None, last: gone });
        Some(last)
    }

    fn remember(&mut self, change: Change) {
        self.history.push_back(change);
        while self.history.len() > self.depth {
            if let Some(forgotten) = self.history.pop_front() {
                self.compacted = forgotten.version;
            }
        }
    }

    /// The changes of a resource after a version.
    ///
    /// # Errors
    /// [`ApiError::Expired`] if some of them are forgotten.
    pub(super) fn since(
        &self,
        resource: &'static Resource,
        version: u64,
    ) -> Result<impl Iterator<Item = &Change>, ApiError> {
        if version < self.compacted {
            return Err(self.expired(version));
        }
        let first = self.history.partition_point(|change| change.version <= version);
        Ok(self.history.range(first..).filter(move |change| change.resource == resource))
    }

    pub(super) fn expired(&self, version: u64) -> ApiError {
        let message = format!("too old resource version: {version} ({})", self.compacted);
        ApiError::Expired { message, fresh: None }
    }

    /// The objects of a resource as they were at a version.
    ///
    /// # Errors
    /// [`ApiError::Expired`] if too much is forgotten.
    pub(super) fn at(
        &self,
        resource: &'static Resource,
        version: u64,
    ) -> Result<BTreeMap<Key, Object>, ApiError> {
        let now = self.objects.get(resource).into_iter().flatten();
        let mut objects: BTreeMap<_, _> =
            now.map(|(key, stored)| (key.clone(), stored.object.clone())).collect();
        let changes: Vec<_> = self.since(resource, version)?.collect();
        for change in changes.into_iter().rev() {
            match &change.before {
                Some(before) => drop(objects.insert(change.key(), before.clone())),
                None => drop(objects.remove(&change.key())),
            }
        }
        Ok(objects)
    }
}
