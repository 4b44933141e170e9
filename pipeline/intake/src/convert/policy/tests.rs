//! One table for each part of the specification: what is written, and what it means.

use model::{
    ClusterNetworkPolicy, Direction, NetworkPolicy, Notice, Peers, PolicyAction, Ports, Reason,
};
use serde_json::{Value, json};

use super::{cluster_network_policy, network_policy};
use crate::convert::Names;
use crate::wire::Field;

fn network(spec: &Value) -> (NetworkPolicy, Vec<Notice>) {
    let object = json!({"metadata": {"name": "p", "namespace": "shop"}, "spec": spec});
    let wire: Field<_> = serde_json::from_value(object).unwrap();
    let (policy, notices) = network_policy(wire.get().unwrap(), &mut Names::default());
    (policy.unwrap(), notices)
}

/// A policy that must be without fault.
fn right(spec: &Value) -> NetworkPolicy {
    let (policy, notices) = network(spec);
    assert_eq!(notices, [], "{spec}");
    policy
}

/// The rules of a direction in words; `-` where the policy does not isolate in it.
fn words(policy: &NetworkPolicy, direction: Direction) -> String {
    let Some(rules) = policy.rules(direction) else { return "-".into() };
    let words = rules.iter().map(|rule| {
        let peers = match &rule.peers {
            Peers::Anybody => "anybody".into(),
            Peers::AnyOf(peers) => list(peers),
        };
        let ports = match &rule.ports {
            Ports::Any => "any port".into(),
            Ports::AnyOf(ports) => list(ports),
        };
        let closed = if rule.closed { " (closed)" } else { "" };
        format!("{peers}: {ports}{closed}")
    });
    format!("[{}]", words.collect::<Vec<_>>().join("; "))
}

fn list<T: ToString>(items: &[T]) -> String {
    let words: Vec<String> = items.iter().map(ToString::to_string).collect();
    if words.is_empty() { "nobody".into() } else { words.join(" or ") }
}

#[test]
fn the_effective_spec() {
    let all = "[anybody: any port]";
    // Spec, then ingress and egress.
    let table = [
        (json!({}), "[]", "-"),
        (json!({"podSelector": null, "policyTypes": null}), "[]", "-"),
        (json!({"policyTypes": []}), "[]", "-"),
        (json!({"egress": []}), "[]", "-"),
        (json!({"egress": [{}]}), "[]", all),
        (json!({"policyTypes": ["Egress"], "ingress": [{}]}), "-", "[]"),
        (json!({"policyTypes": ["Ingress"], "egress": [{}]}), "[]", "-"),
        (json!({"policyTypes": ["Ingress"], "ingress": []}), "[]", "-"),
        (json!({"policyTypes": ["Ingress"], "ingress": null}), "[]", "-"),
        (json!({"policyTypes": ["Ingress", "Egress"]}), "[]", "[]"),
        (json!({"ingress": [{}]}), all, "-"),
        (json!({"ingress": [{"from": [], "ports": []}]}), all, "-"),
        (json!({"ingress": [{"from": null, "ports": null}]}), all, "-"),
    ];
    for (spec, ingress, egress) in table {
        let policy = right(&spec);
        assert_eq!(words(&policy, Direction::Ingress), ingress, "{spec}");
        assert_eq!(words(&policy, Direction::Egress), egress, "{spec}");
        assert!(policy.pods.requirements().is_empty(), "{spec}: every Pod of the namespace");
    }
}

#[test]
fn ports_and_their_defaults() {
    let table = [
        (json!({}), "TCP"),
        (json!({"protocol": "UDP"}), "UDP"),
        (json!({"port": 80}), "TCP 80"),
        (json!({"port": 80, "protocol": "SCTP"}), "SCTP 80"),
        (json!({"port": "http"}), "TCP http"),
        (json!({"port": 32000, "endPort": 32768}), "TCP 32000-32768"),
        (json!({"port": 80, "endPort": 80}), "TCP 80"),
    ];
    for (port, expected) in table {
        let policy = right(&json!({"ingress": [{"ports": [port]}]}));
        assert_eq!(words(&policy, Direction::Ingress), format!("[anybody: {expected}]"));
    }
}

#[test]
fn selectors_of_peers_that_are_set_and_not_set() {
    let any = json!({});
    let web = json!({"matchLabels": {"app": "web"}});
    let not = json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["b", "a"]},
        {"key": "tier", "operator": "Exists"}, {"key": "old", "operator": "DoesNotExist"}]});
    let table = [
        (json!({"podSelector": any}), "pods {} of namespace shop"),
        (json!({"podSelector": web, "namespaceSelector": null}), "pods app=web of namespace shop"),
        (json!({"namespaceSelector": any}), "pods {} of namespaces {}"),
        (
            json!({"podSelector": not, "namespaceSelector": web}),
            "pods app notin (a,b),!old,tier of namespaces app=web",
        ),
        (json!({"ipBlock": {"cidr": "10.0.0.0/0"}}), "addresses 0.0.0.0/0"),
        (
            json!({"ipBlock": {"cidr": "10.9.1.2/16", "except": ["10.9.1.7/24"]}}),
            "addresses 10.9.0.0/16 except 10.9.1.0/24",
        ),
        (json!({"ipBlock": {"cidr": "::/0"}}), "addresses ::/0"),
    ];
    for (peer, expected) in table {
        let policy = right(&json!({"ingress": [{"from": [peer]}]}));
        assert_eq!(words(&policy, Direction::Ingress), format!("[{expected}: any port]"));
    }
}

#[test]
fn what_is_wrong_or_unknown_closes_its_rule_alone() {
    let from = |peer: Value| json!({"from": [{"podSelector": {}}, peer]});
    let port = |port: Value| json!({"ports": [{"port": 80}, port]});
    let table = [
        (from(json!({})), "ingress[0].from[1] has nothing"),
        (from(json!({"ipBlock": {"cidr": "::/0"}, "podSelector": {}})), "expected ipBlock alone"),
        (from(json!({"ipBlock": {"cidr": "x"}})), "from[1].ipBlock.cidr is \"x\""),
        (from(json!({"ipBlock": {"cidr": "::/0", "except": ["10.0.0.0/8"]}})), "except[0]"),
        (from(json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]}})), "smaller"),
        (from(json!({"serviceAccounts": {}})), "from[1].serviceAccounts is a field that is not"),
        (from(json!({"podSelector": {"matchCEL": "x"}})), "podSelector.matchCEL is a field"),
        (from(json!({"podSelector": {"matchLabels": {"a": 1}}})), "matchLabels.a is 1"),
        (
            from(json!({"podSelector": {"matchExpressions": [{"key": "a", "operator": "Gt"}]}})),
            "operator is \"Gt\"",
        ),
        (
            from(json!({"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}})),
            "In or NotIn with values",
        ),
        (from(Value::Null), "from[1] is null"),
        (json!({"from": {}}), "from is an object: expected a list"),
        (port(json!({"endPort": 90})), "no endPort without a port"),
        (port(json!({"port": "http", "endPort": 90})), "no endPort with the name"),
        (port(json!({"port": 80, "endPort": 79})), "at least 80"),
        (port(json!({"port": 0})), "ports[1].port is 0"),
        (port(json!({"port": 65536})), "from 1 to 65535"),
        (port(json!({"port": "Http"})), "a port's name"),
        (port(json!({"port": "80"})), "a port's name"),
        (port(json!({"port": "a-name-too-long-x"})), "a port's name"),
        (port(json!({"protocol": "tcp"})), "TCP, UDP or SCTP"),
        (port(json!({"protocol": "ICMP"})), "TCP, UDP or SCTP"),
        (port(json!({"icmp": {"type": 8}})), "ports[1].icmp is a field that is not known"),
        (json!({"priority": 3}), "ingress[0].priority is a field that is not known"),
        (Value::Null, "ingress[0] is null"),
    ];
    for (rule, expected) in table {
        let (policy, notices) = network(&json!({"ingress": [rule, {"ports": [{"port": 1}]}]}));
        let ingress = words(&policy, Direction::Ingress);
        assert_eq!(ingress, "[nobody: any port (closed); anybody: TCP 1]", "{rule}");
        let [notice] = notices.as_slice() else { panic!("{rule}: {notices:?}") };
        assert!(notice.to_string().starts_with("NetworkPolicy shop/p: spec.ingress"), "{notice}");
        assert!(notice.message.contains(expected), "{notice}");
        assert!(notice.message.ends_with("its rule allows nothing"), "{notice}");
        let unknown = notice.message.contains("not known");
        assert_eq!(notice.reason == Reason::UnknownField, unknown, "{notice}");
    }
}

#[test]
fn what_is_wrong_above_the_rules_isolates() {
    let ingress = json!([{}]);
    // Spec, then ingress, egress and whether every Pod of the namespace is isolated.
    let table = [
        (
            json!({"policyTypes": ["ingress"], "ingress": ingress}),
            "[anybody: any port]",
            "[]",
            true,
        ),
        (
            json!({"policyTypes": ["Ingress", "Egress", "Both"], "podSelector": {"matchLabels":
                {"a": "b"}}}),
            "[]",
            "[]",
            false,
        ),
        (json!({"order": 3, "ingress": ingress}), "[]", "[]", true),
        (
            json!({"order": 3, "ingress": ingress, "policyTypes": ["Ingress"],
                "podSelector": {"matchLabels": {"a": "b"}}}),
            "[]",
            "-",
            false,
        ),
        (json!({"podSelector": {"names": []}, "ingress": ingress}), "[]", "[]", true),
        (json!({"ingress": {}, "egress": {}}), "[]", "[]", true),
        (json!("x"), "[]", "[]", true),
        (json!([]), "[]", "[]", true),
    ];
    for (spec, ingress, egress, everybody) in table {
        let (policy, notices) = network(&spec);
        assert_eq!(words(&policy, Direction::Ingress), ingress, "{spec}");
        assert_eq!(words(&policy, Direction::Egress), egress, "{spec}");
        assert_eq!(policy.pods.requirements().is_empty(), everybody, "{spec}");
        assert!(!notices.is_empty(), "{spec}");
    }
}

fn cluster(spec: &Value) -> (Option<ClusterNetworkPolicy>, Vec<Notice>) {
    let object = json!({"metadata": {"name": "c"}, "spec": spec});
    let wire: Field<_> = serde_json::from_value(object).unwrap();
    cluster_network_policy(wire.get().unwrap(), &mut Names::default())
}

/// A policy with one rule.
fn with(direction: &str, rule: &Value) -> Value {
    json!({"tier": "Admin", "priority": 7, "subject": {"namespaces": {}}, direction: [rule]})
}

#[test]
fn a_cluster_network_policy_that_is_right() {
    let spec = json!({"tier": "Baseline", "priority": 1000,
        "subject": {"pods": {"namespaceSelector": {"matchLabels": {"team": "a"}},
            "podSelector": {"matchLabels": {"app": "web"}}}},
        "ingress": [{"name": "in", "action": "Pass", "from": [{"namespaces": {}},
            {"pods": {"podSelector": {"matchLabels": {"x": "y"}}}}],
            "protocols": [{"tcp": {"destinationPort": {"number": 80}}},
                {"udp": {"destinationPort": {"range": {"start": 5, "end": 9}}}},
                {"sctp": {"destinationPort": {"number": 3}}}, {"destinationNamedPort": "http"}]}],
        "egress": [{"action": "Accept", "to": [{"networks": ["10.0.0.0/8", "fd00::/8"]},
            {"nodes": {"matchLabels": {"r": "e"}}}]}, {"action": "Deny", "to": [{"namespaces": {}}]}],
    });
    let (policy, notices) = cluster(&spec);
    let policy = policy.unwrap();
    assert_eq!(notices, []);
    assert_eq!((policy.tier, policy.priority), (model::Tier::Baseline, 1000));
    assert_eq!(policy.subject.to_string(), "pods app=web of namespaces team=a");
    let rule = &policy.ingress[0];
    assert_eq!((rule.name.as_deref(), rule.action), (Some("in"), PolicyAction::Pass));
    let Peers::AnyOf(peers) = &rule.peers else { panic!() };
    assert_eq!(list(peers), "pods {} of namespaces {} or pods x=y of namespaces {}");
    let Ports::AnyOf(ports) = &rule.ports else { panic!() };
    assert_eq!(list(ports), "TCP 80 or UDP 5-9 or SCTP 3 or http");
    let Peers::AnyOf(peers) = &policy.egress[0].peers else { panic!() };
    assert_eq!(list(peers), "addresses 10.0.0.0/8 or addresses fd00::/8 or nodes r=e");
    assert_eq!(policy.egress[1].action, PolicyAction::Deny);
    assert_eq!(policy.egress[1].ports, Ports::Any);
}

#[test]
fn a_cluster_rule_that_cannot_be_read_fails_closed() {
    let all = json!([{"namespaces": {}}]);
    let table = [
        ("ingress", json!({"from": [{"networks": ["10.0.0.0/8"]}]}), "networks is a field"),
        ("ingress", json!({"from": [{}]}), "exactly one of namespaces, pods"),
        ("ingress", json!({"from": [{"namespaces": {}, "pods": {"podSelector": {}}}]}), "exactly"),
        ("ingress", json!({"from": []}), "at least one entry of from"),
        ("ingress", json!({}), "at least one entry of from"),
        ("ingress", json!({"from": all, "protocols": [{"tcp": {}}]}), "destinationPort"),
        ("ingress", json!({"from": all, "protocols": [{}]}), "exactly one of tcp"),
        ("ingress", json!({"from": all, "protocols": [{"icmp": {}}]}), "icmp is a field"),
        (
            "ingress",
            json!({"from": all, "protocols": [{"tcp": {"destinationPort": {"range":
                {"start": 9, "end": 9}}}}]}),
            "a start below its end",
        ),
        ("ingress", json!({"from": all, "when": "later"}), "when is a field"),
        ("egress", json!({"to": [{"domainNames": ["*.example.org"]}]}), "domainNames"),
        ("egress", json!({"to": [{"networks": ["x"]}]}), "networks[0]"),
        (
            "egress",
            json!({"to": [{"networks": ["::/0"]}], "protocols": [{"destinationNamedPort": "a"}]}),
            "Pods alone",
        ),
        ("egress", json!({"to": [{"galaxies": {}}]}), "galaxies is a field"),
    ];
    for (direction, rule, expected) in table {
        for action in ["Accept", "Deny", "Pass"] {
            let mut rule = rule.clone();
            rule["action"] = action.into();
            let (policy, notices) = cluster(&with(direction, &rule));
            let policy = policy.unwrap();
            let [rule] = [&policy.ingress[..], &policy.egress[..]].concat().try_into().unwrap();
            let (outcome, peers) = match action {
                "Accept" => (PolicyAction::Accept, Peers::AnyOf(vec![])),
                _ => (PolicyAction::Deny, Peers::Anybody),
            };
            assert_eq!(
                (rule.action, rule.peers, rule.closed),
                (outcome, peers, true),
                "{expected}"
            );
            assert_eq!(notices.len(), 1, "{notices:?}");
            assert!(notices[0].message.contains(expected), "{expected}: {}", notices[0]);
        }
    }
    let (policy, notices) = cluster(&with("ingress", &json!({"action": "Log", "from": all})));
    assert_eq!(policy.unwrap().ingress[0].peers, Peers::Anybody, "an unknown action denies");
    assert_eq!(notices.len(), 1);
}

#[test]
fn a_cluster_policy_needs_its_place_and_its_subject() {
    let rule = json!({"action": "Deny", "from": [{"namespaces": {}}]});
    let table = [
        ("tier", json!("Middle"), "Admin or Baseline"),
        ("tier", Value::Null, "tier in it"),
        ("priority", json!(1001), "a number from 0 to 1000"),
        ("priority", json!(-1), "a whole number"),
        ("subject", json!({}), "exactly one of namespaces, pods"),
        ("subject", json!({"nodes": {}}), "subject.nodes is a field"),
    ];
    for (field, value, expected) in table {
        let mut spec = with("ingress", &rule);
        spec[field] = value;
        let (policy, notices) = cluster(&spec);
        assert_eq!(policy, None, "{spec}");
        assert!(notices[0].message.contains(expected), "{}", notices[0]);
    }
    let mut spec = with("ingress", &rule);
    spec["expires"] = json!("2026-12-01");
    let (policy, notices) = cluster(&spec);
    assert!(policy.unwrap().ingress[0].closed);
    assert_eq!(notices[0].reason, Reason::UnknownField);
}
