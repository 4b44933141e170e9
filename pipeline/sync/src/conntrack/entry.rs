//! Entries of connection tracking as the kernel tells them, and as it is told which to delete.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use model::{Family, Flow, Protocol};

use crate::netlink::{Attributes, Encoder, Message};

/// `CTA_…`
pub(super) mod attribute {
    pub(in super::super) const TUPLE_ORIGINAL: u16 = 1;
    pub(in super::super) const TUPLE_REPLY: u16 = 2;
    pub(in super::super) const STATUS: u16 = 3;
    pub(in super::super) const PROTOCOL_STATE: u16 = 4;
    pub(in super::super) const TIMEOUT: u16 = 7;
    pub(in super::super) const MARK: u16 = 8;
    pub(in super::super) const ID: u16 = 12;
    pub(in super::super) const ZONE: u16 = 18;
    pub(in super::super) const FILTER: u16 = 25;
    pub(in super::super) const MARK_MASK: u16 = 21;
    pub(in super::super) const STATUS_MASK: u16 = 26;
}

/// `CTA_TUPLE_…`, `CTA_IP_…` and `CTA_PROTO_…`
pub(super) mod tuple {
    pub(in super::super) const IP: u16 = 1;
    pub(in super::super) const PROTOCOL: u16 = 2;
    pub(in super::super) const V4_SOURCE: u16 = 1;
    pub(in super::super) const V4_DESTINATION: u16 = 2;
    pub(in super::super) const V6_SOURCE: u16 = 3;
    pub(in super::super) const V6_DESTINATION: u16 = 4;
    pub(in super::super) const NUMBER: u16 = 1;
    pub(in super::super) const SOURCE_PORT: u16 = 2;
    pub(in super::super) const DESTINATION_PORT: u16 = 3;
}

/// `IPS_SEEN_REPLY`: packets went both ways.
const SEEN_REPLY: u32 = 1 << 1;
/// `IPS_ASSURED`: the last to go when the table is full; for TCP, once the handshake is finished.
pub(super) const ASSURED: u32 = 1 << 2;
/// `IPS_SRC_NAT`
const SOURCE_NAT: u32 = 1 << 4;
/// `IPS_DST_NAT`
const DESTINATION_NAT: u32 = 1 << 5;

/// One direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tuple {
    /// Where its packets come from; port 0 where the protocol has none.
    pub source: SocketAddr,
    /// Where they go to.
    pub destination: SocketAddr,
}

/// How far a connection is, where the protocol has states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProtocolState {
    /// `TCP_CONNTRACK_…`: 1 is SYN_SENT, 2 SYN_RECV, 3 ESTABLISHED, 9 SYN_SENT2.
    Tcp(u8),
    /// `SCTP_CONNTRACK_…`: 1 is CLOSED, 2 COOKIE_WAIT, 3 COOKIE_ECHOED, 4 ESTABLISHED.
    Sctp(u8),
}

/// An entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// IANA's number of the protocol.
    pub protocol: u8,
    /// The direction of the first packet, before any translation.
    pub original: Tuple,
    /// The direction in which answers are expected.
    pub reply: Tuple,
    /// `IPS_…`
    pub status: u32,
    /// `None` for protocols without states.
    pub state: Option<ProtocolState>,
    /// How long the entry lives unless a packet comes, in seconds. The kernel does not tell it of
    /// entries in offloaded flow tables.
    pub timeout: Option<u32>,
    /// The connection's mark.
    pub mark: u32,
    /// The kernel's number for it, made from its place in memory and its original direction: unlike
    /// that of another entry that took its place, but not unique.
    pub id: u32,
    /// The tracking zone; 0 unless somebody set one up.
    pub zone: u16,
}

impl Entry {
    /// The address family.
    #[must_use]
    pub fn family(&self) -> Family {
        Family::of(self.original.destination.ip())
    }

    /// Whether an answer has been seen.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.status & SEEN_REPLY != 0
    }

    /// Whether the kernel keeps it before others when the table is full.
    #[must_use]
    pub fn is_assured(&self) -> bool {
        self.status & ASSURED != 0
    }

    /// Whether source or destination are translated.
    #[must_use]
    pub fn is_translated(&self) -> bool {
        self.status & (SOURCE_NAT | DESTINATION_NAT) != 0
    }

    /// Whether the handshake is not finished.
    #[must_use]
    pub fn is_half_open(&self) -> bool {
        match self.state {
            Some(ProtocolState::Tcp(state)) => matches!(state, 1 | 2 | 9),
            Some(ProtocolState::Sctp(state)) => matches!(state, 1..=3),
            None => false,
        }
    }

    /// Whether the connection is over, so that nothing but stragglers meets the entry.
    #[must_use]
    pub fn is_over(&self) -> bool {
        match self.state {
            // From FIN_WAIT to CLOSE, and the three of a shutdown.
            Some(ProtocolState::Tcp(state)) => matches!(state, 4..=8),
            Some(ProtocolState::Sctp(state)) => matches!(state, 1 | 5..=7),
            None => false,
        }
    }

    /// The entry as a [`Flow`]; `None` for protocols that no Service has.
    #[must_use]
    pub fn flow(&self) -> Option<Flow> {
        let protocol = Protocol::ALL.into_iter().find(|one| one.number() == self.protocol)?;
        Some(Flow {
            protocol,
            destination: self.original.destination,
            answers_from: self.reply.source,
            half_open: self.is_half_open(),
        })
    }

    /// Writes what the kernel finds the entry by: its original direction, zone and number.
    pub(super) fn write_identity(&self, out: &mut Encoder) {
        let direction = out.nest(attribute::TUPLE_ORIGINAL);
        write_tuple(
            out,
            TupleParts {
                source: Some(self.original.source.ip()),
                destination: Some(self.original.destination.ip()),
                protocol: Some(self.protocol),
                source_port: Some(self.original.source.port()),
                destination_port: Some(self.original.destination.port()),
            },
        );
        out.close(direction);
        if self.zone != 0 {
            out.raw(attribute::ZONE, &self.zone.to_be_bytes());
        }
        out.be32(attribute::ID, self.id);
    }
}

/// What is said of a direction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TupleParts {
    pub(super) source: Option<IpAddr>,
    pub(super) destination: Option<IpAddr>,
    pub(super) protocol: Option<u8>,
    pub(super) source_port: Option<u16>,
    pub(super) destination_port: Option<u16>,
}

pub(super) fn write_tuple(out: &mut Encoder, parts: TupleParts) {
    let addresses = [
        (parts.source, tuple::V4_SOURCE, tuple::V6_SOURCE),
        (parts.destination, tuple::V4_DESTINATION, tuple::V6_DESTINATION),
    ];
    if addresses.iter().any(|(address, ..)| address.is_some()) {
        let ip = out.nest(tuple::IP);
        for (address, v4, v6) in addresses {
            match address {
                Some(IpAddr::V4(address)) => out.raw(v4, &address.octets()),
                Some(IpAddr::V6(address)) => out.raw(v6, &address.octets()),
                None => {}
            }
        }
        out.close(ip);
    }
    let Some(number) = parts.protocol else { return };
    let protocol = out.nest(tuple::PROTOCOL);
    out.raw(tuple::NUMBER, &[number]);
    let ports = [
        (tuple::SOURCE_PORT, parts.source_port),
        (tuple::DESTINATION_PORT, parts.destination_port),
    ];
    for (kind, port) in ports {
        if let Some(port) = port {
            out.raw(kind, &port.to_be_bytes());
        }
    }
    out.close(protocol);
}

/// Reads an entry; `None` for what makes no sense or belongs to another family than IP.
pub(super) fn read(message: &Message<'_>) -> Option<Entry> {
    let attributes = message.attributes();
    let (protocol, original) = read_tuple(attributes.nested(attribute::TUPLE_ORIGINAL))?;
    let (_, reply) = read_tuple(attributes.nested(attribute::TUPLE_REPLY))?;
    Some(Entry {
        protocol,
        original,
        reply,
        status: attributes.be32(attribute::STATUS).unwrap_or_default(),
        state: read_state(attributes.nested(attribute::PROTOCOL_STATE)),
        timeout: attributes.be32(attribute::TIMEOUT),
        mark: attributes.be32(attribute::MARK).unwrap_or_default(),
        id: attributes.be32(attribute::ID)?,
        zone: be16(attributes, attribute::ZONE).unwrap_or_default(),
    })
}

fn read_tuple(direction: Attributes<'_>) -> Option<(u8, Tuple)> {
    let (ip, protocol) = (direction.nested(tuple::IP), direction.nested(tuple::PROTOCOL));
    let number = *protocol.get(tuple::NUMBER)?.first()?;
    let address = |v4, v6| -> Option<IpAddr> {
        if let Some(bytes) = ip.get(v4) {
            return Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into());
        }
        Some(Ipv6Addr::from(<[u8; 16]>::try_from(ip.get(v6)?).ok()?).into())
    };
    let source = address(tuple::V4_SOURCE, tuple::V6_SOURCE)?;
    let destination = address(tuple::V4_DESTINATION, tuple::V6_DESTINATION)?;
    let port = |kind| be16(protocol, kind).unwrap_or_default();
    let tuple = Tuple {
        source: SocketAddr::new(source, port(tuple::SOURCE_PORT)),
        destination: SocketAddr::new(destination, port(tuple::DESTINATION_PORT)),
    };
    Some((number, tuple))
}

fn read_state(states: Attributes<'_>) -> Option<ProtocolState> {
    /// `CTA_PROTOINFO_TCP`
    const TCP: u16 = 1;
    /// `CTA_PROTOINFO_SCTP`
    const SCTP: u16 = 3;
    /// `CTA_PROTOINFO_TCP_STATE` and `CTA_PROTOINFO_SCTP_STATE`
    const STATE: u16 = 1;
    let of = |protocol| states.nested(protocol).get(STATE)?.first().copied();
    of(TCP).map(ProtocolState::Tcp).or_else(|| of(SCTP).map(ProtocolState::Sctp))
}

fn be16(attributes: Attributes<'_>, kind: u16) -> Option<u16> {
    Some(u16::from_be_bytes(attributes.get(kind)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::{Header, Messages};

    fn entry() -> Entry {
        let at = |text: &str| text.parse().unwrap();
        Entry {
            protocol: 17,
            original: Tuple { source: at("[fd77::9]:4001"), destination: at("[fd88::25]:53") },
            reply: Tuple { source: at("[fd77::2]:5353"), destination: at("[fd77::9]:4001") },
            status: SEEN_REPLY | DESTINATION_NAT,
            state: None,
            timeout: Some(30),
            mark: 7,
            id: 42,
            zone: 3,
        }
    }

    /// As the kernel tells it.
    fn told(entry: &Entry) -> Encoder {
        let mut out = Encoder::default();
        let header = Header { kind: 1 << 8, flags: 0, sequence: 1, family: 10, resource: 0 };
        let message = out.message(header);
        entry.write_identity(&mut out);
        let reply = out.nest(attribute::TUPLE_REPLY);
        let parts = TupleParts {
            source: Some(entry.reply.source.ip()),
            destination: Some(entry.reply.destination.ip()),
            protocol: Some(entry.protocol),
            source_port: Some(entry.reply.source.port()),
            destination_port: Some(entry.reply.destination.port()),
        };
        write_tuple(&mut out, parts);
        out.close(reply);
        out.be32(attribute::STATUS, entry.status);
        out.be32(attribute::TIMEOUT, 30);
        out.be32(attribute::MARK, entry.mark);
        out.end(message);
        out
    }

    #[test]
    fn what_is_told_is_read() {
        let told = told(&entry());
        let message = Messages(told.bytes()).next().unwrap();
        assert_eq!(read(&message), Some(entry()));
        assert!(entry().is_answered() && entry().is_translated() && !entry().is_assured());
    }

    /// Whatever is cut off or overwritten, reading ends.
    #[test]
    fn nonsense_is_survived() {
        let whole = told(&entry());
        for length in 0..whole.len() {
            let mut bytes = whole.bytes()[..length].to_vec();
            if let Some(field) = bytes.get_mut(..4) {
                field.copy_from_slice(&u32::try_from(length).unwrap().to_ne_bytes());
            }
            assert_ne!(Messages(&bytes).next().and_then(|one| read(&one)), Some(entry()));
            for value in [0, 1, 0xff] {
                let mut bytes = whole.bytes().to_vec();
                bytes[length] = value;
                let read = Messages(&bytes).take(10).filter_map(|message| read(&message));
                assert!(read.count() <= 10);
            }
        }
    }

    #[test]
    fn handshakes_that_are_not_finished_are_half_open() {
        let half_open = |state| Entry { state, ..entry() }.is_half_open();
        let tcp: Vec<u8> = (0..=9).filter(|n| half_open(Some(ProtocolState::Tcp(*n)))).collect();
        let sctp: Vec<u8> = (0..=9).filter(|n| half_open(Some(ProtocolState::Sctp(*n)))).collect();
        assert_eq!((tcp, sctp), (vec![1, 2, 9], vec![1, 2, 3]));
        assert!(!half_open(None));
    }
}
