//! What NetworkPolicies say of a packet, at each end of each way that it may go.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use model::{Cluster, Direction, Family, NamespacedName, Node, Pod, PolicyAction, PolicyName};
use serde::Serialize;

use super::{Code, World, because};
use crate::policy::{Failed, Finding, Path, PolicyPacket, Traffic, Why, judge};
use crate::{Enters, Packet, Verdict};

/// What NetworkPolicies say of a packet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyJudgement {
    /// Whether this node enforces them (`--network-policy`). If not, nothing is judged, and the
    /// verdict is that of the routing alone.
    pub enforced: bool,
    /// The ways that the packet may go; none where the routing refuses it.
    pub ways: Vec<PolicyWay>,
}

/// One way that a packet may go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyWay {
    /// Where it goes, behind the translation to an endpoint.
    pub destination: SocketAddr,
    /// What is said of it as something that the source sends.
    pub egress: PolicySide,
    /// What is said of it as something that comes to the destination.
    pub ingress: PolicySide,
}

/// What is said at one end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicySide {
    /// The end's address, as policies see it: masquerading may have replaced a source.
    pub address: IpAddr,
    /// The Pod that has it, if policies see one.
    pub pod: Option<NamespacedName>,
    /// The node that judges: that of the Pod, else the one that was asked.
    pub node: Arc<str>,
    /// Whether the packet passes here.
    pub passes: bool,
    /// What decided.
    pub why: Why,
    /// The rules that were asked before and did not match, in order.
    pub missed: Vec<MissedRule>,
}

/// A rule that might have decided and did not match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MissedRule {
    /// The policy that it stands in.
    pub policy: PolicyName,
    /// Its place in the list of its direction, from 0.
    pub index: usize,
    /// What it would have done.
    pub action: PolicyAction,
    /// The first condition that the packet did not meet.
    pub failed: Failed,
    /// The same with the values of the case.
    pub because: String,
}

impl PolicyWay {
    /// Whether both ends let the packet through.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.egress.passes && self.ingress.passes
    }

    /// The end that drops the packet: the source's, where both would.
    #[must_use]
    pub fn dropped_by(&self) -> Option<(Direction, &PolicySide)> {
        let egress = (!self.egress.passes).then_some((Direction::Egress, &self.egress));
        egress.or_else(|| (!self.ingress.passes).then_some((Direction::Ingress, &self.ingress)))
    }
}

impl PolicySide {
    /// The end in words.
    #[must_use]
    pub fn name(&self) -> String {
        self.pod.as_ref().map_or_else(|| self.address.to_string(), |pod| format!("pod/{pod}"))
    }
}

/// Judges every way of a packet that the routing delivers or lets pass.
pub(super) fn judgement(world: &World<'_>, packet: &Packet, verdict: &Verdict) -> PolicyJudgement {
    if !world.config.network_policy.enforce {
        return PolicyJudgement::default();
    }
    let asked = SocketAddr::new(packet.destination, packet.port);
    let same_family = Family::of(packet.source) == Family::of(packet.destination);
    let ways: BTreeMap<SocketAddr, bool> = match verdict {
        Verdict::Deliver(backends) => backends.clone(),
        Verdict::Pass if same_family => BTreeMap::from([(asked, false)]),
        Verdict::Pass | Verdict::Reject | Verdict::Drop => BTreeMap::new(),
    };
    let ways = ways.into_iter().map(|(destination, masquerade)| {
        let (egress, ingress) = packets(world, packet, destination, masquerade);
        PolicyWay {
            destination,
            egress: side(world, packet, &egress, Direction::Egress),
            ingress: side(world, packet, &ingress, Direction::Ingress),
        }
    });
    PolicyJudgement { enforced: true, ways: ways.collect() }
}

/// The packet as the node of the source and as the node of the destination see it.
fn packets(
    world: &World<'_>,
    packet: &Packet,
    destination: SocketAddr,
    masquerade: bool,
) -> (PolicyPacket, PolicyPacket) {
    let here = |address: IpAddr| judge_of(world, address) == world.config.node_name;
    let path = |to: IpAddr| match &packet.enters {
        Enters::Output => Path::FromNode,
        Enters::Interface(_) if world.host.owns(to) => Path::ToNode,
        Enters::Interface(_) => Path::Forwarded,
    };
    let of = |source: IpAddr, to: SocketAddr, path: Path| PolicyPacket {
        source,
        destination: to.ip(),
        traffic: Traffic::Port { protocol: packet.protocol, port: to.port() },
        path,
        established: false,
    };
    // A source on another node has sent it there as it is; only here is it translated.
    let egress = if here(packet.source) {
        of(packet.source, destination, path(destination.ip()))
    } else {
        let asked = SocketAddr::new(packet.destination, packet.port);
        of(packet.source, asked, Path::Forwarded)
    };
    let ingress = if here(destination.ip()) {
        of(packet.source, destination, path(destination.ip()))
    } else {
        let own = world.cluster.node(&world.config.node_name);
        let own = own.and_then(|node| node.address(Family::of(packet.source)));
        let source = own.filter(|_| masquerade).unwrap_or(packet.source);
        of(source, destination, Path::Forwarded)
    };
    (egress, ingress)
}

/// The Pod that has an address, as policies see it.
pub(super) fn pod(cluster: &Cluster, address: IpAddr) -> Option<&Arc<Pod>> {
    let claiming = cluster.pods().values().filter(|pod| pod.counts() && pod.ips.contains(&address));
    claiming.max_by(|one, other| one.claim(other))
}

/// The node that judges what an address sends and gets.
fn judge_of(world: &World<'_>, address: IpAddr) -> Arc<str> {
    let of_pod = pod(world.cluster, address).and_then(|pod| pod.node.clone());
    let in_block = |node: &&Arc<Node>| node.pod_cidrs.iter().any(|block| block.contains(&address));
    of_pod
        .or_else(|| world.cluster.nodes().find(in_block).map(|node| node.name.clone()))
        .unwrap_or_else(|| world.config.node_name.clone())
}

fn side(
    world: &World<'_>,
    asked: &Packet,
    packet: &PolicyPacket,
    direction: Direction,
) -> PolicySide {
    let (own, other) = match direction {
        Direction::Egress => (packet.source, packet.destination),
        Direction::Ingress => (packet.destination, packet.source),
    };
    let node = judge_of(world, own);
    let told = judge(world.cluster, &world.config.network_policy, Some(&node), packet);
    let Finding { why, missed } = match direction {
        Direction::Egress => told.egress,
        Direction::Ingress => told.ingress,
    };
    let missed = missed.into_iter().map(|missed| MissedRule {
        because: because::because(world.cluster, &missed, direction, other, (packet, asked)),
        policy: missed.policy,
        index: missed.index,
        action: missed.action,
        failed: missed.failed,
    });
    PolicySide {
        address: own,
        pod: pod(world.cluster, own).map(|pod| pod.name.clone()),
        node,
        passes: why.passes(),
        missed: missed.collect(),
        why,
    }
}

/// What is left of a verdict behind the policies, with the reason if they change it.
pub(super) fn verdict(
    judgement: &PolicyJudgement,
    verdict: Verdict,
) -> (Verdict, Option<(Code, String)>) {
    let dropped: Vec<&PolicyWay> = judgement.ways.iter().filter(|way| !way.passes()).collect();
    let Some((direction, side)) = dropped.first().and_then(|way| way.dropped_by()) else {
        return (verdict, None);
    };
    let told = format!("{direction} of {}: {}", side.name(), side.why);
    let all = judgement.ways.len();
    match verdict {
        Verdict::Deliver(mut backends) if dropped.len() < all => {
            backends.retain(|to, _| !dropped.iter().any(|way| way.destination == *to));
            let count = dropped.len();
            let text = format!("policies drop it on the way to {count} of {all} endpoints: {told}");
            (Verdict::Deliver(backends), Some((Code::PolicyDeniesSome, text)))
        }
        _ => {
            let code = match (&side.why, direction) {
                (Why::Held, _) => Code::HeldBack,
                (Why::Isolated { .. }, Direction::Egress) => Code::EgressIsolated,
                (Why::Isolated { .. }, Direction::Ingress) => Code::IngressIsolated,
                (_, Direction::Egress) => Code::EgressDenied,
                (_, Direction::Ingress) => Code::IngressDenied,
            };
            (Verdict::Drop, Some((code, format!("{told} (on node {})", side.node))))
        }
    }
}
