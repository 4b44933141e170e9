//! Every packet of every case between real sockets: the same verdict as on paper, the same
//! endpoints, and the client's address as the server sees it. The rules come into the kernel by our
//! own encoder, and `iptables-save` must print them as they were rendered.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use explain::Mode;
use pointsman_tests::traffic::{self, Report};
use pointsman_tests::{Case, cases};

/// Cases at once: most of the time is spent waiting for what must not come.
const WORKERS: usize = 4;

#[test]
fn real_packets_meet_the_expected_fate_in_iptables_mode() {
    drive(Mode::Iptables);
}

#[test]
fn real_packets_meet_the_expected_fate_in_nftables_mode() {
    drive(Mode::Nftables);
}

fn drive(mode: Mode) {
    let start = Instant::now();
    let all = cases();
    let count = all.len();
    let waiting: Mutex<Vec<Case>> = Mutex::new(all);
    let next = || waiting.lock().unwrap().pop();
    let reports: Vec<Report> = thread::scope(|scope| {
        let work = || {
            let mut reports = Vec::new();
            while let Some(case) = next() {
                reports.push(traffic::drive(&case, mode));
            }
            reports
        };
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let sum = |of: fn(&Report) -> usize| reports.iter().map(of).sum::<usize>();
    let not_sendable: Vec<&String> = reports.iter().flat_map(|one| &one.not_sendable).collect();
    let wrong: Vec<&str> = reports.iter().flat_map(|one| &one.wrong).map(String::as_str).collect();
    // Past the test harness, which swallows what a passing test prints.
    let mut out = std::io::stderr();
    writeln!(
        out,
        "{count} cases in {mode} mode: {} packets sent in {} attempts, {} not sendable, {:.1} s",
        sum(|one| one.sent),
        sum(|one| one.attempts),
        not_sendable.len(),
        start.elapsed().as_secs_f64()
    )
    .unwrap();
    for packet in &not_sendable {
        writeln!(out, "not sendable: {packet}").unwrap();
    }
    assert!(wrong.is_empty(), "{} went wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(sum(|one| one.sent) > 0, "packets were sent");
}
