//! The Node objects of a cluster.

use std::net::IpAddr;

use lab_api::resource::NODES;
use lab_api::{ApiError, Store, WriteOptions};
use model::Family;
use serde_json::{Value, json};

use crate::json::now;

/// The name of node `number`.
#[must_use]
pub fn node_name(number: u8) -> String {
    format!("node-{number}")
}

/// Registers a node that is ready, as its kubelet would. Odd and even ones are in different zones.
pub(crate) fn register(store: &Store, number: u8, families: &[Family]) -> Result<(), ApiError> {
    let name = node_name(number);
    let zone = if number.is_multiple_of(2) { "zone-b" } else { "zone-a" };
    let blocks = families.iter().map(|family| lab::pod_cidr(number, *family).to_string());
    let blocks: Vec<_> = blocks.collect();
    let addresses = families.iter().map(|family| lab::node_address(number, *family));
    let node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/hostname": name, "kubernetes.io/os": "linux",
                "topology.kubernetes.io/zone": zone,
            },
        },
        "spec": {"podCIDR": blocks.first(), "podCIDRs": blocks},
        "status": status(&name, addresses),
    });
    let options = WriteOptions { manager: "kubelet".to_owned(), ..WriteOptions::default() };
    store.create(&NODES, "", node, &options).map(drop)
}

fn status(name: &str, addresses: impl Iterator<Item = IpAddr>) -> Value {
    let mut shown: Vec<_> =
        addresses.map(|address| json!({"type": "InternalIP", "address": address})).collect();
    shown.push(json!({"type": "Hostname", "address": name}));
    let now = now();
    json!({
        "addresses": shown,
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "KubeletReady",
            "message": "the lab's kubelet is posting ready status",
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        }],
        "capacity": {"pods": "253"},
        "allocatable": {"pods": "253"},
        "nodeInfo": {
            "kubeletVersion": "v1.36.0", "osImage": "Linux", "operatingSystem": "linux",
            "architecture": "amd64", "containerRuntimeVersion": "namespaces://1",
            "kernelVersion": "", "machineID": "", "systemUUID": "", "bootID": "",
            "kubeProxyVersion": "",
        },
    })
}
