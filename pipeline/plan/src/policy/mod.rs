//! What NetworkPolicies and ClusterNetworkPolicies ask of this node.
//!
//! In: the Pods, Namespaces, Nodes and policies of a [`model::Cluster`]. Out: a [`PolicyIntent`],
//! which a dataplane enforces on the packet's addresses as they are behind the translation to an
//! endpoint and before any masquerade. What one Pod's change costs depends on its labels and on the
//! sets that it is in, not on how many Pods there are.

mod classes;
mod compile;
mod held;
mod index;
mod intent;
mod planner;
mod ranges;
mod sets;

pub use intent::{
    ClassKey, ClassRule, Delta, Held, NamedPortsKey, PeerMatch, PodPort, PolicyChanges,
    PolicyClass, PolicyIntent, PortMatch, RuleMatch, SetKey, Subject,
};
pub use ranges::{AddressRange, PortRange};

pub(crate) use planner::PolicyPlanner;

/// The bit of a connection's mark (`ct mark`) that says: accepted once, forbidden now. Deleting the
/// entry would not end the connection, for the next packet of the answering side makes a new one
/// that looks as if that side had begun. While policies are enforced, the rule ahead of the one that
/// lets established connections pass drops what carries it.
pub const CONDEMNED_CT_MARK: u32 = 0x8000;
