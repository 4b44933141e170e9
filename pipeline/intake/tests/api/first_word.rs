//! Nothing is complete before everything is; and what may be missing does not hold it up.

use std::time::Duration;

use intake::api::{ApiOptions, ApiSource, Kind};
use model::{Family, Reason};
use serde_json::json;
use tokio::net::TcpListener;

use crate::server::{
    Ask, CIDRS, NAMESPACES, NODES, PODS, Piece, Reply, SERVICES, SLICES, Server, end_of_list,
    event, list,
};
use crate::{Reader, service, timing};

#[tokio::test]
async fn nothing_is_complete_before_every_list_is() {
    for late in [SERVICES, SLICES, NODES, CIDRS] {
        let server = Server::start().await;
        let pieces = vec![
            Piece::Wait(Duration::from_millis(300)),
            Piece::Text(end_of_list(5) + "\n"),
            Piece::Hang,
        ];
        server.say(late, Ask::StreamList, Reply::Stream(pieces));
        let mut reader = Reader::start(&server, timing()).await;
        reader.during(Duration::from_millis(200)).await;
        assert!(reader.deliveries > 0, "the other lists are handed on as they come");
        assert!(!reader.complete, "{late} is still to come");
        reader.until_complete().await;
    }
}

#[tokio::test]
async fn the_selectors_are_sent_with_every_request() {
    let server = Server::start().await;
    server.cannot_stream(400);
    let mut reader = Reader::start(&server, timing()).await;
    reader
        .until("four watches", |_| {
            [SERVICES, SLICES, NODES, CIDRS]
                .iter()
                .all(|path| !server.asked(path, Ask::Watch).is_empty())
        })
        .await;
    let expected = [
        (SERVICES, Some("!service.kubernetes.io/service-proxy-name"), Some("spec.clusterIP!=None")),
        (SLICES, Some("!service.kubernetes.io/headless"), None),
        (NODES, None, Some("metadata.name=node-0")),
        (CIDRS, None, None),
    ];
    for (path, labels, fields) in expected {
        let requests = server.seen(path);
        assert!(requests.len() >= 3, "a refused stream, a list and a watch: {requests:?}");
        for request in requests {
            let get = |key: &str| request.query.get(key).map(String::as_str);
            assert_eq!(get("labelSelector"), labels, "{request:?}");
            assert_eq!(get("fieldSelector"), fields, "{request:?}");
        }
    }
}

#[tokio::test]
async fn a_node_that_is_missing_is_named_and_holds_nothing_up() {
    let server = Server::start().await;
    let node = json!({
        "metadata": {"name": "node-0", "labels": {"topology.kubernetes.io/zone": "z1"}},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]},
    });
    let pieces = vec![
        Piece::Text(end_of_list(5) + "\n"),
        Piece::Wait(Duration::from_millis(100)),
        Piece::Text(event("ADDED", node.clone()) + "\n"),
        Piece::Wait(Duration::from_millis(100)),
        Piece::Text(event("DELETED", node) + "\n"),
        Piece::Hang,
    ];
    server.say(NODES, Ask::StreamList, Reply::Stream(pieces));
    let mut reader = Reader::start(&server, timing()).await;
    reader.until_complete().await;
    assert_eq!(reader.notices.len(), 1, "{:?}", reader.notices);
    assert_eq!(reader.notices[0].reason, Reason::NodeMissing);
    assert_eq!(&*reader.notices[0].object.name, "node-0");
    reader.until("the Node", |reader| reader.cluster.node("node-0").is_some()).await;
    let node = reader.cluster.node("node-0").unwrap();
    assert_eq!(node.zone.as_deref(), Some("z1"));
    assert_eq!(node.address(Family::V4).unwrap().to_string(), "192.0.2.1");
    reader.until("its end", |reader| reader.cluster.node("node-0").is_none()).await;
    assert_eq!(reader.notices.len(), 2, "{:?}", reader.notices);
}

#[tokio::test]
async fn refused_optional_kinds_hold_nothing_up() {
    let server = Server::start().await;
    server.cannot_stream(400);
    server.say(CIDRS, Ask::List, Reply::text(404, "404 page not found"));
    let message = "nodes \"node-0\" is forbidden: User \"p\" cannot list resource \"nodes\"";
    server.say(NODES, Ask::List, Reply::status(403, "Forbidden", message));
    let mut reader = Reader::start(&server, timing()).await;
    reader.until_complete().await;
    assert_eq!(reader.notices.len(), 1, "{:?}", reader.notices);
    assert!(reader.notices[0].message.contains("is forbidden"), "{:?}", reader.notices);
    let failure = reader.failure(Kind::ServiceCidr).unwrap();
    assert!(failure.contains("404 page not found"), "{failure}");
}

#[tokio::test]
async fn refused_services_hold_the_first_word_up_and_are_named() {
    let server = Server::start().await;
    let message = "services is forbidden: User \"p\" cannot list resource \"services\"";
    for _ in 0..3 {
        server.say(SERVICES, Ask::StreamList, Reply::status(403, "Forbidden", message));
    }
    let mut reader = Reader::start(&server, timing()).await;
    reader.until("the refusal", |reader| reader.failure(Kind::Service).is_some()).await;
    assert!(reader.failure(Kind::Service).unwrap().contains(message));
    assert!(!reader.complete);
    reader.until_complete().await;
}

#[tokio::test]
async fn an_unreachable_server_is_named_and_found_when_it_comes() {
    // A port that is ours, and that nobody listens on yet.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let options = ApiOptions {
        kubeconfig: None,
        master: Some(format!("http://{address}")),
        node_name: "node-0".into(),
    };
    let mut reader = Reader::with(options, timing()).await;
    reader.until("a failure", |reader| reader.failure(Kind::Service).is_some()).await;
    let failure = reader.failure(Kind::Service).unwrap();
    assert!(failure.contains(&format!("http://{address} cannot be reached")), "{failure}");
    assert!(failure.contains("Connection refused"), "{failure}");
    assert_eq!(reader.deliveries, 0);

    let server = Server::on(TcpListener::bind(address).await.unwrap());
    server.say(
        SERVICES,
        Ask::StreamList,
        Reply::watch([event("ADDED", service("a", 9)), end_of_list(9)]),
    );
    reader.until("a", |reader| reader.complete && reader.has("a")).await;
    assert_eq!(reader.failure(Kind::Service), None);
}

#[tokio::test]
async fn a_source_ends_when_nobody_listens() {
    let server = Server::start().await;
    server.say(SERVICES, Ask::List, Reply::json(list(1, &[])));
    let source = ApiSource::new(crate::options(&server)).await.unwrap();
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let running = tokio::spawn(source.run(sender));
    assert!(receiver.recv().await.is_some());
    drop(receiver);
    let ended = tokio::time::timeout(Duration::from_secs(10), running).await;
    ended.expect("it goes on for nobody").unwrap().unwrap();
}

#[tokio::test]
async fn who_answers_for_names_asks_for_headless_services_and_namespaces_too() {
    let server = Server::start().await;
    let shop = json!({"metadata": {"name": "shop"}});
    server.say(NAMESPACES, Ask::StreamList, Reply::watch([event("ADDED", shop), end_of_list(5)]));
    let source = ApiSource::new(crate::options(&server)).await.unwrap().with_timing(timing());
    let mut reader = Reader::of(source.with_names(true));
    reader.until_complete().await;
    assert!(reader.cluster.namespaces().contains_key("shop"));
    for path in [SERVICES, SLICES] {
        for request in server.seen(path) {
            assert!(!request.query.contains_key("labelSelector"), "{request:?}");
            assert!(!request.query.contains_key("fieldSelector"), "{request:?}");
        }
    }
    assert!(server.seen(PODS).is_empty());
}

#[tokio::test]
async fn without_the_right_to_read_namespaces_names_are_answered_all_the_same() {
    let server = Server::start().await;
    let refused = || Reply::status(403, "Forbidden", "namespaces is forbidden");
    server.say(NAMESPACES, Ask::StreamList, refused());
    server.say(NAMESPACES, Ask::List, refused());
    let source = ApiSource::new(crate::options(&server)).await.unwrap().with_timing(timing());
    let mut reader = Reader::of(source.with_names(true));
    reader.until_complete().await;
    assert!(reader.cluster.namespaces().is_empty());
    assert!(!server.seen(NAMESPACES).is_empty());
}
