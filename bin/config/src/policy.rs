//! What is meant to become of NetworkPolicies.

use clap::ValueEnum;
use plan::PolicyOptions;

use crate::flags::PolicyFlags;
use crate::meant::ProxyMode;
use crate::notes::Notes;

/// What is meant to become of NetworkPolicies and ClusterNetworkPolicies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkPolicy {
    /// Whether they are enforced.
    pub mode: NetworkPolicyMode,
    /// What happens to connections that a change forbids.
    pub existing: ExistingConnections,
    /// Whether samples of what is denied are logged.
    pub log: bool,
}

/// Whether policies are enforced (`--network-policy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum NetworkPolicyMode {
    /// If Pods, Namespaces and NetworkPolicies may be read
    #[default]
    Auto,
    /// In any case; nothing is written before they could be read
    On,
    /// Never: they are left to others
    Off,
}

/// What happens to connections that a change of policies forbids (`--policy-existing-connections`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ExistingConnections {
    /// They go on until they end by themselves
    Keep,
    /// Not a packet of them passes any more
    #[default]
    Cut,
}

/// How long an unknown address is held back unless the operator says so, in seconds: a kubelet tells
/// the address of a new Pod within a few.
const HOLD_SECONDS: u32 = 10;

/// What is meant by the flags, and what the plan must know of it. Whether `auto` enforces shows
/// later; a plan that is made without asking an API counts it as on.
pub(crate) fn meant(
    flags: &PolicyFlags,
    folder: bool,
    (mode, masquerade_bit): (ProxyMode, u8),
    notes: &mut Notes,
) -> (NetworkPolicy, PolicyOptions) {
    let mut policy = NetworkPolicy {
        mode: flags.network_policy.unwrap_or_default(),
        existing: flags.policy_existing_connections.unwrap_or_default(),
        log: flags.policy_log.unwrap_or_default(),
    };
    // In this mode the bit is set in the marks of connections too.
    let taken = mode == ProxyMode::Nftables
        && plan::policy::CONDEMNED_CT_MARK == 1_u32.checked_shl(masquerade_bit.into()).unwrap_or(0);
    if taken && policy.mode != NetworkPolicyMode::Off {
        let text = "this bit marks connections that network policies have cut off; choose another, \
                    or --network-policy=off";
        match policy.mode {
            NetworkPolicyMode::On => notes.fault("nftables.masqueradeBit", text),
            _ => notes.warn("nftables.masqueradeBit", format!("{text}. Policies stay off")),
        }
        policy.mode = NetworkPolicyMode::Off;
    }
    let options = PolicyOptions {
        enforce: policy.mode != NetworkPolicyMode::Off,
        hold_unknown_seconds: hold(flags, notes),
        // A folder holds the Nodes of the whole cluster; of an API, the own one is watched.
        all_nodes: folder,
        ..PolicyOptions::default()
    };
    (policy, options)
}

fn hold(flags: &PolicyFlags, notes: &mut Notes) -> Option<u32> {
    let Some(said) = flags.policy_hold_unknown else { return Some(HOLD_SECONDS) };
    let length = said.to_std();
    let whole = length.filter(|length| length.subsec_nanos() == 0);
    match whole.and_then(|length| u32::try_from(length.as_secs()).ok()) {
        Some(0) => None,
        Some(seconds) => Some(seconds),
        None => {
            let problem = format!("{said}, expected whole seconds, 0 or more");
            notes.fault_flag("policy-hold-unknown", problem);
            None
        }
    }
}
