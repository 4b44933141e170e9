//! Network policies: chains in `filter`, and the sets that their rules name.
//!
//! Sets are made and filled before any rule names them, and destroyed when none does any more. All
//! chains change in one transaction, if the kernel takes so much at once; else what leads to a chain
//! comes after it.

mod sets;

use std::collections::BTreeMap;

use model::{Family, Owner};
use render::iptables::names::POLICY_PREFIX;
use render::iptables::policy::{PolicyChange, PolicyRules};
use render::iptables::{ChainId, Jump, Rule, Table, Target};

use super::batch::Batches;
use super::read::{self, Held, HeldRule};
use super::{Iptables, Written, probe};
use crate::Error;
use crate::ipset::{self, Sets};
use sets::{add, count, fill, make, remember};

pub(super) use sets::{KnownSets, bury, disturbed};

/// Whether a rule leads to a chain of policies by a jump.
fn leads_to_policies(held: &HeldRule) -> bool {
    let target = held.rule.as_ref().and_then(|rule| rule.target.as_ref());
    matches!(target, Some(Target::Jump(chain)) if chain.starts_with(POLICY_PREFIX))
}

/// Whether a rule leads to a chain of kube-proxy's.
fn leads_to_services(held: &HeldRule) -> bool {
    let target = held.rule.as_ref().and_then(|rule| rule.target.as_ref());
    matches!(target, Some(Target::Jump(chain)) if chain.starts_with("KUBE-"))
}

/// Whether a jump to policies stands where nothing of ours that accepts is ahead of it. What others
/// put ahead is theirs to decide.
#[must_use]
pub fn stands_ahead(held: &[HeldRule], jump: &Jump) -> bool {
    let place = held.iter().position(|held| held.rule.as_ref() == Some(&jump.rule));
    let services = held.iter().position(leads_to_services).unwrap_or(usize::MAX);
    place.is_some_and(|place| place < services)
}

/// Behind which rule the jumps to chains of kube-proxy's go.
pub(super) fn last_policy_jump(held: &[HeldRule]) -> Option<u64> {
    held.iter().rev().find(|held| leads_to_policies(held)).map(|held| held.handle)
}

/// Compares everything with what the kernel holds, and writes the difference.
pub(super) fn reconcile(
    iptables: &mut Iptables,
    wanted: &PolicyRules,
    written: &mut Written,
) -> Result<(), Error> {
    let mut sets = Sets::new(&mut iptables.socket);
    let seen = sets.list(POLICY_PREFIX, true)?;
    if !iptables.policies_supported && !wanted.chains.is_empty() {
        probe::policies(&mut sets)?;
        iptables.policies_supported = true;
    }
    let too_many = fill(&mut sets, wanted, &seen, written)?;
    count(&sets, written);
    iptables.state.sets = ipset::numbers(&mut iptables.socket)?;
    let held = held_chains(iptables)?;
    let mut batches = Batches::new(iptables, false);
    write_chains(&mut batches, wanted, &held)?;
    batches.flush()?;
    merge(written, batches.written);
    let mut sets = Sets::new(&mut iptables.socket);
    for (name, members) in &too_many {
        sets.remove(name, members)?;
    }
    count(&sets, written);
    sets::take_stock(&mut iptables.state.known_sets, wanted, seen, written);
    bury(iptables, written)
}

/// The chains of policies, and the built-in ones that lead to them.
fn held_chains(iptables: &mut Iptables) -> Result<Held, Error> {
    let Iptables { socket, state, .. } = iptables;
    let mut held = Held::new();
    for family in Family::ALL {
        for (id, base) in read::chains(socket, family)? {
            if id.table == Table::Filter && (base || id.name.starts_with(POLICY_PREFIX)) {
                held.insert(id.clone(), read::chain(socket, &id, &state.sets)?);
                state.chains.insert(id);
            }
        }
    }
    Ok(held)
}

/// Whether a chain holds just these rules, in this order or in any.
fn holds<'r>(held: &[HeldRule], rules: impl Iterator<Item = &'r Rule>, ordered: bool) -> bool {
    let mut rest: Vec<Option<&Rule>> = held.iter().map(|held| held.rule.as_ref()).collect();
    for rule in rules {
        let place = match ordered {
            true => rest.first().filter(|first| **first == Some(rule)).map(|_| 0),
            false => rest.iter().position(|one| *one == Some(rule)),
        };
        let Some(place) = place else { return false };
        if ordered {
            rest.remove(place);
        } else {
            rest.swap_remove(place);
        }
    }
    rest.is_empty()
}

fn write_chains(batches: &mut Batches<'_>, wanted: &PolicyRules, held: &Held) -> Result<(), Error> {
    let none = Vec::new();
    let of = |chain: &ChainId| held.get(chain).unwrap_or(&none);
    let there = |chain: &ChainId| held.contains_key(chain);
    let plain = wanted.chains.iter();
    let plain = plain.filter(|(id, rules)| !there(id) || !holds(of(id), rules.iter(), true));
    let plain: BTreeMap<&ChainId, Vec<Rule>> =
        plain.map(|(id, rules)| (id, rules.clone())).collect();
    let dispatch = wanted.dispatch.iter();
    let dispatch =
        dispatch.filter(|(id, rules)| !there(id) || !holds(of(id), rules.values(), false));
    let mut write = plain;
    write.extend(dispatch.map(|(id, rules)| (id, rules.values().cloned().collect())));
    let ours = |id: &ChainId| id.name.starts_with(POLICY_PREFIX);
    let kept = |id: &ChainId| wanted.chains.contains_key(id) || wanted.dispatch.contains_key(id);
    let stale: Vec<&ChainId> = held.keys().filter(|id| ours(id) && !kept(id)).collect();
    batches.add(Some(&Owner::Node), true, |unit| {
        for jump in &wanted.jumps {
            unit.table(jump.chain.family, jump.chain.table);
            unit.base_chain(&jump.chain)?;
        }
        unit.write(write.iter().map(|(id, rules)| (*id, rules)))?;
        let built_in = held.iter().filter(|(id, _)| !ours(id));
        for (chain, handle) in built_in.flat_map(|(id, rules)| misplaced(id, rules, wanted)) {
            unit.remove_handle(chain, handle);
        }
        for jump in wanted.jumps.iter().filter(|jump| !stands_ahead(of(&jump.chain), jump)) {
            unit.jump(jump, None)?;
        }
        stale.iter().for_each(|chain| unit.flush(chain));
        Ok(())
    })?;
    for chain in stale {
        // One that a rule of somebody else leads to stays, empty.
        batches.add(None, false, |unit| {
            unit.delete(chain);
            Ok(())
        })?;
    }
    Ok(())
}

/// The rules of a built-in chain that lead to policies and should not, or not from there.
fn misplaced<'h>(
    chain: &'h ChainId,
    held: &'h [HeldRule],
    wanted: &PolicyRules,
) -> Vec<(&'h ChainId, u64)> {
    let mut jumps: Vec<&Jump> = wanted
        .jumps
        .iter()
        .filter(|jump| jump.chain == *chain && stands_ahead(held, jump))
        .collect();
    let ours = held.iter().filter(|held| leads_to_policies(held));
    let mut surplus = Vec::new();
    for one in ours {
        match jumps.iter().position(|jump| one.rule.as_ref() == Some(&jump.rule)) {
            // The first is enough.
            Some(place) => drop(jumps.swap_remove(place)),
            None => surplus.push((chain, one.handle)),
        }
    }
    surplus
}

/// Writes what changed since the last time.
pub(super) fn apply(
    iptables: &mut Iptables,
    change: &PolicyChange,
    written: &mut Written,
) -> Result<(), Error> {
    let mut sets = Sets::new(&mut iptables.socket);
    let mut numbers = Vec::new();
    for (name, set) in &change.make {
        if iptables.state.known_sets.doomed.remove(name) {
            // It is there still, with what it held last.
            sets.flush(name)?;
        }
        make(&mut sets, name, set, written)?;
        let Some(number) = sets.number(name)? else {
            let why = format!("the set {name}, made just now, is not there");
            return Err(Error::OutOfStep { why });
        };
        numbers.push((name.clone(), number));
    }
    for (name, members) in &change.members {
        add(&mut sets, name, &members.add, written)?;
    }
    count(&sets, written);
    for (name, number) in numbers {
        iptables.state.sets.insert(name, number);
    }
    change_chains(iptables, change, written)?;
    let mut sets = Sets::new(&mut iptables.socket);
    for (name, members) in &change.members {
        sets.remove(name, &members.remove)?;
    }
    count(&sets, written);
    remember(iptables, change, written);
    bury(iptables, written)
}

fn change_chains(
    iptables: &mut Iptables,
    change: &PolicyChange,
    written: &mut Written,
) -> Result<(), Error> {
    let PolicyChange { write, lead, mislead, delete, jumps, no_jumps, .. } = change;
    if write.is_empty()
        && lead.is_empty()
        && mislead.is_empty()
        && delete.is_empty()
        && jumps.is_empty()
        && no_jumps.is_empty()
    {
        return Ok(());
    }
    let misleading = misleading(iptables, change)?;
    let mut batches = Batches::new(iptables, true);
    batches.add(Some(&Owner::Node), true, |unit| {
        for chain in lead.keys() {
            unit.chain(chain)?;
        }
        unit.write(write.iter())?;
        for (chain, rules) in lead {
            rules.values().try_for_each(|rule| unit.append(chain, rule))?;
        }
        for (chain, handle) in &misleading {
            unit.remove_handle(chain, *handle);
        }
        for jump in jumps {
            unit.table(jump.chain.family, jump.chain.table);
            unit.base_chain(&jump.chain)?;
            unit.jump(jump, None)?;
        }
        delete.iter().for_each(|chain| unit.flush(chain));
        delete.iter().for_each(|chain| unit.delete(chain));
        Ok(())
    })?;
    batches.flush()?;
    merge(written, batches.written);
    Ok(())
}

/// The handles of the rules that are to lead nowhere any more.
fn misleading(
    iptables: &mut Iptables,
    change: &PolicyChange,
) -> Result<Vec<(ChainId, u64)>, Error> {
    let Iptables { socket, state, .. } = iptables;
    let mut handles = Vec::new();
    for (chain, targets) in &change.mislead {
        let held = read::targets(socket, chain)?;
        let gone = held.into_iter().filter(|(_, to)| targets.contains(to));
        handles.extend(gone.map(|(handle, _)| (chain.clone(), handle)));
    }
    for jump in &change.no_jumps {
        let held = read::chain(socket, &jump.chain, &state.sets)?;
        let gone = held.into_iter().filter(|held| held.rule.as_ref() == Some(&jump.rule));
        handles.extend(gone.map(|held| (jump.chain.clone(), held.handle)));
    }
    Ok(handles)
}

fn merge(written: &mut Written, more: Written) {
    written.messages += more.messages;
    written.bytes += more.bytes;
    written.batches += more.batches;
    written.refused.extend(more.refused);
}
