use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::Selector;
use crate::object::{name, text};
use crate::patch::Patch;
use crate::resource::{
    DEPLOYMENTS, ENDPOINT_SLICES, NAMESPACES, NODES, PODS, REPLICA_SETS, SERVICES,
};

fn store() -> Store {
    Store::new(StoreOptions::default()).unwrap()
}

fn options() -> WriteOptions {
    WriteOptions { manager: "test".to_owned(), ..Default::default() }
}

fn service(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}})
}

fn pod(name: &str, node: &str) -> Value {
    let spec = json!({"containers": [{"name": "c", "image": "a:1"}], "nodeName": node});
    json!({"metadata": {"name": name}, "spec": spec})
}

fn owned(mut object: Value, kind: &str, owner: &Value) -> Value {
    object["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "v1", "kind": kind, "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
    }]);
    object
}

fn names(store: &Store, resource: &'static Resource) -> Vec<String> {
    let list = store.list(resource, None, &ListOptions::default()).unwrap();
    list.items.iter().map(|object| name(object).to_owned()).collect()
}

fn told(events: &[WatchEvent]) -> Vec<String> {
    let word = |event: &WatchEvent| match event {
        WatchEvent::Added(object) => format!("+{}", name(object)),
        WatchEvent::Modified(object) => format!("~{}", name(object)),
        WatchEvent::Deleted(object) => format!("-{}", name(object)),
        WatchEvent::Bookmark(object) => {
            let end = text(object, "/metadata/annotations/k8s.io~1initial-events-end");
            format!("bookmark {end}")
        }
        WatchEvent::Error(error) => format!("{} {error}", error.code()),
    };
    events.iter().map(word).collect()
}

#[test]
fn a_new_cluster_has_what_every_cluster_has() {
    let store = store();
    assert_eq!(
        names(&store, &NAMESPACES),
        ["default", "kube-node-lease", "kube-public", "kube-system"]
    );
    let kubernetes = store.get(&SERVICES, "default", "kubernetes").unwrap();
    assert_eq!(kubernetes["spec"]["clusterIP"], "10.96.0.1");
    let cidrs = vec!["fd00:10:96::/112".parse().unwrap()];
    let store = Store::new(StoreOptions { service_cidrs: cidrs, ..Default::default() }).unwrap();
    let kubernetes = store.get(&SERVICES, "default", "kubernetes").unwrap();
    assert_eq!(kubernetes["spec"]["clusterIP"], "fd00:10:96::1");
}

#[test]
fn a_write_that_changes_nothing_is_no_change() {
    let store = store();
    let made = store.create(&SERVICES, "default", service("a"), &options()).unwrap().object;
    let version = store.version();
    let again = store.update(&SERVICES, "default", "a", service("a"), &options()).unwrap();
    assert_eq!((again.object, store.version()), (made, version));
    let patch = Patch::Merge(json!({"spec": {"type": "ClusterIP"}}));
    store.patch(&SERVICES, "default", "a", &patch, &options()).unwrap();
    assert_eq!(store.version(), version);
}

#[test]
fn an_old_version_conflicts_and_so_does_another_uid() {
    let store = store();
    let made = store.create(&SERVICES, "default", service("a"), &options()).unwrap().object;
    let mut new = (*made).clone();
    new["spec"]["sessionAffinity"] = "ClientIP".into();
    store.update(&SERVICES, "default", "a", new.clone(), &options()).unwrap();
    let error = store.update(&SERVICES, "default", "a", new.clone(), &options()).unwrap_err();
    let expected = "Operation cannot be fulfilled on services \"a\": the object has been modified; \
                    please apply your changes to the latest version and try again";
    assert_eq!((error.code(), &error.to_string()[..]), (409, expected));
    new["metadata"]["resourceVersion"] = Value::Null;
    new["metadata"]["uid"] = "x".into();
    let error = store.update(&SERVICES, "default", "a", new, &options()).unwrap_err();
    assert!(error.to_string().contains("UID in precondition: x"), "{error}");
    let uid = Some("x".to_owned());
    let wrong = DeleteOptions { uid, ..Default::default() };
    assert_eq!(store.delete(&SERVICES, "default", "a", &wrong).unwrap_err().code(), 409);
}

#[test]
fn a_dry_run_leaves_no_trace() {
    let store = store();
    let dry = WriteOptions { dry_run: true, ..options() };
    let version = store.version();
    let made = store.create(&SERVICES, "default", service("a"), &dry).unwrap().object;
    assert!(!text(&made, "/spec/clusterIP").is_empty());
    assert_eq!(made["metadata"].get("resourceVersion"), None);
    let patch = Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}}));
    let patched = store.patch(&SERVICES, "default", "kubernetes", &patch, &dry).unwrap().object;
    let kept = store.get(&SERVICES, "default", "kubernetes").unwrap();
    assert_eq!(patched["metadata"]["resourceVersion"], kept["metadata"]["resourceVersion"]);
    let gone = DeleteOptions { dry_run: true, ..Default::default() };
    store.delete(&SERVICES, "default", "kubernetes", &gone).unwrap();
    assert_eq!(names(&store, &SERVICES), ["kubernetes"]);
    assert_eq!(store.version(), version);
}

#[test]
fn a_missing_namespace_is_named() {
    let error = store().create(&SERVICES, "shop", service("a"), &options()).unwrap_err();
    assert_eq!(error.to_string(), "namespaces \"shop\" not found");
}

#[test]
fn owners_take_what_they_own_along() {
    let store = store();
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": pod("", "")["spec"]});
    let spec = json!({"selector": {"matchLabels": {"a": "b"}}, "template": template});
    let deployment = json!({"metadata": {"name": "d"}, "spec": spec});
    let deployment = store.create(&DEPLOYMENTS, "default", deployment, &options()).unwrap().object;
    let set = json!({"metadata": {"name": "rs"}, "spec": spec});
    let set = owned(set, "Deployment", &deployment);
    let set = store.create(&REPLICA_SETS, "default", set, &options()).unwrap().object;
    for (name, node) in [("here", "node-0"), ("nowhere", "")] {
        let pod = owned(pod(name, node), "ReplicaSet", &set);
        store.create(&PODS, "default", pod, &options()).unwrap();
    }
    store.delete(&DEPLOYMENTS, "default", "d", &DeleteOptions::default()).unwrap();
    assert_eq!(names(&store, &REPLICA_SETS), [""; 0]);
    assert_eq!(names(&store, &PODS), ["here"], "a Pod on a Node stops in its own time");
    let here = store.get(&PODS, "default", "here").unwrap();
    assert_eq!(here["metadata"]["deletionGracePeriodSeconds"], 30);
    let now = DeleteOptions { grace: Some(0), ..Default::default() };
    assert!(store.delete(&PODS, "default", "here", &now).unwrap().gone);
}

#[test]
fn foreground_waits_and_orphans_stay() {
    let store = store();
    let one = store.create(&SERVICES, "default", service("one"), &options()).unwrap().object;
    let child = owned(pod("child", "node-0"), "Service", &one);
    store.create(&PODS, "default", child, &options()).unwrap();
    let foreground = DeleteOptions { propagation: Propagation::Foreground, ..Default::default() };
    assert!(!store.delete(&SERVICES, "default", "one", &foreground).unwrap().gone);
    let now = DeleteOptions { grace: Some(0), ..Default::default() };
    store.delete(&PODS, "default", "child", &now).unwrap();
    assert_eq!(names(&store, &SERVICES), ["kubernetes"]);

    let two = store.create(&SERVICES, "default", service("two"), &options()).unwrap().object;
    let child = owned(pod("child", "node-0"), "Service", &two);
    store.create(&PODS, "default", child, &options()).unwrap();
    let orphan = DeleteOptions { propagation: Propagation::Orphan, ..Default::default() };
    assert!(store.delete(&SERVICES, "default", "two", &orphan).unwrap().gone);
    let child = store.get(&PODS, "default", "child").unwrap();
    assert_eq!(child["metadata"].get("ownerReferences"), None);
    assert_eq!(child["metadata"].get("deletionTimestamp"), None);
}

#[test]
fn finalizers_hold_an_object_until_the_last_is_gone() {
    let store = store();
    let mut held = service("held");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    store.create(&SERVICES, "default", held, &options()).unwrap();
    assert!(!store.delete(&SERVICES, "default", "held", &DeleteOptions::default()).unwrap().gone);
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    store.patch(&SERVICES, "default", "held", &free, &options()).unwrap();
    assert_eq!(names(&store, &SERVICES), ["kubernetes"]);
}

#[test]
fn a_namespace_goes_when_it_is_empty() {
    let store = store();
    let shop = json!({"metadata": {"name": "shop"}});
    store.create(&NAMESPACES, "", shop, &options()).unwrap();
    store.create(&SERVICES, "shop", service("a"), &options()).unwrap();
    store.create(&PODS, "shop", pod("p", "node-0"), &options()).unwrap();
    let deleted = store.delete(&NAMESPACES, "", "shop", &DeleteOptions::default()).unwrap();
    assert_eq!(text(&deleted.object, "/status/phase"), "Terminating");
    assert_eq!(names(&store, &SERVICES), ["kubernetes", "a"], "a moment for whoever deletes both");
    store.empty_namespace("default");
    store.empty_namespace("shop");
    assert_eq!(names(&store, &SERVICES), ["kubernetes"]);
    let refused = store.create(&SERVICES, "shop", service("b"), &options()).unwrap_err();
    assert_eq!(refused.code(), 403);
    let now = DeleteOptions { grace: Some(0), ..Default::default() };
    store.delete(&PODS, "shop", "p", &now).unwrap();
    assert!(store.get(&NAMESPACES, "", "shop").is_err());
    let kept = store.delete(&NAMESPACES, "", "default", &DeleteOptions::default());
    assert_eq!(kept.unwrap_err().code(), 403);
}

#[test]
fn pages_are_of_one_moment() {
    let store = store();
    for name in ["a", "b", "c"] {
        store.create(&SERVICES, "default", service(name), &options()).unwrap();
    }
    let first = ListOptions { limit: 2, ..Default::default() };
    let page = store.list(&SERVICES, None, &first).unwrap();
    assert_eq!((page.items.len(), page.remaining), (2, Some(2)));
    store.create(&SERVICES, "default", service("aa"), &options()).unwrap();
    store.delete(&SERVICES, "default", "c", &DeleteOptions::default()).unwrap();
    let next = ListOptions { continue_token: page.continue_token, ..Default::default() };
    let rest = store.list(&SERVICES, None, &next).unwrap();
    let names: Vec<_> = rest.items.iter().map(|object| name(object)).collect();
    assert_eq!((names, rest.version), (vec!["c", "kubernetes"], page.version));
    let exact = ListOptions {
        version: Some(page.version),
        version_match: VersionMatch::Exact,
        ..Default::default()
    };
    assert_eq!(store.list(&SERVICES, None, &exact).unwrap().items.len(), 4);
    let future = ListOptions { version: Some(10_000), ..Default::default() };
    assert_eq!(store.list(&SERVICES, None, &future).unwrap_err().code(), 504);
    let garbage = ListOptions { continue_token: Some("x".to_owned()), ..Default::default() };
    assert_eq!(store.list(&SERVICES, None, &garbage).unwrap_err().code(), 400);
}

#[test]
fn every_moment_of_the_past_can_be_listed_in_pages() {
    let store = store();
    let mut moments: Vec<(u64, Vec<Object>)> = Vec::new();
    let whole = ListOptions::default();
    for step in 0..24_u32 {
        // Comes, changes, goes, and comes again: names before, between and after the others.
        let name = format!("n{}", step * 7 % 5);
        let there = store.get(&PODS, "default", &name).is_ok();
        if there && step % 3 == 0 {
            let at_once = DeleteOptions { grace: Some(0), ..Default::default() };
            store.delete(&PODS, "default", &name, &at_once).unwrap();
        } else if there {
            let label =
                |pod: &mut Value| pod["metadata"]["labels"] = json!({"step": format!("{step}")});
            store.edit(&PODS, "default", &name, &options(), label).unwrap();
        } else {
            store.create(&PODS, "default", pod(&name, "node-1"), &options()).unwrap();
        }
        let list = store.list(&PODS, None, &whole).unwrap();
        moments.push((list.version, list.items));
    }
    for (version, expected) in moments {
        let (version, version_match) = (Some(version), VersionMatch::Exact);
        let mut asked = ListOptions { version, version_match, limit: 2, ..Default::default() };
        let mut items = Vec::new();
        loop {
            let page = store.list(&PODS, Some("default"), &asked).unwrap();
            items.extend(page.items);
            let left = expected.len() - items.len();
            assert_eq!(page.remaining, (left > 0).then_some(left));
            asked.continue_token = page.continue_token;
            if asked.continue_token.is_none() {
                break;
            }
        }
        assert_eq!(items, expected, "at {version:?}");
    }
}

#[test]
fn an_address_and_a_port_are_free_again_when_their_service_is_gone_or_changed() {
    let store = store();
    let spec = |name: &str, address: &str, port: u16| {
        let ports = json!([{"port": 80, "nodePort": port}]);
        let spec = json!({"type": "NodePort", "clusterIP": address, "ports": ports});
        json!({"metadata": {"name": name}, "spec": spec})
    };
    let create = |service| store.create(&SERVICES, "default", service, &options());
    create(spec("a", "10.96.0.20", 30_020)).unwrap();
    create(spec("b", "10.96.0.20", 30_021)).unwrap_err();
    create(spec("b", "10.96.0.21", 30_020)).unwrap_err();
    create(spec("b", "10.96.0.21", 30_021)).unwrap();
    // What it has itself is no hindrance.
    let renumber = |port: u16| {
        move |service: &mut Value| service["spec"]["ports"][0]["nodePort"] = port.into()
    };
    let edit = |name, port| store.edit(&SERVICES, "default", name, &options(), renumber(port));
    edit("a", 30_020).unwrap();
    edit("b", 30_020).unwrap_err();
    edit("a", 30_022).unwrap();
    edit("b", 30_020).unwrap();
    store.delete(&SERVICES, "default", "a", &DeleteOptions::default()).unwrap();
    create(spec("c", "10.96.0.20", 30_022)).unwrap();
    create(spec("d", "10.96.0.21", 30_023)).unwrap_err();
}

#[test]
fn a_watch_tells_what_enters_and_leaves_its_selection() {
    let store = store();
    let selector = Selector::parse(&PODS, "", "spec.nodeName=node-0").unwrap();
    let options_of = WatchOptions { selector, ..Default::default() };
    let mut watch = store.watch(&PODS, Some("default"), options_of).unwrap();
    store.create(&PODS, "default", pod("a", ""), &options()).unwrap();
    store.create(&PODS, "default", pod("b", "node-1"), &options()).unwrap();
    assert_eq!(told(&watch.ready()), [""; 0]);
    store.bind("default", "a", "node-0").unwrap();
    assert_eq!(store.bind("default", "a", "node-1").unwrap_err().code(), 409);
    let label = Patch::Merge(json!({"metadata": {"labels": {"x": "y"}}}));
    store.patch(&PODS, "default", "a", &label, &options()).unwrap();
    let now = DeleteOptions { grace: Some(0), ..Default::default() };
    store.delete(&PODS, "default", "a", &now).unwrap();
    let events = watch.ready();
    assert_eq!(told(&events), ["+a", "~a", "-a"]);
    let WatchEvent::Deleted(last) = &events[2] else { panic!("{events:?}") };
    let version = store.version().to_string();
    assert_eq!(text(last, "/metadata/resourceVersion"), version, "the version of the deletion");

    let selector = Selector::parse(&PODS, "x!=y", "").unwrap();
    let options_of = WatchOptions { selector, ..Default::default() };
    let mut watch = store.watch(&PODS, None, options_of).unwrap();
    assert_eq!(told(&watch.ready()), ["+b"]);
    store.patch(&PODS, "default", "b", &label, &options()).unwrap();
    assert_eq!(told(&watch.ready()), ["-b"]);
}

#[test]
fn a_watch_begins_where_it_is_told() {
    let store = store();
    let before = store.version();
    store.create(&SERVICES, "default", service("a"), &options()).unwrap();
    let told_by =
        |options: WatchOptions| told(&store.watch(&SERVICES, None, options).unwrap().ready());
    let from = |version| WatchOptions { version, ..Default::default() };
    assert_eq!(told_by(from(None)), ["+a", "+kubernetes"]);
    assert_eq!(told_by(from(Some(before))), ["+a"]);
    let list = |version, bookmarks| WatchOptions {
        version,
        bookmarks,
        initial_events: Some(true),
        ..Default::default()
    };
    assert_eq!(told_by(list(None, true)), ["+a", "+kubernetes", "bookmark true"]);
    assert_eq!(told_by(list(Some(before), true)), ["+a", "+kubernetes", "bookmark true"]);
    let none = WatchOptions { initial_events: Some(false), ..Default::default() };
    assert_eq!(told_by(none), [""; 0]);
}

#[tokio::test]
async fn a_watch_that_lags_too_far_is_over() {
    let store = Store::new(StoreOptions { history: 12, ..Default::default() }).unwrap();
    let start = WatchOptions { version: Some(store.version()), ..Default::default() };
    let mut watch = store.watch(&SERVICES, None, start).unwrap();
    for index in 0..20 {
        store.create(&SERVICES, "default", service(&format!("s{index}")), &options()).unwrap();
    }
    let event = watch.next().await.unwrap();
    let words = told(&[event]);
    assert!(words[0].starts_with("410 too old resource version: "), "{words:?}");
    assert!(watch.next().await.is_none());
}

#[tokio::test]
async fn a_watch_wakes_up_and_bookmarks_bridge_the_quiet() {
    let bookmarks = Duration::from_millis(20);
    let store = Store::new(StoreOptions { bookmarks, ..Default::default() }).unwrap();
    let version = Some(store.version());
    let start = WatchOptions { version, bookmarks: true, ..Default::default() };
    let mut watch = store.watch(&ENDPOINT_SLICES, None, start).unwrap();
    store.create(&NODES, "", json!({"metadata": {"name": "n"}}), &options()).unwrap();
    let WatchEvent::Bookmark(bookmark) = watch.next().await.unwrap() else { panic!("no bookmark") };
    assert_eq!(text(&bookmark, "/metadata/resourceVersion"), store.version().to_string());
    let writer = store.clone();
    let task = tokio::spawn(async move {
        let slice = json!({"metadata": {"name": "s"}, "addressType": "IPv4", "endpoints": []});
        writer.create(&ENDPOINT_SLICES, "default", slice, &options()).unwrap();
    });
    loop {
        match watch.next().await.unwrap() {
            WatchEvent::Bookmark(_) => {}
            event => break assert_eq!(told(&[event]), ["+s"]),
        }
    }
    task.await.unwrap();
}

#[test]
fn server_side_apply_creates_changes_and_conflicts() {
    let store = store();
    let config = |affinity: &str| {
        let mut config = service("a");
        config["apiVersion"] = "v1".into();
        config["kind"] = "Service".into();
        config["spec"]["sessionAffinity"] = affinity.into();
        config
    };
    let apply = |affinity: &str, manager: &str, force| {
        let patch = Patch::Apply { config: config(affinity), force };
        let options = WriteOptions { manager: manager.to_owned(), ..Default::default() };
        store.patch(&SERVICES, "default", "a", &patch, &options)
    };
    let before = store.version();
    assert!(apply("None", "one", false).unwrap().created);
    assert_eq!(store.version(), before + 1);
    assert!(!apply("None", "one", false).unwrap().created);
    assert_eq!(store.version(), before + 1, "applying the same again is no change");
    let error = apply("ClientIP", "two", false).unwrap_err();
    let expected = "Apply failed with 1 conflict: conflict with \"one\" using v1: \
                    .spec.sessionAffinity";
    assert_eq!((error.code(), &error.to_string()[..]), (409, expected));
    let taken = apply("ClientIP", "two", true).unwrap().object;
    assert_eq!(taken["spec"]["sessionAffinity"], "ClientIP");
}
