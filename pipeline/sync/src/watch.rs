//! Hearing of it when somebody else changes nf_tables: `iptables -F`, `nft flush ruleset`, a
//! firewall that reloads.
//!
//! In: the kernel's announcements, on a thread and a socket of their own. Out: what changed, where,
//! and by whom, a moment after it did. Whether it has to be repaired is the caller's to decide.
//! Legacy iptables and ipsets announce nothing: only reading them tells.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::poll::PollTimeout;

use crate::Error;
use crate::netlink::{
    ACK, Attributes, Encoder, Header, Message, REQUEST, Reading, Socket, Subscription, Wake,
};
use crate::nftables::SUBSYSTEM;

/// `NFNLGRP_NFTABLES`
const GROUP: u32 = 7;
/// How many bytes of announcements may wait: a ruleset of some 100,000 rules that is flushed.
const BUFFER: usize = 32 << 20;
/// Changes that follow each other this closely are told together.
const SETTLE: Duration = Duration::from_millis(10);
/// Nothing waits longer than this to be told, however much follows.
const PATIENCE: Duration = Duration::from_millis(100);
/// Of more objects of one table than this, the rest is not named.
const NAMED: usize = 256;
/// Of more changes than this at a time, the rest counts as not understood.
const CHANGES: usize = 1024;

/// `NFT_MSG_…`
mod message {
    pub(super) const NEW_TABLE: u8 = 0;
    pub(super) const DELETE_TABLE: u8 = 2;
    pub(super) const NEW_CHAIN: u8 = 3;
    pub(super) const DELETE_CHAIN: u8 = 5;
    pub(super) const NEW_GENERATION: u8 = 15;
    pub(super) const GET_GENERATION: u8 = 16;
    pub(super) const TRACE: u8 = 17;
}

/// `NFTA_…_TABLE`, the same in messages about anything.
const TABLE: u16 = 1;
/// `NFTA_CHAIN_NAME`
const CHAIN_NAME: u16 = 3;
/// `NFTA_RULE_CHAIN`, `NFTA_SET_NAME`, `NFTA_SET_ELEM_LIST_SET`, `NFTA_OBJ_NAME`,
/// `NFTA_FLOWTABLE_NAME`
const OBJECT_NAME: u16 = 2;

/// The family of a table (`NFPROTO_…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TableFamily {
    /// IPv4; also the tables of `iptables`.
    Ip,
    /// IPv6; also the tables of `ip6tables`.
    Ip6,
    /// Both.
    Inet,
    /// ARP.
    Arp,
    /// Bridges.
    Bridge,
    /// Ingress and egress of interfaces.
    Netdev,
    /// One that is not known here.
    Other(u8),
}

impl TableFamily {
    fn of(number: u8) -> Self {
        match number {
            1 => Self::Inet,
            2 => Self::Ip,
            3 => Self::Arp,
            5 => Self::Netdev,
            7 => Self::Bridge,
            10 => Self::Ip6,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for TableFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Inet => "inet",
            Self::Arp => "arp",
            Self::Bridge => "bridge",
            Self::Netdev => "netdev",
            Self::Other(number) => return write!(f, "family {number}"),
        })
    }
}

/// Who changed something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// The number of the thread, as the machine's own PID namespace has it.
    pub pid: u32,
    /// The name of the thread: the first 15 bytes of the program's name, unless it chose another.
    pub name: String,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {})", self.name, self.pid)
    }
}

/// What somebody else changed in one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The table's family.
    pub family: TableFamily,
    /// The table.
    pub table: String,
    /// Who did it; `None` where the kernel does not tell, as when a table goes with its owner.
    pub process: Option<Process>,
    /// Whether the table was deleted, though it may have been made again.
    pub table_deleted: bool,
    /// Chains whose rules changed, sets whose elements changed, and what was made or deleted.
    pub objects: BTreeSet<String>,
    /// Whether there are more objects than are named.
    pub more_objects: bool,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { family, table, process, .. } = self;
        let deed = if self.table_deleted { "deleted" } else { "changed" };
        write!(f, "table {family} {table} was {deed}")?;
        process.as_ref().map_or(Ok(()), |process| write!(f, " by {process}"))
    }
}

/// What was heard within a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// What others changed, by family, table and process.
    pub changes: Vec<Change>,
    /// Whether the kernel had more to say than could be taken in: anything may have changed.
    pub overrun: bool,
    /// The newest generation of others that was heard of.
    pub generation: Option<u32>,
}

/// A generation of the ruleset, and who made it.
struct Generation {
    number: u32,
    process: Option<Process>,
}

/// Asks for the number of the generation that is in force: each transaction of anybody makes a new
/// one, with a number unlike those before it (until it wraps around).
///
/// # Errors
/// What the kernel says.
pub fn generation(socket: &mut Socket) -> Result<u32, Error> {
    let mut request = Encoder::default();
    let message = request.message(Header {
        kind: SUBSYSTEM << 8 | u16::from(message::GET_GENERATION),
        flags: REQUEST | ACK,
        sequence: socket.next_sequence(),
        family: 0,
        resource: 0,
    });
    request.end(message);
    let what = "tell the generation of nf_tables";
    let mut number = None;
    socket.request(what, &request, |reply| {
        number = number.or(read_generation(reply.attributes()).map(|found| found.number));
    })?;
    number.ok_or_else(|| Error::Unreadable {
        what: "the generation of nf_tables".into(),
        why: "it has no number".into(),
    })
}

fn read_generation(attributes: Attributes<'_>) -> Option<Generation> {
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

/// Listens until it is dropped.
#[derive(Debug)]
pub struct Watch {
    // Closing this end wakes the thread.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Listens in the calling thread's network namespace, from now on. Nothing is told of what
    /// sockets with the ports `own` do ([`Socket::port`]): whoever opens another socket to write
    /// with starts another watch.
    ///
    /// What was heard is handed to `deliver`, on the thread that listens, at most some ten times a
    /// second. While `deliver` works, announcements wait; if they become too many, the next
    /// [`Heard`] says so. When it returns false, listening ends.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] without CAP_NET_ADMIN, [`Error::System`] if no thread can be
    /// started.
    pub fn start(
        own: &[u32],
        deliver: impl FnMut(Heard) -> bool + Send + 'static,
    ) -> Result<Self, Error> {
        Self::start_with(own, BUFFER, deliver)
    }

    /// Like [`Watch::start`], with a say in how many bytes of announcements may wait.
    ///
    /// # Errors
    /// As [`Watch::start`].
    pub fn start_with(
        own: &[u32],
        buffer: usize,
        deliver: impl FnMut(Heard) -> bool + Send + 'static,
    ) -> Result<Self, Error> {
        let subscription = Subscription::open(GROUP, buffer, own)?;
        let failed = |error| Error::system("start listening to nf_tables", error);
        let (stop, stopped) = UnixStream::pair().map_err(failed)?;
        let thread = thread::Builder::new()
            .name("nf_tables-watch".into())
            .spawn(move || {
                if let Err(error) = listen(subscription, &stopped, deliver) {
                    tracing::error!(%error, "changes by others are not heard of any more");
                }
            })
            .map_err(failed)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }

    /// Whether somebody still listens; false after `deliver` returned false, or if the socket
    /// failed.
    #[must_use]
    pub fn is_listening(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic was printed by the thread; there is nothing to add here.
            let _ = thread.join();
        }
    }
}

fn listen(
    mut subscription: Subscription,
    stop: &UnixStream,
    mut deliver: impl FnMut(Heard) -> bool,
) -> Result<(), Error> {
    loop {
        if subscription.wait(stop.as_fd(), PollTimeout::NONE)? == Wake::Stop {
            return Ok(());
        }
        let first = Instant::now();
        let mut gathered = Gathered::default();
        loop {
            match subscription.read(|message| gathered.take(message))? {
                Reading::Messages if first.elapsed() < PATIENCE => continue,
                Reading::Overrun if first.elapsed() < PATIENCE => {
                    gathered.overrun = true;
                    continue;
                }
                Reading::Overrun => gathered.overrun = true,
                Reading::Messages | Reading::Nothing => {}
            }
            let left = SETTLE.min(PATIENCE.saturating_sub(first.elapsed()));
            let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
            match subscription.wait(stop.as_fd(), left)? {
                Wake::Stop => return Ok(()),
                Wake::Announcement if first.elapsed() < PATIENCE => {}
                Wake::Announcement | Wake::Silence => break,
            }
        }
        if let Some(heard) = gathered.finish()
            && !deliver(heard)
        {
            return Ok(());
        }
    }
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
struct Gathered {
    transaction: BTreeMap<(TableFamily, String), Deeds>,
    changes: BTreeMap<Place, Deeds>,
    overrun: bool,
    generation: Option<u32>,
}

impl Gathered {
    fn take(&mut self, message: &Message<'_>) {
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

    fn finish(mut self) -> Option<Heard> {
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
