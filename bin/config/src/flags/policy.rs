//! Flags of our own: NetworkPolicy.

use clap::Args;

use super::boolean;
use crate::duration::MetaDuration;
use crate::policy::{ExistingConnections, NetworkPolicyMode};

/// NetworkPolicies and ClusterNetworkPolicies. kube-proxy has none of it, so a file has no fields
/// for it, and the flags count beside a file too.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(next_help_heading = "NetworkPolicy")]
pub struct PolicyFlags {
    /// Whether policies are enforced; auto: if Pods, Namespaces and NetworkPolicies may be read
    /// [default: auto]
    #[arg(long, value_enum, value_name = "MODE")]
    pub network_policy: Option<NetworkPolicyMode>,
    /// What happens to connections that a change of policies forbids: keep them, or cut them off
    /// [default: cut]
    #[arg(long, value_enum, value_name = "WHAT")]
    pub policy_existing_connections: Option<ExistingConnections>,
    /// For how long an address of this node's Pod blocks that no known Pod has yet is held back
    /// where some policy could deny, in whole seconds; 0 lets it pass [default: 10s]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub policy_hold_unknown: Option<MetaDuration>,
    /// Log samples of denied connections: who, with whom, and by which policies
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", value_parser = boolean)]
    pub policy_log: Option<bool>,
}
