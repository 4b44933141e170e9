//! `metadata`, the part that all objects share.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Field, objects};

/// `metadata` of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Metadata {
    /// The object's name.
    pub name: Field<String>,
    /// The namespace; absent for cluster-scoped objects and where a manifest leaves it out.
    pub namespace: Field<String>,
    /// The identity over time: a second object of one name has another.
    pub uid: Field<String>,
    /// The version of the object, a decimal number since etcd is the store (KEP-5504).
    pub resource_version: Field<String>,
    /// The labels.
    pub labels: Field<BTreeMap<String, Field<String>>>,
    /// The annotations that are read; all others are skipped.
    pub annotations: Field<Annotations>,
    /// RFC 3339.
    pub creation_timestamp: Field<String>,
    /// RFC 3339; set while the object is being deleted.
    pub deletion_timestamp: Field<String>,
}

/// The annotations that are read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Annotations {
    /// `true` on the bookmark that ends the list at the head of a watch (KEP-3157).
    #[serde(rename = "k8s.io/initial-events-end")]
    pub initial_events_end: Field<String>,
    /// RFC 3339; on an EndpointSlice, when the change began that its last change follows from.
    #[serde(rename = "endpoints.kubernetes.io/last-change-trigger-time")]
    pub last_change_trigger_time: Field<String>,
}

objects!(Metadata, Annotations);

impl Metadata {
    /// The value of a label, if there is one and it is a text.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.get()?.get(key)?.get().map(String::as_str)
    }
}
