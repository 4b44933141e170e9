//! The soak, for a few seconds.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

#[test]
fn a_short_soak_finds_nothing() {
    let mut soak = Command::new(env!("CARGO_BIN_EXE_xtask"));
    soak.args(["soak", "--minutes=0.34", "--seed=20"]);
    if lab::sandbox::inside() {
        // Among all tests of the workspace the program has just been built, beside the task's.
        let built = Path::new(env!("CARGO_BIN_EXE_xtask")).with_file_name("pointsman");
        soak.arg("--pointsman").arg(built);
    }
    let output = soak.output().unwrap();
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{said}");
    let sum = said.lines().find(|line| line.contains(" checks, ")).unwrap_or_default();
    let number_before = |word: &str| -> u32 {
        let before = sum.split(word).next().unwrap_or_default();
        before.split_whitespace().last().and_then(|number| number.parse().ok()).unwrap_or(0)
    };
    for (word, least) in
        [(" events", 30), (" kills", 1), (" flushes", 1), (" checks", 4), (" connections", 300)]
    {
        assert!(number_before(word) >= least, "fewer than {least}{word}: {said}");
    }
}
