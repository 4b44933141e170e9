//! Pods.

use std::collections::BTreeSet;

use serde_json::Value;

use super::field::Faults;
use super::{names, protocol};
use crate::object::{has, items, items_mut, number, remove, set, text};

pub(super) fn check(faults: &mut Faults, pod: &Value, old: Option<&Value>) {
    let nothing = Value::Null;
    check_spec(faults, "spec", pod.get("spec").unwrap_or(&nothing));
    if old.is_some_and(|old| steady(pod) != steady(old)) {
        let detail = "pod updates may not change fields other than `spec.containers[*].image`,\
                      `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
                      `spec.tolerations` (only additions to existing tolerations),\
                      `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was \
                      previously negative)";
        faults.forbidden("spec", detail);
    }
}

/// What of a Pod's spec may not change.
fn steady(pod: &Value) -> Value {
    let mut pod = pod.clone();
    for list in ["/spec/containers", "/spec/initContainers"] {
        for container in items_mut(&mut pod, list) {
            set(container, &["image"], "");
        }
    }
    for field in ["activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds"] {
        remove(&mut pod, &["spec", field]);
    }
    pod.get("spec").cloned().unwrap_or_default()
}

pub(super) fn check_spec(faults: &mut Faults, field: &str, spec: &Value) {
    let containers = items(spec, "/containers");
    if containers.is_empty() {
        faults.required(&format!("{field}.containers"), "");
    }
    let mut seen = BTreeSet::new();
    for (index, container) in containers.iter().enumerate() {
        let field = format!("{field}.containers[{index}]");
        let name = text(container, "/name");
        let of_name = format!("{field}.name");
        if name.is_empty() {
            faults.required(&of_name, "");
        } else {
            names::label(faults, &of_name, name);
            if !seen.insert(name) {
                faults.duplicate(&of_name, name);
            }
        }
        let image = text(container, "/image");
        if image.is_empty() {
            faults.required(&format!("{field}.image"), "");
        } else if image != image.trim() {
            let detail = "must not have leading or trailing whitespace";
            faults.invalid(&format!("{field}.image"), image, detail);
        }
        ports(faults, &field, container);
    }
    let known = ["Always", "OnFailure", "Never"];
    faults.one_of(&format!("{field}.restartPolicy"), text(spec, "/restartPolicy"), &known);
}

fn ports(faults: &mut Faults, field: &str, container: &Value) {
    let mut seen = BTreeSet::new();
    for (index, port) in items(container, "/ports").iter().enumerate() {
        let field = format!("{field}.ports[{index}]");
        let name = text(port, "/name");
        if !name.is_empty() {
            names::port_name(faults, &format!("{field}.name"), name);
            if !seen.insert(name) {
                faults.duplicate(&format!("{field}.name"), name);
            }
        }
        let of_port = format!("{field}.containerPort");
        match number(port, "/containerPort") {
            0 => faults.required(&of_port, ""),
            number => names::port(faults, &of_port, number),
        }
        if has(port, "/hostPort") {
            names::port(faults, &format!("{field}.hostPort"), number(port, "/hostPort"));
        }
        protocol(faults, &format!("{field}.protocol"), port, "/protocol");
    }
}
