//! A rule as iptables 1.8.9 would write it: the same expressions in the same order, so that its
//! listing, comparison and deletion take the rule for its own.

use ipnet::IpNet;
use model::{Family, Protocol};
use render::iptables::{ChainId, Inverted, Match, PORT_SLOTS, Rule, Target};

use crate::Error;
use crate::ipset::SetNumbers;
use crate::netlink::Encoder;
use crate::nftables::expression::{base, meta};
use crate::nftables::{Place, To, Verdict, expression};
use crate::xt;

/// `IFNAMSIZ`, with the closing NUL.
const INTERFACE: usize = 16;
/// The longest chain name that iptables takes (`XT_EXTENSION_MAXNAMELEN` without its NUL).
const CHAIN_NAME: usize = 28;

/// `IPPROTO_ICMPV6`
pub(super) const ICMPV6: u8 = 58;
/// Where a TCP header has its flags.
pub(super) const TCP_FLAGS: u32 = 13;
/// FIN, SYN, RST and ACK.
pub(super) const TCP_FLAGS_OF_SYN: u8 = 0x17;
/// SYN.
pub(super) const TCP_SYN: u8 = 0x02;
/// How many bytes `NFLOG` and the kernel take before a packet (`NF_LOG_PREFIXLEN`), with the closing
/// NUL; the tool takes half of the kernel's.
const LOG_PREFIX: usize = 64;

/// The number of a family in netlink messages.
#[must_use]
pub(super) fn number(family: Family) -> u8 {
    let number = match family {
        Family::V4 => libc::AF_INET,
        Family::V6 => libc::AF_INET6,
    };
    number as u8
}

/// The name of a table in netlink messages.
#[must_use]
pub(super) fn table_name(table: render::iptables::Table) -> &'static str {
    use render::iptables::Table;
    match table {
        Table::Filter => "filter",
        Table::Nat => "nat",
        Table::Mangle => "mangle",
    }
}

/// Addresses a message to a chain's table.
pub(super) fn to(chain: &ChainId, sequence: u32) -> To<'static> {
    To { family: number(chain.family), table: table_name(chain.table), sequence }
}

/// Writes the message that makes a rule.
///
/// # Errors
/// [`Error::Unwritable`] for a rule that iptables could not hold; what was written by then has to
/// be taken back.
pub(super) fn write_rule(
    out: &mut Encoder,
    chain: &ChainId,
    sequence: u32,
    (place, echo): (Place, bool),
    rule: &Rule,
    sets: &SetNumbers,
) -> Result<(), Error> {
    check(chain, rule, sets)?;
    let protocol = protocol(rule);
    to(chain, sequence).new_rule(out, &chain.name, place, echo, protocol, |out| {
        write_expressions(out, chain.family, rule, sets);
    });
    if out.take_too_long() {
        return Err(unwritable(chain, "a rule is longer than 65,535 bytes".into()));
    }
    Ok(())
}

/// The number of the rule's protocol.
fn protocol(rule: &Rule) -> Option<u8> {
    let icmpv6 = rule.is_icmpv6().then_some(ICMPV6);
    rule.protocol.map(|protocol| protocol.number()).or(icmpv6)
}

fn write_expressions(out: &mut Encoder, family: Family, rule: &Rule, sets: &SetNumbers) {
    if let Some(interface) = &rule.in_interface {
        write_interface(out, interface.inverted, &interface.value);
    }
    if let Some(protocol) = protocol(rule) {
        expression::load_meta(out, meta::L4PROTO);
        expression::compare(out, false, &[protocol]);
    }
    let (source, destination) = address_offsets(family);
    write_address(out, source, rule.source.as_ref());
    write_address(out, destination, rule.destination.as_ref());
    for one in &rule.matches {
        match one {
            // xt_sctp was never given words of nf_tables.
            Match::DestinationPort(protocol, port) if *protocol != Protocol::Sctp => {
                expression::load_payload(out, base::TRANSPORT, 2, 2);
                expression::compare(out, false, &port.to_be_bytes());
            }
            Match::Mark { inverted, value, mask } => {
                expression::load_meta(out, meta::MARK);
                if *mask != u32::MAX {
                    expression::mask(out, &mask.to_ne_bytes());
                }
                expression::compare(out, *inverted, &value.to_ne_bytes());
            }
            Match::NotSyn => {
                expression::load_payload(out, base::TRANSPORT, TCP_FLAGS, 1);
                expression::mask(out, &[TCP_FLAGS_OF_SYN]);
                expression::compare(out, true, &[TCP_SYN]);
            }
            Match::Limit { rate, burst } => expression::limit(out, *rate, *burst),
            one => xt::write_match(out, family, one, sets),
        }
    }
    expression::counter(out);
    match &rule.target {
        None => {}
        Some(Target::Jump(chain)) => expression::verdict(out, Verdict::Jump(chain)),
        Some(Target::Goto(chain)) => expression::verdict(out, Verdict::Goto(chain)),
        Some(Target::NfLog { group, prefix }) => expression::log(out, *group, prefix),
        Some(Target::Return) => expression::verdict(out, Verdict::Return),
        Some(Target::Accept) => expression::verdict(out, Verdict::Accept),
        Some(Target::Drop) => expression::verdict(out, Verdict::Drop),
        Some(target) => xt::write_target(out, family, target, sets),
    }
}

/// Where source and destination are in the network header.
pub(super) fn address_offsets(family: Family) -> (u32, u32) {
    match family {
        Family::V4 => (12, 16),
        Family::V6 => (8, 24),
    }
}

fn write_interface(out: &mut Encoder, inverted: bool, name: &str) {
    expression::load_meta(out, meta::IN_INTERFACE);
    let mut bytes = [0; INTERFACE + 1];
    let (text, exact) = name.strip_suffix('+').map_or((name, true), |start| (start, false));
    if text.is_empty() && !exact {
        // Any interface; iptables loads the name and looks no further.
        return;
    }
    if let Some(field) = bytes.get_mut(..text.len()) {
        field.copy_from_slice(text.as_bytes());
    }
    let length = text.len() + usize::from(exact);
    expression::compare(out, inverted, bytes.get(..length).unwrap_or_default());
}

fn write_address(out: &mut Encoder, offset: u32, block: Option<&Inverted<IpNet>>) {
    let Some(Inverted { inverted, value }) = block else { return };
    match value {
        IpNet::V4(block) => {
            let (address, mask) = (block.network().octets(), block.netmask().octets());
            write_block(out, offset, *inverted, block.prefix_len(), &address, &mask);
        }
        IpNet::V6(block) => {
            let (address, mask) = (block.network().octets(), block.netmask().octets());
            write_block(out, offset, *inverted, block.prefix_len(), &address, &mask);
        }
    }
}

/// A prefix of whole bytes is compared byte for byte; any other is masked first.
fn write_block(out: &mut Encoder, offset: u32, inverted: bool, prefix: u8, net: &[u8], by: &[u8]) {
    if prefix == 0 {
        return;
    }
    let whole = prefix.is_multiple_of(8);
    let length = if whole { prefix / 8 } else { (net.len() & 0x1f) as u8 };
    expression::load_payload(out, base::NETWORK, offset, length.into());
    if !whole {
        expression::mask(out, by);
    }
    expression::compare(out, inverted, net.get(..length.into()).unwrap_or_default());
}

fn unwritable(chain: &ChainId, what: String) -> Error {
    Error::Unwritable { object: chain.to_string(), what }
}

/// Checks a chain's name.
pub(super) fn check_chain(chain: &ChainId) -> Result<(), Error> {
    check_text(&chain.name, CHAIN_NAME + 1, "the chain's name")
        .map_err(|what| unwritable(chain, what))
}

fn check_text(text: &str, field: usize, what: &str) -> Result<(), String> {
    let fits = !text.is_empty() && text.len() < field && !text.contains('\0');
    if fits {
        return Ok(());
    }
    Err(format!("{what} {text:?} must have 1 to {} bytes and no NUL", field - 1))
}

fn check(chain: &ChainId, rule: &Rule, sets: &SetNumbers) -> Result<(), Error> {
    let checked = check_generic(chain.family, rule)
        .and_then(|()| rule.matches.iter().try_for_each(|one| check_match(rule, one)))
        .and_then(|()| rule.matches.iter().try_for_each(|one| check_set(chain.family, one, sets)))
        .and_then(|()| match &rule.target {
            Some(Target::NfLog { prefix, .. }) => check_text(prefix, LOG_PREFIX, "the prefix"),
            Some(Target::AddToSet { set, .. }) => check_known(set, sets),
            Some(Target::Jump(to) | Target::Goto(to)) => {
                check_text(to, CHAIN_NAME + 1, "the chain to jump to")
            }
            Some(Target::Dnat(to)) if Family::of(to.ip()) != chain.family => {
                Err(format!("the destination {to} is not of {}", chain.family))
            }
            _ => Ok(()),
        });
    checked.map_err(|what| unwritable(chain, what))
}

fn check_generic(family: Family, rule: &Rule) -> Result<(), String> {
    for block in [&rule.source, &rule.destination].into_iter().flatten() {
        if Family::of_cidr(&block.value) != family {
            return Err(format!("the block {} is not of {family}", block.value));
        }
        if block.inverted && block.value.prefix_len() == 0 {
            return Err("a rule for what comes from nowhere matches nothing".into());
        }
    }
    match &rule.in_interface {
        Some(interface) if interface.inverted && &*interface.value == "+" => {
            Err("a rule for what comes by no interface matches nothing".into())
        }
        Some(interface) => check_text(&interface.value, INTERFACE, "the interface's name"),
        None => Ok(()),
    }
}

fn check_known(set: &str, sets: &SetNumbers) -> Result<(), String> {
    match sets.number(set) {
        Some(_) => Ok(()),
        None => Err(format!("there is no set {set}")),
    }
}

/// What a condition asks of the sets that are there, and of the family.
fn check_set(family: Family, one: &Match, sets: &SetNumbers) -> Result<(), String> {
    match one {
        Match::Set { set, .. } => check_known(set, sets),
        Match::Icmpv6Type(_) if family == Family::V4 => Err("ICMPv6 is not of IPv4".into()),
        _ => Ok(()),
    }
}

fn check_match(rule: &Rule, one: &Match) -> Result<(), String> {
    match one {
        // An empty comment is one.
        Match::Comment(text) if text.is_empty() => Ok(()),
        Match::Comment(text) => check_text(text, xt::COMMENT, "the comment"),
        Match::Recent { list, .. } => check_text(list, xt::RECENT_NAME, "the list's name"),
        Match::Nfacct(name) => check_text(name, xt::NFACCT_NAME, "the counter's name"),
        Match::Bare(protocol) | Match::DestinationPort(protocol, _)
            if rule.protocol != Some(*protocol) =>
        {
            Err(format!("a match of {protocol} needs a rule of that protocol"))
        }
        Match::DestinationPorts(ranges) => {
            let slots = ranges.iter().map(|range| if range.first == range.last { 1 } else { 2 });
            let fit = (1..=PORT_SLOTS).contains(&slots.sum::<usize>());
            match fit && rule.protocol.is_some() {
                true => Ok(()),
                false => Err(format!("1 to {PORT_SLOTS} ports need a rule of their protocol")),
            }
        }
        Match::NotSyn if rule.protocol != Some(Protocol::Tcp) => {
            Err("the flags of TCP need a rule of that protocol".into())
        }
        _ => Ok(()),
    }
}
