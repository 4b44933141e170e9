//! `pointsman lint`: what will hurt, in a folder of manifests or a live cluster.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use explain::{Finding, Lint};
use model::Change;
use serde_json::{Value, json};

use crate::cli_lint::{LintArguments, LintFormat};
use crate::commands::render::{host_of, print_json, read};
use crate::commands::run::meant;

/// The exit code where something could not be read.
pub(crate) const UNREAD: u8 = 3;

pub(crate) fn run(arguments: &LintArguments) -> Result<ExitCode> {
    let meant = meant(&arguments.proxy)?;
    let (mut cluster, unreadable) = read(&meant, Duration::from_secs(arguments.timeout))?;
    if let Some(host) = cluster.node(&meant.routing.node_name).map(|known| host_of(known)) {
        cluster.apply(Change::Host(host));
    }
    let routing = super::render::routing(&meant, &cluster);
    let (_, notices) = plan::plan(&cluster, &routing);
    let findings = explain::lint(&cluster, &routing, &notices);
    print(&findings, arguments.output)?;
    if unreadable > 0 {
        tracing::error!("{unreadable} of the manifests could not be read and were not looked at");
        return Ok(ExitCode::from(UNREAD));
    }
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(findings: &[Finding], format: LintFormat) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match format {
        LintFormat::Text => {
            for Finding { id, object, field, message } in findings {
                writeln!(out, "{object}: {field}: {message} [{id}]")?;
                writeln!(out, "  so: {}\n  do: {}", id.consequence(), id.remedy())?;
            }
            Ok(())
        }
        LintFormat::Json => print_json(&mut out, &findings.iter().map(object).collect::<Vec<_>>()),
        LintFormat::Sarif => print_json(&mut out, &sarif(findings)),
    }
}

fn object(finding: &Finding) -> Value {
    let Finding { id, object, field, message } = finding;
    json!({
        "id": id,
        "object": object,
        "field": field,
        "message": message,
        "consequence": id.consequence(),
        "remedy": id.remedy(),
    })
}

/// SARIF 2.1.0. Objects are logical locations: one may be made of several files, or of none.
fn sarif(findings: &[Finding]) -> Value {
    let rule = |id: &Lint| {
        json!({
            "id": id.to_string(),
            "shortDescription": { "text": id.meaning() },
            "fullDescription": { "text": format!("{}: {}.", id.meaning(), id.consequence()) },
            "help": { "text": id.remedy() },
        })
    };
    let result = |finding: &Finding| {
        let Finding { id, object, field, message } = finding;
        json!({
            "ruleId": id.to_string(),
            "level": "warning",
            "message": { "text": format!("{object}: {field}: {message}") },
            "locations": [{
                "logicalLocations": [{
                    "fullyQualifiedName": format!("{}/{}/{field}", object.kind, object.name),
                    "kind": "object",
                }],
            }],
        })
    };
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "pointsman",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": Lint::ALL.iter().map(rule).collect::<Vec<_>>(),
            } },
            "results": findings.iter().map(result).collect::<Vec<_>>(),
        }],
    })
}
