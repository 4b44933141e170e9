//! Rules, as nf_tables evaluates them: conditions and actions, from left to right.

use std::sync::Arc;

use super::{PortRange, SetName};
use model::{Cidr, Protocol};

/// A property of a packet that can stand in a key or in data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// `ip saddr`, `ip6 saddr`: the source address.
    SourceAddress,
    /// `ip daddr`, `ip6 daddr`: the destination address.
    DestinationAddress,
    /// `meta l4proto`: the transport protocol.
    Protocol,
    /// `th dport`: the destination port of TCP, UDP or SCTP.
    DestinationPort,
    /// `numgen random mod N`: a random number from 0 to N-1, every one as likely as the next.
    RandomIndex {
        /// N, at least 1.
        modulus: u32,
    },
    /// `meta priority`: a register of the packet itself, in which the chains of session affinity
    /// keep an endpoint's id from one rule to the next.
    EndpointId,
}

/// Which of a packet's two addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// `saddr`
    Source,
    /// `daddr`
    Destination,
}

/// What connection tracking says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CtState {
    /// It begins a connection.
    New,
    /// It belongs to a connection that was seen before, or is an error about one (`related`).
    Established,
    /// It belongs to no connection that could be.
    Invalid,
}

/// One condition or action. A condition that does not hold, and an action whose map has no element
/// for its key, end the rule; the next rule of the chain is then asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// `ip saddr CIDR`, `ip daddr != CIDR`: the address lies within, or (inverted) without.
    Address {
        /// Which address.
        end: End,
        /// Whether it must lie without.
        inverted: bool,
        /// The block.
        block: Cidr,
    },
    /// `iifname NAME`: the packet came in by the interface; a name that ends in `*` stands for
    /// every name that starts so.
    InInterface {
        /// Whether it must have come by another.
        inverted: bool,
        /// The name.
        name: Arc<str>,
    },
    /// `fib saddr type local`, `fib daddr type local`: the address is this node's own.
    Local {
        /// Which address.
        end: End,
        /// Whether it must be another's.
        inverted: bool,
    },
    /// `meta l4proto PROTOCOL`
    Protocol(Protocol),
    /// `tcp dport FIRST-LAST`, and so for other protocols.
    DestinationPorts {
        /// The protocol.
        protocol: Protocol,
        /// The ports.
        ports: PortRange,
    },
    /// `icmpv6 type 133-137`: router and neighbour discovery and redirection (RFC 4861).
    NeighbourDiscovery,
    /// `tcp flags != syn / fin,syn,rst,ack`: a TCP packet that does not ask for a connection.
    NotSyn,
    /// `ct state STATE`
    CtState(CtState),
    /// `ct status dnat`: the destination was translated.
    Translated,
    /// `ct mark & MASK == MASK`: the connection carries the bits.
    CtMark(u32),
    /// `FIELDS @SET`: the key is in the set, or (inverted) is not.
    In {
        /// The key.
        key: Vec<Field>,
        /// Whether it must be missing.
        inverted: bool,
        /// The set.
        set: SetName,
    },
    /// `FIELDS vmap @MAP`: does what the map says of the key.
    Dispatch {
        /// The key.
        key: Vec<Field>,
        /// A map of verdicts.
        map: SetName,
    },
    /// `ct mark set ct mark | BITS`: adds bits to the connection's mark, and leaves the others.
    AddCtMark(u32),
    /// `meta priority set FIELDS map @MAP`: loads an endpoint's id.
    LoadEndpointId {
        /// The key.
        key: Vec<Field>,
        /// A map to endpoint ids.
        map: SetName,
    },
    /// `update @MAP { FIELDS timeout T : meta priority }`: remembers the loaded id for so long; a
    /// key that is there keeps its id and starts its time anew.
    Remember {
        /// The key.
        key: Vec<Field>,
        /// The map.
        map: SetName,
        /// For how many seconds.
        seconds: u32,
    },
    /// `delete @MAP { FIELDS : meta priority }`: forgets the key. The kernel wants the data named
    /// for a map; it does not look at it.
    Forget {
        /// The key.
        key: Vec<Field>,
        /// The map.
        map: SetName,
    },
    /// `update @SET { FIELDS timeout T }`: puts the key into a set for so long; one that is there
    /// starts its time anew. Where the set is full, the rule ends.
    Keep {
        /// The key.
        key: Vec<Field>,
        /// The set.
        set: SetName,
        /// For how many seconds.
        seconds: u32,
    },
    /// `dnat to FIELDS map @MAP`: sends the connection to the address and port of the key. Ends the
    /// hook.
    Dnat {
        /// The key.
        key: Vec<Field>,
        /// A map to addresses and ports.
        map: SetName,
    },
    /// `masquerade to :FIRST-LAST fully-random`: takes the outgoing interface's address as source,
    /// and a source port of the range. Ends the hook.
    Masquerade {
        /// The lowest port.
        first: u16,
        /// The highest port.
        last: u16,
    },
    /// `counter`: counts packets and bytes. Filling the chain anew begins at zero.
    Counter,
    /// `limit rate N/second burst N packets`: holds so often, for all packets together.
    Limit {
        /// N.
        per_second: u32,
    },
    /// `log prefix PREFIX group GROUP`: hands the packet to whoever listens to the group (NFLOG).
    Log {
        /// At most [`Statement::LOG_PREFIX`] bytes.
        prefix: Arc<str>,
        /// The group.
        group: u16,
    },
    /// What becomes of the packet.
    Verdict(Verdict),
    /// `comment TEXT`, which nft notes beside a rule: the last of its statements, and none that does
    /// anything.
    Comment(Arc<str>),
}

impl Statement {
    /// The longest prefix of `log` (`NF_LOG_PREFIXLEN` without its NUL).
    pub const LOG_PREFIX: usize = 127;
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// `accept`: done with this base chain, for good; base chains of others still have their say.
    Accept,
    /// `return`: back to where a jump led here from; from a base chain, as [`Verdict::Accept`].
    Return,
    /// `drop`: silence.
    Drop,
    /// `reject`: an ICMP port unreachable. The kernel has it as an action of a rule, not as the
    /// verdict of a map.
    Reject,
    /// `jump CHAIN`: there and, if nothing there decides, back.
    Jump(Arc<str>),
    /// `goto CHAIN`: there, not back.
    Goto(Arc<str>),
}

/// A rule: its statements in order.
pub type Rule = Vec<Statement>;

/// Where a base chain is hooked in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    /// Packets that come in, before routing.
    Prerouting,
    /// Packets for this node.
    Input,
    /// Packets through this node.
    Forward,
    /// Packets of this node.
    Output,
    /// Packets that go out, after routing.
    Postrouting,
}

/// What a base chain may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChainType {
    /// `filter`: sees every packet.
    Filter,
    /// `nat`: sees the first packet of each connection, and may translate it.
    Nat,
}

/// Where a chain is called from by the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Base {
    /// What the chain may do.
    pub chain_type: ChainType,
    /// At which hook.
    pub hook: Hook,
    /// Lower is earlier. Destination translation of the whole host happens at -100, filtering at
    /// 0, source translation at 100.
    pub priority: i32,
}

/// A chain with all its rules. A base chain accepts what no rule decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Where the kernel calls it from; `None` for chains that rules and maps lead to.
    pub base: Option<Base>,
    /// The rules, in order.
    pub rules: Vec<Rule>,
}
