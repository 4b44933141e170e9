//! The packet scenarios of kube-proxy's tests, and of public reports, asked of the Intent.

#![allow(clippy::unwrap_used, clippy::panic)]

mod fixture;

use fixture::{
    ALT_NODE, BLOCKED, CLIENT, NODE, NODE_V6, POD, World, cidr, config, everywhere, ip, port,
    service, slice,
};
use model::{Change, IngressMode, LoadBalancerIngress, Protocol, Service, TrafficPolicy};
use plan::{Config, DetectLocal, NodePortAddresses, OnNoLocalEndpoints};

const BOTH: &[&str] = &["10.180.0.1@here R", "10.180.1.1@there R"];
const FAR: &[&str] = &["10.180.1.1@there R"];

/// Reached in every way, as `svc`.
fn full() -> Service {
    let mut object = everywhere("svc", "172.30.0.41", "1.2.3.4", 3001);
    object.external_ips = vec![ip("192.168.99.22")];
    object
}

fn world(object: Service, endpoints: &[&str]) -> World {
    let name = object.name.name.to_string();
    World::new(config(), [Change::Service(object), slice(&name, 8080, endpoints)])
}

#[test]
fn no_endpoints_reject() {
    for endpoints in [&[][..], &["10.180.0.1@here N"], &["10.180.0.1@here X"]] {
        for policy in [TrafficPolicy::Cluster, TrafficPolicy::Local] {
            let mut object = full();
            object.external_traffic_policy = policy;
            object.internal_traffic_policy = policy;
            world(object, endpoints).check(&[
                (&format!("tcp {POD} -> 172.30.0.41 80"), "REJECT"),
                (&format!("tcp {NODE} -> 172.30.0.41 80"), "REJECT"),
                (&format!("tcp {CLIENT} -> 172.30.0.41 80"), "REJECT"),
                (&format!("tcp {CLIENT} -> 192.168.99.22 80"), "REJECT"),
                (&format!("tcp {POD} -> {NODE} 3001"), "REJECT"),
                (&format!("tcp {CLIENT} -> {NODE} 3001"), "REJECT"),
                (&format!("tcp {NODE} -> {NODE} 3001"), "REJECT"),
                (&format!("tcp {POD} -> 1.2.3.4 80"), "REJECT"),
                (&format!("tcp {CLIENT} -> 1.2.3.4 80"), "REJECT"),
                // kube-proxy has no such rule in OUTPUT.
                (&format!("tcp {NODE} -> 1.2.3.4 80"), "PASS"),
                (&format!("tcp {NODE} -> 192.168.99.22 80"), "PASS"),
            ]);
        }
    }
}

#[test]
fn cluster_ip_general() {
    let mut protocols = service("protocols", "172.30.0.43");
    protocols.ports = Protocol::ALL.map(|protocol| port(protocol, 80, None)).into();
    let mut other_port = service("other", "172.30.0.42");
    other_port.ports = vec![port(Protocol::Tcp, 8080, None)];
    let mut world = World::new(
        config(),
        [
            Change::Service(service("one", "172.30.0.41")),
            slice("one", 80, &["10.180.0.1@here R"]),
            Change::Service(other_port),
            slice("other", 9090, &["10.180.0.1@here R", "10.180.2.1@there R"]),
            Change::Service(protocols),
            slice("protocols", 80, &["10.180.0.3@here R"]),
        ],
    );
    let several = "DELIVER 10.180.0.1:9090 10.180.2.1:9090";
    world.check(&[
        ("tcp 10.180.0.2 -> 172.30.0.41 80", "DELIVER 10.180.0.1:80"),
        ("tcp 10.180.0.1 -> 172.30.0.41 80", "DELIVER 10.180.0.1:80+masquerade"),
        ("tcp 10.0.0.2 -> 172.30.0.42 8080", several),
        (
            "tcp 10.180.0.1 -> 172.30.0.42 8080",
            "DELIVER 10.180.0.1:9090+masquerade 10.180.2.1:9090",
        ),
        ("tcp 10.0.0.2 -> 172.30.0.43 80", "DELIVER 10.180.0.3:80"),
        ("udp 10.0.0.2 -> 172.30.0.43 80", "DELIVER 10.180.0.3:80"),
        ("sctp 10.0.0.2 -> 172.30.0.43 80", "DELIVER 10.180.0.3:80"),
        ("udp 10.0.0.2 -> 172.30.0.41 80", "PASS"),
        // A wrong port of a cluster IP falls through to routing in iptables mode (D9, D11).
        ("tcp 10.0.0.2 -> 172.30.0.41 8080", "PASS"),
        ("tcp 10.0.0.2 -> 172.30.0.42 80", "PASS"),
        ("tcp 10.0.0.2 -> 172.30.0.99 80", "PASS"),
    ]);
    world.apply(Change::ServiceGone(model::NamespacedName::new("ns", "one")));
    world.check(&[("tcp 10.180.0.2 -> 172.30.0.41 80", "PASS")]);
}

#[test]
fn load_balancer() {
    let mut object = everywhere("svc", "172.30.0.41", "1.2.3.4", 3001);
    object.ingress.push(LoadBalancerIngress { ip: ip("5.6.7.8"), mode: IngressMode::VIP });
    object.source_ranges = vec![cidr("192.168.0.0/24"), cidr("203.0.113.0/25")];
    let delivered = "DELIVER 10.180.0.1:8080+masquerade";
    let world = world(object, &["10.180.0.1@there R"]);
    let mut rows = vec![
        (format!("tcp {POD} -> 172.30.0.41 80"), "DELIVER 10.180.0.1:8080"),
        (format!("tcp {CLIENT} -> {NODE} 3001"), delivered),
        // NodePorts are not guarded by source ranges (C7).
        (format!("tcp {BLOCKED} -> {NODE} 3001"), delivered),
    ];
    for address in ["1.2.3.4", "5.6.7.8"] {
        rows.extend([
            (format!("tcp {CLIENT} -> {address} 80"), delivered),
            (format!("tcp {BLOCKED} -> {address} 80"), "DROP"),
            (format!("tcp {POD} -> {address} 80"), "DROP"),
            (format!("tcp {NODE} -> {address} 80"), delivered),
            // The node's packet to a virtual address that it carries itself has it as source.
            (format!("tcp {address} -> {address} 80"), delivered),
            (format!("tcp {CLIENT} -> {address} 81"), "PASS"),
        ]);
    }
    for (question, verdict) in rows {
        assert_eq!(world.ask(&question), verdict, "{question}");
    }
}

/// C6: a node outside of the ranges is dropped as everybody else; without endpoints everybody is
/// rejected in iptables mode.
#[test]
fn source_ranges_without_the_node() {
    let mut object = everywhere("svc", "172.30.0.41", "1.2.3.4", 3001);
    object.source_ranges = vec![cidr("203.0.113.0/25")];
    world(object.clone(), FAR).check(&[
        (&format!("tcp {NODE} -> 1.2.3.4 80"), "DROP"),
        ("tcp 1.2.3.4 -> 1.2.3.4 80", "DROP"),
        (&format!("tcp {CLIENT} -> 1.2.3.4 80"), "DELIVER 10.180.1.1:8080+masquerade"),
    ]);
    world(object.clone(), &[]).check(&[
        (&format!("tcp {BLOCKED} -> 1.2.3.4 80"), "REJECT"),
        (&format!("tcp {CLIENT} -> 1.2.3.4 80"), "REJECT"),
        (&format!("tcp {NODE} -> 1.2.3.4 80"), "PASS"),
    ]);
    // With policy Local and no endpoint here, blocked and admitted clients both meet silence, and a
    // Pod is dropped by the ranges before it could be short-circuited.
    object.external_traffic_policy = TrafficPolicy::Local;
    world(object, FAR).check(&[
        (&format!("tcp {BLOCKED} -> 1.2.3.4 80"), "DROP"),
        (&format!("tcp {CLIENT} -> 1.2.3.4 80"), "DROP"),
        (&format!("tcp {POD} -> 1.2.3.4 80"), "DROP"),
        (&format!("tcp {POD} -> 192.168.99.22 80"), "PASS"),
    ]);
}

/// C8: an address of mode Proxy is not ours.
#[test]
fn load_balancer_ingress_route_type_proxy() {
    let mut object = everywhere("svc", "172.30.0.41", "1.2.3.4", 3001);
    object.ingress[0].mode = IngressMode::Proxy;
    world(object, BOTH).check(&[
        (&format!("tcp {POD} -> 1.2.3.4 80"), "PASS"),
        (&format!("tcp {CLIENT} -> 1.2.3.4 80"), "PASS"),
        (&format!("tcp {NODE} -> 1.2.3.4 80"), "PASS"),
    ]);
}

fn node_port_world(config: Config, cluster_ip: &str, endpoint: &str) -> World {
    let object =
        Service { ports: vec![port(Protocol::Tcp, 80, Some(3001))], ..service("svc", cluster_ip) };
    World::new(config, [Change::Service(object), slice("svc", 80, &[endpoint])])
}

#[test]
fn node_ports_ipv4() {
    let table: &[(&str, NodePortAddresses, bool, [&str; 3])] = &[
        // what, addresses, localhostNodePorts; verdict on node, localhost, second address
        ("localhost on", NodePortAddresses::All, true, ["D", "D", "D"]),
        ("localhost off", NodePortAddresses::All, false, ["D", "PASS", "D"]),
        (
            "off with localhost listed",
            NodePortAddresses::Cidrs(vec![cidr("127.0.0.0/8"), cidr("192.168.0.0/24")]),
            false,
            ["D", "PASS", "PASS"],
        ),
        (
            "on with localhost listed",
            NodePortAddresses::Cidrs(vec![cidr("127.0.0.0/8"), cidr("192.168.0.0/24")]),
            true,
            ["D", "D", "PASS"],
        ),
        (
            "multiple addresses",
            NodePortAddresses::Cidrs(vec![cidr("192.168.0.0/24"), cidr("192.168.1.0/24")]),
            true,
            ["D", "PASS", "D"],
        ),
        ("primary", NodePortAddresses::Primary, true, ["D", "PASS", "PASS"]),
    ];
    for (name, addresses, localhost, expected) in table {
        let config = Config {
            node_port_addresses: addresses.clone(),
            localhost_node_ports: *localhost,
            ..config()
        };
        let world = node_port_world(config, "172.30.0.41", "10.180.0.1@there R");
        let delivered = "DELIVER 10.180.0.1:80+masquerade";
        let [node, local, second] = expected.map(|w| if w == "D" { delivered } else { w });
        for (question, verdict) in [
            (&*format!("tcp {POD} -> 172.30.0.41 80"), "DELIVER 10.180.0.1:80"),
            (&format!("tcp {CLIENT} -> {NODE} 3001"), node),
            (&format!("tcp {NODE} -> {NODE} 3001"), node),
            ("tcp 127.0.0.1 -> 127.0.0.1 3001", local),
            (&format!("tcp {CLIENT} -> {ALT_NODE} 3001"), second),
            (&format!("tcp {CLIENT} -> 192.168.7.7 3001"), "PASS"),
        ] {
            assert_eq!(world.ask(question), verdict, "{name}: {question}");
        }
    }
}

#[test]
fn node_ports_ipv6() {
    let table: &[(&str, NodePortAddresses, &str)] = &[
        ("on", NodePortAddresses::All, "DELIVER [fd00:10::1]:80+masquerade"),
        ("off", NodePortAddresses::Cidrs(vec![cidr("2001:db8:9::/64")]), "PASS"),
        (
            "multiple addresses",
            NodePortAddresses::Cidrs(vec![cidr("2001:db8::/64"), cidr("2001:db8:1::/64")]),
            "DELIVER [fd00:10::1]:80+masquerade",
        ),
    ];
    for (name, addresses, node) in table {
        let config = Config { node_port_addresses: addresses.clone(), ..config() };
        let world = node_port_world(config, "fd00:172:30::41", "fd00:10::1@there R");
        for (question, verdict) in [
            ("tcp fd00:10::2 -> fd00:172:30::41 80", "DELIVER [fd00:10::1]:80"),
            (&format!("tcp 2001:db8:ffff::1 -> {NODE_V6} 3001"), *node),
            (&format!("tcp {NODE_V6} -> {NODE_V6} 3001"), *node),
            // Never on loopback.
            ("tcp ::1 -> ::1 3001", "PASS"),
        ] {
            assert_eq!(world.ask(question), verdict, "{name}: {question}");
        }
    }
}

/// A refused NodePort is refused on every address of the node, wherever NodePorts answer.
#[test]
fn node_port_refusals_hold_everywhere() {
    let config = Config { node_port_addresses: NodePortAddresses::Primary, ..config() };
    let world = node_port_world(config, "172.30.0.41", "10.180.0.1@there N");
    world.check(&[
        (&format!("tcp {CLIENT} -> {NODE} 3001"), "REJECT"),
        (&format!("tcp {CLIENT} -> {ALT_NODE} 3001"), "REJECT"),
        ("tcp 127.0.0.1 -> 127.0.0.1 3001", "REJECT"),
        (&format!("tcp {CLIENT} -> 192.168.7.7 3001"), "PASS"),
    ]);
}

/// CVE-2020-8558: with localhost NodePorts, others are kept away from loopback addresses; what is
/// translated is not concerned.
#[test]
fn loopback_is_guarded() {
    let guarded = node_port_world(config(), "172.30.0.41", "10.180.0.1@there R");
    guarded.check(&[
        (&format!("tcp {CLIENT} -> 127.0.0.1 22"), "DROP"),
        (&format!("tcp {NODE} -> 127.0.0.1 22"), "DROP"),
        ("tcp 127.0.0.1 -> 127.0.0.1 22", "PASS"),
        (&format!("tcp {CLIENT} -> 127.0.0.1 3001"), "DELIVER 10.180.0.1:80+masquerade"),
        (&format!("tcp {NODE_V6} -> ::1 22"), "PASS"),
    ]);
    let off = Config { localhost_node_ports: false, ..config() };
    let open = node_port_world(off, "172.30.0.41", "10.180.0.1@there R");
    open.check(&[(&format!("tcp {CLIENT} -> 127.0.0.1 22"), "PASS")]);
}

#[test]
fn external_traffic_policy_local() {
    let mut object = full();
    object.external_traffic_policy = TrafficPolicy::Local;
    let every = "DELIVER 10.180.0.1:8080 10.180.1.1:8080";
    let near = "DELIVER 10.180.0.1:8080";
    world(object.clone(), BOTH).check(&[
        (&format!("tcp {POD} -> 172.30.0.41 80"), every),
        (&format!("tcp {POD} -> 192.168.99.22 80"), every),
        (&format!("tcp {CLIENT} -> 192.168.99.22 80"), near),
        (&format!("tcp {POD} -> 1.2.3.4 80"), every),
        (&format!("tcp {CLIENT} -> 1.2.3.4 80"), near),
        (&format!("tcp {POD} -> {NODE} 3001"), every),
        (&format!("tcp {CLIENT} -> {NODE} 3001"), near),
    ]);
    // C1, kubernetes#131765: without endpoints here, Pods and the node still reach the others.
    let far = "DELIVER 10.180.1.1:8080";
    world(object, FAR).check(&[
        (&format!("tcp {POD} -> 1.2.3.4 80"), far),
        (&format!("tcp {POD} -> 192.168.99.22 80"), far),
        (&format!("tcp {POD} -> {NODE} 3001"), far),
        (&format!("tcp {NODE} -> 1.2.3.4 80"), "DELIVER 10.180.1.1:8080+masquerade"),
        ("tcp 127.0.0.1 -> 127.0.0.1 3001", "DELIVER 10.180.1.1:8080+masquerade"),
        (&format!("tcp {CLIENT} -> 1.2.3.4 80"), "DROP"),
        (&format!("tcp {CLIENT} -> 192.168.99.22 80"), "DROP"),
        (&format!("tcp {CLIENT} -> {NODE} 3001"), "DROP"),
        (&format!("tcp {CLIENT} -> 172.30.0.41 80"), "DELIVER 10.180.1.1:8080+masquerade"),
    ]);
}

#[test]
fn external_traffic_policy_cluster() {
    let masqueraded = "DELIVER 10.180.0.1:8080+masquerade 10.180.1.1:8080+masquerade";
    world(full(), BOTH).check(&[
        (&format!("tcp {POD} -> 172.30.0.41 80"), "DELIVER 10.180.0.1:8080 10.180.1.1:8080"),
        (&format!("tcp {POD} -> 192.168.99.22 80"), masqueraded),
        (&format!("tcp {CLIENT} -> 192.168.99.22 80"), masqueraded),
        (&format!("tcp {POD} -> 1.2.3.4 80"), masqueraded),
        (&format!("tcp {CLIENT} -> 1.2.3.4 80"), masqueraded),
        (&format!("tcp {POD} -> {NODE} 3001"), masqueraded),
        (&format!("tcp {CLIENT} -> {NODE} 3001"), masqueraded),
    ]);
}

#[test]
fn internal_traffic_policy() {
    let question = &format!("tcp {POD} -> 172.30.0.41 80");
    let (near, nearer, far) = ("10.0.1.1@here R", "10.0.1.2@here R", "10.0.1.3@there R");
    let table: &[(TrafficPolicy, &[&str], &str)] = &[
        (TrafficPolicy::Cluster, &[near, far], "DELIVER 10.0.1.1:80 10.0.1.3:80"),
        (TrafficPolicy::Local, &[near, far], "DELIVER 10.0.1.1:80"),
        (TrafficPolicy::Local, &[near, nearer, far], "DELIVER 10.0.1.1:80 10.0.1.2:80"),
        (TrafficPolicy::Local, &[far], "DROP"),
        (TrafficPolicy::Local, &[], "REJECT"),
    ];
    for (policy, endpoints, verdict) in table {
        let mut object = service("svc", "172.30.0.41");
        object.internal_traffic_policy = *policy;
        let mut world =
            World::new(config(), [Change::Service(object), slice("svc", 80, endpoints)]);
        world.check(&[(question, verdict)]);
        world.apply(slice("svc", 80, &[]));
        world.check(&[(question, "REJECT")]);
    }
    // C2: the operator may ask for an error instead of silence.
    let mut object = service("svc", "172.30.0.41");
    object.internal_traffic_policy = TrafficPolicy::Local;
    let config = Config { on_no_local_endpoints: OnNoLocalEndpoints::Reject, ..config() };
    World::new(config, [Change::Service(object), slice("svc", 80, &[far])])
        .check(&[(question, "REJECT")]);
}

#[test]
fn terminating_endpoints_traffic_policy() {
    let near_ready: &[&str] =
        &["10.0.1.1@here R", "10.0.1.2@here R", "10.0.1.3@here T", "10.0.1.4@there R"];
    let only_terminating: &[&str] = &["10.0.1.1@here T", "10.0.1.2@here X", "10.0.1.4@there T"];
    let far_terminating: &[&str] = &["10.0.1.4@there T", "10.0.1.5@there X"];
    let unusable: &[&str] = &["10.0.1.1@here X", "10.0.1.4@there X"];
    // endpoints; policy Local: pod→clusterIP, external→LB; policy Cluster: external→LB
    type Row = (&'static [&'static str], [&'static [u8]; 3], &'static str);
    let table: &[Row] = &[
        (near_ready, [&[1, 2, 4], &[1, 2], &[1, 2, 4]], ""),
        (only_terminating, [&[1, 4], &[1], &[1, 4]], ""),
        (far_terminating, [&[4], &[], &[4]], "DROP"),
        (unusable, [&[], &[], &[]], "REJECT"),
        (&[], [&[], &[], &[]], "REJECT"),
    ];
    for (endpoints, lists, empty) in table {
        let deliver = |list: &[u8], suffix: &str| match list {
            [] => (*empty).to_string(),
            list => list
                .iter()
                .fold("DELIVER".to_string(), |text, n| format!("{text} 10.0.1.{n}:8080{suffix}")),
        };
        for (policy, outside) in [
            (TrafficPolicy::Local, deliver(lists[1], "")),
            (TrafficPolicy::Cluster, deliver(lists[2], "+masquerade")),
        ] {
            let mut object = full();
            object.external_traffic_policy = policy;
            let world = world(object, endpoints);
            let inside = deliver(lists[0], "");
            assert_eq!(world.ask(&format!("tcp {POD} -> 172.30.0.41 80")), inside);
            assert_eq!(world.ask(&format!("tcp {CLIENT} -> 1.2.3.4 80")), outside, "{policy:?}");
        }
    }
}

/// B1, kubernetes#85643: the last Pod here is going, another node has a ready one.
#[test]
fn terminating_pod_bridges_the_gap() {
    let mut object = full();
    object.external_traffic_policy = TrafficPolicy::Local;
    let endpoints = &["10.180.0.4@here T", "10.180.1.4@there R"];
    world(object, endpoints).check(&[
        (&format!("tcp {CLIENT} -> 1.2.3.4 80"), "DELIVER 10.180.0.4:8080"),
        (&format!("tcp {POD} -> 1.2.3.4 80"), "DELIVER 10.180.1.4:8080"),
    ]);
}

/// All of kube-proxy's flows: four sources, three destinations, three policies, four configurations.
#[test]
fn internal_external_masquerade() {
    let mut external_local = everywhere("external-local", "172.30.0.42", "5.6.7.8", 3002);
    external_local.external_traffic_policy = TrafficPolicy::Local;
    let mut internal_local = everywhere("internal-local", "172.30.0.43", "9.10.11.12", 3003);
    internal_local.internal_traffic_policy = TrafficPolicy::Local;
    let services =
        [everywhere("plain", "172.30.0.41", "1.2.3.4", 3001), external_local, internal_local];
    let changes: Vec<Change> = services
        .iter()
        .flat_map(|object| [Change::Service(object.clone()), slice(&object.name.name, 80, BOTH)])
        .collect();
    // source, destination; plain, eTP Local, iTP Local
    let base = [
        ("pod", "cluster", ["both", "both", "near"]),
        ("pod", "node", ["both+m", "both", "both+m"]),
        ("pod", "lb", ["both+m", "both", "both+m"]),
        ("node", "cluster", ["both+m", "both+m", "near+m"]),
        ("node", "node", ["both+m", "both+m", "both+m"]),
        ("node", "lb", ["both+m", "both+m", "both+m"]),
        ("localhost", "node", ["both+m", "both+m", "both+m"]),
        ("outside", "cluster", ["both+m", "both+m", "near+m"]),
        ("outside", "node", ["both+m", "near", "both+m"]),
        ("outside", "lb", ["both+m", "near", "both+m"]),
    ];
    let overrides: [&[(&str, &str, [&str; 3])]; 4] = [
        &[],
        &[
            ("node", "cluster", ["both", "both", "near"]),
            ("outside", "cluster", ["both", "both", "near"]),
            ("pod", "node", ["both+m", "near", "both+m"]),
            ("pod", "lb", ["both+m", "near", "both+m"]),
        ],
        &[("pod", "cluster", ["both+m", "both+m", "near+m"])],
        &[
            ("pod", "cluster", ["both+m", "both+m", "near+m"]),
            ("pod", "node", ["both+m", "near", "both+m"]),
            ("pod", "lb", ["both+m", "near", "both+m"]),
        ],
    ];
    let destinations = [
        ("172.30.0.41 80", "1.2.3.4 80", 3001),
        ("172.30.0.42 80", "5.6.7.8 80", 3002),
        ("172.30.0.43 80", "9.10.11.12 80", 3003),
    ];
    let mut asked = 0;
    for (index, overrides) in overrides.into_iter().enumerate() {
        let detect_local =
            if index % 2 == 1 { DetectLocal::Nothing } else { config().detect_local };
        let config = Config { detect_local, masquerade_all: index >= 2, ..config() };
        let world = World::new(config, changes.clone());
        for (source, destination, expected) in base {
            let other = overrides.iter().find(|row| (row.0, row.1) == (source, destination));
            let expected = other.map_or(expected, |row| row.2);
            for ((cluster, lb, node_port), expected) in destinations.into_iter().zip(expected) {
                let from = match source {
                    "pod" => POD,
                    "node" => NODE,
                    "localhost" => "127.0.0.1",
                    _ => CLIENT,
                };
                let to = match destination {
                    "cluster" => cluster.to_string(),
                    "lb" => lb.to_string(),
                    _ if source == "localhost" => format!("127.0.0.1 {node_port}"),
                    _ => format!("{NODE} {node_port}"),
                };
                let verdict = match expected {
                    "both" => "DELIVER 10.180.0.1:80 10.180.1.1:80",
                    "both+m" => "DELIVER 10.180.0.1:80+masquerade 10.180.1.1:80+masquerade",
                    "near" => "DELIVER 10.180.0.1:80",
                    _ => "DELIVER 10.180.0.1:80+masquerade",
                };
                let question = format!("tcp {from} -> {to}");
                assert_eq!(world.ask(&question), verdict, "configuration {index}: {question}");
                asked += 1;
            }
        }
    }
    assert_eq!(asked, 4 * 30);
}

/// Pods told by the interface that they come in by, whatever their source.
#[test]
fn detectors_by_interface() {
    let masqueraded = "DELIVER 10.180.1.1:8080+masquerade";
    let plain = "DELIVER 10.180.1.1:8080";
    for detect_local in [
        DetectLocal::BridgeInterface("cbr0".into()),
        DetectLocal::InterfaceNamePrefix("cbr".into()),
    ] {
        let config = Config { detect_local, ..config() };
        let world = World::new(config, [Change::Service(full()), slice("svc", 8080, FAR)]);
        world.check(&[
            (&format!("tcp {POD} -> 172.30.0.41 80 in cbr0"), plain),
            (&format!("tcp {CLIENT} -> 172.30.0.41 80 in cbr0"), plain),
            (&format!("tcp {POD} -> 172.30.0.41 80 in eth0"), masqueraded),
            (&format!("tcp {NODE} -> 172.30.0.41 80"), masqueraded),
        ]);
    }
    let by_name = Config { detect_local: DetectLocal::BridgeInterface("cbr".into()), ..config() };
    let world = World::new(by_name, [Change::Service(full()), slice("svc", 8080, FAR)]);
    world.check(&[(&format!("tcp {POD} -> 172.30.0.41 80 in cbr0"), masqueraded)]);
}

/// A packet of a Pod is a Pod's even where its source is the node's own address too.
#[test]
fn pod_comes_before_node() {
    let mut object = full();
    object.external_traffic_policy = TrafficPolicy::Local;
    let config =
        Config { detect_local: DetectLocal::ClusterCidr(vec![cidr("192.168.0.0/24")]), ..config() };
    let world = World::new(config, [Change::Service(object), slice("svc", 8080, FAR)]);
    world.check(&[
        (&format!("tcp {NODE} -> 1.2.3.4 80"), "DELIVER 10.180.1.1:8080"),
        (&format!("tcp {ALT_NODE} -> 1.2.3.4 80"), "DELIVER 10.180.1.1:8080+masquerade"),
    ]);
}

/// D2, kubernetes#104679: an external IP that is the node's own takes its port alone.
#[test]
fn external_ip_on_the_nodes_own_address() {
    let mut object = service("svc", "172.30.0.41");
    object.external_ips = vec![ip(NODE)];
    world(object, FAR).check(&[
        (&format!("tcp {CLIENT} -> {NODE} 80"), "DELIVER 10.180.1.1:8080+masquerade"),
        (&format!("tcp {CLIENT} -> {NODE} 22"), "PASS"),
    ]);
}

/// An address frontend comes before a NodePort; one that translates nothing leaves the packet to it.
#[test]
fn addresses_come_before_node_ports() {
    let mut by_address = service("address", "172.30.0.41");
    by_address.external_ips = vec![ip(NODE)];
    by_address.ports = vec![port(Protocol::Tcp, 3001, None)];
    let by_port = Service {
        ports: vec![port(Protocol::Tcp, 80, Some(3001))],
        ..service("port", "172.30.0.42")
    };
    let mut world = World::new(
        config(),
        [
            Change::Service(by_address),
            slice("address", 80, &["10.180.1.1@there R"]),
            Change::Service(by_port),
            slice("port", 80, &["10.180.1.2@there R"]),
        ],
    );
    let question = &format!("tcp {CLIENT} -> {NODE} 3001");
    world.check(&[(question, "DELIVER 10.180.1.1:80+masquerade")]);
    world.apply(slice("address", 80, &[]));
    world.check(&[(question, "DELIVER 10.180.1.2:80+masquerade")]);
    world.apply(slice("port", 80, &[]));
    world.check(&[(question, "REJECT")]);
}

/// HealthCheckNodePort: the check is admitted, and ours to answer elsewhere.
#[test]
fn health_check_port_passes() {
    let mut object = full();
    object.external_traffic_policy = TrafficPolicy::Local;
    object.health_check_node_port = Some(30000);
    world(object, BOTH).check(&[(&format!("tcp {CLIENT} -> {NODE} 30000"), "PASS")]);
}

/// E1, kubernetes#53775: a Pod that reaches itself is masqueraded, whatever node it is said to be on.
#[test]
fn hairpin() {
    for place in ["10.180.0.1@here R", "10.180.0.1@there R", "10.180.0.1 R"] {
        world(full(), &[place]).check(&[
            ("tcp 10.180.0.1 -> 172.30.0.41 80", "DELIVER 10.180.0.1:8080+masquerade"),
            ("tcp 10.180.0.9 -> 172.30.0.41 80", "DELIVER 10.180.0.1:8080"),
        ]);
    }
}

/// A backend on the node's own address: what comes in by an interface ends in INPUT, where nothing
/// is masqueraded; what the node sends to itself leaves by the loopback interface.
#[test]
fn backends_on_the_nodes_own_address() {
    let near = format!("DELIVER {NODE}:8080");
    world(full(), &[&format!("{NODE}@here R")]).check(&[
        (&format!("tcp {CLIENT} -> 1.2.3.4 80"), &near),
        (&format!("tcp {CLIENT} -> 172.30.0.41 80"), &near),
        (&format!("tcp {NODE} -> 172.30.0.41 80"), &format!("{near}+masquerade")),
    ]);
}

/// A refusal knows no classes: where the NodePort does not answer, it meets the node as well.
#[test]
fn refusals_meet_whoever_gets_that_far() {
    let mut object = full();
    object.external_traffic_policy = TrafficPolicy::Local;
    let config = Config { localhost_node_ports: false, ..config() };
    let world = World::new(config, [Change::Service(object), slice("svc", 8080, FAR)]);
    world.check(&[
        ("tcp 127.0.0.1 -> 127.0.0.1 3001", "DROP"),
        (&format!("tcp {NODE} -> {NODE} 3001"), "DELIVER 10.180.1.1:8080+masquerade"),
    ]);
}

#[test]
fn families_do_not_mix() {
    let world = world(full(), BOTH);
    let packet = explain::Packet {
        protocol: Protocol::Tcp,
        source: ip("2001:db8::9"),
        destination: ip("172.30.0.41"),
        port: 80,
        enters: explain::Enters::Output,
    };
    let verdict =
        explain::decide(&world.intent, world.cluster.host(), &packet, explain::Mode::Iptables);
    assert_eq!(verdict, explain::Verdict::Pass);
}

#[test]
fn verdicts_and_packets_print() {
    let world = world(full(), BOTH);
    let packet = explain::Packet {
        protocol: Protocol::Tcp,
        source: ip(POD),
        destination: ip("1.2.3.4"),
        port: 80,
        enters: explain::Enters::Interface("cbr0".into()),
    };
    assert_eq!(packet.to_string(), "tcp 10.0.0.2 -> 1.2.3.4 port 80, in by cbr0");
    let verdict =
        explain::decide(&world.intent, world.cluster.host(), &packet, explain::Mode::Iptables);
    assert_eq!(
        serde_json::to_string(&verdict).unwrap(),
        r#"{"Deliver":{"10.180.0.1:8080":true,"10.180.1.1:8080":true}}"#
    );
    assert_eq!(serde_json::to_string(&explain::Verdict::Pass).unwrap(), r#""Pass""#);
}

mod properties {
    use super::*;
    use explain::{Enters, Packet, Verdict, decide};
    use proptest::prelude::*;
    use proptest::sample::select;
    use std::net::IpAddr;

    fn address() -> impl Strategy<Value = IpAddr> {
        let known = vec![
            POD,
            NODE,
            ALT_NODE,
            CLIENT,
            BLOCKED,
            NODE_V6,
            "172.30.0.41",
            "1.2.3.4",
            "127.0.0.1",
            "192.168.99.22",
            "10.180.0.1",
            "10.180.1.1",
            "::1",
        ];
        prop_oneof![8 => select(known).prop_map(ip), 1 => any::<IpAddr>()]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        /// No packet makes it panic; what is delivered goes to backends of the Intent, at least one,
        /// and whoever reaches itself is masqueraded.
        #[test]
        fn any_packet_has_a_verdict(
            source in address(),
            destination in address(),
            port in prop_oneof![4 => select(vec![80u16, 3001]), 1 => any::<u16>()],
            protocol in select(Protocol::ALL.to_vec()),
            output in any::<bool>(),
            external in select(vec![TrafficPolicy::Cluster, TrafficPolicy::Local]),
            internal in select(vec![TrafficPolicy::Cluster, TrafficPolicy::Local]),
            endpoints in select(vec![BOTH, FAR, &[]]),
            ranged in any::<bool>(),
        ) {
            let mut object = full();
            object.external_traffic_policy = external;
            object.internal_traffic_policy = internal;
            if ranged {
                object.source_ranges = vec![cidr("203.0.113.0/25")];
            }
            let world = world(object, endpoints);
            let enters = if output { Enters::Output } else { Enters::Interface("eth0".into()) };
            let packet = Packet { protocol, source, destination, port, enters };
            let verdict = decide(&world.intent, world.cluster.host(), &packet, explain::Mode::Iptables);
            if let Verdict::Deliver(backends) = &verdict {
                prop_assert!(!backends.is_empty());
                prop_assert!(!endpoints.is_empty());
                for (backend, masqueraded) in backends {
                    let known = world.intent.servers.values().flat_map(|servers| servers.iter());
                    let mut known = known.flat_map(|server| server.backends());
                    prop_assert!(known.any(|known| known.address == *backend));
                    prop_assert!(*masqueraded || backend.ip() != source);
                }
            }
            let ours = ["172.30.0.41", "1.2.3.4", "192.168.99.22"].map(ip).contains(&destination)
                || world.cluster.host().owns(destination);
            prop_assert!(ours || verdict == Verdict::Pass, "{verdict}");
        }
    }
}
