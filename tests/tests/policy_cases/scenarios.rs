//! The scenarios of the upstream suites, and generated ones, on paper.

use std::collections::{BTreeMap, BTreeSet};

use pointsman_tests::policy::{CLUSTER_SCENARIOS, SCENARIOS, Seat, families, family_seats, ip};

/// On one node, and on two.
#[test]
fn every_scenario_has_upstreams_table() {
    let names: BTreeSet<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
    assert_eq!(names.len(), 48);
    for scenario in SCENARIOS.iter().chain(&CLUSTER_SCENARIOS) {
        for nodes in [1, 2] {
            println!("{} on {nodes} nodes: {}", scenario.id, scenario.name);
            let seats: Vec<Seat> = (0..scenario.pods.len())
                .map(|index| {
                    let node = index % nodes;
                    let address = ip(&format!("10.77.{}.{}", node + 1, index + 1));
                    Seat { node: ["alpha", "beta"][node], address }
                })
                .collect();
            let world = scenario.play(&seats);
            let checks: usize = world.states.iter().map(|state| state.checks.len()).sum();
            assert!(world.states.len() >= 2 && checks >= 8, "{}: {checks} checks", scenario.name);
        }
    }
}

/// The two answers agree on every connection of every generated case, and each case closes some of
/// them in some state, or is one that opens everything.
#[test]
fn generated_families_have_one_answer() {
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut open, mut closed) = (0, 0);
    for case in families() {
        let world = case.play(&family_seats());
        for check in world.states.iter().flat_map(|state| &state.checks) {
            *if check.open { &mut open } else { &mut closed } += 1;
        }
        *count.entry(case.family).or_default() += 1;
    }
    let expected = [
        ("action", 6),
        ("conflict", 16),
        ("example", 1),
        ("namespaces", 2),
        ("peers", 112),
        ("ports", 70),
        ("rules", 4),
        ("target", 6),
    ];
    assert_eq!(count, BTreeMap::from(expected));
    println!("{open} open, {closed} closed");
    assert!(open > 50_000 && closed > 5_000, "{open} open, {closed} closed");
}
