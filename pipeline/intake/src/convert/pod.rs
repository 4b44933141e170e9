//! Pods, as far as policies depend on them.

use std::net::IpAddr;
use std::sync::Arc;

use model::{ContainerPort, Notice, Pod};

use super::notes::{Entry, Notes, Part, namespaced};
use super::{Names, labels, seconds};
use crate::wire::{self, Field};

/// Reads a Pod.
///
/// Where `status.podIPs` is empty, `status.podIP` counts. Of the ports, those with names are read:
/// of the containers, then of the init containers that go on running (KEP-753).
#[must_use]
pub fn pod(wire: &wire::Pod, names: &mut Names) -> (Option<Pod>, Vec<Notice>) {
    let (name, mut notes) = match namespaced("Pod", &wire.metadata, names) {
        Ok(named) => named,
        Err(notices) => return (None, notices),
    };
    let metadata = wire.metadata.get();
    let spec = notes.get(&wire.spec, "spec", "the Pod counts as one without ports and Node");
    let status = notes.get(&wire.status, "status", "the Pod counts as one without addresses");
    let phase = status.map_or("", |status| status.phase.text());
    let follows = "the time counts as unknown";
    let created = metadata.map_or(&Field::Absent, |metadata| &metadata.creation_timestamp);
    let started = status.map_or(&Field::Absent, |status| &status.start_time);
    let pod = Pod {
        uid: metadata.map_or("", |metadata| metadata.uid.text()).into(),
        labels: metadata.map(|metadata| labels(metadata, names)).unwrap_or_default(),
        ips: status.map(|status| addresses(status, &mut notes)).unwrap_or_default().into(),
        node: spec.and_then(|spec| {
            let follows = "the Pod counts as one without a Node";
            notes.optional_name(&spec.node_name, "spec.nodeName", follows, names)
        }),
        host_network: spec.is_some_and(|spec| {
            // A Pod that shares the node's addresses must never be taken for one that does not.
            let wrong = matches!(spec.host_network, Field::Wrong(_));
            let follows = "the Pod counts as one of the host network";
            *notes.get(&spec.host_network, "spec.hostNetwork", follows).unwrap_or(&wrong)
        }),
        finished: matches!(phase, "Succeeded" | "Failed"),
        deleting: metadata.is_some_and(|metadata| metadata.deletion_timestamp.get().is_some()),
        ports: spec.map(|spec| ports(spec, &mut notes, names)).unwrap_or_default().into(),
        started: seconds(started, "status.startTime", follows, &mut notes),
        created: seconds(created, "metadata.creationTimestamp", follows, &mut notes),
        name,
    };
    (Some(pod), notes.list)
}

fn addresses(status: &wire::PodStatus, notes: &mut Notes) -> Vec<IpAddr> {
    const FIELD: &str = "status.podIPs";
    let follows = "the address is left out";
    let listed = notes.items(&status.pod_ips, FIELD, follows);
    let mut addresses = Vec::with_capacity(listed.len());
    for (i, entry) in &listed {
        let field = Part(FIELD, *i, "ip");
        let text = notes.text(&entry.ip, field, follows);
        addresses.extend(notes.ip(text, field, follows));
    }
    if listed.is_empty() {
        let text = notes.text(&status.pod_ip, "status.podIP", follows);
        addresses.extend(notes.ip(text, "status.podIP", follows));
    }
    addresses
}

fn ports(spec: &wire::PodSpec, notes: &mut Notes, names: &mut Names) -> Vec<ContainerPort> {
    let mut ports = Vec::new();
    let mut of = |list: &Field<Vec<Field<wire::Container>>>, field: &str, sidecars: bool| {
        for (i, container) in notes.items(list, field, "it counts as one without ports") {
            if sidecars && container.restart_policy.text() != "Always" {
                continue;
            }
            let field = format!("{}.ports", Entry(field, i));
            let follows = "no policy finds the port by its name";
            for (i, port) in notes.items(&container.ports, &field, follows) {
                ports.extend(named(port, &field, i, notes, names));
            }
        }
    };
    of(&spec.containers, "spec.containers", false);
    of(&spec.init_containers, "spec.initContainers", true);
    ports
}

fn named(
    port: &wire::ContainerPort,
    field: &str,
    i: usize,
    notes: &mut Notes,
    names: &mut Names,
) -> Option<ContainerPort> {
    let follows = "no policy finds the port by its name";
    let name: Arc<str> = notes.optional_name(&port.name, Part(field, i, "name"), follows, names)?;
    let protocol = notes.protocol(&port.protocol, Part(field, i, "protocol"), follows)?;
    let number = Part(field, i, "containerPort");
    let port = notes.optional_port(&port.container_port, number, follows)?;
    Some(ContainerPort { name, protocol, port })
}
