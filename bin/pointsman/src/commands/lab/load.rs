//! The objects that a replayed lab begins with, into its store.

use std::path::Path;

use anyhow::{Context, Result};
use lab_api::resource::NODES;
use lab_api::{ApiError, Resource, Store, WriteOptions};
use serde_json::Value;

/// What a file holds.
pub(super) fn read(path: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(path);
    let text = text.with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

fn name_of(object: &Value) -> (&str, &str) {
    let of = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    (of("namespace"), of("name"))
}

/// Writes everything but Nodes, before anybody works on it.
pub(super) fn objects(store: &Store, objects: &[Value]) -> Result<()> {
    let options = WriteOptions { manager: "replay".to_owned(), ..WriteOptions::default() };
    for object in objects.iter().filter(|object| object["kind"] != "Node") {
        let kind = object["kind"].as_str().unwrap_or_default();
        let version = object["apiVersion"].as_str().unwrap_or_default();
        let (namespace, name) = name_of(object);
        let told = || format!("{kind} {namespace}/{name} of the capture");
        let resource = Resource::of_kind(version, kind).with_context(told)?;
        match store.create(resource, namespace, object.clone(), &options) {
            Ok(_) => {}
            Err(ApiError::AlreadyExists { .. }) if kind == "Namespace" => {}
            Err(error) => return Err(error).with_context(told),
        }
        if kind == "Service" && !object["status"].is_null() {
            let options = WriteOptions { subresource: Some("status"), ..options.clone() };
            let status = |new: &mut Value| new["status"] = object["status"].clone();
            store.edit(resource, namespace, name, &options, status).with_context(told)?;
        }
    }
    Ok(())
}

/// Gives the lab's Nodes the captured labels, zones among them.
pub(super) fn labels(store: &Store, objects: &[Value]) -> Result<()> {
    let options = WriteOptions { manager: "replay".to_owned(), ..WriteOptions::default() };
    for object in objects.iter().filter(|object| object["kind"] == "Node") {
        let (_, name) = name_of(object);
        let labels = |new: &mut Value| {
            new["metadata"]["labels"] = object["metadata"]["labels"].clone();
            new["metadata"]["labels"]["kubernetes.io/hostname"] = name.into();
        };
        store.edit(&NODES, "", name, &options, labels).with_context(|| format!("Node {name}"))?;
    }
    Ok(())
}
