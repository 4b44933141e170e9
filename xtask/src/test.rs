//! `cargo xtask test`.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};

use crate::tally::Tally;
use crate::{cargo, kubectl, nft, tools};

/// Runs the tests of the whole workspace, in a sandbox.
pub(crate) fn run(quick: bool, filter: &[String]) -> Result<ExitCode> {
    tools::require()?;
    let kubectl = kubectl::provide()?;
    // Built outside: the sandbox has no network to fetch crates from.
    cargo::run(&["test", "--workspace", "--no-run"])?;
    let mut runner = lab::sandbox::command(cargo::program());
    runner.args(["test", "--workspace", "--no-fail-fast", "--offline"]);
    runner.env(kubectl::VARIABLE, kubectl);
    if quick {
        runner.args(["--lib", "--bins", "--tests"]);
        runner.env("PROPTEST_CASES", "16").env("POINTSMAN_QUICK", "1");
    }
    runner.arg("--").args(filter);
    let mut tally = Tally::default();
    watch(&mut runner, &mut tally)?;
    let asked = filter.is_empty() || filter.iter().any(|name| name == "nft");
    if !quick && asked && std::env::var_os(nft::VARIABLE).is_none() {
        with_another_nft(&mut tally)?;
    }
    for name in tally.skipped_names() {
        println!("skipped: {name}");
    }
    if tally.is_empty() {
        println!("No test was run: does a test's name contain {filter:?}?");
    }
    let strict = std::env::var("CI").is_ok_and(|value| value == "true");
    println!("{tally}");
    Ok(if tally.is_good(strict) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The tests that hold tables against nft once more, with another release of it.
fn with_another_nft(tally: &mut Tally) -> Result<()> {
    let program = match nft::provide() {
        Ok(program) => program,
        Err(error) => {
            tally.skip(
                "tables against a newer nft",
                &format!("{error:#}; {} names one", nft::VARIABLE),
            );
            return Ok(());
        }
    };
    println!("Tables against {}:", program.display());
    let held_against_it = [
        ["--package=pointsman-sync", "--test=table", "--", "nft::"],
        ["--package=pointsman-render", "--lib", "--", "nftables::tests::kernel::"],
    ];
    for tests in held_against_it {
        let mut runner = lab::sandbox::command(cargo::program());
        runner.args(["test", "--no-fail-fast", "--offline"]).args(tests);
        runner.env(nft::VARIABLE, &program);
        watch(&mut runner, tally)?;
    }
    Ok(())
}

/// Shows what the runner prints while counting it.
fn watch(runner: &mut Command, tally: &mut Tally) -> Result<()> {
    let mut child = match runner.stdout(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => bail!(lab::sandbox::explain(error)),
    };
    let output = child.stdout.take().context("the test runner has no output")?;
    for line in BufReader::new(output).split(b'\n') {
        let mut line = line.context("cannot read what the test runner prints")?;
        tally.line(&String::from_utf8_lossy(&line));
        line.push(b'\n');
        std::io::stdout().write_all(&line)?;
    }
    let status = child.wait().context("cannot wait for the test runner")?;
    tally.end(status.success());
    Ok(())
}
