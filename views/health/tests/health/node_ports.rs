//! Where `healthCheckNodePort`s listen, and what they count.

use std::collections::{BTreeMap, BTreeSet};

use health::no_local_endpoints::{NoLocalEndpoints, Ports};
use health::node_ports::{Clash, NodePorts};
use model::{
    Change, Cluster, Family, Host, HostAddress, Owner, Service, ServiceType, TrafficPolicy,
};
use plan::{Config, NodePortAddresses, Planner, plan};

use super::objects::{cluster, ip, named, node, service, slice};

/// An agent as far as the checks see it.
struct Agent {
    cluster: Cluster,
    planner: Planner,
    checks: NodePorts,
}

impl Agent {
    fn new(addresses: NodePortAddresses) -> Self {
        let mut config = Config::new("alpha");
        config.node_port_addresses = addresses;
        let (cluster, planner) = (Cluster::default(), Planner::new(config));
        let mut agent = Self { cluster, planner, checks: NodePorts::default() };
        agent.apply(Change::Node(node("alpha")));
        agent
    }

    /// Applies a change and says whether the checks differ.
    fn apply(&mut self, change: Change) -> bool {
        let owners = self.cluster.apply(change);
        let owners =
            self.planner.update(&self.cluster, &owners).into_iter().chain(owners).collect();
        self.checks.update(self.planner.intent(), &self.cluster, &owners)
    }

    /// Each address with its Service and count.
    fn checks(&self) -> Vec<String> {
        let (checks, _) = self.checks.checks();
        checks
            .iter()
            .map(|(at, check)| format!("{at} {} {}", check.service, check.local_endpoints))
            .collect()
    }
}

fn dual_stack(name: &str, port: u16) -> Service {
    let mut both = service(name, "10.96.0.1", port);
    both.ip_families = Family::ALL.to_vec();
    both.cluster_ips = vec![ip("10.96.0.1"), ip("fd96::1")];
    both
}

#[test]
fn service_server_lifecycle() {
    let mut agent = Agent::new(NodePortAddresses::All);
    assert!(agent.apply(Change::Service(service("a", "10.96.0.1", 31001))));
    assert_eq!(agent.checks(), ["0.0.0.0:31001 ns/a 0"]);
    assert!(agent.apply(Change::Slice(slice("a", &["10.0.0.1@alpha", "10.0.0.2@beta"]))));
    assert_eq!(agent.checks(), ["0.0.0.0:31001 ns/a 1"]);
    // What changes no count changes no check.
    assert!(!agent.apply(Change::Slice(slice("a", &["10.0.0.1@alpha", "10.0.0.3@beta"]))));
    // B1: the load balancer must turn away while the last endpoint still serves.
    assert!(agent.apply(Change::Slice(slice("a", &["10.0.0.1@alpha!"]))));
    assert_eq!(agent.checks(), ["0.0.0.0:31001 ns/a 0"]);
    assert!(agent.apply(Change::Service(service("b", "10.96.0.2", 31002))));
    assert_eq!(agent.checks(), ["0.0.0.0:31001 ns/a 0", "0.0.0.0:31002 ns/b 0"]);
    // The port changes.
    assert!(agent.apply(Change::Service(service("a", "10.96.0.1", 31003))));
    assert_eq!(agent.checks(), ["0.0.0.0:31002 ns/b 0", "0.0.0.0:31003 ns/a 0"]);
    // The port is no longer asked for: by policy, by type, by the Service's end.
    let mut everywhere = service("a", "10.96.0.1", 31003);
    everywhere.external_traffic_policy = TrafficPolicy::Cluster;
    assert!(agent.apply(Change::Service(everywhere)));
    assert_eq!(agent.checks(), ["0.0.0.0:31002 ns/b 0"]);
    let mut inside = service("b", "10.96.0.2", 31002);
    inside.service_type = ServiceType::ClusterIP;
    assert!(agent.apply(Change::Service(inside)));
    assert_eq!(agent.checks(), [""; 0]);
    assert!(agent.apply(Change::Service(service("b", "10.96.0.2", 31002))));
    assert!(agent.apply(Change::ServiceGone(named("b"))));
    assert_eq!(agent.checks(), [""; 0]);
}

#[test]
fn each_family_of_a_service_listens_and_counts_for_itself() {
    let mut agent = Agent::new(NodePortAddresses::All);
    agent.apply(Change::Service(dual_stack("a", 31001)));
    agent.apply(Change::Slice(slice("a", &["10.0.0.1@alpha"])));
    assert_eq!(agent.checks(), ["0.0.0.0:31001 ns/a 1", "[::]:31001 ns/a 0"]);
}

#[test]
fn selective_listen_address() {
    let mut agent = Agent::new(NodePortAddresses::Primary);
    agent.apply(Change::Service(service("a", "10.96.0.1", 31001)));
    // The fixture's node address is a loopback address, which is none to speak of.
    assert_eq!(agent.checks(), ["0.0.0.0:31001 ns/a 0"]);
    let mut moved = node("alpha");
    moved.internal_ips = vec![ip("192.0.2.1"), ip("192.0.2.9")];
    assert!(agent.apply(Change::Node(moved.clone())));
    assert_eq!(agent.checks(), ["192.0.2.1:31001 ns/a 0"]);
    // The sockets follow the node.
    moved.internal_ips = vec![ip("192.0.2.2")];
    assert!(agent.apply(Change::Node(moved)));
    assert_eq!(agent.checks(), ["192.0.2.2:31001 ns/a 0"]);
}

#[test]
fn listens_on_the_addresses_of_the_host_that_answer_node_ports() {
    let mut agent = Agent::new(NodePortAddresses::Cidrs(vec!["192.0.2.0/24".parse().unwrap()]));
    agent.apply(Change::Service(dual_stack("a", 31001)));
    let own = |text: &str| HostAddress { address: ip(text), interface: "eth0".into() };
    let host = |list: &[&str]| {
        let addresses = list.iter().map(|text| own(text)).collect::<BTreeSet<_>>();
        Change::Host(Host { addresses, conntrack_be_liberal: false })
    };
    // A family without a block accepts everywhere; one whose blocks hold no address nowhere.
    assert_eq!(agent.checks(), ["[::]:31001 ns/a 0"]);
    assert!(agent.apply(host(&["192.0.2.1", "192.0.2.7", "198.51.100.1", "2001:db8::1"])));
    let all = ["192.0.2.1:31001 ns/a 0", "192.0.2.7:31001 ns/a 0", "[::]:31001 ns/a 0"];
    assert_eq!(agent.checks(), all);
    assert!(agent.apply(host(&["192.0.2.7"])));
    assert_eq!(agent.checks(), all[1..]);
}

#[test]
fn of_two_services_with_one_port_the_older_keeps_it() {
    let mut agent = Agent::new(NodePortAddresses::All);
    let young = Service { created: Some(7), ..service("a", "10.96.0.1", 31001) };
    agent.apply(Change::Service(young));
    agent.apply(Change::Service(service("b", "10.96.0.2", 31001)));
    assert_eq!(agent.checks(), ["0.0.0.0:31001 ns/b 0"]);
    let (_, clashes) = agent.checks.checks();
    let clash = Clash { service: named("a"), holder: named("b"), port: 31001 };
    assert_eq!(clashes, [clash]);
    agent.apply(Change::ServiceGone(named("b")));
    assert_eq!(agent.checks(), ["0.0.0.0:31001 ns/a 0"]);
    assert!(agent.checks.checks().1.is_empty());
}

#[test]
fn owner_by_owner_equals_everything_at_once() {
    let mut agent = Agent::new(NodePortAddresses::All);
    for (index, name) in ["c", "a", "b"].into_iter().enumerate() {
        let port = 31001 + u16::try_from(index).unwrap();
        agent.apply(Change::Slice(slice(name, &["10.0.0.1@alpha", "10.0.0.2@alpha"])));
        agent.apply(Change::Service(service(name, &format!("10.96.0.{}", index + 1), port)));
    }
    agent.apply(Change::ServiceGone(named("a")));
    let (intent, _) = plan(&agent.cluster, &Config::new("alpha"));
    let owners: BTreeSet<Owner> = intent.servers.keys().cloned().map(Owner::Service).collect();
    let mut anew = NodePorts::default();
    assert!(anew.update(&intent, &agent.cluster, &owners));
    assert_eq!(anew, agent.checks);
    assert_eq!(agent.checks().len(), 2);
}

#[test]
fn no_endpoints_metric() {
    use TrafficPolicy::{Cluster, Local};
    let policies: BTreeMap<&str, (TrafficPolicy, TrafficPolicy)> = BTreeMap::from([
        ("both cluster", (Cluster, Cluster)),
        ("internal local", (Local, Cluster)),
        ("external local", (Cluster, Local)),
        ("both local", (Local, Local)),
    ]);
    for (endpoints, lacking) in [
        (&["10.0.0.1@alpha"][..], false),
        (&["10.0.0.1@alpha", "10.0.0.2@beta"], false),
        (&["10.0.0.2@beta"], true),
        // None at all: the Service is down, which is no matter of policy.
        (&[], false),
    ] {
        for (name, (internal, external)) in &policies {
            let mut object = service("a", "10.96.0.1", 31001);
            object.internal_traffic_policy = *internal;
            object.external_traffic_policy = *external;
            let changes = [
                Change::Node(node("alpha")),
                Change::Service(object),
                Change::Slice(slice("a", endpoints)),
            ];
            let (intent, _) = plan(&cluster(changes), &Config::new("alpha"));
            let mut count = NoLocalEndpoints::default();
            count.update(&intent, &BTreeSet::from([Owner::Service(named("a")), Owner::Node]));
            let expected = Ports {
                internal: u64::from(lacking && *internal == Local),
                external: u64::from(lacking && *external == Local),
            };
            assert_eq!(count.total(Family::V4), expected, "{name} {endpoints:?}");
            assert_eq!(count.total(Family::V6), Ports::default(), "{name} {endpoints:?}");
            // Gone again.
            let (nothing, _) = plan(&model::Cluster::default(), &Config::new("alpha"));
            count.update(&nothing, &BTreeSet::from([Owner::Service(named("a"))]));
            assert_eq!(count, NoLocalEndpoints::default());
        }
    }
}
