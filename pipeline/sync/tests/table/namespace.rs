//! A network namespace for one test, and the real tools within it.

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

use nix::sched::{CloneFlags, unshare};

/// Runs a test in a network namespace of its own, on a thread of its own.
pub(crate) fn within<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
    let run = move || {
        if let Err(errno) = unshare(CloneFlags::CLONE_NEWNET) {
            panic!("cannot make a network namespace ({errno}): run `cargo xtask test`");
        }
        test()
    };
    match thread::spawn(run).join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Runs a shell script with this input and returns what it prints; it must succeed. `nft` is the one
/// in `PATH`, or the one that `POINTSMAN_TEST_NFT` names.
pub(crate) fn sh(script: &str, input: &str) -> String {
    let tool = std::env::var("POINTSMAN_TEST_NFT").unwrap_or_else(|_| "nft".into());
    let with_tool = format!("nft() {{ command {tool} \"$@\"; }}\n{script}");
    let mut child = Command::new("sh")
        .args(["-ec", &with_tool])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let feeder = thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let fed = feeder.join().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {error}");
    fed.unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// What nft prints of everything.
pub(crate) fn listing() -> String {
    sh("nft list ruleset", "")
}

/// A listing line by line, sorted: nft lists chains, and elements of some sets, in an order that
/// depends on when they were made. Rules keep their place.
fn sorted(listed: &str) -> Vec<String> {
    let (mut table, mut block, mut place) = ("", "", 0);
    let mut lines = Vec::new();
    for line in listed.lines() {
        if line.starts_with("table") {
            (table, block, place) = (line, "", 0);
        } else if matches!(line.trim(), "" | "}") {
        } else if line.ends_with('{') {
            (block, place) = (line.trim(), 0);
        } else if let Some(elements) = line
            .trim()
            .strip_prefix("elements = {")
            .or_else(|| line.starts_with("\t\t\t").then_some(line))
        {
            let elements = elements.trim().trim_end_matches([',', '}', ' ']).split(", ");
            lines.extend(elements.map(|element| format!("{table} {block} element {element}")));
        } else {
            place += 1;
            lines.push(format!("{table} {block} {place:3} {}", line.trim()));
        }
    }
    lines.sort();
    lines
}

/// Asserts that two listings say the same, and names what differs alone.
#[track_caller]
pub(crate) fn assert_same(one: &str, other: &str, what: &str) {
    let (one, other) = (sorted(one), sorted(other));
    let of = |these: &[String], those: &[String]| {
        let missing: Vec<String> =
            these.iter().filter(|line| those.binary_search(line).is_err()).cloned().collect();
        missing.join("\n  ")
    };
    let (here, there) = (of(&one, &other), of(&other, &one));
    assert!(one == other, "{what}: only in the first:\n  {here}\nonly in the second:\n  {there}");
    assert!(one.len() > 100, "{what}: a listing of {} lines", one.len());
}
