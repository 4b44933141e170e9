//! Detectors, node addresses and node port addresses, family by family.

use config::detect_node_ips;
use model::Family;
use plan::{DetectLocal, NodePortAddresses};

use crate::{by_file, by_flags, faults};

fn blocks(texts: &[&str]) -> Vec<model::Cidr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn every_detector_with_every_family() {
    for (fields, expected) in [
        ("", DetectLocal::Nothing),
        ("clusterCIDR: ''", DetectLocal::Nothing),
        ("clusterCIDR: 10.0.0.0/14", DetectLocal::ClusterCidr(blocks(&["10.0.0.0/14"]))),
        (
            "detectLocalMode: ClusterCIDR\nclusterCIDR: 2002:0:0:1234::/64",
            DetectLocal::ClusterCidr(blocks(&["2002:0:0:1234::/64"])),
        ),
        (
            "clusterCIDR: 10.0.0.0/14,2002:0:0:1234::/64",
            DetectLocal::ClusterCidr(blocks(&["10.0.0.0/14", "2002:0:0:1234::/64"])),
        ),
        (
            "clusterCIDR: 2002:0:0:1234::/64,10.0.0.0/14",
            DetectLocal::ClusterCidr(blocks(&["2002:0:0:1234::/64", "10.0.0.0/14"])),
        ),
        ("clusterCIDR: 10.1.2.3/14", DetectLocal::ClusterCidr(blocks(&["10.0.0.0/14"]))),
        ("detectLocalMode: NodeCIDR", DetectLocal::NodeCidr),
        // Another mode does not look at clusterCIDR.
        ("detectLocalMode: NodeCIDR\nclusterCIDR: nonsense", DetectLocal::NodeCidr),
        (
            "detectLocalMode: BridgeInterface\ndetectLocal: {bridgeInterface: cbr0}",
            DetectLocal::BridgeInterface("cbr0".into()),
        ),
        (
            "detectLocalMode: InterfaceNamePrefix\ndetectLocal: {interfaceNamePrefix: eth}",
            DetectLocal::InterfaceNamePrefix("eth".into()),
        ),
    ] {
        let (meant, _) = by_file(fields, &[]).unwrap();
        assert_eq!(meant.routing.detect_local, expected, "{fields}");
    }
}

#[test]
fn node_addresses_by_node_and_bind_address() {
    for (bind, node, primary, v4, v6) in [
        ("0.0.0.0", &[][..], Family::V4, "127.0.0.1", "::1"),
        ("::", &[], Family::V4, "127.0.0.1", "::1"),
        ("0.0.0.0", &["192.168.0.2"], Family::V4, "192.168.0.2", "::1"),
        ("::", &["192.168.0.2"], Family::V4, "192.168.0.2", "::1"),
        ("0.0.0.0", &["fd00:1::2"], Family::V6, "127.0.0.1", "fd00:1::2"),
        ("::", &["fd00:1::2"], Family::V6, "127.0.0.1", "fd00:1::2"),
        ("0.0.0.0", &["192.168.0.2", "fd00:1::2"], Family::V4, "192.168.0.2", "fd00:1::2"),
        ("::", &["fd00:1::2", "192.168.0.2"], Family::V6, "192.168.0.2", "fd00:1::2"),
        ("0.0.0.0", &["10.0.0.1", "10.0.0.2"], Family::V4, "10.0.0.1", "::1"),
        ("80.80.80.80", &["192.168.0.2"], Family::V4, "80.80.80.80", "::1"),
        ("2001:db8::1", &["192.168.0.2"], Family::V6, "192.168.0.2", "2001:db8::1"),
        ("2001:db8::1", &["fd00:1::2"], Family::V6, "127.0.0.1", "2001:db8::1"),
        ("80.80.80.80", &["fd00:1::2", "192.168.0.2"], Family::V4, "80.80.80.80", "fd00:1::2"),
        ("80.80.80.80", &[], Family::V4, "80.80.80.80", "::1"),
    ] {
        let addresses: Vec<_> = node.iter().map(|text| text.parse().unwrap()).collect();
        let ips = detect_node_ips(bind.parse().unwrap(), &addresses);
        assert_eq!(ips.primary, primary, "{bind} {node:?}");
        assert_eq!((ips.v4.to_string(), ips.v6.to_string()), (v4.into(), v6.into()), "{bind}");
    }
}

#[test]
fn node_port_addresses_are_parsed() {
    for (words, expected) in [
        ("[]", NodePortAddresses::All),
        ("null", NodePortAddresses::All),
        ("[primary]", NodePortAddresses::Primary),
        ("[10.0.0.0/8]", NodePortAddresses::Cidrs(blocks(&["10.0.0.0/8"]))),
        ("[10.1.0.0/8]", NodePortAddresses::Cidrs(blocks(&["10.0.0.0/8"]))),
        ("['::/0']", NodePortAddresses::Cidrs(blocks(&["::/0"]))),
        ("[0.0.0.0/0, '::/0']", NodePortAddresses::Cidrs(blocks(&["0.0.0.0/0", "::/0"]))),
        (
            "[127.0.0.1/32, '::1/128']",
            NodePortAddresses::Cidrs(blocks(&["127.0.0.1/32", "::1/128"])),
        ),
        ("[10.0.0.0/8, fd00::/8]", NodePortAddresses::Cidrs(blocks(&["10.0.0.0/8", "fd00::/8"]))),
    ] {
        let (meant, _) = by_file(&format!("nodePortAddresses: {words}"), &[]).unwrap();
        assert_eq!(meant.routing.node_port_addresses, expected, "{words}");
    }
    for words in ["[primary, 10.0.0.0/8]", "[10.0.0.0]", "[''] ", "[010.0.0.0/8]", "[10.0.0.0/33]"]
    {
        let faults = faults(by_file(&format!("nodePortAddresses: {words}"), &[]));
        assert!(faults[0].starts_with("nodePortAddresses: "), "{words}: {faults:?}");
    }
    // By flag, an empty word says nothing.
    let (meant, _) = by_flags(&["--nodeport-addresses="]).unwrap();
    assert_eq!(meant.routing.node_port_addresses, NodePortAddresses::All);
}

#[test]
fn loopback_is_routed_where_node_ports_may_answer_there() {
    for (words, expected) in [
        ("[]", true),
        ("[127.0.0.0/8]", true),
        ("[127.0.0.1/32]", true),
        ("[0.0.0.0/0]", true),
        ("[224.0.0.0/24, 192.168.0.0/16, fd00::/64, 126.0.0.0/7]", true),
        ("['::/0', fd00::/64]", true),
        ("[10.0.0.0/8]", false),
        ("[192.168.0.0/16, '::1/128']", false),
        ("[primary]", false),
    ] {
        let said = |more: &str| format!("nodePortAddresses: {words}\n{more}");
        let localnet = |fields: String| by_file(&fields, &[]).unwrap().0.route_localnet;
        assert_eq!(localnet(said("")), expected, "{words}");
        assert!(!localnet(said("iptables: {localhostNodePorts: false}")), "{words}");
        assert!(!localnet(said("mode: nftables")), "{words}");
    }
}
