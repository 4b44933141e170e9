//! `pointsman top` with real connections, and the table that `pointsman render` prints.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lab::Lab;
use serde_json::Value;

use crate::stage::{Stage, my_service};

fn top(lab: &Lab) -> Command {
    let mut command = lab.at("alpha").unwrap().command(env!("CARGO_BIN_EXE_pointsman"));
    command.arg("top").stdin(Stdio::null());
    command
}

fn routed(mode: &str) -> Stage {
    let stage = Stage::new();
    let mut agent = stage.pointsman("run");
    agent.args(["--once", &format!("--proxy-mode={mode}")]);
    assert!(agent.status().unwrap().success());
    stage
}

/// What one interval counted while `work` was done in it.
fn counted(stage: &Stage, seconds: u32, work: impl FnOnce()) -> Value {
    let interval = format!("--interval={seconds}s");
    let top = top(&stage.lab).args(["--once", "-o=json", &interval]).stdout(Stdio::piped()).spawn();
    let top: Child = top.unwrap();
    // Until it has read the counters and listens.
    std::thread::sleep(Duration::from_secs(2));
    work();
    let output = top.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Connections that a rate stands for.
fn number(count: &Value, rate: &Value) -> u64 {
    (rate.as_f64().unwrap() * count["seconds"].as_f64().unwrap()).round() as u64
}

#[test]
fn connections_are_counted_by_service_and_by_endpoint() {
    for mode in ["nftables", "iptables"] {
        counts_connections(mode);
    }
}

fn counts_connections(mode: &str) {
    let stage = routed(mode);
    assert!((0..5).all(|_| stage.ask().is_some()));
    let count = counted(&stage, 8, || assert!((0..30).all(|_| stage.ask().is_some())));
    let services = count["services"].as_array().unwrap();
    assert_eq!(services.len(), 1, "{count}");
    assert_eq!(services[0]["service"], "default/my-service", "{count}");
    assert_eq!(number(&count, &services[0]["newPerSecond"]), 30, "{count}");
    // Those before the interval belong to the sum alone.
    assert_eq!(services[0]["connections"], 35, "{count}");
    let endpoints = count["endpoints"].as_array().unwrap();
    assert_eq!(endpoints.len(), 2, "{count}");
    let all: u64 = endpoints.iter().map(|one| number(&count, &one["newPerSecond"])).sum();
    assert_eq!(all, 30, "{count}");
    for endpoint in endpoints {
        assert_eq!(endpoint["service"], "default/my-service");
        let address = endpoint["endpoint"].as_str().unwrap();
        assert!(["10.77.1.4:8080", "10.77.1.5:8080"].contains(&address), "{count}");
    }
    assert!(count.get("endpointsIncomplete").is_none(), "{count}");
}

#[test]
fn where_nothing_is_announced_the_services_are_still_counted() {
    let stage = routed("nftables");
    let alpha = stage.lab.at("alpha").unwrap();
    alpha.set_sysctl("net/netfilter/nf_conntrack_events", "0").unwrap();
    let count = counted(&stage, 5, || assert!((0..4).all(|_| stage.ask().is_some())));
    assert_eq!(number(&count, &count["services"][0]["newPerSecond"]), 4, "{count}");
    assert_eq!(count["endpoints"].as_array().unwrap().len(), 0);
    assert!(count["endpointsIncomplete"].as_str().unwrap().contains("nf_conntrack_events"));
}

#[test]
fn the_columns_of_the_text_are_aligned() {
    let stage = routed("nftables");
    assert!(stage.ask().is_some());
    let output = top(&stage.lab).args(["--once", "--interval=200ms"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let head = text.lines().find(|line| line.starts_with("SERVICE")).unwrap();
    let line = text.lines().find(|line| line.starts_with("default/my-service ")).unwrap();
    assert_eq!(line.len(), head.len(), "{text}");
    assert!(line.ends_with(" 1"), "{text}");
    assert!(!text.contains('\x1b'), "codes for a terminal where there is none: {text:?}");
}

#[test]
fn it_goes_on_until_it_is_ended() {
    let stage = routed("nftables");
    let mut top = top(&stage.lab)
        .args(["--interval=100ms", "-o=json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(top.try_wait().unwrap(), None);
    top.kill().unwrap();
    let output = top.wait_with_output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    assert!(lines.lines().count() > 2, "{lines}");
    assert!(lines.lines().all(|line| line.starts_with('{') && line.ends_with('}')), "{lines}");
}

#[test]
fn without_rules_of_either_mode_it_says_what_is_missing() {
    let output = top(&Stage::new().lab).arg("--once").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("pointsman run") && said.contains("KUBE-SERVICES"), "{said}");
}

#[test]
fn what_render_prints_is_what_nft_loads_and_packets_follow() {
    let stage = Stage::new();
    stage.folder.write("my-service.yaml", &my_service(&["10.77.1.4", "10.77.1.5"]));
    let render = |more: &[&str]| {
        let output = stage.pointsman("render").arg("--proxy-mode=nftables").args(more).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let both = render(&[]);
    assert!(both.starts_with("# IPv4\ntable ip pointsman {"), "{both}");
    assert!(both.contains("\n# IPv6\ntable ip6 pointsman {"), "{both}");
    assert!(both.contains("default/my-service"), "{both}");
    let one = render(&["--family=ipv4"]);
    assert!(!one.contains("ip6 pointsman"), "{one}");
    stage.folder.write("rules.nft", &one);
    stage.tool(&format!("nft -f {}", stage.folder.path().join("rules.nft").display()));
    assert!(stage.ask().is_some(), "the rules that were printed do not route");
    let json: Value = serde_json::from_str(&render(&["-o=json"])).unwrap();
    assert_eq!(json["IPv4"][0], "table ip pointsman {");
    assert!(json["IPv6"].as_array().unwrap().len() > 10);
}

/// On a terminal (which `script` makes) keys are taken one by one, without a line end.
#[test]
fn a_key_ends_it_on_a_terminal() {
    for key in [b"q", b"\x03"] {
        let stage = routed("nftables");
        let command = format!("{} top --interval=60m", env!("CARGO_BIN_EXE_pointsman"));
        let mut script = stage.lab.at("alpha").unwrap().command("script");
        script.args(["-qec", &command, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut top = script.spawn().unwrap();
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!(top.try_wait().unwrap(), None);
        top.stdin.as_mut().unwrap().write_all(key).unwrap();
        let mut ended = None;
        stage.until("the key ends it", |_| {
            ended = top.try_wait().unwrap();
            ended.is_some()
        });
        assert_eq!(ended.unwrap().code(), Some(0), "{key:?}");
    }
}
