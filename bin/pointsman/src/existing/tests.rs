//! Which connections are judged again, and how.

use std::net::SocketAddr;

use intake::convert::{self, Names};
use intake::wire::{Expected, Field};
use model::{Change, Cluster};
use plan::{Config, Planner};
use serde_json::{Value, json};
use sync::conntrack::Tuple;

use super::*;
use crate::denied::Denied;

/// Pods `a` to `d` of namespace `x` on this node, `far` on another.
struct World {
    cluster: Cluster,
    planner: Planner,
    names: Names,
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn read<T: serde::de::DeserializeOwned + Expected>(object: Value) -> T {
    serde_json::from_value::<Field<T>>(object).unwrap().into_option().unwrap()
}

impl World {
    fn new() -> Self {
        let mut config = Config::new("alpha");
        config.network_policy.enforce = true;
        let mut world = Self {
            cluster: Cluster::default(),
            planner: Planner::new(config),
            names: Names::default(),
        };
        for (name, node, number) in
            [("a", "alpha", 1), ("b", "alpha", 2), ("c", "alpha", 3), ("far", "beta", 9)]
        {
            world.pod(name, node, &format!("10.77.1.{number}"), "old");
        }
        world
    }

    fn take(&mut self, change: Change) -> PolicyChanges {
        let owners = self.cluster.apply(change);
        self.planner.update(&self.cluster, &owners);
        self.planner.take_policy_changes()
    }

    fn pod(&mut self, name: &str, node: &str, address: &str, role: &str) -> PolicyChanges {
        let wire = read(json!({
            "metadata": {"name": name, "namespace": "x", "labels": {"pod": name, "role": role}},
            "spec": {"nodeName": node, "containers": [
                {"ports": [{"name": "web", "containerPort": 80, "protocol": "TCP"}]}]},
            "status": {"phase": "Running", "podIPs": [{"ip": address}]},
        }));
        let (pod, _) = convert::pod(&wire, &mut self.names);
        self.take(Change::Pod(pod.unwrap()))
    }

    /// A NetworkPolicy for the Pod `a`.
    fn policy(&mut self, spec: Value) -> PolicyChanges {
        let mut spec = spec;
        spec["podSelector"] = json!({"matchLabels": {"pod": "a"}});
        let metadata = json!({"name": "p", "namespace": "x"});
        let wire = read(json!({"metadata": metadata, "spec": spec}));
        let (policy, _) = convert::network_policy(&wire, &mut self.names);
        self.take(Change::NetworkPolicy(policy.unwrap()))
    }

    fn affected(&self, changes: &PolicyChanges, condemned: bool) -> Vec<String> {
        let affected = affected(&self.planner.intent().policy, changes, condemned);
        affected.iter().map(ToString::to_string).collect()
    }

    fn forbidden(&self, entry: &Entry) -> Option<bool> {
        forbidden(&self.planner.intent().policy, &BTreeSet::from([ip("10.9.0.1")]), entry)
    }
}

fn entry(protocol: u8, from: &str, to: &str, answers_from: &str) -> Entry {
    let at = |text: &str| text.parse::<SocketAddr>().unwrap();
    Entry {
        protocol,
        original: Tuple { source: at(from), destination: at(to) },
        reply: Tuple { source: at(answers_from), destination: at(from) },
        status: 0,
        state: None,
        timeout: None,
        mark: 0,
        id: 1,
        zone: 0,
    }
}

fn from_new() -> Value {
    json!({"ingress": [{"from": [{"podSelector": {"matchLabels": {"role": "new"}}}]}]})
}

#[test]
fn a_policy_that_comes_changes_or_goes_concerns_its_subjects() {
    let mut world = World::new();
    let changes = world.policy(from_new());
    assert_eq!(world.affected(&changes, false), ["10.77.1.1"]);
    let changes = world.policy(json!({"ingress": []}));
    assert_eq!(world.affected(&changes, false), ["10.77.1.1"]);
    let gone = Change::NetworkPolicyGone(model::NamespacedName::new("x", "p"));
    let changes = world.take(gone);
    // Nothing is forbidden by that; what was may be let through again.
    assert_eq!(world.affected(&changes, false), [""; 0]);
    assert_eq!(world.affected(&changes, true), ["10.77.1.1"]);
}

#[test]
fn a_pod_that_joins_a_set_concerns_nobody_unless_something_is_condemned() {
    let mut world = World::new();
    world.policy(from_new());
    let joins = world.pod("far", "beta", "10.77.1.9", "new");
    assert_eq!(world.affected(&joins, false), [""; 0]);
    assert_eq!(world.affected(&joins, true), ["10.77.1.9"]);
    let leaves = world.pod("far", "beta", "10.77.1.9", "old");
    assert_eq!(world.affected(&leaves, false), ["10.77.1.9"], "its connections, and no others");
}

#[test]
fn where_a_rule_denies_a_pod_that_joins_its_set_is_concerned() {
    let mut world = World::new();
    let wire = read(json!({"metadata": {"name": "p"}, "spec": {
        "tier": "Admin", "priority": 1, "subject": {"namespaces": {}},
        "ingress": [{"action": "Deny", "from": [
            {"pods": {"namespaceSelector": {}, "podSelector": {"matchLabels": {"role": "new"}}}}]}],
    }}));
    let (policy, notices) = convert::cluster_network_policy(&wire, &mut world.names);
    assert_eq!(notices, []);
    world.take(Change::ClusterNetworkPolicy(policy.unwrap()));
    let joins = world.pod("far", "beta", "10.77.1.9", "new");
    assert_eq!(world.affected(&joins, false), ["10.77.1.9"]);
}

#[test]
fn connections_are_judged_by_where_they_really_lead() {
    let mut world = World::new();
    let named = json!({"ingress": [{"ports": [{"port": "web"}],
        "from": [{"podSelector": {"matchLabels": {"pod": "b"}}}]}]});
    world.policy(named);
    let through = |from: &str, to: &str| entry(6, from, "10.88.0.30:8000", to);
    // The port of the Service says nothing, that of the Pod decides.
    let open = through("10.77.1.2:4000", "10.77.1.1:80");
    assert_eq!(world.forbidden(&open), Some(false));
    assert_eq!(world.forbidden(&through("10.77.1.2:4000", "10.77.1.1:81")), Some(true));
    assert_eq!(world.forbidden(&through("10.77.1.3:4000", "10.77.1.1:80")), Some(true));
    let other_protocol = Entry { protocol: 17, ..open };
    assert_eq!(world.forbidden(&other_protocol), Some(true));
    // What the Pod itself began, and what nobody is asked about.
    assert_eq!(world.forbidden(&through("10.77.1.1:4000", "10.77.1.3:80")), Some(false));
    assert_eq!(world.forbidden(&through("10.77.1.3:4000", "10.77.1.2:80")), Some(false));
    // The node reaches its Pods.
    assert_eq!(world.forbidden(&through("10.9.0.1:4000", "10.77.1.1:81")), Some(false));
    // A Pod reaches itself, and questions of ICMP are judged.
    assert_eq!(world.forbidden(&through("10.77.1.1:4000", "10.77.1.1:81")), Some(false));
    let ping = entry(1, "10.77.1.3:0", "10.77.1.1:0", "10.77.1.1:0");
    assert_eq!(world.forbidden(&ping), Some(true));
}

#[test]
fn few_addresses_are_asked_for_one_by_one_and_many_at_once() {
    assert_eq!(questions(None), Family::ALL.map(Filter::family));
    let few: BTreeSet<IpAddr> = [ip("10.77.1.1"), ip("fd77::1")].into();
    let asked = questions(Some(&few));
    assert_eq!(asked.len(), 4);
    assert_eq!(asked[0].source, Some(ip("10.77.1.1")));
    assert_eq!(asked[3].answers_from, Some(ip("fd77::1")));
    let many: BTreeSet<IpAddr> = (1..=9).map(|n| ip(&format!("10.77.1.{n}"))).collect();
    assert_eq!(questions(Some(&many)), [Filter::family(Family::V4)]);
}

/// What the log says of packets, of which the rules told no more than their headers.
#[test]
fn a_denied_packet_is_told_with_its_pods_and_the_policies() {
    let mut world = World::new();
    world.policy(from_new());
    let packet = |from: &str, to: &str, ports| sync::nflog::Logged {
        prefix: String::new(),
        source: ip(from),
        destination: ip(to),
        protocol: 6,
        ports,
        icmp_type: None,
    };
    let told = |packet| Denied::of(&packet, &world.cluster, &world.planner.intent().policy);
    let denied = told(packet("10.77.1.2", "10.77.1.1", Some((4000, 80)))).unwrap();
    let line = serde_json::to_value(&denied).unwrap();
    let why = "isolated by NetworkPolicy x/p, and no rule lets it through";
    let expected = json!({
        "direction": "Ingress", "protocol": "TCP", "policies": ["NetworkPolicy x/p"], "why": why,
        "source": {"address": "10.77.1.2", "port": 4000, "pod": "x/b"},
        "destination": {"address": "10.77.1.1", "port": 80, "pod": "x/a"},
    });
    assert_eq!(line, expected);
    assert_eq!(denied.subject().unwrap().to_string(), "x/a");
    let stranger = told(packet("192.0.2.7", "10.77.1.1", None)).unwrap();
    assert_eq!((stranger.source.pod, stranger.source.port), (None, None));
    // What passes by now is not told.
    assert_eq!(told(packet("10.77.1.1", "10.77.1.2", Some((4000, 80)))), None);
}
