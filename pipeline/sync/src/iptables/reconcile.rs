//! Comparing everything with what the kernel holds, and writing the difference.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{Family, Owner};
use render::iptables::{ChainId, Part, Rule, RuleKey, Ruleset, Table, names};

use super::align::{align, subject};
use super::batch::Batches;
use super::policy::last_policy_jump;
use super::read::{self, HeldRule};
use super::state::State;
use super::unit::deletion_rank;
use super::{Iptables, Written, decode};
use crate::Error;
use crate::ipset::{self, SetNumbers};
use crate::netlink::Socket;

/// The tables that are written.
const TABLES: [Table; 2] = [Table::Filter, Table::Nat];
/// How many chains or rules of nobody are removed as one.
const LEFTOVERS_AT_ONCE: usize = 50;

/// What is wanted, turned from owners to chains.
struct Desired<'r> {
    own: BTreeMap<&'r ChainId, &'r [Rule]>,
    shared: BTreeMap<ChainId, Vec<(RuleKey, &'r Rule)>>,
}

/// What was found of it in the kernel.
#[derive(Default)]
struct Found {
    /// Own chains that hold exactly what they should.
    equal: BTreeSet<ChainId>,
    /// Rules of shared and built-in chains.
    listed: BTreeMap<ChainId, Vec<HeldRule>>,
    /// Chains with our names that nobody wants.
    stale: BTreeSet<ChainId>,
    /// Chains that rules of somebody else lead to.
    led_to: BTreeSet<ChainId>,
}

/// What has to change in the shared chains.
#[derive(Default)]
struct SharedWork<'r> {
    by_owner: BTreeMap<Owner, OwnerWork<'r>>,
    /// Rules that no owner wants.
    leftovers: Vec<(ChainId, u64)>,
    touched: BTreeSet<ChainId>,
}

#[derive(Default)]
struct OwnerWork<'r> {
    insert: Vec<(ChainId, RuleKey, &'r Rule)>,
    remove: Vec<(ChainId, u64)>,
}

pub(super) fn reconcile(iptables: &mut Iptables, ruleset: &Ruleset) -> Result<Written, Error> {
    iptables.state = State::default();
    iptables.state.sets = ipset::numbers(&mut iptables.socket)?;
    let desired = Desired::of(ruleset);
    let found = find(iptables, &desired)?;
    let work = compare_shared(&mut iptables.state, &desired, &found);
    let mut batches = Batches::new(iptables, false);
    lay_foundation(&mut batches, ruleset, &desired, &found)?;
    let nothing = OwnerWork::default();
    for (owner, part) in ruleset.parts.iter().filter(|(owner, _)| **owner != Owner::Node) {
        let shared = work.by_owner.get(owner).unwrap_or(&nothing);
        write_owner(&mut batches, owner, part, shared, &found)?;
    }
    if let Some(part) = ruleset.parts.get(&Owner::Node) {
        let shared = work.by_owner.get(&Owner::Node).unwrap_or(&nothing);
        // Nothing is reachable before its chains are filled: the jumps go into a later batch.
        batches.flush()?;
        write_owner(&mut batches, &Owner::Node, part, shared, &found)?;
    }
    remove_leftovers(&mut batches, &work.leftovers, &found)?;
    batches.flush()?;
    learn_handles(&mut batches, &desired, &work.touched)?;
    Ok(batches.written)
}

impl<'r> Desired<'r> {
    fn of(ruleset: &'r Ruleset) -> Self {
        let mut desired = Self { own: BTreeMap::new(), shared: BTreeMap::new() };
        for family in Family::ALL {
            for (table, name) in names::SHARED {
                desired.shared.insert(ChainId::new(family, table, name), Vec::new());
            }
        }
        // The order of the keys: the node's own rules come last.
        let services = ruleset.parts.iter().filter(|(owner, _)| **owner != Owner::Node);
        let node = ruleset.parts.get_key_value(&Owner::Node);
        for (owner, part) in services.chain(node) {
            desired.own.extend(part.chains.iter().map(|(id, rules)| (id, &**rules)));
            for (chain, rules) in &part.shared {
                let place = desired.shared.entry(chain.clone()).or_default();
                place.extend(
                    (0..)
                        .zip(rules)
                        .map(|(index, rule)| (RuleKey { owner: owner.clone(), index }, rule)),
                );
            }
        }
        desired
    }
}

fn find(iptables: &mut Iptables, desired: &Desired<'_>) -> Result<Found, Error> {
    let Iptables { socket, state, .. } = iptables;
    let mut found = Found::default();
    for family in Family::ALL {
        let tables = read::tables(socket, family)?;
        state.tables.extend(tables.into_iter().map(|table| (family, table)));
        let chains = read::chains(socket, family)?;
        for (id, base) in chains.into_iter().filter(|(id, _)| TABLES.contains(&id.table)) {
            if let Some((known, rules)) = desired.own.get_key_value(&id) {
                if holds(socket, known, rules, &state.sets)? {
                    found.equal.insert((*known).clone());
                }
                // The name is shared with the ruleset.
                state.chains.insert((*known).clone());
            } else if base || desired.shared.contains_key(&id) {
                let held = read::chain(socket, &id, &state.sets)?;
                if base {
                    found.note_targets(&id, read::targets(socket, &id)?);
                }
                state.chains.insert(id.clone());
                found.listed.insert(id, held);
            } else if id.table == Table::Nat && names::is_dynamic(&id.name) {
                found.stale.insert(id);
            } else {
                let targets = read::targets(socket, &id)?;
                found.note_targets(&id, targets);
            }
        }
    }
    Ok(found)
}

/// Whether a chain holds just these rules.
fn holds(
    socket: &mut Socket,
    id: &ChainId,
    rules: &[Rule],
    sets: &SetNumbers,
) -> Result<bool, Error> {
    let (mut rest, mut equal) = (rules, true);
    read::rules(socket, id, |seen| match rest.split_first() {
        Some((next, others)) if decode::read_rule(id.family, seen, sets).as_ref() == Some(next) => {
            rest = others;
        }
        _ => equal = false,
    })?;
    Ok(equal && rest.is_empty())
}

impl Found {
    fn note_targets(&mut self, by: &ChainId, targets: BTreeMap<u64, Arc<str>>) {
        let ids = targets.into_values().map(|name| ChainId::new(by.family, by.table, name));
        self.led_to.extend(ids);
    }
}

fn compare_shared<'r>(state: &mut State, desired: &Desired<'r>, found: &Found) -> SharedWork<'r> {
    let mut work = SharedWork::default();
    for (chain, wanted) in &desired.shared {
        let none = Vec::new();
        let held = found.listed.get(chain).unwrap_or(&none);
        let held_rules: Vec<_> = held.iter().map(|held| held.rule.clone()).collect();
        let kept = align(&held_rules, &wanted.iter().map(|(_, rule)| *rule).collect::<Vec<_>>());
        let mut stays = BTreeSet::new();
        let mut by_subject = BTreeMap::new();
        let known = state.shared.entry(chain.clone()).or_default();
        for ((key, rule), place) in wanted.iter().zip(kept) {
            if let Some(place) = place {
                stays.insert(place);
                known.insert(key.clone(), held.get(place).map(|held| held.handle));
            } else {
                by_subject.insert(subject(rule), key.owner.clone());
                let owner = work.by_owner.entry(key.owner.clone()).or_default();
                owner.insert.push((chain.clone(), key.clone(), rule));
                work.touched.insert(chain.clone());
            }
        }
        for (place, held) in held.iter().enumerate() {
            if stays.contains(&place) {
                continue;
            }
            work.touched.insert(chain.clone());
            let owner = held.rule.as_ref().and_then(|rule| by_subject.get(&subject(rule)));
            let leftover = (chain.clone(), held.handle);
            match owner {
                // One decision takes the other's place, in one transaction.
                Some(owner) => {
                    work.by_owner.entry(owner.clone()).or_default().remove.push(leftover);
                }
                None => work.leftovers.push(leftover),
            }
        }
    }
    work
}

/// Tables, built-in chains, shared chains, and the node's own chains, which all others lead to.
fn lay_foundation(
    batches: &mut Batches<'_>,
    ruleset: &Ruleset,
    desired: &Desired<'_>,
    found: &Found,
) -> Result<(), Error> {
    let node = ruleset.parts.get(&Owner::Node);
    let jumps = || ruleset.parts.values().flat_map(|part| &part.jumps);
    let named = ruleset.parts.values().flat_map(|part| part.shared.keys());
    let shared: BTreeSet<&ChainId> = named.collect();
    let mut tables: BTreeSet<_> = desired.own.keys().map(|id| (id.family, id.table)).collect();
    tables.extend(shared.iter().map(|id| (id.family, id.table)));
    tables.extend(jumps().map(|jump| (jump.chain.family, jump.chain.table)));
    batches.add(Some(&Owner::Node), true, |unit| {
        tables.iter().for_each(|&(family, table)| unit.table(family, table));
        let mut bases: Vec<_> = jumps().map(|jump| &jump.chain).collect();
        bases.sort();
        bases.dedup();
        for base in bases {
            unit.base_chain(base)?;
        }
        for chain in shared {
            unit.chain(chain)?;
        }
        let chains = node.into_iter().flat_map(|part| &part.chains);
        unit.write(chains.filter(|(id, _)| !found.equal.contains(*id)))
    })?;
    // What was made is known only when the kernel took it.
    batches.flush()
}

fn write_owner(
    batches: &mut Batches<'_>,
    owner: &Owner,
    part: &Part,
    shared: &OwnerWork<'_>,
    found: &Found,
) -> Result<(), Error> {
    let own =
        part.chains.iter().filter(|(id, _)| *owner != Owner::Node && !found.equal.contains(*id));
    let none = Vec::new();
    // Without the jumps, nothing works at all.
    batches.add(Some(owner), *owner == Owner::Node, |unit| {
        unit.write(own)?;
        for (chain, key, rule) in &shared.insert {
            unit.insert(chain, key.clone(), rule)?;
        }
        for (chain, handle) in &shared.remove {
            unit.remove_handle(chain, *handle);
        }
        for jump in &part.jumps {
            let held = found.listed.get(&jump.chain).unwrap_or(&none);
            if !held.iter().any(|held| held.rule.as_ref() == Some(&jump.rule)) {
                unit.jump(jump, last_policy_jump(held))?;
            }
        }
        Ok(())
    })
}

fn remove_leftovers(
    batches: &mut Batches<'_>,
    rules: &[(ChainId, u64)],
    found: &Found,
) -> Result<(), Error> {
    for some in rules.chunks(LEFTOVERS_AT_ONCE) {
        batches.add(None, false, |unit| {
            some.iter().for_each(|(chain, handle)| unit.remove_handle(chain, *handle));
            Ok(())
        })?;
    }
    let mut chains: Vec<_> = found.stale.iter().collect();
    chains.sort_by_key(|chain| deletion_rank(chain));
    for some in chains.chunks(LEFTOVERS_AT_ONCE) {
        batches.add(None, false, |unit| {
            for chain in some {
                if found.led_to.contains(*chain) {
                    // Somebody's rule leads there; deleting it would need that rule to go.
                    unit.flush(chain);
                } else {
                    unit.delete(chain);
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Reads the shared chains again that were written, for the handles, and makes sure that they hold
/// what was written.
fn learn_handles(
    batches: &mut Batches<'_>,
    desired: &Desired<'_>,
    touched: &BTreeSet<ChainId>,
) -> Result<(), Error> {
    for chain in touched {
        let held = read::chain(batches.socket, chain, &batches.state.sets)?;
        let Some(known) = batches.state.shared.get_mut(chain) else { continue };
        let wanted = desired.shared.get(chain).into_iter().flatten();
        let mut held = held.into_iter();
        for (key, rule) in wanted {
            let Some(handle) = known.get_mut(key) else { continue };
            let Some(found) = held.find(|held| held.rule.as_ref() == Some(rule)) else {
                let why = format!("{chain} does not hold what was just written");
                return Err(Error::OutOfStep { why });
            };
            *handle = Some(found.handle);
        }
    }
    Ok(())
}
