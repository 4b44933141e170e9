//! What a controller wants to be done to the objects.

use lab_api::resource::PODS;
use lab_api::{ApiError, DeleteOptions, Resource, Store, WriteOptions};
use serde_json::Value;
use tracing::{debug, warn};

use crate::json::{name, namespace};

/// One write. What it was decided on may be out of date by then; the next round decides anew.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    Create(&'static Resource, Value),
    /// Replaces the object, if it is still of the resourceVersion that it carries.
    Update(&'static Resource, Value),
    /// Replaces `status` in the same way.
    UpdateStatus(&'static Resource, Value),
    Delete(&'static Resource, Value),
    /// Puts a Pod on a Node.
    Bind {
        pod: Value,
        node: String,
    },
}

impl Action {
    /// Does it. A refusal is told and left to the next round, which the change that caused it
    /// starts.
    pub(crate) fn apply(&self, store: &Store, controller: &str) {
        match self.try_apply(store, controller) {
            Ok(()) => debug!(controller, "{self:?}"),
            Err(ApiError::Conflict { .. } | ApiError::NotFound { .. }) => {}
            Err(error) => warn!(controller, "{error}"),
        }
    }

    fn try_apply(&self, store: &Store, controller: &str) -> Result<(), ApiError> {
        let options = WriteOptions { manager: controller.to_owned(), ..WriteOptions::default() };
        match self {
            Self::Create(resource, object) => {
                store.create(resource, namespace(object), object.clone(), &options)?;
            }
            Self::Update(resource, object) => {
                let (namespace, name) = (namespace(object), name(object));
                store.update(resource, namespace, name, object.clone(), &options)?;
            }
            Self::UpdateStatus(resource, object) => {
                let options = WriteOptions { subresource: Some("status"), ..options };
                let (namespace, name) = (namespace(object), name(object));
                store.update(resource, namespace, name, object.clone(), &options)?;
            }
            Self::Delete(resource, object) => {
                let uid = Some(crate::json::uid(object).to_owned());
                let options = DeleteOptions { uid, ..DeleteOptions::default() };
                store.delete(resource, namespace(object), name(object), &options)?;
            }
            Self::Bind { pod, node } => {
                debug_assert_eq!(pod["kind"], PODS.kind);
                store.bind(namespace(pod), name(pod), node)?;
            }
        }
        Ok(())
    }
}
