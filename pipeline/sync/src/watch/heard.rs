//! What is told of others' changes.

use std::collections::BTreeSet;
use std::fmt;

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
    pub(crate) fn of(number: u8) -> Self {
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
