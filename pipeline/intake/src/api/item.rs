//! One object of a list or a watch.

use model::{NamespacedName, Notice, ObjectRef, Reason};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::kind::{Kind, Watched};
use crate::convert::Names;
use crate::wire::{Field, Metadata};

/// An object, read.
pub(super) struct Item<F> {
    /// `None` where the object cannot be named.
    pub(super) name: Option<NamespacedName>,
    /// `metadata.resourceVersion`; empty where there is none.
    pub(super) version: String,
    /// Whether it is the bookmark that ends a streamed list.
    pub(super) ends_list: bool,
    /// What the object says, if it can be used at all.
    pub(super) fact: Option<F>,
    /// What cannot be used of it.
    pub(super) notices: Vec<Notice>,
}

/// What is read of an object that cannot be read as a whole.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Remains {
    metadata: Field<Metadata>,
}

/// Reads one object, which never costs another one anything.
pub(super) fn read<K: Watched>(raw: &RawValue, names: &mut Names) -> Item<K::Fact> {
    match serde_json::from_str::<Field<K::Wire>>(raw.get()) {
        Ok(Field::Is(wire)) => {
            let (fact, notices) = K::convert(&wire, names);
            Item { fact, notices, ..named(K::metadata(&wire)) }
        }
        Ok(Field::Absent) => broken::<K>(raw, "it is null"),
        Ok(Field::Wrong(value)) => broken::<K>(raw, &format!("it is {value}")),
        Err(error) => broken::<K>(raw, &error.to_string()),
    }
}

fn named<F>(metadata: &Field<Metadata>) -> Item<F> {
    let mut item =
        Item { name: None, version: String::new(), ends_list: false, fact: None, notices: vec![] };
    let Some(metadata) = metadata.get() else { return item };
    let (namespace, name) = (metadata.namespace.text(), metadata.name.text());
    item.name = (!name.is_empty()).then(|| NamespacedName::new(namespace, name));
    item.version = metadata.resource_version.text().to_owned();
    let annotations = metadata.annotations.get();
    item.ends_list = annotations.is_some_and(|known| known.initial_events_end.text() == "true");
    item
}

fn broken<K: Watched>(raw: &RawValue, cause: &str) -> Item<K::Fact> {
    let remains = serde_json::from_str::<Remains>(raw.get()).unwrap_or_default();
    let mut item = named(&remains.metadata);
    let kind = match K::KIND {
        Kind::Service => "Service",
        Kind::EndpointSlice => "EndpointSlice",
        Kind::Node => "Node",
        Kind::ServiceCidr => "ServiceCIDR",
        Kind::Pod => "Pod",
        Kind::Namespace => "Namespace",
        Kind::NetworkPolicy => "NetworkPolicy",
        Kind::ClusterNetworkPolicy => "ClusterNetworkPolicy",
    };
    let object = match &item.name {
        Some(name) if name.namespace.is_empty() => ObjectRef::new(kind, &name.name),
        Some(name) => ObjectRef::new(kind, name),
        None => ObjectRef::new(kind, "(without a name)"),
    };
    let message = format!("the object cannot be read: {cause}; it is left out");
    item.notices.push(Notice { object, reason: Reason::InvalidField, message });
    item
}
