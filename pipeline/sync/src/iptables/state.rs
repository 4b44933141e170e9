//! What the kernel is known to hold of ours.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use model::{Family, Owner};
use render::iptables::{ChainId, RuleKey, Table};

use super::policy::KnownSets;
use super::unit::Effect;
use crate::ipset::SetNumbers;

/// What the kernel is known to hold of ours. It advances only after the kernel said yes.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Whether it is the truth, as far as is known.
    pub(super) known: bool,
    pub(super) tables: BTreeSet<(Family, Table)>,
    pub(super) chains: BTreeSet<ChainId>,
    /// The handles of rules in shared chains; `None` while the kernel has not told it.
    pub(super) shared: BTreeMap<ChainId, BTreeMap<RuleKey, Option<u64>>>,
    /// The numbers of the sets that rules name.
    pub(super) sets: SetNumbers,
    /// What is known of these sets.
    pub(super) known_sets: KnownSets,
    /// Owners whose last change the kernel refused.
    pub(super) refused: BTreeSet<Owner>,
}

impl State {
    /// The handle of a rule.
    pub(super) fn handle(&self, chain: &ChainId, key: &RuleKey) -> Option<u64> {
        self.shared.get(chain)?.get(key).copied().flatten()
    }

    /// The handle of the first rule at or after a key.
    pub(super) fn handle_from(&self, chain: &ChainId, key: &RuleKey) -> Option<u64> {
        let from = (Bound::Included(key), Bound::Unbounded);
        self.shared.get(chain)?.range(from).find_map(|(_, handle)| *handle)
    }

    /// Takes over what a unit brought; `handles` are those that the kernel told, by number.
    pub(super) fn advance(&mut self, effects: Vec<Effect>, handles: &BTreeMap<u32, u64>) {
        // A rule may be replaced in its place: the old one goes first.
        for effect in &effects {
            if let Effect::Removed { chain, key } = effect
                && let Some(rules) = self.shared.get_mut(chain)
            {
                rules.remove(key);
            }
        }
        for effect in effects {
            match effect {
                Effect::Table(family, table) => {
                    self.tables.insert((family, table));
                }
                Effect::Chain(chain) => {
                    self.chains.insert(chain);
                }
                Effect::Gone(chain) => {
                    self.chains.remove(&chain);
                    self.shared.remove(&chain);
                }
                Effect::Inserted { chain, key, sequence } => {
                    let handle = handles.get(&sequence).copied();
                    self.shared.entry(chain).or_default().insert(key, handle);
                }
                Effect::Removed { .. } => {}
            }
        }
    }

    /// Shared chains some of whose handles the kernel has not told.
    pub(super) fn untold(&self) -> Vec<ChainId> {
        let untold = self.shared.iter().filter(|(_, rules)| rules.values().any(Option::is_none));
        untold.map(|(chain, _)| chain.clone()).collect()
    }
}
