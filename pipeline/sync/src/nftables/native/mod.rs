//! The further expressions that native rules consist of, and their reading.
//!
//! Registers are counted in words of four bytes; a value of `n` bytes takes as many words as it
//! needs. The kernel tells a register that begins at a multiple of four words by another number,
//! which is read as the same.

mod read;
mod write;

pub use read::Natives;

use super::Verdict;

/// `NFT_REG32_00`
const REGISTER32_0: u32 = 8;
/// Words in `NFT_REG_1` and each of its like.
const WORDS: u32 = 4;

/// What `fib` looks up (`NFTA_FIB_F_…`).
pub mod fib {
    /// The source address.
    pub const SOURCE: u32 = 1;
    /// The destination address.
    pub const DESTINATION: u32 = 2;
    /// `RTN_LOCAL`: the address is the machine's own.
    pub const LOCAL: u32 = 2;
    /// `NFT_FIB_RESULT_ADDRTYPE`
    pub(super) const ADDRESS_TYPE: u32 = 3;
}

/// Facts about a packet's connection (`NFT_CT_…`).
pub mod ct {
    /// What the packet is to its connection, as a bit.
    pub const STATE: u32 = 0;
    /// What happened to the connection, as bits.
    pub const STATUS: u32 = 2;
    /// The connection's mark.
    pub const MARK: u32 = 3;
    /// The bit of [`STATE`] for "belongs to no connection that could be".
    pub const INVALID: u32 = 1;
    /// The bits of [`STATE`] for "belongs to a connection that was seen before" and "is an error
    /// about one".
    pub const ESTABLISHED_OR_RELATED: u32 = 6;
    /// The bit of [`STATE`] for "begins a connection".
    pub const NEW: u32 = 8;
    /// The bit of [`STATUS`] for "the destination was translated" (`IPS_DST_NAT`).
    pub const DESTINATION_TRANSLATED: u32 = 0x20;
}

/// What a rule does to a set (`NFT_DYNSET_OP_…`).
pub mod dynset {
    /// Adds a key, or starts its time anew.
    pub const UPDATE: u32 = 1;
    /// Takes a key out.
    pub const DELETE: u32 = 2;
}

/// `NFT_CMP_LTE` and `NFT_CMP_GTE`
const AT_MOST: u32 = 3;
const AT_LEAST: u32 = 5;
/// `NFT_NUMGEN_RANDOM`
const RANDOM: u32 = 1;
/// `NFT_LOOKUP_F_INV`
const INVERTED: u32 = 1;
/// `NFT_BYTEORDER_HTON`
const HOST_TO_NETWORK: u32 = 1;
/// `NFT_NAT_DNAT`
const DNAT: u32 = 1;
/// `NF_NAT_RANGE_PROTO_SPECIFIED` and `NF_NAT_RANGE_PROTO_RANDOM_FULLY`
const RANDOM_PORTS: u32 = 0x12;

/// One expression, with its registers in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Native<'a> {
    /// Loads bytes of the packet.
    Payload {
        /// Where to.
        into: u32,
        /// What the offset counts from.
        base: u32,
        /// Where the bytes begin.
        offset: u32,
        /// How many there are.
        length: u32,
    },
    /// Loads a fact about the packet.
    Meta {
        /// Where to.
        into: u32,
        /// Which.
        key: u32,
    },
    /// Sets a fact about the packet.
    SetMeta {
        /// Where from.
        from: u32,
        /// Which.
        key: u32,
    },
    /// Loads a fact about the connection.
    Ct {
        /// Where to.
        into: u32,
        /// Which.
        key: u32,
    },
    /// Sets a fact about the connection.
    SetCt {
        /// Where from.
        from: u32,
        /// Which.
        key: u32,
    },
    /// Loads the kind of an address.
    AddressType {
        /// Where to.
        into: u32,
        /// Which address.
        of: u32,
    },
    /// Loads a random number from 0 to the modulus less 1.
    Random {
        /// Where to.
        into: u32,
        /// The modulus.
        modulus: u32,
    },
    /// Keeps the bits of a mask, then flips others, in place.
    Bitwise {
        /// Where.
        at: u32,
        /// What is kept.
        mask: &'a [u8],
        /// What is flipped.
        flip: &'a [u8],
    },
    /// What nft up to 1.0.6 writes behind a protocol in keys of ranges. Its length is shorter than
    /// one number, so it does nothing.
    ByteOrder {
        /// Where.
        at: u32,
    },
    /// Goes on if the register is (or, inverted, is not) this.
    Compare {
        /// Where.
        at: u32,
        /// Whether it must differ.
        inverted: bool,
        /// With what.
        value: &'a [u8],
    },
    /// Goes on if the register, as bytes, lies between these.
    Range {
        /// Where.
        at: u32,
        /// The lowest.
        first: &'a [u8],
        /// The highest.
        last: &'a [u8],
    },
    /// Goes on if the register, as bytes, is not below (or, `most`, not above) this: what nft up to
    /// 1.0.6 writes in the place of a range, two of them.
    Bound {
        /// Where.
        at: u32,
        /// Whether it may be this at most.
        most: bool,
        /// The bound.
        value: &'a [u8],
    },
    /// Goes on if the key is (or, inverted, is not) in a set.
    Lookup {
        /// The set.
        set: &'a str,
        /// Where the key begins.
        key: u32,
        /// Whether it must be missing.
        inverted: bool,
    },
    /// Loads what a map holds for the key, if it holds anything.
    Map {
        /// The map.
        set: &'a str,
        /// Where the key begins.
        key: u32,
        /// Where to.
        into: u32,
    },
    /// Does what a map says of the key, if it says anything.
    VerdictMap {
        /// The map.
        set: &'a str,
        /// Where the key begins.
        key: u32,
    },
    /// Changes a map.
    Dynset {
        /// The map.
        set: &'a str,
        /// What is done.
        operation: u32,
        /// Where the key begins.
        key: u32,
        /// Where the data begin; `None` for a set.
        data: Option<u32>,
        /// For how many milliseconds the element stays; 0 for ever.
        timeout: u64,
    },
    /// Loads a constant.
    Load {
        /// Where to.
        into: u32,
        /// What.
        value: &'a [u8],
    },
    /// Translates the destination.
    Dnat {
        /// `NFPROTO_…`
        family: u32,
        /// Where the address is.
        address: u32,
        /// Where the port is.
        port: u32,
    },
    /// Translates the source to that of the outgoing interface, with a random port of a range.
    Masquerade {
        /// Where the lowest port is.
        first: u32,
        /// Where the highest port is.
        last: u32,
    },
    /// Counts.
    Counter,
    /// Goes on so often.
    Limit {
        /// How many packets a second.
        per_second: u64,
        /// How many at once.
        burst: u32,
    },
    /// Hands the packet to whoever listens.
    Log {
        /// What is said of it.
        prefix: &'a str,
        /// To which group.
        group: u16,
    },
    /// Answers with an ICMP message.
    Reject {
        /// Its code.
        code: u8,
    },
    /// Ends the rule.
    Verdict(Verdict<'a>),
}

/// The number of a register, as nft writes it.
fn register(word: u32) -> u32 {
    if word.is_multiple_of(WORDS) { 1 + word / WORDS } else { REGISTER32_0 + word }
}

fn word(register: u32) -> Option<u32> {
    match register {
        1..=4 => Some((register - 1) * WORDS),
        REGISTER32_0..=23 => Some(register - REGISTER32_0),
        _ => None,
    }
}
