//! Intent, rules and expectation give every packet the same verdict, whether a state was reached
//! from nothing or step by step.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use explain::{Mode, Packet, Verdict};
use model::Host;
use plan::Intent;
use pointsman_tests::{Cumulative, Memory, cases};
use render::{iptables, nftables};

#[test]
fn intent_rules_and_expectation_agree_on_every_packet() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for case in cases() {
        let host = case.host.host(&case.node);
        for state in case.states() {
            let (intent, _) = state.plan(&case);
            let rules = Rules::of(&intent);
            for (probe, mode) in
                state.probes(&case).iter().flat_map(|probe| Mode::ALL.map(|mode| (probe, mode)))
            {
                count += 1;
                let expected = probe.expected(mode);
                let decided = explain::decide(&intent, &host, &probe.packet, mode);
                let (met, way) = rules.follow(mode, &host, &probe.packet);
                if decided != *expected || met.as_ref() != Some(expected) {
                    wrong.push(format!(
                        "{}, {mode}\n  expected {expected}\n  intent   {decided}\n  rules    {way}",
                        probe.label
                    ));
                }
            }
        }
    }
    println!("{count} packets judged, those of both modes counted");
    assert!(wrong.is_empty(), "{} of {count} packets:\n{}", wrong.len(), wrong.join("\n"));
}

/// The rules of an Intent in both modes.
struct Rules {
    iptables: iptables::Ruleset,
    nftables: nftables::Ruleset,
}

impl Rules {
    fn of(intent: &Intent) -> Self {
        let (nftables, left_out) = nftables::ruleset(intent, &nftables::Options::default());
        assert!(left_out.is_empty(), "{left_out:?}");
        Self { iptables: iptables::ruleset(intent, &iptables::Options::default()), nftables }
    }

    /// The verdict that a packet meets, and the rules on the way.
    fn follow(&self, mode: Mode, host: &Host, packet: &Packet) -> (Option<Verdict>, String) {
        let told = |verdict: Verdict, steps: Vec<String>| {
            let way = format!("{verdict}{}", steps.concat());
            (Some(verdict), way)
        };
        match mode {
            Mode::Iptables => match explain::trace_iptables(&self.iptables, host, packet) {
                Err(error) => (None, error.to_string()),
                Ok(trace) => {
                    let steps = trace.steps.iter().map(|step| {
                        let (chain, rule, then) = (&step.chain, &step.rule, &step.then);
                        format!("\n    {} {chain}: {rule} => {then:?}", step.table)
                    });
                    told(trace.verdict, steps.collect())
                }
            },
            Mode::Nftables => match explain::trace_nftables(&self.nftables, host, packet) {
                Err(error) => (None, error.to_string()),
                Ok(trace) => {
                    let steps = trace.steps.iter().map(|step| {
                        let (chain, rule, then) = (&step.chain, &step.rule, &step.then);
                        let by = step.element.as_deref().unwrap_or_default();
                        format!("\n    {chain}: {rule} [{by}] => {then:?}")
                    });
                    told(trace.verdict, steps.collect())
                }
            },
        }
    }
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
                let nft = agent.nftables().last();
                assert!(nft.is_empty(), "{name}: nothing may be written, but {nft:#?}");
            }
            let (intent, notices) = plan::plan(&state.cluster(), &case.config.config(&case.node));
            assert_eq!(agent.cluster(), &state.cluster(), "{name}");
            assert_eq!(agent.intent(), &intent, "{name}");
            assert_eq!(agent.notices(), notices, "{name}");
            let rules = Rules::of(&intent);
            assert_eq!(agent.ruleset(), &rules.iptables, "{name}");
            assert_eq!(
                agent.memory().clone().without_empty_places(),
                Memory::of(&rules.iptables).without_empty_places(),
                "{name}"
            );
            assert_eq!(agent.nftables().ruleset(), &rules.nftables, "{name}");
            assert_eq!(agent.nftables().memory(), &rules.nftables.merged(), "{name}");
        }
    }
}
