//! What shows only once node and kernel are known: kube-proxy's checks at a start.

use std::fs;
use std::net::IpAddr;

use anyhow::{Result, bail};
use config::{Meant, StartupFacts, detect_node_ips};
use model::{Cluster, Family};
use tracing::warn;

/// Listed while the kernel has IPv6 at all.
const IPV6: &str = "/proc/net/if_inet6";
/// `1` where it is switched off for every interface of this network namespace.
const IPV6_DISABLED: &str = "/proc/sys/net/ipv6/conf/all/disable_ipv6";

/// Checks the configuration against the cluster's first word on this node.
///
/// # Errors
/// What kube-proxy would not start with either; nothing has been written by then.
pub(crate) fn check(meant: &Meant, cluster: &Cluster) -> Result<()> {
    let node = cluster.node(&meant.routing.node_name);
    let addresses: Vec<IpAddr> = node
        .iter()
        .flat_map(|node| node.internal_ips.iter().chain(&node.external_ips))
        .copied()
        .collect();
    let primary = detect_node_ips(meant.bind_address, &addresses).primary;
    let facts = StartupFacts {
        primary,
        dual_stack: primary == Family::V6 || routes_ipv6(),
        pod_cidrs: node.map_or(&[], |node| &node.pod_cidrs),
    };
    let check = meant.check_startup(&facts);
    check.warnings.iter().for_each(|warning| warn!("{warning}"));
    if check.faults.is_empty() {
        return Ok(());
    }
    let faults: Vec<String> = check.faults.iter().map(ToString::to_string).collect();
    bail!("{}; the kernel keeps what it had", faults.join("; "))
}

fn routes_ipv6() -> bool {
    let disabled = fs::read_to_string(IPV6_DISABLED).is_ok_and(|value| value.trim() == "1");
    fs::exists(IPV6).unwrap_or(false) && !disabled
}
