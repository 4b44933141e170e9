//! A network namespace for one test, and the real tools within it.

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

use model::Family;
use nix::sched::{CloneFlags, unshare};

/// Runs a test in a network namespace of its own, on a thread of its own.
pub(crate) fn within<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
    let run = move || {
        if let Err(errno) = unshare(CloneFlags::CLONE_NEWNET) {
            panic!("cannot make a network namespace ({errno}): run `cargo xtask test`");
        }
        test()
    };
    thread::spawn(run).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Runs a shell script and returns what it prints; it must succeed.
pub(crate) fn sh(script: &str) -> String {
    let output = Command::new("sh").args(["-ec", script]).output().expect("a shell");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Feeds a text to a command, which must succeed.
pub(crate) fn feed(command: &str, text: &str) {
    let mut child = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {error}\n{text}");
}

/// The tool of a family.
pub(crate) fn tool(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    }
}

/// What `iptables-save` prints, without its comments.
pub(crate) fn save(family: Family) -> String {
    let text = sh(&format!("{}-save", tool(family)));
    text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect()
}

/// The saved lines in an order that does not depend on when chains were made. The rules of each
/// chain stay in their order.
pub(crate) fn sorted(saved: &str) -> Vec<String> {
    let mut table = "";
    let mut lines: Vec<_> = saved
        .lines()
        .filter_map(|line| {
            if line.starts_with('*') {
                table = line;
            }
            let chain = line.strip_prefix("-A ").and_then(|rest| rest.split(' ').next());
            let chain = chain.or(line.strip_prefix(':'))?;
            Some((table, line.starts_with("-A"), chain, line))
        })
        .collect();
    lines.sort_by_key(|(table, rule, chain, _)| (*table, *rule, *chain));
    lines.into_iter().map(|(table, _, _, line)| format!("{table} {line}")).collect()
}
