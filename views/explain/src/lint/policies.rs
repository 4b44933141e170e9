//! Policies that do not do what their author meant.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use model::{
    Cluster, Direction, NetworkPolicy, ObjectRef, Peer, Peers, Pod, PodSelection, PolicyPort,
    PolicyRule, Ports, Protocol,
};
use plan::{Config, PolicyOptions};

use super::{Finding, Lint};
use crate::policy::{DNS, Path, PolicyPacket, Traffic, judge};

/// The namespace whose Services of port 53 are the cluster's DNS.
const SYSTEM: &str = "kube-system";

/// Judges every policy. Where no Pod is known, nothing can be said.
pub(super) fn policies(cluster: &Cluster, config: &Config, found: &mut BTreeSet<Finding>) {
    if cluster.pods().is_empty() {
        return;
    }
    let servers = dns_servers(cluster);
    for policy in cluster.network_policies().values() {
        let object = ObjectRef::new("NetworkPolicy", &policy.name);
        let subjects = selected(cluster, &policy.subject());
        let mut add = |id, field, message| {
            found.insert(Finding { id, object: object.clone(), field, message });
        };
        if subjects.is_empty() {
            add(Lint::PolicySelectsNothing, "spec.podSelector", nothing(cluster, policy));
            continue;
        }
        if let Some(rules) = &policy.ingress {
            named_ports(cluster, rules, Direction::Ingress, &subjects, &mut add);
        }
        if let Some(rules) = &policy.egress {
            named_ports(cluster, rules, Direction::Egress, &subjects, &mut add);
        }
        dns(cluster, config, policy, &subjects, &servers, &mut add);
    }
    for policy in cluster.cluster_network_policies().values() {
        let object = ObjectRef::new("ClusterNetworkPolicy", &policy.name);
        let subjects = selected(cluster, &policy.subject);
        let mut add = |id, field, message| {
            found.insert(Finding { id, object: object.clone(), field, message });
        };
        if subjects.is_empty() {
            let text = format!("no Pod is among {}", policy.subject);
            add(Lint::PolicySelectsNothing, "spec.subject", text);
            continue;
        }
        named_ports(cluster, &policy.ingress, Direction::Ingress, &subjects, &mut add);
        named_ports(cluster, &policy.egress, Direction::Egress, &subjects, &mut add);
    }
}

/// The Pods of a selection that policies see.
fn selected(cluster: &Cluster, selection: &PodSelection) -> Vec<Arc<Pod>> {
    let all = cluster.pods().values().filter(|pod| pod.counts());
    let chosen = all.filter(|pod| {
        let namespace = &pod.name.namespace;
        selection.matches(namespace, &cluster.namespace_labels(namespace), &pod.labels)
    });
    chosen.cloned().collect()
}

fn nothing(cluster: &Cluster, policy: &NetworkPolicy) -> String {
    let namespace = &policy.name.namespace;
    let matching = |pod: &&Arc<Pod>| pod.host_network && policy.pods.matches(&pod.labels);
    match cluster.pods_of(namespace).find(matching) {
        Some(pod) => format!(
            "{} matches Pods of the host's network alone, such as {}, which no policy sees",
            policy.pods, pod.name
        ),
        None => format!("{} matches no Pod of namespace {namespace}", policy.pods),
    }
}

/// Names of ports that no Pod which a rule leads to declares.
fn named_ports(
    cluster: &Cluster,
    rules: &[PolicyRule],
    direction: Direction,
    subjects: &[Arc<Pod>],
    add: &mut impl FnMut(Lint, &'static str, String),
) {
    for (index, rule) in rules.iter().enumerate() {
        let Ports::AnyOf(ports) = &rule.ports else { continue };
        let destinations = match direction {
            Direction::Ingress => subjects.to_vec(),
            Direction::Egress => peers(cluster, &rule.peers),
        };
        for port in ports {
            let PolicyPort::Named { name, protocol } = port else { continue };
            let declares = |pod: &Arc<Pod>| {
                pod.ports.iter().any(|own| {
                    own.name == *name && protocol.is_none_or(|wanted| wanted == own.protocol)
                })
            };
            if destinations.iter().any(declares) {
                continue;
            }
            let field = match direction {
                Direction::Ingress => "spec.ingress[].ports",
                Direction::Egress => "spec.egress[].ports",
            };
            let of = match destinations.first() {
                Some(pod) => format!("no Pod that it leads to ({}, …) declares it", pod.name),
                None => "it leads to no Pod".into(),
            };
            add(Lint::PolicyPortNowhere, field, format!("rule {}: port {port}: {of}", index + 1));
        }
    }
}

/// The Pods that peers name.
fn peers(cluster: &Cluster, peers: &Peers) -> Vec<Arc<Pod>> {
    let Peers::AnyOf(list) = peers else { return selected(cluster, &PodSelection::everything()) };
    let mut pods = Vec::new();
    for peer in list {
        match peer {
            Peer::Pods(selection) => pods.extend(selected(cluster, selection)),
            // Addresses may be Pods' too, each of which may declare the port.
            Peer::Block(block) => pods.extend(
                selected(cluster, &PodSelection::everything())
                    .into_iter()
                    .filter(|pod| pod.ips.iter().any(|address| block.cidr.contains(address))),
            ),
            Peer::Nodes(_) => {}
        }
    }
    pods
}

/// Where the cluster's DNS answers, behind its Services: the names of the Services, the protocols
/// and the endpoints.
fn dns_servers(cluster: &Cluster) -> Vec<(String, Protocol, SocketAddr)> {
    let mut servers = Vec::new();
    let system = cluster.services().values().filter(|one| *one.name.namespace == *SYSTEM);
    for service in system {
        for port in service.ports.iter().filter(|port| port.port == DNS) {
            for slice in cluster.slices(&service.name) {
                let mut own = slice.ports.iter();
                let own = own.find(|it| {
                    it.name.as_ref() == Some(&port.name) && it.protocol == port.protocol
                });
                let Some(number) = own.and_then(|own| own.port) else { continue };
                let addresses = slice.endpoints.iter().map(|endpoint| endpoint.address);
                servers.extend(addresses.map(|address| {
                    let at = SocketAddr::new(address, number);
                    (service.name.to_string(), port.protocol, at)
                }));
            }
        }
    }
    servers
}

/// A rule that is meant for DNS, and Pods that do not reach the DNS in use nevertheless.
fn dns(
    cluster: &Cluster,
    config: &Config,
    policy: &NetworkPolicy,
    subjects: &[Arc<Pod>],
    servers: &[(String, Protocol, SocketAddr)],
    add: &mut impl FnMut(Lint, &'static str, String),
) {
    let meant = |rule: &&PolicyRule| match &rule.ports {
        Ports::Any => false,
        Ports::AnyOf(ports) => ports.iter().any(|port| match port {
            PolicyPort::Range { first, last, .. } => *first == DNS && *last == DNS,
            PolicyPort::Named { name, .. } => name.starts_with("dns"),
        }),
    };
    if policy.egress.iter().flatten().all(|rule| !meant(&rule)) {
        return;
    }
    let options = PolicyOptions { enforce: true, ..config.network_policy.clone() };
    for (service, protocol, at) in servers {
        let shut = subjects.iter().find(|pod| {
            pod.ips.iter().filter(|own| own.is_ipv4() == at.is_ipv4()).any(|own| {
                let packet = PolicyPacket {
                    source: *own,
                    destination: at.ip(),
                    traffic: Traffic::Port { protocol: *protocol, port: at.port() },
                    path: Path::Forwarded,
                    established: false,
                };
                !judge(cluster, &options, None, &packet).egress.why.passes()
            })
        });
        if let Some(pod) = shut {
            let text = format!(
                "Pod {} does not reach {protocol} {at}, which Service {service} leads to",
                pod.name
            );
            add(Lint::PolicyMissesDns, "spec.egress", text);
            return;
        }
    }
}
