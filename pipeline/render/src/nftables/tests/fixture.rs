//! Intents written by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use model::{Family, NamespacedName, PortName, Protocol};
use plan::{
    Backend, Frontend, FrontendKind, Intent, LocalTraffic, NodeIntent, NodePortAccept, PerFamily,
    PoolName, Refusal, Refuse, Route, Routes, VirtualServer,
};

use super::super::{Error, Options, Part, Ruleset, owner, ruleset};

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A node with Pods in 10.244.0.0/16 and fd44::/48.
pub(super) fn node() -> NodeIntent {
    NodeIntent {
        node: "alpha".into(),
        local_traffic: PerFamily {
            ipv4: LocalTraffic::Source("10.244.0.0/16".parse().unwrap()),
            ipv6: LocalTraffic::Source("fd44::/48".parse().unwrap()),
        },
        node_ports: PerFamily {
            ipv4: NodePortAccept::Addresses(BTreeSet::from([ip("192.168.56.101")])),
            ipv6: NodePortAccept::Addresses(BTreeSet::from([ip("fd56::101")])),
        },
        localhost_node_ports: false,
        drop_invalid: false,
        service_cidrs: PerFamily {
            ipv4: BTreeSet::from(["10.96.0.0/16".parse().unwrap()]),
            ipv6: BTreeSet::from(["fd96::/112".parse().unwrap()]),
        },
    }
}

pub(super) fn intent(servers: Vec<VirtualServer>) -> Intent {
    let mut by_owner: BTreeMap<NamespacedName, Vec<VirtualServer>> = BTreeMap::new();
    for server in servers {
        by_owner.entry(server.name.service.clone()).or_default().push(server);
    }
    let servers = by_owner.into_iter().map(|(name, servers)| (name, servers.into()));
    Intent { node: Arc::new(node()), servers: servers.collect(), policy: Default::default() }
}

pub(super) fn rendered(servers: Vec<VirtualServer>) -> Ruleset {
    let (ruleset, left_out) = ruleset(&intent(servers), &Options::default());
    assert_eq!(left_out, BTreeMap::new());
    ruleset
}

/// `default/NAME:http`, with backends in its cluster pool.
pub(super) fn server(name: &str, backends: &[&str]) -> VirtualServer {
    let backends: Vec<Backend> = backends
        .iter()
        .map(|text| Backend { address: text.parse().unwrap(), local: true, unplaced: false })
        .collect();
    let service = NamespacedName::new("default", name);
    let name = PortName { service, port: "http".into(), protocol: Protocol::Tcp };
    let family = backends.first().map_or(Family::V4, |one| Family::of(one.address.ip()));
    VirtualServer {
        name,
        family,
        frontends: Vec::new(),
        cluster: backends.into(),
        local: Arc::new([]),
        affinity_seconds: None,
        health_check_node_port: None,
    }
}

pub(super) fn with(mut server: VirtualServer, frontend: Frontend) -> VirtualServer {
    server.frontends.push(frontend);
    server
}

pub(super) fn local(mut server: VirtualServer, backends: &[&str]) -> VirtualServer {
    let address = |text: &&str| text.parse::<SocketAddr>().unwrap();
    let backends = backends.iter().map(|text| Backend {
        address: address(text),
        local: true,
        unplaced: false,
    });
    server.local = backends.collect();
    server
}

pub(super) fn sticky(mut server: VirtualServer, seconds: u32) -> VirtualServer {
    server.affinity_seconds = Some(seconds);
    server
}

pub(super) fn udp(mut server: VirtualServer) -> VirtualServer {
    server.name.protocol = Protocol::Udp;
    server
}

pub(super) fn deliver(pool: PoolName, masquerade: bool) -> Route {
    Route::Deliver { pool, masquerade }
}

pub(super) fn refuse(why: Refusal, with: Refuse) -> Routes {
    Routes::all(Route::Refuse { why, with })
}

/// Everybody by the cluster pool, and masqueraded unless a Pod.
pub(super) fn cluster_policy() -> Routes {
    let elsewhere = deliver(PoolName::Cluster, true);
    Routes { pod: deliver(PoolName::Cluster, false), node: elsewhere, outside: elsewhere }
}

/// The cluster by the cluster pool, outsiders by the local pool with their own address.
pub(super) fn local_policy() -> Routes {
    Routes { outside: deliver(PoolName::Local, false), ..cluster_policy() }
}

pub(super) fn at(kind: FrontendKind, address: &str, port: u16, routes: Routes) -> Frontend {
    let address = (kind != FrontendKind::NodePort).then(|| ip(address));
    Frontend { kind, address, port, sources: None, routes }
}

pub(super) fn cluster_ip(address: &str, routes: Routes) -> Frontend {
    at(FrontendKind::ClusterIP, address, 80, routes)
}

pub(super) fn node_port(port: u16, routes: Routes) -> Frontend {
    at(FrontendKind::NodePort, "", port, routes)
}

/// One Service of every kind, in both families.
pub(super) fn everything() -> Vec<VirtualServer> {
    let reject = refuse(Refusal::NoEndpoints, Refuse::Reject);
    let nobody_here = Route::Refuse { why: Refusal::NoLocalEndpoints, with: Refuse::Drop };
    let always = Routes::all(deliver(PoolName::Cluster, true));
    let mut all = Vec::new();
    for (net, pods, lb) in
        [("10.96.0.", "10.244.1.", "203.0.113."), ("fd96::", "fd44::1:", "2001:db8::")]
    {
        let six = pods.contains(':');
        let pod = |last: &str| match six {
            true => format!("[{pods}{last}]:8080"),
            false => format!("{pods}{last}:8080"),
        };
        let (a, b, c) = (pod("10"), pod("11"), pod("12"));
        let three = [a.as_str(), &b, &c];
        let vip = |last: &str| format!("{net}{last}");
        let mut guarded = at(FrontendKind::LoadBalancerIP, &format!("{lb}1"), 80, local_policy());
        let ranges = if six {
            ["2001:db8:7::/48", "fd44::/48"]
        } else {
            ["198.51.100.0/24", "10.244.0.0/16"]
        };
        guarded.sources = Some(ranges.map(|range| range.parse().unwrap()).into());
        let web = with(server("web", &three), cluster_ip(&vip("10"), cluster_policy()));
        all.push(with(web, node_port(30080, always)));
        let edge = local(server("edge", &three), &[&a]);
        let edge = with(edge, cluster_ip(&vip("20"), cluster_policy()));
        all.push(with(with(edge, guarded), node_port(30090, local_policy())));
        let nobody = with(server("nobody", &[&b]), cluster_ip(&vip("30"), cluster_policy()));
        let routes = Routes { outside: nobody_here, ..cluster_policy() };
        all.push(with(nobody, node_port(30100, routes)));
        let mut empty = with(server("empty", &[]), cluster_ip(&vip("40"), reject));
        empty.family = if six { Family::V6 } else { Family::V4 };
        all.push(with(udp(empty), node_port(30110, reject)));
    }
    all
}

/// The same with session affinity, on other addresses, for IPv4.
pub(super) fn sticky_everything() -> Vec<VirtualServer> {
    let three = ["10.244.1.10:8080", "10.244.1.11:8080", "10.244.1.12:8080"];
    let server = local(sticky(server("sticky", &three), 10_800), &three[..1]);
    let server = with(server, cluster_ip("10.96.0.50", cluster_policy()));
    vec![with(server, node_port(30_120, local_policy()))]
}

/// The part of an owner of this one server.
pub(super) fn part_of(server: VirtualServer) -> Result<Part, Error> {
    owner(&node(), &[server], &Options::default())
}
