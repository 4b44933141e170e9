//! Base chains that others wrote: host firewalls, container engines, other agents.
//!
//! In: a family. Out: every base chain on the way of packets of that family, with the chains that
//! its rules lead to, each rule as far as it can be said in the words of iptables. Nothing is
//! judged here.

mod decode;

use std::collections::{BTreeMap, BTreeSet};

use model::Family;
use render::iptables::Rule;

use crate::Error;
use crate::netlink::{Encoder, SendBudget, Socket};
use crate::nftables::{To, read_chain, read_rule};
use crate::watch::TableFamily;

/// `NFPROTO_UNSPEC`: tables of all families.
const ANY: u8 = 0;
/// The hooks in the order of their numbers (`NF_INET_…`).
const HOOKS: [&str; 5] = ["prerouting", "input", "forward", "output", "postrouting"];
/// More rules of one base chain than this are not read: the answer would be long in coming.
const RULES: usize = 20_000;

/// A base chain.
#[derive(Clone, Debug)]
pub struct BaseChain {
    /// The table's family.
    pub family: TableFamily,
    /// The table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// `filter`, `nat` or `route`.
    pub kind: String,
    /// The hook, as nft names it.
    pub hook: &'static str,
    /// Lower ones are called first.
    pub priority: i32,
    /// Whether it drops what no rule decides.
    pub drops: bool,
    /// Its rules and those of the chains that they lead to, by chain.
    pub chains: BTreeMap<String, Vec<ForeignRule>>,
    /// Whether there were too many rules to read them all.
    pub cut: bool,
}

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub struct ForeignRule {
    /// The kernel's number for it, unique within its table.
    pub handle: u64,
    /// Its conditions; `None` where they cannot be said in full.
    pub conditions: Option<Rule>,
    /// What it does to a packet that meets it.
    pub ends: Ends,
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ends {
    /// The packet goes on to the next rule.
    GoesOn,
    /// It leaves the base chain.
    Accept,
    /// It vanishes.
    Drop,
    /// It is refused.
    Reject,
    /// It gets another destination.
    Dnat,
    /// It goes into another chain, and comes back.
    Jump(String),
    /// It goes into another chain for good.
    Goto(String),
    /// It goes back to the calling chain.
    Return,
}

/// Every base chain for packets of a family but those of the tables that `ours` names, in the order
/// in which the kernel calls them.
///
/// # Errors
/// [`Error::NotPermitted`] without CAP_NET_ADMIN; [`Error::Unsettled`] if somebody keeps changing
/// the tables.
pub fn base_chains(
    family: Family,
    ours: impl Fn(TableFamily, &str) -> bool,
) -> Result<Vec<BaseChain>, Error> {
    let mut socket = Socket::open(SendBudget::Granted)?;
    let mut found = Vec::new();
    let mut request = Encoder::default();
    To { family: ANY, table: "", sequence: 1 }.dump_chains(&mut request);
    socket.dump("chains", &request, |message| {
        // In iptables mode nearly all chains are ours, and none of those is a base chain.
        let Some(seen) = read_chain(message).filter(|seen| seen.base) else { return };
        let of = TableFamily::of(message.family());
        let concerns = match family {
            Family::V4 => [TableFamily::Ip, TableFamily::Inet].contains(&of),
            Family::V6 => [TableFamily::Ip6, TableFamily::Inet].contains(&of),
        };
        let Some((kind, number, priority)) = seen.hook else { return };
        if !concerns || ours(of, seen.table) {
            return;
        }
        let Some(hook) = HOOKS.get(number as usize) else { return };
        let base = BaseChain {
            family: of,
            table: seen.table.to_owned(),
            name: seen.name.to_owned(),
            kind: kind.to_owned(),
            hook,
            priority,
            drops: seen.drops,
            chains: BTreeMap::new(),
            cut: false,
        };
        found.push((message.family(), base));
    })?;
    found.sort_by_key(|(_, base)| (base.hook, base.priority));
    for (number, base) in &mut found {
        fill(&mut socket, *number, family, base)?;
    }
    Ok(found.into_iter().map(|(_, base)| base).collect())
}

/// Reads the rules of a base chain and of all chains that they lead to.
fn fill(
    socket: &mut Socket,
    number: u8,
    family: Family,
    base: &mut BaseChain,
) -> Result<(), Error> {
    let mut ahead = BTreeSet::from([base.name.clone()]);
    let mut rules = 0;
    while let Some(name) = ahead.pop_first() {
        if base.chains.contains_key(&name) {
            continue;
        }
        if rules > RULES {
            base.cut = true;
            break;
        }
        let mut request = Encoder::default();
        let to = To { family: number, table: &base.table, sequence: 1 };
        to.dump_rules(&mut request, Some(&name));
        let mut read = Vec::new();
        socket.dump("rules", &request, |message| {
            if let Some(seen) = read_rule(message) {
                read.push(decode::rule(family, &seen));
            }
        })?;
        rules += read.len();
        ahead.extend(read.iter().filter_map(|rule| match &rule.ends {
            Ends::Jump(to) | Ends::Goto(to) => Some(to.clone()),
            _ => None,
        }));
        base.chains.insert(name, read);
    }
    Ok(())
}
