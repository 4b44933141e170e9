//! EndpointSlices.

use std::collections::BTreeSet;

use serde_json::Value;

use super::field::Faults;
use super::{immutable, names, protocol};
use crate::object::{has, items, text, texts};

/// The most endpoints, and the most ports, of one slice (kubernetes/api discovery/v1).
const MOST: (usize, usize) = (1000, 20_000);

pub(super) fn check(faults: &mut Faults, slice: &Value, old: Option<&Value>) {
    if let Some(old) = old {
        immutable(faults, "addressType", slice, old, "/addressType");
    }
    let of_type = text(slice, "/addressType");
    if of_type.is_empty() {
        faults.required("addressType", "");
    } else {
        faults.one_of("addressType", of_type, &["FQDN", "IPv4", "IPv6"]);
    }
    let endpoints = items(slice, "/endpoints");
    if endpoints.len() > MOST.0 {
        faults.too_many("endpoints", endpoints.len(), MOST.0);
        return;
    }
    for (index, endpoint) in endpoints.iter().enumerate() {
        let field = format!("endpoints[{index}]");
        let addresses = texts(endpoint, "/addresses");
        if addresses.is_empty() {
            faults.required(&format!("{field}.addresses"), "must contain at least 1 address");
        }
        for (index, address) in addresses.iter().enumerate() {
            check_address(faults, &format!("{field}.addresses[{index}]"), address, of_type);
        }
        if has(endpoint, "/nodeName") {
            names::subdomain(faults, &format!("{field}.nodeName"), text(endpoint, "/nodeName"));
        }
        if has(endpoint, "/hostname") {
            names::label(faults, &format!("{field}.hostname"), text(endpoint, "/hostname"));
        }
    }
    ports(faults, slice);
}

fn check_address(faults: &mut Faults, field: &str, address: &str, of_type: &str) {
    match of_type {
        "FQDN" => names::subdomain(faults, field, address),
        "IPv4" | "IPv6" => match names::address(faults, field, address) {
            Some(read) if read.is_ipv4() != (of_type == "IPv4") => {
                faults.invalid(field, address, &format!("must be an {of_type} address"));
            }
            Some(read) => names::ordinary_address(faults, field, address, read),
            None => {}
        },
        // The type itself is the fault.
        _ => {}
    }
}

fn ports(faults: &mut Faults, slice: &Value) {
    let ports = items(slice, "/ports");
    if ports.len() > MOST.1 {
        faults.too_many("ports", ports.len(), MOST.1);
        return;
    }
    let mut seen = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let field = format!("ports[{index}]");
        let name = text(port, "/name");
        if !name.is_empty() {
            names::label(faults, &format!("{field}.name"), name);
        }
        if !seen.insert(name) {
            faults.duplicate(&format!("{field}.name"), name);
        }
        protocol(faults, &format!("{field}.protocol"), port, "/protocol");
        if let Some(number) = port.pointer("/port").and_then(Value::as_i64) {
            names::port(faults, &format!("{field}.port"), number);
        }
        if has(port, "/appProtocol") {
            let app_protocol = text(port, "/appProtocol");
            names::qualified_name(faults, &format!("{field}.appProtocol"), app_protocol);
        }
    }
}
