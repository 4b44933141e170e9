//! The extensions that rules of network policies need.

use model::Family;
use render::iptables::bpf::{Instruction, source_is_destination};
use render::iptables::{Lookup, Match, PORT_SLOTS, PortRange, Target};

use super::block;
use crate::ipset::SetNumbers;
use crate::netlink::{Encoder, read_u16, read_u32};
use crate::nftables::expression::extension;

/// `IPSET_INVALID_ID`: no set.
const NO_SET: u16 = u16::MAX;
/// `IPSET_INV_MATCH`
const SET_INVERTED: u8 = 1;
/// `IPSET_DIM_ONE_SRC`
const SET_SOURCE: u8 = 1 << 1;
/// Length of `struct xt_set_info_match_v4`; the conditions on counters behind the set are empty.
const SET_MATCH: usize = 48;
/// `XT_MULTIPORT_DESTINATION`
const MULTIPORT_DESTINATION: u8 = 1;
/// Length of `struct xt_multiport_v1`.
const MULTIPORT: usize = 48;
/// Where the flags begin that say that a port is the first of a range.
const MULTIPORT_FLAGS: usize = 2 + 2 * PORT_SLOTS;
/// `XT_BPF_MODE_BYTECODE`
const BPF_BYTECODE: u16 = 0;
/// Where the program begins in `struct xt_bpf_info_v1`, after mode, length and file descriptor.
const BPF_PROGRAM: usize = 8;
/// The length of it all: 64 instructions of eight bytes, and the kernel's pointer.
const BPF: usize = BPF_PROGRAM + 64 * 8 + 8;

/// Dimensions and flags of a lookup (`struct xt_set_info`).
fn fields(lookup: Lookup) -> (u8, u8) {
    match lookup {
        Lookup::Source => (1, SET_SOURCE),
        Lookup::Destination => (1, 0),
        Lookup::DestinationPort => (2, 0),
    }
}

fn lookup((dimensions, flags): (u8, u8)) -> Option<Lookup> {
    let all = [Lookup::Source, Lookup::Destination, Lookup::DestinationPort];
    all.into_iter().find(|one| fields(*one) == (dimensions, flags))
}

/// Writes a match of these; false for any other.
pub(super) fn write_match(
    out: &mut Encoder,
    family: Family,
    one: &Match,
    sets: &SetNumbers,
) -> bool {
    match one {
        Match::Set { inverted, set, lookup } => {
            let (dimensions, flags) = fields(*lookup);
            let flags = flags | if *inverted { SET_INVERTED } else { 0 };
            let info = block::<SET_MATCH>()
                .set(0, sets.number(set).unwrap_or(NO_SET).to_ne_bytes())
                .set(2, [dimensions, flags]);
            extension(out, "match", "set", 4, |out| out.put(&info.0));
        }
        Match::ConnMark { value, mask } => {
            let info = block::<16>().set(0, value.to_ne_bytes()).set(4, mask.to_ne_bytes());
            extension(out, "match", "connmark", 1, |out| out.put(&info.0));
        }
        Match::DestinationPorts(ranges) => write_ports(out, ranges),
        Match::Icmpv6Type(kind) => {
            // Any code, from 0 to 255.
            let info = block::<8>().set(0, [*kind, 0, u8::MAX]);
            extension(out, "match", "icmp6", 0, |out| out.put(&info.0));
        }
        Match::SourceIsDestination => {
            let program = source_is_destination(family);
            let length = u16::try_from(program.len()).unwrap_or_default();
            let mut info =
                block::<BPF>().set(0, BPF_BYTECODE.to_ne_bytes()).set(2, length.to_ne_bytes());
            for (index, one) in program.iter().enumerate() {
                let Instruction { code, jump_true, jump_false, operand } = *one;
                let at = BPF_PROGRAM + 8 * index;
                info = info
                    .set(at, code.to_ne_bytes())
                    .set(at + 2, [jump_true, jump_false])
                    .set(at + 4, operand.to_ne_bytes());
            }
            extension(out, "match", "bpf", 1, |out| out.put(&info.0));
        }
        _ => return false,
    }
    true
}

fn write_ports(out: &mut Encoder, ranges: &[PortRange]) {
    let mut info = block::<MULTIPORT>();
    let mut count: u8 = 0;
    let mut put = |port: u16, begins: bool| {
        let at = usize::from(count);
        let bytes = std::mem::replace(&mut info, block());
        info =
            bytes.set(2 + 2 * at, port.to_ne_bytes()).set(MULTIPORT_FLAGS + at, [u8::from(begins)]);
        count += 1;
    };
    for PortRange { first, last } in ranges {
        put(*first, first != last);
        if first != last {
            put(*last, false);
        }
    }
    let info = info.set(0, [MULTIPORT_DESTINATION, count]);
    extension(out, "match", "multiport", 1, |out| out.put(&info.0));
}

/// Reads a match of these.
pub(super) fn read_match(
    (name, revision): (&str, u32),
    data: &[u8],
    family: Family,
    sets: &SetNumbers,
) -> Option<Match> {
    match (name, revision) {
        // Revision 1 ends before the conditions on counters.
        ("set", 1 | 4) => {
            let number = read_u16(data, 0)?;
            let (dimensions, flags) = (*data.get(2)?, *data.get(3)?);
            let inverted = flags & SET_INVERTED != 0;
            let rest = data.get(4..)?.iter().all(|&byte| byte == 0);
            let lookup = lookup((dimensions, flags & !SET_INVERTED)).filter(|_| rest)?;
            Some(Match::Set { inverted, set: sets.name(number)?.clone(), lookup })
        }
        ("connmark", 1) => {
            let plain = *data.get(8)? == 0;
            let (value, mask) = (read_u32(data, 0)?, read_u32(data, 4)?);
            plain.then_some(Match::ConnMark { value, mask })
        }
        ("multiport", 1) => read_ports(data),
        ("icmp6", 0) => {
            let any_code = data.get(1..4)? == [0, u8::MAX, 0];
            Some(Match::Icmpv6Type(*data.first().filter(|_| any_code)?))
        }
        ("bpf", 1) => {
            // The kernel's pointer, behind the program, is not ours to compare.
            let mut wanted = Encoder::default();
            let bytes = data.get(..BPF - 8)?;
            write_match(&mut wanted, family, &Match::SourceIsDestination, sets);
            let same = wanted.bytes().windows(bytes.len()).any(|there| there == bytes);
            same.then_some(Match::SourceIsDestination)
        }
        _ => None,
    }
}

fn read_ports(data: &[u8]) -> Option<Match> {
    let plain = *data.first()? == MULTIPORT_DESTINATION && *data.get(MULTIPORT - 1)? == 0;
    plain.then_some(())?;
    let count = usize::from(*data.get(1)?);
    (count <= PORT_SLOTS).then_some(())?;
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < count {
        let first = read_u16(data, 2 + 2 * at)?;
        let begins = *data.get(MULTIPORT_FLAGS + at)? != 0;
        at += usize::from(begins) + 1;
        let last = if begins { read_u16(data, 2 * at)? } else { first };
        ranges.push(PortRange { first, last });
    }
    (at == count).then_some(Match::DestinationPorts(ranges))
}

/// Writes `SET`, which puts into one set and takes out of none.
pub(super) fn write_add_to_set(out: &mut Encoder, set: u16, lookup: Lookup) {
    let (dimensions, flags) = fields(lookup);
    let info = block::<24>()
        .set(0, set.to_ne_bytes())
        .set(2, [dimensions, flags])
        .set(4, NO_SET.to_ne_bytes())
        .set(8, NO_SET.to_ne_bytes())
        // The timeout is the set's own.
        .set(16, u32::MAX.to_ne_bytes());
    extension(out, "target", "SET", 3, |out| out.put(&info.0));
}

/// Reads `SET`.
pub(super) fn read_add_to_set(data: &[u8], sets: &SetNumbers) -> Option<Target> {
    let none = [NO_SET, read_u16(data, 4)?, read_u16(data, 8)?];
    let plain = none.iter().all(|&set| set == NO_SET)
        && read_u32(data, 12)? == 0
        && read_u32(data, 16)? == u32::MAX;
    let lookup = lookup((*data.get(2)?, *data.get(3)?)).filter(|_| plain)?;
    Some(Target::AddToSet { set: sets.name(read_u16(data, 0)?)?.clone(), lookup })
}
