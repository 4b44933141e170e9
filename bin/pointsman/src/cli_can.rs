//! What may be said to `pointsman can`.

use clap::Args;
use config::flags::ProxyFlags;

use crate::cli::{FamilyName, OutputFormat};

pub(crate) const EXAMPLES: &str = "\
Examples:
  pointsman can --manifests ./services pod/shop/client web.shop:80
  pointsman can --manifests ./services pod/shop/client pod/shop/db-1:5432/tcp
  pointsman can --kubeconfig ~/.kube/config outside/198.51.100.7 pod/shop/web-1:8080
  pointsman can --manifests ./services --matrix shop
  pointsman can --manifests ./services --matrix shop --from web --from 198.51.100.7 --port 8080

Exit codes: 0 allowed (a table was printed), 1 denied, 2 allowed to some of the endpoints alone, \
3 there is no connection to judge, by another cause than policies, 4 the question could not be answered.";

/// `pointsman can`
#[derive(Args, Debug)]
pub(crate) struct CanArguments {
    /// Who asks: pod/NAMESPACE/NAME, node/NAME, outside/ADDRESS or an address
    #[arg(value_name = "SOURCE", required_unless_present = "matrix")]
    pub(crate) source: Option<String>,
    /// Whom: the same, or the name of a Service, with the port and, unless it is tcp, the protocol
    #[arg(value_name = "DESTINATION:PORT[/PROTOCOL]", required_unless_present = "matrix")]
    pub(crate) destination: Option<String>,
    /// Print who reaches what among the Pods of this namespace
    #[arg(long, value_name = "NAMESPACE", conflicts_with_all = ["source", "destination"])]
    pub(crate) matrix: Option<String>,
    /// More who ask, for the table: the Pods of a namespace, or an address (may be given again)
    #[arg(long, value_name = "NAMESPACE|ADDRESS", requires = "matrix")]
    pub(crate) from: Vec<String>,
    /// The ports of the table [default: those that Pods declare with a name, or Services lead to]
    #[arg(long, value_name = "PORT[/PROTOCOL]", requires = "matrix")]
    pub(crate) port: Vec<String>,
    /// Ask in this family [default: the first that both ends have]
    #[arg(long, value_enum)]
    pub(crate) family: Option<FamilyName>,
    /// List the rules that did not match where the answer is yes, too
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
