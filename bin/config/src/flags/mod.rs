//! The command line: every flag of kube-proxy by its name, and some of our own.
//!
//! Nothing has a default here: whether a flag was given decides what counts. Defaults are those of
//! the file ([`crate::v1alpha1`]), which flags change.

mod given;
mod policy;

use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};

pub use given::{counts_beside_config, normalize};
pub use policy::PolicyFlags;

use crate::duration::MetaDuration;

/// What may be said on the command line of a proxy.
///
/// With `--config`, only the flags that [`counts_beside_config`] names have a say; the others are
/// ignored with a warning, as kube-proxy ignores them. A flag given twice counts as said last.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(args_override_self = true)]
pub struct ProxyFlags {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub process: ProcessFlags,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub source: SourceFlags,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub routing: RoutingFlags,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub policy: PolicyFlags,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub serving: ServingFlags,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub conntrack: ConntrackFlags,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub ipvs: IpvsFlags,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub logging: LoggingFlags,
}

/// What the process is to do.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(next_help_heading = "Configuration")]
pub struct ProcessFlags {
    /// A KubeProxyConfiguration (v1alpha1); most other flags then have no say
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Write the effective configuration to this file and exit
    #[arg(long, value_name = "FILE")]
    pub write_config_to: Option<PathBuf>,
    /// Remove every rule of a proxy from this node and exit
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", value_parser = boolean)]
    pub cleanup: Option<bool>,
    /// Do what needs full privileges (sysctls) and exit
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", value_parser = boolean)]
    pub init_only: Option<bool>,
    /// Features to switch, by name
    #[arg(long, value_name = "GATE=BOOL,…", value_delimiter = ',', action = ArgAction::Append)]
    pub feature_gates: Option<Vec<String>>,
    /// How readily the kernel kills the process when memory runs out, -1000 to 1000 [default: -999]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub oom_score_adj: Option<i32>,
}

/// Where the cluster is read from.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(next_help_heading = "Source")]
pub struct SourceFlags {
    /// A folder of YAML or JSON manifests instead of the Kubernetes API
    #[arg(long, value_name = "DIR", conflicts_with_all = ["kubeconfig", "master"])]
    pub manifests: Option<PathBuf>,
    /// How to reach the Kubernetes API; without it, the Pod's own service account
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The API server's URL, over the kubeconfig's
    #[arg(long, value_name = "URL")]
    pub master: Option<String>,
    /// This node's name [default: the host's name in lower case]
    #[arg(long, visible_alias = "node", value_name = "NAME")]
    pub hostname_override: Option<String>,
    /// Accepted; the API is spoken to in JSON
    #[arg(long, value_name = "TYPE")]
    pub kube_api_content_type: Option<String>,
    /// Requests a second to the API [default: 5]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub kube_api_qps: Option<f32>,
    /// How many requests may exceed that for a moment [default: 10]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub kube_api_burst: Option<i32>,
    /// How often everything is read from the API anew [default: 15m]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub config_sync_period: Option<MetaDuration>,
}

/// What routing depends on.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(next_help_heading = "Routing")]
pub struct RoutingFlags {
    /// How rules are written: iptables, nftables, or ipvs (answered by nftables) [default: iptables]
    #[arg(long, value_name = "MODE")]
    pub proxy_mode: Option<String>,
    /// How a packet from a Pod is told from one of outside: ClusterCIDR, NodeCIDR, BridgeInterface,
    /// InterfaceNamePrefix [default: ClusterCIDR]
    #[arg(long, value_name = "MODE")]
    pub detect_local_mode: Option<String>,
    /// The addresses of all Pods, one block a family [detect-local-mode ClusterCIDR]
    #[arg(long, value_name = "CIDR,…")]
    pub cluster_cidr: Option<String>,
    /// The bridge that Pods are attached to [detect-local-mode BridgeInterface]
    #[arg(long, value_name = "NAME")]
    pub pod_bridge_interface: Option<String>,
    /// How the names of Pod interfaces start [detect-local-mode InterfaceNamePrefix]
    #[arg(long, value_name = "PREFIX")]
    pub pod_interface_name_prefix: Option<String>,
    /// Where NodePorts answer: blocks of addresses, or the word "primary" [default: everywhere;
    /// primary in mode nftables]
    #[arg(long, value_name = "CIDR,…", value_delimiter = ',', action = ArgAction::Append)]
    pub nodeport_addresses: Option<Vec<String>>,
    /// Masquerade everything that is sent to cluster IPs
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", value_parser = boolean)]
    pub masquerade_all: Option<bool>,
    /// Which bit of the packet mark asks for masquerading [default: 14]
    #[arg(long, value_name = "0-31", allow_negative_numbers = true)]
    pub iptables_masquerade_bit: Option<i32>,
    /// Let IPv4 NodePorts answer on loopback addresses in mode iptables [default: true]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", value_parser = boolean)]
    pub iptables_localhost_nodeports: Option<bool>,
    /// The longest time until a failed sync is tried again, in every mode but ipvs [default: 30s]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub iptables_sync_period: Option<MetaDuration>,
    /// The least time between two syncs, in every mode but ipvs [default: 1s]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub iptables_min_sync_period: Option<MetaDuration>,
    /// What meets a client where internalTrafficPolicy is Local and this node has no endpoint
    /// [default: drop]
    #[arg(long, value_enum)]
    pub no_local_endpoints: Option<NoLocalEndpoints>,
}

/// See [`plan::OnNoLocalEndpoints`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NoLocalEndpoints {
    /// Silence, as kube-proxy
    Drop,
    /// An ICMP error at once
    Reject,
}

/// Where health and metrics are served.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(next_help_heading = "Serving")]
pub struct ServingFlags {
    /// Overrides the node's own address and primary family; nothing is bound to it [default:
    /// 0.0.0.0]
    #[arg(long, value_name = "IP")]
    pub bind_address: Option<String>,
    /// Where health is served; empty for nowhere [default: 0.0.0.0:10256]
    #[arg(long, value_name = "IP[:PORT]")]
    pub healthz_bind_address: Option<String>,
    /// Where metrics are served [default: 127.0.0.1:10249]
    #[arg(long, value_name = "IP[:PORT]")]
    pub metrics_bind_address: Option<String>,
    /// End the process if a port cannot be bound
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", value_parser = boolean)]
    pub bind_address_hard_fail: Option<bool>,
    /// Serve /debug/pprof beside the metrics
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", value_parser = boolean)]
    pub profiling: Option<bool>,
    /// The previous minor version of Kubernetes, to show metrics hidden since
    #[arg(long, value_name = "VERSION")]
    pub show_hidden_metrics_for_version: Option<String>,
    /// Deprecated: use --healthz-bind-address
    #[arg(long, value_name = "PORT", allow_negative_numbers = true)]
    pub healthz_port: Option<i32>,
    /// Deprecated: use --metrics-bind-address
    #[arg(long, value_name = "PORT", allow_negative_numbers = true)]
    pub metrics_port: Option<i32>,
    /// Accepted and ignored
    #[arg(long, value_name = "FILE", hide = true)]
    pub boot_id_file: Option<String>,
    /// Accepted and ignored
    #[arg(long, value_name = "FILE", hide = true)]
    pub machine_id_file: Option<String>,
}

/// Connection tracking.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(next_help_heading = "Connection tracking")]
pub struct ConntrackFlags {
    /// Connections to track per CPU; 0 leaves the kernel's limit alone [default: 32768]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub conntrack_max_per_core: Option<i32>,
    /// The least number of connections to track [default: 131072]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub conntrack_min: Option<i32>,
    /// How long an idle TCP connection is kept; 0 leaves the kernel's time alone [default: 24h]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub conntrack_tcp_timeout_established: Option<MetaDuration>,
    /// How long a half-closed TCP connection is kept; 0 leaves the kernel's time alone [default: 1h]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub conntrack_tcp_timeout_close_wait: Option<MetaDuration>,
    /// Let packets out of the TCP window count as valid
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", value_parser = boolean)]
    pub conntrack_tcp_be_liberal: Option<bool>,
    /// How long an unanswered UDP flow is kept; 0 leaves the kernel's time alone [default: 0]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub conntrack_udp_timeout: Option<MetaDuration>,
    /// How long an answered UDP flow is kept; 0 leaves the kernel's time alone [default: 0]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub conntrack_udp_timeout_stream: Option<MetaDuration>,
}

/// For mode ipvs, which mode nftables answers: the two periods count, the rest is ignored.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(next_help_heading = "Mode ipvs")]
pub struct IpvsFlags {
    /// The longest time until a failed sync is tried again, in mode ipvs [default: 30s]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, hide = true)]
    pub ipvs_sync_period: Option<MetaDuration>,
    /// The least time between two syncs, in mode ipvs [default: 0]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, hide = true)]
    pub ipvs_min_sync_period: Option<MetaDuration>,
    /// Accepted and ignored
    #[arg(long, value_name = "NAME", hide = true)]
    pub ipvs_scheduler: Option<String>,
    /// Accepted and ignored
    #[arg(long, value_name = "CIDR,…", value_delimiter = ',', action = ArgAction::Append, hide = true)]
    pub ipvs_exclude_cidrs: Option<Vec<String>>,
    /// Accepted and ignored
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", value_parser = boolean, hide = true)]
    pub ipvs_strict_arp: Option<bool>,
    /// Accepted and ignored
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, hide = true)]
    pub ipvs_tcp_timeout: Option<MetaDuration>,
    /// Accepted and ignored
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, hide = true)]
    pub ipvs_tcpfin_timeout: Option<MetaDuration>,
    /// Accepted and ignored
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, hide = true)]
    pub ipvs_udp_timeout: Option<MetaDuration>,
}

/// How to log, by klog's names; over what a file says.
///
/// A program may flatten them beside its commands too: a word before the command then reaches the
/// [`ProxyFlags`] of the command, and one behind it the program.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(next_help_heading = "Logging")]
pub struct LoggingFlags {
    /// How much to log: 0 what matters to an operator, 2 each sync, 4 each decision [default: 0]
    #[arg(short = 'v', long = "v", global = true, value_name = "LEVEL")]
    pub v: Option<u32>,
    /// The form of the log: text or json [default: text]
    #[arg(long, global = true, value_name = "FORMAT")]
    pub logging_format: Option<String>,
    /// Accepted and ignored: there are no source files of these names
    #[arg(long, global = true, value_name = "PATTERN=LEVEL,…", value_delimiter = ',', action = ArgAction::Append)]
    pub vmodule: Option<Vec<String>>,
    /// Accepted and ignored: nothing is buffered [default: 5s]
    #[arg(long, global = true, value_name = "DURATION", allow_hyphen_values = true)]
    pub log_flush_frequency: Option<MetaDuration>,
    /// Accepted and ignored
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", value_parser = boolean, hide = true)]
    pub log_text_split_stream: Option<bool>,
    /// Accepted and ignored
    #[arg(long, global = true, value_name = "BYTES", hide = true)]
    pub log_text_info_buffer_size: Option<String>,
    /// Accepted and ignored
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", value_parser = boolean, hide = true)]
    pub log_json_split_stream: Option<bool>,
    /// Accepted and ignored
    #[arg(long, global = true, value_name = "BYTES", hide = true)]
    pub log_json_info_buffer_size: Option<String>,
}

/// The words that Go's flags take for a truth value.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("expected true or false".into()),
    }
}
