//! HealthCheckNodePortWhenTerminating, and what `healthCheckNodePort` counts.

use model::{Change, EndpointSlice, Family, Protocol};

use super::{cluster, named, slice, slice_port};
use crate::local_ready_endpoints;

#[track_caller]
fn counts(slices: &[EndpointSlice], expected: [usize; 2]) {
    let cluster = cluster(slices.iter().cloned().map(Change::Slice));
    let count = |family| local_ready_endpoints(&cluster, &named("ns/a"), family, "alpha");
    assert_eq!([count(Family::V4), count(Family::V6)], expected);
}

#[test]
fn healthy_endpoints_of_this_node_alone() {
    counts(&[], [0, 0]);
    counts(
        &[slice("ns/a", "1", 80, &["10.0.0.1@alpha R", "10.0.0.2@beta R", "10.0.0.3 R"])],
        [1, 0],
    );
    counts(&[slice("ns/b", "1", 80, &["10.0.0.1@alpha R"])], [0, 0]);
}

#[test]
fn health_check_node_port_when_terminating() {
    let terminating = slice("ns/a", "1", 80, &["10.0.0.1@alpha T", "10.0.0.2@alpha S"]);
    counts(&[terminating], [0, 0]);
    let leaving = slice("ns/a", "1", 80, &["10.0.0.1@alpha T", "10.0.0.2@alpha R"]);
    counts(&[leaving], [1, 0]);
    // publishNotReadyAddresses says ready to the end.
    counts(&[slice("ns/a", "1", 80, &["10.0.0.1@alpha RT"])], [1, 0]);
}

#[test]
fn an_address_counts_once_whatever_its_ports() {
    let mut first = slice("ns/a", "1", 80, &["10.0.0.1@alpha R", "10.0.0.2@alpha R"]);
    first.ports = vec![slice_port("http", 80), slice_port("https", 443)];
    first.ports.push(model::EndpointPort { protocol: Protocol::Udp, ..slice_port("dns", 53) });
    let second = slice("ns/a", "2", 8080, &["10.0.0.2@alpha R", "10.0.0.3@alpha R"]);
    counts(&[first.clone(), second], [3, 0]);
    // Entries that route nothing offer nothing.
    first.ports = vec![model::EndpointPort { port: None, ..slice_port("http", 80) }];
    counts(&[first.clone()], [0, 0]);
    first.ports = vec![model::EndpointPort { name: None, ..slice_port("http", 80) }];
    counts(&[first], [0, 0]);
}

#[test]
fn families_are_counted_apart() {
    let v4 = slice("ns/a", "1", 80, &["10.0.0.1@alpha R"]);
    let v6 = EndpointSlice {
        address_type: model::AddressType::Ip(Family::V6),
        ..slice("ns/a", "2", 80, &["fd00::1@alpha R", "fd00::2@alpha R"])
    };
    counts(&[v4, v6], [1, 2]);
}

#[test]
fn a_node_without_a_name_has_no_endpoints() {
    let nobody = slice("ns/a", "1", 80, &["10.0.0.1@ R", "10.0.0.2 R"]);
    let cluster = cluster([Change::Slice(nobody)]);
    assert_eq!(local_ready_endpoints(&cluster, &named("ns/a"), Family::V4, ""), 0);
}
