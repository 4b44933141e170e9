//! One thing is broken at a time on a node that works, while its agent cannot repair it, and
//! `pointsman explain --kernel` must name it. `docs/mutations.md` shows what it prints.
//!
//! `POINTSMAN_BLESS=1` writes the document anew; read what it changed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../folder/mod.rs"]
mod folder;
mod live;
#[path = "../agent/stage.rs"]
#[allow(dead_code, reason = "the other tests use more of it")]
mod stage;
mod table;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::stage::{Running, Stage};
use crate::table::{MUTATIONS, Mutation, QUESTION};

/// A node that works, with an agent that was stopped in the middle of its work: it repairs nothing.
fn broken_by(mutation: &Mutation) -> Stage {
    let stage = Stage::new();
    (mutation.before)(&stage);
    let mut command = stage.pointsman("run");
    command.arg(format!("--proxy-mode={}", mutation.mode));
    let running = Running::start(command);
    stage.until("my-service answers", |stage| stage.ask().is_some());
    let healthy = explain(&stage, mutation, &[]);
    assert_eq!(healthy.0, Some(0), "{}: healthy at first: {}", mutation.name, healthy.1);
    let process = Pid::from_raw(running.0.id().try_into().unwrap());
    kill(process, Signal::SIGSTOP).unwrap();
    // The connections of this test itself are no part of the picture.
    shell(&stage, "conntrack -F 2>/dev/null");
    (mutation.breaks)(&stage);
    // Ends the agent, which a stopped process does not mind; its rules stay.
    drop(running);
    stage
}

/// What `explain` prints of the client's question, and its exit code.
fn explain(stage: &Stage, mutation: &Mutation, more: &[&str]) -> (Option<i32>, String) {
    let mut command = stage.pointsman("explain");
    command.arg(format!("--proxy-mode={}", mutation.mode)).arg("--kernel");
    command.args(mutation.flags).args(more).arg(QUESTION);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("error"), "{said}");
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn every_mutation_is_named_and_none_is_called_healthy() {
    let mut document = String::from(HEAD);
    for mutation in MUTATIONS {
        let stage = broken_by(mutation);
        let (code, shown) = explain(&stage, mutation, &[]);
        let (_, json) = explain(&stage, mutation, &["-o", "json"]);
        let json: Value = serde_json::from_str(&json).unwrap();
        let name = mutation.name;
        println!("--- {name}\n{shown}");
        assert_eq!(json["reason"], mutation.code, "{name}: {shown}");
        assert_eq!(json["kernel"]["planned"], "Delivered", "{name}: {shown}");
        assert_eq!(code, Some(mutation.exit), "{name}: {shown}");
        assert!(!shown.contains("DELIVERED"), "{name}: {shown}");
        for part in mutation.says {
            assert!(shown.contains(part), "{name} must say {part:?}: {shown}");
        }
        let _ = write!(document, "\n## {name}\n\n{} mode. {}\n\n", mutation.mode, mutation.what);
        let _ = writeln!(document, "```console\n{}```", of_interest(&shown));
    }
    compare("docs/mutations.md", &document);
}

/// What the kernel adds, and the verdict.
fn of_interest(shown: &str) -> String {
    let from = shown.find("\nkernel ").expect("the kernel was asked") + 1;
    let lines = shown[from..].lines().filter(|line| !line.starts_with("policy "));
    lines.fold(String::new(), |text, line| text + line + "\n")
}

/// Compares a document with a fresh copy, or writes it anew.
fn compare(name: &str, fresh: &str) {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name);
    if std::env::var_os("POINTSMAN_BLESS").is_some() {
        fs::write(&path, fresh).unwrap();
    } else {
        let there = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(there, fresh, "{name} is not what is printed now");
    }
}

const HEAD: &str = "\
# What `pointsman explain --kernel` says of a node that is broken

A test breaks one thing at a time on a node that works, while its agent is stopped and repairs
nothing, and asks why the client's packet does not arrive. Below is what is printed, from the line
`kernel` on; the test (`bin/pointsman/tests/mutations`) writes this document. The question is always

```console
$ pointsman explain --kernel 'tcp 10.77.1.9 -> my-service:80'
```
";

/// Runs a tool on the node, which must succeed.
pub(crate) fn on_node(stage: &Stage, line: &str) {
    stage.tool(line);
}

/// Runs a shell line on the node.
pub(crate) fn shell(stage: &Stage, line: &str) {
    let mut command: Command = stage.lab.at("alpha").unwrap().command("sh");
    let output = command.args(["-ec", line]).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}
