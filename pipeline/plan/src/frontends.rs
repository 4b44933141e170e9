//! By which addresses a Service is reached, and who may come.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use model::{
    Cidr, Family, IngressMode, Notice, ObjectRef, Reason, Service, ServicePort, ServiceType,
    TrafficPolicy,
};

use crate::addresses;
use crate::config::Config;
use crate::intent::{FrontendKind, PerFamily};
use crate::node::NodeFacts;

/// A frontend whose routes are not decided yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    /// Which kind.
    pub(crate) kind: FrontendKind,
    /// The address; `None` for NodePorts alone.
    pub(crate) address: Option<IpAddr>,
    /// The port.
    pub(crate) port: u16,
    /// Who may come; `None` means everybody.
    pub(crate) sources: Option<Arc<[Cidr]>>,
}

/// The addresses of a Service in one family, which all its ports share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Addresses {
    external: Vec<IpAddr>,
    load_balancer: Vec<IpAddr>,
    sources: Option<Arc<[Cidr]>>,
}

/// The external policy as far as it counts: `Local` on a Service that the outside reaches by its
/// type, or by external IPs.
pub(crate) fn external_policy(service: &Service) -> TrafficPolicy {
    let reachable = match service.service_type {
        ServiceType::NodePort | ServiceType::LoadBalancer => true,
        ServiceType::ClusterIP => !service.external_ips.is_empty(),
        ServiceType::ExternalName => false,
    };
    if reachable { service.external_traffic_policy } else { TrafficPolicy::Cluster }
}

/// Where the load balancer asks whether this node has endpoints: for type `LoadBalancer` with the
/// external policy `Local` alone.
pub(crate) fn health_check_node_port(service: &Service) -> Option<u16> {
    let asked = service.service_type == ServiceType::LoadBalancer
        && external_policy(service) == TrafficPolicy::Local;
    service.health_check_node_port.filter(|&port| asked && port != 0)
}

/// External IPs and load balancer IPs of a family, each once, in the order of the object.
///
/// External IPs count unless the operator switched them off. Of the load balancer's addresses those
/// of mode `VIP` count; packets to one of mode `Proxy` are never touched (KEP-1860). An address
/// stays with its first kind (cluster IP, external IP, load balancer IP). [`notices`] names what is
/// left out.
pub(crate) fn addresses(
    service: &Service,
    cluster_ip: IpAddr,
    node: &NodeFacts,
    config: &Config,
) -> Addresses {
    let family = Family::of(cluster_ip);
    let mut seen = BTreeSet::from([cluster_ip]);
    let external = service
        .external_ips
        .iter()
        .copied()
        .filter(|&ip| config.allow_external_ips && Family::of(ip) == family)
        .filter(|&ip| addresses::forbidden(ip).is_none() && seen.insert(ip))
        .collect();
    let virtual_ips: Vec<IpAddr> =
        virtual_ips(service).filter(|&ip| Family::of(ip) == family).collect();
    let sources = sources(service, family, &virtual_ips, node);
    let load_balancer = virtual_ips.into_iter().filter(|&ip| seen.insert(ip)).collect();
    Addresses { external, load_balancer, sources }
}

/// The load balancer's addresses that arrive as destinations.
fn virtual_ips(service: &Service) -> impl Iterator<Item = IpAddr> {
    service
        .ingress
        .iter()
        .filter(|ingress| ingress.mode == IngressMode::VIP)
        .map(|ingress| ingress.ip)
        .filter(|&ip| addresses::never_a_destination(ip).is_none())
}

/// Who may come to the load balancer's addresses of a family (`loadBalancerSourceRanges`).
///
/// Ranges of the other family are left out; if none remains, or one of them holds the whole family,
/// everybody may come, as kube-proxy has it. Where this node's own address lies in a range, the
/// virtual addresses are sources too: a packet that the node sends to one of them may carry that
/// very address.
fn sources(
    service: &Service,
    family: Family,
    virtual_ips: &[IpAddr],
    node: &NodeFacts,
) -> Option<Arc<[Cidr]>> {
    let mut seen = BTreeSet::new();
    let own = |range: &&Cidr| Family::of_cidr(range) == family;
    let mut ranges: Vec<Cidr> = service
        .source_ranges
        .iter()
        .filter(own)
        .copied()
        .filter(|&range| seen.insert(range))
        .collect();
    if ranges.is_empty() || ranges.iter().any(|range| range.prefix_len() == 0) {
        return None;
    }
    let holds_node = |address: IpAddr| ranges.iter().any(|range| range.contains(&address));
    if node.addresses[family].is_some_and(holds_node) {
        let more = virtual_ips.iter().copied().map(Cidr::from);
        ranges.extend(more.filter(|&block| seen.insert(block)).collect::<Vec<_>>());
    }
    Some(ranges.into())
}

/// Every address and port by which one Service port is reached in one family: the cluster IP, then
/// external IPs, then load balancer IPs, then the NodePort (0 is none). Source ranges guard the load
/// balancer's addresses alone, never the NodePort (kubernetes#33586).
pub(crate) fn reach(port: &ServicePort, cluster_ip: IpAddr, addresses: &Addresses) -> Vec<Reach> {
    let at = |kind, address| Reach { kind, address, port: port.port, sources: None };
    let mut all = vec![at(FrontendKind::ClusterIP, Some(cluster_ip))];
    all.extend(addresses.external.iter().map(|&ip| at(FrontendKind::ExternalIP, Some(ip))));
    all.extend(addresses.load_balancer.iter().map(|&ip| Reach {
        sources: addresses.sources.clone(),
        ..at(FrontendKind::LoadBalancerIP, Some(ip))
    }));
    if let Some(node_port) = port.node_port.filter(|&number| number != 0) {
        all.push(Reach { port: node_port, ..at(FrontendKind::NodePort, None) });
    }
    all
}

/// Names the values of a routed Service that count for nothing.
pub(crate) fn notices(
    service: &Service,
    cluster_ips: &PerFamily<Option<IpAddr>>,
    config: &Config,
    notices: &mut BTreeSet<Notice>,
) {
    let mut note = |reason, message: String| {
        let object = ObjectRef::new("Service", &service.name);
        notices.insert(Notice { object, reason, message });
    };
    let foreign = |family: Family| cluster_ips[family].is_none();
    if !config.allow_external_ips && !service.external_ips.is_empty() {
        note(
            Reason::Disabled,
            "spec.externalIPs: external IPs are switched off on this node; they are left out"
                .into(),
        );
    }
    let external = service.external_ips.iter().filter(|_| config.allow_external_ips);
    let external = external.map(|&ip| ("spec.externalIPs", ip, addresses::forbidden(ip)));
    let ingress = service
        .ingress
        .iter()
        .filter(|ingress| ingress.mode == IngressMode::VIP)
        .map(|ingress| ingress.ip)
        .map(|ip| ("status.loadBalancer.ingress", ip, addresses::never_a_destination(ip)));
    for (field, ip, forbidden) in external.chain(ingress) {
        if let Some(what) = forbidden {
            note(Reason::ForbiddenAddress, format!("{field}: {ip} is {what}; it is left out"));
        } else if foreign(Family::of(ip)) {
            let why = format!("the Service has no {} cluster IP", Family::of(ip));
            note(Reason::WrongFamily, format!("{field}: {ip} is left out, for {why}"));
        }
    }
    for range in &service.source_ranges {
        let family = Family::of_cidr(range);
        if foreign(family) {
            let why = format!("the Service has no {family} cluster IP");
            let text = format!("spec.loadBalancerSourceRanges: {range} is left out, for {why}");
            note(Reason::WrongFamily, text);
        }
    }
    open_families(service, cluster_ips, &mut note);
    unguarded_twins(service, config, &mut note);
}

/// Source ranges that all belong to the other family leave a family's load balancer addresses open,
/// which is seldom meant.
fn open_families(
    service: &Service,
    cluster_ips: &PerFamily<Option<IpAddr>>,
    note: &mut impl FnMut(Reason, String),
) {
    for family in Family::ALL {
        let guarded = service.source_ranges.iter().any(|range| Family::of_cidr(range) == family);
        let exposed = cluster_ips[family].is_some()
            && virtual_ips(service).any(|ip| Family::of(ip) == family);
        if exposed && !guarded && !service.source_ranges.is_empty() {
            let text = format!(
                "spec.loadBalancerSourceRanges: no range is {family}, so everybody may come to the \
                 {family} addresses of the load balancer"
            );
            note(Reason::WrongFamily, text);
        }
    }
}

/// A load balancer address that is an external IP of the same Service too is reached as such, where
/// source ranges do not guard it.
fn unguarded_twins(service: &Service, config: &Config, note: &mut impl FnMut(Reason, String)) {
    let twins = virtual_ips(service).filter(|ip| service.external_ips.contains(ip));
    for ip in twins.filter(|_| config.allow_external_ips && !service.source_ranges.is_empty()) {
        let text = format!(
            "status.loadBalancer.ingress: {ip} is listed in spec.externalIPs too and counts as \
             external IP, so spec.loadBalancerSourceRanges does not guard it; remove it there"
        );
        note(Reason::Conflict, text);
    }
}
