//! Others' rules, as far as the words of iptables can say them.

use std::net::IpAddr;

use ipnet::IpNet;
use model::{Family, Protocol};
use render::iptables::{CtStates, Inverted, Match, Rule};

use super::{Ends, ForeignRule};
use crate::ipset::SetNumbers;
use crate::iptables;
use crate::netlink::c_text;
use crate::nftables::expression::{base, meta};
use crate::nftables::native::{Native, ct};
use crate::nftables::{Expression, RuleSeen, Verdict};

/// Expressions that every packet meets.
const HARMLESS: [&str; 4] = ["counter", "log", "last", "notrack"];

/// Reads a rule.
pub(super) fn rule(family: Family, seen: &RuleSeen<'_>) -> ForeignRule {
    let handle = seen.handle;
    let ends = ends(seen);
    // What a rule of iptables does is said by `ends`; here its conditions count.
    let said = iptables::read_rule(family, seen, &SetNumbers::default());
    // What another keeps in a connection's mark cannot be known.
    let knowable =
        |rule: &Rule| !rule.matches.iter().any(|it| matches!(it, Match::ConnMark { .. }));
    let conditions = said.filter(knowable).or_else(|| native(family, seen));
    ForeignRule { handle, conditions, ends }
}

/// What a rule does, whatever its conditions.
fn ends(seen: &RuleSeen<'_>) -> Ends {
    let mut ends = Ends::GoesOn;
    for (expression, name) in seen.expressions.zip(seen.names()) {
        ends = match expression {
            Expression::Verdict(Verdict::Accept) => Ends::Accept,
            Expression::Verdict(Verdict::Drop) => Ends::Drop,
            Expression::Verdict(Verdict::Return) => Ends::Return,
            Expression::Verdict(Verdict::Jump(chain)) => Ends::Jump(chain.to_owned()),
            Expression::Verdict(Verdict::Goto(chain)) => Ends::Goto(chain.to_owned()),
            Expression::Target(target) => match target.name {
                "DNAT" | "REDIRECT" | "TPROXY" => Ends::Dnat,
                "REJECT" => Ends::Reject,
                "DROP" => Ends::Drop,
                _ => ends,
            },
            _ => match name {
                "reject" => Ends::Reject,
                "redir" | "tproxy" => Ends::Dnat,
                "nat" if is_dnat(seen) => Ends::Dnat,
                _ => ends,
            },
        };
    }
    ends
}

fn is_dnat(seen: &RuleSeen<'_>) -> bool {
    seen.natives().flatten().any(|native| matches!(native, Native::Dnat { .. }))
}

/// What was loaded last.
#[derive(Clone, Copy)]
enum Loaded {
    Nothing,
    Family,
    Protocol,
    InInterface,
    Source,
    Destination,
    DestinationPort,
    CtState,
}

/// Reads the conditions of a native rule; `None` where one of them cannot be said.
fn native(family: Family, seen: &RuleSeen<'_>) -> Option<Rule> {
    let mut rule = Rule::default();
    let (mut loaded, mut mask) = (Loaded::Nothing, None);
    for (native, name) in seen.natives().zip(seen.names()) {
        if HARMLESS.contains(&name) {
            continue;
        }
        match native {
            Some(Native::Compare { inverted, value, .. }) => {
                compare(family, &mut rule, (loaded, mask.take()), (inverted, value))?;
            }
            Some(Native::Bitwise { mask: bits, .. }) => mask = Some(bits),
            // What a rule does comes after its conditions.
            Some(
                Native::Verdict(_)
                | Native::Reject { .. }
                | Native::Dnat { .. }
                | Native::Load { .. },
            ) => {}
            Some(other) => loaded = load(family, other)?,
            None if matches!(name, "nat" | "redir" | "tproxy" | "reject") => {}
            None => return None,
        }
    }
    Some(rule)
}

fn load(family: Family, native: Native<'_>) -> Option<Loaded> {
    let (source, destination, protocol) = match family {
        Family::V4 => (12, 16, 9),
        Family::V6 => (8, 24, 6),
    };
    Some(match native {
        Native::Meta { key: meta::FAMILY, .. } => Loaded::Family,
        Native::Meta { key: meta::L4PROTO, .. } => Loaded::Protocol,
        Native::Meta { key: meta::IN_INTERFACE, .. } => Loaded::InInterface,
        Native::Ct { key: ct::STATE, .. } => Loaded::CtState,
        Native::Payload { base: base::NETWORK, offset, .. } if offset == source => Loaded::Source,
        Native::Payload { base: base::NETWORK, offset, .. } if offset == destination => {
            Loaded::Destination
        }
        Native::Payload { base: base::NETWORK, offset, length: 1, .. } if offset == protocol => {
            Loaded::Protocol
        }
        Native::Payload { base: base::TRANSPORT, offset: 2, length: 2, .. } => {
            Loaded::DestinationPort
        }
        _ => return None,
    })
}

fn compare(
    family: Family,
    rule: &mut Rule,
    (loaded, mask): (Loaded, Option<&[u8]>),
    (inverted, value): (bool, &[u8]),
) -> Option<()> {
    match loaded {
        Loaded::Family => {
            let own = match family {
                Family::V4 => libc::NFPROTO_IPV4,
                Family::V6 => libc::NFPROTO_IPV6,
            };
            let same = value.first().map(|&number| i32::from(number)) == Some(own);
            if same == inverted {
                // No packet of this family meets it.
                rule.matches.push(Match::CtState { inverted: false, states: CtStates::default() });
            }
        }
        Loaded::Protocol => {
            let number = *value.first()?;
            let known = Protocol::ALL.into_iter().find(|one| one.number() == number);
            match known {
                Some(protocol) if !inverted => rule.protocol = Some(protocol),
                None if !inverted => rule
                    .matches
                    .push(Match::CtState { inverted: false, states: CtStates::default() }),
                _ => return None,
            }
        }
        Loaded::InInterface => {
            let text = c_text(value)?;
            let exact = text.len() < value.len();
            let name = if exact { text.to_owned() } else { format!("{text}+") };
            rule.in_interface = Some(Inverted { inverted, value: name.into() });
        }
        Loaded::Source => rule.source = Some(Inverted { inverted, value: block(value, mask)? }),
        Loaded::Destination => {
            rule.destination = Some(Inverted { inverted, value: block(value, mask)? });
        }
        Loaded::DestinationPort if !inverted && mask.is_none() => {
            let port = u16::from_be_bytes(value.try_into().ok()?);
            rule.matches.push(Match::DestinationPort(rule.protocol?, port));
        }
        Loaded::CtState => {
            let bits = u32::from_ne_bytes(mask?.try_into().ok()?);
            // `ct state a,b`: some of the bits; nft compares the masked value with zero.
            let any = inverted && value.iter().all(|&byte| byte == 0);
            any.then_some(())?;
            let states = CtStates {
                invalid: bits & 1 != 0,
                established: bits & 2 != 0,
                related: bits & 4 != 0,
                new: bits & 8 != 0,
                dnat: false,
            };
            rule.matches.push(Match::CtState { inverted: false, states });
        }
        Loaded::Nothing | Loaded::DestinationPort => return None,
    }
    Some(())
}

/// The block of addresses that a masked value stands for.
fn block(value: &[u8], mask: Option<&[u8]>) -> Option<IpNet> {
    // nft loads fewer bytes where the prefix ends between two.
    let prefix = match mask {
        Some(mask) => mask.iter().map(|byte| byte.count_ones()).sum(),
        None => u32::try_from(value.len()).ok()? * 8,
    };
    let address = match value.len() {
        0..=4 => {
            let mut bytes = [0; 4];
            bytes.get_mut(..value.len())?.copy_from_slice(value);
            IpAddr::from(bytes)
        }
        _ => {
            let mut bytes = [0; 16];
            bytes.get_mut(..value.len())?.copy_from_slice(value);
            IpAddr::from(bytes)
        }
    };
    IpNet::new(address, u8::try_from(prefix).ok()?).ok()
}
