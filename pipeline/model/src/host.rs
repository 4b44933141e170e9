//! What the machine itself says, where the API does not know it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

/// One address of one interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct HostAddress {
    /// The address.
    pub address: IpAddr,
    /// The interface that carries it.
    pub interface: Arc<str>,
}

/// Facts of the machine that the agent runs on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Host {
    /// Every address of every interface, loopback included.
    pub addresses: BTreeSet<HostAddress>,
    /// `net.netfilter.nf_conntrack_tcp_be_liberal`: out-of-window segments are not INVALID, so no
    /// rule needs to drop them.
    pub conntrack_be_liberal: bool,
}

impl Host {
    /// Whether an address is one of the machine's own (loopback blocks included).
    #[must_use]
    pub fn owns(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.addresses.iter().any(|own| own.address == address)
    }
}
