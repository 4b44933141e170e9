//! `pointsman render`: what a node would hold, printed; nothing is changed.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use config::{Meant, NetworkPolicyMode, ProxyMode};
use model::{Change, Cluster, Family, Host, HostAddress, Node, Notice};
use plan::Intent;
use render::{iptables, nftables};

use crate::cli::{Border, FamilyName, OutputFormat, RenderArguments};
use crate::commands::run::{self, meant, runtime};

pub(crate) fn run(arguments: &RenderArguments) -> Result<()> {
    let meant = meant(&arguments.proxy)?;
    let node = meant.routing.node_name.clone();
    let (mut cluster, unreadable) = read(&meant, Duration::from_secs(arguments.timeout))?;
    // Where there is no such Node, the plan says what follows.
    if let Some(host) = cluster.node(&node).map(|known| host_of(known)) {
        cluster.apply(Change::Host(host));
    }
    let (intent, notices) = plan::plan(&cluster, &routing(&meant, &cluster));
    notices.iter().for_each(say);
    let mut out = std::io::stdout().lock();
    match arguments.show {
        Border::Cluster => print_json(&mut out, &cluster)?,
        Border::Intent => print_json(&mut out, &intent)?,
        Border::Rules => {
            let texts = rules(&meant, &intent, arguments.family);
            match arguments.output {
                OutputFormat::Text => {
                    for (family, text) in &texts {
                        write!(out, "# {family}\n{text}")?;
                    }
                }
                OutputFormat::Json => {
                    let by_family: serde_json::Map<_, _> = texts
                        .into_iter()
                        .map(|(family, text)| {
                            let lines = text.lines().map(Into::into).collect();
                            (family.to_string(), serde_json::Value::Array(lines))
                        })
                        .collect();
                    print_json(&mut out, &by_family)?;
                }
            }
        }
    }
    out.flush()?;
    if unreadable > 0 {
        bail!("{unreadable} of the manifests could not be read and are not in this output");
    }
    Ok(())
}

/// The rules of each family, as the tool of the mode reads them.
fn rules(meant: &Meant, intent: &Intent, family: Option<FamilyName>) -> Vec<(Family, String)> {
    let families = Family::ALL.into_iter().filter(|&one| match family {
        None => true,
        Some(FamilyName::Ipv4) => one == Family::V4,
        Some(FamilyName::Ipv6) => one == Family::V6,
    });
    let masquerade_bit = meant.masquerade_bit;
    match meant.mode {
        ProxyMode::Iptables => {
            let options = iptables::Options { masquerade_bit, ..Default::default() };
            let ruleset = iptables::ruleset(intent, &options);
            families.map(|family| (family, ruleset.to_text(family))).collect()
        }
        ProxyMode::Nftables => {
            let options = nftables::Options { masquerade_bit, ..Default::default() };
            let (ruleset, left_out) = nftables::ruleset(intent, &options);
            for (service, error) in left_out {
                tracing::warn!(object = %format!("Service {service}"), "left out: {error}");
            }
            families.map(|family| (family, ruleset.to_text(family))).collect()
        }
    }
}

/// What a plan of a whole cluster goes by. Unless it was said whether policies are enforced, they are
/// where there are any: they cannot be read without the permissions that enforcing takes.
pub(crate) fn routing(meant: &Meant, cluster: &Cluster) -> plan::Config {
    let mut routing = meant.routing.clone();
    if meant.network_policy.mode == NetworkPolicyMode::Auto {
        routing.network_policy.enforce = !cluster.network_policies().is_empty()
            || !cluster.cluster_network_policies().is_empty();
    }
    routing
}

/// The cluster as it is now, and how many manifests could not be read.
pub(crate) fn read(meant: &Meant, wait: Duration) -> Result<(Cluster, usize)> {
    let mut cluster = Cluster::default();
    if let Some(folder) = &meant.source.manifests {
        let contents = intake::folder::read(folder)?;
        contents.notices.iter().for_each(say);
        contents.errors.iter().for_each(|error| tracing::error!("{error}"));
        contents.changes.into_iter().for_each(|change| drop(cluster.apply(change)));
        return Ok((cluster, contents.errors.len()));
    }
    let (mut deliveries, _source) =
        run::start_api(meant, run::Reports::to_nobody(meant.network_policy.mode))?;
    let complete = async {
        while let Some(delivery) = deliveries.recv().await {
            delivery.notices.iter().for_each(say);
            delivery.changes.into_iter().for_each(|change| drop(cluster.apply(change)));
            if delivery.complete {
                return Ok(());
            }
        }
        bail!("the Kubernetes API ended the conversation before every list was complete")
    };
    runtime()?.block_on(async {
        tokio::time::timeout(wait, complete).await.with_context(|| {
            format!(
                "the Kubernetes API gave no complete answer within {} s (--timeout); the log above \
                 names the cause",
                wait.as_secs()
            )
        })?
    })?;
    Ok((cluster, 0))
}

/// What the node's machine would say of itself, as far as its Node object knows.
pub(crate) fn host_of(node: &Node) -> Host {
    let own = node.internal_ips.iter().chain(&node.external_ips).copied();
    let named = |interface: &'static str| {
        move |address| HostAddress { address, interface: interface.into() }
    };
    let loopback = Family::ALL.map(Family::loopback);
    Host {
        addresses: own.map(named("node")).chain(loopback.map(named("lo"))).collect(),
        conntrack_be_liberal: false,
    }
}

pub(crate) fn print_json(out: &mut impl Write, value: &impl serde::Serialize) -> Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)?;
    Ok(())
}

fn say(notice: &Notice) {
    tracing::warn!(object = %notice.object, reason = ?notice.reason, "{}", notice.message);
}
