//! Writing what changed since the last time.

use std::collections::BTreeMap;

use model::Owner;
use render::iptables::{Change, Jump};

use super::batch::Batches;
use super::policy::last_policy_jump;
use super::unit::{UnitWriter, deletion_rank};
use super::{Iptables, Written, read};
use crate::Error;

/// Writes changes. The node's chains come first, for everybody leads to them; its rules in shared
/// chains come last, for they stand last there.
pub(super) fn apply(
    iptables: &mut Iptables,
    changes: &BTreeMap<Owner, Change>,
) -> Result<Written, Error> {
    let mut batches = Batches::new(iptables, true);
    let mut usable = BTreeMap::new();
    for (owner, change) in changes {
        if batches.state.refused.contains(owner) {
            let why = format!("the kernel refused an earlier change of {owner:?}");
            batches.written.refused.push((owner.clone(), Error::OutOfStep { why }));
        } else {
            usable.insert(owner, change);
        }
    }
    let node = usable.get(&Owner::Node).copied();
    if let Some(change) = node {
        batches.add(Some(&Owner::Node), false, |unit| unit.write(change.write.iter()))?;
    }
    for (owner, change) in usable.iter().filter(|(owner, _)| ***owner != Owner::Node) {
        let jumps = missing_jumps(&mut batches, change)?;
        batches.add(Some(owner), false, |unit| {
            unit.write(change.write.iter())?;
            lead(unit, change, &jumps)
        })?;
    }
    if let Some(change) = node {
        let jumps = missing_jumps(&mut batches, change)?;
        batches.add(Some(&Owner::Node), false, |unit| lead(unit, change, &jumps))?;
    }
    batches.flush()?;
    learn_handles(&mut batches)?;
    Ok(batches.written)
}

/// Everything that comes after the owner's own chains are filled.
fn lead(unit: &mut UnitWriter<'_>, change: &Change, jumps: &[Missing<'_>]) -> Result<(), Error> {
    let mut inserts: Vec<_> = change.insert.iter().collect();
    inserts.sort_by_key(|rule| (&rule.chain, &rule.key));
    for rule in inserts {
        unit.insert(&rule.chain, rule.key.clone(), &rule.rule)?;
    }
    for rule in &change.remove {
        unit.remove(&rule.chain, rule.key.clone())?;
    }
    let mut deletes: Vec<_> = change.delete.iter().collect();
    deletes.sort_by_key(|chain| deletion_rank(chain));
    deletes.into_iter().for_each(|chain| unit.delete(chain));
    for &(jump, behind) in jumps {
        unit.table(jump.chain.family, jump.chain.table);
        unit.base_chain(&jump.chain)?;
        unit.jump(jump, behind)?;
    }
    Ok(())
}

/// A jump, and the rule behind which it goes, if not first.
type Missing<'c> = (&'c Jump, Option<u64>);

fn missing_jumps<'c>(
    batches: &mut Batches<'_>,
    change: &'c Change,
) -> Result<Vec<Missing<'c>>, Error> {
    let mut missing = Vec::new();
    for jump in &change.jumps {
        let held = read::chain(batches.socket, &jump.chain, &batches.state.sets)?;
        if !held.iter().any(|held| held.rule.as_ref() == Some(&jump.rule)) {
            missing.push((jump, last_policy_jump(&held)));
        }
    }
    Ok(missing)
}

/// Reads the chains again for whose rules the kernel's answers got lost.
fn learn_handles(batches: &mut Batches<'_>) -> Result<(), Error> {
    for chain in batches.state.untold() {
        let held = read::chain(batches.socket, &chain, &batches.state.sets)?;
        let Some(rules) = batches.state.shared.get_mut(&chain) else { continue };
        if held.len() != rules.len() {
            let (held, known) = (held.len(), rules.len());
            let why = format!("{chain} holds {held} rules, where {known} were written");
            return Err(Error::OutOfStep { why });
        }
        for (handle, held) in rules.values_mut().zip(held) {
            *handle = Some(held.handle);
        }
    }
    Ok(())
}
