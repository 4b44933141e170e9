//! What may be said on the command line. The crate `config` turns kube-proxy's flags into what is
//! meant.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use config::flags::{LoggingFlags, ProxyFlags};

/// A Kubernetes service proxy and network-policy enforcer.
///
/// Turns Services and EndpointSlices into netfilter rules, so that every packet reaches the right
/// Pod. A drop-in replacement for kube-proxy.
#[derive(Debug, Parser)]
#[command(name = "pointsman", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) log: LoggingFlags,
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
    /// Ask this node's agent what it knows: writes, watches, what is left out and why
    #[command(after_help = STATUS_EXAMPLES)]
    Status(StatusArguments),
    /// Show Services and endpoints by new connections a second, live (nftables mode)
    #[command(after_help = crate::cli_top::EXAMPLES)]
    Top(crate::cli_top::TopArguments),
    /// Say why a packet does or does not arrive: objects, endpoints, translation, verdict
    #[command(after_help = crate::cli_explain::EXAMPLES)]
    Explain(crate::cli_explain::ExplainArguments),
    /// Say whether policies allow a connection, and which rule decides; or who reaches whom
    #[command(after_help = crate::cli_can::EXAMPLES)]
    Can(crate::cli_can::CanArguments),
    /// Look for what will hurt, in a folder of manifests or a live cluster
    #[command(after_help = crate::cli_lint::EXAMPLES)]
    Lint(crate::cli_lint::LintArguments),
    /// Write what a bug report needs into one file: objects, rules, connections, verdicts
    #[command(after_help = crate::cli_capture::EXAMPLES)]
    Capture(crate::cli_capture::CaptureArguments),
    #[cfg(feature = "lab")]
    /// A small cluster on this machine, made of network namespaces: for learning and for trying
    Lab(crate::cli_lab::LabArguments),
}

const RUN_EXAMPLES: &str = "\
Examples:
  pointsman run --kubeconfig /etc/kubernetes/kubelet.conf --cluster-cidr 10.244.0.0/16
  pointsman run --config /var/lib/kube-proxy/config.conf --hostname-override $(NODE_NAME)
  pointsman run --manifests ./services --node alpha

Exit codes: 0 stopped by a signal, 1 could not start, 2 wrong usage.";

const RENDER_EXAMPLES: &str = "\
Examples:
  pointsman render --manifests ./services --node alpha
  pointsman render --manifests ./services --node alpha --show intent -o json
  pointsman render --kubeconfig ~/.kube/config --node worker-1 | grep my-service
  pointsman render --manifests ./services --node alpha --proxy-mode nftables --family ipv4

Exit codes: 0 printed, 1 something could not be read (what could be is still printed), 2 wrong usage.";

const CLEANUP_EXAMPLES: &str = "\
Examples:
  pointsman cleanup
  pointsman cleanup -o json
  pointsman cleanup --kube-proxy

Our chains of iptables have kube-proxy's names. Where kube-proxy has taken the node over they are \
its own, and stay unless --kube-proxy is given.

Exit codes: 0 nothing of ours is left, 1 something could not be removed, 2 wrong usage.";

const STATUS_EXAMPLES: &str = "\
Examples:
  pointsman status
  kubectl exec -n kube-system pointsman-x7k2p -- pointsman status -o json

Exit codes: 0 ready, 1 not ready, or no agent in this network namespace, 2 wrong usage.";

/// `pointsman status`
#[derive(Args, Debug)]
pub(crate) struct StatusArguments {
    /// The form of the output
    #[arg(short, long, value_enum, default_value_t = OutputFormat::Text)]
    pub(crate) output: OutputFormat,
}

/// `pointsman run`
#[derive(Args, Debug)]
pub(crate) struct RunArguments {
    #[command(flatten)]
    pub(crate) proxy: ProxyFlags,
    #[command(flatten)]
    pub(crate) dns: DnsArguments,
    /// Write the rules once, when every list is complete, and exit
    #[arg(long)]
    pub(crate) once: bool,
    /// After how many seconds without a word a connection to the Kubernetes API counts as dead;
    /// API servers send a bookmark about every minute
    #[arg(long, default_value_t = 90, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) watch_silence: u64,
}

impl RunArguments {
    /// The longest silence of a connection to the API.
    pub(crate) fn silence(&self) -> Duration {
        Duration::from_secs(self.watch_silence)
    }
}

/// Answering names.
#[derive(Args, Debug)]
#[command(next_help_heading = "DNS")]
pub(crate) struct DnsArguments {
    /// Answer DNS for the cluster on this address of the node, UDP and TCP (may be given again). A
    /// link-local or unique local one that the node does not have is put on its loopback interface
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
    pub(crate) proxy: ProxyFlags,
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
    /// The rules, as iptables-save prints them, or in nftables mode as nft loads them
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
