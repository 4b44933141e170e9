//! nftables mode: the same course of things, by another table; and the way from one mode to the
//! other under a stream of connections.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use crate::stage::{Running, Stage, my_service};

fn agent(stage: &Stage, mode: &str) -> Command {
    let mut command = stage.pointsman("run");
    command.arg(format!("--proxy-mode={mode}"));
    command
}

#[test]
fn a_service_is_routed_followed_and_left_in_place() {
    let stage = Stage::new();
    let running = Running::start(agent(&stage, "nftables"));
    stage.until("my-service answers", |stage| stage.ask().is_some());
    let answered: BTreeSet<_> = (0..40).filter_map(|_| stage.ask()).collect();
    assert_eq!(answered, BTreeSet::from(["my-app-1".to_owned(), "my-app-2".to_owned()]));
    let table = stage.tool("nft list table ip pointsman");
    assert!(table.contains("default/my-service"), "{table}");
    assert!(!stage.tool("iptables-save").contains("KUBE-"), "rules of iptables mode");

    stage.folder.write("my-service.yaml", &my_service(&["10.77.1.5"]));
    stage.until("one endpoint is left", |stage| {
        (0..8).all(|_| stage.ask().as_deref() == Some("my-app-2"))
    });
    stage.folder.write("my-service.yaml", &my_service(&[]));
    stage.until("nobody is left", |stage| stage.ask().is_none());
    let (code, log) = running.stop(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(code, Some(0), "{log}");
    assert!(stage.tool("nft list tables").contains("table ip pointsman"));
    let cleaned = stage.pointsman("cleanup").output().unwrap();
    assert!(cleaned.status.success(), "{cleaned:?}");
    assert!(!stage.tool("nft list tables").contains("pointsman"));
}

#[test]
fn a_restart_writes_nothing_and_a_flush_is_repaired() {
    let stage = Stage::new();
    assert!(agent(&stage, "nftables").arg("--once").status().unwrap().success());
    let before = stage.tool("nft -a -s list ruleset");
    let second = agent(&stage, "nftables").args(["--once", "-v", "2"]).output().unwrap();
    let log = String::from_utf8(second.stderr).unwrap();
    assert!(log.contains("messages=0"), "{log}");
    assert_eq!(stage.tool("nft -a -s list ruleset"), before);

    let _running = Running::start(agent(&stage, "nftables"));
    stage.until("the agent is ready", |stage| {
        let mut ask = stage.lab.at("alpha").unwrap().command(env!("CARGO_BIN_EXE_pointsman"));
        ask.arg("status").output().unwrap().status.success()
    });
    for flush in
        ["nft flush ruleset", "nft delete table ip pointsman", "nft flush table ip pointsman"]
    {
        stage.tool(flush);
        stage.until(flush, |stage| {
            stage.ask().is_some() && stage.tool("nft list tables").contains("ip6 pointsman")
        });
    }
}

/// New rules stand before old ones go, in both directions.
#[test]
fn switching_the_mode_under_a_stream_of_connections_loses_none() {
    let stage = Stage::new();
    let mut running = Running::start(agent(&stage, "iptables"));
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
        for mode in ["nftables", "iptables", "nftables", "iptables"] {
            running.kill();
            running = Running::start(agent(&stage, mode));
            let (there, gone) = match mode {
                "nftables" => ("table ip pointsman", "KUBE-SVC"),
                _ => ("KUBE-SVC", "table ip pointsman"),
            };
            stage.until(mode, |stage| {
                let all = stage.tool("nft list ruleset");
                all.contains(there) && !all.contains(gone)
            });
            std::thread::sleep(Duration::from_millis(100));
        }
        ended.store(true, Ordering::Relaxed);
    });
    let (asked, lost) = (asked.into_inner(), lost.into_inner());
    assert!(asked > 100, "only {asked} connections were tried");
    assert_eq!(lost, 0, "of {asked} connections");
}

#[test]
fn connections_to_services_are_counted() {
    const SERIES: &str =
        "pointsman_service_connections_total{namespace=\"default\",service=\"my-service\"}";
    let stage = Stage::new();
    let _running = Running::start(agent(&stage, "nftables"));
    stage.until("my-service answers", |stage| stage.ask().is_some());
    let asked = 1 + (0..6).filter(|_| stage.ask().is_some()).count();
    // They are read each ten seconds.
    stage.until("all are counted", |stage| {
        crate::meters::scrape(stage).get(SERIES).copied() >= Some(asked as f64)
    });
}
