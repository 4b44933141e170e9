//! What may be said to `pointsman explain`.

use clap::Args;
use config::flags::ProxyFlags;

use crate::cli::{FamilyName, OutputFormat};

pub(crate) const EXAMPLES: &str = "\
Examples:
  pointsman explain --manifests ./services 'tcp pod/shop/client -> web.shop:80'
  pointsman explain --manifests ./services tcp outside/198.51.100.7 to node/alpha:30080
  pointsman explain --kubeconfig ~/.kube/config --node worker-1 'udp node/worker-1 -> 10.96.0.10:53'
  pointsman explain --manifests ./services 'tcp pod/shop/client -> web.shop:80' --why-not shop/web-2
  pointsman explain --kubeconfig ~/.kube/config --kernel 'tcp pod/shop/client -> web.shop:80'

The arrow needs quotes, for the shell takes > as its own; the word 'to' needs none.

Exit codes: 0 delivered, 1 rejected, 2 dropped, 3 undecided (nothing of ours decides, or no packet is \
ever sent), 4 the question could not be answered.";

/// `pointsman explain`
#[derive(Args, Debug)]
pub(crate) struct ExplainArguments {
    /// PROTOCOL SOURCE -> DESTINATION:PORT. A place is pod/NAMESPACE/NAME, node/NAME,
    /// outside/ADDRESS, an address, or (as destination) the name of a Service
    #[arg(required = true, num_args = 1.., value_name = "QUESTION")]
    pub(crate) question: Vec<String>,
    /// Ask in this family [default: the first that both ends have]
    #[arg(long, value_enum)]
    pub(crate) family: Option<FamilyName>,
    /// Say why this endpoint gets no traffic
    #[arg(long, value_name = "NAMESPACE/POD")]
    pub(crate) why_not: Option<String>,
    /// Compare with what the kernel of this machine holds: rules, connections, routes, others' tables
    #[arg(long)]
    pub(crate) kernel: bool,
    /// The interface that the packet comes in by [default: the one that answers would leave by]
    #[arg(long, value_name = "NAME")]
    pub(crate) interface: Option<String>,
    /// List every endpoint and its EndpointSlice
    #[arg(long)]
    pub(crate) verbose: bool,
    /// How long to wait for the Kubernetes API, in seconds
    #[arg(long, default_value_t = 15, value_name = "SECONDS")]
    pub(crate) timeout: u64,
    /// The form of the output
    #[arg(short, long, value_enum, default_value_t = OutputFormat::Text)]
    pub(crate) output: OutputFormat,
    #[command(flatten)]
    pub(crate) proxy: ProxyFlags,
}
