//! What happened in the recorded cluster happens here, and the watches say the same.
//!
//! Each store starts with the recorded lists. Each recorded event is brought about by the request
//! that caused it, and compared with the event that our watch sends over the wire. What a server
//! makes up (uid, resourceVersion, times, managedFields) is left out, and generations are compared
//! by their distance from the first one.

use std::collections::BTreeMap;
use std::path::Path;

use lab_api::resource::{ENDPOINT_SLICES, NAMESPACES, NETWORK_POLICIES, NODES, PODS, SERVICES};
use lab_api::{DeleteOptions, Resource, Store, WriteOptions};
use serde_json::Value;

use crate::http::get;
use crate::kubectl::Cluster;

fn recorded(name: &str) -> String {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["tests/recordings", "../../pipeline/intake/tests/recordings"];
    let read = |folder: &&str| std::fs::read_to_string(own.join(folder).join(name)).ok();
    folders.iter().find_map(read).unwrap_or_else(|| panic!("no recording {name}"))
}

/// Recorded uids and ours, and the first generation of each recorded object.
#[derive(Default)]
struct Known {
    uids: Vec<(String, String)>,
    generations: BTreeMap<String, i64>,
}

impl Known {
    /// A recorded object as a client would send it.
    fn wish(&self, object: &Value) -> Value {
        let mut text = object.to_string();
        for (theirs, ours) in &self.uids {
            text = text.replace(theirs, ours);
        }
        let mut wish: Value = serde_json::from_str(&text).unwrap();
        for field in [
            "uid",
            "resourceVersion",
            "creationTimestamp",
            "managedFields",
            "generation",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
        ] {
            wish["metadata"].as_object_mut().unwrap().remove(field);
        }
        wish
    }

    /// An event without what a server makes up.
    fn comparable(&self, resource: &Resource, event: &Value, ours: bool) -> Value {
        let mut text = event.to_string();
        for (theirs, our) in &self.uids {
            text = text.replace(theirs, "<uid>").replace(our, "<uid>");
        }
        let mut event: Value = serde_json::from_str(&text).unwrap();
        let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let metadata = event["object"]["metadata"].as_object_mut().unwrap();
        for field in ["uid", "resourceVersion", "creationTimestamp", "managedFields"] {
            metadata.remove(field);
        }
        if metadata.contains_key("deletionTimestamp") {
            metadata["deletionTimestamp"] = "<time>".into();
        }
        if let Some(generation) = metadata.get("generation").and_then(Value::as_i64) {
            let key = format!("{}/{name}", resource.plural);
            let first = if ours { 1 } else { *self.generations.get(&key).unwrap_or(&1) };
            metadata["generation"] = (generation - first).into();
        }
        event
    }
}

fn options(subresource: Option<&'static str>) -> WriteOptions {
    WriteOptions { manager: "recorder".to_owned(), subresource, ..Default::default() }
}

/// The namespace and the name of an object.
fn place(object: &Value) -> (&str, &str) {
    let part = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    (part("namespace"), part("name"))
}

/// Loads the recorded lists. The one Service that appears later is the owner of a slice: it is
/// there from the start where the test is not about Services.
fn load(store: &Store, of: &Resource) -> Known {
    let mut known = Known::default();
    let services = if *of == SERVICES { "list-services.json" } else { "final-services.json" };
    for (resource, file) in [
        (&NAMESPACES, "list-namespaces.json"),
        (&NODES, "list-nodes.json"),
        (&PODS, "list-pods.json"),
        (&SERVICES, "list-services.json"),
        (&SERVICES, services),
        (&ENDPOINT_SLICES, "list-endpointslices.json"),
        (&NETWORK_POLICIES, "list-networkpolicies.json"),
    ] {
        let list: Value = serde_json::from_str(&recorded(file)).unwrap();
        for object in list["items"].as_array().unwrap() {
            let (namespace, name) = place(object);
            if known.generations.contains_key(&format!("{}/{name}", resource.plural)) {
                continue;
            }
            let there = store.get(resource, namespace, name);
            let made = there.unwrap_or_else(|_| {
                let wish = known.wish(object);
                store.create(resource, namespace, wish, &options(None)).unwrap().object
            });
            let uid = |object: &Value| object["metadata"]["uid"].as_str().unwrap().to_owned();
            known.uids.push((uid(object), uid(&made)));
            let generation = object["metadata"]["generation"].as_i64();
            let key = format!("{}/{name}", resource.plural);
            known.generations.insert(key, generation.unwrap_or(1));
            if resource.subresources.contains(&"status") {
                let status = known.wish(object);
                store.update(resource, namespace, name, status, &options(Some("status"))).unwrap();
            }
        }
    }
    known
}

/// Does what a recorded event tells.
fn bring_about(store: &Store, resource: &'static Resource, known: &mut Known, event: &Value) {
    let object = &event["object"];
    let (namespace, name) = place(object);
    let wish = known.wish(object);
    let grace = object["metadata"]["deletionGracePeriodSeconds"].as_i64();
    let delete = || {
        let options = DeleteOptions { grace, ..Default::default() };
        // A Pod without time left goes in the same breath.
        if store.get(resource, namespace, name).is_ok() {
            store.delete(resource, namespace, name, &options).unwrap();
        }
    };
    match event["type"].as_str().unwrap() {
        "ADDED" => {
            let made = store.create(resource, namespace, wish, &options(None)).unwrap().object;
            let uid = |object: &Value| object["metadata"]["uid"].as_str().unwrap().to_owned();
            known.uids.push((uid(object), uid(&made)));
        }
        "DELETED" => delete(),
        "MODIFIED" if grace.is_some() => delete(),
        "MODIFIED" => {
            let old = store.get(resource, namespace, name).unwrap();
            let same = |field: &str| wish.get(field) == old.get(field);
            let labels = wish["metadata"].get("labels") == old["metadata"].get("labels");
            let part = (same("spec") && labels && !same("status")).then_some("status");
            store.update(resource, namespace, name, wish, &options(part)).unwrap();
        }
        other => panic!("{other}"),
    }
}

#[test]
fn every_recorded_event_is_told_by_our_watch_too() {
    let mut compared = 0;
    for (resource, path, file) in [
        (&SERVICES, "/api/v1/services", "watch-services.jsonl"),
        (&NAMESPACES, "/api/v1/namespaces", "watch-namespaces.jsonl"),
        (&NODES, "/api/v1/nodes", "watch-nodes.jsonl"),
        (&PODS, "/api/v1/pods", "watch-pods.jsonl"),
        (
            &ENDPOINT_SLICES,
            "/apis/discovery.k8s.io/v1/endpointslices",
            "watch-endpointslices.jsonl",
        ),
        (
            &NETWORK_POLICIES,
            "/apis/networking.k8s.io/v1/networkpolicies",
            "watch-networkpolicies.jsonl",
        ),
    ] {
        let cluster = Cluster::new();
        let mut known = load(&cluster.store, resource);
        let version = cluster.store.version();
        let mut theirs = Vec::new();
        for line in recorded(file).lines() {
            let event = serde_json::from_str::<Value>(line).unwrap()["event"].clone();
            // When a server sends bookmarks is its own affair; the tests of the wire hold their shape.
            if event["type"] != "BOOKMARK" {
                bring_about(&cluster.store, resource, &mut known, &event);
                theirs.push(event);
            }
        }
        let query = format!("watch=1&resourceVersion={version}&timeoutSeconds=1");
        let ours = get(&cluster.url, &format!("{path}?{query}")).events();
        let comparable = |events: &[Value], ours| -> Vec<_> {
            events.iter().map(|event| known.comparable(resource, event, ours)).collect()
        };
        let (ours, theirs) = (comparable(&ours, true), comparable(&theirs, false));
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours, theirs, "{file}");
        }
        assert_eq!(ours.len(), theirs.len(), "{file}: {ours:#?}");
        compared += ours.len();
    }
    assert!(compared >= 28, "{compared}");
}
