//! Policies in the kernel: by changes, from nothing, read back, and through the real nft.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use model::{
    Change as Fact, Cluster, ContainerPort, Demand, Family, Host, HostAddress, IpBlock,
    LabelSelector, NamespacedName, Namespaces, NetworkPolicy, Owner, Peer, Peers, Pod,
    PodSelection, PolicyAction, PolicyPort, PolicyRule, Ports, Protocol, Requirement,
};
use plan::policy::PolicyIntent;
use plan::{Config as PlanConfig, Planner, PolicyOptions};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use render::nftables::policy::{Rendered, part};
use render::nftables::{Options, Part, Ruleset};
use sync::netlink::SendBudget;
use sync::table::Nftables;

use crate::fixture::{node, same};
use crate::namespace::{listing, sh, within};
use crate::policy_world::some_change;

fn options() -> Options {
    Options { policy_log: Some(7), ..Options::default() }
}

fn whole(policy: &PolicyIntent) -> Ruleset {
    let node = render::nftables::node(&node(), &options());
    let parts = BTreeMap::from([(Owner::Node, node)]);
    Ruleset { parts, policy: part(policy, &options()), options: options() }
}

fn planner(hold: bool) -> Planner {
    let network_policy = PolicyOptions {
        enforce: true,
        hold_unknown_seconds: hold.then_some(30),
        dns_listeners: ["10.9.0.1", "fd09::1"].map(|text| text.parse().unwrap()).into(),
        all_nodes: true,
    };
    Planner::new(PlanConfig { network_policy, ..PlanConfig::new("alpha") })
}

/// An agent that knows nothing but policies.
struct Agent {
    cluster: Cluster,
    planner: Planner,
    rendered: Rendered,
    nftables: Nftables,
}

impl Agent {
    fn new(hold: bool, budget: SendBudget) -> Self {
        let mut nftables = Nftables::open_with(budget).unwrap();
        nftables.reconcile(&whole(&PolicyIntent::default())).unwrap();
        let mut agent = Self {
            cluster: Cluster::default(),
            planner: planner(hold),
            rendered: Rendered::default(),
            nftables,
        };
        let address =
            HostAddress { address: "10.9.0.1".parse().unwrap(), interface: "eth0".into() };
        let addresses = BTreeSet::from([address]);
        agent.live(vec![Fact::Host(Host { addresses, conntrack_be_liberal: false })]);
        agent
    }

    fn intent(&self) -> &PolicyIntent {
        &self.planner.intent().policy
    }

    /// Lives through some changes; returns how many messages the kernel got.
    fn live(&mut self, facts: Vec<Fact>) -> usize {
        let owners: BTreeSet<Owner> =
            facts.into_iter().flat_map(|fact| self.cluster.apply(fact)).collect();
        self.planner.update(&self.cluster, &owners);
        let changes = self.planner.take_policy_changes();
        let intent = &self.planner.intent().policy;
        let change = self.rendered.change(intent, &changes, &options());
        if change.is_empty() {
            self.rendered.advance(intent, &changes, &options());
            return 0;
        }
        let written = self.nftables.apply(&change).unwrap();
        self.rendered.advance(intent, &changes, &options());
        written.messages
    }

    /// The kernel holds what the policies ask for, and a start finds nothing to do.
    fn check(&mut self) {
        let held = self.nftables.read().unwrap();
        assert_eq!(held.unreadable, Vec::<String>::new());
        let whole = whole(self.intent());
        same(&held.part, &whole.merged());
        assert_eq!(held.part.sets, whole.merged().sets);
        let again = Nftables::open().unwrap().reconcile(&whole).unwrap();
        assert_eq!(again.messages, 0);
    }

    fn without_policies(&mut self) {
        self.live(vec![Fact::NetworkPolicies(Vec::new())]);
        self.live(vec![Fact::ClusterNetworkPolicies(Vec::new())]);
        assert_eq!(part(self.intent(), &options()), Part::default());
        self.check();
    }
}

proptest! {
    #![proptest_config(Config { cases: 24, max_shrink_iters: 60, ..Config::default() })]

    #[test]
    fn changes_lead_where_a_load_leads(
        batches in vec(vec(some_change(), 1..10), 1..8),
        hold: bool,
        small: bool,
    ) {
        within(move || {
            let budget = if small { SendBudget::Bytes(12_000) } else { SendBudget::Forced };
            let mut agent = Agent::new(hold, budget);
            for batch in batches {
                agent.live(batch);
                agent.check();
            }
            agent.without_policies();
        });
    }
}

/// A cluster with something of everything: facts after which the rules name all these words.
fn rich(words: &[&str]) -> Vec<Fact> {
    let mut runner = TestRunner::deterministic();
    for _ in 0..200 {
        let facts = vec(some_change(), 40..60).new_tree(&mut runner).unwrap().current();
        let mut planner = planner(true);
        let mut cluster = Cluster::default();
        let owners = facts.iter().flat_map(|fact| cluster.apply(fact.clone())).collect();
        planner.update(&cluster, &owners);
        let text = whole(&planner.intent().policy).to_text(Family::V4);
        if words.iter().all(|word| text.contains(word)) {
            return facts;
        }
    }
    panic!("no such cluster was generated");
}

/// Loaded by nft, the text of the rules is what our own encoder writes; and what nft lists, it loads.
#[test]
fn nft_loads_the_text_and_lists_what_it_can_load() {
    for words in [
        ["set ranges-", "set pods-", "set named-ports-", "set nodes-"],
        ["set ports-", "tcp dport 80", "jump egress-", "jump ingress-"],
        ["-baseline {", "set held-egress", "set known-addresses", "log prefix"],
    ] {
        within(move || {
            let mut agent = Agent::new(true, SendBudget::default());
            agent.live(rich(&words));
            agent.check();
            let whole = whole(agent.intent());
            let listed = listing();
            for text in [Family::ALL.map(|family| whole.to_text(family)).concat(), listed] {
                sh("nft flush ruleset; nft -f -", &text);
                let written = Nftables::open().unwrap().reconcile(&whole).unwrap();
                assert_eq!((written.messages, written.refused.len()), (0, 0));
                assert!(listing().contains("comment \"ClusterNetworkPolicy "));
            }
        });
    }
}

/// Whatever somebody breaks, a reconciliation mends.
#[test]
fn what_others_break_is_mended() {
    within(|| {
        let mut agent = Agent::new(true, SendBudget::default());
        agent.live(rich(&["jump egress-", "set pods-"]));
        let whole = whole(agent.intent());
        for harm in [
            "flush chain ip pointsman policy-forward",
            "flush map ip pointsman egress-isolated",
            "flush set ip pointsman policy-subjects",
            "add set ip pointsman pods-stranger { type ipv4_addr; }",
            "add chain ip pointsman ingress-stranger",
            "delete chain ip pointsman policy-input",
            "insert rule ip pointsman policy-ingress accept",
        ] {
            sh("nft -f -", harm);
            let mut nftables = Nftables::open().unwrap();
            let written = nftables.reconcile(&whole).unwrap();
            assert!(written.messages > 0, "{harm}");
            same(&nftables.read().unwrap().part, &whole.merged());
        }
    });
}

/// What is in a chain that is taken for a new one is not kept, but refused.
#[test]
fn a_chain_that_is_there_is_not_fresh() {
    within(|| {
        let mut agent = Agent::new(false, SendBudget::Forced);
        let id = render::nftables::ChainId { family: model::Family::V4, name: "fresh".into() };
        let mut change = render::nftables::Change::default();
        change.write.insert(id.clone(), render::nftables::Chain::default());
        change.fresh.insert(id);
        agent.nftables.apply(&change).unwrap();
        let again = agent.nftables.apply(&change);
        assert!(matches!(again, Err(sync::Error::OutOfStep { .. })), "{again:?}");
        let wanted = whole(agent.intent());
        agent.nftables.reconcile(&wanted).unwrap();
        agent.check();
    });
}

/// Pod `number` of a cluster of fifty namespaces with twenty applications each; every 101st is
/// on this node.
fn pod(number: u32, version: u32) -> Fact {
    let namespace = format!("ns{}", number % 50);
    let label = |key: &str, value: String| (Arc::from(key), Arc::from(value.as_str()));
    let labels = [label("app", format!("app{}", number / 50 % 20)), label("tier", "any".into())];
    let address = Ipv4Addr::from(0x0a80_0000 + number + (version << 16));
    Fact::Pod(Pod {
        name: NamespacedName::new(namespace, format!("pod{number}")),
        uid: format!("{number}").into(),
        labels: labels.into_iter().collect(),
        ips: [address.into()].into(),
        node: Some(if number.is_multiple_of(101) { "alpha" } else { "beta" }.into()),
        host_network: false,
        finished: false,
        deleting: false,
        ports: [ContainerPort { name: "http".into(), protocol: Protocol::Tcp, port: 8080 }].into(),
        started: None,
        created: None,
    })
}

/// A policy for an application of a namespace: its neighbour may come, by a named port, and it may go
/// to every Pod of the namespace, and to the outside.
fn policy(number: u32) -> Fact {
    let app = |number: u32| {
        let values = [Arc::from(format!("app{}", number % 20).as_str())];
        let requirement = Requirement { key: "app".into(), demand: Demand::In(values.into()) };
        LabelSelector::new([requirement])
    };
    let namespace: Arc<str> = format!("ns{}", number % 50).into();
    let own =
        |pods| Peer::Pods(PodSelection { namespaces: Namespaces::Named(namespace.clone()), pods });
    let except = ["10.0.0.0/8".parse().unwrap()];
    let outside =
        Peer::Block(IpBlock { cidr: "0.0.0.0/0".parse().unwrap(), except: except.into() });
    let rule = |peers: Vec<Peer>, ports| PolicyRule {
        name: None,
        action: PolicyAction::Accept,
        peers: Peers::AnyOf(peers),
        ports,
        closed: false,
    };
    let http = PolicyPort::Named { name: "http".into(), protocol: Some(Protocol::Tcp) };
    Fact::NetworkPolicy(NetworkPolicy {
        name: NamespacedName::new(namespace.clone(), format!("policy{number}")),
        pods: app(number / 50),
        ingress: Some(vec![rule(vec![own(app(number / 50 + 1))], Ports::AnyOf(vec![http]))]),
        egress: Some(vec![rule(vec![own(LabelSelector::default()), outside], Ports::Any)]),
    })
}

/// With 10,000 Pods and 1,000 policies, what one Pod costs is counted in messages. The first Pod of
/// a node that some policies apply to brings their rules along, in both families.
#[test]
fn one_pod_costs_few_messages_at_any_size() {
    within(|| {
        let mut agent = Agent::new(false, SendBudget::Forced);
        agent.live((0..10_000).map(|number| pod(number, 0)).collect());
        agent.live((0..1_000).map(policy).collect());
        let elements = agent.nftables.read().unwrap().part.elements.len();
        assert!(elements > 10_000, "{elements} elements");
        let Fact::Pod(mut twin) = pod(4_343, 3) else { unreachable!() };
        twin.name.name = "twin".into();
        let twin = Fact::Pod(twin);
        let gone = |number: u32| {
            let name = format!("pod{number}");
            Fact::PodGone(NamespacedName::new(format!("ns{}", number % 50), name))
        };
        for (what, fact) in [
            ("a Pod elsewhere has another address", pod(4_321, 1)),
            ("a Pod elsewhere is gone", gone(4_321)),
            ("a Pod elsewhere is new", pod(4_321, 2)),
            ("a Pod of this node has another address", pod(4_343, 1)),
            ("the last Pod of its classes is gone from this node", gone(4_343)),
            ("a Pod of this node is the first of its classes", pod(4_343, 2)),
            ("a second Pod of its classes is new on this node", twin),
        ] {
            let start = Instant::now();
            let messages = agent.live(vec![fact]);
            let mut out = std::io::stderr();
            writeln!(out, "{what}: {messages} messages in {:?}", start.elapsed()).unwrap();
            let most = if what.contains("first") { 30 } else { 20 };
            assert!((1..=most).contains(&messages), "{what}: {messages} messages");
        }
        agent.check();
    });
}
