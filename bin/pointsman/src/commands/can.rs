//! `pointsman can`: whether policies let a connection through; nothing is sent and nothing changed.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use config::NetworkPolicyMode;
use explain::{Question, Style};
use model::Protocol;
use serde::Serialize;

use crate::cli::OutputFormat;
use crate::cli_can::CanArguments;
use crate::commands::explain::{Scene, family};
use crate::commands::render::print_json;

pub(crate) fn run(arguments: &CanArguments) -> Result<ExitCode> {
    let wait = Duration::from_secs(arguments.timeout);
    let read = || Scene::read(&arguments.proxy, wait, Some(NetworkPolicyMode::On));
    if let Some(namespace) = &arguments.matrix {
        let scene = read()?;
        let from: Vec<Arc<str>> = arguments.from.iter().map(|word| word.as_str().into()).collect();
        let ports: Vec<(Protocol, u16)> =
            arguments.port.iter().map(|word| port(word)).collect::<Result<_>>()?;
        let options = &scene.meant.routing.network_policy;
        let namespace = namespace.as_str().into();
        let table = explain::matrix(&scene.cluster, options, &namespace, &from, &ports)?;
        print(arguments, &table, |style| table.to_text(style))?;
        return Ok(ExitCode::SUCCESS);
    }
    let (Some(source), Some(destination)) = (&arguments.source, &arguments.destination) else {
        bail!("say who asks and whom, or --matrix NAMESPACE");
    };
    let mut question = question(source, destination)?;
    question.family = family(arguments.family);
    let mut scene = read()?;
    scene.stand_on_node(&question, &arguments.proxy)?;
    let (intent, _) = plan::plan(&scene.cluster, &scene.meant.routing);
    let mode = scene.mode();
    let answer = explain::can(&scene.cluster, &scene.meant.routing, &intent, mode, &question);
    print(arguments, &answer, |style| answer.to_text(style))?;
    Ok(ExitCode::from(answer.exit_code()))
}

/// The protocol may stand behind the port, which a place may hold slashes before.
fn question(source: &str, destination: &str) -> Result<Question> {
    let (destination, protocol) = match destination.rsplit_once(':') {
        Some((place, port)) => match port.split_once('/') {
            Some((port, protocol)) => (format!("{place}:{port}"), protocol),
            None => (destination.to_owned(), "tcp"),
        },
        None => (destination.to_owned(), "tcp"),
    };
    Ok(format!("{protocol} {source} to {destination}").parse()?)
}

fn port(word: &str) -> Result<(Protocol, u16)> {
    let (number, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
    let read = || Some((protocol.parse::<Protocol>().ok()?, number.parse().ok()?));
    read().with_context(|| format!("--port {word} is no port; write it as in 8080 or 53/udp"))
}

fn print(
    arguments: &CanArguments,
    answer: &impl Serialize,
    text: impl FnOnce(Style) -> String,
) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let written = match arguments.output {
        OutputFormat::Json => print_json(&mut out, answer),
        OutputFormat::Text => {
            let style = Style { verbose: arguments.verbose, colour: out.is_terminal() };
            write!(out, "{}", text(style)).map_err(Into::into)
        }
    };
    match written {
        // A reader that has read enough does not change the answer.
        Err(error) if crate::is_broken_pipe(&error) => Ok(()),
        other => other,
    }
}
