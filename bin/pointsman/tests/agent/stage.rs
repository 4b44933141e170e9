//! What every test stands on: a node, Pods that answer, a folder of manifests, and the program.

use std::io::Read;
use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use lab::{Lab, Server};
use model::Protocol;

pub(crate) use crate::folder::Folder;

/// The cluster IP of `my-service`.
pub(crate) const SERVICE: &str = "10.88.0.30:80";

/// One node `alpha` with a client and two Pods of `my-service`.
pub(crate) struct Stage {
    pub(crate) lab: Lab,
    pub(crate) folder: Folder,
    _servers: Vec<Server>,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let ip = |text: &str| [text.parse().unwrap()];
        let lab = Lab::star(["alpha"])
            .pod("client", "alpha", ip("10.77.1.9"))
            .pod("my-app-1", "alpha", ip("10.77.1.4"))
            .pod("my-app-2", "alpha", ip("10.77.1.5"))
            .build()
            .unwrap();
        let serve =
            |pod: &str, at: &str| lab.serve(pod, Protocol::Tcp, at.parse().unwrap()).unwrap();
        let servers =
            vec![serve("my-app-1", "10.77.1.4:8080"), serve("my-app-2", "10.77.1.5:8080")];
        let folder = Folder::new();
        folder.write("my-service.yaml", &my_service(&["10.77.1.4", "10.77.1.5"]));
        Self { lab, folder, _servers: servers }
    }

    /// The program with its usual flags, ready to start on the node.
    pub(crate) fn pointsman(&self, command: &str) -> Command {
        let mut program = self.lab.at("alpha").unwrap().command(env!("CARGO_BIN_EXE_pointsman"));
        program.arg(command);
        if command != "cleanup" {
            program.args(["--node=alpha", "--cluster-cidr=10.77.0.0/16"]);
            program.arg("--manifests").arg(self.folder.path());
        }
        program
    }

    /// What a tool prints on the node.
    pub(crate) fn tool(&self, line: &str) -> String {
        let mut words = line.split(' ');
        let output = self
            .lab
            .at("alpha")
            .unwrap()
            .command(words.next().unwrap())
            .args(words)
            .output()
            .unwrap_or_else(|error| panic!("{line}: {error}; run `cargo xtask test`"));
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Who answers one connection of the client, if anybody.
    pub(crate) fn ask(&self) -> Option<String> {
        let to: SocketAddr = SERVICE.parse().unwrap();
        let outcome = self.lab.probe("client", Protocol::Tcp, to).unwrap();
        outcome.server().map(str::to_owned)
    }

    /// Waits until a condition holds.
    pub(crate) fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let start = Instant::now();
        while !holds(self) {
            assert!(start.elapsed() < Duration::from_secs(20), "not within 20 s: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// `my-service` with endpoints at these addresses.
pub(crate) fn my_service(endpoints: &[&str]) -> String {
    let mut text = String::from(
        "apiVersion: v1
kind: Service
metadata: {name: my-service, namespace: default}
spec:
  clusterIP: 10.88.0.30
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: my-service-1
  namespace: default
  labels: {kubernetes.io/service-name: my-service}
addressType: IPv4
ports: [{name: '', port: 8080, protocol: TCP}]
endpoints:
",
    );
    for address in endpoints {
        text += &format!(
            "- {{addresses: [{address}], nodeName: alpha, conditions: {{ready: true}}}}\n"
        );
    }
    if endpoints.is_empty() {
        text = text.replace("endpoints:\n", "endpoints: []\n");
    }
    text
}

/// A program that runs until its value goes.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        Self(command.stderr(Stdio::piped()).spawn().unwrap())
    }

    /// `kill -9`
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Ends it by a signal; gives its exit code and what it logged.
    pub(crate) fn stop(mut self, signal: nix::sys::signal::Signal) -> (Option<i32>, String) {
        let process = nix::unistd::Pid::from_raw(self.0.id().try_into().unwrap());
        nix::sys::signal::kill(process, signal).unwrap();
        let mut log = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (self.0.wait().unwrap().code(), log)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A program's exit code and everything that it printed.
pub(crate) fn said(output: &Output) -> (Option<i32>, String) {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}
