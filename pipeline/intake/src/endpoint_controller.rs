//! The EndpointSlices that the EndpointSlice controller of a cluster would write, made from Pods.
//!
//! A folder of manifests has no controllers, and the lab's cluster has this one. Everything here follows what the controller of
//! Kubernetes 1.36 is seen to write: which Pods count, under which conditions, with which ports,
//! and the hints of `spec.trafficDistribution` (KEP-4444, KEP-3015).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use model::{
    AddressType, Endpoint, EndpointPort, EndpointSlice, Family, Hints, NamespacedName, Node,
    Notice, ObjectRef, Protocol, Reason, Service, ServicePort, ServiceType, TargetPort,
};

use crate::stable_hash::stable_hash;
use crate::wire;

/// `--max-endpoints-per-slice` of kube-controller-manager.
const ENDPOINTS_PER_SLICE: usize = 100;

/// The letters of generated names: none that makes a word.
const NAME_LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// The longest part of a Service's name that a slice's name repeats: 63 less `-` and five letters.
const NAME_LENGTH: usize = 57;

/// A Pod, as far as endpoints depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    pub(crate) name: NamespacedName,
    labels: BTreeMap<String, String>,
    uid: Option<Arc<str>>,
    node: Option<Arc<str>>,
    addresses: Vec<IpAddr>,
    ready: bool,
    terminating: bool,
    /// Phase Succeeded or Failed: its address may be another Pod's by now.
    finished: bool,
    /// A manifest that no kubelet has filled in.
    without_status: bool,
    hostname: Option<Arc<str>>,
    subdomain: String,
    /// Named ports of containers, then of sidecars.
    ports: Vec<(String, Protocol, u16)>,
}

impl Pod {
    /// Reads a Pod. What cannot be read is left out and noticed.
    pub fn new(name: NamespacedName, pod: &wire::Pod, notices: &mut Vec<Notice>) -> Pod {
        let (metadata, spec, status) = (pod.metadata.get(), pod.spec.get(), pod.status.get());
        let labels = metadata.and_then(|metadata| metadata.labels.get()).into_iter().flatten();
        let labels = labels.filter_map(|(key, value)| Some((key.clone(), value.get()?.clone())));
        let phase = status.map_or("", |status| status.phase.text());
        let conditions = status.map_or(&[][..], |status| status.conditions.items());
        let ready = conditions.iter().filter_map(wire::Field::get).any(|condition| {
            condition.condition_type.text() == "Ready" && condition.status.text() == "True"
        });
        Pod {
            labels: labels.collect(),
            uid: metadata.and_then(|metadata| filled(&metadata.uid)),
            node: spec.and_then(|spec| filled(&spec.node_name)),
            addresses: status.map_or_else(Vec::new, |status| addresses(&name, status, notices)),
            ready,
            terminating: metadata.is_some_and(|it| !it.deletion_timestamp.text().is_empty()),
            finished: matches!(phase, "Succeeded" | "Failed"),
            without_status: phase.is_empty(),
            hostname: spec.and_then(|spec| filled(&spec.hostname)),
            subdomain: spec.map_or_else(String::new, |spec| spec.subdomain.text().into()),
            ports: spec.map_or_else(Vec::new, named_ports),
            name,
        }
    }

    /// The number of a Service port's target in this Pod.
    fn resolve(&self, port: &ServicePort) -> Option<u16> {
        match &port.target_port {
            // Left out because what stood there was wrong: guessing would reach another server.
            None => None,
            Some(TargetPort::Number(number)) => Some(*number),
            Some(TargetPort::Name(name)) => self
                .ports
                .iter()
                .find(|(own, protocol, _)| **own == **name && *protocol == port.protocol)
                .map(|&(_, _, number)| number),
        }
    }

    fn endpoint(&self, service: &Service, address: IpAddr, nodes: &Nodes<'_>) -> Endpoint {
        let node = self.node.as_deref().and_then(|name| nodes.get(name));
        let zone = node.and_then(|node| node.zone.clone());
        let named = *self.subdomain == *service.name.name;
        let ready = service.publish_not_ready_addresses || (self.ready && !self.terminating);
        Endpoint {
            address,
            ready,
            serving: self.ready,
            terminating: self.terminating,
            node: self.node.clone(),
            hints: ready
                .then(|| hints(service, zone.as_ref(), self.node.as_ref()))
                .flatten()
                .map(Box::new),
            zone,
            hostname: self.hostname.clone().filter(|_| named),
            target_uid: self.uid.clone(),
            target_pod: Some(self.name.name.clone()),
        }
    }
}

fn filled(field: &wire::Field<String>) -> Option<Arc<str>> {
    Some(field.text()).filter(|text| !text.is_empty()).map(Into::into)
}

/// `status.podIPs`, or the lone `status.podIP` (the API server fills the one from the other).
fn addresses(
    name: &NamespacedName,
    status: &wire::PodStatus,
    notices: &mut Vec<Notice>,
) -> Vec<IpAddr> {
    let listed = status.pod_ips.items().iter().filter_map(wire::Field::get).map(|own| &own.ip);
    let mut texts: Vec<_> = listed.map(wire::Field::text).filter(|text| !text.is_empty()).collect();
    if texts.is_empty() {
        texts.extend(Some(status.pod_ip.text()).filter(|text| !text.is_empty()));
    }
    let mut addresses = Vec::with_capacity(texts.len());
    for text in texts {
        match model::parse_ip(text) {
            Ok(address) => addresses.push(address),
            Err(error) => notices.push(Notice {
                object: ObjectRef::new("Pod", name),
                reason: Reason::InvalidField,
                message: format!("status.podIPs: {error}; the address gets no endpoint"),
            }),
        }
    }
    addresses
}

/// Ports of containers first, then of init containers that go on running (KEP-753).
fn named_ports(spec: &wire::PodSpec) -> Vec<(String, Protocol, u16)> {
    let containers = spec.containers.items().iter().filter_map(wire::Field::get);
    let sidecars = spec.init_containers.items().iter().filter_map(wire::Field::get);
    let sidecars = sidecars.filter(|container| container.restart_policy.text() == "Always");
    let ports = containers.chain(sidecars).flat_map(|container| container.ports.items());
    let named = ports.filter_map(wire::Field::get).filter_map(|port| {
        let protocol = match port.protocol.text() {
            "" => Protocol::Tcp,
            text => text.parse().ok()?,
        };
        let number = u16::try_from(*port.container_port.get()?).ok()?;
        Some((port.name.get()?.clone(), protocol, number))
    });
    named.collect()
}

/// The hints that `spec.trafficDistribution` asks for. Endpoints that are not ready get none.
fn hints(service: &Service, zone: Option<&Arc<str>>, node: Option<&Arc<str>>) -> Option<Hints> {
    let zones: Vec<_> = zone.cloned().into_iter().collect();
    let hints = match service.traffic_distribution.as_deref()? {
        "PreferClose" | "PreferSameZone" => Hints { zones, nodes: Vec::new() },
        "PreferSameNode" => Hints { zones, nodes: node.cloned().into_iter().collect() },
        _ => return None,
    };
    Some(hints).filter(|hints| *hints != Hints::default())
}

/// Nodes by name, for their zones.
pub type Nodes<'a> = BTreeMap<&'a str, &'a Node>;

/// Makes the EndpointSlices of every Service that has a selector and no slice among `written`.
///
/// A Pod whose Node is not known keeps its endpoints, without a zone: a folder need not hold Nodes.
/// A selected Pod that has no address gets no endpoint; if nobody filled in its status, a notice
/// says so.
#[must_use]
pub fn endpoint_slices(
    services: &[Service],
    written: &[EndpointSlice],
    pods: &[Pod],
    nodes: &Nodes<'_>,
    notices: &mut Vec<Notice>,
) -> Vec<EndpointSlice> {
    let mut by_namespace: BTreeMap<&str, Vec<&Pod>> = BTreeMap::new();
    for pod in pods {
        by_namespace.entry(&*pod.name.namespace).or_default().push(pod);
    }
    by_namespace.values_mut().for_each(|pods| pods.sort_by(|a, b| a.name.cmp(&b.name)));
    let served: BTreeSet<_> = written.iter().filter_map(|slice| slice.service.as_ref()).collect();
    let mut names: BTreeSet<_> = written.iter().map(|slice| slice.name.clone()).collect();
    let mut unrouted: BTreeMap<&NamespacedName, Vec<&NamespacedName>> = BTreeMap::new();
    let mut slices = Vec::new();
    for service in services {
        let external = service.service_type == ServiceType::ExternalName;
        if external || service.selector.is_empty() || served.contains(&service.name) {
            continue;
        }
        let candidates = by_namespace.get(&*service.name.namespace);
        let selected: Vec<_> = candidates
            .into_iter()
            .flatten()
            .copied()
            .filter(|pod| selects(service, pod) && !pod.finished)
            .collect();
        for pod in &selected {
            if pod.addresses.is_empty() && pod.without_status {
                unrouted.entry(&pod.name).or_default().push(&service.name);
            }
        }
        slices.extend(slices_of(service, &selected, nodes, &mut names));
    }
    notices.extend(unrouted.into_iter().map(|(pod, services)| unrouted_notice(pod, &services)));
    slices
}

fn unrouted_notice(pod: &NamespacedName, services: &[&NamespacedName]) -> Notice {
    let services: Vec<_> = services.iter().map(ToString::to_string).collect();
    Notice {
        object: ObjectRef::new("Pod", pod),
        reason: Reason::Unsupported,
        message: format!(
            "status.podIPs is missing, so the Pod is no endpoint of Service {}; write its status, \
             or an EndpointSlice",
            services.join(", ")
        ),
    }
}

fn selects(service: &Service, pod: &Pod) -> bool {
    let mut wanted = service.selector.iter();
    wanted.all(|(key, value)| pod.labels.get(&**key).is_some_and(|own| **own == **value))
}

/// A Service port as one Pod has it: its name, its protocol, and where that Pod listens.
type Resolved = (Arc<str>, Protocol, u16);

/// The slices of one Service: per family, per set of port numbers, in pieces of at most 100. A family
/// without any endpoint has one empty slice, as the controller writes it.
fn slices_of(
    service: &Service,
    pods: &[&Pod],
    nodes: &Nodes<'_>,
    names: &mut BTreeSet<NamespacedName>,
) -> Vec<EndpointSlice> {
    let mut slices = Vec::new();
    for family in families(service) {
        let mut groups: BTreeMap<Vec<Resolved>, Vec<Endpoint>> = BTreeMap::new();
        for pod in pods {
            let address = pod.addresses.iter().find(|&&ip| Family::of(ip) == family);
            let Some(&address) = address else { continue };
            let resolved = service
                .ports
                .iter()
                .filter_map(|port| Some((port.name.clone(), port.protocol, pod.resolve(port)?)));
            let endpoints = groups.entry(resolved.collect()).or_default();
            endpoints.push(pod.endpoint(service, address, nodes));
        }
        if groups.is_empty() {
            groups.insert(Vec::new(), Vec::new());
        }
        for (ports, endpoints) in groups {
            let pieces = endpoints.chunks(ENDPOINTS_PER_SLICE).map(<[Endpoint]>::to_vec);
            let mut pieces: Vec<_> = pieces.collect();
            if pieces.is_empty() {
                pieces.push(Vec::new());
            }
            for (index, endpoints) in pieces.into_iter().enumerate() {
                let name = slice_name(service, &format!("{family} {ports:?} {index}"), names);
                slices.push(EndpointSlice {
                    name,
                    service: Some(service.name.clone()),
                    version: 0,
                    last_change_trigger: None,
                    address_type: AddressType::Ip(family),
                    ports: ports.iter().map(endpoint_port).collect(),
                    endpoints,
                });
            }
        }
    }
    slices
}

fn endpoint_port((name, protocol, port): &Resolved) -> EndpointPort {
    EndpointPort { name: Some(name.clone()), protocol: *protocol, port: Some(*port) }
}

/// `spec.ipFamilies`, or the families of the cluster IPs; both where neither is known.
fn families(service: &Service) -> Vec<Family> {
    let mut families = service.ip_families.clone();
    if families.is_empty() {
        families.extend(service.cluster_ips.iter().map(|&ip| Family::of(ip)));
    }
    if families.is_empty() {
        families.extend(Family::ALL);
    }
    let mut seen = BTreeSet::new();
    families.retain(|&family| seen.insert(family));
    families
}

/// A name such as `web-x7k2p` that depends on what the slice stands for alone, and that no other
/// slice has.
fn slice_name(
    service: &Service,
    content: &str,
    names: &mut BTreeSet<NamespacedName>,
) -> NamespacedName {
    let mut base = &*service.name.name;
    if let Some((cut, _)) = base.char_indices().nth(NAME_LENGTH) {
        base = &base[..cut];
    }
    let mut attempt = 0;
    loop {
        let mut hash = stable_hash(&format!("{} {content} {attempt}", service.name));
        let mut name = format!("{base}-");
        for _ in 0..5 {
            let letter = usize::try_from(hash % 27).unwrap_or_default();
            name.push(char::from(NAME_LETTERS[letter]));
            hash /= 27;
        }
        let name = NamespacedName::new(service.name.namespace.clone(), name);
        if names.insert(name.clone()) {
            return name;
        }
        attempt += 1;
    }
}

#[cfg(test)]
mod tests;
