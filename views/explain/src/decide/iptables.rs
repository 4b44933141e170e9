//! In iptables mode: translation first, then filtering with kube-proxy's gaps.

use model::{Family, Host, Protocol};
use plan::{Frontend, FrontendKind, Intent, Refusal, Refuse, Route};

use super::{Met, Verdict, admits, follow, source_class};
use crate::{Enters, Packet};

pub(super) fn decide(intent: &Intent, host: &Host, packet: &Packet, met: &Met<'_>) -> Verdict {
    let class = source_class(intent, host, packet);
    let translated = [met.addressed, met.node_port.filter(|_| met.node_ports_answer)];
    let delivering = translated.into_iter().flatten().find(|(_, frontend)| {
        matches!(frontend.routes[class], Route::Deliver { .. }) && admits(frontend, packet.source)
    });
    match delivering {
        Some((server, frontend)) => follow(server, frontend.routes[class], host, packet),
        None => filter(intent, host, packet, met),
    }
}

/// What the filter chains do with a packet that was not translated.
fn filter(intent: &Intent, host: &Host, packet: &Packet, met: &Met<'_>) -> Verdict {
    let sent = packet.enters == Enters::Output;
    let own = host.owns(packet.destination);
    let v4 = packet.destination.is_ipv4();
    // KUBE-FIREWALL, in INPUT and OUTPUT: keeps others away from loopback addresses.
    let guarded = intent.node.localhost_node_ports && v4 && packet.destination.is_loopback();
    if guarded && !packet.source.is_loopback() {
        return Verdict::Drop;
    }
    // KUBE-PROXY-FIREWALL, in INPUT, OUTPUT and FORWARD.
    let fenced = |frontend: &Frontend| frontend.sources.is_some() && has_endpoints(frontend);
    if met.addressed.is_some_and(|(_, frontend)| fenced(frontend)) {
        return Verdict::Drop;
    }
    // KUBE-SERVICES, in OUTPUT and FORWARD; KUBE-EXTERNAL-SERVICES, in INPUT and FORWARD. What the
    // node sends to itself goes through OUTPUT, then INPUT.
    let (in_services, in_external) = (sent || !own, own || !sent);
    if in_services
        && let Some((_, frontend)) = met.addressed
        && frontend.kind == FrontendKind::ClusterIP
        && let Some(verdict) = refusal(frontend)
    {
        return verdict;
    }
    // KUBE-NODEPORTS, in INPUT: admits what asks for a health check port.
    if own && is_health_check(intent, packet) {
        return Verdict::Pass;
    }
    let external = met.addressed.filter(|(_, frontend)| frontend.kind != FrontendKind::ClusterIP);
    let mut refusing: Vec<_> =
        [external, met.node_port.filter(|_| own)].into_iter().flatten().collect();
    // Rules stand in the order of the Service ports' names.
    refusing.sort_by_key(|(server, _)| &server.name);
    let refused = refusing.into_iter().find_map(|(_, frontend)| refusal(frontend));
    refused.filter(|_| in_external).unwrap_or(Verdict::Pass)
}

/// Whether the Service port behind a frontend has any endpoint.
fn has_endpoints(frontend: &Frontend) -> bool {
    !matches!(frontend.routes.node, Route::Refuse { why: Refusal::NoEndpoints, .. })
}

/// How a frontend refuses what was not translated. The rule knows no classes: it is there where
/// outside clients are refused, and then meets everybody who gets that far.
fn refusal(frontend: &Frontend) -> Option<Verdict> {
    match frontend.routes.outside {
        Route::Deliver { .. } => None,
        Route::Refuse { with: Refuse::Reject, .. } => Some(Verdict::Reject),
        Route::Refuse { with: Refuse::Drop, .. } => Some(Verdict::Drop),
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
