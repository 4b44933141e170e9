//! The walk through one hook's chains.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{Family, Host};
use render::nftables::{
    Chain, ChainId, ChainType, Content, ElementId, Hook, Rule, Ruleset, rule_text,
};

use super::flight::Flight;
use super::{Step, Then, TraceError};
use crate::fate::Fates;
use crate::policy::Traffic;

/// The kernel's own limit (`NFT_JUMP_STACK_SIZE`).
const DEEPEST: usize = 16;

/// A hook on a packet's way.
pub(super) struct Passage<'a> {
    pub(super) hook: Hook,
    /// The interface that packets came in by, where the hook knows one.
    pub(super) interface: Option<&'a str>,
    /// Whether the connection may still be translated.
    pub(super) translates: bool,
}

/// The table of one family: every chain and element once.
pub(super) struct Table<'a> {
    chains: BTreeMap<&'a ChainId, &'a Chain>,
    pub(super) elements: BTreeMap<&'a ElementId, &'a Content>,
}

impl<'a> Table<'a> {
    pub(super) fn of(ruleset: &'a Ruleset, family: Family) -> Self {
        let parts = || ruleset.parts.values().chain([&ruleset.policy]);
        let chains = parts().flat_map(|part| &part.chains);
        let elements = parts().flat_map(|part| &part.elements);
        Self {
            chains: chains.filter(|(id, _)| id.family == family).collect(),
            elements: elements.filter(|(id, _)| id.family == family).collect(),
        }
    }
}

/// What a walk needs to know, and what it has seen.
pub(super) struct Walk<'a> {
    pub(super) table: &'a Table<'a>,
    pub(super) affinity_size: u32,
    pub(super) family: Family,
    pub(super) host: &'a Host,
    pub(super) traffic: Traffic,
    /// Whether the connection was seen before.
    pub(super) established: bool,
    pub(super) steps: Vec<Step>,
    /// Ends that a packet does not come back from.
    pub(super) fates: Fates,
}

/// Where a walk is.
pub(super) struct Place<'a> {
    pub(super) hook: Hook,
    pub(super) interface: Option<&'a str>,
    pub(super) chain_type: ChainType,
    pub(super) chain: Arc<str>,
    depth: usize,
}

/// Packets that a chain is done with.
#[derive(Default)]
struct Done {
    /// They came to its end, and go back to where a jump led here from.
    through: BTreeSet<Flight>,
    /// They left the base chain.
    left: BTreeSet<Flight>,
}

impl<'a> Walk<'a> {
    /// Sends packets through the base chains of a hook and gives back those that leave it, changed
    /// as they are.
    pub(super) fn hook(
        &mut self,
        passage: &Passage<'_>,
        flights: BTreeSet<Flight>,
    ) -> Result<BTreeSet<Flight>, TraceError> {
        let mut live = flights;
        for (_, chain_type, chain) in self.base_chains(passage.hook) {
            // The first nat chain that translates decides; the kernel asks no other after it.
            let decided = |flight: &Flight| match passage.hook {
                Hook::Postrouting => flight.masqueraded,
                _ => flight.translated,
            };
            let asked = |flight: &Flight| {
                chain_type == ChainType::Filter || passage.translates && !decided(flight)
            };
            let (asked, mut after): (BTreeSet<_>, BTreeSet<_>) = live.into_iter().partition(asked);
            let Passage { hook, interface, .. } = *passage;
            let place = Place { hook, interface, chain_type, chain, depth: 0 };
            let done = self.chain(&place, asked)?;
            after.extend(done.through);
            after.extend(done.left);
            live = after;
        }
        Ok(live)
    }

    /// The base chains of a hook, in the order in which the kernel calls them.
    fn base_chains(&self, hook: Hook) -> Vec<(i32, ChainType, Arc<str>)> {
        let all = self.table.chains.iter();
        let mut chains: Vec<_> = all
            .filter_map(|(id, chain)| {
                let base = chain.base.filter(|base| base.hook == hook)?;
                Some((base.priority, base.chain_type, id.name.clone()))
            })
            .collect();
        chains.sort_by(|one, other| (one.0, &one.2).cmp(&(other.0, &other.2)));
        chains
    }

    fn chain(&mut self, place: &Place<'_>, flights: BTreeSet<Flight>) -> Result<Done, TraceError> {
        let mut done = Done::default();
        let mut live = flights;
        for rule in self.find(&place.chain).map(|chain| &chain.rules).into_iter().flatten() {
            let mut next = BTreeSet::new();
            let mut away: BTreeMap<Then, BTreeSet<Flight>> = BTreeMap::new();
            let mut seen = BTreeSet::new();
            for flight in live {
                for way in self.rule(rule, place, flight)? {
                    let Some((element, then)) = way.met else {
                        next.insert(way.flight);
                        continue;
                    };
                    if seen.insert((element.clone(), then.clone())) {
                        self.note(rule, place, element, &then);
                    }
                    match then {
                        Then::Nothing => drop(next.insert(way.flight)),
                        Then::Drop => self.fates.dropped = true,
                        Then::Reject => self.fates.rejected = true,
                        Then::Dnat(_) | Then::Masquerade | Then::Accept => {
                            done.left.insert(way.flight);
                        }
                        Then::Return => drop(done.through.insert(way.flight)),
                        Then::Jump(_) | Then::Goto(_) => {
                            away.entry(then).or_default().insert(way.flight);
                        }
                    }
                }
            }
            for (then, flights) in away {
                let (Then::Jump(to) | Then::Goto(to)) = &then else { continue };
                let there = self.enter(to, place, flights)?;
                done.left.extend(there.left);
                if matches!(then, Then::Jump(_)) {
                    next.extend(there.through);
                } else {
                    done.through.extend(there.through);
                }
            }
            live = next;
        }
        done.through.extend(live);
        Ok(done)
    }

    fn enter(
        &mut self,
        to: &Arc<str>,
        place: &Place<'_>,
        flights: BTreeSet<Flight>,
    ) -> Result<Done, TraceError> {
        let depth = place.depth + 1;
        if depth > DEEPEST {
            return Err(TraceError::TooDeep { chain: to.clone() });
        }
        if self.find(to).is_none_or(|chain| chain.base.is_some()) {
            let (chain, target) = (place.chain.clone(), to.clone());
            return Err(TraceError::MissingChain { chain, target });
        }
        self.chain(&Place { chain: to.clone(), depth, ..*place }, flights)
    }

    fn find(&self, name: &Arc<str>) -> Option<&'a Chain> {
        let id = ChainId { family: self.family, name: name.clone() };
        self.table.chains.get(&id).copied()
    }

    fn note(&mut self, rule: &Rule, place: &Place<'_>, element: Option<String>, then: &Then) {
        self.steps.push(Step {
            chain: place.chain.clone(),
            rule: rule_text(self.family, rule),
            element,
            then: then.clone(),
        });
    }
}
