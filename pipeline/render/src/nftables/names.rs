//! The names of the chains that are always there, and of those that refuse.

use model::Direction;

/// The table, in each family.
pub const TABLE: &str = "pointsman";

/// The table's comment. Its number rises with each change of the shape that an older table cannot be
/// brought to by writing chains and elements; such a table is replaced.
pub const LAYOUT: &str = "layout 1";

/// Source ranges, for packets that come in.
pub const SOURCE_RANGES_PREROUTING: &str = "source-ranges-prerouting";
/// Source ranges, for packets of this node.
pub const SOURCE_RANGES_OUTPUT: &str = "source-ranges-output";
/// Drops what no source range allows.
pub const SOURCE_RANGES: &str = "source-ranges";

/// Services, for packets that come in.
pub const NAT_PREROUTING: &str = "nat-prerouting";
/// Services, for packets of this node.
pub const NAT_OUTPUT: &str = "nat-output";
/// Finds the frontend.
pub const SERVICES: &str = "services";
/// Marks the connection to be masqueraded unless a Pod is the client.
pub const MARK_UNLESS_POD: &str = "mark-unless-pod";

/// Stray packets for this node.
pub const FILTER_INPUT: &str = "filter-input";
/// Stray packets through this node.
pub const FILTER_FORWARD: &str = "filter-forward";
/// Stray packets of this node.
pub const FILTER_OUTPUT: &str = "filter-output";
/// Packets to the cluster network that no frontend took.
pub const STRAY: &str = "stray";

/// Masquerading.
pub const NAT_POSTROUTING: &str = "nat-postrouting";
/// Gives the connection this node's address as source.
pub const TO_NODE_ADDRESS: &str = "to-node-address";

/// Nobody can answer: an error at once.
pub const NO_ENDPOINTS_REJECT: &str = "no-endpoints-reject";
/// Nobody can answer: silence.
pub const NO_ENDPOINTS_DROP: &str = "no-endpoints-drop";
/// Nobody may answer, by a traffic policy: an error at once.
pub const NO_LOCAL_ENDPOINTS_REJECT: &str = "no-local-endpoints-reject";
/// Nobody may answer, by a traffic policy: silence.
pub const NO_LOCAL_ENDPOINTS_DROP: &str = "no-local-endpoints-drop";

/// Policies, for packets through this node.
pub const POLICY_FORWARD: &str = "policy-forward";
/// Policies, for packets of Pods to this node.
pub const POLICY_INPUT: &str = "policy-input";
/// What the receiver's policies say.
pub const POLICY_INGRESS: &str = "policy-ingress";
/// Drops TCP packets from the middle of a connection that nobody saw begin.
pub const POLICY_MIDSTREAM: &str = "policy-midstream";
/// Drops what the sender's policies do not let through.
pub const POLICY_DENY_EGRESS: &str = "policy-deny-egress";
/// Drops what the receiver's policies do not let through.
pub const POLICY_DENY_INGRESS: &str = "policy-deny-ingress";

/// Where what a direction forbids is dropped and counted.
#[must_use]
pub fn policy_deny(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => POLICY_DENY_INGRESS,
        Direction::Egress => POLICY_DENY_EGRESS,
    }
}
