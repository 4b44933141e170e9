//! What is always allowed, and both families: nodes and their own Pods, replies and errors about
//! connections, a Pod that asks itself, the host's network.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lab::{Lab, OUTSIDE};
use model::{Family, Protocol};

use crate::stage::{Ask, Stage, Wanted};

/// Pods of namespace x: name, node, number of the node and of the Pod.
const PODS: [(&str, &str, u8, u8); 3] =
    [("a", "alpha", 1, 1), ("b", "alpha", 1, 2), ("c", "beta", 2, 1)];

/// The port of a Pod of the host's network.
const OF_HOST: u16 = 8443;

struct Edges {
    stage: Stage,
    asks: Vec<Ask>,
}

fn of(place: &str, family: Family) -> IpAddr {
    match place {
        "alpha" => lab::node_address(1, family),
        "beta" => lab::node_address(2, family),
        OUTSIDE => lab::outside_address(family),
        pod => {
            let (.., node, number) = PODS.iter().find(|known| known.0 == pod).unwrap();
            lab::pod_address(*node, *number, family)
        }
    }
}

/// The Service in front of Pod a.
fn service(family: Family) -> IpAddr {
    match family {
        Family::V4 => "10.88.0.1".parse().unwrap(),
        Family::V6 => "fd88::1".parse().unwrap(),
    }
}

impl Edges {
    fn build(mode: &'static str) -> Self {
        let (mut builder, mut places) = (Lab::full(["alpha", "beta"]), BTreeMap::new());
        for (name, node, ..) in PODS {
            builder = builder.pod(name, node, Family::ALL.map(|family| of(name, family)));
        }
        let all = ["a", "b", "c", "alpha", "beta", OUTSIDE];
        for family in Family::ALL {
            places.extend(all.map(|place| (of(place, family), place.to_owned())));
        }
        let mut stage = Stage::of(mode, builder.build().unwrap(), places);
        for family in Family::ALL {
            for place in all {
                for protocol in [Protocol::Tcp, Protocol::Udp] {
                    stage.serve(protocol, SocketAddr::new(of(place, family), 80));
                }
            }
            stage.serve(Protocol::Tcp, SocketAddr::new(of("alpha", family), OF_HOST));
        }
        stage.write("pods", &pods());
        Self { stage, asks: Vec::new() }
    }

    /// Expects the same of both protocols, in these families.
    fn ask(&mut self, families: &[Family], from: &str, to: &str, open: bool) {
        for family in families {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let at = SocketAddr::new(of(to, *family), 80);
                let wanted = if open { Wanted::Answer(at) } else { Wanted::Silence };
                self.expect(from, protocol, at, wanted);
            }
        }
    }

    fn expect(&mut self, from: &str, protocol: Protocol, to: SocketAddr, wanted: Wanted) {
        let told = format!("{protocol} {from} -> {to}: expected {wanted:?}");
        let from = of(from, Family::of(to.ip()));
        self.asks.push(Ask { from, protocol, to, wanted, told });
    }

    /// Who asks the Service of Pod a.
    fn ask_service(&mut self, from: &str, open: bool) {
        for family in Family::ALL {
            let own = SocketAddr::new(of("a", family), 80);
            let wanted = if open { Wanted::Answer(own) } else { Wanted::Silence };
            self.expect(from, Protocol::Tcp, SocketAddr::new(service(family), 1080), wanted);
        }
    }

    fn settle(&mut self, when: &str) -> usize {
        let asks = std::mem::take(&mut self.asks);
        self.stage.until_right(when, &asks, Duration::from_secs(30));
        asks.len()
    }
}

fn pods() -> String {
    let mut text = String::from("---\napiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n");
    let mut add = |name: &str, node: &str, host: bool, ips: [IpAddr; 2]| {
        text += &format!(
            "---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: x, labels: {{pod: {name}}}}}
spec: {{nodeName: {node}, hostNetwork: {host}, containers: [{{name: main}}]}}
status: {{phase: Running, podIPs: [{{ip: '{}'}}, {{ip: '{}'}}]}}
",
            ips[0], ips[1]
        );
    };
    for (name, node, ..) in PODS {
        add(name, node, false, Family::ALL.map(|family| of(name, family)));
    }
    add("h", "alpha", true, Family::ALL.map(|family| of("alpha", family)));
    text += &format!(
        "---
apiVersion: v1
kind: Service
metadata: {{name: a, namespace: x}}
spec:
  clusterIPs: ['{}', '{}']
  ipFamilies: [IPv4, IPv6]
  ports: [{{port: 1080, targetPort: 80}}]
",
        service(Family::V4),
        service(Family::V6)
    );
    for family in Family::ALL {
        text += &format!(
            "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: a-{}, namespace: x, labels: {{kubernetes.io/service-name: a}}}}
addressType: {family}
ports: [{{name: '', port: 80, protocol: TCP}}]
endpoints: [{{addresses: ['{}'], conditions: {{ready: true}}}}]
",
            family.to_string().to_lowercase(),
            of("a", family)
        );
    }
    text
}

fn policy(spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p, namespace: x}}\n\
         spec: {spec}\n"
    )
}

fn play(mode: &'static str) {
    let mut edges = Edges::build(mode);
    let both = Family::ALL;
    for (from, to) in
        [("b", "a"), ("c", "a"), ("a", "b"), ("a", "c"), ("a", "alpha"), ("beta", "a")]
    {
        edges.ask(&both, from, to, true);
    }
    edges.ask_service("a", true);
    let mut count = edges.settle("without policies");

    // Every Pod of the namespace, that of the host's network among them.
    edges.stage.write("policy", &policy("{podSelector: {}, policyTypes: [Ingress]}"));
    for from in ["b", "c", OUTSIDE, "beta"] {
        edges.ask(&both, from, "a", false);
    }
    edges.ask(&both, "alpha", "a", true);
    edges.ask(&both, "beta", "c", true);
    edges.ask(&both, "a", "alpha", true);
    edges.ask(&both, "a", OUTSIDE, true);
    edges.ask_service("a", true);
    edges.ask_service("alpha", true);
    edges.ask_service("beta", false);
    edges.ask_service("b", false);
    for family in both {
        let at_host = SocketAddr::new(of("alpha", family), OF_HOST);
        edges.expect("c", Protocol::Tcp, at_host, Wanted::Answer(at_host));
        // Errors about a connection that was let out come back to one that lets nobody in.
        let nobody = SocketAddr::new(of("beta", family), 99);
        edges.expect("a", Protocol::Udp, nobody, Wanted::Unreachable);
        edges.expect("a", Protocol::Tcp, nobody, Wanted::Refused);
    }
    count += edges.settle("nobody may come in");

    edges
        .stage
        .write("policy", &policy("{podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress]}"));
    for to in ["b", "c", OUTSIDE, "alpha", "beta"] {
        edges.ask(&both, "a", to, false);
    }
    for from in ["b", "c", OUTSIDE, "alpha", "beta"] {
        edges.ask(&both, from, "a", true);
    }
    edges.ask_service("a", true);
    edges.ask_service("c", true);
    count += edges.settle("nothing may go out");

    let block = "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{ipBlock: {cidr: 'fd77:1::/64'}}]}]}";
    edges.stage.write("policy", &policy(block));
    edges.ask(&[Family::V6], "b", "a", true);
    edges.ask(&[Family::V4], "b", "a", false);
    edges.ask(&both, "c", "a", false);
    edges.ask(&both, "alpha", "a", true);
    count += edges.settle("one family may come in");

    edges.stage.write("policy", "");
    edges.ask(&both, "c", "a", true);
    edges.ask(&both, "a", "c", true);
    count += edges.settle("the policy is gone");
    println!("{mode}: {count} connections at the edges");
}

#[test]
fn edges_with_real_packets_in_nftables_mode() {
    play("nftables");
}

#[test]
fn edges_with_real_packets_in_iptables_mode() {
    play("iptables");
}
