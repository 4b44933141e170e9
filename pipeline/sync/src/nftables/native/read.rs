//! Native expressions as the kernel tells of them.

use super::super::Verdict;
use super::super::expression::{DATA, NAME, VALUE};
use super::{
    AT_LEAST, AT_MOST, DNAT, HOST_TO_NETWORK, INVERTED, Native, RANDOM, RANDOM_PORTS, fib, word,
};
use crate::netlink::Attributes;

/// The native expressions of a rule; `None` for each that is none of these.
#[derive(Clone, Copy, Debug)]
pub struct Natives<'a>(pub(in crate::nftables) Attributes<'a>);

impl<'a> Iterator for Natives<'a> {
    type Item = Option<Native<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let attributes = self.0.next()?.nested();
        let data = attributes.nested(DATA);
        Some(attributes.text(NAME).and_then(|name| read(name, data)))
    }
}

fn read<'a>(name: &str, data: Attributes<'a>) -> Option<Native<'a>> {
    let at = |kind| word(data.be32(kind)?);
    let is = |kind, number| (data.be32(kind)? == number).then_some(());
    Some(match name {
        "payload" => Native::Payload {
            into: at(1)?,
            base: data.be32(2)?,
            offset: data.be32(3)?,
            length: data.be32(4)?,
        },
        "meta" => match data.be32(3) {
            Some(_) => Native::SetMeta { from: at(3)?, key: data.be32(2)? },
            None => Native::Meta { into: at(1)?, key: data.be32(2)? },
        },
        "ct" if data.get(3).is_some() => return None,
        "ct" => match data.be32(4) {
            Some(_) => Native::SetCt { from: at(4)?, key: data.be32(2)? },
            None => Native::Ct { into: at(1)?, key: data.be32(2)? },
        },
        "fib" => {
            is(2, fib::ADDRESS_TYPE)?;
            Native::AddressType { into: at(1)?, of: data.be32(3)? }
        }
        "numgen" => {
            is(3, RANDOM)?;
            is(4, 0)?;
            Native::Random { into: at(1)?, modulus: data.be32(2)? }
        }
        "byteorder" => {
            is(3, HOST_TO_NETWORK)?;
            is(4, 1)?;
            is(2, data.be32(1)?)?;
            Native::ByteOrder { at: at(1)? }
        }
        "cmp" if matches!(data.be32(2), Some(AT_MOST | AT_LEAST)) => {
            let most = data.be32(2) == Some(AT_MOST);
            Native::Bound { at: at(1)?, most, value: data.nested(3).get(VALUE)? }
        }
        "cmp" => {
            let inverted = data.be32(2).filter(|&operation| operation <= 1)? == 1;
            Native::Compare { at: at(1)?, inverted, value: data.nested(3).get(VALUE)? }
        }
        "immediate" if data.be32(1)? == 0 => Native::Verdict(Verdict::read(data.nested(2))?),
        "immediate" => Native::Load { into: at(1)?, value: data.nested(2).get(VALUE)? },
        "masq" => {
            is(1, RANDOM_PORTS)?;
            Native::Masquerade { first: at(2)?, last: at(3)? }
        }
        "reject" => {
            is(1, 0)?;
            Native::Reject { code: *data.get(2)?.first()? }
        }
        _ => return read_long(name, data),
    })
}

fn read_long<'a>(name: &str, data: Attributes<'a>) -> Option<Native<'a>> {
    let at = |kind| word(data.be32(kind)?);
    Some(match name {
        "bitwise" => {
            let plain = data.be32(6).unwrap_or_default() == 0 && data.be32(1)? == data.be32(2)?;
            let (mask, flip) = (data.nested(4).get(VALUE)?, data.nested(5).get(VALUE)?);
            Native::Bitwise { at: at(1).filter(|_| plain)?, mask, flip }
        }
        "lookup" => {
            let (set, key) = (data.text(1)?, at(2)?);
            let inverted = data.be32(5).unwrap_or_default() & INVERTED != 0;
            match data.be32(3) {
                None => Native::Lookup { set, key, inverted },
                Some(_) if inverted => return None,
                Some(0) => Native::VerdictMap { set, key },
                Some(_) => Native::Map { set, key, into: at(3)? },
            }
        }
        // Expressions and flags beside these would make it another.
        "dynset" if data.get(7).is_some() || data.get(10).is_some() => return None,
        "dynset" => Native::Dynset {
            set: data.text(1)?,
            operation: data.be32(3)?,
            key: at(4)?,
            data: at(5),
            timeout: data.be64(6).unwrap_or_default(),
        },
        "range" => {
            let inside = data.be32(2).filter(|&operation| operation == 0);
            let first = data.nested(3).get(VALUE).filter(|_| inside.is_some())?;
            Native::Range { at: at(1)?, first, last: data.nested(4).get(VALUE)? }
        }
        "counter" => Native::Counter,
        "limit" => {
            let plain = data.be64(2)? == 1 && [4, 5].map(|kind| data.be32(kind)) == [Some(0); 2];
            let per_second = data.be64(1).filter(|_| plain)?;
            Native::Limit { per_second, burst: data.be32(3)? }
        }
        "log" => {
            let group = u16::from_be_bytes(data.get(1)?.try_into().ok()?);
            // What the kernel tells of a log that copies whole packets, at once.
            let plain = [3, 4].iter().all(|&kind| {
                data.get(kind).is_none_or(|value| value.iter().all(|&byte| byte == 0))
            });
            Native::Log { prefix: data.text(2).filter(|_| plain)?, group }
        }
        "nat" => {
            let same = data.get(4).is_none_or(|other| Some(other) == data.get(3));
            let same = same && data.get(6).is_none_or(|other| Some(other) == data.get(5));
            (data.be32(1)? == DNAT && same).then_some(())?;
            Native::Dnat { family: data.be32(2)?, address: at(3)?, port: at(5)? }
        }
        _ => return None,
    })
}
