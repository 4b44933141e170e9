//! Tests of the decisions, of whole plans, and of the properties that hold for all clusters.
//!
//! The functions are named after the scenarios of kube-proxy's own tests, or after the public
//! reports that they keep from coming back.

mod categorize;
mod conflicts;
mod endpoints;
mod flows;
mod frontends;
mod local_ready;
mod node;
mod planner;
mod policy;
mod policy_world;
mod properties;
mod routes;
mod services;
mod standing;

use std::net::IpAddr;
use std::sync::Arc;

use model::{
    AddressType, Change, Cidr, Cluster, Endpoint, EndpointPort, EndpointSlice, Family, Hints,
    IngressMode, LoadBalancerIngress, NamespacedName, Node, Notice, Owner, Protocol, Reason,
    Service, ServicePort, ServiceType,
};

use crate::{Config, DetectLocal, FrontendKind, Intent, Refusal, Refuse, Route, VirtualServer};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

fn named(text: &str) -> NamespacedName {
    let (namespace, name) = text.split_once('/').unwrap();
    NamespacedName::new(namespace, name)
}

/// A ClusterIP Service with one TCP port 80 without a name.
fn service(name: &str, cluster_ips: &[&str]) -> Service {
    let cluster_ips: Vec<IpAddr> = cluster_ips.iter().map(|text| ip(text)).collect();
    Service {
        created: Some(0),
        ip_families: cluster_ips.iter().map(|&ip| Family::of(ip)).collect(),
        cluster_ips,
        ports: vec![port("", 80)],
        ..Service::new(named(name))
    }
}

/// A Service of type LoadBalancer with NodePort 30080 and one virtual address.
fn load_balancer(name: &str, cluster_ip: &str, virtual_ip: &str) -> Service {
    Service {
        service_type: ServiceType::LoadBalancer,
        ports: vec![ServicePort { node_port: Some(30080), ..port("", 80) }],
        ingress: vec![LoadBalancerIngress { ip: ip(virtual_ip), mode: IngressMode::VIP }],
        ..service(name, &[cluster_ip])
    }
}

fn port(name: &str, number: u16) -> ServicePort {
    let name = name.into();
    ServicePort { name, protocol: Protocol::Tcp, port: number, target_port: None, node_port: None }
}

/// An endpoint from `ADDRESS[@NODE] FLAG [zone=…] [zones=a,b] [nodes=a,b] [uid=…]`. Flags: `R`
/// ready, `N` not ready, `S` serving but not ready, `T` terminating and serving, `X` terminating
/// and not serving, `RT` ready although terminating.
fn endpoint(text: &str) -> Endpoint {
    let mut words = text.split_whitespace();
    let place = words.next().unwrap();
    let (address, node) = place.split_once('@').map_or((place, None), |(a, n)| (a, Some(n)));
    let (ready, serving, terminating) = match words.next().unwrap() {
        "R" => (true, true, false),
        "N" => (false, false, false),
        "S" => (false, true, false),
        "T" => (false, true, true),
        "X" => (false, false, true),
        "RT" => (true, true, true),
        other => panic!("no such flag: {other}"),
    };
    let mut endpoint = Endpoint {
        ready,
        serving,
        terminating,
        node: node.map(Into::into),
        ..Endpoint::new(ip(address))
    };
    let list = |text: &str| text.split(',').map(Into::into).collect::<Vec<Arc<str>>>();
    for (key, value) in words.map(|word| word.split_once('=').unwrap()) {
        let hints: &mut Option<Box<Hints>> = &mut endpoint.hints;
        match key {
            "zone" => endpoint.zone = Some(value.into()),
            "zones" => hints.get_or_insert_default().zones = list(value),
            "nodes" => hints.get_or_insert_default().nodes = list(value),
            "uid" => endpoint.target_uid = Some(value.into()),
            other => panic!("no such key: {other}"),
        }
    }
    endpoint
}

/// A slice `NAMESPACE/SERVICE-SUFFIX` of a Service with one TCP port without a name.
fn slice(service: &str, suffix: &str, number: u16, endpoints: &[&str]) -> EndpointSlice {
    let service = named(service);
    let endpoints: Vec<Endpoint> = endpoints.iter().map(|text| endpoint(text)).collect();
    let family = endpoints.first().map_or(Family::V4, |endpoint| Family::of(endpoint.address));
    EndpointSlice {
        name: NamespacedName::new(service.namespace.clone(), format!("{}-{suffix}", service.name)),
        service: Some(service),
        version: 1,
        last_change_trigger: None,
        address_type: AddressType::Ip(family),
        ports: vec![slice_port("", number)],
        endpoints,
    }
}

fn slice_port(name: &str, number: u16) -> EndpointPort {
    EndpointPort { name: Some(name.into()), protocol: Protocol::Tcp, port: Some(number) }
}

fn node_object(name: &str, address: &str, zone: Option<&str>) -> Node {
    Node {
        name: name.into(),
        internal_ips: vec![ip(address)],
        external_ips: Vec::new(),
        pod_cidrs: Vec::new(),
        zone: zone.map(Into::into),
        labels: Default::default(),
        taints: Vec::new(),
        deleting: false,
    }
}

/// Node alpha of the shared fixture: 10.9.0.1 in zone red, Pods in 10.77.0.0/16.
fn config() -> Config {
    Config {
        detect_local: DetectLocal::ClusterCidr(vec![cidr("10.77.0.0/16"), cidr("fd77::/48")]),
        ..Config::new("alpha")
    }
}

fn alpha() -> Change {
    Change::Node(node_object("alpha", "10.9.0.1", Some("red")))
}

fn cluster(changes: impl IntoIterator<Item = Change>) -> Cluster {
    let mut cluster = Cluster::default();
    for change in changes {
        cluster.apply(change);
    }
    cluster
}

/// The plan of alpha for some changes.
fn planned(changes: impl IntoIterator<Item = Change>) -> (Intent, Vec<Notice>) {
    crate::plan(&cluster([alpha()].into_iter().chain(changes)), &config())
}

fn owner(name: &str) -> Owner {
    Owner::Service(named(name))
}

/// The virtual servers of a Service; none where it has no entry.
fn servers<'a>(intent: &'a Intent, name: &str) -> &'a [VirtualServer] {
    intent.servers.get(&named(name)).map_or(&[], AsRef::as_ref)
}

/// The addresses of a pool, `ip:port`, in its order.
fn pool(pool: &[crate::Backend]) -> Vec<String> {
    pool.iter().map(|backend| backend.address.to_string()).collect()
}

/// A route in one word: `cluster`, `local`, with `+masq`; `reject` or `drop` with the reason.
fn word(route: Route) -> &'static str {
    use crate::PoolName::{Cluster, Local};
    match route {
        Route::Deliver { pool: Cluster, masquerade: false } => "cluster",
        Route::Deliver { pool: Cluster, masquerade: true } => "cluster+masq",
        Route::Deliver { pool: Local, masquerade: false } => "local",
        Route::Deliver { pool: Local, masquerade: true } => "local+masq",
        Route::Refuse { why: Refusal::NoEndpoints, with: Refuse::Reject } => "reject none",
        Route::Refuse { why: Refusal::NoEndpoints, with: Refuse::Drop } => "drop none",
        Route::Refuse { why: Refusal::NoLocalEndpoints, with: Refuse::Reject } => "reject no local",
        Route::Refuse { why: Refusal::NoLocalEndpoints, with: Refuse::Drop } => "drop no local",
    }
}

/// The routes of pod, node and outside.
fn words(routes: crate::Routes) -> [&'static str; 3] {
    [word(routes.pod), word(routes.node), word(routes.outside)]
}

/// `KIND ADDRESS:PORT` of each frontend, in order.
fn reached(server: &VirtualServer) -> Vec<String> {
    server
        .frontends
        .iter()
        .map(|frontend| {
            let kind = match frontend.kind {
                FrontendKind::ClusterIP => "cluster",
                FrontendKind::ExternalIP => "external",
                FrontendKind::LoadBalancerIP => "lb",
                FrontendKind::NodePort => "node",
            };
            match frontend.address {
                Some(address) => format!("{kind} {address} {}", frontend.port),
                None => format!("{kind} {}", frontend.port),
            }
        })
        .collect()
}

/// Object and reason of each notice that is not about the missing Node.
fn reasons(notices: &[Notice]) -> Vec<(String, Reason)> {
    notices.iter().map(|notice| (notice.object.to_string(), notice.reason)).collect()
}
