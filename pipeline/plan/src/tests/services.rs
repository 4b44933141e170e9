//! BuildServiceMap and servicechangetracker: which Services count, in which families.

use model::{
    Affinity, Change, Family, Protocol, Reason, Service, ServicePort, ServiceType, TrafficPolicy,
};

use super::{ip, load_balancer, planned, port, reached, reasons, servers, service, slice, words};

fn tcp_and_udp() -> Vec<ServicePort> {
    vec![port("p1", 1234), ServicePort { protocol: Protocol::Udp, ..port("p2", 1235) }]
}

#[test]
fn build_service_map_add_remove() {
    let mut cluster_ip = service("ns/cluster-ip", &["10.88.0.1"]);
    cluster_ip.ports = tcp_and_udp();
    let mut node_port = service("ns/node-port", &["10.88.0.2"]);
    node_port.service_type = ServiceType::NodePort;
    node_port.ports = vec![ServicePort { node_port: Some(30345), ..port("p", 345) }];
    let balanced = load_balancer("ns/load-balancer", "10.88.0.3", "203.0.113.4");
    let list = vec![cluster_ip.clone(), node_port, balanced];
    let mut cluster = super::cluster([super::alpha(), Change::Services(list)]);
    let (intent, notices) = crate::plan(&cluster, &super::config());
    assert!(notices.is_empty(), "{notices:?}");
    let names: Vec<String> = intent
        .servers
        .values()
        .flat_map(|servers| servers.iter())
        .map(|server| format!("{} {}", server.name, server.protocol()))
        .collect();
    assert_eq!(
        names,
        [
            "ns/cluster-ip:p1 TCP",
            "ns/cluster-ip:p2 UDP",
            "ns/load-balancer TCP",
            "ns/node-port:p TCP",
        ]
    );
    assert_eq!(
        reached(&servers(&intent, "ns/node-port")[0]),
        ["cluster 10.88.0.2 345", "node 30345"]
    );
    assert_eq!(
        reached(&servers(&intent, "ns/load-balancer")[0]),
        ["cluster 10.88.0.3 80", "lb 203.0.113.4 80", "node 30080"]
    );
    cluster_ip.ports.remove(1);
    cluster.apply(Change::Services(vec![cluster_ip]));
    let (intent, _) = crate::plan(&cluster, &super::config());
    assert_eq!(intent.servers.len(), 1);
    assert_eq!(servers(&intent, "ns/cluster-ip").len(), 1);
}

#[test]
fn build_service_map_service_headless() {
    let headless = Service { headless: true, ..service("ns/headless", &[]) };
    let with_ip = Service { headless: true, ..service("ns/odd", &["10.88.0.1"]) };
    let unassigned = service("ns/unassigned", &[]);
    let no_ports = Service { ports: Vec::new(), ..headless.clone() };
    for ignored in [headless, with_ip, unassigned, no_ports] {
        let slices = Change::Slice(slice(&ignored.name.to_string(), "1", 0, &["127.0.0.1 R"]));
        let (intent, notices) = planned([Change::Service(ignored.clone()), slices]);
        assert!(intent.servers.is_empty(), "{ignored:?}");
        assert!(notices.is_empty(), "nothing is said of what is not routed: {notices:?}");
    }
}

#[test]
fn build_service_map_service_type_external_name() {
    let mut alias = service("ns/alias", &["10.88.0.1"]);
    alias.service_type = ServiceType::ExternalName;
    alias.external_name = Some("example.org".into());
    let (intent, notices) = planned([Change::Service(alias)]);
    assert!(intent.servers.is_empty());
    assert!(notices.is_empty());
}

/// F6: whatever the label's value, the Service is another proxy's.
#[test]
fn service_proxy_name_is_another_proxys() {
    for value in ["other", ""] {
        let mut foreign = service("ns/foreign", &["10.88.0.1"]);
        foreign.proxy_name = Some(value.into());
        assert!(planned([Change::Service(foreign)]).0.servers.is_empty(), "{value:?}");
    }
}

/// The type changes, the same fields change meaning; flipping back restores the first state.
#[test]
fn build_service_map_service_update() {
    let mut plain = service("ns/a", &["10.88.0.1"]);
    plain.ports = tcp_and_udp();
    let mut balanced = load_balancer("ns/a", "10.88.0.1", "203.0.113.4");
    balanced.ports = tcp_and_udp();
    balanced.external_traffic_policy = TrafficPolicy::Local;
    balanced.health_check_node_port = Some(32345);
    let mut cluster = super::cluster([super::alpha(), Change::Service(plain.clone())]);
    let mut planner = crate::Planner::new(super::config());
    planner.update(&cluster, &[super::owner("ns/a"), model::Owner::Node].into());
    let first = planner.intent().clone();
    let owners = cluster.apply(Change::Service(balanced));
    assert_eq!(planner.update(&cluster, &owners), owners);
    let second = servers(planner.intent(), "ns/a");
    assert!(second.iter().all(|server| server.health_check_node_port == Some(32345)));
    assert_eq!(reached(&second[0]), ["cluster 10.88.0.1 1234", "lb 203.0.113.4 1234"]);
    assert!(
        cluster
            .apply(Change::Service(
                cluster.service(&super::named("ns/a")).map(|s| (**s).clone()).unwrap()
            ))
            .is_empty()
    );
    let owners = cluster.apply(Change::Service(plain));
    planner.update(&cluster, &owners);
    assert_eq!(planner.intent(), &first);
}

/// The families of a Service, as kube-proxy's change tracker filters them.
#[test]
fn servicechangetracker_family_filters() {
    let (v4, v6) = (Family::V4, Family::V6);
    // clusterIPs, ipFamilies, the cluster IP that counts in each family
    type Row = (&'static [&'static str], &'static [Family], [Option<&'static str>; 2]);
    let table: &[Row] = &[
        (&["10.88.0.1"], &[Family::V4], [Some("10.88.0.1"), None]),
        (&["fd88::1"], &[Family::V6], [None, Some("fd88::1")]),
        (
            &["10.88.0.1", "fd88::1"],
            &[Family::V4, Family::V6],
            [Some("10.88.0.1"), Some("fd88::1")],
        ),
        (
            &["fd88::1", "10.88.0.1"],
            &[Family::V6, Family::V4],
            [Some("10.88.0.1"), Some("fd88::1")],
        ),
        (&["10.88.0.1"], &[], [Some("10.88.0.1"), None]),
        (&["fd88::1"], &[], [None, Some("fd88::1")]),
        (&["10.88.0.1"], &[Family::V4, Family::V6], [Some("10.88.0.1"), None]),
        (&["10.88.0.1", "fd88::1"], &[Family::V6, Family::V4], [None, None]),
    ];
    for (cluster_ips, families, expected) in table {
        let mut object = service("ns/a", cluster_ips);
        object.ip_families = families.to_vec();
        let (intent, _) = planned([Change::Service(object)]);
        for (family, expected) in [v4, v6].into_iter().zip(expected) {
            let got = servers(&intent, "ns/a")
                .iter()
                .find(|server| server.family == family)
                .and_then(|server| server.frontends[0].address);
            assert_eq!(got, expected.map(ip), "{cluster_ips:?} {families:?} {family}");
        }
    }
}

/// A cluster IP that no Service may have costs its family, not the other one.
#[test]
fn forbidden_cluster_ips() {
    for bad in ["127.0.0.1", "0.0.0.0", "224.0.0.9", "169.254.3.4"] {
        let (intent, notices) = planned([Change::Service(service("ns/a", &[bad, "fd88::1"]))]);
        let families: Vec<_> = servers(&intent, "ns/a").iter().map(|s| s.family).collect();
        assert_eq!(families, [Family::V6], "{bad}");
        assert_eq!(reasons(&notices), [("Service ns/a".into(), Reason::ForbiddenAddress)], "{bad}");
    }
}

/// A Service without endpoints stays, and refuses.
#[test]
fn no_endpoints_refuse() {
    let (intent, _) = planned([
        Change::Service(load_balancer("ns/a", "10.88.0.1", "203.0.113.4")),
        Change::Slice(slice("ns/a", "1", 80, &["10.77.1.2 N", "10.77.1.3 X"])),
    ]);
    let server = &servers(&intent, "ns/a")[0];
    assert_eq!(server.frontends.len(), 3);
    for frontend in &server.frontends {
        assert_eq!(words(frontend.routes), ["reject none"; 3]);
    }
    assert!(server.cluster.is_empty() && server.local.is_empty());
}

#[test]
fn affinity_is_carried_over() {
    let mut sticky = service("ns/a", &["10.88.0.1"]);
    sticky.affinity = Affinity::ClientIP { timeout_seconds: 10800 };
    let (intent, _) =
        planned([Change::Service(sticky), Change::Service(service("ns/b", &["10.88.0.2"]))]);
    assert_eq!(servers(&intent, "ns/a")[0].affinity_seconds, Some(10800));
    assert_eq!(servers(&intent, "ns/b")[0].affinity_seconds, None);
}

/// Port 0 and a second port of one name and protocol are named, and cost themselves alone.
#[test]
fn impossible_ports_cost_themselves() {
    let mut odd = service("ns/a", &["10.88.0.1"]);
    odd.ports = vec![port("a", 0), port("b", 81), port("b", 82), port("c", 83)];
    odd.ports[3].node_port = Some(0);
    let (intent, notices) = planned([Change::Service(odd)]);
    let all: Vec<_> = servers(&intent, "ns/a").iter().flat_map(reached).collect();
    assert_eq!(all, ["cluster 10.88.0.1 81", "cluster 10.88.0.1 83"]);
    let bad = ("Service ns/a".to_string(), Reason::InvalidField);
    assert_eq!(reasons(&notices), [bad.clone(), bad]);
}

/// The order of `spec.ports` plays no part.
#[test]
fn ports_are_sorted() {
    let mut one = service("ns/a", &["10.88.0.1", "fd88::1"]);
    one.ports = tcp_and_udp();
    let mut other = one.clone();
    other.ports.reverse();
    assert_eq!(planned([Change::Service(one)]), planned([Change::Service(other)]));
}
