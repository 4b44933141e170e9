//! In iptables mode: translation first, then filtering with kube-proxy's gaps.

use model::{Family, Host, Protocol};
use plan::{Frontend, FrontendKind, Intent, Refusal, Route, VirtualServer};

use super::{
    Cause, Decision, Met, Verdict, admits, follow, in_service_cidr, is_cluster_ip, refused,
    source_class,
};
use crate::{Enters, Packet};

pub(super) fn decide<'a>(
    intent: &Intent,
    host: &Host,
    packet: &Packet,
    met: &Met<'a>,
) -> Decision<'a> {
    let class = source_class(intent, host, packet);
    let translated = [met.addressed, met.node_port.filter(|_| met.node_ports_answer)];
    let delivering = translated.into_iter().flatten().find(|(_, frontend)| {
        matches!(frontend.routes[class], Route::Deliver { .. }) && admits(frontend, packet.source)
    });
    match delivering {
        Some(by) => follow(by, by.1.routes[class], host, packet),
        None => filter(intent, host, packet, met),
    }
}

/// What the filter chains do with a packet that was not translated.
fn filter<'a>(intent: &Intent, host: &Host, packet: &Packet, met: &Met<'a>) -> Decision<'a> {
    let sent = packet.enters == Enters::Output;
    let own = host.owns(packet.destination);
    let v4 = packet.destination.is_ipv4();
    // KUBE-FIREWALL, in INPUT and OUTPUT: keeps others away from loopback addresses.
    let guarded = intent.node.localhost_node_ports && v4 && packet.destination.is_loopback();
    if guarded && !packet.source.is_loopback() {
        return Decision { verdict: Verdict::Drop, cause: Cause::LoopbackGuard, by: None };
    }
    // KUBE-PROXY-FIREWALL, in INPUT, OUTPUT and FORWARD.
    let fenced = |frontend: &Frontend| frontend.sources.is_some() && has_endpoints(frontend);
    if let Some(by) = met.addressed.filter(|(_, frontend)| fenced(frontend)) {
        let admitted = admits(by.1, packet.source);
        let cause = if admitted { Cause::NoLocalEndpoints } else { Cause::SourceRanges };
        return Decision { verdict: Verdict::Drop, cause, by: Some(by) };
    }
    // KUBE-SERVICES, in OUTPUT and FORWARD; KUBE-EXTERNAL-SERVICES, in INPUT and FORWARD. What the
    // node sends to itself goes through OUTPUT, then INPUT.
    let (in_services, in_external) = (sent || !own, own || !sent);
    if in_services
        && let Some(by) = met.addressed
        && by.1.kind == FrontendKind::ClusterIP
        && let Some(decision) = refusal(by)
    {
        return decision;
    }
    // KUBE-NODEPORTS, in INPUT: admits what asks for a health check port.
    if own && is_health_check(intent, packet) {
        return Decision { verdict: Verdict::Pass, cause: Cause::HealthCheckPort, by: None };
    }
    let external = met.addressed.filter(|(_, frontend)| frontend.kind != FrontendKind::ClusterIP);
    let mut refusing: Vec<_> =
        [external, met.node_port.filter(|_| own)].into_iter().flatten().collect();
    // Rules stand in the order of the Service ports' names.
    refusing.sort_by_key(|(server, _)| &server.name);
    let refused = refusing.into_iter().find_map(refusal);
    refused.filter(|_| in_external).unwrap_or_else(|| passed(intent, packet, met))
}

/// Why nothing touches a packet.
fn passed<'a>(intent: &Intent, packet: &Packet, met: &Met<'a>) -> Decision<'a> {
    let node_port = met.node_port.filter(|_| met.node_ports_answer);
    let gap = met.addressed.or(node_port).filter(|&by| refusal(by).is_some());
    let (cause, by) = if gap.is_some() {
        (Cause::RefusalGap, gap)
    } else if met.node_port.is_some() && !met.node_ports_answer {
        (Cause::NodePortNotHere, met.node_port)
    } else if is_cluster_ip(intent, packet.destination) {
        (Cause::WrongPort, None)
    } else if in_service_cidr(intent, packet.destination) {
        (Cause::Unallocated, None)
    } else {
        (Cause::NoFrontend, None)
    };
    Decision { verdict: Verdict::Pass, cause, by }
}

/// Whether the Service port behind a frontend has any endpoint.
fn has_endpoints(frontend: &Frontend) -> bool {
    !matches!(frontend.routes.node, Route::Refuse { why: Refusal::NoEndpoints, .. })
}

/// How a frontend refuses what was not translated. The rule knows no classes: it is there where
/// outside clients are refused, and then meets everybody who gets that far.
fn refusal<'a>(by: (&'a VirtualServer, &'a Frontend)) -> Option<Decision<'a>> {
    match by.1.routes.outside {
        Route::Deliver { .. } => None,
        Route::Refuse { why, with } => Some(refused(by, why, with)),
    }
}

fn is_health_check(intent: &Intent, packet: &Packet) -> bool {
    packet.protocol == Protocol::Tcp
        && intent
            .servers
            .values()
            .flat_map(|servers| servers.iter())
            .filter(|server| server.family == Family::of(packet.destination))
            .any(|server| server.health_check_node_port == Some(packet.port))
}
