//! What is meant: the checked result that everything else is built from.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::gates::FeatureGates;
use crate::policy::NetworkPolicy;
use crate::v1alpha1::KubeProxyConfiguration;

/// Everything an operator decides about a proxy, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Meant {
    /// What the process is to do.
    pub task: Task,
    /// The decisions that routing depends on, the node's name among them.
    pub routing: plan::Config,
    /// What is to become of network policies. Of `routing`, only what the plan must know.
    pub network_policy: NetworkPolicy,
    /// How rules are written.
    pub mode: ProxyMode,
    /// Which bit of the packet mark asks for masquerading in this mode, 0 to 31.
    pub masquerade_bit: u8,
    /// Whether the kernel must route loopback addresses (`route_localnet`), so that NodePorts
    /// answer there: mode iptables, and loopback is among the node port addresses.
    pub route_localnet: bool,
    /// When to sync.
    pub pace: Pace,
    /// Overrides the node's own address ([`crate::detect_node_ips`]); nothing is bound to it.
    pub bind_address: IpAddr,
    /// Where health is served; none for nowhere.
    pub healthz: Option<SocketAddr>,
    /// Where metrics are served.
    pub metrics: SocketAddr,
    /// Whether the process ends if one of the two cannot be bound.
    pub bind_address_hard_fail: bool,
    /// Whether profiling was asked for.
    pub profiling: bool,
    /// Settings of connection tracking.
    pub conntrack: Conntrack,
    /// How readily the kernel kills the process when memory runs out, -1000 to 1000.
    pub oom_score_adj: i32,
    /// Where the cluster is read from.
    pub source: Source,
    /// How to log.
    pub logging: Logging,
    /// The features that may be switched.
    pub features: FeatureGates,
    /// The file of `--config`, which the process should watch.
    pub config_file: Option<PathBuf>,
    /// What was said, with flags and defaults in it: [`crate::write_config`] writes it.
    pub effective: KubeProxyConfiguration,
}

/// What the process is to do, in the order in which kube-proxy asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Write the effective configuration to this file and exit.
    WriteConfig(PathBuf),
    /// Remove every rule and exit.
    Cleanup,
    /// Do what needs full privileges and exit.
    InitOnly,
    /// Serve until stopped.
    Serve,
}

/// How rules are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProxyMode {
    /// kube-proxy's chains, listed by iptables.
    Iptables,
    /// A table of our own.
    Nftables,
}

impl ProxyMode {
    /// As the field `mode` writes it.
    pub fn name(self) -> &'static str {
        match self {
            ProxyMode::Iptables => "iptables",
            ProxyMode::Nftables => "nftables",
        }
    }
}

/// When to sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The longest time until a failed sync is tried again; health allows twice as long.
    pub sync_period: Duration,
    /// The least time between the end of a sync and the next.
    pub min_sync_period: Duration,
}

/// Settings of connection tracking; `None` and 0 leave the kernel's value alone.
///
/// The kernel counts its timeouts in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conntrack {
    /// Connections to track per CPU; 0 leaves the limit alone, whatever `min` says.
    pub max_per_core: u32,
    /// The least number of connections to track.
    pub min: u32,
    /// Whether packets out of the TCP window count as valid.
    pub tcp_be_liberal: bool,
    /// `nf_conntrack_tcp_timeout_close_wait`
    pub tcp_close_wait_timeout: Option<Duration>,
    /// `nf_conntrack_tcp_timeout_established`
    pub tcp_established_timeout: Option<Duration>,
    /// `nf_conntrack_udp_timeout_stream`
    pub udp_stream_timeout: Option<Duration>,
    /// `nf_conntrack_udp_timeout`
    pub udp_timeout: Option<Duration>,
}

/// Where the cluster is read from.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// A folder of manifests instead of the API, whatever the other fields say.
    pub manifests: Option<PathBuf>,
    /// A kubeconfig; with neither it nor `master`, the Pod's own service account.
    pub kubeconfig: Option<PathBuf>,
    /// The API server's URL, over the kubeconfig's.
    pub master: Option<String>,
    /// Requests a second; negative for no limit.
    pub qps: f32,
    /// How many requests may exceed that for a moment.
    pub burst: u32,
    /// How often everything is to be read from the API anew.
    pub config_sync_period: Duration,
}

/// How to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logging {
    /// The form of the lines.
    pub format: LogFormat,
    /// klog's level: 0 what matters to an operator, 2 each sync, 4 each decision.
    pub verbosity: u32,
}

/// The forms of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}
