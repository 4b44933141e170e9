//! Rules by owner, and what differs between two states of one owner.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use model::{Family, Owner};
use serde::Serialize;

use super::Rule;
use super::policy::PolicyRules;

/// A table of iptables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Table {
    /// `filter`
    Filter,
    /// `nat`
    Nat,
    /// `mangle`; read and cleaned up, never written.
    Mangle,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Table::Filter => "filter",
            Table::Nat => "nat",
            Table::Mangle => "mangle",
        })
    }
}

/// One chain of one table of one family.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainId {
    /// The family.
    pub family: Family,
    /// The table.
    pub table: Table,
    /// The chain's name, at most 28 bytes.
    pub name: Arc<str>,
}

impl ChainId {
    /// Puts the three parts together.
    pub fn new(family: Family, table: Table, name: impl Into<Arc<str>>) -> Self {
        Self { family, table, name: name.into() }
    }
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.family, self.table, self.name)
    }
}

/// A rule in a built-in chain that leads to one of ours. It is put first where it is missing and
/// left where it stands otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jump {
    /// The built-in chain.
    pub chain: ChainId,
    /// The rule.
    pub rule: Rule,
}

/// What one owner contributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Chains that are the owner's alone, with all their rules.
    pub chains: BTreeMap<ChainId, Vec<Rule>>,
    /// Rules in chains that many owners share, in order.
    pub shared: BTreeMap<ChainId, Vec<Rule>>,
    /// Jumps from built-in chains, in the order in which they are put first (so a fresh chain
    /// holds them the other way round). The node's alone.
    pub jumps: Vec<Jump>,
}

/// The place of a rule in a shared chain: by owner, then by its position within the owner's rules;
/// the node's own rules come last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleKey {
    /// Whose rule.
    pub owner: Owner,
    /// Which of the owner's rules in that chain, from 0.
    pub index: u32,
}

impl RuleKey {
    fn rank(&self) -> (bool, &Owner, u32) {
        (self.owner == Owner::Node, &self.owner, self.index)
    }
}

impl PartialOrd for RuleKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RuleKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank().cmp(&other.rank())
    }
}

/// Everything this node's iptables hold of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// What each owner contributes.
    pub parts: BTreeMap<Owner, Part>,
    /// What policies ask for.
    pub policy: PolicyRules,
}

/// A rule that appears in, or vanishes from, a shared chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedRule {
    /// The chain.
    pub chain: ChainId,
    /// Its place.
    pub key: RuleKey,
    /// The rule.
    pub rule: Rule,
}

/// What differs between two states of one owner. The kernel takes it in this order: `write` (chains
/// are made where missing, emptied and filled), `insert`, `remove`, `delete`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Chains to fill anew, with all their rules. All are made before any is filled.
    pub write: BTreeMap<ChainId, Vec<Rule>>,
    /// Rules to put into shared chains.
    pub insert: Vec<SharedRule>,
    /// Rules to take out of shared chains.
    pub remove: Vec<SharedRule>,
    /// Chains to empty and delete, all emptied before any is deleted.
    pub delete: BTreeSet<ChainId>,
    /// Jumps to put first where they are missing.
    pub jumps: Vec<Jump>,
}

impl Ruleset {
    /// Every chain of ours with its rules in order; the chains that owners share hold the rules of
    /// all of them. Built-in chains are not among them.
    #[must_use]
    pub fn chains(&self) -> BTreeMap<ChainId, Vec<&Rule>> {
        let mut chains: BTreeMap<ChainId, Vec<&Rule>> = BTreeMap::new();
        for part in self.in_order() {
            for (chain, rules) in part.chains.iter().chain(&part.shared) {
                chains.entry(chain.clone()).or_default().extend(rules);
            }
        }
        chains.extend(self.policy.all_chains().map(|(chain, rules)| (chain.clone(), rules)));
        chains
    }

    /// The built-in chains with our jumps in the order in which a host has them that held nothing
    /// before: the last one put first is first.
    #[must_use]
    pub fn built_in(&self) -> BTreeMap<ChainId, Vec<&Rule>> {
        let mut chains: BTreeMap<ChainId, Vec<&Rule>> = BTreeMap::new();
        let jumps = self.in_order().flat_map(|part| &part.jumps).chain(&self.policy.jumps);
        for jump in jumps {
            chains.entry(jump.chain.clone()).or_default().insert(0, &jump.rule);
        }
        chains
    }

    /// How many rules our chains of a table hold. The jumps from built-in chains do not count, as
    /// they do not in kube-proxy's metric; nor do policies, which it knows nothing of.
    #[must_use]
    pub fn rule_count(&self, family: Family, table: Table) -> usize {
        let parts = self.parts.values();
        let chains = parts.flat_map(|part| part.chains.iter().chain(&part.shared));
        let here = chains.filter(|(chain, _)| chain.family == family && chain.table == table);
        here.map(|(_, rules)| rules.len()).sum()
    }

    /// The parts in the order in which their rules stand in shared chains.
    fn in_order(&self) -> impl Iterator<Item = &Part> {
        let owners = self.parts.iter().filter(|(owner, _)| **owner != Owner::Node);
        owners.map(|(_, part)| part).chain(self.parts.get(&Owner::Node))
    }
}
