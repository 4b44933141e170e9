//! What translation makes of a packet.

use std::net::SocketAddr;

use plan::{FrontendKind, SourceClass};
use serde::Serialize;

use super::World;
use crate::decide::Decision;
use crate::{Packet, Verdict};

/// One way that a packet may go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NatTuple {
    /// The new destination (DNAT).
    pub destination: SocketAddr,
    /// Whether the source becomes the node's (SNAT).
    pub masquerade: bool,
    /// What demands or forbids it.
    pub rule: SnatRule,
}

/// What decides whether the source is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum SnatRule {
    /// The endpoint is the client itself: its answer would not come back by here.
    Hairpin,
    /// `masqueradeAll` is set.
    MasqueradeAll,
    /// The client of a cluster IP is no Pod: the answer must come back by this node.
    NotAPod,
    /// `externalTrafficPolicy: Cluster`: the answer must come back by this node.
    ExternalPolicyCluster,
    /// `externalTrafficPolicy: Local`, but the node itself asks.
    FromThisNode,
    /// The endpoint is on this node's own address: the packet leaves by no interface.
    NeverLeaves,
    /// Nothing demands it: the endpoint sees the client's own address.
    SourceKept,
}

impl SnatRule {
    /// In words.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            SnatRule::Hairpin => "hairpin: the endpoint is the client itself",
            SnatRule::MasqueradeAll => "masqueradeAll is set",
            SnatRule::NotAPod => "the client is no Pod, so the answer must come back by this node",
            SnatRule::ExternalPolicyCluster => "externalTrafficPolicy: Cluster",
            SnatRule::FromThisNode => "externalTrafficPolicy: Local, asked by the node itself",
            SnatRule::NeverLeaves => "the endpoint is the node's own address",
            SnatRule::SourceKept => "nothing demands SNAT: the endpoint sees the client's address",
        }
    }
}

pub(super) fn tuples(
    world: &World<'_>,
    decision: &Decision<'_>,
    class: SourceClass,
    packet: &Packet,
) -> Vec<NatTuple> {
    let (Verdict::Deliver(backends), Some((_, frontend))) = (&decision.verdict, decision.by) else {
        return Vec::new();
    };
    let asked = matches!(frontend.routes[class], plan::Route::Deliver { masquerade: true, .. });
    let rule = |to: SocketAddr, masquerade: bool| match (masquerade, frontend.kind) {
        (false, _) if asked || to.ip() == packet.source => SnatRule::NeverLeaves,
        (false, _) => SnatRule::SourceKept,
        (true, _) if !asked => SnatRule::Hairpin,
        (true, FrontendKind::ClusterIP) if world.config.masquerade_all => SnatRule::MasqueradeAll,
        (true, FrontendKind::ClusterIP) => SnatRule::NotAPod,
        (true, _) if frontend.routes.outside == frontend.routes[class] => {
            SnatRule::ExternalPolicyCluster
        }
        (true, _) => SnatRule::FromThisNode,
    };
    let tuples = backends.iter().map(|(&destination, &masquerade)| NatTuple {
        destination,
        masquerade,
        rule: rule(destination, masquerade),
    });
    tuples.collect()
}
