//! Units gathered into batches, and what becomes of a batch that the kernel refuses.

use std::collections::{BTreeMap, BTreeSet};

use model::{Family, Owner};
use render::iptables::Table;

use super::state::State;
use super::unit::{Unit, UnitWriter};
use super::{Iptables, Written};
use crate::Error;
use crate::netlink::{BatchReply, Encoder, Failure, Messages, Socket};
use crate::nftables::{self, SUBSYSTEM};

/// The kernel's cost of a batch grows with the square of the chains that it makes; below this it
/// does not matter yet.
const UNITS_PER_BATCH: usize = 200;

/// Refusals that say that the kernel holds something else than was thought.
const OUT_OF_STEP: [i32; 3] = [libc::ENOENT, libc::EEXIST, libc::EBUSY];

/// Refusals by the check for loops, which looks at everything at once: once a loop is made, every
/// later message of the batch is refused too.
const CONTAGIOUS: [i32; 2] = [libc::EMLINK, libc::ELOOP];

/// Gathers units and sends them.
pub(super) struct Batches<'a> {
    pub(super) socket: &'a mut Socket,
    pub(super) state: &'a mut State,
    out: &'a mut Encoder,
    units: Vec<Unit>,
    pub(super) written: Written,
    /// Whether this is a change of what was read or written long ago, so that the kernel may hold
    /// something else by now; else everything was read just before.
    incremental: bool,
}

impl<'a> Batches<'a> {
    pub(super) fn new(iptables: &'a mut Iptables, incremental: bool) -> Self {
        let Iptables { socket, state, buffer, .. } = iptables;
        buffer.clear();
        let (units, written) = (Vec::new(), Written::default());
        Self { socket, state, out: buffer, units, written, incremental }
    }

    /// Adds what a function writes as one unit, and sends when a batch is full.
    pub(super) fn add(
        &mut self,
        owner: Option<&Owner>,
        essential: bool,
        fill: impl FnOnce(&mut UnitWriter<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let start = self.out.len();
        let first = self.socket.next_sequence();
        let mut writer = UnitWriter {
            out: self.out,
            socket: self.socket,
            state: self.state,
            echo: self.incremental,
            cuts: Vec::new(),
            effects: Vec::new(),
        };
        let filled = fill(&mut writer);
        let (cuts, effects) = (writer.cuts, writer.effects);
        if let Err(error) = filled {
            self.out.truncate(start);
            if essential || !matches!(error, Error::Unwritable { .. }) {
                return Err(error);
            }
            self.refuse(owner.cloned(), error);
            return Ok(());
        }
        if self.out.len() == start {
            return Ok(());
        }
        let sequences = (first, self.socket.next_sequence());
        let (owner, bytes) = (owner.cloned(), start..self.out.len());
        let unit = Unit { owner, essential, bytes, sequences, cuts, effects };
        if self.out.len() > self.socket.budget() && start > 0 {
            self.send(start)?;
        }
        self.units.push(shifted(unit, self.out.len()));
        if self.units.len() >= UNITS_PER_BATCH || self.out.len() > self.socket.budget() {
            self.flush()?;
        }
        Ok(())
    }

    /// Sends what was gathered.
    pub(super) fn flush(&mut self) -> Result<(), Error> {
        self.send(self.out.len())?;
        self.out.clear();
        Ok(())
    }

    /// Sends the units, which end at a place in the buffer, and forgets everything before it.
    fn send(&mut self, end: usize) -> Result<(), Error> {
        let units = std::mem::take(&mut self.units);
        self.send_units(units)?;
        self.out.drop_front(end);
        Ok(())
    }

    fn send_units(&mut self, mut units: Vec<Unit>) -> Result<(), Error> {
        while let Some(first) = units.first() {
            if units.len() == 1 && first.bytes.len() > self.socket.budget() {
                return units.pop().map_or(Ok(()), |unit| self.send_in_pieces(unit));
            }
            let reply = self.send_batch(&units)?;
            if reply.errors.is_empty() {
                let handles = reply.handles.into_iter().collect();
                units.into_iter().for_each(|unit| self.state.advance(unit.effects, &handles));
                return Ok(());
            }
            if let Some(second_half) = self.refuse_failed(&mut units, reply.errors)? {
                self.send_units(units)?;
                units = second_half;
            }
        }
        Ok(())
    }

    /// Takes the units out that the kernel objected to; where it objected to the whole, parts it.
    fn refuse_failed(
        &mut self,
        units: &mut Vec<Unit>,
        failures: Vec<Failure>,
    ) -> Result<Option<Vec<Unit>>, Error> {
        let mut blamed: BTreeMap<usize, Error> = BTreeMap::new();
        let mut whole = None;
        for failure in failures {
            let within =
                |unit: &Unit| (unit.sequences.0..=unit.sequences.1).contains(&failure.sequence);
            let place = units.iter().position(within);
            let error = self.explain(failure, place.and_then(|place| units.get(place)));
            let not_ours = matches!(error, Error::NotPermitted)
                || error.number().is_some_and(|errno| errno == libc::ENOMEM);
            if not_ours {
                return Err(error);
            }
            if self.incremental && error.number().is_some_and(|n| OUT_OF_STEP.contains(&n)) {
                return Err(Error::OutOfStep { why: error.to_string() });
            }
            match place {
                Some(place) => {
                    let contagious = error.number().is_some_and(|n| CONTAGIOUS.contains(&n));
                    if blamed.is_empty() || !contagious {
                        blamed.entry(place).or_insert(error);
                    }
                }
                None => whole = whole.or(Some(error)),
            }
        }
        if let (true, Some(error)) = (blamed.is_empty(), whole) {
            if units.len() > 1 {
                return Ok(Some(units.split_off(units.len() / 2)));
            }
            blamed.insert(0, error);
        }
        self.refuse_blamed(units, blamed)?;
        Ok(None)
    }

    fn refuse_blamed(
        &mut self,
        units: &mut Vec<Unit>,
        blamed: BTreeMap<usize, Error>,
    ) -> Result<(), Error> {
        let places: BTreeSet<usize> = blamed.keys().copied().collect();
        for (place, error) in blamed {
            match units.get(place) {
                Some(unit) if unit.essential => return Err(error),
                Some(unit) => self.refuse(unit.owner.clone(), error),
                None => {}
            }
        }
        let mut place = 0;
        units.retain(|unit| {
            let refused = places.contains(&place)
                || unit.owner.as_ref().is_some_and(|owner| self.state.refused.contains(owner));
            place += 1;
            !refused
        });
        Ok(())
    }

    fn refuse(&mut self, owner: Option<Owner>, error: Error) {
        match &owner {
            Some(owner) => tracing::warn!(?owner, %error, "not programmed"),
            None => tracing::warn!(%error, "not removed"),
        }
        self.state.refused.extend(owner.clone());
        self.written.refused.push((owner.unwrap_or(Owner::Node), error));
    }

    /// Names the message that the kernel objected to.
    fn explain(&self, failure: Failure, unit: Option<&Unit>) -> Error {
        let bytes = unit.and_then(|unit| self.out.bytes().get(unit.bytes.clone()));
        let message =
            bytes.and_then(|bytes| Messages(bytes).find(|one| one.sequence == failure.sequence));
        let what = message
            .map_or_else(|| "take a batch".to_owned(), |message| nftables::describe(&message));
        crate::netlink::refusal(&what, failure.errno, failure.text)
    }

    fn send_batch(&mut self, units: &[Unit]) -> Result<BatchReply, Error> {
        let all = self.out.bytes();
        let parts: Vec<&[u8]> =
            units.iter().filter_map(|unit| all.get(unit.bytes.clone())).collect();
        count(&mut self.written, &parts);
        self.socket.batch(SUBSYSTEM, &parts)
    }

    /// Sends a unit that is longer than the kernel takes at once. New chains are made and filled
    /// first and what leads to them comes last, so that other packets never meet them half-built.
    fn send_in_pieces(&mut self, unit: Unit) -> Result<(), Error> {
        let mut at = unit.bytes.start;
        while at < unit.bytes.end {
            let end = self.piece_end(&unit, at)?;
            let parts = [self.out.bytes().get(at..end).unwrap_or_default()];
            count(&mut self.written, &parts);
            let reply = self.socket.batch(SUBSYSTEM, &parts)?;
            if let Some(failure) = reply.errors.into_iter().next() {
                let error = self.explain(failure, Some(&unit));
                if unit.essential || self.incremental {
                    return Err(error);
                }
                self.refuse(unit.owner, error);
                return Ok(());
            }
            at = end;
        }
        // The handles told with each piece are read again with the others that are not known.
        self.state.advance(unit.effects, &BTreeMap::new());
        Ok(())
    }

    /// Where the piece that begins at a place ends.
    fn piece_end(&self, unit: &Unit, at: usize) -> Result<usize, Error> {
        let budget = self.socket.budget();
        let limit = at + budget;
        if unit.bytes.end <= limit {
            return Ok(unit.bytes.end);
        }
        if let Some(&cut) = unit.cuts.iter().rev().find(|&&cut| cut > at && cut <= limit) {
            return Ok(cut);
        }
        let rest = self.out.bytes().get(at..unit.bytes.end).unwrap_or_default();
        let mut walk = Messages(rest);
        let mut end = at;
        while walk.next().is_some() {
            let next = unit.bytes.end - walk.0.len();
            if next > limit {
                break;
            }
            end = next;
        }
        if end > at {
            return Ok(end);
        }
        let needed = unit.bytes.end - at;
        let owner = unit.owner.clone().unwrap_or(Owner::Node);
        Err(Error::TooLarge { owner, needed, budget })
    }
}

/// A unit that ends where the buffer does, after its front was dropped.
fn shifted(mut unit: Unit, end: usize) -> Unit {
    let by = unit.bytes.end - end;
    unit.bytes = unit.bytes.start - by..end;
    unit.cuts.iter_mut().for_each(|cut| *cut -= by);
    unit
}

/// A table of iptables, by its family and name in nf_tables.
fn table((family, name): (u8, &str)) -> Option<(Family, Table)> {
    let family = match i32::from(family) {
        libc::NFPROTO_IPV4 => Family::V4,
        libc::NFPROTO_IPV6 => Family::V6,
        _ => return None,
    };
    let table = match name {
        "filter" => Table::Filter,
        "nat" => Table::Nat,
        "mangle" => Table::Mangle,
        _ => return None,
    };
    Some((family, table))
}

fn count(written: &mut Written, parts: &[&[u8]]) {
    written.batches += 1;
    // The frame is two messages of 20 bytes.
    written.messages += 2;
    written.bytes += 40;
    for part in parts {
        for message in Messages(part) {
            written.messages += 1;
            if let Some(table) = nftables::table_of_new_rule(&message).and_then(table) {
                *written.rules.entry(table).or_default() += 1;
            }
        }
        written.bytes += part.len();
    }
}
