//! Intents to write, in both families.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use model::{Family, NamespacedName, Owner, PortName, Protocol};
use plan::{
    Backend, Frontend, FrontendKind, Intent, LocalTraffic, NodeIntent, NodePortAccept, PerFamily,
    PoolName, Refusal, Refuse, Route, Routes, VirtualServer,
};
use render::nftables::{Options, Part, Ruleset};

/// The Service of a number.
pub(crate) fn name(number: u32) -> NamespacedName {
    NamespacedName::new("ns", format!("svc{number}"))
}

/// Its owner.
pub(crate) fn owner(number: u32) -> Owner {
    Owner::Service(name(number))
}

/// An address in one of a family's blocks.
pub(crate) fn address(family: Family, block: u8, number: u32) -> IpAddr {
    let [a, b, c, d] = number.to_be_bytes();
    match family {
        Family::V4 => {
            assert_eq!((a, b & 0xf0), (0, 0), "{number} does not fit");
            IpAddr::from([10, block + b, c, d])
        }
        Family::V6 => {
            let groups = [a, b, c, d].map(u16::from);
            let low = [groups[0] << 8 | groups[1], groups[2] << 8 | groups[3]];
            IpAddr::from([0xfd00, 0, 0, block.into(), 0, 0, low[0], low[1]])
        }
    }
}

/// How a Service is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kind {
    /// The numbers of its endpoints.
    pub(crate) endpoints: Vec<u32>,
    /// How many of them are on this node.
    pub(crate) local: usize,
    /// Session affinity.
    pub(crate) sticky: Option<u32>,
    /// A NodePort and a load balancer's address with source ranges, by the local pool.
    pub(crate) outside: bool,
    /// UDP.
    pub(crate) udp: bool,
}

/// A Service with so many endpoints of its own.
pub(crate) fn plain(number: u32, count: u32) -> Kind {
    Kind { endpoints: (0..count).map(|n| number * count + n).collect(), ..Kind::default() }
}

fn pool(family: Family, endpoints: &[u32]) -> Arc<[Backend]> {
    let backend = |&endpoint: &u32| Backend {
        address: SocketAddr::new(address(family, 64, endpoint), 8080),
        local: true,
        unplaced: false,
    };
    endpoints.iter().map(backend).collect()
}

/// Its virtual server in one family.
pub(crate) fn server(family: Family, number: u32, kind: &Kind) -> VirtualServer {
    let local = &kind.endpoints[..kind.local.min(kind.endpoints.len())];
    let route = |pool, masquerade| match kind.endpoints.is_empty() {
        true => Route::Refuse { why: Refusal::NoEndpoints, with: Refuse::Reject },
        false => Route::Deliver { pool, masquerade },
    };
    let outside = match local.is_empty() {
        false => route(PoolName::Local, false),
        true => Route::Refuse { why: Refusal::NoLocalEndpoints, with: Refuse::Drop },
    };
    let elsewhere = route(PoolName::Cluster, true);
    let cluster_policy =
        Routes { pod: route(PoolName::Cluster, false), node: elsewhere, outside: elsewhere };
    let local_policy = Routes { outside, ..cluster_policy };
    let front =
        |kind, address, port, routes| Frontend { kind, address, port, sources: None, routes };
    let vip = Some(address(family, 96, number));
    let mut frontends = vec![front(FrontendKind::ClusterIP, vip, 80, cluster_policy)];
    if kind.outside {
        let port = u16::try_from(30_000 + number % 2_000).unwrap();
        frontends.push(front(FrontendKind::NodePort, None, port, local_policy));
        let balancer = Some(address(family, 112, number));
        let mut guarded = front(FrontendKind::LoadBalancerIP, balancer, 80, local_policy);
        let ranges: [&str; 3] = match family {
            Family::V4 => ["198.51.100.0/24", "10.64.0.0/12", "192.0.2.1/32"],
            Family::V6 => ["2001:db8:7::/48", "fd00:0:0:40::/64", "2001:db8::1/128"],
        };
        guarded.sources = Some(ranges.map(|range| range.parse().unwrap()).into());
        frontends.push(guarded);
    }
    let protocol = if kind.udp { Protocol::Udp } else { Protocol::Tcp };
    VirtualServer {
        name: PortName { service: name(number), port: "p".into(), protocol },
        family,
        frontends,
        cluster: pool(family, &kind.endpoints),
        local: pool(family, local),
        affinity_seconds: kind.sticky,
        health_check_node_port: None,
    }
}

/// Services by number.
pub(crate) type World = BTreeMap<u32, Kind>;

/// A node whose Pods are told by their addresses.
pub(crate) fn node() -> NodeIntent {
    let text = |family, four: &str, six: &str| match family {
        Family::V4 => four.to_owned(),
        Family::V6 => six.to_owned(),
    };
    NodeIntent {
        node: "node".into(),
        local_traffic: PerFamily::of(|family| {
            let block = text(family, "10.64.0.0/12", "fd00:0:0:40::/64");
            LocalTraffic::Source(block.parse().unwrap())
        }),
        node_ports: PerFamily::of(|family| {
            let own = text(family, "192.168.56.101", "fd56::101");
            NodePortAccept::Addresses(BTreeSet::from([own.parse().unwrap()]))
        }),
        localhost_node_ports: false,
        drop_invalid: true,
        service_cidrs: PerFamily::of(|family| {
            let blocks = match family {
                Family::V4 => ["10.96.0.0/12", "172.30.0.0/16"],
                Family::V6 => ["fd00:0:0:60::/64", "fd00:0:0:61::/64"],
            };
            blocks.map(|block| block.parse().unwrap()).into()
        }),
    }
}

/// An Intent for some families.
pub(crate) fn intent_of(world: &World, node: NodeIntent, families: &[Family]) -> Intent {
    let servers = world.iter().map(|(&number, kind)| {
        let servers = families.iter().map(|&family| server(family, number, kind));
        (name(number), servers.collect::<Vec<_>>().into())
    });
    Intent { node: Arc::new(node), servers: servers.collect(), policy: Default::default() }
}

/// The rules of an Intent, all of them.
pub(crate) fn rendered(intent: &Intent) -> Ruleset {
    let (ruleset, left_out) = render::nftables::ruleset(intent, &Options::default());
    assert_eq!(left_out, BTreeMap::new());
    ruleset
}

/// The rules of some Services in both families.
pub(crate) fn ruleset(world: &World) -> Ruleset {
    rendered(&intent_of(world, node(), &Family::ALL))
}

/// One Service of every kind.
pub(crate) fn every_kind() -> World {
    let base = plain(1, 3);
    let kinds = [
        base.clone(),
        Kind { sticky: Some(10_800), ..plain(2, 2) },
        Kind { outside: true, local: 1, ..plain(3, 3) },
        Kind { outside: true, ..plain(4, 2) },
        Kind { outside: true, local: 2, sticky: Some(90), ..plain(5, 4) },
        Kind { udp: true, ..plain(6, 0) },
        Kind { udp: true, outside: true, ..plain(7, 0) },
        // The endpoints of another.
        Kind { udp: true, ..base },
    ];
    (1..).zip(kinds).collect()
}

/// Asserts that two states are the same, and names what differs alone.
#[track_caller]
pub(crate) fn same(ours: &Part, theirs: &Part) {
    let mut differ = Vec::new();
    for id in ours.chains.keys().chain(theirs.chains.keys()) {
        let (one, other) = (ours.chains.get(id), theirs.chains.get(id));
        if one != other {
            differ.push(format!("{id:?}:\n  {one:?}\n  {other:?}"));
        }
    }
    for id in ours.elements.keys().chain(theirs.elements.keys()) {
        let (one, other) = (ours.elements.get(id), theirs.elements.get(id));
        if one != other {
            differ.push(format!("{id:?}:\n  {one:?}\n  {other:?}"));
        }
    }
    assert!(
        differ.is_empty(),
        "{} differ: {}",
        differ.len(),
        differ[..differ.len().min(4)].join("\n")
    );
}
