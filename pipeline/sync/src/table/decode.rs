//! Rules as the kernel tells of them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use model::{Cidr, Family, Protocol};
use render::nftables::{CtState, End, Field, PortRange, Rule, SetName, Statement, Verdict};

use super::layout::address_length;
use super::rows::comment;
use super::rule::{FIN_SYN_RST_ACK, NEIGHBOUR_DISCOVERY, SYN, expressions};
use crate::nftables::expression::{base, meta};
use crate::nftables::native::{Native, ct, dynset, fib};
use crate::nftables::{RuleSeen, Verdict as Code};

/// What was loaded and not used yet.
#[derive(Clone, Debug)]
enum Loaded {
    Field(Field),
    Interface,
    Local(End),
    Ct(u32),
    Mapped(Vec<Field>, SetName),
    Port(u16),
    TcpFlags,
    IcmpType,
}

/// The sets that are always there, by their names.
pub(super) fn names() -> BTreeMap<String, SetName> {
    SetName::all().into_iter().map(|name| (name.to_string(), name)).collect()
}

/// A rule that the kernel holds; `None` for what no rule of ours says.
pub(super) fn read_rule(
    family: Family,
    seen: &RuleSeen<'_>,
    names: &BTreeMap<String, SetName>,
) -> Option<Rule> {
    let mut natives: Vec<Native<'_>> = seen.natives().collect::<Option<_>>()?;
    // Older nft writes these, newer does not, and they do nothing.
    natives.retain(|native| !matches!(native, Native::ByteOrder { .. }));
    join_bounds(&mut natives);
    let (loaded, rule) = (Vec::new(), Vec::new());
    let mut reader = Reader { family, names, loaded, mask: None, rule };
    for native in &natives {
        reader.read(native)?;
    }
    let Reader { mut rule, loaded, .. } = reader;
    if let Some(text) = comment(seen.userdata) {
        rule.push(Statement::Comment(text.into()));
    }
    // The guess is right if it says the very same expressions, registers included.
    let mut rest = natives.iter();
    let mut same = loaded.is_empty();
    expressions(family, &rule, &mut |native| same &= rest.next() == Some(&native));
    (same && rest.next().is_none()).then_some(rule)
}

/// Older nft writes the two ends of a range apart.
fn join_bounds(natives: &mut Vec<Native<'_>>) {
    natives.dedup_by(|next, before| match (*before, *next) {
        (
            Native::Bound { at, most: false, value: first },
            Native::Bound { at: same, most: true, value: last },
        ) if at == same => {
            *before = Native::Range { at, first, last };
            true
        }
        _ => false,
    });
}

struct Reader<'a> {
    family: Family,
    names: &'a BTreeMap<String, SetName>,
    loaded: Vec<Loaded>,
    /// What the value to be compared was masked and flipped by.
    mask: Option<(Vec<u8>, Vec<u8>)>,
    rule: Rule,
}

impl Reader<'_> {
    fn read(&mut self, native: &Native<'_>) -> Option<()> {
        match *native {
            Native::Payload { base, offset, .. } => self.payload(base, offset)?,
            Native::Meta { key: meta::L4PROTO, .. } => self.field(Field::Protocol),
            Native::Meta { key: meta::PRIORITY, .. } => self.field(Field::EndpointId),
            Native::Meta { key: meta::IN_INTERFACE, .. } => self.loaded.push(Loaded::Interface),
            Native::Ct { key, .. } => self.loaded.push(Loaded::Ct(key)),
            Native::AddressType { of: fib::SOURCE, .. } => {
                self.loaded.push(Loaded::Local(End::Source));
            }
            Native::AddressType { of: fib::DESTINATION, .. } => {
                self.loaded.push(Loaded::Local(End::Destination));
            }
            Native::Random { modulus, .. } => self.field(Field::RandomIndex { modulus }),
            Native::Bitwise { mask, flip, .. } => self.mask = Some((mask.into(), flip.into())),
            Native::Compare { inverted, value, .. } => self.compare(inverted, value)?,
            Native::Range { first, last, .. } => self.between(first, last)?,
            Native::Counter => self.rule.push(Statement::Counter),
            Native::Limit { per_second, .. } => {
                let per_second = u32::try_from(per_second).ok()?;
                self.rule.push(Statement::Limit { per_second });
            }
            Native::Log { prefix, group } => {
                self.rule.push(Statement::Log { prefix: prefix.into(), group });
            }
            Native::SetCt { key: ct::MARK, .. } => {
                let (_, flip) = self.mask.take()?;
                self.loaded.pop()?;
                self.rule.push(Statement::AddCtMark(word(&flip)?));
            }
            Native::Load { value, .. } => {
                let port = u16::from_be_bytes(value.try_into().ok()?);
                self.loaded.push(Loaded::Port(port));
            }
            Native::Masquerade { .. } => {
                let [Loaded::Port(first), Loaded::Port(last)] = *self.loaded else { return None };
                self.loaded.clear();
                self.rule.push(Statement::Masquerade { first, last });
            }
            Native::Reject { .. } => self.rule.push(Statement::Verdict(Verdict::Reject)),
            Native::Verdict(code) => self.rule.push(Statement::Verdict(verdict(code)?)),
            _ => return self.read_keyed(native),
        }
        Some(())
    }

    fn read_keyed(&mut self, native: &Native<'_>) -> Option<()> {
        let statement = match *native {
            Native::Lookup { set, inverted, .. } => {
                Statement::In { key: self.key()?, inverted, set: self.set(set)? }
            }
            Native::VerdictMap { set, .. } => {
                Statement::Dispatch { key: self.key()?, map: self.set(set)? }
            }
            Native::Map { set, .. } => {
                let mapped = Loaded::Mapped(self.key()?, self.set(set)?);
                self.loaded.push(mapped);
                return Some(());
            }
            Native::SetMeta { key: meta::PRIORITY, .. } => {
                let (key, map) = self.mapped()?;
                Statement::LoadEndpointId { key, map }
            }
            Native::Dnat { .. } => {
                let (key, map) = self.mapped()?;
                Statement::Dnat { key, map }
            }
            Native::Dynset { set, operation: dynset::UPDATE, timeout, data: None, .. } => {
                let seconds = u32::try_from(timeout / 1_000).ok()?;
                Statement::Keep { key: self.key()?, set: self.set(set)?, seconds }
            }
            Native::Dynset { set, operation, timeout, .. } => {
                let mut key = self.key()?;
                key.pop();
                let map = self.set(set)?;
                match operation {
                    dynset::UPDATE => {
                        let seconds = u32::try_from(timeout / 1_000).ok()?;
                        Statement::Remember { key, map, seconds }
                    }
                    dynset::DELETE => Statement::Forget { key, map },
                    _ => return None,
                }
            }
            _ => return None,
        };
        self.rule.push(statement);
        Some(())
    }

    fn field(&mut self, field: Field) {
        self.loaded.push(Loaded::Field(field));
    }

    fn payload(&mut self, base: u32, offset: u32) -> Option<()> {
        let field = match (base, offset, self.family) {
            (base::NETWORK, 12, Family::V4) | (base::NETWORK, 8, Family::V6) => {
                Field::SourceAddress
            }
            (base::NETWORK, 16, Family::V4) | (base::NETWORK, 24, Family::V6) => {
                Field::DestinationAddress
            }
            (base::TRANSPORT, 2, _) => Field::DestinationPort,
            (base::TRANSPORT, 0, Family::V6) => {
                self.loaded.push(Loaded::IcmpType);
                return Some(());
            }
            (base::TRANSPORT, 13, _) => {
                self.loaded.push(Loaded::TcpFlags);
                return Some(());
            }
            _ => return None,
        };
        self.field(field);
        Some(())
    }

    fn set(&self, name: &str) -> Option<SetName> {
        self.names.get(name).cloned().or_else(|| SetName::named(name))
    }

    /// The fields that were loaded.
    fn key(&mut self) -> Option<Vec<Field>> {
        let fields = self.loaded.drain(..).map(|loaded| match loaded {
            Loaded::Field(field) => Some(field),
            _ => None,
        });
        fields.collect()
    }

    fn mapped(&mut self) -> Option<(Vec<Field>, SetName)> {
        match self.loaded.pop()? {
            Loaded::Mapped(key, set) if self.loaded.is_empty() => Some((key, set)),
            _ => None,
        }
    }

    fn compare(&mut self, inverted: bool, value: &[u8]) -> Option<()> {
        let mask = self.mask.take();
        let statement = match self.loaded.pop()? {
            Loaded::Field(Field::SourceAddress) => {
                self.address(End::Source, inverted, value, mask)?
            }
            Loaded::Field(Field::DestinationAddress) => {
                self.address(End::Destination, inverted, value, mask)?
            }
            // Said by what is compared next.
            Loaded::Field(Field::Protocol) if value == [libc::IPPROTO_ICMPV6 as u8] => {
                return Some(());
            }
            Loaded::Field(Field::Protocol) => {
                let number = *value.first()?;
                let known = Protocol::ALL.into_iter();
                Statement::Protocol(known.into_iter().find(|one| one.number() == number)?)
            }
            port @ Loaded::Field(Field::DestinationPort) => {
                self.loaded.push(port);
                return self.between(value, value);
            }
            Loaded::TcpFlags if value == [SYN] => {
                mask.filter(|(mask, _)| *mask == [FIN_SYN_RST_ACK])?;
                self.rule.pop().filter(|last| *last == Statement::Protocol(Protocol::Tcp))?;
                Statement::NotSyn
            }
            Loaded::Interface => Statement::InInterface { inverted, name: interface(value)? },
            Loaded::Local(end) => Statement::Local { end, inverted },
            Loaded::Ct(key) => {
                let bits = word(&mask?.0)?;
                match (key, bits) {
                    (ct::STATE, ct::ESTABLISHED_OR_RELATED) => {
                        Statement::CtState(CtState::Established)
                    }
                    (ct::STATE, ct::NEW) => Statement::CtState(CtState::New),
                    (ct::STATE, ct::INVALID) => Statement::CtState(CtState::Invalid),
                    (ct::STATUS, ct::DESTINATION_TRANSLATED) => Statement::Translated,
                    (ct::MARK, bits) => Statement::CtMark(bits),
                    _ => return None,
                }
            }
            _ => return None,
        };
        self.rule.push(statement);
        Some(())
    }

    /// What is loaded lies between two bounds.
    fn between(&mut self, first: &[u8], last: &[u8]) -> Option<()> {
        let statement = match self.loaded.pop()? {
            Loaded::Field(Field::DestinationPort) => {
                let Some(Statement::Protocol(protocol)) = self.rule.pop() else { return None };
                let port = |bytes: &[u8]| Some(u16::from_be_bytes(bytes.try_into().ok()?));
                let ports = PortRange { first: port(first)?, last: port(last)? };
                Statement::DestinationPorts { protocol, ports }
            }
            Loaded::IcmpType if first == [NEIGHBOUR_DISCOVERY.0] => Statement::NeighbourDiscovery,
            _ => return None,
        };
        self.rule.push(statement);
        Some(())
    }

    fn address(
        &self,
        end: End,
        inverted: bool,
        value: &[u8],
        mask: Option<(Vec<u8>, Vec<u8>)>,
    ) -> Option<Statement> {
        let prefix = match mask {
            Some((mask, _)) => mask.iter().map(|byte| byte.count_ones()).sum(),
            None => u32::try_from(value.len()).ok()? * 8,
        };
        let mut bytes = [0; 16];
        bytes.get_mut(..value.len())?.copy_from_slice(value);
        let address = ip(&bytes[..address_length(self.family)])?;
        let block = Cidr::new(address, u8::try_from(prefix).ok()?).ok()?;
        Some(Statement::Address { end, inverted, block })
    }
}

fn verdict(code: Code<'_>) -> Option<Verdict> {
    Some(match code {
        Code::Drop => Verdict::Drop,
        Code::Jump(chain) => Verdict::Jump(chain.into()),
        Code::Goto(chain) => Verdict::Goto(chain.into()),
        Code::Accept => Verdict::Accept,
        Code::Return => Verdict::Return,
    })
}

/// A verdict of a map.
pub(super) fn read_verdict(code: Code<'_>) -> Option<Verdict> {
    verdict(code)
}

fn interface(value: &[u8]) -> Option<Arc<str>> {
    let text = crate::netlink::c_text(value)?;
    Some(if value.contains(&0) { text.into() } else { format!("{text}*").into() })
}

fn word(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

/// An address in network order.
pub(super) fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match *bytes {
        [a, b, c, d] => Some(IpAddr::from([a, b, c, d])),
        _ => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
    }
}
