//! Intent, rules and expectation give every packet the same verdict, whether a state was reached
//! from nothing or step by step.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use explain::{Mode, Trace, TraceError};
use pointsman_tests::{Cumulative, Memory, cases};
use render::iptables::{self, Options};

#[test]
fn intent_rules_and_expectation_agree_on_every_packet() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for case in cases() {
        let host = case.host.host(&case.node);
        for state in case.states() {
            let (intent, _) = state.plan(&case);
            let ruleset = iptables::ruleset(&intent, &Options::default());
            for probe in state.probes(&case) {
                count += 1;
                let decided = explain::decide(&intent, &host, &probe.packet, Mode::Iptables);
                let traced = explain::trace_iptables(&ruleset, &host, &probe.packet);
                let met = traced.as_ref().map(|trace| &trace.verdict);
                if decided != probe.expected || met != Ok(&probe.expected) {
                    wrong.push(format!(
                        "{}\n  expected {}\n  intent   {decided}\n{}",
                        probe.label,
                        probe.expected,
                        way(&traced)
                    ));
                }
            }
        }
    }
    println!("{count} packets judged");
    assert!(wrong.is_empty(), "{} of {count} packets:\n{}", wrong.len(), wrong.join("\n"));
}

/// The rules that a packet met, and its verdict.
fn way(traced: &Result<Trace, TraceError>) -> String {
    let trace = match traced {
        Ok(trace) => trace,
        Err(error) => return format!("  rules    {error}"),
    };
    let steps = trace.steps.iter().map(|step| {
        format!("\n    {} {}: {} => {:?}", step.table, step.chain, step.rule, step.then)
    });
    format!("  rules    {}{}", trace.verdict, steps.collect::<String>())
}

#[test]
fn step_by_step_equals_from_nothing() {
    for case in cases() {
        let mut agent = Cumulative::new(case.config.config(&case.node));
        for state in case.states() {
            let sent = agent.update(state.changes());
            let name = &state.name;
            if state.unchanged {
                assert!(sent.is_empty(), "{name}: nothing may be written, but {sent:#?}");
            }
            let (intent, notices) = plan::plan(&state.cluster(), &case.config.config(&case.node));
            assert_eq!(agent.cluster(), &state.cluster(), "{name}");
            assert_eq!(agent.intent(), &intent, "{name}");
            assert_eq!(agent.notices(), notices, "{name}");
            let ruleset = iptables::ruleset(&intent, &Options::default());
            assert_eq!(agent.ruleset(), &ruleset, "{name}");
            assert_eq!(
                agent.memory().clone().without_empty_places(),
                Memory::of(&ruleset).without_empty_places(),
                "{name}"
            );
        }
    }
}
