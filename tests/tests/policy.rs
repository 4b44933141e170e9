//! Two answers to whether policies let a packet through, one from the objects and one from the
//! plan, are the same for every packet of every generated cluster.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../pipeline/plan/src/tests/policy_world.rs"]
mod policy_world;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use explain::nftables::trace_policy;
use explain::policy::{Path, PolicyPacket, Traffic, Why, evaluate, judge};
use model::{
    Change, Cluster, Direction, Family, Host, HostAddress, NetworkPolicy, Owner, Protocol,
};
use plan::policy::PolicyIntent;
use plan::{Config, Planner, PolicyOptions};
use pointsman_tests::{Policies, of_policies};
use policy_world::some_change;
use proptest::prelude::*;
use render::nftables::{self, policy::Rendered};

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
    let mut packets = Vec::new();
    for &source in &addresses {
        for &destination in &addresses {
            if Family::of(source) != Family::of(destination) {
                continue;
            }
            // Host 10.9.0.1 is the node.
            let own: IpAddr = "10.9.0.1".parse().unwrap();
            let path = match (source == own, destination == own) {
                (true, _) => Path::FromNode,
                (_, true) => Path::ToNode,
                _ => Path::Forwarded,
            };
            for traffic in traffic {
                let established = false;
                packets.push(PolicyPacket { source, destination, traffic, path, established });
            }
        }
    }
    packets
}

fn without_pods(why: &Why) -> Why {
    // The plan does not tell a Pod without policies from what is no Pod.
    if *why == Why::NoPod { Why::NoPolicy } else { why.clone() }
}

/// What the rules of nftables mode do with a packet, against what the plan says of it.
fn walk(intent: &PolicyIntent, rules: &nftables::Ruleset, host: &Host, packet: &PolicyPacket) {
    let ruled = evaluate(intent, packet);
    let walked = trace_policy(rules, host, packet).unwrap();
    // What stands in the renderer's documentation: an address that is held back is not known from
    // another one there.
    let holds =
        |direction| intent.held.as_ref().is_some_and(|it| it.holds(packet.source, direction));
    let held_from_itself = ruled.egress == Why::Itself && Direction::ALL.into_iter().any(holds);
    let expected = ruled.passes() && !held_from_itself;
    let steps: Vec<String> = walked.steps.iter().map(|it| it.rule.clone()).collect();
    assert_eq!(walked.passes, expected, "{packet:?}: {ruled:?}, {steps:#?}");
    if walked.passes {
        return;
    }
    let last = &walked.steps.last().unwrap().chain;
    let end = match (&ruled.egress, &ruled.ingress) {
        (Why::Held | Why::Itself, _) => "policy-held-",
        (_, None) => "policy-deny-egress",
        (_, Some(Why::Held)) => "policy-held-ingress",
        _ => "policy-deny-ingress",
    };
    assert!(last.starts_with(end), "{packet:?}: {ruled:?}, and {last} drops it");
}

/// Holds the two answers together; returns how many packets of each kind of answer there were.
fn agree(cluster: &Cluster, planner: &Planner, config: &Config) -> BTreeMap<&'static str, usize> {
    let mut kinds = BTreeMap::new();
    let options = nftables::Options { policy_log: Some(7), ..nftables::Options::default() };
    let intent = &planner.intent().policy;
    let rules = of_policies(nftables::policy::part(intent, &options), options);
    for mut packet in packets() {
        walk(intent, &rules, cluster.host(), &packet);
        packet.established = true;
        walk(intent, &rules, cluster.host(), &packet);
        packet.established = false;
        let told = judge(cluster, &config.network_policy, Some("alpha"), &packet);
        let ruled = evaluate(&planner.intent().policy, &packet);
        let context = format!("{packet:?}: {told:?} and {ruled:?}");
        assert_eq!(told.passes(), ruled.passes(), "{context}");
        assert_eq!(without_pods(&told.egress.why), ruled.egress, "{context}");
        if let Some(ingress) = &ruled.ingress {
            assert_eq!(without_pods(&told.ingress.why), *ingress, "{context}");
        }
        for why in [Some(&ruled.egress), ruled.ingress.as_ref()].into_iter().flatten() {
            let kind = match why {
                Why::Rule { .. } => "rule",
                Why::Isolated { .. } => "isolated",
                Why::Held => "held",
                Why::NoPolicy => "no policy",
                _ => "other",
            };
            *kinds.entry(kind).or_default() += 1;
        }
    }
    kinds
}

fn host() -> Change {
    let address = HostAddress { address: "10.9.0.1".parse().unwrap(), interface: "eth0".into() };
    Change::Host(Host { addresses: BTreeSet::from([address]), conntrack_be_liberal: false })
}

/// Lives through changes, with the two answers held together after each batch.
fn live(batches: Vec<Vec<Change>>, config: &Config) -> BTreeMap<&'static str, usize> {
    let mut planner = Planner::new(config.clone());
    let mut cluster = Cluster::default();
    let mut kinds = BTreeMap::new();
    let mut policies = Policies::default();
    for batch in [vec![host()]].into_iter().chain(batches) {
        let mut owners: BTreeSet<Owner> = BTreeSet::new();
        for change in batch {
            owners.extend(cluster.apply(change));
        }
        planner.update(&cluster, &owners);
        let (changes, intent) = (planner.take_policy_changes(), &planner.intent().policy);
        let options = nftables::Options::default();
        policies.update(intent, &changes, &options);
        assert_eq!(*policies.memory(), nftables::policy::part(intent, &options));
        assert_eq!(*policies.rendered(), Rendered::of(intent, &options));
        for (kind, count) in agree(&cluster, &planner, config) {
            *kinds.entry(kind).or_default() += count;
        }
    }
    kinds
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn the_objects_and_the_plan_say_the_same(
        batches in proptest::collection::vec(proptest::collection::vec(some_change(), 1..8), 1..5),
        all_nodes: bool,
        hold: bool,
    ) {
        live(batches, &config(all_nodes, hold));
    }

    /// The order of events never matters.
    #[test]
    fn the_last_word_on_each_object_decides(
        changes in proptest::collection::vec(some_change(), 1..16),
    ) {
        let config = config(true, true);
        let one = live(changes.iter().cloned().map(|change| vec![change]).collect(), &config);
        let all = live(vec![changes], &config);
        prop_assert!(one.len() >= all.len());
    }

    /// Another NetworkPolicy opens nothing but what one of its rules names, or what waits for rules.
    #[test]
    fn a_policy_opens_only_what_its_rules_name(
        changes in proptest::collection::vec(some_change(), 1..16),
        extra in some_change(),
    ) {
        let Change::NetworkPolicy(extra) = extra else { return Ok(()) };
        let mut cluster = Cluster::default();
        changes.into_iter().for_each(|change| drop(cluster.apply(change)));
        let known: Option<&std::sync::Arc<NetworkPolicy>> =
            cluster.network_policies().get(&extra.name);
        prop_assume!(known.is_none());
        let mut after = cluster.clone();
        after.apply(Change::NetworkPolicy(extra.clone()));
        let options = config(true, false).network_policy;
        for packet in packets() {
            let before = judge(&cluster, &options, None, &packet);
            let now = judge(&after, &options, None, &packet);
            for (before, now) in [(&before.egress, &now.egress), (&before.ingress, &now.ingress)] {
                let own = matches!(&now.why, Why::Rule { policy, .. }
                    if *policy == model::PolicyName::Network(extra.name.clone()));
                // A baseline denial gives way to a NetworkPolicy, which is what it is for.
                prop_assert!(before.why.passes() || !now.why.passes() || own, "{packet:?}");
            }
        }
    }
}

/// The generated clusters are such that every kind of answer occurs, often.
#[test]
fn every_kind_of_answer_occurs() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let batch = proptest::collection::vec(some_change(), 24..40);
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..40 {
        let batch = batch.new_tree(&mut runner).unwrap().current();
        for (kind, count) in live(vec![batch], &config(true, true)) {
            *kinds.entry(kind).or_default() += count;
        }
    }
    for kind in ["rule", "isolated", "held", "no policy", "other"] {
        assert!(kinds.get(kind).is_some_and(|count| *count > 100), "{kind}: {kinds:?}");
    }
}
