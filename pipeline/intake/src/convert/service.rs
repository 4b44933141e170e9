//! Services.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use model::{
    Affinity, Cidr, Family, IngressMode, LoadBalancerIngress, Notice, Service, ServicePort,
    ServiceType, TargetPort, TrafficPolicy,
};

use super::notes::{Entry, Notes, PORT, Part, namespaced};
use super::{Names, seconds};
use crate::wire::{self, Field, IntOrText, shown};

/// The label that hands a Service to another proxy.
const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";

/// Says that no proxy routes the Service.
const HEADLESS: &str = "service.kubernetes.io/headless";

/// `timeoutSeconds` where the object says nothing, and the longest that the API admits (24 hours).
const DEFAULT_AFFINITY_SECONDS: u32 = 10_800;
const MAX_AFFINITY_SECONDS: i64 = 86_400;

const NO_ADDRESS: &str = "the address is left out";
const NO_PORT: &str = "the port is left out";

/// Reads a Service. A Service without a name is none.
///
/// Addresses may have leading zeros, which count as decimal. A load balancer known by hostname
/// alone has no address, which is no mistake (kubernetes#105182). A Service that should have a
/// cluster IP and has none is noted: the API server allocates one, a manifest must name it.
#[must_use]
pub fn service(wire: &wire::Service, names: &mut Names) -> (Option<Service>, Vec<Notice>) {
    let (name, mut notes) = match namespaced("Service", &wire.metadata, names) {
        Ok(named) => named,
        Err(notices) => return (None, notices),
    };
    let unset = wire::ServiceSpec::default();
    let notes = &mut notes;
    let spec = notes.get(&wire.spec, "spec", "the Service counts as empty").unwrap_or(&unset);
    let service_type = service_type(&spec.service_type, notes);
    let headless = spec.cluster_ip.text() == "None"
        || spec.cluster_ips.items().first().is_some_and(|ip| ip.text() == "None");
    let (cluster_ips, ip_families) = cluster_ips(spec, headless, notes);
    if cluster_ips.is_empty() && !headless && service_type != ServiceType::ExternalName {
        let follows = "the Service has no cluster IP";
        notes.invalid("spec.clusterIP", "missing", "an address (or None)", follows);
    }
    let service = Service {
        name,
        created: created(wire, notes),
        service_type,
        proxy_name: proxy_name(wire, names),
        cluster_ips,
        headless,
        ip_families,
        ports: ports(spec, notes, names),
        selector: selector(spec, notes, names),
        external_ips: notes.ips(&spec.external_ips, "spec.externalIPs", NO_ADDRESS),
        ingress: ingress(&wire.status, notes),
        source_ranges: source_ranges(spec, notes),
        affinity: affinity(spec, notes),
        external_traffic_policy: policy(
            &spec.external_traffic_policy,
            "spec.externalTrafficPolicy",
            notes,
        ),
        internal_traffic_policy: policy(
            &spec.internal_traffic_policy,
            "spec.internalTrafficPolicy",
            notes,
        ),
        health_check_node_port: notes.optional_port(
            &spec.health_check_node_port,
            "spec.healthCheckNodePort",
            "the Service has no health check port",
        ),
        external_name: notes.optional_text(
            &spec.external_name,
            "spec.externalName",
            "the Service has no external name",
        ),
        publish_not_ready_addresses: publish_not_ready_addresses(spec, notes),
        traffic_distribution: notes.optional_name(
            &spec.traffic_distribution,
            "spec.trafficDistribution",
            "it counts as absent",
            names,
        ),
    };
    (Some(service), std::mem::take(&mut notes.list))
}

/// The label that gives a Service to another proxy; or the one that takes it from every proxy,
/// as kube-proxy takes it: whether there is an address or not.
fn proxy_name(wire: &wire::Service, names: &mut Names) -> Option<Arc<str>> {
    let metadata = wire.metadata.get()?;
    if let Some(label) = metadata.label(PROXY_NAME) {
        return Some(names.intern(label));
    }
    metadata.label(HEADLESS).map(|_| names.intern(HEADLESS))
}

fn source_ranges(spec: &wire::ServiceSpec, notes: &mut Notes) -> Vec<Cidr> {
    let follows = "the range is left out (and where no range is left, every client is admitted)";
    notes.cidrs(&spec.load_balancer_source_ranges, "spec.loadBalancerSourceRanges", follows)
}

fn publish_not_ready_addresses(spec: &wire::ServiceSpec, notes: &mut Notes) -> bool {
    let field = "spec.publishNotReadyAddresses";
    *notes.get(&spec.publish_not_ready_addresses, field, "it counts as false").unwrap_or(&false)
}

fn created(wire: &wire::Service, notes: &mut Notes) -> Option<i64> {
    let (field, follows) = ("metadata.creationTimestamp", "the Service counts as the newest");
    seconds(&wire.metadata.get()?.creation_timestamp, field, follows, notes)
}

fn service_type(value: &Field<String>, notes: &mut Notes) -> ServiceType {
    let (field, follows) = ("spec.type", "it counts as ClusterIP");
    match notes.text(value, field, follows) {
        "" | "ClusterIP" => ServiceType::ClusterIP,
        "NodePort" => ServiceType::NodePort,
        "LoadBalancer" => ServiceType::LoadBalancer,
        "ExternalName" => ServiceType::ExternalName,
        other => {
            let expected = "ClusterIP, NodePort, LoadBalancer or ExternalName";
            notes.invalid(field, shown(other), expected, follows);
            ServiceType::ClusterIP
        }
    }
}

/// The cluster IPs and their families, which belong together by position: what one entry lacks,
/// the other does not keep, so that no address slides into another family's place.
fn cluster_ips(
    spec: &wire::ServiceSpec,
    headless: bool,
    notes: &mut Notes,
) -> (Vec<IpAddr>, Vec<Family>) {
    const IPS: &str = "spec.clusterIPs";
    let families = ip_families(spec, notes);
    if headless {
        return (Vec::new(), families.into_iter().flatten().collect());
    }
    let lone = notes.text(&spec.cluster_ip, "spec.clusterIP", NO_ADDRESS);
    let listed = notes.get(&spec.cluster_ips, IPS, "spec.clusterIP alone counts");
    let mut addresses: Vec<Option<IpAddr>> = Vec::new();
    for (i, entry) in listed.into_iter().flatten().enumerate() {
        let text = notes.text(entry, Entry(IPS, i), NO_ADDRESS);
        addresses.push(notes.ip(text, Entry(IPS, i), NO_ADDRESS));
    }
    if addresses.is_empty() {
        addresses.push(notes.ip(lone, "spec.clusterIP", NO_ADDRESS));
    }
    if families.is_empty() {
        return (addresses.into_iter().flatten().collect(), Vec::new());
    }
    let pairs = addresses.into_iter().zip(families);
    pairs.filter_map(|(address, family)| Some((address?, family?))).unzip()
}

fn ip_families(spec: &wire::ServiceSpec, notes: &mut Notes) -> Vec<Option<Family>> {
    const FIELD: &str = "spec.ipFamilies";
    let (expected, follows) = ("IPv4 or IPv6", "the cluster IP at its position is left out");
    let list = notes.get(&spec.ip_families, FIELD, "the list counts as empty");
    let mut families = Vec::new();
    for (i, entry) in list.into_iter().flatten().enumerate() {
        let family = match notes.get(entry, Entry(FIELD, i), follows).map(String::as_str) {
            Some("IPv4") => Some(Family::V4),
            Some("IPv6") => Some(Family::V6),
            Some(other) => {
                notes.invalid(Entry(FIELD, i), shown(other), expected, follows);
                None
            }
            None => None,
        };
        families.push(family);
    }
    families
}

fn ports(spec: &wire::ServiceSpec, notes: &mut Notes, names: &mut Names) -> Vec<ServicePort> {
    const FIELD: &str = "spec.ports";
    let items = notes.items(&spec.ports, FIELD, NO_PORT);
    let mut ports: Vec<ServicePort> = Vec::with_capacity(items.len());
    for (i, wire) in items {
        let Some(port) = port(wire, i, notes, names) else { continue };
        // Name and protocol are the identity of a port: with two of one identity, which of them
        // the endpoints belong to would depend on their order.
        if ports.iter().any(|other| (&other.name, other.protocol) == (&port.name, port.protocol)) {
            let value = format_args!("{} ({})", shown(&port.name), port.protocol);
            let expected = "each name once for one protocol";
            notes.invalid(Part(FIELD, i, "name"), value, expected, NO_PORT);
            continue;
        }
        ports.push(port);
    }
    ports
}

fn port(
    wire: &wire::ServicePort,
    i: usize,
    notes: &mut Notes,
    names: &mut Names,
) -> Option<ServicePort> {
    const FIELD: &str = "spec.ports";
    let name = match &wire.name {
        Field::Absent => "",
        name => notes.get(name, Part(FIELD, i, "name"), NO_PORT)?,
    };
    let protocol = notes.protocol(&wire.protocol, Part(FIELD, i, "protocol"), NO_PORT)?;
    let field = Part(FIELD, i, "port");
    let number = match &wire.port {
        Field::Absent => {
            notes.invalid(field, "missing", PORT, NO_PORT);
            return None;
        }
        number => *notes.get(number, field, NO_PORT)?,
    };
    let Some(port) = u16::try_from(number).ok().filter(|&port| port != 0) else {
        notes.invalid(field, number, PORT, NO_PORT);
        return None;
    };
    Some(ServicePort {
        name: names.intern(name),
        protocol,
        port,
        target_port: target_port(wire, Part(FIELD, i, "targetPort"), notes, names),
        node_port: notes.optional_port(
            &wire.node_port,
            Part(FIELD, i, "nodePort"),
            "the port has no node port",
        ),
    })
}

fn target_port(
    wire: &wire::ServicePort,
    field: Part<'_>,
    notes: &mut Notes,
    names: &mut Names,
) -> Option<TargetPort> {
    let follows = "it counts as absent";
    match notes.get(&wire.target_port, field, follows)? {
        // 0 and "" are what the API prints where nothing was set.
        IntOrText::Int(0) => None,
        IntOrText::Text(name) if name.is_empty() => None,
        IntOrText::Text(name) => Some(TargetPort::Name(names.intern(name))),
        IntOrText::Int(number) => {
            let port = u16::try_from(*number);
            if port.is_err() {
                notes.invalid(field, number, PORT, follows);
            }
            port.ok().map(TargetPort::Number)
        }
    }
}

/// The selector. With an entry that cannot be read it is empty: without that entry it would select
/// Pods that it does not mean.
fn selector(
    spec: &wire::ServiceSpec,
    notes: &mut Notes,
    names: &mut Names,
) -> BTreeMap<Arc<str>, Arc<str>> {
    let follows = "the selector counts as empty";
    let mut selector = BTreeMap::new();
    let Some(wire) = notes.get(&spec.selector, "spec.selector", follows) else { return selector };
    for (key, value) in wire {
        let field = format_args!("spec.selector[{}]", shown(key)).to_string();
        match notes.get(value, &field, follows) {
            Some(value) => {
                selector.insert(names.intern(key), names.intern(value));
            }
            // `null` is the empty text, as the API server reads it.
            None if *value == Field::Absent => {
                selector.insert(names.intern(key), names.intern(""));
            }
            None => return BTreeMap::new(),
        }
    }
    selector
}

fn ingress(status: &Field<wire::ServiceStatus>, notes: &mut Notes) -> Vec<LoadBalancerIngress> {
    const FIELD: &str = "status.loadBalancer.ingress";
    let follows = "the load balancer has no address";
    let Some(status) = notes.get(status, "status", follows) else { return Vec::new() };
    let Some(status) = notes.get(&status.load_balancer, "status.loadBalancer", follows) else {
        return Vec::new();
    };
    let mut ingress = Vec::new();
    for (i, wire) in notes.items(&status.ingress, FIELD, NO_ADDRESS) {
        let field = Part(FIELD, i, "ip");
        let text = notes.text(&wire.ip, field, NO_ADDRESS);
        let Some(ip) = notes.ip(text, field, NO_ADDRESS) else { continue };
        let field = Part(FIELD, i, "ipMode");
        let mode = match &wire.ip_mode {
            Field::Absent => Some(IngressMode::VIP),
            mode => match notes.get(mode, field, NO_ADDRESS).map(String::as_str) {
                Some("VIP") => Some(IngressMode::VIP),
                Some("Proxy") => Some(IngressMode::Proxy),
                Some(other) => {
                    notes.invalid(field, shown(other), "VIP or Proxy", NO_ADDRESS);
                    None
                }
                None => None,
            },
        };
        ingress.extend(mode.map(|mode| LoadBalancerIngress { ip, mode }));
    }
    ingress
}

fn affinity(spec: &wire::ServiceSpec, notes: &mut Notes) -> Affinity {
    let (field, follows) = ("spec.sessionAffinity", "it counts as None");
    match notes.text(&spec.session_affinity, field, follows) {
        "" | "None" => Affinity::None,
        "ClientIP" => Affinity::ClientIP { timeout_seconds: affinity_seconds(spec, notes) },
        other => {
            notes.invalid(field, shown(other), "None or ClientIP", follows);
            Affinity::None
        }
    }
}

fn affinity_seconds(spec: &wire::ServiceSpec, notes: &mut Notes) -> u32 {
    let follows = format!("{DEFAULT_AFFINITY_SECONDS} counts");
    let config = &spec.session_affinity_config;
    let seconds = notes
        .get(config, "spec.sessionAffinityConfig", &follows)
        .and_then(|config| {
            notes.get(&config.client_ip, "spec.sessionAffinityConfig.clientIP", &follows)
        })
        .and_then(|client_ip| {
            let field = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
            let seconds = *notes.get(&client_ip.timeout_seconds, field, &follows)?;
            let allowed = (1..=MAX_AFFINITY_SECONDS).contains(&seconds);
            if !allowed {
                let expected = format_args!("a number from 1 to {MAX_AFFINITY_SECONDS}");
                notes.invalid(field, seconds, expected, &follows);
            }
            u32::try_from(seconds).ok().filter(|_| allowed)
        });
    seconds.unwrap_or(DEFAULT_AFFINITY_SECONDS)
}

fn policy(value: &Field<String>, field: &str, notes: &mut Notes) -> TrafficPolicy {
    let follows = "it counts as Cluster";
    match notes.text(value, field, follows) {
        "" | "Cluster" => TrafficPolicy::Cluster,
        "Local" => TrafficPolicy::Local,
        other => {
            notes.invalid(field, shown(other), "Cluster or Local", follows);
            TrafficPolicy::Cluster
        }
    }
}
