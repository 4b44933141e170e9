//! One scenario's part of a lab: a namespace of its own, and clients everywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use lab::{Namespace, Outcome, probe, probe_http};
use model::Protocol;
use serde_json::{Value, json};

use crate::stage::Stage;

/// How long a cluster may take until it does what an object says.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a request may take that perhaps nobody answers.
const REQUEST: Duration = Duration::from_millis(1500);

/// How long a request may take that is to be answered, on however busy a machine.
const ANSWER: Duration = Duration::from_secs(10);

/// A lab of three nodes and two families; 1 and 3 are in one zone, 2 in another.
pub(crate) struct Cluster {
    pub(crate) stage: Stage,
    pub(crate) mode: &'static str,
    api: SocketAddr,
}

impl Cluster {
    pub(crate) fn up(mode: &'static str) -> Self {
        let stage = Stage::new();
        stage.good(&format!("pointsman lab up --nodes 3 --dual-stack --mode {mode}"));
        let file = std::fs::read_to_string(stage.folder("lab").join("kubeconfig")).unwrap();
        let api = file.split("http://").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        Self { api: api.parse().unwrap(), stage, mode }
    }

    /// A request to the API: the status and the body.
    fn call(&self, method: &str, path: &str, kind: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(self.api).unwrap();
        let (status, text) = exchange(&mut stream, method, path, kind, body).unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// The network of a place, as `pointsman lab exec` finds it.
    fn network(&self, place: &str) -> Option<Namespace> {
        let mut stream = UnixStream::connect(self.stage.folder("lab").join("control")).unwrap();
        writeln!(stream, "{}", json!({"Place": place})).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap();
        let path = answer["Place"]["network"].as_str()?;
        Namespace::open(&PathBuf::from(path)).ok()
    }
}

/// One request on a new connection that ends with the answer.
fn exchange(
    stream: &mut TcpStream,
    method: &str,
    path: &str,
    kind: &str,
    body: &str,
) -> std::io::Result<(u16, String)> {
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\nContent-Type: {kind}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status.unwrap_or(0), body.to_owned()))
}

/// A scenario's view of the lab.
pub(crate) struct Scene<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) namespace: String,
}

impl<'a> Scene<'a> {
    pub(crate) fn new(cluster: &'a Cluster, number: usize) -> Self {
        let scene = Self { cluster, namespace: format!("scenario-{number}") };
        let body = json!({"metadata": {"name": scene.namespace}});
        let (status, answer) =
            cluster.call("POST", "/api/v1/namespaces", "application/json", &body.to_string());
        assert_eq!(status, 201, "{answer}");
        scene
    }

    /// The path of a resource in the scenario's namespace.
    fn path(&self, resource: &str) -> String {
        let group = match resource.split(['/', '?']).next().unwrap_or_default() {
            "deployments" | "replicasets" => "/apis/apps/v1",
            "endpointslices" => "/apis/discovery.k8s.io/v1",
            _ => "/api/v1",
        };
        format!("{group}/namespaces/{}/{resource}", self.namespace)
    }

    pub(crate) fn request(&self, method: &str, resource: &str, body: &Value) -> (u16, Value) {
        let kind = match method {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.cluster.call(method, &self.path(resource), kind, &body)
    }

    pub(crate) fn create(&self, resource: &str, body: &Value) -> Value {
        let (status, answer) = self.request("POST", resource, body);
        assert_eq!(status, 201, "{resource}: {answer}");
        answer
    }

    pub(crate) fn get(&self, resource: &str) -> Value {
        let (status, answer) = self.request("GET", resource, &Value::Null);
        assert_eq!(status, 200, "{resource}: {answer}");
        answer
    }

    /// The objects of a core resource in all namespaces.
    pub(crate) fn everywhere(&self, resource: &str) -> Value {
        let path = format!("/api/v1/{resource}");
        let (status, answer) = self.cluster.call("GET", &path, "application/json", "");
        assert_eq!(status, 200, "{resource}: {answer}");
        answer
    }

    pub(crate) fn patch(&self, resource: &str, body: &Value) -> Value {
        let (status, answer) = self.request("PATCH", resource, body);
        assert_eq!(status, 200, "{resource}: {answer}");
        answer
    }

    pub(crate) fn delete(&self, resource: &str) {
        let (status, answer) = self.request("DELETE", resource, &Value::Null);
        assert!(status < 300, "{resource}: {answer}");
    }

    /// A Pod with the label `app`, on a node; its `spec` may say more.
    pub(crate) fn pod(&self, name: &str, app: &str, node: &str, image: &str) {
        self.pod_of(name, app, node, &json!({"containers": [{"name": "c", "image": image}]}));
    }

    pub(crate) fn pod_of(&self, name: &str, app: &str, node: &str, spec: &Value) {
        let mut spec = spec.clone();
        spec["nodeName"] = node.into();
        let metadata = json!({"name": name, "labels": {"app": app}});
        self.create("pods", &json!({"metadata": metadata, "spec": spec}));
    }

    /// A Pod that only asks.
    pub(crate) fn client(&self, name: &str, node: &str) {
        self.pod(name, "client", node, "echo");
        self.ready(&[name]);
    }

    /// Waits until Pods are ready.
    pub(crate) fn ready(&self, pods: &[&str]) {
        for pod in pods {
            self.until(&format!("{pod} is ready"), || {
                let pod = self.get(&format!("pods/{pod}"));
                let conditions = pod["status"]["conditions"].as_array().cloned();
                let mut conditions = conditions.unwrap_or_default().into_iter();
                conditions.any(|it| it["type"] == "Ready" && it["status"] == "True")
            });
        }
    }

    /// A Service of the Pods of an app: port 80 to 8080, unless its spec says otherwise.
    pub(crate) fn service(&self, name: &str, app: &str, spec: &Value) -> Value {
        let mut whole = json!({
            "selector": {"app": app}, "ports": [{"port": 80, "targetPort": 8080}],
        });
        for (field, value) in spec.as_object().into_iter().flatten() {
            whole[field] = value.clone();
        }
        self.create("services", &json!({"metadata": {"name": name}, "spec": whole}))
    }

    fn network(&self, from: &str) -> Namespace {
        let place = match from {
            "outside" => from.to_owned(),
            node if node.starts_with("node/") => from.to_owned(),
            pod => format!("pod/{}/{pod}", self.namespace),
        };
        self.cluster.network(&place).unwrap_or_else(|| panic!("no place {place}"))
    }

    /// One HTTP request.
    pub(crate) fn ask(&self, from: &str, to: SocketAddr) -> Outcome {
        probe_http(&self.network(from), None, to, REQUEST).unwrap()
    }

    /// One HTTP request that is to be answered.
    pub(crate) fn ask_surely(&self, from: &str, to: SocketAddr) -> Outcome {
        probe_http(&self.network(from), None, to, ANSWER).unwrap()
    }

    /// One datagram, from a port of the client's that stays the same.
    pub(crate) fn ask_udp(&self, from: &str, port: u16, to: SocketAddr) -> Outcome {
        let any = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
        let source = Some(any).filter(|_| port > 0);
        probe(&self.network(from), source, Protocol::Udp, to, Duration::from_millis(500)).unwrap()
    }

    /// One connection of any protocol, without a word.
    pub(crate) fn connect(&self, from: &str, protocol: Protocol, to: SocketAddr) -> Outcome {
        probe(&self.network(from), None, protocol, to, REQUEST).unwrap()
    }

    /// The status and the body of a GET, where anybody answers.
    pub(crate) fn http(&self, from: &str, to: SocketAddr, path: &str) -> Option<(u16, String)> {
        let asked = self.network(from).run(|| {
            let mut stream = TcpStream::connect_timeout(&to, REQUEST)?;
            exchange(&mut stream, "GET", path, "text/plain", "")
        });
        asked.unwrap().ok()
    }

    /// Who answers each of `count` requests; nothing if one is not answered.
    pub(crate) fn answers(&self, from: &str, to: SocketAddr, count: u32) -> BTreeMap<String, u32> {
        let network = self.network(from);
        let mut shares = BTreeMap::new();
        for _ in 0..count {
            // Where the first one is answered, the others are to be.
            let patience = if shares.is_empty() { REQUEST } else { ANSWER };
            let outcome = probe_http(&network, None, to, patience).unwrap();
            let Some(server) = outcome.server() else { return BTreeMap::new() };
            *shares.entry(server.to_owned()).or_default() += 1;
        }
        shares
    }

    /// Who answers each of `count` datagrams; nothing if one is not answered.
    fn answers_udp(&self, from: &str, to: SocketAddr, count: u32) -> BTreeMap<String, u32> {
        let network = self.network(from);
        let mut shares = BTreeMap::new();
        for _ in 0..count {
            let outcome =
                probe(&network, None, Protocol::Udp, to, Duration::from_millis(500)).unwrap();
            let Some(server) = outcome.server() else { return BTreeMap::new() };
            *shares.entry(server.to_owned()).or_default() += 1;
        }
        shares
    }

    /// Waits until datagrams are answered by exactly these Pods.
    pub(crate) fn reaches_udp(&self, from: &str, to: SocketAddr, pods: &[&str]) {
        let wanted: BTreeSet<&str> = pods.iter().copied().collect();
        let count = if pods.len() == 1 { 6 } else { 16 };
        self.until(&format!("datagrams from {from} reach {pods:?} at {to}"), || {
            let answers = self.answers_udp(from, to, count);
            answers.keys().map(String::as_str).collect::<BTreeSet<_>>() == wanted
        });
    }

    /// Waits until exactly these Pods answer.
    pub(crate) fn reaches(&self, from: &str, to: SocketAddr, pods: &[&str]) {
        let wanted: BTreeSet<&str> = pods.iter().copied().collect();
        let mut last = BTreeMap::new();
        let count = if pods.len() == 1 { 6 } else { 16 };
        self.until_or(
            || {
                last = self.answers(from, to, count);
                last.keys().map(String::as_str).collect::<BTreeSet<_>>() == wanted
            },
            || format!("{from} reaches {pods:?} at {to}"),
        );
    }

    /// Waits until a client is refused at once, which is not the same as silence.
    pub(crate) fn refused(&self, from: &str, to: SocketAddr) {
        self.until(&format!("{from} is refused at {to}"), || {
            matches!(self.ask(from, to), Outcome::Refused | Outcome::Unreachable)
        });
    }

    /// Waits until a client gets no answer, however that is said.
    pub(crate) fn unreached(&self, from: &str, to: SocketAddr) {
        self.until(&format!("{from} gets no answer at {to}"), || {
            self.ask(from, to).server().is_none()
        });
    }

    /// What a command prints in a place of the lab; nothing if it fails.
    pub(crate) fn exec(&self, place: &str, command: &str) -> Option<String> {
        let place = match place {
            node if node.starts_with("node/") => node.to_owned(),
            pod => format!("pod/{}/{pod}", self.namespace),
        };
        let output = self.cluster.stage.shell(&format!("pointsman lab exec {place} -- {command}"));
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    pub(crate) fn until(&self, what: &str, holds: impl FnMut() -> bool) {
        self.until_or(holds, || what.to_owned());
    }

    fn until_or(&self, mut holds: impl FnMut() -> bool, what: impl Fn() -> String) {
        let start = Instant::now();
        while !holds() {
            assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {}", what());
            std::thread::sleep(Duration::from_millis(25));
        }
    }
}

impl Drop for Scene<'_> {
    fn drop(&mut self) {
        // Its Pods make room for those of other scenarios.
        let path = format!("/api/v1/namespaces/{}", self.namespace);
        self.cluster.call("DELETE", &path, "application/json", "");
    }
}

/// A Service's first cluster IP, and a port.
pub(crate) fn cluster_ip(service: &Value, port: u16) -> SocketAddr {
    SocketAddr::new(text(service, "/spec/clusterIP").parse().unwrap(), port)
}

/// A node's address and the NodePort of a Service's port.
pub(crate) fn node_port(service: &Value, node: u8, index: usize) -> SocketAddr {
    let port = service["spec"]["ports"][index]["nodePort"].as_u64().unwrap();
    SocketAddr::new(node_ip(node), port.try_into().unwrap())
}

pub(crate) fn node_ip(node: u8) -> IpAddr {
    lab::node_address(node, model::Family::V4)
}

pub(crate) fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
