//! NetworkPolicies.

use serde_json::Value;

use super::field::Faults;
use super::names;
use crate::object::{has, items, number, text, texts};

pub(super) fn check(faults: &mut Faults, policy: &Value) {
    let nothing = Value::Null;
    let selector = policy.pointer("/spec/podSelector").unwrap_or(&nothing);
    names::label_selector(faults, "spec.podSelector", selector);
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        let rules = items(policy, &format!("/spec/{direction}")).iter().enumerate();
        for (index, rule) in rules {
            let field = format!("spec.{direction}[{index}]");
            for (index, port) in items(rule, "/ports").iter().enumerate() {
                check_port(faults, &format!("{field}.ports[{index}]"), port);
            }
            for (index, peer) in items(rule, &format!("/{peers}")).iter().enumerate() {
                check_peer(faults, &format!("{field}.{peers}[{index}]"), peer);
            }
        }
    }
    let types = texts(policy, "/spec/policyTypes");
    if types.len() > 2 {
        let value = items(policy, "/spec/policyTypes").to_vec();
        faults.invalid("spec.policyTypes", value, "may not specify more than two policyTypes");
        return;
    }
    for (index, one) in types.iter().enumerate() {
        faults.one_of(&format!("spec.policyTypes[{index}]"), one, &["Ingress", "Egress"]);
    }
}

fn check_port(faults: &mut Faults, field: &str, port: &Value) {
    if has(port, "/protocol") {
        let known = ["TCP", "UDP", "SCTP"];
        faults.one_of(&format!("{field}.protocol"), text(port, "/protocol"), &known);
    }
    let of_end = format!("{field}.endPort");
    let end = number(port, "/endPort");
    let ends = has(port, "/endPort");
    match port.pointer("/port") {
        Some(Value::String(name)) => {
            if ends {
                faults.invalid(&of_end, end, "may not be specified when `port` is non-numeric");
            }
            names::port_name(faults, &format!("{field}.port"), name);
        }
        Some(start) => {
            let start = start.as_i64().unwrap_or_default();
            names::port(faults, &format!("{field}.port"), start);
            if ends && end < start {
                // A real server shows the start here, not the end.
                faults.invalid(&of_end, start, "must be greater than or equal to `port`");
            }
            if ends {
                names::port(faults, &of_end, end);
            }
        }
        None if ends => {
            faults.invalid(&of_end, end, "may not be specified when `port` is not specified");
        }
        None => {}
    }
}

fn check_peer(faults: &mut Faults, field: &str, peer: &Value) {
    let mut selectors = 0;
    for selector in ["podSelector", "namespaceSelector"] {
        if let Some(value) = peer.get(selector) {
            selectors += 1;
            names::label_selector(faults, &format!("{field}.{selector}"), value);
        }
    }
    match peer.get("ipBlock") {
        Some(block) => {
            check_block(faults, &format!("{field}.ipBlock"), block);
            if selectors > 0 {
                faults.forbidden(field, "may not specify both ipBlock and another peer");
            }
        }
        None if selectors == 0 => faults.required(field, "must specify a peer"),
        None => {}
    }
}

fn check_block(faults: &mut Faults, field: &str, block: &Value) {
    let cidr = text(block, "/cidr");
    if cidr.is_empty() {
        faults.required(&format!("{field}.cidr"), "");
        return;
    }
    let Some(whole) = names::block(faults, &format!("{field}.cidr"), cidr) else { return };
    for (index, except) in texts(block, "/except").iter().enumerate() {
        let field = format!("{field}.except[{index}]");
        let Some(hole) = names::block(faults, &field, except) else { continue };
        if !whole.contains(&hole) || whole.prefix_len() >= hole.prefix_len() {
            faults.invalid(&field, &except[..], "must be a strict subset of `cidr`");
        }
    }
}
