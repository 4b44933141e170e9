//! The ordinary course of things: a Service appears, changes, goes, and leaves nothing.

use std::collections::BTreeSet;

use crate::stage::{Running, Stage, my_service};

#[test]
fn a_service_is_routed_followed_and_cleaned_up() {
    let stage = Stage::new();
    stage.tool("iptables -A INPUT -p tcp --dport 22 -m comment --comment mine -j ACCEPT");
    stage.tool("iptables -t nat -N MINE");
    let before = stage.tool("iptables-save");
    let agent = Running::start(stage.pointsman("run"));
    stage.until("my-service answers", |stage| stage.ask().is_some());
    let answered: BTreeSet<_> = (0..40).filter_map(|_| stage.ask()).collect();
    assert_eq!(answered, BTreeSet::from(["my-app-1".to_owned(), "my-app-2".to_owned()]));
    let listed = stage.tool("iptables -t nat -L -n -v");
    for endpoint in ["10.77.1.4:8080", "10.77.1.5:8080"] {
        let dnat = format!("to:{endpoint}");
        let to_it = |line: &&str| line.contains("default/my-service") && line.contains(&dnat);
        assert_eq!(listed.lines().filter(to_it).count(), 1, "{listed}");
    }

    stage.folder.write("my-service.yaml", &my_service(&["10.77.1.5"]));
    stage.until("one endpoint is left", |stage| {
        !stage.tool("iptables-save").contains("10.77.1.4:8080")
    });
    assert!((0..10).all(|_| stage.ask().as_deref() == Some("my-app-2")));

    stage.folder.write("my-service.yaml", &my_service(&[]));
    stage.until("nobody is left", |stage| stage.tool("iptables-save").contains("has no endpoints"));
    assert_eq!(stage.ask(), None);

    let (code, log) = agent.stop(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("the rules stay in place"), "{log}");
    assert!(stage.tool("iptables-save").contains("has no endpoints"));

    let output = stage.pointsman("cleanup").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(without_empty_tables(&stage.tool("iptables-save")), without_empty_tables(&before));
    let again = stage.pointsman("cleanup").output().unwrap();
    assert!(String::from_utf8_lossy(&again.stdout).contains("nothing of ours"), "{again:?}");
}

/// Tables and built-in chains without any rule are no difference, nor is the time of printing.
fn without_empty_tables(saved: &str) -> Vec<&str> {
    saved.lines().filter(|line| line.starts_with("-A") || line.contains(" - [")).collect()
}

#[test]
fn render_prints_what_run_writes() {
    let stage = Stage::new();
    let printed = stage.pointsman("render").arg("--family=ipv4").output().unwrap();
    assert!(printed.status.success(), "{printed:?}");
    let printed = String::from_utf8(printed.stdout).unwrap();
    assert!(stage.tool("iptables-save").is_empty(), "render wrote something");
    let once = stage.pointsman("run").arg("--once").output().unwrap();
    assert!(once.status.success(), "{once:?}");
    let rules = |text: &str| -> Vec<String> {
        // Counters that the machine offers are rules that a dry run on another cannot know.
        let rules = text.lines().filter(|line| line.starts_with("-A") && !line.contains("nfacct"));
        rules.map(str::to_owned).collect()
    };
    let mut written = rules(&stage.tool("iptables-save"));
    let mut expected = rules(&printed);
    // A dropped INVALID packet is counted where the kernel can count it.
    let invalid = |line: &String| line.contains("--ctstate INVALID");
    expected.retain(|line| !invalid(line));
    written.retain(|line| !invalid(line));
    assert_eq!(written, expected);
    assert!(expected.iter().any(|rule| rule.contains("--to-destination 10.77.1.4:8080")));
}
