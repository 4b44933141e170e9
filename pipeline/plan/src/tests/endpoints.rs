//! endpointslicecache and UpdateEndpointsMap, and B2, B3, B6, B7, D3, D10.

use std::collections::BTreeSet;

use model::{AddressType, Change, EndpointPort, EndpointSlice, Family, Protocol, Reason};

use super::{endpoint, named, planned, pool, port, reasons, servers, service, slice, slice_port};
use crate::addresses;
use crate::endpoints::{Candidate, endpoints, notices};

/// The `address:port` of a TCP port's IPv4 endpoints.
fn listed(slices: &[EndpointSlice], port: &str) -> Vec<String> {
    let slices: Vec<_> = slices.iter().collect();
    let all = endpoints(&slices, port, Protocol::Tcp, Family::V4);
    all.iter().map(|candidate| candidate.address.to_string()).collect()
}

/// The only candidate of some slices, whatever their order.
#[track_caller]
fn only(slices: &[EndpointSlice]) -> model::Endpoint {
    let mut seen: Vec<model::Endpoint> = Vec::new();
    for rotation in 0..slices.len() {
        let mut order: Vec<&EndpointSlice> = slices.iter().collect();
        order.rotate_left(rotation);
        for reversed in [false, true] {
            if reversed {
                order.reverse();
            }
            let all: Vec<Candidate<'_>> = endpoints(&order, "", Protocol::Tcp, Family::V4);
            assert_eq!(all.len(), 1, "{all:?}");
            seen.push(all[0].endpoint.clone());
        }
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "order matters: {seen:?}");
    seen.remove(0)
}

fn versioned(version: u64, slice: EndpointSlice) -> EndpointSlice {
    EndpointSlice { version, ..slice }
}

#[test]
fn endpointslicecache_1_slice_2_hosts() {
    let slices = [slice("ns/a", "1", 80, &["10.0.0.1@x R", "10.0.0.2@y R", "10.0.0.3@x R"])];
    assert_eq!(listed(&slices, ""), ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]);
}

#[test]
fn endpointslicecache_2_slices_same_port() {
    let slices = [slice("ns/a", "1", 80, &["10.0.0.1 R"]), slice("ns/a", "2", 80, &["10.0.0.2 R"])];
    assert_eq!(listed(&slices, ""), ["10.0.0.1:80", "10.0.0.2:80"]);
}

#[test]
fn endpointslicecache_2_slices_different_port() {
    let slices =
        [slice("ns/a", "1", 80, &["10.0.0.1 R"]), slice("ns/a", "2", 8080, &["10.0.0.2 R"])];
    assert_eq!(listed(&slices, ""), ["10.0.0.1:80", "10.0.0.2:8080"]);
}

#[test]
fn endpointslicecache_duplicate_endpoints_and_overlap() {
    let slices = [
        slice("ns/a", "1", 80, &["10.0.0.1 R", "10.0.0.2 R", "10.0.0.1 R"]),
        slice("ns/a", "2", 80, &["10.0.0.2 R", "10.0.0.3 R"]),
    ];
    assert_eq!(listed(&slices, ""), ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]);
}

#[test]
fn endpointslicecache_same_ip_different_ports() {
    let slices =
        [slice("ns/a", "1", 80, &["10.0.0.1 R"]), slice("ns/a", "2", 8080, &["10.0.0.1 R"])];
    assert_eq!(listed(&slices, ""), ["10.0.0.1:80", "10.0.0.1:8080"]);
}

#[test]
fn endpointslicecache_different_services_and_namespaces() {
    let (intent, _) = planned([
        Change::Service(service("one/a", &["10.88.0.1"])),
        Change::Service(service("one/b", &["10.88.0.2"])),
        Change::Service(service("two/a", &["10.88.0.3"])),
        Change::Slice(slice("one/a", "1", 80, &["10.0.0.1 R"])),
        Change::Slice(slice("one/b", "1", 80, &["10.0.0.2 R"])),
        Change::Slice(slice("two/a", "1", 80, &["10.0.0.3 R"])),
    ]);
    for (name, address) in
        [("one/a", "10.0.0.1:80"), ("one/b", "10.0.0.2:80"), ("two/a", "10.0.0.3:80")]
    {
        assert_eq!(pool(&servers(&intent, name)[0].cluster), [address], "{name}");
    }
}

/// B7, kubernetes#109627: a nil port or name routes nothing, and is said.
#[test]
fn endpointslicecache_nil_port() {
    let entry = |name: Option<&str>, port| EndpointPort {
        name: name.map(Into::into),
        protocol: Protocol::Tcp,
        port,
    };
    for (name, number) in [(Some(""), None), (Some(""), Some(0)), (None, Some(80))] {
        let slices = [EndpointSlice {
            ports: vec![entry(name, number)],
            ..slice("ns/a", "1", 80, &["10.0.0.1 R"])
        }];
        assert!(listed(&slices, "").is_empty(), "{name:?} {number:?}");
        let mut said = BTreeSet::new();
        notices(&slices.iter().collect::<Vec<_>>(), &mut said);
        let said: Vec<_> = said.into_iter().collect();
        let expected = ("EndpointSlice ns/a-1".to_string(), Reason::Unsupported);
        assert_eq!(reasons(&said), [expected], "{name:?} {number:?}");
    }
}

/// kubernetes#135593: without a uid to tell, whoever is not terminating is believed.
#[test]
fn endpointslicecache_prefer_non_terminating_duplicate() {
    for versions in [(1, 2), (2, 1), (1, 1)] {
        let chosen = only(&[
            versioned(versions.0, slice("ns/a", "1", 80, &["10.0.0.1@x S"])),
            versioned(versions.1, slice("ns/a", "2", 80, &["10.0.0.1@y T"])),
        ]);
        assert_eq!(chosen.node.as_deref(), Some("x"), "{versions:?}");
    }
}

/// B2, kubernetes#135266: a new Pod that took over a dead one's address.
#[test]
fn a_ready_pod_beats_the_dead_one_whose_address_it_has() {
    for versions in [(1, 2), (2, 1), (1, 1)] {
        let chosen = only(&[
            versioned(versions.0, slice("ns/a", "1", 80, &["10.77.2.9@old X uid=old"])),
            versioned(versions.1, slice("ns/a", "2", 80, &["10.77.2.9@new R uid=new"])),
        ]);
        assert_eq!(chosen, endpoint("10.77.2.9@new R uid=new"), "{versions:?}");
    }
}

/// B3, kubernetes#121231: one Pod in two slices; the newer one speaks, even with worse news.
#[test]
fn of_one_pod_the_newest_slice_speaks() {
    let chosen = only(&[
        versioned(7, slice("ns/a", "1", 80, &["10.77.2.9@n X uid=pod"])),
        versioned(6, slice("ns/a", "2", 80, &["10.77.2.9@n R uid=pod"])),
    ]);
    assert_eq!(chosen, endpoint("10.77.2.9@n X uid=pod"));
    // Without versions the greater slice name decides.
    let chosen = only(&[
        versioned(0, slice("ns/a", "1", 80, &["10.77.2.9@n R uid=pod"])),
        versioned(0, slice("ns/a", "2", 80, &["10.77.2.9@n N uid=pod"])),
    ]);
    assert_eq!(chosen, endpoint("10.77.2.9@n N uid=pod"));
}

/// Pairwise comparison would go round in circles here: p's news beats p's old word, which beats q
/// by age, which beats p's news by readiness.
#[test]
fn three_mentions_have_one_outcome() {
    let chosen = only(&[
        versioned(5, slice("ns/a", "1", 80, &["10.77.2.9@a N uid=p"])),
        versioned(3, slice("ns/a", "2", 80, &["10.77.2.9@b R uid=p"])),
        versioned(2, slice("ns/a", "3", 80, &["10.77.2.9@c R uid=q"])),
    ]);
    assert_eq!(chosen.node.as_deref(), Some("c"));
}

#[test]
fn between_pods_not_terminating_then_newest() {
    let chosen = only(&[
        versioned(9, slice("ns/a", "1", 80, &["10.77.2.9@a RT uid=p"])),
        versioned(3, slice("ns/a", "2", 80, &["10.77.2.9@b R uid=q"])),
        versioned(4, slice("ns/a", "3", 80, &["10.77.2.9@c R uid=r"])),
    ]);
    assert_eq!(chosen.node.as_deref(), Some("c"));
}

/// B6, kubernetes#132646: the slice's port counts, `targetPort` never.
#[test]
fn target_port_is_never_read() {
    let mut with_target = service("ns/a", &["10.88.0.1"]);
    with_target.ports[0].target_port = Some(model::TargetPort::Number(9999));
    let (intent, _) = planned([
        Change::Service(with_target),
        Change::Slice(slice("ns/a", "1", 8080, &["10.77.2.5 R"])),
    ]);
    assert_eq!(pool(&servers(&intent, "ns/a")[0].cluster), ["10.77.2.5:8080"]);
}

/// B7, kubernetes#54213: a named target port with another number in each Pod.
#[test]
fn named_ports_mix_numbers() {
    let web = |number| vec![slice_port("web", number)];
    let mut named_port = service("ns/a", &["10.88.0.1"]);
    named_port.ports = vec![port("web", 80)];
    let (intent, _) = planned([
        Change::Service(named_port),
        Change::Slice(EndpointSlice {
            ports: web(8080),
            ..slice("ns/a", "1", 0, &["10.77.1.2 R"])
        }),
        Change::Slice(EndpointSlice {
            ports: web(9090),
            ..slice("ns/a", "2", 0, &["10.77.2.2 R"])
        }),
    ]);
    assert_eq!(pool(&servers(&intent, "ns/a")[0].cluster), ["10.77.1.2:8080", "10.77.2.2:9090"]);
}

#[test]
fn name_and_protocol_must_both_match() {
    let mut several = service("ns/a", &["10.88.0.1"]);
    several.ports = vec![
        port("dns", 53),
        model::ServicePort { protocol: Protocol::Udp, ..port("dns", 53) },
        port("other", 54),
    ];
    let (intent, _) = planned([
        Change::Service(several),
        Change::Slice(EndpointSlice {
            ports: vec![EndpointPort { protocol: Protocol::Udp, ..slice_port("dns", 5353) }],
            ..slice("ns/a", "1", 0, &["10.77.1.2 R"])
        }),
    ]);
    let pools: Vec<_> = servers(&intent, "ns/a")
        .iter()
        .map(|server| (server.name.to_string(), server.protocol(), pool(&server.cluster)))
        .collect();
    assert_eq!(
        pools,
        [
            ("ns/a:dns".into(), Protocol::Tcp, vec![]),
            ("ns/a:dns".into(), Protocol::Udp, vec!["10.77.1.2:5353".to_string()]),
            ("ns/a:other".into(), Protocol::Tcp, vec![]),
        ]
    );
}

#[test]
fn pools_are_sorted_as_text() {
    let slices = [slice(
        "ns/a",
        "1",
        80,
        &["10.0.0.2 R", "10.0.0.10 R", "10.0.0.1 R", "9.0.0.1 R", "10.0.0.100 R"],
    )];
    assert_eq!(
        listed(&slices, ""),
        ["10.0.0.100:80", "10.0.0.10:80", "10.0.0.1:80", "10.0.0.2:80", "9.0.0.1:80"]
    );
}

#[test]
fn families_do_not_mix() {
    let (intent, notices) = planned([
        Change::Service(service("ns/a", &["10.88.0.1", "fd88::1"])),
        Change::Slice(slice("ns/a", "4", 80, &["10.77.1.2 R"])),
        Change::Slice(slice("ns/a", "6", 80, &["fd77::2 R"])),
    ]);
    let pools: Vec<_> =
        servers(&intent, "ns/a").iter().map(|s| (s.family, pool(&s.cluster))).collect();
    assert_eq!(
        pools,
        [
            (Family::V4, vec!["10.77.1.2:80".to_string()]),
            (Family::V6, vec!["[fd77::2]:80".to_string()]),
        ]
    );
    assert!(notices.is_empty(), "{notices:?}");
}

/// D3: an address that is not of its slice's family costs itself alone.
#[test]
fn wrong_family_endpoint_costs_itself() {
    let mut mixed = slice("ns/a", "1", 80, &["10.77.1.2 R", "fd77::2 R"]);
    mixed.address_type = AddressType::Ip(Family::V4);
    let (intent, notices) =
        planned([Change::Service(service("ns/a", &["10.88.0.1"])), Change::Slice(mixed)]);
    assert_eq!(pool(&servers(&intent, "ns/a")[0].cluster), ["10.77.1.2:80"]);
    assert_eq!(reasons(&notices), [("EndpointSlice ns/a-1".into(), Reason::WrongFamily)]);
}

#[test]
fn slices_of_names_route_nothing() {
    let mut fqdn = slice("ns/a", "1", 80, &["10.77.1.2 R"]);
    fqdn.address_type = AddressType::Fqdn;
    let (intent, notices) =
        planned([Change::Service(service("ns/a", &["10.88.0.1"])), Change::Slice(fqdn)]);
    assert!(servers(&intent, "ns/a")[0].cluster.is_empty());
    assert_eq!(reasons(&notices), [("EndpointSlice ns/a-1".into(), Reason::Unsupported)]);
}

/// D10, CVE-2021-25740: addresses that only the node itself may reach are never endpoints.
#[test]
fn forbidden_endpoint_addresses() {
    for address in [
        "127.0.0.1",
        "127.8.0.1",
        "169.254.169.254",
        "224.0.0.1",
        "239.1.2.3",
        "0.0.0.0",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
    ] {
        let bad = format!("{address} R");
        let good = if address.contains(':') { "fd77::9 R" } else { "10.77.9.9 R" };
        let (intent, notices) = planned([
            Change::Service(service("ns/a", &["10.88.0.1", "fd88::1"])),
            Change::Slice(slice("ns/a", "1", 80, &[&bad, good])),
        ]);
        let all: Vec<_> =
            servers(&intent, "ns/a").iter().flat_map(|server| pool(&server.cluster)).collect();
        assert_eq!(all.len(), 1, "{address}: {all:?}");
        let expected = ("EndpointSlice ns/a-1".to_string(), Reason::ForbiddenAddress);
        assert_eq!(reasons(&notices), [expected], "{address}");
    }
    for address in ["10.0.0.1", "192.0.2.1", "fd00::1", "2001:db8::1", "::ffff:10.0.0.1"] {
        assert_eq!(addresses::forbidden(super::ip(address)), None, "{address}");
    }
}

/// UpdateEndpointsMap: what a Service's pool is after its slices went from one state to another,
/// as a table of (before, after). A slice is `SUFFIX PORTNAME=NUMBER: endpoints`.
#[test]
fn update_endpoints_map() {
    type Slices =
        &'static [(&'static str, &'static [(&'static str, u16)], &'static [&'static str])];
    let table: &[(&str, Slices, Slices, &[&str])] = &[
        ("nothing", &[], &[], &[]),
        (
            "no change, named port, local",
            &[("1", &[("p11", 11)], &["10.1.1.1@alpha R"])],
            &[("1", &[("p11", 11)], &["10.1.1.1@alpha R"])],
            &["p11 10.1.1.1:11"],
        ),
        (
            "no change, multiple subsets",
            &[("1", &[("p11", 11)], &["10.1.1.1 R"]), ("2", &[("p12", 12)], &["10.1.1.2 R"])],
            &[("1", &[("p11", 11)], &["10.1.1.1 R"]), ("2", &[("p12", 12)], &["10.1.1.2 R"])],
            &["p11 10.1.1.1:11", "p12 10.1.1.2:12"],
        ),
        (
            "no change, multiple ports",
            &[("1", &[("p11", 11), ("p12", 12)], &["10.1.1.1 R"])],
            &[("1", &[("p11", 11), ("p12", 12)], &["10.1.1.1 R"])],
            &["p11 10.1.1.1:11", "p12 10.1.1.1:12"],
        ),
        ("add an Endpoints", &[], &[("1", &[("", 11)], &["10.1.1.1 R"])], &[" 10.1.1.1:11"]),
        ("remove an Endpoints", &[("1", &[("", 11)], &["10.1.1.1 R"])], &[], &[]),
        (
            "add an IP and port",
            &[("1", &[("p11", 11)], &["10.1.1.1 R"])],
            &[("1", &[("p11", 11), ("p12", 12)], &["10.1.1.1 R", "10.1.1.2 R"])],
            &["p11 10.1.1.1:11", "p11 10.1.1.2:11", "p12 10.1.1.1:12", "p12 10.1.1.2:12"],
        ),
        (
            "remove an IP and port",
            &[("1", &[("p11", 11), ("p12", 12)], &["10.1.1.1 R", "10.1.1.2 R"])],
            &[("1", &[("p11", 11)], &["10.1.1.1 R"])],
            &["p11 10.1.1.1:11"],
        ),
        (
            "add a subset",
            &[("1", &[("p11", 11)], &["10.1.1.1 R"])],
            &[("1", &[("p11", 11)], &["10.1.1.1 R"]), ("2", &[("p12", 12)], &["10.2.2.2 R"])],
            &["p11 10.1.1.1:11", "p12 10.2.2.2:12"],
        ),
        (
            "remove a subset",
            &[("1", &[("p11", 11)], &["10.1.1.1 R"]), ("2", &[("p12", 12)], &["10.2.2.2 R"])],
            &[("1", &[("p11", 11)], &["10.1.1.1 R"])],
            &["p11 10.1.1.1:11"],
        ),
        (
            "rename a port",
            &[("1", &[("p11", 11)], &["10.1.1.1 R"])],
            &[("1", &[("p12", 11)], &["10.1.1.1 R"])],
            &["p12 10.1.1.1:11"],
        ),
        (
            "renumber a port",
            &[("1", &[("p11", 11)], &["10.1.1.1 R"])],
            &[("1", &[("p11", 22)], &["10.1.1.1 R"])],
            &["p11 10.1.1.1:22"],
        ),
        (
            "complex add and remove",
            &[
                ("1", &[("p11", 11)], &["10.1.1.1 R", "10.1.1.11 N"]),
                ("2", &[("p12", 12)], &["10.2.2.2 R"]),
                ("3", &[("", 13)], &["10.3.3.3 R"]),
            ],
            &[
                ("1", &[("p11", 11), ("p12", 122)], &["10.1.1.1 R", "10.1.1.11 R"]),
                ("4", &[("p12", 12)], &["10.4.4.4 R", "10.4.4.5 T"]),
            ],
            &[
                "p11 10.1.1.11:11",
                "p11 10.1.1.1:11",
                "p12 10.1.1.11:122",
                "p12 10.1.1.1:122",
                "p12 10.4.4.4:12",
            ],
        ),
        (
            "change from 0 endpoint address to 1 unnamed port",
            &[("1", &[], &[])],
            &[("1", &[("", 11)], &["10.1.1.1 R"])],
            &[" 10.1.1.1:11"],
        ),
    ];
    for (name, before, after, expected) in table {
        let mut object = service("ns/a", &["10.88.0.1"]);
        object.ports = vec![port("", 11), port("p11", 21), port("p12", 22)];
        let list = |slices: &Slices| {
            let slices = slices.iter().map(|(suffix, ports, endpoints)| EndpointSlice {
                ports: ports.iter().map(|(name, number)| slice_port(name, *number)).collect(),
                ..slice("ns/a", suffix, 0, endpoints)
            });
            Change::Slices(slices.collect())
        };
        let mut cluster = super::cluster([super::alpha(), Change::Service(object), list(before)]);
        let mut planner = crate::Planner::new(super::config());
        planner.update(&cluster, &[super::owner("ns/a"), model::Owner::Node].into());
        let owners = cluster.apply(list(after));
        planner.update(&cluster, &owners);
        let got: Vec<String> = planner.intent().servers[&named("ns/a")]
            .iter()
            .flat_map(|server| {
                let port = server.name.port.clone();
                pool(&server.cluster).into_iter().map(move |address| format!("{port} {address}"))
            })
            .collect();
        assert_eq!(&got, expected, "{name}");
    }
}

/// endpointschangetracker: conditions that come and go.
#[test]
fn readiness_transitions() {
    let steps: &[(&[&str], &[&str])] = &[
        (&["10.1.1.1 R", "10.1.1.2 R"], &["10.1.1.1:80", "10.1.1.2:80"]),
        (&["10.1.1.1 T", "10.1.1.2 R"], &["10.1.1.2:80"]),
        (&["10.1.1.1 T", "10.1.1.2 T"], &["10.1.1.1:80", "10.1.1.2:80"]),
        (&["10.1.1.1 X", "10.1.1.2 T"], &["10.1.1.2:80"]),
        (&["10.1.1.1 X", "10.1.1.2 X"], &[]),
        (&["10.1.1.3 N"], &[]),
        (&["10.1.1.3 R"], &["10.1.1.3:80"]),
        (&[], &[]),
    ];
    let mut cluster =
        super::cluster([super::alpha(), Change::Service(service("ns/a", &["10.88.0.1"]))]);
    let mut planner = crate::Planner::new(super::config());
    planner.update(&cluster, &[super::owner("ns/a"), model::Owner::Node].into());
    for (endpoints, expected) in steps {
        let owners = cluster.apply(Change::Slice(slice("ns/a", "1", 80, endpoints)));
        planner.update(&cluster, &owners);
        assert_eq!(&pool(&servers(planner.intent(), "ns/a")[0].cluster), expected);
    }
}
