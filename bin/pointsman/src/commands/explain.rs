//! `pointsman explain`: why a packet does or does not arrive; nothing is sent and nothing changed.

use std::io::{ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use config::flags::ProxyFlags;
use config::{Meant, NetworkPolicyMode, ProxyMode};
use explain::kernel::Needs;
use explain::{Enters, Explanation, Mode, Place, Question, Style};
use model::{Change, Cluster, Family, NamespacedName};
use serde::{Deserialize, Serialize};

use crate::cli::{FamilyName, OutputFormat};
use crate::cli_explain::ExplainArguments;
use crate::commands::render::{host_of, read, routing};
use crate::commands::run::meant;
use crate::{asked, node_facts};

/// The exit code of a question that could not be answered: 1 and 2 are answers.
pub(crate) const UNANSWERED: u8 = 4;

pub(crate) fn run(arguments: &ExplainArguments) -> Result<ExitCode> {
    let said = Said::of(arguments);
    if !names_source(&arguments.proxy)
        && let Some(answer) = asked::ask(&said)?
    {
        if let Some(failure) = answer.failure {
            bail!("{failure}");
        }
        return print(&answer.text, answer.code);
    }
    let question = said.question()?;
    let mut scene = Scene::read(&arguments.proxy, Duration::from_secs(arguments.timeout), None)?;
    scene.stand_on_node(&question, &arguments.proxy)?;
    if arguments.kernel {
        scene.cluster.apply(Change::Host(intake::host::read_host()?));
    }
    let Scene { meant, cluster } = &scene;
    let (intent, _) = plan::plan(cluster, &meant.routing);
    let (host, mode) = (cluster.host(), scene.mode());
    let mut answer = explain::explain(cluster, &meant.routing, &intent, host, mode, &question);
    if let Some(packet) = answer.packet.as_ref().filter(|_| arguments.kernel) {
        let needs = Needs::of(&intent, host, packet, mode, meant.masquerade_bit);
        let facts = node_facts::read(&needs, host, &answer);
        answer.face(&needs, host, facts);
    }
    print(&said.show(&answer)?, answer.exit_code())
}

/// Whether somebody said where the cluster is to be read; else the agent is asked, if there is one.
fn names_source(proxy: &ProxyFlags) -> bool {
    let source = &proxy.source;
    let config = proxy.process.config.is_some();
    config || source.manifests.is_some() || source.kubeconfig.is_some() || source.master.is_some()
}

/// A question and how its answer is to look, as the agent is asked it too.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Said {
    question: String,
    ipv6: Option<bool>,
    why_not: Option<String>,
    interface: Option<String>,
    /// The node that was named.
    pub(crate) node: Option<String>,
    json: bool,
    verbose: bool,
    colour: bool,
}

impl Said {
    fn of(arguments: &ExplainArguments) -> Self {
        Self {
            question: arguments.question.join(" "),
            ipv6: arguments.family.map(|family| family == FamilyName::Ipv6),
            why_not: arguments.why_not.clone(),
            interface: arguments.interface.clone(),
            node: arguments.proxy.source.hostname_override.clone(),
            json: arguments.output == OutputFormat::Json,
            verbose: arguments.verbose,
            colour: std::io::stdout().is_terminal(),
        }
    }

    /// The question that was meant.
    pub(crate) fn question(&self) -> Result<Question> {
        let mut question: Question = self.question.parse()?;
        question.family = self.ipv6.map(|ipv6| if ipv6 { Family::V6 } else { Family::V4 });
        question.enters = self.interface.as_deref().map(|name| Enters::Interface(name.into()));
        if let Some(text) = &self.why_not {
            let name = text.strip_prefix("pod/").unwrap_or(text);
            let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
            question.why_not = Some(NamespacedName::new(namespace, name));
        }
        Ok(question)
    }

    /// An answer as it is to look.
    pub(crate) fn show(&self, answer: &Explanation) -> Result<String> {
        Ok(if self.json {
            serde_json::to_string_pretty(answer)? + "\n"
        } else {
            answer.to_text(Style { verbose: self.verbose, colour: self.colour })
        })
    }
}

/// What a question is asked of: the cluster as it is now, and what is meant by the flags.
pub(crate) struct Scene {
    pub(crate) meant: Meant,
    pub(crate) cluster: Cluster,
}

impl Scene {
    /// Reads it. `mode` takes the place of what is said of the enforcing of policies: what is not
    /// enforced is not read either.
    pub(crate) fn read(
        proxy: &ProxyFlags,
        wait: Duration,
        mode: Option<NetworkPolicyMode>,
    ) -> Result<Self> {
        let mut meant = meant(proxy)?;
        meant.network_policy.mode = mode.unwrap_or(meant.network_policy.mode);
        let (cluster, unreadable) = read(&meant, wait)?;
        if unreadable > 0 {
            tracing::warn!(
                "{unreadable} of the manifests could not be read; the answer is without them"
            );
        }
        meant.routing = routing(&meant, &cluster);
        Ok(Self { meant, cluster })
    }

    /// Asks the rules of the node that the question is about, whose addresses are then the host's.
    pub(crate) fn stand_on_node(&mut self, question: &Question, proxy: &ProxyFlags) -> Result<()> {
        let node = node(&self.meant, &self.cluster, question, proxy)?;
        self.meant.routing.node_name = node;
        if let Some(host) = self.cluster.node(&self.meant.routing.node_name).map(|it| host_of(it)) {
            self.cluster.apply(Change::Host(host));
        }
        Ok(())
    }

    pub(crate) fn mode(&self) -> Mode {
        match self.meant.mode {
            ProxyMode::Iptables => Mode::Iptables,
            ProxyMode::Nftables => Mode::Nftables,
        }
    }
}

fn print(text: &str, code: u8) -> Result<ExitCode> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        // A reader that has read enough does not change the answer.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::from(code)),
    }
}

/// The family that was asked for.
pub(crate) fn family(name: Option<FamilyName>) -> Option<Family> {
    name.map(|family| match family {
        FamilyName::Ipv4 => Family::V4,
        FamilyName::Ipv6 => Family::V6,
    })
}

/// The node whose rules are asked: the one that was named, else the one where the packet begins,
/// else this host, else the only one there is.
fn node(
    meant: &Meant,
    cluster: &Cluster,
    question: &Question,
    proxy: &ProxyFlags,
) -> Result<Arc<str>> {
    let said = &meant.routing.node_name;
    if proxy.source.hostname_override.is_some() {
        let known = || cluster.nodes().map(|node| &*node.name).collect::<Vec<_>>().join(", ");
        if cluster.nodes().next().is_some() && cluster.node(said).is_none() {
            bail!("--node {said}: there is no such Node; known are: {}", known());
        }
        return Ok(said.clone());
    }
    if let Some(node) = explain::node_of(cluster, question) {
        return Ok(node);
    }
    let mut nodes = cluster.nodes();
    match (cluster.node(said), nodes.next(), nodes.next()) {
        (Some(_), ..) | (None, None, _) => Ok(said.clone()),
        (None, Some(only), None) => Ok(only.name.clone()),
        // A Pod that nobody knows sends nothing anywhere.
        (None, Some(any), _) if matches!(question.source, Place::Pod(_)) => Ok(any.name.clone()),
        (None, Some(_), Some(_)) => {
            bail!("on which node does the packet arrive? say it with --node NAME")
        }
    }
}
