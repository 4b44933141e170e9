//! Services and slices as values, for tests that need many or odd ones.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use model::{
    AddressType, Affinity, Endpoint, EndpointPort, EndpointSlice, Family, NamespacedName, Protocol,
    Service, ServicePort, ServiceType, TrafficPolicy,
};

/// A ClusterIP Service in the namespace `shop` with one TCP port 80.
#[must_use]
pub fn service(name: &str, cluster_ip: IpAddr) -> Service {
    Service {
        name: NamespacedName::new("shop", name),
        created: None,
        service_type: ServiceType::ClusterIP,
        proxy_name: None,
        cluster_ips: vec![cluster_ip],
        headless: false,
        ip_families: vec![Family::of(cluster_ip)],
        ports: vec![ServicePort {
            name: "".into(),
            protocol: Protocol::Tcp,
            port: 80,
            target_port: None,
            node_port: None,
        }],
        selector: BTreeMap::new(),
        external_ips: Vec::new(),
        ingress: Vec::new(),
        source_ranges: Vec::new(),
        affinity: Affinity::None,
        external_traffic_policy: TrafficPolicy::Cluster,
        internal_traffic_policy: TrafficPolicy::Cluster,
        health_check_node_port: None,
        external_name: None,
        publish_not_ready_addresses: false,
        traffic_distribution: None,
    }
}

/// A ready endpoint on a node.
#[must_use]
pub fn endpoint(address: IpAddr, node: &str) -> Endpoint {
    Endpoint {
        address,
        ready: true,
        serving: true,
        terminating: false,
        node: Some(node.into()),
        zone: None,
        hints: None,
        hostname: None,
        target_uid: None,
        target_pod: None,
    }
}

/// A slice of a Service of [`service`], whose endpoints listen on 8080.
#[must_use]
pub fn slice(name: &str, of: &Service, endpoints: Vec<Endpoint>) -> EndpointSlice {
    let family = endpoints.first().map_or(Family::V4, |endpoint| Family::of(endpoint.address));
    EndpointSlice {
        name: NamespacedName::new("shop", name),
        service: Some(of.name.clone()),
        version: 0,
        address_type: AddressType::Ip(family),
        ports: of
            .ports
            .iter()
            .map(|port| EndpointPort {
                name: Some(Arc::clone(&port.name)),
                protocol: port.protocol,
                port: Some(8080),
            })
            .collect(),
        endpoints,
    }
}
