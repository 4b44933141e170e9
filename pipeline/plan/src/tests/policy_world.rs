//! Generated clusters of a small world, so that things meet: few names, few addresses, few labels.

use std::net::IpAddr;
use std::sync::Arc;

use model::{
    Change, Cidr, ClusterNetworkPolicy, ContainerPort, Demand, IpBlock, LabelSelector, Labels,
    Namespace, NamespacedName, Namespaces, NetworkPolicy, Node, Peer, Peers, Pod, PodSelection,
    PolicyAction, PolicyPort, PolicyRule, Ports, Protocol, Requirement, Tier,
};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| (Arc::from(*key), Arc::from(*value))).collect()
}

fn node(name: &str, address: &str) -> Node {
    Node {
        name: name.into(),
        internal_ips: vec![ip(address)],
        external_ips: Vec::new(),
        pod_cidrs: Vec::new(),
        zone: None,
        labels: Labels::default(),
        taints: Vec::new(),
        deleting: false,
    }
}

fn some_labels() -> impl Strategy<Value = Labels> {
    let pairs = vec![("app", "web"), ("app", "db"), ("tier", "x"), ("tier", "y"), ("team", "a")];
    subsequence(pairs, 0..4).prop_map(|pairs| labels(&pairs))
}

fn some_selector() -> impl Strategy<Value = LabelSelector> {
    let values = |list: &[&str]| list.iter().map(|it| Arc::from(*it)).collect::<Arc<[Arc<str>]>>();
    let requirement = select(vec![
        ("app", Demand::In(values(&["web"]))),
        ("app", Demand::In(values(&["web", "db"]))),
        ("app", Demand::NotIn(values(&["db"]))),
        ("tier", Demand::Exists),
        ("tier", Demand::DoesNotExist),
        ("team", Demand::In(values(&["a"]))),
        ("kubernetes.io/metadata.name", Demand::In(values(&["shop"]))),
    ]);
    proptest::collection::vec(requirement, 0..2).prop_map(|list| {
        let requirement = |(key, demand): (&str, Demand)| Requirement { key: key.into(), demand };
        LabelSelector::new(list.into_iter().map(requirement))
    })
}

fn some_namespace() -> impl Strategy<Value = Arc<str>> {
    select(vec!["shop", "vault"]).prop_map(Arc::from)
}

fn some_selection() -> impl Strategy<Value = PodSelection> {
    let namespaces = prop_oneof![
        some_namespace().prop_map(Namespaces::Named),
        some_selector().prop_map(Namespaces::Selected),
    ];
    (namespaces, some_selector()).prop_map(|(namespaces, pods)| PodSelection { namespaces, pods })
}

fn some_name() -> impl Strategy<Value = NamespacedName> {
    (some_namespace(), select(vec!["a", "b", "c"]))
        .prop_map(|(namespace, name)| NamespacedName::new(namespace, name))
}

fn some_pod() -> impl Strategy<Value = Pod> {
    let addresses = vec!["10.77.1.1", "10.77.1.2", "10.77.2.1", "fd77:1::1", "fd77:1::2"];
    let port =
        (select(vec!["http", "dns"]), select(vec![Protocol::Tcp, Protocol::Udp]), 80_u16..82);
    let port =
        port.prop_map(|(name, protocol, port)| ContainerPort { name: name.into(), protocol, port });
    (
        some_name(),
        some_labels(),
        subsequence(addresses, 0..4),
        select(vec![None, Some("alpha"), Some("alpha"), Some("beta")]),
        proptest::collection::vec(port, 0..3),
        (0_i64..3, 0_u8..16),
    )
        .prop_map(|(name, labels, ips, node, ports, (started, odd))| Pod {
            uid: name.to_string().into(),
            name,
            labels,
            ips: ips.into_iter().map(ip).collect(),
            node: node.map(Into::into),
            host_network: odd == 0,
            finished: odd == 1,
            deleting: odd == 2,
            ports: ports.into(),
            started: Some(started),
            created: None,
        })
}

fn some_rules() -> impl Strategy<Value = Vec<PolicyRule>> {
    let block = select(vec![("10.77.0.0/16", None), ("10.77.0.0/16", Some("10.77.1.0/24"))]);
    let block = block.prop_map(|(block, except)| {
        Peer::Block(IpBlock { cidr: cidr(block), except: except.map(cidr).into_iter().collect() })
    });
    let peer = prop_oneof![
        4 => some_selection().prop_map(Peer::Pods),
        1 => block,
        1 => some_selector().prop_map(Peer::Nodes),
    ];
    let peers = prop_oneof![
        2 => Just(Peers::Anybody),
        4 => proptest::collection::vec(peer, 0..4).prop_map(Peers::AnyOf),
    ];
    let port = prop_oneof![
        (select(vec![Protocol::Tcp, Protocol::Tcp, Protocol::Udp]), 80_u16..83, 80_u16..83)
            .prop_map(|(protocol, a, b)| PolicyPort::Range {
                protocol,
                first: a.min(b),
                last: a.max(b)
            }),
        (select(vec!["http", "dns"]), select(vec![None, Some(Protocol::Tcp)]))
            .prop_map(|(name, protocol)| PolicyPort::Named { name: name.into(), protocol }),
    ];
    let ports = prop_oneof![
        Just(Ports::Any),
        proptest::collection::vec(port, 0..3).prop_map(Ports::AnyOf),
    ];
    let action = select(vec![PolicyAction::Accept, PolicyAction::Deny, PolicyAction::Pass]);
    let rule = (action, peers, ports).prop_map(|(action, peers, ports)| PolicyRule {
        name: None,
        action,
        peers,
        ports,
        closed: false,
    });
    proptest::collection::vec(rule, 0..4)
}

fn some_policy() -> impl Strategy<Value = NetworkPolicy> {
    let accepting = |mut rules: Vec<PolicyRule>| {
        rules.iter_mut().for_each(|rule| rule.action = PolicyAction::Accept);
        rules
    };
    let rules = move || proptest::option::of(some_rules().prop_map(accepting));
    (some_name(), some_selector(), rules(), rules())
        .prop_map(|(name, pods, ingress, egress)| NetworkPolicy { name, pods, ingress, egress })
}

fn some_cluster_policy() -> impl Strategy<Value = ClusterNetworkPolicy> {
    let tier = select(vec![Tier::Admin, Tier::Baseline]);
    (select(vec!["x", "y"]), tier, 0_u16..2, some_selection(), some_rules(), some_rules()).prop_map(
        |(name, tier, priority, subject, ingress, egress)| ClusterNetworkPolicy {
            name: name.into(),
            tier,
            priority,
            subject,
            ingress,
            egress,
        },
    )
}

pub(crate) fn some_change() -> impl Strategy<Value = Change> {
    let node = (select(vec!["alpha", "beta"]), some_labels()).prop_map(|(name, labels)| {
        let address = if name == "alpha" { "10.9.0.1" } else { "10.9.0.2" };
        let pod_cidrs = vec![cidr("10.77.1.0/24")];
        model::Node { labels, pod_cidrs, ..node(name, address) }
    });
    let namespace =
        (some_namespace(), some_labels()).prop_map(|(name, labels)| Namespace::new(name, &labels));
    prop_oneof![
        6 => some_pod().prop_map(Change::Pod),
        2 => some_name().prop_map(Change::PodGone),
        1 => proptest::collection::vec(some_pod(), 0..4).prop_map(Change::Pods),
        2 => namespace.prop_map(Change::Namespace),
        1 => some_namespace().prop_map(Change::NamespaceGone),
        4 => some_policy().prop_map(Change::NetworkPolicy),
        2 => some_name().prop_map(Change::NetworkPolicyGone),
        3 => some_cluster_policy().prop_map(Change::ClusterNetworkPolicy),
        1 => select(vec!["x", "y"]).prop_map(|name| Change::ClusterNetworkPolicyGone(name.into())),
        1 => node.prop_map(Change::Node),
        1 => Just(Change::NodeGone("alpha".into())),
    ]
}
