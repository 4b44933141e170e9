//! `pointsman capture`: what a bug report needs, in one file; nothing is changed.
//!
//! Objects come from the API, rules and connections from the kernel of the node it runs on, and
//! verdicts from what is planned for the objects: one for each frontend and class of source.
//! `pointsman lab replay` makes a lab of the objects and asks for the verdicts again.

mod bundle;
mod kernel;
mod names;
mod objects;
mod roles;
#[cfg(test)]
mod tests;
mod verdicts;

use std::io::Write;

use anyhow::{Context, Result, bail};
use config::ProxyMode;
use intake::api::ApiOptions;
use plan::DetectLocal;

pub(crate) use bundle::{Bundle, Kernel, NodeState, Routing};
#[cfg(feature = "lab")]
pub(crate) use bundle::{Verdict, items, text};
pub(crate) use names::{Names, Wish};
#[cfg(feature = "lab")]
pub(crate) use verdicts::of_node as verdicts_of;

use crate::cli_capture::{CaptureArguments, CaptureForm};
use crate::commands::run::{meant, runtime};

pub(crate) fn run(arguments: &CaptureArguments) -> Result<()> {
    if arguments.kernel {
        let held = kernel::read()?;
        serde_json::to_writer(std::io::stdout().lock(), &held)?;
        return Ok(());
    }
    let meant = meant(&arguments.proxy)?;
    if meant.source.manifests.is_some() {
        bail!("capture reads a live cluster; a folder of manifests is a report as it is");
    }
    let api = ApiOptions {
        kubeconfig: meant.source.kubeconfig.clone(),
        master: meant.source.master.clone(),
        node_name: meant.routing.node_name.clone(),
    };
    let routing = Routing {
        mode: match meant.mode {
            ProxyMode::Iptables => explain::Mode::Iptables,
            ProxyMode::Nftables => explain::Mode::Nftables,
        },
        cluster_cidrs: match &meant.routing.detect_local {
            DetectLocal::ClusterCidr(blocks) => blocks.iter().map(ToString::to_string).collect(),
            _ => Vec::new(),
        },
    };
    let node = meant.routing.node_name.to_string();
    let bundle = take(api, routing, vec![(node, kernel::read()?)])?;
    write(bundle, &arguments.form)
}

/// Asks the API for the objects, and adds what the kernels of these nodes hold.
pub(crate) fn take(
    api: ApiOptions,
    routing: Routing,
    kernels: Vec<(String, Kernel)>,
) -> Result<Bundle> {
    let (objects, left_out) = runtime()?.block_on(objects::list(api))?;
    let mut nodes = Vec::new();
    for (name, kernel) in kernels {
        let verdicts = verdicts::of_node(&objects, &name, &routing)?;
        nodes.push(NodeState { name, kernel, verdicts });
    }
    Ok(Bundle::new(routing, objects, nodes, left_out))
}

/// Writes a bundle, in other names if that is wished.
pub(crate) fn write(mut bundle: Bundle, form: &CaptureForm) -> Result<()> {
    if form.redact {
        bundle = Names::of(&bundle, Wish::Redact).apply(bundle)?;
    }
    let text = serde_json::to_string_pretty(&bundle)? + "\n";
    match &form.out {
        Some(path) => {
            std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
        }
        None => Ok(std::io::stdout().lock().write_all(text.as_bytes())?),
    }
}

/// Reads a bundle from a file.
#[cfg(feature = "lab")]
pub(crate) fn read(path: &std::path::Path) -> Result<Bundle> {
    let text = std::fs::read_to_string(path);
    let text = text.with_context(|| format!("cannot read {}", path.display()))?;
    let bundle: Bundle = serde_json::from_str(&text)
        .with_context(|| format!("{} is not a file of `pointsman capture`", path.display()))?;
    bundle.check().with_context(|| path.display().to_string())?;
    Ok(bundle)
}
