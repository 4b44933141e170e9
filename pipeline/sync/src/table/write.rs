//! Differences as messages, in an order in which no packet meets anything half made.
//!
//! What fits into one transaction goes as one. Else: chains, then what elements of the dispatch maps
//! will need, then those elements, then what is no longer needed. A table that is not there yet gets
//! its hooks last, so that nothing of it is in force before it is complete.

use std::collections::BTreeSet;

use model::Family;
use render::nftables::{ChainId, Holds, SetName, names};

use super::difference::{Difference, FamilyDifference, SetDifference, TableState};
use super::outbox::{Blame, Failed, Outbox};
use super::read::{hook, to};
use super::rows::{Form, NOBODY, Rows, Words, keyed};
use super::rule::{expressions, notes};
use super::wanted::Wanted;
use super::{Features, layout};
use crate::nftables::set::{Element, Held};

/// How many elements are replaced between two boundaries, at most.
const REPLACED_AT_ONCE: usize = 256;
/// What an element may take in a message that replaces it, generously.
const ELEMENT_BYTES: usize = 640;

/// Writes what differs.
pub(super) struct Writer<'a, 'o> {
    pub(super) outbox: Outbox<'o>,
    pub(super) wanted: &'a Wanted,
    pub(super) features: &'a Features,
    pub(super) affinity_size: u32,
}

impl Writer<'_, '_> {
    /// Writes and sends everything.
    pub(super) fn send(&mut self, difference: &Difference) -> Result<(), Failed> {
        for (&family, difference) in &difference.families {
            self.family(family, difference)?;
        }
        self.outbox.flush()
    }

    fn family(&mut self, family: Family, difference: &FamilyDifference) -> Result<(), Failed> {
        let kept = difference.state == TableState::Kept;
        self.table(family, difference)?;
        let is_base = |id: &&ChainId| {
            self.wanted.chains.get(*id).is_some_and(|(chain, _)| chain.base.is_some())
        };
        let (late, early): (Vec<&ChainId>, Vec<&ChainId>) =
            difference.write.iter().partition(|id| !kept && is_base(id));
        self.chains(&early, kept, &difference.fresh)?;
        self.elements(family, difference)?;
        self.chains(&late, kept, &difference.fresh)?;
        for (name, set) in difference.sets.iter().rev() {
            if !removes_first(family, name) {
                self.gone(family, name, &set.gone, true)?;
            }
        }
        self.dead(family, difference)
    }

    /// The table and the sets that are missing.
    fn table(&mut self, family: Family, difference: &FamilyDifference) -> Result<(), Failed> {
        if difference.state == TableState::Stale {
            let sequence = self.outbox.message(Some(Blame::All));
            to(family, sequence).delete_table(self.outbox.out);
        }
        if difference.state != TableState::Kept {
            let sequence = self.outbox.message(Some(Blame::All));
            let length = u8::try_from(names::LAYOUT.len() + 1).unwrap_or_default();
            let note = [&[0, length], names::LAYOUT.as_bytes(), &[0]].concat();
            to(family, sequence).new_table_noted(self.outbox.out, &note);
        }
        for (id, name) in (1..).zip(&difference.new_sets) {
            let sequence = self.outbox.message(Some(Blame::All));
            let shape = layout::shape(family, name, self.affinity_size, self.features.counters);
            to(family, sequence).new_set(self.outbox.out, &name.to_string(), id, &shape);
            self.outbox.boundary()?;
        }
        Ok(())
    }

    /// Makes chains, then fills them. `fresh` are not there, so that nothing is in them.
    fn chains(
        &mut self,
        ids: &[&ChainId],
        empty_first: bool,
        fresh: &BTreeSet<ChainId>,
    ) -> Result<(), Failed> {
        let wanted = self.wanted;
        let chains = || ids.iter().filter_map(|&id| Some((id, &wanted.chains.get(id)?.0)));
        for (id, chain) in chains() {
            let to = to(id.family, self.outbox.message(Some(Blame::Chain(id.clone()))));
            match chain.base {
                Some(base) => to.new_base_chain(self.outbox.out, &id.name, hook(base)),
                None if fresh.contains(id) => to.new_fresh_chain(self.outbox.out, &id.name),
                None => to.new_chain(self.outbox.out, &id.name),
            }
            self.outbox.boundary()?;
        }
        for (id, chain) in chains() {
            let blame = || Some(Blame::Chain(id.clone()));
            if empty_first && !fresh.contains(id) {
                let to = to(id.family, self.outbox.message(blame()));
                to.flush_chain(self.outbox.out, &id.name);
            }
            for rule in &chain.rules {
                let to = to(id.family, self.outbox.message(blame()));
                to.new_noted_rule(self.outbox.out, &id.name, &notes(rule), |out| {
                    expressions(id.family, rule, &mut |native| native.write(out));
                });
            }
            self.outbox.boundary()?;
        }
        Ok(())
    }

    fn elements(&mut self, family: Family, difference: &FamilyDifference) -> Result<(), Failed> {
        for (name, set) in &difference.sets {
            let Some(rows) = self.wanted.sets.get(&(family, name.clone())) else {
                if removes_first(family, name) {
                    self.gone(family, name, &set.gone, true)?;
                }
                continue;
            };
            // Of ranges, the new ones may overlap with those that go: all in one, if it fits.
            let count = set.add.len() + set.replace.len() + set.gone.len() / rows.form.keys();
            let apart = !rows.form.ranges || count > self.outbox.limit() / ELEMENT_BYTES;
            if removes_first(family, name) {
                self.gone(family, name, &set.gone, apart)?;
            }
            self.replace(family, name, rows, set)?;
            self.add(family, name, rows, &set.add, None, apart)?;
            self.outbox.boundary()?;
        }
        Ok(())
    }

    /// Puts rows in the place of what is there under their keys, and lets them count on.
    fn replace(
        &mut self,
        family: Family,
        name: &SetName,
        rows: &Rows,
        set: &SetDifference,
    ) -> Result<(), Failed> {
        let at_once = (self.outbox.limit() / 4 / ELEMENT_BYTES).clamp(1, REPLACED_AT_ONCE);
        for numbers in set.replace.chunks(at_once) {
            let keys: Vec<u8> =
                numbers.iter().flat_map(|&number| rows.row(number).keys).copied().collect();
            self.gone(family, name, &keys, false)?;
            self.add(family, name, rows, numbers, Some(set), false)?;
            self.outbox.boundary()?;
        }
        Ok(())
    }

    /// Puts rows in; `apart` where they may come one after another. `replaced` knows what those that
    /// were there have counted.
    fn add(
        &mut self,
        family: Family,
        name: &SetName,
        rows: &Rows,
        numbers: &[u32],
        replaced: Option<&SetDifference>,
        apart: bool,
    ) -> Result<(), Failed> {
        let set = name.to_string();
        let limit = self.outbox.message_limit();
        let words: &Words = &self.wanted.words;
        let mut numbers = numbers.iter().peekable();
        // nft marks what lies before the first range.
        let mut before_first = rows.form.ranges && rows.form.single;
        while numbers.peek().is_some() {
            let to = to(family, self.outbox.message(None));
            let start = self.outbox.out.len();
            let open = to.new_elements(self.outbox.out, &set);
            while self.outbox.out.len() - start < limit {
                let Some(&number) = numbers.next() else { break };
                let row = rows.row(number);
                self.outbox.element(row.owner);
                if std::mem::take(&mut before_first) {
                    let zeros = [0; 16];
                    let key = zeros.get(..rows.form.key).unwrap_or_default();
                    if row.keys.get(..rows.form.key) != Some(key) {
                        range_end(key).write(self.outbox.out);
                    }
                }
                let out = &mut *self.outbox.out;
                let counted = replaced.and_then(|set| set.counted.get(&number).copied());
                rows.elements(&row, words, counted, &mut |element| element.write(out));
            }
            open.end(self.outbox.out);
            if apart {
                self.outbox.boundary()?;
            }
        }
        Ok(())
    }

    /// Takes keys out.
    fn gone(
        &mut self,
        family: Family,
        name: &SetName,
        keys: &[u8],
        apart: bool,
    ) -> Result<(), Failed> {
        let form = Form::of(family, name);
        let set = name.to_string();
        let limit = self.outbox.message_limit();
        let mut keys = keys.chunks_exact(form.keys()).peekable();
        while keys.peek().is_some() {
            let to = to(family, self.outbox.message(None));
            let start = self.outbox.out.len();
            let open = to.delete_elements(self.outbox.out, &set);
            while self.outbox.out.len() - start < limit {
                let Some(keys) = keys.next() else { break };
                self.outbox.element(NOBODY);
                let out = &mut *self.outbox.out;
                keyed(form, keys, Held::Nothing, &[], &mut |element| element.write(out));
            }
            open.end(self.outbox.out);
            if apart {
                self.outbox.boundary()?;
            }
        }
        Ok(())
    }

    /// Chains and sets that nothing needs any more.
    fn dead(&mut self, family: Family, difference: &FamilyDifference) -> Result<(), Failed> {
        for chain in &difference.delete {
            let to = to(family, self.outbox.message(Some(Blame::All)));
            to.flush_chain(self.outbox.out, chain);
        }
        for set in &difference.dead_sets {
            if SetName::named(set).is_some_and(|name| leads_on(&name)) {
                // Not every kernel lets go of the chains that a map leads to when the map goes.
                let to = to(family, self.outbox.message(Some(Blame::All)));
                to.flush_set(self.outbox.out, set);
            }
            let to = to(family, self.outbox.message(Some(Blame::All)));
            to.delete_set(self.outbox.out, set);
        }
        for chain in &difference.delete {
            let to = to(family, self.outbox.message(Some(Blame::All)));
            to.delete_chain(self.outbox.out, chain);
        }
        self.outbox.boundary()
    }
}

/// Whether elements go before others come: frontends, which must not lead to endpoints that left,
/// and ranges, which must not overlap.
fn removes_first(family: Family, name: &SetName) -> bool {
    matches!(name, SetName::Dispatch(..)) || Form::of(family, name).ranges
}

/// Whether a map leads to chains.
fn leads_on(name: &SetName) -> bool {
    name.declaration(0).holds == Holds::Verdict
}

fn range_end(key: &[u8]) -> Element<'_> {
    Element {
        key,
        key_end: None,
        ends_range: true,
        held: Held::Nothing,
        userdata: &[],
        counted: None,
    }
}
