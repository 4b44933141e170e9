//! What an operator relies on: repair, health, metrics, and no stale flows.

use std::net::SocketAddr;
use std::net::UdpSocket;
use std::time::Duration;

use model::Protocol;

use crate::stage::{Running, Stage, my_service};

/// What the node answers to an HTTP request, with its status line.
fn get(stage: &Stage, url: &str) -> String {
    stage.tool(&format!("curl --silent --include --max-time 5 http://{url}"))
}

/// A metric's value, summed over its labels.
fn metric(stage: &Stage, name: &str) -> f64 {
    let text = get(stage, "127.0.0.1:10249/metrics");
    let lines = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
    let values: Vec<f64> =
        lines.map(|line| line.split(' ').next_back().unwrap().parse().unwrap()).collect();
    assert!(!values.is_empty(), "{name} is missing: {text}");
    values.iter().sum()
}

const REPAIRED: &str = "pointsman_flush_repairs_total";

#[test]
fn a_flush_by_anybody_is_repaired_and_counted() {
    let stage = Stage::new();
    let _agent = Running::start(stage.pointsman("run"));
    stage.until("my-service answers", |stage| stage.ask().is_some());
    let before = stage.tool("iptables-save -t nat");
    let rules = |text: &str| -> Vec<String> {
        text.lines().filter(|line| line.starts_with("-A")).map(str::to_owned).collect()
    };
    let mut counted = metric(&stage, REPAIRED);
    for flush in [
        "iptables -t nat -F",
        "nft flush ruleset",
        "iptables -t nat -F KUBE-SERVICES",
        "iptables -t nat -D PREROUTING 1",
        "nft delete table ip nat",
    ] {
        stage.tool(flush);
        stage.until(flush, |stage| rules(&stage.tool("iptables-save -t nat")) == rules(&before));
        stage.until("it is counted", |stage| metric(stage, REPAIRED) > counted);
        counted = metric(&stage, REPAIRED);
        assert!(stage.ask().is_some(), "after {flush}");
    }
}

#[test]
fn what_others_do_beside_our_rules_is_left_alone() {
    let stage = Stage::new();
    let _agent = Running::start(stage.pointsman("run"));
    stage.until("my-service answers", |stage| stage.ask().is_some());
    let before = metric(&stage, REPAIRED);
    let ours = |stage: &Stage| -> Vec<String> {
        let all = stage.tool("nft -a -s list ruleset");
        all.lines().filter(|line| line.contains("10.77.1.4:8080")).map(str::to_owned).collect()
    };
    let handles = ours(&stage);
    stage.tool("iptables -t nat -N THEIRS");
    stage.tool("iptables -t nat -A PREROUTING -j THEIRS");
    stage.tool("iptables -A INPUT -p tcp --dport 22 -j ACCEPT");
    stage.tool("nft add table inet theirs");
    // Long enough for the repair that must not come.
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(metric(&stage, REPAIRED), before);
    assert_eq!(ours(&stage), handles);
}

#[test]
fn health_and_metrics_answer_as_kube_proxys() {
    let stage = Stage::new();
    let _agent = Running::start(stage.pointsman("run"));
    stage.until("my-service answers", |stage| stage.ask().is_some());
    let healthy = get(&stage, "10.9.0.1:10256/healthz");
    assert!(healthy.starts_with("HTTP/1.1 200"), "{healthy}");
    for part in ["application/json", "nosniff", "\"nodeEligible\":true", "\"IPv4\""] {
        assert!(healthy.contains(part), "{part}: {healthy}");
    }
    assert!(get(&stage, "10.9.0.1:10256/livez").starts_with("HTTP/1.1 200"));
    assert!(get(&stage, "10.9.0.1:10256/readyz").starts_with("HTTP/1.1 200"));
    assert!(get(&stage, "127.0.0.1:10249/proxyMode").ends_with("iptables"));
    assert!(get(&stage, "127.0.0.1:10249/configz").contains("kubeproxy.config.k8s.io"));
    assert!(metric(&stage, "kubeproxy_sync_proxy_rules_last_timestamp_seconds") > 0.0);
}

#[test]
fn a_health_check_port_says_how_many_endpoints_are_here() {
    let stage = Stage::new();
    let balanced = |endpoints: &[&str]| {
        my_service(endpoints).replace(
            "spec:\n",
            "spec:\n  type: LoadBalancer\n  externalTrafficPolicy: Local\n  healthCheckNodePort: 31999\n",
        )
    };
    stage.folder.write("my-service.yaml", &balanced(&["10.77.1.4", "10.77.1.5"]));
    let _agent = Running::start(stage.pointsman("run"));
    let said = |stage: &Stage| {
        let curl = "curl --silent --include --max-time 5 http://10.9.0.1:31999/";
        let mut words = curl.split(' ');
        let mut command = stage.lab.at("alpha").unwrap().command(words.next().unwrap());
        String::from_utf8(command.args(words).output().unwrap().stdout).unwrap()
    };
    stage.until("two endpoints", |stage| {
        let said = said(stage);
        said.starts_with("HTTP/1.1 200") && said.contains("\"localEndpoints\": 2")
    });
    stage.folder.write("my-service.yaml", &balanced(&[]));
    stage.until("no endpoint", |stage| said(stage).starts_with("HTTP/1.1 503"));
}

/// kubernetes#48370, kubernetes#126130: a client that keeps its socket must not go on talking to an
/// endpoint that left.
#[test]
fn a_udp_client_that_keeps_its_socket_follows_the_endpoints() {
    let stage = Stage::new();
    let udp = |endpoints: &[&str]| {
        my_service(endpoints)
            .replace("{port: 80,", "{port: 80, protocol: UDP,")
            .replace("TCP", "UDP")
    };
    let serve =
        |pod: &str, at: &str| stage.lab.serve(pod, Protocol::Udp, at.parse().unwrap()).unwrap();
    let _servers = [serve("my-app-1", "10.77.1.4:8080"), serve("my-app-2", "10.77.1.5:8080")];
    stage.folder.write("my-service.yaml", &udp(&["10.77.1.4"]));
    let _agent = Running::start(stage.pointsman("run"));
    let client = stage.lab.at("client").unwrap();
    let socket = client.run(|| UdpSocket::bind("0.0.0.0:0")).unwrap().unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let ask = || -> Option<String> {
        let to: SocketAddr = "10.88.0.30:80".parse().unwrap();
        let mut answer = [0; 200];
        socket.send_to(b"who\n", to).ok()?;
        let (length, _) = socket.recv_from(&mut answer).ok()?;
        Some(String::from_utf8_lossy(&answer[..length]).into_owned())
    };
    stage.until("the first endpoint answers", |_| {
        ask().is_some_and(|line| line.starts_with("my-app-1"))
    });
    stage.folder.write("my-service.yaml", &udp(&["10.77.1.5"]));
    stage.until("the same socket reaches the second", |_| {
        ask().is_some_and(|line| line.starts_with("my-app-2"))
    });
    let deleted = metric(&stage, "kubeproxy_conntrack_reconciler_deleted_entries_total");
    assert!(deleted >= 1.0, "{deleted} entries were deleted");
}

#[test]
fn status_tells_what_the_agent_knows() {
    let stage = Stage::new();
    let ask = |stage: &Stage, words: &[&str]| {
        let mut command = stage.lab.at("alpha").unwrap().command(env!("CARGO_BIN_EXE_pointsman"));
        crate::stage::said(&command.arg("status").args(words).output().unwrap())
    };
    let (code, text) = ask(&stage, &[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("no agent answers"), "{text}");
    let bad = "apiVersion: v1\nkind: Service\nmetadata: {name: odd}\nspec: {clusterIP: 10.88.0.77, ports: [{port: 99999}]}\n";
    stage.folder.write("odd.yaml", bad);
    let agent = Running::start(stage.pointsman("run"));
    stage.until("my-service answers", |stage| stage.ask().is_some());
    let (code, text) = ask(&stage, &[]);
    assert_eq!(code, Some(0), "{text}");
    for part in
        ["node      alpha, mode iptables", "ready", "1 ports, 2 endpoints", "left out", "99999"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (_, json) = ask(&stage, &["-o", "json"]);
    assert!(json.contains("\"backends\": 2"), "{json}");
    agent.kill();
    assert_eq!(ask(&stage, &[]).0, Some(1));
}
