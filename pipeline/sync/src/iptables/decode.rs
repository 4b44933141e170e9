//! A rule of the kernel as iptables understands it, in either form that its versions write: words
//! of nf_tables, or matches and targets of their own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use model::{Family, Protocol};
use render::iptables::{Inverted, Match, Rule, Target};

use super::encode::{ICMPV6, TCP_FLAGS, TCP_FLAGS_OF_SYN, TCP_SYN, address_offsets};
use crate::ipset::SetNumbers;
use crate::netlink::c_text;
use crate::nftables::expression::{base, meta};
use crate::nftables::{Expression, RuleSeen, Verdict};
use crate::xt;

/// What the register holds.
#[derive(Clone, Copy)]
enum Loaded {
    Nothing,
    Mark,
    InInterface,
    Protocol,
    Source(u32),
    Destination(u32),
    DestinationPort,
    TcpFlags,
}

/// Reads a rule. `None` means that it holds something that no rule of ours does.
pub(crate) fn read_rule(family: Family, seen: &RuleSeen<'_>, sets: &SetNumbers) -> Option<Rule> {
    let mut reader = Reader {
        family,
        sets,
        rule: Rule::default(),
        loaded: Loaded::Nothing,
        mask: None,
        icmpv6: false,
    };
    // Versions of iptables before 1.8.0 kept the comment beside the rule.
    reader.rule.matches.extend(userdata_comment(seen.userdata));
    for expression in seen.expressions {
        reader.take(expression)?;
    }
    (reader.icmpv6 == reader.rule.is_icmpv6()).then_some(reader.rule)
}

/// Whether a rule may be for packets to one of these addresses, as far as its first look at the
/// destination tells.
pub(super) fn may_be_for(family: Family, seen: &RuleSeen<'_>, addresses: &[IpAddr]) -> bool {
    let (_, destination) = address_offsets(family);
    let mut expressions = seen.expressions.skip_while(|one| {
        !matches!(one, Expression::Payload { base: base::NETWORK, offset, .. }
            if *offset == destination)
    });
    let Some(Expression::Payload { .. }) = expressions.next() else { return true };
    let Some(Expression::Compare { inverted: false, value }) = expressions.next() else {
        return true;
    };
    let is = |address: &IpAddr| match address {
        IpAddr::V4(v4) => v4.octets().starts_with(value),
        IpAddr::V6(v6) => v6.octets().starts_with(value),
    };
    addresses.iter().any(is)
}

/// The chain that a rule leads to, whatever else it holds.
pub(super) fn leads_to<'a>(seen: &RuleSeen<'a>) -> Option<&'a str> {
    seen.expressions.filter_map(verdict_chain).next()
}

fn verdict_chain(expression: Expression<'_>) -> Option<&str> {
    match expression {
        Expression::Verdict(Verdict::Jump(chain) | Verdict::Goto(chain)) => Some(chain),
        _ => None,
    }
}

fn userdata_comment(userdata: &[u8]) -> Option<Match> {
    let (&kind, rest) = userdata.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let text = c_text(rest.get(..length.into())?)?;
    (kind == 0).then(|| Match::Comment(text.into()))
}

struct Reader<'a> {
    family: Family,
    sets: &'a SetNumbers,
    rule: Rule,
    loaded: Loaded,
    mask: Option<&'a [u8]>,
    icmpv6: bool,
}

impl<'a> Reader<'a> {
    fn take(&mut self, expression: Expression<'a>) -> Option<()> {
        if self.rule.target.is_some() {
            return None;
        }
        match expression {
            Expression::Meta(key) => self.load(match key {
                meta::MARK => Loaded::Mark,
                meta::IN_INTERFACE => Loaded::InInterface,
                meta::L4PROTO => Loaded::Protocol,
                _ => return None,
            }),
            Expression::Payload { base, offset, length } => {
                let loaded = self.payload(base, offset, length)?;
                self.load(loaded);
            }
            Expression::Mask(mask) => self.mask = Some(mask),
            Expression::Compare { inverted, value } => self.compare(inverted, value)?,
            Expression::Counter { .. } => {}
            Expression::Verdict(verdict) => {
                self.rule.target = Some(match verdict {
                    Verdict::Accept => Target::Accept,
                    Verdict::Drop => Target::Drop,
                    Verdict::Return => Target::Return,
                    Verdict::Jump(chain) => Target::Jump(chain.into()),
                    Verdict::Goto(chain) => Target::Goto(chain.into()),
                });
            }
            Expression::Limit { rate, burst } => {
                self.rule.matches.push(Match::Limit { rate, burst });
            }
            Expression::Log { group, prefix } => {
                self.rule.target = Some(Target::NfLog { group, prefix: prefix.into() });
            }
            Expression::Match(extension) => {
                self.rule.matches.push(xt::read_match(extension, self.family, self.sets)?);
            }
            Expression::Target(extension) => {
                self.rule.target = Some(xt::read_target(extension, self.family, self.sets)?);
            }
            Expression::Other => return None,
        }
        Some(())
    }

    fn load(&mut self, loaded: Loaded) {
        self.loaded = loaded;
        self.mask = None;
    }

    fn payload(&self, base: u32, offset: u32, length: u32) -> Option<Loaded> {
        let (source, destination) = address_offsets(self.family);
        // Where older versions looked for the protocol.
        let protocol = if self.family == Family::V4 { 9 } else { 6 };
        match (base, offset, length) {
            (base::NETWORK, offset, length) if offset == source => Some(Loaded::Source(length)),
            (base::NETWORK, offset, length) if offset == destination => {
                Some(Loaded::Destination(length))
            }
            (base::NETWORK, offset, 1) if offset == protocol => Some(Loaded::Protocol),
            (base::TRANSPORT, 2, 2) => Some(Loaded::DestinationPort),
            (base::TRANSPORT, TCP_FLAGS, 1) => Some(Loaded::TcpFlags),
            _ => None,
        }
    }

    fn compare(&mut self, inverted: bool, value: &'a [u8]) -> Option<()> {
        let mask = self.mask.take();
        match self.loaded {
            Loaded::Nothing => return None,
            Loaded::Mark => self.rule.matches.push(Match::Mark {
                inverted,
                value: u32::from_ne_bytes(value.try_into().ok()?),
                mask: match mask {
                    Some(mask) => u32::from_ne_bytes(mask.try_into().ok()?),
                    None => u32::MAX,
                },
            }),
            Loaded::InInterface => {
                put(&mut self.rule.in_interface, Inverted { inverted, value: interface(value)? })?;
            }
            Loaded::Protocol => {
                let &[number] = value else { return None };
                if number == ICMPV6 && !inverted {
                    self.icmpv6 = true;
                    self.loaded = Loaded::Nothing;
                    return Some(());
                }
                let known = Protocol::ALL.into_iter().find(|one| one.number() == number)?;
                (!inverted).then_some(())?;
                put(&mut self.rule.protocol, known)?;
            }
            Loaded::Source(length) => {
                let block = self.block(length, mask, value)?;
                put(&mut self.rule.source, Inverted { inverted, value: block })?;
            }
            Loaded::Destination(length) => {
                let block = self.block(length, mask, value)?;
                put(&mut self.rule.destination, Inverted { inverted, value: block })?;
            }
            Loaded::TcpFlags => {
                let syn = value == [TCP_SYN] && mask == Some(&[TCP_FLAGS_OF_SYN][..]);
                (inverted && syn).then_some(())?;
                self.rule.matches.push(Match::NotSyn);
            }
            Loaded::DestinationPort => {
                (!inverted && mask.is_none()).then_some(())?;
                let port = u16::from_be_bytes(value.try_into().ok()?);
                self.rule.matches.push(Match::DestinationPort(self.rule.protocol?, port));
            }
        }
        self.loaded = Loaded::Nothing;
        Some(())
    }

    fn block(&self, length: u32, mask: Option<&[u8]>, value: &[u8]) -> Option<IpNet> {
        (value.len() == length as usize).then_some(())?;
        let prefix = match mask {
            None => u8::try_from(length * 8).ok()?,
            Some(mask) => contiguous(mask)?,
        };
        let address = match self.family {
            Family::V4 => IpAddr::V4(Ipv4Addr::from(filled::<4>(value)?)),
            Family::V6 => IpAddr::V6(Ipv6Addr::from(filled::<16>(value)?)),
        };
        IpNet::new(address, prefix).ok()
    }
}

/// Sets what may be set once.
fn put<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

/// The bytes at the front, zeros behind them.
fn filled<const N: usize>(value: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    bytes.get_mut(..value.len())?.copy_from_slice(value);
    Some(bytes)
}

/// The number of leading ones, if only zeros follow.
fn contiguous(mask: &[u8]) -> Option<u8> {
    let bits = u128::from_be_bytes(filled::<16>(mask)?);
    let ones = bits.leading_ones();
    (ones == bits.count_ones()).then(|| u8::try_from(ones).ok()).flatten()
}

/// A name with its NUL is exact; without, it is the start of a name.
fn interface(value: &[u8]) -> Option<Arc<str>> {
    let text = c_text(value)?;
    if text.len() < value.len() { Some(text.into()) } else { Some(format!("{text}+").into()) }
}
