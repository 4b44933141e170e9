//! A lab in one file, and another lab made of it.

use std::fs;

use serde_json::Value;

use crate::stage::Stage;

const OBJECTS: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: acme, labels: {owner: billing-team}}
---
apiVersion: v1
kind: Service
metadata: {name: storefront, namespace: acme}
spec:
  type: NodePort
  externalTrafficPolicy: Local
  selector: {app: storefront}
  ports: [{name: public-web, port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: balanced, namespace: acme}
spec:
  type: LoadBalancer
  loadBalancerSourceRanges: [10.9.0.0/24]
  selector: {app: storefront}
  ports: [{port: 443, targetPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: lonely, namespace: acme}
spec: {selector: {app: nobody}, ports: [{port: 5000}]}
---
apiVersion: v1
kind: Service
metadata: {name: by-hand, namespace: acme}
spec: {ports: [{port: 7000}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: by-hand-1, namespace: acme, labels: {kubernetes.io/service-name: by-hand}}
addressType: IPv4
ports: [{name: '', port: 7000}]
endpoints: [{addresses: [192.0.2.55]}]
"#;

/// Names that must not be in a redacted file.
const PRIVATE: [&str; 8] = [
    "acme",
    "billing-team",
    "storefront",
    "public-web",
    "balanced",
    "lonely",
    "by-hand",
    "192.0.2.55",
];

fn up(stage: &Stage, mode: &str) {
    stage.good(&format!("pointsman lab up --dual-stack --mode {mode}"));
    fs::write(stage.file("objects.yaml"), OBJECTS).unwrap();
    stage.kubectl("lab", "apply -f objects.yaml");
    stage.kubectl("lab", "create deployment storefront -n acme --image=echo --replicas=3");
    stage.kubectl("lab", "run client -n acme --image=echo");
    stage.kubectl("lab", "rollout status -n acme deployment/storefront --timeout=20s");
    stage.kubectl("lab", "wait -n acme --for=condition=Ready pod/client --timeout=20s");
    stage.until("a Pod answers", || {
        let ask = "pointsman lab exec pod/acme/client -- curl -s --max-time 2 storefront.acme:80";
        stage.shell(ask).status.success()
    });
}

fn captured(stage: &Stage, words: &str) -> Value {
    stage.good(&format!("pointsman lab capture {words}"));
    let file = words.split(' ').next_back().unwrap();
    serde_json::from_str(&fs::read_to_string(stage.file(file)).unwrap()).unwrap()
}

#[test]
fn a_lab_is_captured_redacted_and_stands_again_elsewhere() {
    let stage = Stage::new();
    for mode in ["iptables", "nftables"] {
        up(&stage, mode);
        let plain = captured(&stage, "--out plain.json");
        let nodes = plain["nodes"].as_array().unwrap();
        assert_eq!(nodes.len(), 2);
        for node in nodes {
            let rules = node["kernel"]["rules"].to_string();
            assert!(rules.contains("acme/storefront:public-web"), "{rules}");
            assert!(node["verdicts"].as_array().unwrap().len() > 20);
        }
        let connections = nodes.iter().any(|node| {
            node["kernel"]["connections"].as_array().is_some_and(|all| !all.is_empty())
        });
        assert!(connections, "the request above was translated on some node");
        // On a node, with the kubeconfig that its agent has, the same is read.
        let words = format!(
            "pointsman lab exec node/node-1 -- pointsman capture --node node-1 --kubeconfig \
             /run/pointsman/kubeconfig --cluster-cidr 10.77.0.0/16,fd77::/16 --proxy-mode {mode}"
        );
        let output = stage.shell(&words);
        let live: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(live["nodes"][0]["verdicts"], nodes[0]["verdicts"]);
        assert_eq!(live["objects"], plain["objects"]);
        captured(&stage, "--redact --out redacted.json");
        let text = fs::read_to_string(stage.file("redacted.json")).unwrap();
        for word in PRIVATE {
            assert!(!text.contains(word), "{word} is left:\n{text}");
        }
        stage.good("pointsman lab down");

        for file in ["plain.json", "redacted.json"] {
            let said = stage.good(&format!("pointsman lab replay {file} --name again"));
            assert!(said.contains("verdicts of 2 nodes are as captured"), "{said}");
            // Not only said: a Pod answers by the NodePort that was captured.
            let services = stage.kubectl("again", "get services -A -o json");
            let services: Value = serde_json::from_str(&services).unwrap();
            let ports = services["items"].as_array().unwrap().iter();
            let local = ports.filter(|it| it["spec"]["externalTrafficPolicy"] == "Local");
            let port = local.map(|it| it["spec"]["ports"][0]["nodePort"].clone()).next().unwrap();
            stage.until("a Pod answers again", || {
                [1, 2].iter().any(|node| {
                    let at = format!("10.9.0.{node}:{port}");
                    let ask = format!(
                        "pointsman lab exec --name again outside -- curl -s --max-time 2 {at}"
                    );
                    stage.shell(&ask).status.success()
                })
            });
            stage.good("pointsman lab down --name again");
        }
    }
    assert!(stage.nothing_left());
}

#[test]
fn a_file_whose_verdicts_are_others_is_told() {
    let stage = Stage::new();
    up(&stage, "iptables");
    let mut bundle = captured(&stage, "--out plain.json");
    stage.good("pointsman lab down");
    let verdict = &mut bundle["nodes"][0]["verdicts"][3];
    verdict["verdict"] = "DROP".into();
    fs::write(stage.file("plain.json"), bundle.to_string()).unwrap();
    let said = stage.bad("pointsman lab replay plain.json");
    assert!(said.contains("not every verdict is as captured"), "{said}");
    assert!(said.contains("captured node-1: ") && said.contains("now      node-1: "), "{said}");
    stage.good("pointsman lab down");
    let said = stage.bad("echo '{}' > empty.json; pointsman lab replay empty.json");
    assert!(said.contains("is not a file of `pointsman capture`"), "{said}");
    assert!(stage.nothing_left());
}
