//! Nodes.

use model::{Cidr, Node, Notice, Taint};

use super::notes::{Notes, Part, cluster_scoped};
use super::{Names, labels};
use crate::wire;

/// Reads a Node.
///
/// Addresses that are no IP addresses (Hostname, InternalDNS, ExternalDNS) are not read. Where
/// `spec.podCIDRs` is empty, `spec.podCIDR` counts.
#[must_use]
pub fn node(wire: &wire::Node, names: &mut Names) -> (Option<Node>, Vec<Notice>) {
    let (name, mut notes) = match cluster_scoped("Node", &wire.metadata, names) {
        Ok(named) => named,
        Err(notices) => return (None, notices),
    };
    let metadata = wire.metadata.get();
    let mut node = Node {
        name,
        internal_ips: Vec::new(),
        external_ips: Vec::new(),
        pod_cidrs: Vec::new(),
        zone: metadata
            .and_then(|metadata| metadata.label("topology.kubernetes.io/zone"))
            .filter(|zone| !zone.is_empty())
            .map(|zone| names.intern(zone)),
        labels: metadata.map(|metadata| labels(metadata, names)).unwrap_or_default(),
        taints: Vec::new(),
        deleting: metadata.is_some_and(|metadata| metadata.deletion_timestamp.get().is_some()),
    };
    if let Some(spec) = notes.get(&wire.spec, "spec", "the Node counts as one without Pod blocks") {
        node.pod_cidrs = pod_cidrs(spec, &mut notes);
        node.taints = taints(spec, &mut notes, names);
    }
    let follows = "the Node counts as one without addresses";
    if let Some(status) = notes.get(&wire.status, "status", follows) {
        addresses(status, &mut notes, &mut node);
    }
    (Some(node), notes.list)
}

fn pod_cidrs(spec: &wire::NodeSpec, notes: &mut Notes) -> Vec<Cidr> {
    let follows = "the block is left out";
    let many = notes.cidrs(&spec.pod_cidrs, "spec.podCIDRs", follows);
    if !spec.pod_cidrs.items().is_empty() {
        return many;
    }
    let one = notes.text(&spec.pod_cidr, "spec.podCIDR", follows);
    notes.cidr(one, "spec.podCIDR", follows).into_iter().collect()
}

fn taints(spec: &wire::NodeSpec, notes: &mut Notes, names: &mut Names) -> Vec<Taint> {
    const FIELD: &str = "spec.taints";
    let follows = "the taint is left out";
    let items = notes.items(&spec.taints, FIELD, follows);
    let mut taints = Vec::with_capacity(items.len());
    for (i, taint) in items {
        let key = notes.optional_name(&taint.key, Part(FIELD, i, "key"), follows, names);
        let effect = notes.optional_name(&taint.effect, Part(FIELD, i, "effect"), follows, names);
        if let (Some(key), Some(effect)) = (key, effect) {
            taints.push(Taint { key, effect });
        }
    }
    taints
}

fn addresses(status: &wire::NodeStatus, notes: &mut Notes, node: &mut Node) {
    const FIELD: &str = "status.addresses";
    let follows = "the address is left out";
    for (i, entry) in notes.items(&status.addresses, FIELD, follows) {
        let list = match notes.text(&entry.address_type, Part(FIELD, i, "type"), follows) {
            "InternalIP" => &mut node.internal_ips,
            "ExternalIP" => &mut node.external_ips,
            _ => continue,
        };
        let field = Part(FIELD, i, "address");
        let text = notes.text(&entry.address, field, follows);
        list.extend(notes.ip(text, field, follows));
    }
}
