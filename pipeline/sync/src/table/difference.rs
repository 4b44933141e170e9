//! What the kernel holds, compared with what it is to hold. Nothing of the kernel's elements is
//! kept: each is looked up among the wanted ones as it is read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::Family;
use render::nftables::{ChainId, SetName, names};

use super::read::{self, ChainHook};
use super::rows::{Form, Rows, Words, comment};
use super::wanted::Wanted;
use super::{Features, layout};
use crate::Error;
use crate::netlink::Socket;
use crate::nftables::set::Element;

/// What differs, by family.
#[derive(Debug, Default)]
pub(super) struct Difference {
    pub(super) families: BTreeMap<Family, FamilyDifference>,
}

/// What is there of a family's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TableState {
    /// Nothing.
    Missing,
    /// One that cannot be brought to our shape, and has to be replaced.
    Stale,
    /// One of our shape.
    Kept,
}

/// What differs in a family.
#[derive(Debug)]
pub(super) struct FamilyDifference {
    pub(super) state: TableState,
    /// Sets to make.
    pub(super) new_sets: Vec<SetName>,
    /// Sets that are none of ours.
    pub(super) dead_sets: Vec<String>,
    /// Chains to fill anew.
    pub(super) write: Vec<ChainId>,
    /// Those of them that are not there, by what was written before. Where one is after all, the
    /// kernel refuses the transaction.
    pub(super) fresh: BTreeSet<ChainId>,
    /// Chains to delete.
    pub(super) delete: Vec<Arc<str>>,
    /// Elements.
    pub(super) sets: BTreeMap<SetName, SetDifference>,
}

/// What differs in a set.
#[derive(Debug, Default)]
pub(super) struct SetDifference {
    /// Rows to put in the place of elements with the same key.
    pub(super) replace: Vec<u32>,
    /// Rows to put in.
    pub(super) add: Vec<u32>,
    /// Keys to take out, one behind the other.
    pub(super) gone: Vec<u8>,
    /// Packets and bytes that elements to be replaced have counted, by the row that replaces them.
    pub(super) counted: BTreeMap<u32, (u64, u64)>,
}

impl SetDifference {
    fn is_empty(&self) -> bool {
        self.replace.is_empty() && self.add.is_empty() && self.gone.is_empty()
    }
}

impl Difference {
    /// Begins a family in which nothing differs.
    pub(super) fn family(&mut self, family: Family, state: TableState) -> &mut FamilyDifference {
        self.families.entry(family).or_insert_with(|| FamilyDifference::new(state))
    }
}

impl FamilyDifference {
    fn new(state: TableState) -> Self {
        Self {
            state,
            new_sets: Vec::new(),
            dead_sets: Vec::new(),
            write: Vec::new(),
            fresh: BTreeSet::new(),
            delete: Vec::new(),
            sets: BTreeMap::new(),
        }
    }

    /// Everything that is wanted, for a table that has none of it.
    fn all(family: Family, state: TableState, wanted: &Wanted) -> Self {
        let mut difference = Self::new(state);
        difference.new_sets = names(family, wanted);
        let chains = wanted.chains.keys().filter(|id| id.family == family);
        difference.write = chains.cloned().collect();
        for ((_, name), rows) in wanted.sets.iter().filter(|((of, _), _)| *of == family) {
            let add = (0..rows.len()).collect();
            let set = SetDifference { add, ..SetDifference::default() };
            difference.sets.insert(name.clone(), set);
        }
        difference
    }
}

/// Every set that the table of a family is to have.
fn names(family: Family, wanted: &Wanted) -> Vec<SetName> {
    let mut names = SetName::all();
    let declared = wanted.declared.iter().filter(|id| id.family == family);
    names.extend(declared.map(|id| id.name.clone()));
    names
}

/// Reads the tables once and says what differs.
pub(super) fn compare(
    socket: &mut Socket,
    wanted: &Wanted,
    features: &Features,
    affinity_size: u32,
) -> Result<Difference, Error> {
    let mut difference = Difference::default();
    for &family in &features.families {
        let one = compare_family(socket, family, wanted, (features.counters, affinity_size))?;
        difference.families.insert(family, one);
    }
    Ok(difference)
}

fn compare_family(
    socket: &mut Socket,
    family: Family,
    wanted: &Wanted,
    (counters, affinity_size): (bool, u32),
) -> Result<FamilyDifference, Error> {
    let Some(userdata) = read::table(socket, family)? else {
        return Ok(FamilyDifference::all(family, TableState::Missing, wanted));
    };
    let stale = || Ok(FamilyDifference::all(family, TableState::Stale, wanted));
    let hooks = read::chains(socket, family)?;
    if comment(&userdata) != Some(names::LAYOUT) || !same_hooks(family, &hooks, wanted) {
        return stale();
    }
    let mut difference = FamilyDifference::new(TableState::Kept);
    let mut sets = read::sets(socket, family)?;
    let mut kept = Vec::new();
    for name in names(family, wanted) {
        match sets.remove(&name.to_string()) {
            None => difference.new_sets.push(name),
            Some(shape) if shape == layout::shape(family, &name, affinity_size, counters) => {
                kept.push(name);
            }
            Some(_) => return stale(),
        }
    }
    difference.dead_sets = sets.into_keys().collect();
    compare_chains(socket, family, wanted, &hooks, &mut difference)?;
    let new = difference.new_sets.iter().map(|name| (name.clone(), false));
    let all: Vec<(SetName, bool)> = kept.into_iter().map(|name| (name, true)).chain(new).collect();
    for (name, there) in all {
        if name.declaration(affinity_size).dynamic.is_some() {
            // Packets fill it.
            continue;
        }
        let nothing = Rows::new(Form::of(family, &name));
        let rows = wanted.sets.get(&(family, name.clone())).unwrap_or(&nothing);
        let set = match there {
            true => compare_set(socket, family, &name, rows, &wanted.words)?,
            false => SetDifference { add: (0..rows.len()).collect(), ..SetDifference::default() },
        };
        if !set.is_empty() {
            difference.sets.insert(name, set);
        }
    }
    Ok(difference)
}

/// Whether every chain that is both there and wanted is called from the same place: the kernel
/// cannot move one.
fn same_hooks(
    family: Family,
    hooks: &BTreeMap<Arc<str>, Option<ChainHook>>,
    wanted: &Wanted,
) -> bool {
    hooks.iter().all(|(name, hook)| {
        let id = ChainId { family, name: name.clone() };
        let chain = wanted.chains.get(&id);
        chain.is_none_or(|(chain, _)| chain.base.map(ChainHook::of) == *hook)
    })
}

fn compare_chains(
    socket: &mut Socket,
    family: Family,
    wanted: &Wanted,
    hooks: &BTreeMap<Arc<str>, Option<ChainHook>>,
    difference: &mut FamilyDifference,
) -> Result<(), Error> {
    let mut rules = read::rules(socket, family)?;
    let mut there: BTreeSet<&Arc<str>> = hooks.keys().collect();
    for (id, (chain, _)) in wanted.chains.iter().filter(|(id, _)| id.family == family) {
        let held = there.remove(&id.name).then(|| rules.remove(&id.name).unwrap_or_default());
        let same = held.is_some_and(|held| {
            held.len() == chain.rules.len()
                && held.iter().zip(&chain.rules).all(|(held, rule)| held.as_ref() == Some(rule))
        });
        if !same {
            difference.write.push(id.clone());
        }
    }
    difference.delete = there.into_iter().cloned().collect();
    Ok(())
}

fn compare_set(
    socket: &mut Socket,
    family: Family,
    name: &SetName,
    rows: &Rows,
    words: &Words,
) -> Result<SetDifference, Error> {
    let mut difference = SetDifference::default();
    let found = vec![false; rows.len() as usize];
    let mut search = Search { rows, found, words, difference: &mut difference };
    read::elements(socket, family, name, &mut |keys, element| search.see(keys, element))?;
    let found = search.found;
    let replaced: BTreeSet<u32> = difference.replace.iter().copied().collect();
    let numbers = (0..).zip(found).filter(|(_, found)| !found).map(|(number, _)| number);
    difference.add = numbers.filter(|number| !replaced.contains(number)).collect();
    Ok(difference)
}

/// Looks the kernel's elements up among the wanted ones.
struct Search<'a> {
    rows: &'a Rows,
    /// Which rows were found.
    found: Vec<bool>,
    words: &'a Words,
    difference: &'a mut SetDifference,
}

impl Search<'_> {
    fn see(&mut self, keys: &[u8], element: &Element<'_>) {
        let rows = self.rows;
        let number = rows.find(keys).and_then(|place| rows.sorted().get(place).copied());
        let Some(number) = number else {
            self.difference.gone.extend(keys);
            return;
        };
        if !rows.holds(&rows.row(number), element, self.words) {
            self.difference.replace.push(number);
            self.difference.counted.extend(element.counted.map(|counted| (number, counted)));
        } else if let Some(found) = self.found.get_mut(number as usize) {
            *found = true;
        }
    }
}
