//! Creating and changing objects.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::state::State;
use super::{Object, Store, conflict, not_found, reading};
use crate::error::Cause;
use crate::object::{self, has, remove, set, text, texts};
use crate::patch::{Applied, Patch, apply, changed};
use crate::resource::{NAMESPACES, SERVICE_CIDRS, SERVICES};
use crate::schema::{Reading, read, seconds};
use crate::service::{Pools, complete};
use crate::strategy::{prepare_create, prepare_update};
use crate::validate::validate;
use crate::{ApiError, Resource, defaults, random};

/// What happens to unknown and to duplicate fields (`fieldValidation`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// They are dropped.
    Ignore,
    /// They are dropped, and the client is told.
    #[default]
    Warn,
    /// The request fails.
    Strict,
}

/// How a change is made.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// Who writes (`fieldManager`).
    pub manager: String,
    /// Whether everything happens but the change itself (`dryRun=All`).
    pub dry_run: bool,
    /// What happens to unknown fields.
    pub field_validation: FieldValidation,
    /// `status`, `finalize`, or nothing for the object as a whole.
    pub subresource: Option<&'static str>,
    /// What was found wrong with the fields while the body was parsed.
    pub problems: Vec<String>,
}

/// A change that was made.
#[derive(Clone, Debug)]
pub struct Written {
    /// The object as it is now.
    pub object: Object,
    /// Whether it is new.
    pub created: bool,
    /// What the client should know.
    pub warnings: Vec<String>,
}

impl Store {
    /// Creates an object. An empty `metadata.name` with a `generateName` gets a name.
    ///
    /// # Errors
    /// [`ApiError::AlreadyExists`], [`ApiError::NotFound`] for the namespace,
    /// [`ApiError::Forbidden`] if that is going away, [`ApiError::Invalid`],
    /// [`ApiError::BadRequest`].
    pub fn create(
        &self,
        resource: &'static Resource,
        namespace: &str,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Written, ApiError> {
        let (mut object, warnings) = reading::body(resource, &object, options)?;
        identify(resource, namespace, &mut object)?;
        self.transact(options.dry_run, |state| {
            let object = self.insert(state, resource, object, &options.manager, None)?;
            Ok(Written { object, created: true, warnings })
        })
    }

    /// Replaces an object. A resourceVersion or a uid in it is a precondition.
    ///
    /// # Errors
    /// [`ApiError::NotFound`], [`ApiError::Conflict`], [`ApiError::Invalid`],
    /// [`ApiError::BadRequest`].
    pub fn update(
        &self,
        resource: &'static Resource,
        namespace: &str,
        name: &str,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Written, ApiError> {
        let (mut object, warnings) = reading::body(resource, &object, options)?;
        let given = object::name(&object);
        if !given.is_empty() && given != name {
            let message = format!(
                "the name of the object ({given}) does not match the name on the URL ({name})"
            );
            return Err(ApiError::BadRequest(message));
        }
        set(&mut object, &["metadata", "name"], name);
        if resource.namespaced {
            set(&mut object, &["metadata", "namespace"], namespace);
        }
        self.transact(options.dry_run, |state| {
            let object = self.replace(state, resource, object, options, None)?;
            Ok(Written { object, created: false, warnings })
        })
    }

    /// Changes an object by a patch. Server-side apply creates what is not there.
    ///
    /// # Errors
    /// As [`Store::update`], [`ApiError::PatchRefused`], and [`ApiError::ApplyConflict`].
    pub fn patch(
        &self,
        resource: &'static Resource,
        namespace: &str,
        name: &str,
        patch: &Patch,
        options: &WriteOptions,
    ) -> Result<Written, ApiError> {
        if let Patch::Apply { config, force } = patch {
            return self.apply(resource, namespace, name, config, *force, options);
        }
        self.transact(options.dry_run, |state| {
            let old = state.get(resource, namespace, name)?;
            let new = changed(&old, patch, resource.message, resource.kind)?;
            let (new, warnings) = reading::patched(resource, patch, &new, options)?;
            let object = self.replace(state, resource, new, options, None)?;
            Ok(Written { object, created: false, warnings })
        })
    }

    /// Changes an object in place: what a controller does that read, decided and writes in one go.
    ///
    /// # Errors
    /// As [`Store::update`].
    pub fn edit(
        &self,
        resource: &'static Resource,
        namespace: &str,
        name: &str,
        options: &WriteOptions,
        change: impl FnOnce(&mut Value),
    ) -> Result<Written, ApiError> {
        self.transact(options.dry_run, |state| {
            let mut new = (*state.get(resource, namespace, name)?).clone();
            change(&mut new);
            let (new, warnings) = reading::body(resource, &new, options)?;
            let object = self.replace(state, resource, new, options, None)?;
            Ok(Written { object, created: false, warnings })
        })
    }

    /// Puts a Pod on a Node, as a scheduler does.
    ///
    /// # Errors
    /// [`ApiError::NotFound`]; [`ApiError::Conflict`] if it has a Node already.
    pub fn bind(&self, namespace: &str, pod: &str, node: &str) -> Result<Object, ApiError> {
        let resource = &crate::resource::PODS;
        self.transact(false, |state| {
            let stored = state.find(resource, namespace, pod).cloned();
            let stored = stored.ok_or_else(|| not_found(resource, pod))?;
            let there = text(&stored.object, "/spec/nodeName");
            if !there.is_empty() {
                let cause = format!("pod {pod} is already assigned to node {there:?}");
                return Err(conflict(resource, pod, cause));
            }
            let mut object = (*stored.object).clone();
            set(&mut object, &["spec", "nodeName"], node);
            let condition = json!({
                "type": "PodScheduled", "status": "True", "lastProbeTime": null,
                "lastTransitionTime": seconds(Timestamp::now()),
            });
            let mut conditions = object::items(&object, "/status/conditions").to_vec();
            conditions.retain(|condition| condition["type"] != "PodScheduled");
            conditions.push(condition);
            set(&mut object, &["status", "conditions"], conditions);
            Ok(state.put(resource, object, stored.applied))
        })
    }

    fn apply(
        &self,
        resource: &'static Resource,
        namespace: &str,
        name: &str,
        config: &Value,
        force: bool,
        options: &WriteOptions,
    ) -> Result<Written, ApiError> {
        if options.manager.is_empty() {
            let cause = Cause {
                reason: "FieldValueRequired",
                message: "Required value: is required for apply patch".to_owned(),
                field: "fieldManager".to_owned(),
            };
            let (kind, group, name) = ("PatchOptions", "meta.k8s.io", String::new());
            return Err(ApiError::Invalid { kind, group, name, causes: vec![cause] });
        }
        let (config, warnings) = reading::config(resource, config, options)?;
        self.transact(options.dry_run, |state| {
            let stored = state.find(resource, namespace, name).cloned();
            let mut applied = stored.as_ref().map(|one| one.applied.clone()).unwrap_or_default();
            let empty = Value::Object(serde_json::Map::new());
            let live = stored.as_ref().map_or(&empty, |stored| &*stored.object);
            let message = resource.message;
            let manager = &options.manager;
            let mut new = apply(live, &mut applied, manager, &config, force, message)?;
            set(&mut new, &["metadata", "name"], name);
            let created = stored.is_none();
            let object = if created {
                identify(resource, namespace, &mut new)?;
                self.insert(state, resource, new, manager, Some(applied))?
            } else {
                self.replace(state, resource, new, options, Some(applied))?
            };
            Ok(Written { object, created, warnings })
        })
    }

    fn insert(
        &self,
        state: &mut State,
        resource: &'static Resource,
        mut object: Value,
        manager: &str,
        applied: Option<Applied>,
    ) -> Result<Object, ApiError> {
        let (namespace, name) = (object::namespace(&object), object::name(&object));
        if state.find(resource, namespace, name).is_some() {
            let (resource, group, name) = (resource.plural, resource.group, name.to_owned());
            return Err(ApiError::AlreadyExists { resource, group, name });
        }
        admit(state, resource, namespace, name)?;
        prepare_create(resource, &mut object);
        defaults::fill(resource.kind, &mut object);
        if *resource == SERVICES {
            complete(&mut object, None, &self.pools(state, None))?;
        }
        // What was filled in takes its canonical form: empty parts that are always written.
        let mut object = read(&object, resource.message, &mut Reading::default())
            .map_err(|fault| ApiError::Internal(fault.text))?;
        validate(resource, &object, None, None)?;
        set(&mut object, &["metadata", "uid"], random::uid());
        set(&mut object, &["metadata", "creationTimestamp"], seconds(Timestamp::now()));
        let applied = applied.unwrap_or_else(|| {
            let mut applied = Applied::default();
            applied.written(manager, None, &object, resource.message);
            applied
        });
        Ok(state.put(resource, object, applied))
    }

    /// Replaces an object by a canonical one.
    fn replace(
        &self,
        state: &mut State,
        resource: &'static Resource,
        mut new: Value,
        options: &WriteOptions,
        applied: Option<Applied>,
    ) -> Result<Object, ApiError> {
        let (namespace, name) = super::state::key_of(&new);
        let stored = state.find(resource, &namespace, &name).cloned();
        let stored = stored.ok_or_else(|| not_found(resource, &name))?;
        let old = &stored.object;
        preconditions(resource, &new, old)?;
        defaults::fill(resource.kind, &mut new);
        for field in ["uid", "creationTimestamp", "resourceVersion"] {
            let kept = text(old, &format!("/metadata/{field}")).to_owned();
            set(&mut new, &["metadata", field], kept);
        }
        prepare_update(resource, &mut new, old, options.subresource);
        if *resource == SERVICES && options.subresource.is_none() {
            complete(&mut new, Some(old), &self.pools(state, Some(old)))?;
        }
        let new = read(&new, resource.message, &mut Reading::default())
            .map_err(|fault| ApiError::Internal(fault.text))?;
        validate(resource, &new, Some(old), options.subresource)?;
        let noted = applied.is_some();
        let mut owners = applied.unwrap_or_else(|| stored.applied.clone());
        if new == **old {
            if noted && owners != stored.applied {
                // Who owns what is not visible, and its change is none.
                state.note(resource, &new, owners);
            }
            return Ok(old.clone());
        }
        if !noted {
            owners.written(&options.manager, Some(old), &new, resource.message);
        }
        let going = has(&new, "/metadata/deletionTimestamp");
        let object = state.put(resource, new, owners);
        if going {
            self.settle(state);
        }
        Ok(state.get(resource, &namespace, &name).unwrap_or(object))
    }

    /// What Services may get, given what the others have.
    fn pools(&self, state: &State, this: Option<&Object>) -> Pools {
        let blocks =
            state.all(&SERVICE_CIDRS).filter(|one| !has(one, "/metadata/deletionTimestamp"));
        // The cluster's own block first: it says which family is the primary one.
        let mut blocks: Vec<_> = blocks.collect();
        blocks.sort_by_key(|block| object::name(block) != "kubernetes");
        let cidrs = blocks.iter().flat_map(|block| texts(block, "/spec/cidrs"));
        let cidrs = cidrs.filter_map(|cidr| cidr.parse().ok()).collect();
        let this = this.map(Arc::as_ref);
        Pools::new(cidrs, self.options().node_ports.clone(), state.taken(), this)
    }
}

/// Names an object and puts it into its namespace.
fn identify(resource: &Resource, namespace: &str, object: &mut Value) -> Result<(), ApiError> {
    let given = object::namespace(object);
    if resource.namespaced && given.is_empty() {
        set(object, &["metadata", "namespace"], namespace);
    } else if resource.namespaced && given != namespace {
        let message = "the namespace of the provided object does not match the namespace sent on \
                       the request";
        return Err(ApiError::BadRequest(message.to_owned()));
    } else if !resource.namespaced {
        remove(object, &["metadata", "namespace"]);
    }
    if !text(object, "/metadata/resourceVersion").is_empty() {
        let message = "resourceVersion should not be set on objects to be created";
        return Err(ApiError::BadRequest(message.to_owned()));
    }
    for field in ["uid", "creationTimestamp", "deletionTimestamp", "generation"] {
        remove(object, &["metadata", field]);
    }
    remove(object, &["metadata", "deletionGracePeriodSeconds"]);
    let prefix = text(object, "/metadata/generateName").to_owned();
    if object::name(object).is_empty() && !prefix.is_empty() {
        // 63 bytes at most, with five letters to come.
        let prefix: String = prefix.chars().take(58).collect();
        set(object, &["metadata", "name"], format!("{prefix}{}", random::suffix()));
    }
    Ok(())
}

/// Whether there is a namespace for an object, and it stays.
fn admit(state: &State, resource: &Resource, namespace: &str, name: &str) -> Result<(), ApiError> {
    if !resource.namespaced {
        return Ok(());
    }
    let found = state.get(&NAMESPACES, "", namespace)?;
    if !has(&found, "/metadata/deletionTimestamp") {
        return Ok(());
    }
    let cause = format!(
        "unable to create new content in namespace {namespace} because it is being terminated"
    );
    let terminating = Some(namespace.to_owned());
    let (resource, group, name) = (resource.plural, resource.group, name.to_owned());
    Err(ApiError::Forbidden { resource, group, name, cause, terminating })
}

pub(super) fn preconditions(
    resource: &Resource,
    given: &Value,
    old: &Value,
) -> Result<(), ApiError> {
    let name = object::name(old);
    let version = text(given, "/metadata/resourceVersion");
    if !version.is_empty() && version != text(old, "/metadata/resourceVersion") {
        let cause = "the object has been modified; please apply your changes to the latest version \
                     and try again";
        return Err(conflict(resource, name, cause.to_owned()));
    }
    let (uid, there) = (object::uid(given), object::uid(old));
    if !uid.is_empty() && uid != there {
        let cause =
            format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {there}");
        return Err(conflict(resource, name, cause));
    }
    Ok(())
}
