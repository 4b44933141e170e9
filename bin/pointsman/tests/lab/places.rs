//! Inside a lab's places, in every family.

use std::collections::BTreeMap;

use crate::stage::Stage;

fn app(stage: &Stage) {
    stage.good("pointsman lab status");
    stage.kubectl("lab", "create deployment my-app --image=echo --replicas=2");
    stage.kubectl("lab", "run client --image=echo");
    stage.kubectl("lab", "expose deployment my-app --port=80 --target-port=8080");
    stage.kubectl("lab", "rollout status deployment/my-app --timeout=20s");
    stage.kubectl("lab", "wait --for=condition=Ready pod/client --timeout=20s");
}

#[test]
fn each_place_has_its_own_network_name_and_exit_code() {
    let stage = Stage::new();
    stage.good("pointsman lab up");
    app(&stage);
    let hostname = |place: &str| stage.good(&format!("pointsman lab exec {place} -- hostname"));
    assert_eq!(hostname("node/node-2"), "node-2\n");
    assert_eq!(hostname("outside"), "outside\n");
    assert_eq!(hostname("pod/default/client"), "client\n");
    let addresses = stage.good("pointsman lab exec node/node-2 -- ip -o addr");
    assert!(addresses.contains("10.9.0.2/32"), "{addresses}");
    let conf = stage.good("pointsman lab exec pod/client -- cat /etc/resolv.conf");
    assert!(conf.starts_with("nameserver 169.254.20.10\nsearch default.svc."), "{conf}");
    let output = stage.shell("pointsman lab exec pod/client -- sh -c 'exit 7'");
    assert_eq!(output.status.code(), Some(7));
    assert!(stage.bad("pointsman lab exec pod/absent -- true").contains("no pod/absent"));
    assert!(stage.bad("pointsman lab exec outside -- no-such-tool").contains("no-such-tool"));
    // A shell is an exec of the user's own.
    let shell = stage.good("echo 'hostname; exit' | SHELL=/bin/sh pointsman lab shell pod/client");
    assert_eq!(shell, "client\n");
    // A node reaches the API by the same kubeconfig as everybody.
    let kubectl = std::env::var("POINTSMAN_KUBECTL").unwrap_or_else(|_| "kubectl".to_owned());
    let said = stage.good(&format!("pointsman lab exec node/node-1 -- {kubectl} get pods -o name"));
    assert!(said.contains("pod/client"), "{said}");
}

#[test]
fn pods_say_who_asked_them() {
    let stage = Stage::new();
    stage.good("pointsman lab up");
    app(&stage);
    let client = stage.kubectl("lab", "get pod client -o jsonpath={.status.podIP}");
    stage.kubectl("lab", "run server --image=echo");
    stage.kubectl("lab", "wait --for=condition=Ready pod/server --timeout=20s");
    let server = stage.kubectl("lab", "get pod server -o jsonpath={.status.podIP}");
    let said = stage.kubectl("lab", "logs server");
    assert!(said.starts_with(&format!("listening on {server} 8080/TCP\n")), "{said}");
    // Who follows sees what comes, and the end of the Pod.
    let kubectl = std::env::var("POINTSMAN_KUBECTL").unwrap_or_else(|_| "kubectl".to_owned());
    let kubeconfig = stage.folder("lab").join("kubeconfig");
    let followed = stage.good(&format!(
        "export KUBECONFIG={}; {kubectl} logs -f --tail=1 server > followed & sleep 1; \
         pointsman lab exec pod/client -- curl -s {server}:8080; \
         {kubectl} delete pod server --now; wait; cat followed",
        kubeconfig.display()
    ));
    let line = format!("HTTP {client}:");
    let heard = followed.lines().filter(|said| said.starts_with(&line)).collect::<Vec<_>>();
    assert!(heard.len() == 1 && heard[0].ends_with(&format!("-> {server}:8080")), "{followed}");
    let kubectl =
        |words: &str| stage.bad(&format!("KUBECONFIG={} {kubectl} {words}", kubeconfig.display()));
    assert!(kubectl("logs server").contains("pods \"server\" not found"));
    let said = kubectl("logs client -c absent");
    assert!(said.contains("container absent is not valid for pod client"), "{said}");
    stage.good("pointsman lab down");
}

#[test]
fn every_pod_has_a_fair_share_by_every_name_and_family() {
    let stage = Stage::new();
    for family in ["", "--ipv6", "--dual-stack"] {
        stage.good(&format!("pointsman lab up {family}"));
        app(&stage);
        for name in ["my-app", "my-app.default", "my-app.default.svc.cluster.local"] {
            let ask = format!(
                "pointsman lab exec pod/client -- \
                 sh -c 'for n in $(seq 60); do curl -s --max-time 5 {name}:80; done'"
            );
            let mut shares: BTreeMap<String, u32> = BTreeMap::new();
            stage.until("both Pods answer", || {
                shares.clear();
                for line in String::from_utf8_lossy(&stage.shell(&ask).stdout).lines() {
                    if let Some(pod) = line.strip_prefix("Hostname: ") {
                        *shares.entry(pod.to_owned()).or_default() += 1;
                    }
                }
                shares.values().sum::<u32>() == 60 && shares.len() == 2
            });
            // 12 of 60 or less for one of two happen by chance once in 300,000 times.
            assert!(shares.values().all(|share| *share > 12), "{family} {name}: {shares:?}");
        }
        stage.good("pointsman lab down");
    }
    assert!(stage.nothing_left());
}

#[test]
fn the_agents_of_a_lab_write_in_either_mode() {
    let stage = Stage::new();
    let answers = || {
        let ask = "pointsman lab exec pod/client -- curl -s --max-time 5 my-app:80";
        let output = stage.shell(ask);
        String::from_utf8_lossy(&output.stdout).contains("Hostname: my-app-")
    };
    for (mode, table) in [("iptables", "table ip nat"), ("nftables", "table ip pointsman")] {
        stage.good(&format!("pointsman lab up --mode {mode}"));
        app(&stage);
        stage.until("a Pod answers", answers);
        let tables = stage.good("pointsman lab exec node/node-1 -- nft list tables");
        assert_eq!(tables.contains("table ip pointsman"), mode == "nftables", "{tables}");
        assert!(tables.contains(table), "{tables}");
        policies_are_enforced(&stage);
        stage.good("pointsman lab down");
    }
}

/// Nobody but a friend may ask the application; then the client may send nothing at all, and yet
/// asks the DNS of its node.
fn policies_are_enforced(stage: &Stage) {
    let ask = |pod: &str| {
        let line = format!("pointsman lab exec pod/{pod} -- curl -sS --max-time 1 my-app:80");
        let output = stage.shell(&line);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let policy = |spec: &str| {
        let object = format!(
            r#"{{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {{"name": "p", "namespace": "default"}}, "spec": {spec}}}"#
        );
        stage.write("policy.json", &object);
        stage.kubectl("lab", "apply -f policy.json");
    };
    stage.kubectl("lab", "run friend --image=echo");
    stage.kubectl("lab", "wait --for=condition=Ready pod/friend --timeout=20s");
    policy(
        r#"{"podSelector": {"matchLabels": {"app": "my-app"}},
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"run": "friend"}}}]}]}"#,
    );
    // curl's 28 is a timeout.
    stage.until("the client gets no answer", || ask("client").0 == Some(28));
    for _ in 0..4 {
        assert_eq!(ask("client").0, Some(28));
        let (code, said) = ask("friend");
        assert!(code == Some(0) && said.contains("Hostname: my-app-"), "{code:?} {said}");
    }
    policy(r#"{"podSelector": {"matchLabels": {"run": "client"}}, "policyTypes": ["Egress"]}"#);
    stage.until("the client sends nothing", || ask("client").0 == Some(28));
    let names = stage.good("pointsman lab exec pod/client -- getent hosts my-app");
    assert!(names.contains("my-app"), "{names}");
    stage.kubectl("lab", "delete networkpolicy p");
    stage.until("the client is answered", || ask("client").0 == Some(0));
}
