//! Whether an object keeps the rules of its kind.
//!
//! The rules and their words are those of kube-apiserver v1.36. Services are checked in full; of
//! the other kinds what a lab can get wrong in a way that matters here (names, labels, selectors,
//! ports, addresses, what may not change). Deep parts of Pods (volumes, probes, security contexts)
//! are not checked.

mod endpoint_slice;
mod field;
mod names;
mod network_policy;
mod pod;
mod service;
mod service_families;
mod service_update;
mod workload;

use serde_json::Value;

use crate::object::{fields, items, name, text, texts};
use crate::resource::Resource;
use crate::{ApiError, Cause};

pub(crate) use field::Faults;
pub(crate) use service::{is_external, is_headless, needs_health_check};
pub(crate) use service_families::family_of;

/// Checks an object that is to be stored, against the one it replaces, if any.
///
/// # Errors
/// [`ApiError::Invalid`] with every fault.
pub(crate) fn validate(
    resource: &'static Resource,
    new: &Value,
    old: Option<&Value>,
    subresource: Option<&str>,
) -> Result<(), ApiError> {
    let mut faults = Faults::default();
    match old {
        None => metadata(&mut faults, resource, new),
        Some(old) => metadata_update(&mut faults, new, old),
    }
    match (resource.kind, subresource) {
        ("Service", None) => service::check(&mut faults, new, old),
        ("EndpointSlice", None) => endpoint_slice::check(&mut faults, new, old),
        ("NetworkPolicy", None) => network_policy::check(&mut faults, new),
        ("Deployment" | "ReplicaSet", None) => {
            workload::check(&mut faults, resource.kind, new, old);
        }
        ("Pod", None) => pod::check(&mut faults, new, old),
        ("ServiceCIDR", None) => service_cidr(&mut faults, new, old),
        _ => {}
    }
    refuse(resource, name(new), faults.causes)
}

/// Nothing, or the refusal of an object with these faults.
///
/// # Errors
/// [`ApiError::Invalid`].
pub(crate) fn refuse(
    resource: &'static Resource,
    name: &str,
    causes: Vec<Cause>,
) -> Result<(), ApiError> {
    if causes.is_empty() {
        return Ok(());
    }
    let (kind, group) = (resource.kind, resource.group);
    Err(ApiError::Invalid { kind, group, name: name.to_owned(), causes })
}

fn metadata(faults: &mut Faults, resource: &Resource, object: &Value) {
    let name = name(object);
    let field = "metadata.name";
    if name.is_empty() {
        faults.required(field, "name or generateName is required");
    } else if ["Namespace", "Service"].contains(&resource.kind) {
        names::label(faults, field, name);
    } else {
        names::subdomain(faults, field, name);
    }
    labels_and_annotations(faults, object);
}

fn labels_and_annotations(faults: &mut Faults, object: &Value) {
    names::labels(faults, "metadata.labels", object, "/metadata/labels");
    let mut size = 0;
    for (key, value) in fields(object, "/metadata/annotations") {
        names::qualified_name(faults, "metadata.annotations", &key.to_lowercase());
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    const MOST: usize = 256 * 1024;
    if size > MOST {
        faults.too_long("metadata.annotations", MOST);
    }
    for (index, finalizer) in texts(object, "/metadata/finalizers").iter().enumerate() {
        names::qualified_name(faults, &format!("metadata.finalizers[{index}]"), finalizer);
    }
}

fn metadata_update(faults: &mut Faults, new: &Value, old: &Value) {
    for field in ["name", "namespace", "uid"] {
        let pointer = format!("/metadata/{field}");
        immutable(faults, &format!("metadata.{field}"), new, old, &pointer);
    }
    labels_and_annotations(faults, new);
}

/// Finds a field wrong whose value changed.
fn immutable(faults: &mut Faults, field: &str, new: &Value, old: &Value, pointer: &str) {
    let value = |object: &Value| object.pointer(pointer).cloned().unwrap_or_default();
    if value(new) != value(old) {
        faults.invalid(field, value(new), "field is immutable");
    }
}

fn service_cidr(faults: &mut Faults, new: &Value, old: Option<&Value>) {
    let field = "spec.cidrs";
    let cidrs = texts(new, "/spec/cidrs");
    if cidrs.is_empty() {
        faults.required(field, "at least one CIDR required");
    }
    if cidrs.len() > 2 {
        let value = items(new, "/spec/cidrs").to_vec();
        faults.invalid(field, value, "may only hold up to 2 values");
    }
    let mut families = Vec::new();
    for (index, cidr) in cidrs.iter().enumerate() {
        let field = format!("{field}[{index}]");
        let Some(block) = names::block(faults, &field, cidr) else { continue };
        if block.trunc() != block {
            let detail = "must not have bits set beyond the prefix length";
            faults.invalid(&field, &cidr[..], detail);
        }
        families.push(block.addr().is_ipv4());
    }
    if families.len() == 2 && families[0] == families[1] {
        let detail = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/96";
        faults.invalid(field, items(new, "/spec/cidrs").to_vec(), detail);
    }
    if let Some(old) = old {
        let before = texts(old, "/spec/cidrs");
        if cidrs.iter().zip(&before).any(|(new, old)| new != old) || cidrs.len() < before.len() {
            faults.invalid(field, items(new, "/spec/cidrs").to_vec(), "field is immutable");
        }
    }
}

/// Whether a text is the name of a protocol that ports may have.
fn protocol(faults: &mut Faults, field: &str, object: &Value, pointer: &str) {
    faults.one_of(field, text(object, pointer), &["SCTP", "TCP", "UDP"]);
}
