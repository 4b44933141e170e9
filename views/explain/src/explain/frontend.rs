//! The frontend that a packet meets: the object and field that it comes from, and whom else claims
//! it; who its client is taken for.

use model::{Cidr, Family, NamespacedName, PortName, TrafficPolicy};
use plan::{Frontend, FrontendKind, LocalTraffic, SourceClass, VirtualServer};
use serde::Serialize;

use super::{World, family};
use crate::decide::admits;
use crate::{Enters, Packet};

/// A frontend that decides, or would.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FrontendMet {
    /// Which kind.
    pub kind: FrontendKind,
    /// `address:port`, or the port alone for a NodePort.
    pub place: String,
    /// The port of the Service.
    pub port: PortName,
    /// The field of the Service that it comes from.
    pub field: &'static str,
    /// The traffic policy that counts, with its field.
    pub policy: String,
    /// Service ports that claim the same place and do not get it.
    pub losers: Vec<PortName>,
    /// What source ranges say, where the Service has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ranges: Option<RangesResult>,
}

/// What `spec.loadBalancerSourceRanges` says of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RangesResult {
    /// The ranges of the packet's family, as the object has them.
    pub ranges: Vec<Cidr>,
    /// Whether the source lies in one of them.
    pub admitted: bool,
    /// Whether they guard this frontend; they never guard NodePorts, cluster IPs and external IPs.
    pub guarded: bool,
}

pub(super) fn met(
    world: &World<'_>,
    (server, frontend): (&VirtualServer, &Frontend),
    packet: &Packet,
) -> FrontendMet {
    let at = (server.family, frontend.address);
    let protocol = server.protocol();
    let claimants = plan::claimants(world.cluster, world.config, at, frontend.port, protocol);
    FrontendMet {
        kind: frontend.kind,
        place: match frontend.address {
            Some(address) => std::net::SocketAddr::new(address, frontend.port).to_string(),
            None => frontend.port.to_string(),
        },
        port: server.name.clone(),
        field: match frontend.kind {
            FrontendKind::ClusterIP => "spec.clusterIPs",
            FrontendKind::ExternalIP => "spec.externalIPs",
            FrontendKind::LoadBalancerIP => "status.loadBalancer.ingress",
            FrontendKind::NodePort => "spec.ports[].nodePort",
        },
        policy: policy(world, &server.name.service, frontend.kind),
        losers: claimants.into_iter().filter(|port| *port != server.name).collect(),
        ranges: ranges(world, &server.name.service, frontend, packet),
    }
}

fn policy(world: &World<'_>, service: &NamespacedName, kind: FrontendKind) -> String {
    let Some(service) = world.cluster.service(service) else { return String::new() };
    let (field, policy) = match kind {
        FrontendKind::ClusterIP => ("internalTrafficPolicy", service.internal_traffic_policy),
        _ => ("externalTrafficPolicy", service.external_traffic_policy),
    };
    let policy = match policy {
        TrafficPolicy::Cluster => "Cluster",
        TrafficPolicy::Local => "Local",
    };
    format!("{field}: {policy}")
}

/// A frontend's own ranges count for it; what they would say of the source is told for others too.
fn ranges(
    world: &World<'_>,
    service: &NamespacedName,
    frontend: &Frontend,
    packet: &Packet,
) -> Option<RangesResult> {
    let service = world.cluster.service(service)?;
    let own = |range: &&Cidr| Family::of_cidr(range) == family(packet);
    let ranges: Vec<Cidr> = service.source_ranges.iter().filter(own).copied().collect();
    if ranges.is_empty() {
        return None;
    }
    let guarded = frontend.sources.is_some();
    let inside = ranges.iter().any(|range| range.contains(&packet.source));
    let admitted = if guarded { admits(frontend, packet.source) } else { inside };
    Some(RangesResult { ranges, admitted, guarded })
}

/// How the class of a source is known.
pub(super) fn evidence(world: &World<'_>, packet: &Packet, class: SourceClass) -> String {
    let source = packet.source;
    let local = &world.intent.node.local_traffic[family(packet)];
    let interface = match &packet.enters {
        Enters::Output => "no interface",
        Enters::Interface(name) => name,
    };
    match (class, local) {
        (SourceClass::Pod, LocalTraffic::Source(block)) => {
            format!("{source} lies in {block}, the block of the Pods")
        }
        (SourceClass::Pod, LocalTraffic::Interface(name)) => format!("it comes in by {name}"),
        (SourceClass::Pod, LocalTraffic::InterfacePrefix(prefix)) => {
            format!("it comes in by {interface}, whose name begins with {prefix}")
        }
        (SourceClass::Pod, LocalTraffic::Unknown) => String::new(),
        (SourceClass::Node, _) => format!("{source} is an address of this node"),
        (SourceClass::Outside, LocalTraffic::Source(block)) => {
            format!("{source} lies outside {block}, the block of the Pods, and is not this node's")
        }
        (SourceClass::Outside, LocalTraffic::Unknown) => {
            "Pods cannot be told from others (no cluster CIDR is set), and it is not this node's"
                .into()
        }
        (SourceClass::Outside, _) => {
            format!("{source} comes in by {interface}, which is no interface of a Pod")
        }
    }
}
