//! What else there is on a host: legacy tables, settings, counters.

use model::Family;
use sync::legacy::{self, LegacyTable, Tool};
use sync::{nfacct, sysctl};

use crate::namespace::{sh, within};

#[test]
fn legacy_tables_are_counted_and_named() {
    within(|| {
        assert_eq!(legacy::survey().unwrap().tables, []);
        sh("iptables-legacy -t nat -N KUBE-SERVICES
            iptables-legacy -t nat -N KUBE-SVC-XPGD46QRK7WJZT7O
            iptables-legacy -t nat -N EMPTY
            iptables-legacy -t nat -A PREROUTING -m comment --comment x -j KUBE-SERVICES
            iptables-legacy -t nat -A KUBE-SERVICES -d 10.96.0.1 -p tcp -m tcp --dport 443 \
                -j KUBE-SVC-XPGD46QRK7WJZT7O
            iptables-legacy -t nat -A KUBE-SERVICES -d 10.96.0.2 -j RETURN
            iptables-legacy -t mangle -N KUBE-IPTABLES-HINT
            iptables-legacy -t mangle -A KUBE-IPTABLES-HINT -p tcp
            ip6tables-legacy -A FORWARD -p tcp -m multiport --dports 1,2 -j DROP
            ip6tables-legacy -A FORWARD -j ACCEPT");
        let report = legacy::survey().unwrap();
        let table = |family, name: &str| -> &LegacyTable {
            let mut tables = report.tables.iter();
            tables.find(|table| table.family == family && table.name == name).unwrap()
        };
        let counts = |family, name| -> Vec<(String, usize)> {
            table(family, name).chains.clone().into_iter().collect()
        };
        let expected = |counts: &[(&str, usize)]| -> Vec<(String, usize)> {
            counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
        };
        assert_eq!(
            counts(Family::V4, "nat"),
            expected(&[
                ("EMPTY", 0),
                ("INPUT", 0),
                ("KUBE-SERVICES", 2),
                ("KUBE-SVC-XPGD46QRK7WJZT7O", 0),
                ("OUTPUT", 0),
                ("POSTROUTING", 0),
                ("PREROUTING", 1),
            ])
        );
        assert_eq!(
            counts(Family::V6, "filter"),
            expected(&[("FORWARD", 2), ("INPUT", 0), ("OUTPUT", 0)])
        );
        assert_eq!(table(Family::V4, "mangle").kubelet_chains().count(), 1);
        assert_eq!(table(Family::V4, "nat").proxy_chains().count(), 2);
        assert_eq!(table(Family::V6, "filter").foreign_rules(), 2);
        assert!(report.needs_attention());
        let text = report.to_string();
        assert!(
            text.contains("legacy IPv4 table nat: 2 chains of kube-proxy (KUBE-SERVICES"),
            "{text}"
        );
        assert!(text.contains("legacy IPv4 table mangle: kubelet keeps its chain"), "{text}");
        assert!(text.contains("legacy IPv6 table filter: 2 rules of others"), "{text}");
    });
}

#[test]
fn an_empty_legacy_table_is_harmless() {
    within(|| {
        sh("iptables-legacy -t nat -S; ip6tables-legacy -t raw -S");
        let report = legacy::survey().unwrap();
        assert_eq!(report.tables.len(), 2);
        assert_eq!(report.needs_attention(), report.tool == Tool::Legacy);
        assert!(report.to_string().contains("legacy IPv6 table raw: no rules"), "{report}");
    });
}

#[test]
fn the_command_is_recognised_as_its_version_says() {
    let version = sh("iptables --version");
    within(move || {
        let nft = version.contains("nf_tables");
        let tool = legacy::survey().unwrap().tool;
        assert_eq!(tool, if nft { Tool::Nft } else { Tool::Legacy });
    });
}

#[test]
fn settings_are_those_of_the_namespace() {
    within(|| {
        assert_eq!(sysctl::read(sysctl::ROUTE_LOCALNET).unwrap(), "0");
        sysctl::write(sysctl::ROUTE_LOCALNET, "1").unwrap();
        assert_eq!(sh("cat /proc/sys/net/ipv4/conf/all/route_localnet"), "1\n");
        assert!(!sysctl::conntrack_tcp_be_liberal().unwrap());
        sysctl::write(sysctl::CONNTRACK_TCP_BE_LIBERAL, "1").unwrap();
        assert!(sysctl::conntrack_tcp_be_liberal().unwrap());
        let error = sysctl::write(sysctl::ROUTE_LOCALNET, "many").unwrap_err().to_string();
        assert!(error.contains("write \"many\" to /proc/sys/net/ipv4/conf/all/"), "{error}");
        let error = sysctl::read("net/none").unwrap_err().to_string();
        assert!(error.contains("read /proc/sys/net/none: No such file"), "{error}");
    });
}

#[test]
fn counters_are_made_once_and_go_on_counting() {
    within(|| {
        assert!(nfacct::supported().unwrap());
        nfacct::ensure(["one", "two"]).unwrap();
        sh("iptables -A OUTPUT -p udp -m nfacct --nfacct-name one; ip link set lo up");
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(b"one", socket.local_addr().unwrap()).unwrap();
        nfacct::ensure(["one", "three"]).unwrap();
        assert_eq!(nfacct::packets("one").unwrap(), Some(1));
        assert_eq!(nfacct::packets("two").unwrap(), Some(0));
        assert_eq!(nfacct::packets("none").unwrap(), None);
        // The match finds a counter only where there is one.
        sh("iptables -A OUTPUT -m nfacct --nfacct-name three");
        sh("! iptables -A OUTPUT -m nfacct --nfacct-name four 2>&1");
        let error = nfacct::ensure(["a name of thirty-two characters!"]).unwrap_err().to_string();
        assert!(error.contains("1 to 31 bytes"), "{error}");
    });
}

#[test]
fn an_address_is_put_on_loopback_once_and_is_never_a_source() {
    within(|| {
        sh("ip link set lo up");
        for address in ["169.254.20.10", "fd53::10"] {
            let address: std::net::IpAddr = address.parse().unwrap();
            std::net::UdpSocket::bind((address, 0)).unwrap_err();
            sync::address::add_to_loopback(address).unwrap();
            std::net::UdpSocket::bind((address, 0)).unwrap();
            // What is there already is no error, and is not there twice.
            sync::address::add_to_loopback(address).unwrap();
        }
        let shown = sh("ip -o address show dev lo");
        let lines = |text: &str| shown.lines().filter(|line| line.contains(text)).count();
        assert_eq!(lines("inet 169.254.20.10/32 scope host lo"), 1, "{shown}");
        assert_eq!(lines("inet6 fd53::10/128 scope global nodad deprecated"), 1, "{shown}");
        assert!(!shown.contains("tentative"), "{shown}");
    });
}
