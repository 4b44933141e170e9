//! Removing all that is ours.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use model::Family;
use render::iptables::{ChainId, Table, Target, names};

use super::batch::Batches;
use super::unit::deletion_rank;
use super::{HeldRule, Iptables, read};
use crate::Error;
use crate::ipset::{SetNumbers, Sets};

/// The chains by which kubelet shows that it uses these iptables.
const KUBELET: [&str; 2] = ["KUBE-KUBELET-CANARY", "KUBE-IPTABLES-HINT"];
/// How many chains are deleted as one.
const CHAINS_AT_ONCE: usize = 50;
/// How often it is tried to destroy sets, and how long is waited in between.
const PATIENCE: u32 = 200;
const PAUSE: Duration = Duration::from_millis(10);

/// What a cleanup did.
#[derive(Debug, Default)]
pub struct Cleaned {
    /// How many rules of built-in chains led to ours, by chain.
    pub jumps: BTreeMap<ChainId, usize>,
    /// The chains that are gone.
    pub chains: Vec<ChainId>,
    /// The chains that could not go, and why.
    pub kept: Vec<(ChainId, String)>,
    /// The sets that are gone.
    pub sets: Vec<Arc<str>>,
    /// The sets that could not go, for rules name them.
    pub kept_sets: BTreeSet<Arc<str>>,
}

impl fmt::Display for Cleaned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let none = self.jumps.is_empty() && self.chains.is_empty() && self.kept.is_empty();
        if none && self.sets.is_empty() && self.kept_sets.is_empty() {
            return f.write_str("nothing of ours was there");
        }
        for (chain, count) in &self.jumps {
            writeln!(f, "{chain}: removed {count} rules that lead to our chains")?;
        }
        writeln!(f, "removed {} chains", self.chains.len())?;
        for (chain, why) in &self.kept {
            writeln!(f, "kept {chain}: {why}")?;
        }
        if !self.sets.is_empty() {
            writeln!(f, "destroyed {} sets", self.sets.len())?;
        }
        for set in &self.kept_sets {
            writeln!(f, "kept the set {set}: a rule of somebody else names it")?;
        }
        Ok(())
    }
}

/// What is ours in one table of one family.
struct Ours {
    family: Family,
    table: Table,
    chains: BTreeSet<ChainId>,
}

/// What leads to our chains.
#[derive(Default)]
struct Leading {
    /// Rules of built-in chains.
    jumps: Vec<(ChainId, u64)>,
    /// Our chains that rules of somebody else lead to, with the chain of one such rule.
    foreign: BTreeMap<Arc<str>, ChainId>,
}

pub(super) fn cleanup(iptables: &mut Iptables) -> Result<Cleaned, Error> {
    let mut cleaned = Cleaned::default();
    for family in Family::ALL {
        let chains = read::chains(&mut iptables.socket, family)?;
        let kubelet =
            chains.keys().any(|id| id.table == Table::Mangle && KUBELET.contains(&&*id.name));
        for table in [Table::Filter, Table::Nat, Table::Mangle] {
            let ours = chains.keys().filter(|id| {
                let firewall = table == Table::Filter && &*id.name == names::KUBE_FIREWALL;
                let ours = names::is_ours(table, &id.name) || (firewall && !kubelet);
                id.table == table && ours
            });
            let ours = Ours { family, table, chains: ours.cloned().collect() };
            if !ours.chains.is_empty() {
                clean_table(iptables, &ours, &chains, &mut cleaned)?;
            }
        }
    }
    destroy_sets(iptables, &mut cleaned)?;
    Ok(cleaned)
}

/// Destroys the sets that rules of policies named. The kernel lets go of a deleted rule's sets a
/// little later.
fn destroy_sets(iptables: &mut Iptables, cleaned: &mut Cleaned) -> Result<(), Error> {
    let mut sets = Sets::new(&mut iptables.socket);
    let mut left: BTreeSet<Arc<str>> =
        sets.list(names::POLICY_PREFIX, false)?.into_keys().collect();
    for _ in 0..PATIENCE {
        for name in std::mem::take(&mut left) {
            if sets.destroy(&name)? {
                cleaned.sets.push(name);
            } else {
                left.insert(name);
            }
        }
        if left.is_empty() {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    cleaned.kept_sets = left;
    Ok(())
}

fn clean_table(
    iptables: &mut Iptables,
    ours: &Ours,
    chains: &BTreeMap<ChainId, bool>,
    cleaned: &mut Cleaned,
) -> Result<(), Error> {
    let leading = find_leading(iptables, ours, chains)?;
    let mut batches = Batches::new(iptables, false);
    batches.add(None, true, |unit| {
        leading.jumps.iter().for_each(|(chain, handle)| unit.remove_handle(chain, *handle));
        Ok(())
    })?;
    batches.flush()?;
    let (used, mut free): (Vec<_>, Vec<_>) =
        ours.chains.iter().partition(|chain| leading.foreign.contains_key(&chain.name));
    free.sort_by_key(|chain| deletion_rank(chain));
    for some in used.chunks(CHAINS_AT_ONCE) {
        batches.add(None, false, |unit| {
            some.iter().for_each(|chain| unit.flush(chain));
            Ok(())
        })?;
    }
    for some in free.chunks(CHAINS_AT_ONCE) {
        batches.add(None, false, |unit| {
            some.iter().for_each(|chain| unit.delete(chain));
            Ok(())
        })?;
    }
    batches.flush()?;
    let stubborn = match batches.written.refused.is_empty() {
        true => BTreeMap::new(),
        false => delete_one_by_one(&mut batches, ours.family, &free)?,
    };
    for (chain, _) in leading.jumps {
        *cleaned.jumps.entry(chain).or_default() += 1;
    }
    for chain in used {
        let by = leading.foreign.get(&chain.name).map(ToString::to_string).unwrap_or_default();
        let why = format!("a rule of {by} leads to it; it is empty now");
        cleaned.kept.push((chain.clone(), why));
    }
    cleaned.chains.extend(free.into_iter().filter(|id| !stubborn.contains_key(*id)).cloned());
    cleaned.kept.extend(stubborn.into_iter().map(|(id, why)| (id, why.to_string())));
    Ok(())
}

/// Finds the chains that kept others from being deleted with them, such as those that an element of
/// a map leads to, which reading rules does not show.
fn delete_one_by_one(
    batches: &mut Batches<'_>,
    family: Family,
    chains: &[&ChainId],
) -> Result<BTreeMap<ChainId, Error>, Error> {
    let there = read::chains(batches.socket, family)?;
    let left: Vec<_> = chains.iter().filter(|chain| there.contains_key(**chain)).collect();
    batches.add(None, true, |unit| {
        left.iter().for_each(|chain| unit.flush(chain));
        Ok(())
    })?;
    batches.flush()?;
    let mut stubborn = BTreeMap::new();
    for chain in left {
        batches.written.refused.clear();
        batches.add(None, false, |unit| {
            unit.delete(chain);
            Ok(())
        })?;
        batches.flush()?;
        let refused = batches.written.refused.pop();
        stubborn.extend(refused.map(|(_, error)| ((**chain).clone(), error)));
    }
    Ok(stubborn)
}

fn find_leading(
    iptables: &mut Iptables,
    ours: &Ours,
    chains: &BTreeMap<ChainId, bool>,
) -> Result<Leading, Error> {
    let mut leading = Leading::default();
    let others = chains.iter().filter(|(id, _)| {
        id.family == ours.family && id.table == ours.table && !ours.chains.contains(*id)
    });
    for (chain, base) in others {
        // In a built-in chain, a plain jump is ours whatever its conditions are.
        let held = if *base {
            read::chain(&mut iptables.socket, chain, &SetNumbers::default())?
        } else {
            Vec::new()
        };
        let plain: BTreeSet<u64> =
            held.iter().filter(|held| jumps(held)).map(|held| held.handle).collect();
        for (handle, to) in read::targets(&mut iptables.socket, chain)? {
            if !ours.chains.contains(&ChainId::new(ours.family, ours.table, to.clone())) {
                continue;
            }
            if plain.contains(&handle) {
                leading.jumps.push((chain.clone(), handle));
            } else {
                leading.foreign.insert(to, chain.clone());
            }
        }
    }
    Ok(leading)
}

fn jumps(held: &HeldRule) -> bool {
    let target = held.rule.as_ref().and_then(|rule| rule.target.as_ref());
    matches!(target, Some(Target::Jump(_)))
}
