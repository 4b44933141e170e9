//! A capture in other names says the same, and tells nothing of where it comes from.

use std::collections::BTreeSet;

use explain::Mode;
use serde_json::{Value, json};

use super::bundle::{Bundle, Kernel, NodeState, Routing};
use super::names::{Names, Wish};
use super::verdicts::of_node;

/// Words and addresses of the cluster below that nobody else may learn.
const PRIVATE: [&str; 22] = [
    "acme",
    "storefront",
    "checkout",
    "worker-berlin",
    "rack-7",
    "172.20.",
    "192.168.40.",
    "10.250.",
    "203.0.113.77",
    "fd5a:",
    "fd5b:",
    "fd5c:",
    "team.acme",
    "billing",
    "JZKJ7WTWLMGZDNNP",
    "registry.acme",
    "web-port",
    "6f1c",
    "8a2d",
    "partner.acme",
    "192.0.2.128",
    "secret-user",
];

fn node(name: &str, number: u8) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "uid": "6f1c", "labels": {
            "kubernetes.io/hostname": name, "topology.kubernetes.io/zone": "rack-7",
            "team.acme/owner": "billing",
        }},
        "spec": {"podCIDRs": [format!("172.20.{number}.0/24"), format!("fd5a:{number}::/64")]},
        "status": {"addresses": [
            {"type": "InternalIP", "address": format!("192.168.40.{number}")},
            {"type": "InternalIP", "address": format!("fd5b::{number}")},
            {"type": "Hostname", "address": name},
        ]},
    })
}

fn pod(name: &str, node: &str, address: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "acme-prod", "labels": {"app": "storefront"}},
        "spec": {"nodeName": node, "containers": [{
            "name": "storefront", "image": "registry.acme.example/storefront:slow",
            "ports": [{"name": "web-port", "containerPort": 8080}],
        }]},
        "status": {
            "phase": "Running", "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    })
}

fn service(name: &str, more: &Value) -> Value {
    let mut spec = json!({
        "selector": {"app": "storefront"}, "ipFamilies": ["IPv4"],
        "ports": [{"name": "web-port", "port": 80, "protocol": "TCP", "targetPort": "web-port"}],
    });
    for (field, value) in more.as_object().unwrap() {
        spec[field] = value.clone();
    }
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": "acme-prod", "uid": "8a2d"},
        "spec": spec,
        "status": {"loadBalancer": if spec["type"] == "LoadBalancer" {
            json!({"ingress": [{"ip": "203.0.113.77"}]})
        } else {
            json!({})
        }},
    })
}

fn slice(service: &str, endpoints: &[(&str, &str)]) -> Value {
    let endpoint = |(address, node): &(&str, &str)| {
        json!({
            "addresses": [address], "nodeName": node, "zone": "rack-7",
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "targetRef": {"kind": "Pod", "name": "checkout-1", "uid": "8a2d"},
        })
    };
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": format!("{service}-x"), "namespace": "acme-prod",
            "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "ports": [{"name": "web-port", "port": 8080, "protocol": "TCP"}],
        "endpoints": endpoints.iter().map(endpoint).collect::<Vec<_>>(),
    })
}

/// Two nodes, and Services of many kinds, far from a lab's names and addresses.
fn bundle(mode: Mode) -> Bundle {
    let both = [("172.20.9.14", "worker-berlin-9"), ("172.20.10.3", "worker-berlin-10")];
    let local = json!({
        "type": "LoadBalancer", "clusterIP": "10.250.3.5", "clusterIPs": ["10.250.3.5"],
        "externalTrafficPolicy": "Local", "healthCheckNodePort": 31000,
        "loadBalancerSourceRanges": ["192.168.40.0/24", "192.0.2.128/25"],
        "ports": [{"name": "web-port", "port": 80, "nodePort": 30080, "targetPort": "web-port"}],
    });
    let policy = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "checkout-only", "namespace": "acme-prod"},
        "spec": {"podSelector": {"matchLabels": {"team.acme/owner": "billing"}}, "ingress": [{
            "from": [{"ipBlock": {"cidr": "172.20.0.0/16", "except": ["172.20.9.0/24"]}}, {
                "podSelector": {"matchExpressions": [
                    {"key": "team.acme/owner", "operator": "In", "values": ["billing"]},
                ]},
            }],
        }], "policyTypes": ["Ingress"]},
    });
    let objects = vec![
        slice("storefront", &both),
        slice("checkout", &both[..1]),
        policy,
        node("worker-berlin-10", 10),
        node("worker-berlin-9", 9),
        pod("storefront-1", "worker-berlin-9", both[0].0),
        pod("storefront-2", "worker-berlin-10", both[1].0),
        service("checkout", &local),
        service(
            "empty",
            &json!({"clusterIP": "10.250.3.6", "type": "NodePort", "ports": [
            {"port": 53, "protocol": "UDP", "nodePort": 30053}]}),
        ),
        service(
            "partner",
            &json!({"type": "ExternalName", "externalName": "partner.acme.example"}),
        ),
        service(
            "storefront",
            &json!({"clusterIP": "10.250.3.4", "clusterIPs": ["10.250.3.4"],
            "internalTrafficPolicy": "Local", "externalIPs": ["192.0.2.130"]}),
        ),
    ];
    let routing = Routing { mode, cluster_cidrs: vec!["172.20.0.0/16".into()] };
    let kernel = Kernel {
        rules: vec![
            "-A KUBE-SVC-JZKJ7WTWLMGZDNNP ! -s 172.20.0.0/16 -d 10.250.3.4/32 -p tcp -m comment \
             --comment \"acme-prod/storefront:web-port cluster IP\" -j KUBE-MARK-MASQ"
                .into(),
            "10.250.3.4 . tcp . 80 comment \"acme-prod/storefront\" : goto x".into(),
        ],
        connections: vec!["tcp 172.20.9.14:40000 -> [fd5c::1]:80".into()],
    };
    let states = ["worker-berlin-9", "worker-berlin-10"].map(|name| NodeState {
        name: name.into(),
        kernel: kernel.clone(),
        verdicts: of_node(&objects, name, &routing).unwrap(),
    });
    let left_out = vec!["Namespaces: forbidden to secret-user".to_owned()];
    Bundle::new(routing, objects, states.into(), left_out)
}

/// The verdicts that the objects of a bundle lead to are those that it tells.
fn is_consistent(bundle: &Bundle) {
    for node in &bundle.nodes {
        let made = of_node(&bundle.objects, &node.name, &bundle.routing).unwrap();
        assert_eq!(made, node.verdicts, "{}", node.name);
    }
}

#[test]
fn verdicts_are_the_same_in_other_names() {
    for mode in Mode::ALL {
        let original = bundle(mode);
        let verdicts: Vec<_> = original.nodes.iter().flat_map(|node| &node.verdicts).collect();
        let kinds: BTreeSet<&str> =
            verdicts.iter().filter_map(|it| it.verdict.split(' ').next()).collect();
        assert!(verdicts.len() >= 20, "{verdicts:#?}");
        assert!(kinds.contains("DELIVER") && kinds.contains("REJECT"), "{kinds:?}");
        let redacted = Names::of(&original, Wish::Redact).apply(original.clone()).unwrap();
        is_consistent(&redacted);
        assert_eq!(redacted.nodes.iter().flat_map(|it| &it.verdicts).count(), verdicts.len());
        let moved = Names::of(&redacted, Wish::Relocate).apply(redacted.clone()).unwrap();
        is_consistent(&moved);
        let moved = Names::of(&original, Wish::Relocate).apply(original).unwrap();
        is_consistent(&moved);
        // A lab's addresses, and the names as they were.
        let text = serde_json::to_string(&moved).unwrap();
        assert!(text.contains("10.9.0.1") && text.contains("10.77.2.2"), "{text}");
        assert!(text.contains("acme-prod/storefront") && !text.contains("172.20."), "{text}");
    }
}

#[test]
fn nothing_private_is_left_and_the_same_file_is_written_again() {
    let original = bundle(Mode::Iptables);
    let text = |bundle: &Bundle| serde_json::to_string_pretty(bundle).unwrap();
    let before = text(&original);
    for word in PRIVATE {
        assert!(before.contains(word), "the test lost {word}");
    }
    let redacted = Names::of(&original, Wish::Redact).apply(original.clone()).unwrap();
    let after = text(&redacted);
    for word in PRIVATE {
        assert!(!after.contains(word), "{word} is left:\n{after}");
    }
    let again = Names::of(&original, Wish::Redact).apply(original).unwrap();
    assert_eq!(text(&again), after);
    // What a lab needs of an image is kept.
    assert!(after.contains("\"image\": \"slow\""), "{after}");
    assert!(after.contains("KUBE-SVC-0000000000000001"), "{after}");
    assert!(redacted.redacted);
}

#[test]
fn another_form_is_refused() {
    let mut value = serde_json::to_value(bundle(Mode::Nftables)).unwrap();
    value["format"] = "pointsman-capture/2".into();
    let other: Bundle = serde_json::from_value(value).unwrap();
    assert!(other.check().unwrap_err().to_string().contains("pointsman-capture/1"));
}

#[cfg(feature = "lab")]
#[test]
fn the_addresses_are_those_of_a_lab() {
    use model::Family;

    let original = bundle(Mode::Iptables);
    let moved = Names::of(&original, Wish::Relocate).apply(original).unwrap();
    let text = serde_json::to_string(&moved).unwrap();
    for family in Family::ALL {
        assert!(text.contains(&format!("\"{}\"", lab::node_address(2, family))), "{text}");
        assert!(text.contains(&format!("\"{}\"", lab::pod_cidr(2, family))), "{text}");
    }
    assert!(text.contains(&format!("\"{}\"", lab::pod_address(1, 2, Family::V4))), "{text}");
}
