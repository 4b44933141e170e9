//! Pods → Nodes: to the one with the fewest Pods.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::action::Action;
use crate::json::{has, is_going, items, name, text};
use crate::snapshot::Snapshot;

pub(crate) fn reconcile(snapshot: &Snapshot, actions: &mut Vec<Action>) {
    let mut counts: BTreeMap<&str, usize> =
        snapshot.nodes.iter().map(|node| (name(node), 0)).collect();
    for pod in &snapshot.pods {
        if let Some(count) = counts.get_mut(text(pod, "/spec/nodeName")) {
            *count += 1;
        }
    }
    let unplaced = snapshot.pods.iter().filter(|pod| !has(pod, "/spec/nodeName") && !is_going(pod));
    for pod in unplaced {
        let fit = snapshot.nodes.iter().filter(|node| fits(pod, node)).map(|node| name(node));
        let Some(node) = fit.min_by_key(|name| counts.get(name)) else { continue };
        if let Some(count) = counts.get_mut(node) {
            *count += 1;
        }
        actions.push(Action::Bind { pod: (**pod).clone(), node: node.to_owned() });
    }
}

/// Whether a Node takes new Pods and has what the Pod's `nodeSelector` asks for. Affinity is not
/// looked at.
fn fits(pod: &Value, node: &Value) -> bool {
    let wanted = pod.pointer("/spec/nodeSelector").and_then(Value::as_object);
    let mut wanted = wanted.into_iter().flatten();
    let repels = items(node, "/spec/taints")
        .iter()
        .any(|taint| taint["effect"] != "PreferNoSchedule" && !tolerates(pod, taint));
    node["spec"]["unschedulable"] != true
        && !repels
        && wanted.all(|(key, value)| node["metadata"]["labels"][key] == *value)
}

fn tolerates(pod: &Value, taint: &Value) -> bool {
    items(pod, "/spec/tolerations").iter().any(|toleration| {
        let of = |field: &str| text(toleration, field);
        let effect = of("/effect").is_empty() || taint["effect"] == of("/effect");
        let key = of("/key").is_empty() || taint["key"] == of("/key");
        effect && key && (of("/operator") == "Exists" || text(taint, "/value") == of("/value"))
    })
}
