//! Reading the data of matches and targets back. What we would not write ourselves is `None`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use model::{Family, Protocol};
use render::iptables::{CtStates, Match, Recent, Target};

use super::{
    CONNTRACK_STATE, PORT_UNREACHABLE_V4, PORT_UNREACHABLE_V6, RANGE_ADDRESS, RANGE_PORT,
    RANGE_RANDOM_FULLY, RECENT_NAME, SCTP_DESTINATION, TYPE_LOCAL, conntrack, recent, sctp,
};
use crate::ipset::SetNumbers;
use crate::netlink::{c_text, read_u16, read_u32};
use crate::nftables::Extension;

/// Reads a match.
#[must_use]
pub fn read_match(extension: Extension<'_>, family: Family, sets: &SetNumbers) -> Option<Match> {
    let data = extension.data;
    match (extension.name, extension.revision) {
        ("comment", 0) => Some(Match::Comment(c_text(data)?.into())),
        ("tcp", 0) => read_ports(data, Protocol::Tcp),
        ("udp", 0) => read_ports(data, Protocol::Udp),
        ("sctp", 0) => read_sctp(data),
        ("mark", 1) => Some(Match::Mark {
            inverted: *data.get(8)? != 0,
            value: read_u32(data, 0)?,
            mask: read_u32(data, 4)?,
        }),
        ("addrtype", 1) => match (read_u16(data, 0)?, read_u16(data, 2)?, read_u32(data, 4)?) {
            (TYPE_LOCAL, 0, 0) => Some(Match::SourceLocal),
            (0, TYPE_LOCAL, 0) => Some(Match::DestinationLocal),
            _ => None,
        },
        // Revision 2 lacks the upper ends of the port ranges behind what is read here.
        ("conntrack", 2 | 3) => read_conntrack(data),
        ("recent", 1) => read_recent(data, family),
        ("statistic", 0) => {
            // Mode "random", not inverted.
            let plain = read_u16(data, 0)? == 0 && read_u16(data, 2)? == 0;
            plain.then_some(())?;
            Some(Match::Random(read_u32(data, 4)?))
        }
        ("nfacct", 0 | 1) => Some(Match::Nfacct(c_text(data.get(..super::NFACCT_NAME)?)?.into())),
        kind => super::policy::read_match(kind, data, family, sets),
    }
}

fn read_ports(data: &[u8], protocol: Protocol) -> Option<Match> {
    let any_source = (read_u16(data, 0)?, read_u16(data, 2)?) == (0, u16::MAX);
    let rest = data.get(8..)?.iter().all(|&byte| byte == 0);
    (any_source && rest).then_some(())?;
    match (read_u16(data, 4)?, read_u16(data, 6)?) {
        (0, u16::MAX) => Some(Match::Bare(protocol)),
        (low, high) if low == high => Some(Match::DestinationPort(protocol, low)),
        _ => None,
    }
}

fn read_sctp(data: &[u8]) -> Option<Match> {
    let inverted = read_u32(data, sctp::FLAGS + 4)?;
    match (read_u32(data, sctp::FLAGS)?, inverted) {
        (0, 0) => Some(Match::Bare(Protocol::Sctp)),
        (SCTP_DESTINATION, 0) => {
            let (low, high) = (read_u16(data, 0)?, read_u16(data, 2)?);
            (low == high).then_some(Match::DestinationPort(Protocol::Sctp, low))
        }
        _ => None,
    }
}

fn read_conntrack(data: &[u8]) -> Option<Match> {
    let inverted = match read_u16(data, conntrack::INVERT_FLAGS)? {
        0 => false,
        CONNTRACK_STATE => true,
        _ => return None,
    };
    (read_u16(data, conntrack::MATCH_FLAGS)? == CONNTRACK_STATE).then_some(())?;
    let bits = read_u16(data, conntrack::STATES)?;
    let has = |bit: u16| bits & bit != 0;
    let states = CtStates {
        invalid: has(conntrack::INVALID),
        new: has(conntrack::NEW),
        established: has(conntrack::ESTABLISHED),
        related: has(conntrack::RELATED),
        dnat: has(conntrack::DNAT),
    };
    (super::states(states) == bits).then_some(Match::CtState { inverted, states })
}

fn read_recent(data: &[u8], family: Family) -> Option<Match> {
    let seconds = read_u32(data, 0)?;
    let hits = read_u32(data, 4)?;
    let action = match (*data.get(8)?, hits) {
        (what, 0) if what == recent::CHECK | recent::REAP => Recent::Check { seconds },
        (recent::SET, 0) if seconds == 0 => Recent::Set,
        _ => return None,
    };
    let inverted = *data.get(9)? != 0;
    let list = c_text(data.get(10..10 + RECENT_NAME)?)?;
    let destination = *data.get(10 + RECENT_NAME)? != 0;
    let length = if family == Family::V4 { 4 } else { 16 };
    let whole = data.get(212..212 + length)?.iter().all(|&byte| byte == 0xff);
    (!inverted && !destination && whole).then(|| Match::Recent { list: list.into(), action })
}

/// Reads a target.
#[must_use]
pub fn read_target(extension: Extension<'_>, family: Family, sets: &SetNumbers) -> Option<Target> {
    let data = extension.data;
    match (extension.name, extension.revision, family) {
        ("DNAT", 0, Family::V4) => {
            let range = read_compat_range(data)?;
            (range.flags == RANGE_ADDRESS | RANGE_PORT).then_some(())?;
            Some(Target::Dnat(range.end()?))
        }
        // Revision 1 is the same without the base port.
        ("DNAT", 1 | 2, _) => {
            let range = read_range(data, family)?;
            (range.flags == RANGE_ADDRESS | RANGE_PORT).then_some(())?;
            Some(Target::Dnat(range.end()?))
        }
        ("MASQUERADE", 0, _) => {
            let flags = match family {
                Family::V4 => read_compat_range(data)?.flags,
                Family::V6 => read_u32(data, 0)?,
            };
            match flags {
                0 => Some(Target::Masquerade { random_fully: false }),
                RANGE_RANDOM_FULLY => Some(Target::Masquerade { random_fully: true }),
                _ => None,
            }
        }
        ("MARK", 2, _) => {
            Some(Target::Mark { value: read_u32(data, 0)?, mask: read_u32(data, 4)? })
        }
        ("REJECT", 0, Family::V4) if read_u32(data, 0)? == PORT_UNREACHABLE_V4 => {
            Some(Target::Reject)
        }
        ("REJECT", 0, Family::V6) if read_u32(data, 0)? == PORT_UNREACHABLE_V6 => {
            Some(Target::Reject)
        }
        ("SET", 3, _) => super::policy::read_add_to_set(data, sets),
        _ => None,
    }
}

struct Range {
    flags: u32,
    addresses: (IpAddr, IpAddr),
    ports: (u16, u16),
}

impl Range {
    /// The one place that the range leads to.
    fn end(&self) -> Option<SocketAddr> {
        let one = self.addresses.0 == self.addresses.1 && self.ports.0 == self.ports.1;
        one.then(|| SocketAddr::new(self.addresses.0, self.ports.0))
    }
}

fn port(data: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(data.get(at..at + 2)?.try_into().ok()?))
}

fn address(data: &[u8], at: usize, family: Family) -> Option<IpAddr> {
    Some(match family {
        Family::V4 => Ipv4Addr::from(<[u8; 4]>::try_from(data.get(at..at + 4)?).ok()?).into(),
        Family::V6 => Ipv6Addr::from(<[u8; 16]>::try_from(data.get(at..at + 16)?).ok()?).into(),
    })
}

fn read_range(data: &[u8], family: Family) -> Option<Range> {
    Some(Range {
        flags: read_u32(data, 0)?,
        addresses: (address(data, 4, family)?, address(data, 20, family)?),
        ports: (port(data, 36)?, port(data, 38)?),
    })
}

/// `struct nf_nat_ipv4_multi_range_compat` with one range.
fn read_compat_range(data: &[u8]) -> Option<Range> {
    (read_u32(data, 0)? == 1).then_some(())?;
    Some(Range {
        flags: read_u32(data, 4)?,
        addresses: (address(data, 8, Family::V4)?, address(data, 12, Family::V4)?),
        ports: (port(data, 16)?, port(data, 18)?),
    })
}
