//! Network policies, enforced by the program: connections that were there before, samples of what is
//! denied, and that nothing opens while no agent runs.

mod restart;
mod talk;
mod told;

use std::process::Command;
use std::thread;
use std::time::Duration;

use model::Protocol;
use restart::kill_and_restart_open_nothing_and_lose_nothing;
use serde_json::Value;
use talk::{Talk, Talkers};
use told::{
    samples_of_what_is_denied_are_lines_of_json, the_cluster_hears_and_a_lost_api_opens_nothing,
};

use crate::stage::{Running, Stage, my_service};

/// The Pods of the stage, each with a label of its own name.
const PODS: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: default, labels: {app: client}}
spec: {nodeName: alpha, containers: []}
status: {phase: Running, podIPs: [{ip: 10.77.1.9}]}
---
apiVersion: v1
kind: Pod
metadata: {name: my-app-1, namespace: default, labels: {app: server}}
spec: {nodeName: alpha, containers: []}
status: {phase: Running, podIPs: [{ip: 10.77.1.4}]}
---
apiVersion: v1
kind: Pod
metadata: {name: my-app-2, namespace: default, labels: {app: friend}}
spec: {nodeName: alpha, containers: []}
status: {phase: Running, podIPs: [{ip: 10.77.1.5}]}
";

/// What the conversations of `my-app-1` go through.
const TALKS: &str = "\
apiVersion: v1
kind: Service
metadata: {name: talks, namespace: default}
spec:
  clusterIP: 10.88.0.31
  ports:
  - {name: both, port: 91, targetPort: 9001}
  - {name: client, port: 92, targetPort: 9002}
  - {name: server, port: 93, targetPort: 9003}
  - {name: udp, port: 94, targetPort: 9004, protocol: UDP}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: talks-1
  namespace: default
  labels: {kubernetes.io/service-name: talks}
addressType: IPv4
ports:
- {name: both, port: 9001, protocol: TCP}
- {name: client, port: 9002, protocol: TCP}
- {name: server, port: 9003, protocol: TCP}
- {name: udp, port: 9004, protocol: UDP}
endpoints:
- {addresses: [10.77.1.4], nodeName: alpha, conditions: {ready: true}}
";

/// A NetworkPolicy for the server, which lets in those with these labels.
fn lets_in(apps: &[&str]) -> String {
    let head = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: server, namespace: default}
spec:
  podSelector: {matchLabels: {app: server}}
  policyTypes: [Ingress]
";
    let apps = apps.join(", ");
    let selector = format!("{{matchExpressions: [{{key: app, operator: In, values: [{apps}]}}]}}");
    format!("{head}  ingress: [{{from: [{{podSelector: {selector}}}]}}]\n")
}

/// A stage with its Pods.
fn stage() -> Stage {
    let stage = Stage::new();
    stage.folder.write("my-service.yaml", &my_service(&["10.77.1.5"]));
    stage.folder.write("pods.yaml", PODS);
    stage.folder.write("talks.yaml", TALKS);
    stage
}

/// The agent, which enforces policies.
fn agent(stage: &Stage, mode: &str, more: &[&str]) -> Command {
    let mut agent = stage.pointsman("run");
    agent.args(["--proxy-mode", mode, "--network-policy=on"]).args(more);
    agent
}

fn status(stage: &Stage) -> Value {
    let alpha = stage.lab.at("alpha").unwrap();
    let mut ask = alpha.command(env!("CARGO_BIN_EXE_pointsman"));
    let output = ask.args(["status", "-o", "json"]).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

/// Conversations of the client with the server: over TCP with each side talking, and over UDP.
fn talks(stage: &Stage) -> Vec<Talk> {
    let all = [
        (Protocol::Tcp, Talkers::Both, 91),
        (Protocol::Tcp, Talkers::Client, 92),
        (Protocol::Tcp, Talkers::Server, 93),
        (Protocol::Udp, Talkers::Both, 94),
    ];
    let begin = |(protocol, talkers, port)| {
        let (to, at) = (format!("10.88.0.31:{port}"), format!("10.77.1.4:{}", 8910 + port));
        Talk::begin(&stage.lab, protocol, talkers, ("client", &to), ("my-app-1", &at))
    };
    all.map(begin).into()
}

/// Waits until everything that is said is heard.
fn until_all_go_on(stage: &Stage, talks: &[Talk]) {
    for talk in talks {
        let since = talk.heard();
        stage.until(&format!("it goes on: {talk}"), |_| talk.goes_on_since(since));
    }
}

/// Waits until nothing is heard any more, and sees that it stays so.
fn until_all_are_cut(stage: &Stage, talks: &[Talk]) {
    let heard = || talks.iter().map(Talk::heard).collect::<Vec<_>>();
    stage.until("the conversations are cut off", |_| {
        let before = heard();
        thread::sleep(Duration::from_millis(200));
        heard() == before
    });
    let before = heard();
    thread::sleep(Duration::from_millis(1500));
    for (talk, before) in talks.iter().zip(before) {
        assert_eq!(talk.heard(), before, "{talk}");
    }
}

fn connections_are_cut_and_let_through_again(mode: &str) {
    let stage = stage();
    let _agent = Running::start(agent(&stage, mode, &[]));
    stage.until("my-service answers", |stage| stage.ask().is_some());
    let talks = talks(&stage);
    let ends = (("my-app-2", "10.77.1.4:9005"), ("my-app-1", "10.77.1.4:9005"));
    let friend = Talk::begin(&stage.lab, Protocol::Tcp, Talkers::Both, ends.0, ends.1);
    until_all_go_on(&stage, &talks);
    let since = friend.heard();
    stage.folder.write("policy.yaml", &lets_in(&["friend"]));
    until_all_are_cut(&stage, &talks);
    assert!(friend.goes_on_since(since), "what is allowed goes on");
    let marked = || {
        let entries = stage.tool("conntrack -L -o extended");
        let marked = |line: &&str| line.contains(" mark=32768");
        entries.lines().filter(marked).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(marked().len(), talks.len(), "{:#?}", marked());
    assert_eq!(status(&stage)["cutConnections"], talks.len());
    // Neither an entry that stays forbidden nor one that stays allowed is touched again.
    stage.folder.write("policy.yaml", &lets_in(&["friend", "nobody"]));
    thread::sleep(Duration::from_millis(500));
    assert_eq!(status(&stage)["cutConnections"], talks.len());
    stage.folder.write("policy.yaml", &lets_in(&["friend", "client"]));
    until_all_go_on(&stage, &talks);
    assert_eq!(marked(), [""; 0]);
    let status = status(&stage);
    assert_eq!(status["pardonedConnections"], talks.len());
    assert_eq!(status["cutConnections"], talks.len());
}

fn connections_are_kept(mode: &str) {
    let stage = stage();
    let keep = "--policy-existing-connections=keep";
    let _agent = Running::start(agent(&stage, mode, &[keep]));
    stage.until("my-service answers", |stage| stage.ask().is_some());
    let talks = talks(&stage);
    let new = || stage.lab.probe("client", Protocol::Tcp, "10.77.1.4:8080".parse().unwrap());
    assert!(new().unwrap().server().is_some());
    stage.folder.write("policy.yaml", &lets_in(&["friend"]));
    stage.until("new connections are denied", |_| new().unwrap().server().is_none());
    until_all_go_on(&stage, &talks);
    assert_eq!(status(&stage)["cutConnections"], 0);
}

/// What was forbidden while no agent ran is cut off by the next start.
fn a_start_judges_what_is_there(mode: &str) {
    let stage = stage();
    let first = Running::start(agent(&stage, mode, &[]));
    stage.until("my-service answers", |stage| stage.ask().is_some());
    let talks = talks(&stage);
    first.kill();
    until_all_go_on(&stage, &talks);
    stage.folder.write("policy.yaml", &lets_in(&["friend"]));
    let _second = Running::start(agent(&stage, mode, &[]));
    until_all_are_cut(&stage, &talks);
}

macro_rules! in_each_mode {
    ($($test:ident),* $(,)?) => {
        mod nftables {
            $(#[test] fn $test() { super::$test("nftables"); })*
        }
        mod iptables {
            $(#[test] fn $test() { super::$test("iptables"); })*
        }
    };
}

in_each_mode!(
    connections_are_cut_and_let_through_again,
    connections_are_kept,
    a_start_judges_what_is_there,
    kill_and_restart_open_nothing_and_lose_nothing,
    samples_of_what_is_denied_are_lines_of_json,
    the_cluster_hears_and_a_lost_api_opens_nothing,
);
