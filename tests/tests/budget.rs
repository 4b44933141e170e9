//! How many rules each shape of Service costs: those of kube-proxy's iptables mode, and no more.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::IpAddr;

use model::{
    Change, Cluster, Family, IngressMode, LoadBalancerIngress, Service, ServiceType, TrafficPolicy,
};
use plan::Config;
use pointsman_tests::{HostSettings, Settings, shapes};
use render::iptables::{self, Options, Ruleset, Table};

fn rules(service: Option<Service>, endpoints: usize, options: &Options) -> Ruleset {
    let config = Settings::default().config("alpha");
    let mut cluster = Cluster::default();
    let mut apply = |change| drop(cluster.apply(change));
    apply(Change::Host(HostSettings::default().host("alpha")));
    if let Some(service) = service {
        let family = Family::of(service.cluster_ips[0]);
        let all = (0..endpoints).map(|index| {
            let number = u8::try_from(index + 1).unwrap();
            shapes::endpoint(lab::pod_address(2, number, family), "beta")
        });
        apply(Change::Slice(shapes::slice("slice", &service, all.collect())));
        apply(Change::Service(service));
    }
    iptables::ruleset(&plan::plan(&cluster, &config).0, options)
}

/// (rules in nat, rules in filter) of IPv4 that a Service adds to an empty node's.
fn cost(service: &Service, endpoints: usize, options: &Options) -> (usize, usize) {
    let empty = rules(None, 0, options);
    let with = rules(Some(service.clone()), endpoints, options);
    let added = |table| with.rule_count(Family::V4, table) - empty.rule_count(Family::V4, table);
    (added(Table::Nat), added(Table::Filter))
}

fn web() -> Service {
    shapes::service("web", IpAddr::from([10, 88, 0, 30]))
}

fn everything() -> Service {
    let mut service = Service {
        service_type: ServiceType::LoadBalancer,
        external_ips: vec![IpAddr::from([203, 0, 113, 50])],
        ingress: vec![LoadBalancerIngress {
            ip: IpAddr::from([203, 0, 113, 8]),
            mode: IngressMode::VIP,
        }],
        source_ranges: vec!["198.51.100.0/25".parse().unwrap()],
        ..web()
    };
    service.ports[0].node_port = Some(30080);
    service
}

#[test]
fn an_empty_node() {
    for options in [Options::default(), Options { nfacct: true, ..Options::default() }] {
        let empty = rules(None, 0, &options);
        // kubernetes' NumberIptablesRules: 4 in filter, 5 in nat.
        assert_eq!(empty.rule_count(Family::V4, Table::Filter), 4);
        assert_eq!(empty.rule_count(Family::V4, Table::Nat), 5);
        // No loopback NodePorts in IPv6, so nothing keeps others from loopback.
        assert_eq!(empty.rule_count(Family::V6, Table::Filter), 3);
        assert_eq!(empty.rule_count(Family::V6, Table::Nat), 5);
    }
}

#[test]
fn a_cluster_ip_costs_two_and_three_for_each_endpoint() {
    let options = Options::default();
    for endpoints in [1, 2, 5, 100] {
        assert_eq!(cost(&web(), endpoints, &options), (2 + 3 * endpoints, 0));
    }
    assert_eq!(cost(&web(), 0, &options), (0, 1));
}

#[test]
fn a_load_balancer_costs_ten_and_three_for_each_endpoint() {
    let counted = Options { nfacct: true, ..Options::default() };
    for endpoints in [1, 2, 5, 100] {
        assert_eq!(cost(&everything(), endpoints, &counted), (10 + 3 * endpoints, 1));
        // Without counters the rule that counts NodePorts on loopback is not needed.
        assert_eq!(cost(&everything(), endpoints, &Options::default()), (9 + 3 * endpoints, 1));
    }
    assert_eq!(cost(&everything(), 0, &counted), (0, 4));
}

#[test]
fn policy_local_elsewhere_costs_no_chain_for_endpoints_that_nobody_may_reach() {
    let internal = Service { internal_traffic_policy: TrafficPolicy::Local, ..web() };
    assert_eq!(cost(&internal, 5, &Options::default()), (0, 1), "one rule that drops");
}

#[test]
fn affinity_costs_one_more_rule_for_each_endpoint() {
    let sticky = Service { affinity: model::Affinity::ClientIP { timeout_seconds: 60 }, ..web() };
    assert_eq!(cost(&sticky, 5, &Options::default()), (2 + 4 * 5, 0));
}

#[test]
fn an_owner_costs_the_same_whoever_else_is_there() {
    let config = Config::new("alpha");
    let mut cluster = Cluster::default();
    let options = Options::default();
    let mut last = 0;
    for number in 1..=20_u8 {
        let name = format!("svc{number}");
        let service = shapes::service(&name, IpAddr::from([10, 88, 1, number]));
        let endpoint = shapes::endpoint(IpAddr::from([10, 77, 2, number]), "beta");
        cluster.apply(Change::Slice(shapes::slice(&name, &service, vec![endpoint])));
        cluster.apply(Change::Service(service));
        let ruleset = iptables::ruleset(&plan::plan(&cluster, &config).0, &options);
        let now = ruleset.rule_count(Family::V4, Table::Nat);
        assert!(number == 1 || now - last == 4, "no detector, so no rule for strangers: 1 + 3");
        last = now;
    }
}
