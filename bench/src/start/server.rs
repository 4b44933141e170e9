//! An API server whose lists were written before anybody asked for them.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use anyhow::Result;
use lab::Namespace;
use serde_json::{Value, json};

use super::Scratch;
use crate::generator::Size;

/// Paths, and the events of a watch that begins with the whole list.
type Lists = Vec<(&'static str, String)>;

/// Serves in the namespace until the process ends; the kubeconfig that leads there.
pub(super) fn serve(namespace: &Namespace, size: Size) -> Result<Scratch> {
    let lists = Arc::new(lists(size));
    let listener = namespace.run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))??;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let lists = lists.clone();
            thread::spawn(move || answer(client, &lists));
        }
    });
    let name = format!("pointsman-bench-{}-{port}.kubeconfig", std::process::id());
    let kubeconfig = Scratch(std::env::temp_dir().join(name));
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "bench",
        "clusters": [{"name": "bench", "cluster": {"server": format!("http://127.0.0.1:{port}")}}],
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
        "users": [{"name": "bench", "user": {}}],
    });
    fs::write(&kubeconfig.0, text.to_string())?;
    Ok(kubeconfig)
}

/// Answers one request; a list stays open, as a watch does. What is not known is forbidden.
fn answer(mut client: TcpStream, lists: &Lists) {
    let mut head = Vec::new();
    let mut bytes = [0; 4096];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match client.read(&mut bytes) {
            Ok(read @ 1..) => head.extend(bytes.iter().take(read)),
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head);
    let path = head.split([' ', '?']).nth(1).unwrap_or_default();
    let list = lists.iter().find(|(of, _)| *of == path && head.starts_with("GET "));
    let (status, body) = list.map_or(("403 Forbidden", "{}"), |(_, events)| ("200 OK", events));
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{body}"
    );
    // A client that has gone wants no answer.
    let sent = client.write_all(head.as_bytes());
    if list.is_some() && sent.is_ok() {
        let _ = client.read(&mut bytes);
    }
}

fn lists(size: Size) -> Lists {
    let numbers = || 0..size.services;
    vec![
        ("/api/v1/services", events(numbers().map(service))),
        (
            "/apis/discovery.k8s.io/v1/endpointslices",
            events(numbers().map(|number| slice(number, size.endpoints))),
        ),
        ("/api/v1/nodes", events([json!({"metadata": {"name": "node-0"}})].into_iter())),
        ("/apis/networking.k8s.io/v1/servicecidrs", events(std::iter::empty())),
    ]
}

/// The watch of a list: every object, and the bookmark that ends the list (KEP-3157).
fn events(objects: impl Iterator<Item = Value>) -> String {
    let end = json!({"metadata": {
        "resourceVersion": "10",
        "annotations": {"k8s.io/initial-events-end": "true"},
    }});
    let added = objects.map(|object| json!({"type": "ADDED", "object": object}));
    let all = added.chain([json!({"type": "BOOKMARK", "object": end})]);
    all.map(|event| format!("{event}\n")).collect()
}

/// With the addresses of [`crate::generator`].
fn service(number: u32) -> Value {
    json!({
        "metadata": {"name": format!("service-{number}"), "namespace": "team", "resourceVersion": "9"},
        "spec": {
            "clusterIP": Ipv4Addr::from(0x0a60_0001 + number).to_string(),
            "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}],
        },
    })
}

fn slice(number: u32, endpoints: u32) -> Value {
    let endpoint = |index| {
        json!({
            "addresses": [Ipv4Addr::from(0x0a80_0001 + number * endpoints + index).to_string()],
            "nodeName": format!("node-{}", index % 100),
            "conditions": {"ready": true, "serving": true, "terminating": false},
        })
    };
    json!({
        "metadata": {
            "name": format!("service-{number}-abcde"),
            "namespace": "team",
            "resourceVersion": "9",
            "labels": {"kubernetes.io/service-name": format!("service-{number}")},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": (0..endpoints).map(endpoint).collect::<Vec<_>>(),
    })
}
