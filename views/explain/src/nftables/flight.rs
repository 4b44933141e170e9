//! A packet on its way.

use std::net::{IpAddr, SocketAddr};

use crate::Packet;

/// What rules have made of a packet so far.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Flight {
    /// `None` once masquerading chose it.
    pub(super) source: Option<IpAddr>,
    pub(super) destination: SocketAddr,
    /// The connection's mark.
    pub(super) mark: u32,
    /// The packet's priority, where chains keep an endpoint's id.
    pub(super) priority: u32,
    pub(super) translated: bool,
    pub(super) masqueraded: bool,
}

impl Flight {
    pub(super) fn new(packet: &Packet) -> Self {
        Self {
            source: Some(packet.source),
            destination: SocketAddr::new(packet.destination, packet.port),
            mark: 0,
            priority: 0,
            translated: false,
            masqueraded: false,
        }
    }
}
