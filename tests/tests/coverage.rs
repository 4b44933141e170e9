//! The table of `cases/README.md` and the cases say the same, and nothing is left open.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use pointsman_tests::{cases, folder};

/// Why a scenario has no case or test here.
const REASONS: [&str; 2] = ["operation", "not ours"];

struct Row {
    scenario: String,
    cover: String,
}

impl Row {
    /// The words in backquotes: cases, and tests as `file: function`.
    fn names(&self) -> Vec<&str> {
        self.cover.split('`').skip(1).step_by(2).collect()
    }

    /// Whether the row says why nothing covers it.
    fn is_argued(&self) -> bool {
        self.cover.split_once(": ").is_some_and(|(reason, argument)| {
            REASONS.contains(&reason) && argument.split_whitespace().count() >= 1
        })
    }
}

fn rows() -> Vec<Row> {
    let text = fs::read_to_string(folder().join("README.md")).unwrap();
    let rows: Vec<Row> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | "))
        .filter(|(scenario, _)| *scenario != "scenario")
        .map(|(scenario, cover)| Row { scenario: scenario.into(), cover: cover.into() })
        .collect();
    assert!(rows.len() > 150, "the table is where this test looks for it: {}", rows.len());
    rows
}

#[test]
fn every_scenario_is_covered_or_argued_once() {
    let mut seen = BTreeSet::new();
    for row in rows() {
        assert!(seen.insert(row.scenario.clone()), "{} has two rows", row.scenario);
        let covered = !row.names().is_empty();
        let argued = row.is_argued();
        assert!(covered || argued, "{}: neither covered nor argued: {}", row.scenario, row.cover);
    }
}

#[test]
fn what_the_table_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folders: BTreeSet<String> = cases().into_iter().map(|case| case.name).collect();
    for row in rows() {
        for name in row.names() {
            let Some((file, function)) = name.split_once(": ") else {
                assert!(folders.contains(name), "{}: no case {name}", row.scenario);
                continue;
            };
            let path = root.join(file);
            let text = fs::read_to_string(&path)
                .unwrap_or_else(|error| panic!("{}: {file}: {error}", row.scenario));
            assert!(
                text.contains(&format!("fn {function}(")),
                "{}: {file} has no test {function}",
                row.scenario
            );
        }
    }
}

#[test]
fn table_and_cases_name_each_other() {
    let mut by_table: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in rows().iter().filter(|row| !row.is_argued()) {
        for name in row.names().into_iter().filter(|name| !name.contains(": ")) {
            by_table.entry(name.into()).or_default().insert(row.scenario.clone());
        }
    }
    for case in cases() {
        let own: BTreeSet<String> = case.scenarios.iter().cloned().collect();
        let table = by_table.remove(&case.name).unwrap_or_default();
        assert_eq!(table, own, "{}: the table and case.yaml differ", case.name);
        assert!(case.why.split_whitespace().count() >= 5, "{}: why?", case.name);
    }
}

/// A difference between the modes is a difference, and is argued.
#[test]
fn where_the_modes_differ_the_case_says_why() {
    let mut differing = 0;
    for case in cases() {
        for packet in case.states().iter().flat_map(|state| &state.packets) {
            let Some(otherwise) = &packet.nftables else { continue };
            let name = &case.name;
            differing += 1;
            assert_ne!(otherwise.expect, packet.expect, "{name}: {packet:?} differs in nothing");
            assert!(otherwise.why.split_whitespace().count() >= 5, "{name}: {packet:?}: why?");
        }
    }
    let all = std::env::var_os("POINTSMAN_CASE").is_none();
    assert!(!all || differing > 0, "some packets fare otherwise in nftables mode");
}

#[test]
fn every_state_has_packets_or_must_change_nothing() {
    for case in cases() {
        for state in case.states() {
            assert!(
                state.unchanged || !state.packets.is_empty(),
                "{}: nothing is sent",
                state.name
            );
        }
    }
}
