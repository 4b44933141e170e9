//! Which entries a question is about.

use std::net::IpAddr;

use model::Family;

use super::entry::{ASSURED, Entry, TupleParts, attribute, write_tuple};
use crate::netlink::Encoder;

/// `CTA_FILTER_ORIG_FLAGS`
const ORIGINAL_FLAGS: u16 = 1;
/// `CTA_FILTER_REPLY_FLAGS`
const REPLY_FLAGS: u16 = 2;
/// The kernel's flag for each part of a direction that is to be compared.
mod compare {
    pub(super) const SOURCE: u32 = 1 << 0;
    pub(super) const DESTINATION: u32 = 1 << 1;
    pub(super) const PROTOCOL: u32 = 1 << 3;
    pub(super) const DESTINATION_PORT: u32 = 1 << 5;
}

/// Which entries are meant: those that agree with everything that is said here. The direction is
/// the original one unless something else is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The address family.
    pub family: Family,
    /// IANA's number of the protocol.
    pub protocol: Option<u8>,
    /// Where the first packet was sent to.
    pub destination: Option<IpAddr>,
    /// Who sent the first packet.
    pub source: Option<IpAddr>,
    /// Who answers: where the first packet was sent to behind any translation.
    pub answers_from: Option<IpAddr>,
    /// The port it was sent to; counts only together with a protocol.
    pub port: Option<u16>,
    /// Leaves out the entries that are assured: for TCP, those whose handshake was finished.
    pub not_assured: bool,
}

impl Filter {
    /// Everything of a family.
    #[must_use]
    pub fn family(family: Family) -> Self {
        Self {
            family,
            protocol: None,
            destination: None,
            source: None,
            answers_from: None,
            port: None,
            not_assured: false,
        }
    }

    /// Whether an entry is meant.
    #[must_use]
    pub fn matches(&self, entry: &Entry) -> bool {
        let to = entry.original.destination;
        entry.family() == self.family
            && self.protocol.is_none_or(|protocol| protocol == entry.protocol)
            && self.destination.is_none_or(|destination| destination == to.ip())
            && self.source.is_none_or(|source| source == entry.original.source.ip())
            && self.answers_from.is_none_or(|source| source == entry.reply.source.ip())
            && (self.protocol.is_none() || self.port.is_none_or(|port| port == to.port()))
            && !(self.not_assured && entry.is_assured())
    }

    /// What of the filter the kernel is good for (seen in Linux 6.18). It compares ports of TCP and
    /// UDP alone, and IPv6 addresses the wrong way round: it would hand out all other entries.
    pub(super) fn for_kernel(&self) -> Self {
        let has_ports = [libc::IPPROTO_TCP, libc::IPPROTO_UDP]
            .into_iter()
            .any(|protocol| self.protocol.map(i32::from) == Some(protocol));
        Self {
            destination: self.destination.filter(IpAddr::is_ipv4),
            source: self.source.filter(IpAddr::is_ipv4),
            answers_from: self.answers_from.filter(IpAddr::is_ipv4),
            port: self.port.filter(|_| has_ports),
            ..*self
        }
    }

    /// Writes the filter for the kernel: Linux 5.8 compares addresses, protocols and ports, Linux
    /// 5.15 the status. Older kernels take no notice of it or refuse it.
    pub(super) fn write(&self, out: &mut Encoder) {
        let port = self.port.filter(|_| self.protocol.is_some());
        let said = [
            (compare::SOURCE, self.source.is_some()),
            (compare::DESTINATION, self.destination.is_some()),
            (compare::PROTOCOL, self.protocol.is_some()),
            (compare::DESTINATION_PORT, port.is_some()),
        ];
        let original =
            said.into_iter().filter(|(_, said)| *said).fold(0, |all, (flag, _)| all | flag);
        let reply = if self.answers_from.is_some() { compare::SOURCE } else { 0 };
        if original != 0 {
            let parts = TupleParts {
                source: self.source,
                destination: self.destination,
                protocol: self.protocol,
                destination_port: port,
                ..TupleParts::default()
            };
            write_direction(out, attribute::TUPLE_ORIGINAL, parts);
        }
        if reply != 0 {
            let parts = TupleParts { source: self.answers_from, ..TupleParts::default() };
            write_direction(out, attribute::TUPLE_REPLY, parts);
        }
        if original | reply != 0 {
            let filter = out.nest(attribute::FILTER);
            // Unlike everything else here, these are in the machine's own order.
            out.raw(ORIGINAL_FLAGS, &original.to_ne_bytes());
            out.raw(REPLY_FLAGS, &reply.to_ne_bytes());
            out.close(filter);
        }
        if self.not_assured {
            out.be32(attribute::STATUS, 0);
            out.be32(attribute::STATUS_MASK, ASSURED);
        }
    }
}

fn write_direction(out: &mut Encoder, direction: u16, parts: TupleParts) {
    let direction = out.nest(direction);
    write_tuple(out, parts);
    out.close(direction);
}
