//! Removing our tables.

use std::collections::BTreeSet;
use std::fmt;

use model::Family;
use render::nftables::names::TABLE;

use super::read::{self, to};
use crate::Error;
use crate::netlink::{Encoder, Messages, Socket, refusal};
use crate::nftables::{SUBSYSTEM, describe};

/// What a cleanup did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// The families whose table is gone.
    pub tables: BTreeSet<Family>,
}

impl fmt::Display for Cleaned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.tables.is_empty() {
            return f.write_str("no table of ours was there");
        }
        for family in &self.tables {
            writeln!(f, "removed the {family} table {TABLE}")?;
        }
        Ok(())
    }
}

pub(super) fn cleanup(socket: &mut Socket) -> Result<Cleaned, Error> {
    let mut cleaned = Cleaned::default();
    let mut out = Encoder::default();
    for family in Family::ALL {
        if read::table(socket, family)?.is_some() {
            to(family, socket.next_sequence()).delete_table(&mut out);
            cleaned.tables.insert(family);
        }
    }
    if out.is_empty() {
        return Ok(cleaned);
    }
    let reply = socket.batch(SUBSYSTEM, &[out.bytes()])?;
    match reply.errors.into_iter().next() {
        None => Ok(cleaned),
        Some(failure) => {
            let mut messages = Messages(out.bytes());
            let message = messages.find(|message| message.sequence == failure.sequence);
            let what = message.map_or_else(|| "delete a table".into(), |one| describe(&one));
            Err(refusal(&what, failure.errno, failure.text))
        }
    }
}
