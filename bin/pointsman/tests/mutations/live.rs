//! The running agent answers, from what it knows at that moment.

use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::stage::{Running, Stage, my_service};
use crate::table::QUESTION;

/// Asks the agent: no source of the cluster is named.
fn ask(stage: &Stage, words: &[&str]) -> Output {
    let mut command = stage.lab.at("alpha").unwrap().command(env!("CARGO_BIN_EXE_pointsman"));
    command.arg("explain").args(words).output().unwrap()
}

fn start(stage: &Stage, mode: &str) -> Running {
    let mut command = stage.pointsman("run");
    command.arg(format!("--proxy-mode={mode}"));
    let running = Running::start(command);
    stage.until("my-service answers", |stage| stage.ask().is_some());
    running
}

#[test]
fn the_agent_answers_as_the_manifests_do_and_follows_them() {
    for mode in ["nftables", "iptables"] {
        let stage = Stage::new();
        let _running = start(&stage, mode);
        let live = ask(&stage, &[QUESTION, "-o", "json"]);
        let mut offline = stage.pointsman("explain");
        offline.arg(format!("--proxy-mode={mode}")).args(["--kernel", "-o", "json", QUESTION]);
        let offline = offline.output().unwrap();
        let read = |output: &Output| serde_json::from_slice::<Value>(&output.stdout).unwrap();
        let (mut live, mut offline) = (read(&live), read(&offline));
        for told in [&mut live, &mut offline] {
            // Connections of this test come and go.
            told["kernel"]["flows"].take();
            // Whether policies are enforced is the agent's to decide.
            told["policy"].take();
        }
        assert_eq!(live, offline, "{mode}");
        assert_eq!(live["reason"], "Delivered", "{mode}");

        stage.folder.write("my-service.yaml", &my_service(&[]));
        stage.until("the agent knows", |stage| ask(stage, &[QUESTION]).status.code() == Some(1));
        let words = ["tcp 10.77.1.9 -> my-service:80", "--node=omega"];
        let output = ask(&stage, &words);
        assert_eq!(output.status.code(), Some(4));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("omega") && said.contains("alpha"), "{said}");
        let bad = ask(&stage, &["tcp nowhere"]);
        assert_eq!(bad.status.code(), Some(4));
    }
}

/// A Service with one endpoint, by its number.
fn service(number: usize) -> String {
    let (high, low) = (number / 250, number % 250 + 1);
    format!(
        "---
apiVersion: v1
kind: Service
metadata: {{name: s{number}, namespace: many}}
spec: {{clusterIP: 10.90.{high}.{low}, ports: [{{port: 80, targetPort: 8080}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: s{number}-1
  namespace: many
  labels: {{kubernetes.io/service-name: s{number}}}
addressType: IPv4
ports: [{{name: '', port: 8080, protocol: TCP}}]
endpoints: [{{addresses: [10.77.{high}.{low}], nodeName: alpha, conditions: {{ready: true}}}}]
"
    )
}

/// The shortest of some questions' times, once the agent knows so many Services.
fn time_at(mode: &str, services: usize) -> Duration {
    let stage = Stage::new();
    let mut text = String::new();
    (0..services).for_each(|number| text += &service(number));
    stage.folder.write("many.yaml", &text);
    let mut command = stage.pointsman("run");
    command.arg(format!("--proxy-mode={mode}"));
    let _running = Running::start(command);
    let question = format!("tcp 10.77.1.9 -> s{}.many:80", services - 1);
    let patience = Instant::now();
    loop {
        let output = ask(&stage, &[&question]);
        if output.status.code() == Some(0) {
            break;
        }
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(patience.elapsed() < Duration::from_secs(120), "{said}");
        std::thread::sleep(Duration::from_millis(200));
    }
    let times = (0..15).map(|_| {
        let before = Instant::now();
        assert_eq!(ask(&stage, &[&question]).status.code(), Some(0));
        before.elapsed()
    });
    times.min().unwrap()
}

/// An answer costs a little for each Service (the plan is searched by address), and nothing that
/// grows with what each of them is. In iptables mode the kernel hands out KUBE-SERVICES as a whole,
/// so that there an answer costs more with each Service.
#[test]
fn ten_times_the_services_do_not_cost_ten_times_as_much() {
    let (few, many) = (time_at("nftables", 1_000), time_at("nftables", 10_000));
    println!("{few:?} at 1,000 Services, {many:?} at 10,000");
    assert!(many < few * 5, "{few:?} at 1,000 Services, {many:?} at 10,000");
}
