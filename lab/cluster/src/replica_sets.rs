//! ReplicaSet → Pods.

use lab_api::Object;
use lab_api::resource::{PODS, REPLICA_SETS};
use serde_json::{Value, json};

use crate::action::Action;
use crate::json::{
    controlled_by, has, is_controlled_by, is_going, is_true, name, namespace, number, text, uid,
};
use crate::snapshot::Snapshot;

pub(crate) fn reconcile(snapshot: &Snapshot, actions: &mut Vec<Action>) {
    for set in &snapshot.replica_sets {
        let pods: Vec<&Object> =
            snapshot.pods.iter().filter(|pod| is_controlled_by(pod, uid(set))).collect();
        if !is_going(set) {
            scale(set, &pods, actions);
        }
        status(set, &pods, actions);
    }
}

/// A Pod that counts: neither going nor ended.
fn is_active(pod: &Value) -> bool {
    !is_going(pod) && !matches!(text(pod, "/status/phase"), "Failed" | "Succeeded")
}

fn scale(set: &Value, pods: &[&Object], actions: &mut Vec<Action>) {
    let mut active: Vec<&Object> = pods.iter().copied().filter(|pod| is_active(pod)).collect();
    let wanted = usize::try_from(number(set, "/spec/replicas").unwrap_or(1)).unwrap_or(0);
    for _ in active.len()..wanted {
        actions.push(Action::Create(&PODS, new_pod(set)));
    }
    // Those first that serve least: without a node, not ready, young.
    active.sort_by_key(|pod| {
        let placed = !text(pod, "/spec/nodeName").is_empty();
        let age = std::cmp::Reverse(text(pod, "/metadata/creationTimestamp").to_owned());
        (placed, is_true(pod, "Ready"), age)
    });
    for pod in active.iter().take(active.len().saturating_sub(wanted)) {
        actions.push(Action::Delete(&PODS, (***pod).clone()));
    }
}

fn new_pod(set: &Value) -> Value {
    let template = &set["spec"]["template"];
    let mut metadata = json!({
        "generateName": format!("{}-", name(set)),
        "namespace": namespace(set),
        "ownerReferences": controlled_by("apps/v1", "ReplicaSet", set),
    });
    for field in ["labels", "annotations"] {
        if has(template, &format!("/metadata/{field}")) {
            metadata[field] = template["metadata"][field].clone();
        }
    }
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"].clone(),
    })
}

fn status(set: &Object, pods: &[&Object], actions: &mut Vec<Action>) {
    let active: Vec<_> = pods.iter().filter(|pod| is_active(pod)).collect();
    let going = pods.iter().filter(|pod| is_going(pod)).count();
    let ready = active.iter().filter(|pod| is_true(pod, "Ready")).count();
    let mut status = json!({
        "replicas": active.len(),
        "observedGeneration": set["metadata"]["generation"],
        "terminatingReplicas": going,
    });
    // Zeros are left out, as a real controller's are.
    if !active.is_empty() {
        status["fullyLabeledReplicas"] = active.len().into();
    }
    if ready > 0 {
        status["readyReplicas"] = ready.into();
        status["availableReplicas"] = ready.into();
    }
    if set["status"] != status {
        let mut new = (**set).clone();
        new["status"] = status;
        actions.push(Action::UpdateStatus(&REPLICA_SETS, new));
    }
}
