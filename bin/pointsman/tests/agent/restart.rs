//! Rules outlive the process, and a start adopts them.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use crate::stage::{Running, Stage};

/// All rules with their handles: a rule that was written again has another handle.
fn with_handles(stage: &Stage) -> String {
    stage.tool("nft -a -s list ruleset")
}

#[test]
fn a_restart_on_an_up_to_date_kernel_writes_nothing() {
    let stage = Stage::new();
    let first = stage.pointsman("run").arg("--once").output().unwrap();
    assert!(first.status.success(), "{first:?}");
    let before = with_handles(&stage);
    assert!(before.contains("10.77.1.4:8080"), "{before}");
    let second = stage.pointsman("run").args(["--once", "-v", "2"]).output().unwrap();
    assert!(second.status.success(), "{second:?}");
    let log = String::from_utf8(second.stderr).unwrap();
    assert!(log.contains("messages=0"), "{log}");
    assert_eq!(with_handles(&stage), before);
}

#[test]
fn kill_and_restart_under_a_stream_of_connections_loses_none() {
    let stage = Stage::new();
    let mut agent = Running::start(stage.pointsman("run"));
    stage.until("my-service answers", |stage| stage.ask().is_some());
    let (ended, asked, lost) = (AtomicBool::new(false), AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    asked.fetch_add(1, Ordering::Relaxed);
                    if stage.ask().is_none() {
                        lost.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        for _ in 0..5 {
            std::thread::sleep(Duration::from_millis(200));
            std::mem::replace(&mut agent, Running::start(stage.pointsman("run"))).kill();
        }
        std::thread::sleep(Duration::from_millis(200));
        ended.store(true, Ordering::Relaxed);
    });
    let (asked, lost) = (asked.into_inner(), lost.into_inner());
    assert!(asked > 100, "only {asked} connections were tried");
    assert_eq!(lost, 0, "of {asked} connections");
}
