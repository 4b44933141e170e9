//! An API server of a few lines, on loopback, that says what a test tells it to say.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

pub const SERVICES: &str = "/api/v1/services";
pub const SLICES: &str = "/apis/discovery.k8s.io/v1/endpointslices";
pub const NODES: &str = "/api/v1/nodes";
pub const CIDRS: &str = "/apis/networking.k8s.io/v1/servicecidrs";
pub const PODS: &str = "/api/v1/pods";
pub const NAMESPACES: &str = "/api/v1/namespaces";
pub const POLICIES: &str = "/apis/networking.k8s.io/v1/networkpolicies";
pub const CLUSTER_POLICIES: &str = "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies";

const KNOWN: [&str; 8] =
    [SERVICES, SLICES, NODES, CIDRS, PODS, NAMESPACES, POLICIES, CLUSTER_POLICIES];

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ask {
    List,
    StreamList,
    Watch,
}

/// A request, as the server saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub path: String,
    pub ask: Ask,
    pub query: BTreeMap<String, String>,
    pub authorization: String,
    pub when: Instant,
}

/// One step of a streamed answer.
#[derive(Clone, Debug)]
pub enum Piece {
    /// These bytes.
    Text(String),
    /// Nothing for a while.
    Wait(Duration),
    /// Nothing ever again, with the connection open: what a half-open connection looks like.
    Hang,
    /// The connection is closed in the middle of the answer.
    Cut,
    /// As `Hang`, before even the head of the answer.
    Mute,
}

/// An answer.
#[derive(Clone, Debug)]
pub enum Reply {
    Whole { code: u16, headers: String, body: String },
    Stream(Vec<Piece>),
}

impl Reply {
    pub fn json(body: Value) -> Self {
        Self::text(200, body.to_string())
    }

    pub fn text(code: u16, body: impl Into<String>) -> Self {
        Reply::Whole { code, headers: String::new(), body: body.into() }
    }

    pub fn status(code: u16, reason: &str, message: &str) -> Self {
        let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": reason, "code": code});
        Self::text(code, body.to_string())
    }

    /// A watch that sends lines and then stays open.
    pub fn watch(lines: impl IntoIterator<Item = String>) -> Self {
        let mut pieces: Vec<_> = lines.into_iter().map(|line| Piece::Text(line + "\n")).collect();
        pieces.push(Piece::Hang);
        Reply::Stream(pieces)
    }

    /// A watch that sends lines and then ends.
    pub fn ended(lines: impl IntoIterator<Item = String>) -> Self {
        Reply::Stream(lines.into_iter().map(|line| Piece::Text(line + "\n")).collect())
    }
}

/// A watch event.
pub fn event(kind: &str, object: Value) -> String {
    json!({"type": kind, "object": object}).to_string()
}

/// The bookmark that ends a streamed list.
pub fn end_of_list(version: u64) -> String {
    let annotations = json!({"k8s.io/initial-events-end": "true"});
    let metadata = json!({"resourceVersion": version.to_string(), "annotations": annotations});
    event("BOOKMARK", json!({"metadata": metadata}))
}

/// A list.
pub fn list(version: u64, items: &[Value]) -> Value {
    json!({"metadata": {"resourceVersion": version.to_string()}, "items": items})
}

#[derive(Default)]
struct State {
    seen: Vec<Seen>,
    replies: BTreeMap<(&'static str, Ask), VecDeque<Reply>>,
    /// The only credentials that are accepted, if any are asked for.
    authorization: Option<String>,
}

/// The server. What it was not told to say, it answers as an empty cluster would.
#[derive(Clone)]
pub struct Server {
    pub url: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub async fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub fn on(listener: TcpListener) -> Self {
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = Self { url, state: Arc::default() };
        let accepting = server.clone();
        tokio::spawn(async move {
            loop {
                let (connection, _) = listener.accept().await.unwrap();
                tokio::spawn(accepting.clone().serve(connection));
            }
        });
        server
    }

    /// What to say to the next request of a sort; further ones queue up.
    pub fn say(&self, path: &'static str, ask: Ask, reply: Reply) -> &Self {
        self.state.lock().unwrap().replies.entry((path, ask)).or_default().push_back(reply);
        self
    }

    /// Refuses streamed lists of all kinds, as servers without them do, this many times each.
    pub fn cannot_stream(&self, code: u16) -> &Self {
        for path in KNOWN {
            let message = "sendInitialEvents is forbidden for watch unless the WatchList feature \
                           gate is enabled";
            self.say(path, Ask::StreamList, Reply::status(code, "Invalid", message));
        }
        self
    }

    pub fn accept_only(&self, authorization: &str) {
        self.state.lock().unwrap().authorization = Some(authorization.into());
    }

    /// The requests so far for a path.
    pub fn seen(&self, path: &str) -> Vec<Seen> {
        let state = self.state.lock().unwrap();
        state.seen.iter().filter(|seen| seen.path == path).cloned().collect()
    }

    /// The requests so far of one sort.
    pub fn asked(&self, path: &str, ask: Ask) -> Vec<Seen> {
        self.seen(path).into_iter().filter(|seen| seen.ask == ask).collect()
    }

    async fn serve(self, connection: TcpStream) {
        let mut connection = BufReader::new(connection);
        let (mut target, mut authorization) = (String::new(), String::new());
        loop {
            let mut line = String::new();
            if connection.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some(rest) = line.strip_prefix("GET ") {
                target = rest.split(' ').next().unwrap().to_owned();
            }
            if let Some((name, value)) = line.split_once(": ")
                && name.eq_ignore_ascii_case("authorization")
            {
                authorization = value.to_owned();
            }
        }
        let reply = self.reply(&target, authorization);
        // The client may be gone, which is its right.
        let _ = answer(connection.into_inner(), reply).await;
    }

    fn reply(&self, target: &str, authorization: String) -> Reply {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query: BTreeMap<String, String> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.to_owned(), unescape(value)))
            .collect();
        let ask = match (query.contains_key("watch"), query.contains_key("sendInitialEvents")) {
            (false, _) => Ask::List,
            (true, true) => Ask::StreamList,
            (true, false) => Ask::Watch,
        };
        let mut state = self.state.lock().unwrap();
        let refused = state.authorization.as_ref().is_some_and(|only| *only != authorization);
        state.seen.push(Seen {
            path: path.into(),
            ask,
            query,
            authorization,
            when: Instant::now(),
        });
        if refused {
            return Reply::status(401, "Unauthorized", "Unauthorized");
        }
        let known = KNOWN.into_iter().find(|known| *known == path);
        let known = known.unwrap_or_else(|| panic!("a request for {path}"));
        if let Some(reply) = state.replies.get_mut(&(known, ask)).and_then(VecDeque::pop_front) {
            return reply;
        }
        match ask {
            Ask::List => Reply::json(list(1, &[])),
            Ask::StreamList => Reply::watch([end_of_list(1)]),
            Ask::Watch => Reply::watch([]),
        }
    }
}

async fn answer(mut connection: TcpStream, reply: Reply) -> std::io::Result<()> {
    match reply {
        Reply::Whole { code, headers, body } => {
            let head = format!(
                "HTTP/1.1 {code} Word\r\nContent-Type: application/json\r\nConnection: close\r\n\
                 Content-Length: {}\r\n{headers}\r\n",
                body.len()
            );
            connection.write_all(head.as_bytes()).await?;
            connection.write_all(body.as_bytes()).await?;
        }
        Reply::Stream(pieces) => {
            if matches!(pieces.first(), Some(Piece::Mute)) {
                std::future::pending::<()>().await;
            }
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
                        Transfer-Encoding: chunked\r\n\r\n";
            connection.write_all(head.as_bytes()).await?;
            for piece in pieces {
                match piece {
                    Piece::Text(text) => {
                        let chunk = format!("{:x}\r\n{text}\r\n", text.len());
                        connection.write_all(chunk.as_bytes()).await?;
                    }
                    Piece::Wait(time) => tokio::time::sleep(time).await,
                    Piece::Hang | Piece::Mute => std::future::pending::<()>().await,
                    Piece::Cut => return Ok(()),
                }
            }
            connection.write_all(b"0\r\n\r\n").await?;
        }
    }
    connection.shutdown().await
}

fn unescape(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut plain = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
            let digits = std::str::from_utf8(&digits).unwrap();
            plain.push(u8::from_str_radix(digits, 16).unwrap());
        } else {
            plain.push(byte);
        }
    }
    String::from_utf8(plain).unwrap()
}
