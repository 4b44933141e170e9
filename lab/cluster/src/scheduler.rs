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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn places(nodes: &[Value], pods: &[Value]) -> Vec<String> {
        let shared = |all: &[Value]| all.iter().cloned().map(Arc::new).collect();
        let snapshot = Snapshot { nodes: shared(nodes), pods: shared(pods), ..Snapshot::default() };
        let mut actions = Vec::new();
        reconcile(&snapshot, &mut actions);
        let place = |action: &Action| match action {
            Action::Bind { pod, node } => format!("{} {node}", name(pod)),
            other => panic!("{other:?}"),
        };
        actions.iter().map(place).collect()
    }

    fn node(name: &str, spec: &Value) -> Value {
        json!({"kind": "Node", "metadata": {"name": name, "labels": {"own": name}}, "spec": spec})
    }

    fn pod(name: &str, spec: &Value) -> Value {
        json!({"kind": "Pod", "metadata": {"name": name}, "spec": spec})
    }

    #[test]
    fn the_node_with_the_fewest_pods_is_taken_each_time() {
        let nodes = [node("a", &json!({})), node("b", &json!({}))];
        let there = pod("there", &json!({"nodeName": "a"}));
        let new = ["1", "2", "3"].map(|name| pod(name, &json!({})));
        let pods = [&[there][..], &new[..]].concat();
        assert_eq!(places(&nodes, &pods), ["1 b", "2 a", "3 b"]);
    }

    #[test]
    fn taints_cordons_and_selectors_keep_pods_away() {
        let taint = json!([{"key": "dedicated", "value": "db", "effect": "NoSchedule"}]);
        let nodes =
            [node("a", &json!({"taints": taint})), node("b", &json!({"unschedulable": true}))];
        assert!(places(&nodes, &[pod("plain", &json!({}))]).is_empty());
        let tolerant = |value: &str| {
            let one = json!({"key": "dedicated", "value": value, "effect": "NoSchedule"});
            pod("db", &json!({"tolerations": [one]}))
        };
        assert_eq!(places(&nodes, &[tolerant("db")]), ["db a"]);
        assert!(places(&nodes, &[tolerant("web")]).is_empty());
        let anything =
            json!({"tolerations": [{"operator": "Exists"}], "nodeSelector": {"own": "b"}});
        assert!(places(&nodes, &[pod("picky", &anything)]).is_empty());
    }
}
