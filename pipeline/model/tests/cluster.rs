//! The snapshot is the sum of its facts, whatever the order in which they came.

#![allow(clippy::unwrap_used)] // tests: helpers beside the test functions

use std::collections::BTreeSet;
use std::sync::Arc;

use model::{
    AddressType, Change, Cluster, Endpoint, EndpointSlice, Family, NamespacedName, Node, Owner,
    Service, ServiceCidr,
};
use proptest::prelude::*;

fn service(name: &str, cluster_ip: &str) -> Service {
    Service {
        cluster_ips: vec![cluster_ip.parse().unwrap()],
        ..Service::new(NamespacedName::new("shop", name))
    }
}

fn slice(name: &str, service: Option<&str>, address: &str) -> EndpointSlice {
    EndpointSlice {
        name: NamespacedName::new("shop", name),
        service: service.map(|service| NamespacedName::new("shop", service)),
        version: 0,
        last_change_trigger: None,
        address_type: AddressType::Ip(Family::V4),
        ports: vec![],
        endpoints: vec![Endpoint { ..Endpoint::new(address.parse().unwrap()) }],
    }
}

fn owners(names: &[&str]) -> BTreeSet<Owner> {
    names.iter().map(|name| Owner::Service(NamespacedName::new("shop", *name))).collect()
}

#[test]
fn a_change_that_changes_nothing_concerns_nobody() {
    let mut cluster = Cluster::default();
    assert_eq!(cluster.apply(Change::Service(service("web", "10.88.0.1"))), owners(&["web"]));
    assert_eq!(cluster.apply(Change::Service(service("web", "10.88.0.1"))), owners(&[]));
    assert_eq!(cluster.apply(Change::Service(service("web", "10.88.0.2"))), owners(&["web"]));
    assert_eq!(cluster.apply(Change::SliceGone(NamespacedName::new("shop", "no"))), owners(&[]));
    assert_eq!(cluster.apply(Change::NodeGone("alpha".into())), owners(&[]));
}

#[test]
fn a_list_replaces_what_was_known() {
    let mut cluster = Cluster::default();
    for name in ["a", "b", "c"] {
        cluster.apply(Change::Service(service(name, "10.88.0.1")));
        cluster.apply(Change::Slice(slice(&format!("{name}-1"), Some(name), "10.77.1.1")));
    }
    let list = vec![service("a", "10.88.0.1"), service("c", "10.88.0.9")];
    assert_eq!(cluster.apply(Change::Services(list)), owners(&["b", "c"]));
    let list = vec![slice("c-1", Some("c"), "10.77.1.1")];
    assert_eq!(cluster.apply(Change::Slices(list)), owners(&["a", "b"]));
    assert_eq!(cluster.slices(&NamespacedName::new("shop", "a")).count(), 0);
    assert_eq!(cluster.slices(&NamespacedName::new("shop", "c")).count(), 1);
}

#[test]
fn a_slice_that_changes_hands_concerns_both() {
    let mut cluster = Cluster::default();
    cluster.apply(Change::Slice(slice("s", Some("a"), "10.77.1.1")));
    let moved = slice("s", Some("b"), "10.77.1.1");
    assert_eq!(cluster.apply(Change::Slice(moved)), owners(&["a", "b"]));
    assert_eq!(cluster.slices(&NamespacedName::new("shop", "a")).count(), 0);
    // Without its label the slice belongs to nobody.
    assert_eq!(cluster.apply(Change::Slice(slice("s", None, "10.77.1.1"))), owners(&["b"]));
    assert_eq!(cluster, Cluster::default());
}

#[test]
fn facts_of_the_node_concern_the_node() {
    let node = Node {
        name: "alpha".into(),
        internal_ips: vec!["10.9.0.1".parse().unwrap()],
        external_ips: vec!["fd09::1".parse().unwrap()],
        pod_cidrs: vec![],
        zone: None,
        labels: Default::default(),
        taints: vec![],
        deleting: false,
    };
    let mut cluster = Cluster::default();
    let the_node = BTreeSet::from([Owner::Node]);
    assert_eq!(cluster.apply(Change::Node(node.clone())), the_node);
    assert_eq!(cluster.apply(Change::Nodes(vec![node.clone()])), BTreeSet::new());
    assert_eq!(node.address(Family::V6), Some("fd09::1".parse().unwrap()));
    let cidr =
        ServiceCidr { name: "kubernetes".into(), cidrs: vec!["10.88.0.0/16".parse().unwrap()] };
    assert_eq!(cluster.apply(Change::ServiceCidr(cidr.clone())), the_node);
    assert_eq!(cluster.apply(Change::ServiceCidr(cidr)), BTreeSet::new());
    assert_eq!(cluster.apply(Change::ServiceCidrGone("kubernetes".into())), the_node);
}

#[test]
fn the_cluster_ip_of_a_family_goes_by_position() {
    let mut dual = service("web", "fd88::1");
    dual.cluster_ips.push("10.88.0.1".parse().unwrap());
    dual.ip_families = vec![Family::V6, Family::V4];
    assert_eq!(dual.cluster_ip(Family::V4), Some("10.88.0.1".parse().unwrap()));
    dual.ip_families = vec![Family::V4, Family::V6];
    assert_eq!(
        dual.cluster_ip(Family::V4),
        None,
        "the address at its place is of the other family"
    );
    dual.ip_families = vec![];
    assert_eq!(dual.cluster_ip(Family::V6), Some("fd88::1".parse().unwrap()));
    assert_eq!(dual.cluster_ip(Family::V4), None);
}

/// Changes over few names, so that they meet.
fn change() -> impl Strategy<Value = Change> {
    let name = prop_oneof!["a", "b", "c"].prop_map(|name| Arc::<str>::from(name.as_str()));
    (name.clone(), name, 1u8..4, 0u8..4).prop_map(|(object, owner, last, kind)| match kind {
        0 => Change::Service(service(&object, &format!("10.88.0.{last}"))),
        1 => Change::ServiceGone(NamespacedName::new("shop", object)),
        2 => Change::Slice(slice(&object, Some(&owner), &format!("10.77.1.{last}"))),
        _ => Change::SliceGone(NamespacedName::new("shop", object)),
    })
}

proptest! {
    /// The last word on each object decides; how words on different objects interleave does not.
    #[test]
    fn the_last_word_on_each_object_decides(changes in proptest::collection::vec(change(), 0..40)) {
        let mut in_order = Cluster::default();
        for change in &changes {
            in_order.apply(change.clone());
        }
        let key = |change: &Change| match change {
            Change::Service(service) => (0, service.name.clone()),
            Change::ServiceGone(name) => (0, name.clone()),
            Change::Slice(slice) => (1, slice.name.clone()),
            Change::SliceGone(name) => (1, name.clone()),
            _ => unreachable!("not generated"),
        };
        let mut last: Vec<Change> = Vec::new();
        for change in changes.iter().rev() {
            if !last.iter().any(|later| key(later) == key(change)) {
                last.push(change.clone());
            }
        }
        let mut reversed = Cluster::default();
        for change in last {
            reversed.apply(change);
        }
        prop_assert_eq!(in_order, reversed);
    }
}
