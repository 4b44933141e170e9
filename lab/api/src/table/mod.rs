//! What `kubectl get` shows: the server makes the table.

mod age;
mod cells;
mod pod;
mod service;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::Resource;
use crate::object::{set, text};
use cells::{columns, row};

pub(crate) use cells::selector;

/// What a row carries beside its cells (`includeObject`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Include {
    /// Nothing.
    None,
    /// The metadata.
    #[default]
    Metadata,
    /// The whole object.
    Object,
}

/// A table of objects. `metadata` is that of the list.
pub(crate) fn table<'a>(
    resource: &Resource,
    objects: impl Iterator<Item = &'a Value>,
    metadata: Value,
    include: Include,
    now: Timestamp,
) -> Value {
    let columns = columns(resource.kind);
    let rows: Vec<_> = objects
        .map(|object| {
            let cells = row(resource.kind, object, now);
            let object = match include {
                Include::None => return json!({"cells": cells}),
                Include::Metadata => partial(object),
                Include::Object => object.clone(),
            };
            json!({"cells": cells, "object": object})
        })
        .collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": columns, "rows": rows,
    })
}

/// The metadata of an object alone.
pub(crate) fn partial(object: &Value) -> Value {
    let mut partial = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"});
    set(&mut partial, &["metadata"], object.get("metadata").cloned().unwrap_or_default());
    partial
}

/// How long ago the time at a JSON pointer was, or `<unknown>`.
fn since(object: &Value, pointer: &str, now: Timestamp) -> String {
    match text(object, pointer).parse::<Timestamp>() {
        Ok(then) => age::human(now.duration_since(then).as_secs()),
        Err(_) => "<unknown>".to_owned(),
    }
}

#[cfg(test)]
mod tests;
