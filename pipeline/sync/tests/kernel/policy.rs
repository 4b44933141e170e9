//! Policies: what the kernel and the real tools `iptables` and `ipset` make of them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use model::{Change, Cluster, Family};
use plan::policy::PolicyChanges;
use plan::{Config, Planner, PolicyOptions};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use render::iptables::ipset::to_text;
use render::iptables::policy::{PolicyRules, Standing};
use render::iptables::{Options, Ruleset};
use sync::iptables::Iptables;

use crate::fixture::{ruleset, services};
use crate::namespace::{save, sh, sorted, within};
use crate::policy_world::some_change;

/// A node whose agent enforces policies.
struct Node1 {
    planner: Planner,
    cluster: Cluster,
    standing: Standing,
    options: Options,
    services: Ruleset,
}

impl Node1 {
    fn new() -> Self {
        let network_policy = PolicyOptions {
            enforce: true,
            hold_unknown_seconds: Some(30),
            dns_listeners: BTreeSet::from(["10.9.0.1".parse().unwrap()]),
            all_nodes: true,
        };
        Self {
            planner: Planner::new(Config { network_policy, ..Config::new("alpha") }),
            cluster: Cluster::default(),
            standing: Standing::default(),
            options: Options { policy_log: Some(7), ..Options::default() },
            services: ruleset(&services(3, 2)),
        }
    }

    fn take(&mut self, changes: Vec<Change>) -> PolicyChanges {
        let mut owners = BTreeSet::new();
        for change in changes {
            owners.extend(self.cluster.apply(change));
        }
        self.planner.update(&self.cluster, &owners);
        self.planner.take_policy_changes()
    }

    fn wanted(&self) -> Ruleset {
        let intent = &self.planner.intent().policy;
        let (_, policy) = Standing::of(intent, &self.options);
        Ruleset { policy, ..self.services.clone() }
    }

    fn reconcile(&mut self, kernel: &mut Iptables) -> usize {
        let intent = &self.planner.intent().policy;
        let (standing, policy) = Standing::of(intent, &self.options);
        self.standing = standing;
        let wanted = Ruleset { policy, ..self.services.clone() };
        let written = kernel.reconcile(&wanted).unwrap();
        assert!(written.refused.is_empty(), "{:?}", written.refused);
        assert!(written.refused_members.is_empty(), "{:?}", written.refused_members);
        written.messages
    }

    /// As the agent does: by what differs, where that can be said.
    fn write(&mut self, kernel: &mut Iptables, changes: &PolicyChanges) -> usize {
        let intent = &self.planner.intent().policy;
        match self.standing.change(intent, changes, &self.options) {
            Some(change) if change.is_empty() => 0,
            Some(change) => {
                let written = kernel.apply_policy(&change).unwrap();
                assert!(written.refused.is_empty(), "{:?}", written.refused);
                assert!(written.refused_members.is_empty(), "{:?}", written.refused_members);
                written.messages
            }
            None => self.reconcile(kernel),
        }
    }
}

/// What `ipset save` prints, in an order of its own; where a set has grown, its size is the first.
fn saved_sets() -> BTreeSet<String> {
    let text = sh("ipset save");
    let line = |line: &str| {
        let mut words: Vec<&str> = line.split(' ').collect();
        if let Some(place) = words.iter().position(|word| *word == "hashsize") {
            words.drain(place..place + 2);
        }
        // Newer kernels say of some sets how many elements share a bucket, and where they began.
        if let Some(place) = words.iter().position(|word| *word == "bucketsize") {
            words.truncate(place);
        }
        words.join(" ")
    };
    text.lines().map(line).collect()
}

fn text_of_sets(rules: &PolicyRules) -> BTreeSet<String> {
    let without_size = |line: &str| {
        let mut words: Vec<&str> = line.split(' ').collect();
        if let Some(place) = words.iter().position(|word| *word == "hashsize") {
            words.drain(place..place + 2);
        }
        words.join(" ")
    };
    to_text(&rules.sets).lines().map(without_size).collect()
}

/// Rules whose order does not matter are compared without it.
fn saved_rules(text: &str) -> Vec<String> {
    let mut lines = sorted(text);
    let dispatch = |line: &String| line.contains("-A PM-") && line.contains("-CLASSES ");
    let mut free: Vec<String> = lines.iter().filter(|line| dispatch(line)).cloned().collect();
    free.sort();
    lines.retain(|line| !dispatch(line));
    lines.extend(free);
    lines
}

/// The real tools show what was rendered, and so does our own reading.
fn assert_shown(node: &Node1) {
    let wanted = node.wanted();
    for family in Family::ALL {
        assert_eq!(saved_rules(&save(family)), saved_rules(&wanted.to_text(family)));
    }
    assert_eq!(saved_sets(), text_of_sets(&wanted.policy));
}

fn assert_settled(node: &mut Node1, kernel: &mut Iptables) {
    let start = Instant::now();
    while kernel.disturbed_sets().unwrap().is_some() || kernel.doomed_sets().next().is_some() {
        assert!(start.elapsed() < Duration::from_secs(20), "sets do not go");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_shown(node);
    let mut other = Iptables::open().unwrap();
    assert_eq!(other.reconcile(&node.wanted()).unwrap().messages, 0, "nothing differs");
}

fn worlds(batches: usize) -> Vec<Vec<Change>> {
    let mut runner = TestRunner::deterministic();
    let batch = proptest::collection::vec(some_change(), 6..20);
    (0..batches).map(|_| batch.new_tree(&mut runner).unwrap().current()).collect()
}

#[test]
fn the_tools_show_what_was_written_and_it_is_not_written_again() {
    within(|| {
        let (mut node, mut kernel) = (Node1::new(), Iptables::open().unwrap());
        let (mut seen, mut batches) = (0, worlds(15));
        for batch in batches.drain(..) {
            node.take(batch);
            node.reconcile(&mut kernel);
            assert_settled(&mut node, &mut kernel);
            seen += node.wanted().policy.sets.len();
        }
        assert!(seen > 50, "the worlds have sets");
    });
}

#[test]
fn what_differs_leads_to_the_same() {
    within(|| {
        let (mut node, mut kernel) = (Node1::new(), Iptables::open().unwrap());
        node.reconcile(&mut kernel);
        for batch in worlds(25) {
            let changes = node.take(batch);
            node.write(&mut kernel, &changes);
            assert_settled(&mut node, &mut kernel);
        }
        let all = vec![
            Change::NetworkPolicies(Vec::new()),
            Change::ClusterNetworkPolicyGone("x".into()),
            Change::ClusterNetworkPolicyGone("y".into()),
        ];
        let changes = node.take(all);
        node.write(&mut kernel, &changes);
        assert_settled(&mut node, &mut kernel);
        assert_eq!(sh("ipset list -n"), "", "no set is left");
        assert!(!sh("iptables-save; ip6tables-save").contains("PM-"), "no chain is left");
    });
}
