//! What may be said to `pointsman capture`.

use std::path::PathBuf;

use clap::Args;
use config::flags::ProxyFlags;

pub(crate) const EXAMPLES: &str = "\
Examples:
  pointsman capture --kubeconfig /etc/kubernetes/kubelet.conf --node worker-1 > report.json
  pointsman capture --kubeconfig ~/.kube/config --node worker-1 --redact --out report.json

Run it on the node: what the kernel holds is read there. Nothing is changed. `pointsman lab replay` \
brings the file up elsewhere.

Exit codes: 0 written (the file names what could not be read), 1 not written, 2 wrong usage.";

/// `pointsman capture`
#[derive(Args, Debug)]
pub(crate) struct CaptureArguments {
    #[command(flatten)]
    pub(crate) form: CaptureForm,
    /// Print what this network namespace's kernel holds, and nothing else
    #[arg(long, hide = true)]
    pub(crate) kernel: bool,
    #[command(flatten)]
    pub(crate) proxy: ProxyFlags,
}

/// How a capture is written.
#[derive(Args, Clone, Debug)]
pub(crate) struct CaptureForm {
    /// Replace every name, label and address, the same one always by the same
    #[arg(long)]
    pub(crate) redact: bool,
    /// Write to this file [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}
