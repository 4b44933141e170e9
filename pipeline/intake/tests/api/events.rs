//! Events, against a server that keeps what is posted, or refuses it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use intake::api::{ApiOptions, ApiSource, Event, EventSink, Severity, event_queue};
use model::ObjectRef;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::timing;

/// One request: its first line without the version, and its body.
type Post = (String, Value);

#[derive(Clone, Default)]
struct Receiver {
    posts: Arc<Mutex<Vec<Post>>>,
    /// The codes of the next answers; afterwards everything is created.
    codes: Arc<Mutex<VecDeque<u16>>>,
}

impl Receiver {
    async fn start(codes: &[u16]) -> (Self, EventSink) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let receiver = Self::default();
        receiver.codes.lock().unwrap().extend(codes);
        let accepting = receiver.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(accepting.clone().serve(connection));
            }
        });
        (receiver, sink(url).await)
    }

    async fn serve(self, connection: TcpStream) -> Option<()> {
        let mut connection = BufReader::new(connection);
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            connection.read_line(&mut line).await.ok().filter(|&read| read > 0)?;
            if head.is_empty() {
                head = line.rsplit_once(' ').unwrap().0.to_owned();
            }
            if let Some((name, value)) = line.trim_end().split_once(": ")
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.parse().unwrap();
            }
            if line.trim_end().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        connection.read_exact(&mut body).await.ok()?;
        let body: Value = serde_json::from_slice(&body).unwrap();
        self.posts.lock().unwrap().push((head, body.clone()));
        let code = self.codes.lock().unwrap().pop_front().unwrap_or(201);
        let answer = if code < 300 {
            body
        } else {
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "no", "reason": "Word", "code": code})
        };
        let answer = answer.to_string();
        let head = format!(
            "HTTP/1.1 {code} Word\r\nContent-Type: application/json\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n",
            answer.len()
        );
        connection.write_all(head.as_bytes()).await.ok()?;
        connection.write_all(answer.as_bytes()).await.ok()
    }

    async fn until(&self, count: usize) -> Vec<Post> {
        let start = Instant::now();
        loop {
            let posts = self.posts.lock().unwrap().clone();
            if posts.len() >= count {
                return posts;
            }
            assert!(start.elapsed() < Duration::from_secs(10), "{count} posts, but {posts:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn sink(url: String) -> EventSink {
    let options = ApiOptions { kubeconfig: None, master: Some(url), node_name: "node-0".into() };
    let source = ApiSource::new(options).await.unwrap().with_timing(timing());
    let (sink, queue) = event_queue();
    tokio::spawn(source.post_events(queue));
    sink
}

fn event(kind: &'static str, name: &str, note: &str, of_cluster: bool) -> Event {
    Event {
        object: ObjectRef::new(kind, name),
        severity: Severity::Warning,
        reason: "Conflict".into(),
        action: "LeaveOut",
        note: note.into(),
        of_cluster,
    }
}

const OF_SHOP: &str = "POST /apis/events.k8s.io/v1/namespaces/shop/events?";

#[tokio::test]
async fn an_event_says_what_of_what_and_by_whom() {
    let (receiver, sink) = Receiver::start(&[]).await;
    sink.tell(event("Service", "shop/a", "10.0.0.1:80 is b's", true));
    sink.tell(event("Node", "node-0", "flushed", false));
    let posts = receiver.until(2).await;
    assert_eq!(posts[0].0, OF_SHOP);
    let posted = &posts[0].1;
    for (path, value) in [
        ("/kind", "Event"),
        ("/apiVersion", "events.k8s.io/v1"),
        ("/metadata/namespace", "shop"),
        ("/regarding/kind", "Service"),
        ("/regarding/namespace", "shop"),
        ("/regarding/name", "a"),
        ("/type", "Warning"),
        ("/reason", "Conflict"),
        ("/action", "LeaveOut"),
        ("/note", "10.0.0.1:80 is b's"),
        ("/reportingController", "pointsman"),
        ("/reportingInstance", "node-0"),
    ] {
        assert_eq!(posted.pointer(path), Some(&json!(value)), "{path} of {posted}");
    }
    assert!(posted["eventTime"].is_string(), "{posted}");
    assert_eq!(posts[1].0, OF_SHOP.replace("shop", "default"));
    assert_eq!(posts[1].1.pointer("/regarding/namespace"), None);
    assert_eq!(posts[1].1.pointer("/regarding/uid"), Some(&json!("node-0")));
}

#[tokio::test]
async fn a_repetition_is_counted_and_another_word_is_another_event() {
    let (receiver, sink) = Receiver::start(&[]).await;
    for _ in 0..3 {
        sink.tell(event("Node", "node-0", "flushed by a", false));
    }
    sink.tell(event("Node", "node-0", "flushed by b", false));
    let posts = receiver.until(4).await;
    let name = posts[0].1["metadata"]["name"].as_str().unwrap();
    for (post, count) in posts[1..3].iter().zip([2, 3]) {
        assert!(post.0.starts_with("PATCH ") && post.0.contains(name), "{}", post.0);
        assert_eq!(post.1.pointer("/series/count"), Some(&json!(count)));
    }
    assert!(posts[3].0.starts_with("POST "), "{}", posts[3].0);
}

#[tokio::test]
async fn all_nodes_say_it_once() {
    let (receiver, sink) = Receiver::start(&[201, 409]).await;
    sink.tell(event("Service", "shop/a", "bad", true));
    let one = receiver.until(1).await;
    // Another process, which the API tells that the Event is there.
    let (other, other_sink) = Receiver::start(&[409]).await;
    other_sink.tell(event("Service", "shop/a", "bad", true));
    other_sink.tell(event("Service", "shop/a", "worse", true));
    let two = other.until(2).await;
    assert_eq!(one[0].1["metadata"]["name"], two[0].1["metadata"]["name"]);
    assert_ne!(two[0].1["metadata"]["name"], two[1].1["metadata"]["name"]);
    assert_eq!(other_sink.dropped(), 0);
}

#[tokio::test]
async fn a_server_in_trouble_is_asked_again_and_a_refusal_is_not() {
    let (receiver, sink) = Receiver::start(&[500, 429, 401, 201, 403, 201]).await;
    sink.tell(event("Node", "node-0", "one", false));
    sink.tell(event("Node", "node-0", "refused", false));
    sink.tell(event("Node", "node-0", "three", false));
    let posts = receiver.until(6).await;
    let notes: Vec<_> = posts.iter().map(|post| post.1["note"].as_str().unwrap()).collect();
    assert_eq!(notes, ["one", "one", "one", "one", "refused", "three"]);
    assert_eq!(sink.dropped(), 1);
}

#[tokio::test]
async fn with_the_api_away_nobody_waits_and_what_is_lost_is_counted() {
    // A port that nobody listens on.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let sink = sink(url).await;
    let start = Instant::now();
    for number in 0..1000 {
        sink.tell(event("Service", "shop/a", &number.to_string(), false));
    }
    assert!(start.elapsed() < Duration::from_secs(1));
    assert!(sink.dropped() >= 940, "{}", sink.dropped());
}
