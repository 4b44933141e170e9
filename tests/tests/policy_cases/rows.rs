//! The rows of the API's specification, and what users were bitten by.

use model::{Change, NamespacedName};
use serde_json::json;

use pointsman_tests::policy::{NODE, World, egress, ingress, namespaces, pods};

const OUTSIDE: &str = "198.51.100.7";

fn block(cidr: &str) -> serde_json::Value {
    json!({"ipBlock": {"cidr": cidr}})
}

/// A.1: an effective spec, and whom it keeps from Pod x/a or Pod x/a from.
#[test]
fn what_a_spec_isolates() {
    // Spec, then whether y/a reaches x/a, and whether x/a reaches y/a.
    let table = [
        (json!({}), false, true),
        (json!({"egress": []}), false, true),
        (json!({"egress": [{}]}), false, true),
        (json!({"policyTypes": ["Egress"], "ingress": [{}]}), true, false),
        (json!({"policyTypes": ["Ingress"], "egress": []}), false, true),
        (json!({"policyTypes": ["Ingress", "Egress"]}), false, false),
        (json!({"ingress": [{}]}), true, true),
        (json!({"ingress": []}), false, true),
        (json!({"podSelector": {"matchLabels": {"pod": "b"}}}), true, true),
    ];
    for (spec, incoming, outgoing) in table {
        let mut world = World::new(&["x/a", "y/a"]);
        world.policy("x/p", spec.clone());
        assert_eq!(world.passes("y/a", "x/a", "TCP 80"), incoming, "{spec}");
        assert_eq!(world.passes("x/a", "y/a", "TCP 80"), outgoing, "{spec}");
    }
}

/// A.1 and A.4, I8, I15: ports and protocols.
#[test]
fn what_a_port_entry_opens() {
    let all = ["TCP 80", "TCP 81", "UDP 80", "SCTP 80", "ICMP 8", "IP 47"];
    let table = [
        (json!([]), vec!["TCP 80", "TCP 81", "UDP 80", "SCTP 80", "ICMP 8", "IP 47"]),
        (json!([{}]), vec!["TCP 80", "TCP 81"]),
        (json!([{"protocol": "UDP"}]), vec!["UDP 80"]),
        (json!([{"port": 80}]), vec!["TCP 80"]),
        (json!([{"port": 80, "protocol": "SCTP"}]), vec!["SCTP 80"]),
        (json!([{"port": 80, "endPort": 81}]), vec!["TCP 80", "TCP 81"]),
        (json!([{"port": 79, "endPort": 80}]), vec!["TCP 80"]),
        (json!([{"port": "serve-80-tcp"}]), vec!["TCP 80"]),
        (json!([{"port": "serve-80-udp"}]), vec![]),
        (json!([{"port": "serve-80-udp", "protocol": "UDP"}]), vec!["UDP 80"]),
        (json!([{"port": "nobody"}]), vec![]),
        (json!([{"port": 81}, {"protocol": "SCTP"}]), vec!["TCP 81", "SCTP 80"]),
    ];
    for (ports, open) in table {
        let mut world = World::new(&["x/a", "y/a"]);
        world.policy("x/p", ingress("a", json!([{"ports": ports}])));
        for what in all {
            let expected = open.contains(&what);
            assert_eq!(world.passes("y/a", "x/a", what), expected, "{ports}: {what}");
            assert!(world.passes(NODE, "x/a", what), "the node always may");
        }
    }
}

/// A.3 and I10: peers.
#[test]
fn whom_a_peer_names() {
    let froms = ["x/b", "y/a", OUTSIDE, "10.9.0.2"];
    let table = [
        (json!([]), [true, true, true, true]),
        (json!([{"podSelector": {}}]), [true, false, false, false]),
        (json!([{"namespaceSelector": {}}]), [true, true, false, false]),
        (
            json!([{"namespaceSelector": {}, "podSelector": {"matchLabels": {"pod": "b"}}}]),
            [true, false, false, false],
        ),
        (json!([namespaces("y"), pods("b")]), [true, true, false, false]),
        (json!([namespaces("y"), block("198.51.100.0/24")]), [false, true, true, false]),
        (json!([block("10.77.0.0/16")]), [true, true, false, false]),
        (json!([block("10.9.0.2/32")]), [false, false, false, true]),
        (json!([block("10.0.0.0/0")]), [true, true, true, true]),
        (json!([block("::/0")]), [false, false, false, false]),
    ];
    for (from, expected) in table {
        let mut world = World::new(&["x/a", "x/b", "y/a"]);
        world.policy("x/p", ingress("a", json!([{"from": from}])));
        let found = froms.map(|source| world.passes(source, "x/a", "TCP 80"));
        assert_eq!(found, expected, "{from}");
    }
}

/// I9: `except` takes from its own block alone.
#[test]
fn an_exception_is_no_denial() {
    let mut world = World::new(&["x/a", "x/b", "x/c"]);
    let all = json!({"ipBlock": {"cidr": "10.77.0.0/16", "except": ["10.77.1.0/24"]}});
    world.policy("x/one", ingress("a", json!([{"from": [all]}])));
    world.matrix("TCP 80", &["*>x/a"]);
    world.policy("x/two", ingress("a", json!([{"from": [pods("b")]}])));
    world.matrix("TCP 80", &["*>x/a", "+x/b>x/a"]);
    assert!(world.passes("10.77.9.9", "x/a", "TCP 80"));
}

/// I9 and I14: both families in one rule, and every address of a Pod.
#[test]
fn both_families() {
    let mut world = World::new(&["x/a", "x/b", "y/a"]);
    let ips = |n: u8| json!([{"ip": format!("10.77.1.{n}")}, {"ip": format!("fd77:1::{n}")}]);
    for (n, pod) in [(1, "x/a"), (2, "x/b"), (3, "y/a")] {
        world.pod(pod, json!({"status": {"phase": "Running", "podIPs": ips(n)}}));
    }
    world.policy("x/p", ingress("a", json!([{"from": [pods("b")]}])));
    assert!(
        world.passes("x/b", "x/a", "TCP 80") && world.passes("fd77:1::2", "fd77:1::1", "TCP 80")
    );
    assert!(!world.passes("y/a", "x/a", "TCP 80"));
    assert!(!world.passes("fd77:1::3", "fd77:1::1", "TCP 80"));
    for kind in 133..=137 {
        assert!(world.passes("fd77:1::3", "fd77:1::1", &format!("ICMP {kind}")));
    }
    assert!(!world.passes("fd77:1::3", "fd77:1::1", "ICMP 128"));
    assert!(!world.passes("y/a", "x/a", "ICMP 135"), "that is no neighbour discovery in IPv4");
    world.policy("x/p", ingress("a", json!([{"from": [block("0.0.0.0/0"), block("::/0")]}])));
    assert!(world.passes("2001:db8::7", "fd77:1::1", "TCP 80"));
    assert!(world.passes(OUTSIDE, "x/a", "TCP 80"));
}

/// A.4 and I8: a name is each destination's own.
#[test]
fn named_ports_are_resolved_per_pod() {
    let mut world = World::new(&["x/a", "y/a", "y/b"]);
    for (pod, n, port) in [("y/a", 2, 8000), ("y/b", 3, 8080)] {
        let ports = json!([{"ports": [{"name": "web", "containerPort": port}]}]);
        // A sidecar's port counts as any other.
        let sidecar = json!([{"restartPolicy": "Always",
            "ports": [{"name": "side", "containerPort": port + 1}]}]);
        let status = json!({"phase": "Running", "podIPs": [{"ip": format!("10.77.1.{n}")}]});
        world.pod(
            pod,
            json!({"spec": {"containers": ports, "initContainers": sidecar},
            "status": status}),
        );
    }
    world.policy("x/p", egress("", json!([{"ports": [{"port": "web"}, {"port": "side"}]}])));
    let table = [
        ("y/a", 8000, true),
        ("y/a", 8080, false),
        ("y/b", 8080, true),
        ("y/b", 8000, false),
        ("y/a", 8001, true),
        ("y/b", 8081, true),
        (OUTSIDE, 8000, false),
    ];
    for (to, port, expected) in table {
        assert_eq!(world.passes("x/a", to, &format!("TCP {port}")), expected, "{to} {port}");
    }
    // With a block, both must hold.
    let rule = json!([{"to": [block("10.77.1.2/32")], "ports": [{"port": "web"}]}]);
    world.policy("x/p", egress("", rule));
    assert!(world.passes("x/a", "y/a", "TCP 8000"));
    assert!(!world.passes("x/a", "y/a", "TCP 8080") && !world.passes("x/a", "y/b", "TCP 8080"));
}

/// A.5, I5, I18, I19: the node, and oneself.
#[test]
fn the_node_and_oneself() {
    let mut world = World::new(&["x/a", "y/a"]);
    world.policy("x/p", json!({"policyTypes": ["Ingress", "Egress"]}));
    assert!(world.passes(NODE, "x/a", "TCP 8080"), "probes of the kubelet");
    assert!(!world.passes("10.9.0.2", "x/a", "TCP 8080"), "another node is nobody special");
    assert!(world.passes("x/a", "x/a", "TCP 80"), "also by way of a Service");
    assert!(!world.passes("x/a", NODE, "TCP 22"), "the own node is a destination as any other");
    assert!(world.passes("y/a", NODE, "TCP 22"));
    assert!(!world.passes("x/a", OUTSIDE, "ICMP 8"));
    world.policy("x/p", egress("a", json!([{"to": [block("10.9.0.1/32")]}])));
    assert!(world.passes("x/a", NODE, "TCP 22"));
}

/// I4: the destination is the endpoint, and the port is its own.
#[test]
fn the_address_of_a_service_grants_nothing() {
    let mut world = World::new(&["x/a", "y/a"]);
    world.policy("x/p", egress("a", json!([{"to": [block("10.88.0.0/16")]}])));
    assert!(!world.passes("x/a", "y/a", "TCP 80"));
    let rule = json!([{"to": [namespaces("y")], "ports": [{"port": 53, "protocol": "UDP"}]}]);
    world.policy("x/p", egress("a", rule));
    assert!(!world.passes("x/a", "y/a", "UDP 5353") && world.passes("x/a", "y/a", "UDP 53"));
}

/// A.6: the node's own DNS is reached whatever policies say, and nothing else there.
#[test]
fn the_dns_of_the_node() {
    let mut world = World::new(&["x/a", "y/a"]);
    world.options.dns_listeners = [pointsman_tests::policy::ip(NODE)].into();
    world.policy("x/p", json!({"policyTypes": ["Egress"]}));
    assert!(world.passes("x/a", NODE, "UDP 53") && world.passes("x/a", NODE, "TCP 53"));
    assert!(!world.passes("x/a", NODE, "SCTP 53") && !world.passes("x/a", NODE, "UDP 54"));
    assert!(!world.passes("x/a", "y/a", "UDP 53"));
}

/// A.5, I6: Pods of the host network are neither subjects nor peers.
#[test]
fn the_host_network_is_left_alone() {
    let mut world = World::new(&["x/a", "y/a"]);
    let status = json!({"phase": "Running", "podIPs": [{"ip": "10.9.0.7"}]});
    world.pod("x/h", json!({"spec": {"hostNetwork": true}, "status": status}));
    world.policy(
        "x/p",
        json!({"policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"podSelector": {}}]}]}),
    );
    assert!(world.passes("y/a", "10.9.0.7", "TCP 6443"), "no subject");
    assert!(!world.passes("10.9.0.7", "x/a", "TCP 80"), "no peer");
}

/// A.7, I7: the life of a Pod and of its address.
#[test]
fn the_life_of_a_pod() {
    let mut world = World::new(&["x/a", "x/b", "x/c"]);
    world.policy("x/p", ingress("a", json!([{"from": [pods("b")]}])));
    assert!(world.passes("x/b", "x/a", "TCP 80"));
    let at = |phase: &str, start: &str| {
        json!({"status": {"phase": phase,
        "podIPs": [{"ip": "10.77.1.2"}], "startTime": start}})
    };
    // Being deleted changes nothing yet.
    let mut deleting = at("Running", "2026-01-01T00:00:00Z");
    deleting["metadata"] = json!({"deletionTimestamp": "2026-01-02T00:00:00Z"});
    world.pod("x/b", deleting);
    assert!(world.passes("x/b", "x/a", "TCP 80"));
    // A younger Pod has the address now, whoever is first by name.
    world.pod("x/0", at("Running", "2026-01-03T00:00:00Z"));
    assert!(!world.passes("10.77.1.2", "x/a", "TCP 80"));
    world.apply(Change::PodGone(NamespacedName::new("x", "0")));
    assert!(world.passes("10.77.1.2", "x/a", "TCP 80"));
    for phase in ["Succeeded", "Failed"] {
        world.pod("x/b", at(phase, "2026-01-01T00:00:00Z"));
        assert!(!world.passes("10.77.1.2", "x/a", "TCP 80"), "{phase}");
    }
}

/// I1: an address of the node's block that nobody is known to have.
#[test]
fn an_unknown_pod_is_held_back() {
    let mut world = World::new(&["x/a", "y/a"]);
    world.options.hold_unknown_seconds = Some(30);
    assert!(world.passes("10.77.1.20", OUTSIDE, "TCP 443"), "no policy could deny it");
    world.policy("z/p", json!({"policyTypes": ["Egress"]}));
    assert!(!world.passes("10.77.1.20", OUTSIDE, "TCP 443"));
    assert!(world.passes(OUTSIDE, "10.77.1.20", "TCP 443"), "no policy could deny that");
    assert!(world.passes("x/a", OUTSIDE, "TCP 443"), "a known Pod without a policy");
    let status = json!({"phase": "Running", "podIPs": [{"ip": "10.77.1.20"}]});
    world.pod("y/new", json!({"status": status}));
    assert!(world.passes("10.77.1.20", OUTSIDE, "TCP 443"));
}

/// A field that is not known closes its rule, and no other.
#[test]
fn an_unknown_field_fails_closed() {
    let mut world = World::new(&["x/a", "x/b", "y/a"]);
    let rules =
        json!([{"from": [{"podSelector": {}, "zones": ["a"]}]}, {"from": [namespaces("y")]}]);
    assert_eq!(world.policy("x/p", ingress("a", rules)).len(), 1);
    world.matrix("TCP 80", &["*>x/a", "+y/a>x/a"]);
}
