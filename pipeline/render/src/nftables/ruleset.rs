//! Chains and elements by owner, and what differs between two states.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use model::{Family, Owner};

use super::{Chain, Content, Options, SetName, Value};

/// A chain of the table of one family.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChainId {
    /// The family.
    pub family: Family,
    /// The chain's name.
    pub name: Arc<str>,
}

/// An element of a set of the table of one family.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ElementId {
    /// The family.
    pub family: Family,
    /// The set.
    pub set: SetName,
    /// The key, a value for each field of the set's declaration.
    pub key: Vec<Value>,
}

/// A set of the table of one family.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SetId {
    /// The family.
    pub family: Family,
    /// The set.
    pub name: SetName,
}

/// What one owner contributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Sets that it needs, of those that are not always there.
    pub sets: BTreeSet<SetId>,
    /// Chains that it needs. A chain of this name is the same whoever needs it.
    pub chains: BTreeMap<ChainId, Chain>,
    /// Elements of the sets. Two owners may need the same element where [`SetName::is_shared`]
    /// says so; every other one is one owner's alone.
    pub elements: BTreeMap<ElementId, Content>,
}

/// Everything that this node's tables hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruleset {
    /// What each owner contributes.
    pub parts: BTreeMap<Owner, Part>,
    /// What policies contribute.
    pub policy: Part,
    /// How it was rendered.
    pub options: Options,
}

impl Ruleset {
    /// Every chain and element once.
    #[must_use]
    pub fn merged(&self) -> Part {
        let mut all = Part::default();
        for part in self.parts.values().chain([&self.policy]) {
            all.sets.extend(part.sets.iter().cloned());
            all.chains.extend(part.chains.iter().map(|(id, chain)| (id.clone(), chain.clone())));
            let elements = part.elements.iter();
            all.elements.extend(elements.map(|(id, content)| (id.clone(), content.clone())));
        }
        all
    }
}

/// What several owners may need at once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Shared {
    Chain(ChainId),
    /// The address of [`SetName::ClusterIps`].
    ClusterIp(IpAddr),
    /// That of [`SetName::Hairpin`], where source and destination are the same. One for each
    /// endpoint of the cluster is kept, so it is kept small.
    Hairpin(IpAddr),
}

/// How many owners need each chain and each shared element, as the kernel last took it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    counts: BTreeMap<Shared, i32>,
}

/// What differs between two states. The kernel takes it in this order, in one transaction:
/// `new_sets`, `write` (chains are made where missing, emptied and filled), `remove`, `add`, `delete`
/// (chains are emptied), `dead_sets`, `delete`.
///
/// A large `add` may be split: in its order, elements of the dispatch maps come last. An element
/// that is both removed and added is replaced, and both must be in one transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Sets to make.
    pub new_sets: BTreeSet<SetId>,
    /// Chains to fill anew. All are made before any is filled.
    pub write: BTreeMap<ChainId, Chain>,
    /// Those of them, none a base chain, that are not there yet: nothing has to be emptied.
    pub fresh: BTreeSet<ChainId>,
    /// Elements to take out.
    pub remove: BTreeSet<ElementId>,
    /// Elements to put in.
    pub add: BTreeMap<ElementId, Content>,
    /// Chains to empty and delete, all emptied before any is deleted.
    pub delete: BTreeSet<ChainId>,
    /// Sets to delete, with what is in them.
    pub dead_sets: BTreeSet<SetId>,
    counts: BTreeMap<Shared, i32>,
}

impl Change {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.write.is_empty()
            && self.remove.is_empty()
            && self.add.is_empty()
            && self.delete.is_empty()
            && self.new_sets.is_empty()
            && self.dead_sets.is_empty()
    }

    /// Joins a change of other owners to this one.
    pub fn join(&mut self, other: Change) {
        self.new_sets.extend(other.new_sets);
        self.write.extend(other.write);
        self.fresh.extend(other.fresh);
        self.remove.extend(other.remove);
        self.add.extend(other.add);
        self.delete.extend(other.delete);
        self.dead_sets.extend(other.dead_sets);
        for (shared, by) in other.counts {
            *self.counts.entry(shared).or_default() += by;
        }
    }
}

impl Uses {
    /// Counts the part of an owner that was not there before, where everything is rendered anew.
    pub fn gain(&mut self, part: &Part) {
        all_shared(part).for_each(|shared| self.count(shared, 1));
    }

    /// Takes that back, for an owner whose part the kernel refused.
    pub fn lose(&mut self, part: &Part) {
        all_shared(part).for_each(|shared| self.count(shared, -1));
    }

    fn count(&mut self, shared: Shared, by: i32) {
        match self.counts.entry(shared) {
            Entry::Vacant(vacant) if by != 0 => drop(vacant.insert(by)),
            Entry::Vacant(_) => {}
            Entry::Occupied(mut there) => {
                *there.get_mut() += by;
                if *there.get() == 0 {
                    there.remove();
                }
            }
        }
    }

    /// Counts a change that the kernel took.
    pub fn advance(&mut self, change: &Change) {
        for (shared, by) in &change.counts {
            self.count(shared.clone(), *by);
        }
    }

    fn of(&self, shared: &Shared) -> i32 {
        self.counts.get(shared).copied().unwrap_or_default()
    }
}

/// The least that takes the owners given from their old parts to their new ones; `None` is an owner
/// without a part. Owners that change together belong into one call: an address that passes from
/// one Service to another is then replaced, not removed after it was added.
#[must_use]
pub fn diff<'a>(
    uses: &Uses,
    owners: impl IntoIterator<Item = (Option<&'a Part>, Option<&'a Part>)>,
) -> Change {
    let (mut old, mut new) = (Side::default(), Side::default());
    for (before, after) in owners {
        before.into_iter().for_each(|part| old.take(part));
        after.into_iter().for_each(|part| new.take(part));
    }
    let mut change = Change::default();
    for id in old.counts.keys().chain(new.counts.keys()) {
        let count = |side: &Side| side.counts.get(id).copied().unwrap_or_default();
        change.counts.insert(id.clone(), count(&new) - count(&old));
    }
    let gone = |shared| {
        let by = change.counts.get(&shared).copied().unwrap_or_default();
        uses.of(&shared) > 0 && uses.of(&shared) + by == 0
    };
    let deleted = old.chains.keys().filter(|&&id| gone(Shared::Chain(id.clone())));
    change.delete = deleted.map(|&id| id.clone()).collect();
    let removed = old.elements.iter().filter(|(id, content)| match shared(id) {
        Some(shared) => gone(shared),
        None => new.elements.get(*id) != Some(content),
    });
    change.remove = removed.map(|(&id, _)| id.clone()).collect();
    for (&id, &chain) in &new.chains {
        let fresh = uses.of(&Shared::Chain(id.clone())) == 0;
        if fresh || old.chains.get(id).is_some_and(|known| *known != chain) {
            change.write.insert(id.clone(), chain.clone());
        }
    }
    for (&id, &content) in &new.elements {
        let fresh = match shared(id) {
            Some(shared) => uses.of(&shared) == 0,
            None => old.elements.get(id) != Some(&content),
        };
        if fresh {
            change.add.insert(id.clone(), content.clone());
        }
    }
    change.counts.retain(|_, by| *by != 0);
    change
}

/// What a part has of what others may have too.
fn all_shared(part: &Part) -> impl Iterator<Item = Shared> {
    let chains = part.chains.keys().map(|id| Shared::Chain(id.clone()));
    chains.chain(part.elements.keys().filter_map(shared))
}

fn shared(id: &ElementId) -> Option<Shared> {
    match (&id.set, id.key.first()) {
        (SetName::ClusterIps, Some(Value::Address(address))) => Some(Shared::ClusterIp(*address)),
        (SetName::Hairpin, Some(Value::Address(address))) => Some(Shared::Hairpin(*address)),
        _ => None,
    }
}

/// The parts of one state, seen together.
#[derive(Default)]
struct Side<'a> {
    chains: BTreeMap<&'a ChainId, &'a Chain>,
    elements: BTreeMap<&'a ElementId, &'a Content>,
    counts: BTreeMap<Shared, i32>,
}

impl<'a> Side<'a> {
    fn take(&mut self, part: &'a Part) {
        self.chains.extend(&part.chains);
        self.elements.extend(&part.elements);
        for shared in all_shared(part) {
            *self.counts.entry(shared).or_default() += 1;
        }
    }
}
