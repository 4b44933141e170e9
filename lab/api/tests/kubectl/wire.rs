//! What goes over the wire, without a client in between.

use std::time::Duration;

use lab_api::resource::SERVICES;
use lab_api::{StoreOptions, WriteOptions};
use serde_json::{Value, json};

use crate::http::{get, send};
use crate::kubectl::Cluster;

const IN_DEFAULT: &str = "/api/v1/namespaces/default/services";
const JSON: (&str, &str) = ("Content-Type", "application/json");

fn service(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}})
}

fn make(cluster: &Cluster, name: &str) {
    let options = WriteOptions::default();
    cluster.store.create(&SERVICES, "default", service(name), &options).unwrap();
}

#[test]
fn a_watch_is_one_json_object_a_line_and_ends_in_time() {
    let cluster = Cluster::new();
    let version = cluster.store.version();
    make(&cluster, "a");
    let query = format!("watch=1&resourceVersion={version}&timeoutSeconds=1");
    let events =
        get(&cluster.url, &format!("{IN_DEFAULT}?{query}&allowWatchBookmarks=true")).events();
    let words: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(words, ["ADDED", "BOOKMARK"]);
    let metadata = json!({"resourceVersion": (version + 1).to_string()});
    let bookmark = json!({
        "kind": "Service", "apiVersion": "v1", "metadata": metadata, "spec": {},
        "status": {"loadBalancer": {}},
    });
    assert_eq!(events[1]["object"], bookmark);
    let events = get(&cluster.url, &format!("{IN_DEFAULT}?{query}")).events();
    assert_eq!(events.len(), 1, "bookmarks are for those who ask");
}

#[test]
fn a_forgotten_version_ends_a_watch_and_refuses_a_list() {
    let cluster = Cluster::with(StoreOptions { history: 5, ..Default::default() });
    let old = cluster.store.version();
    let first = get(&cluster.url, "/api/v1/services?limit=1").json();
    for index in 0..9 {
        make(&cluster, &format!("s{index}"));
    }
    let events = get(&cluster.url, &format!("{IN_DEFAULT}?watch=1&resourceVersion={old}")).events();
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("too old resource version: {old} ({})", old + 4), "reason": "Expired",
        "code": 410,
    });
    assert_eq!(events, [json!({"type": "ERROR", "object": status})]);
    let exact = format!("/api/v1/services?resourceVersion={old}&resourceVersionMatch=Exact");
    assert_eq!(get(&cluster.url, &exact).code, 410);
    // One Service was there, so the first page was the whole list; this is a token of then.
    assert_eq!(first["metadata"].get("continue"), None);
    let page = get(&cluster.url, "/api/v1/services?limit=2").json();
    for index in 10..19 {
        make(&cluster, &format!("s{index}"));
    }
    let token = page["metadata"]["continue"].as_str().unwrap();
    let late = get(&cluster.url, &format!("/api/v1/services?limit=2&continue={token}"));
    assert_eq!((late.code, &late.json()["reason"]), (410, &json!("Expired")));
    let fresh = late.json()["metadata"]["continue"].as_str().unwrap().to_owned();
    assert_eq!(get(&cluster.url, &format!("/api/v1/services?continue={fresh}")).code, 200);
}

#[test]
fn a_streamed_list_ends_with_its_bookmark() {
    let cluster = Cluster::new();
    make(&cluster, "a");
    let query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan\
                 &allowWatchBookmarks=true&timeoutSeconds=1";
    let events = get(&cluster.url, &format!("/api/v1/services?{query}")).events();
    let words: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(words, ["ADDED", "ADDED", "BOOKMARK", "BOOKMARK"]);
    let version = cluster.store.version().to_string();
    let metadata = json!({
        "resourceVersion": version, "annotations": {"k8s.io/initial-events-end": "true"},
    });
    assert_eq!(events[2]["object"]["metadata"], metadata);
}

#[test]
fn tables_are_watched_with_their_columns_once() {
    let cluster = Cluster::new();
    make(&cluster, "a");
    let accept = [("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json")];
    let path = format!("{IN_DEFAULT}?watch=1&timeoutSeconds=1");
    let events = send(&cluster.url, "GET", &path, &accept, "").events();
    assert_eq!(events.len(), 2);
    let table = &events[0]["object"];
    assert_eq!((&table["kind"], &table["rows"][0]["cells"][0]), (&json!("Table"), &json!("a")));
    assert_eq!(table["columnDefinitions"][0]["name"], "Name");
    assert_eq!(events[1]["object"]["columnDefinitions"], Value::Null);
}

#[test]
fn forms_and_types_are_negotiated() {
    let cluster = Cluster::new();
    let url = &cluster.url;
    let accept = |accept: &str| send(url, "GET", IN_DEFAULT, &[("Accept", accept)], "");
    assert_eq!(accept("text/html").code, 406);
    let partial = accept("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1").json();
    assert_eq!(partial["kind"], "PartialObjectMetadataList");
    assert_eq!(partial["items"][0].get("spec"), None);
    let post =
        |media: &str, body: &str| send(url, "POST", IN_DEFAULT, &[("Content-Type", media)], body);
    assert_eq!(post("text/plain", "x").code, 415);
    let yaml = "metadata: {name: web}\nspec: {ports: [{port: 1}]}\n";
    assert_eq!(post("application/yaml", yaml).code, 201);
    let patch = send(url, "PATCH", &format!("{IN_DEFAULT}/web"), &[JSON], "{}");
    assert_eq!(patch.code, 415);
    let nowhere = get(url, "/nowhere");
    assert_eq!((nowhere.code, &nowhere.body[..]), (404, "404 page not found\n"));
    let method = send(url, "PUT", IN_DEFAULT, &[JSON], "{}");
    assert_eq!((method.code, &method.json()["reason"]), (405, &json!("MethodNotAllowed")));
}

#[test]
fn field_validation_says_what_is_unknown_or_there_twice() {
    let cluster = Cluster::new();
    let body = r#"{"metadata":{"name":"a"},"spec":{"type":"ClusterIP","type":"NodePort","x":1,"ports":[{"port":80}]}}"#;
    let post = |mode: &str| {
        let path = format!("{IN_DEFAULT}?dryRun=All&fieldValidation={mode}");
        send(&cluster.url, "POST", &path, &[JSON], body)
    };
    let strict = post("Strict");
    let expected = "Service in version \"v1\" cannot be handled as a Service: strict decoding error: \
                    duplicate field \"spec.type\", unknown field \"spec.x\"";
    assert_eq!((strict.code, &strict.json()["message"]), (400, &json!(expected)));
    let warned = post("Warn");
    assert_eq!(warned.code, 201);
    let warnings: Vec<_> =
        warned.head.lines().filter(|line| line.to_lowercase().starts_with("warning:")).collect();
    assert_eq!(warnings.len(), 2, "{}", warned.head);
    assert!(warnings[1].ends_with(r#"299 - "unknown field \"spec.x\"""#), "{warnings:?}");
    assert_eq!(warned.json()["spec"]["type"], "NodePort", "the last one counts");
    assert_eq!(post("Ignore").header("warning"), None);
    assert_eq!(get(&cluster.url, &format!("{IN_DEFAULT}/a")).code, 404, "dry runs store nothing");
}

#[test]
fn discovery_has_both_forms_and_remembers_who_knows_it() {
    let cluster = Cluster::new();
    let url = &cluster.url;
    let v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let found = send(url, "GET", "/apis?timeout=32s", &[("Accept", v2)], "");
    assert_eq!(found.header("content-type"), Some(v2));
    assert_eq!(found.json()["kind"], "APIGroupDiscoveryList");
    let tag = found.header("etag").unwrap();
    let again = send(url, "GET", "/apis", &[("Accept", v2), ("If-None-Match", tag)], "");
    assert_eq!(again.code, 304);
    for (path, kind) in [
        ("/api", "APIVersions"),
        ("/apis", "APIGroupList"),
        ("/apis/apps", "APIGroup"),
        ("/api/v1", "APIResourceList"),
        ("/apis/networking.k8s.io/v1", "APIResourceList"),
    ] {
        assert_eq!(get(url, path).json()["kind"], kind, "{path}");
    }
    let index = get(url, "/openapi/v3").json();
    let place = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap();
    assert!(get(url, place).json()["paths"].as_object().unwrap().len() >= 2);
    for path in ["/healthz", "/livez", "/readyz"] {
        assert_eq!(get(url, path).body, "ok");
    }
}

#[test]
fn events_are_the_same_in_both_groups() {
    let cluster = Cluster::new();
    let url = &cluster.url;
    let event = json!({
        "metadata": {"name": "e"}, "regarding": {"kind": "Node", "name": "n"}, "note": "hello",
        "eventTime": "2026-01-01T00:00:00Z", "reason": "R", "type": "Normal", "action": "A",
        "reportingController": "c", "reportingInstance": "i",
    });
    let path = "/apis/events.k8s.io/v1/namespaces/default/events";
    let made = send(url, "POST", path, &[JSON], &event.to_string());
    assert_eq!((made.code, &made.json()["note"]), (201, &json!("hello")));
    assert_eq!(made.json()["eventTime"], "2026-01-01T00:00:00.000000Z");
    let core = get(url, "/api/v1/events?fieldSelector=involvedObject.name%3Dn").json();
    assert_eq!(core["items"][0]["message"], "hello");
    let other = get(url, "/apis/events.k8s.io/v1/events?fieldSelector=regarding.name%3Dn").json();
    assert_eq!(other["kind"], "EventList");
    assert_eq!(other["items"][0]["regarding"]["name"], "n");
}

#[test]
fn a_collection_is_deleted_and_a_client_that_leaves_is_forgotten() {
    let cluster = Cluster::new();
    let watching =
        std::net::TcpStream::connect(cluster.url.strip_prefix("http://").unwrap()).unwrap();
    {
        use std::io::Write;
        (&watching).write_all(b"GET /api/v1/services?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    }
    std::thread::sleep(Duration::from_millis(100));
    drop(watching);
    for name in ["a", "b"] {
        make(&cluster, name);
    }
    let path = format!("{IN_DEFAULT}?labelSelector=!component");
    let deleted = send(&cluster.url, "DELETE", &path, &[JSON], "");
    assert_eq!((deleted.code, &deleted.json()["status"]), (200, &json!("Success")));
    let left = get(&cluster.url, IN_DEFAULT).json();
    assert_eq!(left["items"].as_array().unwrap().len(), 1);
    assert_eq!(left["items"][0].get("kind"), None, "in a list, the list says it for all");
}

#[test]
fn who_asks_for_endpoints_is_told_to_ask_for_slices() {
    let cluster = Cluster::new();
    let warned = |path: &str| get(&cluster.url, path).header("warning").map(str::to_owned);
    let said = warned("/api/v1/namespaces/default/endpoints").unwrap();
    assert_eq!(
        said,
        "299 - \"v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice\""
    );
    assert_eq!(warned("/apis/discovery.k8s.io/v1/endpointslices"), None);
}
