//! The expressions that rules consist of.

use crate::netlink::{Attributes, Encoder};

/// `NFTA_LIST_ELEM`
const ELEMENT: u16 = 1;
/// `NFTA_EXPR_NAME`
pub(super) const NAME: u16 = 1;
/// `NFTA_EXPR_DATA`
pub(super) const DATA: u16 = 2;
/// `NFTA_DATA_VALUE`
pub(super) const VALUE: u16 = 1;
/// `NFTA_DATA_VERDICT`
pub(super) const VERDICT: u16 = 2;
/// `NFTA_VERDICT_CODE`
pub(super) const VERDICT_CODE: u16 = 1;
/// `NFTA_VERDICT_CHAIN`
pub(super) const VERDICT_CHAIN: u16 = 2;
/// `NFT_REG_1`
const REGISTER_1: u32 = 1;
/// `NFT_REG32_00`, the same place counted in words.
const REGISTER32_0: u32 = 8;

/// What a payload offset counts from.
pub mod base {
    /// `NFT_PAYLOAD_NETWORK_HEADER`
    pub const NETWORK: u32 = 1;
    /// `NFT_PAYLOAD_TRANSPORT_HEADER`
    pub const TRANSPORT: u32 = 2;
}

/// Facts about a packet that are not in its bytes (`NFT_META_…`).
pub mod meta {
    /// The packet's class of queueing.
    pub const PRIORITY: u32 = 2;
    /// The packet mark.
    pub const MARK: u32 = 3;
    /// The name of the interface that it came in by.
    pub const IN_INTERFACE: u32 = 6;
    /// Whether a packet is followed.
    pub const TRACED: u32 = 12;
    /// The family.
    pub const FAMILY: u32 = 15;
    /// The transport protocol.
    pub const L4PROTO: u32 = 16;
}

/// The register that simple rules load into and compare from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register(u32);

impl Register {
    /// The first one.
    pub const FIRST: Self = Self(REGISTER_1);

    fn is_first(number: Option<u32>) -> Option<()> {
        number.filter(|&number| matches!(number, REGISTER_1 | REGISTER32_0)).map(|_| ())
    }
}

/// What a rule ends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// Let through.
    Accept,
    /// Drop.
    Drop,
    /// Back to the calling chain.
    Return,
    /// Into a chain and back.
    Jump(&'a str),
    /// Into a chain for good.
    Goto(&'a str),
}

impl<'a> Verdict<'a> {
    const DROP: i32 = 0;
    const ACCEPT: i32 = 1;
    const JUMP: i32 = -3;
    const GOTO: i32 = -4;
    const RETURN: i32 = -5;

    /// The code and chain of `NFTA_VERDICT_…`.
    fn parts(self) -> (i32, Option<&'a str>) {
        match self {
            Verdict::Accept => (Verdict::ACCEPT, None),
            Verdict::Drop => (Verdict::DROP, None),
            Verdict::Return => (Verdict::RETURN, None),
            Verdict::Jump(chain) => (Verdict::JUMP, Some(chain)),
            Verdict::Goto(chain) => (Verdict::GOTO, Some(chain)),
        }
    }

    /// Reads `NFTA_DATA_VERDICT` out of the data of an expression or element.
    pub(super) fn read(data: Attributes<'a>) -> Option<Self> {
        let verdict = data.nested(VERDICT);
        let chain = verdict.text(VERDICT_CHAIN);
        Some(match verdict.be32(VERDICT_CODE)? as i32 {
            Verdict::DROP => Verdict::Drop,
            Verdict::ACCEPT => Verdict::Accept,
            Verdict::RETURN => Verdict::Return,
            Verdict::JUMP => Verdict::Jump(chain?),
            Verdict::GOTO => Verdict::Goto(chain?),
            _ => return None,
        })
    }
}

pub(super) fn expression(out: &mut Encoder, name: &str, fill: impl FnOnce(&mut Encoder)) {
    let element = out.nest(ELEMENT);
    out.text(NAME, name);
    let data = out.nest(DATA);
    fill(out);
    out.close(data);
    out.close(element);
}

pub(super) fn value(out: &mut Encoder, kind: u16, bytes: &[u8]) {
    let nest = out.nest(kind);
    out.raw(VALUE, bytes);
    out.close(nest);
}

/// Loads a fact about the packet.
pub fn load_meta(out: &mut Encoder, key: u32) {
    expression(out, "meta", |out| {
        out.be32(2, key);
        out.be32(1, Register::FIRST.0);
    });
}

/// Loads bytes of the packet.
pub fn load_payload(out: &mut Encoder, base: u32, offset: u32, length: u32) {
    expression(out, "payload", |out| {
        out.be32(1, Register::FIRST.0);
        out.be32(2, base);
        out.be32(3, offset);
        out.be32(4, length);
    });
}

/// Keeps the bits of a mask.
pub fn mask(out: &mut Encoder, mask: &[u8]) {
    expression(out, "bitwise", |out| {
        out.be32(1, Register::FIRST.0);
        out.be32(2, Register::FIRST.0);
        out.be32(3, u32::try_from(mask.len()).unwrap_or_default());
        value(out, 4, mask);
        value(out, 5, [0; 16].get(..mask.len()).unwrap_or_default());
    });
}

/// Goes on if what was loaded is (or, inverted, is not) this.
pub fn compare(out: &mut Encoder, inverted: bool, bytes: &[u8]) {
    expression(out, "cmp", |out| {
        out.be32(1, Register::FIRST.0);
        out.be32(2, inverted.into());
        value(out, 3, bytes);
    });
}

/// Counts.
pub fn counter(out: &mut Encoder) {
    expression(out, "counter", |out| {
        out.be64(1, 0);
        out.be64(2, 0);
    });
}

/// Ends the rule.
pub fn verdict(out: &mut Encoder, verdict: Verdict<'_>) {
    expression(out, "immediate", |out| {
        out.be32(1, 0);
        verdict_data(out, 2, verdict);
    });
}

/// Writes a verdict as data, as expressions and elements of maps hold it.
pub(super) fn verdict_data(out: &mut Encoder, kind: u16, verdict: Verdict<'_>) {
    let (code, chain) = verdict.parts();
    let data = out.nest(kind);
    let nest = out.nest(VERDICT);
    out.raw(VERDICT_CODE, &code.to_be_bytes());
    if let Some(chain) = chain {
        out.text(VERDICT_CHAIN, chain);
    }
    out.close(nest);
    out.close(data);
}

/// Goes on for so many packets a second, and so many at once.
pub fn limit(out: &mut Encoder, rate: u64, burst: u32) {
    expression(out, "limit", |out| {
        out.be64(1, rate);
        // Per second; packets, not bytes; up to the rate, not beyond it.
        out.be64(2, 1);
        out.be32(3, burst);
        out.be32(4, 0);
        out.be32(5, 0);
    });
}

/// Tells a netlink group of the packet, and goes on.
pub fn log(out: &mut Encoder, group: u16, prefix: &str) {
    expression(out, "log", |out| {
        out.text(2, prefix);
        out.raw(1, &group.to_be_bytes());
    });
}

/// A match or a target of iptables; `fill` writes its own data.
pub fn extension(
    out: &mut Encoder,
    kind: &str,
    name: &str,
    revision: u32,
    fill: impl FnOnce(&mut Encoder),
) {
    expression(out, kind, |out| {
        out.text(1, name);
        out.be32(2, revision);
        let data = out.open(3);
        fill(out);
        out.close(data);
    });
}

/// One expression of a rule that the kernel told of, as far as rules of iptables have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expression<'a> {
    /// Loads a fact about the packet into the first register.
    Meta(u32),
    /// Loads bytes of the packet into the first register.
    Payload {
        /// What the offset counts from.
        base: u32,
        /// Where the bytes begin.
        offset: u32,
        /// How many there are.
        length: u32,
    },
    /// Keeps the bits of a mask in the first register.
    Mask(&'a [u8]),
    /// Compares the first register.
    Compare {
        /// Whether it must differ.
        inverted: bool,
        /// With what.
        value: &'a [u8],
    },
    /// Counts.
    Counter {
        /// Packets so far.
        packets: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// Ends the rule.
    Verdict(Verdict<'a>),
    /// Goes on for so many packets a second.
    Limit {
        /// How many a second.
        rate: u64,
        /// How many at once.
        burst: u32,
    },
    /// Tells a netlink group.
    Log {
        /// The group.
        group: u16,
        /// What it is told first.
        prefix: &'a str,
    },
    /// A match of iptables.
    Match(Extension<'a>),
    /// A target of iptables.
    Target(Extension<'a>),
    /// Anything else.
    Other,
}

/// A match or target of iptables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension<'a> {
    /// Its name.
    pub name: &'a str,
    /// Which layout its data has.
    pub revision: u32,
    /// Its data.
    pub data: &'a [u8],
}

/// The expressions of a rule.
#[derive(Clone, Copy, Debug)]
pub struct Expressions<'a>(pub(super) Attributes<'a>);

impl<'a> Iterator for Expressions<'a> {
    type Item = Expression<'a>;

    fn next(&mut self) -> Option<Expression<'a>> {
        let attributes = self.0.next()?.nested();
        let data = attributes.nested(DATA);
        Some(attributes.text(NAME).and_then(|name| read(name, data)).unwrap_or(Expression::Other))
    }
}

fn read<'a>(name: &str, data: Attributes<'a>) -> Option<Expression<'a>> {
    Some(match name {
        "meta" => {
            Register::is_first(data.be32(1))?;
            Expression::Meta(data.be32(2)?)
        }
        "payload" => {
            Register::is_first(data.be32(1))?;
            Expression::Payload {
                base: data.be32(2)?,
                offset: data.be32(3)?,
                length: data.be32(4)?,
            }
        }
        "bitwise" => {
            Register::is_first(data.be32(1))?;
            Register::is_first(data.be32(2))?;
            let plain = data.be32(6).unwrap_or_default() == 0;
            let flips = data.nested(5).get(VALUE)?.iter().any(|&byte| byte != 0);
            Expression::Mask(data.nested(4).get(VALUE).filter(|_| plain && !flips)?)
        }
        "cmp" => {
            Register::is_first(data.be32(1))?;
            let inverted = match data.be32(2)? {
                0 => false,
                1 => true,
                _ => return None,
            };
            Expression::Compare { inverted, value: data.nested(3).get(VALUE)? }
        }
        // NFTA_COUNTER_BYTES is 1, NFTA_COUNTER_PACKETS is 2.
        "counter" => Expression::Counter { packets: data.be64(2)?, bytes: data.be64(1)? },
        "limit" => {
            let plain = data.be64(2)? == 1 && data.be32(4)? == 0 && data.be32(5)? == 0;
            let burst = data.be32(3).filter(|_| plain)?;
            Expression::Limit { rate: data.be64(1)?, burst }
        }
        "log" => {
            // No length of the packet, no number to wait for, no level of the kernel's own log.
            let waits = data.get(4).unwrap_or_default().iter().any(|&byte| byte != 0);
            let plain = data.be32(3).unwrap_or_default() == 0 && !waits && data.get(5).is_none();
            let group = data.get(1).filter(|_| plain)?;
            let group = u16::from_be_bytes(group.try_into().ok()?);
            Expression::Log { group, prefix: data.text(2)? }
        }
        "immediate" => Expression::Verdict(Verdict::read(data.nested(2))?),
        "match" => Expression::Match(read_extension(data)?),
        "target" => Expression::Target(read_extension(data)?),
        _ => return None,
    })
}

fn read_extension(data: Attributes<'_>) -> Option<Extension<'_>> {
    Some(Extension { name: data.text(1)?, revision: data.be32(2)?, data: data.get(3)? })
}
