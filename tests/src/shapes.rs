//! Services and slices as values, for tests that need many or odd ones.

use std::net::IpAddr;
use std::sync::Arc;

use model::{
    AddressType, Endpoint, EndpointPort, EndpointSlice, Family, NamespacedName, Protocol, Service,
    ServicePort,
};

/// A ClusterIP Service in the namespace `shop` with one TCP port 80.
#[must_use]
pub fn service(name: &str, cluster_ip: IpAddr) -> Service {
    Service {
        cluster_ips: vec![cluster_ip],
        ip_families: vec![Family::of(cluster_ip)],
        ports: vec![ServicePort {
            name: "".into(),
            protocol: Protocol::Tcp,
            port: 80,
            target_port: None,
            node_port: None,
        }],
        ..Service::new(NamespacedName::new("shop", name))
    }
}

/// A ready endpoint on a node.
#[must_use]
pub fn endpoint(address: IpAddr, node: &str) -> Endpoint {
    Endpoint { node: Some(node.into()), ..Endpoint::new(address) }
}

/// A slice of a Service of [`service`], whose endpoints listen on 8080.
#[must_use]
pub fn slice(name: &str, of: &Service, endpoints: Vec<Endpoint>) -> EndpointSlice {
    let family = endpoints.first().map_or(Family::V4, |endpoint| Family::of(endpoint.address));
    EndpointSlice {
        name: NamespacedName::new("shop", name),
        service: Some(of.name.clone()),
        version: 0,
        last_change_trigger: None,
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
