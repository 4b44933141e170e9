//! From the API's objects to facts: one file per kind.
//!
//! A value that cannot be used becomes a [`Notice`](model::Notice) that names object, field, value,
//! what was expected and what follows; everything else of the object is kept. Only an object that
//! cannot be named, or an EndpointSlice without an address type, yields no fact at all.

mod endpoint_slice;
mod namespace;
mod node;
mod notes;
mod pod;
mod policy;
mod service;
mod service_cidr;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

pub use endpoint_slice::endpoint_slice;
pub use namespace::namespace;
pub use node::node;
pub use pod::pod;
pub use policy::{cluster_network_policy, network_policy};
pub use service::service;
pub use service_cidr::service_cidr;

use model::Labels;

use self::notes::Notes;
use crate::wire::{Field, Metadata, shown};

/// The labels of an object; one whose value is no text is left out, for the API has none.
fn labels(metadata: &Metadata, names: &mut Names) -> Labels {
    let labels = metadata.labels.get().into_iter().flatten();
    let texts = labels.filter_map(|(key, value)| Some((key, value.get()?)));
    texts.map(|(key, value)| (names.intern(key), names.intern(value))).collect()
}

/// A time (RFC 3339) in seconds of the Unix epoch.
fn seconds(value: &Field<String>, field: &str, follows: &str, notes: &mut Notes) -> Option<i64> {
    time(value, field, follows, notes).map(jiff::Timestamp::as_second)
}

/// A time of RFC 3339, if there is one.
fn time(
    value: &Field<String>,
    field: &str,
    follows: &str,
    notes: &mut Notes,
) -> Option<jiff::Timestamp> {
    let text = notes.text(value, field, follows);
    if text.is_empty() {
        return None;
    }
    let read = text.parse::<jiff::Timestamp>();
    if read.is_err() {
        notes.invalid(field, shown(text), "a time such as 2026-01-31T12:00:00Z", follows);
    }
    read.ok()
}

/// Texts that many objects share (namespaces, node names, zones, port names), each held once.
#[derive(Debug, Default)]
pub struct Names {
    known: BTreeSet<Arc<str>>,
}

impl Names {
    /// The one copy of a text.
    pub fn intern(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.known.get(text) {
            return known.clone();
        }
        let new: Arc<str> = text.into();
        self.known.insert(new.clone());
        new
    }

    /// Forgets the texts that nobody else holds. Worth a call after a complete list was taken in.
    pub fn forget_unused(&mut self) {
        self.known.retain(|text| Arc::strong_count(text) > 1);
    }
}
