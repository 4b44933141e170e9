//! `pointsman lint` finds each thing that it has an id for, and nothing in a cluster in order.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use explain::Lint;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn lint(folder: &str, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    command.current_dir(root()).args(["lint", "--manifests", folder]);
    command.args(["--cluster-cidr", "10.77.0.0/16"]).args(words).output().unwrap()
}

const ROUGH: &str = "bin/pointsman/tests/lint/rough";

#[test]
fn every_id_is_found_where_it_belongs() {
    let output = lint(ROUGH, &["-o", "json"]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let findings: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let found: BTreeSet<(String, String)> = findings
        .iter()
        .map(|one| {
            let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
            (text(&one["id"]), text(&one["object"]["name"]))
        })
        .collect();
    let expected = [
        ("DuplicateAddress", "shop/newer"),
        ("DuplicateAddress", "shop/twin-2"),
        ("ExternalIpOfNode", "shop/newer"),
        ("ExternalIpOfNode", "shop/older"),
        ("HintsIgnored", "shop/hinted"),
        ("PolicyMissesDns", "jobs/dns"),
        ("PolicyPortNowhere", "jobs/port"),
        ("PolicySelectsNothing", "jobs/nobody"),
        ("PolicySelectsNothing", "nobody"),
        ("PortNowhere", "shop/stock"),
        ("SelectorMatchesNothing", "shop/cart"),
        ("SourceRangesBypassed", "shop/pay"),
    ];
    let expected = expected.map(|(id, name)| (id.to_owned(), name.to_owned()));
    assert_eq!(found, expected.into_iter().collect(), "{findings:#?}");
    let ids: BTreeSet<String> = found.into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, Lint::ALL.iter().map(ToString::to_string).collect(), "an id is never found");
}

#[test]
fn a_cluster_in_order_has_no_finding() {
    for format in ["text", "json", "sarif"] {
        let output = lint("cases/cluster-ip-simple/manifests", &["-o", format]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!(format != "text" || said.is_empty(), "{said}");
    }
}

#[test]
fn sarif_has_a_rule_for_each_result() {
    let output = lint(ROUGH, &["-o", "sarif"]);
    let log: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    let list = |value: &serde_json::Value, key: &str| -> Vec<String> {
        let all = value.as_array().unwrap().iter();
        all.map(|one| one[key].as_str().unwrap().to_owned()).collect()
    };
    let rules = list(&run["tool"]["driver"]["rules"], "id");
    let results = list(&run["results"], "ruleId");
    assert!(results.len() >= 8, "{results:?}");
    assert!(results.iter().all(|id| rules.contains(id)), "{results:?}");
}

#[test]
fn a_folder_that_cannot_be_read_is_not_clean() {
    let output = lint("no/such/folder", &[]);
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no/such/folder"));
}

/// The document's table of ids is the program's.
#[test]
fn the_document_lists_every_id() {
    let text = std::fs::read_to_string(root().join("docs/lint.md")).unwrap();
    for id in Lint::ALL {
        let row = format!("| `{id}` | {} | {} | {} |", id.meaning(), id.consequence(), id.remedy());
        assert!(text.contains(&row), "docs/lint.md lacks the row\n{row}");
    }
}
