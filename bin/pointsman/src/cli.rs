//! What may be said on the command line. `config` turns it into what is meant.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// A Kubernetes service proxy and network-policy enforcer.
///
/// Turns Services and EndpointSlices into netfilter rules, so that every packet reaches the right
/// Pod. A drop-in replacement for kube-proxy.
#[derive(Debug, Parser)]
#[command(name = "pointsman", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) log: LogArguments,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Keep this node's rules in step with the cluster, until stopped (the rules stay)
    #[command(after_help = RUN_EXAMPLES)]
    Run(RunArguments),
    /// Print the rules that a node would hold, and change nothing
    #[command(after_help = RENDER_EXAMPLES)]
    Render(RenderArguments),
    /// Remove every rule and chain of ours from this node, and nothing else
    #[command(after_help = CLEANUP_EXAMPLES)]
    Cleanup(CleanupArguments),
}

const RUN_EXAMPLES: &str = "\
Examples:
  pointsman run --kubeconfig /etc/kubernetes/kubelet.conf --cluster-cidr 10.244.0.0/16
  pointsman run --manifests ./services --node alpha

Exit codes: 0 stopped by a signal, 1 could not start, 2 wrong usage.";

const RENDER_EXAMPLES: &str = "\
Examples:
  pointsman render --manifests ./services --node alpha
  pointsman render --manifests ./services --node alpha --show intent -o json
  pointsman render --kubeconfig ~/.kube/config --node worker-1 | grep my-service

Exit codes: 0 printed, 1 something could not be read (what could be is still printed), 2 wrong usage.";

const CLEANUP_EXAMPLES: &str = "\
Examples:
  pointsman cleanup
  pointsman cleanup -o json
  pointsman cleanup --kube-proxy

Our chains of iptables have kube-proxy's names. Where kube-proxy has taken the node over they are \
its own, and stay unless --kube-proxy is given.

Exit codes: 0 nothing of ours is left, 1 something could not be removed, 2 wrong usage.";

/// How to log; the log goes to standard error.
#[derive(Args, Debug)]
pub(crate) struct LogArguments {
    /// How much to log: 0 what matters to an operator, 2 each sync, 4 each decision
    #[arg(short, long, global = true, default_value_t = 0, value_name = "LEVEL")]
    pub(crate) v: u8,
    /// The form of the log
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) logging_format: LogFormat,
}

/// The forms of the log.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// Where the cluster is read from: a folder, or the Kubernetes API.
#[derive(Args, Debug)]
pub(crate) struct SourceArguments {
    /// A folder of YAML or JSON manifests instead of the Kubernetes API
    #[arg(long, value_name = "DIR", conflicts_with_all = ["kubeconfig", "master"])]
    pub(crate) manifests: Option<PathBuf>,
    /// How to reach the Kubernetes API; without it, the Pod's own service account
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The API server's URL, over the kubeconfig's
    #[arg(long, value_name = "URL")]
    pub(crate) master: Option<String>,
    /// This node's name [default: the host's name in lower case]
    #[arg(long, alias = "hostname-override", value_name = "NAME")]
    pub(crate) node: Option<String>,
}

/// Decisions of the operator, by kube-proxy's flag names.
#[derive(Args, Debug)]
pub(crate) struct RoutingArguments {
    /// How rules are written
    #[arg(long, value_enum, default_value_t = ProxyMode::Iptables)]
    pub(crate) proxy_mode: ProxyMode,
    /// How a packet from a Pod is told from one of outside
    #[arg(long, value_enum, default_value_t = DetectLocalMode::ClusterCidr)]
    pub(crate) detect_local_mode: DetectLocalMode,
    /// The addresses of all Pods, one block a family [detect-local-mode ClusterCIDR]
    #[arg(long, value_name = "CIDR,…", value_delimiter = ',')]
    pub(crate) cluster_cidr: Vec<String>,
    /// The bridge that Pods are attached to [detect-local-mode BridgeInterface]
    #[arg(long, value_name = "NAME")]
    pub(crate) pod_bridge_interface: Option<String>,
    /// How the names of Pod interfaces start [detect-local-mode InterfaceNamePrefix]
    #[arg(long, value_name = "PREFIX")]
    pub(crate) pod_interface_name_prefix: Option<String>,
    /// Where NodePorts answer: blocks of addresses, or the word "primary" [default: everywhere]
    #[arg(long, value_name = "CIDR,…", value_delimiter = ',')]
    pub(crate) nodeport_addresses: Vec<String>,
    /// Masquerade everything that is sent to cluster IPs
    #[arg(long)]
    pub(crate) masquerade_all: bool,
    /// Which bit of the packet mark asks for masquerading
    #[arg(long, default_value_t = 14, value_name = "0-31", value_parser = clap::value_parser!(u8).range(0..=31))]
    pub(crate) iptables_masquerade_bit: u8,
    /// Let IPv4 NodePorts answer on loopback addresses
    #[arg(long, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", action = clap::ArgAction::Set)]
    pub(crate) iptables_localhost_nodeports: bool,
    /// What meets a client where internalTrafficPolicy is Local and this node has no endpoint
    #[arg(long, value_enum, default_value_t = NoLocalEndpoints::Drop)]
    pub(crate) no_local_endpoints: NoLocalEndpoints,
    /// Feature gates; AllowServiceExternalIPs=false ignores spec.externalIPs
    #[arg(long, value_name = "GATE=BOOL,…", value_delimiter = ',')]
    pub(crate) feature_gates: Vec<String>,
}

/// The dataplanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProxyMode {
    /// kube-proxy's chains, listed by iptables
    Iptables,
}

/// How Pods are recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DetectLocalMode {
    /// By source address, within --cluster-cidr
    #[value(name = "ClusterCIDR")]
    ClusterCidr,
    /// By source address, within the Node's podCIDRs
    #[value(name = "NodeCIDR")]
    NodeCidr,
    /// By the bridge that they come in by
    #[value(name = "BridgeInterface")]
    BridgeInterface,
    /// By the name of the interface that they come in by
    #[value(name = "InterfaceNamePrefix")]
    InterfaceNamePrefix,
}

/// See `plan::OnNoLocalEndpoints`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum NoLocalEndpoints {
    /// Silence, as kube-proxy
    Drop,
    /// An ICMP error at once
    Reject,
}

/// `pointsman run`
#[derive(Args, Debug)]
pub(crate) struct RunArguments {
    #[command(flatten)]
    pub(crate) source: SourceArguments,
    #[command(flatten)]
    pub(crate) routing: RoutingArguments,
    #[command(flatten)]
    pub(crate) dns: DnsArguments,
    /// Write the rules once, when every list is complete, and exit
    #[arg(long)]
    pub(crate) once: bool,
}

/// Answering names.
#[derive(Args, Debug)]
#[command(next_help_heading = "DNS")]
pub(crate) struct DnsArguments {
    /// Answer DNS for the cluster on this address of the node, UDP and TCP (may be given again)
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    pub(crate) dns_address: Vec<String>,
    /// The cluster's domain
    #[arg(long, default_value = "cluster.local", value_name = "DOMAIN")]
    pub(crate) cluster_domain: String,
    /// Where names outside the cluster are asked (may be given again)
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    pub(crate) dns_upstream: Vec<String>,
    /// Whose name servers are asked where no --dns-upstream is given
    #[arg(long, default_value = "/etc/resolv.conf", value_name = "FILE")]
    pub(crate) dns_resolv_conf: PathBuf,
}

/// `pointsman render`
#[derive(Args, Debug)]
pub(crate) struct RenderArguments {
    #[command(flatten)]
    pub(crate) source: SourceArguments,
    #[command(flatten)]
    pub(crate) routing: RoutingArguments,
    /// Which border of the path to print
    #[arg(long, value_enum, default_value_t = Border::Rules)]
    pub(crate) show: Border,
    /// One family alone
    #[arg(long, value_enum)]
    pub(crate) family: Option<FamilyName>,
    /// How long to wait for the Kubernetes API, in seconds
    #[arg(long, default_value_t = 15, value_name = "SECONDS")]
    pub(crate) timeout: u64,
    /// The form of the output
    #[arg(short, long, value_enum, default_value_t = OutputFormat::Text)]
    pub(crate) output: OutputFormat,
}

/// The borders of the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Border {
    /// What was read (JSON)
    Cluster,
    /// What the node must do (JSON)
    Intent,
    /// The rules, as iptables-save prints them
    Rules,
}

/// The families, as flags name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FamilyName {
    Ipv4,
    Ipv6,
}

/// `pointsman cleanup`
#[derive(Args, Debug)]
pub(crate) struct CleanupArguments {
    /// Remove kube-proxy's rules too, of its iptables and its nftables mode
    #[arg(long)]
    pub(crate) kube_proxy: bool,
    /// The form of the output
    #[arg(short, long, value_enum, default_value_t = OutputFormat::Text)]
    pub(crate) output: OutputFormat,
}

/// The forms of a command's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    Text,
    Json,
}
