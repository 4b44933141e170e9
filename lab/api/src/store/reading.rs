//! Reading what a client sends: strictly, with a warning, or leniently.

use serde_json::Value;

use super::{FieldValidation, WriteOptions};
use crate::error::Cause;
use crate::go_text::go_quoted;
use crate::object::{remove, set, text};
use crate::patch::Patch;
use crate::schema::{Reading, read};
use crate::{ApiError, Resource};

/// What a client applies, without anything that it did not say.
///
/// # Errors
/// [`ApiError::BadRequest`].
pub(super) fn config(
    resource: &'static Resource,
    config: &Value,
    options: &WriteOptions,
) -> Result<(Value, Vec<String>), ApiError> {
    let (_, warnings) = body(resource, config, options)?;
    let mut config = config.clone();
    set(&mut config, &["apiVersion"], resource.api_version());
    set(&mut config, &["kind"], resource.kind);
    Ok((config, warnings))
}

/// An object as a whole, and what the client should know about it.
///
/// # Errors
/// [`ApiError::BadRequest`].
pub(super) fn body(
    resource: &'static Resource,
    object: &Value,
    options: &WriteOptions,
) -> Result<(Value, Vec<String>), ApiError> {
    let (kind, version) = (resource.kind, resource.version);
    let cannot = |cause: &str| {
        let what = format!("{kind} in version {version:?} cannot be handled as a {kind}");
        ApiError::BadRequest(format!("{what}: {cause}"))
    };
    let mut reading = Reading::default();
    let read = read(object, resource.message, &mut reading);
    let mut read = read.map_err(|fault| cannot(&fault.text))?;
    let problems = problems(options, &reading);
    if options.field_validation == FieldValidation::Strict && !problems.is_empty() {
        let problems = problems.join(", ");
        return Err(cannot(&format!("strict decoding error: {problems}")));
    }
    for (field, wanted) in [("apiVersion", resource.api_version()), ("kind", kind.to_owned())] {
        let given = text(&read, &format!("/{field}"));
        if !given.is_empty() && given != wanted {
            let message = format!(
                "the {field} in the data ({given}) does not match the expected {field} ({wanted})"
            );
            return Err(ApiError::BadRequest(message));
        }
        set(&mut read, &[field], wanted);
    }
    remove(&mut read, &["metadata", "managedFields"]);
    let warned = options.field_validation == FieldValidation::Warn;
    Ok((read, if warned { problems } else { Vec::new() }))
}

fn problems(options: &WriteOptions, reading: &Reading) -> Vec<String> {
    let unknown = reading.unknown.iter().map(|field| format!("unknown field {field:?}"));
    options.problems.iter().cloned().chain(unknown).collect()
}

/// What a patch made of an object. A real server blames the patch as a whole.
///
/// # Errors
/// [`ApiError::Invalid`].
pub(super) fn patched(
    resource: &'static Resource,
    patch: &Patch,
    new: &Value,
    options: &WriteOptions,
) -> Result<(Value, Vec<String>), ApiError> {
    let blame = |cause: &str| {
        let value = go_quoted(&patch.go_text());
        let cause = Cause {
            reason: "FieldValueInvalid",
            message: format!("Invalid value: {value}: {cause}"),
            field: "patch".to_owned(),
        };
        ApiError::Invalid { kind: "", group: "", name: String::new(), causes: vec![cause] }
    };
    let mut reading = Reading::default();
    let read = read(new, resource.message, &mut reading);
    let read = read.map_err(|fault| blame(&format!("unrecognized type: {}", fault.expected)))?;
    let problems = problems(options, &reading);
    match options.field_validation {
        FieldValidation::Strict if !problems.is_empty() => {
            Err(blame(&format!("strict decoding error: {}", problems.join(", "))))
        }
        FieldValidation::Warn => Ok((read, problems)),
        FieldValidation::Strict | FieldValidation::Ignore => Ok((read, Vec::new())),
    }
}
