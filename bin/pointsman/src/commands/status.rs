//! `pointsman status`: what the agent of this node knows.

use std::io::Write;

use anyhow::{Result, bail};

use crate::cli::{OutputFormat, StatusArguments};
use crate::views::status::{self, Report};

pub(crate) fn run(arguments: &StatusArguments) -> Result<()> {
    let report = status::ask()?;
    let mut out = std::io::stdout().lock();
    match arguments.output {
        OutputFormat::Json => {
            serde_json::to_writer_pretty(&mut out, &report)?;
            writeln!(out)?;
        }
        OutputFormat::Text => print(&mut out, &report)?,
    }
    if !report.unready.is_empty() {
        bail!("not ready: {}", report.unready.join("; "));
    }
    Ok(())
}

fn print(out: &mut impl Write, report: &Report) -> std::io::Result<()> {
    let Report { version, node, mode, started, .. } = report;
    writeln!(out, "node      {node}, mode {mode}, pointsman {version}, since {started}")?;
    let ready = if report.unready.is_empty() { "ready" } else { "not ready" };
    writeln!(out, "state     {ready}, {} changes waiting", report.waiting)?;
    match &report.last_write {
        None => writeln!(out, "kernel    nothing written yet: it goes on as it was")?,
        Some(write) => {
            let extent = if write.full { "compared in full" } else { "changes alone" };
            let (at, messages, took) = (&write.at, write.messages, write.milliseconds);
            writeln!(out, "kernel    {messages} messages at {at}, {took:.1} ms, {extent}")?;
        }
    }
    let Report { services, virtual_servers, backends, .. } = report;
    writeln!(out, "routing   {services} Services, {virtual_servers} ports, {backends} endpoints")?;
    if !report.network_policy.is_empty() {
        let Report { cut_connections, pardoned_connections, .. } = report;
        writeln!(
            out,
            "policies  {}; {cut_connections} connections cut off, {pardoned_connections} let through \
             again",
            report.network_policy
        )?;
    }
    let Report { repairs, drifts, forgotten_flows, .. } = report;
    writeln!(
        out,
        "repairs   {repairs} after others, {drifts} by audit; {forgotten_flows} stale flows deleted"
    )?;
    for watch in &report.watches {
        let state = if watch.connected { "connected" } else { "not connected" };
        let failure = watch.failure.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        let (kind, silent) = (&watch.kind, watch.silent_seconds);
        writeln!(out, "watch     {kind}: {state}, last heard {silent} s ago{failure}")?;
    }
    for line in &report.left_out {
        writeln!(out, "left out  {line}")?;
    }
    for line in &report.refused {
        writeln!(out, "refused   {line}")?;
    }
    Ok(())
}
