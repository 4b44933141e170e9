//! Bad input is named, ends with the right exit code, and costs nothing that was programmed.

use std::process::Command;

use crate::stage::{Running, Stage, my_service, said};

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_pointsman"))
}

/// Fails the test unless the program ends with this code and says all of this.
fn fails(command: &mut Command, code: i32, parts: &[&str]) {
    let (ended, text) = said(&command.output().unwrap());
    assert_eq!(ended, Some(code), "{command:?}: {text}");
    for part in parts {
        assert!(text.contains(part), "{command:?} does not say {part:?}: {text}");
    }
}

#[test]
fn a_folder_that_cannot_be_read() {
    let stage = Stage::new();
    let on_node = |words: &[&str]| {
        let mut command = stage.lab.at("alpha").unwrap().command(env!("CARGO_BIN_EXE_pointsman"));
        command.args(words);
        command
    };
    for verb in ["render", "run"] {
        fails(&mut on_node(&[verb, "--node=a", "--manifests=/no/such"]), 1, &["/no/such"]);
        let file = stage.folder.path().join("my-service.yaml");
        let flag = format!("--manifests={}", file.display());
        fails(&mut on_node(&[verb, "--node=a", &flag]), 1, &["my-service.yaml"]);
    }
}

#[test]
fn a_broken_document_is_named_by_file_and_line_and_costs_only_itself() {
    let stage = Stage::new();
    stage.folder.write("broken.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: [\n");
    let output = stage.pointsman("render").output().unwrap();
    let (code, text) = said(&output);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("broken.yaml:"), "{text}");
    let rules = String::from_utf8_lossy(&output.stdout);
    assert!(rules.contains("10.77.1.4:8080"), "the good file is missing: {rules}");
}

#[test]
fn a_file_that_breaks_while_running_withdraws_nothing() {
    let stage = Stage::new();
    let _agent = Running::start(stage.pointsman("run"));
    stage.until("my-service answers", |stage| stage.ask().is_some());
    let before = stage.tool("nft -a -s list ruleset");
    let whole = my_service(&["10.77.1.4", "10.77.1.5"]);
    stage.folder.write("my-service.yaml", &whole[..whole.len() - 20]);
    stage.folder.write("other.yaml", &whole.replace("my-service", "other").replace(".30", ".31"));
    stage.until("the good file is programmed", |stage| {
        stage.tool("iptables-save").contains("default/other")
    });
    assert!(stage.ask().is_some());
    let handle_of =
        |text: &str| text.lines().find(|line| line.contains("10.77.1.5:8080")).map(str::to_owned);
    assert_eq!(handle_of(&stage.tool("nft -a -s list ruleset")), handle_of(&before));
}

#[test]
fn an_api_that_cannot_be_reached() {
    let stage = Stage::new();
    let on_node = |words: &[&str]| {
        let mut command = stage.lab.at("alpha").unwrap().command(env!("CARGO_BIN_EXE_pointsman"));
        command.args(words);
        command
    };
    // Nobody listens there, in a namespace without any other host.
    let mut dry = on_node(&["render", "--node=a", "--master=http://127.0.0.1:1", "--timeout=2"]);
    fails(&mut dry, 1, &["127.0.0.1:1", "no complete answer within 2 s"]);
    fails(&mut on_node(&["run", "--node=a", "--kubeconfig=/no/such"]), 1, &["/no/such"]);

    // A running agent keeps asking; what an earlier one programmed stays.
    assert!(stage.pointsman("run").arg("--once").status().unwrap().success());
    let before = stage.tool("nft -a -s list ruleset");
    let agent = Running::start(on_node(&["run", "--node=a", "--master=http://127.0.0.1:1"]));
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let (code, log) = agent.stop(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("127.0.0.1:1"), "{log}");
    assert_eq!(stage.tool("nft -a -s list ruleset"), before);
}

#[test]
fn a_missing_node_object_degrades() {
    let stage = Stage::new();
    let output = stage
        .pointsman("run")
        .args(["--once", "--nodeport-addresses=primary", "--detect-local-mode=NodeCIDR"])
        .output()
        .unwrap();
    let (code, text) = said(&output);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("NodeMissing"), "{text}");
    assert!(stage.ask().is_some());
}

#[test]
fn no_permission_for_netfilter() {
    let stage = Stage::new();
    let mut command = stage.lab.at("alpha").unwrap().command("setpriv");
    command.args(["--bounding-set=-net_admin", "--inh-caps=-net_admin"]);
    command.arg(env!("CARGO_BIN_EXE_pointsman"));
    command.args(["run", "--node=a", "--manifests"]).arg(stage.folder.path());
    fails(&mut command, 1, &["CAP_NET_ADMIN"]);
}

#[test]
fn wrong_usage_is_exit_code_2() {
    fails(program().arg("fly"), 2, &["fly"]);
    fails(program().args(["run", "--manifests=a", "--kubeconfig=b"]), 2, &["--manifests"]);
    fails(program().args(["run", "--masquerade-al"]), 2, &["--masquerade-all"]);
}

#[test]
fn a_wrong_value_is_named_with_its_flag_or_field() {
    fails(program().args(["run", "--iptables-masquerade-bit=32"]), 1, &["32", "0 to 31"]);
    fails(program().args(["run", "--cluster-cidr=10.0.0.0"]), 1, &["--cluster-cidr", "10.0.0.0"]);
    fails(program().args(["run", "--config=/no/such"]), 1, &["/no/such"]);
    let stage = Stage::new();
    stage.folder.write("bad.conf", "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nconntrack:\n  min: -1\n");
    let flag = format!("--config={}", stage.folder.path().join("bad.conf").display());
    fails(program().args(["run", &flag]), 1, &["conntrack.min"]);
}
