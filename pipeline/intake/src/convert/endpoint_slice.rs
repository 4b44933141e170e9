//! EndpointSlices.

use std::sync::Arc;

use model::{
    AddressType, Endpoint, EndpointPort, EndpointSlice, Family, Hints, NamespacedName, Notice,
    Reason,
};

use super::notes::{Notes, Part, namespaced};
use super::{Names, time};
use crate::wire::{self, Field, shown};

/// The label that names a slice's Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

const NO_ENDPOINT: &str = "the endpoint is left out";
const NO_PORT: &str = "the port is left out";

/// Reads an EndpointSlice.
///
/// Of an endpoint's addresses the first alone counts: the API defines no meaning for others.
/// `ready` and `serving` are true, and `terminating` is false, where the object says nothing. A
/// slice that names no Service is kept without one and noted; a slice without a known address type
/// is none, for nothing tells what its addresses are.
#[must_use]
pub fn endpoint_slice(
    wire: &wire::EndpointSlice,
    names: &mut Names,
) -> (Option<EndpointSlice>, Vec<Notice>) {
    let (name, mut notes) = match namespaced("EndpointSlice", &wire.metadata, names) {
        Ok(named) => named,
        Err(notices) => return (None, notices),
    };
    let Some(address_type) = address_type(&wire.address_type, &mut notes) else {
        return (None, notes.list);
    };
    let slice = EndpointSlice {
        service: service(wire, &name, &mut notes),
        version: version(wire, &mut notes),
        last_change_trigger: last_change_trigger(wire, &mut notes),
        name,
        address_type,
        ports: ports(&wire.ports, &mut notes, names),
        endpoints: match address_type {
            AddressType::Ip(family) => endpoints(&wire.endpoints, family, &mut notes, names),
            AddressType::Fqdn => Vec::new(),
        },
    };
    (Some(slice), notes.list)
}

fn address_type(value: &Field<String>, notes: &mut Notes) -> Option<AddressType> {
    let (field, follows) = ("addressType", "the slice is left out");
    match notes.get(value, field, follows)?.as_str() {
        "IPv4" => Some(AddressType::Ip(Family::V4)),
        "IPv6" => Some(AddressType::Ip(Family::V6)),
        "FQDN" => {
            let message = "addressType is FQDN: no packet can be sent to a name; \
                           the endpoints of the slice are left out";
            notes.add(Reason::Unsupported, message);
            Some(AddressType::Fqdn)
        }
        other => {
            notes.invalid(field, shown(other), "IPv4, IPv6 or FQDN", follows);
            None
        }
    }
}

fn service(
    wire: &wire::EndpointSlice,
    name: &NamespacedName,
    notes: &mut Notes,
) -> Option<NamespacedName> {
    let label = wire.metadata.get().and_then(|metadata| metadata.label(SERVICE_NAME));
    let Some(service) = label.filter(|service| !service.is_empty()) else {
        let message = format!(
            "the label {SERVICE_NAME} is missing or empty: expected the name of \
             the Service that the slice belongs to; the slice is not used"
        );
        notes.add(Reason::NoOwner, message);
        return None;
    };
    Some(NamespacedName { namespace: name.namespace.clone(), name: service.into() })
}

fn version(wire: &wire::EndpointSlice, notes: &mut Notes) -> u64 {
    let (field, follows) = ("metadata.resourceVersion", "the slice counts as the oldest");
    let Some(metadata) = wire.metadata.get() else { return 0 };
    let text = notes.text(&metadata.resource_version, field, follows);
    if text.is_empty() {
        return 0;
    }
    text.parse().unwrap_or_else(|_| {
        notes.invalid(field, shown(text), "a decimal number", follows);
        0
    })
}

/// What measures the way from a change to the kernel (SIG Scalability's network programming
/// latency); routing goes on without it.
fn last_change_trigger(wire: &wire::EndpointSlice, notes: &mut Notes) -> Option<i64> {
    const FIELD: &str = "metadata.annotations[endpoints.kubernetes.io/last-change-trigger-time]";
    let annotations = wire.metadata.get()?.annotations.get()?;
    let follows = "the change counts in no measurement of latency";
    let time = time(&annotations.last_change_trigger_time, FIELD, follows, notes)?;
    Some(time.as_millisecond())
}

fn ports(
    list: &Field<Vec<Field<wire::EndpointPort>>>,
    notes: &mut Notes,
    names: &mut Names,
) -> Vec<EndpointPort> {
    const FIELD: &str = "ports";
    let items = notes.items(list, FIELD, NO_PORT);
    let mut ports = Vec::with_capacity(items.len());
    for (i, wire) in items {
        let before = notes.list.len();
        // An empty name is a name: it matches the lone port of a Service that has none.
        let name = notes.get(&wire.name, Part(FIELD, i, "name"), NO_PORT);
        let name = name.map(|name| names.intern(name));
        let protocol = notes.protocol(&wire.protocol, Part(FIELD, i, "protocol"), NO_PORT);
        let port = notes.optional_port(&wire.port, Part(FIELD, i, "port"), NO_PORT);
        if let Some(protocol) = protocol
            && notes.list.len() == before
        {
            ports.push(EndpointPort { name, protocol, port });
        }
    }
    ports
}

fn endpoints(
    list: &Field<Vec<Field<wire::Endpoint>>>,
    family: Family,
    notes: &mut Notes,
    names: &mut Names,
) -> Vec<Endpoint> {
    let items = notes.items(list, "endpoints", NO_ENDPOINT);
    let mut endpoints = Vec::with_capacity(items.len());
    for (i, wire) in items {
        endpoints.extend(endpoint(wire, i, family, notes, names));
    }
    endpoints
}

fn endpoint(
    wire: &wire::Endpoint,
    i: usize,
    family: Family,
    notes: &mut Notes,
    names: &mut Names,
) -> Option<Endpoint> {
    const FIELD: &str = "endpoints";
    let field = Part(FIELD, i, "addresses[0]");
    let addresses = notes.get(&wire.addresses, Part(FIELD, i, "addresses"), NO_ENDPOINT);
    let absent = Field::Absent;
    let first = addresses.and_then(|list| list.first()).unwrap_or(&absent);
    let text = notes.text(first, field, NO_ENDPOINT);
    let address = notes.ip(text, field, NO_ENDPOINT)?;
    if Family::of(address) != family {
        let message = format!(
            "{field} is {address}: expected an {family} address, as addressType \
             says; {NO_ENDPOINT}"
        );
        notes.add(Reason::WrongFamily, message);
        return None;
    }

    let unset = wire::Conditions::default();
    let field = Part(FIELD, i, "conditions");
    let conditions =
        notes.get(&wire.conditions, field, "every condition has its default").unwrap_or(&unset);
    let mut condition = |value: &Field<bool>, part: &str, default: bool| {
        let follows = format_args!("it counts as {default}");
        *notes.get(value, Part(FIELD, i, part), follows).unwrap_or(&default)
    };
    let ready = condition(&conditions.ready, "conditions.ready", true);
    let serving = condition(&conditions.serving, "conditions.serving", true);
    let terminating = condition(&conditions.terminating, "conditions.terminating", false);

    let unknown = "it counts as unknown";
    let target = notes.get(&wire.target_ref, Part(FIELD, i, "targetRef"), unknown);
    let target_uid = target.and_then(|target| {
        notes.optional_text(&target.uid, Part(FIELD, i, "targetRef.uid"), unknown)
    });
    let pod = target.filter(|target| target.kind.text() == "Pod");
    let target_pod = pod.and_then(|target| {
        notes.optional_text(&target.name, Part(FIELD, i, "targetRef.name"), unknown)
    });
    Some(Endpoint {
        address,
        ready,
        serving,
        terminating,
        node: notes.optional_name(&wire.node_name, Part(FIELD, i, "nodeName"), unknown, names),
        zone: notes.optional_name(&wire.zone, Part(FIELD, i, "zone"), unknown, names),
        hints: hints(&wire.hints, i, notes, names),
        hostname: notes.optional_text(&wire.hostname, Part(FIELD, i, "hostname"), unknown),
        target_uid,
        target_pod,
    })
}

fn hints(
    wire: &Field<wire::Hints>,
    i: usize,
    notes: &mut Notes,
    names: &mut Names,
) -> Option<Box<Hints>> {
    let wire = notes.get(wire, Part("endpoints", i, "hints"), "the endpoint has no hints")?;
    let mut read = |list: &Field<Vec<Field<wire::HintName>>>, part: &str| -> Vec<Arc<str>> {
        let field = format!("endpoints[{i}].hints.{part}");
        let follows = "the hint is left out";
        let mut hints = Vec::new();
        for (k, hint) in notes.items(list, &field, follows) {
            hints.extend(notes.optional_name(&hint.name, Part(&field, k, "name"), follows, names));
        }
        hints
    };
    let hints = Hints {
        zones: read(&wire.for_zones, "forZones"),
        nodes: read(&wire.for_nodes, "forNodes"),
    };
    (hints != Hints::default()).then(|| Box::new(hints))
}
