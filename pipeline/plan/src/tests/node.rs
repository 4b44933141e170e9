//! Local-traffic detectors, node port addresses, loopback, and what of a node concerns Services.

use model::{Change, Cidr, Cluster, Family, Host, HostAddress, Node, Reason, ServiceCidr};

use super::{
    cidr, cluster, config, ip, load_balancer, node_object, reasons, servers, slice, words,
};
use crate::node::node_intent;
use crate::{Config, DetectLocal, LocalTraffic, NodeIntent, NodePortAccept, NodePortAddresses};

fn host(addresses: &[&str]) -> Host {
    let addresses = addresses.iter().map(|text| HostAddress {
        address: ip(text),
        interface: if ip(text).is_loopback() { "lo" } else { "eth0" }.into(),
    });
    Host { addresses: addresses.collect(), conntrack_be_liberal: false }
}

fn blocks(texts: &[&str]) -> Vec<Cidr> {
    texts.iter().map(|text| cidr(text)).collect()
}

fn with_node(node: Node) -> Cluster {
    cluster([Change::Node(node)])
}

#[test]
fn detectors_by_family() {
    use LocalTraffic::{Interface, InterfacePrefix, Source, Unknown};
    let mut node = node_object("alpha", "10.9.0.1", None);
    node.pod_cidrs = blocks(&["10.77.1.0/24", "10.78.1.0/24", "fd77:1::/64"]);
    let only_v4 = Node { pod_cidrs: blocks(&["10.77.1.0/24"]), ..node.clone() };
    let source = |text: &str| Source(cidr(text));
    let by_interface = Interface("br0".into());
    let by_prefix = InterfacePrefix("cali".into());
    let table = [
        (
            DetectLocal::ClusterCidr(blocks(&["10.77.0.0/16", "10.78.0.0/16", "fd77::/48"])),
            Some(&node),
            (source("10.77.0.0/16"), source("fd77::/48")),
        ),
        (
            DetectLocal::ClusterCidr(blocks(&["fd77::/48"])),
            Some(&node),
            (Unknown, source("fd77::/48")),
        ),
        (DetectLocal::ClusterCidr(vec![]), Some(&node), (Unknown, Unknown)),
        (DetectLocal::NodeCidr, Some(&node), (source("10.77.1.0/24"), source("fd77:1::/64"))),
        (DetectLocal::NodeCidr, Some(&only_v4), (source("10.77.1.0/24"), Unknown)),
        (DetectLocal::NodeCidr, None, (Unknown, Unknown)),
        (DetectLocal::BridgeInterface("br0".into()), None, (by_interface.clone(), by_interface)),
        (DetectLocal::InterfaceNamePrefix("cali".into()), None, (by_prefix.clone(), by_prefix)),
        (DetectLocal::Nothing, Some(&node), (Unknown, Unknown)),
    ];
    for (detect_local, node, (v4, v6)) in table {
        let cluster = cluster(node.cloned().map(Change::Node));
        let config = Config { detect_local, ..config() };
        let (intent, _) = node_intent(&cluster, &config);
        assert_eq!(intent.local_traffic[Family::V4], v4, "{:?}", config.detect_local);
        assert_eq!(intent.local_traffic[Family::V6], v6, "{:?}", config.detect_local);
    }
}

const ALL: &[&str] =
    &["127.0.0.1", "10.9.0.1", "192.168.0.2", "192.168.1.2", "::1", "2001:db8::1", "2001:db8:1::2"];

fn node_ports(addresses: NodePortAddresses, localhost: bool, node: Option<Node>) -> NodeIntent {
    let changes = node.into_iter().map(Change::Node).chain([Change::Host(host(ALL))]);
    let config = Config {
        node_port_addresses: addresses,
        localhost_node_ports: localhost,
        ..Config::new("alpha")
    };
    node_intent(&cluster(changes), &config).0
}

/// Which addresses answer, in words: `any`, `any+loopback`, or a list.
fn answers(intent: &NodeIntent, family: Family) -> String {
    match &intent.node_ports[family] {
        NodePortAccept::AnyLocal { loopback: true } => "any+loopback".into(),
        NodePortAccept::AnyLocal { loopback: false } => "any".into(),
        NodePortAccept::Addresses(list) => {
            list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        }
    }
}

#[test]
fn node_port_addresses() {
    // blocks, then with localhostNodePorts: v4, v6, effective
    let table: &[(&[&str], &str, &str, bool)] = &[
        (&[], "any+loopback", "any", true),
        (&["0.0.0.0/0"], "any+loopback", "any", true),
        (&["::/0"], "any+loopback", "any", true),
        (&["0.0.0.0/0", "::/0"], "any+loopback", "any", true),
        (&["192.168.0.0/24"], "192.168.0.2", "any", false),
        (&["192.168.0.0/16"], "192.168.0.2 192.168.1.2", "any", false),
        (&["192.168.0.0/24", "10.9.0.0/16"], "10.9.0.1 192.168.0.2", "any", false),
        (&["192.168.0.0/16", "192.168.0.0/24"], "192.168.0.2 192.168.1.2", "any", false),
        (&["192.168.0.0/24", "0.0.0.0/0"], "any+loopback", "any", true),
        (&["2001:db8::/64"], "any+loopback", "2001:db8::1", true),
        (&["2001:db8::/64", "::1/128"], "any+loopback", "2001:db8::1", true),
        (&["172.16.0.0/16"], "", "any", false),
        (&["127.0.0.0/8"], "127.0.0.1", "any", true),
        (&["127.0.0.1/32", "10.9.0.1/32"], "10.9.0.1 127.0.0.1", "any", true),
        (&["192.168.0.0/24", "2001:db8:1::/64"], "192.168.0.2", "2001:db8:1::2", false),
        (&["0.0.0.0/1", "128.0.0.0/1"], "10.9.0.1 127.0.0.1 192.168.0.2 192.168.1.2", "any", true),
    ];
    for (texts, v4, v6, effective) in table {
        let intent = node_ports(NodePortAddresses::Cidrs(blocks(texts)), true, None);
        assert_eq!(answers(&intent, Family::V4), *v4, "{texts:?}");
        assert_eq!(answers(&intent, Family::V6), *v6, "{texts:?}");
        assert_eq!(intent.localhost_node_ports, *effective, "{texts:?}");
        // Switched off, loopback never answers and all else stays.
        let intent = node_ports(NodePortAddresses::Cidrs(blocks(texts)), false, None);
        let without = v4.replace("any+loopback", "any");
        let without: Vec<_> =
            without.split(' ').filter(|address| *address != "127.0.0.1").collect();
        assert_eq!(answers(&intent, Family::V4), without.join(" "), "{texts:?}");
        assert_eq!(answers(&intent, Family::V6), *v6, "{texts:?}");
        assert!(!intent.localhost_node_ports, "{texts:?}");
    }
    let all = node_ports(NodePortAddresses::All, true, None);
    assert_eq!(answers(&all, Family::V4), "any+loopback");
    assert_eq!(answers(&all, Family::V6), "any");
    assert!(all.localhost_node_ports);
}

/// Loopback addresses that are asked for and do not answer are named.
#[test]
fn refused_loopback_is_named() {
    let config = Config {
        node_port_addresses: NodePortAddresses::Cidrs(blocks(&["127.0.0.0/8", "::1/128"])),
        localhost_node_ports: false,
        ..Config::new("alpha")
    };
    let node = Change::Node(node_object("alpha", "10.9.0.1", None));
    let (_, notices) = node_intent(&cluster([node, Change::Host(host(ALL))]), &config);
    assert_eq!(reasons(&notices), vec![("Node alpha".into(), Reason::Disabled); 2]);
}

/// D7, kubernetes#111863: `primary` is the Node object's address; a family without one accepts all.
#[test]
fn primary_node_port_addresses() {
    let primary = |node| node_ports(NodePortAddresses::Primary, true, node);
    let mut node = node_object("alpha", "10.9.0.1", None);
    let intent = primary(Some(node.clone()));
    assert_eq!(answers(&intent, Family::V4), "10.9.0.1");
    assert_eq!(answers(&intent, Family::V6), "any");
    assert!(!intent.localhost_node_ports, "loopback is not among the primary addresses");
    node.internal_ips.insert(0, ip("2001:db8::1"));
    let intent = primary(Some(node.clone()));
    assert_eq!(answers(&intent, Family::V4), "10.9.0.1");
    assert_eq!(answers(&intent, Family::V6), "2001:db8::1");
    node.internal_ips = vec![ip("127.0.0.1")];
    let intent = primary(Some(node.clone()));
    assert_eq!(answers(&intent, Family::V4), "any+loopback");
    assert!(intent.localhost_node_ports);
    // InternalIP comes before ExternalIP, whichever family is first.
    node.internal_ips = vec![ip("192.168.0.2")];
    node.external_ips = vec![ip("198.51.100.1"), ip("2001:db8:1::2")];
    let intent = primary(Some(node));
    assert_eq!(answers(&intent, Family::V4), "192.168.0.2");
    assert_eq!(answers(&intent, Family::V6), "2001:db8:1::2");
    assert_eq!(answers(&primary(None), Family::V4), "any+loopback");
}

/// `bindAddress` goes over the Node object's address of its family, and over that alone.
#[test]
fn a_configured_address_is_the_nodes_own() {
    let config = Config {
        node_port_addresses: NodePortAddresses::Primary,
        own_address: Some(ip("10.9.5.7")),
        ..config()
    };
    let mut node = node_object("alpha", "10.9.0.1", None);
    node.internal_ips.push(ip("2001:db8::1"));
    let (intent, _) = node_intent(&with_node(node), &config);
    assert_eq!(answers(&intent, Family::V4), "10.9.5.7");
    assert_eq!(answers(&intent, Family::V6), "2001:db8::1");
    let (intent, _) = node_intent(&Cluster::default(), &config);
    assert_eq!(answers(&intent, Family::V4), "10.9.5.7");
    let facts = crate::node::node_facts(&Cluster::default(), &config);
    assert_eq!(facts.addresses[Family::V4], Some(ip("10.9.5.7")));
    assert_eq!(facts.addresses[Family::V6], None);
}

#[test]
fn drop_invalid_unless_liberal() {
    for liberal in [false, true] {
        let host = Host { conntrack_be_liberal: liberal, ..host(&[]) };
        let (intent, _) = node_intent(&cluster([Change::Host(host)]), &config());
        assert_eq!(intent.drop_invalid, !liberal);
    }
}

/// Two ServiceCIDR objects may share a block; it stays until both are gone.
#[test]
fn service_cidrs_by_family() {
    let object = |name: &str, texts| ServiceCidr { name: name.into(), cidrs: blocks(texts) };
    let mut cluster = cluster([
        Change::ServiceCidr(object("kubernetes", &["10.88.0.0/16", "fd88::/112"])),
        Change::ServiceCidr(object("more", &["10.88.0.0/16", "10.89.0.0/16"])),
    ]);
    let v4 = |cluster: &Cluster| {
        let (intent, _) = node_intent(cluster, &config());
        assert!(intent.service_cidrs[Family::V6].iter().all(|c| Family::of_cidr(c) == Family::V6));
        intent.service_cidrs[Family::V4].iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(v4(&cluster), ["10.88.0.0/16", "10.89.0.0/16"]);
    cluster.apply(Change::ServiceCidrGone("kubernetes".into()));
    assert_eq!(v4(&cluster), ["10.88.0.0/16", "10.89.0.0/16"]);
    cluster.apply(Change::ServiceCidrGone("more".into()));
    assert!(v4(&cluster).is_empty());
}

#[test]
fn missing_node_is_named_until_it_comes() {
    let (_, notices) = node_intent(&Cluster::default(), &config());
    assert_eq!(reasons(&notices), [("Node alpha".into(), Reason::NodeMissing)]);
    let other = with_node(node_object("beta", "10.9.0.2", None));
    assert_eq!(node_intent(&other, &config()).1.len(), 1);
    let own = with_node(node_object("alpha", "10.9.0.1", None));
    assert!(node_intent(&own, &config()).1.is_empty());
}

/// NodeCIDR mode learns late what a Pod is; the Services follow.
#[test]
fn pod_cidr_that_comes_late() {
    let config = Config { detect_local: DetectLocal::NodeCidr, ..Config::new("alpha") };
    let mut object = load_balancer("ns/a", "10.88.0.1", "203.0.113.4");
    object.external_traffic_policy = model::TrafficPolicy::Local;
    let far = slice("ns/a", "1", 80, &["10.77.2.4@beta R"]);
    let mut cluster = cluster([Change::Service(object), Change::Slice(far)]);
    let routes = |cluster: &Cluster| {
        let (intent, _) = crate::plan(cluster, &config);
        let frontends = &servers(&intent, "ns/a")[0].frontends;
        (words(frontends[0].routes), words(frontends[1].routes))
    };
    let (internal, external) = routes(&cluster);
    assert_eq!(internal, ["cluster"; 3]);
    assert_eq!(external, ["drop no local", "cluster+masq", "drop no local"]);
    let mut node = node_object("alpha", "10.9.0.1", None);
    node.pod_cidrs = blocks(&["10.77.1.0/24"]);
    cluster.apply(Change::Node(node));
    let (internal, external) = routes(&cluster);
    assert_eq!(internal, ["cluster", "cluster+masq", "cluster+masq"]);
    assert_eq!(external, ["cluster", "cluster+masq", "drop no local"]);
}
