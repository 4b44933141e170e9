//! The file of `--config`, changed while the agent runs.

use std::process::Command;

use crate::stage::{Folder, Running, Stage};

const BASE: &str = "apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clusterCIDR: 10.77.0.0/16
hostnameOverride: alpha
";

fn pointsman(stage: &Stage, config: &Folder) -> Command {
    let mut program = stage.lab.at("alpha").unwrap().command(env!("CARGO_BIN_EXE_pointsman"));
    program.arg("run").arg("--config").arg(config.path().join("config.conf"));
    program.arg("--manifests").arg(stage.folder.path());
    program
}

fn get(stage: &Stage, url: &str) -> String {
    let mut curl = stage.lab.at("alpha").unwrap().command("curl");
    let output = curl.args(["--silent", "--max-time", "5", url]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_can_follow_in_place_does() {
    let stage = Stage::new();
    let config = Folder::new();
    config.write("config.conf", BASE);
    let mut agent = Running::start(pointsman(&stage, &config));
    stage.until("my-service answers", |stage| stage.ask().is_some());
    let nat = |stage: &Stage| stage.tool("iptables-save -t nat");
    let masquerades = "! -s 10.77.0.0/16";
    assert!(nat(&stage).contains(masquerades));
    let handle = |stage: &Stage| -> Vec<String> {
        let all = stage.tool("nft -a -s list ruleset");
        all.lines().filter(|line| line.contains("10.77.1.4:8080")).map(str::to_owned).collect()
    };
    let untouched = handle(&stage);

    // What is wrong changes nothing.
    config.write("config.conf", &format!("{BASE}iptables: {{masqueradeBit: 99}}\n"));
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(nat(&stage).contains(masquerades));
    assert!(agent.0.try_wait().unwrap().is_none(), "the agent ended");

    let other = BASE.replace("10.77.0.0/16", "10.78.0.0/16")
        + "healthzBindAddress: 127.0.0.1:10999\nlogging: {verbosity: 2}\n";
    config.write("config.conf", &other);
    stage.until("other Pods", |stage| {
        let rules = nat(stage);
        rules.contains("! -s 10.78.0.0/16") && !rules.contains(masquerades)
    });
    assert_eq!(handle(&stage), untouched, "rules that do not differ stay as they are");
    assert!(stage.ask().is_some());
    stage.until("health moves", |stage| {
        get(stage, "http://127.0.0.1:10999/healthz").contains("healthy")
    });
    assert_eq!(get(&stage, "http://127.0.0.1:10256/healthz"), "");
    assert!(get(&stage, "http://127.0.0.1:10249/configz").contains("10.78.0.0/16"));
    assert!(agent.0.try_wait().unwrap().is_none(), "the agent ended");
    let (code, log) = agent.stop(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("masqueradeBit") && log.contains("the configuration in force stays"));
    assert!(log.contains("DEBUG"), "the verbosity follows: {log}");
}

#[test]
fn what_cannot_ends_the_process_and_leaves_the_rules() {
    let stage = Stage::new();
    let config = Folder::new();
    config.write("config.conf", BASE);
    let mut agent = Running::start(pointsman(&stage, &config));
    stage.until("my-service answers", |stage| stage.ask().is_some());
    // As a ConfigMap's files are replaced: by renaming.
    config.write("new", &format!("{BASE}iptables: {{masqueradeBit: 15}}\n"));
    std::fs::rename(config.path().join("new"), config.path().join("config.conf")).unwrap();
    let mut code = None;
    stage.until("the process ends", |_| {
        code = agent.0.try_wait().unwrap();
        code.is_some()
    });
    assert_eq!(code.unwrap().code(), Some(1));
    let mut log = String::new();
    std::io::Read::read_to_string(agent.0.stderr.as_mut().unwrap(), &mut log).unwrap();
    assert!(log.contains("masqueradeBit") && log.contains("a new start"), "{log}");
    assert!(stage.ask().is_some(), "the rules stay");
}
