//! The four ways to change an object by saying less than the whole of it.

mod apply;
mod strategic;

use serde_json::Value;

use crate::ApiError;
use crate::go_text::go_text;
use crate::schema::Message;

pub(crate) use apply::{Applied, apply};
pub(crate) use strategic::merge as strategic_merge;

/// A patch, by its content type.
#[derive(Clone, Debug)]
pub enum Patch {
    /// `application/json-patch+json`, RFC 6902.
    Json(Value),
    /// `application/merge-patch+json`, RFC 7386.
    Merge(Value),
    /// `application/strategic-merge-patch+json`.
    Strategic(Value),
    /// `application/apply-patch+yaml`: server-side apply.
    Apply {
        /// The wanted state.
        config: Value,
        /// Whether fields of other managers are taken.
        force: bool,
    },
}

impl Patch {
    /// The patch as a real server writes it into its complaints.
    pub(crate) fn go_text(&self) -> String {
        match self {
            Self::Json(patch) => patch.to_string(),
            Self::Merge(patch) => go_text(patch),
            Self::Strategic(patch) => go_text(&without_ordered_lists(patch)),
            Self::Apply { config, .. } => go_text(config),
        }
    }
}

/// What is left of a strategic merge patch when a real server complains about it: merging has
/// taken the lists out that came with an order, and the directives.
fn without_ordered_lists(patch: &Value) -> Value {
    let Value::Object(fields) = patch else { return patch.clone() };
    let kept = fields.iter().filter(|(name, _)| {
        !name.starts_with('$') && !fields.contains_key(&format!("$setElementOrder/{name}"))
    });
    kept.map(|(name, value)| (name.clone(), without_ordered_lists(value))).collect()
}

/// Changes an object by a JSON patch, a merge patch or a strategic merge patch.
///
/// # Errors
/// [`ApiError::PatchRefused`] or [`ApiError::BadRequest`] if it does not apply.
pub(crate) fn changed(
    object: &Value,
    patch: &Patch,
    message: &'static Message,
    kind: &'static str,
) -> Result<Value, ApiError> {
    let name = crate::object::name(object).to_owned();
    match patch {
        Patch::Json(patch) => {
            let operations: json_patch::Patch = serde_json::from_value(patch.clone())
                .map_err(|error| ApiError::BadRequest(format!("error decoding patch: {error}")))?;
            let mut changed = object.clone();
            json_patch::patch(&mut changed, &operations)
                .map_err(|error| ApiError::PatchRefused { kind, name, cause: error.to_string() })?;
            Ok(changed)
        }
        Patch::Merge(patch) => {
            let mut changed = object.clone();
            json_patch::merge(&mut changed, patch);
            Ok(changed)
        }
        Patch::Strategic(patch) => strategic_merge(object, patch, message),
        Patch::Apply { .. } => {
            Err(ApiError::Internal("server-side apply is no plain patch".to_owned()))
        }
    }
}
