//! `pointsman cleanup`: removes all that is ours, and nothing else.

use std::io::Write;

use anyhow::{Context, Result, bail};
use sync::iptables::Iptables;

use crate::cli::{CleanupArguments, OutputFormat};

pub(crate) fn run(arguments: &CleanupArguments) -> Result<()> {
    let mut kernel = Iptables::open().context("netfilter cannot be reached")?;
    let cleaned = kernel.cleanup().context("not everything could be removed; run it again")?;
    let mut out = std::io::stdout().lock();
    match arguments.output {
        OutputFormat::Json => {
            let jumps: std::collections::BTreeMap<String, usize> =
                cleaned.jumps.iter().map(|(chain, count)| (chain.to_string(), *count)).collect();
            let kept: std::collections::BTreeMap<String, &str> =
                cleaned.kept.iter().map(|(chain, why)| (chain.to_string(), why.as_str())).collect();
            let report = serde_json::json!({
                "chains": cleaned.chains.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "jumps": jumps,
                "kept": kept,
            });
            serde_json::to_writer_pretty(&mut out, &report)?;
            writeln!(out)?;
        }
        OutputFormat::Text => writeln!(out, "{}", cleaned.to_string().trim_end())?,
    }
    if !cleaned.kept.is_empty() {
        bail!("{} chains could not be removed", cleaned.kept.len());
    }
    Ok(())
}
