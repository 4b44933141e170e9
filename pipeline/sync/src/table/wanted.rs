//! What the kernel is to hold, gathered from the owners' parts, and what a change asks for.

use std::collections::{BTreeMap, BTreeSet};

use model::{Family, Owner};
use render::nftables::{Chain, ChainId, Change, Content, ElementId, Part, SetId, SetName};

use super::difference::{Difference, TableState};
use super::rows::{Form, NOBODY, Rows, Words, put_keys};
use crate::Error;

/// The longest name of a chain that the kernel takes (`NFT_NAME_MAXLEN` without its NUL).
const NAME: usize = 255;

/// What the kernel is to hold.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) owners: Vec<Owner>,
    /// The chains, each with the numbers of the owners that need it.
    pub(super) chains: BTreeMap<ChainId, (Chain, Vec<u32>)>,
    pub(super) sets: BTreeMap<(Family, SetName), Rows>,
    /// Sets that have to be there though they are not always there.
    pub(super) declared: BTreeSet<SetId>,
    pub(super) words: Words,
}

impl Wanted {
    /// Adds what one owner needs.
    pub(super) fn take(&mut self, owner: &Owner, part: &Part) -> Result<(), Error> {
        let number = u32::try_from(self.owners.len()).unwrap_or(NOBODY);
        self.owners.push(owner.clone());
        for (id, chain) in &part.chains {
            if let Some((_, owners)) = self.chains.get_mut(id) {
                owners.push(number);
            } else {
                self.chain(id, chain, vec![number])?;
            }
        }
        self.declared.extend(part.sets.iter().cloned());
        for (id, content) in &part.elements {
            self.element(id, content, number)?;
        }
        Ok(())
    }

    /// Leaves out what several owners need, but for the first.
    pub(super) fn join_shared(&mut self) {
        let shared = self.sets.iter_mut().filter(|((_, name), _)| name.is_shared());
        shared.for_each(|(_, rows)| rows.join_equal());
    }

    /// The owners who want an element under a key that another one has, with what it is: the first
    /// one, in the order of the owners, keeps it.
    pub(super) fn late_claims(&self) -> BTreeMap<u32, SetName> {
        let mut late = BTreeMap::new();
        for ((_, name), rows) in &self.sets {
            let mut owners = BTreeSet::new();
            rows.late_claims(&mut owners);
            late.extend(owners.into_iter().map(|owner| (owner, name.clone())));
        }
        late
    }

    fn chain(&mut self, id: &ChainId, chain: &Chain, owners: Vec<u32>) -> Result<(), Error> {
        if id.name.is_empty() || id.name.len() > NAME {
            let what = format!("a chain's name has 1 to {NAME} bytes");
            return Err(Error::Unwritable { object: format!("chain {:?}", id.name), what });
        }
        self.chains.insert(id.clone(), (chain.clone(), owners));
        Ok(())
    }

    fn element(&mut self, id: &ElementId, content: &Content, owner: u32) -> Result<u32, Error> {
        let rows = self.sets.entry((id.family, id.set.clone()));
        let rows = rows.or_insert_with(|| Rows::new(Form::of(id.family, &id.set)));
        rows.push(&id.key, content, owner, &mut self.words)
    }

    /// What a change asks for, as what is to be there and what differs from before.
    pub(super) fn of_change(
        change: &Change,
        families: &[Family],
    ) -> Result<(Self, Difference), Error> {
        let mut wanted = Self::default();
        let mut difference = Difference::default();
        for &family in families {
            difference.family(family, TableState::Kept);
        }
        let Difference { families } = &mut difference;
        for id in &change.new_sets {
            let Some(family) = families.get_mut(&id.family) else { continue };
            family.new_sets.push(id.name.clone());
        }
        for id in &change.dead_sets {
            let Some(family) = families.get_mut(&id.family) else { continue };
            family.dead_sets.push(id.name.to_string());
        }
        for (id, chain) in &change.write {
            let Some(family) = families.get_mut(&id.family) else { continue };
            wanted.chain(id, chain, Vec::new())?;
            family.write.push(id.clone());
            if change.fresh.contains(id) {
                family.fresh.insert(id.clone());
            }
        }
        for id in &change.delete {
            let Some(family) = families.get_mut(&id.family) else { continue };
            family.delete.push(id.name.clone());
        }
        for (id, content) in &change.add {
            let Some(family) = families.get_mut(&id.family) else { continue };
            let number = wanted.element(id, content, NOBODY)?;
            let set = family.sets.entry(id.set.clone()).or_default();
            let replaced = change.remove.contains(id);
            if replaced { set.replace.push(number) } else { set.add.push(number) }
        }
        for id in change.remove.iter().filter(|id| !change.add.contains_key(id)) {
            let Some(family) = families.get_mut(&id.family) else { continue };
            let set = family.sets.entry(id.set.clone()).or_default();
            put_keys(&mut set.gone, Form::of(id.family, &id.set), &id.key);
        }
        Ok((wanted, difference))
    }
}
