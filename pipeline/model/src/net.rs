//! Address families, protocols and addresses as Kubernetes writes them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// An address block in canonical form: no bit is set below the prefix.
pub type Cidr = ipnet::IpNet;

/// An IP address family. A node's rules exist once per family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Family {
    /// IP version 4.
    #[serde(rename = "IPv4")]
    V4,
    /// IP version 6.
    #[serde(rename = "IPv6")]
    V6,
}

impl Family {
    /// Both families, in the order in which everything is printed and written.
    pub const ALL: [Family; 2] = [Family::V4, Family::V6];

    /// The family of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Family {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// The family of a block.
    #[must_use]
    pub fn of_cidr(cidr: &Cidr) -> Family {
        Family::of(cidr.addr())
    }

    /// The block that holds every address of the family.
    #[must_use]
    pub fn any(self) -> Cidr {
        match self {
            Family::V4 => Cidr::V4(ipnet::Ipv4Net::default()),
            Family::V6 => Cidr::V6(ipnet::Ipv6Net::default()),
        }
    }

    /// The loopback address of the family.
    #[must_use]
    pub fn loopback(self) -> IpAddr {
        match self {
            Family::V4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Family::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

/// A transport protocol that a Service port may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// Transmission Control Protocol, the default of the Kubernetes API.
    Tcp,
    /// User Datagram Protocol.
    Udp,
    /// Stream Control Transmission Protocol.
    Sctp,
}

impl Protocol {
    /// All protocols, in printing order.
    pub const ALL: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

    /// The number in an IP header (IANA protocol numbers).
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }

    /// The name as netfilter tools print it.
    #[must_use]
    pub fn lower(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
            Protocol::Sctp => "SCTP",
        })
    }
}

impl FromStr for Protocol {
    type Err = BadAddress;

    /// Accepts the API's spelling and netfilter's.
    fn from_str(text: &str) -> Result<Self, BadAddress> {
        Protocol::ALL
            .into_iter()
            .find(|protocol| protocol.lower().eq_ignore_ascii_case(text))
            .ok_or_else(|| BadAddress { text: text.into(), expected: "TCP, UDP or SCTP" })
    }
}

/// A text that is not the address, block or protocol that it should be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text:?} is not {expected}")]
pub struct BadAddress {
    /// What was read.
    pub text: String,
    /// What should have stood there.
    pub expected: &'static str,
}

/// Reads an address as old API objects may hold it: leading zeros count as decimal
/// (`10.008.011.012` is `10.8.11.12`), surrounding blanks are ignored.
///
/// Kubernetes kept this reading for stored objects when Go's parser turned strict; handing the text
/// on to a tool would let it read the zeros as octal and route to another host.
///
/// # Errors
/// [`BadAddress`] if no address remains.
pub fn parse_ip(text: &str) -> Result<IpAddr, BadAddress> {
    let trimmed = text.trim();
    let decimal = if trimmed.contains(':') { trimmed.into() } else { strip_zeros(trimmed) };
    decimal.parse().map_err(|_| BadAddress { text: text.into(), expected: "an IP address" })
}

/// Reads an address block with the leniency of [`parse_ip`] and masks the bits below the prefix
/// (`10.9.1.2/16` is `10.9.0.0/16`).
///
/// # Errors
/// [`BadAddress`] if the address or the prefix length cannot be read.
pub fn parse_cidr(text: &str) -> Result<Cidr, BadAddress> {
    let bad = || BadAddress {
        text: text.into(),
        expected: "an address block such as 10.0.0.0/8 or fd00::/64",
    };
    let (address, prefix) = text.trim().split_once('/').ok_or_else(bad)?;
    let address = parse_ip(address).map_err(|_| bad())?;
    let prefix: u8 = prefix.parse().map_err(|_| bad())?;
    Cidr::new(address, prefix).map(|cidr| cidr.trunc()).map_err(|_| bad())
}

fn strip_zeros(dotted: &str) -> String {
    let octets = dotted.split('.').map(|octet| {
        let bare = octet.trim_start_matches('0');
        if bare.is_empty() && !octet.is_empty() { "0" } else { bare }
    });
    octets.collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_zeros_are_decimal() {
        assert_eq!(parse_ip("172.30.0.041").unwrap().to_string(), "172.30.0.41");
        assert_eq!(parse_ip("10.008.011.012").unwrap().to_string(), "10.8.11.12");
        assert_eq!(parse_ip(" 10.000.0.1 ").unwrap().to_string(), "10.0.0.1");
        assert_eq!(parse_ip("fd00::1").unwrap().to_string(), "fd00::1");
        assert_eq!(parse_cidr("010.9.0.0/16 ").unwrap().to_string(), "10.9.0.0/16");
        assert_eq!(parse_cidr("10.9.1.2/16").unwrap().to_string(), "10.9.0.0/16");
    }

    #[test]
    fn what_is_no_address_says_so() {
        for text in ["", "10.0.0", "10.0.0.256", "10..0.1", "a.b.c.d", "fd00::g", "1.2.3.4.5"] {
            let error = parse_ip(text).unwrap_err();
            assert_eq!(error.text, text);
            assert!(error.to_string().contains("is not an IP address"), "{error}");
        }
        for text in ["10.0.0.0", "10.0.0.0/33", "10.0.0.0/-1", "/8", "fd00::/129"] {
            assert!(parse_cidr(text).is_err(), "{text}");
        }
    }
}
