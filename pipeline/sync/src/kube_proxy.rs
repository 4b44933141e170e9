//! What kube-proxy leaves behind that none of our rules takes the place of.
//!
//! Its chains have our names, so a reconciliation adopts them. Two things it would not find: the
//! empty chains by which kube-proxy notices a flush, and the table of kube-proxy's nftables mode.
//! Both may go once our rules stand, and not before: until then the table is what routes.

use std::fmt;

use model::Family;
use render::iptables::{ChainId, Table, names};

use crate::Error;
use crate::netlink::{Encoder, SendBudget, Socket};
use crate::nftables::{self, SUBSYSTEM, To, read_chain, read_table};

/// The table of kube-proxy's nftables mode, in each family.
pub const TABLE: &str = "kube-proxy";

/// The tables of iptables that kube-proxy puts [`names::KUBE_PROXY_CANARY`] into.
const WITH_CANARY: [Table; 3] = [Table::Mangle, Table::Nat, Table::Filter];

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Empty chains of iptables.
    pub canaries: Vec<ChainId>,
    /// The families whose table [`TABLE`] was there.
    pub tables: Vec<Family>,
}

impl Removed {
    /// Whether nothing was there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.canaries.is_empty() && self.tables.is_empty()
    }
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let canaries = self.canaries.iter().map(|chain| format!("the chain {chain}"));
        let tables = self.tables.iter().map(|family| format!("the {family} table {TABLE}"));
        let all: Vec<_> = canaries.chain(tables).collect();
        f.write_str(&all.join(", "))
    }
}

/// Whether kube-proxy's iptables mode has written in this network namespace since a proxy of ours
/// last started: it makes [`names::KUBE_PROXY_CANARY`], which we only remove.
///
/// # Errors
/// Whatever keeps the chains from being listed, such as [`Error::NotPermitted`].
pub fn left_canaries() -> Result<bool, Error> {
    let mut socket = Socket::open(SendBudget::Granted)?;
    let mut found = false;
    for family in Family::ALL {
        found |= !canaries(&mut socket, family)?.is_empty();
    }
    Ok(found)
}

/// Removes both, in the network namespace of the calling thread, and nothing else.
///
/// # Errors
/// What the kernel says to a removal, or whatever keeps tables and chains from being listed. What
/// was removed before stays removed.
pub fn remove_leftovers() -> Result<Removed, Error> {
    let mut socket = Socket::open(SendBudget::Granted)?;
    let mut removed = Removed::default();
    for family in Family::ALL {
        for chain in canaries(&mut socket, family)? {
            let table = chain.table.to_string();
            let gone = remove(&mut socket, family, &table, |to, out| {
                to.delete_chain(out, names::KUBE_PROXY_CANARY);
            })?;
            removed.canaries.extend(gone.then_some(chain));
        }
        if has_table(&mut socket, family)? {
            let gone = remove(&mut socket, family, TABLE, |to, out| to.delete_table(out))?;
            removed.tables.extend(gone.then_some(family));
        }
    }
    Ok(removed)
}

fn canaries(socket: &mut Socket, family: Family) -> Result<Vec<ChainId>, Error> {
    let mut request = Encoder::default();
    to(family, "", socket.next_sequence()).dump_chains(&mut request);
    let mut found = Vec::new();
    socket.dump("chains", &request, |message| {
        let Some(seen) = read_chain(message) else { return };
        if seen.name == names::KUBE_PROXY_CANARY && !seen.base {
            let table = WITH_CANARY.into_iter().find(|&table| table.to_string() == seen.table);
            found.extend(table.map(|table| ChainId::new(family, table, seen.name)));
        }
    })?;
    Ok(found)
}

fn has_table(socket: &mut Socket, family: Family) -> Result<bool, Error> {
    let mut request = Encoder::default();
    to(family, "", socket.next_sequence()).dump_tables(&mut request);
    let mut found = false;
    socket.dump("tables", &request, |message| found |= read_table(message) == Some(TABLE))?;
    Ok(found)
}

/// False if somebody else was quicker.
fn remove(
    socket: &mut Socket,
    family: Family,
    table: &str,
    message: impl FnOnce(To<'_>, &mut Encoder),
) -> Result<bool, Error> {
    let mut out = Encoder::default();
    message(to(family, table, socket.next_sequence()), &mut out);
    let reply = socket.batch(SUBSYSTEM, &[out.bytes()])?;
    let Some(failure) = reply.errors.into_iter().next() else { return Ok(true) };
    if failure.errno == libc::ENOENT {
        return Ok(false);
    }
    let message = crate::netlink::Messages(out.bytes()).next();
    let what = message.map_or_else(String::new, |message| nftables::describe(&message));
    Err(crate::netlink::refusal(&what, failure.errno, failure.text))
}

fn to(family: Family, table: &str, sequence: u32) -> To<'_> {
    let family = match family {
        Family::V4 => libc::AF_INET,
        Family::V6 => libc::AF_INET6,
    };
    // Both are small numbers, and so is the field.
    To { family: u8::try_from(family).unwrap_or_default(), table, sequence }
}
