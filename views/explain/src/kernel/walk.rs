//! A packet's way through the rules that the kernel really holds.

use std::collections::BTreeMap;

use model::{Host, Owner};
use render::iptables::{self, ChainId, Part, Rule, Target, names};
use render::nftables;

use super::compare::{Held, TableHeld};
use crate::trace::{Then, TraceError, trace_iptables};
use crate::{Packet, Verdict, nftables as table};

/// Chains of iptables with their rules, whoever wrote them.
pub type HeldChains = BTreeMap<ChainId, Vec<Option<Rule>>>;

/// Where a walk ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Walked {
    /// It ended, by this rule where a rule refused the packet.
    Ended {
        /// What becomes of the packet.
        verdict: Verdict,
        /// The table and chain, and the rule, that refused or translated it last.
        by: Option<(ChainId, String)>,
    },
    /// A rule leads to a chain that was not read yet.
    Missing(ChainId),
    /// It cannot be followed.
    Unclear(String),
}

/// Walks a packet through chains of iptables. Rules that cannot be read are passed over, and so are
/// policies: what they make of the packet is judged apart.
#[must_use]
pub fn walk(held: &HeldChains, host: &Host, packet: &Packet) -> Walked {
    let judges = |rule: &&Rule| matches!(&rule.target, Some(Target::Jump(to)) if to.starts_with(names::POLICY_PREFIX));
    let known = |rules: &Vec<Option<Rule>>| {
        rules.iter().flatten().filter(|rule| !judges(rule)).cloned().collect()
    };
    let chains = held.iter().map(|(id, rules)| (id.clone(), known(rules))).collect();
    let part = Part { chains, ..Part::default() };
    let ruleset = iptables::Ruleset {
        parts: BTreeMap::from([(Owner::Node, part)]),
        ..iptables::Ruleset::default()
    };
    match trace_iptables(&ruleset, host, packet) {
        Ok(trace) => {
            let ends = |then: &Then| matches!(then, Then::Drop | Then::Reject | Then::Dnat(_));
            let family = model::Family::of(packet.destination);
            let last = trace.steps.iter().rev().find(|step| ends(&step.then));
            let by = last.map(|step| {
                (ChainId::new(family, step.table, step.chain.clone()), step.rule.clone())
            });
            Walked::Ended { verdict: trace.verdict, by }
        }
        Err(TraceError::MissingChain { chain, target }) => {
            let id = ChainId { name: target, ..chain };
            Walked::Missing(id)
        }
        Err(error) => Walked::Unclear(error.to_string()),
    }
}

/// Walks a packet through our own table.
#[must_use]
pub fn walk_table(held: &TableHeld, host: &Host, packet: &Packet) -> Walked {
    let known = held.chains.iter();
    let chains = known.filter_map(|(id, chain)| Some((id.clone(), chain.clone()?))).collect();
    let part = nftables::Part { chains, elements: held.elements.clone(), ..Default::default() };
    let options = nftables::Options::default();
    let parts = BTreeMap::from([(Owner::Node, part)]);
    let ruleset = nftables::Ruleset { parts, policy: Default::default(), options };
    match table::trace_nftables(&ruleset, host, packet) {
        Ok(trace) => Walked::Ended { verdict: trace.verdict, by: None },
        Err(error) => Walked::Unclear(error.to_string()),
    }
}

impl Held {
    /// Walks a packet through what is held of ours.
    pub(super) fn walk(&self, host: &Host, packet: &Packet) -> Walked {
        match self {
            Held::Iptables(chains) => walk(chains, host, packet),
            Held::Nftables(table) => walk_table(table, host, packet),
        }
    }
}
