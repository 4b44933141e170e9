//! What a real API server said, told again: the list and then the watch must give the final list.

use std::path::Path;

use intake::api::Kind;
use intake::convert::{self, Names};
use intake::wire;
use model::{Change, Cluster};
use serde_json::Value;

use crate::server::{Ask, CIDRS, NODES, Reply, SERVICES, SLICES, Server, list};
use crate::{Reader, timing};

pub fn text(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The events of a recorded watch, as the server sent them.
pub fn events(name: &str) -> Vec<String> {
    let lines: Vec<String> = text(name)
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            line.get("event").unwrap_or(&line).to_string()
        })
        .collect();
    assert!(!lines.is_empty(), "{name}");
    lines
}

/// The recorded lists at the end.
pub fn finally(kinds: &[&str]) -> Cluster {
    lists("final", kinds)
}

/// Recorded lists, read without any of the machinery of a source.
fn lists(when: &str, kinds: &[&str]) -> Cluster {
    let mut cluster = Cluster::default();
    let names = &mut Names::default();
    for kind in kinds {
        let list: Value = serde_json::from_str(&text(&format!("{when}-{kind}.json"))).unwrap();
        let items = list["items"].as_array().unwrap();
        assert!(!items.is_empty(), "{kind}");
        for item in items {
            let item = item.clone();
            let (change, notices) = match *kind {
                "services" => {
                    let wire: wire::Service = serde_json::from_value(item).unwrap();
                    let (fact, notices) = convert::service(&wire, names);
                    (fact.map(Change::Service), notices)
                }
                "endpointslices" => {
                    let wire: wire::EndpointSlice = serde_json::from_value(item).unwrap();
                    let (fact, notices) = convert::endpoint_slice(&wire, names);
                    (fact.map(Change::Slice), notices)
                }
                "nodes" => {
                    let wire: wire::Node = serde_json::from_value(item).unwrap();
                    let (fact, notices) = convert::node(&wire, names);
                    (fact.map(Change::Node), notices)
                }
                "pods" => {
                    let wire: wire::Pod = serde_json::from_value(item).unwrap();
                    let (fact, notices) = convert::pod(&wire, names);
                    (fact.map(Change::Pod), notices)
                }
                "namespaces" => {
                    let wire: wire::Namespace = serde_json::from_value(item).unwrap();
                    let (fact, notices) = convert::namespace(&wire, names);
                    (fact.map(Change::Namespace), notices)
                }
                "networkpolicies" => {
                    let wire: wire::Policy = serde_json::from_value(item).unwrap();
                    let (fact, notices) = convert::network_policy(&wire, names);
                    (fact.map(Change::NetworkPolicy), notices)
                }
                _ => {
                    let wire: wire::ServiceCidr = serde_json::from_value(item).unwrap();
                    let (fact, notices) = convert::service_cidr(&wire, names);
                    (fact.map(Change::ServiceCidr), notices)
                }
            };
            assert_eq!(notices, [], "a real server's objects are without fault");
            cluster.apply(change.unwrap());
        }
    }
    cluster
}

#[tokio::test]
async fn lists_and_then_watches_give_the_final_state() {
    let server = Server::start().await;
    server.cannot_stream(400);
    let kinds = [
        (SERVICES, "services"),
        (SLICES, "endpointslices"),
        (NODES, "nodes"),
        (CIDRS, "servicecidrs"),
    ];
    for (path, kind) in kinds {
        server.say(path, Ask::List, Reply::text(200, text(&format!("list-{kind}.json"))));
        server.say(path, Ask::Watch, Reply::watch(events(&format!("watch-{kind}.jsonl"))));
    }
    let expected = finally(&["services", "endpointslices", "nodes", "servicecidrs"]);
    let mut reader = Reader::start(&server, timing()).await;
    reader.until("the final state", |reader| reader.cluster == expected).await;
    assert!(reader.complete);
    assert_eq!(reader.notices, []);
    // The watches go on from where the lists ended.
    for (path, _) in kinds {
        assert_eq!(server.asked(path, Ask::Watch)[0].query["resourceVersion"], "302", "{path}");
    }
}

#[tokio::test]
async fn streamed_lists_give_the_final_state() {
    let server = Server::start().await;
    for (path, kind) in [(SERVICES, "services"), (SLICES, "endpointslices")] {
        let lines = events(&format!("watch-{kind}-streaming-list.jsonl"));
        server.say(path, Ask::StreamList, Reply::watch(lines));
    }
    let expected = finally(&["services", "endpointslices"]);
    let mut reader = Reader::start(&server, timing()).await;
    reader.until("the final state", |reader| reader.cluster == expected).await;
    reader.until_complete().await;
    for path in [SERVICES, SLICES, NODES, CIDRS] {
        assert_eq!(server.asked(path, Ask::List).len(), 0, "{path}");
    }
}

#[tokio::test]
async fn replayed_history_gives_the_state_that_was_listed() {
    let server = Server::start().await;
    server.cannot_stream(422);
    server.say(SERVICES, Ask::List, Reply::json(list(1, &[])));
    server.say(SERVICES, Ask::Watch, Reply::watch(events("watch-services-from-1.jsonl")));
    // The recording ends where the first lists were made.
    let expected = lists("list", &["services"]);
    let mut reader = Reader::start(&server, timing()).await;
    reader.until("the listed state", |reader| reader.cluster == expected).await;
    assert_eq!(server.asked(SERVICES, Ask::Watch)[0].query["resourceVersion"], "1");
}

#[tokio::test]
async fn the_selectors_leave_out_what_is_not_routed() {
    let server = Server::start().await;
    server.cannot_stream(400);
    server.say(SERVICES, Ask::List, Reply::text(200, text("list-services-filtered.json")));
    let mut reader = Reader::start(&server, timing()).await;
    reader.until_complete().await;
    assert!(!reader.cluster.services().is_empty());
    assert!(reader.cluster.services().values().all(|service| !service.headless));
}

#[tokio::test]
async fn recorded_refusals_are_told_in_the_servers_words() {
    let expected = [
        (401, "Unauthorized"),
        (404, "nodes \"absent\" not found"),
        (409, "services \"dns\" already exists"),
        (422, "Service \"Bad_Name\" is invalid: [metadata.name: Invalid value"),
    ];
    for (code, words) in expected {
        let server = Server::start().await;
        server.cannot_stream(400);
        let body = text(&format!("status-{code}.json"));
        for _ in 0..8 {
            server.say(SERVICES, Ask::List, Reply::text(code, body.clone()));
        }
        let mut reader = Reader::start(&server, timing()).await;
        reader
            .until("a failure", |reader| {
                let failure = reader.failure(Kind::Service).unwrap_or_default();
                failure.contains(words)
                    && failure.contains(&format!("answers {code} to GET {SERVICES}"))
                    && failure.contains(&server.url)
            })
            .await;
        assert!(!reader.complete, "{code}: the Services were never listed");
        reader.until_complete().await;
    }
}
