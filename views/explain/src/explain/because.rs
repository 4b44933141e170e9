//! Why a rule of a policy did not match, with the values of the case.

use std::net::IpAddr;

use model::{
    Cluster, Direction, Labels, NamespacedName, Namespaces, Peer, Peers, PodSelection, PolicyName,
    PolicyPort, PolicyRule, Ports,
};

use super::policy::pod;
use crate::Packet;
use crate::policy::{Failed, Missed, PolicyPacket, Traffic};

/// The first condition of a rule that failed. `other` is the side that its peers are about; the two
/// packets are the one that policies see and the one that was asked about.
pub(super) fn because(
    cluster: &Cluster,
    missed: &Missed,
    direction: Direction,
    other: IpAddr,
    (packet, asked): (&PolicyPacket, &Packet),
) -> String {
    let rule = rule(cluster, &missed.policy, direction, missed.index);
    match (missed.failed, rule) {
        (Failed::Closed, _) | (_, None) => "it could not be read, so it matches nothing".into(),
        (Failed::Peers, Some(rule)) => peers(cluster, rule, other),
        (Failed::Ports, Some(rule)) => ports(cluster, rule, packet, asked),
    }
}

/// A rule of a policy by its place.
fn rule<'c>(
    cluster: &'c Cluster,
    policy: &PolicyName,
    direction: Direction,
    index: usize,
) -> Option<&'c PolicyRule> {
    let rules = match policy {
        PolicyName::Network(name) => cluster.network_policies().get(name)?.rules(direction)?,
        PolicyName::Cluster(name) => cluster.cluster_network_policies().get(name)?.rules(direction),
    };
    rules.get(index)
}

/// How many entries of a list are told.
const FEW: usize = 3;

fn joined(mut texts: Vec<String>) -> String {
    let more = texts.len().saturating_sub(FEW);
    texts.truncate(FEW);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    texts.join("; ") + &more
}

fn peers(cluster: &Cluster, rule: &PolicyRule, other: IpAddr) -> String {
    match &rule.peers {
        Peers::AnyOf(list) if list.is_empty() => "it names nobody".into(),
        Peers::AnyOf(list) => joined(list.iter().map(|it| peer(cluster, it, other)).collect()),
        Peers::Anybody => "it names Nodes, which are not all known here".into(),
    }
}

fn peer(cluster: &Cluster, peer: &Peer, other: IpAddr) -> String {
    match peer {
        Peer::Pods(selection) => match pod(cluster, other) {
            None => format!("{other} is no Pod with an address of its own"),
            Some(pod) => {
                let labels = cluster.namespace_labels(&pod.name.namespace);
                selection_text(selection, &pod.name, &pod.labels, &labels)
            }
        },
        Peer::Block(block) => match block.except.iter().find(|except| except.contains(&other)) {
            Some(except) => format!("{other} lies in {except}, which {} excepts", block.cidr),
            None => format!("{other} lies outside {}", block.cidr),
        },
        Peer::Nodes(selector) => format!("{other} is no address of a Node with {selector}"),
    }
}

/// The first requirement of a selection that a Pod does not meet: its namespace's, then its own.
fn selection_text(
    selection: &PodSelection,
    name: &NamespacedName,
    of_pod: &Labels,
    of_namespace: &Labels,
) -> String {
    match &selection.namespaces {
        Namespaces::Named(wanted) if **wanted != *name.namespace => {
            return format!("Pod {name} is not in namespace {wanted}");
        }
        Namespaces::Selected(selector) => {
            let mut failing = selector.requirements().iter().filter(|it| !it.matches(of_namespace));
            if let Some(requirement) = failing.next() {
                return format!("Namespace {} does not meet {requirement}", name.namespace);
            }
        }
        Namespaces::Named(_) => {}
    }
    match selection.pods.requirements().iter().find(|it| !it.matches(of_pod)) {
        Some(requirement) => format!("Pod {name} does not meet {requirement}"),
        None => format!("Pod {name} is not selected"),
    }
}

fn ports(cluster: &Cluster, rule: &PolicyRule, packet: &PolicyPacket, asked: &Packet) -> String {
    let Ports::AnyOf(list) = &rule.ports else { return "it is about other traffic".into() };
    let Traffic::Port { protocol, port } = packet.traffic else {
        return "it is about ports, which this traffic has not".into();
    };
    let allowed: Vec<String> = list.iter().map(ToString::to_string).collect();
    let text = format!("{protocol} {port} is none of its ports ({})", allowed.join(", "));
    let of_frontend = list.iter().any(|entry| match entry {
        PolicyPort::Range { protocol: of, first, last } => {
            *of == protocol && port != asked.port && (*first..=*last).contains(&asked.port)
        }
        PolicyPort::Named { .. } => false,
    });
    if of_frontend {
        let seen = asked.port;
        return format!("{text}: policies see the endpoint's port, not the Service's port {seen}");
    }
    let named = list.iter().find_map(|entry| match entry {
        PolicyPort::Named { name, .. } => Some(name),
        PolicyPort::Range { .. } => None,
    });
    let destination = pod(cluster, packet.destination);
    match (named, destination) {
        (Some(name), Some(pod)) => {
            let mut own = pod.ports.iter().filter(|declared| declared.name == *name);
            match own.next() {
                Some(declared) => {
                    let (of, number) = (declared.protocol, declared.port);
                    format!("{text}: {name} of Pod {} is {of} {number}", pod.name)
                }
                None => format!("{text}: Pod {} declares no port {name}", pod.name),
            }
        }
        (Some(name), None) => {
            format!("{text}: {} is no Pod that could declare {name}", packet.destination)
        }
        (None, _) => text,
    }
}
