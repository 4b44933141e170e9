//! The addresses that every lab has in common.
//!
//! Node N (counted from 1) is `10.9.0.N` and `fd09::N`, its Pods live in `10.77.N.0/24` and
//! `fd77:N::/64`, the outside host is `198.51.100.7` and `2001:db8:ffff::7`. In IPv6 addresses N is
//! written with decimal digits, so that node 10 is `fd09::10`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use model::{Cidr, Family};

/// The name of the host that belongs to no node.
pub const OUTSIDE: &str = "outside";
/// The outside host's IPv4 address.
pub const OUTSIDE_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
/// The outside host's IPv6 address.
pub const OUTSIDE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 7);

/// The address of node `number` (1 to 255).
#[must_use]
pub fn node_address(number: u8, family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, 9, 0, number).into(),
        Family::V6 => Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, digits(number)).into(),
    }
}

/// The block of node `number`'s Pods.
#[must_use]
pub fn pod_cidr(number: u8, family: Family) -> Cidr {
    match pod_address(number, 0, family) {
        IpAddr::V4(address) => Cidr::V4(ipnet::Ipv4Net::new_assert(address, 24)),
        IpAddr::V6(address) => Cidr::V6(ipnet::Ipv6Net::new_assert(address, 64)),
    }
}

/// An address in the block of node `node`'s Pods, for a builder that does not care which.
#[must_use]
pub fn pod_address(node: u8, pod: u8, family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, 77, node, pod).into(),
        Family::V6 => Ipv6Addr::new(0xfd77, digits(node), 0, 0, 0, 0, 0, digits(pod)).into(),
    }
}

/// The number whose hexadecimal digits look like `decimal`.
fn digits(decimal: u8) -> u16 {
    let decimal = u16::from(decimal);
    ((decimal / 100) << 8) | ((decimal / 10 % 10) << 4) | (decimal % 10)
}

/// The outside host's address.
#[must_use]
pub fn outside_address(family: Family) -> IpAddr {
    match family {
        Family::V4 => OUTSIDE_V4.into(),
        Family::V6 => OUTSIDE_V6.into(),
    }
}

/// The prefix length of a single address.
pub(crate) fn host_prefix(family: Family) -> u8 {
    match family {
        Family::V4 => 32,
        Family::V6 => 128,
    }
}
