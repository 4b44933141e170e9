//! How full the table is, and what was lost.

use model::Family;

use super::{Conntrack, message};
use crate::Error;
use crate::netlink::{ACK, DUMP, Encoder};

/// How full the table is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fill {
    /// Entries (`nf_conntrack_count`).
    pub entries: u32,
    /// How many there can be (`nf_conntrack_max`); 0 if there is no limit or the kernel does not
    /// tell (before Linux 4.18).
    pub limit: u32,
}

/// What happened to packets since the namespace began, summed over all CPUs. The counters are the
/// kernel's own and wrap around at 32 bits for each CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Entries found for packets.
    pub found: u64,
    /// Packets that belong to no connection.
    pub invalid: u64,
    /// Entries that could not be inserted: packets lost because another one of the same tuple was
    /// quicker.
    pub insert_failed: u64,
    /// Packets dropped because no entry could be made: the table is full, or memory is short.
    pub drop: u64,
    /// Entries thrown out before their time to make room.
    pub early_drop: u64,
    /// Packets with errors.
    pub error: u64,
    /// Lookups that had to start again because the table was being resized.
    pub search_restart: u64,
    /// Insertions that failed and whose packets were saved all the same.
    pub clash_resolve: u64,
    /// Insertions given up because too many entries share a place in the table: its size is too
    /// small.
    pub chain_too_long: u64,
}

/// `CTA_STATS_…`
mod counter {
    pub(super) const FOUND: u16 = 2;
    pub(super) const INVALID: u16 = 4;
    pub(super) const INSERT_FAILED: u16 = 9;
    pub(super) const DROP: u16 = 10;
    pub(super) const EARLY_DROP: u16 = 11;
    pub(super) const ERROR: u16 = 12;
    pub(super) const SEARCH_RESTART: u16 = 13;
    pub(super) const CLASH_RESOLVE: u16 = 14;
    pub(super) const CHAIN_TOO_LONG: u16 = 15;
}

impl Conntrack {
    /// Asks how full the table is.
    ///
    /// # Errors
    /// [`Error::Refused`] with what the kernel says.
    pub fn fill(&mut self) -> Result<Fill, Error> {
        /// `CTA_STATS_GLOBAL_ENTRIES`
        const ENTRIES: u16 = 1;
        /// `CTA_STATS_GLOBAL_MAX_ENTRIES`
        const LIMIT: u16 = 2;
        let mut request = Encoder::default();
        let message = request.message(self.header(message::GET_STATISTICS, ACK, Family::V4));
        request.end(message);
        let mut fill = Fill::default();
        self.socket.request("tell how many connections are tracked", &request, |reply| {
            let attributes = reply.attributes();
            fill.entries = attributes.be32(ENTRIES).unwrap_or_default();
            fill.limit = attributes.be32(LIMIT).unwrap_or_default();
        })?;
        Ok(fill)
    }

    /// Asks what happened to packets.
    ///
    /// # Errors
    /// [`Error::Refused`] with what the kernel says.
    pub fn statistics(&mut self) -> Result<Statistics, Error> {
        let mut request = Encoder::default();
        let header = self.header(message::GET_STATISTICS_OF_CPUS, DUMP, Family::V4);
        let message = request.message(header);
        request.end(message);
        // By CPU, in case the kernel starts again.
        let mut cpus = std::collections::BTreeMap::new();
        self.socket.stream("counters of connection tracking", &request, |reply| {
            let attributes = reply.attributes();
            let value = |kind| u64::from(attributes.be32(kind).unwrap_or_default());
            let one = Statistics {
                found: value(counter::FOUND),
                invalid: value(counter::INVALID),
                insert_failed: value(counter::INSERT_FAILED),
                drop: value(counter::DROP),
                early_drop: value(counter::EARLY_DROP),
                error: value(counter::ERROR),
                search_restart: value(counter::SEARCH_RESTART),
                clash_resolve: value(counter::CLASH_RESOLVE),
                chain_too_long: value(counter::CHAIN_TOO_LONG),
            };
            cpus.insert(reply.resource(), one);
        })?;
        Ok(cpus.values().fold(Statistics::default(), |sum, one| sum.plus(one)))
    }
}

impl Statistics {
    fn plus(self, other: &Self) -> Self {
        Self {
            found: self.found + other.found,
            invalid: self.invalid + other.invalid,
            insert_failed: self.insert_failed + other.insert_failed,
            drop: self.drop + other.drop,
            early_drop: self.early_drop + other.early_drop,
            error: self.error + other.error,
            search_restart: self.search_restart + other.search_restart,
            clash_resolve: self.clash_resolve + other.clash_resolve,
            chain_too_long: self.chain_too_long + other.chain_too_long,
        }
    }
}
