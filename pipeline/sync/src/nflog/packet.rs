//! One logged packet: who sent what to whom, read from its headers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::netlink::{Message, c_text, read_u16};

/// `NFULA_…`
mod attribute {
    pub(super) const PAYLOAD: u16 = 9;
    pub(super) const PREFIX: u16 = 10;
}

/// A packet as a rule met it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// What the rule says in front.
    pub prefix: String,
    /// Who sent it.
    pub source: IpAddr,
    /// Who was to receive it.
    pub destination: IpAddr,
    /// IANA's number of the protocol.
    pub protocol: u8,
    /// Source and destination port, where the protocol has them and the headers tell.
    pub ports: Option<(u16, u16)>,
    /// The type of a message of ICMP or ICMPv6.
    pub icmp_type: Option<u8>,
}

/// Reads a packet; `None` for what is no packet of IP, or is cut short.
pub(super) fn read(message: &Message<'_>) -> Option<Logged> {
    let attributes = message.attributes();
    let prefix = attributes.get(attribute::PREFIX).and_then(c_text).unwrap_or_default();
    let mut packet = headers(attributes.get(attribute::PAYLOAD)?)?;
    packet.prefix = prefix.to_owned();
    Some(packet)
}

fn headers(bytes: &[u8]) -> Option<Logged> {
    let (source, destination, protocol, payload) = match bytes.first()? >> 4 {
        4 => version_4(bytes)?,
        6 => version_6(bytes)?,
        _ => return None,
    };
    let has_ports = [libc::IPPROTO_TCP, libc::IPPROTO_UDP, libc::IPPROTO_SCTP];
    let has_ports = has_ports.contains(&protocol.into());
    let ports = has_ports.then(|| Some((be16(payload?, 0)?, be16(payload?, 2)?))).flatten();
    let is_icmp = [libc::IPPROTO_ICMP, libc::IPPROTO_ICMPV6].contains(&protocol.into());
    let icmp_type = payload.filter(|_| is_icmp).and_then(|payload| payload.first().copied());
    Some(Logged { prefix: String::new(), source, destination, protocol, ports, icmp_type })
}

/// Source, destination, protocol, and what follows the headers, which later fragments do not have.
type Parts<'p> = (IpAddr, IpAddr, u8, Option<&'p [u8]>);

fn version_4(bytes: &[u8]) -> Option<Parts<'_>> {
    let address = |at: usize| -> Option<IpAddr> {
        Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok()?).into())
    };
    let later_fragment = be16(bytes, 6)? & 0x1fff != 0;
    let length = usize::from(bytes.first()? & 0xf) * 4;
    let payload = bytes.get(length..).filter(|_| !later_fragment);
    Some((address(12)?, address(16)?, *bytes.get(9)?, payload))
}

fn version_6(bytes: &[u8]) -> Option<Parts<'_>> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const DESTINATION: u8 = 60;
    let address = |at: usize| -> Option<IpAddr> {
        Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(at..at + 16)?).ok()?).into())
    };
    let (source, destination) = (address(8)?, address(24)?);
    let (mut next, mut payload) = (*bytes.get(6)?, bytes.get(40..));
    while let Some(header) = payload
        && matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION)
    {
        let kind = std::mem::replace(&mut next, *header.first()?);
        payload = match kind {
            FRAGMENT if be16(header, 2)? & !7 != 0 => None,
            FRAGMENT => header.get(8..),
            _ => header.get((usize::from(*header.get(1)?) + 1) * 8..),
        };
    }
    Some((source, destination, next, payload))
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    read_u16(bytes, at).map(|raw| u16::from_be_bytes(raw.to_ne_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// TCP from 10.77.1.9:40000 to 10.77.1.4:8080, with 4 bytes of options.
    fn tcp() -> Vec<u8> {
        let mut bytes = vec![0x46, 0, 0, 44, 0, 0, 0, 0, 64, 6, 0, 0];
        bytes.extend([10, 77, 1, 9, 10, 77, 1, 4, 1, 1, 1, 1]);
        bytes.extend([0x9c, 0x40, 0x1f, 0x90, 0, 0, 0, 0]);
        bytes
    }

    fn ipv6(next: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x60, 0, 0, 0, 0, 0, next, 64];
        bytes.extend("fd77::9".parse::<Ipv6Addr>().unwrap().octets());
        bytes.extend("fd77::4".parse::<Ipv6Addr>().unwrap().octets());
        bytes.extend(rest);
        bytes
    }

    #[test]
    fn headers_are_read() {
        let packet = headers(&tcp()).unwrap();
        assert_eq!(packet.source.to_string(), "10.77.1.9");
        assert_eq!(packet.destination.to_string(), "10.77.1.4");
        assert_eq!((packet.protocol, packet.ports), (6, Some((40_000, 8080))));
        let mut later = tcp();
        later[7] = 1;
        assert_eq!(headers(&later).unwrap().ports, None, "a later fragment has no ports");
        let packet = headers(&ipv6(58, &[128, 0, 0, 0])).unwrap();
        assert_eq!((packet.protocol, packet.icmp_type, packet.ports), (58, Some(128), None));
        assert_eq!(packet.destination.to_string(), "fd77::4");
    }

    #[test]
    fn extension_headers_are_stepped_over() {
        let udp = [0x9c, 0x40, 0, 53];
        let mut rest = vec![44, 0, 0, 0, 0, 0, 0, 0];
        rest.extend([17, 0, 0, 1, 0, 0, 0, 7]);
        rest.extend(udp);
        let packet = headers(&ipv6(0, &rest)).unwrap();
        assert_eq!((packet.protocol, packet.ports), (17, Some((40_000, 53))));
        rest[11] = 8;
        let packet = headers(&ipv6(0, &rest)).unwrap();
        assert_eq!((packet.protocol, packet.ports), (17, None), "a later fragment");
    }

    #[test]
    fn what_is_cut_short_is_survived() {
        for (whole, ports_end) in [(tcp(), 28), (ipv6(0, &[60, 0, 0, 0, 0, 0, 0, 0, 6, 9]), 99)] {
            for length in 0..whole.len() {
                let cut = headers(&whole[..length]);
                let has_ports = cut.is_some_and(|packet| packet.ports.is_some());
                assert_eq!(has_ports, length >= ports_end, "{length}");
            }
        }
    }
}
