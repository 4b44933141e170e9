//! The rules of a node in its kernel, in either mode.

use std::collections::BTreeMap;
use std::process::Output;

use explain::Mode;
use lab::Namespace;
use model::{Family, Owner};
use render::iptables::{Change, Ruleset};
use sync::iptables::{Iptables, Written};
use sync::table::Nftables;

use super::listing;
use crate::Cumulative;

/// The kernel of a node.
pub(super) struct Kernel<'a> {
    node: &'a Namespace,
    writer: Writer,
}

enum Writer {
    Iptables(Iptables),
    Nftables(Nftables),
}

impl<'a> Kernel<'a> {
    pub(super) fn open(node: &'a Namespace, mode: Mode) -> Self {
        let writer = node.run(|| match mode {
            Mode::Iptables => Iptables::open().map(Writer::Iptables),
            Mode::Nftables => Nftables::open().map(Writer::Nftables),
        });
        let writer = writer.expect("a namespace");
        Self { node, writer: writer.unwrap_or_else(|error| panic!("{mode} of the node: {error}")) }
    }

    /// Takes the kernel to the agent's state, and makes sure that it is there: by its own tool, and
    /// by a second look that has nothing to add.
    pub(super) fn program(
        &mut self,
        agent: &Cumulative,
        changes: Vec<(Owner, Change)>,
        first: bool,
    ) -> Result<(), String> {
        match &mut self.writer {
            Writer::Iptables(kernel) => {
                program(kernel, agent, changes, first)?;
                if agent.intent().node.localhost_node_ports {
                    // What the agent does once the rules are there that keep strangers away.
                    let set = self.node.set_sysctl("net/ipv4/conf/all/route_localnet", "1");
                    set.map_err(|error| error.to_string())?;
                }
                compare(self.node, agent.ruleset())
            }
            Writer::Nftables(kernel) => {
                let (ruleset, change) = (agent.nftables().ruleset(), agent.nftables().last());
                let nothing = change.is_empty();
                let write = |kernel: &mut Nftables| {
                    if first { kernel.reconcile(ruleset) } else { kernel.apply(change) }
                };
                settle(kernel, nothing, write, |kernel| kernel.reconcile(ruleset))?;
                listing::compare(self.node, ruleset)
            }
        }
    }
}

/// Writes, and makes sure that a second look has nothing to add.
fn settle<K, E: std::fmt::Display>(
    kernel: &mut K,
    nothing: bool,
    write: impl FnOnce(&mut K) -> Result<Written, E>,
    reconcile: impl FnOnce(&mut K) -> Result<Written, E>,
) -> Result<(), String> {
    let written = write(kernel).map_err(|error| format!("not written: {error}"))?;
    if !written.refused.is_empty() {
        return Err(format!("the kernel refused {:?}", written.refused));
    }
    if nothing && written.messages > 0 {
        return Err(format!("nothing differs, but {} messages were sent", written.messages));
    }
    let again = reconcile(kernel).map_err(|error| format!("not reconciled: {error}"))?;
    if again.messages > 0 {
        return Err(format!("up to date, but {} messages were sent", again.messages));
    }
    Ok(())
}

fn program(
    kernel: &mut Iptables,
    agent: &Cumulative,
    changes: Vec<(Owner, Change)>,
    first: bool,
) -> Result<(), String> {
    let nothing = changes.is_empty();
    let ruleset = agent.ruleset();
    let write = |kernel: &mut Iptables| {
        if first {
            kernel.reconcile(ruleset)
        } else {
            kernel.apply(&changes.into_iter().collect::<BTreeMap<_, _>>())
        }
    };
    settle(kernel, nothing, write, |kernel| kernel.reconcile(ruleset))
}

/// Whether `iptables-save` prints what was rendered.
fn compare(node: &Namespace, ruleset: &Ruleset) -> Result<(), String> {
    for (family, program) in [(Family::V4, "iptables-save"), (Family::V6, "ip6tables-save")] {
        let output = node.command(program).output();
        let output = output.map_err(|error| format!("{program}: {error}; apt: iptables"))?;
        let printed = plain(&output);
        let rendered = ruleset.to_text(family);
        if printed != rendered {
            let differs = |(one, other): &(&str, &str)| one != other;
            let place = printed.lines().zip(rendered.lines()).find(differs);
            return Err(format!("{program} prints something else: {place:?}\n{printed}"));
        }
    }
    Ok(())
}

/// The lines of `iptables-save` without comments and counters.
fn plain(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let without_counters = lines.map(|line| match line.split_once(" [") {
        Some((chain, _)) if line.starts_with(':') => format!("{chain} [0:0]\n"),
        _ => format!("{line}\n"),
    });
    without_counters.collect()
}
