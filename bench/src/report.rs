//! Rows of results: printed as they come, saved at the end.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde::Serialize;

/// One measured figure.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) what: &'static str,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
}

/// What was measured at one size.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) measured: &'static str,
    pub(crate) services: u32,
    pub(crate) endpoints_each: u32,
    pub(crate) figures: Vec<Figure>,
}

/// A whole run, with what it ran on.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    date: String,
    kernel: String,
    processors: usize,
    version: &'static str,
    rows: Vec<Row>,
}

impl Report {
    pub(crate) fn start() -> Self {
        let report = Self {
            date: word_of(Command::new("date").args(["-u", "+%Y-%m-%d"])),
            kernel: word_of(Command::new("uname").arg("-r")),
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            version: env!("CARGO_PKG_VERSION"),
            rows: Vec::new(),
        };
        println!("{}, kernel {}, {} processors", report.date, report.kernel, report.processors);
        report
    }

    pub(crate) fn add(&mut self, row: Row) {
        println!(
            "\n{}: {} Services x {} endpoints",
            row.measured, row.services, row.endpoints_each
        );
        for figure in &row.figures {
            println!("  {:<52} {:>12.3} {}", figure.what, figure.value, figure.unit);
        }
        self.rows.push(row);
    }

    pub(crate) fn save(&self, folder: &Path, name: &str) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        let path = folder.join(format!("{}-{name}.json", self.date));
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        println!("\nsaved to {}", path.display());
        Ok(())
    }
}

fn word_of(command: &mut Command) -> String {
    let output = command.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}

/// The resident memory of this process now, in MB.
pub(crate) fn resident() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    kilobytes.unwrap_or(f64::NAN) / 1024.0
}

/// The middle one of some durations, in milliseconds.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
