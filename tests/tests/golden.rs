//! What each state of each case becomes, to the byte.
//!
//! `POINTSMAN_BLESS=1` (`cargo xtask bless`) writes the golden outputs anew instead; read what it
//! changed before you commit it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

use plan::Intent;
use pointsman_tests::{cases, json, nftables_text, text};
use render::{iptables, nftables};

/// The golden outputs of a state.
const NAMES: [&str; 3] = ["intent.json", "iptables.txt", "nftables.txt"];

/// What the state becomes, in the order of [`NAMES`].
fn outputs(intent: &Intent) -> [String; 3] {
    let rules = iptables::ruleset(intent, &iptables::Options::default());
    let (tables, left_out) = nftables::ruleset(intent, &nftables::Options::default());
    assert!(left_out.is_empty(), "{left_out:?}");
    [json(intent), text(&rules), nftables_text(&tables)]
}

#[test]
fn every_state_becomes_the_golden_intent_and_rules() {
    let bless = std::env::var_os("POINTSMAN_BLESS").is_some();
    let mut wrong = Vec::new();
    for case in cases() {
        for state in case.states() {
            let (intent, _) = state.plan(&case);
            for (name, now) in NAMES.into_iter().zip(outputs(&intent)) {
                let path = beside(&state.golden, name);
                let golden = fs::read_to_string(&path).unwrap_or_default();
                if golden == now {
                    continue;
                }
                if bless {
                    fs::write(&path, now).unwrap();
                } else {
                    wrong.push(format!("{}: {}", path.display(), first_difference(&golden, &now)));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} outputs differ; if that is meant: cargo xtask bless\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn what_is_left_out_is_named_and_nothing_else() {
    let mut wrong = Vec::new();
    for case in cases() {
        for state in case.states() {
            let (_, left_out) = state.plan(&case);
            if left_out != state.notices {
                let (name, expected) = (&state.name, &state.notices);
                wrong.push(format!("{name}: expected {expected:?}, found {left_out:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_golden_output_is_left_over() {
    let known: Vec<PathBuf> = cases()
        .iter()
        .flat_map(|case| case.states())
        .flat_map(|state| NAMES.map(|name| beside(&state.golden, name)))
        .collect();
    let mut folders: Vec<PathBuf> = cases().iter().map(pointsman_tests::Case::folder).collect();
    folders.extend(folders.clone().iter().map(|folder| folder.join("steps")));
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let golden = path.is_file() && !path.ends_with("case.yaml");
            assert!(!golden || known.contains(&path), "{} belongs to nothing", path.display());
        }
    }
}

/// The path of a golden output: `FOLDER/NAME`, or `STEP.NAME` beside the step's folder.
fn beside(golden: &Path, name: &str) -> PathBuf {
    PathBuf::from(format!("{}{name}", golden.display()))
}

fn first_difference(golden: &str, now: &str) -> String {
    let (mut old, mut new) = (golden.lines(), now.lines());
    for number in 1.. {
        match (old.next(), new.next()) {
            (Some(one), Some(other)) if one == other => {}
            (None, None) => return "only line ends differ".into(),
            (one, other) => {
                let of = |line: Option<&str>| line.unwrap_or("(end)").to_owned();
                return format!("line {number}:\n  golden: {}\n  now:    {}", of(one), of(other));
            }
        }
    }
    unreachable!()
}
