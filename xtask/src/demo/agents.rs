//! One `pointsman run` per node, and what `iptables` says there.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lab::Namespace;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a change of the folder may take to reach the kernel before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// A `pointsman run` in a node's namespace.
pub(super) struct Agent {
    node: String,
    namespace: Namespace,
    child: Child,
    log: PathBuf,
}

impl Agent {
    /// Starts it; its log goes to a file.
    pub(super) fn start(
        program: &Path,
        node: &str,
        namespace: &Namespace,
        manifests: &Path,
        log: PathBuf,
    ) -> Result<Self> {
        let file = File::create(&log).with_context(|| format!("cannot make {}", log.display()))?;
        let mut command = namespace.command(program);
        command.args(["run", "--node", node, "--cluster-cidr", "10.77.0.0/16", "--manifests"]);
        command.arg(manifests).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        println!("  {node}$ {}", shown(&command));
        let child =
            command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self { node: node.to_owned(), namespace: namespace.clone(), child, log })
    }

    /// The node that it works for.
    pub(super) fn node(&self) -> &str {
        &self.node
    }

    /// What `iptables ARGUMENTS` prints on the node.
    pub(super) fn iptables(&self, arguments: &str) -> Result<String> {
        let output = self
            .namespace
            .command("iptables")
            .args(arguments.split(' '))
            .output()
            .context("cannot start iptables")?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "iptables {arguments} on {}: {error}", self.node);
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Waits until the rules of a table satisfy a condition.
    pub(super) fn wait_for(
        &mut self,
        table: &str,
        what: &str,
        condition: impl Fn(&str) -> bool,
    ) -> Result<()> {
        let start = Instant::now();
        loop {
            // A table that nobody has used is no error, and satisfies a condition or does not.
            let rules = self.iptables(&format!("-t {table} -S"))?;
            if condition(&rules) {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("pointsman on {} has ended ({status}); its log:\n{}", self.node, self.log());
            }
            if start.elapsed() > PATIENCE {
                bail!(
                    "{}: after {} s still not so: {what}. The log of pointsman:\n{}",
                    self.node,
                    PATIENCE.as_secs(),
                    self.log()
                );
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asks it to end, as a service manager does, and waits for it.
    pub(super) fn stop(&mut self) -> Result<()> {
        let pid = i32::try_from(self.child.id()).context("a process number too large")?;
        kill(Pid::from_raw(pid), Signal::SIGTERM).context("cannot stop pointsman")?;
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                let log = self.log();
                ensure!(status.success(), "pointsman on {} ended with {status}:\n{log}", self.node);
                return Ok(());
            }
            thread::sleep(Duration::from_millis(5));
        }
        bail!("pointsman on {} does not end; its log:\n{}", self.node, self.log())
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_else(|error| format!("(unreadable: {error})"))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It has ended already after `stop`; otherwise the demo is failing and its error is what
        // counts.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
