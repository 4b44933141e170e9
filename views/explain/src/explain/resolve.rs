//! From what was asked to one packet: names become addresses, and a way in.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use model::{Cluster, Endpoint, Family, Host, NamespacedName, Node, Service, ServiceType};
use plan::{Config, Intent, LocalTraffic};
use serde::Serialize;

use super::{AskedPort, Code, Place, Question};
use crate::{Enters, Packet};

/// What one end of the question resolved to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Resolved {
    /// As it was asked.
    pub asked: String,
    /// Its addresses, by family.
    pub addresses: Vec<IpAddr>,
    /// Where they come from.
    pub from: String,
    /// The Service that was named, if one was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<NamespacedName>,
    /// The node it is on, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Arc<str>>,
}

/// A question that makes no packet.
#[derive(Clone, Debug)]
pub(super) struct Unresolved {
    pub(super) code: Code,
    pub(super) text: String,
}

fn not_found(text: String) -> Unresolved {
    Unresolved { code: Code::NameNotFound, text }
}

/// Finds an end; `home` is the namespace that a bare name is looked up in.
pub(super) fn place(
    cluster: &Cluster,
    place: &Place,
    home: &Arc<str>,
) -> Result<Resolved, Unresolved> {
    let asked = place.to_string();
    let plain = |addresses: Vec<IpAddr>, from: String, node: Option<Arc<str>>| Resolved {
        asked: asked.clone(),
        addresses,
        from,
        service: None,
        node,
    };
    match place {
        Place::Address(ip) => {
            let (from, node) = holder(cluster, *ip);
            Ok(plain(vec![*ip], from, node))
        }
        Place::Outside(ip) => Ok(plain(vec![*ip], "outside the cluster, as asked".into(), None)),
        Place::Node(name) => {
            let Some(node) = cluster.node(name) else {
                let known = list(cluster.nodes().map(|node| node.name.to_string()));
                return Err(not_found(format!("no Node {name} is known; there are: {known}")));
            };
            let addresses = Family::ALL.into_iter().filter_map(|family| node.address(family));
            Ok(plain(addresses.collect(), format!("Node {name}"), Some(name.clone())))
        }
        Place::Pod(name) => pod(cluster, name, &plain),
        Place::Service { name, namespace } => {
            let namespace = namespace.clone().unwrap_or_else(|| home.clone());
            service(cluster, &NamespacedName { namespace, name: name.clone() }, &asked)
        }
    }
}

fn list(names: impl Iterator<Item = String>) -> String {
    let names: Vec<String> = names.take(6).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

/// Who has an address.
fn holder(cluster: &Cluster, ip: IpAddr) -> (String, Option<Arc<str>>) {
    let has =
        |node: &&Arc<Node>| node.internal_ips.contains(&ip) || node.external_ips.contains(&ip);
    if let Some(node) = cluster.nodes().find(has) {
        return (format!("an address of Node {}", node.name), Some(node.name.clone()));
    }
    if let Some(pod) = cluster.pods().values().find(|pod| pod.counts() && pod.ips.contains(&ip)) {
        return (format!("Pod {}", pod.name), pod.node.clone());
    }
    let in_block = |node: &&Arc<Node>| node.pod_cidrs.iter().any(|block| block.contains(&ip));
    match cluster.nodes().find(in_block) {
        Some(node) => (format!("in spec.podCIDRs of Node {}", node.name), Some(node.name.clone())),
        None => ("an address as asked".into(), None),
    }
}

/// A Pod by its object, else by the EndpointSlices that target it: Pods are not always watched.
fn pod(
    cluster: &Cluster,
    name: &NamespacedName,
    plain: &impl Fn(Vec<IpAddr>, String, Option<Arc<str>>) -> Resolved,
) -> Result<Resolved, Unresolved> {
    if let Some(pod) = cluster.pods().get(name) {
        if pod.ips.is_empty() {
            let text = format!("Pod {name} has no address yet (status.podIPs is empty)");
            return Err(not_found(text));
        }
        return Ok(plain(pod.ips.to_vec(), "status.podIPs".into(), pod.node.clone()));
    }
    let services = cluster.services().keys().filter(|one| one.namespace == name.namespace);
    let targeted = services
        .flat_map(|service| cluster.slices(service))
        .flat_map(|slice| slice.endpoints.iter().map(move |endpoint| (slice, endpoint)))
        .find(|(_, endpoint)| endpoint.target_pod.as_ref() == Some(&name.name));
    if let Some((slice, endpoint)) = targeted {
        let from = format!("targetRef in EndpointSlice {}", slice.name);
        return Ok(plain(vec![endpoint.address], from, endpoint.node.clone()));
    }
    let known = list(cluster.pods_of(&name.namespace).map(|pod| pod.name.to_string()));
    Err(not_found(format!("no Pod {name} is known; namespace {} has: {known}", name.namespace)))
}

fn service(cluster: &Cluster, name: &NamespacedName, asked: &str) -> Result<Resolved, Unresolved> {
    let Some(service) = cluster.service(name) else {
        return Err(not_found(missing(cluster, name)));
    };
    let unrouted = |code, text| Err(Unresolved { code, text });
    if service.service_type == ServiceType::ExternalName {
        let alias = service.external_name.as_deref().unwrap_or_default();
        let text = format!("DNS answers with a CNAME to {alias:?} (spec.externalName)");
        return unrouted(Code::ExternalName, text);
    }
    let (addresses, from) = if service.headless {
        let (ips, count) = headless(cluster, service);
        if ips.is_empty() {
            let text = format!(
                "headless Service {name}: none of its {count} endpoints is ready, \
                                so its name has no address"
            );
            return unrouted(Code::NoneReady, text);
        }
        (ips, format!("Service {name} is headless: the addresses of its ready endpoints"))
    } else if let Some(proxy) = &service.proxy_name {
        let text = format!("Service {name} has service.kubernetes.io/service-proxy-name: {proxy}");
        return unrouted(Code::OtherProxy, text);
    } else {
        let ips = Family::ALL.into_iter().filter_map(|family| service.cluster_ip(family));
        (ips.collect(), format!("Service {name}, spec.clusterIPs"))
    };
    let asked = asked.into();
    Ok(Resolved { asked, addresses, from, service: Some(name.clone()), node: None })
}

/// The addresses of a headless Service's ready endpoints, and how many endpoints it has in all.
fn headless(cluster: &Cluster, service: &Service) -> (Vec<IpAddr>, usize) {
    let slices = cluster.slices(&service.name);
    let all: Vec<&Endpoint> = slices.flat_map(|slice| &slice.endpoints).collect();
    let ready = all.iter().filter(|one| one.ready || service.publish_not_ready_addresses);
    let ips: BTreeSet<IpAddr> = ready.map(|endpoint| endpoint.address).collect();
    (ips.into_iter().collect(), all.len())
}

fn missing(cluster: &Cluster, name: &NamespacedName) -> String {
    let elsewhere: Vec<String> = cluster
        .services()
        .keys()
        .filter(|other| other.name == name.name)
        .map(ToString::to_string)
        .collect();
    if elsewhere.is_empty() {
        let here = cluster.services().keys().filter(|other| other.namespace == name.namespace);
        let known = list(here.map(|other| other.name.to_string()));
        format!("there is no Service {name}; namespace {} has: {known}", name.namespace)
    } else {
        let others = elsewhere.join(", ");
        format!("there is no Service {name}; one of this name is in another namespace: {others}")
    }
}

/// The port's number; a name is looked up in the Service.
pub(super) fn port(
    cluster: &Cluster,
    question: &Question,
    destination: &Resolved,
) -> Result<u16, Unresolved> {
    let name = match &question.port {
        AskedPort::Number(number) => return Ok(*number),
        AskedPort::Name(name) => name,
    };
    let service = destination.service.as_ref().and_then(|name| cluster.service(name));
    let Some(service) = service else {
        return Err(not_found(format!(
            "{} is no Service, so port {name} is none",
            destination.asked
        )));
    };
    let mut ports = service.ports.iter();
    let found = ports.find(|port| port.name == *name && port.protocol == question.protocol);
    found.map(|port| port.port).ok_or_else(|| {
        let text = format!(
            "Service {} has no {} port named {name:?}; {}",
            service.name,
            question.protocol,
            ports_of(service)
        );
        Unresolved { code: Code::WrongPort, text }
    })
}

/// The ports of a Service in words.
pub(super) fn ports_of(service: &Service) -> String {
    let ports = service.ports.iter().map(|port| {
        let number = format!("{} {}", port.protocol, port.port);
        if port.name.is_empty() { number } else { format!("{} ({number})", port.name) }
    });
    format!("its ports are: {}", list(ports))
}

/// A packet between two ends, in a family that both have.
pub(super) fn packet(
    question: &Question,
    (source, destination, port): (&Resolved, &Resolved, u16),
    (config, intent, host): (&Config, &Intent, &Host),
) -> Result<Packet, Unresolved> {
    let of = |end: &Resolved, family: Family| {
        end.addresses.iter().copied().find(|&ip| Family::of(ip) == family)
    };
    let pair = Family::ALL
        .into_iter()
        .filter(|&family| question.family.is_none_or(|asked| asked == family))
        .find_map(|family| Some((of(source, family)?, of(destination, family)?)));
    let Some((from, to)) = pair else {
        let have = |end: &Resolved| list(end.addresses.iter().map(ToString::to_string));
        let asked = question.family.map(|family| format!(" {family}")).unwrap_or_default();
        let text = format!(
            "the source has {}, the destination has {}: no{asked} family in common",
            have(source),
            have(destination)
        );
        return Err(Unresolved { code: Code::NoCommonFamily, text });
    };
    let enters = question.enters.clone().unwrap_or_else(|| {
        enters(source, from, (config, intent, host), matches!(question.source, Place::Outside(_)))
    });
    Ok(Packet { protocol: question.protocol, source: from, destination: to, port, enters })
}

/// How a packet comes in: from the node itself, from a Pod's interface, or by the wire. Interfaces
/// are named as the detection of Pods expects them, for the true names are not known here.
fn enters(
    source: &Resolved,
    from: IpAddr,
    (config, intent, host): (&Config, &Intent, &Host),
    outside: bool,
) -> Enters {
    if host.owns(from) && !outside {
        return Enters::Output;
    }
    let here = source.node.as_ref() == Some(&config.node_name) && !outside;
    let name: Arc<str> = match (&intent.node.local_traffic[Family::of(from)], here) {
        (LocalTraffic::Interface(name), true) => name.clone(),
        (LocalTraffic::InterfacePrefix(prefix), true) => format!("{prefix}0").into(),
        (_, true) => "the Pod's link".into(),
        (_, false) => "the wire".into(),
    };
    Enters::Interface(name)
}

/// The node where a question is best asked: that of its source, if it is known; else that of the
/// node, Pod or address that is asked for.
#[must_use]
pub fn node_of(cluster: &Cluster, question: &Question) -> Option<Arc<str>> {
    let home: Arc<str> = "default".into();
    let of = |end: &Place| place(cluster, end, &home).ok().and_then(|found| found.node);
    of(&question.source).or_else(|| match &question.destination {
        Place::Node(name) => Some(name.clone()),
        other => of(other).filter(|_| matches!(other, Place::Address(_) | Place::Pod(_))),
    })
}
