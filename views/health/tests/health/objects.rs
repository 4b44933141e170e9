//! Objects for the other tests.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use health::metrics::{Build, Metrics, Mode, Setup};
use health::server::Sources;
use health::{Expectations, Health, Moment, Pages, Status};
use model::{
    AddressType, Change, Cluster, Endpoint, EndpointPort, EndpointSlice, Family, NamespacedName,
    Node, Protocol, Service, ServicePort, ServiceType, TrafficPolicy,
};
use serde_json::json;

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(crate) fn named(name: &str) -> NamespacedName {
    NamespacedName::new("ns", name)
}

pub(crate) fn node(name: &str) -> Node {
    Node {
        name: name.into(),
        internal_ips: vec![ip("127.0.0.5")],
        external_ips: Vec::new(),
        pod_cidrs: Vec::new(),
        zone: None,
        labels: Default::default(),
        taints: Vec::new(),
        deleting: false,
    }
}

/// A load balancer's Service with `externalTrafficPolicy: Local` and a health check port.
pub(crate) fn service(name: &str, cluster_ip: &str, port: u16) -> Service {
    Service {
        created: Some(0),
        service_type: ServiceType::LoadBalancer,
        ip_families: vec![Family::of(ip(cluster_ip))],
        cluster_ips: vec![ip(cluster_ip)],
        ports: vec![ServicePort {
            name: "".into(),
            protocol: Protocol::Tcp,
            port: 80,
            target_port: None,
            node_port: Some(30080),
        }],
        external_traffic_policy: TrafficPolicy::Local,
        health_check_node_port: Some(port),
        ..Service::new(named(name))
    }
}

/// A slice of endpoints, each `ADDRESS@NODE`; with a `!` at the end it is terminating.
pub(crate) fn slice(service: &str, endpoints: &[&str]) -> EndpointSlice {
    let endpoint = |text: &&str| {
        let (address, node) = text.trim_end_matches('!').split_once('@').unwrap();
        let terminating = text.ends_with('!');
        Endpoint {
            ready: !terminating,
            terminating,
            node: Some(node.into()),
            ..Endpoint::new(ip(address))
        }
    };
    EndpointSlice {
        name: NamespacedName::new("ns", format!("{service}-1")),
        service: Some(named(service)),
        version: 1,
        last_change_trigger: None,
        address_type: AddressType::Ip(Family::V4),
        ports: vec![EndpointPort {
            name: Some("".into()),
            protocol: Protocol::Tcp,
            port: Some(8080),
        }],
        endpoints: endpoints.iter().map(endpoint).collect(),
    }
}

pub(crate) fn cluster(changes: impl IntoIterator<Item = Change>) -> Cluster {
    let mut cluster = Cluster::default();
    for change in changes {
        cluster.apply(change);
    }
    cluster
}

/// An agent that is healthy and ready.
pub(crate) fn sources(mode: Mode) -> Sources {
    let started = Moment::now();
    let mut status = Status::new(Expectations::default(), started);
    status.node(Some(&node("alpha")));
    Family::ALL.into_iter().for_each(|family| status.synced(family, started));
    let health = Health::new(status);
    let build = Build {
        version: "0.1.0".into(),
        kubernetes: "1.36.2".into(),
        commit: "abc".into(),
        date: "2026-01-01T00:00:00Z".into(),
        platform: "linux/amd64".into(),
    };
    let families = Family::ALL.to_vec();
    let setup = Setup { mode, families, build, started, service_series: 2 };
    let metrics = Arc::new(Metrics::new(&setup, health.clone()));
    let pages = Pages {
        mode: "iptables".into(),
        configz: json!({"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "mode": "iptables"}),
        flags: BTreeMap::from([("v".to_owned(), "2".to_owned())]),
        version: "0.1.0".into(),
        flagz: true,
        statusz: true,
    };
    Sources::new(health, metrics, pages)
}
