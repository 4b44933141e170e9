//! Names of chains: the wire contract with kube-proxy's rules and all that reads them.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;

use data_encoding::BASE32;
use model::{Direction, Family, PortName};
use plan::policy::{ClassKey, NamedPortsKey, SetKey};
use sha2::{Digest, Sha256};

use super::Table;

/// Where packets for virtual addresses are sorted by address and port.
pub const KUBE_SERVICES: &str = "KUBE-SERVICES";
/// Where packets from outside that nobody can take are refused.
pub const KUBE_EXTERNAL_SERVICES: &str = "KUBE-EXTERNAL-SERVICES";
/// In `nat`: NodePorts. In `filter`: health check NodePorts.
pub const KUBE_NODEPORTS: &str = "KUBE-NODEPORTS";
/// Where packets that source ranges do not allow are dropped.
pub const KUBE_PROXY_FIREWALL: &str = "KUBE-PROXY-FIREWALL";
/// Where forwarded packets of known connections are let through.
pub const KUBE_FORWARD: &str = "KUBE-FORWARD";
/// Keeps other hosts away from loopback addresses. kubelet makes a chain of this name too, so it
/// is filled where we need it and never deleted.
pub const KUBE_FIREWALL: &str = "KUBE-FIREWALL";
/// Where marked packets are masqueraded.
pub const KUBE_POSTROUTING: &str = "KUBE-POSTROUTING";
/// Marks a packet for masquerading.
pub const KUBE_MARK_MASQ: &str = "KUBE-MARK-MASQ";
/// kube-proxy makes this chain to learn of flushes. We listen to the kernel instead and only clean
/// it up.
pub const KUBE_PROXY_CANARY: &str = "KUBE-PROXY-CANARY";

/// Chains that every owner may put rules into; they exist from the first write on, even empty.
pub const SHARED: [(Table, &str); 6] = [
    (Table::Filter, KUBE_EXTERNAL_SERVICES),
    (Table::Filter, KUBE_NODEPORTS),
    (Table::Filter, KUBE_PROXY_FIREWALL),
    (Table::Filter, KUBE_SERVICES),
    (Table::Nat, KUBE_NODEPORTS),
    (Table::Nat, KUBE_SERVICES),
];

/// Chains that are always there and the node's alone. (`KUBE-FIREWALL` is there at times.)
pub const FIXED: [(Table, &str); 3] =
    [(Table::Filter, KUBE_FORWARD), (Table::Nat, KUBE_MARK_MASQ), (Table::Nat, KUBE_POSTROUTING)];

/// The starts of the names of chains that come and go, all in `nat`.
pub const DYNAMIC_PREFIXES: [&str; 5] =
    ["KUBE-SVC-", "KUBE-SVL-", "KUBE-FW-", "KUBE-EXT-", "KUBE-SEP-"];

/// The nfacct counter of forwarded packets that are dropped for being INVALID.
pub const INVALID_COUNTER: &str = "ct_state_invalid_dropped_pkts";
/// The nfacct counter of packets to NodePorts on loopback addresses.
pub const LOCALHOST_COUNTER: &str = "localhost_nps_accepted_pkts";
/// The counters that must exist before rules may name them
/// ([`Options::nfacct`](super::Options::nfacct)).
pub const NFACCT_COUNTERS: [&str; 2] = [INVALID_COUNTER, LOCALHOST_COUNTER];

/// The chain that balances among the endpoints of the cluster.
#[must_use]
pub fn svc(port: &PortName) -> Arc<str> {
    of_port("KUBE-SVC-", port)
}

/// The chain that balances among the endpoints of this node.
#[must_use]
pub fn svl(port: &PortName) -> Arc<str> {
    of_port("KUBE-SVL-", port)
}

/// The chain that lets the allowed source ranges through to [`ext`].
#[must_use]
pub fn fw(port: &PortName) -> Arc<str> {
    of_port("KUBE-FW-", port)
}

/// The chain for packets to external addresses and NodePorts.
#[must_use]
pub fn ext(port: &PortName) -> Arc<str> {
    of_port("KUBE-EXT-", port)
}

/// The chain that translates to one endpoint; also the name of its list of remembered clients.
#[must_use]
pub fn sep(port: &PortName, endpoint: SocketAddr) -> Arc<str> {
    hashed("KUBE-SEP-", format_args!("{port}{}{endpoint}", port.protocol.lower()))
}

/// The start of the names of chains and sets for network policies. Neither kube-proxy nor a network
/// plugin uses it.
pub const POLICY_PREFIX: &str = "PM-";
/// Where packets that the node forwards are judged by policies.
pub const PM_FORWARD: &str = "PM-FORWARD";
/// Where packets for the node itself are judged by the policies of their sender.
pub const PM_INPUT: &str = "PM-INPUT";
/// Where TCP goes that is neither of a known connection nor the first segment of a new one.
pub const PM_LOOSE: &str = "PM-LOOSE";
/// Addresses of this node's blocks that are known.
pub const PM_KNOWN: &str = "PM-KNOWN";
/// Addresses that are held back by now.
pub const PM_HELD: &str = "PM-HELD";
/// Addresses that have been held back since they became unknown.
pub const PM_SEEN: &str = "PM-SEEN";

/// A direction's word in names.
fn word(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "INGRESS",
        Direction::Egress => "EGRESS",
    }
}

/// Where packets are judged in a direction.
#[must_use]
pub fn judge(direction: Direction) -> Arc<str> {
    format!("PM-{}", word(direction)).into()
}

/// Where packets of judged addresses are led to the rules of their class.
#[must_use]
pub fn classes(direction: Direction) -> Arc<str> {
    format!("PM-{}-CLASSES", word(direction)).into()
}

/// Where what a direction forbids is dropped and counted.
#[must_use]
pub fn deny(direction: Direction) -> Arc<str> {
    format!("PM-{}-DENY", word(direction)).into()
}

/// Where packets of unknown addresses are held back.
#[must_use]
pub fn hold(direction: Direction) -> Arc<str> {
    format!("PM-{}-HOLD", word(direction)).into()
}

/// The chain with a class's rules; also the start of the name of the set of its addresses.
#[must_use]
pub fn class(key: &ClassKey) -> Arc<str> {
    let prefix = match key.direction {
        Direction::Ingress => "PM-I-",
        Direction::Egress => "PM-E-",
    };
    hashed(prefix, key)
}

/// Whether a chain holds rules of a class.
#[must_use]
pub fn is_of_class(chain: &str) -> bool {
    chain.starts_with("PM-I-") || chain.starts_with("PM-E-")
}

/// The set of one family: sets of both share their names' space.
#[must_use]
pub fn set(name: &str, family: Family) -> Arc<str> {
    let family = match family {
        Family::V4 => 4,
        Family::V6 => 6,
    };
    format!("{name}-{family}").into()
}

/// The set of the addresses that rules name.
#[must_use]
pub fn peers(key: &SetKey, family: Family) -> Arc<str> {
    let prefix = match key {
        SetKey::Pods(_) => "PM-PODS-",
        SetKey::Nodes(_) => "PM-NODES-",
    };
    set(&hashed(prefix, key), family)
}

/// The set of the ports that go by a name.
#[must_use]
pub fn ports(key: &NamedPortsKey, family: Family) -> Arc<str> {
    set(&hashed("PM-PORTS-", key), family)
}

/// The set of blocks that a rule names; the same blocks are the same set.
#[must_use]
pub fn blocks(words: &str, family: Family) -> Arc<str> {
    set(&hashed("PM-NETS-", words), family)
}

/// Whether a chain is one of those that come and go. They are ours in `nat` alone.
#[must_use]
pub fn is_dynamic(name: &str) -> bool {
    DYNAMIC_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether a chain belongs to the proxy, ours or kube-proxy's, so that nobody misses it after a
/// cleanup. `KUBE-FIREWALL` is not counted: kubelet relies on it.
#[must_use]
pub fn is_ours(table: Table, name: &str) -> bool {
    name == KUBE_PROXY_CANARY
        || SHARED.contains(&(table, name))
        || FIXED.contains(&(table, name))
        || (table == Table::Nat && is_dynamic(name))
        || (table == Table::Filter && name.starts_with(POLICY_PREFIX))
}

fn of_port(prefix: &str, port: &PortName) -> Arc<str> {
    hashed(prefix, format_args!("{port}{}", port.protocol.lower()))
}

/// The prefix and the first 16 characters of the base32 text of the SHA-256 hash: chain names have
/// at most 28 bytes.
fn hashed(prefix: &str, identity: impl Display) -> Arc<str> {
    let digest = Sha256::digest(identity.to_string());
    // Ten bytes are exactly sixteen characters.
    format!("{prefix}{}", BASE32.encode(&digest[..10])).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{NamespacedName, Protocol};

    fn tcp(namespace: &str, name: &str, port: &str) -> PortName {
        PortName {
            service: NamespacedName::new(namespace, name),
            port: port.into(),
            protocol: Protocol::Tcp,
        }
    }

    #[test]
    fn names_are_those_of_kube_proxy() {
        for (number, hash) in [
            (1, "XPGD46QRK7WJZT7O"),
            (2, "GNZBNJ2PO5MGZ6GT"),
            (3, "X27LE4BHSL4DOUIK"),
            (4, "4SW47YFZTEDKD3PK"),
            (5, "NUKIZ6OKUXPJNT4C"),
        ] {
            let port = tcp(&format!("ns{number}"), &format!("svc{number}"), "p80");
            assert_eq!(*svc(&port), format!("KUBE-SVC-{hash}"));
            assert_eq!(*svl(&port), format!("KUBE-SVL-{hash}"));
            assert_eq!(*fw(&port), format!("KUBE-FW-{hash}"));
            assert_eq!(*ext(&port), format!("KUBE-EXT-{hash}"));
        }
        let first = sep(&tcp("ns1", "svc1", "p80"), "10.180.0.1:80".parse().unwrap());
        assert_eq!(&*first, "KUBE-SEP-SXIVWICOYRO3J4NJ");
        let fifth = sep(&tcp("ns5", "svc5", "p80"), "10.180.0.3:80".parse().unwrap());
        assert_eq!(&*fifth, "KUBE-SEP-I77PXRDZVX7PMWMN");
    }

    #[test]
    fn every_part_of_the_identity_makes_another_name() {
        let base = tcp("ns", "svc", "");
        let mut udp = base.clone();
        udp.protocol = Protocol::Udp;
        let names = [svc(&base), svc(&udp), svc(&tcp("ns", "svc", "p")), svc(&tcp("n", "svc", ""))];
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
        let (four, six) = ("10.0.0.1:80".parse().unwrap(), "[fd00::1]:80".parse().unwrap());
        assert_ne!(sep(&base, four), sep(&base, six));
        assert!(sep(&base, six).len() <= 28);
    }

    #[test]
    fn ours_are_exactly_the_chains_that_cleanup_removes() {
        for name in [KUBE_SERVICES, KUBE_NODEPORTS, KUBE_POSTROUTING, KUBE_MARK_MASQ] {
            assert!(is_ours(Table::Nat, name), "{name}");
        }
        for name in [
            KUBE_SERVICES,
            KUBE_EXTERNAL_SERVICES,
            KUBE_FORWARD,
            KUBE_NODEPORTS,
            KUBE_PROXY_FIREWALL,
        ] {
            assert!(is_ours(Table::Filter, name), "{name}");
        }
        for table in [Table::Filter, Table::Nat, Table::Mangle] {
            assert!(is_ours(table, KUBE_PROXY_CANARY));
            for foreign in [
                KUBE_FIREWALL,
                "KUBE-KUBELET-CANARY",
                "KUBE-IPTABLES-HINT",
                "KUBE-ROUTER-INPUT",
                "DOCKER",
                "PREROUTING",
            ] {
                assert!(!is_ours(table, foreign), "{table} {foreign}");
            }
        }
        assert!(is_ours(Table::Nat, "KUBE-SEP-SXIVWICOYRO3J4NJ"));
        assert!(!is_ours(Table::Filter, "KUBE-SEP-SXIVWICOYRO3J4NJ"));
        assert!(!is_ours(Table::Filter, KUBE_POSTROUTING));
    }
}
