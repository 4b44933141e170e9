//! The `scale` of a workload: one number of it, as an object of its own.

use serde_json::Value;

use crate::object::{number, remove, set, text};
use crate::patch::{Patch, changed};
use crate::resource::Resource;
use crate::schema::{Reading, SCALE, read};
use crate::store::{Store, WriteOptions};
use crate::{ApiError, convert};

/// How the scale is changed.
pub(super) enum Wish {
    Whole(Value),
    Part(Patch),
}

/// Changes how many replicas are wanted; the new scale.
///
/// # Errors
/// As [`Store::update`].
pub(super) fn change(
    store: &Store,
    resource: &'static Resource,
    namespace: &str,
    name: &str,
    wish: Wish,
    options: &WriteOptions,
) -> Result<Value, ApiError> {
    let object = store.get(resource, namespace, name)?;
    let new = match wish {
        Wish::Whole(scale) => scale,
        Wish::Part(patch) => changed(&convert::scale(&object), &patch, &SCALE, "Scale")?,
    };
    let new = read(&new, &SCALE, &mut Reading::default()).map_err(|fault| {
        let what = "Scale in version \"v1\" cannot be handled as a Scale";
        ApiError::BadRequest(format!("{what}: {}", fault.text))
    })?;
    let replicas = number(&new, "/spec/replicas");
    if replicas < 0 {
        let cause = crate::Cause {
            reason: "FieldValueInvalid",
            message: format!("Invalid value: {replicas}: must be greater than or equal to 0"),
            field: "spec.replicas".to_owned(),
        };
        let (kind, group, name) = ("Scale", "autoscaling", name.to_owned());
        return Err(ApiError::Invalid { kind, group, name, causes: vec![cause] });
    }
    let version = text(&new, "/metadata/resourceVersion").to_owned();
    let written = store.edit(resource, namespace, name, options, |object| {
        set(object, &["spec", "replicas"], replicas);
        // A scale that names a version is meant for that one.
        if version.is_empty() {
            remove(object, &["metadata", "resourceVersion"]);
        } else {
            set(object, &["metadata", "resourceVersion"], version);
        }
    })?;
    Ok(convert::scale(&written.object))
}
