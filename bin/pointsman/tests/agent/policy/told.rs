//! What is told of policies: samples of what they deny, and what of them is not known.

use std::fs::{self, File};

use lab_api::resource::NETWORK_POLICIES;
use model::Protocol;
use serde_json::{Value, json};

use super::{agent, lets_in, stage};
use crate::api::{Api, Gate};
use crate::stage::{Running, Stage};

/// What `--policy-log` printed.
fn lines(stage: &Stage) -> Vec<Value> {
    let text = fs::read_to_string(stage.folder.path().join("log")).unwrap();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn try_new(stage: &Stage, pod: &str) -> bool {
    let to = "10.77.1.4:8080".parse().unwrap();
    stage.lab.probe(pod, Protocol::Tcp, to).unwrap().server().is_some()
}

pub(super) fn samples_of_what_is_denied_are_lines_of_json(mode: &str) {
    let stage = stage();
    stage.folder.write("policy.yaml", &lets_in(&["friend"]));
    let mut command = agent(&stage, mode, &["--policy-log"]);
    command.stdout(File::create(stage.folder.path().join("log")).unwrap());
    let _agent = Running::start(command);
    stage.until("my-service answers", |stage| stage.ask().is_some());
    assert!(try_new(&stage, "my-app-2"));
    assert!(!try_new(&stage, "client"));
    stage.until("the denial is told", |stage| !lines(stage).is_empty());
    let counter = "network_policy_denied_packets_total{direction=\"ingress\",ip_family=\"IPv4\"} ";
    stage.until("the denial is counted", |stage| {
        let text = stage.tool("curl -s http://127.0.0.1:10249/metrics");
        let line = text.lines().find_map(|line| line.split_once(counter));
        line.is_some_and(|(_, count)| count != "0")
    });
    for line in lines(&stage) {
        assert_eq!(line["node"], "alpha");
        assert_eq!(line["direction"], "Ingress");
        assert_eq!(line["protocol"], "TCP");
        assert_eq!(line["source"]["pod"], "default/client");
        assert_eq!(line["source"]["address"], "10.77.1.9");
        let destination = json!({"address": "10.77.1.4", "port": 8080, "pod": "default/my-app-1"});
        assert_eq!(line["destination"], destination);
        assert_eq!(line["policies"], json!(["NetworkPolicy default/server"]));
    }
}

/// With an API: who is decided by `auto`, Events, a field that nobody knows, and an API that goes.
pub(super) fn the_cluster_hears_and_a_lost_api_opens_nothing(mode: &str) {
    let stage = Stage::new();
    let api = Api::start(&stage.lab);
    api.create_my_service(&["10.77.1.5"]);
    api.create_pod("client", "10.77.1.9");
    api.create_pod("my-app-1", "10.77.1.4");
    // A rule that would let everybody in, but for a field that comes out as one from the future.
    let rule = json!({"ports": [{"port": 8080, "endPort": 8090, "protocol": "TCP"}]});
    let spec = json!({"podSelector": {"matchLabels": {"app": "my-app-1"}}, "ingress": [rule]});
    let policy = json!({"metadata": {"name": "server"}, "spec": spec});
    api.create(&NETWORK_POLICIES, "default", policy);
    let mut command = api.pointsman(&stage);
    command.args(["--proxy-mode", mode, "--policy-log"]);
    command.stdout(std::process::Stdio::null());
    let _agent = Running::start(command);
    stage.until("my-service answers", |stage| stage.ask().is_some());
    let decided = super::status(&stage)["networkPolicy"].to_string();
    assert!(
        decided.contains("enforced: Pods, Namespaces and NetworkPolicies can be read"),
        "{decided}"
    );
    assert!(!try_new(&stage, "client"), "its rule fails closed");
    let told = |kind: &str, name: &str, reason: &str| {
        let what = format!("{reason} of {kind} {name}");
        stage.until(&what, |_| !api.events(kind, name, reason).is_empty());
        api.events(kind, name, reason).remove(0)
    };
    let unknown = told("NetworkPolicy", "server", "UnknownField");
    assert!(unknown.contains("spec.ingress[0].ports[0].oddPort"), "{unknown}");
    let denied = told("Pod", "my-app-1", "PolicyDenied");
    assert!(denied.contains("Pod default/client (10.77.1.9)"), "{denied}");
    assert!(denied.contains("isolated by NetworkPolicy default/server"), "{denied}");
    // What was decided stays, whatever becomes of the API and of the rights.
    for gate in [Gate::Shut, Gate::Answer(403, "Forbidden")] {
        api.turn(gate);
        std::thread::sleep(std::time::Duration::from_millis(500));
        assert!(!try_new(&stage, "client"));
        assert!(stage.ask().is_some());
    }
}
