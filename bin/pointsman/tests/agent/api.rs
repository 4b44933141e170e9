//! A small Kubernetes API on the node's loopback, behind a gate that can misbehave.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lab::Lab;
use lab_api::resource::{ENDPOINT_SLICES, EVENTS, NODES, PODS, SERVICES};
use lab_api::{ListOptions, Object, Resource, Server, Store, StoreOptions, WriteOptions};
use serde_json::{Value, json};

use crate::stage::{Folder, Stage};

const KUBECONFIG: &str = "kubeconfig";
const PORT: u16 = 6443;

/// What becomes of requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// They reach the API.
    Open,
    /// Everything is accepted and nothing is answered or ended: a cable that was pulled.
    Silent,
    /// Connections end at once.
    Shut,
    /// They reach the API, but what it says comes in drops.
    Slow,
    /// Each is answered by what no server of HTTP says.
    Garbage,
    /// Each is answered by this HTTP status and Status object.
    Answer(u16, &'static str),
}

/// What becomes of requests now, and the connections that there were.
type State = (Gate, Vec<TcpStream>);

/// The API and its gate.
pub(crate) struct Api {
    pub(crate) store: Store,
    gate: Arc<Mutex<State>>,
    files: Folder,
}

impl Api {
    pub(crate) fn start(lab: &Lab) -> Self {
        let options = StoreOptions {
            service_cidrs: vec!["10.88.0.0/16".parse().unwrap()],
            bookmarks: Duration::from_millis(500),
            ..Default::default()
        };
        let store = Store::new(options).unwrap();
        let (address, addresses) = std::sync::mpsc::channel();
        let served = store.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
                let server = Server::bind(here, served).await.unwrap();
                address.send(server.address()).unwrap();
                server.run().await;
            });
        });
        let behind = addresses.recv().unwrap();
        let listener = lab
            .at("alpha")
            .unwrap()
            .run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)))
            .unwrap()
            .unwrap();
        let gate = Arc::new(Mutex::new((Gate::Open, Vec::new())));
        let keeper = gate.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let mut state = keeper.lock().unwrap();
                state.1.push(client.try_clone().unwrap());
                let (gate, now) = (keeper.clone(), state.0.clone());
                std::thread::spawn(move || pass(client, behind, &gate, &now));
            }
        });
        let files = Folder::new();
        files.write(
            KUBECONFIG,
            &format!(
                "apiVersion: v1\nkind: Config\ncurrent-context: lab\nclusters:\n- name: lab\n  \
                 cluster: {{server: \"http://127.0.0.1:{PORT}\"}}\ncontexts:\n- name: lab\n  \
                 context: {{cluster: lab, user: lab}}\nusers:\n- name: lab\n  user: {{}}\n"
            ),
        );
        Self { store, gate, files }
    }

    /// What happens from now on; connections that are there end, unless they are to fall silent.
    pub(crate) fn turn(&self, to: Gate) {
        let mut state = self.gate.lock().unwrap();
        state.0 = to.clone();
        if to != Gate::Silent {
            for connection in state.1.drain(..) {
                let _ = connection.shutdown(Shutdown::Both);
            }
        }
    }

    /// Stores a new object.
    pub(crate) fn create(&self, resource: &'static Resource, namespace: &str, object: Value) {
        self.store.create(resource, namespace, object, &WriteOptions::default()).unwrap();
    }

    /// Stores a running Pod of the node, labelled by its name.
    pub(crate) fn create_pod(&self, name: &str, address: &str) {
        let metadata = json!({"name": name, "labels": {"app": name}});
        let spec = json!({"nodeName": "alpha", "containers": [{"name": "a", "image": "a"}]});
        self.create(&PODS, "default", json!({"metadata": metadata, "spec": spec}));
        let status = json!({"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]});
        let options = WriteOptions { subresource: Some("status"), ..WriteOptions::default() };
        let pod = json!({"metadata": {"name": name}, "status": status});
        self.store.update(&PODS, "default", name, pod, &options).unwrap();
    }

    /// Stores the Node, and `my-service` with these endpoints.
    pub(crate) fn create_my_service(&self, endpoints: &[&str]) {
        self.create(&NODES, "", json!({"metadata": {"name": "alpha"}}));
        let service = json!({
            "metadata": {"name": "my-service"},
            "spec": {"clusterIP": "10.88.0.30", "ports": [{"port": 80, "targetPort": 8080}]},
        });
        self.create(&SERVICES, "default", service);
        let slice = json!({
            "metadata": {
                "name": "my-service-1",
                "labels": {"kubernetes.io/service-name": "my-service"},
            },
            "addressType": "IPv4",
            "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
            "endpoints": endpoints_of(endpoints),
        });
        self.create(&ENDPOINT_SLICES, "default", slice);
    }

    /// Gives `my-service` other endpoints.
    pub(crate) fn set_endpoints(&self, endpoints: &[&str]) {
        let change = |slice: &mut Value| slice["endpoints"] = endpoints_of(endpoints);
        let options = WriteOptions::default();
        self.store.edit(&ENDPOINT_SLICES, "default", "my-service-1", &options, change).unwrap();
    }

    /// What was posted of an object by its reason: the notes.
    pub(crate) fn events(&self, kind: &str, name: &str, reason: &str) -> Vec<String> {
        let all = self.store.list(&EVENTS, None, &ListOptions::default()).unwrap();
        let of = |event: &&Object| {
            event["involvedObject"]["kind"] == kind
                && event["involvedObject"]["name"] == name
                && event["reason"] == reason
        };
        let events = all.items.iter().filter(of);
        events.map(|event| event["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// The program with its usual flags, reading from here.
    pub(crate) fn pointsman(&self, stage: &Stage) -> Command {
        let mut program = stage.lab.at("alpha").unwrap().command(env!("CARGO_BIN_EXE_pointsman"));
        program.args(["run", "--node=alpha", "--cluster-cidr=10.77.0.0/16"]);
        program.arg("--kubeconfig").arg(self.files.path().join(KUBECONFIG));
        program
    }
}

fn endpoints_of(addresses: &[&str]) -> Value {
    let endpoint = |address: &&str| json!({"addresses": [address], "nodeName": "alpha", "conditions": {"ready": true}});
    addresses.iter().map(endpoint).collect()
}

/// Does with one connection what the gate says.
fn pass(mut client: TcpStream, behind: SocketAddr, gate: &Mutex<State>, now: &Gate) {
    match now {
        Gate::Open | Gate::Slow => {
            let mut server = TcpStream::connect(behind).unwrap();
            let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::scope(|scope| {
                scope.spawn(|| carry(&mut from, &mut to, gate));
                carry(&mut server, &mut client, gate);
            });
        }
        Gate::Garbage => {
            let _ = client.read(&mut [0; 4096]);
            let _ = client.write_all(b"\0\x16\x03 {]\r\n<html>\r\n\r\n");
            let _ = client.shutdown(Shutdown::Both);
        }
        // The clone that the gate keeps leaves it open.
        Gate::Silent => {}
        Gate::Shut => drop(client.shutdown(Shutdown::Both)),
        Gate::Answer(code, reason) => {
            let mut head = [0; 4096];
            let _ = client.read(&mut head);
            let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {},
                "status": "Failure", "message": format!("told to say {reason}"),
                "reason": reason, "code": code});
            let body = body.to_string();
            let answer = format!(
                "HTTP/1.1 {code} {reason}\r\nContent-Type: application/json\r\n\
                 Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let _ = client.write_all(answer.as_bytes());
            let _ = client.shutdown(Shutdown::Both);
        }
    }
}

/// What the server calls `endPort` comes out as a field that nobody knows, as if it were newer.
fn from_the_future(bytes: &mut [u8]) {
    let (known, unknown) = (b"\"endPort\"", b"\"oddPort\"");
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(known.len()).position(|field| field == known) {
        bytes[at + found..at + found + known.len()].copy_from_slice(unknown);
        at += found;
    }
}

/// Carries bytes while the gate is open; what is silent is neither carried nor ended.
fn carry(from: &mut TcpStream, to: &mut TcpStream, gate: &Mutex<State>) {
    let mut bytes = [0; 65536];
    loop {
        let slow = gate.lock().unwrap().0 == Gate::Slow;
        let most = if slow { 64 } else { bytes.len() };
        let read = from.read(&mut bytes[..most]).unwrap_or(0);
        if gate.lock().unwrap().0 == Gate::Silent {
            return;
        }
        from_the_future(&mut bytes[..read]);
        if slow {
            std::thread::sleep(Duration::from_millis(20));
        }
        if read == 0 || to.write_all(&bytes[..read]).is_err() {
            let _ = to.shutdown(Shutdown::Both);
            return;
        }
    }
}
