//! In nftables mode: source ranges, then the frontend, then what no frontend took.

use std::collections::BTreeSet;
use std::net::IpAddr;

use model::Host;
use plan::Intent;

use super::{
    Cause, Decision, Met, Verdict, admits, follow, in_service_cidr, is_cluster_ip, source_class,
};
use crate::{Enters, Packet};

pub(super) fn decide<'a>(
    intent: &Intent,
    host: &Host,
    packet: &Packet,
    met: &Met<'a>,
) -> Decision<'a> {
    if let Some(by) = met.addressed.filter(|(_, frontend)| !admits(frontend, packet.source)) {
        return Decision { verdict: Verdict::Drop, cause: Cause::SourceRanges, by: Some(by) };
    }
    let answers = met.node_ports_answer && !packet.destination.is_loopback();
    let stray = |address| stray(intent, host, packet, address);
    let Some(by) = met.addressed.or(met.node_port.filter(|_| answers)) else {
        return match stray(packet.destination) {
            Some(verdict) => {
                let wrong_port = is_cluster_ip(intent, packet.destination);
                let cause = if wrong_port { Cause::WrongPort } else { Cause::Unallocated };
                Decision { verdict, cause, by: None }
            }
            None => {
                let cause = if met.node_port.is_some() {
                    Cause::NodePortNotHere
                } else {
                    Cause::NoFrontend
                };
                Decision { verdict: Verdict::Pass, cause, by: met.node_port }
            }
        };
    };
    let decision = follow(by, by.1.routes[source_class(intent, host, packet)], host, packet);
    if let Verdict::Deliver(backends) = &decision.verdict {
        let fates: BTreeSet<_> = backends.keys().map(|backend| stray(backend.ip())).collect();
        if let [Some(refused)] = fates.into_iter().collect::<Vec<_>>().as_slice() {
            return Decision { verdict: refused.clone(), cause: Cause::StrayBackends, ..decision };
        }
    }
    decision
}

/// What becomes of a packet to this address after translation, if it is one of the cluster network
/// that leads nowhere. What comes in for one of the node's own addresses is left alone if no Service
/// has that address.
fn stray(intent: &Intent, host: &Host, packet: &Packet, address: IpAddr) -> Option<Verdict> {
    let leaves = packet.enters == Enters::Output || !host.owns(address);
    if is_cluster_ip(intent, address) {
        Some(Verdict::Reject)
    } else if leaves && in_service_cidr(intent, address) {
        Some(Verdict::Drop)
    } else {
        None
    }
}
