//! `cargo xtask demo`: a Service at work, with real rules and real packets.

mod agents;
mod folder;
mod requests;
mod stage;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::{cargo, tools};
use stage::Stage;

/// Where everything that the demo writes lies: in the sandbox's own, empty `/run`.
const HOME: &str = "/run/pointsman-demo";

/// Builds what is missing, then goes on in a sandbox.
pub(crate) fn run(pointsman: Option<PathBuf>) -> Result<ExitCode> {
    if let Some(program) = pointsman.as_ref().filter(|_| lab::sandbox::inside()) {
        play(program)?;
        return Ok(ExitCode::SUCCESS);
    }
    tools::require()?;
    let program = pointsman.map_or_else(cargo::pointsman, Ok)?;
    let program = program
        .canonicalize()
        .with_context(|| format!("there is no program {}", program.display()))?;
    let mut again = lab::sandbox::reexec(["demo", "--pointsman"])?;
    let status = lab::sandbox::status(again.arg(program))?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1).into())
}

fn play(program: &Path) -> Result<()> {
    let mut stage = Stage::set(program, Path::new(HOME))?;
    stage.show_rules()?;
    stage.send_requests()?;
    stage.scale_down()?;
    stage.scale_to_nothing()?;
    stage.scale_up()?;
    stage.stop_agents()?;
    drop(stage);
    println!(
        "\nEverything is taken down: the processes have ended, and with the last of them the\n\
         namespaces, their links and their rules are gone. This machine's own network was never\n\
         touched."
    );
    Ok(())
}
