//! The Intent's own answer for one packet, in the semantics of iptables mode.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use model::{Family, Host, Protocol};
use plan::{
    Frontend, FrontendKind, Intent, LocalTraffic, NodePortAccept, Refusal, Refuse, Route,
    SourceClass, VirtualServer,
};
use serde::Serialize;

use crate::{Enters, Packet};

/// What becomes of the first packet of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Verdict {
    /// It goes to one of these backends, each with the word whether its source is replaced.
    Deliver(BTreeMap<SocketAddr, bool>),
    /// The sender gets an ICMP port unreachable at once.
    Reject,
    /// Silence.
    Drop,
    /// No rule of ours touches it: it goes on as the host's routing has it.
    Pass,
}

impl fmt::Display for Verdict {
    /// One line: `DELIVER 10.0.0.1:80 10.0.0.2:80+masquerade`, `REJECT`, `DROP` or `PASS`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deliver(backends) => {
                f.write_str("DELIVER")?;
                backends.iter().try_for_each(|(backend, masqueraded)| {
                    write!(f, " {backend}{}", if *masqueraded { "+masquerade" } else { "" })
                })
            }
            Self::Reject => f.write_str("REJECT"),
            Self::Drop => f.write_str("DROP"),
            Self::Pass => f.write_str("PASS"),
        }
    }
}

/// Which class of source a packet belongs to: a Pod where the Intent can tell, else the node where
/// the source is one of its own addresses (127.0.0.0/8 and ::1 included), else outside. A packet
/// that the node itself sends came in by no interface, so only its source can make it a Pod's.
#[must_use]
pub fn source_class(intent: &Intent, host: &Host, packet: &Packet) -> SourceClass {
    let pod = match (&intent.node.local_traffic[Family::of(packet.destination)], &packet.enters) {
        (LocalTraffic::Source(block), _) => block.contains(&packet.source),
        (LocalTraffic::Interface(name), Enters::Interface(by)) => name == by,
        (LocalTraffic::InterfacePrefix(prefix), Enters::Interface(by)) => by.starts_with(&**prefix),
        _ => false,
    };
    if pod {
        SourceClass::Pod
    } else if host.owns(packet.source) {
        SourceClass::Node
    } else {
        SourceClass::Outside
    }
}

/// Where a packet goes, by the Intent alone.
///
/// Translation comes first, filtering only meets what was not translated. A frontend with the
/// packet's address is asked before a NodePort; a NodePort answers where [`NodePortAccept`] says so,
/// which for the Intent's own address lists is what the rules of iptables mode look at (`-d`), and
/// for `AnyLocal` the addresses that [`Host::owns`]. A backend that is the packet's own source is
/// always masqueraded. What comes in by an interface and ends at one of the node's own addresses
/// never leaves the node again and so keeps its source, whatever the route says.
///
/// What is not translated is then dropped or rejected as iptables mode does, with its gaps:
/// - Sources outside a frontend's ranges are dropped only while the Service has endpoints; without
///   any, everybody is rejected. nftables mode drops them in either case, before all else.
/// - The refusals of external IPs, load balancer IPs and NodePorts do not hold for packets that the
///   node sends to other hosts (kube-proxy has no such rule in OUTPUT): they pass. nftables mode
///   refuses them.
/// - Those of cluster IPs do not hold for packets that come in for one of the node's own addresses.
/// - Those of NodePorts hold on every address of the node, wherever NodePorts answer; where they do
///   not, Pods and the node are refused along with outside clients. nftables mode refuses only where
///   NodePorts answer.
/// - A wrong port of a cluster IP, and an address that no Service has, pass. nftables mode rejects
///   the one and drops the other.
///
/// A packet whose source and destination are of different families passes.
#[must_use]
pub fn decide(intent: &Intent, host: &Host, packet: &Packet) -> Verdict {
    if Family::of(packet.source) != Family::of(packet.destination) {
        return Verdict::Pass;
    }
    let class = source_class(intent, host, packet);
    let met = Met::find(intent, host, packet);
    let translated = [met.addressed, met.node_port.filter(|_| met.node_ports_answer)];
    let mut delivered = translated
        .into_iter()
        .flatten()
        .filter_map(|(server, frontend)| deliver(server, frontend, class, packet, host));
    if let Some(verdict) = delivered.next() {
        return verdict;
    }
    filter(intent, host, packet, &met)
}

/// The frontends that a packet meets.
struct Met<'a> {
    /// The one with its destination address.
    addressed: Option<(&'a VirtualServer, &'a Frontend)>,
    /// The NodePort with its destination port, whether NodePorts answer or not.
    node_port: Option<(&'a VirtualServer, &'a Frontend)>,
    /// Whether NodePorts answer on its destination.
    node_ports_answer: bool,
}

impl<'a> Met<'a> {
    fn find(intent: &'a Intent, host: &Host, packet: &Packet) -> Self {
        let find = |address: Option<IpAddr>| {
            servers(intent, packet.destination, packet.protocol).find_map(|server| {
                let mut frontends = server.frontends.iter();
                frontends
                    .find(|frontend| frontend.address == address && frontend.port == packet.port)
                    .map(|frontend| (server, frontend))
            })
        };
        let destination = packet.destination;
        let node_ports_answer = match &intent.node.node_ports[Family::of(destination)] {
            NodePortAccept::AnyLocal { loopback } => {
                host.owns(destination) && (*loopback || !destination.is_loopback())
            }
            NodePortAccept::Addresses(accepted) => accepted.contains(&destination),
        };
        Self { addressed: find(Some(destination)), node_port: find(None), node_ports_answer }
    }
}

/// The virtual servers of a destination's family and a protocol.
fn servers(
    intent: &Intent,
    destination: IpAddr,
    protocol: Protocol,
) -> impl Iterator<Item = &VirtualServer> {
    let family = Family::of(destination);
    let all = intent.servers.values().flat_map(|servers| servers.iter());
    all.filter(move |server| server.family == family && server.protocol() == protocol)
}

/// The translation at one frontend, if it takes the packet at all.
fn deliver(
    server: &VirtualServer,
    frontend: &Frontend,
    class: SourceClass,
    packet: &Packet,
    host: &Host,
) -> Option<Verdict> {
    let source = packet.source;
    let admitted = frontend
        .sources
        .as_ref()
        .is_none_or(|ranges| ranges.iter().any(|range| range.contains(&source)));
    let Route::Deliver { pool, masquerade } = frontend.routes[class] else { return None };
    // POSTROUTING sees what leaves by an interface, the loopback interface included.
    let leaves = |to: IpAddr| packet.enters == Enters::Output || !host.owns(to);
    let backends = server.pool(pool).iter().map(|backend| {
        let to = backend.address.ip();
        (backend.address, leaves(to) && (masquerade || to == source))
    });
    admitted.then(|| Verdict::Deliver(backends.collect()))
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
