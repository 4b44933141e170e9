//! Clusters in a few lines.

use std::net::IpAddr;

use dns::{Zone, ZoneConfig};
use model::{
    AddressType, Change, Cluster, Endpoint, EndpointPort, EndpointSlice, Family, NamespacedName,
    Protocol, Service, ServicePort, ServiceType,
};

pub(crate) fn name(text: &str) -> NamespacedName {
    let (namespace, name) = text.split_once('/').unwrap();
    NamespacedName::new(namespace, name)
}

/// A Service with these cluster IPs and no port.
pub(crate) fn service(called: &str, cluster_ips: &[&str]) -> Service {
    let cluster_ips: Vec<IpAddr> = cluster_ips.iter().map(|ip| ip.parse().unwrap()).collect();
    Service {
        ip_families: cluster_ips.iter().copied().map(Family::of).collect(),
        cluster_ips,
        ..Service::new(name(called))
    }
}

pub(crate) fn headless(called: &str) -> Service {
    Service { headless: true, ..service(called, &[]) }
}

pub(crate) fn external(called: &str, target: &str) -> Service {
    Service {
        service_type: ServiceType::ExternalName,
        external_name: Some(target.into()),
        ..service(called, &[])
    }
}

pub(crate) fn with_port(
    mut service: Service,
    called: &str,
    protocol: Protocol,
    port: u16,
) -> Service {
    let port =
        ServicePort { name: called.into(), protocol, port, target_port: None, node_port: None };
    service.ports.push(port);
    service
}

/// A slice of a Service; `family` names the slice, so that a Service can have one of each.
pub(crate) fn slice(of: &str, suffix: &str, family: Family) -> EndpointSlice {
    let service = name(of);
    EndpointSlice {
        name: NamespacedName::new(service.namespace.clone(), format!("{}-{suffix}", service.name)),
        service: Some(service),
        version: 0,
        last_change_trigger: None,
        address_type: AddressType::Ip(family),
        ports: Vec::new(),
        endpoints: Vec::new(),
    }
}

pub(crate) fn slice_port(
    mut slice: EndpointSlice,
    called: &str,
    protocol: Protocol,
    port: u16,
) -> EndpointSlice {
    slice.ports.push(EndpointPort { name: Some(called.into()), protocol, port: Some(port) });
    slice
}

pub(crate) fn endpoint(address: &str, hostname: Option<&str>, ready: bool) -> Endpoint {
    Endpoint {
        ready,
        serving: ready,
        hostname: hostname.map(Into::into),
        ..Endpoint::new(address.parse().unwrap())
    }
}

pub(crate) fn with(mut slice: EndpointSlice, endpoints: Vec<Endpoint>) -> EndpointSlice {
    slice.endpoints.extend(endpoints);
    slice
}

/// The cluster that the examples speak of.
pub(crate) fn example() -> Cluster {
    let tcp = Protocol::Tcp;
    let mut cluster = Cluster::default();
    let services = vec![
        with_port(service("default/kubernetes", &["10.96.0.1"]), "https", tcp, 443),
        with_port(
            with_port(service("default/my-service", &["10.96.0.80"]), "http", tcp, 80),
            "dns",
            Protocol::Udp,
            53,
        ),
        with_port(service("default/dual", &["10.96.0.81", "fd00:96::81"]), "", tcp, 80),
        with_port(service("default/six", &["fd00:96::6"]), "web", tcp, 8080),
        with_port(headless("db/sts"), "pg", tcp, 5432),
        with_port(headless("db/plain"), "pg", tcp, 5432),
        headless("db/portless"),
        headless("db/unready"),
        external("default/alias", "example.com"),
        external("default/near", "my-service.default.svc.cluster.local."),
        external("default/far", "near.default.svc.cluster.local"),
        external("default/dangling", "nothing.default.svc.cluster.local"),
        external("default/loop-a", "loop-b.default.svc.cluster.local"),
        external("default/loop-b", "loop-a.default.svc.cluster.local"),
        external("default/number", "192.0.2.1"),
    ];
    cluster.apply(Change::Services(services));
    let v4 = Family::V4;
    let slices = vec![
        with(
            slice_port(slice("default/my-service", "a", v4), "http", tcp, 8080),
            vec![endpoint("10.1.0.1", None, true), endpoint("10.1.0.2", Some("second"), true)],
        ),
        with(
            slice_port(slice("db/sts", "a", v4), "pg", tcp, 15432),
            vec![
                endpoint("10.1.1.1", Some("sts-0"), true),
                endpoint("10.1.1.2", Some("sts-1"), true),
                endpoint("10.1.1.3", Some("sts-2"), false),
            ],
        ),
        with(
            slice_port(slice("db/sts", "b", Family::V6), "pg", tcp, 15432),
            vec![endpoint("fd00:1::1", Some("sts-0"), true)],
        ),
        with(
            slice_port(slice("db/plain", "a", v4), "pg", tcp, 5432),
            vec![endpoint("10.1.2.3", None, true), endpoint("10.1.1.1", None, true)],
        ),
        with(
            slice_port(slice("db/plain", "b", Family::V6), "pg", tcp, 5432),
            vec![endpoint("fd00:1::", None, true)],
        ),
        with(slice("db/portless", "a", v4), vec![endpoint("10.1.3.1", None, true)]),
        with(slice("db/unready", "a", v4), vec![endpoint("10.1.4.1", Some("first"), false)]),
    ];
    cluster.apply(Change::Slices(slices));
    cluster
}

pub(crate) fn config() -> ZoneConfig {
    let own: IpAddr = "169.254.20.10".parse().unwrap();
    ZoneConfig::new("cluster.local").unwrap().name_servers([own])
}

pub(crate) fn zone() -> Zone {
    Zone::new(config(), &example())
}
