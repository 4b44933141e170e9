//! A cluster of a few namespaces, written as the API has it, and what is expected of its packets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use explain::policy::{Path, PolicyPacket, Traffic, evaluate, judge};
use intake::convert::{self, Names};
use intake::wire::Field;
use model::{Change, Cluster, Family, Host, HostAddress, NamespacedName, Notice, Protocol};
use plan::{Config, PolicyOptions, plan};
use serde_json::{Value, json};

use super::paper::Paper;

/// The address of node `alpha`.
pub const NODE: &str = "10.9.0.1";

/// Nodes, with their addresses and blocks of Pods.
const NODES: [(&str, &str, &str, &str); 2] =
    [("alpha", NODE, "own", "10.77.1.0/24"), ("beta", "10.9.0.2", "other", "10.77.2.0/24")];

/// A named sequence of states of a small cluster, each with what must pass in it.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// A short name.
    pub id: &'static str,
    /// The name that it has upstream.
    pub name: &'static str,
    /// Its Pods, as `namespace/name`.
    pub pods: &'static [&'static str],
    /// What happens.
    pub play: fn(&mut World),
}

impl Scenario {
    /// Plays it with Pods in certain places. All expectations are held to both answers on paper.
    pub fn play(&self, seats: &[Seat]) -> World {
        let mut world = World::seated(self.pods, seats);
        world.matrix("TCP 80", &[]);
        (self.play)(&mut world);
        world.settle();
        world
    }
}

/// Where a Pod is.
#[derive(Clone, Debug)]
pub struct Seat {
    /// The node.
    pub node: &'static str,
    /// Its addresses.
    pub address: IpAddr,
}

/// One connection, and whether it must pass.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Check {
    /// The source's address.
    pub from: IpAddr,
    /// The destination's.
    pub to: IpAddr,
    /// The protocol.
    pub protocol: Protocol,
    /// The destination port.
    pub port: u16,
    /// Whether it must pass.
    pub open: bool,
}

/// A state of a world: all objects, and what must pass.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The objects by kind and name.
    pub objects: Objects,
    /// What must pass and what not; none contradicts another.
    pub checks: BTreeSet<Check>,
}

/// Objects by kind and name.
pub type Objects = BTreeMap<(&'static str, String), Value>;

/// A cluster that is told what happens, and remembers what was expected when.
pub struct World {
    /// The objects as the pipeline knows them.
    pub cluster: Cluster,
    /// How policies are enforced.
    pub options: PolicyOptions,
    /// Pods in the order in which they came: `namespace/name` and address.
    pub pods: Vec<(String, IpAddr)>,
    /// What was expected so far.
    pub states: Vec<State>,
    now: State,
    seats: Vec<Seat>,
    names: Names,
    /// The plans of the present state, by node, and the options that they were made with.
    plans: (PolicyOptions, BTreeMap<String, Paper>),
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn read<T: serde::de::DeserializeOwned + intake::wire::Expected>(object: Value) -> T {
    serde_json::from_value::<Field<T>>(object).unwrap().into_option().unwrap()
}

impl World {
    /// Pods on one node, `namespace/name`, each with its label `pod` and ports 80 and 81 of every
    /// protocol.
    pub fn new(pods: &[&str]) -> Self {
        let seat = |index| Seat { node: "alpha", address: ip(&format!("10.77.1.{}", index + 1)) };
        let seats: Vec<Seat> = (0..pods.len()).map(seat).collect();
        Self::seated(pods, &seats)
    }

    /// The same, each in its seat.
    pub fn seated(pods: &[&str], seats: &[Seat]) -> Self {
        let options = PolicyOptions {
            enforce: true,
            hold_unknown_seconds: None,
            dns_listeners: BTreeSet::new(),
            all_nodes: true,
        };
        let mut world = Self {
            cluster: Cluster::default(),
            options,
            pods: vec![],
            states: vec![],
            now: State::default(),
            seats: seats.to_vec(),
            names: Names::default(),
            plans: Default::default(),
        };
        let own = HostAddress { address: ip(NODE), interface: "eth0".into() };
        let addresses = BTreeSet::from([own]);
        world.apply(Change::Host(Host { addresses, conntrack_be_liberal: false }));
        for (name, address, role, _) in NODES {
            world.node(name, address, json!({"role": role}));
        }
        let of: BTreeSet<&str> =
            pods.iter().filter_map(|pod| Some(pod.split_once('/')?.0)).collect();
        for namespace in of.into_iter().chain(["x", "y", "z"]) {
            world.namespace(namespace, json!({"ns": namespace}));
        }
        for (pod, seat) in pods.iter().zip(seats) {
            // Without an address it counts for nothing.
            world.pod(pod, json!({}));
            world.pods.push(((*pod).into(), seat.address));
            world.pod(pod, json!({}));
        }
        world
    }

    /// Takes a change in that no object is written for.
    pub fn apply(&mut self, change: Change) {
        self.plans.1.clear();
        self.cluster.apply(change);
    }

    /// The state that was is over: what is checked from now on is another's.
    fn object(&mut self, kind: &'static str, name: &str, object: Option<Value>) {
        self.settle();
        match object {
            Some(object) => drop(self.now.objects.insert((kind, name.to_owned()), object)),
            None => drop(self.now.objects.remove(&(kind, name.to_owned()))),
        }
    }

    /// Closes the present state, if anything was expected of it.
    pub(super) fn settle(&mut self) {
        if !self.now.checks.is_empty() {
            let over = State { objects: self.now.objects.clone(), ..State::default() };
            self.states.push(std::mem::replace(&mut self.now, over));
        }
    }

    pub fn node(&mut self, name: &str, address: &str, labels: Value) {
        let status = json!({"addresses": [{"type": "InternalIP", "address": address}]});
        let metadata = json!({"name": name, "labels": labels});
        let block = NODES.iter().find(|node| node.0 == name).map(|node| node.3);
        let wire = read(json!({"metadata": metadata, "status": status,
            "spec": {"podCIDRs": [block]}}));
        let (node, notices) = convert::node(&wire, &mut self.names);
        assert_eq!(notices, []);
        self.apply(Change::Node(node.unwrap()));
    }

    pub fn namespace(&mut self, name: &str, labels: Value) {
        let object = json!({"metadata": {"name": name, "labels": labels}});
        self.object("Namespace", name, Some(object.clone()));
        let wire = read(object);
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
        let seat = self.pods.iter().position(|(known, _)| known == name);
        let seat = seat.and_then(|seat| self.seats.get(seat));
        let ips: Vec<Value> = seat.iter().map(|seat| json!({"ip": seat.address})).collect();
        let mut object = json!({
            "metadata": {"name": short, "namespace": namespace, "labels": {"pod": short}},
            "spec": {"nodeName": seat.map_or("alpha", |seat| seat.node),
                "containers": [{"ports": ports}]},
            "status": {"phase": "Running", "podIPs": ips},
        });
        for (part, fields) in more.as_object().unwrap() {
            for (field, value) in fields.as_object().unwrap() {
                object[part][field] = value.clone();
            }
        }
        self.object("Pod", name, Some(object.clone()));
        let (pod, notices) = convert::pod(&read(object), &mut self.names);
        assert_eq!(notices, []);
        self.apply(Change::Pod(pod.unwrap()));
    }

    /// A NetworkPolicy `namespace/name`; returns what was left out of it.
    pub fn policy(&mut self, name: &str, spec: Value) -> Vec<Notice> {
        let (namespace, short) = name.split_once('/').unwrap();
        let metadata = json!({"name": short, "namespace": namespace});
        let object = json!({"metadata": metadata, "spec": spec});
        self.object("NetworkPolicy", name, Some(object.clone()));
        let wire = read(object);
        let (policy, notices) = convert::network_policy(&wire, &mut self.names);
        self.apply(Change::NetworkPolicy(policy.unwrap()));
        notices
    }

    pub fn without_policy(&mut self, name: &str) {
        let (namespace, short) = name.split_once('/').unwrap();
        self.object("NetworkPolicy", name, None);
        self.apply(Change::NetworkPolicyGone(NamespacedName::new(namespace, short)));
    }

    pub fn cluster_policy(&mut self, name: &str, spec: Value) {
        let object = json!({"metadata": {"name": name}, "spec": spec});
        self.object("ClusterNetworkPolicy", name, Some(object.clone()));
        let wire = read(object);
        let (policy, notices) = convert::cluster_network_policy(&wire, &mut self.names);
        assert_eq!(notices, []);
        self.apply(Change::ClusterNetworkPolicy(policy.unwrap()));
    }

    pub fn address(&self, name: &str) -> IpAddr {
        let known = self.pods.iter().find(|(pod, _)| pod == name);
        known.map_or_else(|| ip(name), |(_, address)| *address)
    }

    /// Whether a packet passes on the nodes of both its ends; `from` and `to` are Pods or addresses,
    /// `what` is such as `TCP 80` or `ICMP 8`. The objects and the plan are asked, and must agree.
    pub fn passes(&mut self, from: &str, to: &str, what: &str) -> bool {
        let (word, number) = what.split_once(' ').unwrap();
        let traffic = match word {
            "ICMP" => Traffic::Icmp { kind: number.parse().unwrap() },
            "IP" => Traffic::Other { protocol: number.parse().unwrap() },
            word => {
                Traffic::Port { protocol: word.parse().unwrap(), port: number.parse().unwrap() }
            }
        };
        let (from, to) = (self.address(from), self.address(to));
        assert_eq!(Family::of(from), Family::of(to));
        let nodes: BTreeSet<&str> = [from, to].into_iter().map(|end| self.node_of(end)).collect();
        let mut open = true;
        for node in nodes {
            open &= self.passes_on(node, from, to, traffic);
        }
        if let Traffic::Port { protocol, port } = traffic {
            self.now.checks.insert(Check { from, to, protocol, port, open });
        }
        open
    }

    /// The node that judges an address.
    fn node_of(&self, address: IpAddr) -> &'static str {
        let seat = self.pods.iter().position(|(_, own)| *own == address);
        let of_node = NODES.iter().find(|node| ip(node.1) == address).map(|node| node.0);
        seat.map(|seat| self.seats[seat].node).or(of_node).unwrap_or("alpha")
    }

    /// What a node plans now.
    fn plan(&mut self, node: &str) {
        if self.plans.0 != self.options {
            self.plans = (self.options.clone(), BTreeMap::new());
        }
        let (cluster, options) = (&self.cluster, &self.options);
        self.plans.1.entry(node.into()).or_insert_with(|| {
            let config = Config { network_policy: options.clone(), ..Config::new(node) };
            let own = NODES.iter().find(|known| known.0 == node).map_or(NODE, |known| known.1);
            Paper::of(plan(cluster, &config).0.policy, ip(own))
        });
    }

    fn passes_on(
        &mut self,
        node: &str,
        source: IpAddr,
        destination: IpAddr,
        traffic: Traffic,
    ) -> bool {
        let own = NODES.iter().find(|known| known.0 == node).map(|known| ip(known.1));
        let path = match (own == Some(source), own == Some(destination)) {
            (true, _) => Path::FromNode,
            (_, true) => Path::ToNode,
            _ => Path::Forwarded,
        };
        let packet = PolicyPacket { source, destination, traffic, path, established: false };
        let told = judge(&self.cluster, &self.options, Some(node), &packet);
        self.plan(node);
        let paper = &self.plans.1[node];
        let intent = &paper.intent;
        let ruled = evaluate(intent, &packet);
        assert_eq!(told.passes(), ruled.passes(), "{packet:?} on {node}: {told:?} and {ruled:?}");
        paper.hold(&packet, told.passes());
        // What was let through once goes on, whatever the rules are, and so do answers.
        let (source, destination) = (destination, source);
        let answer = PolicyPacket { source, destination, established: true, ..packet };
        assert!(evaluate(intent, &answer).passes());
        assert!(judge(&self.cluster, &self.options, Some(node), &answer).passes());
        paper.hold(&answer, true);
        told.passes()
    }

    /// Asks for every pair of Pods, port and protocol, and expects what the two answers agree on.
    pub fn survey(&mut self) {
        let pods = self.pods.clone();
        for protocol in Protocol::ALL {
            for port in [80, 81] {
                for (from, _) in &pods {
                    for (to, _) in &pods {
                        self.passes(from, to, &format!("{protocol} {port}"));
                    }
                }
            }
        }
    }

    /// Holds the whole matrix of Pods to what is expected. Everything is open but for the
    /// exceptions, of which the last counts: `x/a>y/*` is closed, `+x/a>y/b` is open after all.
    pub fn matrix(&mut self, what: &str, exceptions: &[&str]) {
        let is = |pattern: &str, name: &str| {
            pattern == "*"
                || pattern == name
                || pattern.strip_suffix('*').is_some_and(|start| name.starts_with(start))
        };
        let pods = self.pods.clone();
        for (from, _) in &pods {
            for (to, _) in &pods {
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
