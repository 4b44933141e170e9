//! What may be said to `pointsman lab`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::cli_capture::CaptureForm;

/// `pointsman lab`
#[derive(Args, Debug)]
pub(crate) struct LabArguments {
    #[command(subcommand)]
    pub(crate) command: LabCommand,
}

/// The commands of `pointsman lab`.
#[derive(Debug, Subcommand)]
pub(crate) enum LabCommand {
    /// Start a lab: nodes, a network, an API for kubectl, DNS, and one agent a node
    #[command(after_help = UP_EXAMPLES)]
    Up(UpArguments),
    /// Stop a lab, and remove everything that it made
    Down(NameArguments),
    /// List the labs, with their nodes and Pods
    Status,
    /// Run a command in a Pod, on a node, or on the host outside
    #[command(after_help = EXEC_EXAMPLES)]
    Exec(ExecArguments),
    /// Open a shell in a Pod, on a node, or on the host outside
    Shell(ShellArguments),
    /// Play the lesson of the README in a lab of its own, and check every answer
    Demo(DemoArguments),
    /// Write a lab into one file: objects, rules, connections and verdicts of every node
    Capture(CaptureArguments),
    /// Bring a capture up as a lab, and hold its verdicts against those of the file
    #[command(after_help = REPLAY_EXAMPLES)]
    Replay(ReplayArguments),
    /// Be a lab (`up` starts this in the background)
    #[command(hide = true)]
    Hold(UpArguments),
}

const UP_EXAMPLES: &str = "\
Examples:
  eval \"$(pointsman lab up)\"; kubectl get nodes
  pointsman lab up --name six --nodes 3 --dual-stack

Standard output is what a shell needs to use the lab. Exit codes: 0 it is up, 1 it could not be \
started (nothing is left of it), 2 wrong usage.";

const REPLAY_EXAMPLES: &str = "\
Examples:
  pointsman lab capture --out report.json; pointsman lab replay report.json --name again
  pointsman capture --kubeconfig ~/.kube/config --node worker-1 --out report.json   # on the node

EndpointSlices are those of the file, and no controller changes them. Exit codes: 0 every verdict is as \
captured, 1 it is not (the lab stands) or the lab could not be started, 2 wrong usage.";

const EXEC_EXAMPLES: &str = "\
Examples:
  pointsman lab exec node/node-1 -- iptables -t nat -L -n -v
  pointsman lab exec pod/client -- curl -s my-service:80
  pointsman lab exec outside -- curl -s 10.9.0.1:30080

Exit codes: those of the command; 1 if it could not be started.";

/// Which lab.
#[derive(Args, Clone, Debug)]
pub(crate) struct NameArguments {
    /// The lab's name
    #[arg(long, env = "POINTSMAN_LAB", default_value = "lab", value_name = "NAME")]
    pub(crate) name: String,
}

/// `pointsman lab up`
#[derive(Args, Clone, Debug)]
pub(crate) struct UpArguments {
    #[command(flatten)]
    pub(crate) lab: NameArguments,
    /// How many nodes
    #[arg(long, default_value_t = 2, value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) nodes: u8,
    /// How the agents write rules
    #[arg(long, value_enum, default_value_t = LabMode::Iptables)]
    pub(crate) mode: LabMode,
    /// IPv6 alone
    #[arg(long, conflicts_with = "dual_stack")]
    pub(crate) ipv6: bool,
    /// IPv4 and IPv6
    #[arg(long)]
    pub(crate) dual_stack: bool,
    /// Begin with the objects of this file
    #[arg(long, hide = true)]
    pub(crate) objects: Option<PathBuf>,
}

/// `pointsman lab capture`
#[derive(Args, Clone, Debug)]
pub(crate) struct CaptureArguments {
    #[command(flatten)]
    pub(crate) lab: NameArguments,
    #[command(flatten)]
    pub(crate) form: CaptureForm,
}

/// `pointsman lab replay`
#[derive(Args, Clone, Debug)]
pub(crate) struct ReplayArguments {
    #[command(flatten)]
    pub(crate) lab: NameArguments,
    /// What `capture` has written
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// The modes of a lab's agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LabMode {
    /// kube-proxy's chains, listed by iptables
    Iptables,
    /// A table of our own, listed by nft
    Nftables,
}

impl LabMode {
    /// As `--proxy-mode` takes it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Iptables => "iptables",
            Self::Nftables => "nftables",
        }
    }
}

/// `pointsman lab exec`
#[derive(Args, Debug)]
pub(crate) struct ExecArguments {
    #[command(flatten)]
    pub(crate) lab: NameArguments,
    /// pod/NAME, pod/NAMESPACE/NAME, node/NAME or outside
    #[arg(value_name = "PLACE")]
    pub(crate) place: String,
    /// The command, behind `--`
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// `pointsman lab shell`
#[derive(Args, Debug)]
pub(crate) struct ShellArguments {
    #[command(flatten)]
    pub(crate) lab: NameArguments,
    /// pod/NAME, pod/NAMESPACE/NAME, node/NAME or outside
    #[arg(value_name = "PLACE")]
    pub(crate) place: String,
}

/// `pointsman lab demo`
#[derive(Args, Debug)]
pub(crate) struct DemoArguments {
    /// Play another text than the README's lesson
    #[arg(long, value_name = "FILE")]
    pub(crate) script: Option<PathBuf>,
}
