//! The kernel's table of connections: reading it, taking stale entries out, how full it is.
//!
//! In: [`StaleFlows`](model::StaleFlows), after the rules that make them stale are in force. Out: netlink questions
//! for just those entries, and one deletion for each that is stale. Nothing else is touched.

mod announced;
mod entry;
mod filter;
mod mark;
mod remove;
mod statistics;
pub mod sysctls;

use model::Family;

pub use announced::Announced;
pub use entry::{Entry, ProtocolState, Tuple};
pub use filter::Filter;
pub use mark::Marking;
pub use remove::Removed;
pub use statistics::{Fill, Statistics};

use crate::Error;
use crate::netlink::{ACK, DUMP, Encoder, Header, REQUEST, SendBudget, Socket};

/// `NFNL_SUBSYS_CTNETLINK`
const SUBSYSTEM: u16 = 1;

/// `IPCTNL_MSG_CT_…`
mod message {
    pub(super) const NEW: u16 = 0;
    pub(super) const GET: u16 = 1;
    pub(super) const DELETE: u16 = 2;
    pub(super) const GET_STATISTICS_OF_CPUS: u16 = 4;
    pub(super) const GET_STATISTICS: u16 = 5;
}

/// What became of an attempt to delete an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// It is gone.
    Done,
    /// It was gone before, or another connection has its place.
    Gone,
    /// It is in an offloaded flow table: the kernel keeps it until that lets it go.
    Offloaded,
}

/// Who picks the entries that a filter means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filtering {
    /// The kernel, so that nothing else is transferred.
    Kernel,
    /// We, from all entries of the family: the kernel cannot.
    Here,
}

/// The connection tracking of one network namespace.
#[derive(Debug)]
pub struct Conntrack {
    socket: Socket,
    filtering: Filtering,
}

/// The number of a family in messages.
fn family_number(family: Family) -> u8 {
    let number = match family {
        Family::V4 => libc::AF_INET,
        Family::V6 => libc::AF_INET6,
    };
    u8::try_from(number).unwrap_or_default()
}

impl Conntrack {
    /// Opens the connection tracking of the calling thread's network namespace.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the kernel has no ctnetlink, [`Error::NotPermitted`] without
    /// CAP_NET_ADMIN.
    pub fn open() -> Result<Self, Error> {
        let mut conntrack =
            Self { socket: Socket::open(SendBudget::Granted)?, filtering: Filtering::Kernel };
        match conntrack.fill() {
            Ok(_) => Ok(conntrack),
            Err(error) => Err(match error.number() {
                Some(libc::EINVAL | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT) => {
                    Error::Unsupported {
                        feature: "netlink interface of connection tracking",
                        module: "nf_conntrack_netlink",
                        option: "CONFIG_NF_CT_NETLINK",
                    }
                }
                _ => error,
            }),
        }
    }

    /// Who filters, as far as it is known: the kernel is asked to until it turns out that it
    /// cannot.
    #[must_use]
    pub fn filtering(&self) -> Filtering {
        self.filtering
    }

    /// Filters here from now on, whatever the kernel can.
    pub fn filter_here(&mut self) {
        self.filtering = Filtering::Here;
    }

    /// Hands each entry that a filter means to a function, perhaps one more than once. Returns how
    /// many entries the kernel transferred for it.
    ///
    /// # Errors
    /// [`Error::Unsettled`] if the kernel breaks off each time.
    pub fn list(&mut self, filter: &Filter, take: impl FnMut(&Entry)) -> Result<usize, Error> {
        let (mut take, mut transferred) = (take, 0);
        let listed = self.ask(filter, |entry| {
            transferred += 1;
            if filter.matches(entry) {
                take(entry);
            }
        });
        match listed {
            Err(error)
                if self.filtering == Filtering::Kernel
                    && matches!(error.number(), Some(libc::EINVAL | libc::EOPNOTSUPP)) =>
            {
                self.filtering = Filtering::Here;
                self.list(filter, take)
            }
            listed => listed.map(|()| transferred),
        }
    }

    fn ask(&mut self, filter: &Filter, mut take: impl FnMut(&Entry)) -> Result<(), Error> {
        let asked = match self.filtering {
            Filtering::Kernel => filter.for_kernel(),
            Filtering::Here => Filter::family(filter.family),
        };
        let mut request = Encoder::default();
        let message = request.message(self.header(message::GET, DUMP, filter.family));
        asked.write(&mut request);
        request.end(message);
        let mut foreign = false;
        self.socket.stream("tracked connections", &request, |message| {
            if let Some(entry) = entry::read(message) {
                foreign |= !asked.matches(&entry);
                take(&entry);
            }
        })?;
        if foreign {
            self.filtering = Filtering::Here;
        }
        Ok(())
    }

    /// Deletes one entry: the very one that was read, not another that took its place.
    ///
    /// # Errors
    /// [`Error::Refused`] with what the kernel says.
    pub fn delete(&mut self, entry: &Entry) -> Result<Deletion, Error> {
        let mut request = Encoder::default();
        let message = request.message(self.header(message::DELETE, ACK, entry.family()));
        entry.write_identity(&mut request);
        request.end(message);
        match self.socket.request("delete a tracked connection", &request, |_| {}) {
            Ok(()) => Ok(Deletion::Done),
            Err(error) => match error.number() {
                Some(libc::ENOENT) => Ok(Deletion::Gone),
                Some(libc::EBUSY) => Ok(Deletion::Offloaded),
                _ => Err(error),
            },
        }
    }

    fn header(&mut self, what: u16, flags: u16, family: Family) -> Header {
        Header {
            kind: SUBSYSTEM << 8 | what,
            flags: REQUEST | flags,
            sequence: self.socket.next_sequence(),
            family: family_number(family),
            resource: 0,
        }
    }
}
