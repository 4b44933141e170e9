//! Which addresses a Service or an endpoint may have.

use std::net::IpAddr;

/// Says what is wrong with an address that no Service and no endpoint may have, or `None` where it
/// is fine.
///
/// Loopback, link-local, multicast, broadcast and unspecified addresses would let whoever writes an
/// object reach what only the node itself may reach, such as its loopback services or a cloud's
/// metadata address (CVE-2020-8554, CVE-2021-25740). An IPv6 address that maps an IPv4 address is
/// judged by the latter.
pub(crate) fn forbidden(address: IpAddr) -> Option<&'static str> {
    let link_local = match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    if link_local { Some("a link-local address") } else { never_a_destination(address) }
}

/// As [`forbidden`], but link-local addresses are fine: load balancers that announce themselves on
/// one link do use them.
pub(crate) fn never_a_destination(address: IpAddr) -> Option<&'static str> {
    let address = address.to_canonical();
    if address.is_unspecified() {
        Some("the unspecified address")
    } else if address.is_loopback() {
        Some("a loopback address")
    } else if address.is_multicast() {
        Some("a multicast address")
    } else if matches!(address, IpAddr::V4(v4) if v4.is_broadcast()) {
        Some("the broadcast address")
    } else {
        None
    }
}
