//! The Intent's own answer for one packet, in the semantics of either mode.

mod iptables;
mod nftables;

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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
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

/// The dataplane whose rules are written. Both make the same of an Intent wherever it says what is
/// to happen; they differ in what it leaves open, and in gaps of kube-proxy's that iptables mode
/// keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// kube-proxy's rules, in the tables `nat` and `filter`.
    Iptables,
    /// Maps in a table of our own.
    Nftables,
}

impl Mode {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Iptables, Self::Nftables];
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Iptables => "iptables",
            Self::Nftables => "nftables",
        })
    }
}

/// Where a packet goes, by the Intent alone.
///
/// A frontend with the packet's address is asked before a NodePort; a NodePort answers where
/// [`NodePortAccept`] says so, which for the Intent's own address lists is what the rules look at,
/// and for `AnyLocal` the addresses that [`Host::owns`]. A backend that is the packet's own source
/// is always masqueraded. What comes in by an interface and ends at one of the node's own addresses
/// never leaves the node again and so keeps its source, whatever the route says.
///
/// In iptables mode translation comes first, and filtering, with kube-proxy's gaps, only meets what
/// was not translated:
/// - Sources outside a frontend's ranges are dropped only while the Service has endpoints; without
///   any, everybody is rejected.
/// - A frontend that refuses leaves the packet to a NodePort of the same number, if there is one.
/// - The refusals of external IPs, load balancer IPs and NodePorts do not hold for packets that the
///   node sends to other hosts (kube-proxy has no such rule in OUTPUT): they pass.
/// - Those of cluster IPs do not hold for packets that come in for one of the node's own addresses.
/// - Those of NodePorts hold on every address of the node, wherever NodePorts answer; where they do
///   not, Pods and the node are refused along with outside clients.
/// - A wrong port of a cluster IP, and an address that no Service has, pass.
///
/// In nftables mode:
/// - Source ranges come before all else, whether the Service has endpoints or not.
/// - A frontend delivers or refuses, each class of source as its route says, and nothing is asked
///   after it.
/// - NodePorts refuse where they answer, and never answer on loopback, whatever the Intent says: it
///   would take a setting of the kernel that opens loopback to the node's neighbours
///   (CVE-2020-8558).
/// - A wrong port of a cluster IP is rejected, and an address of a ServiceCIDR that no Service has
///   is dropped. So is a backend that is such an address itself, if all backends are; where only
///   some are, the answer still names them all.
///
/// A packet whose source and destination are of different families passes.
#[must_use]
pub fn decide(intent: &Intent, host: &Host, packet: &Packet, mode: Mode) -> Verdict {
    decision(intent, host, packet, mode).verdict
}

/// The rule of the Intent that a verdict comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A frontend delivers.
    Delivered,
    /// A frontend refuses: no endpoint anywhere is usable.
    NoEndpoints,
    /// A frontend refuses: its policy asks for endpoints of this node, and there is none.
    NoLocalEndpoints,
    /// The source lies outside the frontend's ranges.
    SourceRanges,
    /// Somebody else asks for a loopback address.
    LoopbackGuard,
    /// It asks for a health check port.
    HealthCheckPort,
    /// A frontend refuses, but iptables mode has no rule for it on this packet's way.
    RefusalGap,
    /// It asks a cluster IP for a port that its Service does not have.
    WrongPort,
    /// It asks for an address of a ServiceCIDR that no Service has.
    Unallocated,
    /// Every backend is an address of the cluster network that leads nowhere.
    StrayBackends,
    /// It asks for a NodePort where NodePorts do not answer.
    NodePortNotHere,
    /// Source and destination are of different families.
    MixedFamilies,
    /// Nothing of ours is asked for.
    NoFrontend,
}

/// A verdict and where it comes from.
pub(crate) struct Decision<'a> {
    pub(crate) verdict: Verdict,
    pub(crate) cause: Cause,
    /// The frontend that decided, or that would have.
    pub(crate) by: Option<(&'a VirtualServer, &'a Frontend)>,
}

/// As [`decide`], with the cause.
pub(crate) fn decision<'a>(
    intent: &'a Intent,
    host: &Host,
    packet: &Packet,
    mode: Mode,
) -> Decision<'a> {
    if Family::of(packet.source) != Family::of(packet.destination) {
        return Decision { verdict: Verdict::Pass, cause: Cause::MixedFamilies, by: None };
    }
    let met = Met::find(intent, host, packet);
    match mode {
        Mode::Iptables => iptables::decide(intent, host, packet, &met),
        Mode::Nftables => nftables::decide(intent, host, packet, &met),
    }
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
pub(crate) fn servers(
    intent: &Intent,
    destination: IpAddr,
    protocol: Protocol,
) -> impl Iterator<Item = &VirtualServer> {
    let family = Family::of(destination);
    let all = intent.servers.values().flat_map(|servers| servers.iter());
    all.filter(move |server| server.family == family && server.protocol() == protocol)
}

/// Whether a frontend takes packets of this source at all.
pub(crate) fn admits(frontend: &Frontend, source: IpAddr) -> bool {
    let within =
        |ranges: &std::sync::Arc<[model::Cidr]>| ranges.iter().any(|range| range.contains(&source));
    frontend.sources.as_ref().is_none_or(within)
}

/// Whether an address is the cluster IP of a Service.
fn is_cluster_ip(intent: &Intent, address: IpAddr) -> bool {
    let mut servers = intent.servers.values().flat_map(|servers| servers.iter());
    servers.any(|server| {
        let mut frontends = server.frontends.iter();
        frontends.any(|frontend| {
            frontend.kind == FrontendKind::ClusterIP && frontend.address == Some(address)
        })
    })
}

/// Whether cluster IPs are allocated from around an address.
fn in_service_cidr(intent: &Intent, address: IpAddr) -> bool {
    let mut blocks = intent.node.service_cidrs[Family::of(address)].iter();
    blocks.any(|block| block.contains(&address))
}

/// What becomes of a packet on a frontend's route.
fn follow<'a>(
    by: (&'a VirtualServer, &'a Frontend),
    route: Route,
    host: &Host,
    packet: &Packet,
) -> Decision<'a> {
    let (server, _) = by;
    let (pool, masquerade) = match route {
        Route::Deliver { pool, masquerade } => (pool, masquerade),
        Route::Refuse { why, with } => return refused(by, why, with),
    };
    // POSTROUTING sees what leaves by an interface, the loopback interface included.
    let leaves = |to: IpAddr| packet.enters == Enters::Output || !host.owns(to);
    let backends = server.pool(pool).iter().map(|backend| {
        let to = backend.address.ip();
        (backend.address, leaves(to) && (masquerade || to == packet.source))
    });
    let verdict = Verdict::Deliver(backends.collect());
    Decision { verdict, cause: Cause::Delivered, by: Some(by) }
}

fn refused<'a>(by: (&'a VirtualServer, &'a Frontend), why: Refusal, with: Refuse) -> Decision<'a> {
    let verdict = match with {
        Refuse::Reject => Verdict::Reject,
        Refuse::Drop => Verdict::Drop,
    };
    let cause = match why {
        Refusal::NoEndpoints => Cause::NoEndpoints,
        Refusal::NoLocalEndpoints => Cause::NoLocalEndpoints,
    };
    Decision { verdict, cause, by: Some(by) }
}
