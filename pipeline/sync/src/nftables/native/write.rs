//! Native expressions as attributes.

use super::super::expression::{self, expression, value};
use super::{
    AT_LEAST, AT_MOST, DNAT, HOST_TO_NETWORK, INVERTED, Native, RANDOM, RANDOM_PORTS, fib, register,
};
use crate::netlink::Encoder;

impl Native<'_> {
    /// Writes the expression. Attributes are in nft's order, which the kernel does not mind.
    pub fn write(&self, out: &mut Encoder) {
        if let Self::Verdict(verdict) = *self {
            return expression::verdict(out, verdict);
        }
        expression(out, self.name(), |out| match *self {
            Self::Payload { into, base, offset, length } => {
                numbers(out, &[(1, register(into)), (2, base), (3, offset), (4, length)]);
            }
            Self::Meta { into, key } => numbers(out, &[(2, key), (1, register(into))]),
            Self::SetMeta { from, key } => numbers(out, &[(2, key), (3, register(from))]),
            Self::Ct { into, key } => numbers(out, &[(2, key), (1, register(into))]),
            Self::SetCt { from, key } => numbers(out, &[(2, key), (4, register(from))]),
            Self::AddressType { into, of } => {
                numbers(out, &[(1, register(into)), (2, fib::ADDRESS_TYPE), (3, of)]);
            }
            Self::Random { into, modulus } => {
                numbers(out, &[(1, register(into)), (2, modulus), (3, RANDOM), (4, 0)]);
            }
            Self::ByteOrder { at } => {
                let at = register(at);
                numbers(out, &[(1, at), (2, at), (3, HOST_TO_NETWORK), (4, 1), (5, 2)]);
            }
            Self::Compare { at, inverted, value: bytes } => {
                numbers(out, &[(1, register(at)), (2, inverted.into())]);
                value(out, 3, bytes);
            }
            Self::Range { at, first, last } => {
                // NFT_RANGE_EQ is 0.
                numbers(out, &[(1, register(at)), (2, 0)]);
                value(out, 3, first);
                value(out, 4, last);
            }
            Self::Bound { at, most, value: bytes } => {
                let operation = if most { AT_MOST } else { AT_LEAST };
                numbers(out, &[(1, register(at)), (2, operation)]);
                value(out, 3, bytes);
            }
            Self::Lookup { set, key, inverted } => {
                out.be32(2, register(key));
                out.text(1, set);
                if inverted {
                    out.be32(5, INVERTED);
                }
            }
            Self::Map { set, key, into } => {
                numbers(out, &[(2, register(key)), (3, register(into))]);
                out.text(1, set);
            }
            Self::VerdictMap { set, key } => {
                numbers(out, &[(2, register(key)), (3, 0)]);
                out.text(1, set);
            }
            Self::Load { into, value: bytes } => {
                out.be32(1, register(into));
                value(out, 2, bytes);
            }
            _ => self.write_last(out),
        });
    }

    fn write_last(&self, out: &mut Encoder) {
        match *self {
            Self::Dynset { set, operation, key, data, timeout } => {
                out.be32(4, register(key));
                if let Some(data) = data {
                    out.be32(5, register(data));
                }
                out.be32(3, operation);
                if timeout > 0 {
                    out.be64(6, timeout);
                }
                out.text(1, set);
            }
            Self::Bitwise { at, mask, flip } => {
                let length = u32::try_from(mask.len()).unwrap_or_default();
                numbers(out, &[(1, register(at)), (2, register(at)), (3, length)]);
                value(out, 4, mask);
                value(out, 5, flip);
            }
            Self::Dnat { family, address, port } => {
                let registers = [(3, register(address)), (5, register(port))];
                numbers(out, &[(1, DNAT), (2, family)]);
                numbers(out, &registers);
            }
            Self::Masquerade { first, last } => {
                numbers(out, &[(1, RANDOM_PORTS), (2, register(first)), (3, register(last))]);
            }
            Self::Counter => {
                out.be64(1, 0);
                out.be64(2, 0);
            }
            Self::Limit { per_second, burst } => {
                out.be64(1, per_second);
                // The unit, in seconds.
                out.be64(2, 1);
                numbers(out, &[(3, burst), (4, 0), (5, 0)]);
            }
            Self::Log { prefix, group } => {
                out.raw(1, &group.to_be_bytes());
                out.text(2, prefix);
            }
            Self::Reject { code } => {
                out.be32(1, 0);
                out.raw(2, &[code]);
            }
            _ => {}
        }
    }

    /// The kernel's name of the expression.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Payload { .. } => "payload",
            Self::Meta { .. } | Self::SetMeta { .. } => "meta",
            Self::Ct { .. } | Self::SetCt { .. } => "ct",
            Self::AddressType { .. } => "fib",
            Self::Random { .. } => "numgen",
            Self::Bitwise { .. } => "bitwise",
            Self::ByteOrder { .. } => "byteorder",
            Self::Range { .. } => "range",
            Self::Compare { .. } | Self::Bound { .. } => "cmp",
            Self::Lookup { .. } | Self::Map { .. } | Self::VerdictMap { .. } => "lookup",
            Self::Dynset { .. } => "dynset",
            Self::Load { .. } | Self::Verdict(_) => "immediate",
            Self::Dnat { .. } => "nat",
            Self::Masquerade { .. } => "masq",
            Self::Counter => "counter",
            Self::Limit { .. } => "limit",
            Self::Log { .. } => "log",
            Self::Reject { .. } => "reject",
        }
    }
}

fn numbers(out: &mut Encoder, all: &[(u16, u32)]) {
    for &(kind, number) in all {
        out.be32(kind, number);
    }
}
