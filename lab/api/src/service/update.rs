//! From the old Service to the new one.

use serde_json::{Value, json};

use super::{needs_address, needs_node_ports};
use crate::object::{has, items, items_mut, number, remove, set, text, texts};
use crate::validate::{is_external, needs_health_check};

/// Keeps what was allocated where the new Service says nothing, and drops what its type no longer
/// has.
pub(super) fn take_over(new: &mut Value, old: &Value) {
    if needs_address(old) && needs_address(new) {
        if text(new, "/spec/clusterIP").is_empty() {
            keep(new, old, "clusterIP");
        }
        let same = text(new, "/spec/clusterIP") == text(old, "/spec/clusterIP");
        if same && items(new, "/spec/clusterIPs").is_empty() {
            keep(new, old, "clusterIPs");
        }
        for field in ["ipFamilies", "ipFamilyPolicy"] {
            if !has(new, &format!("/spec/{field}")) {
                keep(new, old, field);
            }
        }
    }
    if needs_node_ports(old) && needs_node_ports(new) {
        let before = items(old, "/spec/ports");
        for port in items_mut(new, "/spec/ports") {
            let same = |old: &&Value| {
                let protocol = text(old, "/protocol") == text(port, "/protocol");
                protocol && number(old, "/port") == number(port, "/port")
            };
            let node_port = before.iter().find(same).map(|old| number(old, "/nodePort"));
            if let Some(node_port) = node_port.filter(|_| !has(port, "/nodePort"))
                && node_port != 0
            {
                set(port, &["nodePort"], node_port);
            }
        }
    }
    if needs_health_check(old) && needs_health_check(new) && !has(new, "/spec/healthCheckNodePort")
    {
        keep(new, old, "healthCheckNodePort");
    }
    drop_of_type(new, old);
    release_second(new, old);
}

fn keep(new: &mut Value, old: &Value, field: &str) {
    if let Some(value) = old.pointer(&format!("/spec/{field}")) {
        set(new, &["spec", field], value.clone());
    }
}

/// A type that is left takes its fields along, unless the client changed them in the same breath.
fn drop_of_type(new: &mut Value, old: &Value) {
    let balanced = |service: &Value| text(service, "/spec/type") == "LoadBalancer";
    let left = |has: &dyn Fn(&Value) -> bool| has(old) && !has(new);
    let mut fields = Vec::new();
    if left(&needs_address) {
        fields.extend(["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"]);
    }
    if left(&balanced) {
        fields.extend(["allocateLoadBalancerNodePorts", "loadBalancerClass"]);
    }
    if left(&is_external) {
        fields.push("externalTrafficPolicy");
    }
    if left(&needs_health_check) {
        fields.push("healthCheckNodePort");
    }
    let node_ports = |service: &Value| -> Vec<_> {
        items(service, "/spec/ports").iter().map(|port| number(port, "/nodePort")).collect()
    };
    let drop_node_ports = left(&needs_node_ports) && node_ports(new) == node_ports(old);
    for field in fields {
        let pointer = format!("/spec/{field}");
        if new.pointer(&pointer) == old.pointer(&pointer) {
            remove(new, &["spec", field]);
        }
    }
    if drop_node_ports {
        for port in items_mut(new, "/spec/ports") {
            remove(port, &["nodePort"]);
        }
    }
}

/// Brings the singular and the plural of the cluster IP together.
pub(super) fn normalize(new: &mut Value, old: Option<&Value>) {
    let first = text(new, "/spec/clusterIP").to_owned();
    let listed = texts(new, "/spec/clusterIPs");
    let Some(old) = old else {
        if !first.is_empty() && listed.is_empty() {
            set(new, &["spec", "clusterIPs"], json!([first]));
        }
        return;
    };
    let changed = first != text(old, "/spec/clusterIP");
    let only_first = changed && listed == texts(old, "/spec/clusterIPs");
    if only_first && first.is_empty() {
        remove(new, &["spec", "clusterIPs"]);
    } else if only_first || !first.is_empty() && listed.is_empty() {
        set(new, &["spec", "clusterIPs"], json!([first]));
    } else if !changed && listed.first().is_some_and(|listed| *listed != first) {
        // Only the plural was changed: it leads.
        let leading = listed.into_iter().next().unwrap_or_default();
        set(new, &["spec", "clusterIP"], leading);
    }
}

/// Two addresses of which one is released.
fn release_second(new: &mut Value, old: &Value) {
    let released = text(new, "/spec/ipFamilyPolicy") == "SingleStack"
        && text(old, "/spec/ipFamilyPolicy") != "SingleStack";
    let unchanged = ["clusterIPs", "ipFamilies"].iter().all(|field| {
        let pointer = format!("/spec/{field}");
        texts(new, &pointer) == texts(old, &pointer) && texts(new, &pointer).len() == 2
    });
    if released && unchanged {
        for field in ["clusterIPs", "ipFamilies"] {
            let first = texts(new, &format!("/spec/{field}")).into_iter().next();
            set(new, &["spec", field], json!([first]));
        }
    }
}
