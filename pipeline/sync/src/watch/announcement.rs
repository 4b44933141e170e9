//! The kernel's announcements, read and put together.

use std::collections::{BTreeMap, BTreeSet};

use super::heard::{Change, Heard, Process, TableFamily};
use crate::netlink::{Attributes, Message};
use crate::nftables::SUBSYSTEM;

/// Of more objects of one table than this, the rest is not named.
const NAMED: usize = 256;
/// Of more changes than this at a time, the rest counts as not understood.
const CHANGES: usize = 1024;

/// `NFT_MSG_GETGEN`
pub(super) const GET_GENERATION: u16 = 16;

/// `NFT_MSG_…`
mod message {
    pub(super) const NEW_TABLE: u8 = 0;
    pub(super) const DELETE_TABLE: u8 = 2;
    pub(super) const NEW_CHAIN: u8 = 3;
    pub(super) const DELETE_CHAIN: u8 = 5;
    pub(super) const NEW_GENERATION: u8 = 15;
    pub(super) const TRACE: u8 = 17;
}

/// `NFTA_…_TABLE`, the same in messages about anything.
const TABLE: u16 = 1;
/// `NFTA_CHAIN_NAME`
const CHAIN_NAME: u16 = 3;
/// `NFTA_RULE_CHAIN`, `NFTA_SET_NAME`, `NFTA_SET_ELEM_LIST_SET`, `NFTA_OBJ_NAME`,
/// `NFTA_FLOWTABLE_NAME`
const OBJECT_NAME: u16 = 2;

/// A generation of the ruleset, and who made it.
pub(super) struct Generation {
    pub(super) number: u32,
    pub(super) process: Option<Process>,
}

pub(super) fn read_generation(attributes: Attributes<'_>) -> Option<Generation> {
    /// `NFTA_GEN_ID`
    const NUMBER: u16 = 1;
    /// `NFTA_GEN_PROC_PID`
    const PID: u16 = 2;
    /// `NFTA_GEN_PROC_NAME`
    const NAME: u16 = 3;
    let process = attributes.be32(PID).map(|pid| {
        let name = attributes.text(NAME).unwrap_or_default().to_owned();
        Process { pid, name }
    });
    Some(Generation { number: attributes.be32(NUMBER)?, process })
}

type Place = (TableFamily, String, Option<Process>);

/// What changed in a table.
#[derive(Debug, Default)]
struct Deeds {
    deleted: bool,
    objects: BTreeSet<String>,
    more: bool,
}

/// What was heard so far. A transaction's announcements come in one go, and who made it comes last.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    transaction: BTreeMap<(TableFamily, String), Deeds>,
    changes: BTreeMap<Place, Deeds>,
    /// Whether announcements were lost.
    pub(super) overrun: bool,
    generation: Option<u32>,
}

impl Gathered {
    pub(super) fn take(&mut self, message: &Message<'_>) {
        let [subsystem, kind] = message.kind.to_be_bytes();
        if u16::from(subsystem) != SUBSYSTEM || kind == message::TRACE {
            return;
        }
        let attributes = message.attributes();
        if kind == message::NEW_GENERATION {
            let generation = read_generation(attributes);
            self.generation = generation.as_ref().map(|one| one.number).or(self.generation);
            return self.close_transaction(generation.and_then(|one| one.process));
        }
        let Some(table) = attributes.text(TABLE) else {
            self.overrun = true;
            return;
        };
        let place = (TableFamily::of(message.family()), table.to_owned());
        let deeds = self.transaction.entry(place).or_default();
        match kind {
            message::NEW_TABLE => {}
            message::DELETE_TABLE => deeds.deleted = true,
            message::NEW_CHAIN | message::DELETE_CHAIN => {
                deeds.name(attributes.text(CHAIN_NAME));
            }
            _ => deeds.name(attributes.text(OBJECT_NAME)),
        }
    }

    fn close_transaction(&mut self, process: Option<Process>) {
        for ((family, table), deeds) in std::mem::take(&mut self.transaction) {
            let place = (family, table, process.clone());
            if self.changes.len() >= CHANGES && !self.changes.contains_key(&place) {
                self.overrun = true;
                continue;
            }
            self.changes.entry(place).or_default().add(deeds);
        }
    }

    /// Whether the end of a transaction has yet to come.
    pub(super) fn is_within(&self) -> bool {
        !self.transaction.is_empty()
    }

    pub(super) fn finish(mut self) -> Option<Heard> {
        self.close_transaction(None);
        let changes = self.changes.into_iter().map(|((family, table, process), deeds)| Change {
            family,
            table,
            process,
            table_deleted: deeds.deleted,
            objects: deeds.objects,
            more_objects: deeds.more,
        });
        let changes: Vec<Change> = changes.collect();
        let Self { overrun, generation, .. } = self;
        (overrun || !changes.is_empty()).then_some(Heard { changes, overrun, generation })
    }
}

impl Deeds {
    fn name(&mut self, object: Option<&str>) {
        match object {
            Some(object) if self.objects.contains(object) => {}
            Some(object) if self.objects.len() < NAMED => {
                self.objects.insert(object.to_owned());
            }
            _ => self.more = true,
        }
    }

    fn add(&mut self, other: Self) {
        self.deleted |= other.deleted;
        self.more |= other.more;
        other.objects.iter().for_each(|object| self.name(Some(object)));
    }
}
