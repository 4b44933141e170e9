//! A case with real sockets: a lab around the node, its rules in the kernel, and packets.

mod judge;
mod kernel;
pub mod listing;
mod places;
mod stage;

use explain::Mode;
use plan::Intent;

use self::kernel::Kernel;
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

/// Sends every packet of a case in each of its states, in one mode.
///
/// # Panics
/// If the lab cannot be built: see [`lab::LabError`].
#[must_use]
pub fn drive(case: &Case, mode: Mode) -> Report {
    let states = case.states();
    let probes: Vec<Vec<Probe>> = states.iter().map(|state| state.probes(case)).collect();
    let intents: Vec<Intent> = states.iter().map(|state| state.plan(case).0).collect();
    let stage = Stage::build(case, &intents, &probes.concat(), mode)
        .unwrap_or_else(|error| panic!("{}: {error}", case.name));
    let mut kernel = Kernel::open(stage.node(), mode);
    let mut agent = Cumulative::new(case.config.config(&case.node));
    let mut report = Report::default();
    for ((state, probes), intent) in states.iter().zip(&probes).zip(&intents) {
        let first = agent.ruleset().parts.is_empty();
        let changes = agent.update(state.changes());
        if let Err(text) = kernel.program(&agent, changes, first) {
            report.wrong.push(format!("{}, {mode}: {text}", state.name));
            continue;
        }
        for probe in probes {
            stage.judge(intent, probe, &mut report);
        }
    }
    report
}
