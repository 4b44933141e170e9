//! Everything that a server, a network or an object can do wrong in the middle of the work.

use std::time::{Duration, Instant};

use intake::api::{Kind, Timing};
use serde_json::{Value, json};

use crate::server::{Ask, Piece, Reply, SERVICES, Server, end_of_list, event, list};
use crate::{Reader, service, timing};

/// A streamed list of the Services `a` and `b` at version 10.
fn a_and_b() -> Vec<String> {
    vec![event("ADDED", service("a", 9)), event("ADDED", service("b", 10)), end_of_list(10)]
}

fn line(text: String) -> Piece {
    Piece::Text(text + "\n")
}

#[tokio::test]
async fn a_connection_that_falls_silent_is_left() {
    let server = Server::start().await;
    server.say(SERVICES, Ask::StreamList, Reply::watch(a_and_b()));
    server.say(SERVICES, Ask::Watch, Reply::watch([event("ADDED", service("c", 11))]));
    let timing = Timing { silence: Duration::from_millis(150), ..timing() };
    let mut reader = Reader::start(&server, timing).await;
    reader.until("c", |reader| reader.has("c")).await;
    let watches = server.asked(SERVICES, Ask::Watch);
    assert_eq!(watches[0].query["resourceVersion"], "10", "it goes on where it was");
    assert!(reader.has("a"), "silence takes nothing away");
    assert_eq!(server.asked(SERVICES, Ask::StreamList).len(), 1, "nothing was listed again");
}

#[tokio::test]
async fn bookmarks_keep_a_quiet_watch_alive_and_carry_its_version() {
    let server = Server::start().await;
    let bookmark = event("BOOKMARK", json!({"metadata": {"resourceVersion": "77"}}));
    let mut pieces: Vec<_> = a_and_b().into_iter().map(line).collect();
    for _ in 0..8 {
        pieces.push(Piece::Wait(Duration::from_millis(60)));
        pieces.push(line(bookmark.clone()));
    }
    server.say(SERVICES, Ask::StreamList, Reply::Stream(pieces));
    server.say(SERVICES, Ask::Watch, Reply::watch([event("ADDED", service("c", 78))]));
    let timing = Timing { silence: Duration::from_millis(200), ..timing() };
    let started = Instant::now();
    let mut reader = Reader::start(&server, timing).await;
    reader.until("c", |reader| reader.has("c")).await;
    assert!(started.elapsed() >= Duration::from_millis(480), "{:?}", started.elapsed());
    assert_eq!(server.asked(SERVICES, Ask::Watch)[0].query["resourceVersion"], "77");
}

#[tokio::test]
async fn a_watch_is_asked_to_end_and_left_if_it_does_not() {
    let server = Server::start().await;
    let mut reader = Reader::start(&server, timing()).await;
    reader.until_complete().await;
    let asked = &server.asked(SERVICES, Ask::StreamList)[0].query;
    let seconds: u64 = asked["timeoutSeconds"].parse().unwrap();
    assert!((60..=120).contains(&seconds), "{asked:?}");
    assert_eq!(asked["allowWatchBookmarks"], "true");

    // Bookmarks go on and on, long after the end that was asked for.
    let server = Server::start().await;
    let bookmark = event("BOOKMARK", json!({"metadata": {"resourceVersion": "77"}}));
    let mut pieces: Vec<_> = a_and_b().into_iter().map(line).collect();
    for _ in 0..1000 {
        pieces.push(Piece::Wait(Duration::from_millis(20)));
        pieces.push(line(bookmark.clone()));
    }
    server.say(SERVICES, Ask::StreamList, Reply::Stream(pieces));
    server.say(SERVICES, Ask::Watch, Reply::watch([event("ADDED", service("c", 78))]));
    let (watch_length, overrun) = (Duration::from_millis(100), Duration::from_millis(100));
    let mut reader = Reader::start(&server, Timing { watch_length, overrun, ..timing() }).await;
    reader.until("c", |reader| reader.has("c")).await;
    assert_eq!(server.asked(SERVICES, Ask::Watch)[0].query["resourceVersion"], "77");
    assert_eq!(server.asked(SERVICES, Ask::StreamList)[0].query["timeoutSeconds"], "1");
}

#[tokio::test]
async fn an_expired_version_in_a_watch_means_a_new_list() {
    let server = Server::start().await;
    let gone = json!({"kind": "Status", "status": "Failure", "reason": "Expired", "code": 410,
        "message": "too old resource version: 10 (4711)"});
    let mut lines = a_and_b();
    lines.push(event("ERROR", gone));
    server.say(SERVICES, Ask::StreamList, Reply::ended(lines));
    // Meanwhile, b vanished and c came.
    let new = [event("ADDED", service("a", 9)), event("ADDED", service("c", 90)), end_of_list(90)];
    server.say(SERVICES, Ask::StreamList, Reply::watch(new));
    let mut reader = Reader::start(&server, timing()).await;
    reader.until("c and no b", |reader| reader.has("c") && !reader.has("b")).await;
    assert!(reader.has("a"));
    let lists = server.asked(SERVICES, Ask::StreamList);
    assert_eq!(lists[0].query["resourceVersion"], "0");
    assert_eq!(lists[1].query["resourceVersion"], "10", "the new list must not go back in time");
    assert!(lists.iter().all(|list| list.query["resourceVersionMatch"] == "NotOlderThan"));
    assert_eq!(server.asked(SERVICES, Ask::Watch).len(), 0);
}

#[tokio::test]
async fn an_expired_version_as_an_http_status_means_a_new_list() {
    let server = Server::start().await;
    server.cannot_stream(400);
    server.say(SERVICES, Ask::List, Reply::json(list(10, &[service("a", 9), service("b", 10)])));
    server.say(SERVICES, Ask::Watch, Reply::status(410, "Expired", "too old resource version"));
    server.say(SERVICES, Ask::List, Reply::json(list(90, &[service("c", 90)])));
    let mut reader = Reader::start(&server, timing()).await;
    reader.until("c alone", |reader| reader.services() == ["shop/c"]).await;
    let lists = server.asked(SERVICES, Ask::List);
    assert_eq!(lists[1].query["resourceVersion"], "10");
    for list in &lists {
        let version = list.query.get("resourceVersion").map(String::as_str);
        assert!(!version.unwrap_or("").is_empty(), "the store itself is never listed: {list:?}");
    }
    reader.until("a watch", |_| server.asked(SERVICES, Ask::Watch).len() == 2).await;
    assert_eq!(server.asked(SERVICES, Ask::Watch)[1].query["resourceVersion"], "90");
}

#[tokio::test]
async fn a_server_restored_from_a_backup_is_listed_as_it_is() {
    let server = Server::start().await;
    server.cannot_stream(400);
    server.say(SERVICES, Ask::List, Reply::json(list(5000, &[service("a", 9)])));
    server.say(SERVICES, Ask::Watch, Reply::status(410, "Expired", "too old resource version"));
    let message = "Too large resource version: 5000, current: 12";
    server.say(SERVICES, Ask::List, Reply::status(504, "Timeout", message));
    server.say(SERVICES, Ask::List, Reply::json(list(12, &[service("b", 12)])));
    let mut reader = Reader::start(&server, timing()).await;
    reader.until("b alone", |reader| reader.services() == ["shop/b"]).await;
    assert_eq!(server.asked(SERVICES, Ask::List)[2].query["resourceVersion"], "0");
}

#[tokio::test]
async fn a_server_that_asks_for_rest_gets_it() {
    let server = Server::start().await;
    server.cannot_stream(400);
    let reply = Reply::Whole {
        code: 429,
        headers: "Retry-After: 1\r\n".into(),
        body: "Too many requests, please try again later.".into(),
    };
    server.say(SERVICES, Ask::List, reply);
    server.say(SERVICES, Ask::List, Reply::json(list(10, &[service("a", 9)])));
    let mut reader = Reader::start(&server, timing()).await;
    reader
        .until("the failure", |reader| {
            reader.failure(Kind::Service).is_some_and(|failure| failure.contains("Too many"))
        })
        .await;
    reader.until("a", |reader| reader.has("a")).await;
    let lists = server.asked(SERVICES, Ask::List);
    assert!(lists[1].when - lists[0].when >= Duration::from_secs(1), "{lists:?}");
    assert_eq!(reader.failure(Kind::Service), None, "what has gone well is no failure");
}

#[tokio::test]
async fn a_failing_server_is_asked_until_it_answers() {
    let server = Server::start().await;
    for _ in 0..5 {
        let message = "etcdserver: leader changed";
        server.say(SERVICES, Ask::StreamList, Reply::status(500, "InternalError", message));
    }
    server.say(SERVICES, Ask::StreamList, Reply::Stream(vec![Piece::Cut]));
    server.say(SERVICES, Ask::StreamList, Reply::watch(a_and_b()));
    let mut reader = Reader::start(&server, timing()).await;
    reader.until("a and b", |reader| reader.has("a") && reader.has("b")).await;
    assert_eq!(server.asked(SERVICES, Ask::StreamList).len(), 7);
}

#[tokio::test]
async fn a_failing_watch_keeps_what_is_known_and_goes_on() {
    let server = Server::start().await;
    server.say(SERVICES, Ask::StreamList, Reply::ended(a_and_b()));
    for _ in 0..3 {
        server.say(SERVICES, Ask::Watch, Reply::status(503, "ServiceUnavailable", "starting"));
    }
    let half = event("ADDED", service("d", 12));
    let pieces = vec![
        line(event("DELETED", service("b", 11))),
        Piece::Text(half[..half.len() / 2].to_owned()),
        Piece::Cut,
    ];
    server.say(SERVICES, Ask::Watch, Reply::Stream(pieces));
    server.say(SERVICES, Ask::Watch, Reply::watch([half]));
    let mut reader = Reader::start(&server, timing()).await;
    reader.until("d", |reader| reader.has("d")).await;
    assert_eq!(reader.services(), ["shop/a", "shop/d"]);
    let versions: Vec<_> = server
        .asked(SERVICES, Ask::Watch)
        .iter()
        .map(|watch| watch.query["resourceVersion"].clone())
        .collect();
    assert_eq!(versions, ["10", "10", "10", "10", "11"]);
    assert_eq!(server.asked(SERVICES, Ask::StreamList).len(), 1);
}

#[tokio::test]
async fn a_list_that_breaks_off_is_not_delivered() {
    let server = Server::start().await;
    let pieces = vec![line(event("ADDED", service("a", 9))), Piece::Cut];
    server.say(SERVICES, Ask::StreamList, Reply::Stream(pieces));
    let pieces = vec![line(event("ADDED", service("b", 9)))];
    server.say(SERVICES, Ask::StreamList, Reply::Stream(pieces));
    server.say(
        SERVICES,
        Ask::StreamList,
        Reply::watch([
            event("ADDED", service("c", 9)),
            event("ADDED", service("d", 9)),
            event("DELETED", service("c", 10)),
            end_of_list(10),
        ]),
    );
    let mut reader = Reader::start(&server, timing()).await;
    reader.until_complete().await;
    assert_eq!(reader.services(), ["shop/d"]);
}

#[tokio::test]
async fn garbage_in_a_watch_loses_nothing() {
    let server = Server::start().await;
    let mut lines = a_and_b();
    lines.push(r#"{"type":"ADDED","object":{"metadata":{"name":"lost"#.into());
    lines.push(event("ADDED", service("c", 12)));
    server.say(SERVICES, Ask::StreamList, Reply::watch(lines));
    let mut again = a_and_b();
    again.insert(0, event("ADDED", service("lost", 11)));
    server.say(SERVICES, Ask::StreamList, Reply::watch(again));
    let mut reader = Reader::start(&server, timing()).await;
    reader.until("the lost object", |reader| reader.has("lost")).await;
    assert_eq!(reader.services(), ["shop/a", "shop/b", "shop/lost"]);
}

#[tokio::test]
async fn a_broken_object_costs_itself_alone() {
    let server = Server::start().await;
    server.cannot_stream(400);
    let mut bad_port = service("bad-port", 3);
    bad_port["spec"]["ports"] = json!([{"name": "a", "port": 70000}, {"name": "b", "port": 81}]);
    let mut no_name = service("x", 4);
    no_name["metadata"]["name"] = json!(17);
    let surrogate = service("surrogate", 6);
    let items = [
        service("a", 2),
        bad_port,
        no_name,
        json!("text"),
        Value::Null,
        surrogate,
        service("b", 5),
    ];
    let body = list(10, &items).to_string();
    // Valid JSON by its grammar, and yet no text: half of a surrogate pair.
    let body = body.replace("\"name\":\"surrogate\"", "\"name\":\"surrogate\",\"uid\":\"\\ud800\"");
    assert!(body.contains("\\ud800"));
    server.say(SERVICES, Ask::List, Reply::text(200, body));
    // In a watch, an object that can no longer be used is gone, as it would be from a list.
    let broken = event("MODIFIED", service("b", 11));
    let broken = broken.replace("\"name\":\"b\"", "\"name\":\"b\",\"uid\":\"\\ud800\"");
    server.say(SERVICES, Ask::Watch, Reply::watch([broken, event("ADDED", service("c", 12))]));
    let mut reader = Reader::start(&server, timing()).await;
    reader.until("c", |reader| reader.has("c")).await;
    let known = reader.services();
    assert_eq!(known.iter().filter(|name| *name == "shop/a").count(), 1, "{known:?}");
    assert!(known.contains(&"shop/bad-port".into()), "{known:?}");
    let text: Vec<_> = reader.notices.iter().map(ToString::to_string).collect();
    let text = text.join("\n");
    assert!(text.contains("Service shop/bad-port: spec.ports[0].port is 70000"), "{text}");
    assert!(text.contains("metadata.name is 17: expected a name"), "{text}");
    assert!(text.contains("the object cannot be read"), "{text}");
    let ports = &reader.cluster.services().values().find(|s| &*s.name.name == "bad-port").unwrap();
    assert_eq!(ports.ports.len(), 1);
}

#[tokio::test]
async fn a_server_without_streamed_lists_is_listed_in_pages() {
    for code in [400, 422] {
        let server = Server::start().await;
        server.cannot_stream(code);
        let mut first = list(10, &[service("a", 1), service("b", 2)]);
        first["metadata"]["continue"] = json!("the next/page=");
        server.say(SERVICES, Ask::List, Reply::json(first));
        server.say(SERVICES, Ask::List, Reply::json(list(10, &[service("c", 3)])));
        let mut reader = Reader::start(&server, timing()).await;
        reader.until("three Services", |reader| reader.services().len() == 3).await;
        let lists = server.asked(SERVICES, Ask::List);
        assert_eq!(lists[0].query["resourceVersion"], "0");
        assert_eq!(lists[0].query["limit"], "500");
        assert_eq!(lists[1].query["continue"], "the next/page=");
        assert_eq!(lists[1].query.get("resourceVersion"), None, "the API forbids both together");
        reader.until("a watch", |_| !server.asked(SERVICES, Ask::Watch).is_empty()).await;
    }
}

#[tokio::test]
async fn a_streamed_list_that_never_ends_is_asked_for_in_one_piece() {
    let server = Server::start().await;
    server.say(SERVICES, Ask::StreamList, Reply::watch([event("ADDED", service("a", 9))]));
    server.say(SERVICES, Ask::List, Reply::json(list(10, &[service("a", 9), service("b", 10)])));
    let timing = Timing { list_silence: Duration::from_millis(100), ..timing() };
    let mut reader = Reader::start(&server, timing).await;
    reader.until("a and b", |reader| reader.has("a") && reader.has("b")).await;
}

#[tokio::test]
async fn a_slow_list_is_waited_for_while_it_comes() {
    let server = Server::start().await;
    server.cannot_stream(400);
    let body = list(10, &[service("a", 9), service("b", 10)]).to_string();
    let mut pieces = Vec::new();
    for part in body.as_bytes().chunks(body.len().div_ceil(8)) {
        pieces.push(Piece::Text(String::from_utf8(part.to_vec()).unwrap()));
        pieces.push(Piece::Wait(Duration::from_millis(80)));
    }
    server.say(SERVICES, Ask::List, Reply::Stream(pieces));
    let timing = Timing { silence: Duration::from_millis(300), ..timing() };
    let mut reader = Reader::start(&server, timing).await;
    reader.until("a and b", |reader| reader.has("a") && reader.has("b")).await;
    assert_eq!(server.asked(SERVICES, Ask::List).len(), 1);
}

#[tokio::test]
async fn watches_that_close_at_once_lead_to_a_paged_list() {
    let server = Server::start().await;
    server.say(SERVICES, Ask::StreamList, Reply::ended(a_and_b()));
    for _ in 0..3 {
        server.say(SERVICES, Ask::Watch, Reply::ended([]));
    }
    server.say(SERVICES, Ask::List, Reply::json(list(90, &[service("huge", 90)])));
    let mut reader = Reader::start(&server, timing()).await;
    reader.until("the huge Service", |reader| reader.services() == ["shop/huge"]).await;
    assert_eq!(server.asked(SERVICES, Ask::Watch).len(), 3, "three, not more and not fewer");
    let list = &server.asked(SERVICES, Ask::List)[0].query;
    assert_eq!((list["limit"].as_str(), list["resourceVersion"].as_str()), ("500", "10"));
    assert_eq!(reader.states.borrow()[&Kind::Service].short_watches, 3);
}

#[tokio::test]
async fn streamed_lists_that_close_at_once_lead_to_a_paged_list() {
    let server = Server::start().await;
    for _ in 0..3 {
        server.say(SERVICES, Ask::StreamList, Reply::ended([]));
    }
    server.say(SERVICES, Ask::List, Reply::json(list(90, &[service("huge", 90)])));
    let mut reader = Reader::start(&server, timing()).await;
    reader.until("the huge Service", |reader| reader.services() == ["shop/huge"]).await;
    assert_eq!(server.asked(SERVICES, Ask::StreamList).len(), 3);
}

#[tokio::test]
async fn streamed_lists_that_break_off_again_and_again_lead_to_a_paged_list() {
    let server = Server::start().await;
    for _ in 0..3 {
        let pieces = vec![line(event("ADDED", service("a", 9))), Piece::Cut];
        server.say(SERVICES, Ask::StreamList, Reply::Stream(pieces));
    }
    server.say(SERVICES, Ask::List, Reply::json(list(90, &[service("huge", 90)])));
    let mut reader = Reader::start(&server, timing()).await;
    reader.until("the huge Service", |reader| reader.services() == ["shop/huge"]).await;
    assert_eq!(server.asked(SERVICES, Ask::StreamList).len(), 3);
}

#[tokio::test]
async fn a_watch_that_cannot_go_on_for_another_reason_is_begun_anew() {
    let server = Server::start().await;
    let error = json!({"kind": "Status", "status": "Failure", "reason": "InternalError",
        "code": 500, "message": "unable to decode an event"});
    let mut lines = a_and_b();
    lines.push(event("ERROR", error));
    server.say(SERVICES, Ask::StreamList, Reply::ended(lines));
    let again = [event("ADDED", service("c", 12)), end_of_list(12)];
    server.say(SERVICES, Ask::StreamList, Reply::watch(again));
    let mut reader = Reader::start(&server, timing()).await;
    reader.until("c alone", |reader| reader.services() == ["shop/c"]).await;
}

#[tokio::test]
async fn a_server_that_takes_a_request_and_says_nothing_is_named() {
    let server = Server::start().await;
    server.say(SERVICES, Ask::StreamList, Reply::Stream(vec![Piece::Mute]));
    let timing = Timing { list_silence: Duration::from_millis(100), ..timing() };
    let mut reader = Reader::start(&server, timing).await;
    reader
        .until("the failure", |reader| {
            let failure = reader.failure(Kind::Service).unwrap_or_default();
            failure.contains("no answer to GET /api/v1/services within 0.1 s")
        })
        .await;
    reader.until_complete().await;
}

#[tokio::test]
async fn a_burst_is_one_delivery() {
    let server = Server::start().await;
    let mut text = a_and_b().join("\n") + "\n";
    for number in 0..500 {
        text += &event("ADDED", service(&format!("s{number}"), 20 + number));
        text.push('\n');
    }
    server.say(SERVICES, Ask::StreamList, Reply::Stream(vec![Piece::Text(text), Piece::Hang]));
    let mut reader = Reader::start(&server, timing()).await;
    reader.until("all of them", |reader| reader.services().len() == 502).await;
    assert!(reader.deliveries < 50, "{} deliveries for one burst", reader.deliveries);
}

#[tokio::test]
async fn the_states_tell_how_a_watch_fares() {
    let server = Server::start().await;
    server.say(SERVICES, Ask::StreamList, Reply::ended(a_and_b()));
    for _ in 0..200 {
        server.say(SERVICES, Ask::Watch, Reply::status(500, "InternalError", "no"));
    }
    let mut reader = Reader::start(&server, timing()).await;
    let before = Instant::now();
    reader.until("a failing watch", |reader| reader.failure(Kind::Service).is_some()).await;
    let states = reader.states.borrow().clone();
    assert!(states[&Kind::Service].listed);
    assert_eq!(states[&Kind::Service].lists, 1);
    assert!(states[&Kind::Service].last_event.is_some_and(|when| when > before));
    drop(states);
    reader
        .until("the others are connected", |reader| {
            let states = reader.states.borrow();
            states[&Kind::EndpointSlice].connected && states[&Kind::Node].connected
        })
        .await;
    assert!(!reader.states.borrow()[&Kind::Service].connected);
}
