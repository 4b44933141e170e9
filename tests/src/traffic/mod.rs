//! A case with real sockets: a lab around the node, its rules in the kernel, and packets.

mod judge;
mod places;
mod stage;

use std::collections::BTreeMap;
use std::process::Output;

use lab::Namespace;
use model::{Family, Owner};
use plan::Intent;
use render::iptables::{self, Ruleset};
use sync::iptables::Iptables;

use self::stage::Stage;
use crate::{Case, Cumulative, Probe};

/// What became of a case's packets.
#[derive(Debug, Default)]
pub struct Report {
    /// Packets that were sent and judged.
    pub sent: usize,
    /// Single connections and datagrams behind them.
    pub attempts: usize,
    /// Packets that no socket of this machine can make, with the reason.
    pub not_sendable: Vec<String>,
    /// What went otherwise than expected.
    pub wrong: Vec<String>,
}

/// Sends every packet of a case in each of its states.
///
/// # Panics
/// If the lab cannot be built: see [`lab::LabError`].
#[must_use]
pub fn drive(case: &Case) -> Report {
    let states = case.states();
    let config = case.config.config(&case.node);
    let probes: Vec<Vec<Probe>> = states.iter().map(|state| state.probes(case)).collect();
    let intents: Vec<Intent> = states.iter().map(|state| state.plan(case).0).collect();
    let stage = Stage::build(case, &intents, &probes.concat())
        .unwrap_or_else(|error| panic!("{}: {error}", case.name));
    let node = stage.node();
    let mut kernel = node.run(Iptables::open).expect("a namespace").expect("iptables of the node");
    let mut agent = Cumulative::new(config);
    let mut report = Report::default();
    for ((state, probes), intent) in states.iter().zip(&probes).zip(&intents) {
        let first = agent.ruleset().parts.is_empty();
        let changes = agent.update(state.changes());
        let mut wrong = |text: String| report.wrong.push(format!("{}: {text}", state.name));
        if let Err(text) = program(&mut kernel, &agent, changes, first) {
            wrong(text);
            continue;
        }
        if intent.node.localhost_node_ports {
            // What the agent does once the rules are there that keep strangers away.
            node.set_sysctl("net/ipv4/conf/all/route_localnet", "1").expect("route_localnet");
        }
        if let Err(text) = compare(node, agent.ruleset()) {
            wrong(text);
        }
        for probe in probes {
            stage.judge(intent, probe, &mut report);
        }
    }
    report
}

/// Writes a state's changes, and makes sure that a second look has nothing to add.
fn program(
    kernel: &mut Iptables,
    agent: &Cumulative,
    changes: Vec<(Owner, iptables::Change)>,
    first: bool,
) -> Result<(), String> {
    let nothing = changes.is_empty();
    let written = if first {
        kernel.reconcile(agent.ruleset())
    } else {
        kernel.apply(&changes.into_iter().collect::<BTreeMap<_, _>>())
    };
    let written = written.map_err(|error| format!("not written: {error}"))?;
    if !written.refused.is_empty() {
        return Err(format!("the kernel refused {:?}", written.refused));
    }
    if nothing && written.messages > 0 {
        return Err(format!("nothing differs, but {} messages were sent", written.messages));
    }
    let again = kernel.reconcile(agent.ruleset());
    let again = again.map_err(|error| format!("not reconciled: {error}"))?;
    if again.messages > 0 {
        return Err(format!("up to date, but {} messages were sent", again.messages));
    }
    Ok(())
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
