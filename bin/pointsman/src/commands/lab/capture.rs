//! `pointsman lab capture`: a lab in one file.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use explain::Mode;
use intake::api::ApiOptions;
use lab_cluster::ClusterOptions;
use model::Family;

use super::control::{Answer, Question, ask};
use super::folder::Folder;
use crate::cli_lab::CaptureArguments;
use crate::commands::capture::{self, Kernel, Routing};

pub(super) fn capture(arguments: &CaptureArguments) -> Result<()> {
    let folder = Folder::of(&arguments.lab.name)?;
    let Answer::Status(status) = ask(&folder, &Question::Status)? else {
        bail!("lab {:?} gave a wrong answer", folder.name)
    };
    let mode = Mode::ALL.into_iter().find(|mode| mode.to_string() == status.mode);
    let mode = mode.with_context(|| format!("no verdicts are known of mode {}", status.mode))?;
    let nodes = status.places.iter().filter_map(|place| place.strip_prefix("node/"));
    let kernels = nodes.map(|node| Ok((node.to_owned(), kernel_of(&folder.name, node)?)));
    let kernels = kernels.collect::<Result<Vec<_>>>()?;
    let api = ApiOptions {
        kubeconfig: Some(folder.file("kubeconfig")),
        master: None,
        node_name: "".into(),
    };
    capture::write(capture::take(api, routing(mode), kernels)?, &arguments.form)
}

/// How a lab's agents tell Pods.
pub(super) fn routing(mode: Mode) -> Routing {
    let any = ClusterOptions { nodes: 1, families: Family::ALL.to_vec() };
    Routing { mode, cluster_cidrs: any.cluster_cidrs().into_iter().map(str::to_owned).collect() }
}

/// What the kernel holds in a node's network, read there.
fn kernel_of(lab: &str, node: &str) -> Result<Kernel> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let place = format!("node/{node}");
    let output = Command::new(&program)
        .args(["lab", "exec", "--name", lab, &place, "--"])
        .arg(&program)
        .args(["capture", "--kernel"])
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the kernel of {place} cannot be read: {}", said.trim());
    serde_json::from_slice(&output.stdout).with_context(|| format!("what {place} said"))
}
