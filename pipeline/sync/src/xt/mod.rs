//! The data of iptables' matches and targets, byte by byte, as iptables 1.8.9 hands them to the
//! kernel (`struct xt_…_info` of `linux/netfilter/xt_*.h`), and the other revisions that may be
//! found.
//!
//! Numbers are in the machine's byte order unless a line says otherwise; the whole is padded to a
//! multiple of 8.

mod policy;
mod read;

pub use read::{read_match, read_target};

use std::net::{IpAddr, SocketAddr};

use model::{Family, Protocol};
use render::iptables::{CtStates, Match, Recent, Target};

use crate::ipset::SetNumbers;
use crate::netlink::Encoder;
use crate::nftables::expression::extension;

/// `XT_MAX_COMMENT_LEN`, with the closing NUL.
pub const COMMENT: usize = 256;
/// `XT_RECENT_NAME_LEN`, with the closing NUL.
pub const RECENT_NAME: usize = 200;
/// `NFACCT_NAME_MAX`, with the closing NUL.
pub const NFACCT_NAME: usize = 32;

/// `1 << RTN_LOCAL`: the routing type of the machine's own addresses.
const TYPE_LOCAL: u16 = 1 << 2;
/// `XT_CONNTRACK_STATE`: the state is looked at (or, in the other field, inverted).
const CONNTRACK_STATE: u16 = 1;
/// `NF_NAT_RANGE_MAP_IPS`
const RANGE_ADDRESS: u32 = 1;
/// `NF_NAT_RANGE_PROTO_SPECIFIED`
const RANGE_PORT: u32 = 2;
/// `NF_NAT_RANGE_PROTO_RANDOM_FULLY`
const RANGE_RANDOM_FULLY: u32 = 1 << 4;
/// `IPT_ICMP_PORT_UNREACHABLE`
const PORT_UNREACHABLE_V4: u32 = 3;
/// `IP6T_ICMP6_PORT_UNREACH`
const PORT_UNREACHABLE_V6: u32 = 4;
/// `XT_SCTP_DEST_PORTS`
const SCTP_DESTINATION: u32 = 2;

/// `XT_RECENT_…`
mod recent {
    pub(super) const CHECK: u8 = 1;
    pub(super) const SET: u8 = 1 << 1;
    pub(super) const REAP: u8 = 1 << 5;
}

/// Where things are in `struct xt_conntrack_mtinfo3`.
mod conntrack {
    pub(super) const LENGTH: usize = 168;
    pub(super) const MATCH_FLAGS: usize = 146;
    pub(super) const INVERT_FLAGS: usize = 148;
    pub(super) const STATES: usize = 150;
    pub(super) const INVALID: u16 = 1;
    pub(super) const ESTABLISHED: u16 = 1 << 1;
    pub(super) const RELATED: u16 = 1 << 2;
    pub(super) const NEW: u16 = 1 << 3;
    pub(super) const DNAT: u16 = 1 << 7;
}

/// Where things are in `struct xt_sctp_info`.
mod sctp {
    pub(super) const LENGTH: usize = 296;
    /// Four entries of three bytes, each beginning with 0xff where it stands for no chunk.
    pub(super) const FLAG_INFO: usize = 268;
    pub(super) const FLAGS: usize = 284;
}

/// A block of bytes of fixed length that is filled here and there.
struct Block<const N: usize>([u8; N]);

impl<const N: usize> Block<N> {
    fn set<const L: usize>(mut self, at: usize, bytes: [u8; L]) -> Self {
        if let Some(field) = self.0.get_mut(at..at + L) {
            field.copy_from_slice(&bytes);
        }
        self
    }
}

fn block<const N: usize>() -> Block<N> {
    Block([0; N])
}

fn states(states: CtStates) -> u16 {
    let bit = |on: bool, bit: u16| if on { bit } else { 0 };
    bit(states.invalid, conntrack::INVALID)
        | bit(states.new, conntrack::NEW)
        | bit(states.established, conntrack::ESTABLISHED)
        | bit(states.related, conntrack::RELATED)
        | bit(states.dnat, conntrack::DNAT)
}

fn text(out: &mut Encoder, value: &str, length: usize) {
    let start = out.len();
    out.put(value.as_bytes());
    out.zeros_until(start, length);
}

/// Writes a match as an extension. A destination port, a packet mark and whatever else iptables
/// 1.8.9 says in nf_tables' own words is not for here, but could be told so too. A set is named by
/// its number.
pub fn write_match(out: &mut Encoder, family: Family, one: &Match, sets: &SetNumbers) {
    match one {
        Match::Comment(comment) => {
            extension(out, "match", "comment", 0, |out| text(out, comment, COMMENT));
        }
        Match::DestinationPort(protocol, port) => write_protocol(out, *protocol, Some(*port)),
        Match::Bare(protocol) => write_protocol(out, *protocol, None),
        Match::Mark { inverted, value, mask } => {
            let info = block::<16>()
                .set(0, value.to_ne_bytes())
                .set(4, mask.to_ne_bytes())
                .set(8, [u8::from(*inverted)]);
            extension(out, "match", "mark", 1, |out| out.put(&info.0));
        }
        Match::SourceLocal => {
            let info = block::<8>().set(0, TYPE_LOCAL.to_ne_bytes());
            extension(out, "match", "addrtype", 1, |out| out.put(&info.0));
        }
        Match::DestinationLocal => {
            let info = block::<8>().set(2, TYPE_LOCAL.to_ne_bytes());
            extension(out, "match", "addrtype", 1, |out| out.put(&info.0));
        }
        Match::CtState { inverted, states: wanted } => {
            let inverted = if *inverted { CONNTRACK_STATE } else { 0 };
            let info = block::<{ conntrack::LENGTH }>()
                .set(conntrack::MATCH_FLAGS, CONNTRACK_STATE.to_ne_bytes())
                .set(conntrack::INVERT_FLAGS, inverted.to_ne_bytes())
                .set(conntrack::STATES, states(*wanted).to_ne_bytes());
            extension(out, "match", "conntrack", 3, |out| out.put(&info.0));
        }
        Match::Recent { list, action } => write_recent(out, list, *action),
        Match::Random(probability) => {
            // The second copy is what iptables' own check of the other mode leaves behind.
            let info =
                block::<24>().set(4, probability.to_ne_bytes()).set(12, probability.to_ne_bytes());
            extension(out, "match", "statistic", 0, |out| out.put(&info.0));
        }
        Match::Nfacct(name) => extension(out, "match", "nfacct", 1, |out| {
            text(out, name, NFACCT_NAME);
            // The kernel's pointer to the counter.
            out.put(&[0; 8]);
        }),
        one => drop(policy::write_match(out, family, one, sets)),
    }
}

fn write_protocol(out: &mut Encoder, protocol: Protocol, port: Option<u16>) {
    if protocol == Protocol::Sctp {
        let none = [0xff, 0, 0, 0xff, 0, 0, 0xff, 0, 0, 0xff, 0, 0];
        let mut info = block::<{ sctp::LENGTH }>().set(sctp::FLAG_INFO, none);
        if let Some(port) = port {
            info = info
                .set(0, port.to_ne_bytes())
                .set(2, port.to_ne_bytes())
                .set(sctp::FLAGS, SCTP_DESTINATION.to_ne_bytes());
        }
        return extension(out, "match", protocol.lower(), 0, |out| out.put(&info.0));
    }
    // Source ports from–to, destination ports from–to; for TCP, option and flags follow, for UDP
    // nothing, and the padding makes both equally long.
    let (low, high) = port.map_or((0, u16::MAX), |port| (port, port));
    let info = block::<16>()
        .set(2, u16::MAX.to_ne_bytes())
        .set(4, low.to_ne_bytes())
        .set(6, high.to_ne_bytes());
    extension(out, "match", protocol.lower(), 0, |out| out.put(&info.0));
}

fn write_recent(out: &mut Encoder, list: &str, action: Recent) {
    let (seconds, what) = match action {
        Recent::Check { seconds } => (seconds, recent::CHECK | recent::REAP),
        Recent::Set => (0, recent::SET),
    };
    extension(out, "match", "recent", 1, |out| {
        out.put(&seconds.to_ne_bytes());
        out.put(&0u32.to_ne_bytes());
        out.put(&[what, 0]);
        text(out, list, RECENT_NAME);
        // The source address, and padding; then the mask of whole addresses.
        out.put(&[0; 2]);
        out.put(&[0xff; 16]);
        out.put(&[0; 4]);
    });
}

/// Writes a target that is an extension; verdicts and jumps are not.
pub fn write_target(out: &mut Encoder, family: Family, target: &Target, sets: &SetNumbers) {
    match target {
        Target::Dnat(to) => {
            let info = nat_range(*to);
            extension(out, "target", "DNAT", 2, |out| out.put(&info.0));
        }
        Target::Masquerade { random_fully } => {
            let flags = if *random_fully { RANGE_RANDOM_FULLY } else { 0 };
            extension(out, "target", "MASQUERADE", 0, |out| match family {
                // `struct nf_nat_ipv4_multi_range_compat` with one range.
                Family::V4 => {
                    let one = block::<24>().set(0, 1u32.to_ne_bytes()).set(4, flags.to_ne_bytes());
                    out.put(&one.0);
                }
                // `struct nf_nat_range`.
                Family::V6 => out.put(&block::<40>().set(0, flags.to_ne_bytes()).0),
            });
        }
        Target::Mark { value, mask } => extension(out, "target", "MARK", 2, |out| {
            out.put(&value.to_ne_bytes());
            out.put(&mask.to_ne_bytes());
        }),
        Target::Reject => {
            let with = match family {
                Family::V4 => PORT_UNREACHABLE_V4,
                Family::V6 => PORT_UNREACHABLE_V6,
            };
            let info = block::<8>().set(0, with.to_ne_bytes());
            extension(out, "target", "REJECT", 0, |out| out.put(&info.0));
        }
        Target::AddToSet { set, lookup } => {
            let number = sets.number(set).unwrap_or(u16::MAX);
            policy::write_add_to_set(out, number, *lookup);
        }
        Target::Jump(_)
        | Target::Goto(_)
        | Target::Return
        | Target::Accept
        | Target::Drop
        | Target::NfLog { .. } => {}
    }
}

/// `struct nf_nat_range2`: flags, both ends of the addresses, both ends of the ports (in network
/// order), and a base port that is not used.
fn nat_range(to: SocketAddr) -> Block<48> {
    let port = to.port().to_be_bytes();
    let range = block::<48>()
        .set(0, (RANGE_ADDRESS | RANGE_PORT).to_ne_bytes())
        .set(36, port)
        .set(38, port);
    match to.ip() {
        IpAddr::V4(address) => range.set(4, address.octets()).set(20, address.octets()),
        IpAddr::V6(address) => range.set(4, address.octets()).set(20, address.octets()),
    }
}
