//! After any sequence of changes, the zone is the one that would be made anew.

use dns::{SharedZone, Zone};
use model::{Change, Cluster, Family, Labels, Namespace, Protocol, Service};
use proptest::prelude::*;

use crate::cluster::{
    config, endpoint, external, headless, name, service, slice, slice_port, with, with_port,
};

fn names() -> impl Strategy<Value = String> {
    ("[ab]", "[xyz]").prop_map(|(namespace, name)| format!("{namespace}/{name}"))
}

fn services() -> impl Strategy<Value = Service> {
    let kinds = (names(), 0..4_u8, 0..3_u8, any::<bool>());
    kinds.prop_map(|(called, kind, address, port)| {
        let v4 = format!("10.96.0.{address}");
        let v6 = format!("fd00:96::{address}");
        let service = match kind {
            0 => service(&called, &[&v4]),
            1 => service(&called, &[&v4, &v6]),
            2 => headless(&called),
            _ => external(&called, "example.com"),
        };
        if port { with_port(service, "web", Protocol::Tcp, 80) } else { service }
    })
}

fn slices() -> impl Strategy<Value = model::EndpointSlice> {
    let endpoint = (0..4_u8, prop::option::of("h[01]"), any::<bool>());
    let endpoints = prop::collection::vec(endpoint, 0..4);
    (names(), "[pq]", endpoints).prop_map(|(of, suffix, endpoints)| {
        let endpoints = endpoints
            .into_iter()
            .map(|(last, host, ready)| endpoint_of(last, host.as_deref(), ready))
            .collect();
        with(slice_port(slice(&of, &suffix, Family::V4), "web", Protocol::Tcp, 8080), endpoints)
    })
}

fn endpoint_of(last: u8, host: Option<&str>, ready: bool) -> model::Endpoint {
    endpoint(&format!("10.1.0.{last}"), host, ready)
}

fn namespace(name: &str) -> Namespace {
    Namespace { name: name.into(), labels: Labels::default() }
}

fn changes() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => services().prop_map(Change::Service),
        2 => names().prop_map(|gone| Change::ServiceGone(name(&gone))),
        1 => prop::collection::vec(services(), 0..3).prop_map(Change::Services),
        4 => slices().prop_map(Change::Slice),
        2 => slices().prop_map(|slice| Change::SliceGone(slice.name)),
        1 => prop::collection::vec(slices(), 0..3).prop_map(Change::Slices),
        2 => "[abc]".prop_map(|name| Change::Namespace(namespace(&name))),
        2 => "[abc]".prop_map(|name| Change::NamespaceGone(name.into())),
        1 => prop::collection::vec("[abc]", 0..3)
            .prop_map(|names| Change::Namespaces(names.iter().map(|name| namespace(name)).collect())),
    ]
}

proptest! {
    #[test]
    fn incremental_equals_whole(changes in prop::collection::vec(changes(), 1..30)) {
        let mut cluster = Cluster::default();
        let shared = SharedZone::new(Zone::unsynced(config()));
        for change in changes {
            let before = shared.load();
            let copy = Zone::clone(&before);
            let owners = cluster.apply(change);
            shared.update(&cluster, &owners);
            prop_assert_eq!(&*shared.load(), &Zone::new(config(), &cluster));
            prop_assert_eq!(&*before, &copy, "a reader's zone stays as it is");
        }
    }
}
