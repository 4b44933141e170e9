//! The slices made from Pods are those that a real EndpointSlice controller wrote for the same Pods
//! (recorded from Kubernetes 1.36.2).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod scratch;

use std::collections::BTreeMap;

use intake::convert::{self, Names};
use intake::wire::{self, Field};
use model::{Change, EndpointSlice, NamespacedName, Service};
use scratch::Scratch;
use serde_json::{Value, json};

const PODS: [&str; 2] =
    [include_str!("recordings/list-pods.json"), include_str!("recordings/final-pods.json")];
const SERVICES: [&str; 2] =
    [include_str!("recordings/list-services.json"), include_str!("recordings/final-services.json")];
const SLICES: [&str; 2] = [
    include_str!("recordings/list-endpointslices.json"),
    include_str!("recordings/final-endpointslices.json"),
];
/// The Nodes as they were when the slices were written. One was given another zone at the very end,
/// which the controller takes up with the next change of a Pod.
const NODES: &str = include_str!("recordings/list-nodes.json");
const POD_EVENTS: &str = include_str!("recordings/watch-pods.jsonl");
const SLICE_EVENTS: &str = include_str!("recordings/watch-endpointslices.jsonl");

/// A slice without what another writer chooses differently: its name, its version, its dates and the
/// order of its endpoints.
fn essence(mut slice: EndpointSlice) -> EndpointSlice {
    slice.name.name = "".into();
    (slice.version, slice.last_change_trigger) = (0, None);
    slice.endpoints.sort_by_key(|endpoint| endpoint.address);
    slice
}

fn by_service(
    slices: impl IntoIterator<Item = EndpointSlice>,
) -> BTreeMap<NamespacedName, Vec<EndpointSlice>> {
    let mut services: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for slice in slices {
        services.entry(slice.service.clone().unwrap()).or_default().push(essence(slice));
    }
    services
}

fn recorded(slice: &Value) -> EndpointSlice {
    let wire: Field<wire::EndpointSlice> = serde_json::from_value(slice.clone()).unwrap();
    let (slice, notices) = convert::endpoint_slice(wire.get().unwrap(), &mut Names::default());
    assert_eq!(notices, []);
    slice.unwrap()
}

fn items(list: &str) -> Vec<Value> {
    let mut list: Value = serde_json::from_str(list).unwrap();
    serde_json::from_value(list["items"].take()).unwrap()
}

/// What a folder of Pods, Services and Nodes gives.
fn made(pods: &str, services: &str) -> (Vec<Service>, Vec<EndpointSlice>) {
    let folder = Scratch::new();
    folder.write("pods.json", pods);
    folder.write("services.json", services);
    folder.write("nodes.json", NODES);
    let contents = intake::folder::read(folder.path()).unwrap();
    assert!(contents.errors.is_empty() && contents.notices.is_empty(), "{contents:?}");
    assert!(contents.allocated.is_empty() && contents.allocated_node_ports.is_empty());
    let (mut all_services, mut all_slices) = (Vec::new(), Vec::new());
    for change in contents.changes {
        match change {
            Change::Services(list) => all_services = list,
            Change::Slices(list) => all_slices = list,
            _ => {}
        }
    }
    (all_services, all_slices)
}

#[test]
fn the_same_pods_make_the_same_slices() {
    for ((pods, services), slices) in PODS.into_iter().zip(SERVICES).zip(SLICES) {
        let theirs = items(slices);
        // The API server writes the slice of its own Service, which has no selector, itself.
        let theirs = theirs.iter().filter(|slice| {
            slice["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"]
                == "endpointslice-controller.k8s.io"
        });
        let theirs = by_service(theirs.map(recorded));
        assert!(theirs.len() >= 5);
        assert_eq!(by_service(made(pods, services).1), theirs);
    }
}

#[test]
fn manifests_of_stored_services_are_taken_as_they_are() {
    for services in SERVICES {
        let mut theirs: Vec<_> = items(services)
            .into_iter()
            .map(|service| {
                let wire: Field<wire::Service> = serde_json::from_value(service).unwrap();
                let (service, _) = convert::service(wire.get().unwrap(), &mut Names::default());
                service.unwrap()
            })
            .collect();
        theirs.sort_by(|a, b| a.name.cmp(&b.name));
        assert_eq!(made(PODS[0], services).0, theirs);
    }
}

#[test]
fn a_pods_life_shows_as_the_controller_shows_it() {
    let my_service = NamespacedName::new("shop", "my-service");
    let mut theirs: Vec<EndpointSlice> = Vec::new();
    let initial = items(SLICES[0]);
    let events = SLICE_EVENTS.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        line["event"].take()
    });
    let events =
        events.filter(|event| event["type"] != "BOOKMARK").map(|event| event["object"].clone());
    for slice in initial.into_iter().chain(events) {
        let slice = recorded(&slice);
        if slice.service.as_ref() == Some(&my_service) {
            theirs.push(essence(slice));
        }
    }
    theirs.dedup();

    let mut pods: BTreeMap<String, Value> = BTreeMap::new();
    let key = |pod: &Value| format!("{}/{}", pod["metadata"]["namespace"], pod["metadata"]["name"]);
    pods.extend(items(PODS[0]).into_iter().map(|pod| (key(&pod), pod)));
    let mut ours = Vec::new();
    let mut look = |pods: &BTreeMap<String, Value>| {
        let list = json!({ "apiVersion": "v1", "kind": "PodList", "items": pods.values().collect::<Vec<_>>() });
        let slices = by_service(made(&list.to_string(), SERVICES[0]).1);
        ours.extend(slices[&my_service].clone());
    };
    look(&pods);
    for line in POD_EVENTS.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let (kind, pod) = (&event["event"]["type"], &event["event"]["object"]);
        match kind.as_str().unwrap() {
            "BOOKMARK" => continue,
            "DELETED" => drop(pods.remove(&key(pod))),
            _ => drop(pods.insert(key(pod), pod.clone())),
        }
        look(&pods);
    }
    ours.dedup();
    assert!(ours.len() >= 5);
    assert_eq!(ours, theirs);
}
