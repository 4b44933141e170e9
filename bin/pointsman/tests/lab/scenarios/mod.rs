//! Upstream's end-to-end scenarios of Services, each by its name, with real packets in both modes.
//!
//! `docs/scenarios.md` is the list: what it says to run is run here, and nothing else is.

mod affinity;
mod connections;
mod names;
mod objects;
mod policies;
mod scene;
mod services;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use scene::{Cluster, Scene};

/// The group of upstream's suite, the name of the scenario, and what plays it.
type Scenario = (&'static str, &'static str, fn(&Scene<'_>));

/// How many scenarios share the lab at a time: they wait more than they work.
const SIDE_BY_SIDE: usize = 4;

fn all() -> Vec<Scenario> {
    [services::ALL, affinity::ALL, policies::ALL, connections::ALL, names::ALL, objects::ALL]
        .concat()
}

/// These take something from the whole lab for a moment, so they come last, one after the other.
fn alone() -> Vec<Scenario> {
    connections::ALONE.to_vec()
}

fn play(mode: &'static str) {
    let cluster = Cluster::up(mode);
    let failures = Mutex::new(BTreeMap::new());
    let number = AtomicUsize::new(0);
    let one = |(group, name, run): &Scenario| {
        let number = number.fetch_add(1, Ordering::Relaxed);
        let played = catch_unwind(AssertUnwindSafe(|| run(&Scene::new(&cluster, number))));
        if let Err(panic) = played {
            let words = panic.downcast_ref::<String>().cloned();
            let words = words.or_else(|| panic.downcast_ref::<&str>().map(|it| (*it).to_owned()));
            failures.lock().unwrap().insert(format!("{group}: {name}"), words.unwrap_or_default());
        }
    };
    let chosen = |(_, name, _): &Scenario| {
        std::env::var("POINTSMAN_SCENARIO").map_or(true, |wanted| name.contains(&wanted))
    };
    let queue = Mutex::new(all().into_iter().filter(chosen).collect::<Vec<_>>());
    std::thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap().pop();
                    let Some(scenario) = next else { return };
                    one(&scenario);
                }
            });
        }
    });
    alone().iter().filter(|it| chosen(it)).for_each(one);
    let failures = failures.into_inner().unwrap();
    let list: Vec<_> = failures.iter().map(|(name, why)| format!("{name}\n    {why}")).collect();
    assert!(list.is_empty(), "mode {mode}, {} failed:\n{}", list.len(), list.join("\n"));
    cluster.stage.good("pointsman lab down");
    assert!(cluster.stage.nothing_left());
}

#[test]
fn every_scenario_holds_in_iptables_mode() {
    play("iptables");
}

#[test]
fn every_scenario_holds_in_nftables_mode() {
    play("nftables");
}

#[test]
fn the_table_lists_what_is_run_and_says_why_the_rest_is_not() {
    let table = include_str!("../../../../../docs/scenarios.md");
    let mut listed: BTreeMap<(String, String), String> = BTreeMap::new();
    for line in table.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [group, name, runs] = cells[..] else { panic!("three cells: {line}") };
        if group == "Group" {
            continue;
        }
        let key = (group.to_owned(), name.to_owned());
        assert!(listed.insert(key, runs.to_owned()).is_none(), "listed twice: {line}");
    }
    let run: Vec<Scenario> = all().into_iter().chain(alone()).collect();
    for (group, name, _) in &run {
        let said = listed.get(&((*group).to_owned(), (*name).to_owned()));
        assert_eq!(said.map(String::as_str), Some("yes"), "{group}: {name}");
    }
    let names: std::collections::BTreeSet<_> = run.iter().map(|it| (it.0, it.1)).collect();
    assert_eq!(names.len(), run.len(), "a scenario is played twice");
    for ((group, name), said) in &listed {
        let is_run = names.contains(&(group.as_str(), name.as_str()));
        let argued = said.strip_prefix("no: ").is_some_and(|why| why.len() > 20);
        assert!(is_run || argued, "{group}: {name}: neither run nor argued: {said:?}");
    }
    assert!(listed.len() > 80, "the table was not read: {} rows", listed.len());
}
