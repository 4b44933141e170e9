//! The status of a Pod that runs, as a kubelet writes it.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::json::{condition, items, now, text};

/// What the kubelet sees of a Pod.
pub(crate) struct Seen<'a> {
    pub(crate) node: &'a str,
    pub(crate) node_addresses: Vec<IpAddr>,
    pub(crate) addresses: &'a [IpAddr],
    pub(crate) start_time: &'a str,
    pub(crate) ready: bool,
    pub(crate) restarts: u32,
}

/// The whole `status`; times of conditions change only with the conditions.
pub(crate) fn status(pod: &Value, seen: &Seen<'_>) -> Value {
    let lists = |addresses: &[IpAddr]| -> Vec<Value> {
        addresses.iter().map(|ip| json!({"ip": ip})).collect()
    };
    let words = |ready: bool| {
        let names = items(pod, "/spec/containers").iter().map(|one| text(one, "/name"));
        let names: Vec<_> = names.collect();
        let message = format!("containers with unready status: [{}]", names.join(" "));
        (!ready).then_some(("ContainersNotReady", message))
    };
    let conditions = json!([
        pod_condition(pod, "PodReadyToStartContainers", true, None),
        pod_condition(pod, "Initialized", true, None),
        pod_condition(pod, "Ready", seen.ready, words(seen.ready)),
        pod_condition(pod, "ContainersReady", seen.ready, words(seen.ready)),
        pod_condition(pod, "PodScheduled", true, None),
    ]);
    let containers = items(pod, "/spec/containers").iter();
    let containers: Vec<Value> = containers.map(|one| container(one, seen)).collect();
    let mut status = json!({
        "phase": "Running",
        "conditions": conditions,
        "hostIPs": lists(&seen.node_addresses),
        "podIPs": lists(seen.addresses),
        "startTime": seen.start_time,
        "containerStatuses": containers,
        "qosClass": pod.pointer("/status/qosClass").cloned().unwrap_or("BestEffort".into()),
        "observedGeneration": pod["metadata"]["generation"],
    });
    debug_assert_eq!(pod["spec"]["nodeName"], seen.node);
    for (field, address) in
        [("hostIP", seen.node_addresses.first()), ("podIP", seen.addresses.first())]
    {
        if let Some(address) = address {
            status[field] = address.to_string().into();
        }
    }
    status
}

fn container(spec: &Value, seen: &Seen<'_>) -> Value {
    json!({
        "name": spec["name"],
        "image": spec["image"],
        "imageID": "",
        "ready": seen.ready,
        "started": true,
        "restartCount": seen.restarts,
        "state": {"running": {"startedAt": seen.start_time}},
        "lastState": {},
    })
}

fn pod_condition(pod: &Value, kind: &str, holds: bool, words: Option<(&str, String)>) -> Value {
    let status = if holds { "True" } else { "False" };
    let old = condition(pod, kind).cloned().unwrap_or_default();
    let since = text(&old, "/lastTransitionTime");
    let since = if old["status"] == status && !since.is_empty() { since.to_owned() } else { now() };
    let mut new = json!({
        "type": kind, "status": status, "lastProbeTime": null, "lastTransitionTime": since,
        "observedGeneration": pod["metadata"]["generation"],
    });
    if let Some((reason, message)) = words {
        new["reason"] = reason.into();
        new["message"] = message.into();
    }
    new
}
