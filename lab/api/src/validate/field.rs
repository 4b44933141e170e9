//! The words in which a field is found wrong.

use serde_json::Value;

use crate::error::Cause;
use crate::go_text::go_quoted;

/// The faults of one object, in the order in which a real server finds them.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    pub(crate) causes: Vec<Cause>,
}

impl Faults {
    fn push(&mut self, reason: &'static str, field: &str, message: String) {
        let cause = Cause { reason, message, field: field.to_owned() };
        // A real server says the same thing once.
        if !self.causes.contains(&cause) {
            self.causes.push(cause);
        }
    }

    /// `Invalid value: VALUE: DETAIL`.
    pub(crate) fn invalid(&mut self, field: &str, value: impl Into<Value>, detail: &str) {
        let message = format!("Invalid value: {}: {detail}", shown(&value.into()));
        self.push("FieldValueInvalid", field, message);
    }

    /// `Required value` or `Required value: DETAIL`.
    pub(crate) fn required(&mut self, field: &str, detail: &str) {
        self.push("FieldValueRequired", field, with_detail("Required value", detail));
    }

    /// `Duplicate value: VALUE`.
    pub(crate) fn duplicate(&mut self, field: &str, value: impl Into<Value>) {
        let message = format!("Duplicate value: {}", shown(&value.into()));
        self.push("FieldValueDuplicate", field, message);
    }

    /// `Duplicate value: TEXT`, for a value that JSON would write in another order.
    pub(crate) fn duplicate_text(&mut self, field: &str, text: &str) {
        self.push("FieldValueDuplicate", field, format!("Duplicate value: {text}"));
    }

    /// `Forbidden: DETAIL`.
    pub(crate) fn forbidden(&mut self, field: &str, detail: &str) {
        self.push("FieldValueForbidden", field, with_detail("Forbidden", detail));
    }

    /// `Too long: may not be more than N bytes`.
    pub(crate) fn too_long(&mut self, field: &str, most: usize) {
        let message = format!("Too long: may not be more than {most} bytes");
        self.push("FieldValueTooLong", field, message);
    }

    /// `Too many: N: must have at most M items`.
    pub(crate) fn too_many(&mut self, field: &str, count: usize, most: usize) {
        let message = format!("Too many: {count}: must have at most {most} items");
        self.push("FieldValueTooMany", field, message);
    }

    /// `Unsupported value: VALUE: supported values: …`.
    pub(crate) fn unsupported(&mut self, field: &str, value: &str, supported: &[&str]) {
        let supported: Vec<_> = supported.iter().map(|value| go_quoted(value)).collect();
        let value = go_quoted(value);
        let message =
            format!("Unsupported value: {value}: supported values: {}", supported.join(", "));
        self.push("FieldValueNotSupported", field, message);
    }

    /// Finds a text wrong that is not among those allowed.
    pub(crate) fn one_of(&mut self, field: &str, value: &str, supported: &[&str]) {
        if !supported.contains(&value) {
            self.unsupported(field, value, supported);
        }
    }
}

fn with_detail(what: &str, detail: &str) -> String {
    if detail.is_empty() { what.to_owned() } else { format!("{what}: {detail}") }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => go_quoted(text),
        other => other.to_string(),
    }
}
