//! The agent that is put to the test.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use super::world::{NODE, World};

/// A running `pointsman run`.
pub(super) struct Agent {
    program: PathBuf,
    child: Child,
    log: PathBuf,
}

/// What `run` and `render` are told alike.
fn arguments(command: &mut Command, world: &World) {
    command.args(["--node", NODE, "--cluster-cidr", "10.77.0.0/16"]);
    command.args(["--proxy-mode", world.mode().word()]);
    command.args(["--nodeport-addresses", "10.9.0.0/24,10.200.0.0/16"]);
    command.arg("--manifests").arg(world.folder()).stdin(Stdio::null());
}

impl Agent {
    pub(super) fn start(program: &Path, world: &World, home: &Path) -> Result<Self> {
        let log = home.join("pointsman.log");
        File::create(&log).with_context(|| format!("cannot make {}", log.display()))?;
        let child = spawn(program, world, &log)?;
        Ok(Self { program: program.to_owned(), child, log })
    }

    /// `kill -9`, and a new one at once, as a supervisor would.
    pub(super) fn kill_and_start(&mut self, world: &World) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        self.child = spawn(&self.program, world, &self.log)?;
        Ok(())
    }

    pub(super) fn must_run(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("pointsman has ended ({status}); its log: {}", self.log()),
        }
    }

    /// Its resident memory in kB.
    pub(super) fn memory(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        number.with_context(|| format!("{path} tells no VmRSS"))
    }

    /// What `pointsman render` prints for a family.
    pub(super) fn render(&self, world: &World, family: &str) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.arg("render").arg(format!("--family={family}"));
        arguments(&mut command, world);
        let output = command.output().context("cannot start pointsman render")?;
        // A broken manifest is part of the play: the others are printed all the same.
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The end of its log.
    pub(super) fn log(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself, which has been told then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(program: &Path, world: &World, log: &Path) -> Result<Child> {
    let file = OpenOptions::new().append(true).open(log)?;
    let mut command = world.node()?.command(program);
    command.arg("run");
    arguments(&mut command, world);
    command.stdout(file.try_clone()?).stderr(file);
    command.spawn().with_context(|| format!("cannot start {}", program.display()))
}
