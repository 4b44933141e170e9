//! What may not change about a Service.

use serde_json::Value;

use super::field::Faults;
use super::service::{is_headless, needs_health_check};
use crate::object::{items, number, text, texts};

const ONCE: &str = "may not change once set";

pub(super) fn check(faults: &mut Faults, new: &Value, old: &Value) {
    let external_name = |service| text(service, "/spec/type") == "ExternalName";
    if !external_name(new) && !external_name(old) {
        addresses(faults, new, old);
        families(faults, new, old);
    }
    let balanced = |service| text(service, "/spec/type") == "LoadBalancer";
    let pointer = "/spec/loadBalancerClass";
    if balanced(new) && balanced(old) && new.pointer(pointer) != old.pointer(pointer) {
        let value = new.pointer(pointer).cloned().unwrap_or_default();
        faults.invalid("spec.loadBalancerClass", value, ONCE);
    }
    let pointer = "/spec/healthCheckNodePort";
    let checked = needs_health_check(new) && needs_health_check(old);
    if checked && number(new, pointer) != number(old, pointer) {
        faults.forbidden("spec.healthCheckNodePort", "field is immutable");
    }
}

/// A secondary address or family may come and go; the primary one stays.
fn addresses(faults: &mut Faults, new: &Value, old: &Value) {
    if is_headless(new) && is_headless(old) {
        return;
    }
    let (now, before) = (texts(new, "/spec/clusterIPs"), texts(old, "/spec/clusterIPs"));
    let listed = || items(new, "/spec/clusterIPs").to_vec();
    if now.is_empty() && !before.is_empty() {
        faults.invalid("spec.clusterIPs[0]", listed(), "primary clusterIP can not be unset");
    }
    for (index, (now_one, before_one)) in now.iter().zip(&before).enumerate() {
        if now_one != before_one && (index == 0 || now.len() == before.len()) {
            faults.invalid(&format!("spec.clusterIPs[{index}]"), listed(), ONCE);
        }
    }
    if now.len() == 1 && before.len() > 1 {
        released(faults, new, "clusterIP");
    }
}

fn families(faults: &mut Faults, new: &Value, old: &Value) {
    if is_headless(new) || is_headless(old) {
        return;
    }
    let (now, before) = (texts(new, "/spec/ipFamilies"), texts(old, "/spec/ipFamilies"));
    let field = "spec.ipFamilies[0]";
    let listed = || items(new, "/spec/ipFamilies").to_vec();
    if before.len() > now.len() && items(new, "/spec/clusterIPs").is_empty() {
        faults.invalid(field, listed(), "primary ipFamily can not be unset");
    }
    let same_length = now.len() == before.len();
    for (index, (now_one, before_one)) in now.iter().zip(&before).enumerate() {
        if now_one == before_one {
            continue;
        }
        if same_length {
            faults.invalid(field, listed(), ONCE);
        } else if index == 0 {
            faults.invalid(field, items(new, "/spec/clusterIPs").to_vec(), ONCE);
        }
    }
    if now.len() == 1 && before.len() > 1 {
        released(faults, new, "ipFamily");
    }
}

fn released(faults: &mut Faults, new: &Value, what: &str) {
    let policy = text(new, "/spec/ipFamilyPolicy");
    if policy != "SingleStack" {
        let detail = format!("must be set to 'SingleStack' when releasing the secondary {what}");
        faults.invalid("spec.ipFamilyPolicy", policy, &detail);
    }
}
