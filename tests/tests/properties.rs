//! What must hold for every cluster and every order of events, tried on generated ones.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use explain::Mode;
use lab::Namespace;
use model::{
    Affinity, Change, Cluster, Endpoint, EndpointPort, EndpointSlice, Family, Hints, IngressMode,
    LoadBalancerIngress, NamespacedName, Node, Protocol, Service, ServiceCidr, ServicePort,
    ServiceType, TrafficPolicy,
};
use plan::Config;
use pointsman_tests::{
    Cumulative, HostSettings, Memory, Settings, json, nftables_text, shapes, text, traffic,
};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::test_runner::Config as Runs;
use render::iptables::{self, Options, Rule, Ruleset};
use render::nftables;
use sync::iptables::Iptables;
use sync::table::Nftables;

fn config() -> impl Strategy<Value = Config> {
    (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(detect, all, loopback)| {
        let mut config = Settings::default().config("alpha");
        if !detect {
            config.detect_local = plan::DetectLocal::Nothing;
        }
        config.masquerade_all = all;
        config.localhost_node_ports = loopback;
        config
    })
}

/// Few names, so that events meet.
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn node() -> impl Strategy<Value = Node> {
    (select(vec![None, Some("red"), Some("blue")]), any::<bool>()).prop_map(|(zone, deleting)| {
        Node {
            name: "alpha".into(),
            internal_ips: Family::ALL.map(|family| lab::node_address(1, family)).into(),
            external_ips: Vec::new(),
            pod_cidrs: Family::ALL.map(|family| lab::pod_cidr(1, family)).into(),
            zone: zone.map(Into::into),
            labels: Default::default(),
            taints: Vec::new(),
            deleting,
        }
    })
}

fn policy() -> impl Strategy<Value = TrafficPolicy> {
    select(vec![TrafficPolicy::Cluster, TrafficPolicy::Local])
}

fn port() -> impl Strategy<Value = ServicePort> {
    (
        select(vec!["", "web", "dns"]),
        select(Protocol::ALL.to_vec()),
        select(vec![53_u16, 80, 443]),
        select(vec![None, None, Some(30080_u16), Some(30053)]),
    )
        .prop_map(|(name, protocol, port, node_port)| ServicePort {
            name: name.into(),
            protocol,
            port,
            target_port: None,
            node_port,
        })
}

fn ports() -> impl Strategy<Value = Vec<ServicePort>> {
    // The API has no two ports of one name and protocol.
    prop::collection::vec(port(), 1..3).prop_map(|ports| {
        let by_name: BTreeMap<_, _> =
            ports.into_iter().map(|port| ((port.name.clone(), port.protocol), port)).collect();
        by_name.into_values().collect()
    })
}

/// Few addresses too, so that Services dispute them.
fn service() -> impl Strategy<Value = Service> {
    let v4 = |third: u8, last: u8| IpAddr::from([10, 88, third, last]);
    let external: Vec<IpAddr> = vec![
        IpAddr::from([203, 0, 113, 50]),
        IpAddr::from([203, 0, 113, 51]),
        "2001:db8:203::50".parse().unwrap(),
        "127.0.0.9".parse().unwrap(),
    ];
    let ranges = ["198.51.100.0/24", "10.9.0.0/24", "0.0.0.0/0", "2001:db8:ffff::/64"];
    let ranges: Vec<model::Cidr> = ranges.iter().map(|range| range.parse().unwrap()).collect();
    let kinds = vec![
        ServiceType::ClusterIP,
        ServiceType::NodePort,
        ServiceType::LoadBalancer,
        ServiceType::LoadBalancer,
        ServiceType::ExternalName,
    ];
    let whats = (select(NAMES.to_vec()), 1..4_u8, select(kinds), ports(), any::<bool>());
    let reached = (
        subsequence(external.clone(), 0..3),
        subsequence(external, 0..3),
        select(vec![IngressMode::VIP, IngressMode::Proxy]),
        subsequence(ranges, 0..3),
    );
    let policies = (
        policy(),
        policy(),
        select(vec![Affinity::None, Affinity::ClientIP { timeout_seconds: 60 }]),
        select(vec![None, Some(1_700_000_000), Some(1_800_000_000)]),
        select(vec![false, false, false, true]),
    );
    (whats, reached, policies).prop_map(
        move |(
            (name, last, service_type, ports, dual),
            (external_ips, vips, mode, source_ranges),
            (internal, outside, affinity, created, headless),
        )| {
            let six: IpAddr = format!("fd88::{last}").parse().unwrap();
            let four = v4(0, last);
            let addresses = if dual { vec![four, six] } else { vec![four] };
            Service {
                created,
                service_type,
                headless,
                ip_families: addresses.iter().copied().map(Family::of).collect(),
                cluster_ips: if headless { Vec::new() } else { addresses },
                ports,
                external_ips,
                ingress: vips.into_iter().map(|ip| LoadBalancerIngress { ip, mode }).collect(),
                source_ranges,
                affinity,
                external_traffic_policy: outside,
                internal_traffic_policy: internal,
                health_check_node_port: Some(30999),
                ..shapes::service(name, four)
            }
        },
    )
}

fn endpoint(family: Family) -> impl Strategy<Value = Endpoint> {
    let conditions = select(vec![
        (true, true, false),
        (true, true, false),
        (false, true, true),
        (false, false, true),
        (false, false, false),
    ]);
    let hints = select(vec![None, Some("red"), Some("blue")]);
    let uid = select(vec![None, Some("one"), Some("two")]);
    (1..3_u8, 1..5_u8, conditions, hints, uid).prop_map(
        move |(node, pod, (ready, serving, terminating), hint, uid)| Endpoint {
            ready,
            serving,
            terminating,
            hints: hint.map(|zone| Box::new(Hints { zones: vec![zone.into()], nodes: Vec::new() })),
            target_uid: uid.map(Into::into),
            ..shapes::endpoint(
                lab::pod_address(node, pod, family),
                if node == 1 { "alpha" } else { "beta" },
            )
        },
    )
}

fn slice() -> impl Strategy<Value = EndpointSlice> {
    select(Family::ALL.to_vec()).prop_flat_map(|family| {
        let port = (
            select(vec![None, Some(""), Some("web"), Some("dns")]),
            select(Protocol::ALL.to_vec()),
            select(vec![None, Some(8080_u16), Some(5353)]),
        )
            .prop_map(|(name, protocol, port)| EndpointPort {
                name: name.map(Arc::from),
                protocol,
                port,
            });
        let of = select(NAMES.to_vec());
        let name = select(vec!["one", "two", "three"]);
        let ports = prop::collection::vec(port, 0..3);
        let endpoints = prop::collection::vec(endpoint(family), 0..5);
        (of, name, ports, endpoints, 0..4_u64).prop_map(
            move |(of, name, ports, endpoints, version)| EndpointSlice {
                name: NamespacedName::new("shop", name),
                service: Some(NamespacedName::new("shop", of)),
                version,
                last_change_trigger: None,
                address_type: model::AddressType::Ip(family),
                ports,
                endpoints,
            },
        )
    })
}

fn change() -> impl Strategy<Value = Change> {
    let gone =
        |names: Vec<&'static str>| select(names).prop_map(|name| NamespacedName::new("shop", name));
    prop_oneof![
        6 => service().prop_map(Change::Service),
        8 => slice().prop_map(Change::Slice),
        2 => gone(NAMES.to_vec()).prop_map(Change::ServiceGone),
        2 => gone(vec!["one", "two", "three"]).prop_map(Change::SliceGone),
        1 => node().prop_map(Change::Node),
        1 => Just(Change::NodeGone("alpha".into())),
        1 => service_cidrs().prop_map(Change::ServiceCidrs),
        1 => prop::collection::vec(service(), 0..3).prop_map(Change::Services),
        1 => prop::collection::vec(slice(), 0..3).prop_map(Change::Slices),
        1 => any::<bool>().prop_map(|conntrack_be_liberal| {
            let settings = HostSettings { conntrack_be_liberal, ..HostSettings::default() };
            Change::Host(settings.host("alpha"))
        }),
    ]
}

fn from_nothing(cluster: &Cluster, config: &Config) -> (plan::Intent, Ruleset) {
    let (intent, _) = plan::plan(cluster, config);
    let ruleset = iptables::ruleset(&intent, &Options::default());
    (intent, ruleset)
}

/// The tables of nftables mode, which say whatever a cluster makes of an Intent.
fn tables(intent: &plan::Intent) -> nftables::Ruleset {
    let (tables, left_out) = nftables::ruleset(intent, &nftables::Options::default());
    assert!(left_out.is_empty(), "{left_out:?}");
    tables
}

/// What a set of facts becomes, whatever brought them.
fn bytes(changes: &[Change], config: &Config) -> [String; 3] {
    let mut cluster = Cluster::default();
    changes.iter().for_each(|change| drop(cluster.apply(change.clone())));
    let (intent, ruleset) = from_nothing(&cluster, config);
    [json(&intent), text(&ruleset), nftables_text(&tables(&intent))]
}

fn service_cidrs() -> impl Strategy<Value = Vec<ServiceCidr>> {
    let all = vec![("one", "10.88.0.0/16"), ("two", "10.88.0.0/24"), ("three", "fd88::/112")];
    subsequence(all, 0..=3).prop_map(|chosen| {
        let read = |(name, block): (&str, &str)| {
            let cidrs = [block.parse().expect("a block")].into();
            ServiceCidr { name: name.into(), cidrs }
        };
        chosen.into_iter().map(read).collect()
    })
}

/// Facts about different objects, of which each may come at any time.
fn facts() -> impl Strategy<Value = Vec<Change>> {
    let facts = (
        prop::collection::vec(service(), 1..6),
        prop::collection::vec(slice(), 1..6),
        prop::option::of(node()),
        service_cidrs(),
    );
    facts.prop_map(|(services, slices, node, cidrs)| {
        let services: BTreeMap<_, _> =
            services.into_iter().map(|one| (one.name.clone(), Change::Service(one))).collect();
        let slices: BTreeMap<_, _> =
            slices.into_iter().map(|one| (one.name.clone(), Change::Slice(one))).collect();
        let host = Change::Host(HostSettings::default().host("alpha"));
        let rest = node.map(Change::Node).into_iter().chain([host]);
        let rest = rest.chain(cidrs.into_iter().map(Change::ServiceCidr));
        services.into_values().chain(slices.into_values()).chain(rest).collect()
    })
}

proptest! {
    #![proptest_config(Runs { cases: 512, ..Runs::default() })]

    #[test]
    fn any_order_of_facts_gives_the_same_bytes(
        (facts, shuffled) in facts().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        config in config(),
    ) {
        prop_assert_eq!(bytes(&facts, &config), bytes(&shuffled, &config));
    }

    #[test]
    fn after_any_events_incremental_equals_from_nothing(
        batches in prop::collection::vec(prop::collection::vec(change(), 1..4), 1..12),
        config in config(),
    ) {
        let mut agent = Cumulative::new(config.clone());
        for batch in batches {
            agent.update(&batch);
            let (intent, ruleset) = from_nothing(agent.cluster(), &config);
            prop_assert_eq!(agent.intent(), &intent);
            prop_assert_eq!(agent.ruleset(), &ruleset);
            prop_assert_eq!(
                agent.memory().clone().without_empty_places(),
                Memory::of(&ruleset).without_empty_places()
            );
            let tables = tables(&intent);
            prop_assert_eq!(agent.nftables().ruleset(), &tables);
            prop_assert_eq!(agent.nftables().memory(), &tables.merged());
        }
    }

    #[test]
    fn intent_and_rules_agree_on_any_packet(
        facts in facts(),
        config in config(),
        packets in prop::collection::vec(packet(), 8),
    ) {
        let mut cluster = Cluster::default();
        facts.iter().for_each(|change| drop(cluster.apply(change.clone())));
        let (intent, ruleset) = from_nothing(&cluster, &config);
        let (tables, host) = (tables(&intent), cluster.host());
        for packet in packets {
            let decided = |mode| explain::decide(&intent, host, &packet, mode);
            let traced = explain::trace_iptables(&ruleset, host, &packet);
            let met = traced.map(|trace| trace.verdict);
            prop_assert_eq!(Ok(decided(Mode::Iptables)), met, "{}", packet);
            let traced = explain::trace_nftables(&tables, host, &packet);
            let met = traced.map(|trace| trace.verdict);
            prop_assert_eq!(Ok(decided(Mode::Nftables)), met, "{}", packet);
        }
    }
}

fn packet() -> impl Strategy<Value = explain::Packet> {
    let from = vec![
        ("10.77.1.9", "veth1"),
        ("10.77.1.1", "veth1"),
        ("10.77.2.2", "to-beta"),
        ("10.9.0.1", ""),
        ("127.0.0.1", ""),
        ("198.51.100.7", "to-outside"),
        ("192.0.2.7", "to-outside"),
        ("fd77:1::9", "veth1"),
        ("fd77:1::1", "veth1"),
        ("fd09::1", ""),
        ("2001:db8:ffff::7", "to-outside"),
    ];
    let to = vec![
        "10.88.0.1",
        "10.88.0.2",
        "10.88.0.3",
        "203.0.113.50",
        "203.0.113.51",
        "10.9.0.1",
        "127.0.0.1",
        "fd88::1",
        "fd88::2",
        "2001:db8:203::50",
        "fd09::1",
        "::1",
    ];
    let ports = vec![53_u16, 80, 443, 30080, 30053, 30999];
    (select(from), select(to), select(Protocol::ALL.to_vec()), select(ports)).prop_filter_map(
        "one family, and loopback on loopback alone",
        |((source, interface), destination, protocol, port)| {
            let (source, destination): (IpAddr, IpAddr) =
                (source.parse().ok()?, destination.parse().ok()?);
            let inside = interface.is_empty() || !destination.is_loopback();
            let packet = explain::Packet {
                protocol,
                source,
                destination,
                port,
                enters: match interface {
                    "" => explain::Enters::Output,
                    name => explain::Enters::Interface(name.into()),
                },
            };
            (source.is_ipv4() == destination.is_ipv4() && inside).then_some(packet)
        },
    )
}

proptest! {
    // Each run makes a network namespace and some fifty transactions.
    #![proptest_config(Runs { cases: 24, max_shrink_iters: 40, ..Runs::default() })]

    #[test]
    fn after_any_events_the_kernel_holds_what_is_computed_from_nothing(
        batches in prop::collection::vec(prop::collection::vec(change(), 1..4), 1..10),
        config in config(),
    ) {
        let place = Namespace::new().unwrap();
        let mut kernel = place.run(Iptables::open).unwrap().unwrap();
        let mut agent = Cumulative::new(config.clone());
        let mut first = true;
        for batch in batches {
            let changes = agent.update(&batch);
            let written = if first {
                kernel.reconcile(agent.ruleset())
            } else {
                kernel.apply(&changes.into_iter().collect())
            };
            first = false;
            let written = written.map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert!(written.refused.is_empty(), "{:?}", written.refused);
            let (_, ruleset) = from_nothing(agent.cluster(), &config);
            prop_assert_eq!(held(&mut kernel), wanted(&ruleset));
        }
        let (_, ruleset) = from_nothing(agent.cluster(), &config);
        let mut stranger = place.run(Iptables::open).unwrap().unwrap();
        let written = stranger.reconcile(&ruleset).unwrap();
        prop_assert_eq!(written.messages, 0, "a restart has nothing to write");
    }
}

proptest! {
    #![proptest_config(Runs { cases: 24, max_shrink_iters: 40, ..Runs::default() })]

    #[test]
    fn after_any_events_nft_lists_what_is_computed_from_nothing(
        batches in prop::collection::vec(prop::collection::vec(change(), 1..4), 1..10),
        config in config(),
    ) {
        let place = Namespace::new().unwrap();
        let mut kernel = place.run(Nftables::open).unwrap().unwrap();
        let mut agent = Cumulative::new(config.clone());
        for (number, batch) in batches.iter().enumerate() {
            agent.update(batch);
            let rules = agent.nftables();
            let written = match number {
                0 => kernel.reconcile(rules.ruleset()),
                _ => kernel.apply(rules.last()),
            };
            let written = written.map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert!(written.refused.is_empty(), "{:?}", written.refused);
            let (intent, _) = from_nothing(agent.cluster(), &config);
            let listed = traffic::listing::compare(&place, &tables(&intent));
            prop_assert_eq!(listed, Ok(()));
        }
        let (intent, _) = from_nothing(agent.cluster(), &config);
        let mut stranger = place.run(Nftables::open).unwrap().unwrap();
        let written = stranger.reconcile(&tables(&intent)).unwrap();
        prop_assert_eq!(written.messages, 0, "a restart has nothing to write");
    }
}

/// Every chain with its rules in order, as the kernel has them.
fn held(kernel: &mut Iptables) -> BTreeMap<String, Vec<Option<Rule>>> {
    let held = kernel.read().unwrap().into_iter();
    let chains = held.map(|(chain, rules)| {
        (chain.to_string(), rules.into_iter().map(|one| one.rule).collect::<Vec<_>>())
    });
    chains.filter(|(_, rules)| !rules.is_empty()).collect()
}

fn wanted(ruleset: &Ruleset) -> BTreeMap<String, Vec<Option<Rule>>> {
    let all = ruleset.chains().into_iter().chain(ruleset.built_in());
    let chains = all.map(|(chain, rules)| {
        (chain.to_string(), rules.into_iter().cloned().map(Some).collect::<Vec<_>>())
    });
    chains.filter(|(_, rules)| !rules.is_empty()).collect()
}
