//! `curl my-service:80` inside a Pod, word for word: the name is answered by the node's agent, the
//! cluster IP leads to the Pods in turn.

use std::collections::BTreeSet;

use lab::{Lab, serve_http};

use crate::stage::{Folder, Running, my_service};

/// A link-local address that the agent puts on the node, where its Pods send their questions to.
const DNS: &str = "169.254.20.10";

#[test]
fn curl_by_the_names_of_a_service() {
    let ip = |text: &str| [text.parse().unwrap()];
    let lab = Lab::star(["alpha"])
        .pod("client", "alpha", ip("10.77.1.9"))
        .pod("my-app-1", "alpha", ip("10.77.1.4"))
        .pod("my-app-2", "alpha", ip("10.77.1.5"))
        .build()
        .unwrap();
    let _servers =
        [("my-app-1", "10.77.1.4:8080"), ("my-app-2", "10.77.1.5:8080")].map(|(pod, address)| {
            serve_http(lab.at(pod).unwrap(), pod, address.parse().unwrap()).unwrap()
        });
    let (manifests, pod_files) = (Folder::new(), Folder::new());
    manifests.write("my-service.yaml", &my_service(&["10.77.1.4", "10.77.1.5"]));
    let search = "search default.svc.cluster.local svc.cluster.local cluster.local";
    pod_files.write("resolv.conf", &format!("nameserver {DNS}\n{search}\noptions ndots:5\n"));
    let mut agent = lab.at("alpha").unwrap().command(env!("CARGO_BIN_EXE_pointsman"));
    agent.args(["run", "--node=alpha", "--cluster-cidr=10.77.0.0/16", "--dns-address", DNS]);
    agent.args(["--dns-resolv-conf=/dev/null", "--manifests"]).arg(manifests.path());
    let _agent = Running::start(agent);

    // A Pod has a resolv.conf of its own: here in a mount namespace of its own.
    let curl = |name: &str| {
        let conf = pod_files.path().join("resolv.conf");
        let script = format!(
            "mount --bind {} /etc/resolv.conf && curl --silent --show-error --max-time 5 {name}",
            conf.display()
        );
        let mut pod = lab.at("client").unwrap().command("unshare");
        let output = pod.args(["--mount", "sh", "-c", &script]).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).into_owned()
    };
    let start = std::time::Instant::now();
    while !curl("my-service:80").contains("Hostname:") {
        let last = curl("my-service:80");
        assert!(start.elapsed() < std::time::Duration::from_secs(20), "{last}");
    }
    let full = "my-service.default.svc.cluster.local:80";
    for name in ["my-service:80", "my-service.default:80", full] {
        let answers: BTreeSet<String> = (0..20)
            .map(|_| curl(name))
            .map(|page| page.lines().find(|line| line.starts_with("Hostname:")).unwrap().to_owned())
            .collect();
        let both = ["Hostname: my-app-1", "Hostname: my-app-2"].map(str::to_owned);
        assert_eq!(answers, BTreeSet::from(both), "{name}");
    }
    assert!(curl("no-such-service:80").contains("Could not resolve"), "a name that nobody has");
}
