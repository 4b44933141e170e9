//! A start writes once, and what it writes grows with the Services and with nothing else.

use std::fmt::Write as _;

use crate::stage::Stage;

/// Services of two endpoints each, one file.
fn services(count: u32) -> String {
    let mut text = String::new();
    for number in 0..count {
        let [_, _, c, d] = number.to_be_bytes();
        write!(
            text,
            "---
apiVersion: v1
kind: Service
metadata: {{name: service-{number}, namespace: default}}
spec:
  clusterIP: 10.89.{c}.{d}
  ports: [{{port: 80, targetPort: 8080}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: service-{number}-a
  namespace: default
  labels: {{kubernetes.io/service-name: service-{number}}}
addressType: IPv4
ports: [{{name: '', port: 8080, protocol: TCP}}]
endpoints:
- {{addresses: [10.77.1.4], nodeName: alpha, conditions: {{ready: true}}}}
- {{addresses: [10.77.1.5], nodeName: alpha, conditions: {{ready: true}}}}
"
        )
        .unwrap();
    }
    text
}

/// How many netlink messages and rules a first start comes to.
fn start(count: u32) -> (usize, usize) {
    let stage = Stage::new();
    stage.folder.write("services.yaml", &services(count));
    let output = stage.pointsman("run").args(["--once", "-v=2"]).output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{log}");
    let writes: Vec<_> = log.lines().filter(|line| line.contains("messages=")).collect();
    let [write] = writes[..] else { panic!("one write, not {writes:?}") };
    let number = write.split("messages=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    let rules = stage.tool("iptables-save").lines().filter(|line| line.starts_with("-A")).count();
    (number.parse().unwrap(), rules)
}

#[test]
fn a_first_start_writes_once_and_in_proportion() {
    let (none, ours) = start(0);
    let (some, rules) = start(100);
    let (more, twice) = start(200);
    // A dispatch rule, three that masquerade and choose, two for each of the two endpoints.
    assert_eq!((rules - ours, twice - rules), (800, 800));
    // Per Service: its rules, its three chains. What is sent besides grows with the batches alone.
    let (first, second) = (some - none, more - some);
    assert!((1100..=1110).contains(&first), "{first}");
    assert!((1100..=1110).contains(&second), "{second}");
}

/// The Node by a folder, with one IPv4 address.
const NODE: &str = "apiVersion: v1\nkind: Node\nmetadata: {name: alpha}\nstatus:\n  addresses:\n  \
                    - {type: InternalIP, address: 10.9.0.1}\n";

#[test]
fn pod_blocks_of_the_other_family_alone_end_a_start_where_there_is_one_family() {
    let stage = Stage::new();
    stage.folder.write("node.yaml", NODE);
    let start = |stage: &Stage, more: &[&str]| {
        let mut command = stage.pointsman("run");
        command.args(["--once", "--cluster-cidr=fd77::/48"]).args(more);
        crate::stage::said(&command.output().unwrap())
    };
    // With both families it is said, and the start goes on, as kube-proxy's.
    let (code, log) = start(&stage, &[]);
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("WARN clusterCIDR") && log.contains("dual-stack"), "{log}");
    let written = stage.tool("iptables-save");
    assert!(written.contains("my-service"), "{written}");

    stage.tool("sysctl --quiet --write net.ipv6.conf.all.disable_ipv6=1");
    stage.tool("iptables -t nat -F");
    let (code, log) = start(&stage, &[]);
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("single-stack") && log.contains("keeps what it had"), "{log}");
    assert!(!stage.tool("iptables-save -t nat").contains("my-service"), "nothing is written");
    // bindAddress says which family counts first.
    let (code, log) = start(&stage, &["--bind-address=fd00::9"]);
    assert_eq!(code, Some(0), "{log}");
}
