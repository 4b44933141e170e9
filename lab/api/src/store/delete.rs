//! Deleting objects: at once, after a grace period, or when the last finalizer is gone.

use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};

use super::state::State;
use super::{Object, Store, conflict};
use crate::object::{self, has, number, remove, set, text, texts};
use crate::resource::{NAMESPACES, PODS};
use crate::schema::seconds;
use crate::{ApiError, Resource};

/// The finalizer of an object that waits for those that it owns.
pub(super) const FOREGROUND: &str = "foregroundDeletion";

/// What happens to the objects that a deleted one owns (`propagationPolicy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Propagation {
    /// They are deleted after it.
    #[default]
    Background,
    /// They are deleted before it.
    Foreground,
    /// They stay, without an owner.
    Orphan,
}

/// How an object is deleted.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    /// `gracePeriodSeconds`; nothing for what the Pod says itself.
    pub grace: Option<i64>,
    /// What happens to the objects that it owns.
    pub propagation: Propagation,
    /// The uid that the object must have.
    pub uid: Option<String>,
    /// The resourceVersion that the object must have.
    pub version: Option<String>,
    /// Whether nothing is to happen.
    pub dry_run: bool,
}

/// What became of an object.
#[derive(Clone, Debug)]
pub struct Deleted {
    /// Its last state, or its present one if it is not gone yet.
    pub object: Object,
    /// Whether it is gone.
    pub gone: bool,
}

impl Store {
    /// Deletes an object.
    ///
    /// # Errors
    /// [`ApiError::NotFound`], [`ApiError::Conflict`] for a precondition, [`ApiError::Forbidden`]
    /// for the namespaces of the system.
    pub fn delete(
        &self,
        resource: &'static Resource,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Deleted, ApiError> {
        if *resource == NAMESPACES && ["default", "kube-public", "kube-system"].contains(&name) {
            let cause = "this namespace may not be deleted".to_owned();
            let (resource, group, name) = (resource.plural, resource.group, name.to_owned());
            return Err(ApiError::Forbidden { resource, group, name, cause, terminating: None });
        }
        self.transact(options.dry_run, |state| {
            let object = state.get(resource, namespace, name)?;
            preconditions(resource, &object, options)?;
            let last = self.begin(state, resource, &object, options);
            self.settle(state);
            Ok(match state.find(resource, namespace, name) {
                Some(stored) => Deleted { object: stored.object.clone(), gone: false },
                None => Deleted { object: last.unwrap_or(object), gone: true },
            })
        })
    }

    /// Removes an object, or marks it as one that goes; the last state of a removed one.
    pub(super) fn begin(
        &self,
        state: &mut State,
        resource: &'static Resource,
        object: &Value,
        options: &DeleteOptions,
    ) -> Option<Object> {
        let mut going = object.clone();
        let mut finalizers = texts(object, "/metadata/finalizers");
        match options.propagation {
            Propagation::Orphan => self.orphan(state, object::uid(object)),
            Propagation::Foreground if state.owns_blocking(object::uid(object)) => {
                if !finalizers.iter().any(|one| one == FOREGROUND) {
                    finalizers.push(FOREGROUND.to_owned());
                }
            }
            Propagation::Foreground | Propagation::Background => {}
        }
        let grace = grace(resource, object, options);
        let waits = !finalizers.is_empty() || grace > 0 || *resource == NAMESPACES;
        let marked = has(object, "/metadata/deletionTimestamp");
        // A Pod that was given time and has none any more is seen to change before it is gone.
        let shortened = marked && *resource == PODS;
        if !waits && !shortened {
            return state.remove(resource, object);
        }
        if !finalizers.is_empty() {
            set(&mut going, &["metadata", "finalizers"], finalizers);
        }
        let before = number(object, "/metadata/deletionGracePeriodSeconds");
        // A grace period only ever gets shorter.
        if !marked || grace < before {
            let end = Timestamp::now() + grace.seconds();
            set(&mut going, &["metadata", "deletionTimestamp"], seconds(end));
            if *resource != NAMESPACES {
                set(&mut going, &["metadata", "deletionGracePeriodSeconds"], grace);
            }
            if resource.generation && !marked {
                let next = number(object, "/metadata/generation") + 1;
                set(&mut going, &["metadata", "generation"], next);
            }
        }
        if *resource == NAMESPACES {
            set(&mut going, &["status", "phase"], "Terminating");
        }
        if going != *object {
            let (namespace, name) = super::state::key_of(object);
            let found = state.find(resource, &namespace, &name);
            let applied = found.map(|stored| stored.applied.clone()).unwrap_or_default();
            state.put(resource, going, applied);
        }
        if waits { None } else { state.remove(resource, object) }
    }

    /// Takes an owner away from the objects that it owns.
    fn orphan(&self, state: &mut State, uid: &str) {
        for (resource, object) in state.owned_by(uid) {
            let mut object = (*object).clone();
            let mut owners = object::items(&object, "/metadata/ownerReferences").to_vec();
            owners.retain(|owner| text(owner, "/uid") != uid);
            if owners.is_empty() {
                remove(&mut object, &["metadata", "ownerReferences"]);
            } else {
                set(&mut object, &["metadata", "ownerReferences"], owners);
            }
            let (namespace, name) = super::state::key_of(&object);
            let found = state.find(resource, &namespace, &name);
            let applied = found.map(|stored| stored.applied.clone()).unwrap_or_default();
            state.put(resource, object, applied);
        }
    }
}

/// How long a Pod may take to stop. Nobody waits for one that runs nowhere or has ended.
fn grace(resource: &Resource, object: &Value, options: &DeleteOptions) -> i64 {
    if *resource != PODS {
        return 0;
    }
    let nowhere = text(object, "/spec/nodeName").is_empty();
    let ended = ["Failed", "Succeeded"].contains(&text(object, "/status/phase"));
    if nowhere || ended {
        return 0;
    }
    let own = number(object, "/spec/terminationGracePeriodSeconds");
    let asked = options.grace.unwrap_or(own);
    // A Pod that is marked already keeps its time unless it is shortened.
    if options.grace.is_none() && has(object, "/metadata/deletionTimestamp") {
        return number(object, "/metadata/deletionGracePeriodSeconds");
    }
    asked.max(0)
}

fn preconditions(
    resource: &Resource,
    object: &Value,
    options: &DeleteOptions,
) -> Result<(), ApiError> {
    let checks = [
        ("UID", &options.uid, "/metadata/uid"),
        ("ResourceVersion", &options.version, "/metadata/resourceVersion"),
    ];
    for (what, wanted, pointer) in checks {
        let there = text(object, pointer);
        if let Some(wanted) = wanted.as_deref().filter(|wanted| *wanted != there) {
            let cause = format!(
                "Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {there}"
            );
            return Err(conflict(resource, object::name(object), cause));
        }
    }
    Ok(())
}

impl Deleted {
    /// What the client gets.
    #[must_use]
    pub fn answer(&self, resource: &Resource) -> Value {
        if !self.gone {
            return (*self.object).clone();
        }
        let mut details = json!({
            "name": object::name(&self.object), "kind": resource.plural,
            "uid": object::uid(&self.object),
        });
        if !resource.group.is_empty() {
            details["group"] = resource.group.into();
        }
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
            "details": details,
        })
    }
}
