//! Two ports that claim one address: who keeps it, who is named, and what follows a change.

use std::collections::BTreeSet;

use model::{Change, Notice, Owner, Protocol, Reason, Service, ServicePort, ServiceType};

use super::{
    alpha, cluster, config, ip, load_balancer, named, owner, planned, port, reached, reasons,
    servers, service,
};
use crate::Planner;

fn aged(created: Option<i64>, object: Service) -> Service {
    Service { created, ..object }
}

fn all_reached(intent: &crate::Intent, name: &str) -> Vec<String> {
    servers(intent, name).iter().flat_map(reached).collect()
}

#[test]
fn the_older_service_keeps_the_place() {
    // created of ns/a and ns/b, who keeps 203.0.113.4
    let table = [
        (Some(2), Some(1), "ns/b"),
        (Some(1), Some(2), "ns/a"),
        (Some(1), Some(1), "ns/a"),
        (None, Some(9), "ns/b"),
        (Some(9), None, "ns/a"),
        (None, None, "ns/a"),
        (Some(-5), Some(0), "ns/a"),
        (None, Some(i64::MAX), "ns/b"),
        (Some(0), Some(-1), "ns/b"),
    ];
    for (a, b, winner) in table {
        let mut one = service("ns/a", &["10.88.0.1"]);
        one.external_ips = vec![ip("203.0.113.4")];
        let mut other = service("ns/b", &["10.88.0.2"]);
        other.external_ips = vec![ip("203.0.113.4")];
        let (intent, notices) =
            planned([Change::Service(aged(a, one)), Change::Service(aged(b, other))]);
        let loser = if winner == "ns/a" { "ns/b" } else { "ns/a" };
        assert_eq!(all_reached(&intent, winner).len(), 2, "{a:?} {b:?}");
        assert_eq!(all_reached(&intent, loser).len(), 1, "{a:?} {b:?}");
        let expected = (format!("Service {loser}"), Reason::Conflict);
        assert_eq!(reasons(&notices), [expected], "{a:?} {b:?}");
        assert!(notices[0].message.contains(winner), "{}", notices[0].message);
    }
}

/// CVE-2020-8554: whoever may write an external IP must not take another Service's cluster IP with
/// it, however old the thief is.
#[test]
fn an_external_ip_never_takes_a_cluster_ip() {
    let mut thief = service("ns/a", &["10.88.0.1"]);
    thief.external_ips = vec![ip("10.88.0.2")];
    let thief = Change::Service(aged(Some(1), thief));
    let victim = Change::Service(aged(Some(2), service("ns/b", &["10.88.0.2"])));
    let (intent, notices) = planned([thief, victim]);
    assert_eq!(all_reached(&intent, "ns/b").len(), 1);
    assert_eq!(all_reached(&intent, "ns/a").len(), 1);
    assert_eq!(reasons(&notices), [("Service ns/a".to_owned(), Reason::Conflict)]);
}

#[test]
fn what_is_and_what_is_no_conflict() {
    let plain = |name: &str, address: &str| service(name, &[address]);
    let with_port = |object: Service, number| Service { ports: vec![port("", number)], ..object };
    let udp = |object: Service| Service {
        ports: vec![ServicePort { protocol: Protocol::Udp, ..port("", 80) }],
        ..object
    };
    let node_port = |name: &str, address: &str, number| Service {
        service_type: ServiceType::NodePort,
        ports: vec![ServicePort { node_port: Some(number), ..port("", 80) }],
        ..service(name, &[address])
    };
    let external = |name: &str, address: &str, at: &str| Service {
        external_ips: vec![ip(at)],
        ..service(name, &[address])
    };
    let table = [
        ("same cluster IP", plain("ns/a", "10.88.0.1"), plain("ns/b", "10.88.0.1"), 1),
        ("another port", plain("ns/a", "10.88.0.1"), with_port(plain("ns/b", "10.88.0.1"), 81), 0),
        ("another protocol", plain("ns/a", "10.88.0.1"), udp(plain("ns/b", "10.88.0.1")), 0),
        (
            "NodePort",
            node_port("ns/a", "10.88.0.1", 30080),
            node_port("ns/b", "10.88.0.2", 30080),
            1,
        ),
        (
            "NodePorts of two families",
            node_port("ns/a", "10.88.0.1", 30080),
            node_port("ns/b", "fd88::1", 30080),
            0,
        ),
        (
            "load balancer IP and external IP",
            load_balancer("ns/a", "10.88.0.1", "203.0.113.4"),
            external("ns/b", "10.88.0.2", "203.0.113.4"),
            1,
        ),
        (
            "external IP on another's cluster IP",
            plain("ns/a", "10.88.0.1"),
            external("ns/b", "10.88.0.2", "10.88.0.1"),
            1,
        ),
        (
            "a NodePort's number as port of an external IP",
            node_port("ns/a", "10.88.0.1", 80),
            external("ns/b", "10.88.0.2", "10.9.0.1"),
            0,
        ),
    ];
    for (name, one, other, expected) in table {
        let (_, notices) = planned([Change::Service(one), Change::Service(other)]);
        assert_eq!(notices.len(), expected, "{name}: {notices:?}");
        assert!(notices.iter().all(|notice| notice.reason == Reason::Conflict), "{name}");
    }
}

/// Two ports of one Service with one number: the port's name decides.
#[test]
fn ports_of_one_service_conflict_too() {
    let mut object = service("ns/a", &["10.88.0.1"]);
    object.ports = vec![port("y", 80), port("x", 80), port("z", 81)];
    let (intent, notices) = planned([Change::Service(object)]);
    let names: Vec<_> = servers(&intent, "ns/a").iter().map(|s| s.name.to_string()).collect();
    assert_eq!(names, ["ns/a:x", "ns/a:z"]);
    assert_eq!(reasons(&notices), [("Service ns/a".into(), Reason::Conflict)]);
    assert!(notices[0].message.contains("ns/a:x"), "{}", notices[0].message);
}

/// A Service that lost everything asks for nothing.
#[test]
fn a_service_that_lost_all_has_no_entry() {
    let (intent, notices) = planned([
        Change::Service(aged(Some(1), service("ns/old", &["10.88.0.1"]))),
        Change::Service(aged(Some(2), service("ns/new", &["10.88.0.1"]))),
    ]);
    assert_eq!(intent.servers.keys().collect::<Vec<_>>(), [&named("ns/old")]);
    assert_eq!(notices.len(), 1);
}

/// A pool that served the lost frontend alone is emptied.
#[test]
fn a_lost_frontend_takes_its_pool_along() {
    let mut object = load_balancer("ns/b", "10.88.0.2", "203.0.113.4");
    object.external_traffic_policy = model::TrafficPolicy::Local;
    object.ports[0].node_port = None;
    let here = super::slice("ns/b", "1", 80, &["10.77.1.4@alpha R"]);
    let keeper = load_balancer("ns/a", "10.88.0.1", "203.0.113.4");
    let (alone, _) = planned([Change::Service(object.clone()), Change::Slice(here.clone())]);
    assert_eq!(servers(&alone, "ns/b")[0].local.len(), 1);
    let (intent, _) =
        planned([Change::Service(object), Change::Slice(here), Change::Service(keeper)]);
    let server = &servers(&intent, "ns/b")[0];
    assert_eq!(reached(server), ["cluster 10.88.0.2 80"]);
    assert_eq!((server.cluster.len(), server.local.len()), (1, 0));
}

/// The winner goes, the next one takes over; others are not touched, and learn whom they lost to.
#[test]
fn a_change_drags_along_those_concerned() {
    let claim = |name: &str, cluster_ip: &str, created| {
        let mut object = service(name, &[cluster_ip]);
        object.external_ips = vec![ip("203.0.113.4")];
        Change::Service(aged(Some(created), object))
    };
    let mut cluster = cluster([
        alpha(),
        claim("ns/first", "10.88.0.1", 1),
        claim("ns/second", "10.88.0.2", 2),
        claim("ns/third", "10.88.0.3", 3),
        Change::Service(service("ns/bystander", &["10.88.0.4"])),
    ]);
    let mut planner = Planner::new(config());
    let everybody: BTreeSet<Owner> =
        cluster.services().keys().cloned().map(Owner::Service).chain([Owner::Node]).collect();
    let services: BTreeSet<Owner> = &everybody - &BTreeSet::from([Owner::Node]);
    assert_eq!(planner.update(&cluster, &everybody), services);
    let lost = |planner: &Planner| -> Vec<(String, bool)> {
        let all = planner.notices().map(|Notice { object, message, .. }| {
            (object.name.to_string(), message.contains("port ns/first"))
        });
        all.collect()
    };
    assert_eq!(lost(&planner), [("ns/second".into(), true), ("ns/third".into(), true)]);
    let bystander = planner.intent().servers[&named("ns/bystander")].clone();
    let owners = cluster.apply(Change::ServiceGone(named("ns/first")));
    assert_eq!(owners, [owner("ns/first")].into());
    let changed = planner.update(&cluster, &owners);
    assert_eq!(changed, [owner("ns/first"), owner("ns/second")].into());
    assert_eq!(lost(&planner), [("ns/third".into(), false)]);
    assert!(all_reached(planner.intent(), "ns/second").contains(&"external 203.0.113.4 80".into()));
    assert!(std::sync::Arc::ptr_eq(&bystander, &planner.intent().servers[&named("ns/bystander")]));
    // It comes back, as old as it was: the state before is restored.
    let owners = cluster.apply(claim("ns/first", "10.88.0.1", 1));
    let changed = planner.update(&cluster, &owners);
    assert_eq!(changed, [owner("ns/first"), owner("ns/second")].into());
    assert_eq!(lost(&planner), [("ns/second".into(), true), ("ns/third".into(), true)]);
    // A younger twin of the winner loses without touching anybody.
    let owners = cluster.apply(claim("ns/fourth", "10.88.0.5", 4));
    assert_eq!(planner.update(&cluster, &owners), [owner("ns/fourth")].into());
}
