//! Policies are enforced where the API lets us read what that takes.

use std::time::Duration;

use intake::api::{ApiSource, NetworkPolicyMode, PolicyDecision, Timing};
use model::NamespacedName;
use serde_json::{Value, json};

use crate::recordings::{events, finally, text};
use crate::server::{
    Ask, CLUSTER_POLICIES, NAMESPACES, PODS, POLICIES, Reply, Server, end_of_list, event, list,
};
use crate::{Reader, options, timing};

async fn reader(server: &Server, mode: NetworkPolicyMode, timing: Timing) -> Reader {
    let source = ApiSource::new(options(server)).await.unwrap().with_timing(timing);
    Reader::of(source.with_network_policy(mode))
}

fn refused(kind: &str) -> Reply {
    let message = format!("{kind} is forbidden: User \"kube-proxy\" cannot list resource");
    Reply::status(403, "Forbidden", &message)
}

fn decision(reader: &Reader) -> PolicyDecision {
    reader.decisions.borrow().clone().expect("decided before the first complete delivery")
}

/// What was left out, but for the Node, which these servers do not have.
fn of_policies(reader: &Reader) -> Vec<String> {
    let others = reader.notices.iter().filter(|notice| notice.object.kind != "Node");
    others.map(ToString::to_string).collect()
}

#[tokio::test]
async fn lists_and_then_watches_give_the_final_state() {
    let server = Server::start().await;
    server.cannot_stream(400);
    let kinds = [(PODS, "pods"), (NAMESPACES, "namespaces"), (POLICIES, "networkpolicies")];
    for (path, kind) in kinds {
        server.say(path, Ask::List, Reply::text(200, text(&format!("list-{kind}.json"))));
        server.say(path, Ask::Watch, Reply::watch(events(&format!("watch-{kind}.jsonl"))));
    }
    let expected = finally(&["pods", "namespaces", "networkpolicies"]);
    assert!(expected.pods().len() > 2 && expected.network_policies().len() == 1);
    let mut reader = reader(&server, NetworkPolicyMode::On, timing()).await;
    reader.until("the final state", |reader| reader.cluster == expected).await;
    reader.until_complete().await;
    assert_eq!(of_policies(&reader), [""; 0]);
    assert!(decision(&reader).enforce);
    for (path, _) in kinds {
        assert_eq!(server.asked(path, Ask::Watch)[0].query["resourceVersion"], "302", "{path}");
    }
}

#[tokio::test]
async fn with_the_permissions_of_kube_proxy_policies_are_left_to_others() {
    let server = Server::start().await;
    server.say(PODS, Ask::List, Reply::json(list(1, &[])));
    server.say(NAMESPACES, Ask::List, refused("namespaces"));
    let mut reader = reader(&server, NetworkPolicyMode::Auto, timing()).await;
    reader.until_complete().await;
    let PolicyDecision { enforce, because } = decision(&reader);
    assert!(!enforce);
    assert!(because.contains("Namespaces cannot be read"), "{because}");
    assert!(because.contains("namespaces is forbidden: User \"kube-proxy\""), "{because}");
    reader.during(Duration::from_millis(100)).await;
    for path in [PODS, NAMESPACES, POLICIES, CLUSTER_POLICIES] {
        let watched = server.seen(path).iter().any(|seen| seen.ask != Ask::List);
        assert!(!watched, "{path}");
    }
}

#[tokio::test]
async fn a_server_that_stumbles_decides_nothing() {
    let server = Server::start().await;
    for code in [500, 429, 503] {
        server.say(PODS, Ask::List, Reply::status(code, "Busy", "later"));
    }
    let mut reader = reader(&server, NetworkPolicyMode::Auto, timing()).await;
    reader.until_complete().await;
    assert!(decision(&reader).enforce);
    assert!(server.asked(PODS, Ask::List).len() >= 4);
    assert_eq!(server.asked(PODS, Ask::StreamList).len(), 1);
}

#[tokio::test]
async fn switched_off_nothing_is_asked() {
    let server = Server::start().await;
    let mut reader = reader(&server, NetworkPolicyMode::Off, timing()).await;
    reader.until_complete().await;
    assert!(!decision(&reader).enforce);
    assert!([PODS, NAMESPACES, POLICIES].iter().all(|path| server.seen(path).is_empty()));
}

#[tokio::test]
async fn switched_on_policies_are_waited_for() {
    let server = Server::start().await;
    for _ in 0..4 {
        server.say(POLICIES, Ask::StreamList, refused("networkpolicies"));
    }
    let mut reader = reader(&server, NetworkPolicyMode::On, timing()).await;
    reader
        .until("the fourth refusal", |reader| {
            assert!(!reader.complete || server.asked(POLICIES, Ask::StreamList).len() > 4);
            server.asked(POLICIES, Ask::StreamList).len() > 3
        })
        .await;
    reader.until_complete().await;
}

fn cluster_policy(name: &str) -> Value {
    json!({"metadata": {"name": name, "resourceVersion": "5"}, "spec": {"tier": "Admin",
        "priority": 1, "subject": {"namespaces": {}},
        "ingress": [{"action": "Deny", "from": [{"namespaces": {}}]}]}})
}

#[tokio::test]
async fn cluster_network_policies_are_found_when_they_are_served() {
    let server = Server::start().await;
    for _ in 0..2 {
        let missing = Reply::text(404, "404 page not found\n");
        server.say(CLUSTER_POLICIES, Ask::StreamList, missing);
    }
    let lines = [event("ADDED", cluster_policy("deny")), end_of_list(5)];
    server.say(CLUSTER_POLICIES, Ask::StreamList, Reply::watch(lines));
    let timing = Timing { refused_again: Duration::from_millis(200), ..timing() };
    let mut reader = reader(&server, NetworkPolicyMode::On, timing).await;
    reader.until_complete().await;
    reader
        .until("the policy", |reader| {
            reader.cluster.cluster_network_policies().contains_key("deny")
        })
        .await;
    assert_eq!(server.asked(CLUSTER_POLICIES, Ask::StreamList).len(), 3);
}

#[tokio::test]
async fn an_unknown_field_is_named_and_closes_its_rule() {
    let server = Server::start().await;
    let policy = json!({"metadata": {"name": "p", "namespace": "shop", "resourceVersion": "5"},
        "spec": {"ingress": [{"from": [{"podSelector": {}, "serviceAccounts": {}}]}]}});
    let lines = [event("ADDED", policy), end_of_list(5)];
    server.say(POLICIES, Ask::StreamList, Reply::watch(lines));
    let mut reader = reader(&server, NetworkPolicyMode::On, timing()).await;
    reader.until_complete().await;
    let policy = &reader.cluster.network_policies()[&NamespacedName::new("shop", "p")];
    assert!(policy.ingress.as_ref().unwrap()[0].closed);
    let notices = of_policies(&reader);
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert!(notices[0].contains("serviceAccounts"), "{notices:?}");
}
