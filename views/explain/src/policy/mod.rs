//! Whether policies let a packet through, and which rule decides.
//!
//! [`judge`] answers from the objects of the cluster; [`evaluate`] answers from the plan, as a
//! dataplane must. They share no code but the words of the answer, so that each can be held to the
//! other.

mod evaluate;
mod oracle;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use model::{PolicyAction, PolicyName, Protocol};
use serde::Serialize;

pub use evaluate::{Ruling, evaluate};
pub use oracle::{Failed, Finding, Judgement, Missed, judge};

/// The ICMPv6 types of router and neighbour discovery and redirection (RFC 4861).
pub(crate) const NEIGHBOUR_DISCOVERY: std::ops::RangeInclusive<u8> = 133..=137;

/// The port of DNS.
pub(crate) const DNS: u16 = 53;

/// What a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Traffic {
    /// Something with ports.
    Port {
        /// The protocol.
        protocol: Protocol,
        /// The destination port, behind the translation to an endpoint.
        port: u16,
    },
    /// ICMP, or ICMPv6 between IPv6 addresses.
    Icmp {
        /// The message's type.
        kind: u8,
    },
    /// Another protocol.
    Other {
        /// Its number.
        protocol: u8,
    },
}

/// How a packet goes through the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Path {
    /// The node itself sends it.
    FromNode,
    /// The node forwards it.
    Forwarded,
    /// It is for the node itself.
    ToNode,
}

/// A packet, with the addresses that policies are about: the destination behind the translation to
/// an endpoint, the source before any masquerade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PolicyPacket {
    /// Who sends it.
    pub source: IpAddr,
    /// Who is to receive it, of the same family.
    pub destination: IpAddr,
    /// What it carries.
    pub traffic: Traffic,
    /// How it goes.
    pub path: Path,
    /// Whether it belongs to a connection that was let through, or is an error about one.
    pub established: bool,
}

/// Why a packet passes, or does not, in one direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Why {
    /// Its connection was let through.
    Established,
    /// Neighbour discovery, without which nothing works.
    NeighbourDiscovery,
    /// A Pod may always reach itself.
    Itself,
    /// The node itself sends it: probes of the kubelet among others.
    FromNode,
    /// It is for the node itself, where no Pod's ingress is asked.
    ToNode,
    /// It asks the DNS server of the node.
    Dns,
    /// No Pod that is judged here has the address.
    NoPod,
    /// No policy decides: everything passes then.
    NoPolicy,
    /// A rule decides.
    Rule {
        /// The policy that it stands in.
        policy: PolicyName,
        /// Its place in the list, from 0.
        index: usize,
        /// Its name, if it has one.
        name: Option<Arc<str>>,
        /// Accept or Deny.
        action: PolicyAction,
    },
    /// These NetworkPolicies isolate the Pod, and none of their rules lets the packet through.
    Isolated {
        /// The policies, by name.
        by: Vec<PolicyName>,
    },
    /// The address may be a Pod's that is not known yet, and some policy might deny it.
    Held,
}

impl Why {
    /// Whether the packet passes in the direction.
    #[must_use]
    pub fn passes(&self) -> bool {
        match self {
            Why::Rule { action, .. } => *action != PolicyAction::Deny,
            Why::Isolated { .. } | Why::Held => false,
            _ => true,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Established => f.write_str("its connection was let through"),
            Why::NeighbourDiscovery => f.write_str("neighbour discovery always passes"),
            Why::Itself => f.write_str("a Pod may always reach itself"),
            Why::FromNode => f.write_str("the node may always reach its Pods"),
            Why::ToNode => f.write_str("it is for the node itself"),
            Why::Dns => f.write_str("it asks the DNS server of the node"),
            Why::NoPod => f.write_str("the address belongs to no Pod that is judged here"),
            Why::NoPolicy => f.write_str("no policy decides"),
            Why::Rule { policy, index, name, action } => {
                write!(f, "{policy}, rule {}", index + 1)?;
                if let Some(name) = name {
                    write!(f, " ({name})")?;
                }
                write!(f, ": {action}")
            }
            Why::Isolated { by } => {
                let names: Vec<String> = by.iter().map(ToString::to_string).collect();
                write!(f, "isolated by {}, and no rule lets it through", names.join(", "))
            }
            Why::Held => f.write_str("the address is held back until its Pod is known"),
        }
    }
}
