//! What the agent knows of itself, told to `pointsman status` over a unix socket.
//!
//! The socket is an abstract one: it belongs to the node's network namespace, as the rules do, needs
//! no writable file system, and is gone with the process.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use health::{Health, Moment};
use intake::api::PolicyDecision;
use model::Notice;
use nix::sys::socket::{getsockopt, sockopt};
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::{Changes, Synced, View};
use crate::totals::Totals;

/// The socket's abstract name.
const NAME: &str = "pointsman/agent";
/// How long a client may keep the server.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is told.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    pub(crate) version: String,
    pub(crate) node: String,
    pub(crate) mode: String,
    /// When the agent started (RFC 3339).
    pub(crate) started: String,
    /// Whether network policies are enforced, and why; empty until that is decided.
    pub(crate) network_policy: String,
    /// Why it is not ready, each with its stable word; empty if it is.
    pub(crate) unready: Vec<String>,
    pub(crate) watches: Vec<WatchReport>,
    pub(crate) last_write: Option<LastWrite>,
    /// Services that are routed, their ports by family, and the endpoints that take connections.
    pub(crate) services: usize,
    pub(crate) virtual_servers: usize,
    pub(crate) backends: usize,
    /// Changes that came in and were not yet written.
    pub(crate) waiting: u64,
    /// What is left out, and why.
    pub(crate) left_out: Vec<String>,
    /// Whose rules the kernel would not take, and why.
    pub(crate) refused: Vec<String>,
    /// How often others had changed our rules, and an audit found a difference.
    pub(crate) repairs: u64,
    pub(crate) drifts: u64,
    /// Stale entries of connection tracking that were deleted.
    pub(crate) forgotten_flows: u64,
    /// Connections that a change of policies cut off, and that a later one let through again.
    pub(crate) cut_connections: u64,
    pub(crate) pardoned_connections: u64,
}

/// One watch.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WatchReport {
    pub(crate) kind: String,
    pub(crate) connected: bool,
    /// Seconds since anything was heard of it.
    pub(crate) silent_seconds: u64,
    pub(crate) failure: Option<String>,
}

/// The last write that the kernel accepted.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LastWrite {
    /// When (RFC 3339).
    pub(crate) at: String,
    /// Whether everything was compared.
    pub(crate) full: bool,
    pub(crate) messages: usize,
    pub(crate) milliseconds: f64,
}

/// Keeps the report and answers who asks.
pub(crate) struct StatusView {
    report: Arc<Mutex<Report>>,
}

impl StatusView {
    /// Listens in a thread of its own. Another agent in this network namespace is named, and keeps
    /// its socket.
    pub(crate) fn start(node: &str, mode: &str, health: Health) -> Result<Self> {
        let report = Arc::new(Mutex::new(Report {
            version: env!("CARGO_PKG_VERSION").into(),
            node: node.into(),
            mode: mode.into(),
            started: health.read(|status| status.started()).rfc3339(),
            ..Report::default()
        }));
        match UnixListener::bind_addr(&address()?) {
            Ok(listener) => {
                let report = report.clone();
                let answer = move || serve(&listener, &report, &health);
                thread::Builder::new().name("status".into()).spawn(answer)?;
            }
            Err(error) => warn!("another agent runs in this network namespace ({error})"),
        }
        Ok(Self { report })
    }

    fn change(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn address() -> Result<SocketAddr> {
    Ok(SocketAddr::from_abstract_name(NAME)?)
}

fn serve(listener: &UnixListener, report: &Mutex<Report>, health: &Health) {
    for client in listener.incoming().flatten() {
        let mut told = report.lock().unwrap_or_else(PoisonError::into_inner).clone();
        complete(&mut told, health);
        if let Err(error) = tell(client, &told) {
            tracing::debug!("a client of the status socket: {error:#}");
        }
    }
}

/// Adds what is only known at the moment of the question.
fn complete(report: &mut Report, health: &Health) {
    let now = Moment::now();
    health.read(|status| {
        let reasons = status.unready(now);
        report.unready = reasons
            .into_iter()
            .map(|(reason, text)| format!("{}: {text}", reason.word()))
            .collect();
        let watches = status.watches().iter().map(|(kind, watch)| WatchReport {
            kind: kind.to_string(),
            connected: watch.connected,
            silent_seconds: status.watch_age(watch, now).as_secs(),
            failure: watch.failure.clone(),
        });
        report.watches = watches.collect();
    });
}

/// Root and the agent's own user may know; an abstract socket has no file permissions.
fn tell(mut client: UnixStream, report: &Report) -> Result<()> {
    let asks = getsockopt(&client, sockopt::PeerCredentials)?.uid();
    ensure!(asks == 0 || asks == nix::unistd::geteuid().as_raw(), "user {asks} may not ask");
    client.set_write_timeout(Some(PATIENCE))?;
    client.write_all(serde_json::to_string(report)?.as_bytes())?;
    Ok(())
}

/// Asks the agent of this network namespace.
pub(crate) fn ask() -> Result<Report> {
    let mut agent = UnixStream::connect_addr(&address()?)
        .context("no agent answers in this network namespace (is `pointsman run` running here?)")?;
    agent.set_read_timeout(Some(PATIENCE))?;
    let mut text = String::new();
    agent.read_to_string(&mut text).context("the agent does not answer")?;
    ensure!(!text.is_empty(), "the agent answers root and its own user alone");
    serde_json::from_str(&text).context("the agent is of another version")
}

impl View for StatusView {
    fn decided(&mut self, decision: &PolicyDecision) {
        self.change(|report| report.network_policy = decision.to_string());
    }

    fn queued(&mut self, changes: &Changes) {
        self.change(|report| report.waiting += changes.services + changes.endpoints);
    }

    fn left_out(&mut self, notices: &BTreeSet<Notice>) {
        let named = |notice: &Notice| format!("{:?}: {notice}", notice.reason);
        self.change(|report| report.left_out = notices.iter().map(named).collect());
    }

    fn synced(&mut self, synced: &Synced<'_>) {
        let refused = synced.refused;
        let forgotten = synced.forgotten.ipv4.entries + synced.forgotten.ipv6.entries;
        let Totals { virtual_servers, backends } = synced.totals;
        self.change(|report| {
            report.last_write = Some(LastWrite {
                at: Moment::now().rfc3339(),
                full: synced.full,
                messages: synced.outcome.messages,
                milliseconds: synced.took.as_secs_f64() * 1e3,
            });
            report.services = synced.intent.servers.len();
            (report.virtual_servers, report.backends) = (virtual_servers, backends);
            report.waiting = 0;
            report.refused =
                refused.iter().map(|(owner, why)| format!("{owner:?}: {why}")).collect();
            report.repairs += u64::from(synced.repaired);
            report.drifts += u64::from(synced.drifted);
            report.forgotten_flows += forgotten as u64;
            report.cut_connections += synced.judged.condemned as u64;
            report.pardoned_connections += synced.judged.pardoned as u64;
        });
    }
}
