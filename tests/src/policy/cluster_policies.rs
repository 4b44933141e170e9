//! The conformance tests of ClusterNetworkPolicies, under their upstream names: by tier, direction
//! and protocol. Every one starts with an open cluster.

use model::Protocol::{self, Sctp, Tcp, Udp};
use serde_json::{Value, json};

use super::objects::{egress, ingress, namespaces};
use super::world::{NODE, Scenario, World};

/// Namespace x is the subject; y is for the order of rules, z and w for single ports.
const PODS: &[&str] = &["x/a", "x/b", "y/a", "z/a", "w/a"];

const ADMIN: &str = "Admin";
const BASELINE: &str = "Baseline";
const IN: &str = "ingress";
const OUT: &str = "egress";

macro_rules! conformance {
    ($($id:ident $name:literal $play:expr)*) => {
        /// The tests, in upstream's order.
        pub const CLUSTER_SCENARIOS: [Scenario; 24] = [
            $(Scenario { id: stringify!($id), name: $name, pods: PODS, play: $play },)*
        ];
    };
}

conformance! {
    c01 "CNPAdminTierEgressTCP" |w| ordered(w, ADMIN, &[OUT], &[Tcp])
    c02 "CNPAdminTierEgressUDP" |w| ordered(w, ADMIN, &[OUT], &[Udp])
    c03 "CNPAdminTierEgressSCTP" |w| ordered(w, ADMIN, &[OUT], &[Sctp])
    c04 "CNPAdminTierIngressTCP" |w| ordered(w, ADMIN, &[IN], &[Tcp])
    c05 "CNPAdminTierIngressUDP" |w| ordered(w, ADMIN, &[IN], &[Udp])
    c06 "CNPAdminTierIngressSCTP" |w| ordered(w, ADMIN, &[IN], &[Sctp])
    c07 "CNPAdminTierGress" |w| ordered(w, ADMIN, &[IN, OUT], &Protocol::ALL)
    c08 "CNPAdminTierEgressInlineCIDRPeers" |w| blocks(w, ADMIN)
    c09 "CNPAdminTierEgressNamedPort" |w| named(w, ADMIN, OUT)
    c10 "CNPAdminTierEgressNodePeers" |w| nodes(w, ADMIN)
    c11 "CNPAdminTierIngressNamedPort" |w| named(w, ADMIN, IN)
    c12 "CNPAdminTierIntegration" integration
    c13 "CNPAdminTierPriorityField" priority
    c14 "CNPBaselineTierEgressTCP" |w| ordered(w, BASELINE, &[OUT], &[Tcp])
    c15 "CNPBaselineTierEgressUDP" |w| ordered(w, BASELINE, &[OUT], &[Udp])
    c16 "CNPBaselineTierEgressSCTP" |w| ordered(w, BASELINE, &[OUT], &[Sctp])
    c17 "CNPBaselineTierIngressTCP" |w| ordered(w, BASELINE, &[IN], &[Tcp])
    c18 "CNPBaselineTierIngressUDP" |w| ordered(w, BASELINE, &[IN], &[Udp])
    c19 "CNPBaselineTierIngressSCTP" |w| ordered(w, BASELINE, &[IN], &[Sctp])
    c20 "CNPBaselineTierGress" |w| ordered(w, BASELINE, &[IN, OUT], &Protocol::ALL)
    c21 "CNPBaselineTierEgressInlineCIDRPeers" |w| blocks(w, BASELINE)
    c22 "CNPBaselineTierEgressNamedPort" |w| named(w, BASELINE, OUT)
    c23 "CNPBaselineTierEgressNodePeers" |w| nodes(w, BASELINE)
    c24 "CNPBaselineTierIngressNamedPort" |w| named(w, BASELINE, IN)
}

fn of(namespace: &str) -> Value {
    json!({"namespaces": {"matchLabels": {"ns": namespace}}})
}

fn policy(tier: &str, priority: u16, directions: &[(&str, Vec<Value>)]) -> Value {
    let mut spec = json!({"tier": tier, "priority": priority, "subject": of("x")});
    for (direction, rules) in directions {
        spec[*direction] = rules.clone().into();
    }
    spec
}

fn rule(direction: &str, action: &str, peer: Value) -> Value {
    let side = if direction == IN { "from" } else { "to" };
    json!({"action": action, side: [peer]})
}

fn at(mut rule: Value, protocols: &[Protocol], port: u16) -> Value {
    let one =
        |protocol: &Protocol| json!({protocol.lower(): {"destinationPort": {"number": port}}});
    rule["protocols"] = protocols.iter().map(one).collect();
    rule
}

/// What is closed between the subject and other namespaces.
fn closed(directions: &[&str], others: &[&str]) -> Vec<String> {
    let mut pairs = Vec::new();
    for other in others {
        for direction in directions {
            pairs.push(match *direction {
                IN => format!("{other}/*>x/*"),
                _ => format!("x/*>{other}/*"),
            });
        }
    }
    pairs
}

fn table(w: &mut World, what: &str, directions: &[&str], others: &[&str]) {
    let pairs = closed(directions, others);
    w.matrix(what, &pairs.iter().map(String::as_str).collect::<Vec<_>>());
}

/// Accept, Deny and Pass, by the order of rules and at single ports.
fn ordered(w: &mut World, tier: &str, directions: &[&str], protocols: &[Protocol]) {
    let rules = |direction: &str| {
        let rule = |action, peer| rule(direction, action, of(peer));
        vec![
            rule("Accept", "y"),
            rule("Deny", "y"),
            rule("Pass", "y"),
            at(rule("Deny", "z"), protocols, 80),
            at(rule("Pass", "z"), protocols, 80),
            at(rule("Accept", "w"), protocols, 81),
            rule("Deny", "w"),
        ]
    };
    let mut all: Vec<(&str, Vec<Value>)> =
        directions.iter().map(|direction| (*direction, rules(direction))).collect();
    let other = Protocol::ALL.into_iter().find(|one| !protocols.contains(one));
    let mut state =
        |w: &mut World, swapped: Option<(usize, usize)>, at_80: &[&str], at_81: &[&str]| {
            if let Some((one, two)) = swapped {
                all.iter_mut().for_each(|(_, rules)| rules.swap(one, two));
            }
            w.cluster_policy("gress", policy(tier, 20, &all));
            for protocol in protocols {
                table(w, &format!("{protocol} 80"), directions, at_80);
                table(w, &format!("{protocol} 81"), directions, at_81);
            }
            // Rules for ports are about their protocols alone; the others are about everything.
            let beyond: Vec<&str> = at_81.iter().copied().chain(["w"]).collect();
            if let Some(other) = other {
                table(w, &format!("{other} 80"), directions, &beyond);
            }
        };
    state(w, None, &["z", "w"], &[]);
    state(w, Some((0, 1)), &["y", "z", "w"], &["y"]);
    state(w, Some((0, 2)), &["z", "w"], &[]);
    state(w, Some((3, 4)), &["w"], &[]);
}

/// Networks as peers: a Pod's own address, a larger block, and everything.
fn blocks(w: &mut World, tier: &str) {
    let network = |cidr: &str| json!({"networks": [cidr]});
    let out = |action: &str, cidr: &str| rule(OUT, action, network(cidr));
    let own = format!("{}/32", w.address("y/a"));
    w.cluster_policy("blocks", policy(tier, 20, &[(OUT, vec![out("Deny", &own)])]));
    w.matrix("TCP 80", &["x/*>y/a"]);
    w.matrix("UDP 80", &["x/*>y/a"]);
    let rules = vec![out("Accept", &own), out("Deny", "10.77.0.0/16")];
    w.cluster_policy("blocks", policy(tier, 20, &[(OUT, rules)]));
    w.matrix("TCP 80", &["x/*>*", "+x/*>y/a"]);
    assert!(w.passes("x/a", "198.51.100.7", "TCP 80"));
    let rules = vec![at(out("Accept", &own), &[Tcp], 80), out("Deny", "0.0.0.0/0")];
    w.cluster_policy("blocks", policy(tier, 20, &[(OUT, rules)]));
    w.matrix("TCP 80", &["x/*>*", "+x/*>y/a"]);
    w.matrix("TCP 81", &["x/*>*"]);
    assert!(!w.passes("x/a", "198.51.100.7", "TCP 80"));
    w.cluster_policy("blocks", policy(tier, 20, &[(OUT, vec![out("Deny", "fd00::/8")])]));
    w.matrix("TCP 80", &[]);
}

/// Ports by the name that the destination gives them.
fn named(w: &mut World, tier: &str, direction: &str) {
    let port = |action: &str, name: &str| {
        let mut rule = rule(direction, action, of("y"));
        rule["protocols"] = json!([{"destinationNamedPort": name}]);
        rule
    };
    let rules = vec![port("Deny", "serve-81-tcp")];
    w.cluster_policy("named", policy(tier, 20, &[(direction, rules)]));
    table(w, "TCP 81", &[direction], &["y"]);
    table(w, "TCP 80", &[direction], &[]);
    table(w, "UDP 81", &[direction], &[]);
    let rules = vec![port("Accept", "serve-80-udp"), rule(direction, "Deny", of("y"))];
    w.cluster_policy("named", policy(tier, 20, &[(direction, rules)]));
    table(w, "UDP 80", &[direction], &[]);
    table(w, "UDP 81", &[direction], &["y"]);
    table(w, "TCP 80", &[direction], &["y"]);
    let rules = vec![port("Deny", "nobody")];
    w.cluster_policy("named", policy(tier, 20, &[(direction, rules)]));
    table(w, "TCP 81", &[direction], &[]);
}

/// Nodes as peers. The rule is about every port of theirs.
fn nodes(w: &mut World, tier: &str) {
    let to = |action: &str, role: &str| {
        rule(OUT, action, json!({"nodes": {"matchLabels": {"role": role}}}))
    };
    w.cluster_policy("nodes", policy(tier, 20, &[(OUT, vec![to("Deny", "own")])]));
    w.matrix("TCP 80", &[]);
    assert!(!w.passes("x/a", NODE, "TCP 80") && !w.passes("x/b", NODE, "TCP 80"));
    assert!(w.passes("x/a", "10.9.0.2", "TCP 80") && w.passes("y/a", NODE, "TCP 80"));
    let rules = vec![at(to("Accept", "own"), &[Tcp], 80), to("Deny", "own"), to("Deny", "other")];
    w.cluster_policy("nodes", policy(tier, 20, &[(OUT, rules)]));
    assert!(w.passes("x/a", NODE, "TCP 80") && !w.passes("x/a", NODE, "TCP 81"));
    assert!(!w.passes("x/b", "10.9.0.2", "TCP 80"));
}

/// Admin tier, NetworkPolicy and Baseline tier, each giving way to the next.
fn integration(w: &mut World) {
    let both = |ingress: &str, egress: &str, tier: &str| {
        let rules =
            [(IN, vec![rule(IN, ingress, of("z"))]), (OUT, vec![rule(OUT, egress, of("z"))])];
        policy(tier, 20, &rules)
    };
    w.cluster_policy("baseline", both("Deny", "Deny", BASELINE));
    let allow =
        |spec: fn(&str, Value) -> Value, side: &str| spec("", json!([{side: [namespaces("z")]}]));
    w.policy("x/in", allow(ingress, "from"));
    w.policy("x/out", allow(egress, "to"));
    w.cluster_policy("admin", both("Deny", "Deny", ADMIN));
    w.matrix("TCP 80", &["*>x/*", "x/*>*"]);
    w.cluster_policy("admin", both("Pass", "Deny", ADMIN));
    w.matrix("TCP 80", &["*>x/*", "x/*>*", "+z/*>x/*"]);
    w.cluster_policy("admin", both("Pass", "Pass", ADMIN));
    w.matrix("TCP 80", &["*>x/*", "x/*>*", "+z/*>x/*", "+x/*>z/*"]);
    w.without_policy("x/in");
    w.without_policy("x/out");
    w.matrix("TCP 80", &["z/*>x/*", "x/*>z/*"]);
}

/// The lower number decides, in either order of creation.
fn priority(w: &mut World) {
    let of_priority = |action: &str, number: u16| {
        let rules =
            [(IN, vec![rule(IN, action, of("y"))]), (OUT, vec![rule(OUT, action, of("y"))])];
        policy(ADMIN, number, &rules)
    };
    w.cluster_policy("one", of_priority("Deny", 50));
    w.matrix("TCP 80", &["y/*>x/*", "x/*>y/*"]);
    w.cluster_policy("two", of_priority("Accept", 40));
    w.matrix("TCP 80", &[]);
    w.cluster_policy("two", of_priority("Accept", 60));
    w.matrix("TCP 80", &["y/*>x/*", "x/*>y/*"]);
    w.cluster_policy("one", of_priority("Pass", 30));
    w.matrix("TCP 80", &[]);
}
