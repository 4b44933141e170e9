//! ClusterNetworkPolicies, around the NetworkPolicies.

use serde_json::{Value, json};

use pointsman_tests::policy::{World, ingress, namespaces};

fn all() -> Value {
    json!({"namespaces": {}})
}

fn of(namespace: &str) -> Value {
    json!({"namespaces": {"matchLabels": {"ns": namespace}}})
}

/// A policy of a tier for the Pods of namespace x.
fn policy(tier: &str, priority: u16, direction: &str, rules: Value) -> Value {
    json!({"tier": tier, "priority": priority, "subject": of("x"), direction: rules})
}

fn rule(action: &str, peer: Value) -> Value {
    json!({"action": action, "from": [peer]})
}

#[test]
fn the_tiers_decide_in_their_order() {
    let pods = ["x/a", "y/a", "z/a"];
    let mut world = World::new(&pods);
    world.cluster_policy("base", policy("Baseline", 0, "ingress", json!([rule("Deny", all())])));
    world.matrix("TCP 80", &["*>x/a"]);
    // A NetworkPolicy that isolates decides before the baseline.
    world.policy("x/p", ingress("", json!([{"from": [namespaces("y")]}])));
    world.matrix("TCP 80", &["*>x/a", "+y/a>x/a"]);
    // One of the other direction does not.
    world.policy("x/p", json!({"policyTypes": ["Egress"], "egress": [{}]}));
    world.matrix("TCP 80", &["*>x/a"]);
    world.policy("x/p", ingress("", json!([])));
    let accept = policy("Admin", 5, "ingress", json!([rule("Accept", of("z"))]));
    world.cluster_policy("admin", accept);
    world.matrix("TCP 80", &["*>x/a", "+z/a>x/a"]);
    // The lower number comes first, and Deny stands.
    let deny = policy("Admin", 4, "ingress", json!([rule("Deny", of("z"))]));
    world.cluster_policy("earlier", deny);
    world.matrix("TCP 80", &["*>x/a"]);
    // Pass leaves the tier: what was accepted behind it is the NetworkPolicies' affair.
    let pass = policy("Admin", 3, "ingress", json!([rule("Pass", of("y"))]));
    world.cluster_policy("first", pass);
    world.without_policy("x/p");
    world.matrix("TCP 80", &["*>x/a"]);
    let base = json!([rule("Pass", of("y")), rule("Deny", all())]);
    world.cluster_policy("base", policy("Baseline", 0, "ingress", base));
    world.matrix("TCP 80", &["*>x/a", "+y/a>x/a"]);
}

#[test]
fn of_one_priority_the_name_decides() {
    for (first, second, open) in [("a", "b", true), ("b", "a", false)] {
        let mut world = World::new(&["x/a", "y/a"]);
        let one = policy("Admin", 7, "ingress", json!([rule("Accept", all())]));
        let two = policy("Admin", 7, "ingress", json!([rule("Deny", all())]));
        world.cluster_policy(first, one);
        world.cluster_policy(second, two);
        assert_eq!(world.passes("y/a", "x/a", "TCP 80"), open);
    }
}

#[test]
fn no_rule_that_matches_means_the_next_tier() {
    let mut world = World::new(&["x/a", "y/a", "z/a"]);
    let rules = json!([rule("Deny", of("z"))]);
    world.cluster_policy("admin", policy("Admin", 0, "ingress", rules));
    world.matrix("TCP 80", &["z/a>x/a"]);
    // The first rule that matches decides.
    let rules = json!([rule("Accept", of("z")), rule("Deny", all())]);
    world.cluster_policy("admin", policy("Admin", 0, "ingress", rules));
    world.matrix("TCP 80", &["*>x/a", "+z/a>x/a"]);
    assert!(world.passes("198.51.100.7", "x/a", "TCP 80"), "from nobody of the cluster");
}

#[test]
fn an_accepted_egress_does_not_open_the_destination() {
    let mut world = World::new(&["x/a", "y/a", "y/b"]);
    let rules = json!([{"action": "Accept", "to": [of("y")]}, {"action": "Deny", "to": [all()]}]);
    world.cluster_policy("admin", policy("Admin", 0, "egress", rules));
    world.policy("y/p", ingress("a", json!([])));
    world.matrix("TCP 80", &["*>y/a"]);
}

#[test]
fn peers_and_protocols() {
    let tcp = |port: Value| json!([{"tcp": {"destinationPort": port}}]);
    let table = [
        (json!({"to": [{"networks": ["10.77.0.0/16"]}]}), "y/a", "TCP 80", true),
        (json!({"to": [{"networks": ["10.77.0.0/16"]}]}), "y/a", "ICMP 8", true),
        (json!({"to": [{"networks": ["fd00::/8"]}]}), "y/a", "TCP 80", false),
        (json!({"to": [{"nodes": {"matchLabels": {"role": "own"}}}]}), "10.9.0.1", "TCP 22", true),
        (json!({"to": [{"nodes": {"matchLabels": {"role": "x"}}}]}), "10.9.0.1", "TCP 22", false),
        (json!({"to": [all()], "protocols": tcp(json!({"number": 80}))}), "y/a", "TCP 80", true),
        (json!({"to": [all()], "protocols": tcp(json!({"number": 80}))}), "y/a", "UDP 80", false),
        (
            json!({"to": [all()], "protocols": tcp(json!({"range": {"start": 79, "end": 81}}))}),
            "y/a",
            "TCP 81",
            true,
        ),
        (
            json!({"to": [all()], "protocols": [{"destinationNamedPort": "serve-81-udp"}]}),
            "y/a",
            "UDP 81",
            true,
        ),
        (
            json!({"to": [all()], "protocols": [{"destinationNamedPort": "serve-81-udp"}]}),
            "y/a",
            "TCP 81",
            false,
        ),
        (
            json!({"to": [{"pods": {"namespaceSelector": {}, "podSelector": {"matchLabels":
                {"pod": "b"}}}}]}),
            "y/a",
            "TCP 80",
            false,
        ),
    ];
    for (mut rule, to, what, matches) in table {
        let mut world = World::new(&["x/a", "y/a"]);
        rule["action"] = "Deny".into();
        let rules = policy("Admin", 0, "egress", json!([rule]));
        world.cluster_policy("admin", rules);
        assert_eq!(world.passes("x/a", to, what), !matches, "{rule}: {to} {what}");
    }
}

/// A rule that names Nodes fails closed where not all Nodes are known.
#[test]
fn nodes_that_are_not_known() {
    for (action, to, open) in [("Deny", "y/a", false), ("Accept", "10.9.0.1", false)] {
        let mut world = World::new(&["x/a", "y/a"]);
        world.options.all_nodes = false;
        let rules = json!([{"action": action, "to": [{"nodes": {}}]},
            {"action": "Deny", "to": [{"networks": ["10.9.0.0/16"]}]}]);
        world.cluster_policy("admin", policy("Admin", 0, "egress", rules));
        assert_eq!(world.passes("x/a", to, "TCP 80"), open, "{action}");
    }
}
