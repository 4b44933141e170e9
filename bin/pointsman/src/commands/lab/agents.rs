//! The agents of a lab: `pointsman run`, as on any node.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lab::Namespace;
use lab_cluster::ClusterOptions;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tracing::warn;

use crate::cli_lab::LabMode;

/// kube-proxy's health port, which tells whether the rules are written.
const HEALTH: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 10256);

/// How long an agent that ended stays away before it is started again: at first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// An agent that has run for this long did not end because it cannot run.
const WELL: Duration = Duration::from_secs(60);

/// One node's agent, which is started again when it ends, as a DaemonSet's Pod would be.
pub(super) struct Agent {
    node: String,
    at: Namespace,
    words: Vec<OsString>,
    child: Child,
    started: Instant,
    restarts: u32,
    /// How long the next pause is, and when the one that goes on is over.
    pause: Duration,
    over: Option<Instant>,
}

impl Agent {
    /// Starts the agent of a node. Its log goes to ours, each line with the node's name.
    pub(super) fn start(
        node: &str,
        at: &Namespace,
        kubeconfig: &Path,
        options: &ClusterOptions,
        mode: LabMode,
    ) -> Result<Self> {
        let dns = options.dns_address().to_string();
        let cidrs = options.cluster_cidrs().join(",");
        let mut words: Vec<OsString> = Vec::new();
        words.extend(["run", "--hostname-override", node].map(Into::into));
        words.extend(["--proxy-mode", mode.word()].map(Into::into));
        words.extend(["--cluster-cidr", &cidrs, "--dns-address", &dns].map(Into::into));
        // A lab has no way to the name servers of the machine.
        words.extend(["--dns-resolv-conf", "/dev/null", "--kubeconfig"].map(Into::into));
        words.push(kubeconfig.into());
        Ok(Self {
            child: spawn(node, at, &words)?,
            node: node.to_owned(),
            at: at.clone(),
            words,
            started: Instant::now(),
            restarts: 0,
            pause: PAUSE.0,
            over: None,
        })
    }

    pub(super) fn node(&self) -> &str {
        &self.node
    }

    /// How often it was started again.
    pub(super) fn restarts(&self) -> u32 {
        self.restarts
    }

    /// Why it does not run, if it does not.
    pub(super) fn failure(&mut self) -> Option<String> {
        match self.child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(format!("the agent of {} has ended ({status})", self.node)),
            Err(error) => Some(format!("the agent of {}: {error}", self.node)),
        }
    }

    /// Starts it again if it has ended, after a pause that grows while it does not run well.
    ///
    /// The thread that calls this must live as long as the lab: the agent ends with it.
    pub(super) fn revive(&mut self) {
        let Some(failure) = self.failure() else { return };
        let now = Instant::now();
        let Some(over) = self.over else {
            if self.started.elapsed() > WELL {
                self.pause = PAUSE.0;
            }
            warn!("{failure}; it is started again in {} ms", self.pause.as_millis());
            self.over = Some(now + self.pause);
            self.pause = (self.pause * 2).min(PAUSE.1);
            return;
        };
        if now < over {
            return;
        }
        self.over = None;
        self.started = now;
        match spawn(&self.node, &self.at, &self.words) {
            Ok(child) => {
                self.child = child;
                self.restarts += 1;
            }
            Err(error) => warn!("{error:#}"),
        }
    }

    /// Waits until its first rules are written.
    pub(super) async fn wait(&mut self, until: Instant) -> Result<(), String> {
        loop {
            if let Some(failure) = self.failure() {
                return Err(failure);
            }
            // Apart: the agent needs the API, and the API needs this thread.
            let at = self.at.clone();
            let asked = tokio::task::spawn_blocking(move || at.run(is_healthy)).await;
            if matches!(asked, Ok(Ok(true))) {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(format!("the agent of {} has written no rules yet", self.node));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Asks it to end.
    pub(super) fn stop(&mut self) {
        if let Ok(number) = self.child.id().try_into() {
            // It may have ended by itself.
            let _ = kill(Pid::from_raw(number), Signal::SIGTERM);
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop();
        let _ = self.child.wait();
    }
}

fn spawn(node: &str, at: &Namespace, words: &[OsString]) -> Result<Child> {
    let mut command = at.follower(std::env::current_exe()?);
    command.args(words);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child =
        command.spawn().with_context(|| format!("the agent of {node} cannot be started"))?;
    if let Some(log) = child.stderr.take() {
        let name = node.to_owned();
        thread::Builder::new().name(format!("log {node}")).spawn(move || {
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                // Nobody is left to be told if the log cannot be written.
                let _ = writeln!(std::io::stderr(), "[{name}] {line}");
            }
        })?;
    }
    Ok(child)
}

/// Whether the agent of this namespace says that its node is served.
fn is_healthy() -> bool {
    let asked = || -> std::io::Result<String> {
        let patience = Duration::from_secs(1);
        let mut stream = TcpStream::connect_timeout(&HEALTH, patience)?;
        stream.set_read_timeout(Some(patience))?;
        stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n")?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(line)
    };
    asked().is_ok_and(|line| line.split(' ').nth(1) == Some("200"))
}
