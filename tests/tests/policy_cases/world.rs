//! A cluster of three namespaces on one node, written as the API has it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use explain::policy::{Path, PolicyPacket, Traffic, evaluate, judge};
use intake::convert::{self, Names};
use intake::wire::Field;
use model::{Change, Cluster, Family, Host, HostAddress, NamespacedName, Notice, Protocol};
use plan::{Config, PolicyOptions, plan};
use serde_json::{Value, json};

pub const NODE: &str = "10.9.0.1";

pub struct World {
    pub cluster: Cluster,
    pub options: PolicyOptions,
    /// Pods in the order in which they came: `namespace/name` and address.
    pub pods: Vec<(String, IpAddr)>,
    names: Names,
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn read<T: serde::de::DeserializeOwned + intake::wire::Expected>(object: Value) -> T {
    serde_json::from_value::<Field<T>>(object).unwrap().into_option().unwrap()
}

impl World {
    /// Pods `namespace/name`, each with its label `pod` and ports 80 and 81 of every protocol.
    pub fn new(pods: &[&str]) -> Self {
        let options = PolicyOptions {
            enforce: true,
            hold_unknown_seconds: None,
            dns_listeners: BTreeSet::new(),
            all_nodes: true,
        };
        let mut world =
            Self { cluster: Cluster::default(), options, pods: vec![], names: Names::default() };
        let own = HostAddress { address: ip(NODE), interface: "eth0".into() };
        let addresses = BTreeSet::from([own]);
        world.apply(Change::Host(Host { addresses, conntrack_be_liberal: false }));
        world.node("alpha", NODE, json!({"role": "own"}));
        for namespace in ["x", "y", "z"] {
            world.namespace(namespace, json!({"ns": namespace}));
        }
        for (index, pod) in pods.iter().enumerate() {
            world.pod(pod, json!({}));
            world.pods.push(((*pod).into(), ip(&format!("10.77.1.{}", index + 1))));
            let address = format!("10.77.1.{}", index + 1);
            world.pod(pod, json!({"status": {"phase": "Running", "podIPs": [{"ip": address}]}}));
        }
        world
    }

    pub fn apply(&mut self, change: Change) {
        self.cluster.apply(change);
    }

    pub fn node(&mut self, name: &str, address: &str, labels: Value) {
        let status = json!({"addresses": [{"type": "InternalIP", "address": address}]});
        let metadata = json!({"name": name, "labels": labels});
        let wire = read(json!({"metadata": metadata, "status": status,
            "spec": {"podCIDRs": ["10.77.1.0/24"]}}));
        let (node, notices) = convert::node(&wire, &mut self.names);
        assert_eq!(notices, []);
        self.apply(Change::Node(node.unwrap()));
    }

    pub fn namespace(&mut self, name: &str, labels: Value) {
        let wire = read(json!({"metadata": {"name": name, "labels": labels}}));
        let (namespace, _) = convert::namespace(&wire, &mut self.names);
        self.apply(Change::Namespace(namespace.unwrap()));
    }

    /// A Pod; what `more` says replaces the parts of the usual one.
    pub fn pod(&mut self, name: &str, more: Value) {
        let (namespace, short) = name.split_once('/').unwrap();
        let mut ports = Vec::new();
        for protocol in Protocol::ALL {
            for port in [80, 81] {
                ports.push(json!({"name": format!("serve-{port}-{}", protocol.lower()),
                    "containerPort": port, "protocol": protocol.to_string()}));
            }
        }
        let mut object = json!({
            "metadata": {"name": short, "namespace": namespace, "labels": {"pod": short}},
            "spec": {"nodeName": "alpha", "containers": [{"ports": ports}]},
        });
        for (part, fields) in more.as_object().unwrap() {
            for (field, value) in fields.as_object().unwrap() {
                object[part][field] = value.clone();
            }
        }
        let (pod, notices) = convert::pod(&read(object), &mut self.names);
        assert_eq!(notices, []);
        self.apply(Change::Pod(pod.unwrap()));
    }

    /// A NetworkPolicy `namespace/name`; returns what was left out of it.
    pub fn policy(&mut self, name: &str, spec: Value) -> Vec<Notice> {
        let (namespace, short) = name.split_once('/').unwrap();
        let metadata = json!({"name": short, "namespace": namespace});
        let wire = read(json!({"metadata": metadata, "spec": spec}));
        let (policy, notices) = convert::network_policy(&wire, &mut self.names);
        self.apply(Change::NetworkPolicy(policy.unwrap()));
        notices
    }

    pub fn without_policy(&mut self, name: &str) {
        let (namespace, short) = name.split_once('/').unwrap();
        self.apply(Change::NetworkPolicyGone(NamespacedName::new(namespace, short)));
    }

    pub fn cluster_policy(&mut self, name: &str, spec: Value) {
        let wire = read(json!({"metadata": {"name": name}, "spec": spec}));
        let (policy, notices) = convert::cluster_network_policy(&wire, &mut self.names);
        assert_eq!(notices, []);
        self.apply(Change::ClusterNetworkPolicy(policy.unwrap()));
    }

    pub fn address(&self, name: &str) -> IpAddr {
        let known = self.pods.iter().find(|(pod, _)| pod == name);
        known.map_or_else(|| ip(name), |(_, address)| *address)
    }

    /// Asks both whether a packet passes; `from` and `to` are Pods or addresses, `what` is such as
    /// `TCP 80` or `ICMP 8`.
    pub fn passes(&self, from: &str, to: &str, what: &str) -> bool {
        let (word, number) = what.split_once(' ').unwrap();
        let traffic = match word {
            "ICMP" => Traffic::Icmp { kind: number.parse().unwrap() },
            "IP" => Traffic::Other { protocol: number.parse().unwrap() },
            word => {
                Traffic::Port { protocol: word.parse().unwrap(), port: number.parse().unwrap() }
            }
        };
        let (source, destination) = (self.address(from), self.address(to));
        assert_eq!(Family::of(source), Family::of(destination));
        let path = match (source == ip(NODE), destination == ip(NODE)) {
            (true, _) => Path::FromNode,
            (_, true) => Path::ToNode,
            _ => Path::Forwarded,
        };
        let packet = PolicyPacket { source, destination, traffic, path, established: false };
        let told = judge(&self.cluster, &self.options, Some("alpha"), &packet);
        let config = Config { network_policy: self.options.clone(), ..Config::new("alpha") };
        let intent = plan(&self.cluster, &config).0.policy;
        let ruled = evaluate(&intent, &packet);
        assert_eq!(told.passes(), ruled.passes(), "{from} -> {to} {what}: {told:?} and {ruled:?}");
        // What was let through once goes on, whatever the rules are, and so do answers.
        let (source, destination) = (destination, source);
        let answer = PolicyPacket { source, destination, established: true, ..packet };
        assert!(evaluate(&intent, &answer).passes());
        assert!(judge(&self.cluster, &self.options, Some("alpha"), &answer).passes());
        told.passes()
    }

    /// Holds the whole matrix of Pods to what is expected. Everything is open but for the
    /// exceptions, of which the last counts: `x/a>y/*` is closed, `+x/a>y/b` is open after all.
    pub fn matrix(&self, what: &str, exceptions: &[&str]) {
        let is = |pattern: &str, name: &str| {
            pattern == "*"
                || pattern == name
                || pattern.strip_suffix('*').is_some_and(|start| name.starts_with(start))
        };
        for (from, _) in &self.pods {
            for (to, _) in &self.pods {
                let mut open = true;
                for exception in exceptions {
                    let (opens, pair) = match exception.strip_prefix('+') {
                        Some(pair) => (true, pair),
                        None => (false, *exception),
                    };
                    let (source, destination) = pair.split_once('>').unwrap();
                    if is(source, from) && is(destination, to) {
                        open = opens;
                    }
                }
                let open = open || from == to;
                assert_eq!(self.passes(from, to, what), open, "{what}: {from} -> {to}");
            }
        }
    }
}

/// Pods with this name in a peer's own namespace.
pub fn pods(name: &str) -> Value {
    json!({"podSelector": {"matchLabels": {"pod": name}}})
}

/// All Pods of the namespaces with this label.
pub fn namespaces(name: &str) -> Value {
    json!({"namespaceSelector": {"matchLabels": {"ns": name}}})
}

/// Pods with this name in those namespaces.
pub fn pods_in(name: &str, namespace: &str) -> Value {
    let mut peer = pods(name);
    peer["namespaceSelector"] = namespaces(namespace)["namespaceSelector"].clone();
    peer
}

/// A policy for Pods of a name (every Pod where it is empty) that lets in what rules say.
pub fn ingress(pod: &str, rules: Value) -> Value {
    json!({"podSelector": subject(pod), "policyTypes": ["Ingress"], "ingress": rules})
}

/// The same for what they send.
pub fn egress(pod: &str, rules: Value) -> Value {
    json!({"podSelector": subject(pod), "policyTypes": ["Egress"], "egress": rules})
}

fn subject(pod: &str) -> Value {
    if pod.is_empty() { json!({}) } else { pods(pod)["podSelector"].clone() }
}
