//! Policies in iptables: the rules and sets decide as the plan does, packet by packet, and what is
//! written by what differs is what would be written from nothing.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../../pipeline/plan/src/tests/policy_world.rs"]
mod policy_world;

use std::collections::BTreeSet;
use std::net::IpAddr;

use explain::policy::{Path, PolicyPacket, Traffic, evaluate};
use explain::trace_iptables_policy;
use model::{Change, Cluster, Family, Host, HostAddress, Protocol};
use plan::policy::{PolicyChanges, PolicyIntent};
use plan::{Config, Planner, PolicyOptions};
use policy_world::some_change;
use proptest::prelude::*;
use render::iptables::ipset::{Content, SET_NAME};
use render::iptables::policy::{PolicyChange, PolicyRules, Standing};
use render::iptables::{Match, Options, Ruleset, Target, names};

const ADDRESSES: [&str; 10] = [
    "10.77.1.1",
    "10.77.1.2",
    "10.77.1.9",
    "10.77.2.1",
    "10.9.0.1",
    "10.9.0.2",
    "198.51.100.7",
    "fd77:1::1",
    "fd77:1::2",
    "2001:db8::7",
];

fn config(all_nodes: bool, hold: bool) -> Config {
    let network_policy = PolicyOptions {
        enforce: true,
        hold_unknown_seconds: hold.then_some(30),
        dns_listeners: BTreeSet::from(["10.9.0.1".parse().unwrap()]),
        all_nodes,
    };
    Config { network_policy, ..Config::new("alpha") }
}

/// Every packet of the small world.
fn packets() -> Vec<PolicyPacket> {
    let port = |protocol, port| Traffic::Port { protocol, port };
    let traffic = [
        port(Protocol::Tcp, 80),
        port(Protocol::Tcp, 81),
        port(Protocol::Udp, 80),
        port(Protocol::Udp, 53),
        Traffic::Icmp { kind: 8 },
        Traffic::Icmp { kind: 135 },
        Traffic::Other { protocol: 47 },
    ];
    let addresses: Vec<IpAddr> = ADDRESSES.iter().map(|text| text.parse().unwrap()).collect();
    let own: IpAddr = "10.9.0.1".parse().unwrap();
    let mut packets = Vec::new();
    for &source in &addresses {
        for &destination in &addresses {
            if Family::of(source) != Family::of(destination) {
                continue;
            }
            let path = match (source == own, destination == own) {
                (true, _) => Path::FromNode,
                (_, true) => Path::ToNode,
                _ => Path::Forwarded,
            };
            for traffic in traffic {
                for established in [false, true] {
                    packets.push(PolicyPacket { source, destination, traffic, path, established });
                }
            }
        }
    }
    packets
}

fn ruleset(policy: PolicyRules) -> Ruleset {
    Ruleset { policy, ..Ruleset::default() }
}

/// Holds the rules to the plan; returns how many packets passed, and how many did not.
fn agree(intent: &PolicyIntent, rules: &PolicyRules) -> (usize, usize) {
    let ruleset = ruleset(rules.clone());
    let (mut passed, mut dropped) = (0, 0);
    for packet in packets() {
        let ruled = evaluate(intent, &packet);
        let traced = trace_iptables_policy(&ruleset, &packet)
            .unwrap_or_else(|error| panic!("{packet:?}: {error}"));
        assert_eq!(traced.passes, ruled.passes(), "{packet:?}: {ruled:?}\n{:#?}", traced.steps);
        if traced.passes { passed += 1 } else { dropped += 1 }
    }
    (passed, dropped)
}

/// What holds of all rules, whatever they say.
fn is_sound(rules: &PolicyRules) {
    for (name, set) in &rules.sets {
        assert!(name.len() <= SET_NAME && name.starts_with(names::POLICY_PREFIX), "{name}");
        let suffix = if set.header.family == Family::V4 { "-4" } else { "-6" };
        assert!(name.ends_with(suffix), "{name}");
    }
    let mut named = BTreeSet::new();
    let chains = rules.chains.iter().map(|(id, rules)| (id, rules.iter().collect::<Vec<_>>()));
    let dispatch = rules.dispatch.iter().map(|(id, rules)| (id, rules.values().collect()));
    for (id, rules) in chains.chain(dispatch) {
        assert!(id.name.len() <= 28 && names::is_ours(id.table, &id.name), "{id}");
        for rule in rules {
            assert!(
                !matches!(rule.target, Some(Target::Accept)),
                "{id}: what policies let through may still be forbidden by others"
            );
            for one in &rule.matches {
                match one {
                    Match::Comment(text) => assert!(text.len() <= 255, "{text}"),
                    Match::Set { set, .. } => drop(named.insert(set.clone())),
                    _ => {}
                }
            }
            if let Some(Target::AddToSet { set, .. }) = &rule.target {
                named.insert(set.clone());
            }
        }
    }
    let there: BTreeSet<_> = rules.sets.keys().cloned().collect();
    // A rule for no ports at all names nobody, though the plan keeps its peers.
    assert!(named.is_subset(&there), "{named:?} of {there:?}");
}

/// What the kernel would hold after a change.
fn advance(rules: &mut PolicyRules, change: PolicyChange) {
    for (name, set) in change.make {
        rules.sets.insert(name, set);
    }
    for (name, members) in change.members {
        match &mut rules.sets.get_mut(&name).unwrap().content {
            Content::Exactly(content) => {
                content.extend(members.add);
                content.retain(|member| !members.remove.contains(member));
            }
            Content::ByPackets { .. } => assert!(members.add.is_empty(), "packets do that"),
        }
    }
    for (chain, write) in change.write {
        rules.chains.insert(chain, write);
    }
    for (chain, lead) in change.lead {
        for (to, rule) in lead {
            let known = rules.dispatch.entry(chain.clone()).or_default().insert(to, rule);
            assert_eq!(known, None, "a rule would stand twice");
        }
    }
    for (chain, targets) in change.mislead {
        for to in targets {
            rules.dispatch.get_mut(&chain).unwrap().remove(&to).unwrap();
        }
    }
    for chain in change.delete {
        let known =
            rules.chains.remove(&chain).is_some() || rules.dispatch.remove(&chain).is_some();
        assert!(known, "{chain} is not there");
    }
    rules.jumps.retain(|jump| !change.no_jumps.contains(jump));
    rules.jumps.extend(change.jumps);
    rules.jumps.sort_by(|a, b| a.chain.cmp(&b.chain));
    for set in change.destroy {
        rules.sets.remove(&set).unwrap();
    }
}

/// What is never to be in a set is no part of what it holds.
fn comparable(mut rules: PolicyRules) -> PolicyRules {
    rules.jumps.sort_by(|a, b| a.chain.cmp(&b.chain));
    for set in rules.sets.values_mut() {
        if let Content::ByPackets { never } = &mut set.content {
            never.clear();
        }
    }
    rules
}

/// Something that lives through changes as the agent does.
struct Life {
    planner: Planner,
    cluster: Cluster,
    standing: Standing,
    rules: PolicyRules,
    compared: usize,
    changed: usize,
}

impl Life {
    fn new(config: &Config) -> Self {
        let address =
            HostAddress { address: "10.9.0.1".parse().unwrap(), interface: "eth0".into() };
        let addresses = BTreeSet::from([address]);
        let mut life = Self {
            planner: Planner::new(config.clone()),
            cluster: Cluster::default(),
            standing: Standing::default(),
            rules: PolicyRules::default(),
            compared: 0,
            changed: 0,
        };
        life.batch(vec![Change::Host(Host { addresses, conntrack_be_liberal: false })]);
        life
    }

    fn batch(&mut self, batch: Vec<Change>) {
        let options = Options::default();
        let mut owners = BTreeSet::new();
        for change in batch {
            owners.extend(self.cluster.apply(change));
        }
        self.planner.update(&self.cluster, &owners);
        let changes: PolicyChanges = self.planner.take_policy_changes();
        let intent = &self.planner.intent().policy;
        let (standing, whole) = Standing::of(intent, &options);
        match self.standing.change(intent, &changes, &options) {
            Some(change) => {
                advance(&mut self.rules, change);
                self.changed += 1;
            }
            None => {
                (self.standing, self.rules) = (standing.clone(), whole.clone());
                self.compared += 1;
            }
        }
        assert_eq!(comparable(self.rules.clone()), comparable(whole.clone()));
        assert_eq!(self.standing, standing);
        is_sound(&whole);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 150, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn the_rules_decide_as_the_plan_does(
        changes in proptest::collection::vec(some_change(), 1..24),
        all_nodes: bool,
        hold: bool,
    ) {
        let mut life = Life::new(&config(all_nodes, hold));
        life.batch(changes);
        agree(&life.planner.intent().policy, &life.rules);
    }

    #[test]
    fn what_differs_adds_up_to_the_whole(
        batches in proptest::collection::vec(proptest::collection::vec(some_change(), 1..6), 1..10),
        hold: bool,
    ) {
        let mut life = Life::new(&config(true, hold));
        for batch in batches {
            life.batch(batch);
        }
    }
}

/// The generated clusters are such that both answers occur, and both ways of writing.
#[test]
fn both_answers_and_both_ways_occur() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let batch = proptest::collection::vec(some_change(), 4..12);
    let (mut passed, mut dropped, mut changed, mut compared) = (0, 0, 0, 0);
    for _ in 0..20 {
        let mut life = Life::new(&config(true, true));
        for _ in 0..6 {
            life.batch(batch.new_tree(&mut runner).unwrap().current());
            let both = agree(&life.planner.intent().policy, &life.rules);
            (passed, dropped) = (passed + both.0, dropped + both.1);
        }
        (changed, compared) = (changed + life.changed, compared + life.compared);
    }
    assert!(passed > 1000 && dropped > 1000, "{passed} passed, {dropped} were dropped");
    assert!(changed > 50 && compared > 5, "{changed} changes, {compared} comparisons");
}

/// Without a policy that judges somebody there is nothing at all.
#[test]
fn without_policies_nothing_is_asked_of_iptables() {
    let mut life = Life::new(&config(true, true));
    life.batch(Vec::new());
    assert_eq!(life.rules, PolicyRules::default());
}
