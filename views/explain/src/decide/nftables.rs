//! In nftables mode: source ranges, then the frontend, then what no frontend took.

use std::collections::BTreeSet;
use std::net::IpAddr;

use model::{Family, Host};
use plan::{FrontendKind, Intent};

use super::{Met, Verdict, admits, follow, source_class};
use crate::{Enters, Packet};

pub(super) fn decide(intent: &Intent, host: &Host, packet: &Packet, met: &Met<'_>) -> Verdict {
    if met.addressed.is_some_and(|(_, frontend)| !admits(frontend, packet.source)) {
        return Verdict::Drop;
    }
    let answers = met.node_ports_answer && !packet.destination.is_loopback();
    let stray = |address| stray(intent, host, packet, address);
    let Some((server, frontend)) = met.addressed.or(met.node_port.filter(|_| answers)) else {
        return stray(packet.destination).unwrap_or(Verdict::Pass);
    };
    let route = frontend.routes[source_class(intent, host, packet)];
    let verdict = follow(server, route, host, packet);
    if let Verdict::Deliver(backends) = &verdict {
        let fates: BTreeSet<_> = backends.keys().map(|backend| stray(backend.ip())).collect();
        if let [Some(refused)] = fates.into_iter().collect::<Vec<_>>().as_slice() {
            return refused.clone();
        }
    }
    verdict
}

/// What becomes of a packet to this address after translation, if it is one of the cluster network
/// that leads nowhere. What comes in for one of the node's own addresses is left alone if no Service
/// has that address.
fn stray(intent: &Intent, host: &Host, packet: &Packet, address: IpAddr) -> Option<Verdict> {
    let family = Family::of(address);
    let mut servers = intent.servers.values().flat_map(|servers| servers.iter());
    let is_cluster_ip = servers.any(|server| {
        let mut frontends = server.frontends.iter();
        frontends.any(|frontend| {
            frontend.kind == FrontendKind::ClusterIP && frontend.address == Some(address)
        })
    });
    let leaves = packet.enters == Enters::Output || !host.owns(address);
    let mut blocks = intent.node.service_cidrs[family].iter();
    if is_cluster_ip {
        Some(Verdict::Reject)
    } else if leaves && blocks.any(|block| block.contains(&address)) {
        Some(Verdict::Drop)
    } else {
        None
    }
}
