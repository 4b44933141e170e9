//! Generated families of NetworkPolicies, as the generator of cyclonus has them: every kind of
//! target, peer and port, pairs of them, and policies that contradict each other. What is expected
//! comes from the oracle alone.

use serde_json::{Value, json};

use super::objects::{only_in, pods, pods_in};
use super::world::{World, ip};

/// The Pods: three in each of three namespaces.
pub const FAMILY_PODS: [&str; 9] = ["x/a", "x/b", "x/c", "y/a", "y/b", "y/c", "z/a", "z/b", "z/c"];

/// A generated case.
pub struct Case {
    /// The family.
    pub family: &'static str,
    /// What is in it.
    pub name: String,
    /// What happens, in one or more states, each of which is surveyed.
    pub play: Box<dyn Fn(&mut World)>,
}

/// A case of one state.
fn case(family: &'static str, name: String, policies: Vec<(&'static str, Value)>) -> Case {
    let play = move |w: &mut World| {
        for (name, spec) in &policies {
            w.policy(name, spec.clone());
        }
        w.survey();
    };
    Case { family, name, play: Box::new(play) }
}

const SIDES: [(&str, &str, &str); 2] = [("Ingress", "ingress", "from"), ("Egress", "egress", "to")];

/// A policy of one direction for Pod x/a.
fn one_way((kind, field, _): (&str, &str, &str), rules: Value) -> Value {
    json!({"podSelector": pods("a")["podSelector"], "policyTypes": [kind], field: rules})
}

/// The case's name and what it holds.
fn told(side: &str, what: &[&Value]) -> String {
    let what: Vec<String> = what.iter().map(ToString::to_string).collect();
    format!("{side}: {}", what.join(" "))
}

/// Every family, in order.
#[must_use]
pub fn families() -> Vec<Case> {
    let mut cases = Vec::new();
    targets(&mut cases);
    rules(&mut cases);
    peers(&mut cases);
    ports(&mut cases);
    cases.push(example());
    actions(&mut cases);
    conflicts(&mut cases);
    names(&mut cases);
    cases
}

fn targets(cases: &mut Vec<Case>) {
    let selectors = [json!({}), pods("b")["podSelector"].clone(), only_in("pod", &["b", "c"])];
    for name in ["x/p", "y/p", "z/p"] {
        let spec = json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]});
        cases.push(case("target", format!("all of {name}"), vec![(name, spec)]));
    }
    for selector in selectors {
        let spec = json!({"podSelector": selector, "policyTypes": ["Ingress"],
            "ingress": [{"from": [pods("a")]}]});
        cases.push(case("target", told("x", &[&selector]), vec![("x/p", spec)]));
    }
}

fn rules(cases: &mut Vec<Case>) {
    for side in SIDES {
        for rules in [json!([]), json!([{}])] {
            let name = told(side.0, &[&rules]);
            cases.push(case("rules", name, vec![("x/p", one_way(side, rules))]));
        }
    }
}

/// Two blocks, and all combinations of namespace and Pod selectors but for neither.
fn single_peers() -> Vec<Value> {
    let block = json!({"ipBlock": {"cidr": "10.77.0.0/16"}});
    let except = json!({"ipBlock": {"cidr": "10.77.0.0/16", "except": ["10.77.1.0/24"]}});
    let mut peers = vec![block, except];
    let namespaces = [None, Some(json!({})), Some(json!({"matchLabels": {"ns": "y"}}))];
    let of_pods = [None, Some(json!({})), Some(json!({"matchLabels": {"pod": "b"}}))];
    for namespace in &namespaces {
        for pod in &of_pods {
            let mut peer = json!({});
            if let Some(namespace) = namespace {
                peer["namespaceSelector"] = namespace.clone();
            }
            if let Some(pod) = pod {
                peer["podSelector"] = pod.clone();
            }
            if namespace.is_some() || pod.is_some() {
                peers.push(peer);
            }
        }
    }
    peers
}

fn peers(cases: &mut Vec<Case>) {
    let single = single_peers();
    for side in SIDES {
        let mut lists = vec![json!([])];
        lists.extend(single.iter().map(|peer| json!([peer])));
        for (index, one) in single.iter().enumerate() {
            lists.extend(single[index + 1..].iter().map(|other| json!([one, other])));
        }
        for list in lists {
            let name = told(side.0, &[&list]);
            let spec = one_way(side, json!([{side.2: list}]));
            cases.push(case("peers", name, vec![("x/p", spec)]));
        }
    }
}

fn single_ports() -> Vec<Value> {
    let mut ports = Vec::new();
    for protocol in [None, Some("TCP"), Some("UDP"), Some("SCTP")] {
        for port in [None, Some(80), Some(81)] {
            let mut entry = json!({});
            if let Some(protocol) = protocol {
                entry["protocol"] = protocol.into();
            }
            if let Some(port) = port {
                entry["port"] = port.into();
            }
            ports.push(entry);
        }
    }
    for protocol in ["TCP", "UDP", "SCTP"] {
        for port in [80, 81] {
            let name = format!("serve-{port}-{}", protocol.to_lowercase());
            ports.push(json!({"protocol": protocol, "port": name}));
        }
        for last in [80, 84] {
            ports.push(json!({"protocol": protocol, "port": 53, "endPort": last}));
        }
    }
    ports
}

fn ports(cases: &mut Vec<Case>) {
    let odd = [
        json!({"protocol": "TCP", "port": "serve-81-udp"}),
        json!({"protocol": "TCP", "port": "nobody"}),
        json!({"protocol": "TCP", "port": 79}),
    ];
    let pairs = [
        json!([{"protocol": "TCP", "port": 80}, {"protocol": "TCP", "port": 81}]),
        json!([{"protocol": "TCP", "port": 80}, {"protocol": "UDP", "port": 80}]),
        json!([{"protocol": "UDP", "port": 81}, {"protocol": "SCTP", "port": 81}]),
        json!([{"protocol": "TCP", "port": 80}, {"protocol": "TCP", "port": "serve-81-tcp"}]),
        json!([{"protocol": "TCP"}, {"protocol": "UDP", "port": 80}]),
        json!([{}, {"protocol": "SCTP"}]),
        json!([{"port": 53, "endPort": 80}, {"protocol": "UDP", "port": "serve-80-udp"}]),
    ];
    for side in SIDES {
        let mut lists = vec![json!([])];
        lists.extend(single_ports().into_iter().chain(odd.clone()).map(|port| json!([port])));
        lists.extend(pairs.clone());
        for list in lists {
            let name = told(side.0, &[&list]);
            let spec = one_way(side, json!([{"ports": list}]));
            cases.push(case("ports", name, vec![("x/p", spec)]));
        }
    }
}

/// What the documentation of NetworkPolicies shows.
fn example() -> Case {
    let block = json!({"ipBlock": {"cidr": "10.77.0.0/16", "except": ["10.77.1.0/24"]}});
    let peer = json!({"namespaceSelector": {"matchLabels": {"ns": "y"}}});
    let spec = json!({
        "podSelector": pods("a")["podSelector"],
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [block, peer, pods("b")], "ports": [{"protocol": "TCP", "port": 80}]}],
        "egress": [{"to": [{"ipBlock": {"cidr": "10.77.0.0/16"}}],
            "ports": [{"protocol": "TCP", "port": 81}]}],
    });
    case("example", "the documentation's".into(), vec![("x/p", spec)])
}

fn actions(cases: &mut Vec<Case>) {
    let mut add = |name: &str, play: fn(&mut World)| {
        cases.push(Case { family: "action", name: name.into(), play: Box::new(play) });
    };
    add("a policy comes and goes", |w| {
        w.policy("x/p", json!({"policyTypes": ["Ingress", "Egress"]}));
        w.survey();
        w.without_policy("x/p");
        w.survey();
    });
    add("a policy changes", |w| {
        for pod in ["a", "b"] {
            w.policy("x/p", json!({"ingress": [{"from": [pods(pod)]}]}));
            w.survey();
        }
    });
    add("a namespace is labelled and back", |w| {
        let peer = json!({"namespaceSelector": {"matchLabels": {"new": "label"}}});
        w.policy("x/p", json!({"ingress": [{"from": [peer]}]}));
        w.survey();
        w.namespace("y", json!({"ns": "y", "new": "label"}));
        w.survey();
        w.namespace("y", json!({"ns": "y"}));
        w.survey();
    });
    add("a Pod is labelled and back", |w| {
        let peer =
            json!({"namespaceSelector": {}, "podSelector": {"matchLabels": {"new": "label"}}});
        w.policy("x/p", json!({"ingress": [{"from": [peer]}]}));
        w.survey();
        w.pod("y/b", json!({"metadata": {"labels": {"pod": "b", "new": "label"}}}));
        w.survey();
        w.pod("y/b", json!({}));
        w.survey();
    });
    add("a target is labelled and back", |w| {
        let spec = json!({"podSelector": {"matchLabels": {"new": "label"}}});
        w.policy("x/p", spec);
        w.survey();
        w.pod("x/b", json!({"metadata": {"labels": {"pod": "b", "new": "label"}}}));
        w.survey();
        w.pod("x/b", json!({}));
        w.survey();
    });
    add("a namespace is selected by its name, then by its label", |w| {
        let named = json!({"matchLabels": {"kubernetes.io/metadata.name": "y"}});
        for selector in [named, json!({"matchLabels": {"ns": "z"}})] {
            let peer = json!({"namespaceSelector": selector});
            w.policy("x/p", json!({"ingress": [{"from": [peer]}]}));
            w.survey();
        }
    });
}

fn conflicts(cases: &mut Vec<Case>) {
    let whole = |side, rules: &Value| {
        let mut spec = one_way(side, rules.clone());
        spec["podSelector"] = json!({});
        spec
    };
    let (deny, allow) = (json!([]), json!([{}]));
    // One end against the other: x sends, y gets.
    for out in [&deny, &allow] {
        for into in [&deny, &allow] {
            let policies = vec![("x/out", whole(SIDES[1], out)), ("y/in", whole(SIDES[0], into))];
            cases.push(case("conflict", format!("{out} against {into}"), policies));
        }
    }
    for side in SIDES {
        // One policy against another at the same end; the order of names must not matter.
        for (one, two) in [("x/1", "x/2"), ("x/2", "x/1")] {
            let policies = vec![(one, whole(side, &deny)), (two, whole(side, &allow))];
            cases.push(case(
                "conflict",
                format!("{}: {one} denies, {two} allows", side.0),
                policies,
            ));
        }
        let nobody = json!({"ipBlock": {"cidr": "10.77.0.0/16",
            "except": ["10.77.1.0/24", "10.77.2.0/24"]}});
        let everybody = json!({"ipBlock": {"cidr": "10.77.0.0/16"}});
        let unknown = json!({"podSelector": {"matchLabels": {"pod": "nobody"}}});
        for (none, all) in [
            (nobody.clone(), json!({"namespaceSelector": {}})),
            (unknown.clone(), everybody.clone()),
            (nobody, pods_in("b", "y")),
            (unknown, everybody),
        ] {
            let rule = |peer: &Value| json!([{side.2: [peer]}]);
            let name = format!("{}: {none} against {all}", side.0);
            let policies =
                vec![("x/1", whole(side, &rule(&none))), ("x/2", whole(side, &rule(&all)))];
            cases.push(case("conflict", name, policies));
        }
    }
}

fn names(cases: &mut Vec<Case>) {
    let peer = json!({"namespaceSelector": only_in("kubernetes.io/metadata.name", &["x", "z"])});
    for side in SIDES {
        let spec = one_way(side, json!([{side.2: [peer]}]));
        cases.push(case("namespaces", told(side.0, &[&peer]), vec![("x/p", spec)]));
    }
}

/// Where the Pods of a case are where nothing else is asked: on both nodes in turn.
#[must_use]
pub fn family_seats() -> Vec<super::Seat> {
    let seat = |index: usize| super::Seat {
        node: ["alpha", "beta"][index % 2],
        address: ip(&format!("10.77.{}.{}", index % 2 + 1, index + 1)),
    };
    (0..FAMILY_PODS.len()).map(seat).collect()
}

impl Case {
    /// Plays it with Pods in certain places; see [`super::Scenario::play`].
    pub fn play(&self, seats: &[super::Seat]) -> World {
        let mut world = World::seated(&FAMILY_PODS, seats);
        (self.play)(&mut world);
        world.settle();
        world
    }
}
