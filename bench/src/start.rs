//! A start of the program: from nothing to the first write, reading from an API server that answers
//! at once, from memory. What is measured is therefore what a start takes beyond the API's own time.

mod server;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use lab::Namespace;

use crate::generator::Size;
use crate::report::{Figure, Row, median};

/// How often each start is timed.
const STARTS: u32 = 9;

/// Marks in the log of a start, in their order, and what the time up to each is called.
const MARKS: [(&str, &str); 3] = [
    (" started; ", "  until it asks the API"),
    (" every list is complete", "  until every list is read"),
    (" written ", "start to end of first write"),
];

/// Both modes: a start on a machine without rules, and a start on one that has them.
pub(crate) fn start(size: Size) -> Result<Row> {
    let program = std::env::current_exe()?.with_file_name("pointsman");
    let bytes = fs::metadata(&program)
        .with_context(|| format!("{}: build the package pointsman too", program.display()))?
        .len();
    let mut figures = Vec::new();
    for (mode, first, again) in [
        (
            "iptables",
            "iptables mode, no rules before",
            "iptables mode, the same rules (0 messages)",
        ),
        (
            "nftables",
            "nftables mode, no rules before",
            "nftables mode, the same rules (0 messages)",
        ),
    ] {
        let (mut cold, mut warm) = (Vec::new(), Vec::new());
        for _ in 0..STARTS {
            let namespace = Namespace::new()?;
            let kubeconfig = server::serve(&namespace, size)?;
            cold.push(run(&program, &namespace, &kubeconfig.0, mode, false)?);
            warm.push(run(&program, &namespace, &kubeconfig.0, mode, true)?);
        }
        for (what, times) in [(first, cold), (again, warm)] {
            figures.push(figure(what, nth(&times, MARKS.len() - 1), "ms"));
            for (index, (_, name)) in MARKS.iter().enumerate().take(MARKS.len() - 1) {
                figures.push(figure(name, nth(&times, index), "ms"));
            }
        }
    }
    figures.push(figure("the program", bytes as f64 / 1e6, "MB"));
    let Size { services, endpoints } = size;
    Ok(Row { measured: "a start", services, endpoints_each: endpoints, figures })
}

fn figure(what: &'static str, value: f64, unit: &'static str) -> Figure {
    Figure { what, value, unit }
}

/// The median time up to one mark.
fn nth(times: &[[f64; MARKS.len()]], index: usize) -> f64 {
    median(times.iter().filter_map(|times| times.get(index)).copied().collect())
}

/// Milliseconds from before the program is started until its log shows each mark.
fn run(
    program: &Path,
    at: &Namespace,
    kubeconfig: &Path,
    mode: &str,
    up_to_date: bool,
) -> Result<[f64; MARKS.len()]> {
    let mut command: Command = at.follower(program);
    command.args(["run", "-v=2", "--node=node-0", "--cluster-cidr=10.128.0.0/10"]);
    command.arg(format!("--proxy-mode={mode}")).arg("--kubeconfig").arg(kubeconfig);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let start = Instant::now();
    let child = command.spawn().with_context(|| format!("start {}", program.display()))?;
    let mut running = Running(child);
    let log = running.0.stderr.take().context("the program's log cannot be read")?;
    let mut times = Vec::new();
    let mut said = String::new();
    for line in BufReader::new(log).lines() {
        let (line, took) = (line?, start.elapsed().as_secs_f64() * 1e3);
        let mark = MARKS.get(times.len()).map_or("", |(mark, _)| mark);
        if line.contains(mark) {
            times.push(took);
        }
        if let Ok(times) = <[f64; MARKS.len()]>::try_from(times.clone()) {
            let idle = line.contains("messages=0 ");
            ensure!(
                idle == up_to_date,
                "expected {} writes: {line}",
                if up_to_date { "no" } else { "" }
            );
            return Ok(times);
        }
        said.push_str(&line);
        said.push('\n');
    }
    bail!("{} ended before its first write: {said}", program.display())
}

/// Ends with its value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Whether it had ended already makes no difference here.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A file that goes away with its value.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed from the place for temporary files is no error of the benchmark.
        let _ = fs::remove_file(&self.0);
    }
}
