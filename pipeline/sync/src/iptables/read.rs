//! Reading what the kernel holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::Family;
use render::iptables::{ChainId, Rule, Table, names};

use super::decode;
use super::encode::{number, table_name};
use crate::Error;
use crate::ipset::{self, SetNumbers};
use crate::netlink::{Encoder, Socket};
use crate::nftables::{RuleSeen, To, read_chain, read_rule, read_table};

/// A rule that the kernel holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldRule {
    /// The kernel's number for it, unique within its table.
    pub handle: u64,
    /// What it says; `None` for what no rule of ours can say.
    pub rule: Option<Rule>,
}

/// The rules of chains, in order.
pub type Held = BTreeMap<ChainId, Vec<HeldRule>>;

const TABLES: [Table; 3] = [Table::Filter, Table::Nat, Table::Mangle];

fn ask(family: Family, table: Table, question: impl FnOnce(To<'_>, &mut Encoder)) -> Encoder {
    let mut out = Encoder::default();
    // No other request is under way on this socket, so any number will do.
    question(To { family: number(family), table: table_name(table), sequence: 1 }, &mut out);
    out
}

fn table_of(name: &str) -> Option<Table> {
    TABLES.into_iter().find(|&table| table_name(table) == name)
}

/// The tables of iptables that are there.
pub(super) fn tables(socket: &mut Socket, family: Family) -> Result<BTreeSet<Table>, Error> {
    let request = ask(family, Table::Nat, |to, out| to.dump_tables(out));
    let mut tables = BTreeSet::new();
    socket.dump("tables", &request, |message| {
        tables.extend(read_table(message).and_then(table_of));
    })?;
    Ok(tables)
}

/// All chains of those tables; true for those that a hook calls.
pub(super) fn chains(
    socket: &mut Socket,
    family: Family,
) -> Result<BTreeMap<ChainId, bool>, Error> {
    let request = ask(family, Table::Nat, |to, out| to.dump_chains(out));
    let mut chains = BTreeMap::new();
    socket.dump("chains", &request, |message| {
        let Some(seen) = read_chain(message) else { return };
        if let Some(table) = table_of(seen.table) {
            chains.insert(ChainId::new(family, table, seen.name), seen.base);
        }
    })?;
    Ok(chains)
}

/// Goes through the rules of a chain, in order; none if it is not there.
///
/// Chain by chain and not a whole table at once: the kernel resumes a dump by counting from the
/// start again, which for a table of 60,000 chains takes 20 seconds, where asking for each of them
/// takes two.
pub(super) fn rules(
    socket: &mut Socket,
    id: &ChainId,
    mut take: impl FnMut(&RuleSeen<'_>),
) -> Result<(), Error> {
    let request = ask(id.family, id.table, |to, out| to.dump_rules(out, Some(&id.name)));
    socket.dump("rules", &request, |message| {
        if let Some(seen) = read_rule(message) {
            take(&seen);
        }
    })
}

/// Whether a built-in chain drops what no rule of it decides.
pub(super) fn drops_by_policy(socket: &mut Socket, id: &ChainId) -> Result<bool, Error> {
    const BUILT_IN: [&str; 5] = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];
    if !BUILT_IN.contains(&&*id.name) {
        return Ok(false);
    }
    let request = ask(id.family, id.table, |to, out| to.get_chain(out, &id.name));
    let mut drops = false;
    let asked = socket.request("read a chain", &request, |message| {
        drops = read_chain(message).is_some_and(|seen| seen.drops);
    });
    match asked {
        Err(error) if error.number() == Some(libc::ENOENT) => Ok(false),
        asked => asked.map(|()| drops),
    }
}

/// The rules of one chain, in order; none if it is not there.
pub(super) fn chain(
    socket: &mut Socket,
    id: &ChainId,
    sets: &SetNumbers,
) -> Result<Vec<HeldRule>, Error> {
    let mut held = Vec::new();
    rules(socket, id, |seen| {
        let rule = decode::read_rule(id.family, seen, sets);
        held.push(HeldRule { handle: seen.handle, rule });
    })?;
    Ok(held)
}

/// The chains that the rules of a chain lead to, whatever else those hold, by their handles.
pub(super) fn targets(socket: &mut Socket, id: &ChainId) -> Result<BTreeMap<u64, Arc<str>>, Error> {
    let mut targets = BTreeMap::new();
    rules(socket, id, |seen| {
        targets.extend(decode::leads_to(seen).map(|to| (seen.handle, to.into())));
    })?;
    Ok(targets)
}

/// Our chains and the built-in ones, with their rules.
pub(super) fn everything(socket: &mut Socket) -> Result<Held, Error> {
    let mut held = Held::new();
    let sets = ipset::numbers(socket)?;
    for family in Family::ALL {
        for (id, base) in chains(socket, family)? {
            let firewall = id.table == Table::Filter && &*id.name == names::KUBE_FIREWALL;
            if base || firewall || names::is_ours(id.table, &id.name) {
                let rules = chain(socket, &id, &sets)?;
                held.insert(id, rules);
            }
        }
    }
    Ok(held)
}
