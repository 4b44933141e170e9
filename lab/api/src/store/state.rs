//! What is behind the lock.

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use serde_json::Value;

use super::{Object, not_found};
use crate::object::{self, set};
use crate::patch::Applied;
use crate::resource::SERVICES;
use crate::service::Taken;
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
    /// What the Services among them have of the cluster's addresses and ports.
    taken: Arc<Taken>,
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
        let (objects, history, taken) = Default::default();
        Self { version: 0, objects, taken, history, depth, compacted: 0, dry: false }
    }

    /// What the Services have of the cluster's addresses and ports.
    pub(super) fn taken(&self) -> Arc<Taken> {
        self.taken.clone()
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
        if *change.resource == SERVICES {
            let taken = Arc::make_mut(&mut self.taken);
            change.before.iter().for_each(|before| taken.remove(before));
            change.after.iter().for_each(|after| taken.add(after));
        }
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

    /// The objects of a resource as they were at a version, in their order, beyond a key. Only
    /// those that are looked at cost anything.
    ///
    /// # Errors
    /// [`ApiError::Expired`] if too much is forgotten.
    pub(super) fn at(
        &self,
        resource: &'static Resource,
        version: u64,
        beyond: Option<&Key>,
    ) -> Result<impl Iterator<Item = &Object>, ApiError> {
        // What has changed since, as it was then; what was not there then is nothing.
        let mut then = BTreeMap::new();
        for change in self.since(resource, version)? {
            let key = change.key();
            if beyond.is_none_or(|beyond| key > *beyond) {
                then.entry(key).or_insert(change.before.as_ref());
            }
        }
        let start = beyond.map_or(Bound::Unbounded, |key| Bound::Excluded(key.clone()));
        let now = self.objects.get(resource).into_iter();
        let now = now.flat_map(move |objects| objects.range((start.clone(), Bound::Unbounded)));
        let (mut now, mut then) = (now.peekable(), then.into_iter().peekable());
        Ok(std::iter::from_fn(move || {
            loop {
                let order = match (now.peek(), then.peek()) {
                    (Some((now, _)), Some((then, _))) => (*now).cmp(then),
                    (Some(_), None) => Ordering::Less,
                    (None, _) => Ordering::Greater,
                };
                if order == Ordering::Less {
                    return now.next().map(|(_, stored)| &stored.object);
                }
                if order == Ordering::Equal {
                    now.next();
                }
                if let Some(object) = then.next()?.1 {
                    return Some(object);
                }
            }
        }))
    }
}
