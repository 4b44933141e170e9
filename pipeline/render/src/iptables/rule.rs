//! One rule, as iptables understands it.

use std::net::SocketAddr;
use std::sync::Arc;

use model::{Cidr, Protocol};
use plan::policy::PortRange;

/// A value that a packet must have, or (inverted, `!`) must not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inverted<T> {
    /// Whether the value must not be met.
    pub inverted: bool,
    /// The value.
    pub value: T,
}

impl<T> Inverted<T> {
    /// The packet must have the value.
    pub fn is(value: T) -> Self {
        Self { inverted: false, value }
    }

    /// The packet must not have the value.
    pub fn is_not(value: T) -> Self {
        Self { inverted: true, value }
    }
}

/// A rule. The generic parts come first, as iptables prints them, then the matches in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// `-s`
    pub source: Option<Inverted<Cidr>>,
    /// `-d`
    pub destination: Option<Inverted<Cidr>>,
    /// `-i`; a trailing `+` stands for any ending.
    pub in_interface: Option<Inverted<Arc<str>>>,
    /// `-p`
    pub protocol: Option<Protocol>,
    /// `-m …`, in order.
    pub matches: Vec<Match>,
    /// `-j …`; a rule without a target only counts.
    pub target: Option<Target>,
}

impl Rule {
    /// A rule for every packet, with a target.
    #[must_use]
    pub fn to(target: Target) -> Self {
        Self { target: Some(target), ..Self::default() }
    }

    /// Whether the rule is one of ICMPv6, because a match of it says so.
    #[must_use]
    pub fn is_icmpv6(&self) -> bool {
        self.matches.iter().any(|one| matches!(one, Match::Icmpv6Type(_)))
    }

    /// One more match, after those that are there.
    #[must_use]
    pub fn matching(mut self, one: Match) -> Self {
        self.matches.push(one);
        self
    }

    /// One more match: a comment.
    #[must_use]
    pub fn comment(self, text: &str) -> Self {
        self.matching(Match::Comment(text.into()))
    }

    /// One more match: any of these connection states.
    #[must_use]
    pub fn state(self, states: CtStates) -> Self {
        self.matching(Match::CtState { inverted: false, states })
    }
}

impl Lookup {
    /// The fields as the tool names them.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Source => "src",
            Self::Destination => "dst",
            Self::DestinationPort => "dst,dst",
        }
    }
}

/// The connection states of `-m conntrack --ctstate`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CtStates {
    /// INVALID
    pub invalid: bool,
    /// NEW
    pub new: bool,
    /// ESTABLISHED
    pub established: bool,
    /// RELATED
    pub related: bool,
    /// DNAT: the destination was translated.
    pub dnat: bool,
}

/// What `-m recent` does with its list of client addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recent {
    /// `--rcheck --seconds N --reap`: the client was seen within so many seconds.
    Check {
        /// The number of seconds.
        seconds: u32,
    },
    /// `--set`: note the client, now.
    Set,
}

/// What of a packet is looked up in a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// `src`: the source address.
    Source,
    /// `dst`: the destination address.
    Destination,
    /// `dst,dst`: the destination address with protocol and destination port.
    DestinationPort,
}

/// One match extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// `-m comment --comment TEXT`
    Comment(Arc<str>),
    /// `-m PROTOCOL --dport PORT`; the rule's own protocol is the same.
    DestinationPort(Protocol, u16),
    /// `-m PROTOCOL` without any condition: it only pulls the protocol's extension in.
    Bare(Protocol),
    /// `-m mark [!] --mark VALUE/MASK`
    Mark {
        /// Whether the mark must differ.
        inverted: bool,
        /// The bits expected.
        value: u32,
        /// The bits looked at.
        mask: u32,
    },
    /// `-m addrtype --src-type LOCAL`
    SourceLocal,
    /// `-m addrtype --dst-type LOCAL`
    DestinationLocal,
    /// `-m conntrack [!] --ctstate …`
    CtState {
        /// Whether none of the states may hold.
        inverted: bool,
        /// The states.
        states: CtStates,
    },
    /// `-m recent --name NAME …`
    Recent {
        /// The list's name.
        list: Arc<str>,
        /// What is done.
        action: Recent,
    },
    /// `-m statistic --mode random --probability P`, with P in units of 2⁻³¹ as the kernel has it.
    Random(u32),
    /// `-m nfacct --nfacct-name NAME`: counts the packet, always matches.
    Nfacct(Arc<str>),
    /// `-m set [!] --match-set NAME FIELDS`
    Set {
        /// Whether the set must not hold it.
        inverted: bool,
        /// The set's name.
        set: Arc<str>,
        /// What is looked up.
        lookup: Lookup,
    },
    /// `-m connmark --mark VALUE/MASK`
    ConnMark {
        /// The bits expected.
        value: u32,
        /// The bits looked at.
        mask: u32,
    },
    /// `-m multiport --dports FIRST:LAST,…`: at most [`PORT_SLOTS`] ports, of which a range takes
    /// two; the rule has a protocol.
    DestinationPorts(Vec<PortRange>),
    /// `-m icmp6 --icmpv6-type TYPE`; it makes the rule one of `-p ipv6-icmp`.
    Icmpv6Type(u8),
    /// `-m tcp ! --syn`: not the first segment of a connection; the rule is one of TCP.
    NotSyn,
    /// `-m bpf --bytecode …`: source and destination address are equal.
    SourceIsDestination,
    /// `-m limit --limit RATE/sec --limit-burst BURST`
    Limit {
        /// So many packets a second.
        rate: u64,
        /// So many at once.
        burst: u32,
    },
}

/// How many ports one [`Match::DestinationPorts`] holds (`XT_MULTI_PORTS`).
pub const PORT_SLOTS: usize = 15;

/// What becomes of a packet that a rule matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Into another chain, and back if nothing there decides.
    Jump(Arc<str>),
    /// Into another chain for good: what returns there returns from here (`-g`).
    Goto(Arc<str>),
    /// Back to the chain that jumped here.
    Return,
    /// Let through (ends this table's hook).
    Accept,
    /// Drop in silence.
    Drop,
    /// Refuse by an ICMP port unreachable.
    Reject,
    /// Send to another destination.
    Dnat(SocketAddr),
    /// Take the outgoing interface's address as source.
    Masquerade {
        /// Whether source ports are chosen fully at random.
        random_fully: bool,
    },
    /// `MARK --set-xmark VALUE/MASK`: clear the mask's bits, then flip the value's.
    Mark {
        /// The bits flipped.
        value: u32,
        /// The bits cleared.
        mask: u32,
    },
    /// `SET --add-set NAME FIELDS`: put into a set, for the set's own timeout; goes on.
    AddToSet {
        /// The set's name.
        set: Arc<str>,
        /// What is put in.
        lookup: Lookup,
    },
    /// `NFLOG`: tell a process; goes on.
    NfLog {
        /// The netlink group that hears of it.
        group: u16,
        /// What it is told first, at most 63 bytes.
        prefix: Arc<str>,
    },
}
