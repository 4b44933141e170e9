//! A cluster of any size: N Services of M endpoints each, one TCP port, the same every time.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use model::{
    AddressType, Change, Endpoint, EndpointPort, EndpointSlice, Family, NamespacedName, Protocol,
    Service, ServicePort,
};

/// The size of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Size {
    pub(crate) services: u32,
    pub(crate) endpoints: u32,
}

/// The complete lists, as a source would deliver them.
pub(crate) fn lists(size: Size) -> [Change; 2] {
    let numbers = 0..size.services;
    [
        Change::Services(numbers.clone().map(service).collect()),
        Change::Slices(numbers.map(|number| slice(number, size.endpoints, 0)).collect()),
    ]
}

/// One endpoint of a Service replaced by another; each `generation` brings another address.
pub(crate) fn replaced(number: u32, size: Size, generation: u32) -> Change {
    Change::Slice(slice(number, size.endpoints, generation))
}

fn name(number: u32) -> NamespacedName {
    NamespacedName::new(format!("team-{}", number % 50), format!("service-{number}"))
}

/// 10.128.0.0/10 for Pods, 10.96.0.0/12 for Services: neither holds the other.
fn address(base: [u8; 4], offset: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(u32::from(Ipv4Addr::from(base)) + offset))
}

fn service(number: u32) -> Service {
    let port = ServicePort {
        name: "http".into(),
        protocol: Protocol::Tcp,
        port: 80,
        target_port: None,
        node_port: None,
    };
    Service {
        cluster_ips: vec![address([10, 96, 0, 1], number)],
        ip_families: vec![Family::V4],
        ports: vec![port],
        ..Service::new(name(number))
    }
}

fn slice(number: u32, endpoints: u32, generation: u32) -> EndpointSlice {
    let service = name(number);
    let first = number * endpoints;
    let endpoint = |index: u32| {
        // Addresses beyond all first ones, so that a replacement never meets a neighbour's.
        let replaced = index == 0 && generation > 0;
        let offset = if replaced { (1 << 21) + generation } else { first + index };
        Endpoint {
            node: Some(Arc::from(format!("node-{}", index % 100))),
            ..Endpoint::new(address([10, 128, 0, 1], offset))
        }
    };
    EndpointSlice {
        name: NamespacedName::new(service.namespace.clone(), format!("{}-abcde", service.name)),
        service: Some(service),
        version: u64::from(generation) + 1,
        last_change_trigger: None,
        address_type: AddressType::Ip(Family::V4),
        ports: vec![EndpointPort {
            name: Some("http".into()),
            protocol: Protocol::Tcp,
            port: Some(8080),
        }],
        endpoints: (0..endpoints).map(endpoint).collect(),
    }
}
