//! Messages gathered into transactions, and whose it is when the kernel refuses one.

use std::collections::BTreeMap;

use render::nftables::ChainId;

use super::rows::NOBODY;
use crate::Error;
use crate::iptables::Written;
use crate::netlink::{Encoder, Failure, Messages, Socket, refusal};
use crate::nftables::{self, SUBSYSTEM};

/// How much of a load goes in one transaction, in bytes: of much more at once, the kernel's hash
/// tables fall behind, and its time grows with the square (250,000 elements take 2.4 s in pieces of
/// this size, 3.3 s in pieces of 4 MiB and 11 s at once).
const LOAD: usize = 1 << 20;
/// How much of a change of what is in force.
const CHANGE: usize = 4 << 20;
/// An attribute tells its length in 16 bits; all elements of a message are in one.
const MESSAGE: usize = 60_000;

/// Why not everything was written.
#[derive(Debug)]
pub(super) enum Failed {
    /// The kernel would not take what some owners need. Nothing of that transaction was taken.
    Refused(Vec<(Blame, Error)>),
    /// Anything else.
    Error(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// What a message is needed for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Blame {
    /// Everything.
    All,
    /// Those who need a chain.
    Chain(ChainId),
    /// One owner, by its number.
    Owner(u32),
}

/// Where a message is, and what for.
#[derive(Debug)]
struct Mark {
    sequence: u32,
    start: usize,
    /// `None` where it depends on the element.
    blame: Option<Blame>,
}

/// How much goes in one transaction, where the socket allows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// Nothing is in force yet: little.
    Load,
    /// What packets meet changes: as much as is bearable.
    Change,
    /// What packets meet is replaced as a whole: everything.
    Replacement,
}

/// Gathers messages and sends them.
pub(super) struct Outbox<'a> {
    socket: &'a mut Socket,
    pub(super) out: &'a mut Encoder,
    limit: usize,
    /// Up to here, what was written may go in one transaction.
    boundary: usize,
    marks: Vec<Mark>,
    /// Where elements begin, and whose they are.
    elements: Vec<(usize, u32)>,
    pub(super) written: Written,
}

impl<'a> Outbox<'a> {
    pub(super) fn new(socket: &'a mut Socket, out: &'a mut Encoder, extent: Extent) -> Self {
        out.clear();
        let limit = socket.budget().min(match extent {
            Extent::Load => LOAD,
            Extent::Change => CHANGE,
            Extent::Replacement => usize::MAX,
        });
        let (marks, elements) = (Vec::new(), Vec::new());
        Self { socket, out, limit, boundary: 0, marks, elements, written: Written::default() }
    }

    /// How long a message of elements may be.
    pub(super) fn message_limit(&self) -> usize {
        // Several have to fit between two boundaries.
        MESSAGE.min(self.limit / 4)
    }

    /// How many bytes a transaction may have.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Begins a message; its number. `blame` is whose fault it is if the kernel refuses it; `None`
    /// where [`Outbox::element`] says so of each element.
    pub(super) fn message(&mut self, blame: Option<Blame>) -> u32 {
        let sequence = self.socket.next_sequence();
        self.marks.push(Mark { sequence, start: self.out.len(), blame });
        sequence
    }

    /// Says whose the element is that is written next.
    pub(super) fn element(&mut self, owner: u32) {
        self.elements.push((self.out.len(), owner));
    }

    /// What was written up to here may be taken before what comes after.
    pub(super) fn boundary(&mut self) -> Result<(), Failed> {
        if self.out.len() > self.limit && self.boundary > 0 {
            self.send(self.boundary)?;
        }
        self.boundary = self.out.len();
        Ok(())
    }

    /// Sends what was gathered.
    pub(super) fn flush(&mut self) -> Result<(), Failed> {
        self.boundary()?;
        if !self.out.is_empty() {
            self.send(self.out.len())?;
        }
        Ok(())
    }

    fn send(&mut self, end: usize) -> Result<(), Failed> {
        let bytes = self.out.bytes().get(..end).unwrap_or_default();
        if end > self.socket.budget() {
            let what = format!(
                "send a transaction of {end} bytes where the socket takes {}; raise \
                 net.core.wmem_max",
                self.socket.budget()
            );
            return Err(Error::Unwritable { object: "nftables".into(), what }.into());
        }
        self.written.batches += 1;
        self.written.bytes += end;
        // Two more frame the transaction.
        self.written.messages += 2 + self.marks.iter().filter(|mark| mark.start < end).count();
        let reply = self.socket.batch(SUBSYSTEM, &[bytes])?;
        if !reply.errors.is_empty() {
            return Err(self.blame(reply.errors, end));
        }
        self.out.drop_front(end);
        self.marks.retain(|mark| mark.start >= end);
        self.elements.retain(|(start, _)| *start >= end);
        self.marks.iter_mut().for_each(|mark| mark.start -= end);
        self.elements.iter_mut().for_each(|(start, _)| *start -= end);
        self.boundary -= end;
        Ok(())
    }

    /// Finds out whose fault a refusal is.
    fn blame(&mut self, failures: Vec<Failure>, end: usize) -> Failed {
        let mut blamed: BTreeMap<Blame, Error> = BTreeMap::new();
        let mut contagion = false;
        for failure in failures {
            let place = self.marks.iter().position(|mark| mark.sequence == failure.sequence);
            let error = self.explain(&failure, place);
            let not_ours = matches!(error, Error::NotPermitted) || failure.errno == libc::ENOMEM;
            if not_ours {
                return Failed::Error(error);
            }
            let Some(mark) = place.and_then(|place| self.marks.get(place)) else {
                blamed.entry(Blame::All).or_insert(error);
                continue;
            };
            let blame = match &mark.blame {
                Some(blame) => blame.clone(),
                None if contagion => continue,
                None => match self.guilty_element(mark.sequence, mark.start, end) {
                    Ok(Some(owner)) => Blame::Owner(owner),
                    Ok(None) => Blame::All,
                    Err(error) => return Failed::Error(error),
                },
            };
            // What needs a refused chain is refused too, for want of it.
            contagion |= matches!(blame, Blame::Chain(_));
            blamed.entry(blame).or_insert(error);
        }
        if blamed.len() > 1 {
            // Whatever concerned everything may have come of what was found besides.
            blamed.remove(&Blame::All);
        }
        Failed::Refused(blamed.into_iter().collect())
    }

    /// Finds the first element of a message that the kernel refuses, by showing it ever less of the
    /// message without committing to it.
    fn guilty_element(
        &mut self,
        sequence: u32,
        start: usize,
        end: usize,
    ) -> Result<Option<u32>, Error> {
        let bytes = self.out.bytes().get(..end).unwrap_or_default();
        let next = self.marks.iter().map(|mark| mark.start).find(|&other| other > start);
        let stop = next.unwrap_or(end).min(end);
        let within: Vec<(usize, u32)> = self
            .elements
            .iter()
            .filter(|(place, _)| (start..stop).contains(place))
            .copied()
            .collect();
        let (mut good, mut bad) = (0, within.len());
        // With `good` elements it is taken, with `bad` ones it is not.
        while bad - good > 1 {
            let half = good + (bad - good) / 2;
            let cut = within.get(half).map_or(stop, |(place, _)| *place);
            let message = cut_short(bytes.get(start..cut).unwrap_or_default());
            let before = bytes.get(..start).unwrap_or_default();
            let reply = self.socket.rehearse(SUBSYSTEM, &[before, &message])?;
            // What comes before may be refused as well, which is looked at by itself.
            if reply.errors.iter().any(|failure| failure.sequence == sequence) {
                bad = half;
            } else {
                good = half;
            }
        }
        let owner = within.get(good).map(|(_, owner)| *owner);
        Ok(owner.filter(|&owner| owner != NOBODY))
    }

    /// Names the message that the kernel objected to.
    fn explain(&self, failure: &Failure, place: Option<usize>) -> Error {
        let start = place.and_then(|place| self.marks.get(place)).map(|mark| mark.start);
        let bytes = start.and_then(|start| self.out.bytes().get(start..));
        let message = bytes.and_then(|bytes| Messages(bytes).next());
        let what =
            message.map_or_else(|| "take a transaction".to_owned(), |one| nftables::describe(&one));
        refusal(&what, failure.errno, failure.text.clone())
    }
}

/// A message of elements that ends early, with its lengths set right.
fn cut_short(bytes: &[u8]) -> Vec<u8> {
    /// The message's header and netfilter's.
    const HEADERS: usize = 20;
    let mut message = bytes.to_vec();
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    if let Some(field) = message.get_mut(..4) {
        field.copy_from_slice(&length.to_ne_bytes());
    }
    // The list of elements is the last attribute.
    let (mut at, mut last) = (HEADERS, HEADERS);
    while let Some(length) = crate::netlink::read_u16(bytes, at).filter(|&length| length >= 4) {
        last = at;
        at += usize::from(length).next_multiple_of(4);
        if at >= bytes.len() {
            break;
        }
    }
    let length = u16::try_from(message.len() - last).unwrap_or(u16::MAX);
    if let Some(field) = message.get_mut(last..last + 2) {
        field.copy_from_slice(&length.to_ne_bytes());
    }
    message
}
