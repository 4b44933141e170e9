//! What holds for all clusters: order plays no part, incremental equals whole, nothing panics.
//!
//! The generators draw names, addresses and ports from small spaces, so that Services collide,
//! change sides and move.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use model::{
    AddressType, Affinity, Change, Cluster, Endpoint, EndpointPort, EndpointSlice, Family, Hints,
    Host, HostAddress, IngressMode, LoadBalancerIngress, NamespacedName, Node, Owner, PortName,
    Protocol, Service, ServiceCidr, ServicePort, ServiceType, TrafficPolicy,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::{cidr, service};
use crate::{
    Config, DetectLocal, Intent, NodePortAddresses, OnNoLocalEndpoints, Planner, PoolName, Route,
    plan,
};

fn name() -> impl Strategy<Value = NamespacedName> {
    (select(vec!["one", "two"]), select(vec!["a", "b", "c"]))
        .prop_map(|(namespace, name)| NamespacedName::new(namespace, name))
}

/// Mostly a handful of addresses that collide, sometimes anything.
fn address() -> BoxedStrategy<IpAddr> {
    let few = vec!["10.88.0.1", "10.88.0.2", "10.88.0.3", "10.9.0.1", "fd88::1", "fd88::2"];
    prop_oneof![
        12 => select(few).prop_map(super::ip),
        1 => any::<IpAddr>(),
        1 => select(vec!["127.0.0.1", "::1", "0.0.0.0", "224.0.0.1", "fe80::1"]).prop_map(super::ip),
    ]
    .boxed()
}

fn protocol() -> impl Strategy<Value = Protocol> {
    select(vec![Protocol::Tcp, Protocol::Tcp, Protocol::Udp, Protocol::Sctp])
}

fn policy() -> impl Strategy<Value = TrafficPolicy> {
    select(vec![TrafficPolicy::Cluster, TrafficPolicy::Local])
}

fn port_name() -> impl Strategy<Value = &'static str> {
    select(vec!["", "http", "dns"])
}

prop_compose! {
    fn service_port()(
        name in port_name(),
        protocol in protocol(),
        port in prop_oneof![6 => select(vec![80u16, 81]), 1 => any::<u16>()],
        node_port in option::of(prop_oneof![4 => select(vec![30080u16, 30081]), 1 => Just(0)]),
    ) -> ServicePort {
        ServicePort { name: name.into(), protocol, port, target_port: None, node_port }
    }
}

fn affinity() -> impl Strategy<Value = Affinity> {
    option::of(any::<u32>()).prop_map(|timeout| match timeout {
        None => Affinity::None,
        Some(timeout_seconds) => Affinity::ClientIP { timeout_seconds },
    })
}

prop_compose! {
    fn reachable()(
        external_ips in vec(address(), 0..3),
        ingress in vec((address(), any::<bool>()), 0..3),
        source_ranges in vec((address(), 0u8..=32), 0..3),
        health_check_node_port in option::of(any::<u16>()),
        service_type in select(vec![
            ServiceType::ClusterIP,
            ServiceType::NodePort,
            ServiceType::LoadBalancer,
            ServiceType::LoadBalancer,
            ServiceType::ExternalName,
        ]),
    ) -> Service {
        let mode = |proxy| if proxy { IngressMode::Proxy } else { IngressMode::VIP };
        let ingress = ingress.into_iter().map(|(ip, proxy)| LoadBalancerIngress { ip, mode: mode(proxy) });
        let ranges = source_ranges.into_iter();
        let ranges = ranges.map(|(ip, length)| model::Cidr::new(ip, length).unwrap().trunc());
        Service {
            external_ips,
            ingress: ingress.collect(),
            source_ranges: ranges.collect(),
            health_check_node_port,
            service_type,
            ..service("generated/later", &[])
        }
    }
}

prop_compose! {
    fn any_service()(
        base in reachable(),
        name in name(),
        created in option::of(0i64..3),
        cluster_ips in vec(address(), 0..3),
        ip_families in option::of(vec(select(Family::ALL.to_vec()), 0..3)),
        ports in vec(service_port(), 0..4),
        affinity in affinity(),
        external_traffic_policy in policy(),
        internal_traffic_policy in policy(),
        rare in 0u8..20,
    ) -> Service {
        let families = cluster_ips.iter().map(|&ip| Family::of(ip)).collect();
        Service {
            name,
            created,
            ip_families: ip_families.unwrap_or(families),
            cluster_ips,
            ports,
            affinity,
            external_traffic_policy,
            internal_traffic_policy,
            headless: rare == 0,
            proxy_name: (rare == 1).then(|| "other".into()),
            ..base
        }
    }
}

prop_compose! {
    fn any_endpoint()(
        address in prop_oneof![
            8 => (1u8..5).prop_map(|n| super::ip(&format!("10.77.1.{n}"))),
            4 => (1u8..3).prop_map(|n| super::ip(&format!("fd77::{n}"))),
            1 => address(),
        ],
        (ready, serving, terminating) in any::<(bool, bool, bool)>(),
        node in option::of(select(vec!["alpha", "beta"])),
        hints in option::of((
            vec(select(vec!["red", "blue"]), 0..2),
            vec(select(vec!["alpha", "beta"]), 0..2),
        )),
        target_uid in option::of(select(vec!["p", "q"])),
    ) -> Endpoint {
        let list = |names: Vec<&str>| names.into_iter().map(Into::into).collect();
        Endpoint {
            ready,
            serving,
            terminating,
            node: node.map(Into::into),
            hints: hints.map(|(zones, nodes)| {
                Box::new(Hints { zones: list(zones), nodes: list(nodes) })
            }),
            target_uid: target_uid.map(Into::into),
            ..Endpoint::new(address)
        }
    }
}

fn slice_name() -> impl Strategy<Value = NamespacedName> {
    (select(vec!["one", "two"]), 0..5)
        .prop_map(|(namespace, n)| NamespacedName::new(namespace, format!("slice-{n}")))
}

prop_compose! {
    fn any_slice()(
        name in slice_name(),
        service in option::weighted(0.9, select(vec!["a", "b", "c"])),
        version in 0u64..4,
        address_type in select(vec![
            AddressType::Ip(Family::V4),
            AddressType::Ip(Family::V4),
            AddressType::Ip(Family::V6),
            AddressType::Fqdn,
        ]),
        ports in vec(
            (option::weighted(0.9, port_name()), protocol(), option::of(select(vec![80u16, 8080, 0]))),
            0..3,
        ),
        endpoints in vec(any_endpoint(), 0..5),
    ) -> EndpointSlice {
        let service = service.map(|service| NamespacedName::new(name.namespace.clone(), service));
        let ports = ports.into_iter().map(|(name, protocol, port)| EndpointPort {
            name: name.map(Into::into),
            protocol,
            port,
        });
        let (last_change_trigger, ports) = (None, ports.collect());
        EndpointSlice { name, service, version, last_change_trigger, address_type, ports, endpoints }
    }
}

prop_compose! {
    fn any_node()(
        name in select(vec!["alpha", "alpha", "beta"]),
        internal_ips in vec(address(), 0..3),
        external_ips in vec(address(), 0..2),
        zone in option::of(select(vec!["red", "blue", ""])),
        pods in vec(select(vec!["10.77.1.0/24", "fd77::/64"]), 0..3),
    ) -> Node {
        Node {
            name: name.into(),
            internal_ips,
            external_ips,
            pod_cidrs: pods.into_iter().map(cidr).collect(),
            zone: zone.map(Into::into),
            labels: Default::default(),
            taints: Vec::new(),
            deleting: false,
        }
    }
}

prop_compose! {
    fn any_host()(addresses in vec(address(), 0..4), conntrack_be_liberal in any::<bool>()) -> Host {
        let own = |address| HostAddress { address, interface: "eth0".into() };
        Host { addresses: addresses.into_iter().map(own).collect(), conntrack_be_liberal }
    }
}

pub(super) fn change() -> impl Strategy<Value = Change> {
    let blocks = vec(select(vec!["10.88.0.0/16", "fd88::/112", "10.89.0.0/16"]), 0..3);
    let cidrs = (select(vec!["x", "y"]), blocks).prop_map(|(name, blocks)| ServiceCidr {
        name: name.into(),
        cidrs: blocks.into_iter().map(cidr).collect(),
    });
    prop_oneof![
        12 => any_service().prop_map(Change::Service),
        4 => name().prop_map(Change::ServiceGone),
        1 => vec(any_service(), 0..6).prop_map(Change::Services),
        12 => any_slice().prop_map(Change::Slice),
        4 => slice_name().prop_map(Change::SliceGone),
        1 => vec(any_slice(), 0..6).prop_map(Change::Slices),
        2 => any_node().prop_map(Change::Node),
        1 => Just(Change::NodeGone("alpha".into())),
        1 => vec(any_node(), 0..2).prop_map(Change::Nodes),
        1 => cidrs.prop_map(Change::ServiceCidr),
        1 => select(vec!["x", "y"]).prop_map(|name| Change::ServiceCidrGone(name.into())),
        1 => any_host().prop_map(Change::Host),
    ]
}

prop_compose! {
    pub(super) fn any_config()(
        own_address in option::of(address()),
        detect_local in prop_oneof![
            Just(DetectLocal::Nothing),
            Just(DetectLocal::NodeCidr),
            Just(DetectLocal::BridgeInterface("br0".into())),
            Just(DetectLocal::InterfaceNamePrefix("veth".into())),
            Just(DetectLocal::ClusterCidr(vec![cidr("10.77.0.0/16")])),
        ],
        node_port_addresses in prop_oneof![
            Just(NodePortAddresses::All),
            Just(NodePortAddresses::Primary),
            vec(select(vec!["10.9.0.0/16", "127.0.0.0/8", "0.0.0.0/0", "fd88::/64"]), 0..3)
                .prop_map(|list| NodePortAddresses::Cidrs(list.into_iter().map(cidr).collect())),
        ],
        masquerade_all in any::<bool>(),
        localhost_node_ports in any::<bool>(),
        allow_external_ips in prop::bool::weighted(0.8),
        on_no_local_endpoints in select(vec![OnNoLocalEndpoints::Drop, OnNoLocalEndpoints::Reject]),
    ) -> Config {
        Config {
            node_name: "alpha".into(),
            own_address,
            detect_local,
            masquerade_all,
            node_port_addresses,
            localhost_node_ports,
            allow_external_ips,
            on_no_local_endpoints,
            network_policy: Default::default(),
        }
    }
}

pub(super) fn cases() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

/// What an owner has of an Intent, for comparison.
fn part<'a>(
    intent: &'a Intent,
    owner: &Owner,
) -> Result<Option<&'a [crate::VirtualServer]>, &'a crate::NodeIntent> {
    match owner {
        Owner::Node => Err(&intent.node),
        Owner::Service(name) => Ok(intent.servers.get(name).map(AsRef::as_ref)),
        Owner::Policy(_) => Ok(None),
    }
}

proptest! {
    #![proptest_config(cases())]

    /// After each of any events, the planner holds what is computed from nothing, and names exactly
    /// the owners whose part is different.
    #[test]
    fn incremental_equals_whole(
        config in any_config(),
        batches in vec(vec(change(), 1..4), 1..25),
    ) {
        let mut cluster = Cluster::default();
        let mut planner = Planner::new(config.clone());
        for batch in batches {
            let before = planner.intent().clone();
            let said: Vec<_> = planner.notices().cloned().collect();
            planner.take_notices_differ();
            let mut owners = BTreeSet::new();
            for change in batch {
                owners.extend(cluster.apply(change));
            }
            let changed = planner.update(&cluster, &owners);
            let (intent, notices) = plan(&cluster, &config);
            prop_assert_eq!(planner.intent(), &intent);
            prop_assert_eq!(planner.notices().cloned().collect::<Vec<_>>(), &notices[..]);
            prop_assert!(planner.take_notices_differ() || said == notices);
            let services = before.servers.keys().chain(intent.servers.keys()).cloned();
            let differs: BTreeSet<Owner> = services
                .map(Owner::Service)
                .chain([Owner::Node])
                .filter(|owner| part(&before, owner) != part(&intent, owner))
                .collect();
            prop_assert_eq!(changed, differs);
        }
    }

    /// Any order of the same changes gives the same plan.
    #[test]
    fn order_plays_no_part(
        config in any_config(),
        (changes, shuffled) in vec(change(), 0..16)
            .prop_map(|changes| {
                // One change for each object: later news of one object do depend on their order.
                let mut seen = BTreeSet::new();
                changes
                    .into_iter()
                    .filter(|change| match change {
                        Change::Service(service) => seen.insert(format!("s {}", service.name)),
                        Change::Slice(slice) => seen.insert(format!("e {}", slice.name)),
                        Change::Node(node) => seen.insert(format!("n {}", node.name)),
                        Change::ServiceCidr(cidr) => seen.insert(format!("c {}", cidr.name)),
                        Change::Host(_) => seen.insert("h".into()),
                        _ => false,
                    })
                    .collect::<Vec<_>>()
            })
            .prop_flat_map(|changes| (Just(changes.clone()), Just(changes).prop_shuffle())),
    ) {
        let first = plan(&super::cluster(changes), &config);
        prop_assert_eq!(&first, &plan(&super::cluster(shuffled.clone()), &config));
        let mut cluster = Cluster::default();
        let mut planner = Planner::new(config);
        for change in shuffled {
            let owners = cluster.apply(change);
            planner.update(&cluster, &owners);
        }
        prop_assert_eq!(&first.0, planner.intent());
    }

    /// Every Intent keeps its promises: no place is held twice, no route leads to an empty pool, no
    /// pool is idle, pools are sorted and without repetition.
    #[test]
    fn intents_keep_their_promises(config in any_config(), changes in vec(change(), 0..30)) {
        let (intent, _) = plan(&super::cluster(changes), &config);
        let mut places = BTreeSet::new();
        for (name, servers) in &intent.servers {
            prop_assert!(!servers.is_empty());
            for server in servers.iter() {
                prop_assert_eq!(&server.name.service, name);
                prop_assert!(!server.frontends.is_empty());
                let mut used = BTreeSet::new();
                for frontend in &server.frontends {
                    let place = (server.family, frontend.address, frontend.port, server.protocol());
                    prop_assert!(places.insert(place), "held twice: {:?}", place);
                    prop_assert!(frontend.port != 0);
                    if let Some(address) = frontend.address {
                        prop_assert_eq!(Family::of(address), server.family);
                    }
                    let routes = [frontend.routes.pod, frontend.routes.node, frontend.routes.outside];
                    used.extend(routes.iter().filter_map(|route| match route {
                        Route::Deliver { pool, .. } => Some(*pool),
                        Route::Refuse { .. } => None,
                    }));
                }
                for pool in [PoolName::Cluster, PoolName::Local] {
                    let list = server.pool(pool);
                    prop_assert_eq!(list.is_empty(), !used.contains(&pool));
                    let texts: Vec<String> =
                        list.iter().map(|backend| backend.address.to_string()).collect();
                    prop_assert!(texts.is_sorted_by(|a, b| a < b), "{:?}", texts);
                    prop_assert!(list.iter().all(|b| Family::of(b.address.ip()) == server.family));
                }
                prop_assert!(server.local.iter().all(|backend| backend.local));
            }
        }
    }

    /// Conflicts, by another way: each Service is planned alone, and each place goes to the least of
    /// all that want it.
    #[test]
    fn each_place_goes_to_the_best_claim(config in any_config(), changes in vec(change(), 0..30)) {
        let cluster = super::cluster(changes);
        let (intent, _) = plan(&cluster, &config);
        let mut wanted = BTreeMap::new();
        for (name, object) in cluster.services() {
            let alone = cluster.slices(name).map(|slice| Change::Slice((**slice).clone()));
            let nodes = cluster.nodes().map(|node| Change::Node((**node).clone()));
            let object_alone = [Change::Service((**object).clone())];
            let alone = super::cluster(alone.chain(nodes).chain(object_alone));
            // Ports of one Service that claim one place have been settled between them here.
            let (intent, _) = plan(&alone, &config);
            for server in intent.servers.values().flat_map(|servers| servers.iter()) {
                for frontend in &server.frontends {
                    let place = (server.family, frontend.address, frontend.port, server.protocol());
                    let written = frontend.kind != crate::FrontendKind::ClusterIP;
                    let age = object.created.unwrap_or(i64::MAX);
                    let rank = (written, age, server.name.clone());
                    let best: &mut (bool, i64, PortName) = wanted.entry(place).or_insert(rank.clone());
                    if rank < *best {
                        *best = rank;
                    }
                }
            }
        }
        let held: BTreeMap<_, _> = intent
            .servers
            .values()
            .flat_map(|servers| servers.iter())
            .flat_map(|server| {
                server.frontends.iter().map(move |frontend| {
                    let place = (server.family, frontend.address, frontend.port, server.protocol());
                    (place, server.name.clone())
                })
            })
            .collect();
        let expected: BTreeMap<_, _> =
            wanted.into_iter().map(|(place, (_, _, name))| (place, name)).collect();
        prop_assert_eq!(held, expected);
    }
}
