//! Every entry of every slice has one standing, which says why it takes traffic or not.

use model::{AddressType, Change, EndpointSlice, Family, PortName, Protocol};

use super::{alpha, cluster, config, ip, load_balancer, named, service, slice, slice_port};
use crate::{HintsUse, claimants, standings};

fn port() -> PortName {
    PortName { service: named("ns/a"), port: "".into(), protocol: Protocol::Tcp }
}

/// `ADDRESS: CLUSTER, LOCAL` of every entry, and what becomes of the hints.
fn told(slices: &[EndpointSlice]) -> (Vec<String>, HintsUse) {
    let slices = slices.iter().cloned().map(Change::Slice);
    let cluster = cluster([alpha()].into_iter().chain(slices));
    let told = standings(&cluster, &config(), &port(), Family::V4);
    let line = |entry: &crate::EndpointStanding<'_>| {
        format!("{}: {:?}, {:?}", entry.endpoint.address, entry.cluster, entry.local)
    };
    (told.entries.iter().map(line).collect(), told.hints)
}

#[track_caller]
fn check(slices: &[EndpointSlice], expected: &[&str], hints: HintsUse) {
    let (lines, found) = told(slices);
    assert_eq!(lines, expected);
    assert_eq!(found, hints);
}

#[test]
fn readiness_and_place() {
    let entries = [
        "10.0.0.1@alpha R",
        "10.0.0.2@beta R",
        "10.0.0.3@alpha N",
        "10.0.0.4@alpha T",
        "10.0.0.5@alpha X",
    ];
    check(
        &[slice("ns/a", "1", 80, &entries)],
        &[
            "10.0.0.1: Used, Used",
            "10.0.0.2: Used, NotLocal",
            "10.0.0.3: NotReady, NotReady",
            "10.0.0.4: Terminating, Terminating",
            "10.0.0.5: TerminatingNotServing, TerminatingNotServing",
        ],
        HintsUse::Absent,
    );
    // The last resort of one list is not that of the other.
    check(
        &[slice("ns/a", "1", 80, &["10.0.0.1@beta R", "10.0.0.2@alpha T"])],
        &["10.0.0.1: Used, NotLocal", "10.0.0.2: Terminating, TerminatingFallback"],
        HintsUse::Absent,
    );
}

#[test]
fn hints_are_followed_or_ignored_for_a_reason() {
    let hinted = |entries: &[&str]| told(&[slice("ns/a", "1", 80, entries)]);
    let (lines, hints) = hinted(&["10.0.0.1 R zones=red", "10.0.0.2 R zones=blue"]);
    assert_eq!(lines, ["10.0.0.1: Used, NotLocal", "10.0.0.2: OtherZone, NotLocal"]);
    assert_eq!(hints, HintsUse::Zone("red".into()));
    let (lines, hints) = hinted(&["10.0.0.1 R nodes=alpha", "10.0.0.2 R nodes=beta"]);
    assert_eq!(lines, ["10.0.0.1: Used, NotLocal", "10.0.0.2: OtherNode, NotLocal"]);
    assert_eq!(hints, HintsUse::Node("alpha".into()));
    let (_, hints) = hinted(&["10.0.0.1 R zones=red", "10.0.0.2 R", "10.0.0.3 N"]);
    assert_eq!(hints, HintsUse::Incomplete(vec!["10.0.0.2:80".parse().unwrap()]));
    let (_, hints) = hinted(&["10.0.0.1 R zones=blue"]);
    assert_eq!(hints, HintsUse::NobodyFor("red".into()));
    let nowhere = cluster([Change::Slice(slice("ns/a", "1", 80, &["10.0.0.1 R zones=red"]))]);
    let told = standings(&nowhere, &config(), &port(), Family::V4);
    assert_eq!(told.hints, HintsUse::NoZone);
}

#[test]
fn what_is_no_endpoint_at_all() {
    let mut names = slice("ns/a", "names", 80, &["10.0.0.1 R"]);
    names.address_type = AddressType::Fqdn;
    let mut other_port = slice("ns/a", "other", 80, &["10.0.0.2 R"]);
    other_port.ports = vec![slice_port("http", 80)];
    let mut no_number = slice("ns/a", "without", 80, &["10.0.0.3 R"]);
    no_number.ports[0].port = None;
    check(
        &[
            names,
            other_port,
            slice("ns/a", "six", 80, &["fd00::1 R"]),
            no_number,
            slice("ns/a", "forbidden", 80, &["127.0.0.1 R"]),
        ],
        &[
            "127.0.0.1: ForbiddenAddress(\"a loopback address\"), \
             ForbiddenAddress(\"a loopback address\")",
            "10.0.0.1: NotAnAddress, NotAnAddress",
            "10.0.0.2: NoSuchPort, NoSuchPort",
            "fd00::1: WrongFamily, WrongFamily",
            "10.0.0.3: NoPortNumber, NoPortNumber",
        ],
        HintsUse::Absent,
    );
}

#[test]
fn one_entry_speaks_for_an_address() {
    let (lines, _) = told(&[
        slice("ns/a", "1", 80, &["10.0.0.1 X uid=old"]),
        slice("ns/a", "2", 80, &["10.0.0.1 R uid=new"]),
    ]);
    assert!(lines[0].contains("DuplicateOf"), "{lines:?}");
    assert!(lines[0].contains("a-2"), "{lines:?}");
    assert_eq!(lines[1], "10.0.0.1: Used, NotLocal");
}

#[test]
fn claimants_stand_in_the_order_of_their_claims() {
    let mut newer = load_balancer("ns/newer", "10.88.0.2", "203.0.113.8");
    newer.created = Some(9);
    let older = load_balancer("ns/older", "10.88.0.1", "203.0.113.8");
    let mut thief = service("ns/a-thief", &["10.88.0.3"]);
    thief.external_ips = vec![ip("10.88.0.1")];
    let services = [newer, older, thief].map(Change::Service);
    let cluster = cluster([alpha()].into_iter().chain(services));
    let claims = |address: Option<&str>, number| -> Vec<String> {
        let at = (Family::V4, address.map(ip));
        let all = claimants(&cluster, &config(), at, number, Protocol::Tcp);
        all.iter().map(|port| port.service.to_string()).collect()
    };
    assert_eq!(claims(Some("203.0.113.8"), 80), ["ns/older", "ns/newer"]);
    assert_eq!(claims(None, 30080), ["ns/older", "ns/newer"]);
    assert_eq!(claims(Some("10.88.0.1"), 80), ["ns/older", "ns/a-thief"]);
    assert_eq!(claims(Some("10.88.0.1"), 81), [""; 0]);
}
