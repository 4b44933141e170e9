//! Which flows a change makes stale. The names of the tests name the reports that they keep from
//! coming back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use model::{
    Change, Cluster, Cut, EndpointSlice, Family, Flow, FlowDestination, Host, HostAddress, Owner,
    Protocol, Service, ServicePort, StaleFlows,
};
use proptest::prelude::*;

use super::properties::{any_config, cases, change};
use super::{alpha, config, ip, load_balancer, named, owner, service, slice};
use crate::{Flows, Intent, NodePortAccept, Planner, Route, SourceClass, VirtualServer, endpoints};

/// A node whose flows are followed from change to change.
struct Node {
    cluster: Cluster,
    planner: Planner,
    flows: Flows,
}

impl Node {
    /// Alpha with these facts and the addresses 10.9.0.1 and 127.0.0.1, its flows known.
    fn new(changes: impl IntoIterator<Item = Change>) -> Self {
        let mut node = Self {
            cluster: Cluster::default(),
            planner: Planner::new(config()),
            flows: Flows::default(),
        };
        let own = [alpha(), host(&["10.9.0.1", "127.0.0.1"])];
        node.take(own.into_iter().chain(changes));
        node
    }

    fn take(&mut self, changes: impl IntoIterator<Item = Change>) -> Vec<StaleFlows> {
        let mut owners = BTreeSet::new();
        for change in changes {
            owners.extend(self.cluster.apply(change));
        }
        owners.extend(self.planner.update(&self.cluster, &owners));
        self.flows.update(&self.cluster, self.planner.intent(), &owners)
    }
}

fn host(addresses: &[&str]) -> Change {
    let own = |text: &&str| HostAddress { address: ip(text), interface: "eth0".into() };
    Change::Host(Host {
        addresses: addresses.iter().map(own).collect(),
        conntrack_be_liberal: false,
    })
}

/// The Service `ns/dns` at 10.88.0.10, port 53 of a protocol.
fn dns(protocol: Protocol) -> Service {
    let port = ServicePort { protocol, port: 53, ..super::port("", 53) };
    Service { ports: vec![port], ..service("ns/dns", &["10.88.0.10"]) }
}

/// The same with a NodePort, an external IP and a load balancer.
fn reachable(protocol: Protocol) -> Service {
    let port = ServicePort { protocol, node_port: Some(30053), ..super::port("", 53) };
    Service {
        ports: vec![port],
        external_ips: vec![ip("192.0.2.7")],
        ..load_balancer("ns/dns", "10.88.0.10", "203.0.113.9")
    }
}

/// Its endpoints, at port 5353.
fn eps(protocol: Protocol, endpoints: &[&str]) -> Change {
    let mut slice: EndpointSlice = slice("ns/dns", "1", 5353, endpoints);
    slice.ports[0].protocol = protocol;
    Change::Slice(slice)
}

fn flow(protocol: Protocol, to: &str, from: &str) -> Flow {
    Flow {
        protocol,
        destination: to.parse().unwrap(),
        answers_from: from.parse().unwrap(),
        half_open: false,
    }
}

fn half_open(protocol: Protocol, to: &str, from: &str) -> Flow {
    Flow { half_open: true, ..flow(protocol, to, from) }
}

fn gone(stale: &[StaleFlows], flow: &Flow) -> bool {
    stale.iter().any(|stale| stale.hold(flow))
}

const VIP: &str = "10.88.0.10:53";
const A: &str = "10.77.2.5:5353";
const B: &str = "10.77.2.6:5353";
use Protocol::{Sctp, Tcp, Udp};

#[test]
fn a1_zero_endpoints_keep_no_udp_flow() {
    let mut node = Node::new([Change::Service(dns(Udp)), eps(Udp, &["10.77.2.5 R"])]);
    let stale = node.take([eps(Udp, &[])]);
    assert_eq!(stale.len(), 1);
    assert!(stale[0].keep.is_empty());
    assert!(gone(&stale, &flow(Udp, VIP, A)));
    assert!(!gone(&stale, &flow(Udp, "10.88.0.11:53", A)), "another destination");
    assert!(!gone(&stale, &flow(Udp, "10.88.0.10:54", A)), "another port");
    assert!(!gone(&stale, &flow(Tcp, VIP, A)), "another protocol");
}

#[test]
fn a2_deleted_service_keeps_no_udp_flow() {
    let mut node = Node::new([Change::Service(reachable(Udp)), eps(Udp, &["10.77.2.5 R"])]);
    let stale = node.take([Change::ServiceGone(named("ns/dns"))]);
    for to in [VIP, "192.0.2.7:53", "203.0.113.9:53", "10.9.0.1:30053", "127.0.0.9:30053"] {
        assert!(gone(&stale, &flow(Udp, to, A)), "{to}");
        // Nobody translates these now, so they are as they should be.
        assert!(!gone(&stale, &flow(Udp, to, to)), "{to}");
    }
    assert!(!gone(&stale, &flow(Udp, "10.9.0.2:30053", A)), "another host's address");
}

/// The slice may go before the Service does, or after.
#[test]
fn a2_in_either_order() {
    for slice_first in [true, false] {
        let mut node = Node::new([Change::Service(dns(Udp)), eps(Udp, &["10.77.2.5 R"])]);
        let mut changes =
            vec![Change::ServiceGone(named("ns/dns")), Change::SliceGone(named("ns/dns-1"))];
        if slice_first {
            changes.reverse();
        }
        let first = node.take(changes.drain(..1));
        assert!(gone(&first, &flow(Udp, VIP, A)), "{slice_first}");
        node.take(changes);
    }
}

#[test]
fn a3_untranslated_flows_go_when_an_endpoint_becomes_ready() {
    let mut node = Node::new([Change::Service(dns(Udp)), eps(Udp, &["10.77.2.5 N"])]);
    let stale = node.take([eps(Udp, &["10.77.2.5 R"])]);
    assert!(gone(&stale, &flow(Udp, VIP, VIP)));
    assert!(!gone(&stale, &flow(Udp, VIP, A)));
    // Serving, but not ready and not terminating: it takes no new connection, so nothing opens.
    let mut node = Node::new([Change::Service(dns(Udp)), eps(Udp, &["10.77.2.5 S"])]);
    let stale = node.take([eps(Udp, &["10.77.2.5 R"])]);
    assert!(gone(&stale, &flow(Udp, VIP, VIP)));
}

#[test]
fn a3_untranslated_flows_go_when_a_service_or_an_address_appears() {
    let mut node = Node::new([eps(Udp, &["10.77.2.5 R"])]);
    let stale = node.take([Change::Service(dns(Udp))]);
    assert!(gone(&stale, &flow(Udp, VIP, VIP)));
    let stale = node.take([Change::Service(reachable(Udp))]);
    for to in ["192.0.2.7:53", "203.0.113.9:53", "10.9.0.1:30053"] {
        assert!(gone(&stale, &flow(Udp, to, to)), "{to}");
        assert!(!gone(&stale, &flow(Udp, to, A)), "{to}");
    }
    assert!(!gone(&stale, &flow(Udp, VIP, VIP)), "the cluster IP did not change");
}

#[test]
fn a4_restart_keeps_what_is_still_right() {
    let node = Node::new([Change::Service(reachable(Udp)), eps(Udp, &["10.77.2.5 R"])]);
    let mut restarted = Flows::default();
    let owners = [owner("ns/dns"), Owner::Node].into();
    let stale = restarted.update(&node.cluster, node.planner.intent(), &owners);
    for to in [VIP, "192.0.2.7:53", "203.0.113.9:53", "10.9.0.1:30053"] {
        assert!(!gone(&stale, &flow(Udp, to, A)), "{to}");
        assert!(gone(&stale, &flow(Udp, to, B)), "{to}");
        assert!(gone(&stale, &flow(Udp, to, to)), "{to}");
    }
    assert_eq!(restarted.update(&node.cluster, node.planner.intent(), &owners), []);
}

#[test]
fn a6_every_kind_of_frontend_loses_the_flows_of_a_gone_endpoint() {
    let both = ["10.77.2.5 R", "10.77.2.6 R"];
    let mut node = Node::new([Change::Service(reachable(Udp)), eps(Udp, &both)]);
    let stale = node.take([eps(Udp, &["10.77.2.6 R"])]);
    assert_eq!(stale.len(), 4);
    for to in [VIP, "192.0.2.7:53", "203.0.113.9:53", "10.9.0.1:30053", "127.0.0.1:30053"] {
        assert!(gone(&stale, &flow(Udp, to, A)), "{to}");
        assert!(!gone(&stale, &flow(Udp, to, B)), "{to}");
    }
    assert!(!gone(&stale, &flow(Udp, "10.9.0.2:30053", A)), "another host's address");
}

#[test]
fn a8_tcp_loses_half_open_flows_to_gone_endpoints_alone() {
    let both = ["10.77.2.5 R", "10.77.2.6 R"];
    let mut node = Node::new([Change::Service(dns(Tcp)), eps(Tcp, &both)]);
    assert_eq!(node.take([eps(Tcp, &["10.77.2.5 T", "10.77.2.6 R"])]), []);
    assert_eq!(node.take([eps(Tcp, &["10.77.2.5 X", "10.77.2.6 R"])]), []);
    let stale = node.take([eps(Tcp, &["10.77.2.6 R"])]);
    assert!(gone(&stale, &half_open(Tcp, VIP, A)));
    assert!(!gone(&stale, &half_open(Tcp, VIP, B)));
    assert!(!gone(&stale, &flow(Tcp, VIP, A)), "an established connection drains by itself");
}

#[test]
fn a8_sctp_goes_once_the_endpoint_is_gone_and_not_before() {
    let mut node = Node::new([Change::Service(dns(Sctp)), eps(Sctp, &["10.77.2.5 R"])]);
    assert_eq!(node.take([eps(Sctp, &["10.77.2.5 T"])]), []);
    let stale = node.take([eps(Sctp, &["10.77.2.5 X"])]);
    assert!(!gone(&stale, &flow(Sctp, VIP, A)));
    assert!(gone(&node.take([eps(Sctp, &[])]), &flow(Sctp, VIP, A)));
    let stale = node.take([eps(Sctp, &["10.77.2.6 R"])]);
    assert!(gone(&stale, &flow(Sctp, VIP, A)));
    assert!(!gone(&stale, &flow(Sctp, VIP, B)));
    assert!(!gone(&stale, &flow(Sctp, VIP, VIP)), "an association that does without us");
    assert!(gone(&stale, &half_open(Sctp, VIP, VIP)));
}

/// More endpoints keep their UDP flows than take new ones.
#[test]
fn udp_flows_stay_with_endpoints_that_serve() {
    let all = ["10.77.2.5 R", "10.77.2.6 R", "10.77.2.7 R", "10.77.2.8 R"];
    let mut node = Node::new([Change::Service(dns(Udp)), eps(Udp, &all)]);
    let stale =
        node.take([eps(Udp, &["10.77.2.5 T", "10.77.2.6 S", "10.77.2.7 X", "10.77.2.8 R"])]);
    assert!(!gone(&stale, &flow(Udp, VIP, A)), "terminating, serving");
    assert!(!gone(&stale, &flow(Udp, VIP, B)), "not ready, serving");
    assert!(gone(&stale, &flow(Udp, VIP, "10.77.2.7:5353")), "terminating, not serving");
    // It leaves no pool here, so no rule changes; its flows must go all the same.
    let stale = node.take([eps(Udp, &["10.77.2.5 X", "10.77.2.6 S", "10.77.2.8 R"])]);
    assert!(gone(&stale, &flow(Udp, VIP, A)));
    assert!(!gone(&stale, &flow(Udp, VIP, B)));
}

#[test]
fn a_moved_target_port_makes_flows_stale() {
    let mut node = Node::new([Change::Service(dns(Udp)), eps(Udp, &["10.77.2.5 R"])]);
    let mut moved = slice("ns/dns", "1", 5354, &["10.77.2.5 R"]);
    moved.ports[0].protocol = Udp;
    let stale = node.take([Change::Slice(moved)]);
    assert!(gone(&stale, &flow(Udp, VIP, A)));
    assert!(!gone(&stale, &flow(Udp, VIP, "10.77.2.5:5354")));
}

#[test]
fn a_new_endpoint_makes_nothing_stale() {
    let mut node = Node::new([Change::Service(reachable(Udp)), eps(Udp, &["10.77.2.5 R"])]);
    assert_eq!(node.take([eps(Udp, &["10.77.2.5 R", "10.77.2.6 R"])]), []);
}

#[test]
fn node_ports_follow_the_addresses_of_the_node() {
    let mut node = Node::new([Change::Service(reachable(Udp)), eps(Udp, &["10.77.2.5 R"])]);
    let stale = node.take([host(&["10.9.0.7", "127.0.0.1"])]);
    let (new, old) = ("10.9.0.7:30053", "10.9.0.1:30053");
    assert!(gone(&stale, &flow(Udp, new, new)));
    assert!(!gone(&stale, &flow(Udp, new, A)));
    assert!(gone(&stale, &flow(Udp, old, A)));
    assert!(!gone(&stale, &flow(Udp, old, old)));
    assert!(!gone(&stale, &flow(Udp, "127.0.0.1:30053", "127.0.0.1:30053")), "it stayed");
}

/// An external IP may be the node's own address: its Service's flows are not the NodePort's.
#[test]
fn an_address_of_its_own_comes_before_the_node_port() {
    let port = ServicePort { protocol: Udp, ..super::port("", 30053) };
    let covering = Service {
        ports: vec![port],
        external_ips: vec![ip("10.9.0.1")],
        ..service("ns/other", &["10.88.0.11"])
    };
    let mut other = slice("ns/other", "1", 5353, &["10.77.2.6 R"]);
    other.ports[0].protocol = Udp;
    let mut node = Node::new([
        Change::Service(reachable(Udp)),
        eps(Udp, &["10.77.2.5 R"]),
        Change::Service(covering),
        Change::Slice(other),
    ]);
    let stale = node.take([eps(Udp, &["10.77.2.7 R"])]);
    assert!(!gone(&stale, &flow(Udp, "10.9.0.1:30053", B)));
    assert!(gone(&stale, &flow(Udp, "127.0.0.1:30053", B)));
    // When that Service goes, the NodePort answers on the address again.
    let stale = node.take([Change::ServiceGone(named("ns/other"))]);
    assert!(gone(&stale, &flow(Udp, "10.9.0.1:30053", B)));
    assert!(!gone(&stale, &flow(Udp, "10.9.0.1:30053", "10.77.2.7:5353")));
}

/// An address that moves from one Service to another keeps the flows that the other allows.
#[test]
fn an_address_that_changes_hands_keeps_what_the_new_owner_allows() {
    let with_ip = |name: &str, cluster_ip: &str| Service {
        ports: vec![ServicePort { protocol: Udp, ..super::port("", 53) }],
        external_ips: vec![ip("192.0.2.7")],
        ..service(name, &[cluster_ip])
    };
    let endpoints = |name: &str, endpoints: &[&str]| {
        let mut slice = slice(name, "1", 5353, endpoints);
        slice.ports[0].protocol = Udp;
        Change::Slice(slice)
    };
    let mut node = Node::new([
        Change::Service(with_ip("ns/a", "10.88.0.1")),
        endpoints("ns/a", &["10.77.2.5 R", "10.77.2.6 R"]),
        Change::Service(with_ip("ns/b", "10.88.0.2")),
        endpoints("ns/b", &["10.77.2.6 R"]),
    ]);
    let stale = node.take([Change::ServiceGone(named("ns/a"))]);
    assert!(gone(&stale, &flow(Udp, "192.0.2.7:53", A)));
    assert!(!gone(&stale, &flow(Udp, "192.0.2.7:53", B)));
    assert!(gone(&stale, &flow(Udp, "10.88.0.1:53", B)));
}

#[test]
fn the_list_is_sorted_and_says_what_goes() {
    let mut node = Node::new([Change::Service(reachable(Udp)), eps(Udp, &["10.77.2.5 R"])]);
    let stale = node.take([eps(Udp, &[])]);
    let destinations: Vec<&FlowDestination> = stale.iter().map(|one| &one.destination).collect();
    let node_port =
        FlowDestination::NodePort(BTreeSet::from([ip("10.9.0.1"), ip("127.0.0.1")]).into());
    let address = |text| FlowDestination::Address(ip(text));
    let expected = [address("10.88.0.10"), address("192.0.2.7"), address("203.0.113.9"), node_port];
    assert_eq!(destinations, expected.iter().collect::<Vec<_>>());
    assert!(stale.iter().all(|one| (one.translated, one.untranslated) == (Cut::All, Cut::All)));
}

type Place = (Protocol, Option<IpAddr>, u16, Family);

/// Who answers where, by another way than [`Flows`]: looked up in the Intent flow by flow.
struct Answers<'a> {
    cluster: &'a Cluster,
    intent: &'a Intent,
    frontends: BTreeMap<Place, (&'a VirtualServer, bool)>,
}

impl<'a> Answers<'a> {
    fn new(cluster: &'a Cluster, intent: &'a Intent) -> Self {
        let mut frontends = BTreeMap::new();
        for server in intent.servers.values().flat_map(|servers| servers.iter()) {
            for frontend in &server.frontends {
                let refused = |class| matches!(frontend.routes[class], Route::Refuse { .. });
                let shut = [SourceClass::Pod, SourceClass::Node, SourceClass::Outside];
                let key = (server.protocol(), frontend.address, frontend.port, server.family);
                frontends.insert(key, (server, shut.into_iter().all(refused)));
            }
        }
        Self { cluster, intent, frontends }
    }

    fn server(&self, flow: &Flow) -> Option<(&'a VirtualServer, bool)> {
        let (address, port) = (flow.destination.ip(), flow.destination.port());
        let family = Family::of(address);
        let of_node = match &self.intent.node.node_ports[family] {
            NodePortAccept::Addresses(set) => set.contains(&address),
            NodePortAccept::AnyLocal { loopback } => {
                let own = self.cluster.host().addresses.iter();
                own.map(|own| own.address).any(|own| own == address)
                    && (*loopback || !address.is_loopback())
            }
        };
        let at = |address| self.frontends.get(&(flow.protocol, address, port, family)).copied();
        at(Some(address)).or_else(|| at(None).filter(|_| of_node))
    }

    fn keeps(&self, server: &VirtualServer, flow: &Flow) -> bool {
        let slices: Vec<_> = self.cluster.slices(&server.name.service).map(AsRef::as_ref).collect();
        let all = endpoints::endpoints(
            &slices,
            &server.name.port,
            flow.protocol,
            Family::of(flow.destination.ip()),
        );
        all.iter().any(|candidate| {
            candidate.address == flow.answers_from
                && (flow.protocol != Udp || candidate.endpoint.serving || candidate.endpoint.ready)
        })
    }

    /// Whether a flow may begin now.
    fn may_begin(&self, flow: &Flow) -> bool {
        match self.server(flow) {
            None => true,
            Some((server, shut)) => {
                let untranslated = flow.answers_from == flow.destination;
                self.keeps(server, flow) || (untranslated && shut)
            }
        }
    }

    /// Whether a flow may go on that was right before; `None` where it does not matter, for no
    /// packet of it gets anywhere.
    fn may_go_on(&self, flow: &Flow, before: bool, shut_before: bool) -> Option<bool> {
        let untranslated = flow.answers_from == flow.destination;
        let handshake = flow.half_open || flow.protocol == Udp;
        match self.server(flow) {
            None if untranslated => Some(true),
            None => Some(!before || (flow.protocol == Tcp && !handshake)),
            Some((_, true)) if untranslated && shut_before => None,
            Some((_, _)) if untranslated && !handshake => Some(true),
            Some((_, _)) if flow.protocol == Tcp && !handshake => Some(true),
            Some((server, _)) => Some(self.keeps(server, flow)),
        }
    }
}

/// Every flow that the generated clusters could give rise to.
fn all_flows() -> Vec<Flow> {
    let mut all = Vec::new();
    let destinations = ["10.88.0.1", "10.88.0.2", "10.88.0.3", "10.9.0.1", "127.0.0.1", "fd88::1"];
    for destination in destinations.map(ip) {
        let endpoints: &[&str] = match Family::of(destination) {
            Family::V4 => &["10.77.1.1", "10.77.1.2", "10.77.1.3", "10.77.1.4"],
            Family::V6 => &["fd77::1", "fd77::2"],
        };
        for (port, protocol) in
            [80, 81, 30080].into_iter().flat_map(|p| Protocol::ALL.map(|q| (p, q)))
        {
            let destination = SocketAddr::new(destination, port);
            let ends = endpoints.iter().map(|text| ip(text));
            let answers = ends.flat_map(|ip| [80, 8080].map(|port| SocketAddr::new(ip, port)));
            for answers_from in answers.chain([destination]) {
                let flow = Flow { protocol, destination, answers_from, half_open: false };
                all.push(flow);
                if protocol != Udp {
                    all.push(Flow { half_open: true, ..flow });
                }
            }
        }
    }
    all
}

proptest! {
    #![proptest_config(cases())]

    /// After any changes, of all flows that could be there exactly those remain that may go on.
    #[test]
    fn what_remains_is_what_may_go_on(
        config in any_config(),
        batches in prop::collection::vec(prop::collection::vec(change(), 1..5), 1..10),
    ) {
        let universe = all_flows();
        let mut cluster = Cluster::default();
        let mut planner = Planner::new(config);
        let mut flows = Flows::default();
        let mut table: BTreeSet<Flow> = universe.iter().copied().collect();
        let mut before: BTreeMap<Flow, bool> = BTreeMap::new();
        for batch in batches {
            let mut owners = BTreeSet::from([Owner::Node]);
            for change in batch {
                owners.extend(cluster.apply(change));
            }
            owners.extend(planner.update(&cluster, &owners));
            let stale = flows.update(&cluster, planner.intent(), &owners);
            let after = Answers::new(&cluster, planner.intent());
            for flow in &table {
                let was = before.get(flow);
                let shut = was.copied().unwrap_or_default();
                if let Some(may) = after.may_go_on(flow, was.is_some(), shut) {
                    prop_assert_eq!(!gone(&stale, flow), may, "{:?} {:#?}", flow, stale);
                }
            }
            table.retain(|flow| !gone(&stale, flow));
            table.extend(universe.iter().filter(|flow| after.may_begin(flow)));
            before = universe
                .iter()
                .filter_map(|flow| after.server(flow).map(|(_, shut)| (*flow, shut)))
                .collect();
        }
    }
}
