//! Policies: what the kernel and the real tools `iptables` and `ipset` make of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{
    Change, Cluster, Demand, Family, LabelSelector, NamespacedName, Namespaces, NetworkPolicy,
    Peer, Peers, Pod, PodSelection, PolicyAction, PolicyPort, PolicyRule, Ports, Protocol,
    Requirement,
};
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

/// Sets that others empty or destroy are noticed by their count, and made whole.
#[test]
fn a_set_that_somebody_emptied_is_filled_again() {
    within(|| {
        let (mut node, mut kernel) = (Node1::new(), Iptables::open().unwrap());
        node.take(vec![pods(40), isolate("a", Some("b"))]);
        node.reconcile(&mut kernel);
        assert_eq!(kernel.disturbed_sets().unwrap(), None);
        let before = saved_sets();
        for script in [
            "ipset flush PM-INGRESS-4",
            "ipset add PM-INGRESS-4 10.200.0.1",
            "ipset list -n | grep PM-PODS- | head -1 | xargs ipset flush",
        ] {
            sh(script);
            assert!(kernel.disturbed_sets().unwrap().is_some(), "{script}");
            assert!(node.reconcile(&mut kernel) > 0, "{script}");
            assert_eq!(saved_sets(), before, "{script}");
            assert_settled(&mut node, &mut kernel);
        }
        sh("ipset create foreign hash:ip");
        assert_eq!(kernel.disturbed_sets().unwrap(), None, "sets of others are theirs");
    });
}

/// What accepts stands behind what judges, whoever puts it there anew.
#[test]
fn the_jump_to_policies_stays_ahead_of_what_accepts() {
    within(|| {
        let (mut node, mut kernel) = (Node1::new(), Iptables::open().unwrap());
        node.take(vec![pods(4), isolate("a", None)]);
        node.reconcile(&mut kernel);
        let forward = || sh("iptables -S FORWARD");
        let first = |text: &str| text.lines().nth(1).unwrap().to_owned();
        assert!(first(&forward()).ends_with("-j PM-FORWARD"), "{}", forward());
        let before = forward();
        // A jump of kube-proxy's that is lost comes back behind.
        sh(
            "iptables -D FORWARD -m comment --comment 'kubernetes forwarding rules' -j KUBE-FORWARD",
        );
        assert!(node.reconcile(&mut kernel) > 0);
        assert!(first(&forward()).ends_with("-j PM-FORWARD"), "{}", forward());
        // One that somebody puts ahead is overtaken.
        sh("iptables -I FORWARD -j KUBE-FORWARD");
        assert!(node.reconcile(&mut kernel) > 0);
        assert!(first(&forward()).ends_with("-j PM-FORWARD"), "{}", forward());
        assert_eq!(forward().matches("PM-FORWARD").count(), 1);
        sh("iptables -D FORWARD -j KUBE-FORWARD; iptables -D FORWARD -j PM-FORWARD || true");
        node.reconcile(&mut kernel);
        assert_eq!(forward().lines().count(), before.lines().count());
        // Somebody else's rule ahead is theirs.
        sh("iptables -I FORWARD -i cni0 -j ACCEPT");
        assert_eq!(node.reconcile(&mut kernel), 0);
    });
}

#[test]
fn cleaning_up_leaves_no_chain_and_no_set() {
    within(|| {
        let (mut node, mut kernel) = (Node1::new(), Iptables::open().unwrap());
        sh("ipset create foreign hash:ip");
        node.take(vec![pods(20), isolate("a", Some("b"))]);
        node.reconcile(&mut kernel);
        let cleaned = sync::iptables::remove().unwrap();
        assert!(cleaned.kept.is_empty() && cleaned.kept_sets.is_empty(), "{cleaned}");
        assert!(!cleaned.sets.is_empty());
        assert_eq!(sh("ipset list -n"), "foreign\n");
        assert!(!sh("iptables-save").contains("PM-"));
    });
}

/// What one Pod costs does not depend on how many there are.
#[test]
fn one_pod_among_ten_thousand_takes_few_messages() {
    within(|| {
        let (mut node, mut kernel) = (Node1::new(), Iptables::open().unwrap());
        let mut policies: Vec<Change> =
            (0..1000).map(|number| isolate_by(&format!("p{number}"), number)).collect();
        policies.push(pods(10_000));
        node.take(policies);
        node.reconcile(&mut kernel);
        let sets = node.wanted().policy.sets;
        let members: usize = sets.values().map(|set| set.members().count()).sum();
        assert!(members > 10_000, "{members} elements");
        // Of a class with others on the node; on another node; and the only one of its class here,
        // whose ten policies' rules come and go with it.
        for (number, most) in [(5, 20), (9_999, 20), (60, 20 + 11)] {
            for change in [Change::PodGone(name(number)), Change::Pod(pod(number))] {
                let changes = node.take(vec![change]);
                let messages = node.write(&mut kernel, &changes);
                assert!((1..=most).contains(&messages), "{messages} messages for Pod {number}");
            }
        }
        let mut other = Iptables::open().unwrap();
        assert_eq!(other.reconcile(&node.wanted()).unwrap().messages, 0, "nothing differs");
    });
}

fn name(number: usize) -> NamespacedName {
    NamespacedName::new("shop", format!("pod-{number}"))
}

/// The first 150 Pods run on the node; each has one of a hundred labels, and one of two.
fn pod(number: usize) -> Pod {
    let text = format!("10.{}.{}.{}", 100 + number / 60_000, number / 250 % 250, number % 250 + 1);
    let group = format!("g{}", number % 100);
    let pairs =
        [("app", if number.is_multiple_of(2) { "a" } else { "b" }), ("group", group.as_str())];
    Pod {
        name: name(number),
        uid: text.as_str().into(),
        labels: pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
        ips: vec![text.parse().unwrap()].into(),
        node: Some(if number < 150 { "alpha" } else { "beta" }.into()),
        host_network: false,
        finished: false,
        deleting: false,
        ports: Vec::new().into(),
        started: Some(1),
        created: None,
    }
}

fn pods(count: usize) -> Change {
    Change::Pods((0..count).map(pod).collect())
}

fn labelled(key: &str, value: &str) -> LabelSelector {
    let values: Arc<[Arc<str>]> = vec![Arc::from(value)].into();
    LabelSelector::new([Requirement { key: key.into(), demand: Demand::In(values) }])
}

/// Pods of an app are reached by those of another alone, or by nobody.
fn isolate(app: &str, by: Option<&str>) -> Change {
    let rule = by.map(|by| accept(labelled("app", by)));
    Change::NetworkPolicy(NetworkPolicy {
        name: NamespacedName::new("shop", "isolate"),
        pods: labelled("app", app),
        ingress: Some(rule.into_iter().collect()),
        egress: None,
    })
}

/// One of a thousand policies.
fn isolate_by(policy: &str, number: usize) -> Change {
    Change::NetworkPolicy(NetworkPolicy {
        name: NamespacedName::new("shop", policy),
        pods: labelled("group", &format!("g{}", number % 100)),
        ingress: Some(vec![accept(labelled("group", &format!("g{}", number * 7 % 100)))]),
        egress: None,
    })
}

fn accept(pods: LabelSelector) -> PolicyRule {
    let namespaces = Namespaces::Named("shop".into());
    let port = PolicyPort::Range { protocol: Protocol::Tcp, first: 80, last: 80 };
    PolicyRule {
        name: None,
        action: PolicyAction::Accept,
        peers: Peers::AnyOf(vec![Peer::Pods(PodSelection { namespaces, pods })]),
        ports: Ports::AnyOf(vec![port]),
        closed: false,
    }
}
