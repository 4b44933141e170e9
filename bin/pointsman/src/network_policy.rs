//! What `--network-policy` and the flags beside it come to at a start.

use anyhow::{Context, Result, ensure};
use config::{ExistingConnections, Meant, NetworkPolicyMode};
use intake::api::PolicyDecision;
use plan::policy::CONDEMNED_CT_MARK;
use render::nftables::Options;
use sync::nflog::Logged;
use tokio::sync::mpsc::{self, Receiver};

use crate::denied;
use crate::existing::Existing;
use crate::views::View;
use crate::views::policy_log::PolicyLogView;

/// How rules of nftables mode are written.
///
/// # Errors
/// If the bit that asks for masquerading is the one that policies cut connections off by: one would
/// be taken for the other, and what is to be masqueraded would be dropped.
pub(crate) fn nftables_options(meant: &Meant) -> Result<Options> {
    let policy = &meant.network_policy;
    let options = Options {
        masquerade_bit: meant.masquerade_bit,
        policy_log: log_group(meant),
        ..Options::default()
    };
    ensure!(
        policy.mode == NetworkPolicyMode::Off || options.mark() != CONDEMNED_CT_MARK,
        "--iptables-masquerade-bit={}: network policies use this bit of the connection's mark; choose \
         another, or say --network-policy=off",
        meant.masquerade_bit
    );
    Ok(options)
}

/// What is decided where a folder is read, which hides nothing.
pub(crate) fn of_folder(wanted: NetworkPolicyMode) -> PolicyDecision {
    let (enforce, because) = match wanted {
        NetworkPolicyMode::Off => (false, "switched off"),
        NetworkPolicyMode::On => (true, "switched on"),
        NetworkPolicyMode::Auto => (true, "all that is in the folder can be read"),
    };
    PolicyDecision { enforce, because: because.into() }
}

/// What is asked of a source that asks an API.
pub(crate) fn of_api(wanted: NetworkPolicyMode) -> intake::api::NetworkPolicyMode {
    match wanted {
        NetworkPolicyMode::Auto => intake::api::NetworkPolicyMode::Auto,
        NetworkPolicyMode::On => intake::api::NetworkPolicyMode::On,
        NetworkPolicyMode::Off => intake::api::NetworkPolicyMode::Off,
    }
}

/// What judges existing connections.
pub(crate) fn existing(meant: &Meant, wanted: NetworkPolicyMode) -> Existing {
    Existing::open(match wanted {
        NetworkPolicyMode::Off => ExistingConnections::Keep,
        _ => meant.network_policy.existing,
    })
}

/// The group that rules log to.
pub(crate) fn log_group(meant: &Meant) -> Option<u16> {
    meant.network_policy.log.then_some(denied::GROUP)
}

/// Listens to what policies deny, if that is to be told.
pub(crate) fn log(
    meant: &Meant,
    wanted: NetworkPolicyMode,
    views: &mut Vec<Box<dyn View>>,
) -> Result<Receiver<Logged>> {
    if !meant.network_policy.log || wanted == NetworkPolicyMode::Off {
        return Ok(mpsc::channel(1).1);
    }
    views.push(Box::new(PolicyLogView::new(&meant.routing.node_name)));
    denied::listen().context("--policy-log")
}
