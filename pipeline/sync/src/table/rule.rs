//! Rules as expressions, in the order in which nft writes them.

use ipnet::IpNet;
use model::{Cidr, Family};
use render::nftables::{CtState, End, Field, Rule, SetName, Statement, Verdict};

use super::layout::{WORD, address_length, length, number};
use super::rows::{NOTE, comment_note};
use crate::nftables::Verdict as Code;
use crate::nftables::expression::{base, meta};
use crate::nftables::native::{Native, ct, dynset, fib};

/// `IFNAMSIZ`, with the closing NUL.
const INTERFACE: usize = 16;

/// ICMPv6 types of router and neighbour discovery and redirection (RFC 4861).
pub(super) const NEIGHBOUR_DISCOVERY: (u8, u8) = (133, 137);
/// Flags of TCP.
pub(super) const FIN_SYN_RST_ACK: u8 = 0x17;
pub(super) const SYN: u8 = 0x02;

/// Takes the expressions of a rule, one after another.
pub(super) type Take<'a> = &'a mut dyn FnMut(Native<'_>);

/// Where an address is in the header of its family.
fn address_offset(family: Family, end: End) -> u32 {
    match (family, end) {
        (Family::V4, End::Source) => 12,
        (Family::V4, End::Destination) => 16,
        (Family::V6, End::Source) => 8,
        (Family::V6, End::Destination) => 24,
    }
}

fn wide(length: usize) -> u32 {
    u32::try_from(length).unwrap_or_default()
}

/// Hands the expressions of a rule to a function.
pub(super) fn expressions(family: Family, rule: &Rule, take: Take<'_>) {
    for statement in rule {
        write(family, statement, take);
    }
}

fn write(family: Family, statement: &Statement, take: Take<'_>) {
    match statement {
        Statement::Address { end, inverted, block } => {
            address(family, *end, *inverted, block, take);
        }
        Statement::InInterface { inverted, name } => interface(*inverted, name, take),
        Statement::Local { end, inverted } => {
            let of = match end {
                End::Source => fib::SOURCE,
                End::Destination => fib::DESTINATION,
            };
            take(Native::AddressType { into: 0, of });
            let value = &fib::LOCAL.to_ne_bytes();
            take(Native::Compare { at: 0, inverted: *inverted, value });
        }
        Statement::Protocol(protocol) => {
            take(Native::Meta { into: 0, key: meta::L4PROTO });
            take(Native::Compare { at: 0, inverted: false, value: &[protocol.number()] });
        }
        Statement::CtState(CtState::Established) => {
            ct_bit(ct::STATE, ct::ESTABLISHED_OR_RELATED, take);
        }
        Statement::CtState(CtState::New) => ct_bit(ct::STATE, ct::NEW, take),
        Statement::CtState(CtState::Invalid) => ct_bit(ct::STATE, ct::INVALID, take),
        Statement::Translated => ct_bit(ct::STATUS, ct::DESTINATION_TRANSLATED, take),
        Statement::CtMark(bits) => {
            let bits = &bits.to_ne_bytes();
            take(Native::Ct { into: 0, key: ct::MARK });
            take(Native::Bitwise { at: 0, mask: bits, flip: &[0; 4] });
            take(Native::Compare { at: 0, inverted: false, value: bits });
        }
        Statement::AddCtMark(bits) => {
            take(Native::Ct { into: 0, key: ct::MARK });
            let (mask, flip) = ((!bits).to_ne_bytes(), bits.to_ne_bytes());
            take(Native::Bitwise { at: 0, mask: &mask, flip: &flip });
            take(Native::SetCt { from: 0, key: ct::MARK });
        }
        Statement::Masquerade { first, last } => {
            // One register each, of the kind that holds four words.
            take(Native::Load { into: 0, value: &first.to_be_bytes() });
            take(Native::Load { into: 4, value: &last.to_be_bytes() });
            take(Native::Masquerade { first: 0, last: 4 });
        }
        Statement::Verdict(verdict) => take(match verdict {
            Verdict::Accept => Native::Verdict(Code::Accept),
            Verdict::Return => Native::Verdict(Code::Return),
            Verdict::Drop => Native::Verdict(Code::Drop),
            Verdict::Jump(chain) => Native::Verdict(Code::Jump(chain)),
            Verdict::Goto(chain) => Native::Verdict(Code::Goto(chain)),
            // The code for an unreachable port.
            Verdict::Reject => Native::Reject {
                code: match family {
                    Family::V4 => 3,
                    Family::V6 => 4,
                },
            },
        }),
        keyed => write_keyed(family, keyed, take),
    }
}

fn write_keyed(family: Family, statement: &Statement, take: Take<'_>) {
    match statement {
        Statement::In { key, inverted, set } => {
            load(family, key, take);
            let name = set.to_string();
            take(Native::Lookup { set: &name, key: 0, inverted: *inverted });
        }
        Statement::Dispatch { key, map } => {
            load(family, key, take);
            take(Native::VerdictMap { set: &map.to_string(), key: 0 });
        }
        Statement::LoadEndpointId { key, map } => {
            load(family, key, take);
            take(Native::Map { set: &map.to_string(), key: 0, into: 0 });
            take(Native::SetMeta { from: 0, key: meta::PRIORITY });
        }
        Statement::Dnat { key, map } => {
            load(family, key, take);
            take(Native::Map { set: &map.to_string(), key: 0, into: 0 });
            let port = wide(address_length(family) / WORD);
            take(Native::Dnat { family: number(family).into(), address: 0, port });
        }
        Statement::Remember { key, map, seconds } => {
            let timeout = u64::from(*seconds) * 1_000;
            change_map(family, key, map, (dynset::UPDATE, timeout), take);
        }
        Statement::Forget { key, map } => {
            change_map(family, key, map, (dynset::DELETE, 0), take);
        }
        Statement::Keep { key, set, seconds } => {
            load(family, key, take);
            let (set, operation) = (&*set.to_string(), dynset::UPDATE);
            let timeout = u64::from(*seconds) * 1_000;
            take(Native::Dynset { set, operation, key: 0, data: None, timeout });
        }
        of_policies => write_of_policies(of_policies, take),
    }
}

fn write_of_policies(statement: &Statement, take: Take<'_>) {
    match statement {
        Statement::DestinationPorts { protocol, ports } => {
            take(Native::Meta { into: 0, key: meta::L4PROTO });
            take(Native::Compare { at: 0, inverted: false, value: &[protocol.number()] });
            take(Native::Payload { into: 0, base: base::TRANSPORT, offset: 2, length: 2 });
            range(&ports.first.to_be_bytes(), &ports.last.to_be_bytes(), take);
        }
        Statement::NeighbourDiscovery => {
            let value = &[libc::IPPROTO_ICMPV6 as u8];
            take(Native::Meta { into: 0, key: meta::L4PROTO });
            take(Native::Compare { at: 0, inverted: false, value });
            take(Native::Payload { into: 0, base: base::TRANSPORT, offset: 0, length: 1 });
            let (first, last) = NEIGHBOUR_DISCOVERY;
            range(&[first], &[last], take);
        }
        Statement::NotSyn => {
            let value = &[libc::IPPROTO_TCP as u8];
            take(Native::Meta { into: 0, key: meta::L4PROTO });
            take(Native::Compare { at: 0, inverted: false, value });
            take(Native::Payload { into: 0, base: base::TRANSPORT, offset: 13, length: 1 });
            take(Native::Bitwise { at: 0, mask: &[FIN_SYN_RST_ACK], flip: &[0] });
            take(Native::Compare { at: 0, inverted: true, value: &[SYN] });
        }
        Statement::Counter => take(Native::Counter),
        Statement::Limit { per_second } => {
            let burst = *per_second;
            take(Native::Limit { per_second: u64::from(burst), burst });
        }
        Statement::Log { prefix, group } => take(Native::Log { prefix, group: *group }),
        // A comment stands beside the rule.
        _ => {}
    }
}

fn range(first: &[u8], last: &[u8], take: Take<'_>) {
    if first == last {
        return take(Native::Compare { at: 0, inverted: false, value: first });
    }
    take(Native::Range { at: 0, first, last });
}

/// What nft notes beside a rule: its comment.
pub(super) fn notes(rule: &Rule) -> Vec<u8> {
    match rule.last() {
        Some(Statement::Comment(text)) => {
            let mut buffer = [0; NOTE];
            comment_note(&mut buffer, text).to_vec()
        }
        _ => Vec::new(),
    }
}

fn change_map(
    family: Family,
    key: &[Field],
    map: &SetName,
    (operation, timeout): (u32, u64),
    take: Take<'_>,
) {
    let data = load(family, key, take);
    take(Native::Meta { into: data, key: meta::PRIORITY });
    take(Native::Dynset { set: &map.to_string(), operation, key: 0, data: Some(data), timeout });
}

/// Loads the fields of a key behind one another; returns the word after the last.
fn load(family: Family, key: &[Field], take: Take<'_>) -> u32 {
    let mut into = 0;
    for &field in key {
        let address = |end| Native::Payload {
            into,
            base: base::NETWORK,
            offset: address_offset(family, end),
            length: wide(address_length(family)),
        };
        take(match field {
            Field::SourceAddress => address(End::Source),
            Field::DestinationAddress => address(End::Destination),
            Field::Protocol => Native::Meta { into, key: meta::L4PROTO },
            Field::DestinationPort => {
                Native::Payload { into, base: base::TRANSPORT, offset: 2, length: 2 }
            }
            Field::RandomIndex { modulus } => Native::Random { into, modulus },
            Field::EndpointId => Native::Meta { into, key: meta::PRIORITY },
        });
        into += wide(length(family, field).div_ceil(WORD));
    }
    into
}

fn ct_bit(key: u32, bit: u32, take: Take<'_>) {
    take(Native::Ct { into: 0, key });
    take(Native::Bitwise { at: 0, mask: &bit.to_ne_bytes(), flip: &[0; 4] });
    take(Native::Compare { at: 0, inverted: true, value: &[0; 4] });
}

/// A block that ends at a byte is compared by its bytes, any other by a mask.
fn address(family: Family, end: End, inverted: bool, block: &Cidr, take: Take<'_>) {
    let full = address_length(family);
    let (mut value, mut mask) = ([0; 16], [0; 16]);
    let prefix = usize::from(block.prefix_len());
    match block {
        IpNet::V4(block) => {
            value[..4].copy_from_slice(&block.network().octets());
            mask[..4].copy_from_slice(&block.netmask().octets());
        }
        IpNet::V6(block) => {
            value = block.network().octets();
            mask = block.netmask().octets();
        }
    }
    let whole_bytes = prefix > 0 && prefix.is_multiple_of(8);
    let length = if whole_bytes { prefix / 8 } else { full };
    let offset = address_offset(family, end);
    take(Native::Payload { into: 0, base: base::NETWORK, offset, length: wide(length) });
    if !whole_bytes {
        take(Native::Bitwise { at: 0, mask: &mask[..full], flip: &[0; 16][..full] });
    }
    take(Native::Compare { at: 0, inverted, value: &value[..length] });
}

/// A whole name with its NULs, or the start of one.
fn interface(inverted: bool, name: &str, take: Take<'_>) {
    let mut padded = [0; INTERFACE];
    let (name, whole) = match name.strip_suffix('*') {
        Some(start) => (start, false),
        None => (name, true),
    };
    for (to, from) in padded.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    let length = if whole { INTERFACE } else { name.len().min(INTERFACE) };
    take(Native::Meta { into: 0, key: meta::IN_INTERFACE });
    take(Native::Compare { at: 0, inverted, value: &padded[..length] });
}
