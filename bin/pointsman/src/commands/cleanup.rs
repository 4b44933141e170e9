//! `pointsman cleanup`: removes all that is ours, and nothing else.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::{Context, Result, bail};
use sync::iptables::{Cleaned, Iptables};
use sync::kube_proxy::{self, Removed};

use crate::cli::{CleanupArguments, OutputFormat};

/// What is said where kube-proxy's canaries stand.
const KUBE_PROXY_IS_HERE: &str = "\
the chains KUBE-PROXY-CANARY say that kube-proxy has taken this node over: the KUBE-… chains are its \
own now, and stay (--kube-proxy removes them)";

pub(crate) fn run(arguments: &CleanupArguments) -> Result<()> {
    let mut kernel = Iptables::open().context("netfilter cannot be reached")?;
    let taken_over = !arguments.kube_proxy && kube_proxy::left_canaries()?;
    let mut cleaned = Cleaned::default();
    if !taken_over {
        cleaned = kernel.cleanup().context("not everything could be removed; run it again")?;
    }
    let own = sync::table::remove().context("our table of nftables could not be removed")?;
    let mut removed = Removed::default();
    if arguments.kube_proxy {
        removed = kube_proxy::remove_leftovers()
            .context("not all of kube-proxy's could be removed; run it again")?;
    }
    let mut out = std::io::stdout().lock();
    match arguments.output {
        OutputFormat::Json => {
            serde_json::to_writer_pretty(&mut out, &report(&cleaned, &own, &removed, taken_over))?;
            writeln!(out)?;
        }
        OutputFormat::Text => {
            if !own.tables.is_empty() {
                write!(out, "{own}")?;
            }
            if taken_over {
                writeln!(out, "{KUBE_PROXY_IS_HERE}")?;
            } else {
                writeln!(out, "{}", cleaned.to_string().trim_end())?;
            }
            if !removed.is_empty() {
                writeln!(out, "removed of kube-proxy: {removed}")?;
            }
        }
    }
    if !cleaned.kept.is_empty() {
        bail!("{} chains could not be removed", cleaned.kept.len());
    }
    Ok(())
}

fn report(
    cleaned: &Cleaned,
    own: &sync::table::Cleaned,
    removed: &Removed,
    taken_over: bool,
) -> serde_json::Value {
    let jumps: BTreeMap<String, usize> =
        cleaned.jumps.iter().map(|(chain, count)| (chain.to_string(), *count)).collect();
    let kept: BTreeMap<String, &str> =
        cleaned.kept.iter().map(|(chain, why)| (chain.to_string(), why.as_str())).collect();
    let chains = cleaned.chains.iter().chain(&removed.canaries);
    serde_json::json!({
        "chains": chains.map(ToString::to_string).collect::<Vec<_>>(),
        "jumps": jumps,
        "kept": kept,
        "tables": own.tables.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "tablesOfKubeProxy": removed.tables.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "takenOverByKubeProxy": taken_over,
    })
}
