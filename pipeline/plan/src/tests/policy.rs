//! The plan of policies: incremental as from nothing, and its parts.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::{
    Change, Cluster, ContainerPort, Demand, Direction, IpBlock, LabelSelector, Labels, Namespaces,
    NetworkPolicy, Owner, Peer, Peers, Pod, PodSelection, PolicyAction, PolicyPort, PolicyRule,
    Ports, Protocol, Requirement,
};
use proptest::prelude::*;

use super::policy_world::some_change;
use super::{cidr, ip};
use crate::policy::{AddressRange, PeerMatch, PolicyChanges, PolicyIntent, PortMatch, SetKey};
use crate::{Config, Planner, PolicyOptions, plan};

fn config() -> Config {
    let network_policy = PolicyOptions {
        enforce: true,
        hold_unknown_seconds: Some(30),
        dns_listeners: BTreeSet::from([ip("10.88.0.10")]),
        all_nodes: true,
    };
    Config { network_policy, ..Config::new("alpha") }
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| (Arc::from(*key), Arc::from(*value))).collect()
}

fn is(key: &str, value: &str) -> LabelSelector {
    let demand = Demand::In(Arc::new([value.into()]));
    LabelSelector::new([Requirement { key: key.into(), demand }])
}

fn pod(name: &str, address: &str, app: &str) -> Pod {
    Pod {
        name: super::named(name),
        uid: name.into(),
        labels: labels(&[("app", app)]),
        ips: Arc::new([ip(address)]),
        node: Some("alpha".into()),
        host_network: false,
        finished: false,
        deleting: false,
        ports: Arc::new([ContainerPort {
            name: "http".into(),
            protocol: Protocol::Tcp,
            port: 8080,
        }]),
        started: Some(0),
        created: Some(0),
    }
}

fn accept(peers: Vec<Peer>, ports: Ports) -> PolicyRule {
    let peers = Peers::AnyOf(peers);
    PolicyRule { name: None, action: PolicyAction::Accept, peers, ports, closed: false }
}

fn policy(name: &str, app: &str, ingress: Vec<PolicyRule>) -> NetworkPolicy {
    let pods = is("app", app);
    NetworkPolicy { name: super::named(name), pods, ingress: Some(ingress), egress: None }
}

fn apps(app: &str) -> Peer {
    let namespaces = Namespaces::Named("shop".into());
    Peer::Pods(PodSelection { namespaces, pods: is("app", app) })
}

/// A planner that lives through changes, and the cluster that it sees.
struct Life {
    cluster: Cluster,
    planner: Planner,
    /// What somebody holds who is told of changes alone.
    mirror: PolicyIntent,
}

impl Life {
    fn new() -> Self {
        let planner = Planner::new(config());
        let mirror = planner.intent().policy.clone();
        Self { cluster: Cluster::default(), planner, mirror }
    }

    fn apply(&mut self, changes: impl IntoIterator<Item = Change>) -> PolicyChanges {
        let mut owners: BTreeSet<Owner> = BTreeSet::new();
        for change in changes {
            owners.extend(self.cluster.apply(change));
        }
        self.planner.update(&self.cluster, &owners);
        let changes = self.planner.take_policy_changes();
        follow(&mut self.mirror, &self.planner.intent().policy, &changes);
        changes
    }

    fn policy(&self) -> &PolicyIntent {
        &self.planner.intent().policy
    }

    fn check(&self) {
        assert_eq!(self.policy(), &plan(&self.cluster, &config()).0.policy);
        assert_eq!(&self.mirror, self.policy(), "the changes tell everything");
    }
}

/// Takes over what changed, and nothing else.
fn follow(mirror: &mut PolicyIntent, now: &PolicyIntent, changes: &PolicyChanges) {
    for address in &changes.subjects {
        match now.subjects.get(address) {
            Some(subject) => drop(mirror.subjects.insert(*address, subject.clone())),
            None => drop(mirror.subjects.remove(address)),
        }
    }
    for key in &changes.classes {
        match now.classes.get(key) {
            Some(class) => drop(mirror.classes.insert(key.clone(), class.clone())),
            None => drop(mirror.classes.remove(key)),
        }
    }
    for (key, delta) in &changes.sets {
        assert_eq!(mirror.sets.contains_key(key), delta.existed, "{key}");
        let mut set = mirror.sets.remove(key).map(|set| (*set).clone()).unwrap_or_default();
        assert!(delta.removed.iter().all(|gone| set.remove(gone)), "{key}");
        assert!(delta.added.iter().all(|new| set.insert(*new)), "{key}");
        if now.sets.contains_key(key) {
            mirror.sets.insert(key.clone(), Arc::new(set));
        }
    }
    for (key, delta) in &changes.named_ports {
        assert_eq!(mirror.named_ports.contains_key(key), delta.existed, "{key}");
        let mut set = mirror.named_ports.remove(key).map(|set| (*set).clone()).unwrap_or_default();
        assert!(delta.removed.iter().all(|gone| set.remove(gone)), "{key}");
        assert!(delta.added.iter().all(|new| set.insert(*new)), "{key}");
        if now.named_ports.contains_key(key) {
            mirror.named_ports.insert(key.clone(), Arc::new(set));
        }
    }
    if changes.held {
        mirror.held.clone_from(&now.held);
    }
}

#[test]
fn only_isolated_pods_of_this_node_are_subjects_and_share_their_class() {
    let mut life = Life::new();
    let elsewhere = Pod { node: Some("beta".into()), ..pod("shop/c", "10.77.2.3", "web") };
    let host = Pod { host_network: true, ..pod("shop/h", "10.9.0.1", "web") };
    let done = Pod { finished: true, ..pod("shop/d", "10.77.1.9", "web") };
    life.apply([
        Change::Pod(pod("shop/a", "10.77.1.1", "web")),
        Change::Pod(pod("shop/b", "10.77.1.2", "web")),
        Change::Pod(pod("shop/x", "10.77.1.3", "db")),
        Change::Pod(elsewhere),
        Change::Pod(host),
        Change::Pod(done),
        Change::NetworkPolicy(policy("shop/p", "web", vec![accept(vec![apps("db")], Ports::Any)])),
    ]);
    life.check();
    let policy = life.policy();
    let subjects: Vec<String> = policy.subjects.keys().map(ToString::to_string).collect();
    assert_eq!(subjects, ["10.77.1.1", "10.77.1.2"]);
    assert_eq!(policy.classes.len(), 1);
    assert!(policy.subjects.values().all(|subject| subject.egress.is_none()));
    let sets: Vec<_> = policy.sets.values().map(|set| set.len()).collect();
    assert_eq!(sets, [1]);
    life.apply([Change::NetworkPolicies(vec![])]);
    life.check();
    let policy = life.policy();
    assert!(policy.subjects.is_empty() && policy.classes.is_empty() && policy.sets.is_empty());
}

#[test]
fn one_pods_change_touches_its_own_sets_alone() {
    let mut life = Life::new();
    let rules = vec![accept(vec![apps("db"), apps("job")], Ports::Any)];
    let many = (0..200).map(|n| {
        let pod = pod(&format!("shop/p{n}"), &format!("10.77.2.{n}"), "job");
        Change::Pod(Pod { node: Some("beta".into()), ..pod })
    });
    life.apply(many);
    life.apply([
        Change::Pod(pod("shop/a", "10.77.1.1", "web")),
        Change::NetworkPolicy(policy("shop/p", "web", rules)),
    ]);
    let new = Pod { node: Some("beta".into()), ..pod("shop/new", "10.77.2.250", "db") };
    let changes = life.apply([Change::Pod(new.clone())]);
    let [(key, delta)] = changes.sets.iter().collect::<Vec<_>>().try_into().unwrap();
    assert!(matches!(key, SetKey::Pods(pods) if pods.pods == is("app", "db")));
    assert_eq!(delta.added, BTreeSet::from([ip("10.77.2.250")]));
    assert!(changes.classes.is_empty() && changes.subjects.is_empty());
    // What no set depends on changes nothing.
    let changes = life.apply([Change::Pod(Pod { deleting: true, ..new })]);
    assert!(changes.is_empty(), "{changes:?}");
    let changes = life.apply([Change::Pod(pod("shop/other", "10.77.2.251", "other"))]);
    assert!(changes.is_empty(), "{changes:?}");
    life.check();
}

#[test]
fn blocks_are_subtracted_split_and_merged() {
    let block = |text: &str, except: &[&str]| {
        let except = except.iter().map(|text| cidr(text)).collect();
        Peer::Block(IpBlock { cidr: cidr(text), except })
    };
    let range = |first: &str, last: &str| AddressRange { first: ip(first), last: ip(last) };
    let table = [
        (vec![block("0.0.0.0/0", &[])], vec![range("0.0.0.0", "255.255.255.255")]),
        (
            vec![block("::/0", &[]), block("10.0.0.0/9", &[]), block("10.128.0.0/9", &[])],
            vec![
                range("10.0.0.0", "10.255.255.255"),
                range("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ],
        ),
        (
            vec![block("10.77.0.0/16", &["10.77.2.0/24", "10.77.2.128/25", "10.77.255.0/24"])],
            vec![range("10.77.0.0", "10.77.1.255"), range("10.77.3.0", "10.77.254.255")],
        ),
        // Another block may hold what one leaves out.
        (
            vec![block("10.77.0.0/16", &["10.77.2.0/24"]), block("10.77.2.8/32", &[])],
            vec![
                range("10.77.0.0", "10.77.1.255"),
                range("10.77.2.8", "10.77.2.8"),
                range("10.77.3.0", "10.77.255.255"),
            ],
        ),
        (vec![block("10.0.0.0/31", &["10.0.0.0/32", "10.0.0.1/32"])], vec![]),
        (vec![block("fd00::/8", &["fd00::/9", "fd80::/9"])], vec![]),
        (
            vec![block("0.0.0.0/0", &["255.255.255.255/32", "0.0.0.0/32"])],
            vec![range("0.0.0.1", "255.255.255.254")],
        ),
    ];
    for (peers, expected) in table {
        let mut life = Life::new();
        life.apply([
            Change::Pod(pod("shop/a", "10.77.1.1", "web")),
            Change::NetworkPolicy(policy("shop/p", "web", vec![accept(peers, Ports::Any)])),
        ]);
        let class = life.policy().classes.values().next().unwrap();
        let matches = &class.network.as_ref().unwrap()[0].matches;
        let found: Vec<AddressRange> = matches
            .iter()
            .flat_map(|way| match &way.peer {
                PeerMatch::Ranges(ranges) => ranges.clone(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(found, expected);
        assert!(found.iter().all(|range| !range.blocks().is_empty()));
    }
    let everything = range("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
    assert!(everything.is_everything());
    assert_eq!(range("10.0.0.1", "10.0.0.6").blocks().len(), 4);
}

#[test]
fn ports_are_merged_and_names_are_resolved_per_pod() {
    let range = |first, last| PolicyPort::Range { protocol: Protocol::Tcp, first, last };
    let named = PolicyPort::Named { name: "http".into(), protocol: Some(Protocol::Tcp) };
    let ports = Ports::AnyOf(vec![range(80, 80), range(70, 79), range(90, 95), named]);
    let mut life = Life::new();
    life.apply([
        Change::Pod(pod("shop/a", "10.77.1.1", "web")),
        Change::NetworkPolicy(policy("shop/p", "web", vec![accept(vec![apps("db")], ports)])),
    ]);
    life.check();
    let intent = life.policy();
    let class = intent.classes.values().next().unwrap();
    let PortMatch::AnyOf { ranges, named } = &class.network.as_ref().unwrap()[0].matches[0].ports
    else {
        panic!()
    };
    let tcp: Vec<_> = ranges[&Protocol::Tcp].iter().map(|it| (it.first, it.last)).collect();
    assert_eq!(tcp, [(70, 80), (90, 95)]);
    let ports: Vec<_> = intent.named_ports[&named[0]].iter().collect();
    assert_eq!((ports.len(), ports[0].port, ports[0].address), (1, 8080, ip("10.77.1.1")));
}

#[test]
fn unknown_addresses_of_the_node_are_held_back_where_something_could_be_denied() {
    let node = model::Node {
        pod_cidrs: vec![cidr("10.77.1.0/24"), cidr("fd77:1::/64")],
        ..super::node_object("alpha", "10.9.0.1", None)
    };
    let mut life = Life::new();
    life.apply([Change::Node(node), Change::Pod(pod("shop/a", "10.77.1.1", "web"))]);
    assert_eq!(life.policy().held, None, "no policy could deny anything");
    life.apply([Change::NetworkPolicy(policy("vault/p", "web", vec![]))]);
    life.check();
    let held = life.policy().held.clone().unwrap();
    assert!(held.holds(ip("10.77.1.2"), Direction::Ingress));
    assert!(held.holds(ip("fd77:1::2"), Direction::Ingress));
    assert!(!held.holds(ip("10.77.1.2"), Direction::Egress), "no policy could deny that");
    assert!(!held.holds(ip("10.77.1.1"), Direction::Ingress), "a known Pod");
    assert!(!held.holds(ip("10.77.2.2"), Direction::Ingress), "another node's");
    // A completed Pod's address may be anybody's by now.
    let done = Pod { finished: true, ..pod("shop/a", "10.77.1.1", "web") };
    let changes = life.apply([Change::Pod(done)]);
    assert!(changes.held);
    assert!(life.policy().held.as_ref().unwrap().holds(ip("10.77.1.1"), Direction::Ingress));
    life.check();
}

#[test]
fn off_there_is_nothing() {
    let off = Config { network_policy: PolicyOptions::default(), ..config() };
    let changes = [
        Change::Pod(pod("shop/a", "10.77.1.1", "web")),
        Change::NetworkPolicy(policy("shop/p", "web", vec![])),
    ];
    let intent = plan(&super::cluster(changes), &off).0;
    assert_eq!(intent.policy, PolicyIntent::default());
    assert!(!serde_json::to_string(&intent).unwrap().contains("policy"));
}

#[test]
fn an_intent_prints() {
    let changes = [
        Change::Pod(pod("shop/a", "10.77.1.1", "web")),
        Change::NetworkPolicy(policy("shop/p", "web", vec![accept(vec![apps("db")], Ports::Any)])),
    ];
    let intent = plan(&super::cluster(changes), &config()).0;
    let text = serde_json::to_string(&intent).unwrap();
    assert!(text.contains(r#""ingress: NetworkPolicy shop/p""#), "{text}");
    assert!(text.contains(r#""pods app=db of namespace shop":[]"#), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400, failure_persistence: None, ..ProptestConfig::default()
    })]

    /// After every batch of changes, what the planner holds is what it computes from nothing, and
    /// who follows what it says of changes holds the same.
    #[test]
    fn incremental_equals_from_nothing(
        batches in proptest::collection::vec(proptest::collection::vec(some_change(), 1..4), 1..12),
    ) {
        let mut life = Life::new();
        for batch in batches {
            life.apply(batch);
            life.check();
        }
    }
}
