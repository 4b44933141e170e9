//! What a kernel would hold after a series of changes, by the order that [`Change`] promises.

use std::collections::{BTreeMap, BTreeSet};

use model::Owner;
use render::iptables::{ChainId, Change, Jump, Part, Rule, RuleKey, Ruleset};

/// Chains and rules, as a kernel keeps them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    chains: BTreeMap<ChainId, Vec<Rule>>,
    shared: BTreeMap<ChainId, BTreeMap<RuleKey, Rule>>,
    /// Each built-in chain's jumps, the first on top.
    jumps: BTreeMap<ChainId, Vec<Rule>>,
}

impl Memory {
    /// What is there after a first load of everything.
    #[must_use]
    pub fn of(ruleset: &Ruleset) -> Self {
        let mut memory = Self::default();
        for (owner, part) in &ruleset.parts {
            memory.load(owner, part);
        }
        memory
    }

    fn load(&mut self, owner: &Owner, part: &Part) {
        self.chains.extend(part.chains.clone());
        for (chain, rules) in &part.shared {
            let place = self.shared.entry(chain.clone()).or_default();
            place.extend(rules.iter().enumerate().map(|(index, rule)| {
                let index = u32::try_from(index).expect("an owner has fewer rules");
                (RuleKey { owner: owner.clone(), index }, rule.clone())
            }));
        }
        part.jumps.iter().for_each(|jump| self.jump(jump));
    }

    fn jump(&mut self, jump: &Jump) {
        let rules = self.jumps.entry(jump.chain.clone()).or_default();
        if !rules.contains(&jump.rule) {
            rules.insert(0, jump.rule.clone());
        }
    }

    /// Takes one change in, in the order in which the kernel does.
    ///
    /// # Panics
    /// If the change asks for something that a kernel would refuse: to remove a rule or a chain
    /// that is not there.
    pub fn apply(&mut self, change: &Change) {
        self.chains.extend(change.write.clone());
        let mut put = BTreeSet::new();
        for one in &change.insert {
            let rules = self.shared.entry(one.chain.clone()).or_default();
            let before = rules.insert(one.key.clone(), one.rule.clone());
            if before.is_some() {
                put.insert((one.chain.clone(), one.key.clone()));
            }
        }
        for one in &change.remove {
            // A rule that was replaced at its place is gone by now.
            if put.remove(&(one.chain.clone(), one.key.clone())) {
                continue;
            }
            let rules = self.shared.get_mut(&one.chain).expect("a shared chain is there");
            assert_eq!(rules.remove(&one.key).as_ref(), Some(&one.rule), "{}", one.chain);
        }
        assert_eq!(put, BTreeSet::new(), "rules put where others stand, which are not removed");
        for chain in &change.delete {
            assert!(self.chains.remove(chain).is_some(), "{chain} is not there");
        }
        change.jumps.iter().for_each(|jump| self.jump(jump));
    }

    /// The same without shared chains that hold nothing.
    #[must_use]
    pub fn without_empty_places(mut self) -> Self {
        self.shared.retain(|_, rules| !rules.is_empty());
        self
    }
}
