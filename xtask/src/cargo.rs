//! Tasks that are little more than a cargo command.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::{test, tools};

/// The cargo that runs this task, or the one in `PATH`.
pub(crate) fn program() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// The workspace's directory, wherever the task was called.
fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs a cargo command in the workspace, with cargo's own progress display.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    run_with(Command::new(program()).args(arguments))
}

fn run_with(command: &mut Command) -> Result<()> {
    let line = shown(command);
    let status = command.status().with_context(|| format!("cannot start {line}"))?;
    if !status.success() {
        bail!("{line} failed ({status})");
    }
    Ok(())
}

fn shown(command: &Command) -> String {
    let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
    format!("cargo {}", words.join(" "))
}

/// Builds the program that all is about, and tells where it lies.
pub(crate) fn pointsman() -> Result<PathBuf> {
    run(&["build", "--package", "pointsman"])?;
    // This program lies beside it, whatever the target directory is.
    let own = std::env::current_exe().context("cannot find this program's own file")?;
    let program = own.with_file_name("pointsman");
    if !program.is_file() {
        bail!("cargo has not put pointsman beside {}: name it with --pointsman", own.display());
    }
    Ok(program)
}

/// The most bytes that the program may have as it is shipped: it lies on every node.
const LARGEST: u64 = 10_000_000;

/// Builds what the image ships, and fails if it is too large.
pub(crate) fn size() -> Result<ExitCode> {
    run(&["build", "--release", "--locked", "--package", "pointsman", "--no-default-features"])?;
    let own = std::env::current_exe().context("cannot find this program's own file")?;
    let target = own.parent().and_then(Path::parent).context("this program lies in no target")?;
    let program = target.join("release").join("pointsman");
    let bytes = std::fs::metadata(&program)
        .with_context(|| format!("cargo has not put pointsman at {}", program.display()))?
        .len();
    println!("{}: {bytes} bytes, of {LARGEST} at most", program.display());
    Ok(if bytes <= LARGEST { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Renders all cases anew and says which files differ from the committed ones.
pub(crate) fn bless() -> Result<ExitCode> {
    run(&["test", "--package", "pointsman-tests", "--no-run"])?;
    let mut tests = lab::sandbox::command(program());
    tests.args(["test", "--package", "pointsman-tests", "--offline"]).env("POINTSMAN_BLESS", "1");
    let status = lab::sandbox::status(&mut tests)?;
    let mut git = Command::new("git");
    git.args(["status", "--short", "--", "cases"]).current_dir(workspace());
    let changed = git.output();
    let changed = changed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    match changed.as_deref() {
        Ok("") => println!("No golden file changed."),
        Ok(files) => print!("These files changed; read the difference before you commit:\n{files}"),
        Err(error) => println!("Which files changed is unknown: cannot start git: {error}"),
    }
    if !status.success() {
        bail!("not all tests passed while the golden files were written ({status})");
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs the benchmark, optimised, in a sandbox.
pub(crate) fn bench(arguments: &[String]) -> Result<ExitCode> {
    tools::require()?;
    let package = ["--release", "--package", "pointsman-bench"];
    // The program too: one of the measurements starts it.
    run(&[&["build", "--package", "pointsman"], &package[..]].concat())?;
    let mut bench = lab::sandbox::command(program());
    bench.args(["run", "--offline", "--quiet"]).args(package).arg("--").args(arguments);
    let status = lab::sandbox::status(&mut bench)?;
    if !status.success() {
        bail!("the benchmark failed ({status})");
    }
    Ok(ExitCode::SUCCESS)
}

/// Everything that a change must pass, the quick parts first.
pub(crate) fn check() -> Result<ExitCode> {
    step("format", || run(&["fmt", "--all", "--check"]))?;
    let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    step("clippy", || run(&clippy))?;
    step("documentation", || {
        let mut doc = Command::new(program());
        doc.args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings");
        run_with(&mut doc)
    })?;
    test::run(false, &[])
}

fn step(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let start = Instant::now();
    if std::io::stdout().is_terminal() {
        println!("── {name} …");
    }
    work()?;
    println!("── {name}: good ({:.1} s)", start.elapsed().as_secs_f64());
    Ok(())
}
