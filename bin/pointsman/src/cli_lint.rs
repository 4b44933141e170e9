//! What may be said to `pointsman lint`.

use clap::{Args, ValueEnum};
use config::flags::ProxyFlags;

pub(crate) const EXAMPLES: &str = "\
Examples:
  pointsman lint --manifests ./services
  pointsman lint --kubeconfig ~/.kube/config -o json
  pointsman lint --manifests ./services -o sarif > pointsman.sarif

Exit codes: 0 nothing found, 1 findings (all are printed), 2 wrong usage, 3 something could not be read.";

/// `pointsman lint`
#[derive(Args, Debug)]
pub(crate) struct LintArguments {
    /// How long to wait for the Kubernetes API, in seconds
    #[arg(long, default_value_t = 15, value_name = "SECONDS")]
    pub(crate) timeout: u64,
    /// The form of the output
    #[arg(short, long, value_enum, default_value_t = LintFormat::Text)]
    pub(crate) output: LintFormat,
    #[command(flatten)]
    pub(crate) proxy: ProxyFlags,
}

/// The forms of the findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LintFormat {
    /// For people
    Text,
    /// A list of objects
    Json,
    /// SARIF 2.1.0, for code hosts
    Sarif,
}
