//! What `explain` compares the kernel with: where the kernel holds what was rendered, nothing differs
//! and its rules do what is planned, for every packet of every case; and whatever is taken away of
//! what a packet needs is missed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use explain::kernel::{Facts, Held, HeldChains, Needs, TableHeld};
use explain::{Code, Explanation, Mode, Outcome, Packet, Question};
use model::{Cluster, Family, Host};
use plan::{Config, Intent};
use pointsman_tests::cases;
use render::{iptables, nftables};

/// The bit that the cases are rendered with.
const BIT: u8 = 14;

/// Where a packet is asked about.
struct Node<'a> {
    cluster: &'a Cluster,
    config: &'a Config,
    intent: &'a Intent,
    host: &'a Host,
    mode: Mode,
}

impl Node<'_> {
    fn explain(&self, packet: &Packet) -> Explanation {
        let question = Question::about(packet);
        explain::explain(self.cluster, self.config, self.intent, self.host, self.mode, &question)
    }

    /// What a kernel holds that took everything.
    fn held(&self, family: Family) -> Held {
        match self.mode {
            Mode::Iptables => {
                let options = iptables::Options { masquerade_bit: BIT, ..Default::default() };
                let ruleset = iptables::ruleset(self.intent, &options);
                let chains = ruleset.chains().into_iter().chain(ruleset.built_in());
                let known =
                    |rules: Vec<&iptables::Rule>| rules.into_iter().cloned().map(Some).collect();
                let held: HeldChains = chains.map(|(id, rules)| (id, known(rules))).collect();
                Held::Iptables(held)
            }
            Mode::Nftables => {
                let options = nftables::Options { masquerade_bit: BIT, ..Default::default() };
                let part = nftables::ruleset(self.intent, &options).0.merged();
                let chains = part.chains.into_iter().filter(|(id, _)| id.family == family);
                Held::Nftables(TableHeld {
                    there: true,
                    chains: chains.map(|(id, chain)| (id, Some(chain))).collect(),
                    elements: part.elements,
                })
            }
        }
    }
}

/// Every packet of every case in each mode.
fn every_packet(mut look: impl FnMut(&Node<'_>, &Packet, &str)) -> usize {
    let mut count = 0;
    for case in cases() {
        let host = case.host.host(&case.node);
        let config = case.config.config(&case.node);
        for state in case.states() {
            let cluster = state.cluster();
            let (intent, _) = plan::plan(&cluster, &config);
            for probe in state.probes(&case) {
                for mode in Mode::ALL {
                    let node = Node {
                        cluster: &cluster,
                        config: &config,
                        intent: &intent,
                        host: &host,
                        mode,
                    };
                    look(&node, &probe.packet, &format!("{}, {mode}", probe.label));
                    count += 1;
                }
            }
        }
    }
    count
}

#[test]
fn a_kernel_that_took_everything_is_called_healthy() {
    let count = every_packet(|node, packet, label| {
        let mut told = node.explain(packet);
        if told.packet.is_none() {
            return;
        }
        let before = (told.reason, told.outcome());
        let needs = Needs::of(node.intent, node.host, packet, node.mode, BIT);
        let facts =
            Facts { held: Some(node.held(Family::of(packet.destination))), ..Facts::default() };
        told.face(&needs, node.host, facts);
        let truth = told.kernel.as_ref().unwrap();
        assert!(truth.findings.is_empty(), "{label}: {truth:#?}");
        assert_eq!((told.reason, told.outcome()), before, "{label}");
        assert_eq!(truth.verdict, told.routed, "{label}: {truth:#?}");
    });
    assert!(count > 500, "{count} packets");
}

#[test]
fn whatever_is_taken_away_is_missed() {
    let (mut taken, mut seen, mut codes) = (0, 0, BTreeMap::<Code, usize>::new());
    every_packet(|node, packet, label| {
        // Neighbours need much the same: every third packet is enough.
        seen += 1;
        if seen % 3 != 0 {
            return;
        }
        let told = node.explain(packet);
        if told.packet.is_none() {
            return;
        }
        let needs = Needs::of(node.intent, node.host, packet, node.mode, BIT);
        let whole = node.held(Family::of(packet.destination));
        for (what, held) in without_one(&needs, &whole) {
            let mut told = told.clone();
            told.face(&needs, node.host, Facts { held: Some(held), ..Facts::default() });
            let truth = told.kernel.as_ref().unwrap();
            assert!(!truth.differences.is_empty(), "{label}: {what} is not missed");
            assert_eq!(told.outcome(), Outcome::Undecided, "{label}: {what}");
            let said = told.to_text(explain::Style::default());
            assert!(!said.contains("DELIVERED"), "{label}: {what}: {said}");
            *codes.entry(told.reason).or_default() += 1;
            taken += 1;
        }
    });
    println!("{taken} taken away: {codes:?}");
    assert!(taken > 5_000, "{taken} were taken away");
    let named = [Code::KernelLacks, Code::KernelDiffers, Code::KernelEmpty];
    assert!(codes.keys().all(|code| named.contains(code)), "{codes:?}");
}

/// The same without one of the things that are needed, each in turn.
fn without_one(needs: &Needs, whole: &Held) -> Vec<(String, Held)> {
    let mut all = Vec::new();
    match (needs, whole) {
        (Needs::Iptables(needs), Held::Iptables(held)) => {
            for (id, rules) in needs.own.iter().chain(&needs.within) {
                for rule in rules {
                    let mut less = held.clone();
                    let chain = less.get_mut(id).unwrap();
                    chain.retain(|there| there.as_ref() != Some(rule));
                    all.push((format!("{id}: {rule:?}"), Held::Iptables(less)));
                }
            }
        }
        (Needs::Nftables(needs), Held::Nftables(held)) => {
            for id in needs.chains.keys() {
                let mut less = held.clone();
                less.chains.remove(id).unwrap();
                all.push((format!("{id:?}"), Held::Nftables(less)));
            }
            for id in needs.elements.keys() {
                let mut less = held.clone();
                less.elements.remove(id).unwrap();
                all.push((format!("{id:?}"), Held::Nftables(less)));
            }
            all.push(("the table".into(), Held::Nftables(TableHeld::default())));
        }
        _ => panic!("needs of one mode, rules of the other"),
    }
    all
}
