//! Questions to the running agent: `pointsman explain` on a node asks it over a unix socket, and gets
//! an answer from what the agent knows at that moment.
//!
//! The agent's loop does nothing but hand out references to its Cluster and its plan; the answer is
//! made on a thread of its own. Only a change that comes within those few milliseconds makes the
//! loop copy the maps of names (not the objects) before it changes them.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use config::{Meant, ProxyMode};
use explain::kernel::Needs;
use explain::{Mode, Question};
use model::Cluster;
use nix::sys::socket::{getsockopt, sockopt};
use plan::{Config, Intent};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tracing::{debug, warn};

use crate::commands::explain::{self as command, Said};
use crate::node_facts;

/// The socket's abstract name: it belongs to the node's network namespace, as the rules do.
const NAME: &str = "pointsman/explain";
/// How long a client may keep the thread, and how long the agent's loop may be busy.
const PATIENCE: Duration = Duration::from_secs(5);
/// A question is a line of text.
const LONGEST: u64 = 64 << 10;

/// A wish for what the agent knows.
#[derive(Debug)]
pub(crate) struct Asked(SyncSender<Snapshot>);

/// What the agent knows at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) intent: Arc<Intent>,
    pub(crate) config: Config,
}

impl Asked {
    /// Hands it out; whoever asked may have gone.
    pub(crate) fn answer(self, snapshot: Snapshot) {
        let _ = self.0.try_send(snapshot);
    }
}

/// What the agent says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// What is printed.
    pub(crate) text: String,
    /// The program's exit code.
    pub(crate) code: u8,
    /// Why there is no answer, if there is none.
    pub(crate) failure: Option<String>,
}

/// Listens for questions on a thread of its own, and hands wishes for a snapshot on. If another
/// agent has the socket, or `listens` is false, nobody ever asks.
pub(crate) fn start(meant: &Meant, listens: bool) -> Result<UnboundedReceiver<Asked>> {
    let (wishes, asked) = unbounded_channel();
    if !listens {
        return Ok(asked);
    }
    match UnixListener::bind_addr(&address()?) {
        Ok(listener) => {
            let how = How { mode: mode(meant.mode), masquerade_bit: meant.masquerade_bit };
            thread::Builder::new()
                .name("explain".into())
                .spawn(move || serve(&listener, &wishes, how))?;
        }
        Err(error) => warn!("another agent answers here ({error}); this one is not asked"),
    }
    Ok(asked)
}

/// How the rules are written.
#[derive(Clone, Copy)]
struct How {
    mode: Mode,
    masquerade_bit: u8,
}

pub(crate) fn mode(mode: ProxyMode) -> Mode {
    match mode {
        ProxyMode::Iptables => Mode::Iptables,
        ProxyMode::Nftables => Mode::Nftables,
    }
}

fn address() -> Result<SocketAddr> {
    Ok(SocketAddr::from_abstract_name(NAME)?)
}

fn serve(listener: &UnixListener, wishes: &UnboundedSender<Asked>, how: How) {
    for client in listener.incoming().flatten() {
        if let Err(error) = converse(client, wishes, how) {
            debug!("a question: {error:#}");
        }
    }
}

/// Root and the agent's own user may ask; an abstract socket has no file permissions.
fn converse(mut client: UnixStream, wishes: &UnboundedSender<Asked>, how: How) -> Result<()> {
    let asks = getsockopt(&client, sockopt::PeerCredentials)?.uid();
    ensure!(asks == 0 || asks == nix::unistd::geteuid().as_raw(), "user {asks} may not ask");
    client.set_read_timeout(Some(PATIENCE))?;
    client.set_write_timeout(Some(PATIENCE))?;
    let mut text = String::new();
    (&client).take(LONGEST).read_to_string(&mut text)?;
    let said: Said = serde_json::from_str(&text).context("a question of another version")?;
    let answer = reply(&said, wishes, how).unwrap_or_else(|error| Answer {
        text: String::new(),
        code: command::UNANSWERED,
        failure: Some(format!("{error:#}")),
    });
    client.write_all(serde_json::to_string(&answer)?.as_bytes())?;
    Ok(())
}

fn reply(said: &Said, wishes: &UnboundedSender<Asked>, how: How) -> Result<Answer> {
    let question = said.question()?;
    let (sender, snapshot) = sync_channel(1);
    wishes.send(Asked(sender)).ok().context("the agent has ended")?;
    let snapshot = snapshot.recv_timeout(PATIENCE).context("the agent is busy")?;
    let here = &snapshot.config.node_name;
    if let Some(node) = elsewhere(&snapshot, &question, said) {
        bail!(
            "the packet begins on node {node}, and this agent is that of {here}: ask there, or \
               say --node {here}"
        );
    }
    let Snapshot { cluster, intent, config } = &snapshot;
    let host = cluster.host();
    let mut answer = explain::explain(cluster, config, intent, host, how.mode, &question);
    if let Some(packet) = &answer.packet {
        let needs = Needs::of(intent, host, packet, how.mode, how.masquerade_bit);
        let facts = node_facts::read(&needs, host, &answer);
        answer.face(&needs, host, facts);
    }
    let text = said.show(&answer)?;
    Ok(Answer { text, code: answer.exit_code(), failure: None })
}

/// The node where the packet begins, if it is another one and nobody said which to ask.
fn elsewhere(snapshot: &Snapshot, question: &Question, said: &Said) -> Option<Arc<str>> {
    let here = &snapshot.config.node_name;
    match &said.node {
        Some(node) => (**node != **here).then(|| node.as_str().into()),
        None => explain::node_of(&snapshot.cluster, question).filter(|node| node != here),
    }
}

/// Asks the agent of this network namespace; `None` if there is none.
pub(crate) fn ask(said: &Said) -> Result<Option<Answer>> {
    let Ok(mut agent) = UnixStream::connect_addr(&address()?) else { return Ok(None) };
    agent.set_read_timeout(Some(PATIENCE * 2))?;
    agent.set_write_timeout(Some(PATIENCE))?;
    agent.write_all(serde_json::to_string(said)?.as_bytes())?;
    agent.shutdown(Shutdown::Write)?;
    let mut text = String::new();
    agent.read_to_string(&mut text).context("the agent does not answer")?;
    ensure!(!text.is_empty(), "the agent answers root and its own user alone");
    let answer = serde_json::from_str(&text).context("the agent is of another version")?;
    Ok(Some(answer))
}
