//! The Intent's answer and the way through the rendered rules, for packets and Services at random.

#![allow(clippy::unwrap_used, clippy::panic)]

#[allow(dead_code)]
mod fixture;

use std::net::IpAddr;

use explain::{Enters, Mode, Packet, Verdict, decide, trace_iptables, trace_nftables};
use fixture::{
    ALT_NODE, BLOCKED, CLIENT, NODE, NODE_V6, POD, World, cidr, config, everywhere, ip, port, slice,
};
use model::{
    Affinity, Change, IngressMode, LoadBalancerIngress, Protocol, Service, ServiceCidr, ServiceType,
};
use model::{Family, TrafficPolicy};
use plan::{Config, DetectLocal, FrontendKind, NodePortAddresses, OnNoLocalEndpoints};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use render::{iptables, nftables};

/// Addresses that Services claim and packets go to, the node's own among them.
const SERVED: [&str; 8] = [
    "172.30.0.41",
    "172.30.0.42",
    "1.2.3.4",
    "192.168.99.22",
    NODE,
    ALT_NODE,
    "fd00:172:30::41",
    "2001:db8:5::4",
];
const SENDERS: [&str; 11] = [
    POD,
    CLIENT,
    BLOCKED,
    NODE,
    ALT_NODE,
    "127.0.0.1",
    "10.180.0.1",
    "1.2.3.4",
    NODE_V6,
    "fd00:10::1",
    "2001:db8:ffff::1",
];

fn policy() -> impl Strategy<Value = TrafficPolicy> {
    select(vec![TrafficPolicy::Cluster, TrafficPolicy::Local])
}

fn served() -> impl Strategy<Value = IpAddr> {
    select(SERVED.to_vec()).prop_map(ip)
}

prop_compose! {
    fn any_service(name: &'static str)(
        cluster_ip in select(vec!["172.30.0.41", "172.30.0.42", "fd00:172:30::41", NODE]),
        external_ips in vec(served(), 0..3),
        ingress in vec((served(), prop::bool::weighted(0.2)), 0..3),
        source_ranges in vec(select(vec![
            "203.0.113.0/25", "192.168.0.0/24", "10.0.0.0/8", "0.0.0.0/0", "2001:db8::/32",
        ]), 0..3),
        ports in vec((select(Protocol::ALL.to_vec()), select(vec![80u16, 3001]), any::<bool>()), 1..3),
        (external, internal) in (policy(), policy()),
        health in option::of(select(vec![3001u16, 30000])),
        sticky in any::<bool>(),
        service_type in select(vec![ServiceType::LoadBalancer, ServiceType::NodePort, ServiceType::ClusterIP]),
    ) -> Service {
        let mode = |proxy| if proxy { IngressMode::Proxy } else { IngressMode::VIP };
        Service {
            service_type,
            external_ips,
            ingress: ingress
                .into_iter()
                .map(|(ip, proxy)| LoadBalancerIngress { ip, mode: mode(proxy) })
                .collect(),
            source_ranges: source_ranges.into_iter().map(cidr).collect(),
            ports: ports
                .into_iter()
                .map(|(protocol, number, node_port)| port(protocol, number, node_port.then_some(3001)))
                .collect(),
            external_traffic_policy: external,
            internal_traffic_policy: internal,
            health_check_node_port: health,
            affinity: if sticky { Affinity::ClientIP { timeout_seconds: 60 } } else { Affinity::None },
            ..everywhere(name, cluster_ip, "1.2.3.4", 3001)
        }
    }
}

fn endpoints(addresses: [&'static str; 3]) -> impl Strategy<Value = Vec<String>> {
    let place = select(vec!["@here", "@there", ""]);
    vec((select(addresses.to_vec()), place, select(vec!["R", "R", "N", "T", "X"])), 0..4).prop_map(
        |list| list.into_iter().map(|(ip, place, flag)| format!("{ip}{place} {flag}")).collect(),
    )
}

fn any_config() -> impl Strategy<Value = Config> {
    let detect = prop_oneof![
        3 => Just(config().detect_local),
        1 => Just(DetectLocal::Nothing),
        1 => Just(DetectLocal::BridgeInterface("cbr0".into())),
        1 => Just(DetectLocal::InterfaceNamePrefix("cbr".into())),
        1 => Just(DetectLocal::ClusterCidr(vec![cidr("192.168.0.0/24")])),
    ];
    let accept = prop_oneof![
        3 => Just(NodePortAddresses::All),
        1 => Just(NodePortAddresses::Primary),
        1 => Just(NodePortAddresses::Cidrs(vec![cidr("127.0.0.0/8"), cidr("192.168.1.0/24")])),
        1 => Just(NodePortAddresses::Cidrs(vec![cidr("2001:db8:77::/64"), cidr("192.168.0.0/16")])),
    ];
    let reject = select(vec![OnNoLocalEndpoints::Drop, OnNoLocalEndpoints::Reject]);
    (detect, accept, any::<bool>(), any::<bool>(), reject).prop_map(
        |(detect_local, node_port_addresses, masquerade_all, localhost, on_no_local_endpoints)| {
            Config {
                detect_local,
                node_port_addresses,
                masquerade_all,
                localhost_node_ports: localhost,
                on_no_local_endpoints,
                ..config()
            }
        },
    )
}

/// Whether some backends are cluster IPs, where nftables mode refuses packets after translation, so
/// that chance decides and nobody can say.
fn leads_astray(world: &World, decided: &Verdict) -> bool {
    let Verdict::Deliver(backends) = decided else { return false };
    let servers = world.intent.servers.values().flat_map(|all| all.iter());
    let mut cluster_ips = servers
        .flat_map(|server| &server.frontends)
        .filter(|frontend| frontend.kind == FrontendKind::ClusterIP);
    cluster_ips.any(|one| backends.keys().any(|to| Some(to.ip()) == one.address))
}

/// Whether the source is a Pod's that another node is known to run. Its packets are translated there:
/// nftables mode does not ask here whether it is its own server.
fn of_another_node(world: &World, packet: &Packet) -> bool {
    let servers = world.intent.servers.values().flat_map(|all| all.iter());
    let mut backends = servers.flat_map(|server| server.cluster.iter().chain(server.local.iter()));
    backends.any(|one| one.address.ip() == packet.source && !one.local && !one.unplaced)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 96,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Neither knows the other's source: the plan never saw a chain, the tracer never saw a Service.
    #[test]
    fn intent_equals_rules(
        config in any_config(),
        services in (any_service("one"), any_service("two"), any_service("three")),
        v4 in vec(endpoints(["10.180.0.1", "10.180.1.1", NODE]), 3),
        v6 in vec(endpoints(["fd00:10::1", "fd00:10::2", "fd00:10::3"]), 3),
        by in select(vec!["eth0", "cbr0", "cbr1"]),
    ) {
        let services = [services.0, services.1, services.2];
        let slices = ["one", "two", "three"].into_iter().zip(v4.iter().zip(&v6)).flat_map(|(name, lists)| {
            [lists.0, lists.1].map(|list| {
                slice(name, 8080, &list.iter().map(String::as_str).collect::<Vec<_>>())
            })
        });
        let changes = services.clone().map(Change::Service);
        let cidrs = ["172.30.0.0/16", "fd00:172:30::/112"].map(cidr).into();
        let cidrs = Change::ServiceCidr(ServiceCidr { name: "all".into(), cidrs });
        let world = World::new(config, slices.chain(changes).chain([cidrs]));
        let rules = iptables::ruleset(&world.intent, &iptables::Options::default());
        let (tables, left_out) = nftables::ruleset(&world.intent, &nftables::Options::default());
        prop_assert!(left_out.is_empty(), "{:?}", left_out);
        let host = world.cluster.host();
        for source in SENDERS.map(ip) {
            let others = ["127.0.0.1", "::1", NODE_V6, "172.30.0.99"];
            for destination in SERVED.into_iter().chain(others).map(ip) {
                if Family::of(source) != Family::of(destination) {
                    continue;
                }
                for (protocol, port) in [
                    (Protocol::Tcp, 80), (Protocol::Tcp, 3001), (Protocol::Udp, 80),
                    (Protocol::Sctp, 3001), (Protocol::Tcp, 30000),
                ] {
                    for enters in [Enters::Output, Enters::Interface(by.into())] {
                        let packet = Packet { protocol, source, destination, port, enters };
                        let decided = decide(&world.intent, host, &packet, Mode::Iptables);
                        let traced = trace_iptables(&rules, host, &packet);
                        let met = traced.as_ref().map(|trace| &trace.verdict);
                        prop_assert_eq!(
                            Ok(&decided), met,
                            "{}\n{:#?}\n{:#?}", packet, traced, services
                        );
                        let decided = decide(&world.intent, host, &packet, Mode::Nftables);
                        if leads_astray(&world, &decided) || of_another_node(&world, &packet) {
                            continue;
                        }
                        let traced = trace_nftables(&tables, host, &packet);
                        let met = traced.as_ref().map(|trace| &trace.verdict);
                        prop_assert_eq!(
                            Ok(&decided), met,
                            "{}\n{:#?}\n{:#?}", packet, traced, services
                        );
                    }
                }
            }
        }
    }
}
