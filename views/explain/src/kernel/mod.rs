//! What the kernel of this node really holds for one packet, and what of it overrules the plan.
//!
//! [`Needs::of`] says what has to be read, somebody with the right to do so reads it into [`Facts`],
//! and [`Explanation::face`](crate::Explanation::face) joins them to the answer. Nothing here reads.

mod compare;
mod foreign;
mod judge;
mod needs;
mod text;
mod walk;

use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use crate::{Code, Outcome, Verdict};

pub use compare::{Difference, Held, TableHeld};
pub use foreign::{ForeignChain, ForeignDeed, ForeignEnd, ForeignHeld, ForeignRuleHeld};
pub use needs::{IptablesNeeds, Needs, NftablesNeeds};
pub use walk::{HeldChains, Walked, walk, walk_table};

/// What was read on the node.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// What the kernel holds of what is needed; `None` where it could not be read.
    pub held: Option<Held>,
    /// Base chains of others, in the order in which the kernel calls them.
    pub foreign: Vec<ForeignHeld>,
    /// What the kernel's own routing says of the packet.
    pub routes: Vec<RouteFound>,
    /// Entries of connection tracking with the packet's source, destination, protocol and port.
    pub flows: Vec<FlowFound>,
    /// Endpoints that session affinity remembers the client by.
    pub pinned: Vec<SocketAddr>,
    /// Tracked connections, and how many there can be (0: no limit is told).
    pub tracked: Option<(u32, u32)>,
    /// Settings of the kernel that matter here, by name.
    pub settings: Vec<Setting>,
    /// What could not be read, and why.
    pub unread: Vec<String>,
}

/// A setting of the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Its name, as `sysctl` has it.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// What the kernel's routing says of a packet on its way to one destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RouteFound {
    /// Where to.
    pub to: IpAddr,
    /// The interface that the packet comes in by; `None` where this node sends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why it is not routed, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<RouteRefusal>,
}

/// Why the kernel does not route a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum RouteRefusal {
    /// The reverse-path filter: answers would leave by another interface.
    ReversePath {
        /// `rp_filter` as it counts for the interface: 1 strict, 2 loose.
        filter: u8,
        /// Where answers would leave; `None` where nowhere.
        back: Option<String>,
    },
    /// This host does not forward.
    NotForwarding,
    /// There is no route.
    NoRoute,
    /// Something else.
    Other(String),
}

/// An entry of connection tracking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowFound {
    /// Where its first packet came from.
    pub client: SocketAddr,
    /// Where answers are expected from: the endpoint, or the frontend itself if nothing was
    /// translated.
    pub answers_from: SocketAddr,
    /// Whether an answer was seen.
    pub answered: bool,
    /// How long it lives unless a packet comes, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,
    /// Whether it leads where nobody of the Service is any more.
    pub stale: bool,
}

/// What the node's kernel adds to an explanation.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KernelTruth {
    /// How many rules, chains and elements were compared.
    pub compared: usize,
    /// Those that are otherwise.
    pub differences: Vec<Difference>,
    /// What the rules that the kernel holds do with the packet, where they could be followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Why they could not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unclear: Option<String>,
    /// The code that the plan alone gives.
    pub planned: Code,
    /// What overrules the plan, the gravest first; the explanation's reason is the first one's.
    pub findings: Vec<KernelFinding>,
    /// Entries of connection tracking of this client and frontend.
    pub flows: Vec<FlowFound>,
    /// Where session affinity leads this client.
    pub pinned: Vec<SocketAddr>,
    /// Routes that were asked for.
    pub routes: Vec<RouteFound>,
    /// Base chains of others on the packet's way that may decide.
    pub foreign: Vec<ForeignChain>,
    /// Settings of the kernel that matter here.
    pub settings: Vec<Setting>,
    /// What could not be read.
    pub unread: Vec<String>,
    /// How the packet ends by all this; `None` where the plan stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// One thing that overrules the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KernelFinding {
    /// Its stable code.
    pub code: Code,
    /// The case's own objects and values.
    pub detail: String,
    /// How the packet ends by it.
    pub outcome: Outcome,
}
