//! `pointsman explain`: why a packet does or does not arrive; nothing is sent and nothing changed.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use config::{Meant, ProxyMode};
use explain::{Explanation, Mode, Place, Question, Style};
use model::{Change, Cluster, Family, NamespacedName};

use crate::cli::{FamilyName, OutputFormat};
use crate::cli_explain::ExplainArguments;
use crate::commands::render::{host_of, print_json, read};
use crate::commands::run::meant;

/// The exit code of a question that could not be answered: 1 and 2 are answers.
pub(crate) const UNANSWERED: u8 = 4;

pub(crate) fn run(arguments: &ExplainArguments) -> Result<ExitCode> {
    let question = question(arguments)?;
    let mut meant = meant(&arguments.proxy)?;
    let (mut cluster, unreadable) = read(&meant, Duration::from_secs(arguments.timeout))?;
    if unreadable > 0 {
        tracing::warn!(
            "{unreadable} of the manifests could not be read; the answer is without them"
        );
    }
    meant.routing.node_name = node(&meant, &cluster, &question, arguments)?;
    if let Some(host) = cluster.node(&meant.routing.node_name).map(|known| host_of(known)) {
        cluster.apply(Change::Host(host));
    }
    meant.routing = super::render::routing(&meant, &cluster);
    let (intent, _) = plan::plan(&cluster, &meant.routing);
    let mode = match meant.mode {
        ProxyMode::Iptables => Mode::Iptables,
        ProxyMode::Nftables => Mode::Nftables,
    };
    let host = cluster.host();
    let answer = explain::explain(&cluster, &meant.routing, &intent, host, mode, &question);
    let code = ExitCode::from(answer.exit_code());
    print(&answer, arguments)?;
    Ok(code)
}

fn print(answer: &Explanation, arguments: &ExplainArguments) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let written = match arguments.output {
        OutputFormat::Json => print_json(&mut out, answer),
        OutputFormat::Text => {
            let style = Style { verbose: arguments.verbose, colour: out.is_terminal() };
            write!(out, "{}", answer.to_text(style)).map_err(Into::into)
        }
    };
    match written {
        // A reader that has read enough does not change the answer.
        Err(error) if crate::is_broken_pipe(&error) => Ok(()),
        other => other,
    }
}

fn question(arguments: &ExplainArguments) -> Result<Question> {
    let mut question: Question = arguments.question.join(" ").parse()?;
    question.family = arguments.family.map(|family| match family {
        FamilyName::Ipv4 => Family::V4,
        FamilyName::Ipv6 => Family::V6,
    });
    if let Some(text) = &arguments.why_not {
        let name = text.strip_prefix("pod/").unwrap_or(text);
        let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
        question.why_not = Some(NamespacedName::new(namespace, name));
    }
    Ok(question)
}

/// The node whose rules are asked: the one that was named, else the one where the packet begins,
/// else this host, else the only one there is.
fn node(
    meant: &Meant,
    cluster: &Cluster,
    question: &Question,
    arguments: &ExplainArguments,
) -> Result<Arc<str>> {
    let said = &meant.routing.node_name;
    if arguments.proxy.source.hostname_override.is_some() {
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
