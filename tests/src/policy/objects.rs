//! Parts of policies, as the API writes them.

use serde_json::{Value, json};

/// A selector of the objects whose label has one of these values.
pub fn only_in(key: &str, values: &[&str]) -> Value {
    json!({"matchExpressions": [{"key": key, "operator": "In", "values": values}]})
}

/// Pods with this name in a peer's own namespace.
pub fn pods(name: &str) -> Value {
    json!({"podSelector": {"matchLabels": {"pod": name}}})
}

/// All Pods of the namespaces with this label.
pub fn namespaces(name: &str) -> Value {
    json!({"namespaceSelector": {"matchLabels": {"ns": name}}})
}

/// Pods with this name in those namespaces.
pub fn pods_in(name: &str, namespace: &str) -> Value {
    let mut peer = pods(name);
    peer["namespaceSelector"] = namespaces(namespace)["namespaceSelector"].clone();
    peer
}

/// A policy for Pods of a name (every Pod where it is empty) that lets in what rules say.
pub fn ingress(pod: &str, rules: Value) -> Value {
    json!({"podSelector": subject(pod), "policyTypes": ["Ingress"], "ingress": rules})
}

/// The same for what they send.
pub fn egress(pod: &str, rules: Value) -> Value {
    json!({"podSelector": subject(pod), "policyTypes": ["Egress"], "egress": rules})
}

fn subject(pod: &str) -> Value {
    if pod.is_empty() { json!({}) } else { pods(pod)["podSelector"].clone() }
}
