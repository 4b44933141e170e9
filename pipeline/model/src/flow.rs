//! Flows that connection tracking knows of, and which of them have become stale.
//!
//! Once a flow is known, its packets are translated as its first one was, whatever the rules say
//! later. So rules alone do not move a flow away from an endpoint that is gone: its entry must go.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::Serialize;

use crate::{Family, Protocol};

/// One entry of connection tracking, as far as its staleness depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow {
    /// Its protocol.
    pub protocol: Protocol,
    /// Where its first packet was sent to, before any translation.
    pub destination: SocketAddr,
    /// Whom answers are expected from: the endpoint that was chosen, or `destination` itself where
    /// nobody translated it.
    pub answers_from: SocketAddr,
    /// Whether the two sides have not finished their handshake. Never so for UDP, which has none.
    pub half_open: bool,
}

/// The original destinations that a [`StaleFlows`] is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum FlowDestination {
    /// One address: a cluster IP, an external IP or a load balancer's address.
    Address(IpAddr),
    /// Addresses of the node on which a NodePort answers. An IPv4 or IPv6 loopback address among
    /// them stands for all loopback addresses of its family.
    NodePort(Arc<BTreeSet<IpAddr>>),
}

/// Which flows of a kind are to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Cut {
    /// None.
    Nothing,
    /// Those whose handshake is not finished, so that the client's next attempt starts anew.
    HalfOpen,
    /// All.
    All,
}

/// Flows that nobody should answer any more. What it says holds whatever happened before, so a list
/// may be applied twice, or after some of its flows are gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StaleFlows {
    /// The family of destination and endpoints.
    pub family: Family,
    /// The protocol.
    pub protocol: Protocol,
    /// The original destination.
    pub destination: FlowDestination,
    /// The original destination port.
    pub port: u16,
    /// Endpoints whose flows stay.
    pub keep: Arc<BTreeSet<SocketAddr>>,
    /// What is to go of flows that lead to another endpoint than these.
    pub translated: Cut,
    /// What is to go of flows that were never translated.
    pub untranslated: Cut,
}

impl FlowDestination {
    /// Whether an address is meant.
    #[must_use]
    pub fn holds(&self, address: IpAddr) -> bool {
        match self {
            Self::Address(one) => *one == address,
            Self::NodePort(addresses) => {
                addresses.contains(&address)
                    || (address.is_loopback()
                        && addresses.contains(&Family::of(address).loopback()))
            }
        }
    }
}

impl StaleFlows {
    /// Whether a flow is one of these.
    #[must_use]
    pub fn hold(&self, flow: &Flow) -> bool {
        let concerned = flow.protocol == self.protocol
            && flow.destination.port() == self.port
            && Family::of(flow.destination.ip()) == self.family
            && self.destination.holds(flow.destination.ip());
        if !concerned || self.keep.contains(&flow.answers_from) {
            return false;
        }
        let translated = flow.answers_from != flow.destination;
        match if translated { self.translated } else { self.untranslated } {
            Cut::Nothing => false,
            Cut::HalfOpen => flow.half_open,
            Cut::All => true,
        }
    }
}
