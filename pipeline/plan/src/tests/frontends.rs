//! External IPs, load balancer IPs, NodePorts, source ranges, policies that count; C6–C8, D2–D5.

use std::sync::Arc;

use model::{
    Change, Cidr, IngressMode, LoadBalancerIngress, Notice, Reason, Service, ServiceType,
    TrafficPolicy,
};

use super::{
    alpha, cidr, cluster, config, ip, load_balancer, planned, pool, port, reached, reasons,
    servers, service, slice, words,
};
use crate::{Config, FrontendKind, Intent};

fn ingress(address: &str, mode: IngressMode) -> LoadBalancerIngress {
    LoadBalancerIngress { ip: ip(address), mode }
}

fn ranges(texts: &[&str]) -> Vec<Cidr> {
    texts.iter().map(|text| cidr(text)).collect()
}

/// C8, KEP-1860: addresses of mode Proxy are not ours (an absent mode is VIP, which intake says).
#[test]
fn load_balancer_ingress_route_type_proxy() {
    let mut object = load_balancer("ns/a", "10.88.0.1", "203.0.113.10");
    object.ingress.push(ingress("203.0.113.11", IngressMode::Proxy));
    let (intent, notices) = planned([Change::Service(object.clone())]);
    assert_eq!(
        reached(&servers(&intent, "ns/a")[0]),
        ["cluster 10.88.0.1 80", "lb 203.0.113.10 80", "node 30080"]
    );
    assert!(notices.is_empty());
    object.ingress.remove(0);
    let (intent, _) = planned([Change::Service(object)]);
    assert_eq!(reached(&servers(&intent, "ns/a")[0]), ["cluster 10.88.0.1 80", "node 30080"]);
}

/// D5, kubernetes#105182: a load balancer with a hostname alone has no address, and nothing is said.
#[test]
fn hostname_only_ingress_is_silent() {
    let mut object = load_balancer("ns/a", "10.88.0.1", "203.0.113.10");
    object.ingress.clear();
    let (intent, notices) = planned([Change::Service(object)]);
    assert_eq!(reached(&servers(&intent, "ns/a")[0]), ["cluster 10.88.0.1 80", "node 30080"]);
    assert!(notices.is_empty());
}

/// BadIPs and D4: addresses as old objects hold them are read as decimal and written canonically.
#[test]
fn bad_ips_are_canonical() {
    let read = |text| model::parse_ip(text).unwrap();
    let mut object = load_balancer("ns/a", "10.88.0.25", "203.0.113.10");
    object.cluster_ips = vec![read("10.088.000.025")];
    object.external_ips = vec![read("192.168.099.022")];
    object.ingress[0].ip = read("203.0.113.010");
    object.source_ranges = vec![model::parse_cidr("010.9.0.0/16 ").unwrap()];
    let (intent, _) = planned([Change::Service(object)]);
    let server = &servers(&intent, "ns/a")[0];
    assert_eq!(
        reached(server),
        ["cluster 10.88.0.25 80", "external 192.168.99.22 80", "lb 203.0.113.10 80", "node 30080"]
    );
    let sources = server.frontends[2].sources.as_deref().unwrap();
    assert_eq!(sources[0].to_string(), "10.9.0.0/16");
}

/// Frontends keep the order of their kinds, then of the object, each address once.
#[test]
fn frontends_in_order_without_repetition() {
    let mut object = load_balancer("ns/a", "10.88.0.1", "203.0.113.9");
    object.external_ips =
        vec![ip("192.0.2.7"), ip("192.0.2.3"), ip("192.0.2.7"), ip("10.88.0.1"), ip("203.0.113.8")];
    object.ingress.push(ingress("203.0.113.8", IngressMode::VIP));
    object.ingress.push(ingress("203.0.113.1", IngressMode::VIP));
    let (intent, notices) = planned([Change::Service(object.clone())]);
    assert_eq!(
        reached(&servers(&intent, "ns/a")[0]),
        [
            "cluster 10.88.0.1 80",
            "external 192.0.2.7 80",
            "external 192.0.2.3 80",
            "external 203.0.113.8 80",
            "lb 203.0.113.9 80",
            "lb 203.0.113.1 80",
            "node 30080",
        ]
    );
    assert!(notices.is_empty(), "{notices:?}");
    // With source ranges it matters that 203.0.113.8 counts as external IP: that is said.
    object.source_ranges = ranges(&["198.51.100.0/24"]);
    let (_, notices) = planned([Change::Service(object)]);
    assert_eq!(reasons(&notices), [("Service ns/a".into(), Reason::Conflict)]);
    assert!(notices[0].message.contains("203.0.113.8"), "{}", notices[0].message);
}

fn planned_with(config: &Config, object: Service) -> (Intent, Vec<Notice>) {
    crate::plan(&cluster([alpha(), Change::Service(object)]), config)
}

#[test]
fn external_ips_can_be_switched_off() {
    let mut object = service("ns/a", &["10.88.0.1"]);
    object.external_ips = vec![ip("192.0.2.7")];
    let (intent, notices) = planned_with(&config(), object.clone());
    assert_eq!(servers(&intent, "ns/a")[0].frontends.len(), 2);
    assert!(notices.is_empty());
    let off = Config { allow_external_ips: false, ..config() };
    let (intent, notices) = planned_with(&off, object);
    assert_eq!(reached(&servers(&intent, "ns/a")[0]), ["cluster 10.88.0.1 80"]);
    assert_eq!(reasons(&notices), [("Service ns/a".into(), Reason::Disabled)]);
}

/// D3, kubernetes#73157: one address of the wrong family costs itself, in every field.
#[test]
fn wrong_families_cost_themselves() {
    let mut object = load_balancer("ns/a", "fd88::1", "203.0.113.21");
    object.external_ips = vec![ip("203.0.113.22"), ip("2001:db8::7")];
    object.source_ranges = ranges(&["192.0.2.0/24", "2001:db8:9::/48"]);
    let (intent, notices) = planned([Change::Service(object)]);
    assert_eq!(
        reached(&servers(&intent, "ns/a")[0]),
        ["cluster fd88::1 80", "external 2001:db8::7 80", "node 30080"]
    );
    assert_eq!(notices.len(), 3);
    assert!(notices.iter().all(|notice| notice.reason == Reason::WrongFamily));
    for value in ["203.0.113.21", "203.0.113.22", "192.0.2.0/24"] {
        assert!(notices.iter().any(|notice| notice.message.contains(value)), "{value}");
    }
}

/// In a dual-stack Service each family takes its own values, and nothing is wrong with any.
#[test]
fn dual_stack_values_go_to_their_families() {
    let mut object = service("ns/a", &["10.88.0.1", "fd88::1"]);
    object.external_ips = vec![ip("192.0.2.7"), ip("2001:db8::7")];
    let (intent, notices) = planned([Change::Service(object)]);
    let all: Vec<_> = servers(&intent, "ns/a").iter().map(reached).collect();
    assert_eq!(
        all,
        [
            ["cluster 10.88.0.1 80", "external 192.0.2.7 80"],
            ["cluster fd88::1 80", "external 2001:db8::7 80"],
        ]
    );
    assert!(notices.is_empty());
}

/// D10, CVE-2020-8554: addresses that only the node itself may reach are no external IPs. A load
/// balancer may announce itself by a link-local address, but not by the other ones.
#[test]
fn forbidden_external_addresses() {
    for (address, balanced) in
        [("127.0.0.1", 2), ("224.0.0.1", 2), ("0.0.0.0", 2), ("169.254.169.254", 3)]
    {
        let mut object = service("ns/a", &["10.88.0.1"]);
        object.external_ips = vec![ip(address)];
        let (intent, notices) = planned([Change::Service(object)]);
        assert_eq!(reached(&servers(&intent, "ns/a")[0]), ["cluster 10.88.0.1 80"], "{address}");
        assert_eq!(reasons(&notices), [("Service ns/a".into(), Reason::ForbiddenAddress)]);
        let (intent, notices) =
            planned([Change::Service(load_balancer("ns/a", "10.88.0.1", address))]);
        assert_eq!(servers(&intent, "ns/a")[0].frontends.len(), balanced, "{address}");
        assert_eq!(notices.len(), 3 - balanced, "{address}");
    }
}

/// C6: which sources may come, with node alpha at 10.9.0.1.
#[test]
fn source_ranges() {
    // name, ranges of the object, who may come
    type Row = (&'static str, &'static [&'static str], Option<&'static [&'static str]>);
    let table: &[Row] = &[
        ("unset", &[], None),
        ("one", &["192.0.2.0/24"], Some(&["192.0.2.0/24"])),
        (
            "in the order of the object, each once",
            &["203.0.113.0/25", "192.0.2.0/24", "203.0.113.0/25"],
            Some(&["203.0.113.0/25", "192.0.2.0/24"]),
        ),
        ("/0 is everybody", &["0.0.0.0/0"], None),
        ("/0 among others is everybody", &["192.0.2.0/24", "0.0.0.0/0"], None),
        ("the other family's /0 says nothing", &["192.0.2.0/24", "::/0"], Some(&["192.0.2.0/24"])),
        ("the other family alone leaves this one open", &["2001:db8::/32"], None),
        (
            "this node inside: the virtual addresses too",
            &["10.9.0.0/16"],
            Some(&["10.9.0.0/16", "203.0.113.10/32", "203.0.113.12/32"]),
        ),
    ];
    for (name, given, expected) in table {
        let mut object = load_balancer("ns/a", "10.88.0.1", "203.0.113.10");
        object.external_ips = vec![ip("192.0.2.99")];
        object.ingress.push(ingress("203.0.113.11", IngressMode::Proxy));
        object.ingress.push(ingress("203.0.113.12", IngressMode::VIP));
        object.source_ranges = ranges(given);
        let (intent, _) = planned([Change::Service(object)]);
        for frontend in &servers(&intent, "ns/a")[0].frontends {
            let sources: Option<Arc<[Cidr]>> = frontend.sources.clone();
            if frontend.kind == FrontendKind::LoadBalancerIP {
                assert_eq!(sources, expected.map(|list| ranges(list).into()), "{name}");
            } else {
                assert_eq!(sources, None, "{name}: {:?} is never guarded", frontend.kind);
            }
        }
    }
}

/// C6: ranges of the other family alone leave the addresses open, as upstream does; that is said.
#[test]
fn ranges_that_guard_nothing_are_named() {
    let mut object = load_balancer("ns/a", "10.88.0.1", "203.0.113.10");
    object.source_ranges = ranges(&["::/0"]);
    let (_, notices) = planned([Change::Service(object)]);
    assert_eq!(notices.len(), 2);
    assert!(notices.iter().any(|notice| notice.message.contains("everybody may come to the IPv4")));
}

/// C6, kubernetes#119791: two Services share a load balancer address with different ports; the
/// ranges of one say nothing of the other.
#[test]
fn shared_load_balancer_address() {
    let mut guarded = load_balancer("ns/a", "10.88.0.1", "203.0.113.10");
    guarded.ports = vec![port("", 7001)];
    guarded.source_ranges = ranges(&["192.0.2.0/24"]);
    let mut open = load_balancer("ns/b", "10.88.0.2", "203.0.113.10");
    open.ports = vec![port("", 8001)];
    let (intent, notices) = planned([Change::Service(guarded), Change::Service(open)]);
    assert!(notices.is_empty());
    assert!(servers(&intent, "ns/a")[0].frontends[1].sources.is_some());
    assert!(servers(&intent, "ns/b")[0].frontends[1].sources.is_none());
}

/// Which types let the external policy count, by the NodePort's or external IP's routes.
#[test]
fn external_policy_counts_where_the_outside_reaches() {
    let local = |service_type, object: Service| Service {
        service_type,
        external_traffic_policy: TrafficPolicy::Local,
        health_check_node_port: Some(31999),
        ..object
    };
    let far = Change::Slice(slice("ns/a", "1", 80, &["10.77.2.4@beta R"]));
    let both = load_balancer("ns/a", "10.88.0.1", "203.0.113.10");
    let mut plain = service("ns/a", &["10.88.0.1"]);
    plain.external_ips = vec![ip("192.0.2.7")];
    let drop = ["cluster", "cluster+masq", "drop no local"];
    let table = [
        (local(ServiceType::LoadBalancer, both.clone()), drop, Some(31999)),
        (local(ServiceType::NodePort, both.clone()), drop, None),
        (local(ServiceType::ClusterIP, plain), drop, None),
        (local(ServiceType::ClusterIP, both), ["cluster+masq"; 3], None),
    ];
    for (object, expected, health) in table {
        let (intent, _) = planned([Change::Service(object.clone()), far.clone()]);
        let server = &servers(&intent, "ns/a")[0];
        let external = server.frontends.last().unwrap();
        assert_eq!(words(external.routes), expected, "{:?}", object.service_type);
        assert_eq!(server.health_check_node_port, health, "{:?}", object.service_type);
        // The external policy never touches the cluster IP.
        assert_eq!(words(server.frontends[0].routes), ["cluster", "cluster+masq", "cluster+masq"]);
    }
}

/// The health check port is there for policy Local alone, and 0 is none.
#[test]
fn health_check_node_port() {
    let mut object = load_balancer("ns/a", "10.88.0.1", "203.0.113.10");
    object.health_check_node_port = Some(31999);
    let health = |object: &Service| {
        servers(&planned([Change::Service(object.clone())]).0, "ns/a")[0].health_check_node_port
    };
    assert_eq!(health(&object), None);
    object.external_traffic_policy = TrafficPolicy::Local;
    assert_eq!(health(&object), Some(31999));
    object.health_check_node_port = Some(0);
    assert_eq!(health(&object), None);
}

/// Pools are there for those frontends that route to them, and for no others.
#[test]
fn pools_follow_the_routes() {
    let all = ["10.77.1.4@alpha R", "10.77.2.4@beta R"];
    let near: &'static [&'static str] = &["10.77.1.4:80"];
    let every: &'static [&'static str] = &["10.77.1.4:80", "10.77.2.4:80"];
    let (cluster, local) = (TrafficPolicy::Cluster, TrafficPolicy::Local);
    // iTP, eTP, whether the outside reaches it, the cluster pool, the local pool
    type Addresses = &'static [&'static str];
    let table: &[(TrafficPolicy, TrafficPolicy, bool, Addresses, Addresses)] = &[
        (cluster, cluster, false, every, &[]),
        (cluster, cluster, true, every, &[]),
        (local, cluster, false, &[], near),
        (local, cluster, true, every, near),
        // eTP is ignored where the outside does not reach.
        (cluster, local, false, every, &[]),
        (cluster, local, true, every, near),
        (local, local, false, &[], near),
        (local, local, true, every, near),
    ];
    for (internal, external, reachable, in_cluster, here) in table {
        let mut object = if *reachable {
            load_balancer("ns/a", "10.88.0.1", "203.0.113.10")
        } else {
            service("ns/a", &["10.88.0.1"])
        };
        object.internal_traffic_policy = *internal;
        object.external_traffic_policy = *external;
        let (intent, _) =
            planned([Change::Service(object), Change::Slice(slice("ns/a", "1", 80, &all))]);
        let server = &servers(&intent, "ns/a")[0];
        let name = format!("iTP {internal:?} eTP {external:?} external {reachable}");
        assert_eq!(&pool(&server.cluster), in_cluster, "{name}");
        assert_eq!(&pool(&server.local), here, "{name}");
        let words: Vec<_> = server.backends().iter().map(|b| b.address.to_string()).collect();
        let union = if in_cluster.is_empty() { here } else { in_cluster };
        assert_eq!(&words, union, "{name}");
    }
}

/// NoEndpointsMetric at Intent level: which refusals say that only local endpoints are missing.
#[test]
fn no_endpoints_metric() {
    let (cluster, local) = (TrafficPolicy::Cluster, TrafficPolicy::Local);
    let near: &[&str] = &["10.77.1.4@alpha R", "10.77.2.4@beta R"];
    let far: &[&str] = &["10.77.2.4@beta R"];
    // internal policy, external policy, endpoints; no local internally, no local externally
    let table: &[(TrafficPolicy, TrafficPolicy, &[&str], bool, bool)] = &[
        (local, cluster, near, false, false),
        (local, cluster, far, true, false),
        (cluster, local, near, false, false),
        (cluster, local, far, false, true),
        (local, local, near, false, false),
        (local, local, far, true, true),
        (local, local, &[], false, false),
    ];
    for (internal, external, endpoints, no_internal, no_external) in table {
        let mut object = load_balancer("ns/a", "10.88.0.1", "203.0.113.10");
        object.internal_traffic_policy = *internal;
        object.external_traffic_policy = *external;
        let (intent, _) =
            planned([Change::Service(object), Change::Slice(slice("ns/a", "1", 80, endpoints))]);
        let frontends = &servers(&intent, "ns/a")[0].frontends;
        let missing = |index: usize| words(frontends[index].routes)[2] == "drop no local";
        let name = format!("iTP {internal:?} eTP {external:?} {endpoints:?}");
        assert_eq!((missing(0), missing(1)), (*no_internal, *no_external), "{name}");
    }
}
